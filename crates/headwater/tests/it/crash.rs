//! Killed at any moment, Headwater goes on: nothing is lost, nothing torn, nothing goes backwards.

use std::time::{Duration, Instant};

use headwater_testkit::checker::Truth;
use headwater_testkit::workload::{PairReader, PairStore};
use headwater_testkit::{Chance, Folder, Postgres, Process, Redis, log_tail};

use crate::service::{Service, local, near, test_seconds};

const VIEWS: &str = r#"
[views.account]
from = "pgbench_accounts"
store = ["near", "local"]
columns = ["aid", "bid", "abalance"]
[views.branch]
from = "pgbench_branches"
store = ["near", "local"]
embed.tellers = { from = "pgbench_tellers", many = "bid", order = "tid" }
[views.entry]
from = "pgbench_history"
store = ["near", "local"]
[views.pair]
from = "pair"
store = ["near", "local"]
"#;

/// Two rows that always add up to zero, with a version that only grows.
const PAIR: &str = r"
\set amount random(-1000, 1000)
BEGIN;
UPDATE pair SET amount = :amount, version = version + 1 WHERE id = 1;
UPDATE pair SET amount = 0 - :amount, version = version + 1 WHERE id = 2;
COMMIT;
";

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_arrives_whole_although_headwater_is_killed_all_the_time() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let made = postgres.tool("pgbench").args(["-i", "-q", "-s", "1"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    postgres.psql(
        "ALTER TABLE pgbench_history ADD COLUMN id bigserial PRIMARY KEY;
         CREATE TABLE pair (id int PRIMARY KEY, amount int NOT NULL, version int NOT NULL);
         INSERT INTO pair VALUES (1, 0, 0), (2, 0, 0)",
    );
    let service = Service::new(
        "crash",
        &format!(
            "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\nlocal = {{ url = \"sqlite:derived.db\" }}\n\
             [backfill]\nchunk_rows = 2000\n{VIEWS}",
            postgres.url(),
            redis.url()
        ),
    );
    let mut chance = Chance::from_env(11);

    // Killed while the first 100,000 rows are read: the read goes on where it was.
    service.start();
    let mut kills = 0;
    let resumed =
        |log: &str| log.lines().any(|l| l.contains("reading the table") && l.contains("resumed=true"));
    let some_rows = async || {
        let rows = redis.cli(&["DBSIZE"]).parse::<u64>().unwrap_or(0);
        if rows > 3_000 { Ok(()) } else { Err(format!("{rows} keys")) }
    };
    service.eventually("the first rows arrive", some_rows).await;
    while kills < 3 {
        service.kill();
        kills += 1;
        service.start();
        tokio::time::sleep(Duration::from_millis(200 + chance.below(500))).await;
    }

    let script = service.path("pair.sql");
    std::fs::write(&script, PAIR).unwrap();
    let seconds = test_seconds(8);
    let readers = [
        PairReader::start(PairStore::Redis { url: redis.url(), prefix: String::new() }),
        PairReader::start(PairStore::Sqlite(service.path("derived.db"))),
    ];
    let (bench, folder) = (Process::default(), Folder::new("pgbench"));
    let mut command = postgres.tool("pgbench");
    command.args(["-n", "-c", "4", "-b", "tpcb-like@9", "-T", &seconds.as_secs().to_string(), "-f"]);
    command.arg(format!("{}@1", script.display()));
    bench.start(command.current_dir(folder.path()), folder.path());
    let until = Instant::now() + seconds;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200 + chance.below(700))).await;
        service.kill();
        kills += 1;
        service.start();
    }
    assert!(bench.wait_async(Duration::from_secs(60)).await, "pgbench ends");

    let report = log_tail(folder.path());
    assert!(!report.contains("aborted"), "pgbench runs to its end: {report}");
    let truth = Truth::Postgres(postgres.url());
    service.equal(&truth, "near", &near(&redis)).await;
    service.equal(&truth, "local", &local(&service.path("derived.db"))).await;
    for reader in readers {
        let seen = reader.finish().unwrap_or_else(|violation| panic!("{violation}\n{}", service.log_tail()));
        assert!(seen > 0, "the reader saw the pair");
    }
    assert!(resumed(&service.log()), "a read of a table was resumed, not started over:\n{}", service.log());
    three_sums_agree(&service, &postgres);
    service.stop();
    eprintln!("{kills} kills, {} transactions", postgres.psql("SELECT count(*) FROM pgbench_history"));
}

/// The books of the benchmark balance, in the embedded store as in the source.
fn three_sums_agree(service: &Service, postgres: &Postgres) {
    let db = rusqlite::Connection::open(service.path("derived.db")).unwrap();
    let sum = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let accounts = sum("SELECT sum(json_extract(document, '$.abalance')) FROM account");
    let branches = sum("SELECT sum(json_extract(document, '$.bbalance')) FROM branch");
    let tellers = sum("SELECT sum(json_extract(t.value, '$.tbalance'))
                       FROM branch, json_each(json_extract(branch.document, '$.tellers')) AS t");
    let entries = sum("SELECT sum(json_extract(document, '$.delta')) FROM entry");
    let source: i64 = postgres.psql("SELECT sum(abalance) FROM pgbench_accounts").parse().unwrap();
    assert_eq!([accounts, branches, tellers, entries], [source; 4]);
}
