//! Indexes under every kind of change, and ranges of them, against a model that sorts by [`Value::compare`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_model::{
    AnswerMoment, Bound, Epoch, ErrorKind, Found, Index, Key, Order, Promise, RangeRead, Read, Record,
    Stored, Value, View, ViewChange,
};

use super::reading::expect_rows;
use super::setup::{Bench, clear, delete, document, held, key, put, record};
use crate::Chance;

/// Key text to key and document.
pub(super) type Model = BTreeMap<String, (Key, Record)>;

pub(super) async fn random_ranges_match_a_model(bench: &mut Bench<'_>) {
    let mut chance = Chance::from_env(3);
    let (view, other) = (indexed(bench, "shelf"), indexed(bench, "shelf:2"));
    bench.claim(&[&view, &other]).await;
    let (mut model, mut other_model) = (Model::new(), Model::new());
    for round in bench.rounds(60) {
        let (mut after, mut other_after) = (model.clone(), other_model.clone());
        let mut changes = Vec::new();
        for _ in 0..chance.below(14) {
            let (view, model) =
                if chance.one_in(4) { (&other, &mut other_after) } else { (&view, &mut after) };
            changes.push(change(bench, &mut chance, view, model));
        }
        let mut apply = bench.begin().await;
        while !changes.is_empty() {
            // One step may come in several writes.
            let rest = changes.split_off(changes.len().min(1 + chance.below(8) as usize));
            bench.ok("write", apply.write(std::mem::replace(&mut changes, rest)).await);
        }
        if bench.facts.promise == Promise::Transaction && chance.one_in(6) {
            drop(apply);
        } else {
            bench.offset += 1;
            bench.ok("commit", apply.commit(&held(bench.epoch, bench.offset)).await);
            (model, other_model) = (after, other_after);
        }
        if chance.one_in(10)
            && let Some(again) = bench.subject.reopen(&bench.store).await
        {
            bench.store = again;
            bench.epoch += 1;
            bench.ok("claim", bench.store.claim(Epoch(bench.epoch)).await);
        }
        for _ in 0..if round % 5 == 4 { 40 } else { 2 } {
            compare(bench, &mut chance, &view, &model).await;
            compare(bench, &mut chance, &other, &other_model).await;
        }
    }
    expect_rows(bench, &view, model.len() as u64).await;
    expect_rows(bench, &other, other_model.len() as u64).await;
}

fn order(column: &str, descending: bool) -> Order {
    Order { column: column.into(), descending }
}

/// A view with orders of every kind.
fn indexed(bench: &Bench<'_>, name: &str) -> Arc<View> {
    let index = |by: &[&str], order: Vec<Order>| Index {
        by: by.iter().map(|name| Box::from(*name)).collect(),
        order,
    };
    let mut view = (*bench.view(name)).clone();
    view.indexes = vec![
        index(&["g"], vec![order("n", true), order("t", false)]),
        index(&[], vec![order("n", false)]),
        index(&["g", "t"], vec![]),
        index(&["t"], vec![order("g", true), order("n", true)]),
    ];
    Arc::new(view)
}

fn change(bench: &Bench<'_>, chance: &mut Chance, view: &Arc<View>, model: &mut Model) -> ViewChange {
    let key = random_key(chance);
    match chance.below(60) {
        0 => {
            model.clear();
            clear(view)
        }
        1..=12 => {
            model.remove(&key.to_text());
            delete(view, key)
        }
        13..=22 if !model.is_empty() => {
            let nth = chance.below(model.len() as u64) as usize;
            let Some(old) = model.values().nth(nth).map(|(old, _)| old.clone()) else {
                return delete(view, key);
            };
            let base = model.remove(&old.to_text()).map(|(_, document)| document);
            let document = random_document(bench, chance, base.as_ref());
            model.insert(key.to_text(), (key.clone(), merged(base.as_ref(), &document)));
            ViewChange::Put { view: view.clone(), key, moved_from: Some(old), document }
        }
        _ => {
            let base = model.get(&key.to_text()).map(|(_, document)| document.clone());
            let document = random_document(bench, chance, base.as_ref());
            model.insert(key.to_text(), (key.clone(), merged(base.as_ref(), &document)));
            put(view, key, document)
        }
    }
}

fn random_key(chance: &mut Chance) -> Key {
    let text = *chance.pick(&["", "a", "a:b", "a\0", "a\0b", "%", "é", "\u{1}"]);
    Key(vec![Value::Int(chance.below(5) as i64 - 2), Value::text(text)])
}

fn random_group(chance: &mut Chance) -> Value {
    match chance.below(8) {
        0 => Value::Null,
        n => Value::text(["", "a", "a\0", "a\0b", "b:", "{c}", "\u{7f}é"][n as usize - 1]),
    }
}

fn random_number(chance: &mut Chance) -> Value {
    match chance.below(9) {
        0 => Value::Null,
        1 => Value::Decimal((*chance.pick(&["-1.50", "-1.5", "1.25", "0.00", "NaN", "-Infinity"])).into()),
        2 => Value::Float(*chance.pick(&[-1.5, 1.25, 1e20, -1e-7])),
        3 => Value::Int(*chance.pick(&[i64::MIN, i64::MAX, -10, 100, 1 << 40])),
        _ => Value::Int(chance.below(7) as i64 - 3),
    }
}

fn random_text(chance: &mut Chance) -> Value {
    if chance.one_in(6) {
        return Value::Null;
    }
    Value::text(*chance.pick(&["", "x", "x\0", "x\0\0y", "xy", "\u{10ffff}"]))
}

/// Fields that stay as they are only over a document whose place is known in every index.
fn random_document(bench: &Bench<'_>, chance: &mut Chance, base: Option<&Record>) -> Record {
    if chance.one_in(15) {
        return record(&[("x", Value::Int(1)), ("n", Value::Int(2))]);
    }
    let known = |name| base.and_then(|base| base.get(name)).is_some_and(|value| !value.is_null());
    let partial = bench.takes_partial() && known("g") && known("t") && known("n") && chance.one_in(3);
    let fields = [
        ("g", random_group(chance)),
        ("n", random_number(chance)),
        ("t", random_text(chance)),
        ("x", Value::Int(chance.below(1000) as i64)),
    ];
    record(&fields.map(
        |(name, value)| {
            if partial && chance.one_in(2) { (name, Value::Unchanged) } else { (name, value) }
        },
    ))
}

pub(super) fn merged(base: Option<&Record>, news: &Record) -> Record {
    let kept = |name: &str| base.and_then(|base| base.get(name)).cloned().unwrap_or(Value::Null);
    let fields: Vec<(&str, Value)> = news
        .fields()
        .map(|(name, value)| (name, if value.is_unchanged() { kept(name) } else { value.clone() }))
        .collect();
    record(&fields)
}

/// A random range, page by page, and what the model has there.
async fn compare(bench: &Bench<'_>, chance: &mut Chance, view: &Arc<View>, model: &Model) {
    let number = chance.below(view.indexes.len() as u64) as usize;
    let index = &view.indexes[number];
    let value = |column: &str, chance: &mut Chance| match column {
        "g" => random_group(chance),
        "n" => random_number(chance),
        _ => random_text(chance),
    };
    let by = index.by.iter().map(|column| value(column, chance)).collect();
    let bound = |chance: &mut Chance| {
        let first = index.order.first().filter(|_| chance.one_in(2))?;
        Some(Bound { value: value(&first.column, chance), inclusive: chance.one_in(2) })
    };
    let (from, to) = (bound(chance), bound(chance));
    let (reverse, limit) = (chance.one_in(2), 1 + chance.below(6) as usize);
    let read = RangeRead { view: view.clone(), index: number, by, from, to, after: None, reverse, limit };
    same_pages(bench, &read, model).await;
}

/// All pages of a range, and what the model has there.
pub(super) async fn same_pages(bench: &Bench<'_>, read: &RangeRead, model: &Model) {
    let (expected, limit) = (expected(read, model), read.limit);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = range(bench, RangeRead { after, ..read.clone() }).await;
        assert!(page.len() <= limit, "{bench}: a page of {} for {read:?}", page.len());
        let full = page.len() == limit;
        found.extend(page);
        assert_eq!(
            next.is_some(),
            full && found.len() < expected.len(),
            "{bench}: whether there is more after {} of {} for {read:?}",
            found.len(),
            expected.len()
        );
        after = next;
        if after.is_none() {
            break;
        }
    }
    let keys: Vec<&str> = found.iter().map(|stored| &*stored.key).collect();
    let wanted: Vec<&str> = expected.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, wanted, "{bench}: keys of {read:?} in {model:#?}");
    for (stored, (key, document)) in found.iter().zip(expected) {
        bench.same(&key, Some(&stored.body), Some(document));
    }
}

/// A page; the moment is that of the newest step.
async fn range(bench: &Bench<'_>, read: RangeRead) -> (Vec<Stored>, Option<Vec<u8>>) {
    let answer = bench.ok("answer a range", bench.store.answer(&Read::Range(read)).await);
    bench.expect_moment(&answer.at);
    match answer.found {
        Found::Page { documents, next } => (documents, next),
        found => panic!("{bench}: a range was answered with {found:?}"),
    }
}

fn expected<'m>(read: &RangeRead, model: &'m Model) -> Vec<(String, &'m Record)> {
    let index = &read.view.indexes[read.index];
    let mut rows: Vec<(&Key, &Record)> = model
        .values()
        .map(|(key, document)| (key, document))
        .filter(|(_, document)| {
            index.order.iter().all(|order| document.get(&order.column).is_some())
                && index.by.iter().zip(&read.by).all(|(column, value)| {
                    document.get(column).is_some_and(|held| !held.is_null() && held.same(value))
                })
                && within(read, document)
        })
        .collect();
    rows.sort_by(|(a_key, a), (b_key, b)| {
        let by_order = index.order.iter().map(|order| {
            let null = Value::Null;
            let (a, b) = (a.get(&order.column).unwrap_or(&null), b.get(&order.column).unwrap_or(&null));
            if order.descending { b.compare(a) } else { a.compare(b) }
        });
        let by_key = a_key.0.iter().zip(&b_key.0).map(|(a, b)| a.compare(b));
        by_order.chain(by_key).find(|ordering| *ordering != Ordering::Equal).unwrap_or(Ordering::Equal)
    });
    if read.reverse {
        rows.reverse();
    }
    rows.into_iter().map(|(key, document)| (key.to_text(), document)).collect()
}

fn within(read: &RangeRead, document: &Record) -> bool {
    let Some(first) = read.view.indexes[read.index].order.first() else { return true };
    let Some(value) = document.get(&first.column) else { return false };
    let passes = |bound: &Option<Bound>, wanted: Ordering| match bound {
        None => true,
        Some(bound) if value.is_null() || bound.value.is_null() => false,
        Some(bound) => match value.compare(&bound.value) {
            Ordering::Equal => bound.inclusive,
            ordering => ordering == wanted,
        },
    };
    passes(&read.from, Ordering::Greater) && passes(&read.to, Ordering::Less)
}

/// A view whose indexes changed is cleared and filled again: nothing is left of the old ones.
pub(super) async fn other_indexes_after_a_clear(bench: &mut Bench<'_>) {
    let with = |indexes: &[(&str, bool)]| {
        let mut view = (*bench.view("book")).clone();
        view.indexes = indexes
            .iter()
            .map(|(column, descending)| Index { by: vec![], order: vec![order(column, *descending)] })
            .collect();
        Arc::new(view)
    };
    let (first, second, none) = (with(&[("n", false), ("id", true)]), with(&[("id", false)]), with(&[]));
    bench.claim(&[&first]).await;
    bench.step((0..30).map(|id| put(&first, key(id), document(id, -id))).collect()).await;
    expect_ids(bench, &first, 1, (0..30).rev()).await;
    for (view, from) in [(&second, 100), (&first, 200), (&none, 300), (&first, 400)] {
        bench.ok("prepare", bench.store.prepare(view).await);
        let mut changes = vec![clear(view)];
        changes.extend((from..from + 7).map(|id| put(view, key(id), document(id, -id))));
        bench.step(changes).await;
        for (number, index) in view.indexes.iter().enumerate() {
            let ids = from..from + 7;
            let backwards = index.order[0].descending || &*index.order[0].column == "n";
            let ids: Vec<i64> = if backwards { ids.rev().collect() } else { ids.collect() };
            expect_ids(bench, view, number, ids.into_iter()).await;
        }
    }
    bench.step(vec![clear(&first)]).await;
    expect_ids(bench, &first, 0, 0..0).await;
    bench.step(vec![put(&first, key(1), document(1, 1))]).await;
    expect_ids(bench, &first, 0, 1..2).await;
}

async fn expect_ids(bench: &Bench<'_>, view: &Arc<View>, index: usize, ids: impl Iterator<Item = i64>) {
    let (found, _) = range(bench, whole(view, index, vec![])).await;
    let found: Vec<String> = found.into_iter().map(|stored| stored.key).collect();
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    assert_eq!(found, ids, "{bench}: index {index} of view {:?}", view.name);
}

/// A part from its beginning.
pub(super) fn whole(view: &Arc<View>, index: usize, by: Vec<Value>) -> RangeRead {
    let view = Arc::clone(view);
    RangeRead { view, index, by, from: None, to: None, after: None, reverse: false, limit: 1000 }
}

/// The same step again, as after a lost reply, leaves one entry per document.
pub(super) async fn a_replayed_step_leaves_indexes_as_they_are(bench: &mut Bench<'_>) {
    let view = indexed(bench, "shelf");
    bench.claim(&[&view]).await;
    let at = |g: &str, n: i64| {
        record(&[("g", Value::text(g)), ("n", Value::Int(n)), ("t", Value::text("t")), ("x", Value::Null)])
    };
    bench.step((0..6).map(|id| put(&view, key(id), at("a", id))).collect()).await;
    for _ in 0..2 {
        let moved = ViewChange::Put {
            view: view.clone(),
            key: key(10),
            moved_from: Some(key(1)),
            document: at("b", 1),
        };
        bench.step(vec![put(&view, key(0), at("b", 0)), moved, delete(&view, key(2))]).await;
        expect_group(bench, &view, "a", &["5", "4", "3"]).await;
        expect_group(bench, &view, "b", &["10", "0"]).await;
    }
}

async fn expect_group(bench: &Bench<'_>, view: &Arc<View>, group: &str, keys: &[&str]) {
    let (found, _) = range(bench, whole(view, 0, vec![Value::text(group)])).await;
    let found: Vec<String> = found.into_iter().map(|stored| stored.key).collect();
    assert_eq!(found, keys, "{bench}: group {group:?}");
}

pub(super) async fn an_empty_store_answers_nothing(bench: &mut Bench<'_>) {
    let view = indexed(bench, "shelf");
    let read = Read::Range(whole(&view, 1, vec![]));
    let refused = |bench: &Bench<'_>, answer: headwater_model::Result<headwater_model::Answer>| match answer {
        Ok(answer) => panic!("{bench}: an empty store answered {answer:?}"),
        Err(error) => bench.expect_kind(&error, ErrorKind::OutOfStep),
    };
    refused(bench, bench.store.answer(&read).await);
    bench.claim(&[&view]).await;
    let (found, next) = range(bench, whole(&view, 1, vec![])).await;
    assert_eq!((found, next), (vec![], None), "{bench}: a claimed store without documents");
    if bench.subject.empty(&bench.store).await {
        refused(bench, bench.store.answer(&read).await);
    }
}

impl Bench<'_> {
    /// Answers are of the newest step. A store that promises keys may know that it shows nothing newer.
    pub(super) fn expect_moment(&self, at: &AnswerMoment) {
        let held = held(self.epoch, self.offset);
        let expected = match (self.facts.promise, at) {
            (Promise::Key, AnswerMoment::AtLeast(_)) => AnswerMoment::AtLeast(held),
            _ => AnswerMoment::Applied(held),
        };
        assert_eq!(*at, expected, "{self}: the moment of an answer");
    }
}
