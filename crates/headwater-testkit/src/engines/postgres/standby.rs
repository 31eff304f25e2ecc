//! A second server that follows a first by streaming replication: what a failover takes.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use super::Postgres;
use crate::{Folder, eventually, free_port};

const PATIENCE: Duration = Duration::from_secs(60);

impl Postgres {
    /// A streaming standby of this server, which must run: a copy of its data that goes on receiving its log. It has the
    /// settings of this one, but a port and a folder of its own.
    #[track_caller]
    pub fn standby(&self) -> Postgres {
        let folder = Folder::new("postgres");
        self.install.own(folder.path());
        let (data, port) = (folder.join("data"), free_port());
        let status = self
            .install
            .command("pg_basebackup")
            .args(["--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync", "-D"])
            .arg(&data)
            .arg("-d")
            .arg(format!(
                "host=127.0.0.1 port={} user=postgres application_name={}",
                self.port,
                standby_name(port)
            ))
            .current_dir("/")
            .stdin(Stdio::null())
            .status()
            .expect("start pg_basebackup");
        assert!(status.success(), "pg_basebackup failed\n{}", self.log_tail());
        let config = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&config).expect("read postgresql.conf");
        let _ = write!(text, "\nport = {port}\nunix_socket_directories = '{}'\n", folder.path().display());
        fs::write(&config, text).expect("write postgresql.conf");
        let standby =
            Postgres { install: self.install.clone(), port, process: Default::default(), ca: None, folder };
        standby.launch();
        standby.wait_until_ready();
        standby
    }

    /// From now on a commit is acknowledged only when `standby` has it on its disk; with `None`, when this server has.
    #[track_caller]
    pub fn wait_for_standby(&self, standby: Option<&Postgres>) {
        let name = standby.map(|standby| standby_name(standby.port)).unwrap_or_default();
        self.psql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        self.psql("SELECT pg_reload_conf()");
    }

    /// Waits until the standby has replayed all that this server has written so far.
    pub async fn wait_replayed(&self, standby: &Postgres) {
        let written = self.psql("SELECT pg_current_wal_insert_lsn()");
        eventually(PATIENCE, "the standby has replayed the log", async || {
            let replayed =
                standby.psql(&format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{written}', false)"));
            if replayed == "t" { Ok(()) } else { Err("it has not".to_owned()) }
        })
        .await;
    }

    /// The standby stops taking in what it receives, or even receiving it: it lags from here on.
    #[track_caller]
    pub fn cut_off(&self) {
        self.psql("ALTER SYSTEM SET primary_conninfo = ''");
        self.psql("SELECT pg_reload_conf()");
        let until = std::time::Instant::now() + PATIENCE;
        while self.psql("SELECT count(*) FROM pg_stat_wal_receiver") != "0" {
            assert!(std::time::Instant::now() < until, "the standby goes on receiving");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes a primary of the standby, on a new timeline. It takes writes when this returns.
    #[track_caller]
    pub fn promote(&self) {
        assert_eq!(
            self.psql("SELECT pg_promote(true, 60)"),
            "t",
            "the standby was not promoted\n{}",
            self.log_tail()
        );
    }

    /// Carries a replication slot over to a standby, as Patroni does before version 17 of the server: the standby is stopped,
    /// the slot's file copied, the standby started.
    pub async fn carry_slot(&self, slot: &str, standby: &Postgres) {
        self.psql("CHECKPOINT");
        standby.stop().await;
        let folder = standby.data().join("pg_replslot").join(slot);
        fs::create_dir_all(&folder).expect("make the slot's folder");
        let state = folder.join("state");
        fs::copy(self.data().join("pg_replslot").join(slot).join("state"), &state).expect("copy the slot");
        self.install.own(&folder);
        self.install.own(&state);
        standby.restart().await;
    }
}

fn standby_name(port: u16) -> String {
    format!("standby_{port}")
}
