//! Chunks: which rows, and what the read could see.

use headwater_model::ErrorKind;

use super::*;

fn ids(chunk: &Chunk) -> Vec<i64> {
    let id = chunk.table.column("id").unwrap();
    chunk.rows.iter().map(|row| if let Value::Int(n) = row.0[id] { n } else { panic!("{row:?}") }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_cover_a_table_without_gap_or_overlap() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE t (id int, g text, PRIMARY KEY (g, id));
         INSERT INTO t SELECT i, chr(65 + i % 3) FROM generate_series(1, 100) i;
         CREATE TABLE child (x int) INHERITS (t); INSERT INTO child VALUES (1000, 'A', 1)",
    );
    let source = open(&postgres.url());
    let mut seen = Vec::new();
    let mut piece = ChunkRange { limit: 7, ..range("t") };
    loop {
        let chunk = source.read_chunk(&piece).await.unwrap();
        assert!(chunk.rows.len() <= 7);
        seen.extend(ids(&chunk));
        piece.after = chunk.rows.last().map(|row| row.key(&chunk.table)).or(piece.after);
        if chunk.last {
            break;
        }
    }
    assert_eq!(seen.len(), 100, "an inheriting table's rows are not this table's");
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());

    // Exactly these keys, however often they are named, and only those that exist.
    let keys = [("A", 3), ("B", 1), ("A", 3), ("B", 3), ("it's", 7)];
    let keys = keys.map(|(g, id)| key(&[Value::text(g), Value::Int(id)])).to_vec();
    let chunk = source.read_chunk(&ChunkRange { keys, ..range("t") }).await.unwrap();
    assert_eq!((ids(&chunk), chunk.last), (vec![3, 1], true));

    let wrong = ChunkRange { after: Some(key(&[Value::Int(1)])), ..range("t") };
    assert_eq!(source.read_chunk(&wrong).await.unwrap_err().kind(), ErrorKind::OutOfStep);
    let missing = source.read_chunk(&range("missing")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Misconfigured, "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_rows_end_a_chunk_early_and_the_next_goes_on() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT i, repeat('x', 100000) FROM generate_series(1, 100) i",
    );
    let source = open(&postgres.url());
    let mut seen = Vec::new();
    let mut piece = ChunkRange { bytes_max: 1_000_000, ..range("t") };
    loop {
        let chunk = source.read_chunk(&piece).await.unwrap();
        assert!(chunk.rows.len() <= 11);
        seen.extend(ids(&chunk));
        piece.after = chunk.rows.last().map(|row| row.key(&chunk.table));
        if chunk.last {
            break;
        }
    }
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_read_in_parallel_and_beside_schema_changes() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 5000) i");
    let source = open(&postgres.url());
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let chunk = source.read_chunk(&range("t")).await.unwrap();
                    // A rewriting ALTER TABLE would show an older snapshot an empty table.
                    assert_eq!(chunk.rows.len(), 5000);
                    assert!(chunk.rows.iter().all(|row| row.0.len() == chunk.table.columns.len()));
                }
            })
        })
        .collect();
    for i in 0..10 {
        postgres.psql(&format!("ALTER TABLE t ADD c{i} int DEFAULT random() * 100"));
        postgres.psql("ALTER TABLE t ALTER v TYPE bigint; ALTER TABLE t ALTER v TYPE int");
    }
    for reader in readers {
        reader.await.unwrap();
    }
    let used = postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headwater'");
    assert!(used.parse::<u32>().unwrap() <= 4, "{used} connections");
}

/// The hazard that makes watermarks unsound: log order is not visibility order.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_standby_is_delivered_but_not_in_the_chunk() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old')");
    let mut log = Log::new(&postgres, &["t"]).await;
    log.drain().await;
    postgres.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    postgres.psql("SELECT pg_reload_conf()");
    let client = postgres.connect().await;
    let waiting = tokio::spawn(async move { client.execute("UPDATE t SET v = 'new'", &[]).await });

    // The change is delivered although its transaction is not visible to anybody, and our marks do not wait with it.
    let (mut xid, mut update): (Option<u64>, Option<Change>) = (None, None);
    let position = loop {
        match log.next().await {
            Event::Begin { xid: begun } => xid = begun,
            Event::Change(change) => update = Some(change),
            Event::Commit { position, .. } => break position,
            _ => {}
        }
    };
    assert!(matches!(update, Some(Change::Update { .. })));
    let marked = std::time::Instant::now();
    assert!(log.drain().await.is_empty());
    assert!(marked.elapsed() < Duration::from_secs(2));
    let chunk = log.source.read_chunk(&range("t")).await.unwrap();
    assert_eq!(chunk.rows[0].0[1], Value::text("old"), "read after the change was delivered");
    assert!(!chunk.moment.sees(xid, &position), "{:?} {xid:?}", chunk.moment);
    assert!(log.drain().await.is_empty());

    postgres.psql("ALTER SYSTEM RESET synchronous_standby_names");
    postgres.psql("SELECT pg_reload_conf()");
    waiting.await.unwrap().unwrap();
    let chunk = log.source.read_chunk(&range("t")).await.unwrap();
    assert_eq!(chunk.rows[0].0[1], Value::text("new"));
    assert!(chunk.moment.sees(xid, &position));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_join_wait_for_transactions_that_wrote_before() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
    let log = Log::new(&postgres, &["a"]).await;
    let client = postgres.connect().await;
    client.batch_execute("BEGIN; INSERT INTO b VALUES (1)").await.unwrap();
    // Whoever follows meanwhile would not know that it lacks something of the table.
    let refused = log.source.prepare(&[name("a"), name("b")]).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Transient && refused.to_string().contains("in use"), "{refused}");
    let source = log.source.clone();
    drop(log);
    let joining = tokio::spawn({
        let source = source.clone();
        async move { source.prepare(&[name("a"), name("b")]).await }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!joining.is_finished(), "what the open transaction wrote is not published, so it must end first");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(joining.await.unwrap().unwrap(), [name("b")]);
    let mut log = Log::of(source, &["a", "b"]).await;
    // Whatever the log leaves out of that transaction, a chunk read from now on shows.
    let chunk = log.source.read_chunk(&range("b")).await.unwrap();
    assert_eq!(ids(&chunk), [1]);
    postgres.psql("INSERT INTO b VALUES (2)");
    let changes = log.changes().await;
    assert!(matches!(changes.last(), Some(Change::Insert { row, .. }) if row.0[0] == Value::Int(2)));
}
