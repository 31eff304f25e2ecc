//! The keys of all lanes, node by node: each node's keys are walked once, whichever lanes it has.
//!
//! A page's cursor is good as long as every slot stays with its owner. If one moved, keys may be where the walk has already
//! been: it must begin anew.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use headwater_model::{Error, Listed, Result, Stored, View};
use tokio::time::Instant;

use super::{Lanes, Shared};
use crate::redis::config::Address;
use crate::redis::connection::Connection;
use crate::redis::listing;
use crate::redis::scan::{self, Keys, Walk};

impl Lanes {
    pub(in crate::redis) async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        let (of, mut found) = (self.0.keys_of(&view.name), Vec::new());
        let mut pages = self.0.pages(cursor.as_deref(), limit).await?;
        while let Some((reader, cursor, room)) = pages.node(found.len()).await? {
            let (more, next) = scan::page(reader, &of, view.layout(), cursor, room).await?;
            found.extend(more);
            pages.go_on(next);
        }
        Ok((found, pages.rest()))
    }

    pub(in crate::redis) async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        let (of, mut found) = (self.0.keys_of(&view.name), Vec::new());
        let mut pages = self.0.pages(cursor.as_deref(), limit).await?;
        while let Some((reader, cursor, room)) = pages.node(found.len()).await? {
            let (more, next) = scan::texts(reader, &of, cursor, room).await?;
            found.extend(more);
            pages.go_on(next);
        }
        Ok((found, pages.rest()))
    }

    pub(in crate::redis) async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let (shared, mut found) = (&self.0, Vec::new());
        let prefixes = shared.lanes.iter().map(|lane| lane.prefix());
        let of = Keys::of_indexes_in_lanes(&shared.config.prefix, prefixes, &view.name);
        let mut pages = shared.pages(cursor.as_deref(), limit).await?;
        while let Some((reader, cursor, room)) = pages.node(found.len()).await? {
            let (more, next) = listing::page(reader, &of, view, shared.config.lanes, cursor, room).await?;
            found.extend(more);
            pages.go_on(next);
        }
        Ok((found, pages.rest()))
    }

    pub(in crate::redis) async fn rows(&self, view: &View) -> Result<u64> {
        let shared = &self.0;
        let known = || shared.lanes.iter().map(|lane| lane.count().known(&view.name)).sum::<Option<u64>>();
        if let Some(rows) = known() {
            return Ok(rows);
        }
        let (from, mut counts) = (Instant::now(), vec![0; shared.lanes.len()]);
        let commits: Vec<u64> = shared.lanes.iter().map(|lane| lane.count().commits()).collect();
        let mut walk = shared.walk(&view.name).await?;
        while let Some(found) = walk.next().await? {
            for (lane, keys) in found {
                counts[lane] += keys.len() as u64;
            }
        }
        for ((lane, rows), commits) in shared.lanes.iter().zip(&counts).zip(commits) {
            lane.count().counted(&view.name, *rows, commits, lane.is_claimed(), from.elapsed());
        }
        Ok(counts.into_iter().sum())
    }
}

impl Shared {
    fn keys_of(&self, view: &str) -> Keys {
        Keys::of_lanes(&self.config.prefix, self.lanes.iter().map(|lane| lane.prefix()), view)
    }

    /// All keys of a view's documents, some at a time.
    pub(super) async fn walk(&self, view: &str) -> Result<AllKeys<'_>> {
        let nodes = self.nodes.owners(self.slots.iter().copied()).await?.into_iter().collect();
        Ok(AllKeys { shared: self, of: self.keys_of(view), nodes, now: None })
    }

    /// Pages from where a cursor says, until they hold `limit`.
    async fn pages(&self, cursor: Option<&str>, limit: usize) -> Result<Pages<'_>> {
        let mut owners = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            owners.push(self.nodes.owner(*slot).await?);
        }
        let mut hasher = DefaultHasher::new();
        owners.hash(&mut hasher);
        let owned = hasher.finish();
        owners.sort_unstable();
        owners.dedup();
        let begin = Pages {
            shared: self,
            owned,
            nodes: owners,
            at: 0,
            cursor: None,
            limit: limit.max(1),
            reader: None,
        };
        let Some(text) = cursor else { return Ok(begin) };
        let mut parts = text.splitn(3, ' ');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (Some(then), Some(at)) = (number(), number()) else {
            return Err(Error::bug("a scan's cursor is not one of ours"));
        };
        if then != owned {
            return Err(Error::transient(
                "slots of the cluster moved while its keys were listed: list them anew",
            ));
        }
        Ok(Pages { at: at as usize, cursor: parts.next().map(str::to_owned), ..begin })
    }
}

/// Keys of all lanes, node by node.
pub(super) struct AllKeys<'s> {
    shared: &'s Shared,
    of: Keys,
    /// That are still to be walked.
    nodes: Vec<Address>,
    now: Option<(Connection, Walk)>,
}

impl AllKeys<'_> {
    /// The next keys by lane, possibly none; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<BTreeMap<usize, Vec<Vec<u8>>>>> {
        let nodes = &self.shared.nodes;
        loop {
            let Some((reader, walk)) = &mut self.now else {
                let Some(node) = self.nodes.pop() else { return Ok(None) };
                self.now = Some((nodes.reader(&node).await?, Walk::new()));
                continue;
            };
            let Some(keys) = walk.next(reader, &self.of).await.inspect_err(|_| nodes.doubt())? else {
                if let Some((reader, _)) = self.now.take() {
                    nodes.give_back(reader);
                }
                continue;
            };
            let mut found: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
            for key in keys {
                if let Some((lane, _)) = self.of.place(&key) {
                    found.entry(lane).or_default().push(key);
                }
            }
            return Ok(Some(found));
        }
    }
}

/// The place of a page, on one node after the other.
struct Pages<'s> {
    shared: &'s Shared,
    /// Tells one map of the store's slots from another.
    owned: u64,
    nodes: Vec<Address>,
    at: usize,
    /// On that node.
    cursor: Option<String>,
    limit: usize,
    reader: Option<Connection>,
}

impl Pages<'_> {
    /// Whom to ask from where, and for how many, once so many were found. `None` if that is enough, or all there are.
    async fn node(&mut self, found: usize) -> Result<Option<(&mut Connection, Option<&str>, usize)>> {
        if let Some(reader) = self.reader.take() {
            self.shared.nodes.give_back(reader);
        }
        let Some(node) = self.nodes.get(self.at).filter(|_| found < self.limit) else { return Ok(None) };
        let reader = self.shared.nodes.reader(node).await?;
        Ok(Some((self.reader.insert(reader), self.cursor.as_deref(), self.limit - found)))
    }

    /// To the next page of this node, or to the next node.
    fn go_on(&mut self, cursor: Option<String>) {
        self.at += usize::from(cursor.is_none());
        self.cursor = cursor;
    }

    fn rest(&self) -> Option<String> {
        let place = format!("{} {}", self.owned, self.at);
        (self.at < self.nodes.len()).then(|| match &self.cursor {
            Some(cursor) => format!("{place} {cursor}"),
            None => place,
        })
    }
}
