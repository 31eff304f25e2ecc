//! `headwater verify` as a script calls it: what it says, how it ends, and what `--repair` makes of damage.

use headwater_testkit::Redis;
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::service::Service;

const FILE: &str = r#"
[source]
url = "sqlite:shop.db"
[stores]
local = { url = "sqlite:derived.db" }
spare = { url = "sqlite:spare.db" }
[views.item]
from = "item"
store = ["local", "spare"]
[views.shelf]
from = "shelf"
embed.items = { from = "item", many = "shelf_id" }
store = "local"
[views.most]
from = "item"
rank = { by = "shelf_id", score = "count(*)" }
store = "local"
"#;

async fn shop(file: &str) -> Service {
    let service = Service::new("verify", file);
    let db = Connection::open(service.path("shop.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE shelf (id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE item (id INTEGER PRIMARY KEY, shelf_id INTEGER, name TEXT);
         INSERT INTO shelf VALUES (1, 'upper'), (2, 'lower');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO item SELECT i, 1 + i % 2, 'item ' || i FROM n",
    )
    .unwrap();
    service.start();
    service.healthy().await;
    service
}

fn damage(service: &Service, sql: &str) {
    let db = Connection::open(service.path("derived.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    db.execute_batch(sql).unwrap();
}

const DAMAGE: &str = r#"
    DELETE FROM item WHERE key = '7';
    UPDATE item SET document = '{"id":8,"shelf_id":1,"name":"another"}' WHERE key = '8';
    INSERT INTO item (key, document) VALUES ('9000', '{}');
    UPDATE shelf SET document = '{"id":1,"name":"upper","items":[]}' WHERE key = '1';
    DELETE FROM most WHERE key = '2';
"#;

fn verified(service: &Service, args: &[&str], code: i32) -> Json {
    let args: Vec<&str> = ["verify", "--json"].iter().chain(args).copied().collect();
    serde_json::from_str(&service.command(&args).expect(code).stdout).unwrap()
}

fn of<'a>(report: &'a Json, view: &str, store: &str) -> &'a Json {
    let views = report["views"].as_array().unwrap();
    views.iter().find(|one| one["name"] == view && one["store"] == store).expect("it is in the report")
}

const RANKED: &str = r#"
[source]
url = "sqlite:shop.db"
[stores]
local = { url = "sqlite:derived.db" }
[views.most]
from = "item"
rank = { by = "shelf_id", score = "count(*)" }
store = "local"
[views.total]
from = "item"
rank = { by = "shelf_id", score = "sum(id)" }
store = "local"
[views.least]
from = "item"
rank = { by = "shelf_id", score = "min(id)" }
store = "local"
"#;

/// The groups of a ranking in the mirror, by the view's name, made wrong.
fn miscount(service: &Service, view: &str, sql: &str) {
    let db = Connection::open(service.path("headwater-data/mirror.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    let id: i64 = db.query_row("SELECT id FROM rankings WHERE view = ?1", [view], |row| row.get(0)).unwrap();
    let changed = db.execute(&sql.replace("{id}", &id.to_string()), []).unwrap();
    assert!(changed > 0, "{view}: nothing was made wrong");
}

/// The keys of a ranking's groups that are wrong in the mirror, each with what is wrong.
fn miscounted(report: &Json, view: &str) -> Vec<String> {
    let mirror = report["mirror"].as_array().unwrap();
    let of =
        mirror.iter().find(|one| one["name"] == view && one["store"] == "groups").expect("it was counted");
    let told = of["drifted"].as_array().unwrap().iter().map(|drifted| {
        let fields = drifted["fields"].as_array().map_or(&[][..], |fields| fields);
        let fields: Vec<String> =
            fields.iter().map(|f| format!("{} {} {}", f["field"], f["expected"], f["found"])).collect();
        format!("{} {} {}", drifted["key"], drifted["kind"], fields.join(", ")).replace('"', "")
    });
    told.collect()
}

/// A group that was counted wrong is as wrong in every store: both agree, and only its rows tell.
#[tokio::test(flavor = "multi_thread")]
async fn groups_that_do_not_fit_the_mirrors_rows_are_found_and_counted_again() {
    let service = shop(RANKED).await;
    let source = Connection::open(service.path("shop.db")).unwrap();
    source.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    source.execute_batch("DELETE FROM item WHERE id = 2").unwrap();
    let score = |view: &str, key: i64| -> Option<i64> {
        let db = Connection::open(service.path("derived.db")).unwrap();
        let found = format!("SELECT document ->> 'score' FROM {view} WHERE key = ?1");
        db.query_row(&found, [key.to_string()], |row| row.get(0)).ok()
    };
    let has = |view: &str, key: i64, expected: i64| match score(view, key) {
        Some(found) if found == expected => Ok(()),
        found => Err(format!("{view} {key}: {found:?}")),
    };
    service.eventually("the deletion is there", async || has("most", 1, 149)).await;
    let said = service.command(&["verify"]).expect(0).stdout;
    assert!(said.contains("✓ groups of least: equal\n  2 rows compared at offsets"), "{said}");

    // What is taken out of a group that does not have it has it counted again at once.
    miscount(&service, "total", "DELETE FROM g{id}");
    source.execute_batch("DELETE FROM item WHERE id = 299").unwrap();
    let total = |key: i64| -> i64 {
        source.query_row("SELECT sum(id) FROM item WHERE shelf_id = ?1", [key], |row| row.get(0)).unwrap()
    };
    service.eventually("the sum is right again", async || has("total", 2, total(2))).await;
    source.execute_batch("INSERT INTO item VALUES (299, 2, 'again')").unwrap();
    service.eventually("and still is", async || has("total", 2, total(2))).await;
    verified(&service, &["total", "--repair"], 0);

    // The first group takes the count of the other; one sum is lost; the least of a group's values too.
    miscount(
        &service,
        "most",
        "UPDATE g{id} AS own SET state = (SELECT state FROM g{id} AS other WHERE other.k <> own.k)",
    );
    miscount(&service, "total", "DELETE FROM g{id} WHERE k = (SELECT max(k) FROM g{id})");
    miscount(
        &service,
        "least",
        "DELETE FROM v{id} WHERE (k, sort) IN (SELECT k, sort FROM v{id} ORDER BY k, sort LIMIT 1)",
    );
    source.execute_batch("INSERT INTO item VALUES (1000, 1, 'one more')").unwrap();
    service.eventually("the store has the wrong count", async || has("most", 1, 151)).await;
    service.eventually("and the wrong least", async || has("least", 1, 6)).await;

    let report = verified(&service, &[], 1);
    assert_eq!(miscounted(&report, "most"), ["1 different score 150 151, (rows) 150 151"]);
    assert_eq!(miscounted(&report, "total"), ["2 missing "]);
    assert_eq!(miscounted(&report, "least"), ["1 different score 4 6"]);
    let said = service.command(&["verify", "most"]).expect(1).stdout;
    assert!(said.contains("✗ groups of most: drifted"), "{said}");

    let report = verified(&service, &["--repair"], 0);
    for (view, repaired) in [("most", 1), ("least", 1)] {
        let mirror = report["mirror"].as_array().unwrap();
        let of = mirror.iter().find(|one| one["name"] == view && one["store"] == "groups").unwrap();
        assert_eq!(of["repaired"], repaired, "{view}: {report}");
    }
    verified(&service, &[], 0);
    assert_eq!((score("most", 1), score("most", 2), score("least", 1)), (Some(150), Some(150), Some(4)));
    assert_eq!(score("total", 2), Some(total(2)));
}

/// A list is read by an index of the mirror: what that lacks is missing in the mirror's document and in every store's alike.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_do_not_fit_the_mirrors_rows_are_found_and_written_again() {
    let service = shop(FILE).await;
    let source = Connection::open(service.path("shop.db")).unwrap();
    source.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    let ids = |db: &Connection, sql: &str| -> Vec<i64> {
        let mut found = db.prepare(sql).unwrap();
        found.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let listed = || {
        let db = Connection::open(service.path("derived.db")).unwrap();
        ids(
            &db,
            "SELECT e.value ->> 'id' FROM shelf s, json_each(s.document -> 'items') e WHERE s.key = '1' ORDER BY 1",
        )
    };
    let should = ids(&source, "SELECT id FROM item WHERE shelf_id = 1 ORDER BY 1");
    assert_eq!(listed(), should);

    // One row of the first shelf's lacks its entry, and one of the other's has one there too.
    let mirror = Connection::open(service.path("headwater-data/mirror.db")).unwrap();
    mirror.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    let indexes = ids(&mirror, "SELECT id FROM indexes");
    let [index] = indexes[..] else { panic!("{indexes:?}") };
    let sql = format!(
        "DELETE FROM i{index} WHERE k = (SELECT min(k) FROM i{index}) AND sort = (SELECT min(sort) FROM i{index}
             WHERE k = (SELECT min(k) FROM i{index}));
         INSERT INTO i{index} SELECT (SELECT min(k) FROM i{index}), sort, pk, row FROM i{index}
             WHERE k = (SELECT max(k) FROM i{index}) LIMIT 1"
    );
    mirror.execute_batch(&sql).unwrap();
    source.execute_batch("UPDATE shelf SET name = name || '!'").unwrap();
    let wrong: Vec<i64> = std::iter::once(1).chain(should[1..].iter().copied()).collect();
    service
        .eventually("the store has the wrong list", async || match listed() {
            found if found == wrong => Ok(()),
            found => Err(format!("{found:?}")),
        })
        .await;

    let report = verified(&service, &[], 1);
    assert_eq!(of(&report, "shelf", "local")["verdict"], "equal", "{report}");
    let item = |report: &Json| {
        let mirror = report["mirror"].as_array().unwrap();
        mirror.iter().find(|one| one["name"] == "item" && one["store"] == "mirror").unwrap().clone()
    };
    assert_eq!(item(&report)["misplaced"], 2, "{report}");
    let said = service.command(&["verify", "shelf"]).expect(1).stdout;
    for part in [
        "✗ mirror of item: drifted",
        "misplaced in indexes 2",
        "(index by shelf_id): should be \"an entry\", is nothing",
        "(index by shelf_id): should be nothing, is \"an entry\"",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }

    let report = verified(&service, &["--repair"], 0);
    assert_eq!(
        (&item(&report)["repaired"], &of(&report, "shelf", "local")["repaired"]),
        (&2.into(), &1.into())
    );
    assert_eq!(listed(), should);
    verified(&service, &[], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_named_by_key_and_field_and_repaired() {
    let service = shop(FILE).await;
    let equal = service.command(&["verify"]).expect(0).stdout;
    assert!(equal.contains("✓ item in local: equal\n  300 rows compared at offsets"), "{equal}");
    assert!(equal.contains("✓ mirror of item: equal"), "{equal}");
    assert!(equal.contains("every store equals the source"), "{equal}");

    damage(&service, DAMAGE);
    let said = service.command(&["verify", "item", "--store", "local"]).expect(1).stdout;
    for part in [
        "✗ item in local: drifted",
        "missing 1 · extra 1 · different 1",
        "missing   7\n",
        "extra     9000\n",
        "different 8\n",
        "name: should be \"\\\"item 8\\\"\", is \"\\\"another\\\"\"",
        "3 keys drifted",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains("spare"), "{said}");
    let report = verified(&service, &[], 1);
    assert_eq!(of(&report, "item", "local")["drifted"].as_array().unwrap().len(), 3, "{report}");
    assert_eq!(of(&report, "item", "spare")["verdict"], "equal", "{report}");
    assert_eq!(of(&report, "shelf", "local")["drifted"][0]["fields"][0]["field"], "items", "{report}");
    assert_eq!(of(&report, "most", "local")["drifted"][0]["key"], "2", "{report}");

    let report = verified(&service, &["--repair"], 0);
    assert_eq!(of(&report, "item", "local")["repaired"], 3, "{report}");
    assert_eq!(of(&report, "shelf", "local")["repaired"], 1, "{report}");
    assert_eq!(of(&report, "most", "local")["repaired"], 1, "{report}");
    let report = verified(&service, &[], 0);
    assert_eq!(of(&report, "item", "local")["verdict"], "equal", "{report}");
    verified(&service, &["--sample", "50%"], 0);

    // More than may be put right without asking: it says so, and does it when it is allowed to.
    damage(&service, "DELETE FROM item WHERE key <> '1'");
    let said = service.command(&["verify", "item", "--repair"]).expect(1).stdout;
    assert!(said.contains("--allow 100%"), "{said}");
    let report = verified(&service, &["item", "--repair", "--allow", "100%"], 0);
    assert_eq!(of(&report, "item", "local")["repaired"], 299, "{report}");
    verified(&service, &[], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drifts_is_found_and_put_right_without_being_asked_for() {
    let file = format!("{FILE}\n[verify]\nrate = \"100000/s\"\nrepair = true\n");
    let service = shop(&file).await;
    let verified = |service: &Service| {
        let status = service.command(&["status", "--json"]).stdout;
        let status: Json = serde_json::from_str(&status).unwrap();
        let local = status["stores"].as_array().unwrap().iter().find(|s| s["name"] == "local").unwrap();
        let item = local["views"].as_array().unwrap().iter().find(|v| v["name"] == "item").unwrap();
        item["verified"].clone()
    };
    let first = |service: &Service| verified(service)["at_micros"].as_i64();
    service
        .eventually("the view was verified by itself", async || match verified(&service) {
            Json::Null => Err("never".to_owned()),
            seen => {
                if seen["rows"] == 300 && seen["drifted"] == 0 {
                    Ok(())
                } else {
                    Err(seen.to_string())
                }
            }
        })
        .await;
    let (status, _) = service.status();
    assert_eq!(
        status["verification"]["never_compared"].as_u64().map(|never| never < 4),
        Some(true),
        "{status}"
    );
    service
        .eventually("all was verified, and it is said how long ago", async || {
            let (status, _) = service.status();
            let all =
                status["verification"]["covered"] == 1.0 && status["verification"]["oldest_ms"].is_u64();
            if all { Ok(()) } else { Err(status["verification"].to_string()) }
        })
        .await;
    let said = service.command(&["status"]).stdout;
    assert!(said.contains("verified: all of it, the oldest part "), "{said}");
    // It is remembered, and a new instance does not begin from nothing.
    let before = first(&service);
    service.kill();
    damage(&service, DAMAGE);
    age(&service);
    service.start();
    service.healthy().await;
    service
        .eventually("the damage is found and put right", async || {
            let said = service.command(&["incidents", "--json"]).stdout;
            let found = said.contains("\"drifted\"")
                && said.contains("view item: 1 missing, 1 extra, 1 different; 3 put right");
            if found { Ok(()) } else { Err(said) }
        })
        .await;
    assert!(first(&service) > before);
    service
        .eventually("nothing is left", async || {
            // Whoever asks goes first: without a pause the asking would hold up what it waits for.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let ran = service.command(&["verify"]);
            if ran.code == 0 { Ok(()) } else { Err(ran.stdout + &ran.stderr) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_waits_for_whom_the_file_says_and_names_them() {
    let service = shop(&format!("{FILE}\n[heal]\nrepair = \"one\"\n")).await;
    damage(&service, DAMAGE);
    let said = service.command(&["verify", "--repair"]).expect(1).stdout;
    assert!(said.contains("nothing was put right: it differs from the source"), "{said}");
    assert!(said.contains("waits for one person: `headwater heal approve 1 --as NAME`"), "{said}");
    assert_eq!(verified(&service, &["item", "--store", "local"], 1)["views"][0]["different"], 1);
    // Each view in a store is a matter of its own, and says what it is about.
    let plan: Json =
        serde_json::from_str(&service.command(&["heal", "plan", "--json"]).expect(0).stdout).unwrap();
    let held = |plan: &Json| -> Vec<(String, String)> {
        let all = plan["held"].as_array().unwrap().iter();
        all.map(|one| (one["part"].to_string(), one["evidence"].to_string())).collect()
    };
    let expected = [
        ("\"view local/item\"", "\"1 missing, 1 extra, 1 different; 7, for one\""),
        ("\"view local/shelf\"", "\"0 missing, 0 extra, 1 different; 1, for one\""),
        ("\"view local/most\"", "\"1 missing, 0 extra, 0 different; 2, for one\""),
    ];
    assert_eq!(held(&plan), expected.map(|(part, of)| (part.to_owned(), of.to_owned())));
    service.command(&["heal", "approve", "1", "--as", "ann"]).expect(0);
    // A pause of the store outweighs it.
    service.command(&["heal", "pause", "store:local", "--as", "bo"]).expect(0);
    let said = service.command(&["verify", "item", "--repair"]).expect(1).stdout;
    assert!(said.contains("paused by bo: `headwater heal resume store:local`"), "{said}");
    service.command(&["heal", "resume", "store:local", "--as", "bo"]).expect(0);
    let said = service.command(&["verify", "--repair"]).expect(1).stdout;
    assert!(said.contains("3 put right, 2 left"), "{said}");
    // Used up.
    damage(&service, "DELETE FROM item WHERE key = '9'");
    let said = service.command(&["verify", "item", "--repair"]).expect(1).stdout;
    assert!(said.contains("heal approve 4 "), "{said}");
    // What is right again waits for nobody any more.
    let nine = r#"INSERT INTO item (key, document) VALUES ('9', '{"id":9,"shelf_id":2,"name":"item 9"}')"#;
    damage(&service, nine);
    service.command(&["verify", "item"]).expect(0);
    let plan = service.command(&["heal", "plan", "--json"]).expect(0).stdout;
    assert!(!plan.contains("view local/item"), "{plan}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_puts_right_what_was_approved_and_no_sooner() {
    let file = format!("{FILE}\n[verify]\nrate = \"100000/s\"\nrepair = true\n[heal]\nrepair = \"two\"\n");
    let service = shop(&file).await;
    service.kill();
    damage(&service, "DELETE FROM item WHERE key = '7'");
    age(&service);
    service.start();
    let id = service
        .eventually("the repair is held", async || {
            let (status, _) = service.status();
            status["heal"]["held"][0]["id"].as_u64().ok_or_else(|| status.to_string())
        })
        .await
        .to_string();
    service.command(&["heal", "approve", &id, "--as", "ann"]).expect(0);
    service.command(&["verify", "item", "--store", "local"]).expect(1);
    service.command(&["heal", "approve", &id, "--as", "bo"]).expect(0);
    service
        .eventually("it is put right by itself", async || {
            // As above: whoever asks goes first.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let ran = service.command(&["verify", "item", "--store", "local"]);
            if ran.code == 0 { Ok(()) } else { Err(ran.stdout + &ran.stderr) }
        })
        .await;
    service
        .eventually("who approved it is on record", async || {
            let log = service.command(&["incidents", "--part", "view:local/item"]).expect(0).stdout;
            if log.contains("ann, bo") { Ok(()) } else { Err(log) }
        })
        .await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_damage_goes_unnoticed_is_measured_and_disturbs_nobody() {
    let more =
        "\n[verify]\nrate = \"100000/s\"\nevery = \"1s\"\ndetect_within = \"1h\"\n[heal]\nrepair = \"two\"\n";
    // One of each kind of store that comes without a server, and a real Redis.
    let redis = Redis::start();
    let stores = format!(
        "spare = {{ url = \"sqlite:spare.db\" }}\nnear = {{ url = \"{}\" }}\nquick = {{ url = \"memory:\" }}",
        redis.url()
    );
    let file = FILE
        .replace("spare = { url = \"sqlite:spare.db\" }", &stores)
        .replace("\"spare\"]", "\"spare\", \"near\", \"quick\"]");
    let service = shop(&format!("{file}{more}")).await;
    let canaries = |service: &Service| service.status().0["verification"]["canaries"].clone();
    service
        .eventually("the canary of every store was found twice", async || {
            let all = canaries(&service);
            let found = ["local", "spare", "near", "quick"]
                .iter()
                .all(|store| all[store]["detections"].as_u64() >= Some(2));
            if found { Ok(()) } else { Err(all.to_string()) }
        })
        .await;
    let local = &canaries(&service)["local"];
    assert!(
        local["longest_ms"].as_u64() >= local["newest_ms"].as_u64() && local["newest_ms"].is_u64(),
        "{local}"
    );
    let said = service.command(&["status"]).stdout;
    assert!(said.contains("  damage in local is found within "), "{said}");
    // Nobody's data: no drift, nothing held, no rows.
    service.command(&["verify"]).expect(0);
    let (status, _) = service.status();
    for store in status["stores"].as_array().unwrap() {
        assert!(
            store["views"].as_array().unwrap().iter().all(|view| view["name"] != "_headwater_canary"),
            "{store}"
        );
    }
    assert_eq!(status["heal"]["held"], serde_json::json!([]), "{status}");
    let incidents = service.command(&["incidents", "--json"]).stdout;
    assert!(!incidents.contains("drifted") && !incidents.contains("undetected"), "{incidents}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_not_found_in_time_is_an_incident() {
    // At one row a second a round takes minutes.
    let file = format!("{FILE}\n[verify]\nrate = \"1/s\"\nevery = \"1s\"\ndetect_within = \"1s\"\n");
    let service = shop(&file).await;
    service
        .eventually("it is said", async || {
            let said = service.command(&["incidents", "--part", "store:local"]).stdout;
            if said.contains("undetected") && said.contains("not found within 1 s") {
                Ok(())
            } else {
                Err(said)
            }
        })
        .await;
    service.kill();
}

/// `kill -9` between two steps of a repair: what it did is right, nothing is half, and the successor does the rest under the same
/// approval.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_was_killed_is_taken_up_by_the_successor_under_the_same_approval() {
    const ROWS: i64 = 6_300;
    let service = shop(&format!("{FILE}\n[heal]\nrepair = \"one\"\n")).await;
    let db = Connection::open(service.path("shop.db")).unwrap();
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 301 UNION ALL SELECT i + 1 FROM n WHERE i < 6300)
         INSERT INTO item SELECT i, 1 + i % 2, 'item ' || i FROM n",
    )
    .unwrap();
    let copy = Connection::open(service.path("derived.db")).unwrap();
    copy.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    let rows = || -> i64 { copy.query_row("SELECT count(*) FROM item", [], |row| row.get(0)).unwrap() };
    let all_there = async || if rows() == ROWS { Ok(()) } else { Err(rows().to_string()) };
    service.eventually("all rows are there", all_there).await;
    copy.execute_batch("DELETE FROM item WHERE CAST(key AS INTEGER) > 300").unwrap();
    let repair = ["verify", "item", "--store", "local", "--repair", "--allow", "100%"];
    service.command(&repair).expect(1);
    service.command(&["heal", "approve", "1", "--as", "ann"]).expect(0);
    std::thread::scope(|scope| {
        let broken_off = scope.spawn(|| service.command(&repair));
        while rows() == 300 {
            std::thread::yield_now();
        }
        service.kill();
        let ran = broken_off.join().unwrap();
        assert_ne!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    });
    let done = rows();
    assert!(done > 300 && done < ROWS, "killed in the middle: {done}");
    service.start();
    service.healthy().await;
    let report = verified(&service, &["item", "--store", "local"], 1);
    let item = of(&report, "item", "local");
    assert_eq!(
        (item["missing"].as_i64(), &item["different"], &item["extra"]),
        (Some(ROWS - done), &0.into(), &0.into())
    );
    let said = service.command(&repair).expect(0).stdout;
    let told = said.replace(',', "");
    assert!(told.contains(&format!("{} keys drifted and put right", ROWS - done)), "{said}");
    service.command(&["verify"]).expect(0);
    copy.execute_batch("DELETE FROM item WHERE key = '7'").unwrap();
    let said = service.command(&repair).expect(1).stdout;
    assert!(said.contains("heal approve 2 "), "the approval was for one repair: {said}");
    service.stop();
}

/// As if everything had been verified long ago.
fn age(service: &Service) {
    let db = Connection::open(service.path("headwater-data/state.db")).unwrap();
    db.execute_batch("UPDATE verified SET at_micros = at_micros - 3600000000").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_refused_with_what_can() {
    let service = Service::new("verify-refused", FILE);
    let said = service.command(&["verify"]).expect(2).stderr;
    assert!(said.contains("no instance runs") && said.contains("headwater run"), "{said}");
    drop(service);
    let service = shop(FILE).await;
    for (args, parts) in [
        (&["verify", "items"][..], ["there is no view `items`", "name one of: item, shelf, most"]),
        (&["verify", "--store", "near"], ["there is no store `near`", "name one of: local, spare"]),
        (&["verify", "shelf", "--store", "spare"], ["store `spare` holds none of the views", ""]),
        (&["verify", "--sample", "0%"], ["more than 0%", "5%"]),
    ] {
        let said = service.command(args).expect(2).stderr;
        assert!(parts.iter().all(|part| said.contains(part)), "{args:?} says {said}");
    }
}
