//! No key goes back, whatever comes late, is lost or is written in part.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_engines::dynamodb::Store;
use headwater_model::{
    Epoch, ErrorKind, Key, Layout, Offset, Store as _, StoredBody, Throttled, Value, View, ViewChange,
};
use headwater_testkit::Chance;
use headwater_testkit::contract::store::{document, held, key, view};
use headwater_testkit::read::document as document_of;

use super::unwilling::{Do, Unwilling};
use super::{prefix, section, server, store};

fn put(view: &Arc<View>, id: i64, n: i64) -> ViewChange {
    ViewChange::Put { view: view.clone(), key: key(id), moved_from: None, document: document(id, n) }
}

fn delete(view: &Arc<View>, id: i64) -> ViewChange {
    ViewChange::Delete { view: view.clone(), key: key(id) }
}

/// With an index by number, so that places move too.
fn indexed() -> Arc<View> {
    let mut view = (*view("book", Layout::Hash)).clone();
    view.indexes = vec![headwater_model::Index {
        by: vec![],
        order: vec![headwater_model::Order { column: "n".into(), descending: false }],
    }];
    Arc::new(view)
}

async fn step(
    store: &Store,
    epoch: u64,
    after: u64,
    changes: Vec<ViewChange>,
) -> headwater_model::Result<()> {
    let mut apply = store.begin(Epoch(epoch), Offset(after)).await?;
    assert_eq!(apply.write(changes).await?, []);
    apply.commit(&held(epoch, after + 1)).await
}

/// The number of each document, and what the index says, in its order.
async fn everything(store: &Store, view: &Arc<View>) -> (BTreeMap<String, i64>, Vec<String>) {
    let (documents, next) = store.scan(view, None, 1000).await.unwrap();
    assert_eq!(next, None);
    let found = documents.into_iter().map(|stored| (stored.key, number(&stored.body))).collect();
    let read = headwater_model::RangeRead {
        view: view.clone(),
        index: 0,
        by: vec![],
        from: None,
        to: None,
        after: None,
        reverse: false,
        limit: 1000,
    };
    let answer = store.answer(&headwater_model::Read::Range(read)).await.unwrap();
    let headwater_model::Found::Page { documents, .. } = answer.found else { panic!("no page") };
    (found, documents.into_iter().map(|stored| stored.key).collect())
}

fn number(body: &StoredBody) -> i64 {
    let StoredBody::Fields(fields) = body else { panic!("not a hash: {body:?}") };
    let (_, n) = fields.iter().find(|(name, _)| name == "n").unwrap();
    std::str::from_utf8(n).unwrap().parse().unwrap()
}

async fn through(unwilling: &Unwilling, prefix: &str, view: &View) -> Store {
    let store = Store::new(&section(&unwilling.endpoint(), prefix)).unwrap();
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(view).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_may_come_again_at_any_time() {
    let mut chance = Chance::from_env(7);
    let (unwilling, prefix, view) = (Unwilling::to(server().port()).await, prefix(), indexed());
    let store = through(&unwilling, &prefix, &view).await;
    let mut expected = BTreeMap::new();
    for after in 0..12 {
        let mut changes = Vec::new();
        for _ in 0..6 {
            let id = chance.below(5) as i64;
            if chance.one_in(3) {
                expected.remove(&id.to_string());
                changes.push(delete(&view, id));
            } else {
                expected.insert(id.to_string(), after as i64);
                changes.push(put(&view, id, after as i64));
            }
        }
        if after == 6 {
            expected.clear();
            changes.push(ViewChange::Clear { view: view.clone() });
        }
        step(&store, 1, after, changes).await.unwrap();
    }
    let before = everything(&store, &view).await;
    assert_eq!(before.0, expected);
    let mut writes = unwilling.writes();
    assert!(writes.len() > 50, "{} writes", writes.len());
    while !writes.is_empty() {
        let next = chance.below(writes.len() as u64) as usize;
        unwilling.repeat(&writes.swap_remove(next)).await;
    }
    assert_eq!(everything(&store, &view).await, before);
    assert_eq!(store.held().await.unwrap(), Some(held(1, 12)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttles_and_lost_replies_are_ridden_out() {
    let (unwilling, prefix, view) = (Unwilling::to(server().port()).await, prefix(), indexed());
    let store = through(&unwilling, &prefix, &view).await;
    let mut chance = Chance::from_env(8);
    unwilling.judge(move |_| match chance.below(8) {
        0 => Do::Refuse("ProvisionedThroughputExceededException"),
        1 => Do::LoseReply,
        2 => Do::Refuse("InternalServerError"),
        _ => Do::Pass,
    });
    for after in 0..5 {
        let changes = (0..20).map(|id| put(&view, id, after as i64)).collect();
        step(&store, 1, after, changes).await.unwrap();
    }
    unwilling.judge(|_| Do::Pass);
    let (documents, order) = everything(&store, &view).await;
    assert_eq!(documents, (0..20).map(|id| (id.to_string(), 4)).collect());
    assert_eq!(order.len(), 20);
    assert_eq!(store.held().await.unwrap(), Some(held(1, 5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_without_end_names_the_key() {
    let (unwilling, prefix, view) =
        (Unwilling::to(server().port()).await, prefix(), view("book", Layout::Hash));
    let store = through(&unwilling, &prefix, &view).await;
    unwilling.judge(|operation| match operation {
        "PutItem" => Do::Refuse("ProvisionedThroughputExceededException"),
        _ => Do::Pass,
    });
    let error = step(&store, 1, 0, vec![put(&view, 77, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert!(error.to_string().contains("the key \"77\" of the view \"book\""), "{error}");
    assert!(error.remedy().unwrap().contains("hot"), "{error}");
    let traffic = &store.consumed()[0].tables[0];
    assert_eq!(traffic.throttled, Some(Throttled { times: 1, key: "77".into() }), "{traffic:?}");
}

/// A step reaches half of its rows; then the same log comes in smaller steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_step_has_shown_is_not_taken_back() {
    let (unwilling, prefix, view) = (Unwilling::to(server().port()).await, prefix(), indexed());
    let store = through(&unwilling, &prefix, &view).await;
    let log = |offset: i64| (0..10).map(|id| put(&view, id, offset)).collect::<Vec<_>>();
    step(&store, 1, 0, log(1)).await.unwrap();
    // Offsets 2 to 5 at once; the service refuses after a few rows.
    let mut puts = 0;
    unwilling.judge(move |operation| {
        puts += usize::from(operation == "PutItem");
        if puts > 12 { Do::Refuse("AccessDeniedException") } else { Do::Pass }
    });
    let mut apply = store.begin(Epoch(1), Offset(1)).await.unwrap();
    for offset in 2..=5 {
        apply.write(log(offset)).await.unwrap();
    }
    let error = apply.commit(&held(1, 5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    unwilling.judge(|_| Do::Pass);
    let (mut shown, _) = everything(&store, &view).await;
    assert!(shown.values().any(|n| *n == 5) && shown.values().any(|n| *n == 1), "half a step: {shown:?}");
    store.claim(Epoch(2)).await.unwrap();
    for offset in 2..=6 {
        step(&store, 2, offset - 1, log(offset as i64)).await.unwrap();
        let (now, order) = everything(&store, &view).await;
        assert_eq!(order.len(), 10);
        for (key, n) in &now {
            assert!(*n >= shown[key] && *n >= offset as i64, "{key} at {offset}: {n} after {}", shown[key]);
        }
        shown = now;
    }
    assert!(shown.values().all(|n| *n == 6), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_owner_changes_nothing_that_the_new_one_wrote() {
    let (prefix, view) = (prefix(), indexed());
    let (old, new) = (store(&prefix), store(&prefix));
    old.claim(Epoch(1)).await.unwrap();
    old.prepare(&view).await.unwrap();
    step(&old, 1, 0, (0..6).map(|id| put(&view, id, 1)).collect()).await.unwrap();
    // It falls asleep with a step in hand.
    let mut asleep = old.begin(Epoch(1), Offset(1)).await.unwrap();
    let late = vec![put(&view, 0, -1), delete(&view, 1), put(&view, 2, -1), put(&view, 3, -1)];
    asleep.write(late).await.unwrap();
    new.claim(Epoch(2)).await.unwrap();
    step(&new, 2, 1, vec![put(&view, 0, 2), put(&view, 1, 2), delete(&view, 2), delete(&view, 3)])
        .await
        .unwrap();
    let before = everything(&new, &view).await;
    let error = asleep.commit(&held(1, 9)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(everything(&new, &view).await, before);
    assert_eq!(new.held().await.unwrap(), Some(held(2, 2)));
    // Nor does it empty anything.
    let error = old.begin(Epoch(1), Offset(2)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}

/// The table with the position is lost: the store is empty, and is filled again over what lies there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_position_is_no_dead_end() {
    let (prefix, view) = (prefix(), indexed());
    let before = store(&prefix);
    before.claim(Epoch(7)).await.unwrap();
    before.prepare(&view).await.unwrap();
    for after in 0..3 {
        step(&before, 7, after, (0..4).map(|id| put(&view, id, 30 + after as i64)).collect()).await.unwrap();
    }
    let client = super::contract::client();
    client.delete_table().table_name(format!("{prefix}.headwater")).send().await.unwrap();
    let after = store(&prefix);
    assert_eq!(after.held().await.unwrap(), None);
    let error = after.answer(&headwater_model::Read::Get { view: view.clone(), keys: vec![key(1)] }).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::OutOfStep);
    assert_eq!(after.claim(Epoch(1)).await.unwrap(), None);
    step(&after, 1, 0, vec![ViewChange::Clear { view: view.clone() }, put(&view, 2, 5)]).await.unwrap();
    let (documents, order) = everything(&after, &view).await;
    assert_eq!((documents, order), ([("2".to_owned(), 5)].into(), vec!["2".to_owned()]));
    step(&after, 1, 1, vec![put(&view, 0, 6), put(&view, 2, 6)]).await.unwrap();
    let found = document_of(&*after, &view, &key(0)).await.unwrap().map(|body| number(&body));
    assert_eq!(found, Some(6));
}

/// Fields that only the old key's item has survive a move that is repeated after the old key was taken by another row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_move_keeps_its_fields() {
    let (unwilling, prefix, view) =
        (Unwilling::to(server().port()).await, prefix(), view("book", Layout::Hash));
    let store = through(&unwilling, &prefix, &view).await;
    let full = |id: i64, long: &str| {
        headwater_testkit::contract::store::record(&[("id", Value::Int(id)), ("long", Value::text(long))])
    };
    let put = |id: i64, from: Option<i64>, document| ViewChange::Put {
        view: view.clone(),
        key: key(id),
        moved_from: from.map(key),
        document,
    };
    let unchanged = |id: i64| {
        headwater_testkit::contract::store::record(&[("id", Value::Int(id)), ("long", Value::Unchanged)])
    };
    step(&store, 1, 0, vec![put(1, None, full(1, "kept"))]).await.unwrap();
    // 1 becomes 2, and another row becomes 1; all rows are written, the position is not.
    let changes = || vec![put(2, Some(1), unchanged(2)), put(1, None, full(1, "other"))];
    let mut puts = 0;
    unwilling.judge(move |operation| {
        puts += usize::from(operation == "PutItem");
        if puts == 3 { Do::Refuse("AccessDeniedException") } else { Do::Pass }
    });
    step(&store, 1, 1, changes()).await.unwrap_err();
    unwilling.judge(|_| Do::Pass);
    store.claim(Epoch(2)).await.unwrap();
    step(&store, 2, 1, changes()).await.unwrap();
    for (id, long) in [(1, "other"), (2, "kept")] {
        let found = document_of(&store, &view, &Key(vec![Value::Int(id)])).await.unwrap();
        let fields = vec![("id".to_owned(), id.to_string().into_bytes()), ("long".to_owned(), long.into())];
        assert_eq!(found, Some(StoredBody::Fields(fields)), "key {id}");
    }
}
