//! From MariaDB into tables of MariaDB, and from MySQL into those of MySQL, in the same server: set up by what `check` says, through kills of both, read by clients of
//! both.

use headwater_testkit::{Flavour, MariaDb, numbers};

use crate::http::client::Client;
use crate::service::Service;

/// The rows of a view, and of a statement that says what they should be, that the other has not.
fn difference(server: &MariaDb, wanted: &str, found: &str) -> Result<(), String> {
    let sql = format!("({wanted} EXCEPT {found}) UNION ALL ({found} EXCEPT {wanted}) LIMIT 5");
    match server.try_sql("app", &sql)? {
        none if none.is_empty() => Ok(()),
        rows => Err(rows),
    }
}

async fn equal(service: &Service, server: &MariaDb, what: &str) {
    service
        .eventually(what, async || {
            difference(
                server,
                "SELECT id, title, price FROM books",
                "SELECT id, title, price FROM models.book",
            )?;
            difference(
                server,
                "SELECT s.id, COUNT(b.id) FROM shelves s LEFT JOIN books b ON b.shelf_id = s.id GROUP BY s.id",
                "SELECT CAST(JSON_VALUE(document, '$.id') AS SIGNED), JSON_LENGTH(document, '$.books') FROM models.shelf",
            )
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_mariadb_follow_mariadb_through_kills_of_both() {
    follow(Flavour::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_mysql_follow_mysql_through_kills_of_both() {
    follow(Flavour::MySql).await;
}

async fn follow(flavour: Flavour) {
    if flavour.is_left_out() {
        return;
    }
    let server = flavour.builder().durable().start();
    server.sql(&format!(
        "CREATE TABLE shelves (id INT PRIMARY KEY, name VARCHAR(40)); \
         CREATE TABLE books (id INT PRIMARY KEY, shelf_id INT, title VARCHAR(40), price DECIMAL(10,2), sold DATETIME(6), KEY (shelf_id)); \
         INSERT INTO shelves SELECT seq, CONCAT('shelf ', seq) FROM {}; \
         INSERT INTO books SELECT seq, 1 + seq % 20, CONCAT('book ', seq), seq / 7, NULL FROM {}; \
         CREATE DATABASE models CHARACTER SET utf8mb4; CREATE USER keeper@'%'; \
         GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON models.* TO keeper@'%'",
        numbers(1, 20),
        numbers(1, 3000)
    ));
    let store = server.url_of("models").replace("root@", "keeper@");
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nreports = {{ url = \"{store}\" }}\n[backfill]\nchunk_rows = 200\n\
         [serve]\nlisten = \"127.0.0.1:0\"\n\
         [views.book]\nfrom = \"books\"\n[views.shelf]\nfrom = \"shelves\"\n\
         embed.books = {{ from = \"books\", many = \"shelf_id\", order = \"id\" }}\n\
         [access.book]\nget = \"book\"\nsource = false\n\
         [access.dear]\nrange = \"book\"\nby = \"shelf_id\"\norder = \"-price\"\nlimit = 3\nsource = false\n",
        server.url()
    );
    let service = Service::new("mysql-store", &file);
    let checked = service.command(&["check"]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("the user \"keeper\" may not ALTER"), "{said}");
    assert!(said.contains("ON `models`.* TO 'keeper'@'%'"), "{said}");
    server.sql("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON `models`.* TO 'keeper'@'%'");
    service.command(&["check"]).expect(0);

    service.start();
    server.sql("UPDATE books SET price = price + 1 WHERE id % 7 = 0; DELETE FROM books WHERE id % 11 = 0");
    equal(&service, &server, "what was there, and what was written meanwhile").await;
    let client = Client::of(&service).await;
    service.healthy().await;
    assert_eq!(client.get("/v1/book?id=7").expect(200).json()["price"].to_string(), "2.00");
    let dear = client.get("/v1/dear?shelf_id=3").expect(200).json();
    let wanted = server.sql("SELECT id FROM books WHERE shelf_id = 3 ORDER BY price DESC, id LIMIT 3");
    let found: Vec<String> =
        dear["items"].as_array().unwrap().iter().map(|book| book["id"].to_string()).collect();
    assert_eq!(found, wanted.lines().collect::<Vec<_>>(), "{dear}");

    service.kill();
    // A field that had no value yet, and keys that change.
    server.sql(
        "UPDATE books SET sold = '2024-02-29 12:00:00.123456' WHERE id % 5 = 0; UPDATE books SET id = id + 10000 WHERE id < 50",
    );
    service.start();
    equal(&service, &server, "what was written while it was dead").await;
    let sold = "SELECT COUNT(*) FROM models.book WHERE sold = '2024-02-29 12:00:00.123456'";
    let wanted = server.sql("SELECT COUNT(*) FROM books WHERE sold IS NOT NULL");
    service
        .eventually("the new column has its values", async || match server.try_sql("app", sold)? {
            found if found == wanted => Ok(()),
            found => Err(format!("{found} of {wanted}")),
        })
        .await;

    server.kill();
    server.restart();
    server.sql("UPDATE books SET shelf_id = 8 WHERE shelf_id = 7; TRUNCATE shelves; INSERT INTO shelves VALUES (8, 'only')");
    equal(&service, &server, "what was written after the server crashed").await;
    service.command(&["verify", "--json"]).expect(0);

    // What it writes is in the log that it follows, and moves nothing.
    service
        .eventually("it is quiet when nobody writes", async || {
            let transactions = || -> u64 { server.position().rsplit('-').next().unwrap().parse().unwrap() };
            let before = transactions();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            match transactions() - before {
                0..10 => Ok(()),
                many => Err(format!("{many} transactions in a second")),
            }
        })
        .await;
    service.stop();
}
