//! FalkorDB as a store, on a real server: the contract, what lies in the graph, and what a killed server still has.

mod doctor;
mod killed;

use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Edge, Epoch, ErrorKind, Layout, Offset, Secret, Severity, Store, Value, View, ViewChange, ViewKind,
};
use headwater_testkit::contract::store::{Subject, document, held, key, record, run, view};
use headwater_testkit::{FalkorDb, Redis};

fn section(url: impl Into<String>) -> StoreSection {
    StoreSection {
        name: "social".into(),
        url: Secret::new(url.into()),
        settings: Default::default(),
        source: None,
    }
}

fn open(server: &Redis) -> Arc<dyn Store> {
    headwater_engines::store(&section(FalkorDb::url(server, "shop"))).unwrap()
}

fn edges(name: &str, label: &str) -> Arc<View> {
    let mut edges = (*view(name, Layout::Json)).clone();
    edges.kind = ViewKind::Edge(Edge { source: "from".into(), label: label.into(), target: "to".into() });
    edges.indexes = edges.kind.indexes();
    Arc::new(edges)
}

fn put_edge(view: &Arc<View>, id: i64, from: Value, to: Value) -> ViewChange {
    let document = record(&[
        ("id", Value::Int(id)),
        ("from", from),
        ("to", to),
        ("price", Value::Decimal("19.90".into())),
    ]);
    ViewChange::Put { view: Arc::clone(view), key: key(id), moved_from: None, document }
}

async fn try_step(store: &dyn Store, after: u64, changes: Vec<ViewChange>) -> headwater_model::Result<()> {
    let mut step = store.begin(Epoch(1), Offset(after)).await?;
    assert_eq!(step.write(changes).await?, []);
    step.commit(&held(1, after + 1)).await
}

fn ask(server: &Redis, query: &str) -> String {
    let reply = server.cli(&["GRAPH.QUERY", "shop", query]);
    let rows = reply.lines().skip_while(|line| line.contains('.') && !line.contains(' '));
    rows.take_while(|line| !line.starts_with("Cached execution")).collect::<Vec<_>>().join(" ")
}

struct Graph(Redis);

#[async_trait]
impl Subject for Graph {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.0.cli(&["FLUSHALL"]);
        open(&self.0)
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(open(&self.0))
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        let section = StoreSection { source: Some(source.into()), ..section(FalkorDb::url(&self.0, "shop")) };
        Some(headwater_engines::store(&section).unwrap())
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        self.0.cli(&["FLUSHALL"]);
        true
    }

    fn layouts(&self) -> Vec<Layout> {
        vec![Layout::Hash]
    }

    fn believes_entries(&self) -> bool {
        false
    }

    fn keeps_any_order(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let Some(server) = FalkorDb::start() else { return };
    run(&Graph(server)).await;
}

#[tokio::test]
async fn the_graph_is_what_the_manual_says() {
    let Some(server) = FalkorDb::start() else { return };
    let store = open(&server);
    let (book, bought, liked) =
        (view("book", Layout::Json), edges("bought", "BOUGHT"), edges("liked", "BOUGHT"));
    store.claim(Epoch(1)).await.unwrap();
    for view in [&book, &bought, &liked] {
        store.prepare(view).await.unwrap();
    }
    let whole = record(&[
        ("id", Value::Int(7)),
        ("price", Value::Decimal("19.90".into())),
        ("stars", Value::Float(4.5)),
        ("new", Value::Bool(true)),
        ("note", Value::text("a\0b")),
        ("headwater_key", Value::text("mine")),
    ]);
    let put = ViewChange::Put { view: Arc::clone(&book), key: key(7), moved_from: None, document: whole };
    let edge = |id, from, to| put_edge(&bought, id, Value::Int(from), Value::Int(to));
    let same = put_edge(&liked, 1, Value::Int(4), Value::Decimal("7.0".into()));
    try_step(&*store, 0, vec![put, edge(1, 4, 7), edge(2, 4, 8), same]).await.unwrap();
    let found = ask(&server, "MATCH (b:book) RETURN b.id, b.price, b.stars, b.new, b.note, b.headwater_key");
    assert!(found.ends_with("7 19.90 4.5 true  7"), "{found}");
    let names = "a.value, e.price, b.value ORDER BY b.value, e.headwater_view";
    let found = ask(&server, &format!("MATCH (a:Vertex)-[e:BOUGHT]->(b:Vertex) RETURN {names}"));
    assert!(found.ends_with("4 19.90 7 4 19.90 7 4 19.90 8"), "{found}");
    // One vertex for equal values, and none that nothing joins.
    let vertices = || ask(&server, "MATCH (v:Vertex) WITH v.value AS v ORDER BY v RETURN collect(v)");
    assert!(vertices().ends_with("[4, 7, 8]"), "{}", vertices());
    let delete = |view: &Arc<View>, id| ViewChange::Delete { view: Arc::clone(view), key: key(id) };
    try_step(&*store, 1, vec![edge(1, 5, 9), delete(&bought, 2)]).await.unwrap();
    assert!(vertices().ends_with("[4, 5, 7, 9]"), "{}", vertices());
    try_step(&*store, 2, vec![ViewChange::Clear { view: Arc::clone(&bought) }, edge(3, 4, 7)]).await.unwrap();
    assert!(vertices().ends_with("[4, 7]"), "{}", vertices());
    try_step(&*store, 3, vec![delete(&liked, 1), delete(&bought, 3)]).await.unwrap();
    assert!(vertices().ends_with("[]"), "{}", vertices());
}

/// The privileges of the manual are enough, and what lacks one says so.
#[tokio::test]
async fn least_privileges_are_enough() {
    let Some(server) = FalkorDb::start() else { return };
    let grant =
        ["reset", "on", ">pw", "~shop", "+graph.query", "+graph.ro_query", "+info", "+module|list", "+ping"];
    server.cli(&[&["ACL", "SETUSER", "hw"][..], &grant].concat());
    let url = FalkorDb::url(&server, "shop").replacen("://", "://hw:pw@", 1);
    let store = headwater_engines::store(&section(url)).unwrap();
    let facts = store.inspect().await.unwrap();
    assert!(facts.server.starts_with("FalkorDB "), "{}", facts.server);
    assert!(facts.risks.iter().any(|risk| risk.severity == Severity::Note), "no append-only file");
    let bought = edges("bought", "BOUGHT");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&bought).await.unwrap();
    try_step(&*store, 0, vec![put_edge(&bought, 1, Value::Int(1), Value::Int(2))]).await.unwrap();
    assert_eq!(store.rows(&bought).await.unwrap(), 1);
    server.cli(&["ACL", "SETUSER", "hw", "-graph.query"]);
    let error = try_step(&*store, 1, vec![]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.remedy().is_some());
}

#[tokio::test]
async fn a_redis_without_the_module_says_so() {
    let server = Redis::start();
    let store = open(&server);
    for error in [store.inspect().await.unwrap_err(), store.held().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
        assert!(error.remedy().unwrap().contains("--loadmodule"), "{error:?}");
    }
}

#[tokio::test]
async fn a_statement_that_fails_leaves_nothing() {
    let Some(server) = FalkorDb::start() else { return };
    let store = open(&server);
    let book = view("book", Layout::Json);
    let put = |id: i64, n: i64| ViewChange::Put {
        view: Arc::clone(&book),
        key: key(id),
        moved_from: None,
        document: document(id, n),
    };
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&book).await.unwrap();
    try_step(&*store, 0, vec![put(1, 1)]).await.unwrap();
    // The query is stopped somewhere in its middle.
    server.cli(&["GRAPH.CONFIG", "SET", "QUERY_MEM_CAPACITY", "2000000"]);
    let many = || (1..20_000).map(|id| put(id, 2)).collect();
    let error = try_step(&*store, 1, many()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error:?}");
    server.cli(&["GRAPH.CONFIG", "SET", "QUERY_MEM_CAPACITY", "0"]);
    assert_eq!(store.held().await.unwrap(), Some(held(1, 1)));
    assert_eq!(store.rows(&book).await.unwrap(), 1);
    try_step(&*store, 1, many()).await.unwrap();
    assert_eq!(store.rows(&book).await.unwrap(), 19_999);
}

#[test]
fn views_that_cannot_be_in_a_graph_are_refused_before_they_are_made() {
    let store = section("falkordb://localhost/shop");
    let fits = |view: &View| headwater_engines::fits(&store, view);
    for (view, what) in [
        (view("Vertex", Layout::Json), "Headwater needs itself"),
        (view("Headwater", Layout::Json), "Headwater needs itself"),
        (view("a`b", Layout::Json), "backtick"),
        (edges("bought", "BOUGHT`"), "backtick"),
    ] {
        let error = fits(&view).unwrap_err();
        assert!(error.to_string().contains(what) && error.remedy().is_some(), "{error:?}");
    }
    fits(&view("vertex \"odd\"", Layout::Json)).unwrap();
    fits(&edges("Vertex", "Vertex")).unwrap();
}
