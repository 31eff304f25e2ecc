//! View changes to commands.
//!
//! A hash has one field per document field in its text form; NULL is a field that is not there, so NULL and the empty
//! text stay apart. A full put leaves exactly its fields: HSET of those that have a value, HDEL of every other name
//! that was ever written to the view (kept in the meta key), so a dropped column vanishes without a DEL per put. A
//! document without any value still exists: as a hash with the one field `""`, the marker.
//!
//! JSON documents are one string.

use std::collections::HashSet;
use std::sync::Arc;

use headwater_model::{Error, Key, Layout, Names, Record, Result, StoredBody, Value, View};

use super::keys;
use super::meta::ViewMeta;
use super::resp::{self, Reply};
use super::tape::{Expect, Tape};

/// Redis' own limit of one string (`proto-max-bulk-len`).
pub(super) const BYTES_MAX: usize = 512 << 20;

/// A field that no column can be called: it alone makes up a document without values.
const MARKER: &str = "";

/// What is known about one view while a writer lives.
pub(super) struct ViewState {
    pub(super) view: Arc<View>,
    pub(super) number: u16,
    layout: Layout,
    /// The start of every key; a key is built behind it.
    key: Vec<u8>,
    key_from: usize,
    /// Every field name ever written.
    fields: HashSet<Box<str>>,
    /// Whether the meta key lacks some of that.
    pub(super) unsaved: bool,
    /// For the field names of the last documents.
    plans: Vec<Plan>,
    /// Keys put by this step, each with its length in front: a Clear must take these too.
    put_keys: Vec<u8>,
}

/// How documents with these field names are written.
struct Plan {
    names: Names,
    /// Each name as an argument.
    encoded: Vec<Vec<u8>>,
    /// Whether the name was ever written.
    known: Vec<bool>,
    /// Names ever written that these documents do not have, as arguments; without the marker.
    absent: Vec<Vec<u8>>,
    marker_known: bool,
    /// One of the names is the marker's.
    takes_marker: bool,
}

/// Distinct lists of field names kept per view; they only change with the source's schema.
const PLANS_MAX: usize = 4;

impl ViewState {
    pub(super) fn new(view: Arc<View>, number: u16, prefix: &str, known: Option<ViewMeta>) -> ViewState {
        let key = keys::of_view(prefix, &view.name);
        let layout = view.layout();
        let known = known.unwrap_or_default();
        ViewState {
            number,
            layout,
            key_from: key.len(),
            key,
            unsaved: known.layout != Some(layout),
            fields: known.fields.into_iter().collect(),
            plans: Vec::new(),
            put_keys: Vec::new(),
            view,
        }
    }

    pub(super) fn meta(&self) -> ViewMeta {
        let mut fields: Vec<Box<str>> = self.fields.iter().cloned().collect();
        fields.sort();
        ViewMeta { layout: Some(self.layout), fields }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn key_start(&self) -> &[u8] {
        &self.key[..self.key_from]
    }

    pub(super) fn key_of(&self, key: &Key) -> Vec<u8> {
        let mut out = self.key_start().to_vec();
        key.write_text(&mut out);
        out
    }

    /// A new step begins, or the step's earlier puts are gone.
    pub(super) fn forget_put_keys(&mut self) {
        self.put_keys.clear();
        // A huge step must not keep its memory for ever.
        self.put_keys.shrink_to(1 << 20);
    }

    /// Keys this step has put so far.
    pub(super) fn put_keys(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.put_keys[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (key, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            rest = after;
            Some(key)
        })
    }

    /// Appends the commands of a put. `Err` is our caller's mistake; `Ok(Some(reason))` refuses the document, and
    /// nothing was appended.
    pub(super) fn put(
        &mut self,
        key: &Key,
        moved_from: Option<&Key>,
        document: &Record,
        out: &mut Vec<u8>,
        tape: &mut Tape,
    ) -> Result<Option<String>> {
        let start = out.len();
        self.key.truncate(self.key_from);
        key.write_text(&mut self.key);
        let refused = if self.key.len() > BYTES_MAX {
            Some(format!("the key is longer than {BYTES_MAX} bytes"))
        } else {
            let mut expect = Expectations::default();
            let refused = match self.layout {
                Layout::Hash => self.put_hash(moved_from, document, out, &mut expect),
                Layout::Json => self.put_json(moved_from, document, out, &mut expect)?,
            };
            let refused = refused.or_else(|| {
                (out.len() - start > BYTES_MAX)
                    .then(|| format!("the document is larger than {BYTES_MAX} bytes"))
            });
            if refused.is_none() {
                expect.0.into_iter().flatten().for_each(|expect| tape.push(expect));
                self.put_keys.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
                self.put_keys.extend_from_slice(&self.key);
            }
            refused
        };
        if refused.is_some() {
            out.truncate(start);
        }
        Ok(refused)
    }

    pub(super) fn delete(&mut self, key: &Key, out: &mut Vec<u8>) {
        self.key.truncate(self.key_from);
        key.write_text(&mut self.key);
        resp::whole(&[b"UNLINK", &self.key], out);
    }

    fn put_json(
        &mut self,
        moved_from: Option<&Key>,
        document: &Record,
        out: &mut Vec<u8>,
        expect: &mut Expectations,
    ) -> Result<Option<String>> {
        if document.is_partial() {
            return Err(Error::bug(format!("a partial put of a JSON document of view {:?}", self.view.name)));
        }
        if let Some(old) = moved_from {
            resp::whole(&[b"UNLINK", &self.key_of(old)], out);
            expect.push(Expect::Nothing);
        }
        resp::command(3, out);
        resp::arg(b"SET", out);
        resp::arg(&self.key, out);
        // The length stands before the text: written behind it, then turned round.
        let from = out.len();
        document.write_json(out);
        let length = out.len() - from;
        let text_end = out.len();
        out.push(b'$');
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        out.extend_from_slice(b"\r\n");
        let head = out.len() - text_end;
        out[from..].rotate_right(head);
        out.extend_from_slice(b"\r\n");
        expect.push(Expect::Nothing);
        Ok(None)
    }

    fn put_hash(
        &mut self,
        moved_from: Option<&Key>,
        document: &Record,
        out: &mut Vec<u8>,
        expect: &mut Expectations,
    ) -> Option<String> {
        let plan = self.plan(&document.names);
        let (mut present, mut gone, mut partial, mut news) = (0usize, 0usize, false, false);
        for (value, known) in document.values.iter().zip(&self.plans[plan].known) {
            match value {
                Value::Unchanged => partial = true,
                Value::Null => gone += usize::from(*known),
                _ => {
                    present += 1;
                    news |= !known;
                }
            }
        }
        if self.plans[plan].takes_marker {
            return Some("a field has an empty name, which a Redis hash of Headwater reserves".into());
        }
        let marker = present == 0;
        if news || (marker && !self.plans[plan].marker_known) {
            self.learn(document, marker);
            return self.put_hash(moved_from, document, out, expect);
        }
        let number = self.number;
        let old = moved_from.map(|old| self.key_of(old));
        if partial {
            resp::whole(&[b"EXISTS", &self.key], out);
            expect.push(Expect::WillExist { view: number });
            if let Some(old) = &old {
                resp::whole(&[b"COPY", old, &self.key, b"REPLACE"], out);
                expect.push(Expect::Nothing);
            }
        }
        if let Some(old) = &old {
            resp::whole(&[b"UNLINK", old], out);
            expect.push(Expect::Gone { view: number });
        }

        let plan = &self.plans[plan];
        let written = present + usize::from(marker);
        resp::command(2 + 2 * written, out);
        resp::arg(b"HSET", out);
        resp::arg(&self.key, out);
        for (value, name) in document.values.iter().zip(&plan.encoded) {
            if !value.is_null() && !value.is_unchanged() {
                out.extend_from_slice(name);
                write_value(value, out);
            }
        }
        if marker {
            resp::arg(MARKER.as_bytes(), out);
            resp::arg(b"", out);
        }
        // HDEL comes after HSET: a hash whose last field went would lose its key in between.
        let marker_gone = !marker && plan.marker_known;
        let removed = gone + plan.absent.len() + usize::from(marker_gone);
        if removed > 0 {
            resp::command(2 + removed, out);
            resp::arg(b"HDEL", out);
            resp::arg(&self.key, out);
            for ((value, name), known) in document.values.iter().zip(&plan.encoded).zip(&plan.known) {
                if value.is_null() && *known {
                    out.extend_from_slice(name);
                }
            }
            plan.absent.iter().for_each(|name| out.extend_from_slice(name));
            if marker_gone {
                resp::arg(MARKER.as_bytes(), out);
            }
        }
        let fields = written as u16;
        match (partial, removed > 0) {
            (true, false) => expect.push(Expect::Nothing),
            (true, true) => {
                expect.push(Expect::Nothing);
                expect.push(Expect::Nothing);
            }
            (false, false) => expect.push(Expect::Put { view: number, fields }),
            (false, true) => {
                expect.push(Expect::PutThen { fields });
                expect.push(Expect::AbsentGone { view: number });
            }
        }
        None
    }

    /// Takes note of names that are written for the first time.
    fn learn(&mut self, document: &Record, marker: bool) {
        for (name, value) in document.fields() {
            if !value.is_null() && !value.is_unchanged() && !self.fields.contains(name) {
                self.fields.insert(name.into());
            }
        }
        if marker {
            self.fields.insert(MARKER.into());
        }
        self.unsaved = true;
        self.plans.clear();
    }

    /// The index of the plan for these names, which is made if it is not there.
    fn plan(&mut self, names: &Names) -> usize {
        if let Some(found) = self.plans.iter().position(|plan| Arc::ptr_eq(&plan.names, names)) {
            return found;
        }
        if let Some(found) = self.plans.iter().position(|plan| plan.names == *names) {
            return found;
        }
        if self.plans.len() == PLANS_MAX {
            self.plans.remove(0);
        }
        let encode = |name: &str| {
            let mut out = Vec::with_capacity(name.len() + 8);
            resp::arg(name.as_bytes(), &mut out);
            out
        };
        let own: HashSet<&str> = names.iter().map(|name| &**name).collect();
        let mut absent: Vec<&str> = self
            .fields
            .iter()
            .map(|name| &**name)
            .filter(|name| *name != MARKER && !own.contains(name))
            .collect();
        absent.sort_unstable();
        self.plans.push(Plan {
            encoded: names.iter().map(|name| encode(name)).collect(),
            known: names.iter().map(|name| self.fields.contains(name)).collect(),
            absent: absent.into_iter().map(encode).collect(),
            marker_known: self.fields.contains(MARKER),
            takes_marker: own.contains(MARKER),
            names: names.clone(),
        });
        self.plans.len() - 1
    }
}

/// A put is at most EXISTS, COPY, UNLINK, HSET, HDEL.
#[derive(Default)]
struct Expectations([Option<Expect>; 5]);

impl Expectations {
    fn push(&mut self, expect: Expect) {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(expect);
        }
    }
}

/// Appends a value's text form as an argument.
fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(n) => resp::arg(itoa::Buffer::new().format(*n).as_bytes(), out),
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => resp::arg(text.as_bytes(), out),
        Value::Bool(true) => resp::arg(b"true", out),
        Value::Bool(false) => resp::arg(b"false", out),
        other => resp::arg(other.to_text().as_bytes(), out),
    }
}

/// Appends the command that reads a document.
pub(super) fn ask(layout: Layout, key: &[u8], out: &mut Vec<u8>) {
    match layout {
        Layout::Hash => resp::whole(&[b"HGETALL", key], out),
        Layout::Json => resp::whole(&[b"GET", key], out),
    }
}

/// A document as it lies there. A foreign value of another type is given as a body that equals no document, so that
/// verification sees it: an empty text where fields are expected, no fields where a text is.
pub(super) fn read(layout: Layout, reply: Reply) -> Result<Option<StoredBody>> {
    match (layout, reply) {
        (_, Reply::Error(text)) if text.starts_with("WRONGTYPE") => Ok(Some(match layout {
            Layout::Hash => StoredBody::Json("".into()),
            Layout::Json => StoredBody::Fields(Vec::new()),
        })),
        (_, Reply::Error(text)) => Err(super::failure::from_reply(&text)),
        (Layout::Json, Reply::Nil) => Ok(None),
        (Layout::Json, Reply::Text(bytes)) => {
            Ok(Some(StoredBody::Json(String::from_utf8_lossy(&bytes).into())))
        }
        (Layout::Hash, Reply::Array(items)) => {
            if items.is_empty() {
                return Ok(None);
            }
            let mut fields = Vec::with_capacity(items.len() / 2);
            let mut items = items.into_iter();
            while let (Some(name), Some(Reply::Text(value))) = (items.next(), items.next()) {
                let name = name.into_lossy();
                if name != MARKER {
                    fields.push((name, value));
                }
            }
            fields.sort();
            Ok(Some(StoredBody::Fields(fields)))
        }
        _ => Err(super::failure::unexpected("a read")),
    }
}
