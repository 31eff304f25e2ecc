//! Commands that read documents, answered many at a time: what a client has sent without waiting is asked of each view in
//! one read, and the replies are written in the order of the commands.
//!
//! Owns: which documents the waiting commands need, and how a document becomes a reply. Does not own: commands that need
//! more than documents by their keys ([`super::rankings`], [`super::scan`]).

use std::ops::Range;

use headwater_flow::serve;
use headwater_model::json::Field;
use headwater_model::{Error, Found, Key, Ranking, Read, StoredBody};

use super::command::Kind;
use super::failure;
use super::fields::{fields, value};
use super::reply::{self, Protocol};
use super::session::Session;
use super::views::{Served, Views};

/// Documents that are asked for at once. One command may need more: its own bound is that of arguments.
pub const KEYS_MAX: usize = 128;

/// Commands that wait for documents.
#[derive(Default)]
pub struct Batch {
    asked: Vec<Asked>,
    /// Of all commands, one after the other.
    slots: Vec<Option<Slot>>,
    groups: Vec<Group>,
    /// Names of fields of all commands, one after the other.
    names: Vec<u8>,
    name_ends: Vec<usize>,
}

struct Asked {
    kind: Kind,
    slots: Range<usize>,
    names: Range<usize>,
}

/// Where a document is found; none for keys that name nothing.
#[derive(Clone, Copy)]
struct Slot {
    group: usize,
    place: usize,
}

/// The documents of one view.
struct Group {
    view: usize,
    keys: Vec<Key>,
    /// Or the error's text.
    found: Result<Vec<Option<StoredBody>>, String>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.slots.len() >= KEYS_MAX
    }

    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Adds a command of these documents and names of fields.
    pub fn add<'a>(
        &mut self,
        kind: Kind,
        documents: impl Iterator<Item = Option<(usize, Key)>>,
        names: impl Iterator<Item = &'a [u8]>,
    ) {
        let (slots_from, names_from) = (self.slots.len(), self.name_ends.len());
        for document in documents {
            let slot = document.map(|(view, key)| self.slot(view, key));
            self.slots.push(slot);
        }
        for name in names {
            self.names.extend_from_slice(name);
            self.name_ends.push(self.names.len());
        }
        self.asked.push(Asked {
            kind,
            slots: slots_from..self.slots.len(),
            names: names_from..self.name_ends.len(),
        });
    }

    fn slot(&mut self, view: usize, key: Key) -> Slot {
        let group = match self.groups.iter().position(|group| group.view == view) {
            Some(group) => group,
            None => {
                self.groups.push(Group { view, keys: Vec::new(), found: Ok(Vec::new()) });
                self.groups.len() - 1
            }
        };
        self.groups[group].keys.push(key);
        Slot { group, place: self.groups[group].keys.len() - 1 }
    }

    /// Reads what is needed: one read per view.
    pub async fn read(&mut self, views: &Views, session: &mut Session) {
        for at in 0..self.groups.len() {
            let Some(served) = views.get(self.groups[at].view) else { continue };
            let keys = std::mem::take(&mut self.groups[at].keys);
            let asking = |asked: &&Asked| {
                self.slots[asked.slots.clone()].iter().flatten().any(|slot| slot.group == at)
            };
            let reads = if self.groups.len() == 1 {
                self.asked.len()
            } else {
                self.asked.iter().filter(asking).count()
            };
            self.groups[at].found = documents(served, keys, session, reads as u64).await;
        }
    }

    /// Writes the reply of the command at `place`; its documents have been read.
    pub fn reply(&self, place: usize, views: &Views, protocol: Protocol, out: &mut Vec<u8>) {
        let Some(asked) = self.asked.get(place) else { return };
        let slots = &self.slots[asked.slots.clone()];
        if let Some(refused) =
            slots.iter().flatten().find_map(|slot| self.groups[slot.group].found.as_ref().err())
        {
            return reply::error(refused, out);
        }
        let document = |slot: &Option<Slot>| -> Option<(&Served, &StoredBody)> {
            let slot = (*slot)?;
            let group = &self.groups[slot.group];
            let body = group.found.as_ref().ok()?.get(slot.place)?.as_ref()?;
            Some((views.get(group.view)?, body))
        };
        let write_json = |slot: &Option<Slot>, out: &mut Vec<u8>| match document(slot) {
            Some((served, body)) => json(served, body, out),
            None => reply::null(protocol, out),
        };
        let first = slots.first().and_then(document);
        match asked.kind {
            Kind::Get => write_json(&slots.first().copied().flatten(), out),
            Kind::Mget => {
                reply::array(slots.len(), out);
                slots.iter().for_each(|slot| write_json(slot, out));
            }
            Kind::Exists => {
                let there = slots.iter().filter(|slot| document(slot).is_some()).count();
                reply::integer(there as i64, out);
            }
            Kind::Zmscore => {
                reply::array(slots.len(), out);
                slots.iter().for_each(|slot| score(document(slot), protocol, out));
            }
            Kind::Zscore => score(first, protocol, out),
            Kind::Type => reply::simple(first.map_or("none", |(served, _)| served.document_type()), out),
            Kind::Ttl => reply::integer(if first.is_some() { -1 } else { -2 }, out),
            Kind::Strlen => {
                let length = first.map_or(0, |(served, body)| match body {
                    StoredBody::Json(json) => json.len(),
                    other => serve::json(&served.get.plan.fields, other.clone()).len(),
                });
                reply::integer(length as i64, out);
            }
            Kind::Hgetall | Kind::Hkeys | Kind::Hvals | Kind::Hlen => all(asked.kind, first, protocol, out),
            Kind::Hexists => {
                let there = self.name(asked.names.start).is_some_and(|name| has(first, name));
                reply::integer(i64::from(there), out);
            }
            Kind::Hmget => {
                reply::array(asked.names.len(), out);
                for name in asked.names.clone() {
                    field(first, self.name(name), protocol, out);
                }
            }
            Kind::Hget => field(first, self.name(asked.names.start), protocol, out),
            // Others are not added.
            _ => reply::error("ERR this command reads no documents", out),
        }
    }

    fn name(&self, place: usize) -> Option<&[u8]> {
        let from = place.checked_sub(1).and_then(|before| self.name_ends.get(before)).copied().unwrap_or(0);
        self.names.get(from..*self.name_ends.get(place)?)
    }

    pub fn clear(&mut self) {
        self.asked.clear();
        self.slots.clear();
        self.groups.clear();
        self.names.clear();
        self.name_ends.clear();
    }
}

/// Documents by their keys, each or nothing. An error is the text of a reply.
pub async fn documents(
    served: &Served,
    keys: Vec<Key>,
    session: &mut Session,
    reads: u64,
) -> Result<Vec<Option<StoredBody>>, String> {
    let wanted = keys.len();
    let read = Read::Get { view: served.view.clone(), keys };
    let demand = session.demand(&served.source);
    let answered = served.serving.answer_reads(&served.get, &read, demand, session.within(), reads).await;
    match answered {
        Ok((Found::Documents(documents), shown)) if documents.len() == wanted => {
            session.shown(&served.source, shown);
            Ok(documents)
        }
        Ok(_) => Err(format!("ERR {}", Error::bug("a store answered another question"))),
        Err(refused) => Err(failure::text(&refused)),
    }
}

fn json(served: &Served, body: &StoredBody, out: &mut Vec<u8>) {
    match body {
        StoredBody::Json(json) => reply::bulk(json.as_bytes(), out),
        other => reply::bulk(serve::json(&served.get.plan.fields, other.clone()).as_bytes(), out),
    }
}

/// All fields that are not null.
fn all(kind: Kind, document: Option<(&Served, &StoredBody)>, protocol: Protocol, out: &mut Vec<u8>) {
    let from = out.len();
    let mut pairs = 0;
    let mut pair = |name: &[u8], value: &[u8], out: &mut Vec<u8>| {
        pairs += 1;
        if matches!(kind, Kind::Hgetall | Kind::Hkeys) {
            reply::bulk(name, out);
        }
        if matches!(kind, Kind::Hgetall | Kind::Hvals) {
            reply::bulk(value, out);
        }
    };
    match document {
        None => {}
        Some((served, StoredBody::Json(json))) => {
            for field in fields(json.as_bytes()) {
                pair(&field.name(), &value(&field, &served.json_fields), out);
            }
        }
        Some((_, StoredBody::Fields(fields))) => {
            fields.iter().for_each(|(name, value)| pair(name.as_bytes(), value, out));
        }
    }
    match kind {
        Kind::Hgetall => reply::map_at(from, pairs, protocol, out),
        Kind::Hlen => reply::integer(pairs as i64, out),
        _ => reply::array_at(from, pairs, out),
    }
}

fn field(
    document: Option<(&Served, &StoredBody)>,
    name: Option<&[u8]>,
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    let Some(name) = name else { return reply::null(protocol, out) };
    match document {
        Some((served, StoredBody::Json(json))) => match in_json(json, name) {
            Some(field) => reply::bulk(&value(&field, &served.json_fields), out),
            None => reply::null(protocol, out),
        },
        Some((_, StoredBody::Fields(fields))) => match in_fields(fields, name) {
            Some(value) => reply::bulk(value, out),
            None => reply::null(protocol, out),
        },
        None => reply::null(protocol, out),
    }
}

fn has(document: Option<(&Served, &StoredBody)>, name: &[u8]) -> bool {
    match document {
        Some((_, StoredBody::Json(json))) => in_json(json, name).is_some(),
        Some((_, StoredBody::Fields(fields))) => in_fields(fields, name).is_some(),
        None => false,
    }
}

fn in_json<'a>(json: &'a str, name: &[u8]) -> Option<Field<'a>> {
    fields(json.as_bytes()).find(|field| field.is_named(name))
}

fn in_fields<'a>(fields: &'a [(String, Vec<u8>)], name: &[u8]) -> Option<&'a [u8]> {
    fields.iter().find(|(field, _)| field.as_bytes() == name).map(|(_, value)| &**value)
}

/// The score of a ranking's document.
fn score(document: Option<(&Served, &StoredBody)>, protocol: Protocol, out: &mut Vec<u8>) {
    match document {
        Some((_, body)) => reply::double(&score_text(body), protocol, out),
        None => reply::null(protocol, out),
    }
}

/// The score with all its digits. A group without any value has none, which sorted sets cannot say: `nan`.
pub fn score_text(body: &StoredBody) -> String {
    let name = Ranking::SCORE.as_bytes();
    let bytes = match body {
        StoredBody::Json(json) => in_json(json, name).map(|field| value(&field, &[]).into_owned()),
        StoredBody::Fields(fields) => in_fields(fields, name).map(<[u8]>::to_vec),
    };
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref() {
        None | Some("NaN") => "nan".to_owned(),
        Some("Infinity") => "inf".to_owned(),
        Some("-Infinity") => "-inf".to_owned(),
        Some(text) => text.to_owned(),
    }
}
