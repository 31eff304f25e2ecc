//! All of a view, in the order of the hashes of its keys: an index finds a window of them, so a page costs what it holds.
//!
//! A cursor is the hash to go on at, the width of the window, and a key where more documents than a page holds have one
//! hash.

use headwater_model::{Error, Result, Stored, StoredBody, View};

use super::Database;
use super::cypher::{Cell, Param, Row, Statement};
use super::element::{DOCUMENT, HASH, HASHES, KEY, key_text};
use super::read::{of_view, pattern};
use super::store::Shared;

struct Cursor {
    from: i64,
    width: i64,
    /// Only behind this key, in a window of one hash.
    after: String,
}

impl Cursor {
    fn read(text: &str) -> Result<Cursor> {
        let parse = || {
            let mut parts = text.splitn(3, ' ');
            let (from, width) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Cursor { from, width, after: parts.next()?.to_owned() })
        };
        parse().ok_or_else(|| Error::bug("the cursor of a scan is none of this store"))
    }

    fn text(&self) -> String {
        format!("{} {} {}", self.from, self.width, self.after)
    }
}

pub(super) async fn documents<D: Database>(
    shared: &Shared<D>,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<Stored>, Option<String>)> {
    let (rows, next) = page(shared, view, cursor, limit, true).await?;
    let stored = |row: Row| match <[Cell; 3]>::try_from(row) {
        Ok([Cell::Text(key), _, Cell::Text(document)]) => {
            Some(Stored { key: key_text(&key), body: StoredBody::Json(document.into()) })
        }
        _ => None,
    };
    Ok((rows.into_iter().filter_map(stored).collect(), next))
}

pub(super) async fn keys<D: Database>(
    shared: &Shared<D>,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let (rows, next) = page(shared, view, cursor, limit, false).await?;
    let key = |row: Row| match row.into_iter().next() {
        Some(Cell::Text(key)) => Some(key_text(&key)),
        _ => None,
    };
    Ok((rows.into_iter().filter_map(key).collect(), next))
}

pub(super) async fn rows<D: Database>(shared: &Shared<D>, view: &View) -> Result<u64> {
    let only = of_view(view);
    let filter = only.as_ref().map_or(String::new(), |(only, _)| format!(" WHERE {only}"));
    let text = format!("MATCH {}{filter} RETURN count(x) AS n", pattern(view, "")?);
    let mut statement = Statement::read(text, &["n"]);
    if let Some((_, name)) = only {
        statement = statement.with("view", name);
    }
    match shared.run(statement).await?.first().and_then(|row| row.first()) {
        Some(Cell::Int(n)) => Ok(u64::try_from(*n).unwrap_or(0)),
        _ => Ok(0),
    }
}

/// The next rows, at least one unless that was all.
async fn page<D: Database>(
    shared: &Shared<D>,
    view: &View,
    cursor: Option<String>,
    limit: usize,
    whole: bool,
) -> Result<(Vec<Row>, Option<String>)> {
    let mut at = match cursor {
        Some(text) => Cursor::read(&text)?,
        None => {
            let rows = i64::try_from(rows(shared, view).await?).unwrap_or(i64::MAX);
            // As many as fit into half a page, if hashes lie evenly.
            let pages = (rows / i64::try_from(limit).unwrap_or(i64::MAX)).saturating_mul(2).saturating_add(1);
            Cursor { from: 0, width: (HASHES / pages).max(1), after: String::new() }
        }
    };
    loop {
        let to = at.from.saturating_add(at.width).min(HASHES);
        let mut found = window(shared, view, &at, to, limit, whole).await?;
        let more = found.len() > limit;
        if more && at.width > 1 {
            at.width /= 2;
            continue;
        }
        if more {
            found.truncate(limit);
            match found.last().and_then(|row| row.first()) {
                Some(Cell::Text(key)) => at.after.clone_from(key),
                _ => return Err(Error::bug("a scan of the graph gave a document without a key")),
            }
            return Ok((found, Some(at.text())));
        }
        let sparse = found.len().saturating_mul(4) < limit;
        let width = if sparse { at.width.saturating_mul(2).min(HASHES) } else { at.width };
        at = Cursor { from: to, width, after: String::new() };
        if to >= HASHES {
            return Ok((found, None));
        }
        if !found.is_empty() {
            return Ok((found, Some(at.text())));
        }
    }
}

/// One more than the page holds tells that there are more.
async fn window<D: Database>(
    shared: &Shared<D>,
    view: &View,
    at: &Cursor,
    to: i64,
    limit: usize,
    whole: bool,
) -> Result<Vec<Row>> {
    let only = of_view(view);
    let mut filter = only.as_ref().map_or(String::new(), |(only, _)| format!(" AND {only}"));
    if !at.after.is_empty() {
        filter.push_str(&format!(" AND x.{KEY} > $after"));
    }
    let text = format!(
        "MATCH {} WHERE x.{HASH} >= $from AND x.{HASH} < $to{filter} \
         RETURN x.{KEY} AS k, x.{HASH} AS hash{} ORDER BY hash, k LIMIT {}",
        pattern(view, "")?,
        if whole { format!(", x.{DOCUMENT} AS document") } else { String::new() },
        limit.saturating_add(1),
    );
    let columns: &[&str] = if whole { &["k", "hash", "document"] } else { &["k", "hash"] };
    let mut statement = Statement::read(text, columns)
        .with("from", Param::Int(at.from))
        .with("to", Param::Int(to))
        .with("after", Param::text(&*at.after));
    if let Some((_, name)) = only {
        statement = statement.with("view", name);
    }
    shared.run(statement).await
}
