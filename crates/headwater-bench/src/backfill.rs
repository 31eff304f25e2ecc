//! Rows/s from a PostgreSQL table into an empty Redis.

use std::time::{Duration, Instant};

use crate::Size;
use crate::engines::{Engines, Watch};
use crate::headwater::{Headwater, Usage};
use crate::report::{Report, median};

pub fn run(size: Size) -> anyhow::Result<()> {
    let engines = Engines::start(size.rows)?;
    let rows = engines.rows();
    let (mut copies, mut pipes, mut ours, mut used) = (Vec::new(), Vec::new(), Vec::new(), Usage::default());
    for _ in 0..size.repeat {
        copies.push(engines.copy_out()?);
        engines.scratch.cli(&["FLUSHALL"]);
        pipes.push(engines.pipe("SELECT * FROM pgbench_accounts")?);
        engines.scratch.cli(&["FLUSHALL"]);
        engines.settle();

        let headwater = Headwater::new(&engines.postgres.url(), &engines.redis.url(), "pgbench_accounts")?;
        ours.push(load(&engines, &headwater, rows)?);
        used = headwater.stop()?;
        engines.forget()?;
    }

    let (copy, pipe, ours) = (median(copies), median(pipes), median(ours));
    let mut report = Report::new("backfill");
    report.time("limit: COPY to nothing", copy, rows, "rows");
    report.time("limit: redis-cli --pipe", pipe, rows, "rows");
    report.time("headwater", ours, rows, "rows");
    report.memory("headwater resident max", used.resident_max);
    report.seconds("headwater cpu", used.cpu_seconds);
    report.ratio(
        "backfill",
        copy.max(pipe).as_secs_f64() / ours.as_secs_f64(),
        "of the slower limit; aim 0.85",
    );
    report.print();
    Ok(())
}

/// Starts Headwater on an empty store; the time until all rows are there.
pub fn load(engines: &Engines, headwater: &Headwater, rows: u64) -> anyhow::Result<Duration> {
    let mut watch = Watch::open(&engines.redis)?;
    let started = Instant::now();
    headwater.start();
    headwater.wait("all rows are in the store", Duration::from_millis(5), || Ok(watch.keys()? >= rows))?;
    let took = started.elapsed();
    // Then what it does beside: a change arrives, so it follows.
    let value = started.elapsed().as_micros() as u64 % 1_000_000_000;
    engines.write_sentinel(value);
    headwater.wait("it follows", Duration::from_millis(20), || {
        Ok(watch.balance(crate::engines::SENTINEL)? == Some(value))
    })?;
    Ok(took)
}
