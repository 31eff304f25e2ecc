//! What `doctor` finds in a real MongoDB: a problem that is really there, its remedy pasted into MongoDB's own shell, and then nothing.

use headwater_engines::registry;
use headwater_model::exam::{Diagnosis, ExamBudget, Examination};
use headwater_model::{Index, Order};
use serde_json::json;

use super::*;

async fn examine(url: &str, check: &str, limits: &[(&str, f64)]) -> Examination {
    let budget = ExamBudget {
        only: vec![check.into()],
        limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
        ..ExamBudget::default()
    };
    registry::store_examiner(&section(url, &[])).unwrap().unwrap().examine(&budget).await.unwrap()
}

async fn look(server: &MongoDb, check: &str, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
    let examination = examine(&server.url("shop"), check, limits).await;
    assert!(examination.skipped.is_empty() && examination.made == 1, "{examination:?}");
    examination.found
}

fn subjects(found: &[Diagnosis]) -> Vec<&str> {
    found.iter().map(|found| &*found.subject).collect()
}

/// Every line that is no comment.
fn paste(server: &MongoDb, lines: &[String]) {
    lines.iter().filter(|line| !line.starts_with("//")).for_each(|line| drop(server.paste(line)));
}

#[tokio::test]
async fn doctor_finds_indexes_that_lack_and_that_nobody_needs() {
    let Some(server) = MongoDb::start() else { return };
    for check in ["HW8001", "HW8002", "HW8003"] {
        assert_eq!(look(&server, check, &[]).await, [], "there is nothing yet");
    }
    let store = store(&server, "shop");
    let order = vec![Order { column: "title".into(), descending: false }];
    let books = Arc::new(View {
        indexes: vec![Index { by: vec![], order }],
        ..View::clone(&view("book", Layout::Json))
    });
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    step(&store, 1, 0, (0..300).map(|id| put(&books, id, book(id, "x"))).collect()).await.unwrap();

    assert_eq!(look(&server, "HW8001", &[]).await, []);
    server.run("shop", &json!({ "dropIndexes": "book", "index": "hw_p0" }));
    server.run("shop", &json!({ "dropIndexes": "book", "index": "hw_gone" }));
    let found = look(&server, "HW8001", &[]).await;
    assert_eq!(subjects(&found), ["book (_hw.p0)", "book (_hw.gone)"]);
    found.iter().for_each(|found| paste(&server, &found.remedy));
    assert_eq!(look(&server, "HW8001", &[]).await, []);
    // And they are those that are made otherwise: the server takes one of a name only if it is the same.
    store.prepare(&books).await.unwrap();

    let days = [("days", 0.0)];
    server.paste(r#"db.getSiblingDB("shop").book.createIndex({ shelf: 1 }, { sparse: true })"#);
    assert_eq!(look(&server, "HW8002", &[]).await, [], "it may be read tomorrow");
    let found = look(&server, "HW8002", &days).await;
    assert_eq!(subjects(&found), ["book (hw_p0)", "book (shelf_1)"]);
    assert!(found[0].undo.is_empty() && found[0].remedy[0].contains("access pattern"), "{found:?}");
    paste(&server, &found[1].remedy);
    assert_eq!(subjects(&look(&server, "HW8002", &days).await), ["book (hw_p0)"]);
    paste(&server, &found[1].undo);
    assert_eq!(look(&server, "HW8002", &days).await[1].undo, found[1].undo, "undone");
    server.paste(r#"db.getSiblingDB("shop").book.find({ shelf: 7 }).toArray()"#);
    assert_eq!(subjects(&look(&server, "HW8002", &days).await), ["book (hw_p0)"]);

    assert_eq!(look(&server, "HW8003", &[]).await, []);
    server.paste(r#"db.getSiblingDB("shop").book.createIndex({ shelf: 1, title: 1 }, { sparse: true })"#);
    let found = look(&server, "HW8003", &[]).await;
    assert_eq!(subjects(&found), ["book (shelf_1)"]);
    paste(&server, &found[0].remedy);
    assert_eq!(look(&server, "HW8003", &[]).await, []);
    paste(&server, &found[0].undo);
    assert_eq!(look(&server, "HW8003", &[]).await, found, "undone");
}

#[tokio::test]
async fn doctor_finds_queries_that_read_all() {
    let Some(server) = MongoDb::start() else { return };
    let looked = examine(&server.url("shop"), "HW8004", &[]).await;
    assert!(looked.made == 0 && looked.skipped[0].why.contains("the profiler is off"), "{looked:?}");
    let documents: Vec<_> = (0..500).map(|id| json!({ "_id": id, "shelf": format!("secret{id}") })).collect();
    server.run("shop", &json!({ "insert": "book", "documents": documents }));
    let any = [("milliseconds", 0.0)];
    let ask = || {
        server.paste(r#"db.getSiblingDB("shop").setProfilingLevel(2)"#);
        server.paste(
            r#"db.getSiblingDB("shop").book.find({ shelf: "secret7" }).sort({ title: -1 }).toArray()"#,
        );
        server.paste(r#"db.getSiblingDB("shop").setProfilingLevel(0)"#);
    };
    ask();
    let found = look(&server, "HW8004", &any).await;
    assert_eq!(subjects(&found), ["book by shelf in the order of title"]);
    assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    paste(&server, &found[0].remedy);
    server.paste(r#"db.getSiblingDB("shop").system.profile.drop()"#);
    ask();
    assert_eq!(look(&server, "HW8004", &any).await, []);
}

#[tokio::test]
async fn doctor_finds_what_is_wrong_with_a_replica_set() {
    let Some(server) = MongoDb::start() else { return };
    let found = look(&server, "HW8007", &[]).await;
    assert_eq!(subjects(&found), ["replica set"]);
    assert_eq!(look(&server, "HW8005", &[]).await, [], "so short a time says nothing");
    server.paste(
        r#"(function () {
            var text = new Array(1 << 20).join("x");
            for (var id = 0; id < 80; id++) db.getSiblingDB("shop").large.insert({ _id: id, text: text });
            return { ok: 1 };
        })()"#,
    );
    let found = look(&server, "HW8005", &[]).await;
    assert_eq!((subjects(&found), found[0].urgency.name()), (vec!["oplog"], "high"), "{found:?}");
    paste(&server, &found[0].remedy);
    assert_eq!(look(&server, "HW8005", &[]).await, [], "what it will hold now nobody knows yet");

    assert_eq!(look(&server, "HW8006", &[]).await, []);
    server.paste(r#"rs.add({ host: "127.0.0.1:1", priority: 0, votes: 0 })"#);
    let found = loop {
        // It is starting until nobody has answered for a while.
        let found = look(&server, "HW8006", &[]).await;
        if found.iter().any(|found| found.urgency.name() == "high") {
            break found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(subjects(&found), ["member 127.0.0.1:1"]);
    paste(&server, &found[0].remedy);
    assert_eq!(look(&server, "HW8006", &[]).await, []);
}

#[tokio::test]
async fn doctor_finds_what_is_wrong_with_a_server() {
    let Some(server) = MongoDb::start_alone() else { return };
    assert_eq!(subjects(&look(&server, "HW8007", &[]).await), ["the server"], "of no replica set");
    for check in ["HW8005", "HW8006", "HW8008", "HW8009", "HW8010"] {
        assert_eq!(look(&server, check, &[]).await, [], "{check}");
    }
    assert_eq!(subjects(&look(&server, "HW8008", &[("share", 0.0)]).await), ["connections"]);

    let found = look(&server, "HW8009", &[("used_share", 0.0)]).await;
    let of = |name: &str| found[0].answered[name].parse::<f64>().unwrap();
    let most = [("used_share", 0.6 * of("used") / of("maximum"))];
    let found = look(&server, "HW8009", &most).await;
    assert_eq!(subjects(&found), ["cache"]);
    paste(&server, &found[0].remedy);
    assert_eq!(look(&server, "HW8009", &most).await, []);
    paste(&server, &found[0].undo);
    assert_eq!(subjects(&look(&server, "HW8009", &most).await), ["cache"], "undone");

    server.paste("db.adminCommand({ setParameter: 1, ttlMonitorEnabled: false })");
    let found = look(&server, "HW8010", &[]).await;
    assert_eq!(subjects(&found), ["ttlMonitorEnabled"]);
    paste(&server, &found[0].remedy);
    assert_eq!(look(&server, "HW8010", &[]).await, []);

    let found = look(&server, "HW8011", &[]).await;
    assert_eq!(found[0].urgency.name(), "medium", "nobody else reaches it: {found:?}");
}

#[tokio::test]
async fn doctor_skips_what_the_store_s_user_may_not_see() {
    let Some(server) = MongoDb::start_closed("headwater", "hush", "shop") else { return };
    let url = format!("{}&authSource=admin", server.url_as("headwater:hush@", "shop"));
    for check in ["HW8001", "HW8003", "HW8011"] {
        let looked = examine(&url, check, &[]).await;
        assert!(looked.made == 1 && looked.found.is_empty(), "{looked:?}");
    }
    for check in ["HW8004", "HW8005", "HW8008", "HW8009", "HW8010"] {
        let looked = examine(&url, check, &[]).await;
        assert!(looked.made == 0 && looked.skipped[0].why.contains("not authorized"), "{looked:?}");
        assert!(
            looked.skipped[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("role")),
            "{looked:?}"
        );
    }
}
