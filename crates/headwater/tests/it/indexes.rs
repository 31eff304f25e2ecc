//! `headwater doctor indexes`: the program against a PostgreSQL whose workload asks for indexes, or for none.

use headwater_testkit::Postgres;
use serde_json::Value;

use crate::support::Site;

/// A shop whose orders are looked up by customer, by a rare state, by the lower case of an address and by a part of a note; its
/// `visits` are counted up all the time.
fn shop() -> Postgres {
    let postgres = Postgres::builder()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("autovacuum", "off")
        // Several processes read a table of any size together: a copy that does not know it asks another planner.
        .setting("min_parallel_table_scan_size", "0")
        .setting("parallel_setup_cost", "1")
        .start();
    postgres.psql(
        "CREATE EXTENSION pg_stat_statements;
         CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, state text NOT NULL, email text NOT NULL,
                              note text NOT NULL, placed timestamptz NOT NULL, total numeric NOT NULL);
         INSERT INTO orders SELECT n, n % 1300, CASE WHEN n % 500 = 0 THEN 'waiting' ELSE 'sent' END,
                                   'Somebody' || n || '@example.org', md5(n::text), '2026-01-01'::timestamptz + n * interval '1 min', n
         FROM generate_series(1, 20000) n;
         CREATE TABLE visits (page int PRIMARY KEY, shop int NOT NULL, seen int NOT NULL) WITH (fillfactor = 70);
         INSERT INTO visits SELECT n, n % 100, 0 FROM generate_series(1, 10000) n",
    );
    postgres.psql("VACUUM ANALYZE");
    postgres
}

const QUERIES: &str = "-- name: orders of a customer
-- calls: 10000
SELECT id, total FROM orders WHERE customer_id = 77 ORDER BY placed DESC LIMIT 10;
-- name: what waits
-- calls: 1000
SELECT id FROM orders WHERE state = 'waiting' ORDER BY placed;
-- name: by address
-- calls: 500
SELECT * FROM orders WHERE lower(email) = 'somebody5@example.org';
-- name: by a part
-- calls: 500
SELECT id FROM orders WHERE note LIKE '%abcdef%';
";

fn advice(site: &Site, args: &[&str], code: i32) -> Value {
    let ran = site.run(&[&["doctor", "indexes"], args, &["--json"]].concat()).expect(code);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

fn definitions(advice: &Value) -> Vec<String> {
    let indexes = advice["indexes"].as_array().unwrap();
    indexes.iter().map(|index| index["definition"].as_str().unwrap().to_owned()).collect()
}

// A server takes seconds to start and fill, and so does each question: what can be asked of the same one is.
#[test]
fn a_workload_is_advised_the_indexes_it_asks_for_and_then_none() {
    let postgres = shop();
    let site = Site::new("indexes");
    mistakes_in_the_file_of_queries_are_pointed_at(&site, &postgres.url());
    on_a_copy_the_choice_is_by_measured_time_and_makes_no_query_slower(&site, &postgres);
    site.write("queries.sql", QUERIES);
    // Nobody else is there: a transaction that wrote anything would have taken a number.
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let before = postgres.psql(next);
    let url = postgres.url();
    let advised = advice(&site, &[&url, "--queries", "queries.sql", "--fix-script", "indexes.sql"], 1);
    assert_eq!(postgres.psql(next), before, "something was written to the database that is advised");
    // What it costs today is what the database itself says.
    let by_part = "EXPLAIN (FORMAT JSON) SELECT id FROM orders WHERE note LIKE '%abcdef%'";
    let plan: Value = serde_json::from_str(&postgres.psql(by_part)).unwrap();
    assert_eq!(plan[0]["Plan"]["Node Type"], "Gather", "{plan:#}");
    let asked =
        advised["queries"].as_array().unwrap().iter().find(|query| query["name"] == "by a part").unwrap();
    let (there, here) = (plan[0]["Plan"]["Total Cost"].as_f64().unwrap(), asked["before"].as_f64().unwrap());
    assert!((there - here).abs() < 0.01 * there, "{there} there, {here} here");
    let found = definitions(&advised);
    let has = |what: &str| assert!(found.iter().any(|text| text.contains(what)), "{what}: {found:#?}");
    has("(customer_id, placed)");
    has("WHERE state = 'waiting'");
    has("((lower(email)))");
    has("USING gin (note public.gin_trgm_ops)");
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("(customer_id"), "the most worth first: {found:#?}");
    let first = &advised["indexes"][0];
    assert_eq!(first["helps"][0]["query"], "orders of a customer");
    assert!(first["helps"][0]["after"].as_f64() < first["helps"][0]["before"].as_f64());
    let script = site.read("indexes.sql");
    let ran = postgres
        .tool("psql")
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(site.path("indexes.sql"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}\n{script}", String::from_utf8_lossy(&ran.stderr));
    postgres.psql("VACUUM ANALYZE orders");
    // How large they were said to become is how large they are.
    for index in advised["indexes"].as_array().unwrap() {
        let name = index["name"].as_str().unwrap();
        let real: f64 = postgres.psql(&format!("SELECT pg_relation_size('{name}')")).parse().unwrap();
        let said = index["bytes"].as_f64().unwrap();
        let near = if name.ends_with("trgm_idx") { 3.0 } else { 1.25 };
        assert!(
            said < real * near + 24_576.0 && real < said * near + 24_576.0,
            "{name}: said {said}, is {real}"
        );
    }
    let ran = site.run(&["doctor", "indexes", &url, "--queries", "queries.sql"]).expect(0);
    assert!(ran.stdout.contains("No index would pay"), "{}", ran.stdout);
}

#[test]
fn writes_bound_what_is_advised_and_the_server_s_counts_are_a_workload() {
    let postgres = shop();
    let site = Site::new("indexes");
    writes_and_room_bound_what_is_advised(&site, &postgres.url());
    an_index_that_only_costs_is_one_to_drop(&site, &postgres);
}

fn writes_and_room_bound_what_is_advised(site: &Site, url: &str) {
    // Counted up in place a thousand times for each time that somebody looks.
    site.write(
        "hot.sql",
        "-- calls: 200000\nUPDATE visits SET seen = seen + 1 WHERE page = 7;\n\
         -- calls: 16000\nSELECT page FROM visits WHERE seen = 12 AND shop = 3;\n",
    );
    let free = advice(site, &[url, "--queries", "hot.sql"], 1);
    let with_seen = |advice: &Value| definitions(advice).iter().any(|text| text.contains("seen"));
    assert!(with_seen(&free), "reading pays for it: {free:#}");
    let index = &free["indexes"][0];
    assert!(
        index["writes_dearer"].as_f64() > Some(0.5) && index["ends_updates_in_place"] == true,
        "{index:#}"
    );
    let bound = advice(site, &[url, "--queries", "hot.sql", "--write-budget", "10%"], 1);
    assert!(!with_seen(&bound), "{bound:#}");
    assert_eq!(definitions(&bound), ["(shop)"], "an index on a column that stays costs updates nothing");
    // Room for nothing.
    site.write("queries.sql", QUERIES);
    let small = advice(site, &[url, "--queries", "queries.sql", "--budget", "32KiB"], 1);
    assert!(small["bytes"].as_f64() <= Some(32_768.0), "{small:#}");
}

fn an_index_that_only_costs_is_one_to_drop(site: &Site, postgres: &Postgres) {
    postgres.psql("CREATE INDEX visits_shop_seen ON visits (seen, shop)");
    postgres.psql("SELECT pg_stat_statements_reset()");
    let url = postgres.url();
    let ran = site.run(&["doctor", "indexes", &url]).expect(2);
    assert!(ran.stderr.contains("no statement of this database"), "{}{}", ran.stderr, ran.stdout);
    for n in 0..40 {
        postgres.psql(&format!("SELECT total FROM orders WHERE customer_id = {n}"));
        postgres.psql(&format!("UPDATE visits SET seen = seen + 1 WHERE page = {n}"));
    }
    let reason = "the report of the year needs it";
    let accepted = format!("[doctor.accepted]\n\"HW3012 public.visits visits_shop_seen\" = \"{reason}\"\n");
    site.write("headwater.toml", &format!("[source]\nurl = \"{url}\"\n{accepted}"));
    let advised = advice(site, &["--fix-script", "indexes.sql"], 1);
    assert_eq!(advised["indexes"][1]["accepted"], reason);
    let script = site.read("indexes.sql");
    assert!(script.contains("(customer_id)") && !script.contains("visits_shop_seen"), "{script}");
    // From then on it is a finding like any other.
    let found = site
        .run(&["doctor", "--store", "headwater", "--check", "HW3012", "--fix-script", "all.sql"])
        .expect(0);
    for part in
        ["HW3012  An index that the workload asks for", "public.orders (customer_id)", "1 accepted", reason]
    {
        assert!(found.stdout.contains(part), "{part}: {}", found.stdout);
    }
    assert!(site.read("all.sql").contains("\nCREATE INDEX CONCURRENTLY"), "{}", site.read("all.sql"));
    let statements: Vec<String> = advised["indexes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|index| index["statement"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(statements.len(), 2, "{advised:#}");
    assert!(statements[0].contains("ON public.orders (customer_id)"), "{statements:?}");
    assert_eq!(statements[1], "DROP INDEX CONCURRENTLY \"public\".\"visits_shop_seen\";");
}

fn mistakes_in_the_file_of_queries_are_pointed_at(site: &Site, url: &str) {
    site.write("queries.sql", "-- calls: 3\nSELECT id FROM orders;\n\nSELECT id\n  FROM order_lines;\nSELECT nothing FROM orders;\n");
    let ran = site.run(&["doctor", "indexes", url, "--queries", "queries.sql"]).expect(1);
    for part in [
        "queries.sql:5:8",
        "relation \"order_lines\" does not exist",
        "queries.sql:6:8",
        "nothing",
        "2 mistakes",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(ran.stdout.is_empty());
    site.write("queries.sql", "-- calls: often\nSELECT 1;\n");
    site.run(&["doctor", "indexes", url, "--queries", "queries.sql"])
        .expect(1)
        .says(&["`often`", "queries.sql:1:1"]);
    // What has no indexes is a mistake; what could not be asked is none, and nothing is known.
    site.write("queries.sql", "SELECT 1;\n");
    site.run(&["doctor", "indexes", "redis://127.0.0.1:1", "--queries", "queries.sql"]).expect(1);
    let nobody = "postgres://nobody@127.0.0.1:1/shop";
    site.run(&["doctor", "indexes", nobody, "--queries", "queries.sql"])
        .expect(2)
        .says(&["connect to 127.0.0.1:1"]);
    let bare = Postgres::start();
    site.run(&["doctor", "indexes", &bare.url()])
        .expect(2)
        .says(&["no extension pg_stat_statements", "help: "]);
}

fn on_a_copy_the_choice_is_by_measured_time_and_makes_no_query_slower(site: &Site, postgres: &Postgres) {
    site.write("queries.sql", QUERIES);
    let url = postgres.url();
    // The server that is advised is no copy, whatever it is called.
    let alias = url.replace("127.0.0.1", "localhost");
    for name in [&url, &alias] {
        let ran =
            site.run(&["doctor", "indexes", &url, "--queries", "queries.sql", "--verify", name]).expect(2);
        assert!(ran.stderr.contains("the server that is advised"), "{}", ran.stderr);
    }
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass"), "1");
    let dumped = postgres.tool("pg_dump").args(["-Fc", "-f"]).arg(site.path("shop.dump")).status().unwrap();
    assert!(dumped.success());
    let advised = advice(site, &[&url, "--queries", "queries.sql", "--verify", "shop.dump"], 1);
    assert_eq!((&advised["verified"], advised["unit"].as_str()), (&Value::Bool(true), Some("milliseconds")));
    assert!(definitions(&advised).iter().any(|text| text.starts_with("(customer_id")), "{advised:#}");
    assert!(advised["after"].as_f64().unwrap() < 0.5 * advised["before"].as_f64().unwrap(), "{advised:#}");
    for query in advised["queries"].as_array().unwrap() {
        assert!(query["after"].as_f64() <= query["before"].as_f64(), "{query:#}");
    }
    assert!(advised["indexes"][0]["build_ms"].as_f64() > Some(0.0), "{advised:#}");
}

const WRITES: &str = "-- name: pay
-- calls: 400
UPDATE orders SET total = total + 1 WHERE customer_id = 7;
-- name: next in line
-- calls: 100
SELECT id FROM orders WHERE state = 'waiting' ORDER BY placed LIMIT 1 FOR UPDATE SKIP LOCKED;
-- name: place
-- calls: 10
INSERT INTO orders VALUES (0, 1, 'waiting', 'a', 'b', now(), 1), (-1, 1, 'waiting', 'a', 'b', now(), 1);
-- name: forget
DELETE FROM visits v USING orders o WHERE o.id = v.page AND o.customer_id = 9;
";

#[tokio::test(flavor = "multi_thread")]
async fn in_place_the_database_s_own_planner_says_the_same_behind_locks_that_let_only_readers_in() {
    if Postgres::lacks_hypopg() {
        return;
    }
    let postgres = shop();
    postgres.psql("CREATE ROLE doctor LOGIN; GRANT pg_read_all_data, pg_read_all_stats TO doctor; CREATE ROLE blind LOGIN");
    let site = Site::new("indexes");
    site.write("queries.sql", &format!("{QUERIES}{WRITES}"));
    let url = postgres.url().replace("postgres@", "doctor@");
    let asked = ["doctor", "indexes", &url, "--queries", "queries.sql", "--in-place"];
    site.run(&asked).expect(2).says(&["no extension hypopg", "CREATE EXTENSION hypopg"]);
    postgres.psql("CREATE EXTENSION hypopg");
    let copy = advice(&site, &[&url, "--queries", "queries.sql"], 1);
    // Whoever wants more than to read waits for this, and we wait for nobody.
    let client = postgres.connect().await;
    client.batch_execute("BEGIN; LOCK TABLE orders, visits IN EXCLUSIVE MODE").await.unwrap();
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let before = postgres.psql(next);
    let advised = advice(&site, &asked[2..], 1);
    assert_eq!(postgres.psql(next), before, "something was written to the database that is advised");
    let mut same = definitions(&copy);
    same.retain(|definition| !definition.contains("gin"));
    assert_eq!(definitions(&advised), same, "{advised:#}\n{copy:#}");
    for (here, there) in
        advised["queries"].as_array().unwrap().iter().zip(copy["queries"].as_array().unwrap())
    {
        let (a, b) = (here["before"].as_f64().unwrap(), there["before"].as_f64().unwrap());
        assert!(here["name"] == there["name"] && (a - b).abs() < 0.02 * b, "{here:#} {there:#}");
    }
    let said = |advice: &Value, list: &str, key: &str| -> String {
        let told = advice[list].as_array().unwrap().iter();
        told.map(|entry| entry.get(key).unwrap_or(entry).to_string()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(advised["left_out"].as_array().unwrap().len(), 1, "{}", said(&advised, "left_out", "name"));
    assert!(
        said(&advised, "left_out", "name").contains("gin (note"),
        "what cannot be asked is named: {advised:#}"
    );
    assert!(said(&advised, "notes", "").contains("of 3000 at most"), "{advised:#}");
    client.batch_execute("ROLLBACK").await.unwrap();

    let few = advice(&site, &[&asked[2..], &["--planner-calls", "9"]].concat(), 0);
    assert!(said(&few, "left_out", "why").contains("raise --planner-calls"), "{few:#}");
    assert!(said(&few, "notes", "").contains("8 calls of the planner, of 9 at most"), "{few:#}");

    postgres.psql("UPDATE pg_extension SET extversion = '1.1.4' WHERE extname = 'hypopg'");
    site.run(&asked).expect(2).says(&["hypopg 1.1.4 is too old", "ALTER EXTENSION hypopg UPDATE"]);
    postgres.psql("UPDATE pg_extension SET extversion = '1.3.1' WHERE extname = 'hypopg'");
    let blind = postgres.url().replace("postgres@", "blind@");
    let blind = ["doctor", "indexes", &blind, "--queries", "queries.sql", "--in-place"];
    site.run(&blind).expect(2).says(&["permission denied for table", "GRANT pg_read_all_data"]);
    postgres.psql("REVOKE EXECUTE ON FUNCTION hypopg_create_index FROM PUBLIC");
    site.run(&asked).expect(2).says(&["the role doctor may not use hypopg", "GRANT EXECUTE"]);
    let standby = postgres.standby();
    let standby = standby.url();
    let standby = ["doctor", "indexes", &standby, "--queries", "queries.sql", "--in-place"];
    site.run(&standby).expect(2).says(&["the server is a standby", "name the primary"]);
}
