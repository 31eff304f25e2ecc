//! `headwater doctor indexes`: the program against a MariaDB or a MySQL whose workload asks for indexes, or for none.

use headwater_testkit::{Flavour, MariaDb, numbers};
use serde_json::Value;

use crate::support::Site;

/// A shop whose orders are looked up by customer, by a rare state and by a long text. One of its indexes is the beginning of another
/// one, one is read by nobody, and one is needed by a foreign key.
fn shop(flavour: Flavour, database: &str, orders: u32) -> MariaDb {
    let mariadb = flavour.builder().arg("performance-schema", "ON").start();
    mariadb.sql_in("", &format!("CREATE DATABASE IF NOT EXISTS {database}"));
    mariadb.sql_in(
        database,
        &format!(
            "CREATE TABLE customers (id INT PRIMARY KEY, city VARCHAR(20) NOT NULL, name VARCHAR(40));
         INSERT INTO customers SELECT seq, CONCAT('city', seq % 50), LEFT(SHA2(seq, 256), 32) FROM {customers};
         CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT NOT NULL, state VARCHAR(10) NOT NULL, reference TEXT NOT NULL,
                              placed DATETIME NOT NULL, total DECIMAL(10, 2) NOT NULL, note VARCHAR(64),
                              KEY by_placed (placed), KEY by_placed_total (placed, total), KEY by_note (note));
         INSERT INTO orders SELECT seq, seq * 7919 % 4000 + 1, IF(seq % 500 = 0, 'waiting', 'sent'), CONCAT(LEFT(SHA2(seq, 256), 32), REPEAT('x', 100)),
                                   '2026-01-01' + INTERVAL seq MINUTE, seq, LEFT(SHA2(seq + 1, 256), 32) FROM {all};
         CREATE TABLE order_lines (order_id INT NOT NULL, line INT NOT NULL, product INT NOT NULL, PRIMARY KEY (line, order_id),
                                   KEY of_order (order_id), CONSTRAINT ordered FOREIGN KEY (order_id) REFERENCES orders (id));
         INSERT INTO order_lines SELECT 1 + seq % 20000, 1 + seq DIV 20000, seq % 300 FROM {lines};
         ANALYZE TABLE customers, orders, order_lines",
            customers = numbers(1, 4000),
            all = numbers(1, orders),
            lines = numbers(0, 59_999)
        ),
    );
    mariadb
}

const QUERIES: &str = "-- name: orders of a customer
-- calls: 10000
SELECT id, total FROM orders WHERE customer_id = 77 ORDER BY placed DESC LIMIT 10;
-- name: what waits
-- calls: 1000
SELECT id FROM orders WHERE state = 'waiting' ORDER BY placed;
-- name: by reference
-- calls: 500
SELECT * FROM `orders` WHERE reference = \"not there\";
-- name: a week
-- calls: 500
SELECT SUM(total) FROM orders WHERE placed >= '2026-01-20' AND placed < '2026-01-27';
-- name: customers of a city
-- calls: 100
SELECT c.name, SUM(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.city = 'city7' GROUP BY c.id, c.name;
-- name: sent
-- calls: 3000
UPDATE orders SET state = 'sent' WHERE id = 7;
";

fn advice(site: &Site, args: &[&str], code: i32) -> Value {
    let ran = site.run(&[&["doctor", "indexes"], args, &["--json"]].concat()).expect(code);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

/// Definitions of those to build, names of those to drop.
fn parted(advice: &Value) -> (Vec<String>, Vec<String>) {
    let of = |exists: bool, field: &str| {
        let indexes = advice["indexes"].as_array().unwrap().iter();
        indexes
            .filter(|index| index["exists"] == exists)
            .map(|index| index[field].as_str().unwrap().to_owned())
            .collect()
    };
    (of(false, "definition"), of(true, "name"))
}

/// How many rows and entries a query makes the server read.
fn reads(mariadb: &MariaDb, sql: &str) -> u64 {
    let told = mariadb.sql(&format!("FLUSH STATUS; {sql}; SHOW SESSION STATUS LIKE 'Handler_read%'"));
    let counts = told.lines().filter_map(|line| line.strip_prefix("Handler_read_")?.split_once('\t'));
    counts.map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_workload_of_mariadb_is_advised_the_indexes_it_asks_for_and_then_none() {
    advised(Flavour::MariaDb, 60_000);
}

/// By the planner of a MariaDB, all the same: MySQL reads as little with the indexes as it said.
#[test]
fn a_workload_of_mysql_is_advised_the_indexes_it_asks_for_and_then_none() {
    advised(Flavour::MySql, 20_000);
}

fn advised(flavour: Flavour, orders: u32) {
    if flavour.is_left_out() || MariaDb::is_left_out() {
        return;
    }
    let mariadb = shop(flavour, "app", orders);
    let site = Site::new("mysql-indexes");
    let url = mariadb.url();
    mistakes_in_the_file_of_queries_are_pointed_at(&site, &url);
    site.write("queries.sql", QUERIES);
    // Everything that is written is in the log.
    let written = mariadb.position();
    let advised = advice(&site, &[&url, "--queries", "queries.sql", "--fix-script", "indexes.sql"], 1);
    assert_eq!(mariadb.position(), written, "the server that is advised was written to");
    let (build, drop) = parted(&advised);
    let has = |what: &str| assert!(build.iter().any(|text| text.starts_with(what)), "{what}: {build:#?}");
    has("(customer_id, placed");
    has("(state, placed");
    has("(reference(16))");
    assert!(build[0].starts_with("(customer_id"), "the most worth first: {build:#?}");
    assert_eq!(drop, ["by_note", "by_placed"], "{advised:#}");
    let script = site.read("indexes.sql");
    assert!(script.contains("\n-- ALTER TABLE `app`.`orders` DROP INDEX `by_note`"), "{script}");
    if flavour == Flavour::MySql {
        // A dump has what only MySQL knows, and is restored into a MariaDB all the same.
        site.write("one.sql", "SELECT id, total FROM orders WHERE customer_id = 77;\n");
        site.write("shop.sql", &mariadb.dump("app"));
        let measured = advice(&site, &[&url, "--queries", "one.sql", "--verify", "shop.sql"], 1);
        assert_eq!(parted(&measured).0.len(), 1, "{measured:#}");
    }
    let of_customer = "SELECT id, total FROM orders WHERE customer_id = 77 ORDER BY placed DESC LIMIT 10";
    let waiting = "SELECT COUNT(*) FROM orders WHERE state = 'waiting'";
    let before = [reads(&mariadb, of_customer), reads(&mariadb, waiting)];
    mariadb.sql(&script);
    mariadb.sql("ANALYZE TABLE orders");
    for index in advised["indexes"].as_array().unwrap().iter().filter(|index| index["exists"] == true) {
        mariadb.sql(index["statement"].as_str().unwrap());
    }
    for (query, before) in [of_customer, waiting].into_iter().zip(before) {
        let after = reads(&mariadb, query);
        assert!(after * 50 < before, "{query}: {before} rows before, {after} after");
        let plan = mariadb.sql(&format!("EXPLAIN {query}"));
        assert!(plan.contains("_idx"), "{plan}");
    }
    // As large as they were said to become. MySQL's are of fewer rows, and an extent, which is given as a whole, is most of one.
    let built = advised["indexes"].as_array().unwrap().iter();
    for index in built.filter(|index| index["exists"] == false && flavour == Flavour::MariaDb) {
        let name = index["name"].as_str().unwrap();
        let real: f64 = mariadb
            .sql(&format!("SELECT stat_value * @@innodb_page_size FROM mysql.innodb_index_stats WHERE index_name = '{name}' AND stat_name = 'size'"))
            .parse()
            .unwrap();
        let said = index["bytes"].as_f64().unwrap();
        assert!(said < real * 2.0 && real < said * 2.0, "{name}: said {said}, is {real}");
    }
    let ran = site.run(&["doctor", "indexes", &url, "--queries", "queries.sql"]).expect(0);
    assert!(ran.stdout.contains("No index would pay"), "{}", ran.stdout);
    what_the_server_counted_is_a_workload(&site, &mariadb);
}

/// A server takes seconds to start and fill: another one, so that both are asked at the same time.
#[test]
fn on_a_copy_of_mariadb_the_choice_is_by_measured_time_and_makes_no_query_slower() {
    if MariaDb::is_left_out() {
        return;
    }
    let mariadb = shop(Flavour::MariaDb, "app", 20_000);
    let site = Site::new("mysql-indexes");
    site.write("queries.sql", QUERIES);
    let url = mariadb.url();
    let defined = "SHOW CREATE TABLE orders";
    let before = mariadb.sql(defined);
    // The server that is advised is no copy, whatever it is called.
    let alias = url.replace("127.0.0.1", "localhost");
    let ran =
        site.run(&["doctor", "indexes", &url, "--queries", "queries.sql", "--verify", &alias]).expect(2);
    assert!(ran.stderr.contains("the server that is advised"), "{}", ran.stderr);
    let copy = shop(Flavour::MariaDb, "restored", 20_000);
    let named = copy.url_of("restored");
    let advised = advice(&site, &[&url, "--queries", "queries.sql", "--verify", &named], 1);
    assert_eq!((&advised["verified"], advised["unit"].as_str()), (&Value::Bool(true), Some("milliseconds")));
    let (build, _) = parted(&advised);
    assert!(build.iter().any(|text| text.starts_with("(customer_id")), "{advised:#}");
    assert!(advised["after"].as_f64().unwrap() < 0.5 * advised["before"].as_f64().unwrap(), "{advised:#}");
    for query in advised["queries"].as_array().unwrap() {
        assert!(query["after"].as_f64() <= query["before"].as_f64(), "{query:#}");
    }
    assert!(advised["indexes"][0]["build_ms"].as_f64() > Some(0.0), "{advised:#}");
    assert_eq!(mariadb.sql(defined), before, "the server that is advised was changed");
    let there = copy.sql_in("restored", "SHOW CREATE TABLE orders");
    assert_eq!(there, before, "the copy is left as it was");
    assert_eq!(copy.sql_in("restored", "SELECT state FROM orders WHERE id = 7"), "sent");
    // A dump is restored into a server of its own.
    site.write("one.sql", "SELECT id, total FROM orders WHERE customer_id = 77;\n");
    site.write("shop.sql", &mariadb.dump("app"));
    let advised = advice(&site, &[&url, "--queries", "one.sql", "--verify", "shop.sql"], 1);
    assert_eq!(parted(&advised).0.len(), 1, "{advised:#}");
}

fn mistakes_in_the_file_of_queries_are_pointed_at(site: &Site, url: &str) {
    site.write(
        "wrong.sql",
        "-- calls: 3\nSELECT id FROM orders;\n\nSELECT id\n  FROM order_items;\nSELECT nothing FROM orders;\n\
         SELECT id FROM orders WHERE id = ?;\nSELECT id FROM orders WHERE id = 1 ODER BY id;\n",
    );
    let ran = site.run(&["doctor", "indexes", url, "--queries", "wrong.sql"]).expect(1);
    for parts in [
        ["wrong.sql:5:8", "order_items' doesn't exist"],
        ["wrong.sql:6:8", "Unknown column 'nothing'"],
        ["wrong.sql:7:34", "a parameter"],
        ["wrong.sql:8:36", "does not understand"],
    ] {
        ran.says(&parts);
    }
    assert!(ran.stdout.is_empty());
}

fn what_the_server_counted_is_a_workload(site: &Site, mariadb: &MariaDb) {
    mariadb.sql(
        "UPDATE performance_schema.setup_consumers SET enabled = 'YES' WHERE name LIKE 'events_statements_%';
         TRUNCATE performance_schema.events_statements_summary_by_digest",
    );
    for n in 0..30 {
        mariadb.sql(&format!("SELECT COUNT(*) FROM order_lines WHERE product = {n}"));
    }
    let advised = advice(site, &[&mariadb.url()], 1);
    assert_eq!(parted(&advised).0, ["(product)"], "{advised:#}");
    let query = advised["queries"].as_array().unwrap().iter().find(|query| query["calls"] == 30.0);
    assert!(query.is_some(), "{advised:#}");
    // Nobody asked for the lines of an order: the foreign key does.
    assert!(!parted(&advised).1.contains(&"of_order".to_owned()), "{advised:#}");
    let silent = mariadb.flavour().start();
    site.run(&["doctor", "indexes", &silent.url()])
        .expect(2)
        .says(&["performance_schema is off", "--queries queries.sql"]);
}
