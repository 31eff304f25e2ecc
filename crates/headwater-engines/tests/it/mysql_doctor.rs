//! What `doctor` finds in a real MariaDB: every check is shown a problem that is really there, its remedy is applied as it is
//! printed, and then there is nothing to be found.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_engines::registry;
use headwater_model::Secret;
use headwater_model::exam::{Diagnosis, ExamBudget, Examination};
use headwater_model::file::SourceSection;
use headwater_testkit::{MariaDb, eventually};
use mysql_async::prelude::Queryable as _;

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

async fn look(mariadb: &MariaDb, check: &str, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
    if check.starts_with("HW402") {
        // What InnoDB tells of transactions is renewed once nobody has asked for a tenth of a second.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let examination = examine(&mariadb.url(), &budget(check, limits)).await;
    assert!(examination.skipped.is_empty(), "{:?}", examination.skipped);
    assert_eq!(examination.made, 1, "{check} was not made");
    examination.found
}

/// The finding about a subject, once it is there.
async fn finds(mariadb: &MariaDb, check: &str, limits: &[(&str, f64)], subject: &str) -> Diagnosis {
    let found = async || {
        let found = look(mariadb, check, limits).await;
        let seen = format!("{found:#?}");
        found.into_iter().find(|found| found.subject.contains(subject)).ok_or(seen)
    };
    eventually(PATIENCE, &format!("{check} about {subject}"), found).await
}

async fn is_gone(mariadb: &MariaDb, check: &str, limits: &[(&str, f64)], subject: &str) {
    let gone = async || {
        let left = look(mariadb, check, limits).await;
        if left.iter().any(|found| found.subject.contains(subject)) {
            Err(format!("{left:#?}"))
        } else {
            Ok(())
        }
    };
    eventually(PATIENCE, &format!("{check} of {subject} to be gone"), gone).await;
}

fn paste(mariadb: &MariaDb, statements: &[String]) {
    assert!(!statements.is_empty(), "the finding says nothing of what to do");
    statements.iter().for_each(|statement| drop(mariadb.sql(statement)));
}

/// It is found, what it says mends it, and what undoes that brings it back, where something does.
async fn heals(mariadb: &MariaDb, check: &str, limits: &[(&str, f64)], subject: &str) {
    let found = finds(mariadb, check, limits, subject).await;
    paste(mariadb, &found.remedy);
    is_gone(mariadb, check, limits, subject).await;
    if !found.undo.is_empty() {
        paste(mariadb, &found.undo);
        finds(mariadb, check, limits, subject).await;
        paste(mariadb, &found.remedy);
    }
}

#[tokio::test]
async fn tables_and_indexes_are_found_and_mended() {
    if MariaDb::is_left_out() {
        return;
    }
    let mariadb = MariaDb::start();
    mariadb.sql(
        "CREATE TABLE nameless (n int) ENGINE = InnoDB;
         CREATE TABLE book (id int PRIMARY KEY, title varchar(50), author int, year int,
           KEY twin (title), KEY twin_again (title), KEY by_author (author), KEY by_author_year (author, year DESC),
           UNIQUE KEY only (author, title), KEY long_title (title(20)));
         CREATE TABLE `od``d` (`i``d` tinyint NOT NULL AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 120;
         CREATE TABLE wide (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 3000000000;
         CREATE TABLE plain (id int PRIMARY KEY) ENGINE = MyISAM;
         CREATE TABLE narrow (id int PRIMARY KEY, t text) CHARACTER SET utf8mb3",
    );
    heals(&mariadb, "HW4001", &[], "app.nameless").await;
    let twins: BTreeSet<String> =
        look(&mariadb, "HW4002", &[]).await.into_iter().map(|found| found.subject).collect();
    // `long_title` is no beginning of another: its entries are cut off.
    assert_eq!(twins, ["app.book by_author", "app.book twin_again"].map(str::to_owned).into());
    heals(&mariadb, "HW4002", &[], "twin_again").await;
    let found = look(&mariadb, "HW4003", &[]).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    heals(&mariadb, "HW4003", &[], "app.od`d.i`d").await;
    heals(&mariadb, "HW4004", &[], "app.plain").await;
    heals(&mariadb, "HW4005", &[], "app.narrow").await;
}

#[tokio::test]
async fn settings_of_the_server_are_found_and_mended() {
    if MariaDb::is_left_out() {
        return;
    }
    let mariadb =
        MariaDb::builder().arg("binlog-format", "MIXED").arg("binlog-row-metadata", "MINIMAL").start();
    for subject in ["innodb_flush_log_at_trx_commit", "sync_binlog"] {
        heals(&mariadb, "HW4010", &[], subject).await;
    }
    for subject in ["binlog_format", "binlog_row_metadata"] {
        heals(&mariadb, "HW4011", &[], subject).await;
    }
    mariadb.sql("SET GLOBAL binlog_expire_logs_seconds = 0");
    heals(&mariadb, "HW4012", &[], "binlog_expire").await;
    mariadb.sql("SET GLOBAL binlog_expire_logs_seconds = 3600");
    heals(&mariadb, "HW4012", &[], "binlog_expire").await;
    mariadb.sql(
        "CREATE TABLE fat (id int PRIMARY KEY AUTO_INCREMENT, t char(250) NOT NULL);
         INSERT INTO fat (t) SELECT REPEAT('x', 250) FROM seq_1_to_40000; ANALYZE TABLE fat;
         SET GLOBAL innodb_buffer_pool_size = 8388608; SELECT SUM(LENGTH(t)) FROM fat",
    );
    heals(&mariadb, "HW4013", &[("share", 0.0), ("requests", 1.0)], "innodb_buffer_pool_size").await;
    // Every connection counts: the examination's own, and the kit's.
    heals(&mariadb, "HW4030", &[("share", 0.01)], "max_connections").await;
    mariadb.sql("CREATE USER open@'%'");
    let found = finds(&mariadb, "HW4040", &[], "'open'@'%'").await;
    assert_eq!(found.urgency.name(), "critical");
    heals(&mariadb, "HW4040", &[], "'open'@'%'").await;
    finds(&mariadb, "HW4042", &[("days", 100_000.0)], "MariaDB 1").await;
    let found = finds(&mariadb, "HW4043", &[], "performance_schema").await;
    assert!(found.remedy[0].contains("performance_schema = ON"), "{found:?}");
}

#[tokio::test]
async fn sessions_that_stay_and_hold_are_found_and_ended() {
    if MariaDb::is_left_out() {
        return;
    }
    let mariadb = MariaDb::start();
    mariadb.sql("CREATE TABLE book (id int PRIMARY KEY, n int); INSERT INTO book VALUES (1, 1)");
    let (mut holder, mut waiter) = (mariadb.connect("app").await, mariadb.connect("app").await);
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("UPDATE book SET n = 2").await.unwrap();
    let id: u64 = holder.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let waiting = tokio::spawn(async move { waiter.query_drop("UPDATE book SET n = 3").await });
    let session = format!("session {id}");
    let open = finds(&mariadb, "HW4020", &[("seconds", 0.0)], &session).await;
    assert!(open.what.contains("open for"), "{open:?}");
    let holds = finds(&mariadb, "HW4021", &[("seconds", 0.0)], &session).await;
    assert!(holds.what.contains("another session waits"), "{holds:?}");
    paste(&mariadb, &holds.remedy);
    is_gone(&mariadb, "HW4021", &[("seconds", 0.0)], &session).await;
    is_gone(&mariadb, "HW4020", &[("seconds", 0.0)], &session).await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_healthy_server_gives_no_finding_and_what_a_user_may_not_see_is_said() {
    if MariaDb::is_left_out() {
        return;
    }
    let mariadb = MariaDb::builder()
        .durable()
        .arg("performance-schema", "ON")
        .arg("sync-binlog", "1")
        .arg("binlog-expire-logs-seconds", "604800")
        .start();
    mariadb.sql(
        "CREATE TABLE book (id bigint PRIMARY KEY AUTO_INCREMENT, title varchar(50), KEY (title));
         INSERT INTO book (title) SELECT CONCAT('title ', seq) FROM seq_1_to_1000;
         CREATE USER shop@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT SELECT ON app.* TO shop@'127.0.0.1'",
    );
    let all = examine(&mariadb.url(), &ExamBudget::default()).await;
    // The kit signs in without a password, and the version's own end comes with time.
    let found: Vec<&Diagnosis> =
        all.found.iter().filter(|found| !["HW4040", "HW4042"].contains(&found.check)).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(all.skipped.is_empty(), "{:?}", all.skipped);
    assert_eq!(all.made, registry::checks().iter().filter(|check| check.id.starts_with("HW4")).count());

    let before = mariadb.sql("SELECT @@gtid_binlog_pos");
    let blind = examine(&mariadb.url_as("shop", "secret"), &ExamBudget::default()).await;
    let skipped: BTreeSet<&str> = blind.skipped.iter().map(|skipped| skipped.check).collect();
    assert!(skipped.contains("HW4020") && skipped.contains("HW4040"), "{:?}", blind.skipped);
    let remedy = blind.skipped[0].remedy.clone().unwrap();
    assert!(remedy.contains("GRANT PROCESS, SELECT ON *.* TO 'shop'"), "{remedy}");
    assert_eq!(mariadb.sql("SELECT @@gtid_binlog_pos"), before, "an examination writes nothing");
}
