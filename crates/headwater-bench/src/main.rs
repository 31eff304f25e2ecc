//! Measures Headwater against what the machine can do at all: each bench first measures its limits (the source read into
//! nothing, the store fed by its own bulk loader), then the released program on the same engines, in the same run.
//!
//! Engines are started with the settings of production (commits reach the disk). Figures of a busy machine mean little;
//! ratios mean more.

mod backfill;
mod doctor;
mod engines;
mod failover;
mod follow;
mod headwater;
mod http;
mod latency;
mod memory;
mod plan;
mod report;
mod resp;
mod sqlite;
mod stores;
mod verify;
mod wait;
mod wire;

use anyhow::{Context, bail};

const USAGE: &str = "\
cargo xtask bench [name…] [--rows N] [--transactions N] [--seconds N] [--repeat N] [--store NAME]

names: follow backfill latency memory resp sqlite stores verify failover wait http plan (all of them if none is given);
       doctor, which takes half an hour, only if it is named: TPC-H at scale rows / 1,000,000
--store: of the bench stores only redis, postgres, mariadb, dynamodb, influxdb or falkordb
";

/// How much work a bench does.
#[derive(Clone, Copy, Debug)]
struct Size {
    rows: u64,
    transactions: u64,
    /// How long each phase of the latency bench lasts, and of the workload beside verification.
    seconds: u64,
    /// How often a measurement is taken; the median counts.
    repeat: usize,
}

fn main() -> anyhow::Result<()> {
    let mut size = Size { rows: 1_000_000, transactions: 200_000, seconds: 20, repeat: 3 };
    let (mut names, mut store) = (Vec::new(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = args.next().with_context(|| format!("{arg} needs a number"))?;
            text.replace('_', "").parse().with_context(|| format!("{arg} {text}"))
        };
        match arg.as_str() {
            http::HELLO => return http::hello_world(&args.next().context("where to write the address")?),
            "--rows" => size.rows = number()?,
            "--transactions" => size.transactions = number()?,
            "--seconds" => size.seconds = number()?,
            "--repeat" => size.repeat = number()?.max(1) as usize,
            "--store" => store = Some(args.next().context("--store needs a name")?),
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            _ => names.push(arg),
        }
    }
    if names.is_empty() {
        names = [
            "backfill", "follow", "latency", "memory", "resp", "sqlite", "stores", "verify", "failover",
            "wait", "http", "plan",
        ]
        .map(String::from)
        .to_vec();
    }
    for name in &names {
        match name.as_str() {
            "backfill" => backfill::run(size),
            "doctor" => doctor::run(size),
            "follow" => follow::run(size),
            "latency" => latency::run(size),
            "memory" => memory::run(size),
            "resp" => resp::run(size),
            "sqlite" => sqlite::run(size),
            "stores" => stores::run(size, store.as_deref()),
            "verify" => verify::run(size),
            "failover" => failover::run(size),
            "wait" => wait::run(size),
            "http" => http::run(size),
            "plan" => plan::run(size),
            _ => bail!("no bench is called {name}\n\n{USAGE}"),
        }
        .with_context(|| format!("bench {name}"))?;
    }
    Ok(())
}
