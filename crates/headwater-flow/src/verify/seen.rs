//! Which keys the source side of a comparison has had, in bounded memory: to tell, of the keys that a store lists in an order of
//! its own, those that are worth a look at the source. The same of entries of indexes.
//!
//! A Bloom filter with a secret of its own per run. A key that it does not have was certainly not seen: it is looked up at the
//! source, so nothing is called extra by mistake. A key that it has although it was not seen is overlooked; how likely
//! that is, the report says, and another run has another secret.
//!
//! The filter is in blocks of one cache line, and each key's bits are in two of them (after Putze, Sanders and Singler,
//! "Cache-, Hash- and Space-Efficient Bloom Filters", 2007): memory is waited for twice per key and not once per bit.

use std::hash::{BuildHasher, Hash, RandomState};

/// Memory for one filter at most.
const BYTES_MAX: u64 = 256 << 20;

/// Bits per key where memory allows: one extra key in ten million is overlooked.
const BITS_PER_KEY: u64 = 40;

/// A filter is never smaller than for so many keys: estimates may be wrong.
const KEYS_MIN: u64 = 100_000;

const BLOCK_BITS: u64 = 512;

/// Bits of a key in each of its two blocks, at most: as many as one hash has places for.
const BITS_MAX: u32 = 7;

/// Where in a block: so many bits of a hash say it.
const PLACE_BITS: u32 = BLOCK_BITS.ilog2();

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([u64; (BLOCK_BITS / 64) as usize]);

pub(super) struct SeenKeys {
    blocks: Vec<Block>,
    /// Of a key in each of its two blocks.
    bits: u32,
    secret: RandomState,
    count: u64,
}

impl SeenKeys {
    pub fn new(keys_estimate: u64) -> SeenKeys {
        // Twice as many may come: tables grow, and estimates are late.
        let keys = keys_estimate.saturating_mul(2).max(KEYS_MIN);
        let bits = keys.saturating_mul(BITS_PER_KEY / 2).min(BYTES_MAX * 8);
        let per_key = bits as f64 / keys_estimate.max(KEYS_MIN / 2) as f64;
        let bits_in_each = (per_key * std::f64::consts::LN_2 / 2.0) as u32;
        SeenKeys {
            blocks: vec![Block([0; (BLOCK_BITS / 64) as usize]); bits.div_ceil(BLOCK_BITS) as usize],
            bits: bits_in_each.clamp(1, BITS_MAX),
            secret: RandomState::new(),
            count: 0,
        }
    }

    pub fn insert(&mut self, key: impl Hash) {
        self.count += 1;
        for (block, places) in self.places(key) {
            for (word, bit) in bits(places, self.bits) {
                self.blocks[block].0[word] |= bit;
            }
        }
    }

    pub fn contains(&self, key: impl Hash) -> bool {
        let is_in = |(block, places): (usize, u64)| {
            bits(places, self.bits).all(|(word, bit)| self.blocks[block].0[word] & bit != 0)
        };
        self.places(key).into_iter().all(is_in)
    }

    /// How likely one key that was not seen passes for one that was.
    pub fn overlooked(&self) -> f64 {
        // How many keys share a block follows Poisson's distribution.
        let keys = 2.0 * self.count as f64 / self.blocks.len() as f64;
        let bits = self.bits.cast_signed();
        let (mut in_one_block, mut ln_chance) = (0.0, -keys);
        for sharing in 0..(keys + 12.0 * keys.sqrt() + 30.0) as u64 {
            let empty = (1.0 - 1.0 / BLOCK_BITS as f64).powf(f64::from(bits) * sharing as f64);
            in_one_block += ln_chance.exp() * (1.0 - empty).powi(bits);
            ln_chance += (keys / (sharing + 1) as f64).ln();
        }
        in_one_block.powi(2)
    }

    /// The two blocks of a key, and what says where in them its bits are.
    fn places(&self, key: impl Hash) -> [(usize, u64); 2] {
        let hash = self.secret.hash_one(key);
        [1, 2].map(|turn| {
            let mixed = mix(hash.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(turn)));
            // The upper bits say which block, without a division.
            let block = (u128::from(mixed) * self.blocks.len() as u128) >> 64;
            (block as usize, mix(mixed))
        })
    }
}

fn bits(places: u64, count: u32) -> impl Iterator<Item = (usize, u64)> {
    (0..count).map(move |number| {
        let place = (places >> (number * PLACE_BITS)) & (BLOCK_BITS - 1);
        ((place / 64) as usize, 1 << (place % 64))
    })
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): each bit of the result depends on each of the number.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
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
    fn it_overlooks_as_many_as_it_says() {
        for count in [250_000, 500_000] {
            let mut seen = SeenKeys::new(50_000);
            (0..count).for_each(|n| seen.insert(n));
            let wrong = (count..count + 200_000).filter(|n| seen.contains(n)).count() as f64 / 200_000.0;
            let said = seen.overlooked();
            assert!((0.8..1.25).contains(&(wrong / said)), "{wrong} of all were overlooked, {said} said");
        }
    }

    #[test]
    fn a_table_too_large_for_the_memory_has_a_filter_that_says_so() {
        let mut seen = SeenKeys::new(10_000_000_000);
        assert!((seen.blocks.len() * size_of::<Block>()) as u64 <= BYTES_MAX);
        seen.count = 10_000_000_000;
        assert!(seen.overlooked() > 0.5);
    }
}
