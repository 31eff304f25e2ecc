//! Following: each key's order, going on behind a position, one follower at a time, and gaps.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{ScalarAttributeType, StreamViewType};
use headwater_model::{Change, ErrorKind, Event, Position, Reshaped, Value};

use super::*;

const COUNTED: &[(&str, &[(&str, &str)])] = &[("c", &[("v", "integer")])];

/// The versions that each key shows, in order.
fn versions(changes: &[Change]) -> BTreeMap<String, Vec<String>> {
    let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for change in changes {
        let (key, version) = match change {
            Change::Insert { row, .. } | Change::Update { row, .. } => {
                (row.0[0].to_text(), row.0[1].to_text())
            }
            Change::Delete { key, .. } => (key.0[0].to_text(), "gone".to_owned()),
            other => panic!("unexpected {other:?}"),
        };
        of.entry(key).or_default().push(version);
    }
    of
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_comes_in_its_order_and_going_on_behind_a_position_neither_loses_nor_repeats() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    account.put(&table, &[("id", text("before")), ("v", number(0))]).await;
    let mut log = Log::of(account.source(COUNTED), &[&table], None).await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (client, table) = (account.client.clone(), table.clone());
            tokio::spawn(async move {
                for n in 0..60 {
                    let id = text(format!("{writer}-{}", n % 7));
                    let one = [("id", id.clone()), ("v", number(n))];
                    let item: Item = one.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                    client.put_item().table_name(&table).set_item(Some(item)).send().await.unwrap();
                    if n % 20 == 19 {
                        client.delete_item().table_name(&table).key("id", id).send().await.unwrap();
                    }
                }
            })
        })
        .collect();
    let mut events = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        events.extend(log.drain().await);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    events.extend(log.drain().await);

    let changes = |events: &[Event]| -> Vec<Change> {
        let change = |event: &Event| match event {
            Event::Change(change) => Some(change.clone()),
            _ => None,
        };
        events.iter().filter_map(change).collect()
    };
    let seen = versions(&changes(&events));
    assert_eq!(seen.len(), 28, "{:?}", seen.keys());
    for (key, versions) in &seen {
        let of: u32 = key[2..].parse().unwrap();
        let mut expected = Vec::new();
        for n in (0..60).filter(|n| n % 7 == of) {
            expected.push(n.to_string());
            if n % 20 == 19 {
                expected.push("gone".to_owned());
            }
        }
        assert_eq!(*versions, expected, "{key}");
    }

    let commits: Vec<(usize, Position)> = events
        .iter()
        .enumerate()
        .filter_map(|(at, event)| match event {
            Event::Commit { position, .. } => Some((at, position.clone())),
            _ => None,
        })
        .collect();
    let (at, middle) = commits[commits.len() / 2].clone();
    drop(log);
    let mut again = Log::of(account.source(COUNTED), &[&table], Some(&middle)).await;
    assert_eq!(versions(&again.changes().await), versions(&changes(&events[at..])));
    // The position of a mark is one too.
    let after = again.last.clone().unwrap();
    drop(again);
    let mut more = Log::of(account.source(COUNTED), &[&table], Some(&after)).await;
    assert!(more.changes().await.is_empty());
    account.put(&table, &[("id", text("more")), ("v", number(1))]).await;
    assert_eq!(more.changes().await.len(), 1);
    // What was released is forgotten.
    let released = more.last.clone().unwrap();
    more.source.release(&released).await.unwrap();
    drop(more);
    let source = account.source(COUNTED);
    source.prepare(&[name(&table)]).await.unwrap();
    let gone = source.follow(Some(&middle)).await.err().unwrap();
    assert_eq!(gone.kind(), ErrorKind::OutOfStep, "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_follows_at_a_time_and_who_is_silent_is_followed_by_the_next() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    let mut log = Log::of(account.source(COUNTED), &[&table], None).await;
    log.drain().await;
    let other = account.source(COUNTED);
    other.prepare(&[name(&table)]).await.unwrap();
    let refused = other.follow(None).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Transient);
    assert!(refused.to_string().contains("another instance follows"), "{refused}");

    // One that was killed leaves its name and does not move.
    let mut lease = account.state_key("lease");
    lease.extend([
        ("owner".to_owned(), text("killed")),
        ("beat".to_owned(), number(7)),
        ("at_ms".to_owned(), number(i64::MAX)),
    ]);
    let request = account.client.put_item().table_name(account.state_table()).set_item(Some(lease));
    request.send().await.unwrap();
    let fenced = log.end().await;
    assert_eq!(fenced.kind(), ErrorKind::Transient);
    assert!(fenced.to_string().contains("another instance follows"), "{fenced}");
    account.put(&table, &[("id", text("a")), ("v", number(1))]).await;
    let mut next = Log::of(other, &[&table], log.last.as_ref()).await;
    assert_eq!(next.changes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_another_one_concerns_its_table_alone() {
    let account = Account::new();
    let columns: &[(&str, &[(&str, &str)])] = &[("c", &[("v", "integer")]), ("d", &[("v", "integer")])];
    let tables = [
        account.table("c", ScalarAttributeType::S, None).await,
        account.table("d", ScalarAttributeType::S, None).await,
    ];
    let names = tables.each_ref().map(|table| name(table));
    let source = account.source(columns);
    assert_eq!(source.prepare(&names).await.unwrap(), names, "joined");
    let mut log = Log::of(source.clone(), &[&tables[0], &tables[1]], None).await;
    account.put(&tables[0], &[("id", text("a")), ("v", number(1))]).await;
    log.drain().await;
    let after = log.last.clone().unwrap();
    let before = source.shapes(&names).await.unwrap();
    assert_eq!(source.prepare(&names).await.unwrap(), [], "nothing was missed");

    account.stream(&tables[0], None).await;
    let error = log.end().await;
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.remedy().unwrap().contains("StreamEnabled=true"), "{error}");
    account.put(&tables[0], &[("id", text("b")), ("v", number(2))]).await;
    account.put(&tables[1], &[("id", text("b")), ("v", number(2))]).await;
    account.stream(&tables[0], Some(StreamViewType::KeysOnly)).await;
    let error = source.prepare(&names).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "it may be mended while the others wait");
    assert!(error.remedy().unwrap().contains("StreamEnabled=false"), "{error}");
    account.stream(&tables[0], None).await;
    account.stream(&tables[0], Some(StreamViewType::NewAndOldImages)).await;
    let waits = source.follow(Some(&after)).await.err().unwrap();
    assert_eq!(waits.kind(), ErrorKind::Transient, "{waits}");
    let now = source.shapes(&names).await.unwrap();
    let since: Vec<_> = now.iter().zip(&before).map(|(now, then)| now.since(then)).collect();
    assert_eq!(since, [Reshaped::Rows, Reshaped::No], "so that a running term looks again");
    assert_eq!(source.prepare(&names).await.unwrap(), [names[0].clone()], "it lacks b");
    let mut log = Log::of(source.clone(), &[&tables[0], &tables[1]], Some(&after)).await;
    let changes = log.changes().await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    account.put(&tables[0], &[("id", text("c")), ("v", number(3))]).await;
    assert_eq!(log.changes().await.len(), 1);

    // A table that leaves and comes back was not followed meanwhile.
    assert_eq!(source.prepare(&names[1..]).await.unwrap(), []);
    assert_eq!(source.prepare(&names).await.unwrap(), [names[0].clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_without_a_follower_is_a_gap_and_so_is_another_history() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    let source = account.source(COUNTED);
    let mut log = Log::of(source.clone(), &[&table], None).await;
    account.put(&table, &[("id", text("a")), ("v", number(1))]).await;
    log.drain().await;
    let after = log.last.clone().unwrap();
    drop(log);
    // Until the lease was given back.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let request = account.client.get_item().table_name(account.state_table()).consistent_read(true);
        let lease = request.set_key(Some(account.state_key("lease"))).send().await.unwrap().item.unwrap();
        if lease["owner"] == text("-") {
            let mut lease = lease;
            let at_ms: i64 = lease["at_ms"].as_n().unwrap().parse().unwrap();
            lease.insert("at_ms".to_owned(), number(at_ms - 24 * 3_600_000));
            let request = account.client.put_item().table_name(account.state_table());
            request.set_item(Some(lease)).send().await.unwrap();
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the lease is given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gap = source.follow(Some(&after)).await.err().unwrap();
    assert_eq!(gap.kind(), ErrorKind::OutOfStep, "{gap}");
    assert!(gap.to_string().contains("24"), "{gap}");

    let before = source.lineage(Some(&after)).await.unwrap();
    source.forget().await.unwrap();
    assert_eq!(source.prepare(&[name(&table)]).await.unwrap(), [name(&table)]);
    let now = source.lineage(Some(&after)).await.unwrap();
    assert_ne!(before.system, now.system);
    assert!(Position::new(now.system.clone(), 0).is_same_database(&after));
    let other = source.follow(Some(&after)).await.err().unwrap();
    assert_eq!(other.kind(), ErrorKind::OutOfStep, "{other}");
    let mut log = Log::of(source, &[&table], None).await;
    assert!(log.changes().await.is_empty(), "what lies in the stream from before is not told again");
    account.delete(&table, text("a")).await;
    let changes = log.changes().await;
    assert!(
        matches!(&changes[..], [Change::Delete { key, .. }] if key.0 == [Value::text("a")]),
        "{changes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notation_is_the_number_of_a_position() {
    let source = Account::new().source(COUNTED);
    let sequence = source.sequence("42").unwrap();
    assert_eq!(source.notation(&Position::new("x", sequence)), "42");
    assert_eq!(source.sequence("0/16B3748"), None);
}
