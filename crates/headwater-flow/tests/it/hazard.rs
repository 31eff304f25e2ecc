//! Visibility order is not log order. A commit that waits for a synchronous standby is in the log, decoded and delivered,
//! while every reader still sees the row as it was. So what a chunk read cannot be told from marks in the log around it.
//!
//! Here commits hang because of a standby that does not exist. The usual low- and high-watermark chunk loses them; ours do
//! not, whether they were delivered before the chunk's window opens, inside it, or to a service that has crashed since.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use headwater_flow::verify::report::{Request, Verdict};
use headwater_model::{
    Catalogued, Change, Chunk, ChunkId, ChunkRange, Event, Follow, Layout, Lineage, Position, Result,
    RetainedLog, Row, Source, SourceFacts, Store, TableName, Value, View,
};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::{Folder, Postgres, eventually};
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(60);

/// Every kind of change that can hang, each on a table of its own.
const HANGING: [(&str, &str); 7] = [
    ("plain", "UPDATE plain SET v = 200 WHERE id = 2"),
    ("gone", "DELETE FROM gone WHERE id = 2"),
    ("come", "INSERT INTO come (id, v) VALUES (9, 900)"),
    ("moved", "UPDATE moved SET id = 102 WHERE id = 2"),
    ("emptied", "TRUNCATE emptied"),
    ("wide", "UPDATE wide SET v = 200 WHERE id = 2"),
    ("wide_moved", "UPDATE wide_moved SET id = 102, v = 200 WHERE id = 2"),
];

/// A server whose commits can be made to hang.
pub struct Server {
    pub postgres: Postgres,
    clients: Vec<Client>,
}

impl Server {
    pub async fn start() -> Server {
        let postgres = Postgres::start();
        let mut clients = Vec::new();
        for (table, _) in HANGING {
            let client = postgres.connect().await;
            // A text outside the row, which the log does not repeat when it stays as it is.
            let long = if table.starts_with("wide") { "repeat(i::text, 3000)" } else { "NULL" };
            client
                .batch_execute(&format!(
                    "CREATE TABLE {table} (id bigint PRIMARY KEY, v bigint, long text);
                     ALTER TABLE {table} ALTER long SET STORAGE EXTERNAL;
                     INSERT INTO {table} SELECT i, i * 10, {long} FROM generate_series(1, 5) AS i"
                ))
                .await
                .unwrap();
            clients.push(client);
        }
        Server { postgres, clients }
    }

    /// From now on commits wait for a standby that does not exist; then the statements of `HANGING` are committed.
    /// Returns when all of them hang.
    pub async fn hang(&mut self) -> Vec<tokio::task::JoinHandle<()>> {
        self.postgres.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
        self.postgres.psql("SELECT pg_reload_conf()");
        let watcher = self.postgres.connect().await;
        eventually(PATIENCE, "commits wait for nobody", async || {
            let row = watcher.query_one("SHOW synchronous_standby_names", &[]).await.unwrap();
            if row.get::<_, String>(0) == "nobody" { Ok(()) } else { Err("not yet") }
        })
        .await;
        let commit = |(client, (_, statement)): (Client, (&str, &'static str))| {
            tokio::spawn(async move { client.batch_execute(statement).await.unwrap() })
        };
        let hanging: Vec<_> = self.clients.drain(..).zip(HANGING).map(commit).collect();
        eventually(PATIENCE, "every commit hangs", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            let count: i64 = watcher.query_one(waiting, &[]).await.unwrap().get(0);
            if count == HANGING.len() as i64 { Ok(()) } else { Err(format!("{count} hang")) }
        })
        .await;
        hanging
    }

    /// Lets the commits go.
    pub async fn release(&self, hanging: Vec<tokio::task::JoinHandle<()>>) {
        self.postgres.psql("ALTER SYSTEM RESET synchronous_standby_names");
        self.postgres.psql("SELECT pg_reload_conf()");
        for commit in hanging {
            tokio::time::timeout(PATIENCE, commit).await.expect("the commit is let go").unwrap();
        }
    }

    pub fn source(&self) -> Arc<dyn Source> {
        support::source(&self.postgres.url(), &[])
    }
}

#[tokio::test]
async fn a_chunk_between_two_marks_loses_a_commit_that_readers_do_not_see_yet() {
    let mut server = Server::start().await;
    let source = server.source();
    let names: Vec<TableName> =
        HANGING.iter().map(|(table, _)| TableName::new(Some("public"), table)).collect();
    source.prepare(&names).await.unwrap();
    let follow = source.follow(None).await.unwrap();
    let mut naive = Naive { follow, waiting: VecDeque::new(), stored: BTreeMap::new() };

    let hanging = server.hang().await;
    source.mark(1).await.unwrap();
    naive.follow_to(1).await;
    assert_eq!(naive.stored.get(&2), Some(&200), "the log has delivered the update");

    source.mark(2).await.unwrap();
    let range = ChunkRange {
        table: names[0].clone(),
        after: None,
        limit: 100,
        bytes_max: usize::MAX,
        keys: Vec::new(),
    };
    let chunk = source.read_chunk(&range).await.unwrap();
    source.mark(3).await.unwrap();
    naive.follow_to(2).await;
    let touched = naive.follow_to(3).await;
    for row in chunk.rows {
        let (id, v) = cells(&row);
        if !touched.contains(&id) {
            naive.stored.insert(id, v);
        }
    }
    server.release(hanging).await;
    source.mark(4).await.unwrap();
    naive.follow_to(4).await;

    let truth = server.postgres.psql("SELECT v FROM plain WHERE id = 2");
    assert_eq!(truth, "200");
    assert_eq!(naive.stored.get(&2), Some(&20), "the watermarks put the old row over the new one");
}

/// The log, and so the stores, have what no reader of the source sees yet: that is no drift, and it is told exactly.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_hangs_is_no_drift() {
    let mut server = Server::start().await;
    let folder = Folder::new("hazard-verify");
    // But for a table that nobody can read until then, and for a row that neither the log nor the source shows whole.
    let whole = || HANGING.iter().filter(|(table, _)| *table != "emptied" && *table != "wide_moved");
    let views: Vec<View> = whole().map(|(table, _)| support::flat(table, table, &["scratch"])).collect();
    let scratch = support::store("memory:", &[]);
    let store = support::named("scratch", Arc::clone(&scratch));
    let mut life = Life::begin(support::options(&folder.join("data")), server.source(), vec![store], &views);
    tokio::task::block_in_place(|| life.wait_settled(PATIENCE));
    let hanging = server.hang().await;
    eventually(PATIENCE, "the store has what hangs", async || {
        let read = headwater_model::Read::Get {
            view: Arc::new(views[0].clone()),
            keys: vec![headwater_model::Key(vec![Value::Int(2)])],
        };
        let answer = format!("{:?}", scratch.answer(&read).await);
        if answer.contains("200") { Ok(()) } else { Err(answer) }
    })
    .await;
    let verify = |life: &Life| tokio::task::block_in_place(|| life.verify(&Request::default()));
    let report = verify(&life);
    for comparison in report.comparisons() {
        assert_eq!((comparison.verdict, comparison.unsettled), (Verdict::Equal, 0), "{comparison:#?}");
    }
    server.release(hanging).await;
    assert_eq!(verify(&life).drift(), 0);
    tokio::task::block_in_place(|| life.stop());
}

/// A store of the table `plain` that is filled between a low and a high watermark.
struct Naive {
    follow: Box<dyn Follow>,
    waiting: VecDeque<Event>,
    stored: BTreeMap<i64, i64>,
}

impl Naive {
    /// Applies what comes before the mark, and returns the keys it touched.
    async fn follow_to(&mut self, mark: ChunkId) -> Vec<i64> {
        let mut touched = Vec::new();
        loop {
            while self.waiting.is_empty() {
                let events = tokio::time::timeout(PATIENCE, self.follow.next()).await;
                self.waiting.extend(events.expect("the mark does not hang").unwrap());
            }
            match self.waiting.pop_front().unwrap() {
                Event::Mark { chunk, .. } if chunk == mark => return touched,
                Event::Change(Change::Insert { table, row } | Change::Update { table, row, .. })
                    if &*table.name.name == "plain" =>
                {
                    let (id, v) = cells(&row);
                    self.stored.insert(id, v);
                    touched.push(id);
                }
                _ => {}
            }
        }
    }
}

fn cells(row: &Row) -> (i64, i64) {
    match (&row.0[0], &row.0[1]) {
        (Value::Int(id), Value::Int(v)) => (*id, *v),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_delivered_before_the_chunks_window_opens_is_kept() {
    hung_commits_are_kept(Gate::BeforeTheWindow);
}

#[test]
fn a_commit_delivered_inside_the_chunks_window_is_kept() {
    hung_commits_are_kept(Gate::InsideTheWindow);
}

#[test]
fn a_commit_delivered_before_a_crash_is_kept_after_it() {
    hung_commits_are_kept(Gate::BeforeACrash);
}

#[test]
fn a_commit_that_the_source_has_forgotten_is_kept_when_the_data_folder_is_lost() {
    hung_commits_are_kept(Gate::BeforeALoss);
}

fn hung_commits_are_kept(gate: Gate) {
    support::log();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = Folder::new("hazard");
    let mut server = runtime.block_on(Server::start());
    let mut memory = support::store("memory:", &[]);
    let views = views();
    let mut options = support::options(&folder.join("data"));
    (options.backfill_parallel, options.backfill_chunk_rows) = (16, 2);
    let begin = |source: Arc<dyn Source>, memory: &Arc<dyn Store>| {
        Life::begin(options.clone(), source, vec![support::named("scratch", Arc::clone(memory))], &views)
    };

    let gated = Arc::new(Gated::new(server.source(), gate));
    let mut life = begin(gated.clone(), &memory);
    runtime.block_on(gated.wait_reached(HANGING.len()));
    let before = life.handle.status().journal.durable_offset;
    let hanging = runtime.block_on(server.hang());
    let delivered = before + HANGING.len() as u64;
    runtime.block_on(eventually(PATIENCE, "the hanging commits are delivered", async || {
        let durable = life.handle.status().journal.durable_offset;
        if durable >= delivered { Ok(()) } else { Err(format!("{durable} of {delivered}")) }
    }));
    assert_eq!(server.postgres.psql("SELECT v FROM plain WHERE id = 2"), "20", "readers see the old row");

    if gate == Gate::BeforeACrash {
        life.crash();
        life = begin(server.source(), &memory);
    } else if gate == Gate::BeforeALoss {
        runtime.block_on(released(&server));
        life.crash();
        std::fs::remove_dir_all(folder.join("data")).unwrap();
        memory = support::store("memory:", &[]);
        life = begin(server.source(), &memory);
    } else {
        gated.open();
        // Marks and chunks do not hang with the commits: the table is complete meanwhile.
        runtime.block_on(filled(&memory, &views[0], 5));
    }
    std::thread::sleep(Duration::from_millis(1500));
    life.assert_alive();
    runtime.block_on(server.release(hanging));
    life.wait_settled(PATIENCE);
    let truth = Truth::Postgres(server.postgres.url());
    let copy = Copy::Store(memory);
    runtime.block_on(eventually_equal(PATIENCE, &truth, &copy, &views));
    life.stop();
    // Where the clients' connections live, so last.
    drop(server);
}

/// Returns when the server keeps nothing any more of what is in its log now.
async fn released(server: &Server) {
    let now = server.postgres.psql("SELECT pg_current_wal_insert_lsn()");
    eventually(PATIENCE, "the slot moves behind the commits", async || {
        let moved = format!("SELECT bool_and(confirmed_flush_lsn >= '{now}') FROM pg_replication_slots");
        match server.postgres.psql(&moved).as_str() {
            "t" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
}

async fn filled(store: &Arc<dyn Store>, view: &View, rows: u64) {
    eventually(PATIENCE, "the view is filled while commits hang", async || match store.rows(view).await {
        Ok(found) if found >= rows => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Each table as hashes, and as JSON texts, which cannot be written in part.
fn views() -> Vec<View> {
    let mut views = Vec::new();
    for (table, _) in HANGING {
        views.push(support::flat(table, table, &["scratch"]));
        let layout = Some(Layout::Json);
        views.push(View { layout, ..support::flat(&format!("{table}_json"), table, &["scratch"]) });
    }
    views
}

/// Where backfill waits until it is let on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    BeforeTheWindow,
    InsideTheWindow,
    BeforeACrash,
    /// The crash takes journal and stores along; what the slot keeps begins behind the commits.
    BeforeALoss,
}

/// A real source in which backfill meets a gate.
struct Gated {
    inner: Arc<dyn Source>,
    gate: Gate,
    reached: AtomicUsize,
    open: watch::Sender<bool>,
}

impl Gated {
    fn new(inner: Arc<dyn Source>, gate: Gate) -> Gated {
        Gated { inner, gate, reached: AtomicUsize::new(0), open: watch::Sender::new(false) }
    }

    fn open(&self) {
        self.open.send_replace(true);
    }

    async fn wait_reached(&self, reads: usize) {
        eventually(PATIENCE, "every table waits to be read", async || {
            let reached = self.reached.load(Ordering::SeqCst);
            if reached >= reads { Ok(()) } else { Err(format!("{reached} wait")) }
        })
        .await;
    }

    async fn pass(&self) {
        self.reached.fetch_add(1, Ordering::SeqCst);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

#[async_trait]
impl Source for Gated {
    async fn inspect(&self) -> Result<SourceFacts> {
        self.inner.inspect().await
    }

    async fn lineage(&self, known: Option<&Position>) -> Result<Lineage> {
        self.inner.lineage(known).await
    }

    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>> {
        self.inner.prepare(tables).await
    }

    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn Follow>> {
        self.inner.follow(after).await
    }

    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>> {
        // Backfill asks for the table that it is about to open a window for.
        if tables.len() == 1 && self.gate != Gate::InsideTheWindow {
            self.pass().await;
        }
        self.inner.shapes(tables).await
    }

    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk> {
        // The service's first look at the source is a read of one row.
        if self.gate == Gate::InsideTheWindow && range.limit > 1 {
            self.pass().await;
        }
        self.inner.read_chunk(range).await
    }

    async fn mark(&self, chunk: ChunkId) -> Result<()> {
        self.inner.mark(chunk).await
    }

    async fn release(&self, upto: &Position) -> Result<()> {
        self.inner.release(upto).await
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        self.inner.progress().await
    }

    async fn forget(&self) -> Result<()> {
        self.inner.forget().await
    }

    async fn answer(&self, read: &headwater_model::Read) -> Result<headwater_model::Answer> {
        self.inner.answer(read).await
    }

    fn traffic(&self) -> Vec<headwater_model::Traffic> {
        self.inner.traffic()
    }

    fn notation(&self, position: &Position) -> String {
        self.inner.notation(position)
    }

    fn sequence(&self, notation: &str) -> Option<u64> {
        self.inner.sequence(notation)
    }
}
