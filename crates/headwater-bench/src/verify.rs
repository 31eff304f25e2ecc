//! A whole comparison of a store with its source, against the two reads that nothing can do without: the table by COPY, and the same keys
//! from the store, pipelined. And what it costs those who write meanwhile: at its own pace, and as fast as it can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Size;
use crate::backfill::load;
use crate::engines::Engines;
use crate::headwater::Headwater;
use crate::report::{Report, median};

/// Keys of one pipeline.
const PIPELINED: u64 = 1_000;

pub fn run(size: Size) -> anyhow::Result<()> {
    let engines = Engines::start(size.rows)?;
    let rows = engines.rows();
    let headwater = Headwater::new(&engines.postgres.url(), &engines.redis.url(), "pgbench_accounts")?;
    load(&engines, &headwater, rows)?;
    engines.settle();

    let (mut copies, mut reads, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.repeat {
        copies.push(engines.copy_out()?);
        reads.push(read_all(&engines, rows)?);
        ours.push(verify(&headwater, rows)?);
    }
    let (mut alone, mut gently, mut fully) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.repeat {
        // Before and behind each, so that what else goes on with the machine is in both.
        alone.push(engines.update_for(size.seconds)?);
        gently.push(update_beside(&engines, &headwater, size, "gentle")?);
        alone.push(engines.update_for(size.seconds)?);
        fully.push(update_beside(&engines, &headwater, size, "full")?);
    }
    alone.push(engines.update_for(size.seconds)?);
    let used = headwater.stop()?;

    let (copy, read, ours) = (median(copies), median(reads), median(ours));
    let rates = |rates: &[f64]| rates.iter().map(|rate| format!(" {rate:.0}")).collect::<String>();
    println!("alone:{}; gentle:{}; full:{}", rates(&alone), rates(&gently), rates(&fully));
    let (alone, gently, fully) = (middle(alone), middle(gently), middle(fully));
    let mut report = Report::new("verify");
    report.time("limit: COPY to nothing", copy, rows, "rows");
    report.time("limit: HGETALL, pipelined", read, rows, "rows");
    report.time("headwater verify", ours, rows, "rows");
    report.ratio(
        "verify",
        ours.as_secs_f64() / (copy + read).as_secs_f64(),
        "times both limits; aim at most 1.2",
    );
    report.rate("transactions alone", alone);
    report.rate("transactions while it verifies", gently);
    report.rate("transactions while it verifies fully", fully);
    let lost = |rate: f64| 1.0 - rate / alone;
    report.ratio("verify slowdown", lost(gently), "of the writers' rate is lost; aim below 0.10");
    report.ratio("verify slowdown at full speed", lost(fully), "the same with `--rate full`");
    report.memory("headwater resident max", used.resident_max);
    report.seconds("headwater cpu", used.cpu_seconds);
    report.print();
    Ok(())
}

/// Transactions a second while it is verified, again and again.
fn update_beside(engines: &Engines, headwater: &Headwater, size: Size, rate: &str) -> anyhow::Result<f64> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let verifying = scope.spawn(|| -> anyhow::Result<()> {
            let mut running = headwater.begin_verify(rate)?;
            while !over.load(Ordering::SeqCst) {
                if let Some(ended) = running.try_wait()? {
                    ensure!(ended.success(), "headwater verify, while rows are written: {ended}");
                    running = headwater.begin_verify(rate)?;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            running.kill()?;
            running.wait()?;
            Ok(())
        });
        let rate = engines.update_for(size.seconds);
        over.store(true, Ordering::SeqCst);
        verifying.join().map_err(|_| anyhow::anyhow!("verifying panicked"))??;
        rate
    })
}

fn verify(headwater: &Headwater, rows: u64) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let report = headwater.verify()?;
    let took = started.elapsed();
    let compared = report["views"][0]["rows"].as_u64();
    ensure!(compared == Some(rows), "compared {compared:?} of {rows} rows: {report}");
    Ok(took)
}

/// Every document as the store has it, over one connection.
fn read_all(engines: &Engines, rows: u64) -> anyhow::Result<Duration> {
    let mut connection = redis::Client::open(engines.redis.url())?.get_connection()?;
    let started = Instant::now();
    let mut found = 0;
    for from in (1..=rows).step_by(PIPELINED as usize) {
        let mut pipe = redis::pipe();
        for aid in from..(from + PIPELINED).min(rows + 1) {
            pipe.cmd("HGETALL").arg(format!("account:{aid}"));
        }
        let read: Vec<redis::Value> = pipe.query(&mut connection).context("read from the store")?;
        found += read.len() as u64;
    }
    ensure!(found == rows, "{found} of {rows} documents were read");
    Ok(started.elapsed())
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get((rates.len().max(1) - 1) / 2).copied().unwrap_or_default()
}
