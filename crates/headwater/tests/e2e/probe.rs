//! The conformance probe: what change pipelines get wrong, one promise after the other, on both kinds of store.

use std::time::Duration;

use headwater_testkit::checker::{Copy, Truth};
use headwater_testkit::{Folder, Postgres, Redis, eventually};

use crate::program::Headwater;
use crate::{flat, many, redis_store};

const TABLES: &str = "
    CREATE TABLE parents (id int PRIMARY KEY, name text, long text);
    ALTER TABLE parents ALTER long SET STORAGE EXTERNAL;
    CREATE TABLE children (id int PRIMARY KEY, parent int, note text);
    CREATE TABLE emptied (id int PRIMARY KEY);
    INSERT INTO parents SELECT i, 'n' || i, repeat('x', 9000) || i FROM generate_series(1, 5) i;
    INSERT INTO children SELECT i, 1 + i % 5, 'c' || i FROM generate_series(1, 20) i;
    INSERT INTO emptied VALUES (1), (2);
";

#[tokio::test]
async fn every_promise_of_the_probe_holds() {
    let (postgres, redis, folder) = (Postgres::start(), Redis::start(), Folder::new("e2e"));
    postgres.psql(TABLES);
    let stores = ["near", "local"];
    let mut family = flat("family", "parents", &stores);
    family.embeds = vec![many("children", "children", "parent")];
    let views = [family, flat("parent", "parents", &stores), flat("emptied", "emptied", &stores)];
    let (entry, near) = redis_store(&redis);
    let path = folder.join("derived.db");
    let local = Copy::Sqlite(path.clone());
    let entries = [("near", entry), ("local", format!("url = \"sqlite:{}\"", path.display()))];
    let headwater = Headwater::new(&postgres.url(), &entries, &views);
    let truth = Truth::Postgres(postgres.url());
    headwater.start();
    let in_step = async || {
        headwater.converges(&truth, &near, &views).await;
        headwater.converges(&truth, &local, &views).await;
    };
    in_step().await;

    for (promise, sql) in [
        ("a changed key takes the old one away", "UPDATE parents SET id = 50 WHERE id = 5"),
        ("an unchanged long value survives", "UPDATE parents SET name = 'new' WHERE id = 1"),
        ("a changed key keeps the unchanged long value", "UPDATE parents SET id = 60 WHERE id = 1"),
        (
            "NULL is not the empty text",
            "UPDATE parents SET name = NULL WHERE id = 2; UPDATE parents SET name = '' WHERE id = 3",
        ),
        ("TRUNCATE empties", "TRUNCATE emptied"),
        ("and what comes after it is there", "INSERT INTO emptied VALUES (3)"),
        ("a child that moves leaves the old parent", "UPDATE children SET parent = 2 WHERE parent = 3"),
        ("a deleted child is gone", "DELETE FROM children WHERE id = 7"),
        ("a deleted row is gone", "DELETE FROM parents WHERE id = 4"),
        ("rolled back is not there", "BEGIN; INSERT INTO parents VALUES (99); ROLLBACK"),
        (
            "a column that is added arrives",
            "ALTER TABLE parents ADD extra int DEFAULT 7; UPDATE parents SET extra = 8 WHERE id = 2",
        ),
    ] {
        eprintln!("{promise}");
        postgres.psql(sql);
        in_step().await;
    }

    eprintln!("changes made while it was down arrive, children included");
    headwater.kill();
    postgres.psql("UPDATE children SET note = 'later'; DELETE FROM children WHERE id = 8; INSERT INTO parents VALUES (70, 'x', 'y')");
    headwater.start();
    in_step().await;
    headwater.stop();
}

#[tokio::test]
async fn one_failed_store_does_not_stop_the_others() {
    let (postgres, redis, folder) =
        (Postgres::start(), Redis::builder().appendonly().start(), Folder::new("e2e"));
    postgres.psql(TABLES);
    let views = [flat("parent", "parents", &["near", "local"])];
    let (entry, near) = redis_store(&redis);
    let path = folder.join("derived.db");
    let local = Copy::Sqlite(path.clone());
    let entries = [("near", entry), ("local", format!("url = \"sqlite:{}\"", path.display()))];
    let headwater = Headwater::new(&postgres.url(), &entries, &views);
    let truth = Truth::Postgres(postgres.url());
    headwater.start();
    headwater.converges(&truth, &near, &views).await;
    headwater.converges(&truth, &local, &views).await;

    redis.kill();
    postgres.psql("UPDATE parents SET name = 'while near is down'");
    headwater.converges(&truth, &local, &views).await;
    eventually(Duration::from_secs(20), "status names the failed store", async || {
        let status = headwater.status()?;
        let store = |name: &str| {
            status["stores"].as_array().and_then(|all| all.iter().find(|s| s["name"] == name).cloned())
        };
        match store("near") {
            Some(near) if near["state"] == "failed" => Ok(()),
            other => Err(format!("near is {other:?}")),
        }
    })
    .await;
    redis.restart();
    headwater.converges(&truth, &near, &views).await;
    headwater.stop();
}

#[tokio::test]
async fn a_store_that_lost_everything_is_filled_again() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    postgres.psql(TABLES);
    let views = [flat("parent", "parents", &["near"])];
    let (entry, near) = redis_store(&redis);
    let headwater = Headwater::new(&postgres.url(), &[("near", entry)], &views);
    let truth = Truth::Postgres(postgres.url());
    headwater.start();
    headwater.converges(&truth, &near, &views).await;

    redis.cli(&["FLUSHALL"]);
    postgres.psql("UPDATE parents SET name = 'after the loss' WHERE id = 2");
    headwater.converges(&truth, &near, &views).await;

    // Without appendonly it comes back empty.
    redis.kill();
    redis.restart();
    postgres.psql("UPDATE parents SET name = 'after the restart' WHERE id = 3");
    headwater.converges(&truth, &near, &views).await;
    headwater.stop();
}
