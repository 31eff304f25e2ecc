//! What lies in the tables, as any other client of DynamoDB sees it; what does not fit there; tables that are not as they
//! should be.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use headwater_engines::dynamodb::Store;
use headwater_model::file::Setting;
use headwater_model::{
    Epoch, ErrorKind, Found, Key, Layout, Offset, Read, Refusal, Store as _, StoredBody, Value, View,
    ViewChange,
};
use headwater_testkit::contract::store::{document, held, key, record, view};
use headwater_testkit::read::{document as document_of, documents};

use super::contract::client;
use super::{prefix, section, server, store};

async fn claimed(prefix: &str, view: &View) -> Arc<Store> {
    let store = store(prefix);
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(view).await.unwrap();
    store
}

async fn step(store: &Store, after: u64, changes: Vec<ViewChange>) -> Vec<Refusal> {
    let mut apply = store.begin(Epoch(1), Offset(after)).await.unwrap();
    let refusals = apply.write(changes).await.unwrap();
    apply.commit(&held(1, after + 1)).await.unwrap();
    refusals
}

fn put(view: &Arc<View>, key: Key, document: headwater_model::Record) -> ViewChange {
    ViewChange::Put { view: view.clone(), key, moved_from: None, document }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_are_attributes_of_their_own_types() {
    let (prefix, view) = (prefix(), view("book", Layout::Hash));
    let store = claimed(&prefix, &view).await;
    let row = record(&[
        ("id", Value::Int(1)),
        ("price", Value::Decimal("19.90".into())),
        ("huge", Value::Decimal("1234567890123456789012345678901234567890".into())),
        ("title", Value::text("Ulysses")),
        ("empty", Value::text("")),
        ("none", Value::Null),
        ("sold", Value::Bool(true)),
        ("cover", Value::Bytes(vec![1, 2].into())),
        ("hw_at", Value::text("a column with a name of ours")),
    ]);
    step(&store, 0, vec![put(&view, key(1), row)]).await;
    let item = |id: &str| {
        let request = client().get_item().table_name(format!("{prefix}book"));
        let request = request.key("hw_key", AttributeValue::S(id.into())).consistent_read(true);
        async move { request.send().await.unwrap().item.unwrap() }
    };
    let mut found = item("1").await;
    let write = found.remove("hw_write").unwrap();
    assert!(write.as_s().unwrap().starts_with("0000000000000001-"), "{write:?}");
    let text = |text: &str| AttributeValue::S(text.into());
    let number = |text: &str| AttributeValue::N(text.into());
    let expected = [
        ("hw_key", text("1")),
        ("hw_at", number("1")),
        ("id", number("1")),
        ("price", number("19.9")),
        ("hw_as_price", text("19.90")),
        ("huge", text("1234567890123456789012345678901234567890")),
        ("title", text("Ulysses")),
        ("empty", AttributeValue::Null(true)),
        ("sold", AttributeValue::Bool(true)),
        ("cover", AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new([1, 2]))),
        ("hw_hw_at", text("a column with a name of ours")),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)).into());
    // What is deleted leaves a stamp, which the service removes in a day.
    step(&store, 1, vec![ViewChange::Delete { view: view.clone(), key: key(1) }]).await;
    let left = item("1").await;
    let mut names: Vec<&str> = left.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["hw_at", "hw_expires", "hw_key", "hw_write"]);
    let ttl = client().describe_time_to_live().table_name(format!("{prefix}book")).send().await.unwrap();
    assert_eq!(ttl.time_to_live_description.unwrap().attribute_name.as_deref(), Some("hw_expires"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_and_the_rest_goes_on() {
    let prefix = prefix();
    let mut indexed = (*view("book", Layout::Hash)).clone();
    indexed.indexes = vec![headwater_model::Index { by: vec!["part".into()], order: vec![] }];
    let view = Arc::new(indexed);
    let store = claimed(&prefix, &view).await;
    let with = |id: i64, part: &str, bytes: usize| {
        let fields =
            [("id", Value::Int(id)), ("part", Value::text(part)), ("t", Value::text("x".repeat(bytes)))];
        record(&fields)
    };
    let long = |bytes: usize| Key(vec![Value::text("k".repeat(bytes))]);
    let refusals = step(
        &store,
        0,
        vec![
            put(&view, key(1), with(1, "a", 408_000)),
            put(&view, key(2), with(2, "a", 410_000)),
            put(&view, long(1000), with(3, "a", 1)),
            put(&view, long(2049), with(4, "a", 1)),
            put(&view, key(5), with(5, &"p".repeat(2100), 1)),
            put(&view, key(6), with(6, "a", 1)),
            ViewChange::Delete { view: view.clone(), key: long(5000) },
        ],
    )
    .await;
    let reasons: Vec<(&str, &str)> = refusals.iter().map(|r| (&r.key[..1], &*r.reason)).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[0].0 == "2" && reasons[0].1.contains("409600 (400 KB)"), "{reasons:?}");
    assert!(reasons[1].0 == "k" && reasons[1].1.contains("the key has 2049 bytes"), "{reasons:?}");
    assert!(reasons[2].0 == "5" && reasons[2].1.contains("its place in index 0"), "{reasons:?}");
    for (key, there) in [
        (key(1), true),
        (key(2), false),
        (long(1000), true),
        (long(2049), false),
        (key(5), false),
        (key(6), true),
    ] {
        assert_eq!(document_of(&*store, &view, &key).await.unwrap().is_some(), there, "{key}");
    }
    // A partial document becomes too large over what is there.
    let more =
        record(&[("id", Value::Int(1)), ("part", Value::text("y".repeat(2_000))), ("t", Value::Unchanged)]);
    let refusals = step(&store, 1, vec![put(&view, key(1), more)]).await;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
}

/// More than a request gives: the service leaves keys over, and they are asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_documents_come_whole() {
    let (prefix, view) = (prefix(), view("book", Layout::Json));
    let store = claimed(&prefix, &view).await;
    let large = |id: i64| record(&[("id", Value::Int(id)), ("t", Value::text("x".repeat(400_000)))]);
    for after in 0..5 {
        let ids = after as i64 * 10..after as i64 * 10 + 10;
        assert_eq!(step(&store, after, ids.map(|id| put(&view, key(id), large(id))).collect()).await, []);
    }
    let found = documents(&*store, &view, (0..60).map(key).collect()).await.unwrap();
    for (id, found) in found.iter().enumerate() {
        assert_eq!(found.is_some(), id < 50, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_created_only_where_that_is_wanted() {
    let (prefix, view) = (prefix(), view("a:b", Layout::Hash));
    let mut settings = section(&server().endpoint(), &prefix);
    settings.settings.insert("create".into(), Setting::Bool(false));
    let store = Store::new(&settings).unwrap();
    let error = store.claim(Epoch(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let remedy = error.remedy().unwrap();
    assert!(
        remedy.contains(&format!("aws dynamodb create-table --table-name {prefix}.headwater")),
        "{remedy}"
    );
    let error = store.prepare(&view).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{prefix}a.3Ab")), "{error}");
    assert!(error.remedy().unwrap().contains("update-time-to-live"), "{error}");
    // One that is somebody else's is left alone.
    let mut other = (*view).clone();
    other.name = "other".into();
    let creating = claimed(&prefix, &other).await;
    let mut misfit = (*view).clone();
    misfit.name = ".headwater".into();
    creating.prepare(&misfit).await.unwrap();
    let state = client().describe_table().table_name(format!("{prefix}.headwater")).send().await.unwrap();
    assert_eq!(state.table.unwrap().key_schema.unwrap().len(), 1);
    let wrong = Store::new(&section(&server().endpoint(), &format!("{prefix}.2Eheadwater")));
    assert!(wrong.is_err(), "a prefix has no dots");
}

/// Somebody else's items under our names: documents that are no such, until they are put right or the view is emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_items_are_seen_and_put_right() {
    let (prefix, view) = (prefix(), view("book", Layout::Hash));
    let store = claimed(&prefix, &view).await;
    step(&store, 0, vec![put(&view, key(1), document(1, 1)), put(&view, key(2), document(2, 1))]).await;
    for (id, write) in [
        ("1", None),
        ("2", Some("garbage")),
        ("3", None),
        ("4", Some("ffffffffffffffff-ffffffff-0000000000000001")),
    ] {
        let mut request = client().put_item().table_name(format!("{prefix}book"));
        request =
            request.item("hw_key", AttributeValue::S(id.into())).item("n", AttributeValue::N("-9".into()));
        if let Some(write) = write {
            request = request.item("hw_write", AttributeValue::S(write.into()));
            request = request.item("hw_at", AttributeValue::N("999".into()));
        }
        request.send().await.unwrap();
    }
    let fields = |n: &str| StoredBody::Fields(vec![("n".into(), n.into())]);
    assert_eq!(document_of(&*store, &view, &key(1)).await.unwrap(), Some(fields("-9")));
    assert_eq!(store.rows(&view).await.unwrap(), 4);
    let changes = (1..=3).map(|id| put(&view, key(id), document(id, 2))).collect();
    step(&store, 1, changes).await;
    let keys = (1..=3).map(key).collect();
    let answer = store.answer(&Read::Get { view: view.clone(), keys }).await.unwrap();
    let Found::Documents(found) = answer.found else { panic!("no documents") };
    for (id, found) in (1..=3).zip(found) {
        let fields = vec![("id".to_owned(), format!("{id}").into_bytes()), ("n".to_owned(), b"2".to_vec())];
        assert_eq!(found, Some(StoredBody::Fields(fields)));
    }
    step(&store, 2, vec![ViewChange::Clear { view: view.clone() }]).await;
    assert_eq!(store.rows(&view).await.unwrap(), 0);
    step(&store, 3, vec![put(&view, key(4), document(4, 3))]).await;
    assert!(document_of(&*store, &view, &key(4)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capacity_is_counted_per_view() {
    let (prefix, view, other) = (prefix(), view("book", Layout::Hash), view("other", Layout::Hash));
    let store = claimed(&prefix, &view).await;
    store.prepare(&other).await.unwrap();
    assert_eq!(store.consumed(), []);
    let large = record(&[("id", Value::Int(1)), ("t", Value::text("x".repeat(9_500)))]);
    step(&store, 0, vec![put(&view, key(1), large), put(&other, key(1), document(1, 1))]).await;
    document_of(&*store, &view, &key(1)).await.unwrap();
    let consumed = store.consumed();
    let units: Vec<_> = consumed.iter().map(|c| (&*c.view, c.read_units, c.write_units)).collect();
    assert_eq!(units, [("book", 3.0, 10.0), ("other", 0.0, 1.0)]);
}
