//! Where a key lies: a point of the directory, addressed by a hash of the key, so that a key is found by one query of a few
//! nanoseconds in one series.
//!
//! The hash has 46 bits. They are a time within the week that begins at 1970-01-05, which is within one shard, and their first
//! eight are a tag, so that no series is large. Eight nanoseconds belong to each hash: for as many keys that have the same.
//! A deleted key keeps its point: it says since when the key is gone, and no other takes its place.

use headwater_model::Result;

use super::client::Rows;
use super::line;
use super::record::Record;

/// 1970-01-05T00:00:00Z, a Monday: shards of a week begin there.
pub(super) const FIRST: i64 = 345_600_000_000_000;
const HASH_BITS: u32 = 46;
const PROBES_BITS: u32 = 3;
/// Points under one hash.
pub(super) const PROBES: i64 = 1 << PROBES_BITS;
/// The first time that is no longer the directory's.
pub(super) const END: i64 = FIRST + (1 << (HASH_BITS + PROBES_BITS));

pub(super) fn measurement(view: &str) -> String {
    format!("hw:key:{}", line::name(view))
}

/// The first of a key's possible times.
pub(super) fn time(key: &str) -> i64 {
    FIRST + ((hash(key) >> (64 - HASH_BITS)) << PROBES_BITS) as i64
}

/// As [FNV-1a](https://datatracker.ietf.org/doc/draft-eastlake-fnv/), and mixed so that the first bits are as good as the
/// last. It names what lies in the store: another hash would not find it.
fn hash(key: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn tag(time: i64) -> String {
    format!("{:02x}", (time - FIRST) >> (HASH_BITS + PROBES_BITS - 8))
}

/// What finds a key.
pub(super) fn question(view: &str, key: &str) -> String {
    let time = time(key);
    format!(
        "SELECT \"d\" FROM {} WHERE \"h\" = '{}' AND time >= {time} AND time < {}",
        line::identifier(&measurement(view)),
        tag(time),
        time + PROBES
    )
}

/// What lies under a hash, as [`question`] was answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket(Vec<(i64, Record)>);

impl Bucket {
    pub(super) fn read(rows: Rows) -> Result<Bucket> {
        rows.iter().map(|row| Record::of_row(row)).collect::<Result<_>>().map(Bucket)
    }

    pub(super) fn of(&self, key: &str) -> Option<&(i64, Record)> {
        self.0.iter().find(|(_, record)| record.key == key)
    }

    pub(super) fn is_taken(&self, time: i64) -> bool {
        self.0.iter().any(|(taken, _)| *taken == time)
    }
}

/// A point of the directory, with a record's [`Record::field`].
pub(super) fn point(view: &str, time: i64, record: &str, is_gone: bool) -> String {
    let mut out = String::with_capacity(record.len() + view.len() + 80);
    line::push_measurement(&measurement(view), &mut out);
    out.push_str(",h=");
    out.push_str(&tag(time));
    out.push_str(" d=");
    out.push_str(record);
    out.push_str(if is_gone { ",n=0i " } else { ",n=1i " });
    out.push_str(&time.to_string());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_lies_within_the_week_under_one_of_256_tags() {
        let mut tags = std::collections::BTreeSet::new();
        for n in 0..20_000 {
            let time = time(&n.to_string());
            assert!((FIRST..END).contains(&time) && (FIRST..END).contains(&(time + PROBES - 1)));
            assert_eq!(tag(time), tag(time + PROBES - 1));
            tags.insert(tag(time));
        }
        assert_eq!(tags.len(), 256);
        assert_eq!((tag(FIRST), tag(END - 1)), ("00".to_owned(), "ff".to_owned()));
        const { assert!(END - FIRST < 7 * 86_400_000_000_000) };
        // What was written is found by the next version too.
        assert_eq!(time("1"), 345_600_000_000_000 + 0xf870_65bb_c040);
    }
}
