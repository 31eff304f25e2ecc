//! Answers, each from one MULTI, so that documents and position are of one moment.
//!
//! What to ask for is not known before something was read: the keys of a range, the parts of a walk. So these are asked
//! again together with what they led to, until one MULTI holds all of it. The index seldom leads elsewhere the next time,
//! so this ends, whatever is written meanwhile, without scripts and without a lock.
//!
//! A store that is spread over lanes has in each lane the index of that lane's documents: all of them are asked, and what
//! they give is merged.

use std::collections::BTreeMap;

use headwater_model::{
    Answer, AnswerMoment, Error, Found, Key, RangeRead, Read, Result, Stored, View, WalkRead,
};

use super::config::Config;
use super::connection::Connection;
use super::meta::Mark;
use super::resp::{self, Reply};
use super::{codec, failure, index, keys, meta};
use crate::span::Span;
use crate::walk::walk;

/// How often a read is begun again because the index led elsewhere meanwhile.
const TRIES: usize = 16;

/// Whoever can be asked questions of a moment: one lane, or all lanes of a store.
pub(super) trait Ask: Send {
    fn lanes(&self) -> usize;

    /// What a lane's keys start with.
    fn prefix(&self, lane: usize) -> &str;

    /// Where a lane says how far it is.
    fn meta(&self, lane: usize) -> Vec<u8>;

    /// The lane of a document, by what stands behind the lane's prefix: `view:key`.
    fn lane_of(&self, name: &[u8]) -> usize;

    /// The moment that the answers show, and for each block the replies to its questions, in the order asked.
    fn ask(
        &mut self,
        blocks: Vec<Block>,
    ) -> impl Future<Output = Result<(AnswerMoment, Vec<Vec<Reply>>)>> + Send;
}

/// One server, or one slot.
pub(super) struct Alone<'c> {
    pub(super) connection: &'c mut Connection,
    pub(super) config: &'c Config,
}

impl Ask for Alone<'_> {
    fn lanes(&self) -> usize {
        1
    }

    fn prefix(&self, _: usize) -> &str {
        &self.config.prefix
    }

    fn meta(&self, _: usize) -> Vec<u8> {
        self.config.meta()
    }

    fn lane_of(&self, _: &[u8]) -> usize {
        0
    }

    async fn ask(&mut self, blocks: Vec<Block>) -> Result<(AnswerMoment, Vec<Vec<Reply>>)> {
        blocks.iter().for_each(|block| block.write(&mut self.connection.out));
        let (mut at, mut all) = (None, Vec::with_capacity(blocks.len()));
        for block in &blocks {
            let told = block.read(self.connection).await?.map_err(|text| failure::from_reply(&text))?;
            at = Some(told.mark.ok_or_else(empty)?.held);
            all.push(told.replies);
        }
        let held = at.ok_or_else(|| Error::bug("nobody was asked"))?;
        Ok((AnswerMoment::Applied(held), all))
    }
}

/// An empty store does not know what it lacks.
pub(super) fn empty() -> Error {
    Error::out_of_step("the store is empty: it was flushed, or restarted without its data")
}

pub(super) async fn answer(asked: &mut impl Ask, read: &Read) -> Result<Answer> {
    match read {
        Read::Get { view, keys } => get(asked, view, keys).await,
        Read::Range(read) => range(asked, read).await,
        Read::Walk(read) => walked(asked, read).await,
    }
}

async fn get(asked: &mut impl Ask, view: &View, keys: &[Key]) -> Result<Answer> {
    let (layout, start) = (view.layout(), keys::of_view("", &view.name));
    let mut blocks: Vec<Option<Block>> = vec![None; asked.lanes()];
    // By key: its lane.
    let mut lanes = Vec::with_capacity(keys.len());
    for key in keys {
        let mut name = start.clone();
        key.write_text(&mut name);
        let lane = asked.lane_of(&name);
        let block = blocks[lane].get_or_insert_with(|| Block::new(lane, &asked.meta(lane)));
        block.ask(|out| codec::ask(layout, &[asked.prefix(lane).as_bytes(), &name].concat(), out));
        lanes.push(lane);
    }
    if keys.is_empty() {
        blocks[0] = Some(Block::new(0, &asked.meta(0)));
    }
    let blocks: Vec<Block> = blocks.into_iter().flatten().collect();
    let order: Vec<usize> = blocks.iter().map(|block| block.lane).collect();
    let (at, replies) = asked.ask(blocks).await?;
    let mut replies: BTreeMap<usize, _> =
        order.into_iter().zip(replies.into_iter().map(Vec::into_iter)).collect();
    let mut documents = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let reply = replies.get_mut(&lane).and_then(Iterator::next).unwrap_or(Reply::Nil);
        documents.push(codec::read(layout, reply)?);
    }
    Ok(Answer { at, found: Found::Documents(documents) })
}

async fn range(asked: &mut impl Ask, read: &RangeRead) -> Result<Answer> {
    let (view, layout, limit) = (&read.view, read.view.layout(), read.limit.max(1));
    let Some(span) = Span::of(read)? else {
        let (at, _) = asked.ask(vec![Block::new(0, &asked.meta(0))]).await?;
        return Ok(Answer { at, found: Found::Page { documents: Vec::new(), next: None } });
    };
    let lanes = asked.lanes();
    // Keys of documents, as each lane's index last gave them.
    let mut known: Vec<Vec<Vec<u8>>> = vec![Vec::new(); lanes];
    for _ in 0..TRIES {
        let mut blocks = Vec::with_capacity(lanes);
        for (lane, known) in known.iter().enumerate() {
            let prefix = asked.prefix(lane);
            let (set, start) =
                (keys::index(prefix, &view.name, read.index, &span.part), keys::of_view(prefix, &view.name));
            let mut block = Block::new(lane, &asked.meta(lane));
            block.ask(|out| ask_span(&set, &span, read.reverse, limit, out));
            for key in known {
                block.ask(|out| codec::ask(layout, &[&start, &key[..]].concat(), out));
            }
            blocks.push(block);
        }
        let (at, replies) = asked.ask(blocks).await?;
        let (mut found, mut documents) = (Vec::new(), Vec::with_capacity(lanes));
        for (lane, (replies, known)) in replies.into_iter().zip(&known).enumerate() {
            let mut replies = replies.into_iter();
            found.extend(members(replies.next())?.into_iter().map(|member| (member, lane)));
            documents.push(known.iter().map(|key| &key[..]).zip(replies).collect::<BTreeMap<_, _>>());
        }
        if lanes > 1 {
            found.sort_unstable();
            if read.reverse {
                found.reverse();
            }
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let parts: Vec<_> = found
            .iter()
            .map(|(member, lane)| index::parts_of(member).map(|(sort, key)| (sort, key, *lane)))
            .collect::<Result<_>>()?;
        if !parts.iter().all(|(_, key, lane)| documents[*lane].contains_key(key)) {
            let mut wanted = vec![Vec::new(); lanes];
            parts.iter().for_each(|(_, key, lane)| wanted[*lane].push(key.to_vec()));
            known = wanted;
            continue;
        }
        let mut page = Vec::with_capacity(parts.len());
        for (_, key, lane) in &parts {
            // What somebody else removed is no document any more.
            if let Some(reply) = documents[*lane].remove(key)
                && let Some(body) = codec::read(layout, reply)?
            {
                page.push(Stored { key: String::from_utf8_lossy(key).into_owned(), body });
            }
        }
        let next = parts.last().filter(|_| more).map(|(sort, ..)| sort.to_vec());
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

/// The sorted set of a part, and the lane that has it.
type Set = (usize, Vec<u8>);

async fn walked(asked: &mut impl Ask, read: &WalkRead) -> Result<Answer> {
    let mut parts = BTreeMap::new();
    let (_, mut wanted) = walk_over(&parts, asked, read)?;
    for _ in 0..TRIES + 2 * read.hops.len() {
        // No more is asked for than the walk may read, twice at most: a part with more than its share is asked again.
        let fewest = 2 * read.edges_max.saturating_add(1) / wanted.len().max(1) + 16;
        for set in wanted {
            let part = parts.entry(set).or_insert(Part { limit: 0, edges: Vec::new() });
            part.limit = fewest.max(part.limit.saturating_mul(4)).min(read.edges_max.saturating_add(1));
        }
        let mut blocks: Vec<Block> = Vec::with_capacity(asked.lanes());
        for ((lane, set), part) in &parts {
            // Lane by lane, as the parts lie in the map.
            if blocks.last().is_none_or(|block| block.lane != *lane) {
                blocks.push(Block::new(*lane, &asked.meta(*lane)));
            }
            let last = (part.limit - 1).to_string();
            if let Some(block) = blocks.last_mut() {
                block.ask(|out| resp::whole(&[b"ZRANGE", set, b"0", last.as_bytes()], out));
            }
        }
        if blocks.is_empty() {
            blocks.push(Block::new(0, &asked.meta(0)));
        }
        let (at, replies) = asked.ask(blocks).await?;
        for (part, reply) in parts.values_mut().zip(replies.into_iter().flatten()) {
            part.edges = members(Some(reply))?;
        }
        let (reached, missing) = walk_over(&parts, asked, read)?;
        if missing.is_empty() {
            return Ok(Answer { at, found: Found::Reached(reached) });
        }
        wanted = missing;
    }
    Err(Error::transient(format!("the edges of a walk changed each of the {TRIES} times they were read")))
}

/// Walks over the parts that were read: what is reached, and the sets that are missing or were not read to their end.
fn walk_over(
    parts: &BTreeMap<Set, Part>,
    asked: &impl Ask,
    read: &WalkRead,
) -> Result<(Vec<headwater_model::Reached>, Vec<Set>)> {
    let mut missing = Vec::new();
    let reached = walk(read, |view, number, part, edges| {
        for lane in 0..asked.lanes() {
            let set = (lane, keys::index(asked.prefix(lane), &view.name, number, part));
            let known = parts.get(&set);
            for member in known.map_or(&[][..], |known| &known.edges) {
                edges.take(index::parts_of(member)?.0)?;
            }
            if known.is_none_or(|known| known.edges.len() == known.limit) {
                missing.push(set);
            }
        }
        Ok(())
    })?;
    missing.sort_unstable();
    missing.dedup();
    Ok((reached, missing))
}

/// Questions to one lane that are answered together: in one MULTI, with the position.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) lane: usize,
    commands: Vec<u8>,
    /// Where each command ends.
    ends: Vec<usize>,
}

/// What a lane answered to a block: where it is, if it holds anything, and the replies in the order asked. A command that
/// failed has its error as its reply.
pub(super) struct Told {
    pub(super) mark: Option<Mark>,
    pub(super) replies: Vec<Reply>,
}

impl Block {
    /// `meta`: where the lane says how far it is.
    pub(super) fn new(lane: usize, meta: &[u8]) -> Block {
        let mut block = Block { lane, commands: Vec::with_capacity(128), ends: Vec::new() };
        block.ask(|out| meta::ask_mark(meta, out));
        block
    }

    /// `write` appends one command.
    pub(super) fn ask(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.commands);
        self.ends.push(self.commands.len());
    }

    /// Its commands one by one; the first asks for the position.
    pub(super) fn commands(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.commands[start..*end])
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        resp::whole(&[b"MULTI"], out);
        out.extend_from_slice(&self.commands);
        resp::whole(&[b"EXEC"], out);
    }

    /// Reads all that was answered to what was written. The inner error is the server's refusal.
    pub(super) async fn read(
        &self,
        connection: &mut Connection,
    ) -> Result<std::result::Result<Told, String>> {
        let mut refused = None;
        // MULTI and what was queued.
        let mut left = 1 + self.ends.len();
        while left > 0 {
            if let Reply::Error(text) = connection.reply().await? {
                refused.get_or_insert(text);
            }
            left -= 1;
            left -= connection.skip_queued(left);
        }
        match (refused, connection.reply().await?) {
            (Some(text), _) | (None, Reply::Error(text)) => Ok(Err(text)),
            (None, Reply::Array(replies)) => Told::read(replies).map(Ok),
            (None, _) => Err(failure::unexpected("EXEC")),
        }
    }
}

impl Told {
    pub(super) fn read(replies: Vec<Reply>) -> Result<Told> {
        let mut replies = replies.into_iter();
        let mark = meta::read_mark(replies.next().unwrap_or(Reply::Nil))?;
        Ok(Told { mark, replies: replies.collect() })
    }
}
