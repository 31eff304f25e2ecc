//! The walk along edges, the same for every engine. An engine gives the edges of one part of an edge view's index; here
//! is what follows from them.
//!
//! Vertices are told apart by the bytes of their value. These bytes are what an index sorts the other end of an edge by,
//! and at the same time what names the part of the next hop, so no document is read.

use std::collections::HashMap;

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
