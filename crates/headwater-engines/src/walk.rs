//! The walk along edges, the same for every engine. An engine gives the edges of one part of an edge view's index; here
//! is what follows from them.
//!
//! Vertices are told apart by the bytes of their value. These bytes are what an index sorts the other end of an edge by,
//! and at the same time what names the part of the next hop, so no document is read.

use std::collections::HashMap;
use std::collections::HashSet;

use headwater_model::sort::{cut_sort, read_sort, write_sort};
use headwater_model::{Error, Reached, Result, Value, View, WalkRead};

use crate::span::index_of;

/// Walks. `edges_of` is asked for the edges of a part of an index of a view, and gives each to [`Edges::take`].
pub(crate) fn walk(
    read: &WalkRead,
    mut edges_of: impl FnMut(&View, usize, &[u8], &mut Edges<'_>) -> Result<()>,
) -> Result<Vec<Reached>> {
    let start = vertex(&read.start);
    if read.start.is_null() {
        return Ok(Vec::new());
    }
    let mut from = HashMap::from([(start.clone(), 1)]);
    let mut left = read.edges_max;
    for hop in &read.hops {
        let mut to = HashMap::new();
        for view in &hop.views {
            let index = index_of(view, hop.index())?;
            let Some(order) = index.order.first().filter(|_| index.by.len() == 1) else {
                return Err(Error::bug(format!("the view \"{}\" is not one of edges", view.name)));
            };
            for (part, ways) in &from {
                let descending = order.descending;
                let mut edges =
                    Edges { to: &mut to, ways: *ways, left: &mut left, descending, max: read.edges_max };
                edges_of(view, hop.index(), part, &mut edges)?;
            }
        }
        from = to;
    }
    from.remove(&start);
    first(from, read.limit)
}

/// A part of an index of a view.
#[derive(Clone, Debug)]
pub(crate) struct Part<'r> {
    pub(crate) view: &'r View,
    pub(crate) index: usize,
    pub(crate) part: Vec<u8>,
}

/// Walks where edges are far away, a hop at a time: which parts the next one needs is known when this one's edges are. `fetch`
/// gives, of each part that it is asked for, by what its edges are sorted; more than the walk may read it need not give.
pub(crate) async fn walk_by_hops<'r, F>(
    read: &'r WalkRead,
    fetch: impl Fn(Vec<Part<'r>>) -> F,
) -> Result<Vec<Reached>>
where
    F: Future<Output = Result<Vec<Vec<Vec<u8>>>>>,
{
    let views: HashMap<&str, &'r View> =
        read.hops.iter().flat_map(|hop| &hop.views).map(|view| (&*view.name, &**view)).collect();
    let mut known: HashMap<(String, usize, Vec<u8>), Vec<Vec<u8>>> = HashMap::new();
    loop {
        let mut missing = HashSet::new();
        let reached = walk(read, |view, index, part, edges| {
            let part = (view.name.to_string(), index, part.to_vec());
            match known.get(&part) {
                Some(sorts) => sorts.iter().try_for_each(|sort| edges.take(sort))?,
                None => {
                    missing.insert(part);
                }
            }
            Ok(())
        })?;
        if missing.is_empty() {
            return Ok(reached);
        }
        let missing: Vec<_> = missing.into_iter().collect();
        let parts = missing.iter().filter_map(|(view, index, part)| {
            Some(Part { view: views.get(&**view)?, index: *index, part: part.clone() })
        });
        let found = fetch(parts.collect()).await?;
        known.extend(missing.into_iter().zip(found));
    }
}

/// Where the edges of one vertex lead.
pub(crate) struct Edges<'w> {
    to: &'w mut HashMap<Vec<u8>, u64>,
    /// In how many ways the walk came to the vertex.
    ways: u64,
    /// Edges that the walk may still read.
    left: &'w mut usize,
    max: usize,
    descending: bool,
}

impl Edges<'_> {
    /// An edge, by the bytes it is sorted by.
    pub(crate) fn take(&mut self, sort: &[u8]) -> Result<()> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(Error::unsupported(format!("the walk leads along more than {} edges", self.max))
                .with_remedy("start at a vertex with fewer edges, or give the walk fewer hops"));
        };
        *self.left = left;
        let (other, _) = cut_sort(sort, self.descending)?;
        let mut other = other.to_vec();
        if self.descending {
            other.iter_mut().for_each(|byte| *byte = !*byte);
        }
        if other != vertex(&Value::Null) {
            let ways = self.to.entry(other).or_default();
            *ways = ways.saturating_add(self.ways);
        }
        Ok(())
    }
}

fn vertex(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    write_sort(value, false, &mut bytes);
    bytes
}

/// Those with the most ways, ties by value.
fn first(reached: HashMap<Vec<u8>, u64>, limit: usize) -> Result<Vec<Reached>> {
    let mut reached: Vec<_> = reached.into_iter().collect();
    reached.sort_unstable_by(|(a, a_ways), (b, b_ways)| b_ways.cmp(a_ways).then_with(|| a.cmp(b)));
    reached.truncate(limit);
    reached
        .into_iter()
        .map(|(bytes, ways)| Ok(Reached { vertex: read_sort(&bytes, false)?.0, ways }))
        .collect()
}
