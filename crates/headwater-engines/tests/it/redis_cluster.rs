//! A Redis Cluster without a hash tag, on real nodes: the contract, and what becomes of the lanes when they part.

mod failover;
mod moving;
mod parted;

use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::file::{Setting, StoreSection};
use headwater_model::{
    Epoch, ErrorKind, Key, Layout, Offset, Promise, Secret, Store, StoredBody, Value, View, ViewChange,
};
use headwater_testkit::contract::store::{document, held, key, view};
use headwater_testkit::{RedisCluster, contract};

pub(crate) const LANES: usize = 8;

pub(crate) fn open(cluster: &RedisCluster, settings: &[(&str, Setting)]) -> Arc<dyn Store> {
    open_as(cluster, settings, None)
}

fn open_as(cluster: &RedisCluster, settings: &[(&str, Setting)], source: Option<&str>) -> Arc<dyn Store> {
    let source = source.map(Into::into);
    let settings = settings.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    let section = StoreSection { name: "near".into(), url: Secret::new(cluster.url()), settings, source };
    headwater_engines::store(&section).unwrap()
}

pub(crate) fn text(text: &str) -> Setting {
    Setting::Text(Secret::new(text))
}

/// The store that most tests use.
pub(crate) fn shop(cluster: &RedisCluster) -> Arc<dyn Store> {
    open(cluster, &[("prefix", text("shop:")), ("lanes", Setting::Int(LANES as i64))])
}

pub(crate) fn put(view: &Arc<View>, id: i64, n: i64) -> ViewChange {
    ViewChange::Put { view: Arc::clone(view), key: key(id), moved_from: None, document: document(id, n) }
}

pub(crate) async fn try_step(
    store: &dyn Store,
    epoch: u64,
    after: u64,
    end: u64,
    changes: Vec<ViewChange>,
) -> headwater_model::Result<()> {
    let mut step = store.begin(Epoch(epoch), Offset(after)).await?;
    assert_eq!(step.write(changes).await?, []);
    step.commit(&held(epoch, end)).await
}

pub(crate) async fn step(store: &dyn Store, epoch: u64, after: u64, changes: Vec<ViewChange>) {
    try_step(store, epoch, after, after + 1, changes).await.unwrap();
}

/// The field `n` of a document.
pub(crate) async fn n_of(store: &dyn Store, view: &Arc<View>, id: i64) -> Option<i64> {
    number(&headwater_testkit::read::document(store, view, &key(id)).await.unwrap()?)
}

pub(crate) fn number(body: &StoredBody) -> Option<i64> {
    match body {
        StoredBody::Json(json) => serde_json::from_str::<serde_json::Value>(json).ok()?.get("n")?.as_i64(),
        StoredBody::Fields(fields) => {
            let (_, value) = fields.iter().find(|(name, _)| name == "n")?;
            String::from_utf8_lossy(value).parse().ok()
        }
    }
}

/// What a lane's keys start with, and its slot.
pub(crate) fn lane(at: usize) -> (String, usize) {
    headwater_testkit::lane("shop:", at, LANES)
}

struct Subject(RedisCluster);

#[async_trait]
impl contract::store::Subject for Subject {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.0.flush();
        open(&self.0, &[("prefix", text("shop*:")), ("lanes", Setting::Int(8))])
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(open(&self.0, &[("prefix", text("shop*:")), ("lanes", Setting::Int(8))]))
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        Some(open_as(&self.0, &[("prefix", text("shop*:")), ("lanes", Setting::Int(8))], Some(source)))
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        self.0.flush();
        true
    }

    fn layouts(&self) -> Vec<Layout> {
        vec![Layout::Hash, Layout::Json]
    }

    fn believes_entries(&self) -> bool {
        true
    }

    fn keeps_any_order(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    contract::store::run(&Subject(RedisCluster::start(3, 0))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_used_as_the_manual_says() {
    let cluster = RedisCluster::start(3, 0);
    documents_lie_in_the_lanes_that_the_manual_computes(&cluster).await;
    cluster.flush();
    settings_that_cannot_be_are_refused(&cluster).await;
    cluster.flush();
    an_old_process_that_wakes_up_writes_in_no_lane(&cluster).await;
    cluster.flush();
    a_lane_that_lost_everything_empties_the_store(&cluster).await;
    cluster.flush();
    the_documented_user_is_enough(&cluster).await;
}

async fn documents_lie_in_the_lanes_that_the_manual_computes(cluster: &RedisCluster) {
    let (store, view) = (shop(cluster), view("book", Layout::Hash));
    let facts = store.inspect().await.unwrap();
    assert_eq!(facts.promise, Promise::Key);
    assert!(facts.server.contains("3 nodes"), "{}", facts.server);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, (0..200).map(|id| put(&view, id, id)).collect()).await;
    for id in 0..200 {
        let (prefix, _) = lane(headwater_testkit::lane_of(&format!("book:{id}"), LANES));
        assert_eq!(cluster.cli(&["HGET", &format!("{prefix}book:{id}"), "n"]), id.to_string());
    }
    for at in 0..LANES {
        let meta = format!("{}headwater", lane(at).0);
        assert_eq!(cluster.cli(&["HMGET", &meta, "epoch", "offset", "lanes"]), "1\n1\n8");
    }
    for master in cluster.masters() {
        assert!(master.cli(&["DBSIZE"]).parse::<u32>().unwrap() > 20, "every node has its share");
    }
}

async fn settings_that_cannot_be_are_refused(cluster: &RedisCluster) {
    shop(cluster).claim(Epoch(1)).await.unwrap();
    let other = open(cluster, &[("prefix", text("shop:")), ("lanes", Setting::Int(16))]);
    for error in [
        other.claim(Epoch(2)).await.unwrap_err(),
        other.prepare(&view("book", Layout::Hash)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
        assert!(error.remedy().unwrap().contains("lanes = 8"), "{error:?}");
    }
    for prefix in ["{}:", "a{b:"] {
        let error = open(cluster, &[("prefix", text(prefix))]).inspect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
        assert!(error.remedy().unwrap().contains("hash tag"));
    }
    // With a hash tag all is as on one server.
    let one = open(cluster, &[("prefix", text("{shop}:"))]);
    assert_eq!(one.inspect().await.unwrap().promise, Promise::Transaction);
    assert_eq!(one.claim(Epoch(1)).await.unwrap(), None);
}

/// A process is stopped with most of a step in the servers already; its successor takes over.
async fn an_old_process_that_wakes_up_writes_in_no_lane(cluster: &RedisCluster) {
    let (old, new, view) = (shop(cluster), shop(cluster), view("book", Layout::Hash));
    old.claim(Epoch(1)).await.unwrap();
    step(&*old, 1, 0, (0..40).map(|id| put(&view, id, 1)).collect()).await;
    let mut asleep = old.begin(Epoch(1), Offset(1)).await.unwrap();
    asleep.write((0..20_000).map(|id| put(&view, id, 9)).collect()).await.unwrap();
    assert_eq!(new.claim(Epoch(2)).await.unwrap(), Some(held(1, 1)));
    assert_eq!(asleep.commit(&held(1, 2)).await.unwrap_err().kind(), ErrorKind::Fenced);
    for id in 0..40 {
        assert_eq!(n_of(&*new, &view, id).await, Some(1));
    }
    assert_eq!(new.rows(&view).await.unwrap(), 40);
    assert_eq!(new.held().await.unwrap(), Some(held(2, 1)));
    step(&*new, 2, 1, (0..40).map(|id| put(&view, id, 2)).collect()).await;
    for epoch in [1, 2] {
        let kind = try_step(&*old, epoch, 1, 2, vec![put(&view, 1, 9)]).await.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Fenced | ErrorKind::OutOfStep), "{kind:?}");
    }
    assert_eq!(old.claim(Epoch(1)).await.unwrap_err().kind(), ErrorKind::Fenced);
}

async fn a_lane_that_lost_everything_empties_the_store(cluster: &RedisCluster) {
    let (store, view) = (shop(cluster), view("book", Layout::Json));
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, (0..40).map(|id| put(&view, id, 1)).collect()).await;
    cluster.masters()[1].cli(&["FLUSHALL"]);
    assert_eq!(store.held().await.unwrap(), None);
    let kind = try_step(&*store, 1, 1, 2, vec![put(&view, 1, 2)]).await.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::OutOfStep);
    // Everything is filled anew: also what is left of the store begins before everything.
    assert_eq!(store.claim(Epoch(2)).await.unwrap(), None);
    assert_eq!(store.held().await.unwrap(), Some(held(2, 0)));
    step(&*store, 2, 0, vec![ViewChange::Clear { view: Arc::clone(&view) }, put(&view, 7, 7)]).await;
    assert_eq!(store.rows(&view).await.unwrap(), 1);
}

/// The user that docs/engines/redis.md tells operators to make is enough in a cluster too.
async fn the_documented_user_is_enough(cluster: &RedisCluster) {
    let manual = include_str!("../../../../docs/engines/redis.md");
    let mut lines = manual.lines().filter(|line| line.starts_with("ACL SETUSER headwater"));
    let (user, more) = (lines.next().expect("the ACL line"), lines.next().expect("the one for clusters"));
    for line in [user, more] {
        let line = line.replace(">PASSWORD", ">pw");
        let words: Vec<&str> = line.split(' ').collect();
        cluster.masters().iter().for_each(|master| drop(master.cli(&words)));
    }
    let settings = [("prefix", text("shop:")), ("user", text("headwater")), ("password", text("pw"))];
    let store = open(cluster, &settings);
    let view = view("book", Layout::Hash);
    store.inspect().await.unwrap();
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&view).await.unwrap();
    step(&*store, 1, 0, (0..40).map(|id| put(&view, id, 1)).collect()).await;
    // To another lane, with a field that stays.
    let moved = |id: i64| ViewChange::Put {
        view: Arc::clone(&view),
        key: Key(vec![Value::Int(id + 100)]),
        moved_from: Some(key(id)),
        document: contract::store::record(&[("id", Value::Int(id + 100)), ("n", Value::Unchanged)]),
    };
    step(&*store, 1, 1, (0..40).map(moved).collect()).await;
    for id in 100..140 {
        assert_eq!(n_of(&*store, &view, id).await, Some(1));
    }
    assert_eq!(store.rows(&view).await.unwrap(), 40);
    step(&*store, 1, 2, vec![ViewChange::Clear { view: Arc::clone(&view) }]).await;
    assert_eq!(store.keys(&view, None, 10).await.unwrap(), (Vec::new(), None));
}
