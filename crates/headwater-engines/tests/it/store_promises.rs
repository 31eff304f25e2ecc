//! What every store with whole transactions promises, asked of the stores that need no server.

use std::sync::Arc;

use headwater_model::{
    Apply, Epoch, ErrorKind, Held, Key, Layout, Offset, Position, Record, Store, StoredBody, TableName,
    Value, View, ViewChange,
};
use headwater_testkit::read::document;

pub fn view(name: &str) -> Arc<View> {
    Arc::new(View {
        name: name.into(),
        from: TableName::new(None, name),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: vec!["s".into()],
        parts: Vec::new(),
        layout: Some(Layout::Json),
        kind: headwater_model::ViewKind::Document,
        indexes: Vec::new(),
    })
}

pub fn key(id: i64) -> Key {
    Key(vec![Value::Int(id)])
}

pub fn record(fields: &[(&str, Value)]) -> Record {
    Record {
        names: fields.iter().map(|(name, _)| Box::from(*name)).collect(),
        values: fields.iter().map(|(_, value)| value.clone()).collect(),
    }
}

pub fn put(view: &Arc<View>, id: i64, fields: &[(&str, Value)]) -> ViewChange {
    ViewChange::Put { view: view.clone(), key: key(id), moved_from: None, document: record(fields) }
}

pub fn held(epoch: u64, offset: u64) -> Held {
    Held {
        epoch: Epoch(epoch),
        offset: Offset(offset),
        position: Some(Position::new("test", offset * 10)),
        committed_at: 1_000_000 + offset as i64,
    }
}

/// One whole step.
pub async fn step(store: &dyn Store, epoch: u64, after: u64, changes: Vec<ViewChange>) {
    let mut apply = store.begin(Epoch(epoch), Offset(after)).await.unwrap();
    assert_eq!(apply.write(changes).await.unwrap(), vec![]);
    apply.commit(&held(epoch, after + 1)).await.unwrap();
}

pub async fn json(store: &dyn Store, view: &Arc<View>, id: i64) -> Option<String> {
    document(store, view, &key(id)).await.unwrap().map(|body| match body {
        StoredBody::Json(json) => json.to_string(),
        StoredBody::Fields(fields) => panic!("a JSON store gave fields: {fields:?}"),
    })
}

fn kind(result: headwater_model::Result<Box<dyn Apply>>) -> ErrorKind {
    match result {
        Ok(_) => panic!("a step was opened"),
        Err(error) => error.kind(),
    }
}

pub async fn all(make: impl Fn() -> Arc<dyn Store>) {
    a_claim_fences_lower_epochs(&*make()).await;
    data_and_position_appear_together(&*make()).await;
    a_dropped_step_leaves_nothing(&*make()).await;
    changes_do_what_they_say(&*make()).await;
    parts_merge_exactly(&*make()).await;
    a_scan_gives_each_document_once(&*make()).await;
}

async fn a_claim_fences_lower_epochs(store: &dyn Store) {
    assert_eq!(store.held().await.unwrap(), None);
    assert_eq!(kind(store.begin(Epoch(1), Offset(0)).await), ErrorKind::OutOfStep);
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    let empty = Held { epoch: Epoch(1), offset: Offset::ZERO, position: None, committed_at: 0 };
    assert_eq!(store.held().await.unwrap(), Some(empty.clone()));
    assert_eq!(store.claim(Epoch(2)).await.unwrap(), Some(empty));
    assert_eq!(kind(store.begin(Epoch(1), Offset(0)).await), ErrorKind::Fenced);
    assert_eq!(store.claim(Epoch(1)).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(kind(store.begin(Epoch(2), Offset(7)).await), ErrorKind::OutOfStep);
    step(store, 2, 0, vec![]).await;
    assert_eq!(store.held().await.unwrap(), Some(held(2, 1)));
}

async fn data_and_position_appear_together(store: &dyn Store) {
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    store.prepare(&books).await.unwrap();
    let mut apply = store.begin(Epoch(1), Offset(0)).await.unwrap();
    apply.write(vec![put(&books, 1, &[("id", Value::Int(1))])]).await.unwrap();
    apply.write(vec![put(&books, 2, &[("id", Value::Int(2))])]).await.unwrap();
    assert_eq!(json(store, &books, 1).await, None);
    assert_eq!(store.held().await.unwrap().unwrap().offset, Offset(0));
    assert_eq!(store.rows(&books).await.unwrap(), 0);
    apply.commit(&held(1, 5)).await.unwrap();
    assert_eq!(json(store, &books, 1).await.unwrap(), r#"{"id":1}"#);
    assert_eq!(store.held().await.unwrap(), Some(held(1, 5)));
    assert_eq!(store.rows(&books).await.unwrap(), 2);
    assert_eq!(kind(store.begin(Epoch(1), Offset(0)).await), ErrorKind::OutOfStep);
}

async fn a_dropped_step_leaves_nothing(store: &dyn Store) {
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    step(store, 1, 0, vec![put(&books, 1, &[("n", Value::Int(1))])]).await;
    let mut apply = store.begin(Epoch(1), Offset(1)).await.unwrap();
    apply.write(vec![ViewChange::Clear { view: books.clone() }]).await.unwrap();
    drop(apply);
    step(store, 1, 1, vec![put(&books, 2, &[("n", Value::Int(2))])]).await;
    assert_eq!(json(store, &books, 1).await.unwrap(), r#"{"n":1}"#);
    assert_eq!(store.rows(&books).await.unwrap(), 2);
}

async fn changes_do_what_they_say(store: &dyn Store) {
    let (books, authors) = (view("books"), view("authors"));
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    store.prepare(&authors).await.unwrap();
    let n = |n: i64| vec![("n", Value::Int(n))];
    step(store, 1, 0, vec![put(&books, 1, &n(1)), put(&books, 2, &n(2)), put(&authors, 1, &n(9))]).await;
    step(store, 1, 1, vec![put(&books, 2, &n(22)), put(&books, 3, &n(3))]).await;
    step(store, 1, 2, vec![ViewChange::Delete { view: books.clone(), key: key(1) }]).await;
    step(store, 1, 3, vec![ViewChange::Delete { view: books.clone(), key: key(77) }]).await;
    assert_eq!(json(store, &books, 1).await, None);
    assert_eq!(json(store, &books, 2).await.unwrap(), r#"{"n":22}"#);
    assert_eq!(store.rows(&books).await.unwrap(), 2);
    let cleared = vec![ViewChange::Clear { view: books.clone() }, put(&books, 8, &n(8))];
    step(store, 1, 4, cleared).await;
    assert_eq!(store.rows(&books).await.unwrap(), 1);
    assert_eq!(json(store, &books, 8).await.unwrap(), r#"{"n":8}"#);
    assert_eq!(store.rows(&authors).await.unwrap(), 1);
}

async fn parts_merge_exactly(store: &dyn Store) {
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let big = Value::Decimal("123456789012345678901234567890.12345678901234567890".into());
    let whole = [("id", Value::Int(1)), ("big", big), ("t", Value::text("é\"\\")), ("z", Value::Null)];
    step(store, 1, 0, vec![put(&books, 1, &whole)]).await;
    let part = [
        ("id", Value::Int(2)),
        ("big", Value::Unchanged),
        ("t", Value::Unchanged),
        ("z", Value::Int(9_007_199_254_740_993)),
    ];
    let moved = ViewChange::Put {
        view: books.clone(),
        key: key(2),
        moved_from: Some(key(1)),
        document: record(&part),
    };
    step(store, 1, 1, vec![moved]).await;
    assert_eq!(json(store, &books, 1).await, None);
    assert_eq!(
        json(store, &books, 2).await.unwrap(),
        r#"{"id":2,"big":123456789012345678901234567890.12345678901234567890,"t":"é\"\\","z":9007199254740993}"#
    );
    assert_eq!(store.rows(&books).await.unwrap(), 1);
    step(store, 1, 2, vec![put(&books, 2, &[("id", Value::Int(2)), ("t", Value::Unchanged)])]).await;
    assert_eq!(json(store, &books, 2).await.unwrap(), r#"{"id":2,"t":"é\"\\"}"#);
}

async fn a_scan_gives_each_document_once(store: &dyn Store) {
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let puts = (0..257).map(|id| put(&books, id, &[("id", Value::Int(id))])).collect();
    step(store, 1, 0, puts).await;
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = store.scan(&books, cursor, 100).await.unwrap();
        keys.extend(page.into_iter().map(|stored| stored.key.parse::<i64>().unwrap()));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    keys.sort_unstable();
    assert_eq!(keys, (0..257).collect::<Vec<_>>());
    let never = view("never_prepared");
    assert_eq!(store.scan(&never, None, 5).await.unwrap(), (vec![], None));
    assert_eq!(document(store, &never, &key(1)).await.unwrap(), None);
    assert_eq!(store.rows(&never).await.unwrap(), 0);
}
