//! `redis-benchmark` against our port, with a store in memory, and against redis-server with the same documents, turn by
//! turn: 50 connections, pipelines of 1, 16 and 64.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use headwater_testkit::{Folder, Redis, free_port};
use rusqlite::{Connection, params};

use crate::Size;
use crate::headwater::Headwater;
use crate::report::Report;

const DOCUMENTS: u64 = 100_000;
const CONNECTIONS: &str = "50";
const PIPELINES: [u64; 3] = [1, 16, 64];

/// The view is called `key`, and its keys have 12 digits: what `redis-benchmark -r` asks for.
pub fn run(size: Size) -> anyhow::Result<()> {
    let folder = Folder::new("bench");
    let source = folder.join("source.db");
    fill(&source)?;
    let port = free_port();
    let headwater = Headwater::with_file(&format!(
        "data = \"data\"\n\n[source]\nurl = \"sqlite:{}\"\n\n[stores]\nmemory = {{ url = \"memory:\" }}\n\n[serve]\n\
         listen = \"off\"\nresp = \"127.0.0.1:{port}\"\n\n[views.key]\nfrom = \"documents\"\nstore = [\"memory\"]\n",
        source.display()
    ))?;
    headwater.start();
    let last = format!("key:{:012}", DOCUMENTS - 1);
    headwater.wait("all documents", Duration::from_millis(50), || {
        let size = redis_cli(port, &["EXISTS", &last, "key:000000000000"])?;
        Ok(size == "2")
    })?;
    // JSON strings for GET, hashes for HGETALL: each as Redis serves it best.
    let (strings, hashes) = (Redis::start(), Redis::start());
    copy(&source, &strings, &hashes)?;

    let mut report = Report::new("resp");
    for (command, peer) in [("GET", &strings), ("HGETALL", &hashes)] {
        for pipeline in PIPELINES {
            let mut ratios = Vec::new();
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..size.repeat {
                let them = requests_per_second(peer.port(), command, pipeline, size.seconds)?;
                let us = requests_per_second(port, command, pipeline, size.seconds)?;
                ratios.push(us / them);
                ours.push(us);
                theirs.push(them);
            }
            let name = format!("{} pipelined {pipeline}", command.to_lowercase());
            report.rate(&format!("redis-server: {name}"), middle(theirs));
            report.rate(&format!("headwater: {name}"), middle(ours));
            report.ratio(&name, middle(ratios), "of redis-server; aim 1.0");
        }
    }
    report.memory("headwater resident max", headwater.stop()?.resident_max);
    report.print();
    Ok(())
}

fn fill(path: &std::path::Path) -> anyhow::Result<()> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.execute_batch(
        "CREATE TABLE documents (key TEXT PRIMARY KEY, name TEXT, email TEXT, balance INTEGER, note TEXT) WITHOUT ROWID",
    )?;
    let transaction = db.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for n in 0..DOCUMENTS {
            insert.execute(params![
                format!("{n:012}"),
                format!("name {n}"),
                format!("customer{n}@example.com"),
                (n * 7_919 % 100_000) as i64,
                "a note of some length about this customer"
            ])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// The same documents as JSON in one server and as hashes in the other.
fn copy(source: &std::path::Path, strings: &Redis, hashes: &Redis) -> anyhow::Result<()> {
    let db = Connection::open(source)?;
    let mut query = db.prepare("SELECT key, name, email, balance, note FROM documents")?;
    let mut rows = query.query([])?;
    let mut strings = redis::Client::open(strings.url())?.get_connection()?;
    let mut hashes = redis::Client::open(hashes.url())?.get_connection()?;
    loop {
        let (mut sets, mut hsets) = (redis::pipe(), redis::pipe());
        for _ in 0..1_000 {
            let Some(row) = rows.next()? else { break };
            let (key, name): (String, String) = (row.get(0)?, row.get(1)?);
            let (email, balance, note): (String, i64, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let document = format!(
                r#"{{"key":"{key}","name":"{name}","email":"{email}","balance":{balance},"note":"{note}"}}"#
            );
            sets.set(format!("key:{key}"), document).ignore();
            let fields = [
                ("key", key.clone()),
                ("name", name),
                ("email", email),
                ("balance", balance.to_string()),
                ("note", note),
            ];
            hsets.hset_multiple(format!("key:{key}"), &fields).ignore();
        }
        if sets.is_empty() {
            return Ok(());
        }
        sets.exec(&mut strings)?;
        hsets.exec(&mut hashes)?;
    }
}

/// As many requests as take about `seconds`.
fn requests_per_second(port: u16, command: &str, pipeline: u64, seconds: u64) -> anyhow::Result<f64> {
    let probe = benchmark(port, command, pipeline, 20_000 * pipeline.min(8))?;
    let requests = ((probe * seconds as f64 / 4.0) as u64).max(10_000);
    benchmark(port, command, pipeline, requests)
}

fn benchmark(port: u16, command: &str, pipeline: u64, requests: u64) -> anyhow::Result<f64> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", CONNECTIONS, "-P", &pipeline.to_string()])
        .args(["-n", &requests.to_string(), "-r", &DOCUMENTS.to_string(), "--csv"])
        .args([command, "key:__rand_int__"])
        .stdin(Stdio::null())
        .output()
        .context("start redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "redis-benchmark: {text}");
    let line = text.lines().last().unwrap_or_default();
    let rate = line.split(',').nth(1).and_then(|field| field.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark said: {text}"))
}

fn redis_cli(port: u16, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("start redis-cli")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get((rates.len().max(1) - 1) / 2).copied().unwrap_or_default()
}
