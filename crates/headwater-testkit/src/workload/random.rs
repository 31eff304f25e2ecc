//! Chance that a seed decides, and values that have hurt somebody before.

use std::collections::BTreeSet;

use super::schema::Kind;

/// SplitMix64: small, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn pick_from(&mut self, set: &BTreeSet<i64>) -> Option<i64> {
        if set.is_empty() {
            return None;
        }
        set.iter().nth(self.below(set.len() as u64) as usize).copied()
    }

    /// A literal that every dialect reads as the same value.
    pub(super) fn value(&mut self, kind: Kind) -> String {
        const TEXTS: &[&str] = &[
            "",
            "a",
            "B",
            "b",
            "ä",
            "a:b",
            "50%",
            "%N",
            "it''s",
            "\"q\"\\",
            "line\nbreak\t",
            "日本",
            "😀",
            " ",
            "null",
            "1",
        ];
        const INTS: &[i64] = &[0, 1, -1, 7, 1_000_000, 9_007_199_254_740_993, i64::MAX, i64::MIN + 1];
        const FLOATS: &[&str] =
            &["0.0", "0.1", "-2.5", "1e20", "1e-7", "1.7976931348623157e308", "3.0", "123456.789"];
        if self.one_in(7) {
            return "NULL".into();
        }
        match kind {
            Kind::Int => self.pick(INTS).to_string(),
            Kind::Small => self.below(5).to_string(),
            Kind::Float => (*self.pick(FLOATS)).into(),
            Kind::Text => format!("'{}'", self.pick(TEXTS)),
            Kind::Long => {
                // Too long and too random to be kept inside the row.
                let letters: String =
                    (0..3000 + self.below(3000)).map(|_| char::from(b'a' + self.below(26) as u8)).collect();
                format!("'{letters}'")
            }
            Kind::Reference(_) => "NULL".into(),
        }
    }
}
