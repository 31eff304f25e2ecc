//! Capacity that requests consumed, per view, as the service counted it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_dynamodb::types::ConsumedCapacity;
use headwater_model::{Consumed, ViewId};

/// Since the store was opened. One read unit is a strongly consistent read of up to 4 KB, one write unit a write of up to
/// 1 KB.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<BTreeMap<ViewId, Consumed>>);

impl Meter {
    pub(super) fn read(&self, view: &str, consumed: Option<&ConsumedCapacity>) {
        self.add(view, units(consumed), 0.0);
    }

    pub(super) fn write(&self, view: &str, consumed: Option<&ConsumedCapacity>) {
        self.add(view, 0.0, units(consumed));
    }

    fn add(&self, view: &str, read_units: f64, write_units: f64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(view) {
            Some(known) => {
                known.read_units += read_units;
                known.write_units += write_units;
            }
            None => {
                all.insert(view.into(), Consumed { view: view.into(), read_units, write_units });
            }
        }
    }

    pub(super) fn totals(&self) -> Vec<Consumed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

fn units(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(|consumed| consumed.capacity_units).unwrap_or_default()
}
