//! What all connections share, and what they read from.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use headwater_flow::Handle;
use headwater_flow::serve::Serving;
use headwater_model::AccessPlan;

use super::cursors::Cursors;
use super::tokens::Tokens;
use super::views::Views;

pub struct Shared {
    reading: RwLock<Arc<Reading>>,
    pub tokens: Tokens,
    pub cursors: Mutex<Cursors>,
    pub began: Instant,
    pub connections: AtomicUsize,
    pub connections_total: AtomicU64,
    pub refused_total: AtomicU64,
    pub commands: AtomicU64,
}

/// A source and what is derived from it, as clients of this protocol read it.
#[derive(Clone)]
pub struct Flow {
    /// The source's name; `None` if the file's one source has none.
    pub name: Option<Box<str>>,
    pub serving: Serving,
    pub handle: Handle,
    /// A `get` for each view and a `top` for each ranking: how it is read if no access pattern of the file says it.
    pub plans: Vec<AccessPlan>,
    /// Where one writes: product and version of the source.
    pub server: String,
}

/// What there is to read from while a connection answers what has come: the sources that are there by then.
pub struct Reading {
    pub flows: Vec<Flow>,
    pub views: Views,
    /// The views, by name, of sources that are not there yet, and those sources' names.
    pub waiting: Vec<(Box<[u8]>, Box<str>)>,
    /// The names of all sources, where they have some.
    pub sources: Vec<Box<str>>,
}

impl Shared {
    pub fn new(waiting: Vec<(Box<[u8]>, Box<str>)>, sources: Vec<Box<str>>, tokens: Tokens) -> Shared {
        let reading = Reading { flows: Vec::new(), views: Views::new(&[]), waiting, sources };
        Shared {
            reading: RwLock::new(Arc::new(reading)),
            tokens,
            cursors: Mutex::new(Cursors::new(rand::random())),
            began: Instant::now(),
            connections: AtomicUsize::new(0),
            connections_total: AtomicU64::new(0),
            refused_total: AtomicU64::new(0),
            commands: AtomicU64::new(0),
        }
    }

    pub fn reading(&self) -> Arc<Reading> {
        Arc::clone(&self.reading.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on a source is read from; what there was of it before is no more.
    pub fn open(&self, flow: Flow) {
        let mut reading = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        let of =
            |name: &Option<Box<str>>| reading.sources.iter().position(|source| Some(source) == name.as_ref());
        let mut flows: Vec<Flow> =
            reading.flows.iter().filter(|other| other.name != flow.name).cloned().collect();
        let waiting = reading.waiting.iter().filter(|(_, source)| Some(source) != flow.name.as_ref());
        let (waiting, sources) = (waiting.cloned().collect(), reading.sources.clone());
        flows.push(flow);
        flows.sort_by_key(|flow| of(&flow.name));
        let views = Views::new(&flows);
        *reading = Arc::new(Reading { flows, views, waiting, sources });
    }
}

impl Reading {
    /// Where one writes.
    pub fn servers(&self) -> String {
        let server = |flow: &Flow| match &flow.name {
            Some(name) => format!("{name}: {}", flow.server),
            None => flow.server.clone(),
        };
        self.flows.iter().map(server).collect::<Vec<_>>().join(", ")
    }

    /// The source, not there yet, of the view whose document or ranking is at `key`.
    pub fn waits_for(&self, key: &[u8]) -> Option<&str> {
        let name = key.split(|byte| *byte == b':').next().unwrap_or_default();
        self.waiting.iter().find(|(view, _)| **view == *name).map(|(_, source)| &**source)
    }
}
