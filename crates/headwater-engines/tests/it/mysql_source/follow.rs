//! The log as events.

use headwater_model::{ErrorKind, Event};
use mysql_async::prelude::Queryable as _;

use super::*;

of_both!(
    transactions_come_whole_and_in_order_and_go_on_where_they_were_left,
    tables_that_are_altered_emptied_and_made_anew_are_followed_by_their_own_names,
    a_large_transaction_comes_in_parts_and_a_slow_consumer_holds_it_back,
    a_crash_of_the_server_loses_nothing_and_repeats_nothing,
    a_purged_log_is_a_gap,
    a_packed_log_is_read_and_an_idle_one_says_so,
);

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b INT)";

async fn transactions_come_whole_and_in_order_and_go_on_where_they_were_left(flavour: Flavour) {
    let server = flavour.start();
    server.sql(TABLE);
    server.sql("CREATE TABLE other (id INT PRIMARY KEY)");
    let mut log = Log::new(&server, &["t"]).await;
    server.sql(
        "INSERT INTO t VALUES (1, 'one', 1), (2, 'two', NULL); \
         BEGIN; UPDATE t SET a = 'ONE' WHERE id = 1; UPDATE t SET id = 3 WHERE id = 2; INSERT INTO other VALUES (1); COMMIT; \
         BEGIN; INSERT INTO t VALUES (9, 'gone', 9); ROLLBACK; \
         INSERT INTO other VALUES (2); \
         BEGIN; INSERT INTO t VALUES (4, 'x', 4); SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT; \
         DELETE FROM t WHERE id = 1",
    );
    let events = log.drain().await;
    let commits: Vec<&Position> = events
        .iter()
        .filter_map(|event| match event {
            Event::Commit { position, .. } => Some(position),
            _ => None,
        })
        .collect();
    assert_eq!(commits.len(), 4, "{events:?}");
    let changes = |events: Vec<Event>| -> Vec<String> {
        let told = |event| match event {
            Event::Change(Change::Insert { row, .. }) => Some(format!("+{}", values(&row).join(","))),
            Event::Change(Change::Update { row, old_key, .. }) => {
                let old = old_key.map(|key| format!(" was {}", key.to_text())).unwrap_or_default();
                Some(format!("={}{old}", values(&row).join(",")))
            }
            Event::Change(Change::Delete { key, .. }) => Some(format!("-{}", key.to_text())),
            Event::Change(Change::Truncate { .. }) => Some("0".into()),
            _ => None,
        };
        events.into_iter().filter_map(told).collect()
    };
    let first = commits[0].clone();
    let all = changes(events);
    assert_eq!(all, ["+1,one,1", "+2,two,NULL", "=1,ONE,1", "=3,two,NULL was 2", "+4,x,4", "-1"]);
    // Two cannot follow at once: the other one waits, and is told.
    let second = open(&server.url());
    second.prepare(&[name("t")]).await.unwrap();
    let error = second.follow(Some(&first)).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    drop(log);
    let mut log = headwater_testkit::eventually(Duration::from_secs(30), "the lock is free", async || {
        match second.follow(Some(&first)).await {
            Ok(follow) => Ok(follow),
            Err(error) => Err(error),
        }
    })
    .await;
    let mut again = Vec::new();
    while again.len() < 4 {
        again.extend(changes(log.next().await.unwrap()));
    }
    assert_eq!(again, all[2..]);
}

async fn tables_that_are_altered_emptied_and_made_anew_are_followed_by_their_own_names(flavour: Flavour) {
    let server = flavour.start();
    server.sql(TABLE);
    server.sql("INSERT INTO t VALUES (1, 'one', 1)");
    let mut log = Log::new(&server, &["t"]).await;
    // All of it lies in the log before any of it is read: the catalog is ahead of every row.
    server.sql(
        "INSERT INTO t VALUES (2, 'two', 2); ALTER TABLE t ADD COLUMN c INT UNSIGNED DEFAULT 7 AFTER id; \
         INSERT INTO t VALUES (3, 4000000000, 'three', 3); ALTER TABLE t DROP COLUMN a, CHANGE b d BIGINT; \
         INSERT INTO t VALUES (4, 4, -4); TRUNCATE t; INSERT INTO t VALUES (5, 5, 5); \
         DROP TABLE t; CREATE TABLE t (x INT, id INT, PRIMARY KEY (id)); INSERT INTO t VALUES (6, 7); \
         DROP TABLE t; CREATE TABLE t (id INT PRIMARY KEY) SELECT 8 AS id",
    );
    let mut told = Vec::new();
    for change in log.changes().await {
        told.push(match change {
            Change::Insert { table, row } => {
                let names: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
                format!("{} {} v{}", names.join(","), values(&row).join(","), table.version)
            }
            Change::Truncate { tables } => format!("empty {}", tables[0].name),
            other => panic!("{other:?}"),
        });
    }
    let names: Vec<&str> =
        told.iter().map(|line| line.rsplit_once(" v").map_or(line.as_str(), |(line, _)| line)).collect();
    assert_eq!(
        names,
        [
            "id,a,b 2,two,2",
            "id,c,a,b 3,4000000000,three,3",
            "id,c,d 4,4,-4",
            "empty t",
            "id,c,d 5,5,5",
            "empty t",
            "x,id 6,7",
            "empty t",
            "id 8",
        ]
    );
    // A table that is swapped has rows that the log does not tell: a gap.
    server.sql("CREATE TABLE t2 LIKE t; INSERT INTO t2 VALUES (1); RENAME TABLE t TO t1, t2 TO t");
    let error = log.end().await;
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error}");
}

async fn a_large_transaction_comes_in_parts_and_a_slow_consumer_holds_it_back(flavour: Flavour) {
    let server = flavour.start();
    server.sql(TABLE);
    let mut log = Log::new(&server, &["t"]).await;
    server.sql(&format!("INSERT INTO t SELECT seq, REPEAT('x', 20), seq FROM {}", numbers(1, 200_000)));
    let (mut rows, mut batches) = (0, 0);
    loop {
        let batch = log.follow.next().await.unwrap();
        // A batch is about as large as the events of the server that it was made of.
        assert!(batch.len() < 20_000, "{}", batch.len());
        batches += 1;
        rows += batch.iter().filter(|event| matches!(event, Event::Change(_))).count();
        if batch.iter().any(|event| matches!(event, Event::Commit { .. })) {
            break;
        }
    }
    assert_eq!(rows, 200_000);
    assert!(batches > 20, "{batches}");
}

async fn a_crash_of_the_server_loses_nothing_and_repeats_nothing(flavour: Flavour) {
    let server = flavour.builder().durable().start();
    server.sql(TABLE);
    let mut log = Log::new(&server, &["t"]).await;
    let mut connection = server.connect("app").await;
    let mut found = Vec::new();
    for round in 0..2 {
        for id in 0..50 {
            let sql = format!("INSERT INTO t VALUES ({}, 'x', 1)", round * 50 + id);
            connection.query_drop(sql).await.unwrap();
        }
        if round == 0 {
            server.kill();
            // What was read before the crash counts.
            let end = loop {
                match log.next().await {
                    Ok(Event::Change(Change::Insert { row, .. })) => found.push(row.0[0].clone()),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(end.kind(), ErrorKind::Transient, "{end}");
            server.restart();
            connection = server.connect("app").await;
            let (source, last) = (log.source.clone(), log.last.clone());
            drop(log);
            log = Log::of(source, &["t"], last.as_ref()).await;
        }
    }
    found.extend(log.rows().await.into_iter().map(|row| row.0[0].clone()));
    let expected: Vec<Value> = (0..100).map(Value::Int).collect();
    assert_eq!(found, expected);
}

async fn a_purged_log_is_a_gap(flavour: Flavour) {
    let server = flavour.start();
    server.sql(TABLE);
    let mut log = Log::new(&server, &["t"]).await;
    server.sql("INSERT INTO t VALUES (1, 'one', 1)");
    log.drain().await;
    let (source, last) = (log.source.clone(), log.last.clone().unwrap());
    drop(log);
    server.sql("INSERT INTO t VALUES (2, 'two', 2); FLUSH BINARY LOGS; INSERT INTO t VALUES (3, 'three', 3)");
    headwater_testkit::eventually(Duration::from_secs(30), "the log is purged", async || {
        server.sql("FLUSH BINARY LOGS");
        let newest =
            server.sql("SHOW BINARY LOGS").lines().last().unwrap().split('\t').next().unwrap().to_owned();
        server.sql(&format!("PURGE BINARY LOGS TO '{newest}'"));
        match server.sql("SHOW BINARY LOGS").lines().count() {
            1 => Ok(()),
            many => Err(format!("{many} files")),
        }
    })
    .await;
    let error = headwater_testkit::eventually(Duration::from_secs(30), "the gap is told", async || {
        match source.follow(Some(&last)).await.map(|_| ()) {
            Err(error) if error.kind() == ErrorKind::OutOfStep => Ok(error),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(error.to_string().contains("purged"), "{error}");
    assert!(error.remedy().unwrap().contains("expire_logs"), "{error}");
    // From now on it can be followed again.
    let mut log = Log::of(source, &["t"], None).await;
    server.sql("INSERT INTO t VALUES (4, 'four', 4)");
    assert_eq!(log.rows().await.len(), 1);
}

async fn a_packed_log_is_read_and_an_idle_one_says_so(flavour: Flavour) {
    let server = match flavour {
        Flavour::MariaDb => {
            flavour.builder().arg("log-bin-compress", "ON").arg("log-bin-compress-min-len", "10")
        }
        Flavour::MySql => flavour.builder().arg("binlog-transaction-compression", "ON"),
    };
    let server = server.start();
    server.sql(TABLE);
    let mut log = Log::new(&server, &["t"]).await;
    server.sql(&format!("INSERT INTO t SELECT seq, REPEAT('x', 20), seq FROM {}", numbers(1, 1000)));
    server.sql("UPDATE t SET a = 'y' WHERE id = 7; DELETE FROM t WHERE id > 900");
    assert_eq!(log.changes().await.len(), 1101);
    server.sql("CREATE TABLE other (id INT PRIMARY KEY); INSERT INTO other VALUES (1)");
    let (end, _) = log.source.progress().await.unwrap();
    loop {
        match log.next().await.unwrap() {
            Event::Idle { position } if position == end => break,
            Event::Idle { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(log.source.notation(&end), server.position().replace(":1-", ":"));
    assert_eq!(log.source.sequence(&log.source.notation(&end)), Some(end.sequence));
    assert_eq!(log.source.sequence("what"), None);
}
