//! From the commit of a row to its visibility in Redis, at 500 transactions per second; beside it, from the commit to the
//! same change coming out of `pg_recvlogical`, which nothing that reads the log can beat.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Size;
use crate::backfill::load;
use crate::engines::{Engines, Watch};
use crate::headwater::Headwater;
use crate::report::Report;

const RATE: u64 = 500;
/// Written values have nine digits, like no other value of the table.
const FIRST: u64 = 100_000_000;
const ROWS: u64 = 100_000;

pub fn run(size: Size) -> anyhow::Result<()> {
    let engines = Engines::start(ROWS)?;
    let headwater = Headwater::new(&engines.postgres.url(), &engines.redis.url(), "pgbench_accounts")?;
    load(&engines, &headwater, engines.rows())?;
    engines.copy_slot("limit_latency")?;
    let count = RATE * size.seconds;

    // First by itself, while Headwater only idles.
    headwater.stop()?;
    let limit = read_log(&engines, FIRST, count)?;
    headwater.start();
    let mut watch = Watch::open(&engines.redis)?;
    let last = FIRST + count - 1;
    headwater.wait("it has caught up", Duration::from_millis(20), || {
        Ok(watch.balance(aid(last))? == Some(last))
    })?;
    let ours = poll_store(&engines, FIRST + count, count)?;
    let used = headwater.stop()?;

    let mut report = Report::new("latency");
    report.millis("limit: pg_recvlogical p50", quantile(&limit, 0.5));
    report.millis("limit: pg_recvlogical p99", quantile(&limit, 0.99));
    report.millis("headwater p50", quantile(&ours, 0.5));
    report.millis("headwater p99", quantile(&ours, 0.99));
    report.millis("headwater max", quantile(&ours, 1.0));
    report.memory("headwater resident max", used.resident_max);
    let beyond = quantile(&ours, 0.99) - quantile(&limit, 0.99);
    report.millis("p99 beyond the limit", beyond);
    report.ratio(
        "latency",
        10.0 / beyond.max(0.01),
        "of the 10 ms that are allowed beyond the limit; aim 1 or more",
    );
    report.print();
    Ok(())
}

fn aid(value: u64) -> u64 {
    // Not the same row twice in a row, so that no update waits for another.
    2 + value % (ROWS - 2)
}

/// Commits `count` values from `first` on, at the rate, and tells each with its commit time.
fn write(engines: &Engines, first: u64, count: u64, told: Sender<(u64, Instant)>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = engines.postgres.connect().await;
        let update = client.prepare("UPDATE pgbench_accounts SET abalance = $1 WHERE aid = $2").await?;
        let started = Instant::now();
        for i in 0..count {
            let due = started + Duration::from_micros(i * 1_000_000 / RATE);
            if let Some(early) = due.checked_duration_since(Instant::now()) {
                // The runtime's timer is too coarse, and there is nobody else on this thread to wait for.
                thread::sleep(early);
            }
            let value = first + i;
            client.execute(&update, &[&(value as i32), &(aid(value) as i32)]).await?;
            let _ = told.send((value, Instant::now()));
        }
        Ok(())
    })
}

/// Milliseconds per value until the store shows it.
fn poll_store(engines: &Engines, first: u64, count: u64) -> anyhow::Result<Vec<f64>> {
    let (told, commits) = mpsc::channel();
    let mut connection = redis::Client::open(engines.redis.url())?.get_connection()?;
    thread::scope(|scope| {
        let writer = scope.spawn(move || write(engines, first, count, told));
        let mut waiting: BTreeMap<u64, Instant> = BTreeMap::new();
        let mut millis = Vec::with_capacity(count as usize);
        let until = Instant::now() + Duration::from_secs(count / RATE + 60);
        while (millis.len() as u64) < count {
            ensure!(Instant::now() < until, "{} changes did not arrive", count - millis.len() as u64);
            let written = writer.is_finished();
            waiting.extend(commits.try_iter());
            if written && waiting.is_empty() {
                break;
            }
            if !waiting.is_empty() {
                let mut ask = redis::pipe();
                for value in waiting.keys() {
                    ask.cmd("HGET").arg(format!("account:{}", aid(*value))).arg("abalance");
                }
                let seen: Vec<Option<String>> = ask.query(&mut connection)?;
                let now = Instant::now();
                let arrived: Vec<u64> = waiting
                    .keys()
                    .zip(&seen)
                    // A later value of the same row came after it.
                    .filter(|(value, seen)| {
                        seen.as_ref().and_then(|s| s.parse::<u64>().ok()) >= Some(**value)
                    })
                    .map(|(value, _)| *value)
                    .collect();
                for value in arrived {
                    if let Some(at) = waiting.remove(&value) {
                        millis.push(now.saturating_duration_since(at).as_secs_f64() * 1000.0);
                    }
                }
            }
            thread::sleep(Duration::from_micros(50));
        }
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        Ok(millis)
    })
}

/// Milliseconds per value until `pg_recvlogical` prints it.
fn read_log(engines: &Engines, first: u64, count: u64) -> anyhow::Result<Vec<f64>> {
    let mut reader = engines
        .recvlogical("limit_latency")?
        .args(["-f", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut output = reader.stdout.take().context("pg_recvlogical's output")?;
    let (told, commits) = mpsc::channel();
    let result = thread::scope(|scope| {
        let (seen, arrivals) = mpsc::channel();
        scope.spawn(move || {
            let mut bytes: Vec<u8> = Vec::new();
            let mut buffer = [0; 1 << 16];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let now = Instant::now();
                bytes.extend_from_slice(&buffer[..length]);
                for value in values(&bytes) {
                    let _ = seen.send((value, now));
                }
                // A value that is cut in two is found with the next bytes; one found before is not new then.
                let keep = bytes.len().saturating_sub(12);
                bytes.drain(..keep);
            }
        });
        let written = write(engines, first, count, told);
        thread::sleep(Duration::from_millis(500));
        // It is our own child and not waited for yet, so the pid is still its own.
        let _ = kill(Pid::from_raw(reader.id() as i32), Signal::SIGTERM);
        let _ = reader.wait();
        written?;
        let mut at: BTreeMap<u64, Instant> = BTreeMap::new();
        for (value, now) in arrivals {
            at.entry(value).or_insert(now);
        }
        let millis = commits.iter().filter_map(|(value, committed)| {
            Some(at.get(&value)?.saturating_duration_since(committed).as_secs_f64() * 1000.0)
        });
        Ok::<Vec<f64>, anyhow::Error>(millis.collect())
    })?;
    engines.postgres.psql("SELECT pg_drop_replication_slot('limit_latency')");
    ensure!(result.len() as u64 > count * 9 / 10, "pg_recvlogical gave {} of {count} changes", result.len());
    Ok(result)
}

/// Nine-digit texts in pgoutput's tuples: their length, then the digits.
fn values(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.windows(13).filter_map(|window| {
        let digits = window.strip_prefix(&[0, 0, 0, 9])?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

fn quantile(millis: &[f64], at: f64) -> f64 {
    let mut sorted = millis.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * at).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
