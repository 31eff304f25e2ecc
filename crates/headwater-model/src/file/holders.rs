//! Which stores hold a view, and how much of it: `store = ["catalog", { name = "near", hold = "10%" }]`.

use std::time::Duration;

use toml::de::DeValue;

use super::read::{Reader, Section, Value, join, kind};
use super::sections::duration;
use super::unit;
use super::views::filter;
use crate::{Hold, Part, nearest};

const HOLD_REMEDY: &str = "write a share of the view's documents, as in \"10%\", or how many, as in \"5000\"";

/// A part that forgets faster than this is none.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The stores that hold all of a view, and those that hold part of it.
#[derive(Default)]
pub(super) struct Holders {
    pub stores: Vec<Box<str>>,
    pub parts: Vec<Part>,
}

impl Holders {
    /// `name` is the view's; `known` are all stores. What cannot be read has been reported.
    pub fn read(
        reader: &mut Reader<'_>,
        section: &mut Section<'_>,
        name: &str,
        known: &[&str],
        holds_documents: bool,
    ) -> Holders {
        let Some(value) = section.take(reader, "store") else {
            return Holders::unsaid(reader, section, name, known);
        };
        let one = std::slice::from_ref(value);
        let items: &[Value<'_>] = match value.get_ref() {
            DeValue::Array(items) => items,
            _ => one,
        };
        if items.is_empty() {
            reader.wrong(value.span(), "`store` is an empty list", "name at least one");
        }
        let mut holders = Holders::default();
        let path = join(&section.path, "store");
        // Whether a store that holds all of it was meant, even if it cannot be read.
        let mut whole = false;
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => {
                    if let Some(part) =
                        part(reader, Section::new(path.clone(), item.span(), table), &path, known)
                        && holders.is_new(reader, item, &part.store)
                    {
                        holders.parts.push(part);
                    }
                    if !holds_documents {
                        reader.wrong(
                            item.span(),
                            "only documents are held in part: of other views, what is missing cannot be told from \
                             what is not there",
                            "name the store alone, to hold all of it",
                        );
                    }
                }
                DeValue::String(_) => {
                    whole = true;
                    let Some(store) = reader.plain(item, "store") else { continue };
                    if holders.is_new(reader, item, store) && is_known(reader, item, store, known) {
                        holders.stores.push(store.into());
                    }
                }
                other => {
                    whole = true;
                    reader.wrong(
                        item.span(),
                        format!("`store` is {}, not a string or a list of strings", kind(other)),
                        "put names in quotes",
                    );
                }
            }
        }
        if !whole && !items.is_empty() {
            reader.wrong(
                value.span(),
                format!("no store holds all of view `{name}`: a part is filled from one that does"),
                "name such a store as well: store = [\"STORE\", { name = …, hold = … }]",
            );
        }
        holders
    }

    /// The only store there is, if so.
    fn unsaid(reader: &mut Reader<'_>, section: &Section<'_>, name: &str, known: &[&str]) -> Holders {
        match known {
            [only] => return Holders { stores: vec![(*only).into()], parts: Vec::new() },
            // Said once for the file, not per view.
            [] => {}
            _ if section.misspells("store") => {}
            _ => reader.missing(
                section.at.clone(),
                format!("view `{name}` does not say which store holds it"),
                format!("add store = \"{}\", or a list; the stores are {}", known[0], known.join(", ")),
            ),
        }
        Holders::default()
    }

    fn is_new(&self, reader: &mut Reader<'_>, item: &Value<'_>, store: &str) -> bool {
        let named = self.stores.iter().chain(self.parts.iter().map(|part| &part.store));
        let is_new = named.into_iter().all(|other| **other != *store);
        if !is_new {
            reader.wrong(item.span(), format!("`store` names `{store}` twice"), "name it once");
        }
        is_new
    }
}

fn is_known(reader: &mut Reader<'_>, item: &Value<'_>, store: &str, known: &[&str]) -> bool {
    if known.contains(&store) {
        return true;
    }
    if !known.is_empty() {
        let remedy = match nearest(store, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the stores are {}", known.join(", ")),
        };
        reader.missing(item.span(), format!("there is no store `{store}`"), remedy);
    }
    false
}

/// `{ name = "near", hold = "10%", ttl = "5m", where = "price > 10" }`
fn part(reader: &mut Reader<'_>, mut section: Section<'_>, path: &str, known: &[&str]) -> Option<Part> {
    let name = section.take(reader, "name");
    let store = name.and_then(|value| Some((reader.plain(value, "name")?, value)));
    // Findings name the store: there may be several parts.
    let own = join(path, store.map_or("", |(store, _)| store));
    reader.places.put(&own, section.at.clone(), section.at.clone());
    let hold_value = section.take(reader, "hold");
    let hold = match hold_value {
        Some(value) => hold(reader, value),
        None => {
            if !section.misspells("hold") {
                reader.missing(section.at.clone(), "a part does not say how much it holds", HOLD_REMEDY);
            }
            None
        }
    };
    let ttl = duration(reader, &mut section, "ttl", TTL_MIN, TTL_MAX);
    let filter = section.take(reader, "where").and_then(|value| {
        reader.places.put(&join(&own, "where"), value.span(), value.span());
        filter(reader, value)
    });
    if name.is_none() && !section.misspells("name") {
        reader.missing(
            section.at.clone(),
            "a part does not say which store holds it",
            "add name = \"STORE\", the name of one of [stores]",
        );
    }
    section.finish(reader);
    let (store, at) = store?;
    is_known(reader, at, store, known).then_some(Part { store: store.into(), hold: hold?, ttl, filter })
}

fn hold(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Hold> {
    let hold = match value.get_ref() {
        DeValue::Integer(_) => {
            return reader.integer(value, "hold", 1..=i64::MAX).map(|n| Hold::Documents(n.unsigned_abs()));
        }
        _ => parse(reader.plain(value, "hold")?),
    };
    if hold.is_none() {
        reader.wrong(value.span(), "`hold` cannot be read", HOLD_REMEDY);
    }
    hold
}

/// `10%`, `0.5%`, `5000`.
fn parse(text: &str) -> Option<Hold> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.trim();
    if text.ends_with('%') {
        return unit::parse_share(text).map(Hold::Share);
    }
    let documents = text.replace('_', "");
    let documents = if digits(&documents) { documents.parse().ok()? } else { return None };
    (documents > 0).then_some(Hold::Documents(documents))
}

/// As the file writes it.
pub(super) fn show(hold: Hold) -> String {
    match hold {
        Hold::Documents(documents) => documents.to_string(),
        Hold::Share(millionths) => unit::show_share(millionths),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_as_they_read() {
        for text in ["10%", "0.5%", "100%", "0.0001%", "12.25%", "1", "5000"] {
            assert_eq!(parse(text).map(show).as_deref(), Some(text));
        }
        assert_eq!(parse("5_000"), Some(Hold::Documents(5000)));
        for bad in ["", "%", "0", "0%", "101%", "1.00001%", "-1", "10 %x", "ten", "1e3", ".5%", "5.%", "٣"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_of_few_is_at_least_one() {
        let share = Hold::Share(50_000);
        assert_eq!([0, 1, 20, 21, 1_000_000].map(|rows| share.documents(rows)), [1, 1, 1, 2, 50_000]);
        assert_eq!(Hold::Share(1_000_000).documents(u64::MAX), u64::MAX);
    }
}
