//! Clients that are slow, silent, greedy or many: they end, and the others do not notice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::client::{Client, Response, answer};
use super::shop;

/// Memory that a connection may cost that has said nothing yet, and one that has had an answer, in bytes.
const SILENT_BYTES_MAX: u64 = 8 << 10;
const KEPT_BYTES_MAX: u64 = 32 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut_off_in_time() {
    let (service, _db, client) = shop("loris", "").await;
    let began = Instant::now();
    let mut slow = client.connect();
    slow.write_all(b"GET /v1/book_page?id=1 HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut silent = client.connect();
    let ended = std::thread::spawn(move || {
        slow.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // A byte now and then keeps nothing open.
        while began.elapsed() < Duration::from_secs(40) {
            let _ = slow.write_all(b"X");
            match slow.read(&mut [0; 1024]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => return began.elapsed(),
            }
        }
        began.elapsed()
    });
    client.get("/v1/book_page?id=1").expect(200);
    let took = ended.join().unwrap();
    assert!((9..30).contains(&took.as_secs()), "cut off after {took:?}");
    // One that has said nothing yet still may.
    silent.write_all(&client.request("GET", "/v1/book_page?id=1")).unwrap();
    answer(&mut silent).expect(200);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_is_let_go_and_holds_nobody_up() {
    let (service, db, client) = shop("never-reads", "").await;
    // Far more than sockets buffer.
    let title = "x".repeat(8 << 20);
    db.execute("UPDATE books SET title = ?1 WHERE id = 9", [&title]).unwrap();
    let position: i64 = db.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0)).unwrap();
    let fresh = client.with("Headwater-After", &position.to_string()).with("Headwater-Within", "20s");
    fresh.get("/v1/book_page?id=9").expect(200);
    let mut greedy: Vec<TcpStream> = (0..20).map(|_| client.connect()).collect();
    for stream in &mut greedy {
        // Many questions in one go, and no answer is read.
        let request = b"GET /v1/book_page?id=9 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
        stream.write_all(&request).unwrap();
    }
    for _ in 0..50 {
        client.get("/v1/book_page?id=1").expect(200);
    }
    let resident = service.resident_max();
    assert!(resident < 600 << 20, "one answer per connection, not all: {} MiB", resident >> 20);
    let until = Instant::now() + Duration::from_secs(60);
    let open = || connections(&client);
    while open() > 0 {
        assert!(Instant::now() < until, "{} connections are still open", open());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    service.stop();
}

/// Connections that the server has open, as the system lists them.
fn connections(client: &Client) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{:04X}", client.address.port());
    // 01: established; 0A would be the one that listens.
    table
        .lines()
        .filter(|line| {
            line.split_whitespace().nth(1) == Some(&*local) && line.split_whitespace().nth(3) == Some("01")
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little_and_one_more_is_told_so() {
    let (service, _db, client) = shop("idle", "").await;
    let wanted = 10_000;
    raise_descriptor_limit();
    let before = service.resident_max();
    let mut idle = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        match TcpStream::connect(client.address) {
            Ok(stream) => idle.push(stream),
            Err(error) => panic!("connection {}: {error}; `ulimit -Hn` must allow it", idle.len()),
        }
    }
    let refused = std::thread::spawn({
        let client = client.clone();
        move || {
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                let mut one_more = client.connect();
                let mut bytes = Vec::new();
                let _ = one_more.shutdown(Shutdown::Write);
                let _ = one_more.read_to_end(&mut bytes);
                if bytes.starts_with(b"HTTP/") || Instant::now() > until {
                    return bytes;
                }
            }
        }
    });
    let refused = Response::parse(&refused.join().unwrap());
    assert_eq!(super::problem(&refused, 503, "overloaded")["detail"], "too many connections");
    // Those that are in are served.
    let mut one = idle.pop().unwrap();
    one.write_all(&client.request("GET", "/v1/book_page?id=1")).unwrap();
    answer(&mut one).expect(200);
    let silent = (service.resident_max() - before) / wanted as u64;
    assert!(silent < SILENT_BYTES_MAX, "{silent} bytes per connection");
    let before = service.resident_max();
    let asking = 2_000;
    for stream in &mut idle[..asking] {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 15]).unwrap();
    }
    let kept = (service.resident_max() - before) / asking as u64;
    assert!(kept < KEPT_BYTES_MAX, "{kept} bytes per connection");
    println!("{silent} bytes per silent connection, {kept} per one that was answered");
    drop(idle);
    service
        .eventually("there is room again", async || match client.try_get("/v1/book_page?id=1") {
            Some(response) if response.status == 200 => Ok(()),
            other => Err(format!("{:?}", other.map(|response| response.status))),
        })
        .await;
    service.stop();
}

fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_targets_are_bounded() {
    let (service, _db, client) = shop("heads", "").await;
    let long = "x".repeat(20 << 10);
    let status = |request: Vec<u8>| {
        let mut stream = client.connect();
        // The answer may come before all is sent.
        let _ = stream.write_all(&request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes.starts_with(b"HTTP/").then(|| Response::parse(&bytes).status)
    };
    let said = status(client.request("GET", &format!("/v1/book_page?id={long}")));
    assert!(matches!(said, Some(414 | 431) | None), "{said:?}");
    let said = status(client.with("X-Long", &long).request("GET", "/v1/book_page?id=1"));
    assert!(matches!(said, Some(431) | None), "{said:?}");
    let many = (0..100).fold(client.clone(), |client, n| client.with(&format!("X-{n}"), "x"));
    assert_eq!(status(many.request("GET", "/v1/book_page?id=1")), Some(431));
    assert_eq!(status(b"NONSENSE\r\n\r\n".to_vec()), Some(400));
    client.get("/v1/book_page?id=1").expect(200);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_idle_connections_and_lets_answers_out() {
    let (service, _db, client) = shop("stopping", "").await;
    let mut idle = client.connect();
    let mut kept = client.connect();
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    kept.read_exact(&mut [0; 15]).unwrap();
    let began = Instant::now();
    service.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(matches!(idle.read(&mut [0; 16]), Ok(0) | Err(_)), "the end, for all");
}
