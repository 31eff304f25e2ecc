//! The tables of the store, in a schema of their own: one per view, and two of Headwater's. All of them can be read by
//! any client while the store is written to.
//!
//! Invariant: a table is touched only if `headwater_view` says that Headwater made it. If one of these is gone, the store
//! counts as empty.

use headwater_model::file::StoreSection;
use headwater_model::{Epoch, Error, Held, Offset, Result, View};

use super::shape::{NAME_BYTES_MAX, place_start};
use crate::postgres::connection::{Bound, Connection, Row};
use crate::postgres::sql::{identifier, literal};
use crate::postgres::tables::READ_MODEL;
use crate::sql::store::held;
use crate::sql::store::shape::{KEY, OWN, layout_text, own_column, place_column, refuse_other_layout};

/// No answer of ours is larger.
pub(super) const ROWS_BYTES_MAX: usize = 1 << 30;

/// The schema, as it goes into SQL.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub name: String,
    quoted: String,
    /// Our own two, with the schema. Each source that has its views in the schema has its own.
    pub held: String,
    views: String,
}

impl Schema {
    pub fn new(name: String, section: &StoreSection) -> Schema {
        let quoted = identifier(&name);
        let own = |table: &str| format!("{quoted}.{}", identifier(&section.of_source(table)));
        let (held, views) = (own("headwater_held"), own("headwater_view"));
        Schema { name, quoted, held, views }
    }

    pub fn table(&self, name: &str) -> String {
        format!("{}.{}", self.quoted, identifier(name))
    }

    /// The row that says what the store holds; none if a view's table is gone. Columns as [`held`] reads them.
    pub fn held_sql(&self) -> String {
        format!(
            "SELECT h.epoch, h.\"offset\", h.system, h.sequence, h.committed_at FROM {} h
             WHERE NOT EXISTS (SELECT FROM {} v WHERE to_regclass(format('%I.%I', {}, v.name)) IS NULL)",
            self.held,
            self.views,
            literal(&self.name)
        )
    }

    /// The row of a view, whose name is the parameter.
    pub fn view_sql(&self) -> String {
        format!("SELECT layout, fields, rows FROM {} WHERE name = $1", self.views)
    }

    pub fn views_sql(&self) -> String {
        format!("SELECT layout, fields, rows, name FROM {}", self.views)
    }

    pub fn set_held_sql(&self) -> String {
        format!(
            "UPDATE {} SET epoch = $1::text::numeric, \"offset\" = $2::text::numeric, system = $3, \
             sequence = $4::text::numeric, committed_at = $5::text::bigint",
            self.held
        )
    }

    pub fn set_view_sql(&self) -> String {
        format!("UPDATE {} SET rows = $2::text::bigint, fields = $3 WHERE name = $1", self.views)
    }
}

/// The parameters of [`Schema::set_held_sql`].
pub(super) fn held_params(held: &Held) -> [Option<String>; 5] {
    [
        Some(held.epoch.0.to_string()),
        Some(held.offset.0.to_string()),
        held.position.as_ref().map(|position| position.system.to_string()),
        held.position.as_ref().map(|position| position.sequence.to_string()),
        Some(held.committed_at.to_string()),
    ]
}

/// Reads a result of [`Schema::held_sql`].
pub(super) fn held(rows: &[Row]) -> Result<Option<Held>> {
    rows.first().map(|row| held::read(row)).transpose()
}

/// Whether the server says that a table, a column or the schema is not there.
pub(super) fn is_missing(error: &Error) -> bool {
    let message = error.to_string();
    ["42P01", "3F000", "42703"].iter().any(|code| message.contains(&format!("(SQLSTATE {code})")))
}

/// Whether the server says that a key has a row already.
pub(super) fn is_taken(error: &Error) -> bool {
    error.to_string().contains("(SQLSTATE 23505)")
}

/// What the store holds; `None` if it is empty.
pub(super) async fn look(connection: &mut Connection, schema: &Schema) -> Result<Option<Held>> {
    let sql = schema.held_sql();
    match connection.run_bound(&[Bound { sql: &sql, params: &[] }], ROWS_BYTES_MAX).await {
        Ok(results) => held(results.first().map_or(&[], Vec::as_slice)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error.while_doing("read what the store holds")),
    }
}

/// One at a time makes tables or takes the store over.
fn lock_sql(schema: &Schema) -> String {
    format!("SELECT pg_advisory_xact_lock(hashtext('headwater'), hashtext({}))", literal(&schema.name))
}

/// In one transaction: makes what is missing, and takes the store over. Returns what it held before.
pub(super) async fn claim(
    connection: &mut Connection,
    schema: &Schema,
    epoch: Epoch,
) -> Result<Option<Held>> {
    let Schema { quoted, held: own, views, .. } = schema;
    connection.query("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    connection.query(&lock_sql(schema)).await?;
    let known = connection
        .query(&format!(
            "SELECT to_regnamespace({}) IS NOT NULL, to_regclass({}) IS NOT NULL",
            literal(quoted),
            literal(own)
        ))
        .await?;
    let yes = |place: usize| known.first().is_some_and(|row| row[place].as_deref() == Some("t"));
    if !yes(0) {
        connection.query(&format!("CREATE SCHEMA {quoted}")).await.map_err(|error| {
            error.while_doing(format!("make the schema {quoted}")).with_remedy(format!(
                "CREATE SCHEMA {quoted} AUTHORIZATION {{the store's role}}; as a superuser or the database's owner"
            ))
        })?;
    }
    if !yes(1) {
        // One row, written by every step: room in its page keeps it from growing.
        connection
            .query(&format!(
                "CREATE TABLE IF NOT EXISTS {views} (
                     name text COLLATE \"C\" PRIMARY KEY, layout text NOT NULL, fields text NOT NULL,
                     rows bigint NOT NULL) WITH (fillfactor = 50);
                 CREATE TABLE {own} (
                     id boolean PRIMARY KEY DEFAULT true CHECK (id), epoch numeric(20) NOT NULL,
                     \"offset\" numeric(20) NOT NULL, system text, sequence numeric(20),
                     committed_at bigint NOT NULL) WITH (fillfactor = 10);
                 COMMENT ON TABLE {views} IS {comment};
                 COMMENT ON TABLE {own} IS {comment}",
                comment = literal(READ_MODEL)
            ))
            .await
            .map_err(|error| error.while_doing("make the store's own tables"))?;
    }
    let rows = connection.query(&format!("{} FOR UPDATE OF h", schema.held_sql())).await?;
    let before = held(&rows)?;
    let after = match &before {
        Some(held) => {
            held.fence(epoch)?;
            Held { epoch, ..held.clone() }
        }
        None => {
            forget(connection, schema).await?;
            Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 }
        }
    };
    let (set, params) = (schema.set_held_sql(), held_params(&after));
    let all = [Bound { sql: &set, params: &params }, Bound { sql: "COMMIT", params: &[] }];
    connection.run_bound(&all, ROWS_BYTES_MAX).await?;
    Ok(before)
}

/// Empties what is left of a store that counts as empty. Tables stay: somebody may have built on them.
async fn forget(connection: &mut Connection, schema: &Schema) -> Result<()> {
    let Schema { held: own, views, .. } = schema;
    let made = connection
        .query(&format!(
            "SELECT name, to_regclass(format('%I.%I', {}, name)) IS NULL FROM {views}",
            literal(&schema.name)
        ))
        .await?;
    for row in &made {
        let (Some(name), gone) = (&row[0], row[1].as_deref() == Some("t")) else { continue };
        let after = if gone {
            format!("DELETE FROM {views} WHERE name = {}", literal(name))
        } else {
            format!(
                "DELETE FROM {}; UPDATE {views} SET rows = 0 WHERE name = {}",
                schema.table(name),
                literal(name)
            )
        };
        connection.query(&after).await?;
    }
    connection
        .query(&format!(
            "INSERT INTO {own} (epoch, \"offset\", committed_at) VALUES (0, 0, 0)
             ON CONFLICT DO NOTHING"
        ))
        .await?;
    Ok(())
}

/// Whether a table can have the view's name.
pub(super) fn fits(view: &View) -> Result<()> {
    let name = &*view.name;
    if !name.starts_with(OWN) && name.len() <= NAME_BYTES_MAX && !name.contains('\0') {
        return Ok(());
    }
    Err(Error::misconfigured(format!("no table can have the name of the view \"{name}\"")).with_remedy(
        "rename the view: names have up to 63 bytes, and those that start with headwater_ are reserved",
    ))
}

/// In one transaction: makes a view's table and the columns and indexes of its access patterns, unless they are there.
pub(super) async fn prepare(connection: &mut Connection, schema: &Schema, view: &View) -> Result<()> {
    fits(view)?;
    let name = &*view.name;
    let (quoted, views, table) = (&schema.quoted, &schema.views, schema.table(name));
    connection.query("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    connection.query(&lock_sql(schema)).await?;
    let view_sql = schema.view_sql();
    let named = [Some(name.to_owned())];
    let known = connection
        .run_bound(&[Bound { sql: &view_sql, params: &named }], ROWS_BYTES_MAX)
        .await
        .map_err(|error| {
            if is_missing(&error) {
                Error::out_of_step("the store is empty").with_cause(error)
            } else {
                error
            }
        })?;
    match known.first().and_then(|rows| rows.first()) {
        Some(row) => refuse_other_layout(view, row[0].as_deref().unwrap_or_default())?,
        None => {
            let there =
                connection.query(&format!("SELECT to_regclass({}) IS NOT NULL", literal(&table))).await?;
            if there.first().is_some_and(|row| row[0].as_deref() == Some("t")) {
                return Err(Error::misconfigured(format!(
                    "the schema {quoted} already has {table}, which Headwater did not make"
                ))
                .with_remedy("give the store a schema of its own (schema = \"…\"), rename the view, or drop the table if it was another source's"));
            }
            let own = own_column(view.layout());
            connection
                .query(&format!(
                    "CREATE TABLE {table} ({KEY} text COLLATE \"C\" PRIMARY KEY, {own} json);
                     COMMENT ON TABLE {table} IS {};
                     INSERT INTO {views} VALUES ({}, {}, '[]', 0)",
                    literal(READ_MODEL),
                    literal(name),
                    literal(layout_text(view.layout()))
                ))
                .await
                .map_err(|error| error.while_doing(format!("make the table of the view \"{name}\"")))?;
        }
    }
    make_indexes(connection, &table, view)
        .await
        .map_err(|error| error.while_doing(format!("make the indexes of the view \"{name}\"")))?;
    connection.query("COMMIT").await?;
    Ok(())
}

/// The column is made together with its index, so it tells of both.
async fn make_indexes(connection: &mut Connection, table: &str, view: &View) -> Result<()> {
    for index in 0..view.indexes.len() {
        let column = place_column(index);
        let there = connection
            .query(&format!(
                "SELECT FROM pg_attribute WHERE attrelid = to_regclass({}) AND attname = {}
                 AND NOT attisdropped",
                literal(table),
                literal(&column)
            ))
            .await?;
        if there.is_empty() {
            connection
                .query(&format!(
                    "ALTER TABLE {table} ADD COLUMN {column} bytea;
                     CREATE INDEX ON {table} (({})) WHERE {column} IS NOT NULL",
                    place_start(&column)
                ))
                .await?;
        }
    }
    Ok(())
}
