//! Read your writes: what was committed before the question is in the answer.

use std::time::{Duration, Instant};

use headwater_testkit::{Postgres, Redis};
use rusqlite::Connection;

use super::client::Client;
use super::{problem, shop};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_sqlite_is_read_back_every_time() {
    let (service, db, client) = shop("ryw", "").await;
    let mut from_stores = 0;
    for n in 0..150 {
        let title = format!("Edition {n}");
        db.execute("UPDATE books SET title = ?1 WHERE id = 3", [&title]).unwrap();
        let position = change(&db);
        let client = client.with("Headwater-After", &position.to_string()).with("Headwater-Within", "10s");
        let found = client.get("/v1/book_page?id=3").expect(200);
        assert_eq!(found.json()["title"], title, "after {position}: {found:?}");
        from_stores += u32::from(found.header("headwater-store") != Some("source"));

        // What an answer showed is never taken back, whoever answers.
        let again = client.with("Headwater-After", found.header("headwater-position").unwrap());
        assert_eq!(again.get("/v1/book_page?id=3").expect(200).json()["title"], title);
    }
    assert!(from_stores > 100, "stores gave {from_stores} of 150 answers");
    service.stop();
}

fn change(db: &Connection) -> i64 {
    db.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_postgres_is_read_back_every_time() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let sql = postgres.connect().await;
    sql.batch_execute("CREATE TABLE items (id int PRIMARY KEY, n int); INSERT INTO items VALUES (1, 0)")
        .await
        .unwrap();
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\n\
         [views.item]\nfrom = \"items\"\n[access.item]\nget = \"item\"\nsource = false\n",
        postgres.url(),
        redis.url()
    );
    let service = Service::new("ryw-postgres", &file);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    for n in 1..=150 {
        sql.execute("UPDATE items SET n = $1", &[&n]).await.unwrap();
        let lsn: String =
            sql.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
        let client = client.with("Headwater-After", &lsn).with("Headwater-Within", "10s");
        let found = client.get("/v1/item?id=1").expect(200);
        assert_eq!(found.json()["n"], n, "after {lsn}: {found:?}");
        assert_eq!(found.header("headwater-store"), Some("near"));
    }

    // A store that does not come that far in time is not asked; how far behind it is, is said.
    redis.pause();
    sql.execute("UPDATE items SET n = -1", &[]).await.unwrap();
    let lsn: String = sql.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    let began = Instant::now();
    let after = client.with("Headwater-After", &lsn).with("Headwater-Within", "800ms");
    let behind = problem(&after.get("/v1/item?id=1"), 504, "behind");
    assert!(behind["waited_ms"].as_u64().is_some_and(|ms| ms >= 700), "{behind}");
    assert!(behind["transactions"].as_u64().is_some_and(|n| n >= 1) && behind["age_ms"].is_u64(), "{behind}");
    assert!(began.elapsed() < Duration::from_secs(10), "within its deadline: {:?}", began.elapsed());
    redis.resume();
    assert_eq!(after.with("Headwater-Within", "20s").get("/v1/item?id=1").expect(200).json()["n"], -1);
    service.stop();
}
