//! Stores that hold part of a view, through the service: readers and writers at full speed, restarts, and the race between a
//! load and a change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headwater_flow::NamedStore;
use headwater_flow::serve::{Ask, Content, Options, Reply, Serving};
use headwater_flow::status::PartStatus;
use headwater_model::{
    Access, AccessPlan, ColumnType, Field, FieldShape, Hold, Key, Param, ParamRole, Part, Pattern,
    PlannedRead, Source, Store, StoredBody, TableName, Value, View,
};
use headwater_testkit::faults::{Call, Fault, FaultyStore};
use headwater_testkit::{Chance, Folder, Redis, read};
use rusqlite::Connection;

use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(60);
const BOOKS: i64 = 400;

/// Books, followed from SQLite: `near` holds a part, `far` everything, and `twin` everything in an engine like `near`.
struct Shop {
    db: Connection,
    near: FaultyStore,
    far: FaultyStore,
    twin: Arc<dyn Store>,
    view: View,
    source: Arc<dyn Source>,
    runtime: tokio::runtime::Runtime,
    folder: Folder,
}

fn hold(hold: Hold) -> Part {
    Part { store: "near".into(), hold, ttl: None, filter: None }
}

impl Shop {
    fn new(name: &str, part: Part) -> Shop {
        let memory = || support::store("memory:", &[]);
        Shop::of(name, part, memory(), memory(), memory())
    }

    fn of(name: &str, part: Part, near: Arc<dyn Store>, far: Arc<dyn Store>, twin: Arc<dyn Store>) -> Shop {
        support::log();
        let folder = Folder::new(name);
        let path = folder.join("shop.db");
        let db = Connection::open(&path).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db.execute_batch(&format!(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = off;
             CREATE TABLE books (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, title TEXT, price REAL);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BOOKS})
             INSERT INTO books SELECT i, 0, 'a \"book\"', NULL FROM n;"
        ))
        .unwrap();
        let source = support::source(&format!("sqlite:{}", path.display()), &[]);
        let view = View {
            from: TableName::new(None, "books"),
            parts: vec![part],
            ..support::flat("book", "books", &["far", "twin"])
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (near, far) = (FaultyStore::new(near), FaultyStore::new(far));
        Shop { db, near, far, twin, view, source, runtime, folder }
    }

    fn reopen(&mut self, open: impl Fn(&str) -> Arc<dyn Store>) {
        (self.near, self.far) = (FaultyStore::new(open("near")), FaultyStore::new(open("far")));
        self.twin = open("twin");
    }

    fn stores(&self) -> Vec<NamedStore> {
        vec![
            support::named("near", Arc::new(self.near.clone())),
            support::named("far", Arc::new(self.far.clone())),
            support::named("twin", Arc::clone(&self.twin)),
        ]
    }

    fn begin(&self) -> Life {
        Life::begin(
            support::options(&self.folder.join("data")),
            Arc::clone(&self.source),
            self.stores(),
            std::slice::from_ref(&self.view),
        )
    }

    fn settled(&self) -> Life {
        let mut life = self.begin();
        life.wait_settled(PATIENCE);
        life
    }

    fn serving(&self, life: &Life) -> Serving {
        let field = |name: &str, type_name: &str| Field {
            name: name.into(),
            nullable: true,
            shape: FieldShape::Value { kind: ColumnType::Dynamic, type_name: type_name.into() },
        };
        let access = Access {
            name: "book".into(),
            pattern: Pattern::Get { view: "book".into() },
            stores: Vec::new(),
            source: false,
            stale: None,
            rate_per_second: None,
            p99: None,
        };
        let id = Param {
            name: "id".into(),
            role: ParamRole::Key,
            kind: ColumnType::Dynamic,
            type_name: "INTEGER".into(),
            required: true,
        };
        let plan = AccessPlan {
            access,
            read: PlannedRead::Get { view: Arc::new(self.view.clone()) },
            params: vec![id],
            fields: vec![
                field("id", "INTEGER"),
                field("version", "INTEGER"),
                field("title", "TEXT"),
                field("price", "REAL"),
            ],
            stores: vec!["near".into(), "far".into()],
        };
        let options = Options { store_timeout: PATIENCE, ..Options::default() };
        Serving::new(life.handle.clone(), Arc::clone(&self.source), &self.stores(), vec![plan], options)
    }

    fn read(&self, serving: &Serving, id: i64) -> Reply {
        self.runtime.block_on(get(serving, id, None))
    }

    /// What the part holds, as it lies there.
    fn held(&self, store: &dyn Store) -> BTreeMap<String, StoredBody> {
        let all = self.runtime.block_on(async {
            let (mut all, mut cursor) = (Vec::new(), None);
            loop {
                let (found, next) = store.scan(&self.view, cursor, 100).await.unwrap();
                all.extend(found);
                match next {
                    Some(next) => cursor = Some(next),
                    None => return all,
                }
            }
        });
        all.into_iter().map(|stored| (stored.key, stored.body)).collect()
    }

    fn in_part(&self) -> BTreeMap<String, StoredBody> {
        self.held(&self.near)
    }

    fn write(&self, id: i64, version: i64) {
        self.db.execute("UPDATE books SET version = ?2 WHERE id = ?1", (id, version)).unwrap();
    }
}

async fn get(serving: &Serving, id: i64, after: Option<String>) -> Reply {
    let ask = Ask { params: vec![("id".to_owned(), id.to_string())], after, within: Some(PATIENCE) };
    serving.answer("book", &ask).await.unwrap_or_else(|refused| panic!("a read failed: {refused:?}"))
}

fn version(reply: &Reply) -> Option<i64> {
    let Content::Document(document) = &reply.content else { panic!("{reply:?}") };
    let document: serde_json::Value = serde_json::from_str(document.as_ref()?).unwrap();
    document["version"].as_i64()
}

fn by(reply: &Reply) -> &str {
    reply.shown.store.as_deref().unwrap_or("source")
}

fn version_in(body: &StoredBody) -> i64 {
    match body {
        StoredBody::Json(json) => {
            serde_json::from_str::<serde_json::Value>(json).unwrap()["version"].as_i64().unwrap()
        }
        StoredBody::Fields(fields) => {
            let (_, value) = fields.iter().find(|(name, _)| name == "version").unwrap();
            String::from_utf8_lossy(value).parse().unwrap()
        }
    }
}

fn status(life: &Life) -> PartStatus {
    let status = life.handle.status();
    let near = status.stores.iter().find(|store| store.name == "near").unwrap();
    near.views[0].part.unwrap()
}

fn until<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "it does not come to be");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_part_is_filled_by_what_is_read_moves_with_the_log_and_is_cold_after_a_restart() {
    let shop = Shop::new("part-warm", hold(Hold::Share(50_000)));
    let mut life = shop.settled();
    until(|| (status(&life).documents_max == BOOKS as u64 / 20).then_some(()));
    let serving = shop.serving(&life);
    assert_eq!(by(&shop.read(&serving, 7)), "far");
    until(|| (by(&shop.read(&serving, 7)) == "near").then_some(()));
    shop.write(7, 1);
    until(|| {
        let reply = shop.read(&serving, 7);
        assert_eq!(by(&reply), "near");
        (version(&reply) == Some(1)).then_some(())
    });
    let counted = status(&life);
    assert!(counted.hits > 0 && counted.misses > 0 && counted.fills > 0, "{counted:?}");
    // Byte for byte what a store holds that was given all of it.
    assert_eq!(shop.in_part(), shop.held(&*shop.twin).into_iter().filter(|(key, _)| key == "7").collect());
    for id in 1..=BOOKS {
        shop.read(&serving, id);
    }
    until(|| (status(&life).evicted > 0).then_some(()));
    assert!(shop.in_part().len() <= 20);
    shop.db.execute_batch("DELETE FROM books").unwrap();
    until(|| shop.in_part().is_empty().then_some(()));
    shop.db.execute_batch("INSERT INTO books VALUES (1, 5, NULL, 2.5)").unwrap();
    until(|| {
        shop.read(&serving, 1);
        (shop.in_part().len() == 1).then_some(())
    });
    life.stop();
    assert_eq!(shop.in_part().len(), 1);
    life = shop.settled();
    assert!(shop.in_part().is_empty(), "nothing is known of what was there");
    life.stop();
}

#[test]
fn a_load_that_began_before_a_change_and_ends_after_it_does_not_bring_the_old_value_back() {
    let shop = Shop::new("part-race", hold(Hold::Documents(100)));
    let life = shop.settled();
    let serving = shop.serving(&life);
    shop.far.inject(Call::Answer, Fault::Hold);
    let reader = shop.runtime.spawn({
        let serving = serving.clone();
        async move { get(&serving, 7, None).await }
    });
    until(|| (shop.far.injected() == 1).then_some(()));
    let before = life.handle.status().stores.iter().map(|store| store.offset).max().unwrap();
    shop.write(7, 1);
    until(|| {
        let status = life.handle.status();
        let durable = status.journal.durable_offset;
        (durable > before && status.stores.iter().all(|store| store.offset >= durable)).then_some(())
    });
    shop.far.release();
    let reply = shop.runtime.block_on(reader).unwrap();
    assert_eq!((by(&reply), version(&reply)), ("far", Some(0)), "it was read before the change");
    until(|| (status(&life).fills_dropped == 1).then_some(()));
    assert!(shop.in_part().is_empty());
    until(|| {
        let reply = shop.read(&serving, 7);
        assert_eq!(version(&reply), Some(1));
        (by(&reply) == "near").then_some(())
    });
    life.stop();
}

#[test]
fn many_readers_that_miss_the_same_document_cause_one_load() {
    let shop = Shop::new("part-flight", hold(Hold::Documents(100)));
    let life = shop.settled();
    let serving = shop.serving(&life);
    // Only the first load is held: a second one would be answered at once.
    shop.far.inject(Call::Answer, Fault::Hold);
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let serving = serving.clone();
            shop.runtime.spawn(async move { get(&serving, 7, None).await })
        })
        .collect();
    until(|| (shop.far.injected() == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert!(readers.iter().all(|reader| !reader.is_finished()), "somebody loaded beside the first");
    // Another document is another load.
    assert_eq!(version(&shop.read(&serving, 8)), Some(0));
    shop.far.release();
    for reader in readers {
        assert_eq!(version(&shop.runtime.block_on(reader).unwrap()), Some(0));
    }
    assert_eq!(status(&life).joined, 63);
    // A load that fails fails nobody else.
    let gone = shop.runtime.spawn({
        let serving = serving.clone();
        shop.far.inject(Call::Answer, Fault::Hold);
        async move { get(&serving, 9, None).await }
    });
    until(|| (shop.far.injected() == 2).then_some(()));
    let waits = shop.runtime.spawn({
        let serving = serving.clone();
        async move { get(&serving, 9, None).await }
    });
    std::thread::sleep(Duration::from_millis(50));
    gone.abort();
    assert_eq!(version(&shop.runtime.block_on(waits).unwrap()), Some(0));
    shop.far.release();
    life.stop();
}

#[test]
fn a_reader_that_waits_for_its_own_write_keeps_nobody_else_waiting() {
    let shop = Shop::new("part-waits", hold(Hold::Documents(100)));
    let life = shop.settled();
    let serving = shop.serving(&life);
    shop.far.inject(Call::Commit, Fault::Hold);
    shop.write(7, 1);
    let position: i64 =
        shop.db.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0)).unwrap();
    let waits = shop.runtime.spawn({
        let serving = serving.clone();
        async move { get(&serving, 7, Some(position.to_string())).await }
    });
    until(|| (shop.far.injected() == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    shop.read(&serving, 7);
    assert!(began.elapsed() < PATIENCE / 4);
    shop.far.behave();
    assert_eq!(version(&shop.runtime.block_on(waits).unwrap()), Some(1));
    life.stop();
}

#[test]
fn a_part_holds_what_its_filter_takes_and_no_longer_than_its_ttl() {
    let part = Part {
        ttl: Some(Duration::from_millis(1500)),
        filter: Some("id <= 10".into()),
        ..hold(Hold::Documents(100))
    };
    let shop = Shop::new("part-where", part);
    let life = shop.settled();
    let serving = shop.serving(&life);
    for id in 1..=30 {
        assert_eq!(version(&shop.read(&serving, id)), Some(0));
    }
    until(|| (shop.in_part().len() == 10).then_some(()));
    assert!(shop.in_part().keys().all(|key| key.parse::<i64>().unwrap() <= 10));
    until(|| shop.in_part().is_empty().then_some(()));
    assert_eq!(status(&life).expired, 10);
    life.stop();
}

/// Everything at once; then silence, and what is held in part must be what the source says, in the bytes of a store that was given
/// all of it.
/// `open`: the store that is called so, with connections of its own; those of a life end with its runtime.
fn at_full_speed(name: &str, open: impl Fn(&str) -> Arc<dyn Store>) {
    let part = Part { ttl: Some(Duration::from_millis(400)), ..hold(Hold::Share(50_000)) };
    let mut shop = Shop::of(name, part, open("near"), open("far"), open("twin"));
    let runtime = shop.runtime.handle().clone();
    let path = shop.folder.join("shop.db");
    let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let (next, serving) = (AtomicI64::new(1), std::sync::RwLock::new(None::<Serving>));
    let mut left = 0;
    let mut chance = Chance::new(7);
    let direct = open("near");
    std::thread::scope(|scope| {
        let (over, reads, next, serving, runtime) = (&over, &reads, &next, &serving, &runtime);
        // Versions only grow, also of a book that comes back.
        let _end = SetOnDrop(over);
        scope.spawn(move || {
            let mut chance = Chance::new(1);
            let db = Connection::open(path).unwrap();
            db.busy_timeout(PATIENCE).unwrap();
            db.pragma_update(None, "synchronous", "off").unwrap();
            while !over.load(Ordering::SeqCst) {
                let (id, version) = (id(&mut chance), next.fetch_add(1, Ordering::SeqCst));
                if chance.one_in(10) {
                    db.execute("DELETE FROM books WHERE id = ?1", [id]).unwrap();
                } else {
                    db.execute(
                        "INSERT INTO books VALUES (?1, ?2, 'é' || ?2, ?2 / 4.0)
                         ON CONFLICT (id) DO UPDATE SET version = ?2, title = 'é' || ?2, price = ?2 / 4.0",
                        (id, version),
                    )
                    .unwrap();
                }
                if chance.one_in(20) {
                    std::thread::sleep(Duration::from_millis(chance.below(5)));
                }
            }
        });
        for reader in 0..3 {
            scope.spawn(move || {
                let mut chance = Chance::new(100 + reader);
                let mut seen: HashMap<i64, i64> = HashMap::new();
                let mut position = None;
                // The first does not mind from which store its answers come: it finds in the part what is there.
                let minds = reader > 0;
                while !over.load(Ordering::SeqCst) {
                    let Some(serving) = serving.read().unwrap().clone() else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    let id = id(&mut chance);
                    let ask = Ask {
                        params: vec![("id".to_owned(), id.to_string())],
                        after: position.clone().filter(|_| minds),
                        within: Some(Duration::from_secs(2)),
                    };
                    // Who shows its last position never goes back, whoever answers. Between two lives nobody does.
                    let Ok(reply) = runtime.block_on(serving.answer("book", &ask)) else { continue };
                    reads.fetch_add(1, Ordering::SeqCst);
                    position = reply.shown.position.clone().or(position);
                    if let Some(version) = version(&reply) {
                        let before = seen.insert(id, version).unwrap_or(0);
                        let by = by(&reply);
                        assert!(!minds || before <= version, "book {id}: {version} after {before} by {by}");
                    }
                }
            });
        }
        // Who looks into the store itself: a key may be there or not, but never goes back.
        let view = Arc::new(shop.view.clone());
        scope.spawn(move || {
            let mut chance = Chance::new(55);
            let mut seen: HashMap<i64, i64> = HashMap::new();
            while !over.load(Ordering::SeqCst) {
                let id = id(&mut chance);
                let key = Key(vec![Value::Int(id)]);
                let Ok(Some(body)) = runtime.block_on(read::document(&*direct, &view, &key)) else {
                    continue;
                };
                let version = version_in(&body);
                let before = seen.insert(id, version).unwrap_or(0);
                assert!(before <= version, "book {id} in the part: {version} after {before}");
            }
        });
        for round in 0..4 {
            shop.reopen(&open);
            let store = shop.near.clone();
            let life = shop.begin();
            *serving.write().unwrap() = Some(shop.serving(&life));
            if round == 1 {
                // The applier's calls fail now and then: its session begins anew, and so does the part.
                store.let_through(Call::Commit, 20);
                store.inject(Call::Commit, Fault::FailAfter(headwater_model::ErrorKind::Transient));
                store.let_through(Call::Commit, 20);
                store.inject(Call::Begin, Fault::Reject(headwater_model::ErrorKind::Transient));
            }
            std::thread::sleep(Duration::from_millis(700 + chance.below(500)));
            let counted = until(|| Some(status(&life)).filter(|counted| counted.hits > 30));
            left += counted.evicted + counted.expired;
            *serving.write().unwrap() = None;
            match round {
                0..2 => life.crash(),
                _ => life.stop(),
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(left > 20, "{left} that left show nothing");
    // The last life, in silence: what is read comes in, and stays for a moment.
    shop.view.parts[0].ttl = None;
    shop.reopen(&open);
    let life = shop.settled();
    let serving = shop.serving(&life);
    until(|| {
        (1..40).for_each(|id| drop(shop.read(&serving, id)));
        (shop.in_part().len() > 5).then_some(())
    });
    for id in 1..40 {
        shop.write(id, next.fetch_add(1, Ordering::SeqCst));
    }
    until(|| {
        let durable = life.handle.status().journal.durable_offset;
        let newest = shop.held(&*shop.twin).values().map(version_in).max();
        let all = life.handle.status().stores.iter().all(|store| store.offset >= durable);
        let written: i64 = shop.db.query_row("SELECT max(version) FROM books", [], |row| row.get(0)).unwrap();
        (all && newest == Some(written)).then_some(())
    });
    let (held, twin) = (shop.in_part(), shop.held(&*shop.twin));
    assert!(held.len() <= BOOKS as usize / 20, "{} are held", held.len());
    for (key, body) in &held {
        assert_eq!(Some(body), twin.get(key), "{key}");
        let id: i64 = key.parse().unwrap();
        let select = "SELECT version FROM books WHERE id = ?1";
        assert_eq!(version_in(body), shop.db.query_row(select, [id], |row| row.get::<_, i64>(0)).unwrap());
    }
    life.stop();
    assert!(reads.load(Ordering::SeqCst) > 200);
}

/// Few are asked often, the others seldom.
fn id(chance: &mut Chance) -> i64 {
    let most = if chance.one_in(3) { BOOKS as u64 } else { 25 };
    1 + chance.below(most) as i64
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Stores in memory, which outlive those who use them.
fn in_memory() -> impl Fn(&str) -> Arc<dyn Store> {
    let stores = ["near", "far", "twin"].map(|name| (name, support::store("memory:", &[])));
    move |name| Arc::clone(&stores.iter().find(|(known, _)| *known == name).unwrap().1)
}

fn in_redis(server: &Redis) -> impl Fn(&str) -> Arc<dyn Store> {
    let url = server.url();
    move |name| support::store(&url, &[("prefix", &format!("{name}:"))])
}

#[test]
fn readers_and_writers_at_full_speed_on_memory() {
    at_full_speed("part-memory", in_memory());
}

#[test]
fn readers_and_writers_at_full_speed_on_redis() {
    let server = Redis::start();
    at_full_speed("part-redis", in_redis(&server));
}

#[test]
fn readers_and_writers_at_full_speed_on_redis_filled_from_memory_and_the_other_way() {
    let server = Redis::start();
    let (redis, memory) = (in_redis(&server), in_memory());
    at_full_speed("part-redis-memory", |name| if name == "far" { memory(name) } else { redis(name) });
    let server = Redis::start();
    let (redis, memory) = (in_redis(&server), in_memory());
    at_full_speed("part-memory-redis", |name| if name == "far" { redis(name) } else { memory(name) });
}
