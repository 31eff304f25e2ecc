//! A simulated source and simulated stores, which do what real ones do to their readers and writers, on purpose and by
//! a seed: everything random comes from one [`Chance`], everything that takes time goes by tokio's clock. On a
//! runtime of one thread whose clock is paused, one seed is one course of events.
//!
//! Owns: [`Database`], with the hazards of PostgreSQL (visibility order is not log order, commits that hang, aborts,
//! unchanged TOAST, TRUNCATE, moved keys, columns that come, a slot with one reader); [`Shelf`], which holds documents in atomic
//! steps; the [`Line`] between an instance and all of them, which delays, loses, stands still and goes dead;
//! [`Shape`], which says what views should hold by code of its own. Not: the disk, and who lives when.

mod database;
mod line;
mod shape;
mod shelf;
mod source;
mod transaction;

use std::sync::{Arc, Mutex};

use crate::Chance;

pub use database::{Database, Rows, State};
pub use line::Line;
pub use shape::Shape;
pub use shelf::{Documents, Shelf, SimulatedStore, Watcher};
pub use source::SimulatedSource;

/// Bugs that are planted in the parts that are simulated, to see that they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// The source forgets what it has sent, not what it was told it may forget.
    ForgetsWhatItSent,
    /// A chunk's snapshot is said to show everything that had begun: the usual watermarks.
    ChunkSeesAll,
    /// The disk says that bytes are safe, and they are not.
    DiskLies,
    /// The store writes the position, and then the documents.
    PositionFirst,
    /// The store writes documents, and then the position.
    PositionLast,
    /// The store takes writes of a lower epoch.
    NoFence,
    /// The store loses the last change of a step that has many.
    LosesAChange,
    /// A document that a change leaves in part is written as if the rest were NULL.
    NullsWhatIsUnchanged,
}

/// What all parts of one simulation share.
#[derive(Clone)]
pub struct World {
    pub mischief: Option<Mischief>,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    chance: Chance,
    trace: u64,
    violations: Vec<String>,
    telling: Telling,
    story: Vec<String>,
}

/// What becomes of the story of a course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    Nothing,
    /// Kept, to be compared.
    Kept,
    /// Told on stderr while it happens.
    Told,
}

impl World {
    pub fn new(seed: u64, mischief: Option<Mischief>, telling: Telling) -> World {
        let chance = Chance::new(seed);
        let inner = Inner { chance, trace: seed, violations: Vec::new(), telling, story: Vec::new() };
        World { mischief, inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn below(&self, end: u64) -> u64 {
        self.lock().chance.below(end)
    }

    pub fn one_in(&self, n: u64) -> bool {
        n > 0 && self.lock().chance.one_in(n)
    }

    pub fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn is(&self, mischief: Mischief) -> bool {
        self.mischief == Some(mischief)
    }

    /// Something happened: part of what two runs of one seed must have in common.
    pub fn note(&self, what: &'static str, number: u64) {
        let mut inner = self.lock();
        for byte in what.bytes().chain(number.to_le_bytes()) {
            inner.trace = (inner.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        drop(inner);
        self.tell(|| format!("{what} {number}"));
    }

    /// As [`World::note`], for people only.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        let mut inner = self.lock();
        match inner.telling {
            Telling::Nothing => {}
            Telling::Kept => inner.story.push(what()),
            Telling::Told => eprintln!("{}", what()),
        }
    }

    pub fn violated(&self, what: String) {
        self.tell(|| format!("VIOLATION {what}"));
        let mut inner = self.lock();
        if inner.violations.len() < 10 {
            inner.violations.push(what);
        }
    }

    /// The first violation of a promise, if there was any.
    pub fn violation(&self) -> Option<String> {
        self.lock().violations.first().cloned()
    }

    /// A number that stands for the whole course of events.
    pub fn trace(&self) -> u64 {
        self.lock().trace
    }

    pub fn story(&self) -> Vec<String> {
        self.lock().story.clone()
    }
}
