//! Series: late and corrected points, points of the same microsecond, tags that change and vanish.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_model::{
    Astray, Bound, Epoch, Key, Listed, RangeRead, Record, Series, Standing, Value, View, ViewChange, ViewKind,
};

use super::ranges::{Model, merged, same_pages};
use super::setup::{Bench, clear, delete, key, put, record};
use crate::Chance;

fn series(bench: &Bench<'_>, name: &str, tags: &[&str]) -> Arc<View> {
    let mut view = (*bench.view(name)).clone();
    view.kind = ViewKind::Series(Series {
        time: "at".into(),
        tags: tags.iter().map(|tag| Box::from(*tag)).collect(),
        fields: vec!["v".into(), "t".into()],
    });
    view.indexes = view.kind.indexes();
    Arc::new(view)
}

pub(super) async fn random_windows_match_a_model(bench: &mut Bench<'_>) {
    let mut chance = Chance::from_env(5);
    let views = [series(bench, "price", &["g", "n"]), series(bench, "price:1", &[])];
    bench.claim(&[&views[0], &views[1]]).await;
    let mut models = [Model::new(), Model::new()];
    for round in bench.rounds(40) {
        let mut changes = Vec::new();
        for _ in 0..chance.below(16) {
            let at = usize::from(chance.one_in(3));
            changes.push(change(bench, &mut chance, &views[at], &mut models[at]));
        }
        bench.step(changes).await;
        if chance.one_in(10)
            && let Some(again) = bench.subject.reopen(&bench.store).await
        {
            bench.store = again;
            bench.epoch += 1;
            bench.ok("claim", bench.store.claim(Epoch(bench.epoch)).await);
        }
        for (view, model) in views.iter().zip(&models) {
            for _ in 0..3 {
                compare(bench, &mut chance, view, model).await;
            }
            if round % 8 == 0 {
                compare_places(bench, view, model).await;
            }
        }
    }
}

fn change(bench: &Bench<'_>, chance: &mut Chance, view: &Arc<View>, model: &mut Model) -> ViewChange {
    let id = key(chance.below(25) as i64);
    match chance.below(50) {
        0 => {
            model.clear();
            clear(view)
        }
        1..=8 => {
            model.remove(&id.to_text());
            delete(view, id)
        }
        9..=14 if !model.is_empty() => {
            let nth = chance.below(model.len() as u64) as usize;
            let old = model.values().nth(nth).map(|(old, _)| old.clone());
            let base =
                old.as_ref().and_then(|old| model.remove(&old.to_text())).map(|(_, document)| document);
            let document = random_point(bench, chance, base.as_ref());
            model.insert(id.to_text(), (id.clone(), merged(base.as_ref(), &document)));
            ViewChange::Put { view: view.clone(), key: id, moved_from: old, document }
        }
        _ => {
            let base = model.get(&id.to_text()).map(|(_, document)| document.clone());
            let document = random_point(bench, chance, base.as_ref());
            model.insert(id.to_text(), (id.clone(), merged(base.as_ref(), &document)));
            put(view, id, document)
        }
    }
}

/// Few enough for points of the same tags and the same microsecond.
fn random_time(chance: &mut Chance) -> Value {
    match chance.below(8) {
        0 => Value::TimestampTz(-1_000_000 + chance.below(3) as i64),
        1 => Value::TimestampTz(1_700_000_000_000_000 + chance.below(2_000_000_000) as i64),
        _ => Value::TimestampTz(1_600_000_000_000_000 + chance.below(4) as i64),
    }
}

fn random_tag(chance: &mut Chance) -> Value {
    match chance.below(9) {
        0 => Value::Null,
        n => Value::text(["", "a", "a b", "a,b=c", "a\\", "%\n", "\"a'", "\u{7f}é\0"][n as usize - 1]),
    }
}

fn random_number(chance: &mut Chance) -> Value {
    Value::Decimal((*chance.pick(&["1", "1.0", "-2.50"])).into())
}

fn random_point(bench: &Bench<'_>, chance: &mut Chance, base: Option<&Record>) -> Record {
    let known = |name| base.and_then(|base| base.get(name)).is_some_and(|value: &Value| !value.is_null());
    let partial = bench.takes_partial() && known("g") && known("n") && chance.one_in(3);
    let amount = match chance.below(5) {
        0 => Value::Null,
        1 => Value::Decimal("123456789012345678901234567890.000000000000000000000000000001".into()),
        2 => Value::Decimal("NaN".into()),
        n => Value::Decimal(format!("{n}.10").into()),
    };
    let text = if chance.one_in(4) { Value::Null } else { Value::text("\"x\", \\y=1 \n") };
    let fields = [
        ("at", random_time(chance)),
        ("g", random_tag(chance)),
        ("n", random_number(chance)),
        ("v", amount),
        ("t", text),
        ("x", Value::Int(chance.below(1000) as i64)),
    ];
    record(&fields.map(|(name, value)| {
        let kept = partial && chance.one_in(2);
        if kept { (name, Value::Unchanged) } else { (name, value) }
    }))
}

/// A stretch of a series, page by page, and what the model has there.
async fn compare(bench: &Bench<'_>, chance: &mut Chance, view: &Arc<View>, model: &Model) {
    let by = view.indexes[0].by.iter().map(|tag| match &**tag {
        "g" => random_tag(chance),
        _ => random_number(chance),
    });
    let by = by.collect();
    let bound = |chance: &mut Chance| {
        chance.one_in(2).then(|| Bound { value: random_time(chance), inclusive: chance.one_in(2) })
    };
    let (from, to) = (bound(chance), bound(chance));
    let (reverse, limit) = (chance.one_in(2), 1 + chance.below(6) as usize);
    let read = RangeRead { view: view.clone(), index: 0, by, from, to, after: None, reverse, limit };
    same_pages(bench, &read, model).await;
}

/// Points are where documents say, and nowhere else.
async fn compare_places(bench: &Bench<'_>, view: &Arc<View>, model: &Model) {
    let entries = |(key, document): &(Key, Record)| view.entries(key, document);
    if bench.subject.believes_entries() {
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) = bench.ok("entries", bench.store.entries(view, cursor, 3).await);
            listed.extend(page);
            match next {
                None => break,
                next => cursor = next,
            }
        }
        let all: BTreeSet<Listed> = model.values().flat_map(entries).map(Listed::Entry).collect();
        assert_eq!(listed.len(), all.len(), "{bench}: entries, of which some came twice or not at all");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all, "{bench}: entries");
    }
    let asked: Vec<Standing> = model
        .values()
        .map(|(key, document)| Standing {
            key: key.to_text().into(),
            should: view.entries(key, document),
            should_not: Vec::new(),
        })
        .collect();
    let (at, told) = bench.ok("astray", bench.store.astray(view, &asked).await);
    bench.expect_moment(&at);
    assert_eq!(told, vec![Astray::default(); asked.len()], "{bench}: where points lie");
}
