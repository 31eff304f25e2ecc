//! Stopping, going on, and what an operator is told meanwhile.

use std::time::{Duration, Instant};

use headwater_testkit::checker::Truth;
use headwater_testkit::{Postgres, Redis};

use crate::service::{Load, Service, local, near};

const TABLES: &str = "
CREATE TABLE item (id int PRIMARY KEY, name text);
CREATE TABLE part (id int PRIMARY KEY, item_id int, name text);
INSERT INTO item SELECT i, 'i' || i FROM generate_series(1, 5000) i;
INSERT INTO part SELECT i, i % 5000, 'p' || i FROM generate_series(1, 5000) i;
";

const VIEWS: &str = r#"
[views.item]
from = "item"
store = ["near", "local"]
embed.parts = { from = "part", many = "item_id", order = "id" }
[views.part]
from = "part"
store = ["near", "local"]
[views.newest]
from = "part"
rank = { by = "item_id", score = "max(id)" }
store = ["near", "local"]
"#;

fn text(postgres: &Postgres, redis: &Redis) -> String {
    format!(
        "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\nlocal = {{ url = \"sqlite:derived.db\" }}\n{VIEWS}",
        postgres.url(),
        redis.url()
    )
}

struct Site {
    postgres: Postgres,
    redis: Redis,
    service: Service,
}

impl Site {
    fn new() -> Site {
        let (postgres, redis) = (Postgres::start(), Redis::start());
        postgres.psql(TABLES);
        let service = Service::new("stop", &text(&postgres, &redis));
        Site { postgres, redis, service }
    }

    async fn equal(&self) {
        let truth = Truth::Postgres(self.postgres.url());
        self.service.equal(&truth, "near", &near(&self.redis)).await;
        self.service.equal(&truth, "local", &local(&self.service.path("derived.db"))).await;
    }

    /// Runs `statement` with random `:id`s as fast as it goes, until dropped.
    /// Steady writes, of which a small and busy machine is able: a store that is filled again beside more than that may never
    /// come to the end of it.
    fn load(&self, statement: &str) -> Load {
        let load = Load::new();
        let script = load.folder.join("load.sql");
        std::fs::write(&script, format!("\\set id random(1, 5000)\n{statement};\n")).unwrap();
        let mut command = self.postgres.tool("pgbench");
        command.args(["-n", "-c", "2", "-T", "600", "--rate=1000", "-f"]).arg(&script);
        load.start(&mut command)
    }

    fn reads_since(&self, since: usize) -> bool {
        self.service.log()[since..].contains("reading the table")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_cleanly_idle_under_load_and_while_a_store_hangs() {
    let site = Site::new();
    let service = &site.service;
    service.start();
    site.equal().await;
    service.healthy().await;
    service.stop();

    // The next start goes on without reading a table.
    let since = service.log().len();
    site.postgres.psql("UPDATE item SET name = 'while it was down' WHERE id < 100");
    service.start();
    site.equal().await;

    // Under load.
    let load = site.load("UPDATE item SET name = name || 'x' WHERE id = :id");
    tokio::time::sleep(Duration::from_secs(1)).await;
    service.stop();
    service.start();
    tokio::time::sleep(Duration::from_secs(1)).await;

    // While a store does not answer.
    site.redis.pause();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    service.stop();
    // The deadline is 10 s by default; a loaded machine may add to what is not waiting.
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    site.redis.resume();
    drop(load);
    service.start();
    site.equal().await;
    service.healthy().await;
    assert!(!site.reads_since(since), "a clean stop costs no second read:\n{}", service.log());
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_filled_again_lacks_no_row_that_was_written_without_a_change() {
    let site = Site::new();
    site.service.start();
    site.equal().await;
    let load =
        site.load("UPDATE item SET name = name WHERE id = :id;\nUPDATE part SET name = name WHERE id = :id");
    for _ in 0..3 {
        let since = site.service.log().len();
        site.redis.cli(&["FLUSHALL"]);
        site.service.says(since, &["the view is complete", "view=item", "store=near"]).await;
        site.service.says(since, &["the view is complete", "view=newest", "store=near"]).await;
    }
    drop(load);
    site.equal().await;
    site.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_does_not_keep_the_log_of_its_neighbours() {
    let site = Site::new();
    site.postgres.psql("CREATE DATABASE neighbour");
    site.service.start();
    site.equal().await;
    site.service.healthy().await;
    let confirmed = || site.postgres.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    let write = |rows: u32| {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS t (x text); INSERT INTO t SELECT repeat('x', 500) FROM generate_series(1, {rows})"
        );
        let output =
            site.postgres.tool("psql").args(["-X", "-q", "-d", "neighbour", "-c", &sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    write(50_000);
    let end = site.postgres.psql("SELECT pg_current_wal_flush_lsn()");
    site.service
        .eventually("the slot passes what the neighbour wrote", async || {
            let passed = format!("SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots");
            if site.postgres.psql(&passed) == "t" { Ok(()) } else { Err(format!("{} < {end}", confirmed())) }
        })
        .await;
    // And nothing is taken for a gap by the next start.
    let since = site.service.log().len();
    site.service.stop();
    site.service.start();
    site.postgres.psql("UPDATE item SET name = 'after' WHERE id = 1");
    site.equal().await;
    site.service.healthy().await;
    assert!(!site.reads_since(since), "{}", site.service.log_tail());
    site.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_crashes_is_followed_again() {
    let site = Site::new();
    site.service.start();
    site.equal().await;
    for round in 0..2 {
        let since = site.service.log().len();
        site.postgres.kill();
        site.service.says(since, &["connecting again"]).await;
        let (status, code) = site.service.status();
        assert_eq!((code, status["source"]["state"].as_str()), (1, Some("failed")), "{status}");
        site.postgres.restart().await;
        site.postgres.psql(&format!("UPDATE part SET name = 'round {round}' WHERE id < 50"));
        site.equal().await;
        assert!(!site.reads_since(since));
    }
    site.service.healthy().await;
    site.service.stop();

    // Down when Headwater starts; a stop is as clean as ever.
    let since = site.service.log().len();
    site.postgres.kill();
    for stops in [true, false] {
        let since = site.service.log().len();
        site.service.start();
        site.service.says(since, &["cannot be looked at yet"]).await;
        if stops {
            site.service.stop();
        }
    }
    site.postgres.restart().await;
    site.postgres.psql("UPDATE part SET name = 'up again' WHERE id < 50");
    site.equal().await;
    assert!(!site.reads_since(since));
    site.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_slot_is_a_declared_gap_that_is_closed_in_place() {
    let site = Site::new();
    site.service.start();
    site.equal().await;
    site.service.stop();
    let since = site.service.log().len();
    site.postgres.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    site.postgres.psql("DELETE FROM item WHERE id < 100; UPDATE part SET item_id = 4000 WHERE id < 500; DELETE FROM part WHERE id = 4999");
    site.service.start();
    site.service.says(since, &["the log has a gap", "read again"]).await;
    site.equal().await;
    site.service.healthy().await;
    assert!(!site.service.log()[since..].contains("cleared"), "{}", site.service.log_tail());
    site.postgres.psql("UPDATE part SET item_id = 1000 WHERE id < 500");
    site.equal().await;

    // The same while it runs.
    let since = site.service.log().len();
    site.service.stop();
    site.postgres.psql(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots; DELETE FROM part WHERE id < 100",
    );
    site.postgres.psql("SELECT pg_create_logical_replication_slot('headwater', 'pgoutput')");
    site.service.start();
    site.service.says(since, &["the log has a gap"]).await;
    site.equal().await;
    site.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_system_under_the_same_url_is_refused_with_the_remedy() {
    let mut site = Site::new();
    site.service.start();
    site.equal().await;
    site.service.stop();
    let other = Postgres::builder().own_system().start();
    other.psql(TABLES);
    other.psql("DELETE FROM item");
    let since = site.service.log().len();
    site.service.rewrite(&text(&other, &site.redis));
    site.service.start();
    let status = site.service.wait();
    assert_eq!(status.code(), Some(1));
    let log = site.service.log()[since..].to_owned();
    assert!(log.contains("the source is now system") && log.contains("delete the data folder"), "{log}");
    // Nothing was harmed, here or there.
    assert_eq!(other.psql("SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(other.psql("SELECT count(*) FROM pg_publication"), "0");
    site.equal().await;
    site.service.rewrite(&text(&site.postgres, &site.redis));
    let since = site.service.log().len();
    site.service.start();
    site.postgres.psql("UPDATE item SET name = 'home again' WHERE id = 1");
    site.equal().await;
    assert!(!site.reads_since(since), "{}", site.service.log_tail());
    site.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_took_a_new_course_is_followed_on_from_where_it_left_the_old_one() {
    let postgres = Postgres::builder().setting("restore_command", "/bin/false").start();
    postgres.psql(TABLES);
    let redis = Redis::start();
    let service = Service::new("stop", &text(&postgres, &redis));
    let site = Site { postgres, redis, service };
    site.service.start();
    site.equal().await;
    // As after a failover that took the slot along: the same database, on a new timeline.
    let since = site.service.log().len();
    site.postgres.kill();
    std::fs::write(site.postgres.folder().join("data/recovery.signal"), "").unwrap();
    site.postgres.restart().await;
    let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    site.service
        .eventually("the server takes writes on a new timeline", async || {
            match site.postgres.try_psql(timeline)? {
                found if found == "00000002" => Ok(()),
                found => Err(found),
            }
        })
        .await;
    site.postgres
        .psql("UPDATE item SET name = 'on the new timeline' WHERE id < 10; DELETE FROM part WHERE id = 7");
    site.service.says(since, &["promoted or restored", "followed without a gap"]).await;
    site.equal().await;
    site.service.healthy().await;
    assert!(!site.reads_since(since), "{}", site.service.log_tail());
    // Once, and then it follows as before, also after another start.
    let since = site.service.log().len();
    site.postgres.psql("UPDATE part SET name = 'followed' WHERE id < 10");
    site.equal().await;
    site.service.kill();
    site.service.start();
    site.postgres.psql("UPDATE part SET name = 'followed again' WHERE id < 10");
    site.equal().await;
    assert!(!site.reads_since(since), "{}", site.service.log_tail());
    site.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_how_things_are_running_or_not() {
    let site = Site::new();
    let service = &site.service;

    // Before the first start.
    let ran = service.command(&["status"]).expect(1);
    assert!(ran.stdout.contains("no instance runs here"), "{}", ran.stdout);

    service.start();
    site.equal().await;
    service.healthy().await;
    service
        .eventually("rows are counted", async || {
            let (status, _) = service.status();
            let store = &status["stores"][0];
            if store["views"][0]["rows"] == 5000 { Ok(()) } else { Err(store.to_string()) }
        })
        .await;
    let (status, code) = service.status();
    assert_eq!(code, 0);
    let source = &status["source"];
    assert_eq!(source["state"], "healthy");
    assert!(source["server"].as_str().unwrap().contains("PostgreSQL"), "{source}");
    assert!(source["position"].as_str().unwrap().contains('/'), "{source}");
    assert!(source["retained_log_bytes"].is_u64() && source["retained_log_bytes_max"].is_u64(), "{source}");
    assert!(status["epoch"].as_u64().unwrap() >= 1 && status["backfills"].as_array().unwrap().is_empty());
    for store in status["stores"].as_array().unwrap() {
        assert_eq!(store["promise"], "transaction", "{store}");
        assert_eq!(
            (&store["lag_transactions"], &store["quarantined_rows"]),
            (&0.into(), &0.into()),
            "{store}"
        );
        assert_eq!(store["views"].as_array().unwrap().len(), 3, "{store}");
        assert!(
            store["lag_ms"].is_u64() && store["lag_bytes"].is_u64() && store["position"].is_string(),
            "{store}"
        );
    }
    let picture = service.command(&["status"]).expect(0).stdout;
    for word in ["near", "local", "item", "part", "transaction"] {
        assert!(picture.contains(word), "{word} in\n{picture}");
    }

    service.kill();
    let (status, code) = service.status();
    assert_eq!(code, 1);
    let store = &status["stores"][1];
    assert!(store["offset"].as_u64().unwrap() > 0 && store["position"].is_string(), "{store}");
    assert_eq!(status["source"]["state"], "paused");
    site.redis.kill();
    let (status, code) = service.status();
    assert_eq!(code, 1);
    let states: Vec<_> = status["stores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["state"].as_str().unwrap().to_owned())
        .collect();
    assert!(states.contains(&"failed".to_owned()) && states.contains(&"paused".to_owned()), "{status}");
}
