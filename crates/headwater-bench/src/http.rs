//! Reading a document over HTTP, against a bare hello-world of the same HTTP library: what routing, parameters, the choice of
//! a store, the read itself, headers and figures cost together.
//!
//! Both are processes of their own, driven in turns by the same client over the same number of kept connections.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use headwater_testkit::{Folder, Process};
use rusqlite::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Size;
use crate::headwater::Headwater;
use crate::report::Report;

const CONNECTIONS: usize = 50;
const ROWS: u64 = 10_000;
/// Each turn of each side.
const TURN: Duration = Duration::from_secs(4);
/// Before what counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// The argument by which this program becomes the hello-world.
pub const HELLO: &str = "--hello-world";

pub fn run(size: Size) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = Folder::new("hello");
    let hello = Process::default();
    let written = folder.join("address");
    hello.start(Command::new(std::env::current_exe()?).arg(HELLO).arg(&written), folder.path());
    let hello_address = address(&std::fs::read_to_string(wait_for(&written)?)?)?;

    let source = folder.join("source.db");
    fill(&source)?;
    let headwater = Headwater::with(
        &format!("sqlite:{}", source.display()),
        "memory:",
        "accounts",
        "[access.account]\nget = \"account\"\nsource = false\n[serve]\nlisten = \"127.0.0.1:0\"\n",
    )?;
    headwater.start();
    let written = headwater.path("data/http.url");
    let url = std::fs::read_to_string(wait_for(&written)?)?;
    let our_address = address(url.trim().trim_start_matches("http://"))?;
    headwater.wait("the view is filled", Duration::from_millis(20), || {
        Ok(runtime.block_on(once(our_address, "/v1/account?aid=9999")).is_ok_and(|status| status == 200))
    })?;

    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..size.repeat {
        bare.push(runtime.block_on(drive(hello_address, |_| "/".to_owned()))?);
        ours.push(runtime.block_on(drive(our_address, |n| format!("/v1/account?aid={}", 1 + n % ROWS)))?);
    }
    let (bare, ours) = (middle(bare), middle(ours));
    let used = headwater.stop()?;
    hello.kill();

    let mut report = Report::new("http");
    report.time("limit: hello-world", TURN, bare.requests, "requests");
    report.time("headwater get", TURN, ours.requests, "requests");
    report.millis("limit: hello-world p99", bare.p99.as_secs_f64() * 1000.0);
    report.millis("headwater get p99", ours.p99.as_secs_f64() * 1000.0);
    report.memory("headwater resident max", used.resident_max);
    report.ratio("http get", ours.requests as f64 / bare.requests as f64, "of hello-world; aim 0.6");
    report.print();
    Ok(())
}

/// The whole of the hello-world.
pub fn hello_world(written: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        std::fs::write(format!("{written}.new"), listener.local_addr()?.to_string())?;
        std::fs::rename(format!("{written}.new"), written)?;
        let routes = axum::Router::new().route("/", axum::routing::get(|| async { "Hello, World!" }));
        Ok(axum::serve(listener, routes).await?)
    })
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    text.trim().parse().with_context(|| format!("{text} is no address"))
}

fn wait_for(path: &std::path::Path) -> anyhow::Result<&std::path::Path> {
    let until = Instant::now() + Duration::from_secs(30);
    while !path.exists() {
        ensure!(Instant::now() < until, "{} does not come", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(path)
}

fn fill(path: &std::path::Path) -> anyhow::Result<()> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.execute_batch(&format!(
        "CREATE TABLE accounts (aid INTEGER PRIMARY KEY, bid INTEGER NOT NULL, abalance INTEGER NOT NULL, filler TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO accounts SELECT i, 1, 0, printf('%84s', '') FROM n;"
    ))?;
    Ok(())
}

struct Turn {
    requests: u64,
    p99: Duration,
}

/// The middle one by requests.
fn middle(mut turns: Vec<Turn>) -> Turn {
    turns.sort_by_key(|turn| turn.requests);
    turns.swap_remove((turns.len() - 1) / 2)
}

/// All connections at once, each with its next request as soon as it has its answer.
async fn drive(address: SocketAddr, target: impl Fn(u64) -> String) -> anyhow::Result<Turn> {
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS as u64 {
        // Made before it counts, so that the client costs both sides the same.
        let requests: Vec<Vec<u8>> = (0..64)
            .map(|n| {
                let target = target(connection * 7919 + n * 104_729);
                format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").into_bytes()
            })
            .collect();
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut counted, mut took, mut buffer) = (0u64, Vec::new(), Vec::with_capacity(4096));
            let began = Instant::now();
            for request in requests.iter().cycle() {
                let asked = Instant::now();
                stream.write_all(request).await?;
                let status = answer(&mut stream, &mut buffer).await?;
                ensure!(status == 200, "status {status}");
                let since = began.elapsed();
                if since >= WARM_UP + TURN {
                    break;
                }
                if since >= WARM_UP {
                    counted += 1;
                    took.push(asked.elapsed());
                }
            }
            anyhow::Ok((counted, took))
        });
    }
    let (mut requests, mut took) = (0, Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (counted, own) = ended??;
        requests += counted;
        took.extend(own);
    }
    took.sort_unstable();
    ensure!(!took.is_empty(), "nothing was answered");
    Ok(Turn { requests, p99: took[took.len() * 99 / 100] })
}

async fn once(address: SocketAddr, target: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    answer(&mut stream, &mut Vec::new()).await
}

/// Reads one answer to its end.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server ended the connection");
        }
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.context("an answer without its length")?.parse()?;
        while buffer.len() < head + 4 + length {
            ensure!(stream.read_buf(buffer).await? > 0, "the server ended the connection");
        }
        return text.split(' ').nth(1).context("an answer without a status")?.parse().map_err(Into::into);
    }
}
