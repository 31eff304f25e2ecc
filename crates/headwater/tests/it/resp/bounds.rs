//! What clients may do to others, and to memory: nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::site::{Raw, Shop};

/// As many files as this process may have.
fn many_files() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.min(30_000).max(soft);
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().0
}

fn resident(shop: &Shop) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", shop.service.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_that_wait_cost_little() {
    let shop = Shop::in_memory().await;
    let wanted = usize::try_from(many_files().saturating_sub(600)).unwrap().min(10_000);
    let before = resident(&shop);
    let mut idle: Vec<TcpStream> = (0..wanted)
        .map(|n| TcpStream::connect(("127.0.0.1", shop.port)).unwrap_or_else(|error| panic!("{n}: {error}")))
        .collect();
    // All are accepted when the last one is answered; each has worked once.
    for stream in &mut idle {
        stream.write_all(b"PING\r\n").unwrap();
    }
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
    }
    let each = resident(&shop).saturating_sub(before) / wanted as u64;
    eprintln!("{wanted} connections that wait, {each} bytes each");
    assert!(each < 4_096, "{each} bytes for each connection that waits");
    let began = Instant::now();
    assert_eq!(shop.cli(&["HGET", "book:2", "title"]), "Ulysses");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_costs_one_buffer() {
    let shop = Shop::in_memory().await;
    let long = "x".repeat(10_000);
    shop.source().execute("INSERT INTO book VALUES (50, ?1, NULL, 1)", [&long]).unwrap();
    shop.service
        .eventually("the long row is there", async || {
            if shop.cli(&["EXISTS", "book:50"]) == "1" { Ok(()) } else { Err("not yet".into()) }
        })
        .await;
    let before = resident(&shop);
    let greedy: Vec<_> = (0..4)
        .map(|_| {
            let stream = TcpStream::connect(("127.0.0.1", shop.port)).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            std::thread::spawn(move || {
                let asks = b"GET book:50\r\n".repeat(5_000);
                let mut sent = 0usize;
                let mut stream = stream;
                // Until nothing more is taken: 400 MB of replies would be due for each 500 kB.
                while sent < 50_000_000 {
                    match stream.write(&asks) {
                        Ok(n) => sent += n,
                        Err(_) => break,
                    }
                }
                (stream, sent)
            })
        })
        .collect();
    let ended: Vec<_> = greedy.into_iter().map(|thread| thread.join().unwrap()).collect();
    for (_, sent) in &ended {
        assert!(*sent < 50_000_000, "reading goes on although replies are not read");
    }
    let grown = resident(&shop).saturating_sub(before);
    eprintln!("4 clients that never read: {grown} bytes");
    assert!(grown < 32 << 20, "{grown} bytes for clients that never read");
    // Others are answered as always.
    let mut other = shop.raw();
    for _ in 0..100 {
        other.send(b"HGET book:2 title\r\n");
        other.expect(b"$7\r\nUlysses\r\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_and_never_sent_costs_nothing() {
    let shop = Shop::in_memory().await;
    let before = resident(&shop);
    let mut half: Vec<Raw> = (0..500).map(|_| shop.raw()).collect();
    for raw in &mut half {
        raw.send(b"*1000\r\n$500000\r\nabc");
    }
    assert_eq!(shop.cli(&["PING"]), "PONG");
    let grown = resident(&shop).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes for 500 requests that were only begun");
    for bad in ["*2000\r\n", "*1\r\n$-5\r\n", "*1\r\n$9999999999\r\n", "*1\r\n*1\r\n$1\r\na\r\n", "\"\r\n"] {
        let mut raw = shop.raw();
        raw.send(bad.as_bytes());
        let said = raw.line();
        assert!(said.starts_with("-ERR Protocol error: "), "{bad:?}: {said}");
        assert!(raw.is_closed());
    }
    // In the middle of a pipeline everything before is answered.
    let mut raw = shop.raw();
    raw.send(b"HGET book:2 title\r\n*1\r\n$x\r\n");
    raw.expect(b"$7\r\nUlysses\r\n-ERR Protocol error: invalid bulk length\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_come_byte_by_byte() {
    let shop = Shop::in_memory().await;
    let mut raw = shop.raw();
    raw.0.set_nodelay(true).unwrap();
    let request = b"*3\r\n$4\r\nHGET\r\n$6\r\nbook:2\r\n$5\r\ntitle\r\n*2\r\n$4\r\nTYPE\r\n$6\r\nbook:2\r\n";
    for byte in request.chunks(1) {
        raw.send(byte);
    }
    raw.expect(b"$7\r\nUlysses\r\n+hash\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_only_tls_is_answered() {
    let shop = Shop::new("memory = { url = \"memory:\" }", "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = shop.service.path("cert.pem");
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(shop.service.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    shop.service.start();
    shop.service.healthy().await;
    let tls = ["--tls", "--sni", "localhost", "--cacert", cert.to_str().unwrap()];
    assert_eq!(shop.cli_with(&tls, &["HGET", "book:2", "title"]), "Ulysses");
    let mut plain = shop.raw();
    plain.send(b"PING\r\n");
    assert!(!plain.line().contains("PONG"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut shop = Shop::new("memory = { url = \"memory:\" }", "");
    let port = taken.local_addr().unwrap().port();
    let file = std::fs::read_to_string(shop.service.path("headwater.toml")).unwrap();
    shop.service.rewrite(&file.replace(&format!(":{}\"", shop.port), &format!(":{port}\"")));
    shop.service.start();
    assert_eq!(shop.service.wait().code(), Some(1));
    let log = shop.service.log();
    assert!(
        log.contains(&format!("cannot listen on 127.0.0.1:{port}")) && log.contains("`resp` in [serve]"),
        "{log}"
    );
}
