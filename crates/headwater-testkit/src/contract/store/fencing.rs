//! Who may write, after what, and what is found after a restart.

use std::task::Poll;
use std::time::Duration;

use headwater_model::{Epoch, ErrorKind, Held, Offset};

use super::setup::{Bench, clear, document, held, key, put};

pub(super) async fn an_empty_store_holds_nothing_until_it_is_claimed(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    assert_eq!(bench.ok("held", bench.store.held().await), None, "{bench}: an empty store holds nothing");
    let error = bench.refused(&*bench.store, 1, 0, Vec::new()).await;
    bench.expect_kind(&error, ErrorKind::OutOfStep);
    bench.expect_empty(&view, &key(1)).await;
    bench.claim(&[&view]).await;
    bench.expect_held(&held(1, 0)).await;
    // Claiming again is harmless, and preparing too.
    assert_eq!(
        bench.ok("claim", bench.store.claim(Epoch(1)).await),
        Some(held(1, 0)),
        "{bench}: claimed twice"
    );
    bench.step(vec![put(&view, key(1), document(1, 1))]).await;
    bench.ok("prepare", bench.store.prepare(&view).await);
    bench.expect(&view, &key(1), Some(&document(1, 1))).await;
    // A step may carry the position on without any change, and over many offsets.
    let apply = bench.begin().await;
    let far = Held { position: None, committed_at: -5, ..held(1, 1000) };
    bench.ok("commit", apply.commit(&far).await);
    bench.expect_held(&far).await;
}

pub(super) async fn a_step_must_continue_what_the_store_holds(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1))]).await;
    for after in [0, 2, 100] {
        let error = bench.refused(&*bench.store, 1, after, vec![put(&view, key(1), document(1, 9))]).await;
        bench.expect_kind(&error, ErrorKind::OutOfStep);
    }
    bench.expect(&view, &key(1), Some(&document(1, 1))).await;
    bench.step(vec![put(&view, key(1), document(1, 2))]).await;
    bench.expect(&view, &key(1), Some(&document(1, 2))).await;
}

pub(super) async fn a_lower_epoch_is_refused(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1))]).await;
    let old = std::sync::Arc::clone(&bench.store);
    if let Some(other) = bench.subject.reopen(&bench.store).await {
        bench.store = other;
    }
    let found = bench.ok("claim", bench.store.claim(Epoch(5)).await);
    assert_eq!(found, Some(held(1, 1)), "{bench}: the new owner learns what the store held");
    for epoch in [1, 4] {
        let error = bench.refused(&*old, epoch, 1, vec![put(&view, key(1), document(1, 9))]).await;
        bench.expect_kind(&error, ErrorKind::Fenced);
        let error = old.claim(Epoch(epoch)).await.expect_err("a lower epoch claimed the store");
        bench.expect_kind(&error, ErrorKind::Fenced);
    }
    bench.expect(&view, &key(1), Some(&document(1, 1))).await;
    bench.expect_held(&held(5, 1)).await;
    bench.epoch = 5;
    bench.step(vec![put(&view, key(1), document(1, 2))]).await;
    let error = bench.refused(&*old, 1, 1, vec![clear(&view)]).await;
    bench.expect_kind(&error, ErrorKind::Fenced);
    bench.expect(&view, &key(1), Some(&document(1, 2))).await;
}

pub(super) async fn a_store_emptied_behind_our_back_is_out_of_step(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1))]).await;
    if !bench.subject.empty(&bench.store).await {
        return;
    }
    let error = bench.refused(&*bench.store, 1, 1, vec![put(&view, key(2), document(2, 1))]).await;
    bench.expect_kind(&error, ErrorKind::OutOfStep);
    assert_eq!(bench.ok("held", bench.store.held().await), None, "{bench}: it was emptied");
    bench.expect_empty(&view, &key(2)).await;
    bench.offset = 0;
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 3))]).await;
    bench.expect(&view, &key(1), Some(&document(1, 3))).await;
}

pub(super) async fn a_restart_keeps_documents_and_position(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1)), put(&view, key(2), document(2, 1))]).await;
    let Some(again) = bench.subject.reopen(&bench.store).await else { return };
    bench.store = again;
    bench.expect_held(&held(1, 1)).await;
    bench.expect(&view, &key(2), Some(&document(2, 1))).await;
    assert_eq!(
        bench.ok("claim", bench.store.claim(Epoch(2)).await),
        Some(held(1, 1)),
        "{bench}: what was held"
    );
    bench.ok("prepare", bench.store.prepare(&view).await);
    bench.epoch = 2;
    bench.step(vec![put(&view, key(1), document(1, 2))]).await;
    bench.expect(&view, &key(1), Some(&document(1, 2))).await;
    bench.expect(&view, &key(2), Some(&document(2, 1))).await;
}

/// The reply to a commit was lost: the caller looks at what is held, and a second attempt at the same step must fail
/// or leave everything as it is.
pub(super) async fn a_replay_after_a_lost_reply_changes_nothing(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1)), put(&view, key(2), document(2, 1))]).await;
    let step = |n: i64| {
        let moved = headwater_model::ViewChange::Put {
            view: view.clone(),
            key: key(3),
            moved_from: Some(key(2)),
            document: document(3, n),
        };
        vec![put(&view, key(1), document(1, n)), moved]
    };
    bench.step(step(7)).await;
    let error = bench.refused(&*bench.store, 1, 1, step(7)).await;
    bench.expect_kind(&error, ErrorKind::OutOfStep);
    bench.expect_held(&held(1, 2)).await;
    // Applied again behind itself (its offset is new to the store): the same documents.
    bench.step(step(7)).await;
    bench.expect(&view, &key(1), Some(&document(1, 7))).await;
    bench.expect(&view, &key(2), None).await;
    bench.expect(&view, &key(3), Some(&document(3, 7))).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 2, "{bench}: two documents");
    assert_eq!(Offset(bench.offset), Offset(3));
}

/// A caller that stops waiting for a step to open leaves nothing behind: the next step goes through.
pub(super) async fn a_step_that_nobody_waited_for_is_not_open(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1))]).await;
    for _ in 0..3 {
        // Long enough for an engine to ask its server again before it opens a step.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let mut begin = bench.store.begin(Epoch(bench.epoch), Offset(bench.offset));
        let polled_once = std::future::poll_fn(|cx| Poll::Ready(begin.as_mut().poll(cx).is_ready()));
        polled_once.await;
        drop(begin);
        bench.step(vec![put(&view, key(1), document(1, 2))]).await;
    }
    bench.expect(&view, &key(1), Some(&document(1, 2))).await;
}
