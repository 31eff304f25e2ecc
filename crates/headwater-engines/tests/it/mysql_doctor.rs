//! What `doctor` finds in a real MariaDB and a real MySQL: every check is shown a problem that is really there, its remedy is applied as it is
//! printed, and then there is nothing to be found.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_engines::registry;
use headwater_model::Secret;
use headwater_model::exam::{Diagnosis, ExamBudget, Examination};
use headwater_model::file::SourceSection;
use headwater_testkit::{Flavour, MariaDb, eventually, numbers};
use mysql_async::prelude::Queryable as _;

of_both!(
    tables_and_indexes_are_found_and_mended,
    settings_of_the_server_are_found_and_mended,
    sessions_that_stay_and_hold_are_found_and_ended,
    a_healthy_server_gives_no_finding_and_what_a_user_may_not_see_is_said,
);

const PATIENCE: Duration = Duration::from_secs(30);

async fn examine(url: &str, budget: &ExamBudget) -> Examination {
    let section = SourceSection {
        name: None,
        url: Secret::new(url),
        settings: Default::default(),
        hold_for: Duration::from_secs(60),
        retained_log_bytes_max: 1 << 30,
    };
    registry::source_examiner(&section).unwrap().unwrap().examine(budget).await.unwrap()
}

fn budget(check: &str, limits: &[(&str, f64)]) -> ExamBudget {
    ExamBudget {
        only: vec![check.into()],
        limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
        ..ExamBudget::default()
    }
}

async fn look(server: &MariaDb, check: &str, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
    if check.starts_with("HW402") {
        // What InnoDB tells of transactions is renewed once nobody has asked for a tenth of a second.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let examination = examine(&server.url(), &budget(check, limits)).await;
    assert!(examination.skipped.is_empty(), "{:?}", examination.skipped);
    assert_eq!(examination.made, 1, "{check} was not made");
    examination.found
}

/// The finding about a subject, once it is there.
async fn finds(server: &MariaDb, check: &str, limits: &[(&str, f64)], subject: &str) -> Diagnosis {
    let found = async || {
        let found = look(server, check, limits).await;
        let seen = format!("{found:#?}");
        found.into_iter().find(|found| found.subject.contains(subject)).ok_or(seen)
    };
    eventually(PATIENCE, &format!("{check} about {subject}"), found).await
}

async fn is_gone(server: &MariaDb, check: &str, limits: &[(&str, f64)], subject: &str) {
    let gone = async || {
        let left = look(server, check, limits).await;
        if left.iter().any(|found| found.subject.contains(subject)) {
            Err(format!("{left:#?}"))
        } else {
            Ok(())
        }
    };
    eventually(PATIENCE, &format!("{check} of {subject} to be gone"), gone).await;
}

async fn paste(server: &MariaDb, statements: &[String]) {
    assert!(!statements.is_empty(), "the finding says nothing of what to do");
    for statement in statements {
        // MySQL passes over a size of its pool while it is still at the one before.
        let status = "SHOW GLOBAL STATUS WHERE Variable_name = 'Innodb_buffer_pool_resize_status'";
        eventually(PATIENCE, "the pool has its size", async || match server.sql(status) {
            resizing if resizing.contains("withdrawing") => Err(resizing),
            _ => Ok(()),
        })
        .await;
        server.sql(statement);
    }
}

/// It is found, what it says mends it, and what undoes that brings it back, where something does.
async fn heals(server: &MariaDb, check: &str, limits: &[(&str, f64)], subject: &str) {
    let found = finds(server, check, limits, subject).await;
    paste(server, &found.remedy).await;
    is_gone(server, check, limits, subject).await;
    if !found.undo.is_empty() {
        paste(server, &found.undo).await;
        finds(server, check, limits, subject).await;
        paste(server, &found.remedy).await;
    }
}

async fn tables_and_indexes_are_found_and_mended(flavour: Flavour) {
    let server = flavour.start();
    server.sql(
        "CREATE TABLE nameless (n int) ENGINE = InnoDB;
         CREATE TABLE book (id int PRIMARY KEY, title varchar(50), author int, year int,
           KEY twin (title), KEY twin_again (title), KEY by_author (author), KEY by_author_year (author, year DESC),
           UNIQUE KEY only (author, title), KEY long_title (title(20)));
         CREATE TABLE `od``d` (`i``d` tinyint NOT NULL AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 120;
         CREATE TABLE wide (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 3000000000;
         CREATE TABLE plain (id int PRIMARY KEY) ENGINE = MyISAM;
         CREATE TABLE narrow (id int PRIMARY KEY, t text) CHARACTER SET utf8mb3",
    );
    if flavour == Flavour::MySql {
        // No beginning of another either, and no other's beginning: it begins alike, and then has what is no column.
        server.sql("ALTER TABLE book ADD KEY by_author_lower (author, (LOWER(title)))");
    }
    heals(&server, "HW4001", &[], "app.nameless").await;
    let twins: BTreeSet<String> =
        look(&server, "HW4002", &[]).await.into_iter().map(|found| found.subject).collect();
    // `long_title` is no beginning of another: its entries are cut off.
    assert_eq!(twins, ["app.book by_author", "app.book twin_again"].map(str::to_owned).into());
    heals(&server, "HW4002", &[], "twin_again").await;
    let found = look(&server, "HW4003", &[]).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    heals(&server, "HW4003", &[], "app.od`d.i`d").await;
    heals(&server, "HW4004", &[], "app.plain").await;
    heals(&server, "HW4005", &[], "app.narrow").await;
}

async fn settings_of_the_server_are_found_and_mended(flavour: Flavour) {
    let server = flavour.builder().arg("binlog-format", "MIXED").arg("binlog-row-metadata", "MINIMAL");
    // As small a pool as is asked for below.
    let server = match flavour {
        Flavour::MariaDb => server,
        Flavour::MySql => server.arg("innodb-buffer-pool-chunk-size", "1M"),
    };
    let server = server.start();
    for subject in ["innodb_flush_log_at_trx_commit", "sync_binlog"] {
        heals(&server, "HW4010", &[], subject).await;
    }
    for subject in ["binlog_format", "binlog_row_metadata"] {
        heals(&server, "HW4011", &[], subject).await;
    }
    server.sql("SET GLOBAL binlog_expire_logs_seconds = 0");
    heals(&server, "HW4012", &[], "binlog_expire").await;
    server.sql("SET GLOBAL binlog_expire_logs_seconds = 3600");
    heals(&server, "HW4012", &[], "binlog_expire").await;
    server.sql(&format!(
        "CREATE TABLE fat (id int PRIMARY KEY AUTO_INCREMENT, t char(250) NOT NULL);
         INSERT INTO fat (t) SELECT REPEAT('x', 250) FROM {}; ANALYZE TABLE fat;
         SET GLOBAL innodb_buffer_pool_size = 8388608; SELECT SUM(LENGTH(t)) FROM fat",
        numbers(1, 40_000)
    ));
    heals(&server, "HW4013", &[("share", 0.0), ("requests", 1.0)], "innodb_buffer_pool_size").await;
    // Every connection counts: the examination's own, and the kit's.
    heals(&server, "HW4030", &[("share", 0.01)], "max_connections").await;
    server.sql("CREATE USER open@'%'");
    let found = finds(&server, "HW4040", &[], "'open'@'%'").await;
    assert_eq!(found.urgency.name(), "critical");
    heals(&server, "HW4040", &[], "'open'@'%'").await;
    if flavour == Flavour::MariaDb {
        finds(&server, "HW4042", &[("days", 100_000.0)], "MariaDB 1").await;
    }
    let found = finds(&server, "HW4043", &[], "performance_schema").await;
    assert!(found.remedy[0].contains("performance_schema = ON"), "{found:?}");
}

async fn sessions_that_stay_and_hold_are_found_and_ended(flavour: Flavour) {
    // Of locks MySQL tells only there.
    let server = flavour.builder().arg("performance-schema", "ON").start();
    server.sql("CREATE TABLE book (id int PRIMARY KEY, n int); INSERT INTO book VALUES (1, 1)");
    let (mut holder, mut waiter) = (server.connect("app").await, server.connect("app").await);
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("UPDATE book SET n = 2").await.unwrap();
    let id: u64 = holder.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let waiting = tokio::spawn(async move { waiter.query_drop("UPDATE book SET n = 3").await });
    let session = format!("session {id}");
    let open = finds(&server, "HW4020", &[("seconds", 0.0)], &session).await;
    assert!(open.what.contains("open for"), "{open:?}");
    let holds = finds(&server, "HW4021", &[("seconds", 0.0)], &session).await;
    assert!(holds.what.contains("another session waits"), "{holds:?}");
    paste(&server, &holds.remedy).await;
    is_gone(&server, "HW4021", &[("seconds", 0.0)], &session).await;
    is_gone(&server, "HW4020", &[("seconds", 0.0)], &session).await;
    waiting.await.unwrap().unwrap();
}

async fn a_healthy_server_gives_no_finding_and_what_a_user_may_not_see_is_said(flavour: Flavour) {
    let server = flavour
        .builder()
        .durable()
        .arg("performance-schema", "ON")
        .arg("sync-binlog", "1")
        .arg("binlog-expire-logs-seconds", "604800")
        .start();
    server.sql(&format!(
        "CREATE TABLE book (id bigint PRIMARY KEY AUTO_INCREMENT, title varchar(50), KEY (title));
         INSERT INTO book (title) SELECT CONCAT('title ', seq) FROM {};
         CREATE USER shop@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT SELECT ON app.* TO shop@'127.0.0.1'",
        numbers(1, 1000)
    ));
    let all = examine(&server.url(), &ExamBudget::default()).await;
    // The kit signs in without a password, and the version's own end comes with time.
    let found: Vec<&Diagnosis> =
        all.found.iter().filter(|found| !["HW4040", "HW4042"].contains(&found.check)).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(all.skipped.is_empty(), "{:?}", all.skipped);
    assert_eq!(all.made, registry::checks().iter().filter(|check| check.id.starts_with("HW4")).count());

    let before = server.position();
    let blind = examine(&server.url_as("shop", "secret"), &ExamBudget::default()).await;
    let skipped: BTreeSet<&str> = blind.skipped.iter().map(|skipped| skipped.check).collect();
    assert!(skipped.contains("HW4020") && skipped.contains("HW4040"), "{:?}", blind.skipped);
    let remedy = blind.skipped[0].remedy.clone().unwrap();
    assert!(remedy.contains("GRANT PROCESS, SELECT ON *.* TO 'shop'"), "{remedy}");
    assert_eq!(server.position(), before, "an examination writes nothing");
}
