//! Healing that waits for people, as the program does it.

use headwater_testkit::checker::Truth;
use headwater_testkit::{Folder, Postgres};
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::http::client::Client;
use crate::service::{Service, local};

const FILE: &str = r#"
[source]
url = "sqlite:shop.db"
[stores]
local = { url = "sqlite:derived.db" }
[views.item]
from = "item"
store = "local"
"#;

fn shop(service: &Service) -> Connection {
    let db = Connection::open(service.path("shop.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
         INSERT INTO item VALUES (1, 'one'), (2, 'two')",
    )
    .unwrap();
    db
}

/// Somebody empties the store behind our back.
fn lose_the_store(service: &Service) {
    for name in ["derived.db", "derived.db-wal", "derived.db-shm"] {
        let _ = std::fs::remove_file(service.path(name));
    }
}

fn rows(service: &Service) -> Option<i64> {
    // Not made if it is not there.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = Connection::open_with_flags(service.path("derived.db"), flags).ok()?;
    db.query_row("SELECT count(*) FROM item", [], |row| row.get(0)).ok()
}

fn plan(service: &Service) -> Json {
    serde_json::from_str(&service.command(&["heal", "plan", "--json"]).expect(0).stdout).unwrap()
}

async fn held(service: &Service) -> u64 {
    service
        .eventually("the refill is held", async || {
            let (status, _) = service.status();
            status["heal"]["held"][0]["id"].as_u64().ok_or_else(|| status.to_string())
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_store_is_filled_again_once_two_people_agree_and_a_restart_forgets_nothing() {
    let service = Service::new("heal-two", &format!("{FILE}[heal]\nrefill = \"two\"\n"));
    let db = shop(&service);
    service.start();
    // The first filling is what the file asks for.
    service.healthy().await;
    assert!(service.command(&["heal", "plan"]).expect(0).stdout.contains("nothing is held"));
    service.stop();

    lose_the_store(&service);
    service.start();
    let id = held(&service).await.to_string();
    let (status, code) = service.status();
    assert_eq!((code, status["stores"][0]["state"].as_str()), (1, Some("paused")), "{status}");
    assert!(
        service.command(&["heal", "approve", "99", "--as", "ann"]).expect(1).stderr.contains("number 99")
    );
    service.command(&["heal", "approve", &id, "--as", "ann"]).expect(0);
    assert!(
        service.command(&["heal", "approve", &id, "--as", "ann"]).expect(1).stderr.contains("another person")
    );

    // One of two, and a crash: the second may agree while nothing runs.
    service.kill();
    assert_eq!(rows(&service), Some(0));
    let said = service.command(&["heal", "approve", &id, "--as", "bo"]).expect(0).stdout;
    assert!(said.contains("approved: refill of store local") && said.contains("no instance runs"), "{said}");
    db.execute_batch("INSERT INTO item VALUES (3, 'three')").unwrap();
    service.start();
    service.healthy().await;
    assert_eq!(rows(&service), Some(3));
    assert_eq!(plan(&service)["held"], serde_json::json!([]), "an approval counts once");

    service
        .eventually("who approved it is on record", async || {
            let log = service.command(&["incidents", "--part", "store:local"]).expect(0).stdout;
            if log.contains("approved by: ann, bo") && log.contains("was emptied") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    service.command(&["incidents", "--check"]).expect(0);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_part_is_left_alone_until_somebody_resumes_it() {
    let service = Service::new("heal-pause", FILE);
    let _db = shop(&service);
    service.start();
    service.healthy().await;
    service.command(&["heal", "pause", "store:lokal", "--as", "ann"]).expect(1);
    service.command(&["heal", "pause", "store:local", "--for", "1h", "--as", "ann"]).expect(0);
    assert!(service.command(&["status"]).stdout.contains("healing of store local is paused by ann"));
    service.kill();
    lose_the_store(&service);
    service.start();
    held(&service).await;
    let client = Client::of(&service).await;
    let page = client.get("/dashboard/live").expect(200);
    assert!(page.text().contains("paused by ann") && page.text().contains("was emptied"), "{}", page.text());
    service.command(&["heal", "resume", "store:local", "--as", "bo"]).expect(0);
    service.healthy().await;
    assert_eq!(rows(&service), Some(2));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_safe_mode_a_refill_waits_and_the_page_approves() {
    let service = Service::new("heal-safe", &format!("{FILE}[heal]\nsafe = true\n"));
    let _db = shop(&service);
    service.start();
    service.healthy().await;
    service.stop();
    lose_the_store(&service);
    service.start();
    let id = held(&service).await;
    let client = Client::of(&service).await;
    let page = client.get("/").expect(200).text().to_owned();
    assert!(page.contains("Safe mode") && page.contains("Healing waits for approval."), "{page}");
    client.ask("POST", &format!("/dashboard/heal/{id}/approve")).expect(303);
    service.healthy().await;
    assert_eq!(rows(&service), Some(2));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_gap_everything_waits_and_is_rebuilt_as_a_whole_once_it_is_approved() {
    let (postgres, folder) = (Postgres::start(), Folder::new("heal-gap"));
    postgres
        .psql("CREATE TABLE item (id integer PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'one')");
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nlocal = {{ url = \"sqlite:{}\" }}\n[views.item]\nfrom = \"item\"\n\
         store = \"local\"\n[heal]\nrefill = \"one\"\nrebuild = \"one\"\n",
        postgres.url(),
        folder.join("derived.db").display()
    );
    let service = Service::new("heal-gap", &file);
    service.start();
    let (truth, copy) = (Truth::Postgres(postgres.url()), local(&folder.join("derived.db")));
    service.equal(&truth, "local", &copy).await;
    service.healthy().await;
    service.stop();
    postgres.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    postgres.psql("INSERT INTO item VALUES (2, 'two'); DELETE FROM item WHERE id = 1");
    service.start();
    let id = held(&service).await.to_string();
    let (status, _) = service.status();
    assert_eq!(status["heal"]["held"][0]["action"], "rebuild", "{status}");
    assert_eq!(status["source"]["state"], "paused", "{status}");
    assert_eq!(
        postgres.psql("SELECT count(*) FROM pg_replication_slots").trim(),
        "0",
        "nothing is kept while it waits"
    );
    service.command(&["heal", "approve", &id, "--as", "ann"]).expect(0);
    service.equal(&truth, "local", &copy).await;
    service.healthy().await;
    service.stop();
}
