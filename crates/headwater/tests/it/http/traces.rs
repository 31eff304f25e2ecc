//! Traces, as a collector gets them from the program as it runs: the chain of a commit and of a read, and a collector that is
//! away.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use headwater_testkit::free_port;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;

use super::client::Client;
use super::{SHOP, open_shop};
use crate::service::Service;

/// Spans go out soon.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

/// Takes OTLP over HTTP, one delivery per connection.
struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    /// Refuses what comes, as one that is overloaded.
    refuses: Arc<AtomicBool>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    resource: BTreeMap<String, String>,
    /// Lower-case heads of the deliveries.
    heads: Vec<String>,
    bodies: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    start: u64,
    end: u64,
    attributes: BTreeMap<String, String>,
    /// 2: error.
    status: i32,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Collector {
            address: listener.local_addr().unwrap(),
            taken: Arc::default(),
            refuses: Arc::default(),
        };
        let (taken, refuses) = (Arc::clone(&collector.taken), Arc::clone(&collector.refuses));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // One that breaks off sends it again.
                let _ = take(stream.unwrap(), &taken, refuses.load(Ordering::SeqCst));
            }
        });
        collector
    }

    fn file(&self, more: &str) -> String {
        format!("[telemetry]\notlp = \"http://{}\"\nsample = \"100%\"\n{more}", self.address)
    }

    fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap().spans.clone()
    }

    /// Waits for a span, and gives it with all others of its trace.
    async fn trace(&self, service: &Service, is: impl Fn(&Span) -> bool) -> (Span, Vec<Span>) {
        service
            .eventually("the collector has the span", async || {
                let spans = self.spans();
                let Some(found) = spans.iter().find(|span| is(span)).cloned() else {
                    return Err(spans.iter().map(|span| format!("{span:?}\n")).collect());
                };
                let of_trace = |span: &&Span| span.trace == found.trace && span.id != found.id;
                Ok((found.clone(), spans.iter().filter(of_trace).cloned().collect()))
            })
            .await
    }
}

fn take(stream: TcpStream, taken: &Mutex<Taken>, refuse: bool) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    if refuse {
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.get_mut().write_all(refusal);
    }
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    let mut taken = taken.lock().unwrap();
    for resource in request.resource_spans {
        taken.resource = attributes(resource.resource.unwrap().attributes);
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        taken.spans.extend(spans.map(|span| Span {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            attributes: attributes(span.attributes),
            status: span.status.map_or(0, |status| status.code),
        }));
    }
    taken.heads.push(head);
    taken.bodies.extend_from_slice(&body);
    drop(taken);
    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.unwrap()))).collect()
}

fn text(value: AnyValue) -> String {
    match value.value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(n) => n.to_string(),
        Value::BoolValue(b) => b.to_string(),
        Value::ArrayValue(array) => array.values.into_iter().map(text).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_traced_until_every_store_shows_it_and_a_read_until_its_answer() {
    let collector = Collector::start();
    let resp = free_port();
    let more = "headers = { authorization = \"file:secret\", x-scope = \"shop\" }\n\
                resource = { \"deployment.environment.name\" = \"test\" }\n";
    let serve = format!("[serve]\nlisten = \"127.0.0.1:0\"\nresp = \"127.0.0.1:{resp}\"\n");
    let service = Service::new_unread("traces", &format!("{SHOP}{serve}{}", collector.file(more)));
    std::fs::write(service.path("secret"), "Bearer hush").unwrap();
    let db = open_shop(&service);
    service.start_with(&[SOON, ("OTEL_SERVICE_NAME", "bookshop")]);
    let client = Client::of(&service).await;
    service.healthy().await;
    db.execute_batch("UPDATE books SET title = 'Unspoken' WHERE id = 1").unwrap();

    let changed = |span: &Span| {
        let is = |key: &str, value: &str| span.attributes.get(key).is_some_and(|found| found == value);
        span.name == "transaction" && is("headwater.changes", "1")
    };
    let (root, steps) = collector.trace(&service, changed).await;
    assert_eq!((root.parent.as_str(), root.status), ("", 0), "{root:?}");
    assert!(steps.iter().all(|step| step.parent == root.id), "{steps:#?}");
    let names: Vec<&str> = steps.iter().map(|step| &*step.name).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let [capture, journal, derive] = ["capture", "journal", "derive"].map(|name| named(&steps, name));
    assert_eq!((root.start, capture.end, journal.end), (capture.start, journal.start, derive.start));
    for store in ["memory", "local"] {
        let apply = named(&steps, &format!("apply {store}"));
        assert!(apply.start >= journal.end && apply.end >= derive.end, "{steps:#?}");
        assert!(apply.end <= root.end, "{steps:#?} {root:?}");
        assert_eq!(apply.attributes["headwater.store"], store);
        assert_eq!(apply.attributes["headwater.step.changes"], "1", "the book, and no review");
    }
    let (status, _) = service.status();
    assert_eq!(root.attributes["headwater.source.position"], status["source"]["position"], "{status}");
    assert_eq!(root.attributes["headwater.journal.offset"], status["journal"]["durable_offset"].to_string());
    let fill = collector.spans().into_iter().find(|span| span.attributes.values().any(|v| v == "reviews"));
    let fill = fill.expect("the table was read");
    assert_eq!((&*fill.name, &*fill.attributes["headwater.rows"]), ("backfill", "210"), "{fill:?}");

    // A client that traces: its trace goes on here, and it is told so.
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let traced = client.with("traceparent", &format!("00-{trace}-{caller}-01"));
    let answer = traced.get("/v1/book_page?id=30").expect(200);
    let told = answer.header("traceresponse").unwrap();
    let (read, asked) = collector.trace(&service, |span| span.trace == trace && span.parent == caller).await;
    assert_eq!(told, format!("00-{trace}-{}-01", read.id));
    assert_eq!(read.name, "GET /v1/book_page");
    for (key, value) in [
        ("http.route", "/v1/book_page"),
        ("http.response.status_code", "200"),
        ("headwater.answered_by", answer.header("headwater-store").unwrap()),
        ("headwater.position", answer.header("headwater-position").unwrap()),
    ] {
        assert_eq!(read.attributes[key], value, "{read:?}");
    }
    let [asked] = &asked[..] else { panic!("one store was asked: {asked:#?}") };
    assert_eq!((&*asked.name, &asked.parent), ("ask memory", &read.id));
    assert!(read.start <= asked.start && asked.end <= read.end, "{read:?} {asked:?}");
    let refused = client.get("/v1/book_page?id=x").expect(400);
    assert!(refused.header("traceresponse").is_some_and(|told| told.ends_with("-01")), "{refused:?}");
    let unsampled = client.with("traceparent", &format!("00-{trace}-{caller}-00"));
    assert_eq!(unsampled.get("/v1/book_page?id=30").expect(200).header("traceresponse"), None);

    // The Redis protocol has no place for a trace: its reads begin their own.
    let mut redis =
        redis::Client::open(format!("redis://127.0.0.1:{resp}")).unwrap().get_connection().unwrap();
    let _: String = redis::cmd("GET").arg("book:30").query(&mut redis).unwrap();
    let (read, asked) = collector.trace(&service, |span| span.name == "read book_page").await;
    assert_eq!((read.parent.as_str(), &*read.attributes["headwater.reads"]), ("", "1"), "{read:?}");
    assert_eq!(named(&asked, "ask memory").parent, read.id);

    let metrics = client.get("/metrics").expect(200).text().to_owned();
    assert!(metrics.contains("\nheadwater_trace_spans_dropped_total 0\n"), "{metrics}");
    service.stop();
    let taken = collector.taken.lock().unwrap();
    let head = taken.heads.last().unwrap();
    for part in
        ["post /v1/traces http/1.1", "application/x-protobuf", "authorization: bearer hush", "x-scope: shop"]
    {
        assert!(head.contains(part), "{head}");
    }
    assert_eq!(taken.resource["service.name"], "bookshop");
    assert_eq!(taken.resource["deployment.environment.name"], "test");
    let all = String::from_utf8_lossy(&taken.bodies);
    assert!(
        !all.contains("Unspoken") && !all.contains("id=30") && !all.contains("book:30"),
        "values of rows"
    );
    assert!(!service.log().contains("hush"), "{}", service.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_the_source_answers_says_whom_it_asked_before() {
    let collector = Collector::start();
    let only = "[access.kept_here]\nget = \"book\"\nstore = \"local\"\n";
    let service = Service::new("traces-source", &format!("{SHOP}{only}{}", collector.file("")));
    open_shop(&service);
    // A folder where the store's file should be: it is never in step.
    std::fs::create_dir(service.path("derived.db")).unwrap();
    service.start_with(&[SOON]);
    let client = Client::of(&service).await;
    service
        .eventually("the source answers", async || {
            let answer = client.get("/v1/kept_here?id=1");
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    let is_answer = |span: &Span| {
        span.name == "GET /v1/kept_here"
            && span.attributes.get("headwater.answered_by").is_some_and(|who| who == "source")
    };
    let (read, asked) = collector.trace(&service, is_answer).await;
    assert_eq!(named(&asked, "ask source").parent, read.id);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let collector = Collector::start();
    collector.refuses.store(true, Ordering::SeqCst);
    let service = Service::new("traces-away", &format!("{SHOP}{}", collector.file("")));
    let db = open_shop(&service);
    service.start_with(&[SOON, ("OTEL_BSP_MAX_QUEUE_SIZE", "16"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")]);
    let client = Client::of(&service).await;
    service.healthy().await;
    let dropped = |client: &Client| {
        let metrics = client.get("/metrics").expect(200).text().to_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix("headwater_trace_spans_dropped_total "));
        line.unwrap().parse::<f64>().unwrap()
    };
    for id in 1..=30 {
        db.execute_batch(&format!("UPDATE books SET copies = {id} WHERE id = {id}")).unwrap();
        client.get(&format!("/v1/book_page?id={id}")).expect(200);
    }
    assert!(dropped(&client) > 0.0, "the queue is full");
    service.says(0, &["WARN", "traces cannot be delivered", "503"]).await;
    assert!(collector.spans().is_empty());
    service.healthy().await;

    collector.refuses.store(false, Ordering::SeqCst);
    service.says(0, &["INFO", "traces are delivered again", "dropped="]).await;
    assert!(!collector.spans().is_empty());
    assert_eq!(service.log().matches("traces cannot be delivered").count(), 1, "{}", service.log_tail());
    service.stop();
}
