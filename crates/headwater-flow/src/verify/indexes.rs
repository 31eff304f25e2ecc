//! The indexes of a mirrored table against its rows, which are compared with the source ([`super::mirror`]).
//!
//! Nothing here is on its way: rows and indexes move in one step, and each page is read as of one moment. So an entry that
//! differs is wrong, and is not looked at again.

use std::sync::Arc;

use headwater_model::Result;

use super::mend::{WRONG_MAX, no_good};
use super::mirror::MirrorTable;
use super::pace::Pacer;
use super::report::{Comparison, DriftKind, Drifted, FieldDifference};
use super::run::Watch;
use super::truth::{blocking, lock};
use crate::amend::Wrong;
use crate::derive::{Misplaced, Passed, Place};

/// Rows, or entries, of one page.
const AT_ONCE: usize = 2_000;

impl MirrorTable<'_> {
    /// Compares every index of the table with the rows, both ways.
    pub async fn compare_indexes(
        &mut self,
        watch: &mut Watch<'_>,
        pacer: &mut Pacer,
        comparison: &mut Comparison,
    ) -> Result<()> {
        let misplaced = self.misplaced(pacer, comparison).await?;
        let found: Vec<Drifted> = misplaced.rows().into_values().map(drifted).collect();
        if found.is_empty() {
            return Ok(());
        }
        let of = self.verifier.estimate(&self.name).max(comparison.rows);
        let repair = self.allowance.admits(comparison, found.len(), of)?;
        let count = found.len();
        found.into_iter().for_each(|drifted| comparison.add(drifted));
        watch.rows(comparison.rows, comparison.drift());
        if repair {
            watch.doing("writing entries of indexes again");
            let wrong = Wrong::Entries { table: self.name.clone(), misplaced };
            self.verifier.amend(wrong, &self.name).await?;
            let left = self.misplaced(pacer, comparison).await?.rows().len();
            comparison.repaired += (count - left.min(count)) as u64;
        }
        Ok(())
    }

    async fn misplaced(&self, pacer: &mut Pacer, comparison: &mut Comparison) -> Result<Misplaced> {
        let (mut misplaced, mut passed) = (Misplaced::default(), Some(Passed::NOTHING));
        while let Some(from) = passed {
            let (look, name) = (Arc::clone(&self.look), self.name.clone());
            let looked = blocking(move || lock(&look).misplaced(&name, &from, AT_ONCE)).await?;
            comparison.at(looked.offset.0, looked.offset.0);
            let (more, next) = looked.found;
            misplaced.add(more);
            if misplaced.len() > WRONG_MAX {
                let name = &self.name;
                return Err(no_good(&format!("entries of indexes do not fit the mirror's rows of {name}")));
            }
            passed = next;
            pacer.looked().await;
        }
        Ok(misplaced)
    }
}

fn drifted(places: Vec<Place<'_>>) -> Drifted {
    let key = places.first().map_or(String::new(), |place| place.key.to_text());
    let entry = |is: bool| is.then(|| "an entry".to_owned());
    let fields = places.iter().map(|place| FieldDifference {
        field: place.index.to_owned(),
        expected: entry(place.lacks),
        found: entry(!place.lacks),
    });
    Drifted { key, kind: DriftKind::Misplaced, fields: fields.collect(), quarantined: false }
}
