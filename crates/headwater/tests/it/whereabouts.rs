//! `headwater where`: one row and what became of it.

use headwater_testkit::checker::Truth;
use headwater_testkit::{Postgres, Redis};

use crate::service::{Service, local, near};

const TABLES: &str = "
CREATE TABLE item (id int PRIMARY KEY, name text, note text);
CREATE TABLE part (id int PRIMARY KEY, item_id int, name text);
INSERT INTO item SELECT i, 'i' || i FROM generate_series(1, 50) i;
INSERT INTO part SELECT i, i % 50, 'p' || i FROM generate_series(1, 200) i;
";

const VIEWS: &str = r#"
[views.item]
from = "item"
store = ["near", "local"]
embed.parts = { from = "part", many = "item_id", order = "id" }
[views.part]
from = "part"
store = ["near"]
[views.newest]
from = "part"
rank = { by = "item_id", score = "max(id)" }
store = ["local"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_traced_to_every_document_that_shows_it() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    postgres.psql(TABLES);
    let text = format!(
        "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\nlocal = {{ url = \"sqlite:derived.db\" }}\n{VIEWS}",
        postgres.url(),
        redis.url()
    );
    let service = Service::new("trace", &text);

    let away = service.command(&["where", "part/7"]).expect(1);
    assert!(away.stderr.contains("no instance runs here"), "{}", away.stderr);
    service.start();
    let truth = Truth::Postgres(postgres.url());
    service.equal(&truth, "near", &near(&redis)).await;
    postgres.psql("UPDATE part SET name = 'seven' WHERE id = 7");
    postgres.psql("UPDATE part SET name = 'sept' WHERE id = 7; UPDATE item SET note = 'n' WHERE id = 7");
    service.equal(&truth, "near", &near(&redis)).await;
    service.equal(&truth, "local", &local(&service.path("derived.db"))).await;
    service.healthy().await;

    let told = service.command(&["where", "part/7", "--json"]).expect(0);
    let trace: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&trace["table"], &trace["key"]), (&"public.part".into(), &"7".into()), "{trace:#}");
    assert_eq!(trace["source"]["row"]["name"], "sept");
    let mut shown: Vec<String> = trace["places"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| {
            assert_eq!(place["verdict"], "equal", "{place:#}");
            assert!(place["position"].as_str().unwrap().contains('/') && place["lag_transactions"].is_u64());
            let word = |name: &str| place[name].as_str().unwrap().to_owned();
            format!("{} {} {} {}", word("store"), word("view"), word("key"), word("shown"))
        })
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        ["local item 7 embedded", "local newest 7 ranking", "near item 7 embedded", "near part 7 document"]
    );
    let last = trace["changes"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["kind"], &last["columns"]),
        (&"update".into(), &serde_json::json!(["name"])),
        "{trace:#}"
    );

    // Altered behind our back, and taken away.
    redis.cli(&["HSET", "part:7", "name", "other"]);
    let differs = service.command(&["where", "public.part/7"]).expect(1);
    assert!(differs.stdout.contains("name: \"sept\" at the source, \"other\" here"), "{}", differs.stdout);
    redis.cli(&["DEL", "part:7"]);
    let missing = service.command(&["where", "part/7"]).expect(1);
    assert!(missing.stdout.contains("missing"), "{}", missing.stdout);
    let absent = service.command(&["where", "part/4711"]).expect(0);
    assert!(
        absent.stdout.contains("no such row") && absent.stdout.contains("no document"),
        "{}",
        absent.stdout
    );

    for (row, says) in [
        ("parts/7", "did you mean `part`?"),
        ("part/seven", "has the key (id integer)"),
        ("part", "names no row"),
    ] {
        let refused = service.command(&["where", row]).expect(1);
        assert!(refused.stderr.contains(says), "{row}: {}", refused.stderr);
    }
    service.stop();
}
