//! What lies in indexes: listed, compared with where documents should stand, taken out and put again.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_model::{
    Astray, Index, IndexEntry, Key, Listed, Order, Record, Standing, Value, View, ViewChange,
};

use super::setup::{Bench, delete, held, key, put, record};

fn indexed(bench: &Bench<'_>, name: &str) -> Arc<View> {
    let order = |column: &str| vec![Order { column: column.into(), descending: true }];
    let mut view = (*bench.view(name)).clone();
    view.indexes =
        vec![Index { by: vec!["g".into()], order: order("n") }, Index { by: Vec::new(), order: order("g") }];
    Arc::new(view)
}

/// Of few groups, one of which is large; some are in no part.
fn row(id: i64) -> Record {
    let group = match id % 5 {
        0 => Value::Null,
        1 => Value::text("a:b\0"),
        _ => Value::text("large"),
    };
    record(&[("g", group), ("n", Value::Int(id % 7)), ("t", Value::text("t")), ("x", Value::Null)])
}

fn standing(view: &View, key: &Key, document: &Record) -> Standing {
    Standing { key: key.to_text().into(), should: view.entries(key, document), should_not: Vec::new() }
}

async fn listed(bench: &Bench<'_>, view: &View) -> BTreeSet<Listed> {
    let (mut all, mut cursor) = (BTreeSet::new(), None);
    loop {
        let (page, next) = bench.ok("entries", bench.store.entries(view, cursor, 7).await);
        all.extend(page);
        match next {
            None => return all,
            next => cursor = next,
        }
    }
}

async fn astray(bench: &Bench<'_>, view: &View, asked: &[Standing]) -> Vec<Astray> {
    let (at, told) = bench.ok("astray", bench.store.astray(view, asked).await);
    bench.expect_moment(&at);
    assert_eq!(told.len(), asked.len(), "{bench}: an answer for each that is asked");
    told
}

pub(super) async fn what_lies_in_indexes_is_listed_and_told(bench: &mut Bench<'_>) {
    let (view, other) = (indexed(bench, "shelf"), indexed(bench, "shelf:0"));
    bench.claim(&[&view, &other]).await;
    assert_eq!(listed(bench, &view).await, BTreeSet::new(), "{bench}: nothing lies in empty indexes");
    let changes = |view: &Arc<View>, ids: std::ops::Range<i64>| -> Vec<ViewChange> {
        ids.map(|id| put(view, key(id), row(id))).collect()
    };
    // More than a small sorted set has.
    let rows = if bench.subject.believes_entries() { 400 } else { 60 };
    bench.step(changes(&view, 0..rows)).await;
    bench.step(changes(&other, 0..3)).await;
    // Some move, some go.
    let mut expected: Vec<(Key, Record)> = (0..rows).map(|id| (key(id), row(id))).collect();
    let moved: Vec<ViewChange> = (0..20).map(|id| put(&view, key(id), row(id + 1))).collect();
    bench.step(moved).await;
    (0..20).for_each(|id| expected[id as usize].1 = row(id + 1));
    bench.step((30..40).map(|id| delete(&view, key(id))).collect()).await;
    expected.retain(|(key, _)| !matches!(key.0[0], Value::Int(30..40)));
    let entries = |(key, document): &(Key, Record)| view.entries(key, document);
    let all: BTreeSet<Listed> = expected.iter().flat_map(entries).map(Listed::Entry).collect();
    if bench.subject.believes_entries() {
        assert_eq!(listed(bench, &view).await, all, "{bench}: each entry of each document");
    }
    let mut asked: Vec<Standing> =
        expected.iter().map(|(key, document)| standing(&view, key, document)).collect();
    // Of what is not there, nothing is remembered.
    asked.push(Standing { key: "31".into(), ..Standing::default() });
    asked.push(Standing { key: "never:there%".into(), ..Standing::default() });
    assert!(
        astray(bench, &view, &asked).await.iter().all(|astray| *astray == Astray::default()),
        "{bench}: every document stands where it should"
    );
    // Where it stood before, and one place too few.
    let was = Standing { should: view.entries(&key(1), &row(1)), ..standing(&view, &key(1), &row(2)) };
    let few = Standing { should: Vec::new(), ..standing(&view, &key(1), &row(2)) };
    let told = astray(bench, &view, &[was, few, standing(&view, &key(30), &row(31))]).await;
    let lacks = |lacks: &[usize]| Astray { lacks: lacks.to_vec(), strays: Vec::new(), misremembers: true };
    assert_eq!(told, [lacks(&[0, 1]), lacks(&[]), lacks(&[0, 1])], "{bench}");
}

pub(super) async fn what_an_index_lost_is_told_and_put_again_with_its_document(bench: &mut Bench<'_>) {
    if !bench.subject.believes_entries() {
        return;
    }
    let view = indexed(bench, "shelf");
    bench.claim(&[&view]).await;
    bench.step((0..12).map(|id| put(&view, key(id), row(id))).collect()).await;
    let right = listed(bench, &view).await;
    let lost: Vec<IndexEntry> = [1, 2].iter().flat_map(|id| view.entries(&key(*id), &row(*id))).collect();
    let lost: Vec<Listed> = lost.into_iter().map(Listed::Entry).collect();
    let mut step = bench.begin().await;
    bench.ok("unplace", step.unplace(&view, &lost).await);
    bench.ok("commit", step.commit(&held(bench.epoch, bench.offset)).await);
    let rest: BTreeSet<Listed> = right.iter().filter(|entry| !lost.contains(entry)).cloned().collect();
    assert_eq!(listed(bench, &view).await, rest, "{bench}: exactly these are taken out");
    let asked: Vec<Standing> = [1, 2, 3].map(|id| standing(&view, &key(id), &row(id))).into();
    let told = astray(bench, &view, &asked).await;
    let lacks = Astray { lacks: vec![0, 1], ..Astray::default() };
    assert_eq!(told, [lacks.clone(), lacks, Astray::default()], "{bench}");
    // As a repair does it: away, and put again, in one step.
    let mut step = bench.begin().await;
    bench.ok("write", step.write([1, 2].map(|id| delete(&view, key(id))).into()).await);
    bench.ok("unplace", step.unplace(&view, &lost).await);
    bench.ok("write", step.write([1, 2].map(|id| put(&view, key(id), row(id))).into()).await);
    bench.ok("commit", step.commit(&held(bench.epoch, bench.offset)).await);
    assert_eq!(listed(bench, &view).await, right, "{bench}: all is as it was");
    // What a document should not have is told while it is there.
    let stray = Standing { key: "1".into(), should: Vec::new(), should_not: view.entries(&key(1), &row(1)) };
    let told = astray(bench, &view, &[stray]).await;
    assert_eq!(told[0].strays, [0, 1], "{bench}");
}
