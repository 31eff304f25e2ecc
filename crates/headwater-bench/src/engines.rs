//! The engines of the PostgreSQL benches, and their limits.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use headwater_testkit::{Folder, Postgres, Redis};

use crate::wire;

pub struct Engines {
    pub postgres: Postgres,
    /// Where Headwater keeps the view.
    pub redis: Redis,
    /// Where the limit is measured, so that it disturbs nothing.
    pub scratch: Redis,
    pub folder: Folder,
}

/// A row that all writes before it precede.
pub const SENTINEL: u64 = 1;

impl Engines {
    /// With `rows` rows in `pgbench_accounts`, rounded up to 100,000.
    pub fn start(rows: u64) -> anyhow::Result<Engines> {
        let postgres = Postgres::builder()
            .fsync()
            .setting("shared_buffers", "512MB")
            // No checkpoint of its own accord in the middle of a measurement.
            .setting("max_wal_size", "8GB")
            .setting("checkpoint_timeout", "1h")
            .setting("autovacuum", "off")
            .start();
        let engines = Engines {
            postgres,
            redis: Redis::start(),
            scratch: Redis::start(),
            folder: Folder::new("bench"),
        };
        let scale = rows.div_ceil(100_000).max(1);
        run(engines.postgres.tool("pgbench").args(["-i", "-q", "-I", "dtgp", "-s", &scale.to_string()]))?;
        engines.postgres.psql("VACUUM ANALYZE pgbench_accounts");
        engines.settle();
        Ok(engines)
    }

    pub fn rows(&self) -> u64 {
        self.postgres.psql("SELECT count(*) FROM pgbench_accounts").parse().unwrap_or(0)
    }

    /// What is still to be written to disk is not the next measurement's business.
    pub fn settle(&self) {
        self.postgres.psql("CHECKPOINT");
        nix::unistd::sync();
    }

    /// Single-row update transactions for so long, each durable before the next: how many a second there were.
    pub fn update_for(&self, seconds: u64) -> anyhow::Result<f64> {
        let script = self.write_update_script()?;
        let output = self
            .postgres
            .tool("pgbench")
            .args(["-n", "-M", "prepared", "-c", "4", "-j", "2", "-T", &seconds.to_string(), "-f"])
            .arg(&script)
            .output()
            .context("start pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Single-row update transactions, as many as that, while nobody follows.
    pub fn update(&self, transactions: u64) -> anyhow::Result<()> {
        let script = self.write_update_script()?;
        let clients = 4;
        run(self
            .postgres
            .tool("pgbench")
            .env("PGOPTIONS", "-c synchronous_commit=off")
            .args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-j", "2"])
            .args(["-t", &(transactions / clients).to_string(), "-f"])
            .arg(&script))
    }

    fn write_update_script(&self) -> anyhow::Result<std::path::PathBuf> {
        let script = self.folder.join("update.sql");
        let rows = self.rows();
        std::fs::write(
            &script,
            format!(
                "\\set aid random(2, {rows})\n\\set delta random(-5000, 5000)\n\
                 UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;\n"
            ),
        )?;
        Ok(script)
    }

    /// Writes `value` into the sentinel row.
    pub fn write_sentinel(&self, value: u64) {
        self.postgres.psql(&format!("UPDATE pgbench_accounts SET abalance = {value} WHERE aid = {SENTINEL}"));
    }

    pub fn slot(&self) -> anyhow::Result<String> {
        let slots =
            self.postgres.psql("SELECT slot_name FROM pg_replication_slots WHERE NOT slot_name ~ '^limit_'");
        ensure!(
            !slots.is_empty() && !slots.contains('\n'),
            "expected one replication slot, found: {slots:?}"
        );
        Ok(slots)
    }

    /// A slot at the same place as Headwater's.
    pub fn copy_slot(&self, name: &str) -> anyhow::Result<()> {
        let slot = self.slot()?;
        self.postgres.psql(&format!("SELECT pg_copy_logical_replication_slot('{slot}', '{name}')"));
        Ok(())
    }

    /// The limit of following: `pg_recvlogical` reads everything up to now from a copied slot, into nothing.
    pub fn drain(&self, slot: &str) -> anyhow::Result<Duration> {
        let end = self.postgres.psql("SELECT pg_current_wal_insert_lsn()");
        // Something behind the end, so that the reader sees that it has passed it.
        self.postgres.psql("SELECT pg_logical_emit_message(true, 'bench', 'end')");
        let started = Instant::now();
        run(self.recvlogical(slot)?.args(["--endpos", &end, "-f", "/dev/null"]))?;
        let took = started.elapsed();
        self.postgres.psql(&format!("SELECT pg_drop_replication_slot('{slot}')"));
        Ok(took)
    }

    /// `pg_recvlogical --start` with the publication that Headwater made.
    pub fn recvlogical(&self, slot: &str) -> anyhow::Result<Command> {
        let publication = self.postgres.psql("SELECT pubname FROM pg_publication");
        ensure!(
            !publication.is_empty() && !publication.contains('\n'),
            "one publication, not {publication:?}"
        );
        let mut command = self.postgres.tool("pg_recvlogical");
        command
            .args(["--start", "--no-loop", "-d", "postgres", "--slot", slot, "-o", "proto_version=1"])
            .args(["-o", &format!("publication_names={publication}")]);
        Ok(command)
    }

    /// The limit of reading a table: `COPY … TO STDOUT` into nothing.
    pub fn copy_out(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        run(self.copy("SELECT * FROM pgbench_accounts").stdout(Stdio::null()))?;
        Ok(started.elapsed())
    }

    fn copy(&self, select: &str) -> Command {
        let mut command = self.postgres.tool("psql");
        command.args(["-X", "-q", "-c", &format!("COPY ({select}) TO STDOUT")]);
        command
    }

    /// The limit of writing: `redis-cli --pipe` with one HSET per row of `select`, into the scratch server as it is.
    pub fn pipe(&self, select: &str) -> anyhow::Result<Duration> {
        let path = self.folder.join("commands.resp");
        let rows = wire::write_commands(self.copy(select), &path)?;
        let started = Instant::now();
        let output = self
            .scratch
            .tool()
            .arg("--pipe")
            .stdin(File::open(&path)?)
            .output()
            .context("redis-cli --pipe")?;
        let took = started.elapsed();
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains(&format!("errors: 0, replies: {rows}")), "redis-cli --pipe: {text}");
        std::fs::remove_file(&path)?;
        Ok(took)
    }

    /// Forgets everything that a run of Headwater left behind in the engines.
    pub fn forget(&self) -> anyhow::Result<()> {
        self.postgres.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
        let publications =
            self.postgres.psql("SELECT format('DROP PUBLICATION %I', pubname) FROM pg_publication");
        for statement in publications.lines() {
            self.postgres.psql(statement);
        }
        self.redis.cli(&["FLUSHALL"]);
        Ok(())
    }
}

/// A connection for polling the store.
pub struct Watch {
    connection: redis::Connection,
}

impl Watch {
    pub fn open(redis: &Redis) -> anyhow::Result<Watch> {
        let connection = redis::Client::open(redis.url())?.get_connection()?;
        Ok(Watch { connection })
    }

    pub fn balance(&mut self, aid: u64) -> anyhow::Result<Option<u64>> {
        let text: Option<String> =
            redis::cmd("HGET").arg(format!("account:{aid}")).arg("abalance").query(&mut self.connection)?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    pub fn keys(&mut self) -> anyhow::Result<u64> {
        Ok(redis::cmd("DBSIZE").query(&mut self.connection)?)
    }
}

pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stderr(Stdio::piped()).output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
