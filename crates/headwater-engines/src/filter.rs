//! What was written since a view was emptied, so that the server need not be asked for what surely is not there: a Bloom filter
//! (Burton H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970). It takes the same room for any number
//! of keys, and errs only by having the server asked.

use std::hash::{DefaultHasher, Hash, Hasher};

/// 4 MiB. Of ten million keys it takes every seventh for one that may be there.
const BITS: usize = 1 << 25;
const PROBES: u64 = 4;

/// Views of a store that are remembered so: those that the last step wrote to, if there are more.
pub(crate) const VIEWS_MAX: usize = 4;

pub(crate) struct Filter {
    bits: Box<[u64]>,
    /// By the open step.
    pub was_touched: bool,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { bits: vec![0; BITS / 64].into(), was_touched: true }
    }
}

impl Filter {
    pub fn add<K: Hash + ?Sized>(&mut self, key: &K) {
        probes(key).for_each(|bit| self.bits[bit / 64] |= 1 << (bit % 64));
        self.was_touched = true;
    }

    pub fn may_have<K: Hash + ?Sized>(&self, key: &K) -> bool {
        probes(key).all(|bit| self.bits[bit / 64] & (1 << (bit % 64)) != 0)
    }
}

/// The bits of a key. Two hashes do for any number of them (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006).
fn probes<K: Hash + ?Sized>(key: &K) -> impl Iterator<Item = usize> + use<K> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let hash = hasher.finish();
    let (first, step) = (hash & 0xffff_ffff, (hash >> 32) | 1);
    (0..PROBES).map(move |probe| ((first + probe * step) % BITS as u64) as usize)
}
