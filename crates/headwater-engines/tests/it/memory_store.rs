//! The store in memory.

use std::sync::Arc;

use headwater_engines::memory::{Options, Store};
use headwater_model::{Epoch, Offset, Store as _, StoredBody, Value};
use headwater_testkit::read::{document, documents};

use crate::store_promises::{self, held, key, put, step, view};

#[tokio::test]
async fn keeps_its_promises() {
    store_promises::all(|| Arc::new(Store::with_options(Options::default()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_two_keys_never_sees_half_a_transaction() {
    let store = Store::with_options(Options::default());
    let accounts = view("accounts");
    store.claim(Epoch(1)).await.unwrap();
    let both =
        |n: i64| vec![put(&accounts, 1, &[("n", Value::Int(n))]), put(&accounts, 2, &[("n", Value::Int(n))])];
    step(&store, 1, 0, both(0)).await;
    let reader = {
        let (store, accounts) = (store.clone(), accounts.clone());
        tokio::spawn(async move {
            for _ in 0..20_000 {
                let read = documents(&store, &accounts, vec![key(1), key(2)]).await.unwrap();
                assert!(read[0].is_some());
                assert_eq!(read[0], read[1]);
            }
        })
    };
    let mut offset = 1;
    while !reader.is_finished() {
        step(&store, 1, offset, both(offset as i64)).await;
        offset += 1;
        tokio::task::yield_now().await;
    }
    reader.await.unwrap();
}

#[tokio::test]
async fn rows_past_the_bound_are_refused_by_name() {
    let store = Store::with_options(Options { bytes_max: 64 << 10 });
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    let mut apply = store.begin(Epoch(1), Offset(0)).await.unwrap();
    let long = "x".repeat(40 << 10);
    let text = |id| put(&books, id, &[("t", Value::text(long.as_str()))]);
    let refusals = apply.write(vec![text(1), text(2), put(&books, 3, &[])]).await.unwrap();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].key, "2");
    assert!(refusals[0].reason.contains("bytes_max"), "{}", refusals[0].reason);
    apply.commit(&held(1, 1)).await.unwrap();
    assert_eq!(store.rows(&books).await.unwrap(), 2);
    assert_eq!(document(&store, &books, &key(3)).await.unwrap(), Some(StoredBody::Json("{}".into())));
}
