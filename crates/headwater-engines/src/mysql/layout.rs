//! From a table's description in the log to how its rows are read: what the log leaves open is asked of the catalog.

use std::sync::Arc;

use headwater_model::{Column, Error, Result};

use super::catalog::{self, Catalog, Seen, Shape};
use super::cell::{Cell, Charset};
use super::codec::Kind;
use super::connection::Connection;
use super::event::{ENUM, MapColumn, SET, TableMap};
use super::log::Layout;

pub(super) async fn resolve(
    map: &TableMap,
    catalog: &Catalog,
    connection: &mut Connection,
) -> Result<Layout> {
    let resolved = layout(map, catalog, connection).await;
    resolved.map_err(|error| error.while_doing(format!("table {}", map.table)))
}

async fn layout(map: &TableMap, catalog: &Catalog, connection: &mut Connection) -> Result<Layout> {
    if map.key.is_empty() {
        return Err(Error::misconfigured("it has no primary key, so the log does not say which row changed")
            .with_remedy(format!("ALTER TABLE {} ADD PRIMARY KEY (…)", catalog::quoted(&map.table.name))));
    }
    // The catalog may be ahead of the log: it is believed only where it cannot make a value wrong.
    let described = catalog::describe(connection, Some(std::slice::from_ref(&map.table))).await?;
    let described = described.get(&map.table);
    let of = |name: &str| described.and_then(|table| table.columns.iter().find(|c| *c.name == *name));
    let mut cells = Vec::with_capacity(map.columns.len());
    let mut kinds = Vec::with_capacity(map.columns.len());
    for column in &map.columns {
        if of(&column.name).is_some_and(|column| column.kind.is_none()) {
            return Err(unsupported(column));
        }
        let is_json = of(&column.name).is_some_and(|column| column.kind == Some(Kind::Json));
        let (cell, kind) = cell(column, is_json, catalog, connection).await?;
        cells.push(cell);
        kinds.push(kind);
    }
    let columns = map.columns.iter().zip(&kinds);
    let columns =
        columns.map(|(c, kind)| Column { name: c.name.clone(), kind: kind.column_type() }).collect();
    let table = catalog.number(&map.table, columns, map.key.clone(), Seen::InLog)?;
    Ok(Layout { shape: Shape { table, kinds: kinds.into() }, cells: cells.into() })
}

async fn cell(
    column: &MapColumn,
    is_json: bool,
    catalog: &Catalog,
    connection: &mut Connection,
) -> Result<(Cell, Kind)> {
    let meta = usize::from(column.meta);
    let int = |bytes| (Cell::Int { bytes, unsigned: column.unsigned }, Kind::Int);
    Ok(match column.kind {
        1 => int(1),
        2 => int(2),
        9 => int(3),
        3 => int(4),
        8 => int(8),
        4 => (Cell::Float, Kind::Float),
        5 => (Cell::Double, Kind::Double),
        246 => (Cell::Decimal { precision: meta >> 8, scale: meta & 0xff }, Kind::Decimal),
        13 => (Cell::Year, Kind::Int),
        10 | 14 => (Cell::Date, Kind::Date),
        17 => (Cell::Timestamp { digits: meta }, Kind::Timestamp),
        18 => (Cell::DateTime { digits: meta }, Kind::DateTime),
        19 => (Cell::Time { digits: meta }, Kind::Text),
        16 => (Cell::Bit { bits: (meta >> 8) * 8 + (meta & 0xff) }, Kind::Int),
        245 => (Cell::Json { length: meta }, Kind::Json),
        // VECTOR, and geometry.
        242 | 255 => (Cell::Bytes { length: meta, padded: None }, Kind::Bytes),
        ENUM | SET => {
            let charset = catalog.charset(column.collation, connection).await?;
            let names: Arc<[Box<str>]> =
                column.values.iter().map(|value| Box::from(name(value, charset.as_ref()))).collect();
            match column.kind {
                ENUM => (Cell::Enum { bytes: meta, names }, Kind::Text),
                _ => (Cell::Set { bytes: meta, names }, Kind::Text),
            }
        }
        15 | 253 | 254 | 249..=252 => {
            let length = match column.kind {
                249..=252 => meta,
                _ if meta > 255 => 2,
                _ => 1,
            };
            match catalog.charset(column.collation, connection).await? {
                None => {
                    let padded = (column.kind == 254).then_some(meta);
                    (Cell::Bytes { length, padded }, Kind::Bytes)
                }
                Some(Charset::Utf8) if is_json => (Cell::JsonText { length }, Kind::Json),
                Some(charset) => (Cell::Text { length, charset }, Kind::Text),
            }
        }
        _ => return Err(unsupported(column)),
    })
}

fn name(bytes: &[u8], charset: Option<&Charset>) -> String {
    match charset {
        Some(charset) => charset.text(bytes).to_text(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn unsupported(column: &MapColumn) -> Error {
    Error::unsupported(format!(
        "column \"{}\" is of a type that cannot be followed (number {} in the log)",
        column.name, column.kind
    ))
    .with_remedy(
        "ALTER TABLE … MODIFY the column to another type, or ALTER TABLE … FORCE if it is a very old one",
    )
}
