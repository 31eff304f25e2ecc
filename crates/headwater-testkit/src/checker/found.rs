//! What a store holds, read with the store's own plain commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use headwater_model::{Store, StoredBody, View};
use redis::Value as Reply;
use rusqlite::{Connection, OpenFlags};

use super::sql::quote;
use super::{Body, Found};

const PATIENCE: Duration = Duration::from_secs(60);

/// SCAN, then HGETALL or GET by the type that each key has. Keys under the prefix that belong to no view (where the store
/// keeps its position, say) are not documents.
pub async fn redis(url: &str, prefix: &str, views: &[View]) -> Found {
    let mut found = empty(views);
    for (view, text, body) in node(url, prefix, views, false).await {
        found.entry(view).or_default().insert(text, body);
    }
    found
}

/// As [`redis`], on every node. A document that lies in two places is there twice, and so one too many.
pub async fn redis_cluster(urls: &[String], prefix: &str, views: &[View]) -> Found {
    let mut found = empty(views);
    for url in urls {
        for (view, mut text, body) in node(url, prefix, views, true).await {
            let documents = found.entry(view).or_default();
            if documents.contains_key(&text) {
                text.push_str(" once more");
            }
            documents.insert(text, body);
        }
    }
    found
}

/// The client's own default, half a second, is too short on a busy machine.
pub(super) fn patient() -> redis::AsyncConnectionConfig {
    redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
}

/// The documents of one server: view, key text, body. Each once, whatever SCAN says.
async fn node(url: &str, prefix: &str, views: &[View], tagged: bool) -> Vec<(String, String, Body)> {
    let mut all: BTreeMap<Vec<u8>, (String, String, Body)> = BTreeMap::new();
    let client = redis::Client::open(url).expect("a Redis URL");
    let mut connection =
        client.get_multiplexed_async_connection_with_config(&patient()).await.expect("connect to Redis");
    let mut pattern = String::new();
    for c in prefix.chars() {
        if "*?[]\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(1000)
            .query_async(&mut connection)
            .await
            .expect("SCAN");
        let keys: Vec<_> =
            keys.into_iter().filter_map(|key| Some((owner(&key, prefix, views, tagged)?, key))).collect();
        let mut types = redis::pipe();
        for (_, key) in &keys {
            types.cmd("TYPE").arg(key);
        }
        let types: Vec<String> = if keys.is_empty() {
            Vec::new()
        } else {
            types.query_async(&mut connection).await.expect("TYPE")
        };
        let mut reads = redis::pipe();
        for ((_, key), kind) in keys.iter().zip(&types) {
            reads.cmd(if kind == "hash" { "HGETALL" } else { "GET" }).arg(key);
        }
        let bodies: Vec<Reply> = if keys.is_empty() {
            Vec::new()
        } else {
            reads.query_async(&mut connection).await.expect("read documents")
        };
        for (((view, text), key), reply) in keys.into_iter().zip(bodies) {
            // A key that SCAN gave and that is gone by now was removed in between.
            if let Some(body) = body(reply) {
                all.insert(key, (view, text, body));
            }
        }
        if next == 0 {
            return all.into_values().collect();
        }
        cursor = next;
    }
}

/// The view and key text of a Redis key.
fn owner(key: &[u8], prefix: &str, views: &[View], tagged: bool) -> Option<(String, String)> {
    let mut rest = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    if tagged {
        rest = rest.strip_prefix('{')?.split_once("}:")?.1;
    }
    views.iter().find_map(|view| {
        let text = rest.strip_prefix(&*view.name)?.strip_prefix(':')?;
        Some((view.name.to_string(), text.to_owned()))
    })
}

fn body(reply: Reply) -> Option<Body> {
    let bytes = |value: Reply| match value {
        Reply::BulkString(bytes) => bytes,
        Reply::SimpleString(text) => text.into_bytes(),
        other => panic!("unexpected reply: {other:?}"),
    };
    match reply {
        Reply::Nil => None,
        Reply::Array(items) if items.is_empty() => None,
        Reply::Array(items) => {
            let mut fields = BTreeMap::new();
            let mut items = items.into_iter();
            while let (Some(name), Some(value)) = (items.next(), items.next()) {
                fields.insert(String::from_utf8_lossy(&bytes(name)).into_owned(), bytes(value));
            }
            Some(Body::Fields(fields))
        }
        Reply::Map(pairs) => Some(Body::Fields(
            pairs
                .into_iter()
                .map(|(k, v)| (String::from_utf8_lossy(&bytes(k)).into_owned(), bytes(v)))
                .collect(),
        )),
        other => Some(Body::Json(bytes(other))),
    }
}

/// One snapshot of all the tables.
pub fn sqlite(path: &Path, views: &[View]) -> Found {
    let mut found = empty(views);
    let db =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("open the store's file");
    db.busy_timeout(Duration::from_secs(10)).expect("set the timeout");
    db.execute_batch("BEGIN").expect("begin a snapshot");
    for view in views {
        let exists = db
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1", [&view.name], |row| {
                row.get::<_, i64>(0)
            })
            .expect("look for the view's table");
        if exists == 0 {
            continue;
        }
        let documents = found.entry(view.name.to_string()).or_default();
        let mut query = db
            .prepare(&format!("SELECT key, document FROM {}", quote(&view.name)))
            .expect("read the view's table");
        let mut rows = query.query([]).expect("read the view's table");
        while let Some(row) = rows.next().expect("read a document") {
            let document: String = row.get(1).expect("a document");
            documents.insert(row.get(0).expect("a key"), Body::Json(document.into_bytes()));
        }
    }
    found
}

pub async fn store(store: &dyn Store, views: &[View]) -> Found {
    let mut found = empty(views);
    for view in views {
        let documents = found.entry(view.name.to_string()).or_default();
        let mut cursor = None;
        loop {
            let (stored, next) = store.scan(view, cursor, 1000).await.expect("scan the store");
            for document in stored {
                let body = match document.body {
                    StoredBody::Json(text) => Body::Json(text.as_bytes().to_vec()),
                    StoredBody::Fields(fields) => Body::Fields(fields.into_iter().collect()),
                };
                documents.insert(document.key, body);
            }
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
    }
    found
}

pub(super) fn empty(views: &[View]) -> Found {
    views.iter().map(|view| (view.name.to_string(), BTreeMap::new())).collect()
}
