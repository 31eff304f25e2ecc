//! Reading through the service: from real stores and a real source, with stores cut off, held back and half filled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headwater_flow::serve::{Ask, Content, Options, Refused, Reply, Serving};
use headwater_model::{
    Access, AccessPlan, ColumnType, Field, FieldShape, Param, ParamRole, Pattern, PlannedRead, Store,
    TableName, View,
};
use headwater_testkit::Folder;
use headwater_testkit::faults::{Call, Fault, FaultyStore};
use rusqlite::Connection;

use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(30);

/// A book per id, followed from SQLite into two stores, `near` and `far`.
struct Shop {
    db: Connection,
    life: Life,
    near: FaultyStore,
    far: FaultyStore,
    view: Arc<View>,
    source: Arc<dyn headwater_model::Source>,
    runtime: tokio::runtime::Runtime,
    folder: Folder,
}

impl Shop {
    fn open(name: &str) -> Shop {
        support::log();
        let folder = Folder::new(name);
        let path = folder.join("shop.db");
        let db = Connection::open(&path).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = wal;
             CREATE TABLE books (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             INSERT INTO books SELECT i, 0 FROM n;
             CREATE TABLE elsewhere (id INTEGER PRIMARY KEY);",
        )
        .unwrap();
        let url = format!("sqlite:{}", path.display());
        let source = support::source(&url, &[]);
        let memory = || FaultyStore::new(support::store("memory:", &[]));
        let (near, far) = (memory(), memory());
        let view =
            View { from: TableName::new(None, "books"), ..support::flat("book", "books", &["near", "far"]) };
        let stores = |near: &FaultyStore, far: &FaultyStore| {
            vec![
                support::named("near", Arc::new(near.clone()) as Arc<dyn Store>),
                support::named("far", Arc::new(far.clone()) as Arc<dyn Store>),
            ]
        };
        let life = Life::begin(
            support::options(&folder.join("data")),
            Arc::clone(&source),
            stores(&near, &far),
            std::slice::from_ref(&view),
        );
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Shop { db, life, near, far, view: Arc::new(view), source, runtime, folder }
    }

    fn settled(name: &str) -> Shop {
        let mut shop = Shop::open(name);
        shop.life.wait_settled(PATIENCE);
        shop
    }

    fn serving(&self, access: Access, options: Options) -> Serving {
        let stores = [
            support::named("near", Arc::new(self.near.clone()) as Arc<dyn Store>),
            support::named("far", Arc::new(self.far.clone()) as Arc<dyn Store>),
        ];
        let value = |name: &str| Field {
            name: name.into(),
            nullable: false,
            shape: FieldShape::Value { kind: ColumnType::Dynamic, type_name: "INTEGER".into() },
        };
        let plan = AccessPlan {
            read: PlannedRead::Get { view: Arc::clone(&self.view) },
            params: vec![Param {
                name: "id".into(),
                role: ParamRole::Key,
                kind: ColumnType::Dynamic,
                type_name: "INTEGER".into(),
                required: true,
            }],
            fields: vec![value("id"), value("version")],
            stores: if access.stores.is_empty() {
                vec!["near".into(), "far".into()]
            } else {
                access.stores.clone()
            },
            access,
        };
        Serving::new(self.life.handle.clone(), Arc::clone(&self.source), &stores, vec![plan], options)
    }

    /// The service ends, something happens, and it begins anew.
    fn restart(mut self, meanwhile: impl FnOnce(&Shop)) -> Shop {
        self.life.end();
        meanwhile(&self);
        let stores = vec![
            support::named("near", Arc::new(self.near.clone()) as Arc<dyn Store>),
            support::named("far", Arc::new(self.far.clone()) as Arc<dyn Store>),
        ];
        let options = support::options(&self.folder.join("data"));
        self.life = Life::begin(options, Arc::clone(&self.source), stores, std::slice::from_ref(&*self.view));
        self
    }

    /// Commits a new version of a book, and says where that is.
    fn write(&self, id: i64, version: i64) -> String {
        self.db.execute("UPDATE books SET version = ?2 WHERE id = ?1", (id, version)).unwrap();
        self.position()
    }

    fn position(&self) -> String {
        let newest: i64 =
            self.db.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0)).unwrap();
        newest.to_string()
    }

    fn read(
        &self,
        serving: &Serving,
        id: i64,
        after: Option<&str>,
        within: Duration,
    ) -> Result<Reply, Refused> {
        let ask = ask(id, after, within);
        self.runtime.block_on(serving.answer("book", &ask))
    }
}

fn until<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "it does not come to be");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ask(id: i64, after: Option<&str>, within: Duration) -> Ask {
    Ask {
        params: vec![("id".to_owned(), id.to_string())],
        after: after.map(str::to_owned),
        within: Some(within),
    }
}

fn book(source: bool, stale: Option<Duration>) -> Access {
    Access {
        name: "book".into(),
        pattern: Pattern::Get { view: "book".into() },
        stores: Vec::new(),
        source,
        stale,
        rate_per_second: None,
        p99: None,
    }
}

fn version(reply: &Reply) -> Option<i64> {
    let Content::Document(document) = &reply.content else { panic!("{reply:?}") };
    let document: serde_json::Value = serde_json::from_str(document.as_ref()?).unwrap();
    document["version"].as_i64()
}

fn by(reply: &Reply) -> &str {
    reply.shown.store.as_deref().unwrap_or("source")
}

#[test]
fn whoever_holds_the_position_of_its_commit_reads_its_write() {
    let shop = Shop::settled("serve-own-writes");
    let serving = shop.serving(book(false, None), Options::default());
    let mut last = None;
    for n in 1..=300 {
        let position = shop.write(n % 7, n);
        let reply = shop.read(&serving, n % 7, Some(&position), PATIENCE).unwrap();
        if n % 7 != 0 {
            assert_eq!(version(&reply), Some(n));
        }
        // Positions of answers work as well, and never show less.
        let again = shop.read(&serving, n % 7, reply.shown.position.as_deref(), PATIENCE).unwrap();
        assert_eq!(version(&again), version(&reply));
        last = reply.shown.position;
    }
    // Nothing of a view need have been committed for a position to be reached.
    shop.db.execute("INSERT INTO elsewhere DEFAULT VALUES", []).unwrap();
    shop.read(&serving, 1, last.as_deref(), PATIENCE).unwrap();
    let wrong = shop.read(&serving, 1, Some("nonsense"), PATIENCE);
    assert!(matches!(wrong, Err(Refused::BadParameter { .. })), "{wrong:?}");
    let invented = shop.read(&serving, 1, Some("1000000"), PATIENCE);
    assert!(matches!(invented, Err(Refused::OtherHistory(_))), "{invented:?}");
    let foreign = shop.read(&serving, 1, Some("another@7"), PATIENCE);
    assert!(matches!(foreign, Err(Refused::OtherHistory(_))), "{foreign:?}");
    shop.life.stop();
}

#[test]
fn a_store_that_is_behind_gives_way_to_the_next_then_to_the_source_and_at_last_says_how_far() {
    let shop = Shop::settled("serve-behind");
    let serving = shop.serving(book(true, None), Options::default());
    let alone = shop.serving(book(false, None), Options::default());
    shop.near.inject(Call::Commit, Fault::Hold);
    let position = shop.write(1, 10);
    let reply = shop.read(&serving, 1, Some(&position), PATIENCE).unwrap();
    assert_eq!((by(&reply), version(&reply)), ("far", Some(10)));

    shop.far.inject(Call::Commit, Fault::Hold);
    let position = shop.write(1, 11);
    let reply = shop.read(&serving, 1, Some(&position), Duration::from_secs(1)).unwrap();
    assert_eq!((by(&reply), version(&reply)), ("source", Some(11)));
    assert_eq!(reply.shown.age, Duration::ZERO);

    let late = shop.read(&alone, 1, Some(&position), Duration::from_millis(200));
    let Err(Refused::Behind { transactions: Some(1..), age: Some(_), .. }) = late else { panic!("{late:?}") };
    shop.near.behave();
    shop.far.behave();
    let reply = shop.read(&alone, 1, Some(&position), PATIENCE).unwrap();
    assert_eq!(version(&reply), Some(11));
    shop.life.stop();
}

#[test]
fn an_answer_is_no_older_than_its_pattern_allows() {
    let shop = Shop::settled("serve-stale");
    let stale = Duration::from_secs(1);
    let serving = shop.serving(book(true, Some(stale)), Options::default());
    shop.near.inject(Call::Commit, Fault::Hold);
    shop.far.inject(Call::Commit, Fault::Hold);
    shop.write(1, 5);
    let written = Instant::now();
    let mut by_store = 0;
    loop {
        let asked = written.elapsed();
        let reply = shop.read(&serving, 1, None, PATIENCE).unwrap();
        if by(&reply) == "source" {
            assert_eq!(version(&reply), Some(5));
            break;
        }
        by_store += 1;
        assert!(reply.shown.age <= stale);
        if version(&reply) == Some(0) {
            // The commit's own time is rounded to what the change table keeps.
            assert!(
                asked < stale + Duration::from_millis(200),
                "{asked:?} old and shown as {:?}",
                reply.shown.age
            );
        }
        assert!(asked < PATIENCE);
    }
    assert!(by_store > 0, "a little age is allowed");
    shop.near.behave();
    shop.far.behave();
    until(|| {
        let reply = shop.read(&serving, 1, None, PATIENCE).unwrap();
        (by(&reply) == "near" && version(&reply) == Some(5)).then_some(())
    });
    shop.life.stop();
}

#[test]
fn stores_cut_off_under_load_fail_no_read() {
    let shop = Shop::settled("serve-cut-off");
    let options = Options { source_rate_per_second: 1_000_000, ..Options::default() };
    let serving = shop.serving(book(true, None), options);
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let runtime = &shop.runtime;
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (serving, stop, reads) = (serving.clone(), &stop, &reads);
            scope.spawn(move || {
                let mut id = reader;
                while !stop.load(Ordering::SeqCst) {
                    id = id % 100 + 1;
                    let reply = runtime.block_on(serving.answer("book", &ask(id, None, PATIENCE)));
                    let reply = reply.unwrap_or_else(|refused| panic!("a read failed: {refused:?}"));
                    assert_eq!(version(&reply), Some(0));
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let answered = || serving.pattern("book").unwrap().stats.sample();
        let by_near = || answered().by_store.iter().find(|(name, _)| &**name == "near").unwrap().1;
        let by_far = || answered().by_store.iter().find(|(name, _)| &**name == "far").unwrap().1;
        let grows = |what: &dyn Fn() -> u64| {
            let before = what();
            until(|| (what() > before + 100).then_some(()));
        };
        grows(&by_near);
        shop.near.sever();
        grows(&by_far);
        shop.far.sever();
        grows(&|| answered().by_source);
        shop.far.behave();
        grows(&by_far);
        shop.near.behave();
        grows(&by_near);
        stop.store(true, Ordering::SeqCst);
    });
    assert!(reads.load(Ordering::SeqCst) > 500);
    shop.life.stop();
}

#[test]
fn a_slow_store_is_not_waited_for_while_another_answers() {
    let shop = Shop::settled("serve-hedge");
    let serving = shop.serving(book(false, None), Options { store_timeout: PATIENCE, ..Options::default() });
    for _ in 0..20 {
        shop.read(&serving, 1, None, PATIENCE).unwrap();
    }
    shop.near.inject(Call::Answer, Fault::Hold);
    let reply = shop.read(&serving, 1, None, PATIENCE).unwrap();
    assert_eq!(by(&reply), "far");
    assert_eq!(serving.pattern("book").unwrap().stats.sample().hedged, 1);
    shop.near.behave();
    shop.life.stop();
}

#[test]
fn a_store_that_becomes_new_enough_while_another_hangs_answers() {
    let shop = Shop::settled("serve-late-store");
    let serving = shop.serving(book(false, None), Options { store_timeout: PATIENCE, ..Options::default() });
    shop.far.inject(Call::Commit, Fault::Hold);
    let position = shop.write(1, 10);
    let reply = shop.read(&serving, 1, Some(&position), PATIENCE).unwrap();
    assert_eq!((by(&reply), version(&reply)), ("near", Some(10)));

    shop.near.inject(Call::Answer, Fault::Hold);
    let met = shop.near.injected();
    let asking = serving.clone();
    let waits = shop.runtime.spawn(async move {
        let ask = ask(1, Some(&position), PATIENCE);
        asking.answer("book", &ask).await
    });
    until(|| (shop.near.injected() > met).then_some(()));
    shop.far.behave();
    let reply = shop.runtime.block_on(waits).unwrap().unwrap();
    assert_eq!((by(&reply), version(&reply)), ("far", Some(10)));
    shop.near.behave();
    shop.life.stop();
}

#[test]
fn the_source_is_asked_within_its_budget_and_not_beyond() {
    let shop = Shop::settled("serve-budget");
    let options = Options { source_rate_per_second: 5, source_timeout: PATIENCE, ..Options::default() };
    let serving = shop.serving(book(true, None), options);
    shop.near.sever();
    shop.far.sever();
    let mut answered = 0;
    let refused = loop {
        match shop.read(&serving, 1, None, PATIENCE) {
            Ok(reply) => {
                assert_eq!(by(&reply), "source");
                answered += 1;
            }
            Err(refused) => break refused,
        }
        assert!(answered < 50, "the budget has no end");
    };
    assert!(matches!(refused, Refused::Overloaded { .. }), "{refused:?}");
    assert!(answered >= 5);
    until(|| shop.read(&serving, 1, None, PATIENCE).ok().map(|_| ()));
    shop.near.behave();
    shop.far.behave();
    shop.life.stop();
}

#[test]
fn a_view_that_is_not_filled_answers_nothing() {
    let mut shop = Shop::open("serve-filling");
    // The very first steps of both stores are held: nothing is filled yet.
    shop.near.inject(Call::Commit, Fault::Hold);
    shop.far.inject(Call::Commit, Fault::Hold);
    let alone = shop.serving(book(false, None), Options::default());
    let serving = shop.serving(book(true, None), Options::default());
    let reply = until(|| shop.read(&serving, 1, None, Duration::from_secs(1)).ok());
    assert_eq!((by(&reply), version(&reply)), ("source", Some(0)));
    let refused = shop.read(&alone, 1, None, Duration::from_millis(50));
    assert!(matches!(refused, Err(Refused::Unavailable { .. })), "{refused:?}");
    shop.near.behave();
    shop.far.behave();
    shop.life.wait_settled(PATIENCE);
    let reply = shop.read(&alone, 1, None, PATIENCE).unwrap();
    assert_eq!((by(&reply), version(&reply)), ("near", Some(0)));
    // A process that is about to end answers nothing more from stores that a successor may be writing to.
    shop.life.stop();
    drop(shop.folder);
    let refused = shop.runtime.block_on(alone.answer("book", &ask(1, None, Duration::from_millis(50))));
    assert!(matches!(refused, Err(Refused::Unavailable { .. })), "{refused:?}");
}

#[test]
fn the_source_is_not_promised_while_it_is_not_followed() {
    let shop = Shop::settled("serve-unfollowed");
    let serving = shop.serving(book(true, None), Options::default());
    assert!(serving.unready().is_empty(), "{:?}", serving.unready());
    shop.life.stop();
    let [(pattern, why)] = &serving.unready()[..] else { panic!("{:?}", serving.unready()) };
    assert_eq!(&**pattern, "book");
    assert!(why.ends_with("source is not followed yet"), "{why}");
}

#[test]
fn while_a_gap_is_closed_in_place_a_store_answers_those_who_ask_for_nothing_newer() {
    let mut shop = Shop::settled("serve-gap");
    let before = shop.write(1, 1);
    let serving = shop.serving(book(false, None), Options::default());
    assert_eq!(version(&shop.read(&serving, 1, Some(&before), PATIENCE).unwrap()), Some(1));
    shop.life.wait_settled(PATIENCE);
    let mut shop = shop.restart(|shop| {
        shop.write(1, 2);
        shop.db.execute_batch("DELETE FROM books WHERE id = 5").unwrap();
        // Nobody has read it, and the log forgets it.
        shop.db
            .execute_batch("DELETE FROM headwater_change WHERE id < (SELECT max(id) FROM headwater_change)")
            .unwrap();
        shop.near.inject(Call::Commit, Fault::Hold);
        shop.far.inject(Call::Commit, Fault::Hold);
    });
    let stale = |shop: &Shop| {
        let status = shop.life.handle.status();
        status.stores.iter().all(|store| store.views.iter().all(|view| view.stale_since_micros.is_some()))
    };
    until(|| stale(&shop).then_some(()));
    let now = shop.write(2, 1);
    let short = Duration::from_millis(300);
    // What is held is served, to those who do not mind.
    let stores = shop.serving(book(false, None), Options::default());
    let held = until(|| shop.read(&stores, 1, None, short).ok());
    assert_eq!(version(&held), Some(1));
    assert!(held.shown.age > Duration::ZERO);
    // What came after the gap is not shown yet, whatever the store's place in the journal.
    let refused = shop.read(&stores, 1, Some(&now), short).unwrap_err();
    assert!(matches!(refused, Refused::Behind { .. }), "{refused:?}");
    // Nor is it as new as its place says.
    let fresh = shop.serving(book(false, Some(Duration::from_millis(1))), Options::default());
    assert!(matches!(shop.read(&fresh, 1, None, short), Err(Refused::Behind { .. })));
    assert_eq!(fresh.unready().len(), 1);
    let both = shop.serving(book(true, None), Options::default());
    // Waiting for the stores takes its share of the time first.
    let reply = until(|| shop.read(&both, 1, Some(&now), Duration::from_secs(2)).ok());
    assert_eq!((by(&reply), version(&reply)), ("source", Some(2)));

    shop.near.behave();
    shop.far.behave();
    shop.life.wait_settled(PATIENCE);
    let reply = shop.read(&stores, 1, Some(&now), PATIENCE).unwrap();
    assert_eq!(version(&reply), Some(2));
    let gone = shop.read(&stores, 5, Some(&now), PATIENCE).unwrap();
    assert!(matches!(gone.content, Content::Document(None)), "{gone:?}");
    assert!(fresh.unready().is_empty() || !stale(&shop));
}
