//! What Headwater puts into the user's database: a change table, a few rows of its own, and triggers per table.
//!
//! A trigger notes only *which key* may have changed, in the writer's own transaction. The row itself is read later,
//! in the read transaction that also says which changes it shows. That keeps the cost for the application small, keeps
//! every value exactly as stored, and makes capture independent of the table's other columns (they may be added,
//! renamed and dropped), of the order in which other triggers run, and of false alarms: a key that was noted although
//! nothing happened to it is read again, which changes nothing.
//!
//! `REPLACE` removes conflicting rows without firing DELETE triggers (unless `recursive_triggers` is on). The row with
//! the same key is noted by the INSERT trigger; for every other unique set a BEFORE trigger notes the keys of the rows
//! in conflict. Unique indexes over expressions are beyond that: `inspect` warns of them.
//!
//! Change ids have no gaps: an id is the greatest one plus one, rollbacks take theirs back, and the greatest row is
//! never pruned. So a reader can tell when rows are missing.

use super::tables::{Description, UniqueSet};
use crate::sqlite::connection::quoted;

/// What a row of the change table says.
pub(super) mod kind {
    /// The first row of all, so that the table is never empty.
    pub(in crate::sqlite::source) const START: i64 = 0;
    pub(in crate::sqlite::source) const INSERT: i64 = 1;
    pub(in crate::sqlite::source) const UPDATE: i64 = 2;
    pub(in crate::sqlite::source) const DELETE: i64 = 3;
    /// A row may have been removed by REPLACE.
    pub(in crate::sqlite::source) const REPLACE: i64 = 4;
    /// Changes may have gone unnoticed before this place: the whole table is to be read again.
    pub(in crate::sqlite::source) const REREAD: i64 = 5;
    /// A mark of `Source::mark`; `k1` is the chunk.
    pub(in crate::sqlite::source) const MARK: i64 = 6;
}

/// The log is cut in pieces of this many rows, by the writer that passes the bound.
const CUT_ROWS: u64 = 1024;

/// `julianday` rather than `unixepoch('subsec')`: the application's SQLite may be older than 3.42.
const NOW: &str = "julianday('now')";

/// `headwater_table.name` is where the table is now: NULL while it does not exist. `version` and `columns` are its shape
/// when that was last looked at, version 0 being never.
pub(super) fn own_tables() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS headwater_system (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            system TEXT NOT NULL,
            next_table_id INTEGER NOT NULL
        );
        INSERT OR IGNORE INTO headwater_system VALUES (1, lower(hex(randomblob(8))), 1);
        CREATE TABLE IF NOT EXISTS headwater_table (
            id INTEGER PRIMARY KEY,
            asked TEXT NOT NULL UNIQUE,
            name TEXT,
            version INTEGER NOT NULL,
            columns TEXT NOT NULL,
            reread_id INTEGER NOT NULL
        );
        CREATE TABLE IF NOT EXISTS headwater_change (
            id INTEGER PRIMARY KEY,
            table_id INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            at REAL NOT NULL,
            k1
        );
        INSERT INTO headwater_change (table_id, kind, at)
            SELECT 0, {}, {NOW} WHERE NOT EXISTS (SELECT 1 FROM headwater_change);",
        kind::START
    )
}

/// A bound on the log that holds even while Headwater is not running: the writer that passes it cuts the oldest rows.
/// A follower that needed them sees the gap and has the views rebuilt.
pub(super) fn bound_trigger(rows_max: u64) -> String {
    format!(
        "CREATE TRIGGER headwater_bound AFTER INSERT ON headwater_change WHEN NEW.id % {CUT_ROWS} = 0 BEGIN
            DELETE FROM headwater_change WHERE id <= NEW.id - {};
        END",
        rows_max.max(CUT_ROWS)
    )
}

/// Which triggers a table needs, by name.
pub(super) fn triggers(id: u32, table: &Description) -> Vec<(String, String)> {
    let on = quoted(&table.name);
    let insert_into = {
        let places: Vec<String> = (1..=table.key.len()).map(|n| format!("k{n}")).collect();
        format!("INSERT INTO headwater_change (table_id, kind, at, {})", places.join(", "))
    };
    let key_of = |row: &str| -> String {
        let parts: Vec<String> = table.key_names().map(|name| format!("{row}.{}", quoted(name))).collect();
        parts.join(", ")
    };
    let note = |kind: i64, row: &str| format!("{insert_into} VALUES ({id}, {kind}, {NOW}, {});", key_of(row));
    // COLLATE BINARY: in a column that does not see case, 'a' and 'A' are one key there and two keys in a store.
    let moved: Vec<String> = table
        .key_names()
        .map(|name| format!("OLD.{0} IS NOT NEW.{0} COLLATE BINARY", quoted(name)))
        .collect();
    let note_moved = format!(
        "{insert_into} SELECT {id}, {}, {NOW}, {} WHERE {};",
        kind::UPDATE,
        key_of("OLD"),
        moved.join(" OR ")
    );
    let mut triggers = vec![
        ("insert", format!("AFTER INSERT ON {on} BEGIN {} END", note(kind::INSERT, "NEW"))),
        ("update", format!("AFTER UPDATE ON {on} BEGIN {} {note_moved} END", note(kind::UPDATE, "NEW"))),
        ("delete", format!("AFTER DELETE ON {on} BEGIN {} END", note(kind::DELETE, "OLD"))),
    ];

    let conflicts: Vec<(String, &UniqueSet)> = replaceable(table).map(|set| (conflict(set), set)).collect();
    if !conflicts.is_empty() {
        let notes = |besides: &str| -> String {
            let note = |(conflict, _): &(String, &UniqueSet)| {
                format!(
                    "{insert_into} SELECT {id}, {}, {NOW}, {} FROM {on} AS headwater_row WHERE {conflict}{besides};",
                    kind::REPLACE,
                    key_of("headwater_row"),
                )
            };
            conflicts.iter().map(note).collect::<Vec<_>>().join(" ")
        };
        let same: Vec<String> = table
            .key_names()
            .map(|name| format!("headwater_row.{0} IS OLD.{0} COLLATE BINARY", quoted(name)))
            .collect();
        let mut columns: Vec<String> = conflicts
            .iter()
            .flat_map(|(_, set)| set.members.iter().flatten())
            .map(|(name, _)| quoted(name))
            .collect();
        columns.sort_unstable();
        columns.dedup();
        triggers.push(("replace", format!("BEFORE INSERT ON {on} BEGIN {} END", notes(""))));
        triggers.push((
            "replace_update",
            format!(
                "BEFORE UPDATE OF {} ON {on} BEGIN {} END",
                columns.join(", "),
                notes(&format!(" AND NOT ({})", same.join(" AND ")))
            ),
        ));
    }
    triggers
        .into_iter()
        .map(|(what, body)| {
            let name = format!("headwater_{id}_{what}");
            let sql = format!("CREATE TRIGGER {name} {body}");
            (name, sql)
        })
        .collect()
}

/// The unique sets through which REPLACE can remove a row that has another key. The key's own set is one if its
/// collation takes different texts for the same.
fn replaceable(table: &Description) -> impl Iterator<Item = &UniqueSet> {
    table.unique.iter().filter(|set| {
        let binary = |member: &Option<(String, String)>| {
            member.as_ref().is_some_and(|(_, collation)| collation.eq_ignore_ascii_case("BINARY"))
        };
        let same_key_only = set.primary && set.members.iter().all(binary);
        !set.has_expression() && !same_key_only
    })
}

fn conflict(set: &UniqueSet) -> String {
    let same: Vec<String> = (set.members.iter().flatten())
        .map(|(name, collation)| {
            format!("headwater_row.{0} = NEW.{0} COLLATE {1}", quoted(name), quoted(collation))
        })
        .collect();
    same.join(" AND ")
}
