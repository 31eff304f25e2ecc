//! Neptune as a store: steps and answers, over HTTP as Neptune speaks it, with FalkorDB as the graph behind it.
//!
//! The bridge takes what a cluster would take (a form with a statement and its parameters as JSON) and gives what it would
//! give. So statements, requests and replies are all used for real; Neptune's own planner, limits and signatures' check
//! are not.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use headwater_model::file::{Setting, StoreSection};
use headwater_model::{
    Edge, Epoch, ErrorKind, Hop, Layout, Offset, RangeRead, Read, Secret, Severity, Store, Value, ViewChange,
    ViewKind, WalkRead,
};
use headwater_testkit::contract::store::{Bench, Subject, held, key, random_steps, record, view};
use headwater_testkit::{Chance, FalkorDb, Redis};
use percent_encoding::percent_decode_str;
use redis::Value as Reply;
use redis::aio::MultiplexedConnection;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

struct Bridge {
    graph: MultiplexedConnection,
    /// Neptune indexes everything; here that is said once per name.
    indexed: Mutex<HashSet<String>>,
}

impl Bridge {
    /// Gives the port.
    async fn start(server: &Redis) -> (Arc<Bridge>, u16) {
        let client = redis::Client::open(server.url()).unwrap();
        let graph = client.get_multiplexed_async_connection().await.unwrap();
        let bridge = Arc::new(Bridge { graph, indexed: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = Arc::clone(&bridge);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let bridge = Arc::clone(&serving);
                tokio::spawn(async move { bridge.serve(stream).await });
            }
        });
        (bridge, port)
    }

    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut line, mut head) = (String::new(), Vec::new());
            while stream.read_line(&mut line).await.is_ok_and(|length| length > 2) {
                head.push(std::mem::take(&mut line).trim_end().to_owned());
            }
            let Some(request) = head.first() else { return };
            let length = head
                .iter()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).await.unwrap();
            let (status, answer) = match &**request {
                "GET /status HTTP/1.1" => {
                    (200, json!({"status": "healthy", "dbEngineVersion": "1.4.0.0", "role": "writer"}))
                }
                "POST /openCypher HTTP/1.1" => {
                    assert!(
                        head.iter().any(|line| line == "content-type: application/x-www-form-urlencoded")
                    );
                    self.answer(std::str::from_utf8(&body).unwrap()).await
                }
                other => panic!("Neptune has no {other}"),
            };
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.get_mut().write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
        }
    }

    async fn answer(&self, form: &str) -> (u16, Json) {
        let field = |name: &str| {
            let found = form.split('&').find_map(|field| field.strip_prefix(name)).unwrap();
            percent_decode_str(found).decode_utf8().unwrap().into_owned()
        };
        let (query, params) = (field("query="), field("parameters="));
        let params: Json = serde_json::from_str(&params).unwrap();
        self.index(&query).await;
        let mut text = String::from("CYPHER ");
        for (name, value) in params.as_object().unwrap() {
            text.push_str(&format!("{name}={} ", literal(value)));
        }
        match self.query(&format!("{text}{query}")).await {
            Err(error) if error.contains("empty key") => (200, json!({"results": []})),
            Err(error) => (400, json!({"code": "MalformedQueryException", "detailedMessage": error})),
            Ok(results) => (200, json!({ "results": results })),
        }
    }

    async fn query(&self, text: &str) -> Result<Vec<Json>, String> {
        let mut graph = self.graph.clone();
        let reply = redis::cmd("GRAPH.QUERY").arg("shop").arg(text).query_async(&mut graph).await;
        let Reply::Array(parts) = reply.map_err(|e| e.to_string())? else { panic!("a reply that is none") };
        let [Reply::Array(names), Reply::Array(rows), _] = &parts[..] else { return Ok(Vec::new()) };
        let row = |row: &Reply| {
            let Reply::Array(cells) = row else { panic!("a row that is none: {row:?}") };
            let fields = names.iter().zip(cells).map(|(name, cell)| {
                let Json::String(name) = json_of(name) else { panic!("a column without a name") };
                (name, json_of(cell))
            });
            Json::Object(fields.collect())
        };
        Ok(rows.iter().map(row).collect())
    }

    async fn index(&self, query: &str) {
        for (before, after) in [("(n:", "(x:%)"), ("(x:", "(x:%)"), ("[e:", "()-[x:%]-()"), ("(a:", "(x:%)")]
        {
            let Some((_, rest)) = query.split_once(before) else { continue };
            let end = rest.find([' ', ')', ']', '{']).unwrap_or(rest.len());
            let label = match rest.strip_prefix('`') {
                Some(quoted) => &rest[..quoted.find('`').unwrap() + 2],
                None => &rest[..end],
            };
            let on = after.replace('%', label);
            if label.contains('|') || !self.indexed.lock().unwrap().insert(on.clone()) {
                continue;
            }
            for property in ["headwater_key", "headwater_hash", "headwater_vertex"] {
                // Not of interest whether it is there.
                let _ = self.query(&format!("CREATE INDEX FOR {on} ON (x.{property})")).await;
            }
        }
    }
}

fn json_of(reply: &Reply) -> Json {
    match reply {
        Reply::Nil => Json::Null,
        Reply::Int(n) => json!(n),
        Reply::BulkString(bytes) => json!(String::from_utf8(bytes.clone()).unwrap()),
        Reply::SimpleString(text) => json!(text),
        other => panic!("a value that nobody asked for: {other:?}"),
    }
}

fn literal(value: &Json) -> String {
    match value {
        Json::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        Json::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(",")),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("`{name}`:{}", literal(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

struct Cluster {
    server: Redis,
    bridge: Arc<Bridge>,
    port: u16,
}

fn open(port: u16) -> Arc<dyn Store> {
    open_as(port, None)
}

fn open_as(port: u16, source: Option<&str>) -> Arc<dyn Store> {
    let off = |name: &str| (Box::from(name), Setting::Bool(false));
    let url = Secret::new(format!("neptune://127.0.0.1:{port}"));
    let settings = [off("iam"), off("tls")].into();
    headwater_engines::store(&StoreSection {
        name: "social".into(),
        url,
        settings,
        source: source.map(Into::into),
    })
    .unwrap()
}

#[async_trait]
impl Subject for Cluster {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.empty(&open(self.port)).await;
        open(self.port)
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(open(self.port))
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        Some(open_as(self.port, Some(source)))
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        self.server.cli(&["FLUSHALL"]);
        self.bridge.indexed.lock().unwrap().clear();
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
async fn random_steps_match_a_model_over_its_http() {
    let Some(server) = FalkorDb::start() else { return };
    let (bridge, port) = Bridge::start(&server).await;
    let facts = open(port).inspect().await.unwrap();
    assert_eq!(facts.server, "Neptune 1.4.0.0");
    let note = facts.risks.iter().find(|risk| risk.severity == Severity::Note).unwrap();
    assert!(note.what.contains("not against a cluster"), "{note:?}");
    let cluster = Cluster { server, bridge, port };
    let mut bench = Bench::new(&cluster, Layout::Hash).await;
    random_steps(&mut bench, &mut Chance::from_env(8), 40).await;
}

/// Of one graph, over the one protocol and over the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_walks_are_those_of_the_other_engine() {
    let Some(server) = FalkorDb::start() else { return };
    let (_bridge, port) = Bridge::start(&server).await;
    let url = Secret::new(FalkorDb::url(&server, "shop"));
    let direct = headwater_engines::store(&StoreSection {
        name: "social".into(),
        url,
        settings: Default::default(),
        source: None,
    });
    let (direct, cluster) = (direct.unwrap(), open(port));
    let mut bought = (*view("bought", Layout::Json)).clone();
    bought.kind = ViewKind::Edge(Edge { source: "from".into(), label: "BOUGHT".into(), target: "to".into() });
    bought.indexes = bought.kind.indexes();
    let bought = Arc::new(bought);
    cluster.claim(Epoch(1)).await.unwrap();
    cluster.prepare(&bought).await.unwrap();
    let mut chance = Chance::from_env(9);
    let mut vertex = || match chance.below(4) {
        0 => Value::text("a\"\\"),
        1 => Value::Decimal("1.50".into()),
        _ => Value::Int(chance.below(5) as i64 - 2),
    };
    let edge = |id: i64| {
        let document = record(&[("id", Value::Int(id)), ("from", vertex()), ("to", vertex())]);
        ViewChange::Put { view: Arc::clone(&bought), key: key(id), moved_from: None, document }
    };
    let changes: Vec<_> = (0..60).map(edge).collect();
    let mut step = cluster.begin(Epoch(1), Offset(0)).await.unwrap();
    assert_eq!(step.write(changes).await.unwrap(), []);
    step.commit(&held(1, 1)).await.unwrap();
    for against in [false, true] {
        let (out, back) = (
            Hop { views: vec![Arc::clone(&bought)], against },
            Hop { views: vec![Arc::clone(&bought)], against: !against },
        );
        let walk = |edges_max| WalkRead {
            start: Value::Int(1),
            hops: vec![out.clone(), back.clone(), out.clone()],
            limit: 3,
            edges_max,
        };
        let whole = Read::Walk(walk(100_000));
        assert_eq!(cluster.answer(&whole).await.unwrap(), direct.answer(&whole).await.unwrap());
        let error = cluster.answer(&Read::Walk(walk(3))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        let range = RangeRead {
            view: Arc::clone(&bought),
            index: usize::from(against),
            by: vec![Value::Int(1)],
            from: None,
            to: None,
            after: None,
            reverse: against,
            limit: 4,
        };
        let range = Read::Range(range);
        assert_eq!(cluster.answer(&range).await.unwrap(), direct.answer(&range).await.unwrap());
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_waited_for() {
    let error = open(headwater_testkit::free_port()).held().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
}
