//! Table shapes, views and field names that payloads refer to by number, so that a row does not carry them.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_model::wire::{self, write_varint};
use headwater_model::{Error, Names, Result, Table, View};

use super::frame::{self, Kind};

/// Something that many payloads share.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Table(Arc<Table>),
    View(Arc<View>),
    Names(Names),
}

impl Shape {
    fn encode(&self, number: u32, out: &mut Vec<u8>) -> Result<()> {
        write_varint(u64::from(number), out);
        let (tag, json) = match self {
            Shape::Table(table) => (0, serde_json::to_vec(&**table)),
            Shape::View(view) => (1, serde_json::to_vec(&**view)),
            Shape::Names(names) => (2, serde_json::to_vec(&**names)),
        };
        out.push(tag);
        out.extend_from_slice(&json.map_err(|e| Error::bug("write a shape as JSON").with_cause(e))?);
        Ok(())
    }

    fn decode(body: &[u8]) -> Result<(u64, Shape)> {
        let mut reader = wire::Reader::new(body);
        let (number, tag) = (reader.varint()?, reader.byte()?);
        let json = reader.take(reader.remaining())?;
        let bad = |e| Error::corrupt("read a shape").with_cause(e);
        let shape = match tag {
            0 => Shape::Table(Arc::new(serde_json::from_slice(json).map_err(bad)?)),
            1 => Shape::View(Arc::new(serde_json::from_slice(json).map_err(bad)?)),
            2 => Shape::Names(serde_json::from_slice::<Vec<Box<str>>>(json).map_err(bad)?.into()),
            _ => return Err(Error::corrupt(format!("no shape has tag {tag}"))),
        };
        Ok((number, shape))
    }
}

/// The numbers that the active segment has given to shapes: the writer's side.
#[derive(Default)]
pub struct Numbers {
    next: u32,
    tables: Interner<Table>,
    views: Interner<View>,
    names: Interner<[Box<str>]>,
    /// Numbered, and not yet written as `Shape` frames.
    pending: Vec<(u32, Shape)>,
}

impl Numbers {
    /// For a segment that defines `defined` shapes already. They are defined anew when next used.
    pub(super) fn after(defined: u32) -> Numbers {
        Numbers { next: defined, ..Numbers::default() }
    }

    pub fn table(&mut self, table: &Arc<Table>) -> u32 {
        self.tables.number(table, &mut self.next, |n| self.pending.push((n, Shape::Table(table.clone()))))
    }

    pub fn view(&mut self, view: &Arc<View>) -> u32 {
        self.views.number(view, &mut self.next, |n| self.pending.push((n, Shape::View(view.clone()))))
    }

    pub fn names(&mut self, names: &Names) -> u32 {
        self.names.number(names, &mut self.next, |n| self.pending.push((n, Shape::Names(names.clone()))))
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes the definitions that are due. `out[0]` lies at `base` in the file of segment `segment`.
    pub(super) fn write_pending(&mut self, out: &mut Vec<u8>, segment: u64, base: u64) -> Result<()> {
        for (number, shape) in self.pending.drain(..) {
            let start = frame::open(Kind::Shape, out);
            shape.encode(number, out)?;
            frame::close(out, start, segment, base + start as u64)?;
        }
        Ok(())
    }

    /// How many shapes are defined: what [`Numbers::forget_from`] takes to undo what comes after.
    pub(super) fn defined(&self) -> u32 {
        self.next
    }

    /// Forgets numbers from `first` on: their definitions were cut off with the entry that brought them.
    pub(super) fn forget_from(&mut self, first: u32) {
        self.pending.clear();
        if self.next != first {
            self.next = first;
            self.tables.forget_from(first);
            self.views.forget_from(first);
            self.names.forget_from(first);
        }
    }
}

/// At most this many pointers are remembered; content is compared again after that.
const ALIASES_MAX: usize = 4096;

/// Numbers by content, found by pointer: a source hands the same `Arc` with each row.
struct Interner<S: ?Sized> {
    by_content: Vec<(Arc<S>, u32)>,
    /// Each pointer is kept alive, so its address cannot come to mean another shape.
    by_pointer: HashMap<usize, (Arc<S>, u32)>,
    recent: Option<(usize, u32)>,
}

impl<S: ?Sized> Default for Interner<S> {
    fn default() -> Self {
        Interner { by_content: Vec::new(), by_pointer: HashMap::new(), recent: None }
    }
}

impl<S: ?Sized + PartialEq> Interner<S> {
    #[inline]
    fn number(&mut self, shape: &Arc<S>, next: &mut u32, define: impl FnOnce(u32)) -> u32 {
        let address = Arc::as_ptr(shape).cast::<()>() as usize;
        match self.recent {
            Some((recent, number)) if recent == address => number,
            _ => self.look_up(address, shape, next, define),
        }
    }

    fn look_up(&mut self, address: usize, shape: &Arc<S>, next: &mut u32, define: impl FnOnce(u32)) -> u32 {
        let number = match self.by_pointer.get(&address) {
            Some((_, number)) => *number,
            None => {
                let known = self.by_content.iter().find(|(known, _)| known == shape);
                let number = match known {
                    Some((_, number)) => *number,
                    None => {
                        let number = *next;
                        *next += 1;
                        self.by_content.push((shape.clone(), number));
                        define(number);
                        number
                    }
                };
                if self.by_pointer.len() >= ALIASES_MAX {
                    self.by_pointer.clear();
                }
                self.by_pointer.insert(address, (shape.clone(), number));
                number
            }
        };
        self.recent = Some((address, number));
        number
    }

    fn forget_from(&mut self, first: u32) {
        self.by_content.retain(|(_, number)| *number < first);
        self.by_pointer.retain(|_, (_, number)| *number < first);
        self.recent = None;
    }
}

/// The shapes of the segment being read, by number: the reader's side.
#[derive(Clone, Default)]
pub struct Shapes {
    defined: Vec<Shape>,
    /// Those of the segment before: a shape that comes again keeps its `Arc`, so pointers stay comparable.
    before: Vec<Shape>,
}

impl Shapes {
    pub(super) fn next_segment(&mut self) {
        if !self.defined.is_empty() {
            self.before = std::mem::take(&mut self.defined);
        }
    }

    pub(super) fn define(&mut self, body: &[u8]) -> Result<()> {
        let (number, shape) = Shape::decode(body)?;
        if number != self.defined.len() as u64 {
            return Err(Error::corrupt(format!(
                "shape {number} is defined as number {}",
                self.defined.len()
            )));
        }
        let same = |known: &&Shape| **known == shape;
        let known = self.before.iter().find(same).or_else(|| self.defined.iter().find(same)).cloned();
        self.defined.push(known.unwrap_or(shape));
        Ok(())
    }

    fn get(&self, number: u64) -> Result<&Shape> {
        let shape = usize::try_from(number).ok().and_then(|number| self.defined.get(number));
        shape.ok_or_else(|| Error::corrupt(format!("shape {number} is used and not defined")))
    }

    pub fn table(&self, number: u64) -> Result<&Arc<Table>> {
        match self.get(number)? {
            Shape::Table(table) => Ok(table),
            _ => Err(Error::corrupt(format!("shape {number} is not a table"))),
        }
    }

    pub fn view(&self, number: u64) -> Result<&Arc<View>> {
        match self.get(number)? {
            Shape::View(view) => Ok(view),
            _ => Err(Error::corrupt(format!("shape {number} is not a view"))),
        }
    }

    pub fn names(&self, number: u64) -> Result<&Names> {
        match self.get(number)? {
            Shape::Names(names) => Ok(names),
            _ => Err(Error::corrupt(format!("shape {number} is not a list of names"))),
        }
    }
}
