//! A bounded sample of a table's rows, and what it says of the columns.
//!
//! Every row is found by a place in the primary key where that is a number, so that a large table is not read for it; where it is none
//! the server walks the table once, and no longer than anything may take. The places are the same each time.

use std::collections::BTreeSet;

use headwater_model::Result;

use super::origin::{Origin, number};
use super::schema::{Kind, Schema, Table};
use crate::mysql::connection::{Cells, Connection, literal, text};

/// Rows of one table.
const ROWS_MAX: f64 = 20_000.0;

/// A table that is little larger is copied whole.
const WHOLE_MAX: f64 = 1.5 * ROWS_MAX;

/// Characters of a long text: what an index over its beginning would hold.
const TEXT_MAX: u32 = 255;

/// Rows that are asked for at once.
const AT_ONCE: usize = 500;

/// The same where each is asked for by a part of a statement, which opens the table once more.
const BRANCHES: usize = 50;

/// Copies a sample, and learns from it what the columns are like. What limits it is the answer.
pub(super) async fn take(
    origin: &mut Origin,
    copy: &mut Connection,
    schema: &mut Schema,
    place: usize,
    used: &BTreeSet<usize>,
    named: &BTreeSet<String>,
) -> Result<Option<String>> {
    let columns = wanted(schema, place, used);
    let table = &schema.tables[place];
    let list: Vec<String> = columns.iter().map(|column| selected(table, *column)).collect();
    let select = format!("SELECT {} FROM {}", list.join(", "), table.ident());
    let mut taken =
        Taken { copy, into: into(table, &columns), table: table.clone(), columns: columns.clone() };
    let mut note = None;
    if table.rows <= WHOLE_MAX {
        let rows = origin.sampled(&format!("{select} LIMIT {}", 2.0 * WHOLE_MAX)).await?;
        taken.put(&rows.unwrap_or_default()).await?;
    } else if table.primary_key().first().is_some_and(|column| table.columns[*column].kind == Kind::Number) {
        by_key(origin, &mut taken, &select).await?;
    } else {
        let share = ROWS_MAX / table.rows;
        match origin.sampled(&format!("{select} WHERE RAND(7) < {share} LIMIT {ROWS_MAX}")).await? {
            Some(rows) => taken.put(&rows).await?,
            None => {
                let rows = origin.sampled(&format!("{select} LIMIT {ROWS_MAX}")).await?;
                taken.put(&rows.unwrap_or_default()).await?;
                note = Some(format!(
                    "{} takes too long to be walked through, and its primary key is no number: what is advised of it follows its first rows",
                    table.table_name()
                ));
            }
        }
    }
    // A row that a statement names by its key is read while the statement is planned.
    for condition in named {
        let rows = origin.sampled(&format!("{select} WHERE {condition} LIMIT 1")).await?;
        taken.put(&rows.unwrap_or_default()).await?;
    }
    learn(copy, &mut schema.tables[place], &columns).await?;
    Ok(note)
}

/// What statements use, and what existing indexes hold: a unique one refuses rows that look the same.
fn wanted(schema: &Schema, place: usize, used: &BTreeSet<usize>) -> Vec<usize> {
    let table = &schema.tables[place];
    let mut columns: BTreeSet<usize> = used.clone();
    columns.extend(table.indexes.iter().flat_map(|index| &index.keys));
    columns.retain(|column| {
        !table.columns[*column].generated && table.columns[*column].kind != Kind::Unsortable
    });
    columns.into_iter().collect()
}

fn selected(table: &Table, column: usize) -> String {
    let known = &table.columns[column];
    match known.kind {
        Kind::Long => format!("LEFT({}, {TEXT_MAX})", known.ident),
        _ => known.ident.clone(),
    }
}

fn into(table: &Table, columns: &[usize]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| table.columns[*column].ident.as_str()).collect();
    format!("INSERT IGNORE INTO {} ({}) VALUES ", table.ident(), names.join(", "))
}

/// Rows at places of the primary key that lie all over it.
async fn by_key(origin: &mut Origin, taken: &mut Taken<'_>, select: &str) -> Result<()> {
    let table = taken.table.clone();
    let key = table.primary_key();
    let names: Vec<&str> = key.iter().map(|column| table.columns[*column].ident.as_str()).collect();
    let (first, order) = (names[0], names.join(", "));
    let ends = origin.sampled(&format!("SELECT MIN({first}), MAX({first}) FROM {}", table.ident())).await?;
    let Some((least, most)) =
        ends.as_ref().and_then(|rows| rows.first()).map(|row| (number(row, 0), number(row, 1)))
    else {
        return Ok(());
    };
    let place = |nth: u64| {
        let part = (scattered(nth) >> 11) as f64 / (1u64 << 53) as f64;
        (least + (most - least) * part).floor()
    };
    // Where most numbers are there, the rows that have them; otherwise whichever row comes next.
    let is_dense = key.len() == 1 && most - least < 2.0 * table.rows;
    let at_once = if is_dense { AT_ONCE } else { BRANCHES };
    for begin in (0..ROWS_MAX as u64).step_by(at_once) {
        let places = (begin..begin + at_once as u64).map(|nth| (nth, place(nth)));
        let asked = match is_dense {
            true => {
                let numbers: Vec<String> = places.map(|(_, at)| format!("{at:.0}")).collect();
                format!("{select} WHERE {first} IN ({})", numbers.join(", "))
            }
            false => {
                let next = |(nth, at): (u64, f64)| {
                    // Of several rows with the same first column not always the first.
                    let skip = if key.len() > 1 { scattered(nth) % 8 } else { 0 };
                    format!("({select} WHERE {first} >= {at:.0} ORDER BY {order} LIMIT 1 OFFSET {skip})")
                };
                places.map(next).collect::<Vec<String>>().join(" UNION ALL ")
            }
        };
        let Some(rows) = origin.sampled(&asked).await? else { break };
        taken.put(&rows).await?;
    }
    Ok(())
}

/// Numbers that look like chance and are the same each time (splitmix64).
fn scattered(nth: u64) -> u64 {
    let mut z = (nth + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Taken<'c> {
    copy: &'c mut Connection,
    into: String,
    table: Table,
    columns: Vec<usize>,
}

impl Taken<'_> {
    async fn put(&mut self, rows: &[Cells]) -> Result<()> {
        for rows in rows.chunks(AT_ONCE) {
            let rows: Vec<String> = rows.iter().map(|row| self.row(row)).collect();
            self.copy.run(&format!("{}{}", self.into, rows.join(", "))).await?;
        }
        Ok(())
    }

    fn row(&self, row: &Cells) -> String {
        let cells: Vec<String> = row
            .iter()
            .zip(&self.columns)
            .map(|(cell, column)| match cell {
                None => "NULL".to_owned(),
                Some(bytes) => match std::str::from_utf8(bytes) {
                    Ok(value) if self.table.columns[*column].is_characters => literal(value),
                    _ => {
                        let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
                        format!("X'{digits}'")
                    }
                },
            })
            .collect();
        format!("({})", cells.join(", "))
    }
}

/// How long values are, how many differ, and how much of a long text tells them apart.
async fn learn(copy: &mut Connection, table: &mut Table, columns: &[usize]) -> Result<()> {
    let mut asked = vec!["COUNT(*)".to_owned()];
    for column in columns {
        let ident = &table.columns[*column].ident;
        asked.push(format!("COUNT(DISTINCT {ident})"));
        asked.push(format!("AVG(LENGTH({ident}))"));
        asked.extend(PREFIXES.iter().map(|prefix| match table.columns[*column].needs_prefix() {
            true => format!("COUNT(DISTINCT LEFT({ident}, {prefix}))"),
            false => "0".to_owned(),
        }));
    }
    let rows = copy.rows(&format!("SELECT {} FROM {}", asked.join(", "), table.ident())).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    table.sampled = number(row, 0);
    table.rows = table.rows.max(table.sampled);
    for (nth, column) in columns.iter().enumerate() {
        let at = 1 + nth * (2 + PREFIXES.len());
        let counted = number(row, at);
        let known = &mut table.columns[*column];
        known.distinct = Some(distinct(counted, table.sampled, table.rows));
        known.mean = text(row, at + 1).parse().ok();
        if known.needs_prefix() {
            let enough = (0..PREFIXES.len()).find(|place| number(row, at + 2 + place) >= 0.95 * counted);
            known.prefix = Some(PREFIXES[enough.unwrap_or(PREFIXES.len() - 1)]);
        }
    }
    Ok(())
}

/// How many characters of a text an index holds.
const PREFIXES: [u32; 4] = [16, 32, 64, 128];

/// How many different values there are in so many rows if a sample has so many, each as frequent as the others.
pub(super) fn distinct(counted: f64, sampled: f64, rows: f64) -> f64 {
    if sampled >= rows || counted <= 0.0 {
        return counted.max(1.0);
    }
    let expected = |distinct: f64| distinct * (1.0 - (-sampled / distinct).exp());
    if expected(rows) <= counted {
        return rows;
    }
    let (mut least, mut most) = (counted, rows);
    for _ in 0..60 {
        let middle = (least + most) / 2.0;
        if expected(middle) < counted { least = middle } else { most = middle }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn a_sample_tells_how_many_values_there_are() {
        // 20,000 values in 300,000 rows: of 20,142 rows, 12,968 differ.
        let found = distinct(12_968.0, 20_142.0, 300_000.0);
        assert!((found - 20_000.0).abs() < 2_000.0, "{found}");
        assert_eq!(distinct(20_000.0, 20_000.0, 1e6), 1e6);
        assert!((distinct(50.0, 20_000.0, 1e6) - 50.0).abs() < 0.1);
        assert_eq!(distinct(7.0, 20.0, 20.0), 7.0);
    }
}
