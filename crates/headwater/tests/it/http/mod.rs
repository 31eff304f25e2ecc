//! Reading over HTTP, from the program as it runs.

mod bounds;
mod browser;
pub mod client;
mod dashboard;
mod doors;
mod garbage;
mod metrics;
mod openapi;
mod patterns;
mod readiness;
mod traces;
mod writes;

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::service::Service;
use client::{Client, Response};

/// A bookshop in SQLite with the embedded store and the memory store.
pub const SHOP: &str = r#"
[source]
url = "sqlite:shop.db"
[stores]
local = { url = "sqlite:derived.db" }
memory = { url = "memory:" }
[views.book]
from = "books"
store = ["memory", "local"]
embed.author = { from = "authors", key = "author_id" }
embed.reviews = { from = "reviews", many = "book_id", columns = ["id", "stars"], order = "id" }
[views.review]
from = "reviews"
store = ["memory", "local"]
[access.book_page]
get = "book"
[access.reviews_of_book]
range = "review"
by = "book_id"
order = "stars"
limit = 50
"#;

/// Fills `shop.db` in the service's folder: authors 1 to 3, books 1 to 30, seven reviews for each.
pub fn open_shop(service: &Service) -> Connection {
    open_shop_in(&service.path("."))
}

pub fn open_shop_in(folder: &Path) -> Connection {
    let db = Connection::open(folder.join("shop.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    db.execute_batch(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author_id INTEGER, copies INTEGER);
         CREATE TABLE reviews (id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL, stars INTEGER NOT NULL);
         INSERT INTO authors VALUES (1, 'Ann'), (2, 'Bo'), (3, 'Ünal');
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
         INSERT INTO books SELECT i, 'Book ' || i, 1 + i % 3, 9007199254740993 FROM n;
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 209)
         INSERT INTO reviews SELECT i, 1 + i / 7, i % 5 FROM n;",
    )
    .unwrap();
    db
}

/// Runs, and answers both patterns of [`SHOP`] from a store.
pub async fn shop(name: &str, more: &str) -> (Service, Connection, Client) {
    let service = Service::new(name, &format!("{SHOP}{more}"));
    let db = open_shop(&service);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    (service, db, client)
}

#[track_caller]
pub fn problem(response: &Response, status: u16, kind: &str) -> Json {
    let json = response.json();
    assert_eq!(response.status, status, "{json}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{json}");
    assert_eq!(json["type"], format!("/problems/{kind}"), "{json}");
    assert_eq!(json["status"], status, "{json}");
    assert!(json["detail"].is_string() && json["remedy"].is_string(), "{json}");
    json
}
