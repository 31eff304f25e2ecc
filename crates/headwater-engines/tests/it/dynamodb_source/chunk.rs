//! Chunks, and that what they show fits together with what is followed.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::ScalarAttributeType;
use headwater_model::{Change, Event, Moment, Value};

use super::*;

const COLUMNS: &[(&str, &[(&str, &str)])] = &[("c", &[("v", "integer")])];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_read_in_parts_that_go_on_behind_a_key_also_one_that_is_gone() {
    for segments in [1, 4] {
        goes_on_behind_a_key(segments).await;
    }
}

async fn goes_on_behind_a_key(segments: i64) {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, Some(ScalarAttributeType::N)).await;
    for n in 0..40 {
        account.put(&table, &[("id", text(format!("p{}", n % 5))), ("n", number(n)), ("v", number(n))]).await;
    }
    let source = |segments| {
        let mut section = account.section(COLUMNS);
        section.settings.insert("scan_segments".into(), Setting::Int(segments));
        headwater_engines::source(&section).unwrap()
    };
    let log = Log::of(source(segments), &[&table], None).await;
    let (mut after, mut seen, mut deleted) = (None, BTreeSet::new(), false);
    loop {
        let part = ChunkRange { after: after.clone(), limit: 7, ..range(&table) };
        // Whoever goes on may be another one, that would have begun in other segments.
        let reader = if deleted { source(3) } else { Arc::clone(&log.source) };
        let chunk = reader.read_chunk(&part).await.unwrap();
        assert!(chunk.rows.len() <= 7);
        for row in &chunk.rows {
            assert!(seen.insert(row.key(&chunk.table).to_text()), "read twice");
        }
        after = chunk.upto.clone();
        assert_eq!(after.as_ref().is_some_and(|after| after.0.len() == 2), segments == 1, "{after:?}");
        if let Some(last) = chunk.rows.last().filter(|_| !deleted) {
            // An item that the next part begins behind.
            deleted = true;
            let key = last.key(&chunk.table);
            let request = account.client.delete_item().table_name(&table);
            let request = request.key("id", text(key.0[0].to_text())).key("n", number(key.0[1].to_text()));
            request.send().await.unwrap();
        }
        if chunk.last {
            break;
        }
    }
    assert_eq!(seen.len(), 40);
    // Behind the end there is nothing.
    let end = log.source.read_chunk(&ChunkRange { after, ..range(&table) }).await.unwrap();
    assert!(end.last && end.rows.is_empty());
    let few = ChunkRange { bytes_max: 1, limit: 5, ..range(&table) };
    let chunk = log.source.read_chunk(&few).await.unwrap();
    assert!(!chunk.last && chunk.rows.len() <= 5 && !chunk.rows.is_empty());

    let of = |id: &str, n: &str| key(&[Value::text(id), Value::Decimal(n.into())]);
    let keys = vec![of("p1", "1"), of("p1", "1"), of("p1", "2"), of("", "1"), of("p1", "1.0"), of("p2", "2")];
    let keyed = log.source.read_chunk(&ChunkRange { keys, ..range(&table) }).await.unwrap();
    let mut found: Vec<_> = keyed.rows.iter().map(|row| row.key(&keyed.table).to_text()).collect();
    found.sort();
    let mut expected = vec!["p1:1", "p2:2"];
    expected.retain(|key| seen.contains(*key));
    let there = account.source(COLUMNS).read_chunk(&range(&table)).await.unwrap();
    let there: BTreeSet<_> = there.rows.iter().map(|row| row.key(&there.table).to_text()).collect();
    expected.retain(|key| there.contains(*key));
    assert_eq!(found, expected);
}

/// What a store would hold: chunks land at their marks, without the keys that were told of since the chunk began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_beside_writers_come_to_what_a_scan_shows_and_no_key_goes_back() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    for n in 0..60 {
        account.put(&table, &[("id", text(format!("k{n}"))), ("v", number(0))]).await;
    }
    let mut log = Log::of(account.source(COLUMNS), &[&table], None).await;
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (client, table) = (account.client.clone(), table.clone());
            tokio::spawn(async move {
                for n in 1..80 {
                    let id = text(format!("k{}", (n * 7 + writer * 20) % 20 + writer * 20));
                    if n % 6 == 0 {
                        client.delete_item().table_name(&table).key("id", id).send().await.unwrap();
                        continue;
                    }
                    let item = [("id".to_owned(), id), ("v".to_owned(), number(n))];
                    let request = client.put_item().table_name(&table);
                    request.set_item(Some(Item::from(item))).send().await.unwrap();
                }
            })
        })
        .collect();
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    // The highest that was ever shown of a key: versions only grow.
    let mut shown: BTreeMap<String, i64> = BTreeMap::new();
    let version = |row: &headwater_model::Row| match (&row.0[0], &row.0[1]) {
        (Value::Text(id), Value::Int(v)) => (id.to_string(), *v),
        other => panic!("{other:?}"),
    };
    let mut after = None;
    let mut parts = 0;
    loop {
        let is_quiet = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let part = ChunkRange { after: after.clone(), limit: 9, ..range(&table) };
        let chunk = log.source.read_chunk(&part).await.unwrap();
        let Moment::At(at) = &chunk.moment else { panic!("{:?}", chunk.moment) };
        let mut touched = BTreeSet::new();
        let mut turn = Vec::new();
        for event in log.drain().await {
            match event {
                Event::Change(Change::Insert { row, .. } | Change::Update { row, .. }) => {
                    turn.push((version(&row).0, Some(version(&row).1)));
                }
                Event::Change(Change::Delete { key, .. }) => turn.push((key.0[0].to_text(), None)),
                Event::Commit { position, .. } => {
                    for (id, v) in turn.drain(..) {
                        if position > *at {
                            touched.insert(id.clone());
                        }
                        match v {
                            Some(v) => {
                                let newest = shown.entry(id.clone()).or_default();
                                assert!(v >= *newest, "{id} goes back from {newest} to {v}");
                                *newest = v;
                                held.insert(id, v);
                            }
                            None => drop(held.remove(&id)),
                        }
                    }
                }
                Event::Begin { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        for row in &chunk.rows {
            let (id, v) = version(row);
            if !touched.contains(&id) {
                let newest = shown.entry(id.clone()).or_default();
                assert!(v >= *newest, "{id} goes back from {newest} to {v}");
                *newest = v;
                held.insert(id, v);
            }
        }
        after = if chunk.last { None } else { chunk.upto };
        parts += 1;
        if chunk.last && parts > 7 && is_quiet {
            break;
        }
    }
    assert_eq!(log.changes().await, [], "everything came by before the last mark");
    let scan = log.source.read_chunk(&range(&table)).await.unwrap();
    let scanned: BTreeMap<String, i64> = scan.rows.iter().map(version).collect();
    assert_eq!(held, scanned);
}
