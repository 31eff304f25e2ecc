//! Reading what was just written: HEADWATER.WAIT and what reads show after it.

use std::time::{Duration, Instant};

use headwater_testkit::{Postgres, Redis, free_port};

use super::site::Shop;
use crate::service::{Service, test_seconds};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_wait_reads_show_what_was_written() {
    let shop =
        Shop::start("memory = { url = \"memory:\" }\nlocal = { url = \"sqlite:derived.db\" }", "").await;
    let (db, mut client) = (shop.source(), shop.client());
    let until = Instant::now() + test_seconds(3);
    let mut writes = 0;
    while Instant::now() < until {
        writes += 1;
        db.execute("UPDATE book SET title = ?1 WHERE id = 1", [format!("title {writes}")]).unwrap();
        let change: i64 = db.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0)).unwrap();
        let () = redis::cmd("HEADWATER.WAIT").arg(change).arg(5_000).query(&mut client).unwrap();
        let title: String = redis::cmd("HGET").arg("book:1").arg("title").query(&mut client).unwrap();
        assert_eq!(title, format!("title {writes}"));
        let shown: String = redis::cmd("HEADWATER.POSITION").query(&mut client).unwrap();
        // Another connection that waits for what this one saw goes on from there.
        if writes % 20 == 0 {
            let mut other = shop.client();
            let () = redis::cmd("HEADWATER.WAIT").arg(&shown).query(&mut other).unwrap();
            let title: String = redis::cmd("HGET").arg("whole:1").arg("title").query(&mut other).unwrap();
            assert_eq!(title, format!("title {writes}"));
        }
    }
    eprintln!("{writes} writes read back");
    assert!(writes > 10);
    assert!(shop.cli(&["HEADWATER.WAIT", "nonsense"]).starts_with("ERR after `nonsense` is no position"));
    assert!(shop.cli(&["HEADWATER.WAIT", "other@5"]).starts_with("OUTOFSTEP"));
    assert!(shop.cli(&["HEADWATER.WAIT", "999999999", "5000"]).starts_with("OUTOFSTEP"));
    assert!(shop.cli(&["HEADWATER.WAIT", "1", "x"]).starts_with("ERR the timeout"));
    assert_eq!(shop.cli(&["HEADWATER.POSITION"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_postgresql_is_waited_for_by_its_lsn() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE book (id int PRIMARY KEY, title text); INSERT INTO book VALUES (1, 'old')");
    let port = free_port();
    let service = Service::new(
        "resp-postgres",
        &format!(
            "[source]\nurl = \"{}\"\n[stores]\nmemory = {{ url = \"memory:\" }}\n[serve]\nlisten = \"off\"\n\
             resp = \"127.0.0.1:{port}\"\n[views.book]\nfrom = \"book\"\nstore = [\"memory\"]\n",
            postgres.url()
        ),
    );
    service.start();
    service.healthy().await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let mut client = client.get_connection().unwrap();
    for n in 0..20 {
        let lsn = postgres.psql(&format!(
            "UPDATE book SET title = 'title {n}' WHERE id = 1; SELECT pg_current_wal_insert_lsn()"
        ));
        let () = redis::cmd("HEADWATER.WAIT").arg(lsn.trim()).arg(5_000).query(&mut client).unwrap();
        let title: String = redis::cmd("HGET").arg("book:1").arg("title").query(&mut client).unwrap();
        assert_eq!(title, format!("title {n}"));
    }
    let said: redis::RedisResult<()> = redis::cmd("DEL").arg("book:1").query(&mut client);
    assert!(said.unwrap_err().to_string().contains("write to the source (PostgreSQL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_in_vain_says_how_far_behind_the_store_is() {
    let redis = Redis::start();
    let shop = Shop::start(&format!("near = {{ url = \"{}\" }}", redis.url()), "").await;
    let db = shop.source();
    redis.pause();
    for n in 0..5 {
        db.execute("UPDATE book SET title = ?1 WHERE id = 1", [format!("title {n}")]).unwrap();
    }
    let change: i64 = db.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0)).unwrap();
    let change = change.to_string();
    let began = Instant::now();
    let said = shop.cli(&["HEADWATER.WAIT", &change, "300"]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(said.starts_with("TRYAGAIN not there within 30"), "{said}");
    assert!(said.contains("transactions behind"), "{said}");
    redis.resume();
    assert_eq!(shop.cli(&["HEADWATER.WAIT", &change, "30000"]), "OK");
    assert_eq!(shop.cli(&["HGET", "book:1", "title"]), "title 4");
}
