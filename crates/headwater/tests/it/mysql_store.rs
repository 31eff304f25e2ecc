//! From MariaDB into tables of MariaDB, in the same server: set up by what `check` says, through kills of both, read by clients of
//! both.

use headwater_testkit::MariaDb;

use crate::http::client::Client;
use crate::service::Service;

/// The rows of a view, and of a statement that says what they should be, that the other has not.
fn difference(mariadb: &MariaDb, wanted: &str, found: &str) -> Result<(), String> {
    let sql = format!("({wanted} EXCEPT {found}) UNION ALL ({found} EXCEPT {wanted}) LIMIT 5");
    match mariadb.try_sql("app", &sql)? {
        none if none.is_empty() => Ok(()),
        rows => Err(rows),
    }
}

async fn equal(service: &Service, mariadb: &MariaDb, what: &str) {
    service
        .eventually(what, async || {
            difference(
                mariadb,
                "SELECT id, title, price FROM books",
                "SELECT id, title, price FROM models.book",
            )?;
            difference(
                mariadb,
                "SELECT s.id, COUNT(b.id) FROM shelves s LEFT JOIN books b ON b.shelf_id = s.id GROUP BY s.id",
                "SELECT CAST(JSON_VALUE(document, '$.id') AS INT), JSON_LENGTH(document, '$.books') FROM models.shelf",
            )
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_mariadb_follow_mariadb_through_kills_of_both() {
    if MariaDb::is_left_out() {
        return;
    }
    let mariadb = MariaDb::builder().durable().start();
    mariadb.sql(
        "CREATE TABLE shelves (id INT PRIMARY KEY, name VARCHAR(40)); \
         CREATE TABLE books (id INT PRIMARY KEY, shelf_id INT, title VARCHAR(40), price DECIMAL(10,2), sold DATETIME(6), KEY (shelf_id)); \
         INSERT INTO shelves SELECT seq, CONCAT('shelf ', seq) FROM seq_1_to_20; \
         INSERT INTO books SELECT seq, 1 + seq % 20, CONCAT('book ', seq), seq / 7, NULL FROM seq_1_to_3000; \
         CREATE DATABASE models CHARACTER SET utf8mb4; CREATE USER keeper@'%'; \
         GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON models.* TO keeper@'%'",
    );
    let store = mariadb.url_of("models").replace("root@", "keeper@");
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nreports = {{ url = \"{store}\" }}\n[backfill]\nchunk_rows = 200\n\
         [serve]\nlisten = \"127.0.0.1:0\"\n\
         [views.book]\nfrom = \"books\"\n[views.shelf]\nfrom = \"shelves\"\n\
         embed.books = {{ from = \"books\", many = \"shelf_id\", order = \"id\" }}\n\
         [access.book]\nget = \"book\"\nsource = false\n\
         [access.dear]\nrange = \"book\"\nby = \"shelf_id\"\norder = \"-price\"\nlimit = 3\nsource = false\n",
        mariadb.url()
    );
    let service = Service::new("mysql-store", &file);
    let checked = service.command(&["check"]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("the user \"keeper\" may not ALTER"), "{said}");
    assert!(said.contains("ON `models`.* TO 'keeper'@'%'"), "{said}");
    mariadb.sql("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON `models`.* TO 'keeper'@'%'");
    service.command(&["check"]).expect(0);

    service.start();
    mariadb.sql("UPDATE books SET price = price + 1 WHERE id % 7 = 0; DELETE FROM books WHERE id % 11 = 0");
    equal(&service, &mariadb, "what was there, and what was written meanwhile").await;
    let client = Client::of(&service).await;
    service.healthy().await;
    assert_eq!(client.get("/v1/book?id=7").expect(200).json()["price"].to_string(), "2.00");
    let dear = client.get("/v1/dear?shelf_id=3").expect(200).json();
    let wanted = mariadb.sql("SELECT id FROM books WHERE shelf_id = 3 ORDER BY price DESC, id LIMIT 3");
    let found: Vec<String> =
        dear["items"].as_array().unwrap().iter().map(|book| book["id"].to_string()).collect();
    assert_eq!(found, wanted.lines().collect::<Vec<_>>(), "{dear}");

    service.kill();
    // A field that had no value yet, and keys that change.
    mariadb.sql(
        "UPDATE books SET sold = '2024-02-29 12:00:00.123456' WHERE id % 5 = 0; UPDATE books SET id = id + 10000 WHERE id < 50",
    );
    service.start();
    equal(&service, &mariadb, "what was written while it was dead").await;
    let sold = "SELECT COUNT(*) FROM models.book WHERE sold = '2024-02-29 12:00:00.123456'";
    let wanted = mariadb.sql("SELECT COUNT(*) FROM books WHERE sold IS NOT NULL");
    service
        .eventually("the new column has its values", async || match mariadb.try_sql("app", sold)? {
            found if found == wanted => Ok(()),
            found => Err(format!("{found} of {wanted}")),
        })
        .await;

    mariadb.kill();
    mariadb.restart();
    mariadb.sql("UPDATE books SET shelf_id = 8 WHERE shelf_id = 7; TRUNCATE shelves; INSERT INTO shelves VALUES (8, 'only')");
    equal(&service, &mariadb, "what was written after the server crashed").await;
    service.command(&["verify", "--json"]).expect(0);

    // What it writes is in the log that it follows, and moves nothing.
    service
        .eventually("it is quiet when nobody writes", async || {
            let transactions = || mariadb.sql("SELECT SUBSTRING_INDEX(@@gtid_binlog_pos, '-', -1)");
            let before: u64 = transactions().parse().unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            match transactions().parse::<u64>().unwrap() - before {
                0..10 => Ok(()),
                many => Err(format!("{many} transactions in a second")),
            }
        })
        .await;
    service.stop();
}
