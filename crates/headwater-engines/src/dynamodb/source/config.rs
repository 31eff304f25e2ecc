//! The source's URL and settings.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_model::file::SourceSection;
use headwater_model::{Error, Result};

use super::value::Kind;
use crate::dynamodb::config::Config;
use crate::settings;

/// A table's attributes by name, as they are declared.
pub(super) type Columns = BTreeMap<Box<str>, Kind>;

const COLUMNS: &str =
    "a table of columns per table, as in columns.orders = { customer = \"text\", total = \"number\" }";

pub(super) struct Options {
    pub(super) config: Config,
    /// Where streams are asked, if not where tables are.
    pub(super) streams_endpoint: Option<String>,
    /// Whose place in the streams it is: two installations that follow the same tables have two.
    pub(super) follower: String,
    /// The columns of each table.
    pub(super) columns: BTreeMap<Box<str>, Columns>,
    /// How long a change takes at most, as far as marks go, until its stream tells of it.
    pub(super) settle: Duration,
    /// How often an open shard is asked.
    pub(super) poll: Duration,
    /// For so long the one who follows may be silent before another takes over.
    pub(super) lease: Duration,
    /// Read units per second that chunks may use.
    pub(super) read_units_max: Option<u32>,
    /// Segments of a table that chunks read at the same time.
    pub(super) scan_segments: usize,
}

impl Options {
    pub(super) fn new(section: &SourceSection) -> Result<Options> {
        let mut settings = settings::Reader::new("the source", &section.settings);
        let config = Config::read("the source", &section.url, &mut settings)?;
        let streams_endpoint = settings.text("streams_endpoint")?.map(str::to_owned);
        let follower = match settings.text("follower")? {
            Some("") => {
                return Err(Error::misconfigured("the source's follower is the empty text")
                    .with_remedy("give it a name, or drop the setting"));
            }
            Some(follower) => follower.to_owned(),
            None => match &section.name {
                Some(name) => format!("headwater_{name}"),
                None => "headwater".to_owned(),
            },
        };
        let millis = |n: Option<i64>, default: u64| {
            Duration::from_millis(n.and_then(|n| n.try_into().ok()).unwrap_or(default))
        };
        let settle = millis(settings.number("settle_ms", 0..=60_000)?, 1_000);
        let poll = millis(settings.number("poll_ms", 10..=10_000)?, 250);
        let lease = millis(settings.number("lease_ms", 1_000..=60_000)?, 5_000);
        let read_units_max = settings.number("read_units_max", 1..=i64::from(u32::MAX))?;
        let scan_segments = settings.number("scan_segments", 1..=64)?.and_then(|n| n.try_into().ok());
        let columns = settings.texts_by_name("columns", COLUMNS)?;
        settings.finish()?;
        let columns =
            columns.into_iter().map(|(table, columns)| Ok((table.into(), declared(table, columns)?)));
        Ok(Options {
            config,
            streams_endpoint,
            follower,
            columns: columns.collect::<Result<_>>()?,
            settle,
            poll,
            lease,
            read_units_max: read_units_max.and_then(|units| units.try_into().ok()),
            scan_segments: scan_segments.unwrap_or(4),
        })
    }
}

fn declared(table: &str, columns: BTreeMap<&str, &str>) -> Result<Columns> {
    let column = |(name, word): (&str, &str)| match Kind::of_word(word) {
        Some(kind) => Ok((name.into(), kind)),
        None => {
            let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::word).collect();
            Err(Error::misconfigured(format!(
                "column \"{name}\" of table {table} is declared as {word:?}, which is no type"
            ))
            .with_remedy(format!("declare it as one of {}", known.join(", "))))
        }
    };
    columns.into_iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use headwater_model::Secret;
    use headwater_model::file::Setting;

    fn options(columns: Setting) -> Result<Options> {
        let mut section = SourceSection::of_url("dynamodb://us-east-1/");
        section.settings.insert("columns".into(), columns);
        Options::new(&section)
    }

    fn table(of: &[(&str, Setting)]) -> Setting {
        Setting::Table(of.iter().map(|(name, setting)| (Box::from(*name), setting.clone())).collect())
    }

    #[test]
    fn columns_are_declared_by_table() {
        let word = |word: &str| Setting::Text(Secret::new(word));
        let read =
            options(table(&[("a.b", table(&[("x", word("json")), ("id", word("integer"))]))])).unwrap();
        let columns: Vec<_> = read.columns["a.b"].iter().map(|(name, kind)| (&**name, *kind)).collect();
        assert_eq!(columns, [("id", Kind::Integer), ("x", Kind::Json)]);
        let unknown = options(table(&[("t", table(&[("x", word("varchar"))]))])).map(|_| ()).unwrap_err();
        assert!(unknown.to_string().contains("\"x\" of table t"), "{unknown}");
        assert!(unknown.remedy().unwrap().contains("integer"));
        for wrong in
            [word("x"), table(&[("t", word("text"))]), table(&[("t", table(&[("x", Setting::Int(1))]))])]
        {
            let error = options(wrong).map(|_| ()).unwrap_err();
            assert!(error.remedy().unwrap().contains("columns.orders"), "{error}");
        }
    }
}
