//! One leader at a time: a second process waits, takes over, and whoever it replaced can do no harm.

use std::time::Duration;

use headwater_testkit::checker::Truth;
use headwater_testkit::{Folder, Postgres, Redis};
use nix::sys::signal::Signal;

use crate::service::{Load, Service, local, near};

const VIEWS: &str = r#"
[views.account]
from = "pgbench_accounts"
store = ["near", "local"]
columns = ["aid", "bid", "abalance"]
where = "aid <= 2000"
[views.branch]
from = "pgbench_branches"
store = ["near", "local"]
embed.tellers = { from = "pgbench_tellers", many = "bid", order = "tid" }
"#;

struct Pair {
    postgres: Postgres,
    redis: Redis,
    derived: Folder,
    one: Service,
    two: Service,
}

impl Pair {
    /// Two processes for one source and the same stores, with data folders of their own or a common one.
    fn new(common_folder: bool, setting: (&str, &str)) -> Pair {
        let (redis, derived) = (Redis::start(), Folder::new("derived"));
        let postgres = Postgres::builder().setting(setting.0, setting.1).start();
        let made = postgres.tool("pgbench").args(["-i", "-q", "-s", "1"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let text = |folder: &str| {
            format!(
                "data = \"{folder}\"\n[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\n\
                 local = {{ url = \"sqlite:{}\" }}\n{VIEWS}",
                postgres.url(),
                redis.url(),
                derived.join("derived.db").display()
            )
        };
        let common = derived.join("data");
        let folder = |own: &str| if common_folder { common.display().to_string() } else { own.to_owned() };
        let one = Service::new("one", &text(&folder("data")));
        let two = Service::new("two", &text(&folder("data")));
        Pair { postgres, redis, derived, one, two }
    }

    async fn equal(&self, leader: &Service) {
        let truth = Truth::Postgres(self.postgres.url());
        leader.equal(&truth, "near", &near(&self.redis)).await;
        leader.equal(&truth, "local", &local(&self.derived.join("derived.db"))).await;
    }

    /// Writes at a moderate pace until dropped.
    fn load(&self) -> Load {
        let load = Load::new();
        let mut command = self.postgres.tool("pgbench");
        command.args(["-n", "-c", "2", "-R", "300", "-T", "600", "-b", "tpcb-like"]);
        load.start(&mut command)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_waits_and_takes_over_without_reading_again() {
    let pair = Pair::new(true, ("wal_sender_timeout", "60s"));
    pair.one.start();
    pair.equal(&pair.one).await;
    pair.two.start();
    pair.two.says(0, &["another instance uses the data folder"]).await;
    let load = pair.load();
    for (leader, standby) in [(&pair.one, &pair.two), (&pair.two, &pair.one)] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let since = standby.log().len();
        leader.kill();
        standby.says(since, &["leading"]).await;
        assert!(!standby.log()[since..].contains("reading the table"), "{}", standby.log());
        leader.start();
        leader.says(0, &["another instance uses the data folder"]).await;
    }
    drop(load);
    pair.equal(&pair.one).await;
    // Both answer: the leader what it does, the other asks the leader.
    pair.one.healthy().await;
    pair.two.healthy().await;
    // A standby stops as cleanly as a leader.
    pair.two.stop();
    pair.one.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_up_after_its_successor_took_over_is_refused_by_every_store() {
    let pair = Pair::new(false, ("wal_sender_timeout", "2s"));
    pair.one.start();
    pair.equal(&pair.one).await;
    pair.two.start();
    pair.two.says(0, &["standing by"]).await;
    let load = pair.load();
    tokio::time::sleep(Duration::from_millis(500)).await;

    // Frozen with changes on their way; the server gives its reader up, and the other one takes over.
    pair.one.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_millis(500)).await;
    pair.postgres.psql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
    pair.two.says(0, &["leading"]).await;
    // Frozen in the middle of a transaction, it may still hold the embedded store's file lock: that one waits.
    pair.two.says(0, &["the view is complete", "store=near"]).await;
    let since = pair.one.log().len();
    pair.one.signal(Signal::SIGCONT);
    pair.one.says(since, &["another instance took over"]).await;
    pair.one.says(since, &["standing by"]).await;
    drop(load);
    pair.equal(&pair.two).await;
    pair.two.healthy().await;
    assert!(
        pair.one.is_running() && !pair.one.log()[since..].contains(" leading "),
        "{}",
        pair.one.log_tail()
    );

    // And back: the woken one is a standby like any other.
    let since = pair.one.log().len();
    pair.two.kill();
    pair.one.says(since, &["leading"]).await;
    pair.postgres
        .psql("UPDATE pgbench_branches SET bbalance = bbalance + 1; UPDATE pgbench_tellers SET tbalance = 7");
    pair.equal(&pair.one).await;
    pair.one.healthy().await;
    pair.one.stop();
}
