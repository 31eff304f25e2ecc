//! Which transactions and reads are traced: a share of them, or what whoever asks has decided already.

use std::fmt;

use opentelemetry::trace::{SpanId, TraceId};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// 0 to 1.
    share: f64,
    /// Whether a caller that has decided for its trace has decided for us.
    follows_caller: bool,
}

/// Half of the range of what is compared with a share: the tools of others look at 63 bits.
const RANGE: u64 = 1 << 63;

impl Sampler {
    pub fn new(share: f64, follows_caller: bool) -> Sampler {
        Sampler { share, follows_caller }
    }

    fn takes(self, number: u64) -> bool {
        (number >> 1) < (self.share * RANGE as f64) as u64
    }

    /// As the tools of others decide by the id of a trace, so that all keep the same ones.
    pub fn takes_trace(self, id: TraceId) -> bool {
        let bytes = id.to_bytes();
        let low: [u8; 8] = [8, 9, 10, 11, 12, 13, 14, 15].map(|i| bytes[i]);
        self.takes(u64::from_be_bytes(low))
    }

    /// A transaction: offsets are counted, so they are spread first (SplitMix64).
    pub fn takes_offset(self, offset: u64) -> bool {
        let mut z = offset.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.takes(z ^ (z >> 31))
    }

    /// `decided`: what a caller has decided of its trace.
    pub fn takes_call(self, id: TraceId, decided: Option<bool>) -> bool {
        decided.filter(|_| self.follows_caller).unwrap_or_else(|| self.takes_trace(id))
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.share * 100.0)
    }
}

/// 0 is no id.
pub fn random_trace() -> TraceId {
    TraceId::from_bytes(rand::random::<u128>().max(1).to_be_bytes())
}

pub fn random_span() -> SpanId {
    SpanId::from_bytes(rand::random::<u64>().max(1).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_of_offsets_and_of_traces() {
        for (share, least, most) in
            [(0.0, 0, 0), (0.01, 800, 1200), (0.5, 49_000, 51_000), (1.0, 100_000, 100_000)]
        {
            let sampler = Sampler::new(share, true);
            let offsets = (0..100_000).filter(|offset| sampler.takes_offset(*offset)).count();
            assert!((least..=most).contains(&offsets), "{share}: {offsets}");
            let traces = (0..100_000).filter(|_| sampler.takes_trace(random_trace())).count();
            assert!((least..=most).contains(&traces), "{share}: {traces}");
        }
    }

    #[test]
    fn a_caller_that_has_decided_is_followed_where_that_is_wanted() {
        let id = random_trace();
        let (never, always) = (Sampler::new(0.0, true), Sampler::new(1.0, true));
        assert!(never.takes_call(id, Some(true)) && !never.takes_call(id, None));
        assert!(!always.takes_call(id, Some(false)) && always.takes_call(id, None));
        assert!(!Sampler::new(0.0, false).takes_call(id, Some(true)));
    }
}
