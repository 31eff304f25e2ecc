//! How far each shard of a stream has been read, and which shards may be read now.
//!
//! Owns: the order of shards. Does not own: reading them ([`super::follow`]), or where this is kept ([`super::state`]).
//!
//! A key's changes lie in one shard until that shard is closed, and then in a child of it. Invariant: a shard is read only
//! once its parent has been read to its end, so the changes of a key come in their order.

use std::collections::{BTreeMap, BTreeSet};

use headwater_model::{Error, Result};

/// By how much the clocks of this machine and of the service differ at most.
const CLOCKS_DIFFER_MS: i64 = 60 * 1000;

/// Within which a stream tells of a write, however long it takes.
const TOLD_WITHIN_MS: i64 = 60 * 1000;

/// Times of records are rounded down: to seconds, and to minutes on DynamoDB Local.
const ROUNDED_MS: i64 = 60 * 1000;

/// Of a shard that had nothing for so long since it was joined, clocks tell what lay in it before from what comes.
const QUIET_FOR_MS: i64 = 2 * CLOCKS_DIFFER_MS + TOLD_WITHIN_MS + ROUNDED_MS;

/// How far a shard has been read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// From its table's join on, which was noted then (milliseconds since 1970); nothing has come by yet.
    Joined(i64),
    /// As `Joined`, and long after it: what was made up to then, by the service's clock, lay there before the join.
    Behind(i64),
    /// From its first record on.
    Start,
    /// Up to and including this sequence number.
    After(String),
    /// To its end.
    Done,
}

impl Place {
    pub(super) fn to_text(&self) -> String {
        match self {
            Place::Joined(ms) => format!("joined {ms}"),
            Place::Behind(ms) => format!("behind {ms}"),
            Place::Start => "start".to_owned(),
            Place::After(number) => format!("after {number}"),
            Place::Done => "done".to_owned(),
        }
    }

    pub(super) fn read(text: &str) -> Option<Place> {
        Some(match text.split_once(' ') {
            Some(("joined", ms)) => Place::Joined(ms.parse().ok()?),
            Some(("behind", ms)) => Place::Behind(ms.parse().ok()?),
            Some(("after", number)) => Place::After(number.to_owned()),
            None if text == "start" => Place::Start,
            None if text == "done" => Place::Done,
            _ => return None,
        })
    }

    /// Where to go on once the shard, asked at a time in milliseconds since 1970, had nothing to tell; `None` where it was.
    pub(super) fn found_empty(&self, asked_ms: i64) -> Option<Place> {
        match self {
            Place::Joined(ms) if asked_ms - ms >= QUIET_FOR_MS => Some(Place::Behind(ms + CLOCKS_DIFFER_MS)),
            _ => None,
        }
    }
}

/// A shard as the stream's description lists it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) parent: Option<String>,
    pub(super) is_closed: bool,
}

/// The shards of one stream. Those that were read to their end are remembered only until a child of theirs is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shards(pub(super) BTreeMap<String, Place>);

impl Shards {
    /// Followed from now on: what open shards get next, and nothing of what lies in the stream already. `now_ms` is after the
    /// iterators that tell one from the other were given.
    pub(super) fn joined(listed: &[Listed], now_ms: i64) -> Shards {
        let parents: BTreeSet<&str> = listed.iter().filter_map(|shard| shard.parent.as_deref()).collect();
        let place = |shard: &Listed| match (shard.is_closed, parents.contains(&*shard.id)) {
            (false, _) => Some(Place::Joined(now_ms)),
            // Its children are not listed yet: they are known by it.
            (true, false) => Some(Place::Done),
            (true, true) => None,
        };
        Shards(listed.iter().filter_map(|shard| Some((shard.id.clone(), place(shard)?))).collect())
    }

    /// Takes in what the stream lists now. Whether anything changed. `OutOfStep` if a shard is gone that was not read to
    /// its end.
    pub(super) fn learn(&mut self, listed: &[Listed]) -> Result<bool> {
        let by_id: BTreeMap<&str, &Listed> = listed.iter().map(|shard| (&*shard.id, shard)).collect();
        let gone = |id: &&String| !by_id.contains_key(id.as_str());
        if let Some((id, _)) = self.0.iter().find(|(id, place)| **place != Place::Done && gone(id)) {
            return Err(Error::out_of_step(format!(
                "shard {id} is gone before it was read: DynamoDB keeps the records of a stream for 24 hours"
            )));
        }
        let before = self.clone();
        let mut ancestors = BTreeSet::new();
        for id in self.0.keys() {
            let mut parent = by_id.get(id.as_str()).and_then(|shard| shard.parent.as_deref());
            while let Some(id) = parent.filter(|id| ancestors.insert((*id).to_owned())) {
                parent = by_id.get(id).and_then(|shard| shard.parent.as_deref());
            }
        }
        for shard in listed.iter().filter(|shard| !ancestors.contains(&shard.id)) {
            self.0.entry(shard.id.clone()).or_insert(Place::Start);
        }
        let parents: BTreeSet<String> = {
            let of_known = listed.iter().filter(|shard| self.0.contains_key(&shard.id));
            of_known.filter_map(|shard| shard.parent.clone()).collect()
        };
        self.0.retain(|id, place| {
            *place != Place::Done || (!parents.contains(id) && by_id.contains_key(id.as_str()))
        });
        Ok(*self != before)
    }

    /// Those that may be read now.
    pub(super) fn readable(&self, parents: &BTreeMap<String, String>) -> Vec<String> {
        let waits = |id: &String| {
            let parent = parents.get(id).and_then(|parent| self.0.get(parent));
            parent.is_some_and(|place| *place != Place::Done)
        };
        let open = self.0.iter().filter(|(_, place)| **place != Place::Done);
        open.map(|(id, _)| id).filter(|id| !waits(id)).cloned().collect()
    }

    /// Whether all that is known was read to its end, while nothing is known of what comes next.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.values().all(|place| *place == Place::Done)
    }

    /// Whether a shard was read to its end whose children are not known.
    pub(super) fn awaits_children(&self) -> bool {
        self.0.values().any(|place| *place == Place::Done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listed(shards: &[(&str, &str, bool)]) -> Vec<Listed> {
        let shard = |(id, parent, is_closed): &(&str, &str, bool)| Listed {
            id: (*id).to_owned(),
            parent: (!parent.is_empty()).then(|| (*parent).to_owned()),
            is_closed: *is_closed,
        };
        shards.iter().map(shard).collect()
    }

    fn parents(listed: &[Listed]) -> BTreeMap<String, String> {
        listed.iter().filter_map(|shard| Some((shard.id.clone(), shard.parent.clone()?))).collect()
    }

    fn place(shards: &Shards, id: &str) -> Option<Place> {
        shards.0.get(id).cloned()
    }

    #[test]
    fn only_what_comes_after_joining_is_read() {
        // a was split into b and c; b closed just now, its child is not listed yet.
        let before = listed(&[("a", "", true), ("b", "a", true), ("c", "a", false)]);
        let mut shards = Shards::joined(&before, 7);
        assert_eq!(place(&shards, "a"), None);
        assert_eq!(place(&shards, "b"), Some(Place::Done));
        assert_eq!(place(&shards, "c"), Some(Place::Joined(7)));
        assert!(!shards.learn(&before).unwrap(), "a is an ancestor: never read");
        let now = listed(&[("a", "", true), ("b", "a", true), ("c", "a", false), ("d", "b", false)]);
        assert!(shards.learn(&now).unwrap());
        assert_eq!(place(&shards, "d"), Some(Place::Start));
        assert_eq!(place(&shards, "b"), None, "its child is known");
        assert_eq!(shards.readable(&parents(&now)), ["c", "d"]);
        assert!(!shards.learn(&now).unwrap());
    }

    #[test]
    fn a_parent_is_read_to_its_end_before_its_children() {
        let now = listed(&[("a", "", true), ("b", "a", true), ("c", "a", false), ("d", "b", false)]);
        let mut shards = Shards([("a".to_owned(), Place::After("5".to_owned()))].into());
        shards.learn(&now).unwrap();
        assert_eq!(shards.readable(&parents(&now)), ["a"]);
        shards.0.insert("a".to_owned(), Place::Done);
        assert_eq!(shards.readable(&parents(&now)), ["b", "c"]);
        shards.learn(&now).unwrap();
        shards.0.insert("b".to_owned(), Place::Done);
        assert_eq!(shards.readable(&parents(&now)), ["c", "d"]);
        shards.learn(&now).unwrap();
        assert_eq!(shards.0.keys().collect::<Vec<_>>(), ["c", "d"]);
    }

    #[test]
    fn a_shard_that_is_gone_unread_is_a_gap_and_one_that_was_read_is_none() {
        let mut shards = Shards([("a".to_owned(), Place::Done), ("b".to_owned(), Place::Done)].into());
        assert!(shards.is_at_end() && shards.awaits_children());
        // c came from b; a was trimmed.
        assert!(shards.learn(&listed(&[("b", "", true), ("c", "b", false)])).unwrap());
        assert_eq!(shards.0, [("c".to_owned(), Place::Start)].into());
        let gone = shards.learn(&listed(&[("d", "c", false)])).unwrap_err();
        assert_eq!(gone.kind(), headwater_model::ErrorKind::OutOfStep);
    }

    #[test]
    fn places_come_back() {
        let after = Place::After("49".to_owned());
        for place in [Place::Joined(-1), Place::Behind(2), Place::Start, after, Place::Done] {
            assert_eq!(Place::read(&place.to_text()), Some(place));
        }
        assert_eq!(Place::read("soon"), None);
    }

    #[test]
    fn clocks_tell_old_records_from_new_ones_only_where_nothing_was_made_for_long() {
        for joined_ms in [0, 1, 59_999] {
            let joined = Place::Joined(joined_ms);
            let asked_ms = joined_ms + QUIET_FOR_MS;
            assert_eq!(joined.found_empty(asked_ms - 1), None);
            let newest_before = joined_ms + CLOCKS_DIFFER_MS;
            let oldest_since = (asked_ms - TOLD_WITHIN_MS - CLOCKS_DIFFER_MS) / ROUNDED_MS * ROUNDED_MS;
            let Some(Place::Behind(upto)) = joined.found_empty(asked_ms) else {
                panic!("it was quiet for long")
            };
            assert!(newest_before <= upto && upto < oldest_since, "{newest_before} {upto} {oldest_since}");
        }
        assert_eq!(Place::After("49".to_owned()).found_empty(i64::MAX), None);
    }
}
