//! `[heal]` and `[objectives]`: what may be mended without asking, and how quickly it has to be whole again.

use std::time::Duration;

use toml::de::DeValue;

use super::read::{Reader, Section, Value, kind};
use super::sections::duration;
use super::{HealSection, ObjectivesSection};
use crate::heal::Level;

pub(super) fn heal(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> HealSection {
    let mut heal = HealSection::default();
    let Some(mut section) = section else { return heal };
    if let Some(value) = section.take(reader, "safe") {
        match value.get_ref() {
            DeValue::Boolean(safe) => heal.safe = *safe,
            other => reader.wrong(
                value.span(),
                format!("`safe` is {}, not true or false", kind(other)),
                "write safe = true, or leave it out",
            ),
        }
    }
    let levels = [("refill", &mut heal.refill), ("rebuild", &mut heal.rebuild), ("repair", &mut heal.repair)];
    for (name, level) in levels {
        if let Some(value) = section.take(reader, name)
            && let Some(chosen) = self::level(reader, value, name)
        {
            *level = chosen;
        }
    }
    section.finish(reader);
    heal
}

fn level(reader: &mut Reader<'_>, value: &Value<'_>, name: &str) -> Option<Level> {
    let text = reader.string(value, name)?;
    let found = Level::ALL.into_iter().find(|level| level.name() == text);
    if found.is_none() {
        reader.wrong(
            value.span(),
            format!("`{name}` cannot be \"{text}\""),
            "write \"alone\", \"one\" (a person has to approve it) or \"two\" (two people have to)",
        );
    }
    found
}

pub(super) fn objectives(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> ObjectivesSection {
    let mut objectives = ObjectivesSection::default();
    let Some(mut section) = section else { return objectives };
    let (min, max) = (Duration::from_millis(100), Duration::from_secs(86_400));
    if let Some(rto) = duration(reader, &mut section, "rto", min, max) {
        objectives.rto = rto;
    }
    if let Some(value) = section.take(reader, "rpo")
        && let Some(rpo) = reader.integer(value, "rpo", 0..=1_000_000_000)
    {
        objectives.rpo_transactions = rpo as u64;
    }
    section.finish(reader);
    objectives
}
