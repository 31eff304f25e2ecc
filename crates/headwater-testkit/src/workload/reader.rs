//! A reader that watches `pair` in a store while everything moves: its two rows must come from one source transaction,
//! and never from an older one than was seen before.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Where to look.
#[derive(Clone, Debug)]
pub enum PairStore {
    /// Both hashes are read in one MULTI.
    Redis { url: String, prefix: String },
    /// Each hash is read by itself, by the URL of its server and its key: one may be newer than the other, none goes backwards.
    Apart([(String, String); 2]),
    /// Both rows are read by one statement.
    Sqlite(PathBuf),
    /// The same in a table with typed columns, by URL without TLS.
    Postgres { url: String, schema: String },
}

/// `(amount, version)` of both rows; `None` while the view is not complete.
type Pair = Option<[(i64, i64); 2]>;

/// Reads as fast as it can until it is finished.
pub struct PairReader {
    over: Arc<AtomicBool>,
    pardon: Arc<AtomicI64>,
    thread: JoinHandle<Result<u64, String>>,
}

impl PairReader {
    pub fn start(store: PairStore) -> PairReader {
        let (over, pardon) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(i64::MAX)));
        let (seen, granted) = (over.clone(), pardon.clone());
        let thread = std::thread::spawn(move || watch(&store, &seen, &granted));
        PairReader { over, pardon, thread }
    }

    /// What was seen after `version` was lost by whoever should have kept it: the pair may go back once, and not behind that.
    pub fn lost_after(&self, version: i64) {
        self.pardon.store(version, Ordering::SeqCst);
    }

    /// Ends the watch and returns how many times both rows were seen, or how they were torn or went backwards.
    pub fn finish(self) -> Result<u64, String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader ends")
    }
}

fn watch(store: &PairStore, over: &AtomicBool, pardon: &AtomicI64) -> Result<u64, String> {
    let (mut reads, mut newest) = (0, 0);
    let (mut reads_apart, mut each) = (0, [0; 2]);
    let mut judge = |pair| judge(pair, &mut newest, &mut reads, pardon);
    while !over.load(Ordering::Relaxed) {
        // The engine may be down or not there yet: then there is nothing to see.
        let outcome = match store {
            PairStore::Redis { url, prefix } => redis_session(url, prefix, over, &mut judge),
            PairStore::Apart(places) => apart_session(places, over, &mut each, &mut reads_apart),
            PairStore::Sqlite(path) => sqlite_session(path, over, &mut judge),
            PairStore::Postgres { url, schema } => postgres_session(url, schema, over, &mut judge),
        };
        match outcome {
            Ok(()) => {}
            Err(Trouble::Violation(text)) => return Err(text),
            Err(Trouble::Engine) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(reads + reads_apart)
}

enum Trouble {
    Violation(String),
    Engine,
}

impl From<redis::RedisError> for Trouble {
    fn from(_: redis::RedisError) -> Trouble {
        Trouble::Engine
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(_: rusqlite::Error) -> Trouble {
        Trouble::Engine
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(_: tokio_postgres::Error) -> Trouble {
        Trouble::Engine
    }
}

fn judge(pair: Pair, newest: &mut i64, reads: &mut u64, pardon: &AtomicI64) -> Result<(), Trouble> {
    let Some([one, two]) = pair else { return Ok(()) };
    *reads += 1;
    if one.0 + two.0 != 0 || one.1 != two.1 {
        return Err(Trouble::Violation(format!("a torn transaction: the pair is {one:?} and {two:?}")));
    }
    let back = one.1 < *newest;
    // Used up by the one step back that it allows.
    if back && pardon.swap(i64::MAX, Ordering::SeqCst) > one.1 {
        return Err(Trouble::Violation(format!(
            "the pair went backwards, from version {newest} to {}",
            one.1
        )));
    }
    *newest = one.1;
    Ok(())
}

type Judge<'a> = dyn FnMut(Pair) -> Result<(), Trouble> + 'a;

fn redis_session(url: &str, prefix: &str, over: &AtomicBool, judge: &mut Judge<'_>) -> Result<(), Trouble> {
    let mut connection = redis::Client::open(url)?.get_connection_with_timeout(Duration::from_secs(1))?;
    connection.set_read_timeout(Some(Duration::from_secs(2)))?;
    while !over.load(Ordering::Relaxed) {
        let mut both = redis::pipe();
        both.atomic();
        for id in [1, 2] {
            both.cmd("HMGET").arg(format!("{prefix}pair:{id}")).arg("amount").arg("version");
        }
        let rows: Vec<[Option<i64>; 2]> = both
            .query::<Vec<Vec<Option<i64>>>>(&mut connection)?
            .into_iter()
            .filter_map(|row| row.try_into().ok())
            .collect();
        let complete = |row: &[Option<i64>; 2]| Some((row[0]?, row[1]?));
        judge(rows.first().and_then(complete).zip(rows.get(1).and_then(complete)).map(|(a, b)| [a, b]))?;
    }
    Ok(())
}

fn apart_session(
    places: &[(String, String); 2],
    over: &AtomicBool,
    newest: &mut [i64; 2],
    reads: &mut u64,
) -> Result<(), Trouble> {
    let mut connections = Vec::new();
    for (url, key) in places {
        let connection = redis::Client::open(&**url)?.get_connection_with_timeout(Duration::from_secs(1))?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        connections.push((connection, key));
    }
    while !over.load(Ordering::Relaxed) {
        for ((connection, key), newest) in connections.iter_mut().zip(&mut *newest) {
            let version: Option<i64> = redis::cmd("HGET").arg(&**key).arg("version").query(connection)?;
            let Some(version) = version else { continue };
            *reads += 1;
            if version < *newest {
                return Err(Trouble::Violation(format!(
                    "{key} went backwards, from version {newest} to {version}"
                )));
            }
            *newest = version;
        }
    }
    Ok(())
}

fn sqlite_session(path: &std::path::Path, over: &AtomicBool, judge: &mut Judge<'_>) -> Result<(), Trouble> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(2))?;
    let mut query = db.prepare(
        "SELECT json_extract(document, '$.amount'), json_extract(document, '$.version') FROM pair ORDER BY key",
    )?;
    while !over.load(Ordering::Relaxed) {
        let rows: Vec<(i64, i64)> =
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        judge(<[(i64, i64); 2]>::try_from(rows).ok())?;
    }
    Ok(())
}

fn postgres_session(
    url: &str,
    schema: &str,
    over: &AtomicBool,
    judge: &mut Judge<'_>,
) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let query = format!("SELECT amount::int8, version::int8 FROM {schema}.pair ORDER BY headwater_key");
        while !over.load(Ordering::Relaxed) {
            // Not prepared: the table gets its columns with its first rows.
            let found = client.query(&query, &[]).await?;
            let rows: Vec<(i64, i64)> =
                found.iter().filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?))).collect();
            judge(<[(i64, i64); 2]>::try_from(rows).ok())?;
        }
        Ok(())
    })
}
