//! Where to go on when the source has taken a new course of history: a standby was promoted, or a backup restored.
//!
//! Owns: the judgement whether what was followed is part of the new course ([`resume`]), and which keys the old course had sent
//! that the new one never had ([`undone`]). Does not own: reading those keys again ([`crate::backfill`]), or closing a gap.
//!
//! Invariant: positions are monotonic in the journal within a course, and the journal ends with what was followed last. So
//! what a new course never had is the journal's end, from one offset on.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use headwater_model::{Change, Key, Lineage, Offset, Position, Result, TableName};

use crate::journal::{Item, Journal};

/// Keys that are read again one by one; more are not worth it: every view is read again as a whole.
const KEYS_MAX: usize = 500_000;

/// How what was followed before lies in the source's history as it is now.
#[derive(Debug, PartialEq)]
pub(crate) enum Resume {
    /// All of it is in it: the log goes on here.
    Here(Position),
    /// The present course left the one that was followed here, before its end.
    Left(Position),
    /// It cannot be told what of it the present course has.
    Lost(String),
}

/// `last` is the end of what was followed, `known` the history that it was followed in, if that is on record.
pub(crate) fn resume(last: &Position, known: Option<&Lineage>, now: &Lineage) -> Resume {
    if last.system == now.system {
        // A number may be given twice: to two standbys that were both promoted.
        return match known.filter(|known| known.system == now.system && *known != now) {
            Some(_) => Resume::Lost(format!(
                "system {} has another history than the one that was followed",
                now.system
            )),
            None => Resume::Here(last.clone()),
        };
    }
    let diverged = known.is_some_and(|known| {
        known.system == last.system && known.ancestors.iter().any(|before| !now.ancestors.contains(before))
    });
    match now.left(&last.system) {
        Some(left) if !diverged => match now.place(last) {
            Some(place) => Resume::Here(place),
            None => Resume::Left(Position::new(now.system.clone(), left)),
        },
        _ => Resume::Lost(format!(
            "system {} did not come from system {}, which was followed: the database was restored or replaced",
            now.system, last.system
        )),
    }
}

/// What the old course had sent and the present one never had.
#[derive(Debug, PartialEq)]
pub(crate) enum Undone {
    Nothing,
    /// From this entry on to the journal's end.
    From(Offset),
    /// The journal has forgotten where it begins.
    Forgotten,
}

/// Finds the first entry that is not in the history as it is `now`.
pub(crate) fn undone(journal: &Journal, now: &Lineage) -> Result<Undone> {
    let is_in_history = |offset: Offset| -> Result<bool> {
        Ok(position_at(journal, offset)?.is_none_or(|(position, _)| now.place(&position).is_some()))
    };
    let (first, durable) = (journal.first(), journal.durable());
    if durable < first || is_in_history(durable)? {
        return Ok(Undone::Nothing);
    }
    // Entries before `low` are in it, those from `high` on are not.
    let (mut low, mut high) = (first, durable);
    while low < high {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        if is_in_history(middle)? {
            low = middle.next();
        } else {
            high = middle;
        }
    }
    Ok(if high > first || first == Offset(1) { Undone::From(high) } else { Undone::Forgotten })
}

/// Position and commit time of an entry; `None` if it is not in the journal.
pub(crate) fn position_at(journal: &Journal, offset: Offset) -> Result<Option<(Position, i64)>> {
    if offset < journal.first() || offset > journal.durable() {
        return Ok(None);
    }
    let mut reader = journal.read(Offset(offset.0 - 1))?;
    loop {
        let items = reader.try_next(1 << 20)?;
        if items.is_empty() {
            return Ok(None);
        }
        for item in items {
            if let Item::Commit { offset: at, position, committed_at } = item {
                return Ok((at == offset).then_some((position, committed_at)));
            }
        }
    }
}

/// The keys of `tables` that the entries from `from` to `upto` touched; `None` if they are too many to be read one by one, or
/// are not told apart.
pub(crate) fn touched(
    journal: &Journal,
    from: Offset,
    upto: Offset,
    tables: &BTreeSet<TableName>,
) -> Result<Option<BTreeMap<TableName, Vec<Key>>>> {
    let mut found: BTreeMap<TableName, Vec<Key>> = BTreeMap::new();
    let mut known: HashSet<(u32, Vec<u8>)> = HashSet::new();
    let mut reader = journal.read(Offset(from.0.saturating_sub(1)))?;
    loop {
        let items = reader.try_next(1 << 20)?;
        if items.is_empty() {
            return Ok(None);
        }
        for item in items {
            let changes = match item {
                Item::Begin { .. } => continue,
                Item::Changes(changes) => changes,
                Item::Commit { offset, .. } if offset >= upto => return Ok(Some(found)),
                Item::Commit { .. } => continue,
            };
            for change in &changes {
                let (table, keys) = match change {
                    Change::Insert { table, row } | Change::Snapshot { table, row } => {
                        (table, [Some(row.key(table)), None])
                    }
                    Change::Update { table, old_key, row } => {
                        (table, [Some(row.key(table)), old_key.clone()])
                    }
                    Change::Delete { table, key } => (table, [Some(key.clone()), None]),
                    Change::Truncate { tables: emptied } => {
                        if emptied.iter().any(|table| tables.contains(&table.name)) {
                            return Ok(None);
                        }
                        continue;
                    }
                };
                if !tables.contains(&table.name) {
                    continue;
                }
                for key in keys.into_iter().flatten() {
                    if known.insert((table.id, key.to_bytes())) {
                        found.entry(table.name.clone()).or_default().push(key);
                    }
                }
                if known.len() > KEYS_MAX {
                    return Ok(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use headwater_model::{Column, ColumnType, Row, Table, Value};

    use super::*;
    use crate::journal::{EntryKind, Options};

    fn at(timeline: u32, sequence: u64) -> Position {
        Position::new(format!("7/{timeline}"), sequence)
    }

    fn lineage(timeline: u32, ancestors: &[(u32, u64)]) -> Lineage {
        let ancestors = ancestors.iter().map(|(timeline, left)| at(*timeline, *left)).collect();
        Lineage { system: format!("7/{timeline}").into(), ancestors }
    }

    #[test]
    fn a_promotion_goes_on_where_the_old_course_was_left_at_the_latest() {
        let one = lineage(1, &[]);
        let two = lineage(2, &[(1, 100)]);
        assert_eq!(resume(&at(1, 90), Some(&one), &one), Resume::Here(at(1, 90)));
        assert_eq!(resume(&at(1, 100), Some(&one), &two), Resume::Here(at(2, 100)));
        assert_eq!(resume(&at(1, 101), Some(&one), &two), Resume::Left(at(2, 100)));
        assert_eq!(resume(&at(1, 101), None, &two), Resume::Left(at(2, 100)));
        let three = lineage(3, &[(1, 100), (2, 200)]);
        assert_eq!(resume(&at(1, 90), Some(&one), &three), Resume::Here(at(3, 90)));
    }

    #[test]
    fn a_course_that_did_not_come_from_the_one_that_was_followed_is_a_gap() {
        let two = lineage(2, &[(1, 100)]);
        let other_two = lineage(2, &[(1, 80)]);
        let from_other_two = lineage(3, &[(1, 80), (2, 200)]);
        assert!(matches!(resume(&at(2, 150), Some(&two), &other_two), Resume::Lost(_)));
        assert!(matches!(resume(&at(2, 150), Some(&two), &from_other_two), Resume::Lost(_)));
        assert!(matches!(resume(&at(2, 150), Some(&two), &lineage(3, &[(1, 80)])), Resume::Lost(_)));
    }

    #[test]
    fn what_the_new_course_never_had_is_found_with_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut writer) = Journal::<Change>::open(Options::new(dir.path())).unwrap();
        let column = |name: &str| Column { name: name.into(), kind: ColumnType::Int };
        let table = Arc::new(Table {
            id: 1,
            version: 1,
            name: TableName::new(None, "t"),
            columns: vec![column("id")],
            key: vec![0],
        });
        let key = |id: u64| Key(vec![Value::Int(id as i64)]);
        for id in 1..=20u64 {
            writer.begin(EntryKind::Transaction { xid: Some(id) }).unwrap();
            let row = Row(vec![Value::Int(id as i64)]);
            let change = match id % 3 {
                0 => Change::Delete { table: Arc::clone(&table), key: key(id) },
                1 => Change::Update { table: Arc::clone(&table), old_key: Some(key(id + 100)), row },
                _ => Change::Insert { table: Arc::clone(&table), row },
            };
            writer.change(&change).unwrap();
            writer.commit(at(1, id * 10), 1).unwrap();
        }
        writer.settle().unwrap();
        let tables = BTreeSet::from([TableName::new(None, "t")]);
        for left in 0..=20u64 {
            let found = undone(&journal, &lineage(2, &[(1, left * 10 + 5)])).unwrap();
            if left == 20 {
                assert_eq!(found, Undone::Nothing);
                continue;
            }
            assert_eq!(found, Undone::From(Offset(left + 1)));
            let keys = touched(&journal, Offset(left + 1), Offset(20), &tables).unwrap().unwrap();
            let expected: Vec<Key> = (left + 1..=20)
                .flat_map(|id| [Some(key(id)), (id % 3 == 1).then(|| key(id + 100))])
                .flatten()
                .collect();
            assert_eq!(keys.into_values().collect::<Vec<_>>(), [expected]);
        }
        assert_eq!(
            touched(&journal, Offset(3), Offset(20), &BTreeSet::new()).unwrap(),
            Some(BTreeMap::new())
        );
    }
}
