//! Advice about indexes: what it promises and what it gives. The advice of the released program is built as it is printed, and every
//! query is run before and after, apart from what the program itself measured.
//!
//! TPC-H's tables (at scale 1 unless told otherwise) with queries of our own in its spirit, without and with `--verify`; and a shop's program with partial,
//! expression and text-search needs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use headwater_testkit::{Folder, Postgres};
use serde_json::Value;

use crate::Size;
use crate::report::Report;

const TABLES: [&str; 8] =
    ["region", "nation", "part", "supplier", "partsupp", "customer", "orders", "lineitem"];

/// A query counts as slower from here on: less is chance.
const SLOWER_SHARE: f64 = 1.10;
const SLOWER_MS: f64 = 5.0;

pub fn run(size: Size) -> anyhow::Result<()> {
    let scale = size.rows as f64 / 1e6;
    let postgres = Postgres::builder()
        .setting("shared_buffers", "512MB")
        .setting("max_wal_size", "8GB")
        .setting("checkpoint_timeout", "1h")
        .setting("autovacuum", "off")
        .start();
    let folder = Folder::new("doctor");
    load_tpch(&postgres, &folder, scale)?;
    let tpch = include_str!("doctor/tpch.sql");
    let dump = folder.join("tpch.dump");
    let mut pg_dump = postgres.tool("pg_dump");
    ran(pg_dump.args(["-Fc", "-Z0", "-f"]).arg(&dump))?;
    for megabytes in [125.0, 500.0].map(|room| (room * scale).ceil() as u64) {
        measure(&postgres, &folder, &Asked { name: "tpch", queries: tpch, megabytes, verify: None })?;
        let verify = Some(dump.as_path());
        measure(&postgres, &folder, &Asked { name: "tpch", queries: tpch, megabytes, verify })?;
    }
    drop(postgres);
    let postgres =
        Postgres::builder().setting("shared_buffers", "512MB").setting("autovacuum", "off").start();
    postgres.psql(include_str!("doctor/oltp_data.sql"));
    postgres.psql("VACUUM ANALYZE");
    let oltp = include_str!("doctor/oltp.sql");
    measure(&postgres, &folder, &Asked { name: "oltp", queries: oltp, megabytes: 500, verify: None })
}

/// One question to the program.
struct Asked<'a> {
    name: &'static str,
    queries: &'static str,
    megabytes: u64,
    verify: Option<&'a Path>,
}

fn measure(postgres: &Postgres, folder: &Folder, asked: &Asked<'_>) -> anyhow::Result<()> {
    let file = folder.join("queries.sql");
    std::fs::write(&file, asked.queries)?;
    let mut command = Command::new(program()?);
    command
        .args(["doctor", "indexes", &postgres.url(), "--json", "--budget", &format!("{}MB", asked.megabytes)])
        .arg("--queries")
        .arg(&file);
    if let Some(dump) = asked.verify {
        command.arg("--verify").arg(dump);
    }
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start headwater")?;
    let took = begun.elapsed();
    let advice: Value = serde_json::from_slice(&output.stdout).context("read the advice")?;
    let figure = |name: &str| advice[name].as_f64().unwrap_or(f64::NAN);
    let indexes: Vec<&Value> =
        advice["indexes"].as_array().into_iter().flatten().filter(|i| i["exists"] == false).collect();
    let text = |index: &Value, name: &str| index[name].as_str().unwrap_or_default().to_owned();
    for index in &indexes {
        postgres.psql(&text(index, "statement").replace("CONCURRENTLY ", ""));
    }
    postgres.psql("VACUUM ANALYZE");
    let names: Vec<String> = indexes.iter().map(|index| text(index, "name")).collect();
    let bytes: u64 = match names.is_empty() {
        true => 0,
        false => postgres
            .psql(&format!(
                "SELECT sum(pg_relation_size(oid))::bigint FROM pg_class WHERE relname IN ('{}')",
                names.join("', '")
            ))
            .parse()?,
    };
    let times = times(postgres, asked.queries, &names)?;
    for index in &indexes {
        postgres.psql(&text(index, "undo").replace("CONCURRENTLY ", ""));
    }
    let sum = |of: fn(&Timed) -> f64| times.iter().map(|timed| timed.calls * of(timed)).sum::<f64>();
    let is_slower = |timed: &&Timed| timed.after > timed.before * SLOWER_SHARE + SLOWER_MS;
    let slower: Vec<&str> = times.iter().filter(is_slower).map(|timed| timed.name.as_str()).collect();
    let how = if asked.verify.is_some() { "verified" } else { "estimated" };
    println!("\n{} within {} MB, {how}: {} indexes", asked.name, asked.megabytes, indexes.len());
    for index in &indexes {
        println!("  {} {}", text(index, "table"), text(index, "definition"));
    }
    for timed in &times {
        println!("  {:<48} {:>10.1} ms → {:>10.1} ms", timed.name, timed.before, timed.after);
    }
    println!("  slower: {}", if slower.is_empty() { "none".to_owned() } else { slower.join(", ") });
    let mut report = Report::new("doctor");
    report.ratio("said ratio", figure("after") / figure("before"), "what the program says, of today's cost");
    report.ratio(
        "real ratio",
        sum(|timed| timed.after) / sum(|timed| timed.before),
        "what the queries take, of what they took",
    );
    report.seconds("time to advise", took.as_secs_f64());
    report.seconds("asking the planner", figure("asked_ms") / 1000.0);
    report.memory("said storage", figure("bytes") as u64);
    report.memory("real storage", bytes);
    report.count("queries slower", slower.len() as u64);
    report.print();
    Ok(())
}

struct Timed {
    name: String,
    calls: f64,
    /// Milliseconds, without and with the indexes.
    before: f64,
    after: f64,
}

/// Every query that reads, without and with these indexes by turns, so that what else the machine does is in both: the best of three
/// runs each, after one that warms up.
fn times(postgres: &Postgres, queries: &str, indexes: &[String]) -> anyhow::Result<Vec<Timed>> {
    let drop = match indexes.is_empty() {
        true => String::new(),
        false => format!("DROP INDEX {};", indexes.join(", ")),
    };
    let mut times = Vec::new();
    for part in queries.split("-- name: ").skip(1) {
        let (name, rest) = part.split_once('\n').context("a query without a text")?;
        let calls =
            rest.strip_prefix("-- calls: ").and_then(|rest| rest.lines().next()).unwrap_or("1").parse()?;
        let sql: String = rest.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
        if !sql.trim_start().starts_with("SELECT") {
            continue;
        }
        let once = |without: &str| -> anyhow::Result<f64> {
            let plan = postgres.psql(&format!(
                "SET jit = off; BEGIN; {without} EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql} ROLLBACK"
            ));
            let plan: Value = serde_json::from_str(&plan).context("read a plan")?;
            plan[0]["Execution Time"].to_string().parse().context("a plan without a time")
        };
        let (mut before, mut after) = (f64::INFINITY, f64::INFINITY);
        for run in 0..4 {
            let (without, with) = (once(&drop)?, once("")?);
            if run > 0 {
                (before, after) = (before.min(without), after.min(with));
            }
        }
        times.push(Timed { name: name.to_owned(), calls, before, after });
    }
    Ok(times)
}

fn load_tpch(postgres: &Postgres, folder: &Folder, scale: f64) -> anyhow::Result<()> {
    let generator = target().join("tpchgen/tpchgen-cli");
    ensure!(
        generator.is_file(),
        "{} is missing: run this by `cargo xtask bench doctor`",
        generator.display()
    );
    ran(Command::new(generator).args(["csv", "-s", &scale.to_string(), "--output-dir"]).arg(folder.path()))?;
    postgres.psql(include_str!("doctor/tpch_schema.sql"));
    for table in TABLES {
        let file = folder.join(format!("{table}.csv"));
        let mut copy = postgres.tool("psql");
        copy.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            &format!("COPY {table} FROM STDIN CSV HEADER"),
        ]);
        ran(copy.stdin(File::open(&file)?))?;
        std::fs::remove_file(file)?;
    }
    postgres.psql("VACUUM ANALYZE");
    Ok(())
}

fn program() -> anyhow::Result<PathBuf> {
    Ok(match std::env::var_os("HEADWATER_BIN") {
        Some(path) => path.into(),
        None => std::env::current_exe()?.with_file_name("headwater"),
    })
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn ran(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed, see above");
    }
    Ok(())
}
