//! The way up: from a row to the documents that show it.

use headwater_model::filter::Verdict;
use headwater_model::{Result, Value};

use super::dirty::Dirty;
use super::encoding::join_bytes;
use super::mirror::Mirror;
use super::plan::{Find, Node, Plan};

/// Marks documents as touched. Used on the mirror as it was before a change, for the documents that showed the row, and
/// on the mirror after it, for those that show it now. Fan-out is streamed: an author of a million books costs time,
/// not memory.
pub(super) struct Climber<'a> {
    pub plan: &'a Plan,
    pub mirror: &'a Mirror,
    pub dirty: &'a mut Dirty,
}

impl Climber<'_> {
    /// Marks what shows this row at this node. `own`: the row itself changed.
    pub fn climb(&mut self, node: usize, pk: &[u8], cells: &[Value], own: bool) -> Result<()> {
        let plan = self.plan;
        let at = &plan.nodes[node];
        if !may_accept(at, cells) {
            return Ok(());
        }
        match &at.parent {
            None => self.dirty.add(&self.mirror.conn, at.view, pk, own),
            Some((parent, link)) => {
                let Some(k) = join_bytes(cells, &link.child_columns) else { return Ok(()) };
                match link.up {
                    Find::ByKey => self.arrive(*parent, &k),
                    Find::ByIndex(index) => self.arrive_at_all(*parent, index, &k),
                }
            }
        }
    }

    fn arrive_at_all(&mut self, node: usize, index: usize, k: &[u8]) -> Result<()> {
        let (plan, mirror) = (self.plan, self.mirror);
        mirror.each_key(plan.nodes[node].stored, index, k, |pk| self.arrive(node, pk))
    }

    fn arrive(&mut self, node: usize, pk: &[u8]) -> Result<()> {
        let plan = self.plan;
        let at = &plan.nodes[node];
        if at.parent.is_none() && at.filter.is_none() {
            // The document itself: whether its row is there is seen when it is made.
            return self.dirty.add(&self.mirror.conn, at.view, pk, false);
        }
        if !self.dirty.first_visit(node, pk) {
            return Ok(());
        }
        match self.mirror.get(at.stored, pk)? {
            Some(row) => self.climb(node, pk, &row.cells, false),
            None => Ok(()),
        }
    }
}

/// Whether the node's filter takes the row, or might once its cells are known.
pub(super) fn may_accept(node: &Node, cells: &[Value]) -> bool {
    node.filter.as_ref().is_none_or(|filter| filter.accepts_values(cells) != Verdict::Rejected)
}
