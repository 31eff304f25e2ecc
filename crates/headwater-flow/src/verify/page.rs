//! What documents should be, as of an offset, and how that goes forward.
//!
//! Invariant: what is known of a page is what the source says at its offset, however far it was rolled. What cannot be told
//! is unknown, never guessed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Change, Key, Offset, Record, Result, Value, View, ViewChange};

use crate::derive::{Stateless, Tables};
use crate::journal::{Item, Journal, Payload, Reader};

/// Journal bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// What a document should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Should {
    Be(Record),
    NotBe,
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Key,
    /// [`Key::to_text`].
    pub text: Box<str>,
    pub should: Should,
}

impl Entry {
    pub fn new(key: Key, should: Should) -> Entry {
        Entry { text: key.to_text().into(), key, should }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub offset: Offset,
    pub entries: Vec<Entry>,
    /// How long its reader waited for the log to come by.
    pub waited: Duration,
    /// By text, once something has to be found.
    places: HashMap<Box<str>, usize>,
}

impl Page {
    pub fn new(offset: Offset, entries: Vec<Entry>) -> Page {
        Page { offset, entries, waited: Duration::ZERO, places: HashMap::new() }
    }

    pub fn forget(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.should = Should::Unknown);
    }

    fn place(&mut self, text: &str) -> Option<usize> {
        if self.places.is_empty() {
            self.places = self.entries.iter().enumerate().map(|(at, e)| (e.text.clone(), at)).collect();
        }
        self.places.get(text).copied()
    }

    fn apply(&mut self, change: ViewChange) {
        match change {
            ViewChange::Clear { .. } => {
                self.entries.iter_mut().for_each(|entry| entry.should = Should::NotBe)
            }
            ViewChange::Delete { key, .. } => {
                if let Some(at) = self.place(&key.to_text()) {
                    self.entries[at].should = Should::NotBe;
                }
            }
            ViewChange::Put { key, moved_from, mut document, .. } => {
                let from = moved_from.map(|old| self.place(&old.to_text()));
                let at = self.place(&key.to_text());
                let base = from.unwrap_or(at);
                if document.is_partial() {
                    let known = match base.map(|base| &self.entries[base].should) {
                        Some(Should::Be(known)) => fill(&mut document, known),
                        _ => false,
                    };
                    if let (Some(at), false) = (at, known) {
                        self.entries[at].should = Should::Unknown;
                    } else if let Some(at) = at {
                        self.entries[at].should = Should::Be(document);
                    }
                } else if let Some(at) = at {
                    self.entries[at].should = Should::Be(document);
                }
                if let Some(Some(from)) = from
                    && Some(from) != at
                {
                    self.entries[from].should = Should::NotBe;
                }
            }
        }
    }
}

/// Whether every cell is known then.
fn fill(document: &mut Record, base: &Record) -> bool {
    for (name, value) in document.names.iter().zip(&mut document.values) {
        if value.is_unchanged() {
            *value = base.get(name).cloned().unwrap_or(Value::Unchanged);
        }
    }
    !document.is_partial()
}

/// Rolls one page, or a few that follow each other, along the journal.
pub(crate) enum Roll {
    Flat {
        tail: Tail<Change>,
        map: Box<Stateless>,
    },
    Derived {
        tail: Tail<ViewChange>,
        view: Arc<View>,
    },
    /// Of documents that no change is about.
    Still,
}

impl Roll {
    /// Opened as early as possible: what the journal frees from then on can still be read.
    pub fn flat(
        journal: &mut Tails<Change>,
        after: Offset,
        view: &Arc<View>,
        tables: &Tables,
    ) -> Result<Roll> {
        let map = Box::new(Stateless::new(std::slice::from_ref(view), tables)?);
        Ok(Roll::Flat { tail: journal.behind(after)?, map })
    }

    pub fn derived(derived: &mut Tails<ViewChange>, after: Offset, view: &Arc<View>) -> Result<Roll> {
        if derived.journal.first() > after.next() {
            return Err(headwater_model::Error::transient("the derived journal has gone on"));
        }
        Ok(Roll::Derived { tail: derived.behind(after)?, view: Arc::clone(view) })
    }

    /// Brings the page to `upto`, which is durable, and, of derived documents, derived.
    pub fn to(&mut self, upto: Offset, page: &mut Page) -> Result<()> {
        // Nothing came meanwhile, or the page has it already.
        if upto <= page.offset {
            return Ok(());
        }
        match self {
            Roll::Flat { tail, map } => {
                let mut mapped = Vec::new();
                while let Some(changes) = tail.next(upto)? {
                    for change in changes {
                        map.map(change, &mut mapped);
                        mapped.drain(..).for_each(|change| page.apply(change));
                    }
                }
                if !map.take_broken().is_empty() {
                    page.forget();
                }
            }
            Roll::Still => {}
            Roll::Derived { tail, view } => {
                while let Some(changes) = tail.next(upto)? {
                    let own = changes.into_iter().filter(|change| change.view().name == view.name);
                    own.for_each(|change| page.apply(change));
                }
            }
        }
        page.offset = page.offset.max(upto);
        Ok(())
    }
}

/// A journal behind offsets that follow each other, more or less: what lies before them is passed over once, not for each.
pub(crate) struct Tails<T> {
    journal: Journal<T>,
    /// At or before the last that was asked for.
    passed: Option<Reader<T>>,
}

impl<T: Payload> Tails<T> {
    pub fn of(journal: &Journal<T>) -> Tails<T> {
        Tails { journal: journal.clone(), passed: None }
    }

    pub fn behind(&mut self, after: Offset) -> Result<Tail<T>> {
        // A journal that has entries only where something changed may end earlier; what comes later has later offsets.
        let from = after.min(self.journal.durable());
        let passed = self.passed.take().filter(|passed| passed.offset() <= from);
        // One that cannot go on, be it that the journal freed what comes next, is opened anew.
        let passed = passed.and_then(|mut passed| passed.pass(from).ok().map(|()| passed));
        let passed = match passed {
            Some(passed) => passed,
            None => {
                let mut reader = self.journal.read(from)?;
                reader.pass(from)?;
                reader
            }
        };
        let tail = Tail { reader: passed.fork()?, items: VecDeque::new(), after, passed: false };
        self.passed = Some(passed);
        Ok(tail)
    }
}

/// The journal behind an offset, as far as it is asked for.
pub(crate) struct Tail<T> {
    reader: Reader<T>,
    items: VecDeque<Item<T>>,
    after: Offset,
    /// The entry in hand is at or before `after`.
    passed: bool,
}

impl<T: Payload> Tail<T> {
    /// The next changes of entries at or before `upto`; `None` when there are no more.
    pub fn next(&mut self, upto: Offset) -> Result<Option<Vec<T>>> {
        loop {
            match self.items.pop_front() {
                None => {
                    self.items = self.reader.try_next(READ_BYTES)?.into();
                    if self.items.is_empty() {
                        return Ok(None);
                    }
                }
                Some(Item::Begin { offset, kind }) if offset > upto => {
                    self.items.push_front(Item::Begin { offset, kind });
                    return Ok(None);
                }
                Some(Item::Begin { offset, .. }) => self.passed = offset <= self.after,
                Some(Item::Changes(changes)) if !self.passed => return Ok(Some(changes)),
                Some(Item::Changes(_) | Item::Commit { .. }) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_model::{TableName, ViewKind};

    use super::*;

    fn view() -> Arc<View> {
        Arc::new(View {
            name: "v".into(),
            from: TableName::new(None, "t"),
            kind: ViewKind::Document,
            columns: None,
            filter: None,
            embeds: Vec::new(),
            stores: Vec::new(),
            parts: Vec::new(),
            layout: None,
            indexes: Vec::new(),
        })
    }

    fn key(id: i64) -> Key {
        Key(vec![Value::Int(id)])
    }

    fn document(a: Value, b: Value) -> Record {
        Record { names: vec!["a".into(), "b".into()].into(), values: vec![a, b] }
    }

    fn put(id: i64, moved_from: Option<i64>, a: Value, b: Value) -> ViewChange {
        ViewChange::Put {
            view: view(),
            key: key(id),
            moved_from: moved_from.map(key),
            document: document(a, b),
        }
    }

    fn page() -> Page {
        let be = |id: i64| Entry::new(key(id), Should::Be(document(Value::Int(id), Value::text("x"))));
        Page::new(Offset(1), vec![be(1), be(2), be(3), Entry::new(key(4), Should::NotBe)])
    }

    fn shoulds(page: &Page) -> Vec<&Should> {
        page.entries.iter().map(|entry| &entry.should).collect()
    }

    #[test]
    fn cells_that_the_log_does_not_carry_are_taken_from_what_is_known_or_nothing_is_known() {
        let mut page = page();
        // 1 moves to 4 and keeps a cell; 3 is taken over from a document that is not here.
        page.apply(put(4, Some(1), Value::Int(4), Value::Unchanged));
        page.apply(put(2, None, Value::Unchanged, Value::Null));
        page.apply(put(3, Some(77), Value::Unchanged, Value::Null));
        let moved = Should::Be(document(Value::Int(4), Value::text("x")));
        let kept = Should::Be(document(Value::Int(2), Value::Null));
        assert_eq!(shoulds(&page), [&Should::NotBe, &kept, &Should::Unknown, &moved]);
        // A whole document makes it known again.
        page.apply(put(3, None, Value::Int(3), Value::Null));
        assert_eq!(page.entries[2].should, Should::Be(document(Value::Int(3), Value::Null)));
        page.apply(ViewChange::Delete { view: view(), key: key(4) });
        page.apply(ViewChange::Delete { view: view(), key: key(99) });
        assert_eq!(page.entries[3].should, Should::NotBe);
        page.apply(ViewChange::Clear { view: view() });
        assert!(page.entries.iter().all(|entry| entry.should == Should::NotBe));
        // After that nothing is there to keep.
        page.apply(put(1, None, Value::Int(1), Value::Unchanged));
        assert_eq!(page.entries[0].should, Should::Unknown);
    }
}
