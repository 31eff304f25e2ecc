//! How long it takes after a failure: until a second instance leads, and until a store follows the new primary and was compared with
//! it, with the replication slot carried along and without.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use headwater_testkit::Postgres;

use crate::Size;
use crate::backfill::load;
use crate::engines::{Engines, SENTINEL, Watch};
use crate::headwater::Headwater;
use crate::report::{Report, median};

/// More make it last longer, and tell nothing else.
const ROWS_MAX: u64 = 200_000;

const LOOK_EVERY: Duration = Duration::from_millis(5);

pub fn run(size: Size) -> anyhow::Result<()> {
    let mut report = Report::new("failover");
    let takeovers = takeovers(size)?;
    report.seconds("takeover by a second instance", median(takeovers).as_secs_f64());
    for (what, carried) in [("slot carried along", true), ("slot lost", false)] {
        let (mut follows, mut verified, mut rows) = (Vec::new(), Vec::new(), 0);
        for _ in 0..size.repeat {
            let took = promotion(size, carried)?;
            follows.push(took.follows);
            verified.push(took.verified);
            rows = took.rows;
        }
        report.seconds(&format!("promotion to following, {what}"), median(follows).as_secs_f64());
        let name = format!("promotion to verified, {what}, {rows} rows");
        report.seconds(&name, median(verified).as_secs_f64());
    }
    report.print();
    Ok(())
}

/// From the kill of the leader until a commit that came after it is in the store.
fn takeovers(size: Size) -> anyhow::Result<Vec<Duration>> {
    let engines = Engines::start(size.rows.min(ROWS_MAX))?;
    let new = || Headwater::new(&engines.postgres.url(), &engines.redis.url(), "pgbench_accounts");
    let (mut leader, mut other) = (new()?, new()?);
    load(&engines, &leader, engines.rows())?;
    let mut watch = Watch::open(&engines.redis)?;
    let mut took = Vec::new();
    for nth in 0..size.repeat.max(3) as u64 {
        let said = other.log().len();
        other.start();
        other.wait("it stands by", LOOK_EVERY, || {
            Ok(other.log().get(said..).is_some_and(|log| log.contains("standing by")))
        })?;
        let killed = Instant::now();
        leader.kill();
        engines.write_sentinel(1_000 + nth);
        other.wait("it leads", LOOK_EVERY, || Ok(watch.balance(SENTINEL)? == Some(1_000 + nth)))?;
        took.push(killed.elapsed());
        std::mem::swap(&mut leader, &mut other);
    }
    Ok(took)
}

struct Took {
    follows: Duration,
    verified: Duration,
    rows: u64,
}

fn promotion(size: Size, carried: bool) -> anyhow::Result<Took> {
    let engines = Engines::start(size.rows.min(ROWS_MAX))?;
    let rows = engines.rows();
    let standby = engines.postgres.standby();
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        engines.postgres.port(),
        standby.port()
    );
    let headwater = Headwater::new(&url, &engines.redis.url(), "pgbench_accounts")?;
    load(&engines, &headwater, rows)?;
    if carried {
        let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
        runtime.block_on(engines.postgres.carry_slot(&engines.slot()?, &standby));
    }
    // Commits that the slot as it was carried has still to send.
    engines.update(2_000)?;
    wait_replayed(&engines.postgres, &standby)?;
    engines.postgres.kill();
    standby.promote();
    let promoted = Instant::now();
    standby.psql(&format!("UPDATE pgbench_accounts SET abalance = 4711 WHERE aid = {SENTINEL}"));
    let mut watch = Watch::open(&engines.redis)?;
    headwater.wait(
        "it follows the new primary",
        LOOK_EVERY,
        || Ok(watch.balance(SENTINEL)? == Some(4711)),
    )?;
    let follows = promoted.elapsed();
    // A gap is closed before anything is compared.
    headwater.wait("it is verified", Duration::from_millis(100), || headwater.is_verified())?;
    let verified = promoted.elapsed();
    headwater.stop()?;
    Ok(Took { follows, verified, rows })
}

fn wait_replayed(primary: &Postgres, standby: &Postgres) -> anyhow::Result<()> {
    let written = primary.psql("SELECT pg_current_wal_insert_lsn()");
    let until = Instant::now() + Duration::from_secs(60);
    while standby.psql(&format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{written}', false)")) != "t" {
        ensure!(Instant::now() < until, "the standby does not replay the log");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
