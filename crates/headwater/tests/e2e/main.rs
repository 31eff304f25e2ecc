//! The whole program against real engines, judged by the independent checker.

#![allow(clippy::unwrap_used)]

mod hazard;
mod pgbench;
mod probe;
mod program;
mod random;
mod takeover;

use headwater_model::{Embed, EmbedKind, TableName, View};
use headwater_testkit::Redis;
use headwater_testkit::checker::Copy;

/// Every column of a table, one document per row.
fn flat(name: &str, table: &str, stores: &[&str]) -> View {
    View {
        name: name.into(),
        from: TableName::new(None, table),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: stores.iter().map(|store| (*store).into()).collect(),
        layout: None,
    }
}

/// The rows of `table` whose `column` points at the document.
fn many(field: &str, table: &str, column: &str) -> Embed {
    Embed {
        field: field.into(),
        from: TableName::new(None, table),
        kind: EmbedKind::Many { columns: vec![column.into()], references: None },
        columns: None,
        filter: None,
        order: Vec::new(),
        limit: None,
        embeds: Vec::new(),
    }
}

/// A store entry of the file with a key prefix, and the same store for the checker.
fn redis_store(redis: &Redis) -> (String, Copy) {
    let prefix = "shop:";
    (
        format!("url = \"{}\", prefix = \"{prefix}\"", redis.url()),
        Copy::Redis { url: redis.url(), prefix: prefix.into() },
    )
}
