//! Chunks, and the moment that they show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_model::Moment;
use mysql_async::prelude::Queryable as _;

use super::*;

of_both!(
    a_table_is_read_in_pages_by_a_key_of_several_columns_and_collations,
    a_chunk_shows_everything_up_to_its_position,
    a_commit_that_waits_for_a_replica_is_not_taken_for_shown,
);

async fn a_table_is_read_in_pages_by_a_key_of_several_columns_and_collations(flavour: Flavour) {
    let server = flavour.start();
    server.sql("CREATE TABLE t (n INT, a VARCHAR(20) COLLATE utf8mb4_general_ci, b VARBINARY(8), d DATETIME(6), PRIMARY KEY (a, d, b))");
    let mut rows = Vec::new();
    for (n, a) in ["b", "A", "a'\\", "É", "f", "z", ""].iter().enumerate() {
        let a = a.replace('\\', "\\\\").replace('\'', "''");
        for d in ["2024-01-01 00:00:00.5", "2024-01-02"] {
            for b in ["X'00'", "X'FF27'"] {
                rows.push(format!("({n}, '{a}', {b}, '{d}')"));
            }
        }
    }
    server.sql(&format!("INSERT INTO t VALUES {}", rows.join(", ")));
    let source = open(&server.url());
    let whole = source.read_chunk(&range("t")).await.unwrap();
    assert!(whole.last && whole.rows.len() == rows.len());
    for limit in [1, 3, 5, rows.len()] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let chunk = source.read_chunk(&ChunkRange { after, limit, ..range("t") }).await.unwrap();
            assert!(chunk.rows.len() <= limit);
            after = chunk.upto.clone();
            found.extend(chunk.rows);
            if chunk.last {
                break;
            }
        }
        assert_eq!(found, whole.rows, "{limit}");
    }
    // A bound in bytes ends a chunk, too, and never without a row.
    let chunk = source.read_chunk(&ChunkRange { bytes_max: 1, ..range("t") }).await.unwrap();
    assert_eq!((chunk.rows.len(), chunk.last), (1, false));
    let mut keys: Vec<Key> = whole.rows.iter().step_by(3).map(|row| row.key(&whole.table)).collect();
    let mut expected: Vec<Vec<u8>> = keys.iter().map(Key::to_bytes).collect();
    keys.push(key(&[Value::text("nowhere"), Value::Timestamp(0), Value::Bytes([1].into())]));
    keys.push(keys[0].clone());
    let chunk = source.read_chunk(&ChunkRange { keys, ..range("t") }).await.unwrap();
    let mut found: Vec<Vec<u8>> = chunk.rows.iter().map(|row| row.key(&whole.table).to_bytes()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// While eight connections commit as fast as they can, each chunk is, row by row, what the log says of its position and of
/// what came after it: a row is as at that position, or as a later transaction made it.
async fn a_chunk_shows_everything_up_to_its_position(flavour: Flavour) {
    let server = flavour.start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY, version BIGINT NOT NULL)");
    server.sql(&format!("INSERT INTO t SELECT seq, 0 FROM {}", numbers(0, 39)));
    let mut log = Log::new(&server, &["t"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (mut connection, stop) = (server.connect("app").await, stop.clone());
        writers.push(tokio::spawn(async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let id = writer * 5 + round % 5;
                connection
                    .query_drop(format!("UPDATE t SET version = version + 1 WHERE id = {id}"))
                    .await
                    .unwrap();
                round += 1;
            }
        }));
    }
    let source = log.source.clone();
    let reading = tokio::spawn(async move {
        let mut chunks = Vec::new();
        for _ in 0..60 {
            chunks.push(source.read_chunk(&range("t")).await.unwrap());
        }
        chunks
    });
    let chunks = reading.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    // Versions of each row by position.
    let mut history: BTreeMap<i64, Vec<(u64, i64)>> = BTreeMap::new();
    let mut open = Vec::new();
    for event in log.drain().await {
        match event {
            Event::Change(Change::Update { row, .. }) => open.push(row),
            Event::Commit { position, .. } => {
                for row in open.drain(..) {
                    let [Value::Int(id), Value::Int(version)] = row.0[..] else { panic!("{row:?}") };
                    history.entry(id).or_default().push((position.sequence, version));
                }
            }
            _ => {}
        }
    }
    let mut moved = 0;
    for chunk in &chunks {
        let Moment::At(at) = &chunk.moment else { panic!("{:?}", chunk.moment) };
        assert_eq!(chunk.rows.len(), 40);
        for row in &chunk.rows {
            let [Value::Int(id), Value::Int(version)] = row.0[..] else { panic!("{row:?}") };
            let of = history.get(&id).map(Vec::as_slice).unwrap_or_default();
            let least =
                of.iter().filter(|(sequence, _)| *sequence <= at.sequence).map(|(_, version)| *version).max();
            assert!(version >= least.unwrap_or(0), "row {id} has version {version} at {at:?}, not {least:?}");
            moved += usize::from(least.is_some());
        }
    }
    assert!(moved > 500, "the writers were too slow to show anything: {moved}");
}

/// A commit that waits for its replica is in the log, and nobody sees it: the position of a read lies before it.
async fn a_commit_that_waits_for_a_replica_is_not_taken_for_shown(flavour: Flavour) {
    // MySQL has it in two plugins, and other words for it.
    let (primary, standby, word, plugins) = match flavour {
        Flavour::MariaDb => ("master", "slave", "SLAVE", None),
        Flavour::MySql => ("source", "replica", "REPLICA", Some(["source", "replica"])),
    };
    let builder = |place: usize| match plugins {
        None => flavour.builder(),
        Some(plugins) => flavour.builder().arg("plugin-load-add", &format!("semisync_{}.so", plugins[place])),
    };
    let server = builder(0)
        .arg(&format!("rpl-semi-sync-{primary}-wait-point"), "AFTER_SYNC")
        .arg(&format!("rpl-semi-sync-{primary}-timeout"), "600000")
        .start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY)");
    let replica = builder(1).server_id(2).arg(&format!("rpl-semi-sync-{standby}-enabled"), "ON").start();
    replica.replicate(&server);
    replica.catch_up(&server);
    let mut log = Log::new(&server, &["t"]).await;
    server.sql("INSERT INTO t VALUES (1)");
    log.drain().await;
    let shown = log.last.clone().unwrap();
    server.sql(&format!("SET GLOBAL rpl_semi_sync_{primary}_enabled = ON"));
    // Nobody acknowledges any more, and commits wait.
    let forget = format!("STOP {word}; SET GLOBAL rpl_semi_sync_{standby}_enabled = OFF; START {word}");
    replica.sql_in("", &forget);
    replica.stop_replica();
    server.sql(&format!("SET GLOBAL rpl_semi_sync_{primary}_wait_no_{standby} = ON"));
    let mut connection = server.connect("app").await;
    let waiting = tokio::spawn(async move { connection.query_drop("INSERT INTO t VALUES (2)").await });
    // It is decoded...
    let position = loop {
        if let Event::Commit { position, .. } = log.next().await.unwrap() {
            break position;
        }
    };
    assert!(position > shown);
    // ...and not visible.
    let chunk = log.source.read_chunk(&range("t")).await.unwrap();
    assert_eq!(chunk.rows.len(), 1);
    let Moment::At(at) = chunk.moment else { panic!("{:?}", chunk.moment) };
    assert!(at < position, "{at:?} does not show {position:?}");
    assert_eq!(at.sequence, shown.sequence);
    server.sql(&format!("SET GLOBAL rpl_semi_sync_{primary}_enabled = OFF"));
    waiting.await.unwrap().unwrap();
    let chunk = log.source.read_chunk(&range("t")).await.unwrap();
    assert_eq!(chunk.rows.len(), 2);
    assert_eq!(chunk.moment, Moment::At(position));
}
