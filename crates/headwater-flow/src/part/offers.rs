//! Documents that readers loaded and the applier may take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{Epoch, Field, Key, Offset, StoredBody};

/// Offers that wait at most; what comes beyond them is not taken, and will be offered again by the next reader.
const OFFERS_MAX: usize = 1_024;

/// Bytes of documents that wait at most, about.
const BYTES_MAX: usize = 16 << 20;

/// A document as a store that holds all of the view showed it.
///
/// Never one that the source itself answered: its moment is a position, and a commit that was not visible yet may lie before that. No
/// offset says from where on the log would have to be looked at.
pub(crate) struct Offer {
    pub key: Key,
    pub body: StoredBody,
    /// What the document has.
    pub fields: Arc<[Field]>,
    /// It shows everything up to here.
    pub from: Offset,
    /// It shows nothing behind this.
    pub upto: Offset,
    /// Of the term in which it was read.
    pub epoch: Epoch,
}

impl Offer {
    fn bytes(&self) -> usize {
        match &self.body {
            StoredBody::Json(json) => json.len(),
            StoredBody::Fields(fields) => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
        }
    }
}

#[derive(Default)]
pub(super) struct Offers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    by_key: HashMap<Box<str>, Offer>,
    bytes: usize,
}

impl Offers {
    /// Whether it waits now, or a newer one of the same key does.
    pub fn add(&self, offer: Offer) -> bool {
        let key = offer.key.to_text().into_boxed_str();
        let mut waiting = self.lock();
        let bytes = match waiting.by_key.get(&key) {
            Some(other) if (other.epoch, other.from) >= (offer.epoch, offer.from) => return true,
            Some(other) => other.bytes(),
            None if waiting.by_key.len() >= OFFERS_MAX => return false,
            None => 0,
        };
        let after = waiting.bytes - bytes + offer.bytes();
        if after > BYTES_MAX {
            return false;
        }
        waiting.bytes = after;
        waiting.by_key.insert(key, offer);
        true
    }

    /// Those that show nothing behind `offset`. Offers of other terms are given too, to be dropped.
    pub fn take(&self, epoch: Epoch, offset: Offset) -> Vec<(Box<str>, Offer)> {
        let mut waiting = self.lock();
        if waiting.by_key.is_empty() {
            return Vec::new();
        }
        let ready = |offer: &Offer| offer.upto <= offset || offer.epoch != epoch;
        let taken: Vec<_> = waiting.by_key.extract_if(|_, offer| ready(offer)).collect();
        waiting.bytes -= taken.iter().map(|(_, offer)| offer.bytes()).sum::<usize>();
        taken
    }

    pub fn clear(&self) {
        *self.lock() = Waiting::default();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
