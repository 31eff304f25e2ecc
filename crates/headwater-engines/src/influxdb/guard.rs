//! What a series takes: as many tag sets as it may have, and in each field the type that it has.
//!
//! Invariant: a point that InfluxDB would drop for its tags or types is refused with its key before it is sent.

use std::collections::{HashMap, HashSet};

use headwater_model::Result;
use serde_json::Value as Json;

use super::client::Client;
use super::line;
use super::place::Native;

/// Of one view, as the server has it and this session has added to it.
#[derive(Debug, Default)]
pub(super) struct Guard {
    series: HashSet<String>,
    kinds: HashMap<String, String>,
    /// What to say when it is full.
    full: Option<String>,
}

impl Guard {
    pub(super) async fn load(client: &Client, measurement: &str) -> Result<Guard> {
        let from = line::identifier(measurement);
        let bound = client.config().series_max.saturating_add(1);
        let found = client
            .ask(&[format!("SHOW SERIES FROM {from} LIMIT {bound}"), format!("SHOW FIELD KEYS FROM {from}")])
            .await?;
        let text = |row: &[Json], at: usize| row.get(at).and_then(Json::as_str).map(str::to_owned);
        let mut guard = Guard::default();
        for (at, rows) in found.iter().enumerate() {
            for row in rows {
                match (at, text(row, 0), text(row, 1)) {
                    (0, series, _) => guard.series.extend(series),
                    (_, Some(field), Some(kind)) => guard.kinds.extend([(field, kind)]),
                    _ => {}
                }
            }
        }
        Ok(guard)
    }

    /// The type that a field has.
    pub(super) fn kind(&self, field: &str) -> Option<&str> {
        self.kinds.get(field).map(String::as_str)
    }

    /// Why a point is not taken, if so.
    pub(super) fn refuse(
        &mut self,
        series: &str,
        natives: &[(String, Native)],
        series_max: usize,
    ) -> Option<String> {
        for (name, native) in natives {
            if let Some(kind) = self.kinds.get(name).filter(|kind| **kind != native.kind()) {
                return Some(format!(
                    "its field {name:?} is {}, and InfluxDB has it as {kind}: one type per field of a series",
                    native.kind()
                ));
            }
        }
        if !self.series.contains(series) {
            if self.series.len() >= series_max {
                let full = self.full.get_or_insert_with(|| fullest(&self.series));
                return Some(format!(
                    "it would be a tag set of its own, beyond series_max = {series_max}: {full}; take out of `tags` what has a \
                     value per row, or raise series_max"
                ));
            }
            self.series.insert(series.to_owned());
        }
        for (name, native) in natives {
            if !self.kinds.contains_key(name) {
                self.kinds.insert(name.clone(), native.kind().to_owned());
            }
        }
        None
    }
}

/// Which tag has the most values, and how many.
fn fullest(series: &HashSet<String>) -> String {
    let mut values: HashMap<&str, HashSet<&str>> = HashMap::new();
    for series in series {
        for tag in cut(series, ',').skip(1) {
            let mut parts = cut(tag, '=');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                values.entry(name).or_default().insert(value);
            }
        }
    }
    match values.into_iter().map(|(name, values)| (values.len(), name)).max() {
        Some((count, name)) => format!("the tag {:?} has {count} values", name.replace('\\', "")),
        None => "it has no tags".to_owned(),
    }
}

/// The parts between separators that no backslash is before.
fn cut(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let is_end = c == separator && !escaped;
        escaped = c == '\\';
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_with_most_values_is_named_and_what_is_known_goes_on() {
        let mut guard = Guard::default();
        let point = [("v".to_owned(), Native::Integer(1))];
        for n in 0..3 {
            assert_eq!(guard.refuse(&format!("m,a=x\\,y,b\\ c={n}"), &point, 3), None);
        }
        let reason = guard.refuse("m,a=x\\,y,b\\ c=9", &point, 3).unwrap_or_default();
        assert!(reason.contains("the tag \"b c\" has 3 values"), "{reason}");
        assert_eq!(guard.refuse("m,a=x\\,y,b\\ c=1", &point, 3), None);
        let text = [("v".to_owned(), Native::Text("1".into()))];
        let reason = guard.refuse("m,a=x\\,y,b\\ c=1", &text, 3).unwrap_or_default();
        assert!(reason.contains("\"v\" is string, and InfluxDB has it as integer"), "{reason}");
    }
}
