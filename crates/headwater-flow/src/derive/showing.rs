//! Which documents show a row, by the rows that the mirror holds.

use std::path::Path;
use std::sync::Arc;

use headwater_model::{Key, Result, TableName, View};

use super::Tables;
use super::climb::Climber;
use super::dirty::Dirty;
use super::encoding::{key_bytes, read_key};
use super::mirror::Mirror;
use super::plan::compile_each;

/// Documents that show a row.
#[derive(Debug, Default)]
pub(crate) struct Showing {
    /// View and key, at most as many as were asked for.
    pub documents: Vec<(Arc<View>, Key)>,
    /// How many there are.
    pub count: usize,
}

/// The documents of `views` that show the row of `table` with this key: its own, those that embed it, and the group of a
/// ranking that counts it. `Transient` if the deriver of these views has not made the mirror fit them yet.
pub(crate) fn showing(
    path: &Path,
    views: &[Arc<View>],
    tables: &Tables,
    table: &TableName,
    key: &Key,
    limit: usize,
) -> Result<Showing> {
    let (plan, _) = compile_each(views, tables);
    let mut showing = Showing::default();
    let Some(stored) = plan.stored.iter().position(|stored| stored.name == *table) else {
        return Ok(showing);
    };
    let pk = key_bytes(&key.0);
    Mirror::look(path, &plan)?.moment(|mirror| {
        let Some(row) = mirror.get(stored, &pk)? else { return Ok(()) };
        let mut dirty = Dirty::new(&mirror.conn)?;
        let mut climber = Climber { plan: &plan, mirror, dirty: &mut dirty };
        for &node in &plan.stored[stored].nodes {
            climber.climb(node, &pk, &row.cells, false)?;
        }
        for &ranking in &plan.stored[stored].rankings {
            let ranked = &plan.rankings[ranking];
            if let Some(group) = ranked.group_of(&row.cells) {
                dirty.add(&mirror.conn, ranked.view, &group, false)?;
            }
        }
        dirty.drain(&mirror.conn, |view, pk, _| {
            showing.count += 1;
            if showing.documents.len() < limit {
                showing.documents.push((Arc::clone(&plan.views[view]), read_key(pk)?));
            }
            Ok(())
        })
    })?;
    Ok(showing)
}
