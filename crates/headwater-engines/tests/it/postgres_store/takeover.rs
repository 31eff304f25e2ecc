//! Whoever takes the store over is kept out by nobody, and lets nobody write.

use headwater_model::{Epoch, ErrorKind, Offset, Store as _, Value};

use super::{schema, server, store};
use crate::store_promises::{held, put, step, view};

#[tokio::test]
async fn a_former_owner_that_stands_still_keeps_its_successor_out_of_nothing() {
    let schema = schema();
    let (old, new) = (store(&schema), store(&schema));
    let books = view("books");
    old.claim(Epoch(1)).await.unwrap();
    old.prepare(&books).await.unwrap();
    let n = |n: i64| vec![("n", Value::Int(n))];
    step(&*old, 1, 0, vec![put(&books, 1, &n(1))]).await;
    // It holds the store's row, and the rows that both write.
    let mut open = old.begin(Epoch(1), Offset(1)).await.unwrap();
    open.write(vec![put(&books, 1, &n(9)), put(&books, 2, &n(9))]).await.unwrap();
    assert_eq!(new.claim(Epoch(2)).await.unwrap(), Some(held(1, 1)));
    step(&*new, 2, 1, vec![put(&books, 1, &n(2)), put(&books, 2, &n(2))]).await;
    let error = open.write(vec![put(&books, 3, &n(9))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(old.claim(Epoch(1)).await.unwrap_err().kind(), ErrorKind::Fenced);
    let seen = server().psql(&format!("SELECT string_agg(document->>'n', ' ' ORDER BY key) FROM (SELECT headwater_key AS key, document FROM {schema}.books) b"));
    assert_eq!(seen, "2 2");
}

#[tokio::test]
async fn sessions_of_the_owner_that_end_cost_a_step_and_nothing_else() {
    let schema = schema();
    let store = store(&schema);
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let n = |n: i64| vec![("n", Value::Int(n))];
    let mut open = store.begin(Epoch(1), Offset(0)).await.unwrap();
    open.write(vec![put(&books, 1, &n(1))]).await.unwrap();
    server().psql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = '{schema}.headwater_held'::regclass"
    ));
    let error = open.commit(&held(1, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert_eq!(store.held().await.unwrap().unwrap().offset, Offset(0));
    step(&*store, 1, 0, vec![put(&books, 1, &n(2))]).await;
    assert_eq!(store.rows(&books).await.unwrap(), 1);
}
