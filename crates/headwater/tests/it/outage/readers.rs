//! Readers over HTTP and the Redis protocol, on kept connections, at 2,000 reads per second together. Each judges its own
//! answers, and remembers the first that is wrong.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_testkit::Chance;
use serde_json::Value as Json;

use super::{ROWS, STALE};
use crate::service::PATIENCE;

/// Each with a pause of [`PACE`] from one read to the next.
const HTTP_READERS: u64 = 24;
const RESP_READERS: u64 = 16;
const PACE: Duration = Duration::from_millis(20);

/// Which version of each row was committed when.
pub struct Written {
    rows: Vec<Mutex<Vec<(Instant, i64)>>>,
}

impl Written {
    pub fn new(rows: i64) -> Written {
        Written { rows: (0..=rows).map(|_| Mutex::default()).collect() }
    }

    pub fn committed(&self, id: i64, version: i64) {
        self.rows[id as usize].lock().unwrap().push((Instant::now(), version));
    }

    /// The version that the row had at that moment at least.
    fn at(&self, id: i64, moment: Option<Instant>) -> i64 {
        let row = self.rows[id as usize].lock().unwrap();
        let known = row.iter().rev().find(|(when, _)| moment.is_some_and(|moment| *when <= moment));
        known.map_or(0, |(_, version)| *version)
    }
}

#[derive(Default)]
struct Seen {
    over: AtomicBool,
    reads: AtomicU64,
    answered_by: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<Vec<String>>,
}

pub struct Readers {
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub fn start(http: SocketAddr, resp: u16, written: Arc<Written>) -> Readers {
        let seen = Arc::new(Seen::default());
        let mut threads = Vec::new();
        let mut start = |n: u64, read: Box<dyn FnOnce(Chance) -> Result<(), String> + Send>| {
            let seen = Arc::clone(&seen);
            threads.push(std::thread::spawn(move || {
                if let Err(wrong) = read(Chance::new(n)) {
                    seen.wrong.lock().unwrap().push(wrong);
                }
            }));
        };
        for n in 0..HTTP_READERS {
            let (seen, written) = (Arc::clone(&seen), Arc::clone(&written));
            let what = [What::Item, What::Fresh, What::Shelf][(n % 3) as usize];
            start(n, Box::new(move |chance| read_http(http, what, &written, chance, &seen)));
        }
        for n in 0..RESP_READERS {
            let seen = Arc::clone(&seen);
            start(HTTP_READERS + n, Box::new(move |chance| read_resp(resp, chance, &seen)));
        }
        Readers { seen, threads }
    }

    /// How many answers over HTTP were this store's.
    pub fn answered_by(&self, store: &str) -> u64 {
        self.seen.answered_by.lock().unwrap().get(store).copied().unwrap_or(0)
    }

    #[track_caller]
    pub fn assert_well(&self) {
        let wrong = self.seen.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{:?}: {}", self.seen.answered_by, wrong.join("\n"));
    }

    /// Ends all of them; how many reads they made.
    #[track_caller]
    pub fn finish(mut self) -> u64 {
        self.seen.over.store(true, Ordering::SeqCst);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a reader does not panic");
        }
        self.assert_well();
        println!("answered over HTTP: {:?}", self.seen.answered_by.lock().unwrap());
        self.seen.reads.load(Ordering::SeqCst)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::SeqCst);
    }
}

/// Waits for its turn; whether there is one more.
struct Pace {
    next: Instant,
}

impl Pace {
    fn new(chance: &mut Chance) -> Pace {
        Pace { next: Instant::now() + Duration::from_millis(chance.below(PACE.as_millis() as u64)) }
    }

    fn turn(&mut self, seen: &Seen) -> bool {
        std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
        // What was missed is not made up for: nobody reads in bursts because a machine is slow.
        self.next = (self.next + PACE).max(Instant::now());
        seen.reads.fetch_add(1, Ordering::Relaxed);
        !seen.over.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// One row, passing on the position of each answer.
    Item,
    /// One row, not older than the pattern allows.
    Fresh,
    /// A page of rows, passing on positions as well.
    Shelf,
}

fn read_http(
    address: SocketAddr,
    what: What,
    written: &Written,
    mut chance: Chance,
    seen: &Seen,
) -> Result<(), String> {
    let mut connection = Connection::open(address)?;
    let (mut newest, mut position) = (HashMap::new(), None::<String>);
    let mut pace = Pace::new(&mut chance);
    while pace.turn(seen) {
        let target = match what {
            What::Item => format!("/v1/item?id={}", 1 + chance.below(ROWS as u64)),
            What::Fresh => format!("/v1/fresh?id={}", 1 + chance.below(ROWS as u64)),
            What::Shelf => format!("/v1/shelf?shelf={}", chance.below(20)),
        };
        let asked = Instant::now();
        let answer = connection.get(&target, position.as_deref())?;
        let wrong = |why: String| Err(format!("{target} after {position:?}: {why}: {answer:?}"));
        if answer.status != 200 {
            return wrong("no answer".to_owned());
        }
        let store = answer.header("headwater-store").unwrap_or_default().to_owned();
        *seen.answered_by.lock().unwrap().entry(store).or_default() += 1;
        let json: Json = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
        let rows = match json["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![json],
        };
        if matches!(what, What::Shelf) && rows.len() as i64 != ROWS / 20 {
            return wrong(format!("{} rows", rows.len()));
        }
        for row in &rows {
            let (Some(id), Some(version)) = (row["id"].as_i64(), row["version"].as_i64()) else {
                return wrong("no row".to_owned());
            };
            if let What::Fresh = what {
                let age: u128 = answer.header("headwater-age-ms").unwrap_or_default().parse().unwrap_or(0);
                let least = written.at(id, asked.checked_sub(STALE));
                if age > STALE.as_millis() || version < least {
                    return wrong(format!("too old: version {version}, {least} was committed long ago"));
                }
                continue;
            }
            let known = newest.insert(id, version).unwrap_or(0);
            if version < known {
                return wrong(format!("row {id} went back from version {known}"));
            }
        }
        if !matches!(what, What::Fresh) {
            position = answer.header("headwater-position").map(str::to_owned);
        }
    }
    Ok(())
}

/// An HTTP connection that is kept.
struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Connection, String> {
        let open = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(Connection { stream, bytes: Vec::new() })
        };
        open().map_err(|error: std::io::Error| format!("connect: {error}"))
    }

    fn get(&mut self, target: &str, after: Option<&str>) -> Result<Answer, String> {
        let demand = after.map_or(String::new(), |after| format!("Headwater-After: {after}\r\n"));
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nHeadwater-Within: 30s\r\n{demand}\r\n");
        self.exchange(&request).map_err(|error| format!("{target}: {error}"))
    }

    fn exchange(&mut self, request: &str) -> std::io::Result<Answer> {
        self.stream.write_all(request.as_bytes())?;
        loop {
            if let Some(answer) = self.whole() {
                return Ok(answer);
            }
            let mut part = [0; 4096];
            let length = self.stream.read(&mut part)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(&part[..length]);
        }
    }

    fn whole(&mut self) -> Option<Answer> {
        let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: String::new() };
        let length: usize = answer.header("content-length")?.parse().ok()?;
        let body = self.bytes.get(end..end + length)?;
        answer.body = String::from_utf8_lossy(body).into_owned();
        self.bytes.drain(..end + length);
        Some(answer)
    }
}

/// Rows as hashes and as JSON. Now and then the connection demands what it has seen from then on.
fn read_resp(port: u16, mut chance: Chance, seen: &Seen) -> Result<(), String> {
    let open = || {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
        let connection = client.get_connection()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(connection)
    };
    let mut connection = open().map_err(|error: redis::RedisError| format!("connect: {error}"))?;
    let mut demanded = HashMap::new();
    let mut pace = Pace::new(&mut chance);
    while pace.turn(seen) {
        let id = 1 + chance.below(ROWS as u64);
        let version = match chance.below(2) {
            0 => redis::cmd("HGET").arg(format!("item:{id}")).arg("version").query::<i64>(&mut connection),
            _ => redis::cmd("GET").arg(format!("item:{id}")).query::<String>(&mut connection).map(|text| {
                serde_json::from_str::<Json>(&text).ok().and_then(|row| row["version"].as_i64()).unwrap_or(-1)
            }),
        };
        let version = version.map_err(|error| format!("item:{id}: {error}"))?;
        if let Some(least) = demanded.get(&id)
            && version < *least
        {
            return Err(format!("item:{id} went back from version {least} to {version}"));
        }
        if chance.one_in(10) {
            let mut wait = || {
                let position: String = redis::cmd("HEADWATER.POSITION").query(&mut connection)?;
                redis::cmd("HEADWATER.WAIT").arg(position).arg(30_000).exec(&mut connection)
            };
            wait().map_err(|error| format!("wait: {error}"))?;
            demanded.insert(id, version);
        }
    }
    Ok(())
}
