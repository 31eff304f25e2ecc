//! Several sources in one file: a PostgreSQL and a SQLite database, with one Redis and one embedded store for the views of both.

use headwater_model::View;
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::{Postgres, Redis, free_port};
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::http::client::Client;
use crate::service::{PATIENCE, Service, local, near};

/// Both sources have a table `books`, with other rows.
const VIEWS: &str = r#"
[views.book]
source = "shop"
from = "books"
store = ["near", "local"]
[views.author]
source = "shop"
from = "authors"
store = ["near", "local"]
embed.books = { from = "books", many = "author_id", order = "id" }
[views.entry]
source = "ledger"
from = "books"
store = ["near", "local"]
embed.lines = { from = "lines", many = "book_id", order = "id" }
[access.book]
get = "book"
source = false
[access.entry]
get = "entry"
source = false
[access.authors]
range = "author"
"#;

struct World {
    postgres: Postgres,
    redis: Redis,
    ledger: Connection,
    service: Service,
    resp: u16,
}

impl World {
    fn new() -> World {
        let (postgres, redis, resp) = (Postgres::start(), Redis::start(), free_port());
        postgres.psql(
            "CREATE TABLE authors (id int PRIMARY KEY, name text);
             CREATE TABLE books (id int PRIMARY KEY, title text, author_id int);
             INSERT INTO authors SELECT i, 'author ' || i FROM generate_series(1, 20) i;
             INSERT INTO books SELECT i, 'book ' || i, 1 + i % 20 FROM generate_series(1, 300) i",
        );
        let file = format!(
            "[sources.shop]\nurl = \"{}\"\n[sources.ledger]\nurl = \"sqlite:ledger.db\"\n\
             [stores]\nnear = {{ url = \"{}\" }}\nlocal = {{ url = \"sqlite:derived.db\" }}\n\
             [serve]\nlisten = \"127.0.0.1:0\"\nresp = \"127.0.0.1:{resp}\"\n{VIEWS}",
            postgres.url(),
            redis.url()
        );
        let service = Service::new("sources", &file);
        let ledger = Connection::open(service.path("ledger.db")).unwrap();
        ledger.busy_timeout(PATIENCE).unwrap();
        ledger
            .execute_batch(
                "PRAGMA journal_mode = wal;
                 CREATE TABLE books (id INTEGER PRIMARY KEY, account TEXT NOT NULL);
                 CREATE TABLE lines (id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL, amount INTEGER NOT NULL);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
                 INSERT INTO lines SELECT i, 1 + i % 10, i * 7 FROM n;
                 INSERT INTO books SELECT DISTINCT book_id, 'account ' || book_id FROM lines;",
            )
            .unwrap();
        World { postgres, redis, ledger, service, resp }
    }

    fn views(&self, source: &str) -> Vec<View> {
        let of = |name: &str| if name == "entry" { "ledger" } else { "shop" };
        self.service.views.iter().filter(|view| of(&view.name) == source).cloned().collect()
    }

    fn copies(&self) -> [Copy; 2] {
        [near(&self.redis), local(&self.service.path("derived.db"))]
    }

    async fn shop_equals(&self) {
        let truth = Truth::Postgres(self.postgres.url());
        for copy in self.copies() {
            eventually_equal(PATIENCE, &truth, &copy, &self.views("shop")).await;
        }
    }

    async fn ledger_equals(&self) {
        let truth = Truth::Sqlite(self.service.path("ledger.db"));
        for copy in self.copies() {
            eventually_equal(PATIENCE, &truth, &copy, &self.views("ledger")).await;
        }
    }

    fn change(&self, sql: &str) -> i64 {
        self.ledger.execute_batch(sql).unwrap();
        self.ledger.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0)).unwrap()
    }

    /// What the Redis protocol answers.
    fn resp(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.resp)).unwrap();
        client.get_connection().unwrap()
    }

    fn state(&self, source: &str) -> String {
        let (status, _) = self.service.status();
        status["sources"][source]["source"]["state"].as_str().unwrap_or_default().to_owned()
    }
}

fn title(client: &mut redis::Connection, key: &str, field: &str) -> redis::RedisResult<String> {
    redis::cmd("HGET").arg(key).arg(field).query(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_two_sources_flows_whatever_becomes_of_the_other() {
    let world = World::new();
    let service = &world.service;
    service.start();
    let client = Client::of(service).await;
    service.healthy().await;
    world.shop_equals().await;
    world.ledger_equals().await;
    reads_are_of_their_source(&world, &client).await;
    commands_are_about_each_source(&world, &client);

    // One is killed: what is derived from the other flows on, and what the stores have of the one is still read.
    world.postgres.kill();
    service
        .eventually("the shop is missed", async || match world.state("shop").as_str() {
            "healthy" => Err(format!("{:?}", service.status())),
            _ => Ok(()),
        })
        .await;
    let position =
        world.change("UPDATE lines SET amount = -1 WHERE id % 3 = 0; DELETE FROM lines WHERE id = 5");
    world.ledger_equals().await;
    let after = client.with("Headwater-After", &format!("ledger={position}")).with("Headwater-Within", "20s");
    after.get("/v1/entry?id=1").expect(200);
    // What is demanded of one source is not asked of the other.
    assert_eq!(after.get("/v1/book?id=7").expect(200).json()["title"], "book 7");
    assert_eq!(world.state("ledger"), "healthy");
    assert_eq!(service.status().1, 1, "not everything is well");
    world.postgres.restart().await;
    world
        .postgres
        .psql("UPDATE books SET title = 'again ' || id WHERE id <= 10; DELETE FROM books WHERE id = 300");
    world.shop_equals().await;
    service.healthy().await;

    // A restart goes on where each was, and reads nothing again.
    let epochs =
        |status: &Json| ["shop", "ledger"].map(|source| status["sources"][source]["epoch"].as_u64().unwrap());
    let before = epochs(&service.status().0);
    service.kill();
    world.change("INSERT INTO books VALUES (1000, 'while it was away')");
    world.postgres.psql("INSERT INTO books VALUES (1000, 'while it was away', 3)");
    let since = service.log().len();
    service.start();
    world.shop_equals().await;
    world.ledger_equals().await;
    service.healthy().await;
    assert!(epochs(&service.status().0).iter().zip(before).all(|(now, before)| *now > before));
    assert!(!service.log()[since..].contains("filled"), "{}", service.log_tail());
    let verified = service.command(&["verify", "--json"]).expect(0);
    let verified: Json = serde_json::from_str(&verified.stdout).unwrap();
    for (source, views) in [("shop", 4), ("ledger", 2)] {
        let compared = verified["sources"][source]["views"].as_array().unwrap();
        assert_eq!(compared.len(), views, "{verified}");
        assert!(compared.iter().all(|view| view["verdict"] == "equal"), "{verified}");
    }
    service.stop();
}

async fn reads_are_of_their_source(world: &World, client: &Client) {
    let found = client.get("/v1/book?id=7").expect(200);
    assert_eq!(found.json()["title"], "book 7");
    let of_shop = found.header("headwater-position").unwrap().to_owned();
    assert!(of_shop.starts_with("shop="), "{of_shop}");
    let mut resp = world.resp();
    assert_eq!(title(&mut resp, "book:7", "title").unwrap(), "book 7");
    let shown: String = redis::cmd("HEADWATER.POSITION").query(&mut resp).unwrap();
    assert!(shown.starts_with("shop="), "{shown}");
    // Read your writes: the position of each source, in one header or argument.
    for n in 0..20 {
        let position = world.change(&format!("UPDATE books SET account = 'number {n}' WHERE id = 1"));
        let lsn = world.postgres.psql(&format!(
            "UPDATE books SET title = 'number {n}' WHERE id = 7; SELECT pg_current_wal_insert_lsn()"
        ));
        let both = format!("shop={lsn} ledger={position}");
        let client = client.with("Headwater-After", &both).with("Headwater-Within", "20s");
        assert_eq!(client.get("/v1/entry?id=1").expect(200).json()["account"], format!("number {n}"));
        assert_eq!(client.get("/v1/book?id=7").expect(200).json()["title"], format!("number {n}"));
        let () = redis::cmd("HEADWATER.WAIT").arg(&both).arg(20_000).query(&mut resp).unwrap();
        assert_eq!(title(&mut resp, "book:7", "title").unwrap(), format!("number {n}"));
        let entry: String = redis::cmd("GET").arg("entry:1").query(&mut resp).unwrap();
        assert!(entry.contains(&format!("number {n}")), "{entry}");
    }
    world.postgres.psql("UPDATE books SET title = 'book 7' WHERE id = 7");
    let wrong = client.with("Headwater-After", "leger=5").get("/v1/entry?id=1").expect(400);
    assert!(wrong.json()["remedy"].as_str().unwrap().contains("did you mean `ledger`?"), "{wrong:?}");
    let wrong = redis::cmd("HEADWATER.WAIT").arg("5").query::<()>(&mut resp).unwrap_err();
    assert!(wrong.to_string().contains("SOURCE=POSITION"), "{wrong}");
}

fn commands_are_about_each_source(world: &World, client: &Client) {
    let command = |args: &[&str]| world.service.command(args);
    let text = command(&["status"]).expect(0).stdout;
    assert!(text.contains("── source shop") && text.contains("── source ledger"), "{text}");
    let only: Json =
        serde_json::from_str(&command(&["status", "--json", "--source", "ledger"]).expect(0).stdout).unwrap();
    assert!(only["sources"].get("shop").is_none() && only["sources"]["ledger"]["epoch"].is_u64(), "{only}");
    let unknown = command(&["status", "--source", "shpo"]).expect(1);
    assert!(unknown.stderr.contains("did you mean `shop`?"), "{}", unknown.stderr);
    // Both have such a table.
    let text = command(&["where", "books/1"]).expect(0).stdout;
    assert!(text.contains("author/2") && text.contains("entry/1"), "{text}");
    let text = command(&["where", "authors/1"]).expect(0).stdout;
    assert!(text.contains("── source shop") && !text.contains("ledger"), "{text}");
    command(&["verify", "entry"]).expect(0);
    let checked = command(&["check"]).expect(0).stdout;
    assert!(checked.contains("shop (PostgreSQL") && checked.contains("ledger (SQLite"), "{checked}");
    let incidents = command(&["incidents", "--json"]).expect(0).stdout;
    let sources: Vec<Json> = incidents.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(sources.iter().all(|incident| incident["source"].is_string()), "{incidents}");
    command(&["incidents", "--check"]).expect(0);
    let plan = command(&["heal", "plan"]).expect(0).stdout;
    assert!(plan.contains("── source ledger"), "{plan}");
    let which = command(&["heal", "pause", "source", "--as", "ann"]).expect(1);
    assert!(which.stderr.contains("--source NAME: one of shop, ledger"), "{}", which.stderr);
    command(&["heal", "pause", "source", "--source", "ledger", "--as", "ann"]).expect(0);
    let heal: Json = serde_json::from_str(&command(&["heal", "plan", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(heal["sources"]["ledger"]["pauses"][0]["part"], "source", "{heal}");
    assert_eq!(heal["sources"]["shop"]["pauses"].as_array().unwrap().len(), 0, "{heal}");
    command(&["heal", "resume", "source", "--source", "ledger", "--as", "ann"]).expect(0);

    let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    for sample in [
        "headwater_leading{source=\"shop\"} 1",
        "headwater_leading{source=\"ledger\"} 1",
        "headwater_store_state{source=\"ledger\",store=\"near\",state=\"healthy\"} 1",
    ] {
        assert!(metrics.contains(sample), "no {sample} in\n{metrics}");
    }
    let status = client.get("/status.json").expect(200).json();
    assert_eq!(status["sources"]["shop"]["source"]["state"], "healthy");
    let page = String::from_utf8(client.get("/?source=ledger").expect(200).body).unwrap();
    assert!(page.contains("SQLite") && page.contains("href=\"/?source=shop\""), "{page}");
    assert!(!page.contains("PostgreSQL"), "{page}");
    client.get("/?source=nowhere").expect(400);
    let openapi = client.get("/openapi.json").expect(200).json();
    assert!(openapi["paths"].get("/v1/book").is_some() && openapi["paths"].get("/v1/entry").is_some());
    client.get("/readyz").expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_followed_is_said_and_keeps_nobody_waiting() {
    let world = World::new();
    let service = &world.service;
    world.postgres.stop().await;
    service.start();
    let client = Client::of(service).await;
    world.ledger_equals().await;
    // A store holds a view before the run that fills it has heard so.
    service
        .eventually("the ledger is served", async || match client.get("/v1/entry?id=1") {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.text().to_owned()),
        })
        .await;
    let refused = client.get("/v1/book?id=1").expect(503);
    assert!(refused.json()["detail"].as_str().unwrap().contains("source `shop`"), "{refused:?}");
    let ready = client.with("Accept", "application/json").get("/readyz").expect(503).json();
    assert!(ready["reasons"][0].as_str().unwrap().contains("source `shop`"), "{ready}");
    let mut resp = world.resp();
    let entry: String = redis::cmd("GET").arg("entry:1").query(&mut resp).unwrap();
    assert!(entry.contains("account 1"), "{entry}");
    let refused = title(&mut resp, "book:1", "title").unwrap_err();
    assert!(refused.to_string().contains("source `shop` cannot be looked at yet"), "{refused}");

    // Misconfigured for good, as the source sees it, and mended while it runs.
    world.postgres.restart().await;
    world.shop_equals().await;
    service.healthy().await;
    // The same connection reads it from now on.
    assert_eq!(title(&mut resp, "book:1", "title").unwrap(), "book 1");
    let keys: Vec<String> = redis::cmd("SCAN")
        .arg(0)
        .arg("MATCH")
        .arg("book:*")
        .arg("COUNT")
        .arg(1000)
        .query::<(u64, Vec<String>)>(&mut resp)
        .unwrap()
        .1;
    assert_eq!(keys.len(), 300);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_at_a_start_stops_its_source_alone() {
    let world = World::new();
    let service = &world.service;
    world.postgres.psql("ALTER TABLE authors RENAME TO writers");
    service.start();
    let client = Client::of(service).await;
    world.ledger_equals().await;
    service.says(0, &["shop", "authors"]).await;
    let refused = client.get("/v1/book?id=1").expect(503);
    assert!(refused.json()["detail"].as_str().unwrap().contains("authors"), "{refused:?}");
    world.postgres.psql("ALTER TABLE writers RENAME TO authors");
    world.shop_equals().await;
    service.stop();
}
