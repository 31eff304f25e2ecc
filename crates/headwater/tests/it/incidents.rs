//! The incident log, as an operator reads it: while Headwater runs, after `kill -9`, and after somebody's hand.

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::http::client::Client;
use crate::service::Service;

const FILE: &str = r#"
[source]
url = "sqlite:shop.db"
[stores]
local = { url = "sqlite:derived.db" }
[views.item]
from = "item"
store = "local"
"#;

fn listed(service: &Service, more: &[&str]) -> Vec<Json> {
    let args: Vec<&str> = ["incidents", "--json"].iter().chain(more).copied().collect();
    let ran = service.command(&args).expect(0);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn has(incidents: &[Json], part: &str, kind: &str) -> bool {
    incidents.iter().any(|incident| incident["part"] == part && incident["kind"] == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_known_after_kill_9_and_a_changed_line_is_found() {
    let service = Service::new("incidents", FILE);
    let db = Connection::open(service.path("shop.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
         INSERT INTO item VALUES (1, 'one')",
    )
    .unwrap();
    assert!(service.command(&["incidents"]).expect(0).stdout.contains("nothing has happened yet"));
    service.start();
    service.healthy().await;
    service
        .eventually("the first fill is written down", async || {
            let all = listed(&service, &[]);
            let there = has(&all, "source", "leading") && has(&all, "store local", "filled");
            if there { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    service.kill();
    let before = listed(&service, &[]);

    // The store is emptied behind our back while nothing runs; the log goes on in the next life.
    std::fs::remove_file(service.path("derived.db")).unwrap();
    let _ = std::fs::remove_file(service.path("derived.db-wal"));
    let _ = std::fs::remove_file(service.path("derived.db-shm"));
    service.start();
    service.healthy().await;
    service
        .eventually("the second life is written down", async || {
            let filled = |all: &[Json]| all.iter().filter(|i| i["kind"] == "filled").count();
            let all = listed(&service, &[]);
            if filled(&all) == filled(&before) + 1 { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    let all = listed(&service, &[]);
    assert_eq!(all[..before.len()], before, "what was written stays as it was");
    assert_eq!(
        all.iter().map(|i| i["id"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..=all.len() as u64).collect::<Vec<_>>()
    );
    let store = listed(&service, &["--part", "store:local", "--since", "1h"]);
    assert!(!store.is_empty() && store.iter().all(|i| i["part"] == "store local"), "{store:?}");
    let last = all.last().unwrap();
    assert_eq!((last["kind"].as_str(), last["epoch"].as_u64()), (Some("filled"), Some(2)));
    assert!(last["began_micros"].is_i64(), "{last}");
    // The page shows both lives.
    let page = Client::of(&service).await.get("/incidents.json").expect(200).json();
    assert!(page.as_array().unwrap().iter().any(|i| i["epoch"] == 1), "{page}");
    assert!(
        service
            .command(&["incidents", "--check"])
            .expect(0)
            .stdout
            .contains("every line is as it was written")
    );

    // Somebody would rather that it had been another store.
    service.stop();
    let path = service.path("headwater-data/incidents/00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("store local", "store lokal", 1)).unwrap();
    let ran = service.command(&["incidents", "--check"]).expect(1);
    assert!(ran.stdout.contains("does not have the content that its hash was made of"), "{}", ran.stdout);
    service.start();
    service.healthy().await;
    service
        .eventually("the damage is an incident", async || {
            let all = listed(&service, &[]);
            if has(&all, "incident log", "log-damaged") { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    service.stop();
}
