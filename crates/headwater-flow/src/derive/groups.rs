//! What the mirror knows of the groups of rankings: how many rows each has, their sum, their values in order, and
//! the score that was emitted last.
//!
//! Owns these tables of the mirror's file; knows nothing of rows and views. They move in the mirror's own SQLite
//! transactions, so a group is always that of exactly the rows beside it.
//!
//! Layout. `gN(k, key, state, shown)` holds ranking N's groups by the join bytes of their columns. `vN(k, sort, value, n)`
//! holds, for `min` and `max`, each different value of a group in bytes that compare as values do, and how often it
//! occurs: the least is one step away, whatever leaves.

use headwater_model::sort::write_sort;
use headwater_model::wire::{Reader, write_value, write_varint};
use headwater_model::{Error, Result, Sum, Value};
use rusqlite::{Connection, OptionalExtension, params};

use super::mirror::sql_error;

macro_rules! sql {
    ($expr:expr) => {
        $expr.map_err(|error| sql_error("move the groups of a ranking", error))
    };
}

/// The groups of one ranking in the file.
pub(super) struct Groups {
    pub id: i64,
    get: String,
    put: String,
    show: String,
    remove: String,
    keys: String,
    keys_after: String,
    more: String,
    last: String,
    fewer: String,
    least: String,
    greatest: String,
    forget: String,
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    /// The values of its columns, as bytes of a key. Of numbers that are equal and print differently, the first that came.
    pub key: Vec<u8>,
    pub rows: u64,
    /// Rows whose value is not NULL.
    pub values: u64,
    pub sum: Sum,
    pub shown: Shown,
}

/// What stores have of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    /// The groups were counted anew from rows; what was emitted before is not known.
    Unknown,
    /// A score, in its wire form.
    Score(Vec<u8>),
}

impl Group {
    pub fn new(key: Vec<u8>, shown: Shown) -> Group {
        Group { key, rows: 0, values: 0, sum: Sum::default(), shown }
    }

    fn state(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        write_varint(self.rows, &mut out);
        write_varint(self.values, &mut out);
        self.sum.write(&mut out);
        out
    }
}

/// The tables that list rankings; made once per file.
pub(super) const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS rankings (id INTEGER PRIMARY KEY, view TEXT UNIQUE, of INTEGER, spec TEXT);";

impl Groups {
    fn of(id: i64) -> Groups {
        Groups::named(id, &format!("g{id}"), &format!("v{id}"))
    }

    fn named(id: i64, g: &str, v: &str) -> Groups {
        Groups {
            id,
            get: format!("SELECT key, state, shown FROM {g} WHERE k = ?1"),
            put: format!(
                "INSERT INTO {g} VALUES (?1, ?2, ?3, ?4) ON CONFLICT (k) DO UPDATE SET state = excluded.state"
            ),
            show: format!("UPDATE {g} SET shown = ?2 WHERE k = ?1"),
            remove: format!("DELETE FROM {g} WHERE k = ?1"),
            keys: format!("SELECT key FROM {g} ORDER BY k"),
            keys_after: format!("SELECT k FROM {g} WHERE k > ?1 ORDER BY k LIMIT ?2"),
            more: format!(
                "INSERT INTO {v} VALUES (?1, ?2, ?3, 1) ON CONFLICT (k, sort, value) DO UPDATE SET n = n + 1"
            ),
            last: format!("DELETE FROM {v} WHERE k = ?1 AND sort = ?2 AND value = ?3 AND n = 1"),
            fewer: format!("UPDATE {v} SET n = n - 1 WHERE k = ?1 AND sort = ?2 AND value = ?3"),
            least: format!("SELECT value FROM {v} WHERE k = ?1 ORDER BY sort, value LIMIT 1"),
            greatest: format!("SELECT value FROM {v} WHERE k = ?1 ORDER BY sort DESC, value DESC LIMIT 1"),
            forget: format!("DELETE FROM {v} WHERE k = ?1"),
        }
    }

    /// The groups of a view over the mirrored table `of`, and whether they are new and so have to be counted from its rows.
    /// Groups that were made by another `spec` are dropped.
    pub fn fit(conn: &Connection, view: &str, of: i64, spec: &str) -> Result<(Groups, bool)> {
        let known = sql!(
            conn.query_row(
                "SELECT id, of = ?2 AND spec = ?3 FROM rankings WHERE view = ?1",
                params![view, of, spec],
                |row| { Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)) }
            )
            .optional()
        )?;
        match known {
            Some((id, true)) => return Ok((Groups::of(id), false)),
            Some((id, false)) => sql!(drop_groups(conn, id))?,
            None => {}
        }
        let make = || {
            conn.execute(
                "INSERT INTO rankings (view, of, spec) VALUES (?1, ?2, ?3)",
                params![view, of, spec],
            )?;
            let id = conn.last_insert_rowid();
            conn.execute_batch(&tables(&format!("g{id}"), &format!("v{id}")))?;
            Ok(id)
        };
        Ok((Groups::of(sql!(make())?), true))
    }

    /// Groups beside those of the file, for as long as the transaction in hand lasts: to count them again without moving any.
    pub fn aside(conn: &Connection) -> Result<Groups> {
        sql!(conn.execute_batch(&tables("temp.counted_g", "temp.counted_v")))?;
        Ok(Groups::named(0, "temp.counted_g", "temp.counted_v"))
    }

    /// By what groups are found that are not as in [`Groups::aside`], at most `limit` of them. What is shown of them is not compared, nor
    /// how their keys print.
    pub fn unlike_aside(&self, conn: &Connection, limit: usize) -> Result<Vec<Vec<u8>>> {
        let id = self.id;
        let unlike = format!(
            "SELECT g.k FROM g{id} g LEFT JOIN temp.counted_g c ON c.k = g.k WHERE c.state IS NOT g.state
             UNION SELECT c.k FROM temp.counted_g c LEFT JOIN g{id} g ON g.k = c.k WHERE g.k IS NULL
             UNION SELECT v.k FROM v{id} v LEFT JOIN temp.counted_v c
                 ON c.k = v.k AND c.sort = v.sort AND c.value = v.value WHERE c.n IS NOT v.n
             UNION SELECT c.k FROM temp.counted_v c LEFT JOIN v{id} v
                 ON v.k = c.k AND v.sort = c.sort AND v.value = c.value WHERE v.k IS NULL
             LIMIT ?1"
        );
        let mut statement = sql!(conn.prepare(&unlike))?;
        let found = sql!(statement.query_map([limit as i64], |row| row.get(0)))?;
        sql!(found.collect::<rusqlite::Result<_>>())
    }

    pub fn count(&self, conn: &Connection) -> Result<u64> {
        let count = format!("SELECT count(*) FROM g{}", self.id);
        let count: i64 = sql!(conn.query_row(&count, [], |row| row.get(0)))?;
        Ok(count.unsigned_abs())
    }

    /// Forgets a group and its values.
    pub fn forget_group(&self, conn: &Connection, k: &[u8]) -> Result<()> {
        let mut statement = sql!(conn.prepare_cached(&self.forget))?;
        sql!(statement.execute([k]))?;
        self.remove(conn, k)
    }

    /// Forgets the groups of every ranking of which `keep` does not hold: nobody moves them any more.
    pub fn forget(conn: &Connection, keep: impl Fn(i64) -> bool) -> Result<()> {
        let forget = || -> rusqlite::Result<()> {
            let mut ids = conn.prepare("SELECT id FROM rankings")?;
            let ids = ids.query_map([], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
            ids.into_iter().filter(|id| !keep(*id)).try_for_each(|id| drop_groups(conn, id))
        };
        sql!(forget())
    }

    /// Forgets the rankings over a mirrored table that goes.
    pub fn forget_of(conn: &Connection, of: i64) -> rusqlite::Result<()> {
        let mut ids = conn.prepare("SELECT id FROM rankings WHERE of = ?1")?;
        let ids = ids.query_map([of], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        ids.into_iter().try_for_each(|id| drop_groups(conn, id))
    }

    /// Forgets every group.
    pub fn clear(&self, conn: &Connection) -> Result<()> {
        let id = self.id;
        sql!(conn.execute_batch(&format!("DELETE FROM g{id}; DELETE FROM v{id};")))
    }

    pub fn get(&self, conn: &Connection, k: &[u8]) -> Result<Option<Group>> {
        let mut statement = sql!(conn.prepare_cached(&self.get))?;
        let mut rows = sql!(statement.query([k]))?;
        let Some(row) = sql!(rows.next())? else { return Ok(None) };
        let blob = |column: usize| {
            let value = sql!(row.get_ref(column))?;
            value
                .as_blob_or_null()
                .map_err(|error| Error::corrupt("a group of the mirror is no blob").with_cause(error))
        };
        let missing = || Error::corrupt("a group of the mirror has no state");
        let mut state = Reader::new(blob(1)?.ok_or_else(missing)?);
        Ok(Some(Group {
            key: blob(0)?.ok_or_else(missing)?.to_vec(),
            rows: state.varint()?,
            values: state.varint()?,
            sum: Sum::read(&mut state)?,
            shown: match blob(2)? {
                None => Shown::Nothing,
                Some([]) => Shown::Unknown,
                Some(score) => Shown::Score(score.to_vec()),
            },
        }))
    }

    /// Writes a group's state; what is shown of it only if the group is new.
    pub fn put(&self, conn: &Connection, k: &[u8], group: &Group) -> Result<()> {
        let mut statement = sql!(conn.prepare_cached(&self.put))?;
        sql!(statement.execute(params![k, group.key, group.state(), shown_bytes(&group.shown)]))?;
        Ok(())
    }

    pub fn show(&self, conn: &Connection, k: &[u8], shown: &Shown) -> Result<()> {
        let mut statement = sql!(conn.prepare_cached(&self.show))?;
        sql!(statement.execute(params![k, shown_bytes(shown)]))?;
        Ok(())
    }

    pub fn remove(&self, conn: &Connection, k: &[u8]) -> Result<()> {
        let mut statement = sql!(conn.prepare_cached(&self.remove))?;
        sql!(statement.execute([k]))?;
        Ok(())
    }

    /// Calls `each` with the key of every group.
    pub fn each_key(&self, conn: &Connection, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut statement = sql!(conn.prepare_cached(&self.keys))?;
        let mut rows = sql!(statement.query([]))?;
        while let Some(row) = sql!(rows.next())? {
            let key: Vec<u8> = sql!(row.get(0))?;
            each(&key)?;
        }
        Ok(())
    }

    /// What the groups behind `after` are found by, at most `limit` of them.
    pub fn after(&self, conn: &Connection, after: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let mut statement = sql!(conn.prepare_cached(&self.keys_after))?;
        let found = sql!(statement.query_map(params![after, limit as i64], |row| row.get(0)))?;
        sql!(found.collect::<rusqlite::Result<_>>())
    }

    // ---- values in order

    pub fn add_value(&self, conn: &Connection, k: &[u8], value: &Value) -> Result<()> {
        let (sort, value) = value_bytes(value);
        let mut statement = sql!(conn.prepare_cached(&self.more))?;
        sql!(statement.execute(params![k, sort, value]))?;
        Ok(())
    }

    pub fn take_value(&self, conn: &Connection, k: &[u8], value: &Value) -> Result<()> {
        let (sort, value) = value_bytes(value);
        let mut last = sql!(conn.prepare_cached(&self.last))?;
        if sql!(last.execute(params![k, sort, value]))? == 1 {
            return Ok(());
        }
        let mut fewer = sql!(conn.prepare_cached(&self.fewer))?;
        match sql!(fewer.execute(params![k, sort, value]))? {
            1 => Ok(()),
            _ => Err(Error::corrupt("a value is taken out of a group that does not have it")),
        }
    }

    /// The least value of a group, or the greatest; NULL without any.
    pub fn extreme(&self, conn: &Connection, k: &[u8], greatest: bool) -> Result<Value> {
        let query = if greatest { &self.greatest } else { &self.least };
        let mut statement = sql!(conn.prepare_cached(query))?;
        let found: Option<Vec<u8>> = sql!(statement.query_row([k], |row| row.get(0)).optional())?;
        found.map_or(Ok(Value::Null), |bytes| Reader::new(&bytes).value())
    }
}

fn tables(g: &str, v: &str) -> String {
    format!(
        "CREATE TABLE {g} (k BLOB PRIMARY KEY, key BLOB NOT NULL, state BLOB NOT NULL, shown BLOB) WITHOUT ROWID;
         CREATE TABLE {v} (k BLOB, sort BLOB, value BLOB, n INTEGER, PRIMARY KEY (k, sort, value)) WITHOUT ROWID;"
    )
}

fn drop_groups(conn: &Connection, id: i64) -> rusqlite::Result<()> {
    conn.execute_batch(&format!("DROP TABLE g{id}; DROP TABLE v{id}; DELETE FROM rankings WHERE id = {id};"))
}

fn shown_bytes(shown: &Shown) -> Option<&[u8]> {
    match shown {
        Shown::Nothing => None,
        Shown::Unknown => Some(&[]),
        Shown::Score(score) => Some(score),
    }
}

fn value_bytes(value: &Value) -> (Vec<u8>, Vec<u8>) {
    let (mut sort, mut bytes) = (Vec::with_capacity(16), Vec::with_capacity(16));
    write_sort(value, false, &mut sort);
    write_value(value, &mut bytes);
    (sort, bytes)
}
