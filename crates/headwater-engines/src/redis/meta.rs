//! Our state in the store: one hash, written in the same MULTI as the data.
//!
//! | field | content |
//! |---|---|
//! | `format` | `1` |
//! | `epoch`, `offset` | of the newest step |
//! | `system`, `sequence` | the source position of the newest transaction; empty before the first |
//! | `committed_at` | its commit time, microseconds since 1970 by the source's clock |
//! | `lanes` | in a cluster, how many lanes the store is spread over: each has such a hash |
//! | `ahead` | in a cluster, how far the lane is ahead of `offset`, if it is ([`Ahead`]) |
//! | `layout:VIEW` | `hash` or `json` |
//! | `fields:VIEW` | JSON list of every field name ever written to the view's hashes |

use std::collections::HashMap;

use headwater_model::{Epoch, Error, Held, Layout, Offset, Position, Result, ViewId};

use super::ahead::Ahead;
use super::failure;
use super::resp::{self, Reply};

/// What says where a store, or a lane of it, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) held: Held,
    pub(super) ahead: Ahead,
}

/// What [`read_mark`] asks for, in its order.
const MARK: [&str; 6] = ["epoch", "offset", "system", "sequence", "committed_at", AHEAD];

pub(super) const AHEAD: &str = "ahead";

pub(super) const LANES: &str = "lanes";

/// So many of them, the first, are written with every step.
const HELD_FIELDS: usize = 5;

/// From here on the meta key is watched: the next EXEC fails if anyone else writes it.
pub(super) fn watch(key: &[u8], out: &mut Vec<u8>) {
    resp::whole(&[b"WATCH", key], out);
}

pub(super) fn ask_mark(key: &[u8], out: &mut Vec<u8>) {
    resp::command(2 + MARK.len(), out);
    resp::arg(b"HMGET", out);
    resp::arg(key, out);
    for field in MARK {
        resp::arg(field.as_bytes(), out);
    }
}

pub(super) fn read_mark(reply: Reply) -> Result<Option<Mark>> {
    let fields = match reply {
        Reply::Array(items) if items.len() == MARK.len() => items,
        Reply::Error(text) => return Err(failure::from_reply(&text)),
        _ => return Err(failure::unexpected("HMGET")),
    };
    if fields.iter().all(|field| *field == Reply::Nil) {
        return Ok(None);
    }
    let number = |i: usize| {
        fields[i].lossy().parse().map_err(|_| {
            Error::corrupt(format!("the store's own state has {:?} as its {}", fields[i].lossy(), MARK[i]))
        })
    };
    let system = fields[2].lossy();
    let held = Held {
        epoch: Epoch(number(0)?),
        offset: Offset(number(1)?),
        position: if system.is_empty() { None } else { Some(Position::new(system, number(3)?)) },
        committed_at: fields[4].lossy().parse().unwrap_or(0),
    };
    Ok(Some(Mark { held, ahead: Ahead::read(&fields[5].lossy())? }))
}

/// Appends the command that writes `held`. `more` are further fields.
pub(super) fn write(key: &[u8], held: &Held, more: &[(String, String)], out: &mut Vec<u8>) {
    let (system, sequence) = match &held.position {
        Some(position) => (&*position.system, position.sequence.to_string()),
        None => ("", String::new()),
    };
    resp::command(2 + 2 * (1 + HELD_FIELDS + more.len()), out);
    resp::arg(b"HSET", out);
    resp::arg(key, out);
    let values: [String; HELD_FIELDS] = [
        held.epoch.to_string(),
        held.offset.to_string(),
        system.to_owned(),
        sequence,
        held.committed_at.to_string(),
    ];
    let own = MARK.iter().zip(&values).map(|(field, value)| (*field, value.as_str()));
    let more = more.iter().map(|(field, value)| (field.as_str(), value.as_str()));
    for (field, value) in [("format", "1")].into_iter().chain(own).chain(more) {
        resp::arg(field.as_bytes(), out);
        resp::arg(value.as_bytes(), out);
    }
}

/// What is remembered about a view.
#[derive(Clone, Debug, Default)]
pub(super) struct ViewMeta {
    pub(super) layout: Option<Layout>,
    pub(super) fields: Vec<Box<str>>,
}

impl ViewMeta {
    pub(super) fn as_fields(&self, view: &str) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        if let Some(layout) = self.layout {
            let layout = if layout == Layout::Hash { "hash" } else { "json" };
            fields.push((format!("layout:{view}"), layout.to_owned()));
        }
        if !self.fields.is_empty() {
            fields.push((format!("fields:{view}"), serde_json::json!(self.fields).to_string()));
        }
        fields
    }
}

/// Reads an HGETALL of the meta key.
pub(super) fn read_views(reply: Reply) -> Result<HashMap<ViewId, ViewMeta>> {
    let items = match reply {
        Reply::Array(items) => items,
        Reply::Error(text) => return Err(failure::from_reply(&text)),
        _ => return Err(failure::unexpected("HGETALL")),
    };
    let mut views: HashMap<ViewId, ViewMeta> = HashMap::new();
    for pair in items.chunks_exact(2) {
        let (field, value) = (pair[0].lossy(), pair[1].lossy());
        if field == "format" && value != "1" {
            return Err(Error::unsupported(format!(
                "the store was written by a newer Headwater (format {value})"
            ))
            .with_remedy("use that version, or let this one start over with another prefix"));
        }
        if let Some(view) = field.strip_prefix("layout:") {
            let layout = if value == "json" { Layout::Json } else { Layout::Hash };
            views.entry(view.into()).or_default().layout = Some(layout);
        } else if let Some(view) = field.strip_prefix("fields:") {
            views.entry(view.into()).or_default().fields = serde_json::from_str(&value).map_err(|e| {
                Error::corrupt(format!("the store's own field list of view {view:?} cannot be read"))
                    .with_cause(e)
            })?;
        }
    }
    Ok(views)
}
