//! Scans and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use headwater_model::{Epoch, Key, StoredBody, Value, View, ViewChange};

use super::setup::{Bench, clear, delete, document, key, put};

pub(super) async fn a_scan_gives_every_document_once(bench: &mut Bench<'_>) {
    let (view, other, none) = (bench.view("book"), bench.view("book2"), bench.view("boo"));
    bench.claim(&[&view, &other, &none]).await;
    let key_of = |id: i64| Key(vec![Value::Int(id % 7), Value::text(format!("k:{id}"))]);
    let mut changes: Vec<ViewChange> = (0..500).map(|id| put(&view, key_of(id), document(id, id))).collect();
    changes.extend((0..300).map(|id| put(&other, key_of(id), document(id, -id))));
    bench.step(changes).await;
    for limit in [1, 3, 100, 499, 500, 501, 10_000] {
        let found = scan_all(bench, &view, limit).await;
        assert_eq!(found.len(), 500, "{bench}: documents of a scan with limit {limit}");
        for id in 0..500 {
            bench.same(&key_of(id).to_text(), found.get(&key_of(id).to_text()), Some(&document(id, id)));
        }
    }
    assert_eq!(scan_all(bench, &other, 64).await.len(), 300, "{bench}: documents of the other view");
    assert_eq!(scan_all(bench, &none, 64).await.len(), 0, "{bench}: documents of an empty view");
}

/// All documents of a view. Every page is within its limit, nothing comes twice, and it ends. An engine that still arranges what
/// was just written may give some twice, if not for long.
pub(super) async fn scan_all(bench: &Bench<'_>, view: &View, limit: usize) -> BTreeMap<String, StoredBody> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match scan_once(bench, view, limit).await {
            Ok(found) => return found,
            Err(twice) if Instant::now() > until => panic!("{bench}: {twice}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn scan_once(
    bench: &Bench<'_>,
    view: &View,
    limit: usize,
) -> Result<BTreeMap<String, StoredBody>, String> {
    let (mut found, mut cursor, mut pages) = (BTreeMap::new(), None, 0);
    loop {
        let (page, next) = bench.ok("scan", bench.store.scan(view, cursor, limit).await);
        assert!(page.len() <= limit, "{bench}: a page of {} with limit {limit}", page.len());
        for stored in page {
            if found.insert(stored.key.clone(), stored.body).is_some() {
                return Err(format!("key {:?} came twice with limit {limit}", stored.key));
            }
        }
        pages += 1;
        assert!(pages < 100_000, "{bench}: the scan does not end");
        match next {
            None => break,
            next => cursor = next,
        }
    }
    let mut keys = BTreeSet::new();
    let mut cursor = None;
    loop {
        let (page, next) = bench.ok("keys", bench.store.keys(view, cursor, limit).await);
        assert!(page.len() <= limit, "{bench}: a page of {} keys with limit {limit}", page.len());
        for key in page {
            assert!(found.contains_key(&key), "{bench}: the key {key:?} has no document");
            if keys.contains(&key) {
                return Err(format!("key {key:?} came twice with limit {limit}"));
            }
            keys.insert(key);
        }
        match next {
            None => break,
            next => cursor = next,
        }
    }
    assert_eq!(keys.len(), found.len(), "{bench}: a scan of keys and one of documents, limit {limit}");
    Ok(found)
}

pub(super) async fn rows_are_right(bench: &mut Bench<'_>) {
    let (view, other) = (bench.view("book"), bench.view("author"));
    bench.claim(&[&view, &other]).await;
    expect_rows(bench, &view, 0).await;
    bench.step((0..50).map(|id| put(&view, key(id), document(id, 1))).collect()).await;
    expect_rows(bench, &view, 50).await;
    expect_rows(bench, &other, 0).await;
    // Replaced, deleted twice, never there, moved: only what comes or goes counts.
    let moved = ViewChange::Put {
        view: view.clone(),
        key: key(100),
        moved_from: Some(key(20)),
        document: document(100, 1),
    };
    let onto = ViewChange::Put {
        view: view.clone(),
        key: key(30),
        moved_from: Some(key(31)),
        document: document(30, 1),
    };
    bench
        .step(vec![
            put(&view, key(1), document(1, 2)),
            put(&other, key(1), document(1, 2)),
            delete(&view, key(2)),
            delete(&view, key(2)),
            delete(&view, key(777)),
            moved,
            onto,
            put(&other, key(2), document(2, 2)),
            put(&other, key(2), document(2, 3)),
        ])
        .await;
    expect_rows(bench, &view, 48).await;
    expect_rows(bench, &other, 2).await;
    if let Some(again) = bench.subject.reopen(&bench.store).await {
        bench.store = again;
        expect_rows(bench, &view, 48).await;
        bench.ok("claim", bench.store.claim(Epoch(2)).await);
        bench.epoch = 2;
        expect_rows(bench, &view, 48).await;
        bench.step(vec![delete(&view, key(0)), put(&view, key(500), document(1, 1))]).await;
        expect_rows(bench, &view, 48).await;
        expect_rows(bench, &other, 2).await;
    }
    bench.step(vec![clear(&view), put(&view, key(1), document(1, 1))]).await;
    expect_rows(bench, &view, 1).await;
    expect_rows(bench, &other, 2).await;
}

/// Without writes the count is exact, if not at once then soon.
pub(super) async fn expect_rows(bench: &Bench<'_>, view: &View, expected: u64) {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let found = bench.ok("rows", bench.store.rows(view).await);
        if found == expected {
            return;
        }
        assert!(
            Instant::now() < until,
            "{bench}: view {:?} has {found} rows, expected {expected}",
            view.name
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
