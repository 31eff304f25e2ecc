//! Changes/s from PostgreSQL to Redis when the log is full of single-row updates.

use std::time::{Duration, Instant};

use crate::Size;
use crate::backfill::load;
use crate::engines::{Engines, SENTINEL, Watch};
use crate::headwater::{Headwater, Usage};
use crate::report::{Report, median};

pub fn run(size: Size) -> anyhow::Result<()> {
    let engines = Engines::start(size.rows)?;
    let rows = engines.rows();
    let headwater = Headwater::new(&engines.postgres.url(), &engines.redis.url(), "pgbench_accounts")?;
    load(&engines, &headwater, rows)?;
    headwater.stop()?;
    let mut watch = Watch::open(&engines.redis)?;
    // The limit updates keys that are there, as Headwater does.
    engines.pipe("SELECT * FROM pgbench_accounts")?;

    let (mut drains, mut pipes, mut ours, mut used) = (Vec::new(), Vec::new(), Vec::new(), Usage::default());
    for round in 0..size.repeat {
        // Both limits before and after, because the machine is never quite the same.
        let (before, after) = (format!("limit_before_{round}"), format!("limit_after_{round}"));
        engines.copy_slot(&before)?;
        engines.copy_slot(&after)?;
        engines.update(size.transactions)?;
        let value = 900_000_000 + round as u64;
        engines.write_sentinel(value);
        let changed = format!("SELECT * FROM pgbench_accounts ORDER BY random() LIMIT {}", size.transactions);
        engines.settle();

        drains.push(engines.drain(&before)?);
        pipes.push(engines.pipe(&changed)?);
        let started = Instant::now();
        headwater.start();
        headwater.wait("the last change is visible", Duration::from_millis(2), || {
            Ok(watch.balance(SENTINEL)? == Some(value))
        })?;
        ours.push(started.elapsed());
        used = headwater.stop()?;
        drains.push(engines.drain(&after)?);
        pipes.push(engines.pipe(&changed)?);
    }

    let (drain, pipe, ours) = (median(drains), median(pipes), median(ours));
    let mut report = Report::new("follow");
    report.time("limit: pg_recvlogical to nothing", drain, size.transactions, "changes");
    report.time("limit: redis-cli --pipe", pipe, size.transactions, "changes");
    report.time("headwater", ours, size.transactions, "changes");
    report.memory("headwater resident max", used.resident_max);
    report.seconds("headwater cpu", used.cpu_seconds);
    report.ratio(
        "follow",
        drain.max(pipe).as_secs_f64() / ours.as_secs_f64(),
        "of the slower limit; aim 0.9",
    );
    report.print();
    Ok(())
}
