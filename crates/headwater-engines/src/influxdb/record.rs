//! What lies under a key, as one text: InfluxDB makes a point visible field by field, and a text is one field.
//!
//! The first line is JSON: `k` the key, `at` and `part` the [`Version`], `t` and `p` where its point in the series lies,
//! `gone` after a delete. What follows is the document, byte for byte.

use std::borrow::Cow;
use std::sync::Arc;

use headwater_model::{Error, Offset, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::line;
use super::place::Place;
use crate::entries::{self, Entry};

/// As the server takes it in one field.
pub(super) const RECORD_BYTES_MAX: usize = 65_535;

/// As of which place in the log a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    /// The step's end; or, of a transaction that is not read to its end yet, what it follows.
    pub(super) at: Offset,
    /// Of such a transaction, which part of it that goes to the store, from 1 on; else 0.
    pub(super) part: u32,
}

impl Version {
    /// Whether a record of version `stored` must stay: what is written is a replay of less.
    pub(super) fn yields_to(self, stored: Version) -> bool {
        self.part == 0 && stored.at > self.at
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) version: Version,
    /// `None`: deleted.
    pub(super) document: Option<Arc<str>>,
    /// `None`: it is in no series.
    pub(super) place: Option<Place>,
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    k: Cow<'a, str>,
    at: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    part: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

impl Record {
    pub(super) fn to_text(&self) -> Result<String> {
        let place = self.place.as_ref();
        let head = Head {
            k: Cow::Borrowed(&self.key),
            at: self.version.at.0,
            part: self.version.part,
            t: place.map(|place| place.time),
            p: place.map(|place| hex(&entries::pack(std::slice::from_ref(&place.entry)))),
            gone: self.document.is_none(),
        };
        let mut text =
            serde_json::to_string(&head).map_err(|e| Error::bug("write a record").with_cause(e))?;
        text.push('\n');
        text.push_str(self.document.as_deref().unwrap_or_default());
        Ok(text)
    }

    /// As the value of a field.
    pub(super) fn field(&self) -> Result<String> {
        let text = self.to_text()?;
        let mut out = String::with_capacity(text.len() + text.len() / 4);
        line::push_text(&text, &mut out);
        Ok(out)
    }

    pub(super) fn read(text: &str) -> Result<Record> {
        let broken = || Error::corrupt("a record of the store cannot be read");
        let (head, document) = text.split_once('\n').ok_or_else(broken)?;
        let head: Head<'_> = serde_json::from_str(head).map_err(|e| broken().with_cause(e))?;
        let place = match (head.t, head.p) {
            (Some(time), Some(packed)) => {
                let mut entries = entries::unpack(&entries::read_hex(&packed).ok_or_else(broken)?)?;
                let entry: Entry = entries.pop().ok_or_else(broken)?;
                Some(Place { entry, time })
            }
            _ => None,
        };
        Ok(Record {
            key: head.k.into_owned(),
            version: Version { at: Offset(head.at), part: head.part },
            document: (!head.gone).then(|| document.into()),
            place,
        })
    }

    /// Of a column of an answer, and the time of its row.
    pub(super) fn of_row(row: &[Json]) -> Result<(i64, Record)> {
        let broken = || Error::corrupt("a point of the store has no record");
        let time = row.first().and_then(Json::as_i64).ok_or_else(broken)?;
        let text = row.get(1).and_then(Json::as_str).ok_or_else(broken)?;
        Ok((time, Record::read(text)?))
    }
}

fn is_zero(part: &u32) -> bool {
    *part == 0
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pair = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    bytes.iter().flat_map(pair).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_model::{IndexEntry, IndexPlace};

    use super::*;

    #[test]
    fn records_come_back() {
        let entry = IndexEntry {
            index: 0,
            place: IndexPlace { part: vec![6, b'a', 0, 0], sort: vec![4, 0xff] },
            key: "k".into(),
        };
        let place = Place { entry: Entry::from(&entry), time: -7 };
        for (key, document, place) in [
            ("a\n\"é", Some("{\"a\":1.50,\n\"b\":\"\\u0000\"}"), Some(place)),
            ("", Some("{}"), None),
            ("x", None, None),
        ] {
            let document = document.map(Arc::from);
            let version = Version { at: Offset(u64::MAX), part: u32::from(key.is_empty()) };
            let record = Record { key: key.into(), version, document, place };
            assert_eq!(Record::read(&record.to_text().unwrap()).unwrap(), record);
        }
        for broken in ["", "{}", "{}\n", "{\"k\":\"a\",\"at\":1,\"t\":1,\"p\":\"0\"}\n"] {
            assert!(Record::read(broken).is_err(), "{broken:?}");
        }
    }
}
