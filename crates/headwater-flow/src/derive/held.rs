//! The keys that the mirror holds, read beside the deriver that moves it.

use std::path::Path;
use std::sync::Arc;

use headwater_model::{Key, Result, TableName, View};

use super::Tables;
use super::encoding::read_key;
use super::mirror::Mirror;
use super::plan::{Plan, compile_each};

pub(crate) struct HeldKeys {
    mirror: Mirror,
    plan: Plan,
}

impl HeldKeys {
    /// `Transient` if the deriver of these views has not made the mirror fit them yet.
    pub fn open(path: &Path, views: &[Arc<View>], tables: &Tables) -> Result<HeldKeys> {
        let (plan, _) = compile_each(views, tables);
        Ok(HeldKeys { mirror: Mirror::look(path, &plan)?, plan })
    }

    /// At most `limit` keys of a table behind `after` (bytes that an earlier page gave; at first none), and the bytes of the
    /// last of them. `None` behind the last.
    pub fn page(
        &mut self,
        table: &TableName,
        after: &[u8],
        limit: usize,
    ) -> Result<Option<(Vec<Key>, Vec<u8>)>> {
        let Some(stored) = self.plan.stored.iter().position(|stored| stored.name == *table) else {
            return Ok(None);
        };
        let (mut keys, mut last) = (Vec::new(), Vec::new());
        self.mirror.moment(|mirror| {
            mirror.each_row_after(stored, after, |pk, _| {
                keys.push(read_key(pk)?);
                last = pk.to_vec();
                Ok(keys.len() < limit)
            })
        })?;
        Ok((!keys.is_empty()).then_some((keys, last)))
    }
}
