//! The mirror: the rows that stateful views need, in a local SQLite file, and how far they are.
//!
//! Owns the file, its layout and one connection. Knows tables, rows and indexes; of views only that rankings have groups
//! (`groups.rs`); not changes.
//!
//! The invariant: rows, indexes, groups and cursor move in one SQLite transaction, so the file always shows the source exactly as
//! of the cursor. After a power loss it may show an older cursor (commits reach the disk in groups), never a mixture.
//!
//! Layout. `rN(pk, row)` holds table N's rows by primary key: the number of the column layout it was written with, then
//! the values. `iN(k, sort, pk, row)` holds index N: join values, then the order's and the key's values in bytes that compare
//! as the values do, so that reading a key's entries gives the rows in order; the rows themselves where lists are read from it. When other columns are wanted, old rows stay
//! as they are and are read by their own layout; what they lack is [`Value::Unchanged`] until a chunk brings it.

use std::path::Path;

use headwater_model::sort::write_sort;
use headwater_model::wire::{Reader, write_values, write_varint};
use headwater_model::{Error, Offset, Result, TableName, Value};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::encoding::join_bytes;
use super::groups::{self, Groups};
use super::plan::{Index, Plan, StoredTable};
use super::ranking;

/// Changes when the file's layout does: an older file is dropped and filled again.
const FORMAT: i64 = 3;

pub(super) struct Mirror {
    pub(super) conn: Connection,
    /// By the plan's numbers.
    tables: Vec<MirrorTable>,
    /// By the plan's numbers of rankings.
    groups: Vec<Groups>,
    open: bool,
    /// Whether tables that are new to the mirror are held back until [`Mirror::let_in`].
    hold_new: bool,
}

/// A row as the mirror holds it, cells in the plan's order.
#[derive(Debug)]
pub(super) struct Stored {
    pub cells: Vec<Value>,
    /// Whether it has the present columns; if not, cells may lack that the source has.
    pub current: bool,
}

struct MirrorTable {
    id: i64,
    complete: bool,
    held: bool,
    key: Vec<usize>,
    width: usize,
    /// The present layout's number.
    layout: u32,
    /// For each older layout, where it holds each of the present cells.
    older: Vec<(u32, Vec<Option<usize>>)>,
    indexes: Vec<MirrorIndex>,
    /// The rankings of its rows.
    rankings: Vec<usize>,
    get: String,
    put: String,
    delete: String,
    scan: String,
}

struct MirrorIndex {
    id: i64,
    index: Index,
    add: String,
    remove: String,
    rows: String,
    keys: String,
    /// What lies at one place, and all that lies behind one.
    at: String,
    scan: String,
}

pub(super) fn sql_error(doing: &str, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::*;
    let made = match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => Error::corrupt(format!("{doing}: the mirror cannot be read"))
            .with_remedy(
                "stop, remove the mirror's file and start again: it is filled again from the source",
            ),
        Some(
            DiskFull | SystemIoFailure | CannotOpen | ReadOnly | DatabaseBusy | DatabaseLocked | OutOfMemory,
        ) => Error::transient(format!("{doing}: the mirror cannot be written")),
        _ => Error::bug(doing.to_owned()),
    };
    made.with_cause(error)
}

macro_rules! sql {
    ($doing:literal, $expr:expr) => {
        $expr.map_err(|error| sql_error($doing, error))
    };
}

mod entries;

pub(crate) use entries::{Misplaced, Passed, Place};

impl Mirror {
    /// Opens or makes the file, and fits it to the plan. With `hold_new`, tables that it did not have are held back.
    pub fn open(path: &Path, plan: &Plan, hold_new: bool) -> Result<Mirror> {
        let (mut mirror, format) = Mirror::connect(path)?;
        mirror.hold_new = hold_new;
        mirror.begin()?;
        if format != FORMAT {
            mirror.make()?;
        }
        mirror.fit(plan)?;
        mirror.commit()?;
        mirror.hold_new = false;
        Ok(mirror)
    }

    /// Forgets every table but these, durably. Nothing is made where there is no mirror yet.
    pub fn keep_only(path: &Path, tables: &[TableName]) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let (mut mirror, format) = Mirror::connect(path)?;
        if format != FORMAT {
            return Ok(());
        }
        let kept: Vec<Vec<u8>> = tables.iter().map(name_bytes).collect();
        mirror.begin()?;
        mirror.forget(|name| kept.iter().any(|kept| kept == name))?;
        mirror.commit_durably()
    }

    /// The file, and the number of its form; 0 for one that is new.
    fn connect(path: &Path) -> Result<(Mirror, i64)> {
        let conn = sql!("open the mirror", Connection::open(path))?;
        conn.set_prepared_statement_cache_capacity(1024);
        let prepare = || -> rusqlite::Result<i64> {
            conn.execute_batch(
                "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 PRAGMA cache_size = -65536; PRAGMA temp_store = FILE;
                 PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = 4000;
                 CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;",
            )?;
            conn.query_row("SELECT value FROM meta WHERE name = 'format'", [], |row| row.get(0))
                .optional()
                .map(|format| format.unwrap_or(0))
        };
        let format = sql!("open the mirror", prepare())?;
        let mirror = Mirror { conn, tables: Vec::new(), groups: Vec::new(), open: false, hold_new: false };
        Ok((mirror, format))
    }

    /// A second connection beside the one that writes, to look at moments of what that one has committed. `Transient` if the
    /// file does not fit the plan: the writer is about to make it fit.
    pub fn look(path: &Path, plan: &Plan) -> Result<Mirror> {
        use rusqlite::OpenFlags;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = sql!("look at the mirror", Connection::open_with_flags(path, flags))?;
        conn.set_prepared_statement_cache_capacity(128);
        let wait = conn.busy_timeout(std::time::Duration::from_secs(5));
        sql!("look at the mirror", wait)?;
        let mut mirror =
            Mirror { conn, tables: Vec::new(), groups: Vec::new(), open: false, hold_new: false };
        mirror.moment(|mirror| mirror.fit(plan))?;
        Ok(mirror)
    }

    /// Everything that `read` reads is of one moment.
    pub fn moment<T>(&mut self, read: impl FnOnce(&mut Mirror) -> Result<T>) -> Result<T> {
        sql!("begin to look at the mirror", self.conn.execute_batch("BEGIN"))?;
        let read = read(self);
        let ended = sql!("end a look at the mirror", self.conn.execute_batch("ROLLBACK"));
        let read = read?;
        ended.map(|()| read)
    }

    fn make(&mut self) -> Result<()> {
        let drop_all = || -> rusqlite::Result<()> {
            let mut names = self.conn.prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'meta' AND name NOT LIKE 'sqlite_%'",
            )?;
            let names =
                names.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
            for name in names {
                self.conn.execute_batch(&format!("DROP TABLE {name}"))?;
            }
            self.conn.execute_batch(
                "DELETE FROM meta;
                 CREATE TABLE tables (
                     id INTEGER PRIMARY KEY, name BLOB UNIQUE, key BLOB, layout INTEGER, complete INTEGER, held INTEGER);
                 CREATE TABLE layouts (
                     of INTEGER, layout INTEGER, columns BLOB, PRIMARY KEY (of, layout)) WITHOUT ROWID;
                 CREATE TABLE indexes (id INTEGER PRIMARY KEY, of INTEGER, spec BLOB);",
            )?;
            self.conn.execute("INSERT INTO meta VALUES ('format', ?1)", [FORMAT])?;
            Ok(())
        };
        sql!("make the mirror's tables", drop_all())
    }

    /// Makes what the plan needs and is not there; forgets tables and indexes that no view needs any more.
    pub fn fit(&mut self, plan: &Plan) -> Result<()> {
        sql!("make the mirror's tables", self.conn.execute_batch(groups::SCHEMA))?;
        self.tables.clear();
        self.forget(|name| plan.stored.iter().any(|stored| name_bytes(&stored.name) == name))?;
        for stored in &plan.stored {
            let table = self.fit_table(stored)?;
            self.tables.push(table);
            let place = self.tables.len() - 1;
            for index in &stored.indexes {
                self.fit_index(place, index, &stored.columns)?;
            }
            self.drop_unused_indexes(place)?;
        }
        self.fit_groups(plan)
    }

    /// The groups of each ranking, counted from the rows that are here if nobody has kept them so far.
    fn fit_groups(&mut self, plan: &Plan) -> Result<()> {
        self.groups.clear();
        for (number, ranked) in plan.rankings.iter().enumerate() {
            let of = self.tables[ranked.stored].id;
            let (groups, is_new) = Groups::fit(&self.conn, &ranked.name, of, &ranked.spec)?;
            self.groups.push(groups);
            if is_new {
                ranking::count_anew(self, self.groups(number), ranked)?;
            }
        }
        let kept: Vec<i64> = self.groups.iter().map(|groups| groups.id).collect();
        Groups::forget(&self.conn, |id| kept.contains(&id))
    }

    pub fn groups(&self, ranking: usize) -> &Groups {
        &self.groups[ranking]
    }

    fn forget(&self, is_kept: impl Fn(&[u8]) -> bool) -> Result<()> {
        let forget = || -> rusqlite::Result<()> {
            let mut tables = self.conn.prepare("SELECT id, name FROM tables")?;
            let tables = tables
                .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for (id, name) in tables {
                if !is_kept(&name) {
                    self.drop_table(id)?;
                }
            }
            Ok(())
        };
        sql!("forget tables in the mirror", forget())
    }

    fn drop_table(&self, id: i64) -> rusqlite::Result<()> {
        Groups::forget_of(&self.conn, id)?;
        let mut indexes = self.conn.prepare("SELECT id FROM indexes WHERE of = ?1")?;
        let indexes =
            indexes.query_map([id], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        for index in indexes {
            self.conn.execute_batch(&format!("DROP TABLE i{index}"))?;
        }
        self.conn.execute_batch(&format!(
            "DROP TABLE r{id}; DELETE FROM indexes WHERE of = {id}; DELETE FROM layouts WHERE of = {id};
             DELETE FROM tables WHERE id = {id};"
        ))
    }

    fn fit_table(&mut self, stored: &StoredTable) -> Result<MirrorTable> {
        let name = name_bytes(&stored.name);
        let key: Vec<Box<str>> = stored.key.iter().map(|k| stored.columns[*k].clone()).collect();
        let (key, columns) = (texts(&key), texts(&stored.columns));
        let fit = || -> rusqlite::Result<(i64, u32, bool, bool)> {
            let known = self
                .conn
                .query_row(
                    "SELECT id, key, layout, complete, held FROM tables WHERE name = ?1",
                    [&name],
                    |row| {
                        Ok((
                            row.get::<_, i64>(0)?,
                            row.get::<_, Vec<u8>>(1)?,
                            row.get::<_, u32>(2)?,
                            row.get::<_, bool>(3)?,
                            row.get::<_, bool>(4)?,
                        ))
                    },
                )
                .optional()?;
            if let Some((id, known_key, layout, complete, held)) = known {
                if known_key == key {
                    let have: Vec<u8> = self.conn.query_row(
                        "SELECT columns FROM layouts WHERE of = ?1 AND layout = ?2",
                        params![id, layout],
                        |row| row.get(0),
                    )?;
                    if have == columns {
                        return Ok((id, layout, complete, held));
                    }
                    let layout = layout + 1;
                    self.conn
                        .execute("INSERT INTO layouts VALUES (?1, ?2, ?3)", params![id, layout, columns])?;
                    self.conn.execute(
                        "UPDATE tables SET layout = ?2, complete = 0 WHERE id = ?1",
                        params![id, layout],
                    )?;
                    return Ok((id, layout, false, held));
                }
                self.drop_table(id)?;
            }
            self.conn.execute(
                "INSERT INTO tables (name, key, layout, complete, held) VALUES (?1, ?2, 1, 0, ?3)",
                params![name, key, self.hold_new],
            )?;
            let id = self.conn.last_insert_rowid();
            self.conn.execute("INSERT INTO layouts VALUES (?1, 1, ?2)", params![id, columns])?;
            self.conn.execute_batch(&format!(
                "CREATE TABLE r{id} (pk BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID"
            ))?;
            Ok((id, 1, false, self.hold_new))
        };
        let (id, layout, complete, held) = sql!("fit a table in the mirror", fit())?;
        Ok(MirrorTable {
            id,
            complete,
            held,
            key: stored.key.clone(),
            width: stored.columns.len(),
            layout,
            older: self.older_layouts(id, layout, &stored.columns)?,
            indexes: Vec::new(),
            rankings: stored.rankings.clone(),
            get: format!("SELECT row FROM r{id} WHERE pk = ?1"),
            put: format!(
                "INSERT INTO r{id} VALUES (?1, ?2) ON CONFLICT (pk) DO UPDATE SET row = excluded.row"
            ),
            delete: format!("DELETE FROM r{id} WHERE pk = ?1"),
            scan: format!("SELECT pk, row FROM r{id} WHERE pk > ?1 ORDER BY pk"),
        })
    }

    fn older_layouts(
        &self,
        id: i64,
        present: u32,
        columns: &[Box<str>],
    ) -> Result<Vec<(u32, Vec<Option<usize>>)>> {
        let read = || -> rusqlite::Result<Vec<(u32, Vec<u8>)>> {
            let mut query =
                self.conn.prepare("SELECT layout, columns FROM layouts WHERE of = ?1 AND layout <> ?2")?;
            let rows = query.query_map(params![id, present], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        let mut older = Vec::new();
        for (layout, bytes) in sql!("read layouts in the mirror", read())? {
            let had = Reader::new(&bytes).values()?;
            let place = |name: &str| had.iter().position(|v| matches!(v, Value::Text(t) if **t == *name));
            older.push((layout, columns.iter().map(|name| place(name)).collect()));
        }
        Ok(older)
    }

    fn fit_index(&mut self, place: usize, index: &Index, columns: &[Box<str>]) -> Result<()> {
        let table = &self.tables[place];
        let mut spec = Vec::new();
        let by: Vec<Box<str>> = index.columns.iter().map(|c| columns[*c].clone()).collect();
        spec.extend(texts(&by));
        let order: Vec<Value> = index
            .order
            .iter()
            .flat_map(|(column, descending)| {
                [Value::Text(columns[*column].clone()), Value::Bool(*descending)]
            })
            .collect();
        write_values(&order, &mut spec);
        spec.push(u8::from(index.covering));
        let of = table.id;
        let known = self
            .conn
            .query_row("SELECT id FROM indexes WHERE of = ?1 AND spec = ?2", params![of, spec], |row| {
                row.get(0)
            })
            .optional();
        let known: Option<i64> = sql!("fit an index in the mirror", known)?;
        let id = match known {
            Some(id) => id,
            None => {
                let make = || -> rusqlite::Result<i64> {
                    self.conn.execute("INSERT INTO indexes (of, spec) VALUES (?1, ?2)", params![of, spec])?;
                    let id = self.conn.last_insert_rowid();
                    self.conn.execute_batch(&format!(
                        "CREATE TABLE i{id} (
                             k BLOB, sort BLOB, pk BLOB NOT NULL, row BLOB, PRIMARY KEY (k, sort)) WITHOUT ROWID"
                    ))?;
                    Ok(id)
                };
                sql!("make an index in the mirror", make())?
            }
        };
        let rows = match index.covering {
            true => format!("SELECT pk, row FROM i{id} WHERE k = ?1 ORDER BY sort"),
            false => format!(
                "SELECT r.pk, r.row FROM i{id} i CROSS JOIN r{of} r ON r.pk = i.pk WHERE i.k = ?1 ORDER BY i.sort"
            ),
        };
        let made = MirrorIndex {
            id,
            index: index.clone(),
            add: format!(
                "INSERT INTO i{id} VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (k, sort) DO UPDATE SET pk = excluded.pk, row = excluded.row"
            ),
            remove: format!("DELETE FROM i{id} WHERE k = ?1 AND sort = ?2 AND pk = ?3"),
            rows,
            keys: format!("SELECT pk FROM i{id} WHERE k = ?1 ORDER BY sort"),
            at: format!("SELECT pk, row FROM i{id} WHERE k = ?1 AND sort = ?2"),
            scan: format!("SELECT k, sort, pk FROM i{id} WHERE (k, sort) > (?1, ?2) ORDER BY k, sort"),
        };
        if known.is_none() {
            let table = &self.tables[place];
            self.each_row(place, |pk, row| {
                self.add_entry(&made, &table.key, pk, &row.cells, &table.write(&row.cells))?;
                Ok(true)
            })?;
        }
        self.tables[place].indexes.push(made);
        Ok(())
    }

    /// An index that nobody keeps up must not be found again later.
    fn drop_unused_indexes(&self, place: usize) -> Result<()> {
        let table = &self.tables[place];
        let drop_unused = || -> rusqlite::Result<()> {
            let mut ids = self.conn.prepare("SELECT id FROM indexes WHERE of = ?1")?;
            let ids = ids
                .query_map([table.id], |row| row.get::<_, i64>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for id in ids {
                if !table.indexes.iter().any(|index| index.id == id) {
                    self.conn
                        .execute_batch(&format!("DROP TABLE i{id}; DELETE FROM indexes WHERE id = {id};"))?;
                }
            }
            Ok(())
        };
        sql!("drop indexes of the mirror", drop_unused())
    }

    // ---- transactions and the cursor

    pub fn begin(&mut self) -> Result<()> {
        if !self.open {
            sql!("begin a step of the mirror", self.conn.execute_batch("BEGIN IMMEDIATE"))?;
            self.open = true;
        }
        Ok(())
    }

    pub fn commit(&mut self) -> Result<()> {
        if self.open {
            sql!("commit a step of the mirror", self.conn.execute_batch("COMMIT"))?;
            self.open = false;
        }
        Ok(())
    }

    /// Commits so that this step and all before it survive a power loss.
    pub fn commit_durably(&mut self) -> Result<()> {
        self.commit()?;
        let sync = "PRAGMA synchronous = FULL; BEGIN IMMEDIATE;
                    INSERT INTO meta VALUES ('synced', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1;
                    COMMIT; PRAGMA synchronous = NORMAL;";
        sql!("sync the mirror", self.conn.execute_batch(sync))
    }

    /// `None` if none was ever set.
    pub fn cursor(&self) -> Result<Option<Offset>> {
        let read = self
            .conn
            .query_row("SELECT value FROM meta WHERE name = 'cursor'", [], |row| row.get::<_, i64>(0));
        let cursor = sql!("read the mirror's cursor", read.optional())?;
        Ok(cursor.map(|cursor| Offset(cursor as u64)))
    }

    pub fn set_cursor(&mut self, cursor: Offset) -> Result<()> {
        let mut statement = sql!(
            "write the mirror's cursor",
            self.conn.prepare_cached(
                "INSERT INTO meta VALUES ('cursor', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1"
            )
        )?;
        sql!("write the mirror's cursor", statement.execute([cursor.0 as i64]))?;
        Ok(())
    }

    // ---- completeness

    pub fn is_complete(&self, table: usize) -> bool {
        self.tables[table].complete
    }

    pub fn set_complete(&mut self, table: usize, complete: bool) -> Result<()> {
        let entry = &mut self.tables[table];
        let update =
            self.conn.execute("UPDATE tables SET complete = ?2 WHERE id = ?1", params![entry.id, complete]);
        sql!("mark a table of the mirror", update)?;
        entry.complete = complete;
        Ok(())
    }

    // ---- tables that are held back

    /// Whether nothing of a table is taken in yet.
    pub fn is_held(&self, table: usize) -> bool {
        self.tables[table].held
    }

    /// Takes in, from here on, what happens to the tables that were held back.
    pub fn let_in(&mut self) -> Result<()> {
        sql!("let tables into the mirror", self.conn.execute("UPDATE tables SET held = 0", []))?;
        self.tables.iter_mut().for_each(|table| table.held = false);
        Ok(())
    }

    // ---- rows

    pub fn get(&self, table: usize, pk: &[u8]) -> Result<Option<Stored>> {
        let entry = &self.tables[table];
        let mut statement = sql!("read a row of the mirror", self.conn.prepare_cached(&entry.get))?;
        let mut rows = sql!("read a row of the mirror", statement.query([pk]))?;
        match sql!("read a row of the mirror", rows.next())? {
            Some(row) => Ok(Some(entry.read(blob(row, 0)?)?)),
            None => Ok(None),
        }
    }

    /// Writes a row; `old` is what the mirror has under this key.
    pub fn put(&self, table: usize, pk: &[u8], old: Option<&[Value]>, cells: &[Value]) -> Result<()> {
        let entry = &self.tables[table];
        let bytes = entry.write(cells);
        let mut statement = sql!("write a row of the mirror", self.conn.prepare_cached(&entry.put))?;
        sql!("write a row of the mirror", statement.execute(params![pk, bytes]))?;
        for index in &entry.indexes {
            if let Some(old) = old {
                let same = index.same_entry(&entry.key, old, cells);
                if same && !index.index.covering {
                    continue;
                }
                if !same {
                    self.remove_entry(index, &entry.key, pk, old)?;
                }
            }
            self.add_entry(index, &entry.key, pk, cells, &bytes)?;
        }
        Ok(())
    }

    pub fn delete(&self, table: usize, pk: &[u8], old: &[Value]) -> Result<()> {
        let entry = &self.tables[table];
        let mut statement = sql!("delete a row of the mirror", self.conn.prepare_cached(&entry.delete))?;
        sql!("delete a row of the mirror", statement.execute([pk]))?;
        for index in &entry.indexes {
            self.remove_entry(index, &entry.key, pk, old)?;
        }
        Ok(())
    }

    /// Removes every row of a table, and so every group of them.
    pub fn truncate(&self, table: usize) -> Result<()> {
        let entry = &self.tables[table];
        let mut batch = format!("DELETE FROM r{};", entry.id);
        for index in &entry.indexes {
            batch.push_str(&format!("DELETE FROM i{};", index.id));
        }
        sql!("empty a table of the mirror", self.conn.execute_batch(&batch))?;
        entry.rankings.iter().try_for_each(|ranking| self.groups[*ranking].clear(&self.conn))
    }

    /// Calls `each` for every row, in key order, until it says false.
    pub fn each_row(&self, table: usize, each: impl FnMut(&[u8], Stored) -> Result<bool>) -> Result<()> {
        let entry = &self.tables[table];
        self.each(&entry.scan, &[], entry, each)
    }

    /// [`Mirror::each_row`], behind a key.
    pub fn each_row_after(
        &self,
        table: usize,
        after: &[u8],
        each: impl FnMut(&[u8], Stored) -> Result<bool>,
    ) -> Result<()> {
        let entry = &self.tables[table];
        self.each(&entry.scan, after, entry, each)
    }

    /// Calls `each` for the rows an index has under `k`, in its order, until it says false.
    pub fn each_found(
        &self,
        table: usize,
        index: usize,
        k: &[u8],
        each: impl FnMut(&[u8], Stored) -> Result<bool>,
    ) -> Result<()> {
        let entry = &self.tables[table];
        self.each(&entry.indexes[index].rows, k, entry, each)
    }

    /// [`Mirror::each_found`] without reading the rows.
    pub fn each_key(
        &self,
        table: usize,
        index: usize,
        k: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let entry = &self.tables[table].indexes[index];
        let mut statement = sql!("read an index of the mirror", self.conn.prepare_cached(&entry.keys))?;
        let mut rows = sql!("read an index of the mirror", statement.query([k]))?;
        while let Some(row) = sql!("read an index of the mirror", rows.next())? {
            each(blob(row, 0)?)?;
        }
        Ok(())
    }

    fn each(
        &self,
        query: &str,
        argument: &[u8],
        entry: &MirrorTable,
        mut each: impl FnMut(&[u8], Stored) -> Result<bool>,
    ) -> Result<()> {
        let mut statement = sql!("read rows of the mirror", self.conn.prepare_cached(query))?;
        let mut rows = sql!("read rows of the mirror", statement.query([argument]))?;
        while let Some(row) = sql!("read rows of the mirror", rows.next())? {
            if !each(blob(row, 0)?, entry.read(blob(row, 1)?)?)? {
                break;
            }
        }
        Ok(())
    }

    fn add_entry(
        &self,
        index: &MirrorIndex,
        key: &[usize],
        pk: &[u8],
        cells: &[Value],
        row: &[u8],
    ) -> Result<()> {
        let Some(k) = join_bytes(cells, &index.index.columns) else { return Ok(()) };
        let row = index.index.covering.then_some(row);
        let mut statement = sql!("write an index of the mirror", self.conn.prepare_cached(&index.add))?;
        sql!("write an index of the mirror", statement.execute(params![k, index.sort(key, cells), pk, row]))?;
        Ok(())
    }

    fn remove_entry(&self, index: &MirrorIndex, key: &[usize], pk: &[u8], cells: &[Value]) -> Result<()> {
        let Some(k) = join_bytes(cells, &index.index.columns) else { return Ok(()) };
        let mut statement = sql!("write an index of the mirror", self.conn.prepare_cached(&index.remove))?;
        sql!("write an index of the mirror", statement.execute(params![k, index.sort(key, cells), pk]))?;
        Ok(())
    }
}

impl MirrorTable {
    fn write(&self, cells: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        write_varint(u64::from(self.layout), &mut bytes);
        write_values(cells, &mut bytes);
        bytes
    }

    fn read(&self, bytes: &[u8]) -> Result<Stored> {
        let mut reader = Reader::new(bytes);
        let layout = reader.varint()?;
        let values = reader.values()?;
        if layout == u64::from(self.layout) {
            if values.len() != self.width {
                return Err(Error::corrupt(
                    "a row of the mirror has another number of cells than its layout",
                ));
            }
            return Ok(Stored { cells: values, current: true });
        }
        let map = self.older.iter().find(|(older, _)| u64::from(*older) == layout).map(|(_, map)| map);
        let map = map
            .ok_or_else(|| Error::corrupt(format!("a row of the mirror has the unknown layout {layout}")))?;
        let cell =
            |place: &Option<usize>| place.and_then(|p| values.get(p).cloned()).unwrap_or(Value::Unchanged);
        Ok(Stored { cells: map.iter().map(cell).collect(), current: false })
    }
}

impl MirrorIndex {
    fn sort(&self, key: &[usize], cells: &[Value]) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        for (column, descending) in &self.index.order {
            write_sort(&cells[*column], *descending, &mut out);
        }
        for column in key {
            write_sort(&cells[*column], false, &mut out);
        }
        out
    }

    fn same_entry(&self, key: &[usize], old: &[Value], new: &[Value]) -> bool {
        let order = self.index.order.iter().map(|(column, _)| column);
        self.index.columns.iter().chain(order).chain(key).all(|c| old[*c] == new[*c])
    }
}

fn blob<'a>(row: &'a SqlRow<'_>, column: usize) -> Result<&'a [u8]> {
    let value = sql!("read a row of the mirror", row.get_ref(column))?;
    value.as_blob().map_err(|error| Error::corrupt("a row of the mirror is no blob").with_cause(error))
}

fn texts(names: &[Box<str>]) -> Vec<u8> {
    let values: Vec<Value> = names.iter().map(|name| Value::Text(name.clone())).collect();
    let mut out = Vec::new();
    write_values(&values, &mut out);
    out
}

fn name_bytes(name: &TableName) -> Vec<u8> {
    let schema = name.schema.as_ref().map_or(Value::Null, |schema| Value::Text(schema.clone()));
    let mut out = Vec::new();
    write_values(&[schema, Value::Text(name.name.clone())], &mut out);
    out
}
