//! Random steps against a model that is a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_model::{Epoch, Key, Promise, Record, Value, View, ViewChange};

use super::reading::{expect_rows, scan_all};
use super::setup::{Bench, clear, delete, put, record};
use crate::Chance;

/// Key text to key and document.
type Model = BTreeMap<String, (Key, Record)>;

pub(super) async fn random_steps_match_a_model(bench: &mut Bench<'_>) {
    let mut chance = Chance::from_env(2);
    random_steps(bench, &mut chance, 120).await;
}

/// So many random steps of an unclaimed store; the store is compared with the model on the way and at the end.
pub async fn random_steps(bench: &mut Bench<'_>, chance: &mut Chance, steps: usize) {
    let views = [bench.view("a"), bench.view("a:b"), bench.view("c")];
    bench.claim(&views.iter().collect::<Vec<_>>()).await;
    let mut models: [Model; 3] = Default::default();
    for step in bench.rounds(steps) {
        let mut after = models.clone();
        let mut changes = Vec::new();
        for _ in 0..chance.below(12) {
            let at = chance.below(3) as usize;
            changes.push(change(bench, chance, &views[at], &mut after[at]));
        }
        let may_drop = bench.facts.promise == Promise::Transaction;
        if may_drop && chance.one_in(6) {
            let mut apply = bench.begin().await;
            bench.ok("write", apply.write(changes).await);
            continue;
        }
        bench.step(changes).await;
        models = after;
        if chance.one_in(10)
            && let Some(again) = bench.subject.reopen(&bench.store).await
        {
            bench.store = again;
            bench.epoch += 1;
            bench.ok("claim", bench.store.claim(Epoch(bench.epoch)).await);
        }
        if chance.one_in(5) || step + 1 == steps {
            compare(bench, &views, &models).await;
        }
    }
    compare(bench, &views, &models).await;
}

async fn compare(bench: &Bench<'_>, views: &[Arc<View>; 3], models: &[Model; 3]) {
    for (view, model) in views.iter().zip(models) {
        let found = scan_all(bench, view, 7).await;
        let (keys, expected): (Vec<_>, Vec<_>) = (found.keys().collect(), model.keys().collect());
        assert_eq!(keys, expected, "{bench}: keys of view {:?}", view.name);
        for (text, (key, document)) in model {
            bench.same(text, found.get(text), Some(document));
            bench.expect(view, key, Some(document)).await;
        }
        expect_rows(bench, view, model.len() as u64).await;
    }
}

fn change(bench: &Bench<'_>, chance: &mut Chance, view: &Arc<View>, model: &mut Model) -> ViewChange {
    let key = random_key(chance);
    match chance.below(40) {
        0 => {
            model.clear();
            clear(view)
        }
        1..=9 => {
            model.remove(&key.to_text());
            delete(view, key)
        }
        10..=15 if !model.is_empty() => {
            let nth = chance.below(model.len() as u64) as usize;
            let Some((text, (old, _))) = model.iter().nth(nth) else { return delete(view, key) };
            let (text, old) = (text.clone(), old.clone());
            if text == key.to_text() {
                model.remove(&text);
                return delete(view, key);
            }
            let base = model.remove(&text).map(|(_, document)| document);
            let document = random_document(bench, chance, base.is_some());
            model.insert(key.to_text(), (key.clone(), merged(base.as_ref(), &document)));
            ViewChange::Put { view: view.clone(), key, moved_from: Some(old), document }
        }
        _ => {
            let base = model.get(&key.to_text()).map(|(_, document)| document.clone());
            let document = random_document(bench, chance, base.is_some());
            model.insert(key.to_text(), (key.clone(), merged(base.as_ref(), &document)));
            put(view, key, document)
        }
    }
}

fn random_key(chance: &mut Chance) -> Key {
    let text = *chance.pick(&["", "a", "a:b", ":", "b", "%", "é", "*"]);
    Key(vec![Value::Int(chance.below(3) as i64), Value::text(text)])
}

fn random_document(bench: &Bench<'_>, chance: &mut Chance, has_base: bool) -> Record {
    let names = *chance.pick(&[&["id", "a", "b"][..], &["id", "b", "c", "d"], &["a"], &["d", "c", "id"]]);
    let partial = bench.takes_partial() && has_base && chance.one_in(3);
    let fields: Vec<(&str, Value)> = names
        .iter()
        .map(|name| {
            let value = match chance.below(6) {
                0 | 1 => Value::Null,
                2 if partial => Value::Unchanged,
                3 => Value::text(""),
                4 => Value::text(format!("v{}\n\"", chance.below(100))),
                _ => Value::Int(chance.number() as i64),
            };
            (*name, value)
        })
        .collect();
    record(&fields)
}

/// What the store has after a put: fields that are `Unchanged` keep what `base` has, all others go.
fn merged(base: Option<&Record>, news: &Record) -> Record {
    let kept = |name: &str| base.and_then(|base| base.get(name)).cloned().unwrap_or(Value::Null);
    let fields: Vec<(&str, Value)> = news
        .fields()
        .map(|(name, value)| (name, if value.is_unchanged() { kept(name) } else { value.clone() }))
        .collect();
    record(&fields)
}
