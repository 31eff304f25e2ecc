//! What an entry carries: row changes in the source's journal, view changes in the derived journal.

use headwater_model::wire::{self, write_key, write_row, write_values, write_varint};
use headwater_model::{Change, Error, Record, Result, Row, Table, ViewChange};

use super::shapes::{Numbers, Shapes};

/// A kind of change that a journal can hold. Tables, views and field names are written by number.
pub trait Payload: Sized + Send + 'static {
    /// Written in each segment, so that a journal is not read as one of another kind.
    const KIND: u8;

    /// An error is a `Bug` of the caller's: a row that does not fit its table.
    fn encode(&self, shapes: &mut Numbers, out: &mut Vec<u8>) -> Result<()>;

    fn decode(reader: &mut wire::Reader<'_>, shapes: &Shapes) -> Result<Self>;
}

impl Payload for Change {
    const KIND: u8 = 1;

    fn encode(&self, shapes: &mut Numbers, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Change::Insert { table, row } => {
                out.push(0);
                write_varint(u64::from(shapes.table(table)), out);
                write_table_row(table, row, out)?;
            }
            Change::Update { table, old_key: None, row } => {
                out.push(1);
                write_varint(u64::from(shapes.table(table)), out);
                write_table_row(table, row, out)?;
            }
            Change::Update { table, old_key: Some(old_key), row } => {
                out.push(2);
                write_varint(u64::from(shapes.table(table)), out);
                write_key(old_key, out);
                write_table_row(table, row, out)?;
            }
            Change::Delete { table, key } => {
                out.push(3);
                write_varint(u64::from(shapes.table(table)), out);
                write_key(key, out);
            }
            Change::Truncate { tables } => {
                out.push(4);
                write_varint(tables.len() as u64, out);
                for table in tables {
                    write_varint(u64::from(shapes.table(table)), out);
                }
            }
            Change::Snapshot { table, row } => {
                out.push(5);
                write_varint(u64::from(shapes.table(table)), out);
                write_table_row(table, row, out)?;
            }
        }
        Ok(())
    }

    fn decode(reader: &mut wire::Reader<'_>, shapes: &Shapes) -> Result<Change> {
        let tag = reader.byte()?;
        if tag == 4 {
            let count = reader.varint()?;
            // Each table takes a byte at least.
            if count > reader.remaining() as u64 {
                return Err(Error::corrupt("a truncation names more tables than it has bytes"));
            }
            let tables = (0..count).map(|_| shapes.table(reader.varint()?).cloned());
            return Ok(Change::Truncate { tables: tables.collect::<Result<_>>()? });
        }
        let table = shapes.table(reader.varint()?)?.clone();
        Ok(match tag {
            0 => Change::Insert { row: row(reader, &table)?, table },
            1 => Change::Update { old_key: None, row: row(reader, &table)?, table },
            2 => Change::Update { old_key: Some(reader.key()?), row: row(reader, &table)?, table },
            3 => Change::Delete { key: reader.key()?, table },
            5 => Change::Snapshot { row: row(reader, &table)?, table },
            tag => return Err(Error::corrupt(format!("no change has tag {tag}"))),
        })
    }
}

/// Rows have a value per column: whoever reads them relies on it.
fn write_table_row(table: &Table, row: &Row, out: &mut Vec<u8>) -> Result<()> {
    if row.0.len() != table.columns.len() {
        return Err(misfit(&table.name, row.0.len(), table.columns.len()));
    }
    write_row(row, out);
    Ok(())
}

fn row(reader: &mut wire::Reader<'_>, table: &Table) -> Result<Row> {
    let row = reader.row()?;
    if row.0.len() != table.columns.len() {
        return Err(Error::corrupt(misfit(&table.name, row.0.len(), table.columns.len()).to_string()));
    }
    Ok(row)
}

fn misfit(name: &dyn std::fmt::Display, values: usize, places: usize) -> Error {
    Error::bug(format!("a row of {name} has {values} values for {places} columns"))
}

impl Payload for ViewChange {
    const KIND: u8 = 2;

    fn encode(&self, shapes: &mut Numbers, out: &mut Vec<u8>) -> Result<()> {
        match self {
            ViewChange::Put { view, key, moved_from, document } => {
                out.push(if moved_from.is_some() { 1 } else { 0 });
                write_varint(u64::from(shapes.view(view)), out);
                write_key(key, out);
                if let Some(moved_from) = moved_from {
                    write_key(moved_from, out);
                }
                if document.values.len() != document.names.len() {
                    return Err(misfit(&view.name, document.values.len(), document.names.len()));
                }
                write_varint(u64::from(shapes.names(&document.names)), out);
                write_values(&document.values, out);
            }
            ViewChange::Delete { view, key } => {
                out.push(2);
                write_varint(u64::from(shapes.view(view)), out);
                write_key(key, out);
            }
            ViewChange::Clear { view } => {
                out.push(3);
                write_varint(u64::from(shapes.view(view)), out);
            }
        }
        Ok(())
    }

    fn decode(reader: &mut wire::Reader<'_>, shapes: &Shapes) -> Result<ViewChange> {
        let tag = reader.byte()?;
        let view = shapes.view(reader.varint()?)?.clone();
        Ok(match tag {
            0 | 1 => {
                let key = reader.key()?;
                let moved_from = if tag == 1 { Some(reader.key()?) } else { None };
                let names = shapes.names(reader.varint()?)?.clone();
                let values = reader.values()?;
                if values.len() != names.len() {
                    let error = misfit(&view.name, values.len(), names.len());
                    return Err(Error::corrupt(error.to_string()));
                }
                ViewChange::Put { view, key, moved_from, document: Record { names, values } }
            }
            2 => ViewChange::Delete { key: reader.key()?, view },
            3 => ViewChange::Clear { view },
            tag => return Err(Error::corrupt(format!("no view change has tag {tag}"))),
        })
    }
}
