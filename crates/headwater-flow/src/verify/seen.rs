//! Which keys the source side of a comparison has had, in bounded memory: to tell, of the keys that a store lists in an order of
//! its own, those that are worth a look at the source. The same of entries of indexes.
//!
//! A Bloom filter with a secret of its own per run. A key that it does not have was certainly not seen: it is looked up at the
//! source, so nothing is called extra by mistake. A key that it has although it was not seen is overlooked; how likely
//! that is, the report says, and another run has another secret.

use std::hash::{BuildHasher, Hash, RandomState};

/// Memory for one filter at most.
const BYTES_MAX: u64 = 256 << 20;

/// Bits per key where memory allows: one extra key in ten million is overlooked.
const BITS_PER_KEY: u64 = 40;

const HASHES_MAX: u32 = 24;

/// A filter is never smaller than for so many keys: estimates may be wrong.
const KEYS_MIN: u64 = 100_000;

pub(super) struct SeenKeys {
    bits: Vec<u64>,
    hashes: u32,
    secrets: [RandomState; 2],
    count: u64,
}

impl SeenKeys {
    pub fn new(keys_estimate: u64) -> SeenKeys {
        // Twice as many may come: tables grow, and estimates are late.
        let keys = keys_estimate.saturating_mul(2).max(KEYS_MIN);
        let bits = keys.saturating_mul(BITS_PER_KEY / 2).min(BYTES_MAX * 8);
        let per_key = bits as f64 / keys_estimate.max(KEYS_MIN / 2) as f64;
        let hashes = (per_key * std::f64::consts::LN_2) as u32;
        SeenKeys {
            bits: vec![0; bits.div_ceil(64) as usize],
            hashes: hashes.clamp(1, HASHES_MAX),
            secrets: [RandomState::new(), RandomState::new()],
            count: 0,
        }
    }

    pub fn insert(&mut self, key: impl Hash) {
        self.count += 1;
        let (mut at, step) = self.hash(key);
        for _ in 0..self.hashes {
            let (word, bit) = self.place(at);
            self.bits[word] |= bit;
            at = at.wrapping_add(step);
        }
    }

    pub fn contains(&self, key: impl Hash) -> bool {
        let (mut at, step) = self.hash(key);
        (0..self.hashes).all(|_| {
            let (word, bit) = self.place(at);
            at = at.wrapping_add(step);
            self.bits[word] & bit != 0
        })
    }

    /// How likely one key that was not seen passes for one that was.
    pub fn overlooked(&self) -> f64 {
        let bits = self.bits.len() as f64 * 64.0;
        let filled = 1.0 - (-(f64::from(self.hashes) * self.count as f64) / bits).exp();
        filled.powi(self.hashes.cast_signed())
    }

    fn hash(&self, key: impl Hash) -> (u64, u64) {
        (self.secrets[0].hash_one(&key), self.secrets[1].hash_one(key) | 1)
    }

    fn place(&self, at: u64) -> (usize, u64) {
        // The upper half says which word, without a division.
        let word = (u128::from(at) * self.bits.len() as u128) >> 64;
        (word as usize, 1 << (at & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_always_known_and_hardly_anything_else() {
        let mut seen = SeenKeys::new(200_000);
        (0..200_000).for_each(|n| seen.insert(format!("key:{n}")));
        assert!((0..200_000).all(|n| seen.contains(format!("key:{n}"))));
        let wrong = (0..200_000).filter(|n| seen.contains(format!("other:{n}"))).count();
        assert!(seen.overlooked() < 1e-6, "{}", seen.overlooked());
        assert!(wrong <= 2, "{wrong} of 200000 were taken for seen");
    }

    #[test]
    fn a_table_too_large_for_the_memory_has_a_filter_that_says_so() {
        let mut seen = SeenKeys::new(10_000_000_000);
        assert!(seen.bits.len() as u64 * 8 <= BYTES_MAX);
        seen.count = 10_000_000_000;
        assert!(seen.overlooked() > 0.5);
    }
}
