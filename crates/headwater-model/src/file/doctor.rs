//! `[doctor]`: what an examination may cost, limits set otherwise, and findings that are accepted.

use std::time::Duration;

use toml::de::DeValue;

use super::DoctorSection;
use super::read::{Entry, Reader, Section};
use super::sections::{duration, duration_between};
use super::serve::OFF;

const ACCEPTED_REMEDY: &str = "name a finding, with or without its subject, as in \"HW1003 public.book_n\" = \"dropped with the next release\"";
const LIMIT_REMEDY: &str = "name a check and its limit, as in \"HW1002.days\" = 90";

pub(super) fn doctor(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> DoctorSection {
    let mut doctor = DoctorSection::default();
    let Some(mut section) = section else { return doctor };
    let (min, max) = (Duration::from_secs(1), Duration::from_secs(30 * 24 * 3600));
    if let Some(value) = section.take(reader, "every") {
        let off = matches!(value.get_ref(), DeValue::String(text) if text == OFF);
        doctor.every = if off { None } else { duration_between(reader, value, "every", min, max) };
    }
    if let Some(value) = section.take(reader, "pii_regions") {
        let names = reader.strings(value, "pii_regions").unwrap_or_default();
        doctor.pii_regions = names.into_iter().map(|(name, _)| name.into()).collect();
    }
    let (min, max) = (Duration::from_millis(10), Duration::from_secs(600));
    if let Some(within) = duration(reader, &mut section, "check_within", min, max) {
        doctor.check_within = within;
    }
    if let Some(mut limits) = section.take_section(reader, "limits") {
        for entry in limits.rest() {
            reader.places.put(&format!("doctor.limits.{}", entry.name), entry.key.span(), entry.value.span());
            if let Some(value) = limit(reader, &entry) {
                doctor.limits.insert(entry.name.to_owned(), value);
            }
        }
    }
    if let Some(mut accepted) = section.take_section(reader, "accepted") {
        for entry in accepted.rest() {
            reader.places.put(
                &format!("doctor.accepted.{}", entry.name),
                entry.key.span(),
                entry.value.span(),
            );
            if !is_check(entry.name.split(' ').next().unwrap_or_default()) {
                reader.wrong(
                    entry.key.span(),
                    format!("\"{}\" names no finding", entry.name),
                    ACCEPTED_REMEDY,
                );
            }
            match reader.plain(entry.value, entry.name) {
                Some(reason) if reason.trim().is_empty() => {
                    reader.wrong(
                        entry.value.span(),
                        "a finding is accepted for a reason",
                        "write the reason",
                    );
                }
                Some(reason) => drop(doctor.accepted.insert(entry.name.to_owned(), reason.to_owned())),
                None => {}
            }
        }
    }
    section.finish(reader);
    doctor
}

fn limit(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<f64> {
    if !entry.name.split_once('.').is_some_and(|(check, name)| is_check(check) && !name.is_empty()) {
        reader.wrong(entry.key.span(), format!("\"{}\" names no limit", entry.name), LIMIT_REMEDY);
        return None;
    }
    let number = match entry.value.get_ref() {
        DeValue::Integer(number) => number.as_str().replace('_', "").parse::<f64>().ok(),
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    if number.is_none() {
        reader.wrong(
            entry.value.span(),
            format!("the limit `{}` is no number from 0", entry.name),
            LIMIT_REMEDY,
        );
    }
    number
}

/// `HW` and four digits.
fn is_check(id: &str) -> bool {
    id.strip_prefix("HW")
        .is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
}
