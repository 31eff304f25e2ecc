//! Redis as a store, on a real server.

use std::sync::Arc;

use headwater_model::file::StoreSection;
use headwater_model::{
    Epoch, Held, Key, Layout, Offset, Position, Record, Secret, Store, StoredBody, TableName, Value, View,
    ViewChange,
};
use headwater_testkit::Redis;

fn view(name: &str, layout: Layout) -> Arc<View> {
    Arc::new(View {
        name: name.into(),
        from: TableName::new(None, name),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: Vec::new(),
        layout: Some(layout),
    })
}

fn open(url: &str) -> Arc<dyn Store> {
    let section = StoreSection { name: "near".into(), url: Secret::new(url), settings: Default::default() };
    headwater_engines::store(&section).unwrap()
}

#[tokio::test]
async fn smoke() {
    let redis = Redis::start();
    let store = open(&redis.url());
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    let view = view("book", Layout::Hash);
    store.prepare(&view).await.unwrap();
    let names: Arc<[Box<str>]> = ["id".into(), "title".into(), "note".into()].into();
    let mut at = 0;
    for values in [
        vec![Value::Int(1), Value::text("a"), Value::Null],
        vec![Value::Int(1), Value::Null, Value::text("")],
    ] {
        let mut step = store.begin(Epoch(1), Offset(at)).await.unwrap();
        at += 1;
        let put = ViewChange::Put {
            view: view.clone(),
            key: Key(vec![Value::Int(1)]),
            moved_from: None,
            document: Record { names: names.clone(), values },
        };
        step.write(vec![put]).await.unwrap();
        let held = Held {
            epoch: Epoch(1),
            offset: Offset(at),
            position: Some(Position::new("x", 7)),
            committed_at: 1,
        };
        step.commit(&held).await.unwrap();
        assert_eq!(store.held().await.unwrap(), Some(held));
        assert_eq!(store.rows(&view).await.unwrap(), 1);
    }
    let body = store.get(&view, &Key(vec![Value::Int(1)])).await.unwrap().unwrap();
    assert_eq!(body, StoredBody::Fields(vec![("id".into(), b"1".to_vec()), ("note".into(), b"".to_vec())]));
    println!("{:?}", store.inspect().await.unwrap());
}
