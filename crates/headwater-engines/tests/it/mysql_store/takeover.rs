//! Whoever takes the store over is kept out by nobody, and lets nobody write.

use headwater_model::{Epoch, ErrorKind, Offset, Store as _, Value};
use headwater_testkit::Flavour;

use super::{database, server, store};
use crate::store_promises::{held, put, step, view};

of_both!(
    a_former_owner_that_stands_still_keeps_its_successor_out_of_nothing,
    a_server_that_is_killed_has_whole_steps_and_says_which,
    sessions_of_the_owner_that_end_cost_a_step_and_nothing_else,
);

async fn a_former_owner_that_stands_still_keeps_its_successor_out_of_nothing(flavour: Flavour) {
    let database = database(flavour);
    let (old, new) = (store(flavour, &database), store(flavour, &database));
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
    let seen = server(flavour).sql_in(
        &database,
        "SELECT GROUP_CONCAT(JSON_VALUE(document, '$.n') ORDER BY headwater_key) FROM books",
    );
    assert_eq!(seen, "2,2");
}

async fn a_server_that_is_killed_has_whole_steps_and_says_which(flavour: Flavour) {
    // Of its own, and durable: others must not see it go.
    let server = flavour.builder().durable().start();
    let section = headwater_model::file::StoreSection {
        name: "reports".into(),
        url: headwater_model::Secret::new(server.url()),
        settings: Default::default(),
        source: None,
    };
    let store = headwater_engines::store(&section).unwrap();
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let rows = |n: i64| (0..20).map(|id| put(&books, id, &[("n", Value::Int(n))])).collect::<Vec<_>>();
    for (round, kill_after) in [(1, 3), (2, 0), (3, 8)] {
        let before = store.held().await.unwrap().unwrap().offset.0;
        for n in 0..kill_after {
            step(&*store, 1, before + n, rows(round * 100 + n as i64)).await;
        }
        // In the middle of one, and while one is committed.
        let mut open = store.begin(Epoch(1), Offset(before + kill_after)).await.unwrap();
        open.write(rows(-round)).await.unwrap();
        let committed = match round {
            3 => {
                let next = held(1, before + kill_after + 1);
                let (committed, ()) = tokio::join!(open.commit(&next), async { server.kill() });
                committed.is_ok()
            }
            _ => {
                server.kill();
                assert!(open.commit(&held(1, before + kill_after + 1)).await.is_err());
                false
            }
        };
        server.restart();
        let now = headwater_testkit::eventually(
            std::time::Duration::from_secs(60),
            "the store answers",
            async || store.held().await.map(|held| held.unwrap().offset.0),
        )
        .await;
        assert!(
            now >= before + kill_after + u64::from(committed),
            "round {round}: a step that was acknowledged is gone"
        );
        let expected = match now - before {
            all if all > kill_after => -round,
            0 => (round - 1) * 100 + 2,
            n => round * 100 + n as i64 - 1,
        };
        let seen = server.sql("SELECT DISTINCT JSON_VALUE(document, '$.n') FROM books");
        assert_eq!(seen, expected.to_string(), "round {round}: the rows are of the step that the store says");
    }
    // Nor is anything wrong but the moment where the server ends a session in which nothing came for long.
    server.sql("SET GLOBAL wait_timeout = 1");
    drop(store);
    let store = headwater_engines::store(&section).unwrap();
    let offset = store.held().await.unwrap().unwrap().offset;
    let mut open = store.begin(Epoch(1), offset).await.unwrap();
    let sessions = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'app'";
    headwater_testkit::eventually(std::time::Duration::from_secs(30), "the session is ended", async || {
        match server.sql_in("", sessions) {
            none if none == "0" => Ok(()),
            some => Err(some),
        }
    })
    .await;
    let error = open.write(rows(7)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
}

async fn sessions_of_the_owner_that_end_cost_a_step_and_nothing_else(flavour: Flavour) {
    let database = database(flavour);
    let store = store(flavour, &database);
    let books = view("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let n = |n: i64| vec![("n", Value::Int(n))];
    let mut open = store.begin(Epoch(1), Offset(0)).await.unwrap();
    open.write(vec![put(&books, 1, &n(1))]).await.unwrap();
    let sessions = server(flavour)
        .sql(&format!("SELECT id FROM information_schema.processlist WHERE db = '{database}'"));
    // One that has just ended is none.
    sessions.lines().for_each(|id| drop(server(flavour).try_sql("", &format!("KILL {id}"))));
    let error = open.commit(&held(1, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert_eq!(store.held().await.unwrap().unwrap().offset, Offset(0));
    step(&*store, 1, 0, vec![put(&books, 1, &n(2))]).await;
    assert_eq!(store.rows(&books).await.unwrap(), 1);
}
