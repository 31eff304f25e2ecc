//! Redis as a store, on a real server: the contract, and what the server itself can do to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::file::{Setting, StoreSection};
use headwater_model::{
    Epoch, ErrorKind, Found, Held, Index, Layout, Offset, Order, Promise, RangeRead, Read, Record, Secret,
    Severity, Store, StoredBody, Value, View, ViewChange,
};
use headwater_testkit::contract::store::{document, held, key, record, view};
use headwater_testkit::{Certificate, Folder, Redis, contract, eventually};

fn open_with(url: &str, settings: &[(&str, &str)]) -> Arc<dyn Store> {
    open_as(url, settings, None)
}

fn open_as(url: &str, settings: &[(&str, &str)], source: Option<&str>) -> Arc<dyn Store> {
    let source = source.map(Into::into);
    let settings =
        settings.iter().map(|(name, value)| ((*name).into(), Setting::Text(Secret::new(*value)))).collect();
    let section = StoreSection { name: "near".into(), url: Secret::new(url), settings, source };
    headwater_engines::store(&section).unwrap()
}

fn open(redis: &Redis) -> Arc<dyn Store> {
    open_with(&redis.url(), &[])
}

fn put(view: &Arc<View>, id: i64, document: Record) -> ViewChange {
    ViewChange::Put { view: Arc::clone(view), key: key(id), moved_from: None, document }
}

fn delete(view: &Arc<View>, id: i64) -> ViewChange {
    ViewChange::Delete { view: Arc::clone(view), key: key(id) }
}

async fn try_step(
    store: &dyn Store,
    epoch: u64,
    after: u64,
    changes: Vec<ViewChange>,
) -> headwater_model::Result<()> {
    let mut step = store.begin(Epoch(epoch), Offset(after)).await?;
    assert_eq!(step.write(changes).await?, []);
    step.commit(&held(epoch, after + 1)).await
}

async fn step(store: &dyn Store, epoch: u64, after: u64, changes: Vec<ViewChange>) {
    try_step(store, epoch, after, changes).await.unwrap();
}

struct Subject {
    redis: Redis,
    prefix: &'static str,
}

#[async_trait]
impl contract::store::Subject for Subject {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.redis.cli(&["FLUSHALL"]);
        open_with(&self.redis.url(), &[("prefix", self.prefix)])
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(open_with(&self.redis.url(), &[("prefix", self.prefix)]))
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        Some(open_as(&self.redis.url(), &[("prefix", self.prefix)], Some(source)))
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        self.redis.cli(&["FLUSHALL"]);
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
    contract::store::run(&Subject { redis: Redis::start(), prefix: "" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract_in_one_slot_of_a_cluster() {
    contract::store::run(&Subject { redis: Redis::builder().cluster().start(), prefix: "{shop*}:" }).await;
}

#[tokio::test]
async fn keys_and_fields_lie_where_the_manual_says() {
    let redis = Redis::start();
    let store = open_with(&redis.url(), &[("prefix", "shop:")]);
    let (hash, json) = (view("book", Layout::Hash), view("page", Layout::Json));
    store.claim(Epoch(3)).await.unwrap();
    let book = record(&[("id", Value::Int(7)), ("title", Value::text("Dune")), ("note", Value::Null)]);
    step(&*store, 3, 0, vec![put(&hash, 7, book.clone()), put(&json, 7, book)]).await;
    assert_eq!(redis.cli(&["HGETALL", "shop:book:7"]), "id\n7\ntitle\nDune");
    assert_eq!(redis.cli(&["GET", "shop:page:7"]), r#"{"id":7,"title":"Dune","note":null}"#);
    assert_eq!(redis.cli(&["HMGET", "shop:headwater", "format", "epoch", "offset"]), "1\n3\n1");
    assert_eq!(redis.cli(&["HGET", "shop:headwater", "fields:book"]), r#"["id","title"]"#);
    assert_eq!(redis.cli(&["DBSIZE"]), "3");
}

fn indexed(name: &str, layout: Layout) -> Arc<headwater_model::View> {
    let order = |column: &str, descending| Order { column: column.into(), descending };
    let mut view = (*view(name, layout)).clone();
    view.indexes = vec![
        Index { by: vec!["n".into()], order: vec![order("id", true)] },
        Index { by: vec![], order: vec![order("n", false)] },
    ];
    Arc::new(view)
}

#[tokio::test]
async fn indexes_lie_where_the_manual_says_and_go_with_the_view() {
    let redis = Redis::start();
    let store = open_with(&redis.url(), &[("prefix", "shop:")]);
    let (hash, json) = (indexed("book", Layout::Hash), indexed("page", Layout::Json));
    store.claim(Epoch(1)).await.unwrap();
    let puts = |view: &Arc<_>| (0..700).map(|id| put(view, id, document(id, id % 7))).collect::<Vec<_>>();
    step(&*store, 1, 0, [puts(&hash), puts(&json)].concat()).await;
    // The whole view, one sorted set; per value of n, one more.
    assert_eq!(redis.cli(&["ZCARD", "shop:%index:book:1:"]), "700");
    assert_eq!(redis.cli(&["HLEN", "shop:%places:page"]), "700");
    assert_eq!(redis.cli(&["DBSIZE"]), (2 * (700 + 8 + 1) + 1).to_string());
    // What is no document is not counted as one.
    for view in [&hash, &json] {
        assert_eq!(store.rows(view).await.unwrap(), 700);
    }
    step(&*store, 1, 1, vec![put(&json, 1000, document(1000, 99)), put(&json, 0, document(0, 98))]).await;
    assert_eq!(store.rows(&json).await.unwrap(), 701);
    // Emptied by an owner whose file has no indexes any more.
    let (book, page) = (view("book", Layout::Hash), view("page", Layout::Json));
    step(&*store, 1, 2, vec![ViewChange::Clear { view: book }, ViewChange::Clear { view: page }]).await;
    assert_eq!(redis.cli(&["KEYS", "*"]), "shop:headwater");
}

#[tokio::test]
async fn a_foreign_value_under_an_index_stops_with_a_remedy() {
    let redis = Redis::start();
    let store = open(&redis);
    let view = indexed("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    redis.cli(&["SET", "%index:book:1:", "foreign"]);
    // At first it is only known that something was in the way.
    let error = try_step(&*store, 1, 1, vec![put(&view, 2, document(2, 2))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    let error = try_step(&*store, 1, 1, vec![put(&view, 2, document(2, 2))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    assert!(error.to_string().contains("%index:book:1:") && error.remedy().is_some(), "{error:?}");
    redis.cli(&["DEL", "%index:book:1:"]);
    step(&*store, 1, 1, vec![put(&view, 2, document(2, 2))]).await;
}

#[tokio::test]
async fn of_two_claimants_the_higher_epoch_wins() {
    let redis = Redis::start();
    let view = view("book", Layout::Hash);
    let stores: Vec<_> = (0..8).map(|_| open(&redis)).collect();
    let claims = stores.iter().enumerate().map(|(n, store)| {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.claim(Epoch(1 + n as u64)).await.map(|_| ()) })
    });
    let mut lost = 0;
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.unwrap() {
            Ok(()) => {}
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Fenced, "{e:?}");
                lost += 1;
            }
        }
    }
    assert!(lost < 8);
    for (n, store) in stores.iter().enumerate().take(7) {
        let error =
            try_step(&**store, 1 + n as u64, 0, vec![put(&view, 1, document(1, 9))]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    }
    step(&*stores[7], 8, 0, vec![put(&view, 1, document(1, 1))]).await;
    assert_eq!(redis.cli(&["HGET", "book:1", "n"]), "1");
}

/// The lost reply and the taken-over store at once: an old process is stopped between its write and its EXEC.
#[tokio::test]
async fn an_old_process_that_wakes_up_is_refused_at_its_next_exec() {
    let redis = Redis::start();
    let view = view("book", Layout::Hash);
    let (old, new) = (open(&redis), open(&redis));
    old.claim(Epoch(1)).await.unwrap();
    step(&*old, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    // Large enough to lie in the server already, behind MULTI.
    let mut asleep = old.begin(Epoch(1), Offset(1)).await.unwrap();
    asleep.write((0..20_000).map(|id| put(&view, id, document(id, 9))).collect()).await.unwrap();
    new.claim(Epoch(2)).await.unwrap();
    step(&*new, 2, 1, vec![put(&view, 1, document(1, 2))]).await;
    assert_eq!(asleep.commit(&held(1, 2)).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(redis.cli(&["HGET", "book:1", "n"]), "2");
    assert_eq!(new.rows(&view).await.unwrap(), 1);
}

#[tokio::test]
async fn a_flush_in_the_middle_of_a_step_is_out_of_step() {
    let redis = Redis::start();
    let store = open(&redis);
    let view = view("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    let mut open_step = store.begin(Epoch(1), Offset(1)).await.unwrap();
    open_step.write((0..20_000).map(|id| put(&view, id, document(id, 2))).collect()).await.unwrap();
    redis.cli(&["FLUSHALL"]);
    assert_eq!(open_step.commit(&held(1, 2)).await.unwrap_err().kind(), ErrorKind::OutOfStep);
    assert_eq!(redis.cli(&["DBSIZE"]), "0");
    assert_eq!(store.held().await.unwrap(), None);
    assert_eq!(store.rows(&view).await.unwrap(), 0);
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 3))]).await;
    assert_eq!(redis.cli(&["HGET", "book:1", "n"]), "3");
}

/// Kill -9 without persistence: the store is empty. With it: what was answered is there, and the position with it.
#[tokio::test]
async fn after_kill_9_the_position_is_what_the_data_is() {
    for durable in [false, true] {
        let redis = if durable { Redis::builder().appendonly().start() } else { Redis::start() };
        let store = open(&redis);
        let view = view("book", Layout::Hash);
        store.claim(Epoch(1)).await.unwrap();
        for n in 0..50 {
            step(&*store, 1, n, vec![put(&view, 1, document(1, n as i64 + 1))]).await;
        }
        redis.kill();
        let error = try_step(&*store, 1, 50, vec![put(&view, 1, document(1, 99))]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
        assert_eq!(store.held().await.unwrap_err().kind(), ErrorKind::Transient);
        redis.restart();
        if durable {
            assert_eq!(store.held().await.unwrap(), Some(held(1, 50)));
            step(&*store, 1, 50, vec![put(&view, 1, document(1, 51))]).await;
            assert_eq!(redis.cli(&["HGET", "book:1", "n"]), "51");
        } else {
            assert_eq!(store.held().await.unwrap(), None);
            let error = try_step(&*store, 1, 50, Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfStep);
        }
    }
}

/// A snapshot taken before the newest steps is what a crash leaves: the position rewinds with the data.
#[tokio::test]
async fn an_older_copy_says_itself_how_old_it_is() {
    let redis = Redis::start();
    let store = open(&redis);
    let view = view("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    redis.cli(&["SAVE"]);
    step(&*store, 1, 1, vec![put(&view, 1, document(1, 2)), put(&view, 2, document(2, 2))]).await;
    redis.kill();
    redis.restart();
    let mut error = try_step(&*store, 1, 2, vec![put(&view, 1, document(1, 3))]).await.unwrap_err();
    if error.kind() == ErrorKind::Transient {
        // The old connection, if that was not known to be dead yet.
        error = try_step(&*store, 1, 2, vec![put(&view, 1, document(1, 3))]).await.unwrap_err();
    }
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error:?}");
    assert_eq!(store.held().await.unwrap(), Some(held(1, 1)));
    assert_eq!(store.rows(&view).await.unwrap(), 1);
    step(&*store, 1, 1, vec![put(&view, 1, document(1, 2)), put(&view, 2, document(2, 2))]).await;
    assert_eq!(store.rows(&view).await.unwrap(), 2);
}

/// A step is repeated until it goes through, as the data plane would.
async fn step_in_the_end(
    store: &dyn Store,
    after: u64,
    changes: &[ViewChange],
) -> Vec<headwater_model::Refusal> {
    for _ in 0..5 {
        let mut step = store.begin(Epoch(1), Offset(after)).await.unwrap();
        let refusals = step.write(changes.to_vec()).await.unwrap();
        match step.commit(&held(1, after + 1)).await {
            Ok(()) => return refusals,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Transient, "{e:?}");
                assert_eq!(store.held().await.unwrap(), Some(held(1, after)), "the position was put back");
            }
        }
    }
    panic!("the step never went through");
}

#[tokio::test]
async fn a_foreign_value_under_our_name_is_replaced() {
    let redis = Redis::start();
    let store = open(&redis);
    let view = view("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    redis.cli(&["SET", "book:2", "foreign"]);
    redis.cli(&["LPUSH", "book:3", "foreign"]);
    redis.cli(&["DEL", "book:1"]);
    redis.cli(&["SADD", "book:1", "foreign"]);
    // Reads show that it is no document of ours.
    let found = headwater_testkit::read::document(&*store, &view, &key(2)).await.unwrap();
    assert_eq!(found, Some(StoredBody::Json("".into())));
    let (page, _) = store.scan(&view, None, 10).await.unwrap();
    assert_eq!(page.len(), 3);
    let moved = |id| ViewChange::Put {
        view: view.clone(),
        key: key(id),
        moved_from: Some(key(3)),
        document: document(id, 2),
    };
    let changes = [put(&view, 2, document(2, 2)), moved(4), put(&view, 5, document(5, 2))];
    assert_eq!(step_in_the_end(&*store, 1, &changes).await, []);
    for id in [2, 4, 5] {
        assert_eq!(redis.cli(&["HGET", &format!("book:{id}"), "n"]), "2");
    }
    assert_eq!(redis.cli(&["EXISTS", "book:3"]), "0");
    assert_eq!(store.rows(&view).await.unwrap(), 4);
    // A partial put cannot restore what the foreign value took away: that row is reported.
    let partial = record(&[("id", Value::Int(1)), ("n", Value::Unchanged)]);
    let refusals =
        step_in_the_end(&*store, 2, &[put(&view, 1, partial), put(&view, 2, document(2, 3))]).await;
    assert_eq!(refusals.len(), 1);
    assert_eq!((&*refusals[0].view, &*refusals[0].key), ("book", "1"));
    assert!(refusals[0].reason.contains("foreign set"), "{}", refusals[0].reason);
    assert_eq!(redis.cli(&["HGET", "book:2", "n"]), "3");
    assert_eq!(store.held().await.unwrap(), Some(held(1, 3)));
}

#[tokio::test]
async fn a_full_memory_asks_for_less_and_nothing_is_half_done() {
    let redis = Redis::builder().maxmemory("8mb").start();
    let store = open(&redis);
    let view = view("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    let long = Value::text("x".repeat(100_000));
    let big = |id| put(&view, id, record(&[("id", Value::Int(id)), ("long", long.clone())]));
    let (mut at, mut refused) = (1, None);
    while at < 200 && refused.is_none() {
        refused =
            try_step(&*store, 1, at, vec![put(&view, 1, document(1, at as i64)), big(at as i64)]).await.err();
        at += u64::from(refused.is_none());
    }
    let error = refused.expect("the memory is bounded");
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error:?}");
    assert!(error.remedy().unwrap().contains("maxmemory"));
    assert_eq!(store.held().await.unwrap(), Some(held(1, at)));
    assert_eq!(redis.cli(&["HGET", "book:1", "n"]), (at - 1).to_string());
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    step(&*store, 1, at, vec![big(1)]).await;
}

#[tokio::test]
async fn what_threatens_the_data_is_reported() {
    let redis = Redis::builder().arg("maxmemory-policy", "allkeys-lru").maxmemory("100mb").start();
    let facts = open(&redis).inspect().await.unwrap();
    assert!(facts.server.starts_with("Redis ") || facts.server.starts_with("Valkey "), "{}", facts.server);
    assert_eq!((facts.promise, facts.partial_hash, facts.partial_json), (Promise::Transaction, true, false));
    let risk = facts.risks.iter().find(|risk| risk.what.contains("allkeys-lru")).unwrap();
    assert_eq!(risk.severity, Severity::Error);
    assert!(risk.remedy.contains("noeviction"));
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let facts = open(&redis).inspect().await.unwrap();
    assert!(facts.risks.iter().all(|risk| risk.severity == Severity::Note), "{:?}", facts.risks);
}

#[tokio::test]
async fn a_replica_is_waited_for_not_written_to() {
    let redis = Redis::start();
    let store = open(&redis);
    let view = view("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = try_step(&*store, 1, 1, vec![put(&view, 1, document(1, 2))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    assert!(store.inspect().await.unwrap().risks.iter().any(|risk| risk.what.contains("replica")));
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    step(&*store, 1, 1, vec![put(&view, 1, document(1, 2))]).await;
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_never_repeated() {
    let redis = Redis::builder().password("right password").start();
    let url = |credentials: &str| format!("redis://{credentials}127.0.0.1:{}", redis.port());
    for credentials in ["", ":wrong-secret@", "nobody:wrong-secret@"] {
        let error = open_with(&url(credentials), &[]).held().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(error.remedy().is_some());
        assert!(!format!("{error:?}").contains("wrong-secret"));
    }
    let store = open_with(&url(":right%20password@"), &[]);
    assert_eq!(store.held().await.unwrap(), None);
}

/// The user that docs/engines/redis.md tells operators to make is enough, and enough for nothing else.
#[tokio::test]
async fn the_documented_user_is_enough() {
    let redis = Redis::start();
    let manual = include_str!("../../../../docs/engines/redis.md");
    let line = manual.lines().find(|line| line.starts_with("ACL SETUSER headwater")).expect("the ACL line");
    redis.cli(&line.replace(">PASSWORD", ">pw").split(' ').collect::<Vec<_>>());
    let url = format!("redis://headwater:pw@127.0.0.1:{}", redis.port());
    let store = open_with(&url, &[("prefix", "shop:")]);
    let (hash, json) = (view("book", Layout::Hash), view("page", Layout::Json));
    store.inspect().await.unwrap();
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&hash).await.unwrap();
    step(&*store, 1, 0, vec![put(&hash, 1, document(1, 1)), put(&json, 1, document(1, 1))]).await;
    let partial = ViewChange::Put {
        view: hash.clone(),
        key: key(2),
        moved_from: Some(key(1)),
        document: record(&[("id", Value::Int(2)), ("n", Value::Unchanged)]),
    };
    step(&*store, 1, 1, vec![partial]).await;
    redis.cli(&["SET", "shop:book:3", "foreign"]);
    step_in_the_end(&*store, 2, &[put(&hash, 3, document(3, 1))]).await;
    step(&*store, 1, 3, vec![ViewChange::Clear { view: hash.clone() }]).await;
    assert_eq!(store.rows(&hash).await.unwrap(), 0);
    assert_eq!(store.rows(&json).await.unwrap(), 1);
    assert_eq!(store.scan(&json, None, 10).await.unwrap().0.len(), 1);
    let indexed = indexed("line", Layout::Hash);
    step(&*store, 1, 4, vec![put(&indexed, 1, document(1, 1)), put(&indexed, 2, document(2, 1))]).await;
    step(&*store, 1, 5, vec![put(&indexed, 1, document(1, 2)), delete(&indexed, 2)]).await;
    let part = RangeRead {
        view: indexed.clone(),
        index: 0,
        by: vec![Value::Int(2)],
        from: None,
        to: None,
        after: None,
        reverse: false,
        limit: 10,
    };
    match store.answer(&Read::Range(part)).await.unwrap().found {
        Found::Page { documents, .. } => assert_eq!(documents.len(), 1),
        found => panic!("{found:?}"),
    }
    step(&*store, 1, 6, vec![ViewChange::Clear { view: indexed }]).await;
    let other = open_with(&url, &[("prefix", "other:")]);
    assert_eq!(other.claim(Epoch(1)).await.unwrap_err().kind(), ErrorKind::Denied);
    // A document that the user may not write is not half written either.
    assert_eq!(redis.cli(&["DBSIZE"]), "2");
}

#[tokio::test]
async fn a_redirection_is_followed_to_the_slots_owner() {
    let (one, two) = (Redis::builder().cluster().start(), Redis::builder().cluster().start());
    // Slot of "{shop}": node one says that node two has it.
    let slot = one.cli(&["CLUSTER", "KEYSLOT", "{shop}"]);
    let id = two.cli(&["CLUSTER", "MYID"]);
    one.cli(&["CLUSTER", "DELSLOTS", &slot]);
    let mine: u32 = slot.parse().unwrap();
    for other in (0..16384).filter(|other| *other != mine).collect::<Vec<_>>().chunks(4096) {
        let other: Vec<String> = other.iter().map(u32::to_string).collect();
        let args: Vec<&str> = ["CLUSTER", "DELSLOTS"].into_iter().chain(other.iter().map(|s| &**s)).collect();
        two.cli(&args);
    }
    one.meet(&two);
    let in_order = async || {
        for redis in [&one, &two] {
            let info = redis.try_cli(&["CLUSTER", "INFO"])?;
            if !info.contains("cluster_state:ok") {
                return Err(info);
            }
        }
        let nodes = one.try_cli(&["CLUSTER", "NODES"])?;
        let knows = nodes.lines().any(|line| line.starts_with(&id) && line.ends_with(&format!(" {slot}")));
        if knows { Ok(()) } else { Err(nodes) }
    };
    eventually(Duration::from_secs(20), "a cluster of two", in_order).await;
    let store = open_with(&one.url(), &[("prefix", "{shop}:")]);
    let view = view("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    assert_eq!(two.cli(&["HGET", "{shop}:book:1", "n"]), "1");
    assert_eq!(store.scan(&view, None, 10).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn a_silent_server_is_given_up_within_the_timeout() {
    let redis = Redis::start();
    let settings = [("timeout_seconds".into(), Setting::Int(1))].into();
    let section = StoreSection { name: "near".into(), url: Secret::new(redis.url()), settings, source: None };
    let store = headwater_engines::store(&section).unwrap();
    store.claim(Epoch(1)).await.unwrap();
    let view = view("book", Layout::Hash);
    step(&*store, 1, 0, vec![put(&view, 1, document(1, 1))]).await;
    let mut asleep = store.begin(Epoch(1), Offset(1)).await.unwrap();
    asleep.write(vec![put(&view, 1, document(1, 2))]).await.unwrap();
    redis.pause();
    let error = asleep.commit(&held(1, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    redis.resume();
    // The lost reply's step may or may not have taken effect; what is held says so, and the data agrees.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let now: Held = store.held().await.unwrap().unwrap();
    let expected = if now == held(1, 2) { "2" } else { "1" };
    assert_eq!(redis.cli(&["HGET", "book:1", "n"]), expected);
    step(&*store, 1, now.offset.0, vec![put(&view, 1, document(1, 3))]).await;
}

#[tokio::test]
async fn a_changed_layout_is_refused_before_it_breaks_readers() {
    let redis = Redis::start();
    let store = open(&redis);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, vec![put(&view("book", Layout::Hash), 1, document(1, 1))]).await;
    let error = store.prepare(&view("book", Layout::Json)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    store.prepare(&view("book", Layout::Hash)).await.unwrap();
}

#[tokio::test]
async fn other_servers_are_recognised_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    let error = open_with(&format!("redis://127.0.0.1:{port}"), &[]).held().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    server.abort();
    let error = open_with(&format!("redis://127.0.0.1:{port}"), &[]).held().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
}

/// TLS is verified: with the right authority it works, without it or with a wrong name it does not.
#[tokio::test]
async fn tls_is_verified() {
    let folder = Folder::new("redis-tls");
    let made = Certificate::make(folder.path());
    let path = |file: &std::path::Path| file.to_str().unwrap().to_owned();
    let (ca, cert, key) = (path(&made.authority), path(&made.certificate), path(&made.key));
    let port = headwater_testkit::free_port();
    let _redis = Redis::builder()
        .arg("tls-port", &port.to_string())
        .arg("tls-cert-file", &cert)
        .arg("tls-key-file", &key)
        .arg("tls-ca-cert-file", &ca)
        .start();
    let settings = [("tls_ca", &*ca), ("tls_cert", &*cert), ("tls_key", &*key)];
    let url = format!("rediss://localhost:{port}");
    let store = open_with(&url, &settings);
    let view = view("book", Layout::Hash);
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, (0..20_000).map(|id| put(&view, id, document(id, 1))).collect()).await;
    assert_eq!(store.rows(&view).await.unwrap(), 20_000);
    for (url, settings) in [(url.as_str(), &[][..]), (&format!("rediss://127.0.0.1:{port}"), &settings)] {
        let error = open_with(url, settings).held().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
        assert!(error.remedy().is_some());
    }
}
