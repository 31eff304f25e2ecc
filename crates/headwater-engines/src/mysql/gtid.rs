//! Both notations of global transaction ids, as text: MariaDB's `domain-server-sequence` and MySQL's sets of
//! `uuid:first-last`.

use std::collections::BTreeMap;

/// MariaDB's: the sequence grows within a domain, whichever server commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gtid {
    pub domain: u32,
    pub server: u32,
    pub sequence: u64,
}

impl Gtid {
    pub fn parse(text: &str) -> Option<Gtid> {
        let mut parts = text.trim().split('-');
        let gtid = Gtid {
            domain: parts.next()?.parse().ok()?,
            server: parts.next()?.parse().ok()?,
            sequence: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(gtid)
    }

    /// `0-1-7,1-2-9`; empty is a server that has logged nothing.
    pub fn list(text: &str) -> Option<Vec<Gtid>> {
        text.split(',').filter(|part| !part.trim().is_empty()).map(Gtid::parse).collect()
    }
}

impl std::fmt::Display for Gtid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// MySQL's: which transactions of which server, by number. Intervals are inclusive, in order and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GtidSet(pub BTreeMap<[u8; 16], Vec<(u64, u64)>>);

impl GtidSet {
    pub fn parse(text: &str) -> Option<GtidSet> {
        let mut set = GtidSet::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut parts = part.split(':');
            let server = uuid(parts.next()?)?;
            for interval in parts {
                let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
                let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                if first == 0 || last < first {
                    return None;
                }
                set.0.entry(server).or_default().push((first, last));
            }
        }
        for intervals in set.0.values_mut() {
            intervals.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
            for (first, last) in intervals.drain(..) {
                match merged.last_mut() {
                    Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                    _ => merged.push((first, last)),
                }
            }
            *intervals = merged;
        }
        Some(set)
    }

    pub fn count_of(&self, server: &[u8; 16]) -> u64 {
        self.0.get(server).map_or(0, |intervals| intervals.iter().map(|(first, last)| last - first + 1).sum())
    }

    pub fn count(&self) -> u64 {
        self.0.keys().map(|server| self.count_of(server)).sum()
    }

    pub fn union(&self, other: &GtidSet) -> GtidSet {
        let text = format!("{self},{other}");
        GtidSet::parse(&text).unwrap_or_else(|| self.clone())
    }

    /// Takes away the last `count` transactions of a server; returns how many it did not have.
    pub fn drop_last(&mut self, server: &[u8; 16], mut count: u64) -> u64 {
        let Some(intervals) = self.0.get_mut(server) else { return count };
        while count > 0
            && let Some((first, last)) = intervals.pop()
        {
            let length = last - first + 1;
            if length > count {
                intervals.push((first, last - count));
                count = 0;
            } else {
                count -= length;
            }
        }
        if intervals.is_empty() {
            self.0.remove(server);
        }
        count
    }
}

impl std::fmt::Display for GtidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (server, intervals)) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            f.write_str(&uuid_text(server))?;
            for (first, last) in intervals {
                if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
            }
        }
        Ok(())
    }
}

pub(super) fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.trim().bytes().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 {
        return None;
    }
    let mut out = [0; 16];
    for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

pub(super) fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "bbbbbbbb-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn mariadb_positions_read_and_print() {
        let list = Gtid::list("0-1-7, 2-10-9223372036854775807").unwrap();
        assert_eq!(list[1], Gtid { domain: 2, server: 10, sequence: 9_223_372_036_854_775_807 });
        assert_eq!(list[0].to_string(), "0-1-7");
        assert_eq!(Gtid::list(""), Some(Vec::new()));
        for wrong in ["0-1", "0-1-7-9", "a-1-2", "0-1--2"] {
            assert_eq!(Gtid::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn mysql_sets_read_merge_count_and_print() {
        let set = GtidSet::parse(&format!("{A}:1-5:7:6,\n{}:11-12", B.to_uppercase())).unwrap();
        assert_eq!(set.to_string(), format!("{A}:1-7,{B}:11-12"));
        assert_eq!((set.count(), set.count_of(&uuid(B).unwrap())), (9, 2));
        assert_eq!(GtidSet::parse("").unwrap().count(), 0);
        for wrong in [format!("{A}:0"), format!("{A}:5-4"), "xyz:1".to_owned(), format!("{A}:tag:1")] {
            assert_eq!(GtidSet::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_transactions_of_a_server_are_taken_away() {
        let mut set = GtidSet::parse(&format!("{A}:1-5:8-9")).unwrap();
        assert_eq!(set.drop_last(&uuid(A).unwrap(), 3), 0);
        assert_eq!(set.to_string(), format!("{A}:1-4"));
        assert_eq!(set.drop_last(&uuid(B).unwrap(), 2), 2);
        assert_eq!(set.drop_last(&uuid(A).unwrap(), 6), 2);
        assert_eq!(set.count(), 0);
        let all = GtidSet::parse(&format!("{A}:1-4")).unwrap();
        assert_eq!(
            all.union(&GtidSet::parse(&format!("{A}:5,{B}:1")).unwrap()).to_string(),
            format!("{A}:1-5,{B}:1")
        );
    }
}
