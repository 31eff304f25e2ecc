//! How fast the journal writes and reads rows like those of pgbench_accounts, on this machine.
//!
//! `cargo run --release -p headwater-flow --example journal_speed [FOLDER]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use headwater_flow::journal::{EntryKind, Item, Journal, Options};
use headwater_model::{
    Change, Column, ColumnType, Error, Offset, Position, Result, Row, Table, TableName, Value,
};

const ROWS: u64 = 2_000_000;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for rows_per_transaction in [1, 100, 10_000] {
        let dir = folder.join(format!("headwater-journal-speed-{}", std::process::id()));
        let result = measure(&dir, rows_per_transaction);
        std::fs::remove_dir_all(&dir)
            .map_err(|e| Error::transient("remove the bench's folder").with_cause(e))?;
        result?;
    }
    Ok(())
}

fn measure(dir: &std::path::Path, rows_per_transaction: u64) -> Result<()> {
    let column = |name: &str, kind| Column { name: name.into(), kind };
    let table = Arc::new(Table {
        id: 16_384,
        version: 1,
        name: TableName::new(Some("public"), "pgbench_accounts"),
        columns: vec![
            column("aid", ColumnType::Int),
            column("bid", ColumnType::Int),
            column("abalance", ColumnType::Int),
            column("filler", ColumnType::Text),
        ],
        key: vec![0],
    });
    let filler = " ".repeat(84);
    let mut updates: Vec<Change> = (0..1000)
        .map(|i| Change::Update {
            table: table.clone(),
            old_key: None,
            row: Row(vec![Value::Int(i * 97), Value::Int(1), Value::Int(-i), Value::text(filler.as_str())]),
        })
        .collect();
    let system: Arc<str> = "7412345678901234567/1".into();

    let (journal, mut writer) = Journal::open(Options::new(dir))?;
    let began = Instant::now();
    let mut row = 0;
    let mut appending = std::time::Duration::ZERO;
    while row < ROWS {
        let group = Instant::now();
        writer.begin(EntryKind::Transaction { xid: Some(row) })?;
        for _ in 0..rows_per_transaction {
            if let Change::Update { row: Row(values), .. } = &mut updates[row as usize % 1000] {
                values[0] = Value::Int(row as i64);
            }
            writer.change(&updates[row as usize % 1000])?;
            row += 1;
        }
        writer.commit(Position { system: system.clone(), sequence: row }, row as i64)?;
        appending += group.elapsed();
        if row % 1000 == 0 || rows_per_transaction > 1000 {
            writer.flush()?;
        }
    }
    writer.settle()?;
    let wrote = began.elapsed();
    let bytes = journal.bytes();

    let began = Instant::now();
    let mut reader = journal.read(Offset::ZERO)?;
    let mut rows = 0;
    loop {
        let items = reader.try_next(1 << 20)?;
        if items.is_empty() {
            break;
        }
        for item in items {
            if let Item::Changes(changes) = item {
                rows += changes.len() as u64;
            }
        }
    }
    let read = began.elapsed();
    assert_eq!(rows, ROWS);
    let rate = |elapsed: std::time::Duration| ROWS as f64 / elapsed.as_secs_f64() / 1e6;
    println!(
        "{rows_per_transaction:>6} rows per transaction: encode and append {:.2} M rows/s, until synced {:.2} M rows/s \
         ({:.0} MB/s, {} syncs), read {:.2} M rows/s, {:.1} bytes per row",
        rate(appending),
        rate(wrote),
        bytes as f64 / wrote.as_secs_f64() / 1e6,
        journal.syncs(),
        rate(read),
        bytes as f64 / ROWS as f64,
    );
    Ok(())
}
