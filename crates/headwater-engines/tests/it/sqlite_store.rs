//! The embedded store, on real files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use headwater_engines::sqlite::{Store, StoreOptions};
use headwater_model::{Epoch, ErrorKind, Index, Offset, Order, Store as _, Value, ViewChange};
use headwater_testkit::read::document;
use rusqlite::Connection;

use crate::store_promises::{self, held, json, put, record, step, view};

fn store(path: &Path) -> Store {
    Store::with_options(StoreOptions::at(path))
}

#[tokio::test]
async fn keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicUsize::new(0);
    let make = || -> Arc<dyn headwater_model::Store> {
        let name = format!("{}.db", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(store(&folder.path().join(name)))
    };
    store_promises::all(make).await;
}

#[tokio::test]
async fn looking_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("derived.db");
    let store = store(&path);
    store.inspect().await.unwrap();
    assert_eq!(store.held().await.unwrap(), None);
    assert_eq!(store.rows(&view("books")).await.unwrap(), 0);
    assert!(!path.exists());
    let lost = Store::with_options(StoreOptions::at(folder.path().join("no/such/folder/x.db")));
    assert_eq!(lost.inspect().await.unwrap_err().kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn another_store_on_the_same_file_fences_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("derived.db");
    let (old, new) = (store(&path), store(&path));
    let books = view("books");
    old.claim(Epoch(1)).await.unwrap();
    old.prepare(&books).await.unwrap();
    step(&old, 1, 0, vec![put(&books, 1, &[("n", Value::Int(1))])]).await;
    let before = new.claim(Epoch(2)).await.unwrap().unwrap();
    assert_eq!(before, held(1, 1));
    assert_eq!(old.begin(Epoch(1), Offset(1)).await.err().unwrap().kind(), ErrorKind::Fenced);
    step(&new, 2, 1, vec![put(&books, 1, &[("n", Value::Int(2))])]).await;
    assert_eq!(json(&old, &books, 1).await.unwrap(), r#"{"n":2}"#);
}

#[tokio::test]
async fn dropped_tables_are_noticed_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("derived.db");
    let (store, books) = (store(&path), view("books"));
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    step(&store, 1, 0, vec![put(&books, 1, &[("n", Value::Int(1))])]).await;
    let db = Connection::open(&path).unwrap();
    let tables: Vec<String> = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
        .unwrap();
    tables.iter().for_each(|table| db.execute_batch(&format!("DROP TABLE \"{table}\"")).unwrap());
    assert_eq!(store.held().await.unwrap(), None);
    assert_eq!(store.begin(Epoch(1), Offset(1)).await.err().unwrap().kind(), ErrorKind::OutOfStep);
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    store.prepare(&books).await.unwrap();
    step(&store, 1, 0, vec![put(&books, 2, &[("n", Value::Int(2))])]).await;
    assert_eq!(json(&store, &books, 2).await.unwrap(), r#"{"n":2}"#);
    assert_eq!(json(&store, &books, 1).await, None);
}

#[tokio::test]
async fn a_removed_file_is_noticed_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("derived.db");
    let store = store(&path);
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    step(&store, 1, 0, vec![put(&books, 1, &[("n", Value::Int(1))])]).await;
    assert!(json(&store, &books, 1).await.is_some());
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.path().join(format!("derived.db{suffix}")));
    }
    assert_eq!(store.begin(Epoch(1), Offset(1)).await.err().unwrap().kind(), ErrorKind::OutOfStep);
    assert_eq!(store.held().await.unwrap(), None);
    let read = document(&store, &books, &store_promises::key(1)).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::OutOfStep);
    assert_eq!(store.claim(Epoch(2)).await.unwrap(), None);
    store.prepare(&books).await.unwrap();
    step(&store, 2, 0, vec![put(&books, 1, &[("n", Value::Int(1))])]).await;
    assert!(json(&store, &books, 1).await.is_some());
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("derived.db");
    let books = view("b\"o o'ks é");
    {
        let store = store(&path);
        store.claim(Epoch(3)).await.unwrap();
        store.prepare(&books).await.unwrap();
        step(&store, 3, 0, vec![put(&books, 1, &[("n", Value::Int(1))])]).await;
        // Left open: the rollback is the next opener's.
        let mut apply = store.begin(Epoch(3), Offset(1)).await.unwrap();
        apply.write(vec![put(&books, 2, &[("n", Value::Int(1))])]).await.unwrap();
        drop(store);
        drop(apply);
    }
    let store = store(&path);
    assert_eq!(store.held().await.unwrap(), Some(held(3, 1)));
    assert_eq!(store.rows(&books).await.unwrap(), 1);
    let plain = Connection::open(&path).unwrap();
    let read: String =
        plain.query_row("SELECT document FROM \"b\"\"o o'ks é\" WHERE key = '1'", [], |r| r.get(0)).unwrap();
    assert_eq!(read, r#"{"n":1}"#);
}

#[tokio::test]
async fn tables_of_others_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE Books (id INTEGER PRIMARY KEY)").unwrap();
    let store = store(&path);
    store.claim(Epoch(1)).await.unwrap();
    let refused = |name: &str| {
        let (store, view) = (&store, view(name));
        async move { store.prepare(&view).await.unwrap_err().kind() }
    };
    assert_eq!(refused("books").await, ErrorKind::Misconfigured);
    assert_eq!(refused("headwater_held").await, ErrorKind::Misconfigured);
    store.prepare(&view("authors")).await.unwrap();
    assert_eq!(refused("Authors").await, ErrorKind::Misconfigured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_another_connection_sees_whole_transactions_and_their_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("derived.db");
    let store = store(&path);
    let accounts = view("accounts");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&accounts).await.unwrap();
    let both =
        |n: i64| vec![put(&accounts, 1, &[("n", Value::Int(n))]), put(&accounts, 2, &[("n", Value::Int(n))])];
    step(&store, 1, 0, both(1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (path, stop) = (path.clone(), stop.clone());
        std::thread::spawn(move || {
            let connection = Connection::open(path).unwrap();
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let seen: (i64, i64, i64) = connection
                    .query_row(
                        "SELECT (SELECT document->>'n' FROM accounts WHERE key = '1'),
                                (SELECT document->>'n' FROM accounts WHERE key = '2'),
                                (SELECT \"offset\" FROM headwater_held)",
                        [],
                        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                    )
                    .unwrap();
                assert_eq!(seen, (seen.2, seen.2, seen.2));
                reads += 1;
            }
            reads
        })
    };
    for offset in 1..500 {
        step(&store, 1, offset, both(offset as i64 + 1)).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

#[tokio::test]
async fn a_step_larger_than_the_cache_stays_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("derived.db"));
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let mut apply = store.begin(Epoch(1), Offset(0)).await.unwrap();
    let filler = Value::text("x".repeat(1000));
    for batch in 0..60 {
        let puts = (0..1000).map(|i| put(&books, batch * 1000 + i, &[("t", filler.clone())])).collect();
        apply.write(puts).await.unwrap();
    }
    assert_eq!(store.rows(&books).await.unwrap(), 0);
    assert_eq!(json(&store, &books, 5).await, None);
    apply.commit(&held(1, 1)).await.unwrap();
    assert_eq!(store.rows(&books).await.unwrap(), 60_000);
}

#[tokio::test]
async fn a_key_that_is_too_long_is_refused_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("derived.db"));
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let mut apply = store.begin(Epoch(1), Offset(0)).await.unwrap();
    let long = ViewChange::Put {
        view: books.clone(),
        key: headwater_model::Key(vec![Value::text("k".repeat(2 << 20))]),
        moved_from: None,
        document: record(&[]),
    };
    let refusals = apply.write(vec![long, put(&books, 1, &[])]).await.unwrap();
    assert_eq!(refusals.len(), 1);
    apply.commit(&held(1, 1)).await.unwrap();
    assert_eq!(store.rows(&books).await.unwrap(), 1);
}

/// `cargo test --release -p headwater-engines -- --ignored --nocapture embedded_store_speed`
#[tokio::test]
#[ignore = "a measurement"]
async fn embedded_store_speed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("derived.db"));
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let names: headwater_model::Names = ["id", "title", "price", "stock"].map(Box::from).into();
    let mut placed = (*view("placed")).clone();
    placed.indexes = vec![Index {
        by: vec!["title".into()],
        order: vec![Order { column: "stock".into(), descending: true }],
    }];
    let placed = Arc::new(placed);
    store.prepare(&placed).await.unwrap();
    let mut offset = 0;
    let works = ["inserts in key order", "updates of random keys"].into_iter().zip([1, 7919]);
    for (books, (what, spread)) in
        [&books, &placed].into_iter().flat_map(|v| works.clone().map(move |w| (v, w)))
    {
        let started = std::time::Instant::now();
        for batch in 0..500_i64 {
            let put = |i: i64| {
                let id = (batch * 1000 + i) * spread % 500_000;
                ViewChange::Put {
                    view: books.clone(),
                    key: store_promises::key(id),
                    moved_from: None,
                    document: headwater_model::Record {
                        names: names.clone(),
                        values: vec![
                            Value::Int(id),
                            Value::text("The Art of Computer Programming"),
                            Value::Decimal("79.90".into()),
                            Value::Int(batch),
                        ],
                    },
                }
            };
            let puts = (0..1000).map(put).collect();
            step(&store, 1, offset, puts).await;
            offset += 1;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{}: {what}: {:.0} puts/s in steps of 1000", books.name, 500_000.0 / seconds);
    }
}
