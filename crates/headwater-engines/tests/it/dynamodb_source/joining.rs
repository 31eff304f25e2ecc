//! What lay in a table's stream when it was joined is never told, and what came since is told once: however soon following is begun
//! anew.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::ScalarAttributeType;
use headwater_model::{Change, Event, Moment};
use headwater_testkit::Chance;

use super::*;

const COLUMNS: &[(&str, &[(&str, &str)])] =
    &[("c", &[("v", "integer")]), ("d", &[("v", "integer")]), ("e", &[("v", "integer")])];

/// By table and key, in order.
type Versions = BTreeMap<(String, String), Vec<String>>;

fn tell(told: &mut Versions, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Insert { table, row } | Change::Update { table, row, .. } => {
                let of = (table.name.name.to_string(), row.0[0].to_text());
                told.entry(of).or_default().push(row.0[1].to_text());
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Another process, behind what the one before had taken.
async fn begun_anew(account: &Account, tables: &[&str], log: Log) -> Log {
    let after = log.last.clone();
    drop(log);
    Log::of(account.source(COLUMNS), tables, after.as_ref()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_since_the_join_is_told_once_however_often_following_is_begun_anew() {
    let mut chance = Chance::from_env(3);
    let account = Account::new();
    let mut tables = Vec::new();
    for name in ["c", "d", "e"] {
        tables.push(account.table(name, ScalarAttributeType::S, None).await);
    }
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    let mut version = 0;
    let mut put = async |table: &str, id: String| {
        version += 1;
        account.put(table, &[("id", text(id)), ("v", number(version))]).await;
        version.to_string()
    };
    // The streams of two tables have something to tell already, that of the third has nothing.
    for n in 0..40 {
        put(names[n % 2], format!("k{}", n % 6)).await;
    }
    let mut log = Log::of(account.source(COLUMNS), &names, None).await;
    let (mut due, mut told) = (Versions::new(), Versions::new());
    tell(&mut told, log.changes().await);
    for step in 0..40 {
        // At first it is only begun anew: nothing comes by that would say how far a shard was read.
        match if step < 3 { 3 } else { chance.below(5) } {
            0 | 1 => {
                let (table, id) = (chance.pick(&names).to_string(), format!("k{}", chance.below(6)));
                let version = put(&table, id.clone()).await;
                due.entry((table, id)).or_default().push(version);
            }
            2 => tell(&mut told, log.changes().await),
            _ => log = begun_anew(&account, &names, log).await,
        }
    }
    tell(&mut told, log.changes().await);
    assert_eq!(told, due);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_after_the_join_records_are_told_by_the_time_that_they_were_made_at() {
    let account = Account::new();
    let tables = [
        account.table("c", ScalarAttributeType::S, None).await,
        account.table("d", ScalarAttributeType::S, None).await,
    ];
    let names = tables.each_ref().map(String::as_str);
    for table in names {
        account.put(table, &[("id", text("a")), ("v", number(1))]).await;
    }
    let mut log = Log::of(account.source(COLUMNS), &names, None).await;
    assert_eq!(log.changes().await, []);
    let after = log.last.clone();
    drop(log);

    // As if nothing had come by for long, and the iterators of the joins were of no use any more.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for (table, upto_ms) in names.into_iter().zip([now.as_millis(), 0]) {
        let key = account.state_key(&format!("join {table}"));
        let request = account.client.get_item().table_name(account.state_table()).consistent_read(true);
        let mut join = request.set_key(Some(key)).send().await.unwrap().item.unwrap();
        let shards: BTreeMap<String, String> = serde_json::from_str(join["shards"].as_s().unwrap()).unwrap();
        let behind: BTreeMap<_, _> = shards.into_keys().map(|id| (id, format!("behind {upto_ms}"))).collect();
        join.insert("shards".to_owned(), text(serde_json::to_string(&behind).unwrap()));
        join.insert("iterators".to_owned(), text("{}"));
        account
            .client
            .put_item()
            .table_name(account.state_table())
            .set_item(Some(join))
            .send()
            .await
            .unwrap();
    }
    let mut log = Log::of(account.source(COLUMNS), &names, after.as_ref()).await;
    let mut told = Versions::new();
    tell(&mut told, log.changes().await);
    assert_eq!(told, Versions::from([((tables[1].clone(), "a".to_owned()), vec!["1".to_owned()])]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_given_once_also_where_what_it_stood_for_was_never_taken() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    let source = account.source(COLUMNS);
    let mut log = Log::of(source.clone(), &[&table], None).await;
    log.drain().await;
    let after = log.last.clone().unwrap();
    account.put(&table, &[("id", text("a")), ("v", number(1))]).await;
    let shows = headwater_testkit::eventually(Duration::from_secs(60), "it is read further", async || {
        match source.read_chunk(&range(&table)).await.unwrap().moment {
            Moment::At(position) if position > after => Ok(position),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // The connection breaks before anybody has taken that; what the chunk shows stays true of its position.
    drop(log);
    account.put(&table, &[("id", text("a")), ("v", number(2))]).await;
    let mut log = Log::of(source, &[&table], Some(&after)).await;
    let (mut changes, mut commits) = (Vec::new(), Vec::new());
    for event in log.drain().await {
        match event {
            Event::Change(change) => changes.push(change),
            Event::Commit { position, .. } => commits.push(position),
            _ => {}
        }
    }
    let mut told = Versions::new();
    tell(&mut told, changes);
    assert_eq!(told.into_values().collect::<Vec<_>>(), [["1", "2"]]);
    assert!(
        commits.iter().all(|position| *position > shows),
        "{commits:?}, and a chunk was read at {shows:?}"
    );
}
