//! A small shop in a SQLite file, read over the Redis protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_testkit::free_port;
use rusqlite::Connection;

use crate::service::Service;

const TABLES: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL, note TEXT, price REAL);
CREATE TABLE page (book TEXT NOT NULL, no INTEGER NOT NULL, text TEXT, PRIMARY KEY (book, no)) WITHOUT ROWID;
CREATE TABLE part (id INTEGER PRIMARY KEY, book_id INTEGER, name TEXT);
CREATE TABLE line (id INTEGER PRIMARY KEY, shop TEXT NOT NULL, book INTEGER NOT NULL, quantity INTEGER NOT NULL);
INSERT INTO book VALUES (1, 'Der \"Zauberberg\"', NULL, 24.5), (2, 'Ulysses', 'é\n:', 19), (3, 'Nothing', '', NULL);
INSERT INTO page VALUES ('a:b', 1, 'first'), ('100%', 2, 'second'), ('', 3, 'third');
INSERT INTO part VALUES (1, 1, 'cover'), (2, 1, 'spine');
INSERT INTO line (shop, book, quantity) VALUES ('x', 1, 5), ('x', 2, 7), ('x', 1, 4), ('y', 3, 1), ('x', 3, 7);
";

const VIEWS: &str = r#"
[views.book]
from = "book"
store = STORES
[views.whole]
from = "book"
store = STORES
embed.parts = { from = "part", many = "book_id", order = "id" }
[views.page]
from = "page"
store = STORES
[views.best]
from = "line"
store = STORES
rank = { by = "book", score = "sum(quantity)" }
[views.shopbest]
from = "line"
store = STORES
rank = { by = "book", within = "shop", score = "sum(quantity)" }
"#;

/// A running shop.
pub struct Shop {
    pub service: Service,
    pub port: u16,
}

impl Shop {
    /// `stores`: lines of `[stores]`; every view is in all of them. `serve`: more of `[serve]`.
    pub async fn start(stores: &str, serve: &str) -> Shop {
        let shop = Shop::new(stores, serve);
        shop.service.start();
        shop.service.healthy().await;
        shop
    }

    /// Not started yet.
    pub fn new(stores: &str, serve: &str) -> Shop {
        let port = free_port();
        let names: Vec<String> = stores
            .lines()
            .filter_map(|line| Some(format!("\"{}\"", line.split_once('=')?.0.trim())))
            .collect();
        let views = VIEWS.replace("STORES", &format!("[{}]", names.join(", ")));
        let file = |serve: &str| {
            format!(
                "[source]\nurl = \"sqlite:shop.db\"\n[stores]\n{stores}\n[serve]\nlisten = \"off\"\n\
                 resp = \"127.0.0.1:{port}\"\n{serve}\n{views}"
            )
        };
        let service = Service::new("resp", &file(""));
        // What this refers to is in the folder, where only the program itself looks.
        std::fs::write(service.path("headwater.toml"), file(serve)).unwrap();
        let shop = Shop { service, port };
        shop.source().execute_batch(TABLES).unwrap();
        shop
    }

    /// With one store in memory.
    pub async fn in_memory() -> Shop {
        Shop::start("memory = { url = \"memory:\" }", "").await
    }

    pub fn source(&self) -> Connection {
        let db = Connection::open(self.service.path("shop.db")).unwrap();
        db.busy_timeout(Duration::from_secs(30)).unwrap();
        db
    }

    /// What `redis-cli` prints, without the last line break.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        self.cli_with(&[], args)
    }

    /// With options of redis-cli itself.
    #[track_caller]
    pub fn cli_with(&self, options: &[&str], args: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(options)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    pub fn client(&self) -> redis::Connection {
        self.client_of("")
    }

    /// `query`: `?protocol=resp3`.
    pub fn client_of(&self, query: &str) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/{query}", self.port)).unwrap();
        client.get_connection().unwrap()
    }

    pub fn raw(&self) -> Raw {
        Raw::connect(self.port).unwrap()
    }
}

/// Bytes, without a client's help.
pub struct Raw(pub TcpStream);

impl Raw {
    pub fn connect(port: u16) -> std::io::Result<Raw> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Raw(stream))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads as many bytes as are expected, and they must be those.
    #[track_caller]
    pub fn expect(&mut self, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        let read = self.0.read_exact(&mut got);
        assert!(read.is_ok(), "{read:?}");
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    }

    /// The reply's first line.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.0.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Whether the other side has ended it.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1024]), Ok(0) | Err(_))
    }
}
