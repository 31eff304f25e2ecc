//! `[stores]`, `[journal]`, `[backfill]`, `[verify]`, `[run]`.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::read::{Entry, Reader, Section, Value, join, kind};
use super::reference;
use super::sources::Source;
use super::unit::{self, DURATION_REMEDY, RATE_REMEDY, SIZE_REMEDY};
use super::{
    BackfillSection, JournalSection, RunSection, Setting, Settings, StoreSection, VerifySection, default,
};
use crate::Secret;

/// Every store whose name can be read, with its URL if that can be: a view that names a store with a broken URL is
/// not wrong for that.
pub(super) fn stores(
    reader: &mut Reader<'_>,
    section: Option<Section<'_>>,
) -> Vec<(Box<str>, Option<StoreSection>)> {
    let Some(mut section) = section else { return Vec::new() };
    let mut stores = Vec::new();
    for Entry { name, key, value, .. } in section.rest() {
        check_name(reader, key.span(), "store", name);
        let path = join(&section.path, name);
        if let DeValue::String(_) = value.get_ref() {
            reader.wrong(
                value.span(),
                format!("store `{name}` is a string, not a table"),
                format!("write {name} = {{ url = \"…\" }}"),
            );
            stores.push((name.into(), None));
            continue;
        }
        let Some(mut entry) = Section::of(reader, path, key.span(), value) else { continue };
        let url = url(reader, &mut entry);
        let mut settings = settings(reader, entry);
        let store = url.map(|(url, password)| {
            settings.extend(password);
            StoreSection { name: name.into(), url, settings, source: None }
        });
        stores.push((name.into(), store));
    }
    stores
}

/// Two places in the file that are one place in the world: each would overwrite the other.
pub(super) fn apart(
    reader: &mut Reader<'_>,
    sources: &[Source],
    stores: &[(Box<str>, Option<StoreSection>)],
) {
    let sources: Vec<_> = sources.iter().filter_map(|(_, source)| source.as_ref()).collect();
    let stores: Vec<&StoreSection> = stores.iter().filter_map(|(_, store)| store.as_ref()).collect();
    for (i, store) in stores.iter().enumerate() {
        let place =
            reader.places.get(&format!("stores.{}.url", store.name)).map_or(0..0, |p| p.value.clone());
        if let Some(source) = sources.iter().find(|source| source.url == store.url) {
            let source =
                source.name.as_ref().map_or("the source".to_owned(), |name| format!("source `{name}`"));
            reader.wrong(
                place.clone(),
                format!("store `{}` is {source} itself", store.name),
                "give it a database of its own",
            );
        }
        let same =
            stores[..i].iter().find(|other| other.url == store.url && other.settings == store.settings);
        if let Some(other) = same {
            reader.wrong(
                place,
                format!("stores `{}` and `{}` are one: same url, same settings", other.name, store.name),
                "remove one of them, or give each a place of its own",
            );
        }
    }
}

pub(super) fn journal(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> JournalSection {
    let mut journal = JournalSection::default();
    let Some(mut section) = section else { return journal };
    if let Some(bytes) = size(reader, &mut section, "max", default::SIZE_MIN) {
        journal.bytes_max = bytes;
    }
    section.finish(reader);
    journal
}

pub(super) fn backfill(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> BackfillSection {
    let mut backfill = BackfillSection::default();
    let Some(mut section) = section else { return backfill };
    if let Some(value) = section.take(reader, "parallel")
        && let Some(parallel) = reader.integer(value, "parallel", 1..=16)
    {
        backfill.parallel = parallel as usize;
    }
    if let Some(value) = section.take(reader, "chunk_rows")
        && let Some(rows) = reader.integer(value, "chunk_rows", 1..=1_000_000)
    {
        backfill.chunk_rows = rows as usize;
    }
    if let Some(value) = section.take(reader, "rate")
        && let Some(rate) = amount(reader, value, "rate", unit::parse_rate, RATE_REMEDY)
    {
        if rate == 0 {
            reader.wrong(value.span(), "`rate` is out of range", "write at least \"1/s\", or leave it out");
        }
        backfill.rows_per_second_max = Some(rate);
    }
    section.finish(reader);
    backfill
}

pub(super) fn verify(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> VerifySection {
    let mut verify = VerifySection::default();
    let Some(mut section) = section else { return verify };
    if let Some(value) = section.take(reader, "rate")
        && let Some(rate) = amount(reader, value, "rate", unit::parse_rate, RATE_REMEDY)
    {
        if rate == 0 {
            reader.wrong(value.span(), "`rate` is out of range", "write at least \"1/s\", or leave it out");
        }
        verify.rows_per_second = Some(rate);
    }
    if let Some(value) = section.take(reader, "repair")
        && let Some(repair) = super::access::boolean(reader, value, "repair")
    {
        verify.repair = repair;
    }
    let (min, max) = (Duration::from_secs(1), Duration::from_secs(365 * 24 * 3600));
    verify.detect_within = duration(reader, &mut section, "detect_within", min, max);
    if let Some(every) = duration(reader, &mut section, "every", min, max) {
        verify.every = every;
    }
    section.finish(reader);
    verify
}

pub(super) fn run(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> RunSection {
    let mut run = RunSection::default();
    let Some(mut section) = section else { return run };
    let (min, max) = (Duration::from_millis(100), Duration::from_secs(3600));
    if let Some(within) = duration(reader, &mut section, "shutdown_within", min, max) {
        run.shutdown_within = within;
    }
    section.finish(reader);
    run
}

/// Views, stores and access patterns are named in keys, table names and metrics: letters, digits, `_` and `-` survive everywhere.
pub(super) fn check_name(reader: &mut Reader<'_>, span: std::ops::Range<usize>, what: &str, name: &str) {
    let article = if what.starts_with('a') { "an" } else { "a" };
    let well = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 48;
    if name.to_ascii_lowercase().starts_with("headwater_") {
        reader.wrong(
            span,
            format!("`{name}` cannot be the name of {article} {what}"),
            "rename it: names that begin with headwater_ are reserved for what Headwater keeps beside views",
        );
    } else if !well {
        reader.wrong(
            span,
            format!("`{name}` cannot be the name of {article} {what}"),
            "use up to 48 letters, digits, _ and -, the first a letter",
        );
    }
}

/// `url`, with a password beside it put in. A socket's URL has no place for one: then it stays a setting.
pub(super) fn url(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<(Secret, Settings)> {
    let mut settings = Settings::new();
    let password = password(reader, section);
    let path = join(&section.path, "url");
    let Some(value) = section.take(reader, "url") else {
        if !section.misspells("url") {
            reader.missing(
                section.at.clone(),
                format!("[{}] has no `url`", section.path),
                "add url = \"scheme://user:${PASSWORD}@host/name\"",
            );
        }
        return None;
    };
    let text = reader.string(value, "url")?;
    if let Some(range) = reference::literal_password(text) {
        let span = reader.within(value, range.start, range.len());
        let variable = if text.starts_with("postgres") { "PGPASSWORD" } else { "PASSWORD" };
        reader.exposed(
            span,
            "a password stands in the file",
            format!(
                "refer to it: \"{}${{{variable}}}{}\", or use password_file",
                &text[..range.start],
                &text[range.end..]
            ),
        );
        return None;
    }
    let expanded = reference::expand_url(text, reader.references);
    let mut expanded = reader.or_wrong(expanded, value)?;
    if !has_scheme(&expanded.text) {
        reader.wrong(
            value.span(),
            "the url has no scheme",
            "a url begins with its engine, as in \"postgres://host/database\" or \"sqlite:file.db\"",
        );
        return None;
    }
    if let Some((password, span)) = password {
        match reference::with_password(&expanded.text, &password) {
            _ if reference::has_no_host(&expanded.text) => {
                settings.insert("password".into(), Setting::Text(Secret::new(password)));
            }
            Some(url) => {
                expanded.shown = reference::hide_password(&url);
                expanded.text = url;
            }
            None => {
                reader.wrong(span, "the url has a password already, or takes none", "give it one password")
            }
        }
    }
    reader.places.show_as(&path, &expanded.shown);
    Some((Secret::new(expanded.text), settings))
}

/// `password = "${NAME}"` or `password_file = "/path"`.
fn password(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<(String, std::ops::Range<usize>)> {
    let by_file = section.take(reader, "password_file").and_then(|value| {
        let path = reader.expanded(value, "password_file")?.text;
        let read = reference::read(&path, reader.references);
        match read {
            Ok(text) => Some((text, value.span())),
            Err(bad) => {
                reader.wrong(value.span(), bad.message, bad.remedy);
                None
            }
        }
    });
    let Some(value) = section.take(reader, "password") else { return by_file };
    let expanded = reader.expanded(value, "password")?;
    if !expanded.referred {
        reader.exposed(
            value.span(),
            "a password stands in the file",
            "refer to it: password = \"${PASSWORD}\", or use password_file",
        );
        return None;
    }
    if by_file.is_some() {
        reader.wrong(value.span(), "`password` and `password_file` are both there", "keep one of them");
    }
    Some((expanded.text, value.span()))
}

fn has_scheme(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Everything left over in a section is for the engine, which refuses what it does not know.
/// Tables of settings within tables: `columns`, of a table, and there is nothing deeper.
const NESTED_MAX: usize = 2;

pub(super) fn settings(reader: &mut Reader<'_>, section: Section<'_>) -> Settings {
    settings_within(reader, section, NESTED_MAX)
}

fn settings_within(reader: &mut Reader<'_>, mut section: Section<'_>, deeper: usize) -> Settings {
    let mut settings = BTreeMap::new();
    for Entry { name, key, value, .. } in section.rest() {
        if let Some(meant) = section.meant(name) {
            reader.wrong(
                key.span(),
                format!("unknown key `{name}` in [{}]", section.path),
                format!("did you mean `{meant}`?"),
            );
            continue;
        }
        let path = join(&section.path, name);
        reader.places.put(&path, key.span(), value.span());
        let setting = match value.get_ref() {
            DeValue::String(_) => reader.expanded(value, name).map(|expanded| {
                reader.places.show_as(&path, &expanded.shown);
                Setting::Text(Secret::new(expanded.text))
            }),
            DeValue::Integer(_) => reader.integer(value, name, i64::MIN..=i64::MAX).map(Setting::Int),
            DeValue::Boolean(b) => Some(Setting::Bool(*b)),
            DeValue::Table(table) if deeper > 0 => {
                let inner = Section::new(path, key.span(), table);
                Some(Setting::Table(settings_within(reader, inner, deeper - 1)))
            }
            other => {
                reader.wrong(
                    value.span(),
                    format!("`{name}` is {}", kind(other)),
                    "a setting is a string, a whole number, true or false, or a table of these",
                );
                None
            }
        };
        if let Some(setting) = setting {
            settings.insert(name.into(), setting);
        }
    }
    settings
}

pub(super) fn duration(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    name: &'static str,
    min: Duration,
    max: Duration,
) -> Option<Duration> {
    let value = section.take(reader, name)?;
    duration_between(reader, value, name, min, max)
}

pub(super) fn duration_between(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    name: &str,
    min: Duration,
    max: Duration,
) -> Option<Duration> {
    let duration = amount(reader, value, name, unit::parse_duration, DURATION_REMEDY)?;
    if duration < min || duration > max {
        reader.wrong(
            value.span(),
            format!("`{name}` is out of range"),
            format!("write \"{}\" to \"{}\"", unit::show_duration(min), unit::show_duration(max)),
        );
        return None;
    }
    Some(duration)
}

pub(super) fn size(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    name: &'static str,
    min: u64,
) -> Option<u64> {
    let value = section.take(reader, name)?;
    let bytes = amount(reader, value, name, unit::parse_size, SIZE_REMEDY)?;
    if bytes < min {
        reader.wrong(
            value.span(),
            format!("`{name}` is out of range"),
            format!("write at least \"{}\"", unit::show_size(min)),
        );
        return None;
    }
    Some(bytes)
}

pub(super) fn amount<T>(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    name: &str,
    parse: fn(&str) -> Option<T>,
    remedy: &str,
) -> Option<T> {
    if let DeValue::Integer(_) | DeValue::Float(_) = value.get_ref() {
        reader.wrong(value.span(), format!("`{name}` needs a unit"), remedy);
        return None;
    }
    let text = reader.expanded(value, name)?.text;
    let amount = parse(&text);
    if amount.is_none() {
        let bare = text.trim().parse::<f64>().is_ok_and(|number| number >= 0.0);
        // What the environment says may be meant for nobody's eyes.
        let written = value.get_ref().as_str().filter(|written| !written.contains("${"));
        let what = match written.and_then(unit::mistaken) {
            _ if bare => "needs a unit".to_owned(),
            Some(what) => what,
            None => "cannot be read".to_owned(),
        };
        reader.wrong(value.span(), format!("`{name}` {what}"), remedy);
    }
    amount
}
