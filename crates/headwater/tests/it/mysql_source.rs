//! From MariaDB, and from MySQL, into the embedded store, through kills of both, changes of the table, and a log that was purged.

use std::collections::BTreeMap;

use headwater_testkit::{Flavour, MariaDb, numbers};

use crate::service::Service;

fn expected(server: &MariaDb) -> BTreeMap<String, String> {
    let rows = server.sql("SELECT id, title, (SELECT name FROM authors a WHERE a.id = author_id) FROM books");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        (cells[0].to_owned(), format!("{} by {}", cells[1], cells[2]))
    };
    rows.lines().map(row).collect()
}

fn found(service: &Service) -> rusqlite::Result<BTreeMap<String, String>> {
    let db = rusqlite::Connection::open(service.path("derived.db"))?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    let mut query = db.prepare(
        "SELECT key, document ->> 'title' || ' by ' || (document -> 'author' ->> 'name') FROM book",
    )?;
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

async fn equal(service: &Service, server: &MariaDb, what: &str) {
    service
        .eventually(what, async || {
            let expected = expected(server);
            match found(service) {
                Ok(found) if found == expected => Ok(()),
                Ok(found) => Err(format!("{} documents for {} rows", found.len(), expected.len())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_follow_mariadb_through_kills_of_both_changed_tables_and_a_purged_log() {
    follow(Flavour::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_follow_mysql_through_kills_of_both_changed_tables_and_a_purged_log() {
    follow(Flavour::MySql).await;
}

async fn follow(flavour: Flavour) {
    if flavour.is_left_out() {
        return;
    }
    let server = flavour.builder().durable().start();
    server.sql(&format!(
        "CREATE TABLE authors (id INT PRIMARY KEY, name VARCHAR(40)); \
         CREATE TABLE books (id INT PRIMARY KEY, author_id INT, title VARCHAR(40), KEY (author_id)); \
         INSERT INTO authors SELECT seq, CONCAT('author ', seq) FROM {}; \
         INSERT INTO books SELECT seq, 1 + seq % 50, CONCAT('book ', seq) FROM {}",
        numbers(1, 50),
        numbers(1, 3000)
    ));
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nlocal = {{ url = \"sqlite:derived.db\" }}\n[backfill]\nchunk_rows = 200\n\
         [views.book]\nfrom = \"books\"\nembed.author = {{ from = \"authors\", key = \"author_id\" }}\n",
        server.url()
    );
    let service = Service::new("mysql-source", &file);
    service.start();
    server.sql(
        "UPDATE books SET title = CONCAT(title, '!') WHERE id % 7 = 0; DELETE FROM books WHERE id % 11 = 0",
    );
    equal(&service, &server, "what was there, and what was written meanwhile").await;

    service.kill();
    server.sql(
        "UPDATE authors SET name = 'renamed' WHERE id = 7; INSERT INTO books VALUES (9000, 7, 'while away')",
    );
    service.start();
    equal(&service, &server, "what was written while it was dead").await;

    server.kill();
    server.restart();
    server.sql("UPDATE books SET author_id = 8 WHERE author_id = 7");
    equal(&service, &server, "what was written after the server crashed").await;

    server.sql("ALTER TABLE books ADD COLUMN pages INT DEFAULT 3 AFTER id; INSERT INTO books VALUES (9001, 1, 2, 'wide')");
    equal(&service, &server, "a table with another shape").await;

    // The log that it would need is gone.
    service.kill();
    server.sql("DELETE FROM books WHERE id % 5 = 0; UPDATE books SET title = 'unlogged' WHERE id % 5 = 1");
    headwater_testkit::eventually(std::time::Duration::from_secs(30), "the log is purged", async || {
        server.sql("FLUSH BINARY LOGS");
        let files = server.sql("SHOW BINARY LOGS");
        let newest = files.lines().last().unwrap().split('\t').next().unwrap();
        server.sql(&format!("PURGE BINARY LOGS TO '{newest}'"));
        // The server keeps those that its storage engine may still need.
        if server.sql("SHOW BINARY LOGS").lines().count() == 1 { Ok(()) } else { Err(files) }
    })
    .await;
    server.sql("INSERT INTO books VALUES (9002, 1, 3, 'after the gap')");
    let since = service.log().len();
    service.start();
    equal(&service, &server, "everything is read again").await;
    assert!(
        service.log()[since..].contains("the log behind the position is not there"),
        "{}",
        service.log_tail()
    );
    // Once the view is complete: documents may be equal before it is, and until then there is nothing to compare.
    service
        .eventually("the store is verified", async || {
            let ran = service.command(&["verify", "--json"]);
            if ran.code == 0 { Ok(()) } else { Err(format!("{}{}", ran.stdout, ran.stderr)) }
        })
        .await;
}
