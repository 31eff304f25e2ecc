//! Where a document's point lies in its series: which tags, which time, which fields.
//!
//! Sources count time in microseconds, InfluxDB in nanoseconds: rows of the same tags and the same microsecond lie beside each
//! other in its thousand nanoseconds. The first one has the exact time.

use headwater_model::json;
use headwater_model::sort::read_sort;
use headwater_model::{Error, Record as Document, Result, Series, Value, View, ViewKind};

use super::guard::Guard;
use super::line;
use crate::entries::Entry;

/// The field that holds all of a document.
pub(super) const FIELD: &str = "hw";

/// What begins like this is ours.
const OURS: &str = "hw:";

/// Nanoseconds in a microsecond.
pub(super) const SLOTS: i64 = 1_000;

/// 1678-01-01 and 2262-01-01, in microseconds: whole years within the 64 bits of nanoseconds.
const FIRST: i64 = -9_214_560_000_000_000;
const LAST: i64 = 9_214_646_400_000_000;

/// What InfluxDB takes as measurement and tags is 64 KB; so long tags are no use to anybody.
const TAGS_BYTES_MAX: usize = 4_096;

/// A point of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) entry: Entry,
    /// In nanoseconds.
    pub(super) time: i64,
}

/// Why a store cannot hold the view, if so.
pub(crate) fn fits(store: &str, view: &View) -> Result<()> {
    let wrong = |what: String, remedy: &str| {
        let what = format!("store \"{store}\": the view \"{}\" {what}", view.name);
        Err(Error::misconfigured(what).with_remedy(remedy))
    };
    if view.name.starts_with(OURS) {
        return wrong(
            format!("has a name that begins with {OURS:?}, as Headwater's own do there"),
            "rename the view",
        );
    }
    match &view.kind {
        ViewKind::Document if view.indexes.is_empty() => Ok(()),
        ViewKind::Series(series) if view.indexes.len() == 1 => {
            let mut names = series.tags.iter().chain(&series.fields);
            let reserved = names.find(|name| matches!(&***name, "time" | FIELD));
            let both = series.tags.iter().find(|tag| series.fields.contains(tag));
            match (reserved, both) {
                (Some(name), _) => wrong(
                    format!("has a tag or field {name:?}, a name that a series of InfluxDB keeps for itself"),
                    "give the column another name in the source, or leave it out of tags and fields",
                ),
                (None, Some(both)) => {
                    wrong(format!("has {both:?} as a tag and as a field"), "leave it in one of them")
                }
                (None, None) => Ok(()),
            }
        }
        _ => wrong(
            "is read in an order that InfluxDB does not keep: it has series by time, and documents by their key".to_owned(),
            "keep it in a store that has orders, such as postgres: or redis:, and leave a series with `get` and `window` here",
        ),
    }
}

pub(super) fn series_of(view: &View) -> Option<&Series> {
    match &view.kind {
        ViewKind::Series(series) if !view.indexes.is_empty() => Some(series),
        _ => None,
    }
}

pub(super) fn measurement(view: &str) -> String {
    line::name(view)
}

/// The microsecond of an entry, or why it has none.
pub(super) fn micros(entry: &Entry) -> Result<i64, String> {
    let (time, _) = read_sort(entry.sort(), false).map_err(|error| error.to_string())?;
    let micros = micros_of(&time).ok_or_else(|| match &time {
        Value::Null => "its time is NULL, and a point has one".to_owned(),
        time => format!("its time is {:?}, and InfluxDB takes dates and timestamps", time.to_text()),
    })?;
    if (FIRST..LAST).contains(&micros) {
        return Ok(micros);
    }
    Err(format!("its time is {}, and InfluxDB's are of the years 1678 to 2261", time.to_text()))
}

/// Of a value that is a time; the infinities are the ends of time.
pub(super) fn micros_of(time: &Value) -> Option<i64> {
    match time {
        Value::Timestamp(micros) | Value::TimestampTz(micros) => Some(*micros),
        Value::Date(days) => Some(i64::from(*days).saturating_mul(86_400_000_000)),
        _ => None,
    }
}

/// Nanoseconds of a microsecond, which may lie outside of what there is.
pub(super) fn nanos(micros: i64) -> i64 {
    micros.clamp(FIRST, LAST) * SLOTS
}

/// Names and values of the tags, in the order of the names. Values that are equal have one text.
pub(super) fn tags(names: &[Box<str>], mut part: &[u8]) -> Result<Vec<(String, String)>> {
    let mut tags = Vec::with_capacity(names.len());
    for tag in names {
        let (value, rest) = read_sort(part, false)?;
        tags.push((line::name(tag), line::name(&value.to_text())));
        part = rest;
    }
    tags.sort();
    Ok(tags)
}

/// Measurement and tags, as line protocol has them: what InfluxDB calls a series.
pub(super) fn series_key(measurement: &str, tags: &[(String, String)]) -> Result<String, String> {
    let mut out = String::with_capacity(64);
    line::push_measurement(measurement, &mut out);
    for (name, value) in tags {
        out.push(',');
        line::push_name(name, &mut out);
        out.push('=');
        line::push_name(value, &mut out);
    }
    if out.len() > TAGS_BYTES_MAX {
        return Err(format!("its tags take {} bytes, of {TAGS_BYTES_MAX} at most", out.len()));
    }
    Ok(out)
}

/// The condition that only points with these tags pass, to be followed by others.
pub(super) fn tagged(tags: &[(String, String)]) -> String {
    tags.iter()
        .map(|(name, value)| format!("{} = {} AND ", line::identifier(name), line::literal(value)))
        .collect()
}

/// A field's value in InfluxDB's own types.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Native {
    Integer(i64),
    /// As text: a float or a decimal, which InfluxDB keeps as the nearest float.
    Float(String),
    Boolean(bool),
    Text(String),
}

impl Native {
    /// As `SHOW FIELD KEYS` says it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Native::Integer(_) => "integer",
            Native::Float(_) => "float",
            Native::Boolean(_) => "boolean",
            Native::Text(_) => "string",
        }
    }

    fn push(&self, out: &mut String) {
        match self {
            Native::Integer(n) => out.push_str(&format!("{n}i")),
            Native::Float(text) => out.push_str(text),
            Native::Boolean(b) => out.push_str(if *b { "true" } else { "false" }),
            Native::Text(text) => line::push_text(text, out),
        }
    }
}

/// The fields of a document that InfluxDB can have as values of its own. What a partial document keeps is taken from
/// `whole`, its JSON, as the type that `guard` knows.
pub(super) fn natives(
    series: &Series,
    document: &Document,
    whole: &str,
    guard: Option<&Guard>,
) -> Vec<(String, Native)> {
    let mut natives = Vec::with_capacity(series.fields.len());
    for field in &series.fields {
        let native = match document.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::Unchanged) => {
                kept(whole, field, guard.and_then(|guard| guard.kind(&line::name(field))))
            }
            Some(Value::Int(n)) => Some(Native::Integer(*n)),
            Some(Value::Bool(b)) => Some(Native::Boolean(*b)),
            Some(value @ (Value::Float(_) | Value::Decimal(_))) => float(&value.to_text()),
            Some(value) => Some(Native::Text(value.to_text())),
        };
        natives.extend(native.map(|native| (line::name(field), native)));
    }
    natives
}

/// There is no NaN and no infinity in InfluxDB, nor what lies beyond floats.
fn float(text: &str) -> Option<Native> {
    let float: f64 = text.parse().ok()?;
    float.is_finite().then(|| Native::Float(format!("{float:?}")))
}

/// Columns that an update leaves out are large: texts, binaries, JSON, or long decimals.
fn kept(whole: &str, name: &str, kind: Option<&str>) -> Option<Native> {
    let fields = json::fields(whole.as_bytes()).flatten();
    let value = fields.into_iter().find(|field| field.is_named(name.as_bytes()))?.value();
    match serde_json::from_slice(value).ok()? {
        serde_json::Value::Null => None,
        serde_json::Value::Number(number) if kind == Some("integer") => number.as_i64().map(Native::Integer),
        serde_json::Value::Number(number) => float(&number.to_string()),
        serde_json::Value::Bool(b) => Some(Native::Boolean(b)),
        // What JSON has no number for, if it is one.
        serde_json::Value::String(text)
            if kind == Some("float")
                || (kind.is_none() && matches!(&*text, "NaN" | "Infinity" | "-Infinity")) =>
        {
            float(&text)
        }
        serde_json::Value::String(text) => Some(Native::Text(text)),
        _ => Some(Native::Text(String::from_utf8_lossy(value).into_owned())),
    }
}

/// Whether the point of `stored` has a field that the new document leaves empty: InfluxDB only adds fields to a point, so the
/// document needs another one.
pub(super) fn empties(stored: &str, natives: &[(String, Native)], series: &Series) -> bool {
    let had = json::fields(stored.as_bytes()).flatten().filter(|field| field.value() != b"null");
    had.into_iter().any(|had| {
        let is_field = series.fields.iter().find(|field| had.is_named(field.as_bytes()));
        is_field.is_some_and(|field| natives.iter().all(|(name, _)| *name != line::name(field)))
    })
}

/// A point of the series, with a document's [`Record::field`](super::record::Record::field).
pub(super) fn point(key: &str, natives: &[(String, Native)], time: i64, record: &str) -> String {
    let mut out = String::with_capacity(key.len() + 2 * record.len() + 80);
    out.push_str(key);
    out.push(' ');
    for (name, native) in natives {
        line::push_name(name, &mut out);
        out.push('=');
        native.push(&mut out);
        out.push(',');
    }
    out.push_str(FIELD);
    out.push('=');
    out.push_str(record);
    out.push(' ');
    out.push_str(&time.to_string());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_what_line_protocol_reads() {
        for (text, written) in [
            ("1.50", Some("1.5")),
            ("5", Some("5.0")),
            ("1e300", Some("1e300")),
            ("NaN", None),
            ("-Infinity", None),
            ("1e999", None),
        ] {
            assert_eq!(float(text), written.map(|text| Native::Float(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_field_that_becomes_null_is_noticed() {
        let series = Series { time: "t".into(), tags: vec![], fields: vec!["a".into(), "b c".into()] };
        let natives = [("a".to_owned(), Native::Integer(1))];
        assert!(!empties(r#"{"a":2,"x":1}"#, &natives, &series));
        assert!(!empties(r#"{"a":2,"b c":null}"#, &natives, &series));
        assert!(empties(r#"{"a":2,"b c":3}"#, &natives, &series));
    }
}
