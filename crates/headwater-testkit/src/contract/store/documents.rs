//! What puts, deletes and clears do to documents.

use headwater_model::{Key, Value, ViewChange};

use super::setup::{Bench, clear, delete, document, held, key, put, record};

pub(super) async fn put_get_delete_clear(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.expect(&view, &key(1), None).await;
    bench.step((1..=3).map(|id| put(&view, key(id), document(id, 10))).collect()).await;
    bench.step(vec![put(&view, key(2), document(2, 20)), delete(&view, key(1))]).await;
    bench.expect(&view, &key(1), None).await;
    bench.expect(&view, &key(2), Some(&document(2, 20))).await;
    bench.expect(&view, &key(3), Some(&document(3, 10))).await;
    bench.step(vec![delete(&view, key(1)), delete(&view, key(77))]).await;
    bench.step(vec![clear(&view)]).await;
    for id in 1..=3 {
        bench.expect(&view, &key(id), None).await;
    }
    bench.expect_held(&held(1, bench.offset)).await;
}

pub(super) async fn null_is_not_the_empty_text(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let (empty, null) = (
        record(&[("id", Value::Int(1)), ("t", Value::text(""))]),
        record(&[("id", Value::Int(1)), ("t", Value::Null)]),
    );
    for expected in [&empty, &null, &empty, &null] {
        bench.step(vec![put(&view, key(1), expected.clone())]).await;
        bench.expect(&view, &key(1), Some(expected)).await;
    }
}

pub(super) async fn a_document_of_nulls_exists(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let nulls = record(&[("a", Value::Null), ("b", Value::Null)]);
    let one = record(&[("a", Value::Int(1)), ("b", Value::Null)]);
    for expected in [&nulls, &one, &nulls, &nulls, &one] {
        bench.step(vec![put(&view, key(1), expected.clone())]).await;
        bench.expect(&view, &key(1), Some(expected)).await;
        assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 1, "{bench}: one document");
    }
    bench.step(vec![delete(&view, key(1))]).await;
    bench.expect(&view, &key(1), None).await;
}

/// A column that was dropped or renamed must not live on in documents that are written again.
pub(super) async fn a_full_put_leaves_exactly_its_fields(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let shapes = [
        record(&[("id", Value::Int(1)), ("a", Value::text("x")), ("b", Value::text("y"))]),
        record(&[("id", Value::Int(1)), ("b", Value::text("z"))]),
        record(&[("c", Value::text("other")), ("d", Value::Null)]),
        record(&[("id", Value::Int(1)), ("a", Value::text("x")), ("b", Value::text("y"))]),
        record(&[("b", Value::Null), ("a", Value::text("reordered"))]),
    ];
    for shape in &shapes {
        bench.step(vec![put(&view, key(1), shape.clone())]).await;
        bench.expect(&view, &key(1), Some(shape)).await;
    }
    // Another process must know the old names too.
    if let Some(again) = bench.subject.reopen(&bench.store).await {
        bench.store = again;
        bench.epoch = 2;
        bench.ok("claim", bench.store.claim(headwater_model::Epoch(2)).await);
        let last = record(&[("z", Value::Int(1))]);
        bench.step(vec![put(&view, key(1), last.clone())]).await;
        bench.expect(&view, &key(1), Some(&last)).await;
    }
}

pub(super) async fn a_partial_put_keeps_the_rest(bench: &mut Bench<'_>) {
    if !bench.takes_partial() {
        return;
    }
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let shape = |a: Value, b: Value, c: Value| record(&[("a", a), ("b", b), ("c", c)]);
    let long = Value::text("x".repeat(10_000));
    bench.step(vec![put(&view, key(1), shape(Value::Int(1), long.clone(), Value::Null))]).await;
    bench.step(vec![put(&view, key(1), shape(Value::Int(2), Value::Unchanged, Value::text("")))]).await;
    bench.expect(&view, &key(1), Some(&shape(Value::Int(2), long.clone(), Value::text("")))).await;
    bench.step(vec![put(&view, key(1), shape(Value::Null, Value::Unchanged, Value::Null))]).await;
    bench.expect(&view, &key(1), Some(&shape(Value::Null, long, Value::Null))).await;
    // The kept field is NULL too: the document must not vanish.
    bench.step(vec![put(&view, key(2), shape(Value::Int(1), Value::Null, Value::Null))]).await;
    bench.step(vec![put(&view, key(2), shape(Value::Null, Value::Unchanged, Value::Unchanged))]).await;
    bench.expect(&view, &key(2), Some(&shape(Value::Null, Value::Null, Value::Null))).await;
    bench.step(vec![put(&view, key(2), shape(Value::Unchanged, Value::Int(7), Value::Unchanged))]).await;
    bench.expect(&view, &key(2), Some(&shape(Value::Null, Value::Int(7), Value::Null))).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 2, "{bench}: two documents");
}

/// During a backfill the stream may change a row before its chunk brings the rest of it.
pub(super) async fn a_partial_put_can_come_first(bench: &mut Bench<'_>) {
    if !bench.takes_partial() {
        return;
    }
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let news = record(&[("id", Value::Int(1)), ("long", Value::Unchanged)]);
    bench.step(vec![put(&view, key(1), news)]).await;
    bench.expect(&view, &key(1), Some(&record(&[("id", Value::Int(1))]))).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 1, "{bench}: one document");
    let rest = record(&[("id", Value::Unchanged), ("long", Value::text("x"))]);
    bench.step(vec![put(&view, key(1), rest)]).await;
    bench.expect(&view, &key(1), Some(&record(&[("id", Value::Int(1)), ("long", Value::text("x"))]))).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 1, "{bench}: one document");
}

pub(super) async fn a_changed_key_takes_its_document_along(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let moved = |from: i64, to: i64, document| ViewChange::Put {
        view: view.clone(),
        key: key(to),
        moved_from: Some(key(from)),
        document,
    };
    bench.step((1..=3).map(|id| put(&view, key(id), document(id, id))).collect()).await;
    bench.step(vec![moved(1, 10, document(10, 1))]).await;
    bench.expect(&view, &key(1), None).await;
    bench.expect(&view, &key(10), Some(&document(10, 1))).await;
    // Onto a key that is freed by the same step.
    bench.step(vec![delete(&view, key(3)), moved(2, 3, document(3, 2))]).await;
    bench.expect(&view, &key(2), None).await;
    bench.expect(&view, &key(3), Some(&document(3, 2))).await;
    if bench.takes_partial() {
        let partial = record(&[("id", Value::Int(4)), ("n", Value::Unchanged)]);
        bench.step(vec![moved(3, 4, partial)]).await;
        bench.expect(&view, &key(3), None).await;
        bench.expect(&view, &key(4), Some(&document(4, 2))).await;
    }
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 2, "{bench}: two documents");
}

pub(super) async fn clear_and_put_in_one_step(bench: &mut Bench<'_>) {
    let (view, other) = (bench.view("book"), bench.view("author"));
    bench.claim(&[&view, &other]).await;
    bench.step((1..=5).map(|id| put(&view, key(id), document(id, 1))).collect()).await;
    bench.step(vec![put(&other, key(1), document(1, 1))]).await;
    // Rows put by the same step before the Clear go as well; those put after it stay.
    bench
        .step(vec![
            put(&view, key(6), document(6, 2)),
            put(&view, key(1), document(1, 2)),
            clear(&view),
            put(&view, key(2), document(2, 3)),
            put(&view, key(7), document(7, 3)),
        ])
        .await;
    for id in [1, 3, 4, 5, 6] {
        bench.expect(&view, &key(id), None).await;
    }
    bench.expect(&view, &key(2), Some(&document(2, 3))).await;
    bench.expect(&view, &key(7), Some(&document(7, 3))).await;
    bench.expect(&other, &key(1), Some(&document(1, 1))).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 2, "{bench}: two documents");
    bench.step(vec![clear(&view), clear(&view)]).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 0, "{bench}: no document");
}

/// A step holds many transactions: what comes later wins.
pub(super) async fn the_last_change_of_a_key_in_a_step_wins(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let changes = vec![
        put(&view, key(1), document(1, 1)),
        put(&view, key(1), document(1, 2)),
        put(&view, key(2), document(2, 1)),
        delete(&view, key(2)),
        put(&view, key(3), document(3, 1)),
        delete(&view, key(3)),
        put(&view, key(3), document(3, 3)),
    ];
    bench.step(changes).await;
    bench.expect(&view, &key(1), Some(&document(1, 2))).await;
    bench.expect(&view, &key(2), None).await;
    bench.expect(&view, &key(3), Some(&document(3, 3))).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 2, "{bench}: two documents");
}

pub(super) async fn several_views_in_one_step(bench: &mut Bench<'_>) {
    let views: Vec<_> = (0..4).map(|n| bench.view(&format!("view{n}"))).collect();
    bench.claim(&views.iter().collect::<Vec<_>>()).await;
    let mut changes = Vec::new();
    for id in 0..20 {
        for (n, view) in views.iter().enumerate() {
            changes.push(put(view, Key(vec![Value::Int(id), Value::text("a")]), document(id, n as i64)));
        }
    }
    changes.push(clear(&views[3]));
    bench.step(changes).await;
    for (n, view) in views.iter().enumerate() {
        let expected = (n < 3).then(|| document(7, n as i64));
        bench.expect(view, &Key(vec![Value::Int(7), Value::text("a")]), expected.as_ref()).await;
        let rows = bench.ok("rows", bench.store.rows(view).await);
        assert_eq!(rows, if n < 3 { 20 } else { 0 }, "{bench}: rows of {:?}", view.name);
    }
}
