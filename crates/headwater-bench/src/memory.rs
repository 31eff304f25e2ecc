//! Resident memory: whatever the size of the table, and whatever the size of a transaction.

use std::time::Duration;

use crate::Size;
use crate::backfill::load;
use crate::engines::{Engines, SENTINEL, Watch};
use crate::headwater::Headwater;
use crate::report::Report;

const BOUND: u64 = 256 << 20;

pub fn run(size: Size) -> anyhow::Result<()> {
    let mut report = Report::new("memory");
    let mut most = 0;
    for rows in [size.rows, size.rows * 3] {
        let engines = Engines::start(rows)?;
        let rows = engines.rows();
        let headwater = Headwater::new(&engines.postgres.url(), &engines.redis.url(), "pgbench_accounts")?;
        load(&engines, &headwater, rows)?;
        let loaded = headwater.stop()?.resident_max;
        report.memory(&format!("backfill of {rows} rows"), loaded);

        // Waiting in the log: one transaction that changes every row.
        engines.postgres.psql(&format!("UPDATE pgbench_accounts SET abalance = 7 WHERE aid <> {SENTINEL}"));
        let value = 900_000_001;
        engines.write_sentinel(value);
        let mut watch = Watch::open(&engines.redis)?;
        headwater.start();
        headwater.wait("the last change is visible", Duration::from_millis(20), || {
            Ok(watch.balance(SENTINEL)? == Some(value))
        })?;
        let followed = headwater.stop()?.resident_max;
        report.memory(&format!("one transaction of {rows} updates"), followed);
        most = most.max(loaded).max(followed);
    }
    report.ratio("memory", BOUND as f64 / most as f64, "of the 256 MiB that are allowed; aim 1 or more");
    report.print();
    Ok(())
}
