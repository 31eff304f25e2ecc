//! What `doctor` finds in a real Redis: a problem that is really there, its remedy as printed, and then nothing.

use std::time::Duration;

use headwater_engines::registry;
use headwater_model::Secret;
use headwater_model::exam::{Diagnosis, ExamBudget, Examination};
use headwater_model::file::StoreSection;
use headwater_testkit::{Redis, RedisBuilder, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

async fn examine(url: &str, budget: &ExamBudget) -> Examination {
    let section = StoreSection {
        name: "near".into(),
        url: Secret::new(url),
        settings: Default::default(),
        source: None,
    };
    registry::store_examiner(&section).unwrap().expect("Redis can be examined").examine(budget).await.unwrap()
}

async fn look(redis: &Redis, check: &str, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
    let budget = ExamBudget {
        only: vec![check.into()],
        limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
        ..ExamBudget::default()
    };
    let examination = examine(&redis.url(), &budget).await;
    assert!(examination.skipped.is_empty() && examination.made == 1, "{examination:?}");
    examination.found
}

async fn finds(redis: &Redis, check: &str, limits: &[(&str, f64)]) -> Diagnosis {
    eventually(PATIENCE, check, async || {
        look(redis, check, limits).await.into_iter().next().ok_or("nothing found")
    })
    .await
}

async fn is_gone(redis: &Redis, check: &str, limits: &[(&str, f64)]) {
    eventually(PATIENCE, check, async || match look(redis, check, limits).await {
        found if found.is_empty() => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
}

/// As a person pastes them into `redis-cli`.
fn paste(redis: &Redis, statements: &[String]) {
    assert!(!statements.is_empty());
    // There is no file to write settings to.
    for statement in statements.iter().filter(|statement| *statement != "CONFIG REWRITE") {
        redis.cli(
            &statement
                .split(' ')
                .take_while(|word| *word != "#")
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>(),
        );
    }
}

async fn heals(redis: &Redis, check: &str, limits: &[(&str, f64)]) -> Diagnosis {
    let found = finds(redis, check, limits).await;
    paste(redis, &found.remedy);
    is_gone(redis, check, limits).await;
    paste_undo(redis, &found);
    found
}

fn paste_undo(redis: &Redis, found: &Diagnosis) {
    if !found.undo.is_empty() {
        paste(redis, &found.undo);
    }
}

fn usual() -> RedisBuilder {
    Redis::builder().arg("maxmemory", "256mb").appendonly()
}

#[tokio::test]
async fn memory_that_is_unbounded_full_or_given_away() {
    let redis = Redis::start();
    heals(&redis, "HW2001", &[]).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "64mb"]);
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let found = heals(&redis, "HW2002", &[]).await;
    assert_eq!(found.urgency.name(), "high");
    assert_eq!(redis.cli(&["CONFIG", "GET", "maxmemory-policy"]), "maxmemory-policy\nallkeys-lru", "undone");
    redis.cli(&["CONFIG", "SET", "maxmemory", "3mb"]);
    redis.cli(&["EVAL", "for i = 1, 50000 do redis.call('SET', 'k' .. i, string.rep('x', 100)) end", "0"]);
    let found = finds(&redis, "HW2002", &[]).await;
    assert!(found.urgency.name() == "critical" && found.what.contains("deleted"), "{found:?}");
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    heals(&redis, "HW2003", &[]).await;
}

#[tokio::test]
async fn keys_and_commands_that_hold_everybody_up() {
    let redis = usual().start();
    redis.cli(&["EVAL", "for i = 1, 3000 do redis.call('RPUSH', 'a list', string.rep('x', 200)) end; redis.call('SET', 'k', 1)", "0"]);
    let large = [("bytes", 300_000.0)];
    let found = finds(&redis, "HW2004", &large).await;
    assert_eq!((&*found.subject, &*found.remedy[0]), ("key a list", "UNLINK \"a list\""));
    redis.cli(&["UNLINK", "a list"]);
    is_gone(&redis, "HW2004", &large).await;

    redis.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    for _ in 0..3 {
        redis.cli(&["KEYS", "*"]);
    }
    redis.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "10000"]);
    let any = [("milliseconds", 0.0)];
    let found = heals(&redis, "HW2009", &any).await;
    assert!(found.subject.contains("KEYS") && found.what.contains("3 times"), "{found:?}");
    let few = [("keys", 1.0)];
    let found = finds(&redis, "HW2010", &few).await;
    assert!(found.what.contains("3 times"), "{found:?}");
    redis.cli(&["CONFIG", "RESETSTAT"]);
    is_gone(&redis, "HW2010", &few).await;
}

#[tokio::test]
async fn data_that_reaches_no_disk() {
    let redis = Redis::start();
    heals(&redis, "HW2006", &[]).await;
    let dump = std::path::PathBuf::from(redis.cli(&["CONFIG", "GET", "dir"]).lines().nth(1).unwrap())
        .join("dump.rdb");
    let in_the_way = dump.join("x");
    std::fs::create_dir_all(&in_the_way).unwrap();
    redis.cli(&["SET", "k", "v"]);
    redis.cli(&["BGSAVE"]);
    let found = finds(&redis, "HW2005", &[]).await;
    assert_eq!(found.urgency.name(), "critical");
    std::fs::remove_dir_all(&dump).unwrap();
    paste(&redis, &found.remedy);
    is_gone(&redis, "HW2005", &[]).await;
}

#[tokio::test]
async fn who_gets_in_and_how() {
    let redis = usual().start();
    assert_eq!(finds(&redis, "HW2007", &[]).await.urgency.name(), "low", "only this machine reaches it");
    let open = usual().arg("bind", "0.0.0.0").arg("protected-mode", "no").start();
    assert_eq!(finds(&open, "HW2007", &[]).await.urgency.name(), "critical");
    finds(&open, "HW2008", &[]).await;
    let guarded = usual().arg("bind", "0.0.0.0").password("s3cret").start();
    is_gone(&guarded, "HW2007", &[]).await;
    is_gone(&redis, "HW2008", &[]).await;

    redis.cli(&["CONFIG", "SET", "maxclients", "20"]);
    let mut crowd = Vec::new();
    for _ in 0..17 {
        crowd.push(tokio::net::TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap());
    }
    heals(&redis, "HW2011", &[]).await;
}

#[tokio::test]
async fn replicas_that_would_need_everything_anew() {
    let (primary, replica) = (usual().start(), usual().start());
    replica.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    heals(&primary, "HW2012", &[]).await;
    primary.kill();
    let found = finds(&replica, "HW2012", &[]).await;
    assert_eq!(found.subject, "replica");
}

#[tokio::test]
async fn a_healthy_server_gives_no_finding_and_a_blind_user_is_told_what_to_ask_for() {
    let redis = usual().password("s3cret").start();
    redis.cli(&["SET", "book:1", "{}"]);
    let all = examine(&redis.url(), &ExamBudget::default()).await;
    assert!(all.found.is_empty() && all.skipped.is_empty(), "{all:#?}");
    assert_eq!(all.made, registry::checks().iter().filter(|check| check.id.starts_with("HW2")).count());
    redis.cli(&["ACL", "SETUSER", "watcher", "on", ">w4tch", "~*", "-@all", "+info"]);
    let url = redis.url().replace(":s3cret@", "watcher:w4tch@");
    let blind = examine(&url, &ExamBudget::default()).await;
    assert!(!blind.skipped.is_empty() && blind.made > 3, "{blind:?}");
    for skipped in &blind.skipped {
        redis.cli(&skipped.remedy.as_deref().unwrap().split(' ').collect::<Vec<_>>());
    }
    let seeing = examine(&url, &ExamBudget::default()).await;
    assert!(seeing.skipped.is_empty() && seeing.found.is_empty(), "{seeing:?}");
}
