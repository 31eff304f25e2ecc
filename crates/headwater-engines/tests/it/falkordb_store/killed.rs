//! What a server that is killed with -9 has when it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_model::{Epoch, Found, Hop, Layout, Read, Store, Value, WalkRead};
use headwater_testkit::contract::store::{document, key, view};
use headwater_testkit::{Chance, FalkorDb, eventually};

use super::{edges, open, put_edge, try_step};

const LIVES: usize = 5;

/// Every step carries its number in a document, in the position, and as the one edge that leaves vertex 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_whole_steps_and_says_which() {
    let Some(builder) = FalkorDb::builder() else { return };
    let server = builder.appendonly().start();
    let mut chance = Chance::from_env(7);
    let (book, next) = (view("book", Layout::Json), edges("next", "NEXT"));
    let store = open(&server);
    store.claim(Epoch(1)).await.unwrap();
    for view in [&book, &next] {
        store.prepare(view).await.unwrap();
    }
    let acknowledged = Arc::new(AtomicU64::new(0));
    for _ in 0..LIVES {
        let from = store.held().await.unwrap().unwrap().offset.0;
        let writer = {
            let (store, book, next) = (Arc::clone(&store), Arc::clone(&book), Arc::clone(&next));
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                for after in from.. {
                    let n = after as i64 + 1;
                    let mut changes: Vec<_> = (0..1 + n % 40)
                        .map(|id| headwater_model::ViewChange::Put {
                            view: Arc::clone(&book),
                            key: key(id),
                            moved_from: None,
                            document: document(id, n),
                        })
                        .collect();
                    changes.push(put_edge(&next, 1, Value::Int(0), Value::Int(n)));
                    if try_step(&*store, after, changes).await.is_err() {
                        return;
                    }
                    acknowledged.store(after + 1, Ordering::SeqCst);
                }
            })
        };
        let until = from + 3 + chance.below(40);
        eventually(Duration::from_secs(60), "some steps", async || {
            let done = acknowledged.load(Ordering::SeqCst);
            if done >= until { Ok(()) } else { Err(done) }
        })
        .await;
        server.kill();
        writer.await.unwrap();
        server.restart();
        let held = store.held().await.unwrap().expect("the graph is still there");
        assert!(
            held.offset.0 >= acknowledged.load(Ordering::SeqCst),
            "an acknowledged step is gone: {held:?}"
        );
        same_step(&*store, &book, &next, held.offset.0 as i64).await;
    }
}

async fn same_step(
    store: &dyn Store,
    book: &Arc<headwater_model::View>,
    next: &Arc<headwater_model::View>,
    n: i64,
) {
    for id in 0..1 + n % 40 {
        let found = headwater_testkit::read::document(store, book, &key(id)).await.unwrap();
        let expected = document(id, n).to_json();
        assert_eq!(
            found,
            Some(headwater_model::StoredBody::Json(expected.as_str().into())),
            "document {id} of step {n}"
        );
    }
    let walk = WalkRead {
        start: Value::Int(0),
        hops: vec![Hop { views: vec![Arc::clone(next)], against: false }],
        limit: 5,
        edges_max: 5,
    };
    let answer = store.answer(&Read::Walk(walk)).await.unwrap();
    let Found::Reached(reached) = answer.found else { panic!("{answer:?}") };
    assert_eq!(reached.len(), 1, "{reached:?}");
    assert!(reached[0].vertex.same(&Value::Int(n)), "{reached:?} in step {n}");
}
