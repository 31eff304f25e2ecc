//! The way down: from a root row to its document.

use headwater_model::filter::Verdict;
use headwater_model::{Record, Result, Value};

use super::encoding::join_bytes;
use super::mirror::Mirror;
use super::plan::{Find, Link, Node, Plan};

pub(super) struct Renderer<'a> {
    pub plan: &'a Plan,
    pub mirror: &'a Mirror,
}

impl Renderer<'_> {
    /// Whether the row is shown at this node. A filter that needs cells which are still to come does not take the row.
    pub fn shows(&self, node: &Node, cells: &[Value]) -> bool {
        node.filter.as_ref().is_none_or(|filter| filter.accepts_values(cells) == Verdict::Accepted)
    }

    /// The document of a row, embedded rows included. Cells that are still to come are NULL.
    pub fn document(&self, node: usize, mut cells: Vec<Value>) -> Result<Record> {
        let at = &self.plan.nodes[node];
        let mut embedded = Vec::with_capacity(at.embeds.len());
        for &embed in &at.embeds {
            embedded.push(self.embed(embed, &cells)?);
        }
        let mut values = Vec::with_capacity(at.cells.len() + embedded.len());
        for &cell in &at.cells {
            let value = if at.cells_repeat {
                cells[cell].clone()
            } else {
                std::mem::replace(&mut cells[cell], Value::Null)
            };
            values.push(if value.is_unchanged() { Value::Null } else { value });
        }
        values.append(&mut embedded);
        Ok(Record { names: at.names.clone(), values })
    }

    fn embed(&self, node: usize, parent_cells: &[Value]) -> Result<Value> {
        let at = &self.plan.nodes[node];
        let Some((_, link)) = &at.parent else { return Ok(Value::Null) };
        let Some(k) = join_bytes(parent_cells, &link.parent_columns) else {
            return Ok(if link.many { Value::List(Vec::new()) } else { Value::Null });
        };
        if link.many { self.many(node, at, link, &k) } else { self.one(node, at, link, &k) }
    }

    fn one(&self, node: usize, at: &Node, link: &Link, k: &[u8]) -> Result<Value> {
        let mut found = Value::Null;
        self.each_child(at, link, k, |cells| {
            found = Value::Record(self.document(node, cells)?);
            Ok(false)
        })?;
        Ok(found)
    }

    fn many(&self, node: usize, at: &Node, link: &Link, k: &[u8]) -> Result<Value> {
        let limit = at.limit.unwrap_or(usize::MAX);
        let mut items = Vec::new();
        if limit == 0 {
            return Ok(Value::List(items));
        }
        self.each_child(at, link, k, |cells| {
            items.push(Value::Record(self.document(node, cells)?));
            Ok(items.len() < limit)
        })?;
        Ok(Value::List(items))
    }

    /// Calls `each` for the rows shown below a parent, in the node's order, until it says false.
    fn each_child(
        &self,
        at: &Node,
        link: &Link,
        k: &[u8],
        mut each: impl FnMut(Vec<Value>) -> Result<bool>,
    ) -> Result<()> {
        match link.down {
            Find::ByKey => {
                if let Some(row) = self.mirror.get(at.stored, k)?
                    && self.shows(at, &row.cells)
                {
                    each(row.cells)?;
                }
                Ok(())
            }
            Find::ByIndex(index) => self.mirror.each_found(at.stored, index, k, |_, row| {
                if self.shows(at, &row.cells) { each(row.cells) } else { Ok(true) }
            }),
        }
    }
}
