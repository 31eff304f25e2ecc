//! The tables of the store: one per view, and two of Headwater's. All of them can be read by any client while the store is
//! written to.
//!
//! Invariant: a table is touched only if `headwater_view` says that Headwater made it. If one of these is gone, the store
//! counts as empty.

use headwater_model::file::StoreSection;
use headwater_model::{Epoch, Error, ErrorKind, Held, Layout, Offset, Result, Risk, Severity, View};

use super::column::{LONG_TEXT, is_name};
use super::sql::{bytes_of, text_of};
use super::{place, step};
use crate::mysql::catalog::{self, READ_MODEL};
use crate::mysql::config::Config;
use crate::mysql::connection::{Cells, Connection, text};
use crate::sql::quoted;
use crate::sql::store::held;
use crate::sql::store::shape::{KEY, OWN, layout_text, own_column, place_column, refuse_other_layout};

/// No answer of ours is larger.
pub(super) const ROWS_BYTES_MAX: usize = 1 << 30;

/// Bytes of a name as the server writes it for a file, where a character may stand for five.
const FILE_NAME_BYTES_MAX: usize = 250;

/// What the store's user has to be allowed in its database.
const PRIVILEGES: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER"];

/// The database, and the names of our own tables there. Each source that has its views in it has its own.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    database: String,
    user: String,
    /// Quoted.
    pub held: String,
    views: String,
    /// By which the session of an open step is found.
    pub lock: String,
    /// What the tables of this source's views have as their comment.
    comment: String,
}

impl Schema {
    pub fn new(config: &Config, section: &StoreSection) -> Schema {
        let held = section.of_source("headwater_held");
        let comment = match &section.source {
            Some(source) => format!("{READ_MODEL} ({source})"),
            None => READ_MODEL.to_owned(),
        };
        Schema {
            lock: text_of(&format!("headwater {:016x}", catalog::hash(&[&config.database, &held]))),
            database: config.database.clone(),
            user: config.user.clone(),
            held: quoted(&held),
            views: quoted(&section.of_source("headwater_view")),
            comment,
        }
    }

    pub fn table(&self, name: &str) -> String {
        quoted(name)
    }

    pub fn held_sql(&self) -> String {
        format!("SELECT epoch, \"offset\", \"system\", sequence, committed_at FROM {}", self.held)
    }

    /// The views whose tables are gone.
    pub fn gone_sql(&self) -> String {
        format!(
            "SELECT v.name FROM {} v LEFT JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = {} \
             AND CAST(t.TABLE_NAME AS BINARY) = v.name WHERE t.TABLE_NAME IS NULL",
            self.views,
            text_of(&self.database)
        )
    }

    /// The row of a view: layout, fields, rows.
    pub fn view_sql(&self, name: &str) -> String {
        format!("SELECT layout, fields, \"rows\" FROM {} WHERE name = {}", self.views, text_of(name))
    }

    pub fn views_sql(&self) -> String {
        format!("SELECT layout, fields, \"rows\", name, late FROM {}", self.views)
    }

    pub fn set_held_sql(&self, held: &Held) -> String {
        let position = held.position.as_ref();
        let or_null = |text: Option<String>| text.unwrap_or_else(|| "NULL".into());
        format!(
            "UPDATE {} SET epoch = {}, \"offset\" = {}, \"system\" = {}, sequence = {}, committed_at = {}",
            self.held,
            held.epoch.0,
            held.offset.0,
            or_null(position.map(|position| text_of(&position.system))),
            or_null(position.map(|position| position.sequence.to_string())),
            held.committed_at
        )
    }

    pub fn set_view_sql(&self, name: &str, rows: u64, fields: &str, late: &str) -> String {
        let (fields, late) = (text_of(fields), text_of(late));
        format!(
            "UPDATE {} SET \"rows\" = {rows}, fields = {fields}, late = {late} WHERE name = {}",
            self.views,
            text_of(name)
        )
    }

    fn grant(&self) -> String {
        format!(
            "GRANT {} ON {}.* TO {}@'%'",
            PRIVILEGES.join(", "),
            catalog::quoted(&self.database),
            text_of(&self.user)
        )
    }

    /// Says what to do where the database is not there, or the user may not.
    pub fn explained(&self, error: Error) -> Error {
        let message = error.to_string();
        if message.contains("(1049)") {
            return error.with_remedy(format!(
                "CREATE DATABASE {} CHARACTER SET utf8mb4; {}",
                catalog::quoted(&self.database),
                self.grant()
            ));
        }
        // Whoever could not come in has been told why.
        let lacks_grant = error.kind() == ErrorKind::Denied && error.remedy().is_none();
        if lacks_grant { error.with_remedy(self.grant()) } else { error }
    }
}

/// Reads a result of [`Schema::held_sql`]. Nobody has the epoch 0: the store is being claimed for the first time.
pub(super) fn held_of(rows: &[Cells]) -> Result<Option<Held>> {
    let held = rows.first().map(|row| held::read(row)).transpose()?;
    Ok(held.filter(|held| held.epoch.0 > 0))
}

/// Whether the server says that a table or a column is not there, or is another one than it was.
pub(super) fn is_missing(error: &Error) -> bool {
    let message = error.to_string();
    ["(1146)", "(1054)", "(1412)"].iter().any(|code| message.contains(code))
}

/// Whether the server says that a key has a row already.
pub(super) fn is_taken(error: &Error) -> bool {
    error.to_string().contains("(1062)")
}

/// What the store holds; `None` if it is empty.
pub(super) async fn look(connection: &mut Connection, schema: &Schema) -> Result<Option<Held>> {
    let sql = format!("{}; {}", schema.held_sql(), schema.gone_sql());
    match connection.results(&*sql, ROWS_BYTES_MAX).await {
        Ok(results) => match &results[..] {
            [held, gone] if gone.is_empty() => held_of(held),
            _ => Ok(None),
        },
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error.while_doing("read what the store holds")),
    }
}

/// Ends the session that has a step open. Where it is another user's, the claim waits for it instead.
pub(super) async fn end_open_step(connection: &mut Connection, schema: &Schema) -> Result<()> {
    let rows = connection.rows(&format!("SELECT IS_USED_LOCK({})", schema.lock)).await?;
    if let Some(session) = rows.first().map(|row| text(row, 0)).filter(|session| !session.is_empty()) {
        // It may be gone by now.
        let _ = connection.run(&format!("KILL {session}")).await;
    }
    Ok(())
}

/// Makes what is missing, and in one transaction takes the store over. Returns what it held before.
pub(super) async fn claim(
    connection: &mut Connection,
    schema: &Schema,
    epoch: Epoch,
) -> Result<Option<Held>> {
    make_own(connection, schema).await?;
    let sql = format!(
        "START TRANSACTION; INSERT IGNORE INTO {} VALUES (1, 0, 0, NULL, NULL, 0); {} FOR UPDATE; {}; {}",
        schema.held,
        schema.held_sql(),
        schema.gone_sql(),
        schema.views_sql()
    );
    let results = connection.results(&*sql, ROWS_BYTES_MAX).await;
    let results = results.map_err(|error| error.while_doing("take the store over"))?;
    let [_, _, held, gone, views] = &results[..] else { return Err(left_out()) };
    let before = held_of(held)?;
    if let Some(held) = &before {
        held.fence(epoch)?;
    }
    let before = before.filter(|_| gone.is_empty());
    let after = match &before {
        Some(held) => Held { epoch, ..held.clone() },
        None => {
            forget(connection, schema, views, gone).await?;
            Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 }
        }
    };
    connection.run(&schema.set_held_sql(&after)).await?;
    connection.run("COMMIT").await?;
    Ok(before)
}

pub(super) fn left_out() -> Error {
    Error::bug("the server left out a result")
}

async fn make_own(connection: &mut Connection, schema: &Schema) -> Result<()> {
    let look = format!("{} LIMIT 0; SELECT name FROM {} LIMIT 0", schema.held_sql(), schema.views);
    match connection.results(&*look, ROWS_BYTES_MAX).await {
        Ok(_) => return Ok(()),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(schema.explained(error)),
    }
    let comment = text_of(&schema.comment);
    let made = [
        format!(
            "CREATE TABLE IF NOT EXISTS {} (name VARBINARY(256) PRIMARY KEY, layout VARCHAR(16) NOT NULL, \
             fields {LONG_TEXT} NOT NULL, late {LONG_TEXT} NOT NULL, \"rows\" BIGINT NOT NULL) \
             ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT = {comment}",
            schema.views
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id TINYINT PRIMARY KEY, epoch BIGINT UNSIGNED NOT NULL, \
             \"offset\" BIGINT UNSIGNED NOT NULL, \"system\" {LONG_TEXT}, sequence BIGINT UNSIGNED, \
             committed_at BIGINT NOT NULL) ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT = {comment}",
            schema.held
        ),
    ];
    for sql in made {
        let made = connection.run(&sql).await;
        made.map_err(|error| schema.explained(error.while_doing("make the store's own tables")))?;
    }
    Ok(())
}

/// Empties what is left of a store that counts as empty. Tables stay: somebody may have built on them.
async fn forget(connection: &mut Connection, schema: &Schema, views: &[Cells], gone: &[Cells]) -> Result<()> {
    for view in views {
        let name = text(view, 3);
        if gone.iter().any(|gone| text(gone, 0) == name) {
            connection.run(&format!("DELETE FROM {} WHERE name = {}", schema.views, text_of(&name))).await?;
        } else {
            clear(connection, &schema.table(&name)).await?;
            connection.run(&schema.set_view_sql(&name, 0, &text(view, 1), "[]")).await?;
        }
    }
    Ok(())
}

/// Rows that one statement deletes.
const CLEARED_ROWS: usize = 10_000;

/// Deletes all rows, in pieces along the key, so that no statement takes long. Readers that are under way go on seeing them; TRUNCATE
/// would end the transaction.
pub(super) async fn clear(connection: &mut Connection, table: &str) -> Result<()> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let from = after.as_ref().map_or(String::new(), |key| format!("WHERE {KEY} > {}", bytes_of(key)));
        let rows = connection
            .rows(&format!(
                "SELECT {KEY} FROM {table} {from} ORDER BY {KEY} LIMIT 1 OFFSET {}",
                CLEARED_ROWS - 1
            ))
            .await?;
        let upto = rows.into_iter().next().and_then(|mut row| row.pop().flatten());
        let to = upto.as_ref().map(|key| format!("{KEY} <= {}", bytes_of(key)));
        let piece = match (from.is_empty(), to) {
            (_, None) => from,
            (true, Some(to)) => format!("WHERE {to}"),
            (false, Some(to)) => format!("{from} AND {to}"),
        };
        connection.run(&format!("DELETE FROM {table} {piece}")).await?;
        match upto {
            Some(key) => after = Some(key),
            None => return Ok(()),
        }
    }
}

/// Whether a table can have the view's name.
pub(super) fn fits(view: &View) -> Result<()> {
    let name = &*view.name;
    let in_a_file: usize =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { 1 } else { 5 }).sum();
    if is_name(name) && in_a_file <= FILE_NAME_BYTES_MAX && !name.to_lowercase().starts_with(OWN) {
        return Ok(());
    }
    Err(Error::misconfigured(format!("no table can have the name of the view \"{name}\"")).with_remedy(
        "rename the view: names have up to 64 characters, and those that start with headwater_ are reserved",
    ))
}

/// Makes a view's table and the columns and indexes of its access patterns, unless they are there.
pub(super) async fn prepare(connection: &mut Connection, schema: &Schema, view: &View) -> Result<()> {
    fits(view)?;
    let name = &*view.name;
    let known = match connection.results(schema.view_sql(name), ROWS_BYTES_MAX).await {
        Err(error) if is_missing(&error) => {
            return Err(Error::out_of_step("the store is empty").with_cause(error));
        }
        known => known?,
    };
    match known.first().and_then(|rows| rows.first()) {
        Some(row) => refuse_other_layout(view, &text(row, 0))?,
        None => {
            let made = make_table(connection, schema, view).await;
            made.map_err(|error| {
                schema.explained(error.while_doing(format!("make the table of the view \"{name}\"")))
            })?;
        }
    }
    let made = make_indexes(connection, schema, view).await;
    made.map_err(|error| {
        schema.explained(error.while_doing(format!("make the indexes of the view \"{name}\"")))
    })
}

/// The table first, then its row in `headwater_view`: what is there without a row, empty and with our comment, was left by an
/// attempt that broke off in between.
async fn make_table(connection: &mut Connection, schema: &Schema, view: &View) -> Result<()> {
    let (name, table) = (&*view.name, schema.table(&view.name));
    let rows = connection
        .rows(&format!(
            "SELECT TABLE_COMMENT, @@lower_case_table_names FROM (SELECT 1) one LEFT JOIN information_schema.TABLES \
             ON TABLE_SCHEMA = {} AND CAST(TABLE_NAME AS BINARY) = CAST({} AS BINARY)",
            text_of(&schema.database),
            text_of(name)
        ))
        .await?;
    let row = rows.first().ok_or_else(left_out)?;
    if text(row, 1) != "0" && name.to_lowercase() != name {
        return Err(Error::misconfigured(format!(
            "the server writes names of tables in lower case, which \"{name}\" is not"
        ))
        .with_remedy("rename the view"));
    }
    if row[0].is_some() {
        let ours = text(row, 0) == schema.comment;
        if !ours || !connection.rows(&format!("SELECT 1 FROM {table} LIMIT 1")).await?.is_empty() {
            return Err(Error::misconfigured(format!(
                "the database {} already has a table {table}, which Headwater did not make",
                catalog::quoted(&schema.database)
            ))
            .with_remedy("name a database of its own in the store's URL, rename the view, or drop the table if it was another source's"));
        }
        connection.run(&format!("DROP TABLE {table}")).await?;
    }
    connection
        .run(&format!(
            "CREATE TABLE {table} ({KEY} VARBINARY({}) PRIMARY KEY, {} {LONG_TEXT}{}) \
             ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT = {}",
            step::KEY_BYTES_MAX,
            own_column(view.layout()),
            if view.layout() == Layout::Json { " NOT NULL" } else { "" },
            text_of(&schema.comment)
        ))
        .await?;
    connection
        .run(&format!(
            "INSERT INTO {} VALUES ({}, {}, '[]', '[]', 0)",
            schema.views,
            text_of(name),
            text_of(layout_text(view.layout()))
        ))
        .await
}

/// A place's columns are made together with their index, so one of them tells of all.
async fn make_indexes(connection: &mut Connection, schema: &Schema, view: &View) -> Result<()> {
    let rows = connection
        .rows(&format!(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} \
             AND CAST(TABLE_NAME AS BINARY) = CAST({} AS BINARY)",
            text_of(&schema.database),
            text_of(&view.name)
        ))
        .await?;
    let is_there = |index: &usize| rows.iter().any(|row| text(row, 0) == place_column(*index));
    let added: Vec<String> =
        (0..view.indexes.len()).filter(|index| !is_there(index)).map(place::added).collect();
    if added.is_empty() {
        return Ok(());
    }
    connection.run(&format!("ALTER TABLE {} {}", schema.table(&view.name), added.join(", "))).await
}

/// What the user may not, as far as that is granted to it directly and not by a role.
pub(super) async fn missing_privileges(connection: &mut Connection, schema: &Schema) -> Result<Option<Risk>> {
    let grantee = "CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";
    let rows = connection
        .rows(&format!(
            "SELECT CURRENT_ROLE(), NULL UNION ALL \
             SELECT NULL, PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = {grantee} UNION ALL \
             SELECT NULL, PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES \
             WHERE GRANTEE = {grantee} AND {} LIKE TABLE_SCHEMA",
            text_of(&schema.database)
        ))
        .await?;
    let role = rows.first().map(|row| text(row, 0)).unwrap_or_default();
    let lacks = |privilege: &&&str| !rows.iter().any(|row| text(row, 1) == ***privilege);
    let missing: Vec<&str> = PRIVILEGES.iter().filter(lacks).copied().collect();
    if missing.is_empty() || !(role.is_empty() || role == "NONE") {
        return Ok(None);
    }
    Ok(Some(Risk {
        severity: Severity::Error,
        what: format!("the user \"{}\" may not {} in the store's database", schema.user, missing.join(", ")),
        remedy: schema.grant(),
    }))
}
