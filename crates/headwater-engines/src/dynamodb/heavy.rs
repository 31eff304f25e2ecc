//! Which keys take the most of a table's writes, in bounded memory: Space-Saving (Metwally, Agrawal and El Abbadi, 2005), with weights.
//!
//! Invariant: a key that took more than one part in [`KEYS`] of everything has a counter, and what that counts is too much by no more than
//! it says. A key costs no memory of its own: it takes the place of the one that took the least.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Counters. What a key takes is known to within 1/64 of everything.
const KEYS: usize = 64;

/// Of a key so many bytes are kept, for people.
const KEY_BYTES_MAX: usize = 128;

#[derive(Default)]
pub(super) struct Heavy {
    counters: Vec<Counter>,
    /// Of the counters, those in use: the others wait with their memory.
    live: usize,
    units: f64,
}

#[derive(Default)]
struct Counter {
    hash: u64,
    key: Vec<u8>,
    units: f64,
    /// What of `units` may have been other keys'.
    over: f64,
}

/// The key that takes the most.
pub(super) struct Top<'a> {
    pub(super) key: &'a [u8],
    /// At least.
    pub(super) units: f64,
    /// Of all keys.
    pub(super) all: f64,
}

impl Heavy {
    pub(super) fn add(&mut self, key: &[u8], units: f64) {
        self.units += units;
        let hash = hash(key);
        let live = &mut self.counters[..self.live];
        if let Some(counter) = live.iter_mut().find(|counter| counter.hash == hash) {
            counter.units += units;
            return;
        }
        let (place, over) = if self.live < KEYS {
            if self.live == self.counters.len() {
                self.counters.push(Counter::default());
            }
            self.live += 1;
            (self.live - 1, 0.0)
        } else {
            let least = (0..KEYS).min_by(|a, b| live[*a].units.total_cmp(&live[*b].units)).unwrap_or(0);
            (least, live[least].units)
        };
        let counter = &mut self.counters[place];
        (counter.hash, counter.units, counter.over) = (hash, over + units, over);
        counter.key.clear();
        counter.key.extend_from_slice(&key[..key.len().min(KEY_BYTES_MAX)]);
    }

    pub(super) fn top(&self) -> Option<Top<'_>> {
        let least = |counter: &Counter| counter.units - counter.over;
        let live = self.counters[..self.live].iter();
        let top = live.max_by(|a, b| least(a).total_cmp(&least(b)))?;
        Some(Top { key: &top.key, units: least(top), all: self.units })
    }

    /// Counts anew, in the memory that it has.
    pub(super) fn clear(&mut self) {
        self.live = 0;
        self.units = 0.0;
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use super::*;

    /// A sequence that is the same in every run.
    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(seed), |n| {
            Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        })
        .map(|n| n >> 33)
    }

    #[test]
    fn a_key_with_more_than_its_part_is_found_however_many_others_there_are() {
        for seed in 0..20 {
            let (mut heavy, mut exact) = (Heavy::default(), HashMap::<String, f64>::new());
            for n in numbers(seed).take(30_000) {
                // One write in ten is to one key, where the others hardly ever meet.
                let key = if n % 10 == seed % 10 { "hot".to_owned() } else { format!("key {}", n % 9_973) };
                let units = 1.0 + (n % 3) as f64;
                heavy.add(key.as_bytes(), units);
                *exact.entry(key).or_default() += units;
            }
            let all: f64 = exact.values().sum();
            let top = heavy.top().unwrap();
            assert_eq!((top.key, top.all), (&b"hot"[..], all), "seed {seed}");
            let true_units = exact["hot"];
            assert!(top.units <= true_units && top.units >= true_units - all / KEYS as f64, "seed {seed}");
        }
    }

    #[test]
    fn memory_is_bounded_and_kept() {
        let mut heavy = Heavy::default();
        for n in 0..10_000u32 {
            heavy.add(&[&n.to_be_bytes()[..], &[7; 2_000]].concat(), 1.0);
        }
        let bytes =
            |heavy: &Heavy| heavy.counters.iter().map(|counter| counter.key.capacity()).sum::<usize>();
        assert_eq!(heavy.counters.len(), KEYS);
        assert!(bytes(&heavy) <= KEYS * KEY_BYTES_MAX, "{}", bytes(&heavy));
        let before = bytes(&heavy);
        heavy.clear();
        assert!(heavy.top().is_none());
        heavy.add(b"a", 1.0);
        assert_eq!((heavy.top().unwrap().key, heavy.counters.len()), (&b"a"[..], KEYS));
        assert_eq!(bytes(&heavy), before);
    }
}
