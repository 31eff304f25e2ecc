//! Capacity that requests consumed, per view and per table, as the service counted it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_dynamodb::types::ConsumedCapacity;
use headwater_model::{Consumed, ViewId};

use super::gauge::Gauge;
use super::tables;

/// Since the store was opened. One read unit is a strongly consistent read of up to 4 KB, one write unit a write of up to
/// 1 KB.
pub(super) struct Meter {
    opened: Instant,
    views: Mutex<BTreeMap<ViewId, Metered>>,
}

/// Which table of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Documents,
    Places,
}

#[derive(Default)]
struct Metered {
    read_units: f64,
    write_units: f64,
    documents: Gauge,
    places: Gauge,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter { opened: Instant::now(), views: Mutex::default() }
    }
}

impl Meter {
    pub(super) fn read(&self, view: &str, of: Of, consumed: Option<&ConsumedCapacity>) {
        let (units, now_ms) = (units(consumed), self.now_ms());
        self.with(view, |metered| {
            metered.read_units += units;
            metered.of(of).read(units, now_ms);
        });
    }

    /// `key`: of the partition that was written to, where it was one.
    pub(super) fn write(&self, view: &str, of: Of, key: Option<&[u8]>, consumed: Option<&ConsumedCapacity>) {
        let (units, now_ms) = (units(consumed), self.now_ms());
        self.with(view, |metered| {
            metered.write_units += units;
            metered.of(of).write(key, units, now_ms);
        });
    }

    /// The service had no capacity for a write.
    pub(super) fn throttled(&self, view: &str, of: Of, key: &[u8]) {
        let now_ms = self.now_ms();
        self.with(view, |metered| metered.of(of).throttled(key, now_ms));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn with(&self, view: &str, change: impl FnOnce(&mut Metered)) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        match views.get_mut(view) {
            Some(known) => change(known),
            None => change(views.entry(view.into()).or_default()),
        }
    }

    /// `prefix`: of the store's tables.
    pub(super) fn totals(&self, prefix: &str) -> Vec<Consumed> {
        let now_ms = self.now_ms();
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let consumed = views.iter_mut().map(|(view, metered)| {
            let documents = metered.documents.told(tables::documents(prefix, view), document, now_ms);
            let places = metered.places.told(tables::places(prefix, view), part, now_ms);
            Consumed {
                view: view.clone(),
                read_units: metered.read_units,
                write_units: metered.write_units,
                tables: documents.into_iter().chain(places).collect(),
            }
        });
        consumed.collect()
    }
}

impl Metered {
    fn of(&mut self, of: Of) -> &mut Gauge {
        match of {
            Of::Documents => &mut self.documents,
            Of::Places => &mut self.places,
        }
    }
}

fn document(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// A part of an index, for people: its number, and what can be read of the values that it is apart by.
fn part(key: &[u8]) -> String {
    let Some((index, part)) = key.split_first_chunk::<2>() else { return document(key) };
    let readable: String = document(part).chars().filter(|c| !c.is_control()).collect();
    let part = if part.is_empty() { "which is in one part" } else { &readable };
    format!("index {}, {part}", u16::from_be_bytes(*index))
}

fn units(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(|consumed| consumed.capacity_units).unwrap_or_default()
}
