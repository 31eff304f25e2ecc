//! Servers that ask who is there, stand alone, or are killed.

use headwater_model::{ErrorKind, Severity};

use super::*;

#[tokio::test]
async fn a_user_of_the_database_is_enough_and_others_are_told() {
    let Some(server) = MongoDb::start_closed("headwater", "hush", "shop") else { return };
    let url = |login: &str, database: &str| format!("{}&authSource=admin", server.url_as(login, database));
    let store = Store::new(&section(&url("headwater:hush@", "shop"), &[])).unwrap();
    let facts = store.inspect().await.unwrap();
    let risk = facts.risks.first().expect("a risk");
    assert!(risk.severity == Severity::Warning && risk.what.contains("no replica set"), "{risk:?}");
    store.claim(Epoch(1)).await.unwrap();
    let books = view("book", Layout::Json);
    store.prepare(&books).await.unwrap();
    step(&store, 1, 0, vec![put(&books, 1, book(1, "a"))]).await.unwrap();
    assert_eq!(keys(&store, &books).await, ["1"]);
    for (login, database) in
        [("headwater:hash@", "shop"), ("nobody:hush@", "shop"), ("headwater:hush@", "other"), ("", "shop")]
    {
        let store = Store::new(&section(&url(login, database), &[])).unwrap();
        let error = store.inspect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{login} {database}: {error:?}");
        assert!(error.remedy().is_some() && !format!("{error:?}").contains("hush"), "{error:?}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let Some(server) = MongoDb::start() else { return };
    let (store, books) = claimed(&server, "shop").await;
    assert_eq!(store.inspect().await.unwrap().risks, []);
    step(&store, 1, 0, vec![put(&books, 1, book(1, "a"))]).await.unwrap();
    let mut open = store.begin(Epoch(1), Offset(1)).await.unwrap();
    open.write(vec![put(&books, 2, book(2, "b"))]).await.unwrap();
    server.kill();
    let error = open.commit(&held(1, 2)).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    server.launch();
    server.wait_for_primary();
    assert_eq!(store.held().await.unwrap(), Some(held(1, 1)));
    step(&store, 1, 1, vec![put(&books, 2, book(2, "b"))]).await.unwrap();
    assert_eq!(keys(&store, &books).await, ["1", "2"]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_as_long_as_is_said() {
    let Some(server) = MongoDb::start_alone() else { return };
    let seconds = [("timeout_seconds", Setting::Int(1))];
    let store = Store::new(&section(&server.url("shop"), &seconds)).unwrap();
    store.claim(Epoch(1)).await.unwrap();
    server.pause();
    // It stands still as soon as the signal is there.
    let error = loop {
        if let Err(error) = store.held().await {
            break error;
        }
    };
    server.resume();
    assert!(error.is_retryable() && error.to_string().contains("within 1 s"), "{error:?}");
    assert!(store.held().await.unwrap().is_some());
}
