//! Answers, each from one MULTI, so that documents and position are of one moment.
//!
//! What to ask for is not known before something was read: the keys of a range, the parts of a walk. So these are asked
//! again together with what they led to, until one MULTI holds all of it. The index seldom leads elsewhere the next time,
//! so this ends, whatever is written meanwhile, without scripts and without a lock.

use std::collections::BTreeMap;

use headwater_model::{Answer, AnswerMoment, Error, Found, RangeRead, Read, Result, Stored, WalkRead};

use super::connection::Connection;
use super::resp::{self, Reply};
use super::{codec, failure, index, keys, meta};
use crate::span::Span;
use crate::walk::walk;

/// How often a read is begun again because the index led elsewhere meanwhile.
const TRIES: usize = 16;

pub(super) async fn answer(connection: &mut Connection, prefix: &str, read: &Read) -> Result<Answer> {
    match read {
        Read::Get { view, keys } => {
            let layout = view.layout();
            let mut moment = Moment::open(connection, prefix);
            for key in keys {
                moment.ask(|out| codec::ask(layout, &keys::document(prefix, view, key), out));
            }
            let (at, replies) = moment.read().await?;
            let documents =
                replies.into_iter().map(|reply| codec::read(layout, reply)).collect::<Result<_>>()?;
            Ok(Answer { at, found: Found::Documents(documents) })
        }
        Read::Range(read) => range(connection, prefix, read).await,
        Read::Walk(read) => walked(connection, prefix, read).await,
    }
}

async fn range(connection: &mut Connection, prefix: &str, read: &RangeRead) -> Result<Answer> {
    let (view, layout, limit) = (&read.view, read.view.layout(), read.limit.max(1));
    let Some(span) = Span::of(read)? else {
        let (at, _) = Moment::open(connection, prefix).read().await?;
        return Ok(Answer { at, found: Found::Page { documents: Vec::new(), next: None } });
    };
    let set = keys::index(prefix, &view.name, read.index, &span.part);
    let start = keys::of_view(prefix, &view.name);
    // Keys of documents, as the index last gave them.
    let mut known: Vec<Vec<u8>> = Vec::new();
    for _ in 0..TRIES {
        let mut moment = Moment::open(connection, prefix);
        moment.ask(|out| ask_span(&set, &span, read.reverse, limit, out));
        for key in &known {
            moment.ask(|out| codec::ask(layout, &[&start, &key[..]].concat(), out));
        }
        let (at, replies) = moment.read().await?;
        let mut replies = replies.into_iter();
        let mut members = members(replies.next())?;
        let more = members.len() > limit;
        members.truncate(limit);
        let mut documents: BTreeMap<&[u8], Reply> = known.iter().map(|key| &key[..]).zip(replies).collect();
        let parts: Vec<_> = members.iter().map(|member| index::parts_of(member)).collect::<Result<_>>()?;
        if !parts.iter().all(|(_, key)| documents.contains_key(key)) {
            known = parts.iter().map(|(_, key)| key.to_vec()).collect();
            continue;
        }
        let mut page = Vec::with_capacity(parts.len());
        for (_, key) in &parts {
            // What somebody else removed is no document any more.
            if let Some(reply) = documents.remove(key)
                && let Some(body) = codec::read(layout, reply)?
            {
                page.push(Stored { key: String::from_utf8_lossy(key).into_owned(), body });
            }
        }
        let next = parts.last().filter(|_| more).map(|(sort, _)| sort.to_vec());
        return Ok(Answer { at, found: Found::Page { documents: page, next } });
    }
    Err(Error::transient(format!(
        "a range of the view {:?} changed each of the {TRIES} times it was read",
        view.name
    )))
}

/// Appends the question for the members of a span, and one more than the limit, which tells whether there is more.
fn ask_span(set: &[u8], span: &Span, reverse: bool, limit: usize, out: &mut Vec<u8>) {
    let lower = if span.lower.is_empty() { b"-".to_vec() } else { [b"[", &span.lower[..]].concat() };
    let upper = span.upper.as_ref().map_or(b"+".to_vec(), |upper| [b"(", &upper[..]].concat());
    let count = limit.saturating_add(1).min(i64::MAX as usize).to_string();
    if reverse {
        resp::whole(
            &[b"ZRANGE", set, &upper, &lower, b"BYLEX", b"REV", b"LIMIT", b"0", count.as_bytes()],
            out,
        );
    } else {
        resp::whole(&[b"ZRANGE", set, &lower, &upper, b"BYLEX", b"LIMIT", b"0", count.as_bytes()], out);
    }
}

fn members(reply: Option<Reply>) -> Result<Vec<Vec<u8>>> {
    match reply {
        Some(Reply::Array(items)) => Ok(items
            .into_iter()
            .filter_map(|item| match item {
                Reply::Text(member) => Some(member),
                _ => None,
            })
            .collect()),
        Some(Reply::Error(text)) => Err(failure::from_reply(&text)),
        _ => Err(failure::unexpected("ZRANGE")),
    }
}

/// A part that a walk asks for: at most so many edges, and those it got.
struct Part {
    limit: usize,
    edges: Vec<Vec<u8>>,
}

async fn walked(connection: &mut Connection, prefix: &str, read: &WalkRead) -> Result<Answer> {
    let mut parts = BTreeMap::new();
    let (_, mut wanted) = walk_over(&parts, prefix, read)?;
    for _ in 0..TRIES + 2 * read.hops.len() {
        // No more is asked for than the walk may read, twice at most: a part with more than its share is asked again.
        let fewest = 2 * read.edges_max.saturating_add(1) / wanted.len().max(1) + 16;
        for set in wanted {
            let part = parts.entry(set).or_insert(Part { limit: 0, edges: Vec::new() });
            part.limit = fewest.max(part.limit.saturating_mul(4)).min(read.edges_max.saturating_add(1));
        }
        let mut moment = Moment::open(connection, prefix);
        for (set, part) in &parts {
            let last = (part.limit - 1).to_string();
            moment.ask(|out| resp::whole(&[b"ZRANGE", set, b"0", last.as_bytes()], out));
        }
        let (at, replies) = moment.read().await?;
        for (part, reply) in parts.values_mut().zip(replies) {
            part.edges = members(Some(reply))?;
        }
        let (reached, missing) = walk_over(&parts, prefix, read)?;
        if missing.is_empty() {
            return Ok(Answer { at, found: Found::Reached(reached) });
        }
        wanted = missing;
    }
    Err(Error::transient(format!("the edges of a walk changed each of the {TRIES} times they were read")))
}

/// Walks over the parts that were read: what is reached, and the sets that are missing or were not read to their end.
fn walk_over(
    parts: &BTreeMap<Vec<u8>, Part>,
    prefix: &str,
    read: &WalkRead,
) -> Result<(Vec<headwater_model::Reached>, Vec<Vec<u8>>)> {
    let mut missing = Vec::new();
    let reached = walk(read, |view, number, part, edges| {
        let set = keys::index(prefix, &view.name, number, part);
        let known = parts.get(&set);
        for member in known.map_or(&[][..], |known| &known.edges) {
            edges.take(index::parts_of(member)?.0)?;
        }
        if known.is_none_or(|known| known.edges.len() == known.limit) {
            missing.push(set);
        }
        Ok(())
    })?;
    missing.sort_unstable();
    missing.dedup();
    Ok((reached, missing))
}

/// Questions that are answered together: in one MULTI, with the position.
struct Moment<'c> {
    connection: &'c mut Connection,
    asked: usize,
}

impl Moment<'_> {
    fn open<'c>(connection: &'c mut Connection, prefix: &str) -> Moment<'c> {
        resp::whole(&[b"MULTI"], &mut connection.out);
        meta::ask_held(&keys::meta(prefix), &mut connection.out);
        Moment { connection, asked: 0 }
    }

    /// `write` appends one command.
    fn ask(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.connection.out);
        self.asked += 1;
    }

    /// The moment, and the replies in the order asked. A command that failed has its error as its reply.
    async fn read(self) -> Result<(AnswerMoment, Vec<Reply>)> {
        resp::whole(&[b"EXEC"], &mut self.connection.out);
        let mut refused = None;
        // MULTI, the position, the questions.
        for _ in 0..2 + self.asked {
            if let Reply::Error(text) = self.connection.reply().await? {
                refused.get_or_insert(text);
            }
        }
        let replies = match (refused, self.connection.reply().await?) {
            (Some(text), _) | (None, Reply::Error(text)) => return Err(failure::from_reply(&text)),
            (None, Reply::Array(replies)) => replies,
            (None, _) => return Err(failure::unexpected("EXEC")),
        };
        let mut replies = replies.into_iter();
        let held = meta::read_held(replies.next().unwrap_or(Reply::Nil))?.ok_or_else(|| {
            Error::out_of_step("the store is empty: it was flushed, or restarted without its data")
        })?;
        let at = AnswerMoment::Applied(held);
        Ok((at, replies.collect()))
    }
}
