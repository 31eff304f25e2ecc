//! Steps that break off anywhere, and readers meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_model::{Listed, Store as _};
use headwater_testkit::Chance;
use headwater_testkit::contract::store::key;

use super::unwilling::{Do, Unwilling};
use super::*;

type Model = BTreeMap<i64, Record>;

fn random_step(chance: &mut Chance, view: &Arc<View>, model: &mut Model) -> Vec<ViewChange> {
    let mut changes = Vec::new();
    for _ in 0..1 + chance.below(6) {
        let id = chance.below(12) as i64;
        if chance.one_in(4) {
            model.remove(&id);
            changes.push(delete(view, id));
        } else {
            let book = *chance.pick(&["a", "b"]);
            let price = chance.below(100).to_string();
            let document = point(id, chance.below(3) as i64 * 1_000_000, book, &price);
            model.insert(id, document.clone());
            changes.push(put(view, id, document));
        }
    }
    changes
}

/// Whatever request of a step is the last one that goes through, the next owner's replay, in whichever steps, ends as if nothing had
/// happened: no point too many, none too few.
#[tokio::test]
async fn a_step_that_breaks_off_anywhere_leaves_nothing_behind() {
    // Its own: a statement fails now and then while another test drops a database.
    let Some(server) = InfluxDb::start() else { return };
    let (_, database) = claimed(&server).await;
    let proxy = Unwilling::to(server.port()).await;
    let url = format!("influx://127.0.0.1:{}/{database}", proxy.port);
    let view = prices();
    let mut chance = Chance::from_env(11);
    let (mut model, mut offset) = (Model::new(), 0);
    for round in 0..60u64 {
        let mut changes = random_step(&mut chance, &view, &mut model);
        let store = Store::new(&section(&url, &[])).unwrap();
        let (mut left, verdict) = (chance.below(14), *chance.pick(&[Do::Refuse, Do::LoseReply]));
        proxy.judge(move || {
            let now = left == 0;
            left = left.saturating_sub(1);
            if now { verdict } else { Do::Pass }
        });
        let broken = step(&store, 1, offset, changes.clone()).await.is_err();
        proxy.judge(|| Do::Pass);
        let store = Store::new(&section(&url, &[])).unwrap();
        let is_done = store.held().await.unwrap().unwrap().offset.0 > offset;
        assert!(broken || is_done, "round {round}");
        if !is_done {
            if chance.one_in(2) {
                // It comes again together with what was committed since.
                changes.extend(random_step(&mut chance, &view, &mut model));
            }
            assert_eq!(step(&store, 1, offset, changes).await.unwrap(), []);
        }
        offset += 1;
        compare(&store, &view, &model, round).await;
    }
}

async fn compare(store: &Store, view: &Arc<View>, model: &Model, round: u64) {
    let (documents, _) = store.scan(view, None, 1000).await.unwrap();
    let found: BTreeMap<i64, _> =
        documents.into_iter().map(|stored| (stored.key.parse().unwrap(), stored.body)).collect();
    let wanted: BTreeMap<i64, _> = model
        .iter()
        .map(|(id, document)| (*id, headwater_model::StoredBody::Json(document.to_json().into())))
        .collect();
    assert_eq!(found, wanted, "round {round}: documents");
    let (listed, _) = store.entries(view, None, 1000).await.unwrap();
    let mut listed: Vec<Listed> = listed.into_iter().collect();
    listed.sort();
    let entries = model.iter().flat_map(|(id, document)| view.entries(&key(*id), document));
    let mut wanted: Vec<Listed> = entries.map(Listed::Entry).collect();
    wanted.sort();
    assert_eq!(listed, wanted, "round {round}: points");
}

/// Documents go to and fro between two times, some of them each time. A window over both has each of them, always.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_moves_is_always_in_the_window() {
    let Some(server) = InfluxDb::start() else { return };
    let (store, _) = claimed(&server).await;
    let view = prices();
    let ids: Vec<String> = (0..20).map(|id| id.to_string()).collect();
    let first = (0..20).map(|id| put(&view, id, point(id, 0, "a", "1"))).collect();
    step(&store, 1, 0, first).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, view, stop) = (store.clone(), view.clone(), stop.clone());
        async move {
            let mut read = 0;
            while !stop.load(Ordering::SeqCst) {
                match window(&store, &view, "a").await {
                    Ok(mut found) => {
                        found.sort_by_key(|key| key.parse::<i64>().ok());
                        assert_eq!(found, ids);
                        read += 1;
                    }
                    // It waited long enough for points to be gone.
                    Err(error) => assert!(error.is_retryable(), "{error:?}"),
                }
            }
            read
        }
    });
    let mut chance = Chance::from_env(12);
    for after in 1..60 {
        let moved = (0..20).filter(|_| chance.one_in(4)).collect::<Vec<i64>>();
        let time = |chance: &mut Chance| chance.below(2) as i64 * 3_000_000;
        let changes = moved.into_iter().map(|id| put(&view, id, point(id, time(&mut chance), "a", "1")));
        step(&store, 1, after, changes.collect()).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    assert!(reader.await.unwrap() > 0, "the reader got to read");
}

#[tokio::test]
async fn a_killed_server_has_what_it_acknowledged() {
    let Some(server) = InfluxDb::start() else { return };
    let (store, _) = claimed(&server).await;
    let view = prices();
    for after in 0..10 {
        let changes = (0..10).map(|n| put(&view, after * 10 + n, point(n, n, "a", "1"))).collect();
        step(&store, 1, after as u64, changes).await.unwrap();
    }
    server.kill();
    let error = store.held().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("history"), "{error:?}");
    server.launch();
    assert_eq!(store.held().await.unwrap(), Some(held(1, 10)));
    assert_eq!(window(&store, &view, "a").await.unwrap().len(), 100);
    step(&store, 1, 10, vec![delete(&view, 5)]).await.unwrap();
    assert_eq!(window(&store, &view, "a").await.unwrap().len(), 99);
}
