//! Documents with embedded rows: the deriver's thread between the two journals.
use std::sync::Arc;

use headwater_model::{Error, Result};

use crate::backfill::ViewPlan;
use crate::upkeep::DerivedJournal;

pub(crate) fn start(plans: &[ViewPlan]) -> Result<Option<DerivedJournal>> {
    let _ = Arc::new(());
    if plans.iter().any(|plan| plan.stateful) {
        return Err(Error::unsupported("documents with embedded rows"));
    }
    Ok(None)
}
