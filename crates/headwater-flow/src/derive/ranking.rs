//! Ranking views: compiled against their table, moved row by row, and made into documents.
//!
//! A group's state is the sum over the mirror's rows of what each has a share in, and a share depends on the row's
//! cells alone. So a change takes the old row's share out and puts the new one's in, whatever kind of change it is, and no
//! group is ever counted again from its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_model::filter::{BoundFilter, Verdict};
use headwater_model::wire::write_value;
use headwater_model::{
    Aggregate, ColumnType, Error, ErrorKind, Key, Names, Ranking, Record, Result, Table, TableName, Value,
    View, ViewChange,
};
use rusqlite::Connection;
use tracing::warn;

use super::dirty::Dirty;
use super::encoding::{join_bytes, key_bytes, read_key};
use super::groups::{Group, Groups, Shown};
use super::mirror::Mirror;
use super::projection::{bind, column_of, parse_filter};
use super::{Tables, table_of};

/// A ranking view compiled against its table as the mirror stores it: columns are cells.
#[derive(Debug)]
pub(super) struct Ranked {
    pub view: usize,
    pub stored: usize,
    pub name: Box<str>,
    /// Everything that shares depend on. Groups that were counted by another one are counted anew.
    pub spec: String,
    names: Names,
    /// `within`, then `by`.
    group: Vec<usize>,
    function: Aggregate,
    value: Option<usize>,
    filter: Option<BoundFilter>,
    /// Cells that a row's share depends on.
    relevant: Vec<usize>,
}

/// What a row adds to a group.
struct Share<'a> {
    k: Vec<u8>,
    /// `None`: NULL, or no column.
    value: Option<&'a Value>,
}

/// The table and the columns of it that a ranking needs, as places in the table; finds everything that can be wrong.
pub(super) fn need(
    place: &str,
    view: &View,
    ranking: &Ranking,
    tables: &Tables,
) -> Result<(TableName, BTreeSet<usize>)> {
    let table = table_of(tables, &view.from, place)?;
    let mut columns: BTreeSet<usize> = table.key.iter().copied().collect();
    for column in ranking.within.iter().chain(&ranking.by).chain(&ranking.column) {
        columns.insert(column_of(place, table, column)?);
    }
    let names: Vec<&str> = fields(ranking).collect();
    if let Some(twice) =
        names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name))
    {
        return Err(Error::misconfigured(format!("{place}: two fields are named \"{twice}\"")).with_remedy(
            format!(
                "name each column once in `by` and `within`, and none that is called \"{}\"",
                Ranking::SCORE
            ),
        ));
    }
    if ranking.column.is_none() && ranking.function != Aggregate::Count {
        return Err(Error::misconfigured(format!("{place}: only `count` works without a column"))
            .with_remedy("name the column whose values make the score"));
    }
    if let Some(text) = view.filter.as_deref() {
        bind(place, table, text)?;
        for column in parse_filter(place, text)?.columns() {
            columns.extend(column.find(table.columns.iter().map(|c| &*c.name)));
        }
    }
    Ok((table.name.clone(), columns))
}

fn fields(ranking: &Ranking) -> impl Iterator<Item = &str> {
    ranking.within.iter().chain(&ranking.by).map(|name| &**name).chain([Ranking::SCORE])
}

impl Ranked {
    /// `shape` is the stored table: its columns are the mirror's cells.
    pub fn compile(
        place: &str,
        number: usize,
        view: &View,
        ranking: &Ranking,
        stored: usize,
        shape: &Table,
    ) -> Result<Ranked> {
        let group: Vec<usize> = ranking
            .within
            .iter()
            .chain(&ranking.by)
            .map(|name| column_of(place, shape, name))
            .collect::<Result<_>>()?;
        let value = ranking.column.as_deref().map(|name| column_of(place, shape, name)).transpose()?;
        let mut relevant: BTreeSet<usize> = group.iter().copied().chain(value).collect();
        let filter = match view.filter.as_deref() {
            Some(text) => {
                for column in parse_filter(place, text)?.columns() {
                    relevant.extend(column.find(shape.columns.iter().map(|c| &*c.name)));
                }
                Some(bind(place, shape, text)?)
            }
            None => None,
        };
        // The kinds too: what a filter says of a value depends on them.
        let kinds: Vec<(&str, &ColumnType)> =
            relevant.iter().map(|cell| &shape.columns[*cell]).map(|c| (&*c.name, &c.kind)).collect();
        let spec = serde_json::to_string(&(ranking, &view.filter, kinds))
            .map_err(|error| Error::bug(format!("{place}: cannot be described")).with_cause(error))?;
        Ok(Ranked {
            view: number,
            stored,
            name: view.name.clone(),
            spec,
            names: fields(ranking).map(Into::into).collect(),
            group,
            function: ranking.function,
            value,
            filter,
            relevant: relevant.into_iter().collect(),
        })
    }

    /// `None` if the row belongs to no group: a column is NULL or still to come, or the filter does not take it.
    fn share<'a>(&self, cells: &'a [Value]) -> Option<Share<'a>> {
        if self.filter.as_ref().is_some_and(|filter| filter.accepts_values(cells) != Verdict::Accepted) {
            return None;
        }
        let k = join_bytes(cells, &self.group)?;
        let value =
            self.value.map(|cell| &cells[cell]).filter(|value| !value.is_null() && !value.is_unchanged());
        Some(Share { k, value })
    }

    /// The key of the group that the row belongs to, if it belongs to one.
    pub(super) fn group_of(&self, cells: &[Value]) -> Option<Vec<u8>> {
        self.share(cells).map(|_| self.key(cells))
    }

    /// Bytes of the group's key, as the row prints it.
    fn key(&self, cells: &[Value]) -> Vec<u8> {
        key_bytes(self.group.iter().map(|cell| &cells[*cell]))
    }
}

/// Counts the groups of a ranking from the rows that the mirror has.
pub(super) fn count_anew(mirror: &Mirror, groups: &Groups, ranked: &Ranked) -> Result<()> {
    count(mirror, groups, ranked, |_| true)
}

/// Counts some groups again, by what they are found by, and marks them: whatever stores have of them is written again.
pub(super) fn count_again(
    mirror: &Mirror,
    dirty: &mut Dirty,
    ranking: usize,
    ranked: &Ranked,
    ks: &BTreeSet<Vec<u8>>,
) -> Result<()> {
    let (groups, conn) = (mirror.groups(ranking), &mirror.conn);
    let mut mark = |k: &[u8]| match groups.get(conn, k)? {
        Some(group) => dirty.add(conn, ranked.view, &group.key, true),
        None => Ok(()),
    };
    for k in ks {
        mark(k)?;
        groups.forget_group(conn, k)?;
    }
    count(mirror, groups, ranked, |k| ks.contains(k))?;
    ks.iter().try_for_each(|k| mark(k))
}

fn count(
    mirror: &Mirror,
    groups: &Groups,
    ranked: &Ranked,
    is_counted: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    let mut mover = Mover { mirror, groups, ranked };
    mirror.each_row(ranked.stored, |_, row| {
        if let Some(share) = ranked.share(&row.cells).filter(|share| is_counted(&share.k)) {
            mover.put(&share, &row.cells, Shown::Unknown)?;
        }
        Ok(true)
    })
}

/// A group that is not what the mirror's rows make of it.
pub(crate) struct Miscounted {
    pub k: Vec<u8>,
    pub key: Key,
    /// What is kept of it, and what its rows make; `None`: nothing.
    pub kept: Option<Tally>,
    pub made: Option<Tally>,
}

/// What is known of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tally {
    pub score: Value,
    pub rows: u64,
}

/// The groups that are not what the mirror's rows make of them, at most `limit`: all rows are counted, beside what is kept. Within
/// [`Mirror::moment`].
pub(super) fn miscounted(
    mirror: &Mirror,
    ranking: usize,
    ranked: &Ranked,
    limit: usize,
) -> Result<Vec<Miscounted>> {
    let (kept, conn) = (mirror.groups(ranking), &mirror.conn);
    let made = Groups::aside(conn)?;
    count_anew(mirror, &made, ranked)?;
    let mut found = Vec::new();
    for k in kept.unlike_aside(conn, limit)? {
        let (has, should) = (kept.get(conn, &k)?, made.get(conn, &k)?);
        let key = match should.as_ref().or(has.as_ref()) {
            Some(group) => read_key(&group.key)?,
            // Values of a group that there is not: only these bytes are known of it.
            None => Key(vec![Value::Bytes(k.clone().into())]),
        };
        let tally = |groups: &Groups, group: Option<Group>| -> Result<Option<Tally>> {
            let tally = |group: Group| {
                let score = score(groups, conn, ranked, &k, &group)?;
                Ok(Tally { score, rows: group.rows })
            };
            group.map(tally).transpose()
        };
        let (kept, made) = (tally(kept, has)?, tally(&made, should)?);
        found.push(Miscounted { k, key, kept, made });
    }
    Ok(found)
}

/// Moves the groups of one ranking.
struct Mover<'a> {
    mirror: &'a Mirror,
    groups: &'a Groups,
    ranked: &'a Ranked,
}

impl Mover<'_> {
    /// Adds a share; gives the group's key.
    fn put(&mut self, share: &Share<'_>, cells: &[Value], shown: Shown) -> Result<Vec<u8>> {
        let (groups, conn) = (self.groups, &self.mirror.conn);
        let mut group =
            groups.get(conn, &share.k)?.unwrap_or_else(|| Group::new(self.ranked.key(cells), shown));
        group.rows += 1;
        if let Some(value) = share.value {
            group.values += 1;
            match self.ranked.function {
                Aggregate::Count => {}
                Aggregate::Sum => group.sum.add(value)?,
                Aggregate::Min | Aggregate::Max => groups.add_value(conn, &share.k, value)?,
            }
        }
        groups.put(conn, &share.k, &group)?;
        Ok(group.key)
    }

    /// Takes a share out; gives the group's key. A group without rows stays until the transaction's end, for its key.
    fn take(&mut self, share: &Share<'_>) -> Result<Vec<u8>> {
        let (groups, conn) = (self.groups, &self.mirror.conn);
        let wrong = || {
            Error::corrupt(format!(
                "the mirror's groups of view \"{}\" do not fit its rows",
                self.ranked.name
            ))
            .with_remedy("stop, remove the mirror's file and start again: it is filled again from the source")
        };
        let mut group = groups.get(conn, &share.k)?.ok_or_else(wrong)?;
        group.rows = group.rows.checked_sub(1).ok_or_else(wrong)?;
        if let Some(value) = share.value {
            group.values = group.values.checked_sub(1).ok_or_else(wrong)?;
            match self.ranked.function {
                Aggregate::Count => {}
                Aggregate::Sum => group.sum.take(value)?,
                Aggregate::Min | Aggregate::Max => groups.take_value(conn, &share.k, value)?,
            }
        }
        groups.put(conn, &share.k, &group)?;
        Ok(group.key)
    }
}

/// One row's change, as a ranking sees it.
pub(super) struct Move<'a> {
    pub old: Option<&'a [Value]>,
    pub new: Option<&'a [Value]>,
    /// Emit the row's groups even if their documents stay the same.
    pub again: bool,
}

/// Moves a ranking by one row, and marks the groups that the row left, stayed in or came to.
pub(super) fn step(
    mirror: &Mirror,
    dirty: &mut Dirty,
    ranking: usize,
    ranked: &Ranked,
    row: &Move<'_>,
) -> Result<()> {
    if let (Some(old), Some(new), false) = (row.old, row.new, row.again)
        && ranked.relevant.iter().all(|cell| old[*cell] == new[*cell])
    {
        return Ok(());
    }
    let mut mover = Mover { mirror, groups: mirror.groups(ranking), ranked };
    let (old, new) =
        (row.old.and_then(|cells| ranked.share(cells)), row.new.and_then(|cells| ranked.share(cells)));
    if let Some(share) = old {
        let key = match mover.take(&share) {
            // It does not have what its rows have: damage, or a bug of ours. Nothing that goes on from there would be right.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                warn!(view = %ranked.name, %error, "a group of the mirror is counted again");
                count_again(mirror, dirty, ranking, ranked, &[share.k.clone()].into())?;
                mover.take(&share)?
            }
            taken => taken?,
        };
        dirty.add(&mirror.conn, ranked.view, &key, row.again)?;
    }
    if let (Some(share), Some(cells)) = (new, row.new) {
        let key = mover.put(&share, cells, Shown::Nothing)?;
        dirty.add(&mirror.conn, ranked.view, &key, row.again)?;
    }
    Ok(())
}

/// What the transaction in hand did to a group's document, if anything. `cleared`: stores have nothing of the view.
pub(super) fn view_change(
    mirror: &Mirror,
    ranking: usize,
    ranked: &Ranked,
    view: &Arc<View>,
    touched: Touched<'_>,
) -> Result<Option<ViewChange>> {
    let (groups, conn) = (mirror.groups(ranking), &mirror.conn);
    let key = read_key(touched.key)?;
    let columns: Vec<usize> = (0..key.0.len()).collect();
    let k = join_bytes(&key.0, &columns).ok_or_else(|| Error::bug("a group has NULL in its key"))?;
    let found = groups.get(conn, &k)?;
    if let Some(group) = found.as_ref().filter(|group| group.rows > 0) {
        let score = score(groups, conn, ranked, &k, group)?;
        let mut bytes = Vec::with_capacity(10);
        write_value(&score, &mut bytes);
        let shown = Shown::Score(bytes);
        if group.shown == shown && !touched.again {
            return Ok(None);
        }
        groups.show(conn, &k, &shown)?;
        let mut values = key.0.clone();
        values.push(score);
        let document = Record { names: ranked.names.clone(), values };
        return Ok(Some(ViewChange::Put { view: view.clone(), key, moved_from: None, document }));
    }
    let nothing = found.as_ref().is_some_and(|group| group.shown == Shown::Nothing);
    if found.is_some() {
        groups.remove(conn, &k)?;
    }
    if touched.cleared || (nothing && !touched.again) {
        return Ok(None);
    }
    Ok(Some(ViewChange::Delete { view: view.clone(), key: Key(key.0) }))
}

fn score(groups: &Groups, conn: &Connection, ranked: &Ranked, k: &[u8], group: &Group) -> Result<Value> {
    Ok(match ranked.function {
        Aggregate::Count if ranked.value.is_none() => whole(group.rows),
        Aggregate::Count => whole(group.values),
        Aggregate::Sum => group.sum.value(),
        Aggregate::Min => groups.extreme(conn, k, false)?,
        Aggregate::Max => groups.extreme(conn, k, true)?,
    })
}

/// The key and the document of a group, if it has any rows. `k` is what the group is found by.
pub(super) fn document(
    mirror: &Mirror,
    ranking: usize,
    ranked: &Ranked,
    k: &[u8],
) -> Result<Option<(Key, Record)>> {
    let (groups, conn) = (mirror.groups(ranking), &mirror.conn);
    let found = groups.get(conn, k)?;
    let Some(group) = found.filter(|group| group.rows > 0) else { return Ok(None) };
    let key = read_key(&group.key)?;
    let mut values = key.0.clone();
    values.push(score(groups, conn, ranked, k, &group)?);
    Ok(Some((key, Record { names: ranked.names.clone(), values })))
}

/// What the group of a key is found by; `None` if a column is NULL, for no group has such a key.
pub(super) fn group_bytes(key: &Key) -> Option<Vec<u8>> {
    let columns: Vec<usize> = (0..key.0.len()).collect();
    join_bytes(&key.0, &columns)
}

/// A group that the transaction in hand touched.
pub(super) struct Touched<'a> {
    pub key: &'a [u8],
    pub again: bool,
    /// The view was emptied by the same transaction.
    pub cleared: bool,
}

fn whole(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}
