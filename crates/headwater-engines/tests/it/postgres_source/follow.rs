//! Following: what the log says, in order, through everything that tables go through.

use headwater_model::ErrorKind;

use super::*;

/// A change in short: `+`, `~`, `-` or `0` for an insert, update, delete or truncate, the table, and what it carries.
fn short(change: &Change) -> String {
    match change {
        Change::Insert { table, row } => format!("+{} {}", table.name, record(table, row).to_json()),
        Change::Update { table, old_key, row } => {
            let old = old_key.as_ref().map_or(String::new(), |key| format!("{key} -> "));
            let unchanged: Vec<String> = table
                .columns
                .iter()
                .zip(&row.0)
                .filter(|(_, value)| value.is_unchanged())
                .map(|(column, _)| format!(" ({} unchanged)", column.name))
                .collect();
            format!("~{} {old}{}{}", table.name, record(table, row).to_json(), unchanged.join(""))
        }
        Change::Delete { table, key } => format!("-{} {key}", table.name),
        Change::Truncate { tables } => {
            let names: Vec<String> = tables.iter().map(|table| table.name.to_string()).collect();
            format!("0{}", names.join(","))
        }
        Change::Snapshot { .. } => panic!("a source sends no snapshots"),
    }
}

async fn shorts(log: &mut Log) -> Vec<String> {
    log.changes().await.iter().map(short).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_as_they_were_made() {
    let postgres = Postgres::start();
    postgres.psql(
        r#"CREATE TABLE t (id int PRIMARY KEY, v text);
           CREATE SCHEMA "Süd"; CREATE TABLE "Süd"."My ""table" ("Key 1" int, ß text, PRIMARY KEY (ß, "Key 1"))"#,
    );
    let mut log = Log::new(&postgres, &["t", "Süd.My \"table"]).await;
    postgres.psql("INSERT INTO t VALUES (1, 'a'), (2, NULL)");
    postgres.psql("UPDATE t SET v = '' WHERE id = 1");
    postgres.psql("UPDATE t SET id = 3 WHERE id = 2; DELETE FROM t WHERE id = 1");
    postgres.psql("BEGIN; INSERT INTO t VALUES (9, 'never'); ROLLBACK");
    postgres.psql(
        "BEGIN; INSERT INTO t VALUES (4, 'x'); SAVEPOINT s; INSERT INTO t VALUES (5, 'y'); ROLLBACK TO s; COMMIT",
    );
    postgres.psql(r#"INSERT INTO "Süd"."My ""table" VALUES (7, 'é:')"#);
    postgres.psql(r#"UPDATE "Süd"."My ""table" SET "Key 1" = 8"#);
    postgres.psql(r#"TRUNCATE t, "Süd"."My ""table""#);
    assert_eq!(
        shorts(&mut log).await,
        [
            r#"+public.t {"id":1,"v":"a"}"#,
            r#"+public.t {"id":2,"v":null}"#,
            r#"~public.t {"id":1,"v":""}"#,
            r#"~public.t 2 -> {"id":3,"v":null}"#,
            "-public.t 1",
            r#"+public.t {"id":4,"v":"x"}"#,
            r#"+Süd.My "table {"Key 1":7,"ß":"é:"}"#,
            r#"~Süd.My "table é%3A:7 -> {"Key 1":8,"ß":"é:"}"#,
            r#"0public.t,Süd.My "table"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_large_value_is_unchanged_and_never_null() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text);
         CREATE TABLE f (id int PRIMARY KEY, n int, big text); ALTER TABLE f REPLICA IDENTITY FULL;
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL",
    );
    let mut log = Log::new(&postgres, &["t", "f"]).await;
    for table in ["t", "f"] {
        postgres.psql(&format!("INSERT INTO {table} VALUES (1, 1, repeat('x', 10000))"));
        postgres.psql(&format!("UPDATE {table} SET n = 2"));
        postgres.psql(&format!("UPDATE {table} SET id = 2"));
    }
    let changes = shorts(&mut log).await;
    let big = "x".repeat(10_000);
    assert_eq!(changes[1], r#"~public.t {"id":1,"n":2} (big unchanged)"#);
    assert_eq!(changes[2], r#"~public.t 1 -> {"id":2,"n":2} (big unchanged)"#);
    assert_eq!(changes[4], format!(r#"~public.f {{"id":1,"n":2,"big":"{big}"}}"#));
    assert_eq!(changes[5], format!(r#"~public.f 1 -> {{"id":2,"n":2,"big":"{big}"}}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_identity_gives_the_right_key() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE d (x text, b int, a int, PRIMARY KEY (a, b));
         CREATE TABLE f (x text, b int, a int, PRIMARY KEY (a, b)); ALTER TABLE f REPLICA IDENTITY FULL;
         CREATE TABLE i (id int PRIMARY KEY, b int NOT NULL, x text, a int NOT NULL);
         CREATE UNIQUE INDEX i_key ON i (b, a) INCLUDE (x); ALTER TABLE i REPLICA IDENTITY USING INDEX i_key",
    );
    let mut log = Log::new(&postgres, &["d", "f", "i"]).await;
    postgres
        .psql("INSERT INTO d VALUES ('x', 1, 2); UPDATE d SET x = 'y'; UPDATE d SET b = 5; DELETE FROM d");
    postgres
        .psql("INSERT INTO f VALUES ('x', 1, 2); UPDATE f SET x = 'y'; UPDATE f SET b = 5; DELETE FROM f");
    postgres
        .psql("INSERT INTO i VALUES (9, 1, 'x', 2); UPDATE i SET id = 8; UPDATE i SET b = 5; DELETE FROM i");
    let mut expected = Vec::new();
    for table in ["d", "f"] {
        expected.extend([
            format!(r#"+public.{table} {{"x":"x","b":1,"a":2}}"#),
            format!(r#"~public.{table} {{"x":"y","b":1,"a":2}}"#),
            format!(r#"~public.{table} 2:1 -> {{"x":"y","b":5,"a":2}}"#),
            format!("-public.{table} 2:5"),
        ]);
    }
    expected.extend([
        r#"+public.i {"id":9,"b":1,"x":"x","a":2}"#.to_owned(),
        r#"~public.i {"id":8,"b":1,"x":"x","a":2}"#.to_owned(),
        r#"~public.i 1:2 -> {"id":8,"b":5,"x":"x","a":2}"#.to_owned(),
        "-public.i 5:2".to_owned(),
    ]);
    assert_eq!(shorts(&mut log).await, expected);
    for (table, names) in [("d", ["a", "b"]), ("f", ["a", "b"]), ("i", ["b", "a"])] {
        let shapes = log.source.shapes(&[name(table)]).await.unwrap();
        let shape = &shapes[0].table;
        let key: Vec<&str> = shape.key.iter().map(|i| &*shape.columns[*i].name).collect();
        assert_eq!(key, names, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_speak_as_their_root() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE p (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         CREATE TABLE p2 (v text, gone int, at date NOT NULL, id int NOT NULL);
         ALTER TABLE p2 DROP gone; ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
         CREATE TABLE p3 PARTITION OF p DEFAULT PARTITION BY LIST (id); CREATE TABLE p31 PARTITION OF p3 DEFAULT",
    );
    let mut log = Log::new(&postgres, &["p"]).await;
    postgres
        .psql("INSERT INTO p VALUES (1, '2024-05-05', 'a'), (2, '2025-05-05', 'b'), (3, '2030-01-01', 'c')");
    postgres.psql("UPDATE p2 SET v = 'B'");
    // Across partitions: a delete and an insert.
    postgres.psql("UPDATE p SET at = '2025-06-06' WHERE id = 1");
    postgres.psql("DELETE FROM p31");
    let chunk = log.source.read_chunk(&range("p")).await.unwrap();
    postgres.psql("TRUNCATE p");
    assert_eq!(
        shorts(&mut log).await,
        [
            r#"+public.p {"id":1,"at":"2024-05-05","v":"a"}"#,
            r#"+public.p {"id":2,"at":"2025-05-05","v":"b"}"#,
            r#"+public.p {"id":3,"at":"2030-01-01","v":"c"}"#,
            r#"~public.p {"id":2,"at":"2025-05-05","v":"B"}"#,
            "-public.p 1:2024-05-05",
            r#"+public.p {"id":1,"at":"2025-06-06","v":"a"}"#,
            "-public.p 3:2030-01-01",
            "0public.p",
        ]
    );
    let rows: Vec<String> = chunk.rows.iter().map(|row| record(&chunk.table, row).to_json()).collect();
    assert_eq!(rows, [r#"{"id":1,"at":"2025-06-06","v":"a"}"#, r#"{"id":2,"at":"2025-05-05","v":"B"}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_may_come_go_and_change_their_names_while_following() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, a text, sum int GENERATED ALWAYS AS (id + 1) STORED)");
    let mut log = Log::new(&postgres, &["t"]).await;
    postgres.psql("INSERT INTO t VALUES (1, 'a')");
    postgres.psql("ALTER TABLE t ADD b int DEFAULT 7; INSERT INTO t VALUES (2, 'a')");
    postgres.psql("ALTER TABLE t RENAME a TO c; UPDATE t SET c = 'c' WHERE id = 1");
    postgres.psql("ALTER TABLE t DROP c; INSERT INTO t VALUES (3)");
    postgres.psql("ALTER TABLE t ALTER b TYPE text USING 'n' || b; UPDATE t SET b = 'm' WHERE id = 1");
    postgres.psql("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (4)");
    let changes = log.changes().await;
    let versions: Vec<u32> = changes
        .iter()
        .map(|change| match change {
            Change::Insert { table, .. } | Change::Update { table, .. } => table.version,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "each shape has a version of its own: {versions:?}");
    let shorts: Vec<String> = changes.iter().map(short).collect();
    assert_eq!(
        shorts,
        [
            r#"+public.t {"id":1,"a":"a"}"#,
            r#"+public.t {"id":2,"a":"a","b":7}"#,
            r#"~public.t {"id":1,"c":"c","b":7}"#,
            r#"+public.t {"id":3,"b":7}"#,
            r#"~public.t {"id":1,"b":"m"}"#,
            r#"+public.u {"id":4,"b":"7"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_key_of_a_full_identity_is_found_in_the_older_log() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (a int, id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY FULL");
    let source = open(&postgres.url());
    source.prepare(&[name("t")]).await.unwrap();
    postgres.psql("INSERT INTO t VALUES (1, 2); DELETE FROM t");
    postgres.psql("ALTER TABLE t RENAME id TO ident; INSERT INTO t VALUES (3, 4); DELETE FROM t");
    let mut log = Log::of(source, &["t"]).await;
    assert_eq!(
        shorts(&mut log).await,
        [r#"+public.t {"a":1,"id":2}"#, "-public.t 2", r#"+public.t {"a":3,"ident":4}"#, "-public.t 4"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn following_resumes_exactly_after_a_position() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let mut log = Log::new(&postgres, &["t"]).await;
    for id in 1..=5 {
        postgres.psql(&format!("INSERT INTO t VALUES ({id})"));
    }
    let mut positions = Vec::new();
    for event in log.drain().await {
        if let Event::Commit { position, committed_at } = event {
            assert!(committed_at > 1_500_000_000_000_000);
            positions.push(position);
        }
    }
    assert!(positions.is_sorted_by(|a, b| a < b));
    let source = log.source.clone();
    drop(log);
    for (i, position) in positions.iter().enumerate() {
        let follow = source.follow(Some(position)).await.unwrap();
        let mut log = Log { source: source.clone(), follow, marks: 100, waiting: Default::default() };
        let expected: Vec<String> = (i + 2..=5).map(|id| format!("+public.t {{\"id\":{id}}}")).collect();
        assert_eq!(shorts(&mut log).await, expected);
    }
    // Released, the log before is gone, and the server would skip it without a word.
    source.release(&positions[3]).await.unwrap();
    let follow = source.follow(Some(&positions[4])).await.unwrap();
    headwater_testkit::eventually(Duration::from_secs(5), "the slot moves on", async || {
        match postgres.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots") {
            lsn if lsn == source.notation(&positions[3]) => Ok(()),
            lsn => Err(lsn),
        }
    })
    .await;
    drop(follow);
    let error = source.follow(Some(&positions[0])).await.err().expect("a gap is declared");
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error}");
    source.follow(Some(&positions[3])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_the_queue_arrives_whole() {
    let postgres = Postgres::builder().setting("logical_decoding_work_mem", "64kB").start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let mut log = Log::new(&postgres, &["t"]).await;
    postgres.psql("INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 60000) i");
    // A slow consumer: the queue is full for longer than the server waits for a sign of life.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let changes = log.changes().await;
    assert_eq!(changes.len(), 60_000);
    for (i, change) in changes.iter().enumerate() {
        let Change::Insert { row, .. } = change else { panic!("an insert") };
        assert_eq!(row.0[0], Value::Int(i as i64 + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_is_not_cut_off() {
    let postgres = Postgres::builder().setting("wal_sender_timeout", "1500ms").start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let mut log = Log::new(&postgres, &["t"]).await;
    postgres.psql("INSERT INTO t SELECT i, repeat('x', 5000) FROM generate_series(1, 20000) i");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(log.changes().await.len(), 20_000);
    tokio::time::sleep(Duration::from_secs(4)).await;
    postgres.psql("DELETE FROM t WHERE id = 1");
    assert_eq!(shorts(&mut log).await, ["-public.t 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn next_may_be_cancelled_at_any_moment() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let mut log = Log::new(&postgres, &["t"]).await;
    let client = postgres.connect().await;
    let writer = tokio::spawn(async move {
        for id in 0..2_000 {
            client.execute(&format!("INSERT INTO t VALUES ({id})"), &[]).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while seen.len() < 2_000 {
        assert!(std::time::Instant::now() < deadline, "{} of 2000", seen.len());
        let next = tokio::time::timeout(Duration::from_micros(300), log.follow.next());
        let Ok(events) = next.await else { continue };
        for event in events.unwrap() {
            if let Event::Change(Change::Insert { row, .. }) = event {
                seen.push(row.0[0].clone());
            }
        }
    }
    writer.await.unwrap();
    assert_eq!(seen, (0..2_000).map(Value::Int).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_comes_back_at_once_and_another_instances_mark_does_not() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let mut log = Log::new(&postgres, &["t"]).await;
    let other = open_with(&postgres.url(), &[("slot", "other")]);
    log.drain().await;
    let begun = std::time::Instant::now();
    other.mark(77).await.unwrap();
    log.source.mark(u64::MAX).await.unwrap();
    loop {
        match log.next().await {
            Event::Mark { chunk, .. } => {
                assert_eq!(chunk, u64::MAX);
                break;
            }
            Event::Idle { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_notices_let_an_idle_source_forget_its_log() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int)");
    let mut log = Log::new(&postgres, &["t"]).await;
    log.drain().await;
    // The log grows, and none of it concerns us.
    postgres.psql("INSERT INTO other SELECT generate_series(1, 100000)");
    let target = postgres.psql("SELECT pg_current_wal_lsn()");
    let reached =
        || postgres.psql(&format!("SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots"));
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    while reached() != "t" {
        assert!(std::time::Instant::now() < deadline, "the slot stays behind");
        if let Ok(events) = tokio::time::timeout(Duration::from_millis(100), log.follow.next()).await {
            for event in events.unwrap() {
                if let Event::Idle { position } = event {
                    log.source.release(&position).await.unwrap();
                }
            }
        }
    }
    let (_, retained) = log.source.progress().await.unwrap();
    assert_eq!(retained.bound_bytes, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_transient_and_following_goes_on() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let mut log = Log::new(&postgres, &["t"]).await;
    postgres.psql("INSERT INTO t VALUES (1)");
    let position = loop {
        if let Event::Commit { position, .. } = log.next().await {
            break position;
        }
    };
    postgres.psql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
    let error = loop {
        match log.follow.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    postgres.psql("INSERT INTO t VALUES (2)");
    log.follow = log.source.follow(Some(&position)).await.unwrap();
    log.waiting.clear();
    assert_eq!(shorts(&mut log).await, [r#"+public.t {"id":2}"#]);
    // And after a crash of the server: the pools find out that their connections are gone.
    postgres.kill();
    postgres.restart().await;
    postgres.psql("INSERT INTO t VALUES (3)");
    log.follow = log.source.follow(Some(&position)).await.unwrap();
    log.waiting.clear();
    assert_eq!(shorts(&mut log).await, [r#"+public.t {"id":2}"#, r#"+public.t {"id":3}"#]);
}

/// Follows on until it fails.
async fn end(log: &mut Log) -> headwater_model::Error {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        assert!(std::time::Instant::now() < deadline, "following goes on");
        match log.follow.next().await {
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_or_publication_that_vanishes_is_a_declared_gap() {
    let postgres = Postgres::start();
    let table = "CREATE TABLE t (id int PRIMARY KEY)";
    postgres.psql(table);
    let mut log = Log::new(&postgres, &["t"]).await;
    // The new table has the old one's name and is not in the publication: the log would be silent about it.
    postgres.psql(&format!("DROP TABLE t; {table}; INSERT INTO t VALUES (1)"));
    let error = end(&mut log).await;
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error}");
    assert!(error.to_string().contains("has left the publication"), "{error}");
    let source = log.source.clone();
    drop(log);
    let mut log = Log::of(source.clone(), &["t"]).await;
    postgres.psql("INSERT INTO t VALUES (2)");
    assert_eq!(shorts(&mut log).await, [r#"+public.t {"id":2}"#]);

    postgres.psql("DROP PUBLICATION headwater; INSERT INTO t VALUES (3)");
    let error = end(&mut log).await;
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error}");
    assert!(error.to_string().contains("is gone"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_published_and_not_followed_are_passed_over() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE keyless (id int);
         CREATE PUBLICATION headwater FOR ALL TABLES WITH (publish_via_partition_root = true)",
    );
    let mut log = Log::new(&postgres, &["t"]).await;
    postgres.psql("INSERT INTO keyless VALUES (1)");
    postgres
        .psql("BEGIN; INSERT INTO keyless VALUES (2); INSERT INTO t VALUES (1); TRUNCATE keyless, t; COMMIT");
    assert_eq!(shorts(&mut log).await, [r#"+public.t {"id":1}"#, "0public.t"]);
}
