//! Walks against a join that tries every edge, and answers that show one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_model::{
    Answer, AnswerMoment, Edge, ErrorKind, Found, Held, Hop, Key, Reached, Read, Store, Stored, StoredBody,
    Value, View, ViewChange, ViewKind, WalkRead,
};

use super::ranges::whole;
use super::setup::{Bench, delete, document, key, put, record};
use crate::Chance;

/// The edges of one view by id: source and target.
type Edges = BTreeMap<i64, (Value, Value)>;

fn edges(bench: &Bench<'_>, name: &str) -> Arc<View> {
    let mut view = (*bench.view(name)).clone();
    view.kind = ViewKind::Edge(Edge {
        source: "from".into(),
        label: name.to_uppercase().into(),
        target: "to".into(),
    });
    view.indexes = view.kind.indexes();
    Arc::new(view)
}

fn put_edge(view: &Arc<View>, id: i64, from: Value, to: Value) -> ViewChange {
    put(view, key(id), record(&[("id", Value::Int(id)), ("from", from), ("to", to)]))
}

fn random_vertex(chance: &mut Chance) -> Value {
    match chance.below(4) {
        0 => Value::text(*chance.pick(&["", "a", "a\0", "b"])),
        1 => Value::Decimal((*chance.pick(&["1.50", "-2", "3.0"])).into()),
        _ => Value::Int(chance.below(6) as i64 - 2),
    }
}

pub(super) async fn random_walks_match_a_join(bench: &mut Bench<'_>) {
    let mut chance = Chance::from_env(4);
    let views = [edges(bench, "bought"), edges(bench, "liked")];
    bench.claim(&[&views[0], &views[1]]).await;
    let mut models: [Edges; 2] = Default::default();
    for _ in bench.rounds(25) {
        let mut changes = Vec::new();
        for _ in 0..1 + chance.below(12) {
            let (at, id) = (chance.below(2) as usize, chance.below(40) as i64);
            if chance.one_in(4) {
                models[at].remove(&id);
                changes.push(delete(&views[at], key(id)));
            } else {
                let (from, to) = (random_vertex(&mut chance), random_vertex(&mut chance));
                models[at].insert(id, (from.clone(), to.clone()));
                changes.push(put_edge(&views[at], id, from, to));
            }
        }
        bench.step(changes).await;
        for _ in 0..8 {
            compare(bench, &mut chance, &views, &models).await;
        }
    }
}

async fn compare(bench: &Bench<'_>, chance: &mut Chance, views: &[Arc<View>; 2], models: &[Edges; 2]) {
    let mut plan = Vec::new();
    for _ in 0..1 + chance.below(3) {
        let on = *chance.pick::<&[usize]>(&[&[0], &[1], &[0, 1]]);
        plan.push((on, chance.one_in(2)));
    }
    let start = random_vertex(chance);
    let (all, read_edges) = join(&start, &plan, models);
    let hops = plan.iter().map(|(on, against)| Hop {
        views: on.iter().map(|at| Arc::clone(&views[*at])).collect(),
        against: *against,
    });
    let limit = 1 + chance.below(8) as usize;
    let walk = WalkRead { start, hops: hops.collect(), limit, edges_max: read_edges };
    let answer = bench.ok("walk", bench.store.answer(&Read::Walk(walk.clone())).await);
    bench.expect_moment(&answer.at);
    let found = reached(&answer);
    assert_eq!(found.len(), all.len().min(limit), "{bench}: {walk:?}: {found:?} of {all:?}");
    for (found, (vertex, ways)) in found.iter().zip(&all) {
        assert!(
            found.vertex.same(vertex) && found.ways == *ways,
            "{bench}: {walk:?}: {found:?}, not {all:?}"
        );
    }
    if let Some(fewer) = read_edges.checked_sub(1) {
        let walk = WalkRead { edges_max: fewer, ..walk };
        match bench.store.answer(&Read::Walk(walk)).await {
            Ok(answer) => panic!("{bench}: more edges were read than allowed: {answer:?}"),
            Err(error) => bench.expect_kind(&error, ErrorKind::Unsupported),
        }
    }
}

/// Every vertex with its ways, in the order of an answer, and how many edges a walk reads for that.
fn join(start: &Value, plan: &[(&[usize], bool)], models: &[Edges; 2]) -> (Vec<(Value, u64)>, usize) {
    let add = |to: &mut Vec<(Value, u64)>, vertex: &Value, ways: u64| match to
        .iter_mut()
        .find(|(known, _)| known.same(vertex))
    {
        Some((_, known)) => *known += ways,
        None => to.push((vertex.clone(), ways)),
    };
    let (mut at, mut read) = (vec![(start.clone(), 1)], 0);
    for (on, against) in plan {
        let mut to = Vec::new();
        for (from, target) in on.iter().flat_map(|view| models[*view].values()) {
            let (near, far) = if *against { (target, from) } else { (from, target) };
            for (_, ways) in at.iter().filter(|(vertex, _)| vertex.same(near)) {
                read += 1;
                add(&mut to, far, *ways);
            }
        }
        at = to;
    }
    at.retain(|(vertex, _)| !vertex.same(start));
    at.sort_by(|(a, a_ways), (b, b_ways)| b_ways.cmp(a_ways).then_with(|| a.compare(b)));
    (at, read)
}

fn reached(answer: &Answer) -> &[Reached] {
    match &answer.found {
        Found::Reached(reached) => reached,
        found => panic!("a walk was answered with {found:?}"),
    }
}

/// In every step two documents, their order, and a chain of edges all carry the step's offset. So must every answer.
pub(super) async fn an_answer_shows_one_moment(bench: &mut Bench<'_>) {
    let mut ranked = (*bench.view("pair")).clone();
    ranked.indexes = vec![headwater_model::Index {
        by: vec!["g".into()],
        order: vec![headwater_model::Order { column: "n".into(), descending: true }],
    }];
    let (ranked, chain) = (Arc::new(ranked), edges(bench, "next"));
    bench.claim(&[&ranked, &chain]).await;
    let step = |n: i64| {
        let row = |id: i64, at: i64| {
            let fields = [("g", Value::Int(n % 3)), ("n", Value::Int(at)), ("id", Value::Int(id))];
            put(&ranked, key(id), record(&fields))
        };
        vec![
            row(n % 2, 2 * n),
            row(1 - n % 2, 2 * n + 1),
            put_edge(&chain, 1, Value::Int(0), Value::Int(n)),
            put_edge(&chain, 2, Value::Int(n), Value::Int(1_000_000 + n)),
        ]
    };
    bench.step(step(1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reads = [
        Read::Get { view: ranked.clone(), keys: vec![key(0), key(1)] },
        Read::Range(whole(&ranked, 0, vec![])),
        Read::Walk(WalkRead {
            start: Value::Int(0),
            hops: vec![Hop { views: vec![chain.clone()], against: false }; 2],
            limit: 10,
            edges_max: 10,
        }),
    ];
    let readers: Vec<_> = reads
        .into_iter()
        .map(|read| tokio::spawn(read_until(Arc::clone(&bench.store), read, Arc::clone(&stop))))
        .collect();
    for n in 2..=500 {
        bench.step(step(n)).await;
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        match reader.await {
            Ok(Ok(reads)) => assert!(reads > 0, "{bench}: a reader got to read"),
            Ok(Err(torn)) => panic!("{bench}: {torn}"),
            Err(e) => panic!("{bench}: a reader failed: {e}"),
        }
    }
}

/// Reads until told to stop; how often, or what was wrong.
async fn read_until(store: Arc<dyn Store>, mut read: Read, stop: Arc<AtomicBool>) -> Result<u64, String> {
    let mut reads = 0;
    while !stop.load(Ordering::SeqCst) {
        if let Read::Range(range) = &mut read {
            range.by = vec![Value::Int((reads % 3) as i64)];
        }
        let answer = store.answer(&read).await.map_err(|e| format!("answer {read:?}: {e:?}"))?;
        let AnswerMoment::Applied(Held { offset, .. }) = answer.at else {
            return Err(format!("a store with whole transactions answered at {:?}", answer.at));
        };
        let n = offset.0 as i64;
        let numbers: Vec<Option<i64>> = match &answer.found {
            Found::Documents(found) => found.iter().map(|body| number(body.as_ref()?)).collect(),
            Found::Page { documents, .. } => {
                documents.iter().map(|Stored { body, .. }| number(body)).collect()
            }
            Found::Reached(reached) => reached
                .iter()
                .map(|reached| match reached.vertex {
                    Value::Int(n) => Some(n - 1_000_000),
                    _ => None,
                })
                .collect(),
        };
        let expected: Vec<i64> = match &read {
            Read::Get { .. } if n % 2 == 0 => vec![2 * n, 2 * n + 1],
            Read::Get { .. } => vec![2 * n + 1, 2 * n],
            Read::Range(range) if range.by[0].same(&Value::Int(n % 3)) => vec![2 * n + 1, 2 * n],
            Read::Range(_) => vec![],
            Read::Walk(_) => vec![n],
        };
        if numbers != expected.iter().copied().map(Some).collect::<Vec<_>>() {
            return Err(format!("at offset {n}, {read:?} found {numbers:?}, not {expected:?}"));
        }
        reads += 1;
        tokio::task::yield_now().await;
    }
    Ok(reads)
}

pub(super) fn number(body: &StoredBody) -> Option<i64> {
    match body {
        StoredBody::Json(text) => serde_json::from_str::<serde_json::Value>(text).ok()?.get("n")?.as_i64(),
        StoredBody::Fields(fields) => {
            let (_, value) = fields.iter().find(|(name, _)| name == "n")?;
            String::from_utf8_lossy(value).parse().ok()
        }
    }
}

/// As many documents as keys, in their order, whether there or not, and however often one is asked for.
pub(super) async fn a_get_of_many_keys_keeps_their_order(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step((0..500).map(|id| put(&view, key(id), document(id, id))).collect()).await;
    let ids: Vec<i64> = (0..700).map(|n| (n * 37) % 700).chain([5, 5, 5]).collect();
    let keys: Vec<Key> = ids.iter().map(|id| key(*id)).collect();
    let found = bench.ok("get", crate::read::documents(&*bench.store, &view, keys).await);
    for (id, found) in ids.iter().zip(&found) {
        bench.same(&id.to_string(), found.as_ref(), (*id < 500).then(|| document(*id, *id)).as_ref());
    }
    assert_eq!(bench.ok("get", crate::read::documents(&*bench.store, &view, vec![]).await), vec![]);
}
