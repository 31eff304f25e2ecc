//! The groups of rankings in the mirror against the mirror's rows, which are compared with the source ([`super::mirror`]).
//!
//! Nothing here is on its way: groups and rows move in one step, and both are read as of one moment. So a group that differs is
//! wrong, and is not looked at again.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_model::{Error, Result, View};

use super::Verifier;
use super::mend::{Allowance, WRONG_MAX, no_good};
use super::report::{Comparison, DriftKind, Drifted, FieldDifference};
use super::run::Watch;
use super::truth::{blocking, lock};
use crate::amend::Wrong;
use crate::derive::{Miscounted, Recounted, Tally};

impl Verifier {
    /// Compares the groups of a ranking; an error if that could not be done.
    pub(super) async fn compare_groups(
        &self,
        view: &Arc<View>,
        allowance: &mut Allowance,
        comparison: &mut Comparison,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let found = self.recounted(view, comparison).await?;
        comparison.rows = found.count;
        watch.rows(found.count, 0);
        if found.wrong.len() > WRONG_MAX {
            return Err(no_good("groups do not fit the mirror's rows"));
        }
        if found.wrong.is_empty() {
            return Ok(());
        }
        let repair = allowance.admits(comparison, found.wrong.len(), found.count)?;
        found.wrong.iter().for_each(|group| comparison.add(drifted(group)));
        watch.rows(found.count, comparison.drift());
        if repair {
            watch.doing("counting groups again");
            let groups: BTreeSet<Vec<u8>> = found.wrong.into_iter().map(|group| group.k).collect();
            let wrong = Wrong::Groups { view: view.name.as_ref().into(), groups: groups.clone() };
            self.amend(wrong, &view.from).await?;
            let left = self.recounted(view, comparison).await?.wrong;
            let left = left.iter().filter(|group| groups.contains(&group.k)).count();
            comparison.repaired += (groups.len() - left) as u64;
        }
        Ok(())
    }

    async fn recounted(&self, view: &View, comparison: &mut Comparison) -> Result<Recounted> {
        let (look, name) = (self.look().await?, view.name.clone());
        let looked = blocking(move || lock(&look).miscounted(&name, WRONG_MAX + 1)).await?;
        comparison.at(looked.offset.0, looked.offset.0);
        looked.found.ok_or_else(|| Error::bug(format!("view {} has no groups", view.name)))
    }
}

fn drifted(group: &Miscounted) -> Drifted {
    let (kind, fields) = match (&group.made, &group.kept) {
        (Some(_), None) => (DriftKind::Missing, Vec::new()),
        (None, _) => (DriftKind::Extra, Vec::new()),
        (Some(made), Some(kept)) => (DriftKind::Different, differences(made, kept)),
    };
    Drifted { key: group.key.to_text(), kind, fields, quarantined: false }
}

fn differences(made: &Tally, kept: &Tally) -> Vec<FieldDifference> {
    let mut fields = Vec::new();
    let mut note = |field: &str, expected: String, found: String| {
        if expected != found {
            fields.push(FieldDifference {
                field: field.to_owned(),
                expected: Some(expected),
                found: Some(found),
            });
        }
    };
    note("score", made.score.to_text().to_string(), kept.score.to_text().to_string());
    note("(rows)", made.rows.to_string(), kept.rows.to_string());
    fields
}
