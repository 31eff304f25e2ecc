//! What is looked for in a PostgreSQL database: queries over the catalog and the statistics views, nothing else.
//!
//! A check is a query whose rows are findings. Columns with a meaning of their own: `subject`, `severity`, `what`, `remedy` and
//! `undo` (statements, one per line), `table_schema` and `table_name`; every other column is evidence. So a check decides
//! by SQL, and its statements are quoted by the server that will read them.

mod access;
mod examine;
mod indexes;
mod log;
mod sessions;
mod settings;
mod statements;
mod tables;

use headwater_model::exam::Check;

pub(crate) use examine::Examiner;

use crate::checks::{limit, page};

/// A check, and where it can be made.
pub(super) struct Ask {
    check: Check,
    needs: &'static [Need],
}

enum Need {
    /// An extension in the database, whose schema is `{extension}`; otherwise the check is skipped, with the statement that
    /// would let it.
    Extension(&'static str),
    /// To see other roles' sessions and statements: `pg_read_all_stats`, a part of `pg_monitor`. Without it such a check would see
    /// only what is its own, and call the rest healthy.
    AllStatistics,
    /// What a role that is no superuser must be granted, where `pg_monitor` is not enough; `{role}` stands for it.
    Grants(&'static str),
    /// The server's version as a number (170000). Another ask of the same check is for the others.
    Since(u32),
    Before(u32),
}

/// Every check, in the order of their ids.
fn all() -> impl Iterator<Item = &'static Ask> {
    [
        indexes::CHECKS,
        tables::CHECKS,
        sessions::CHECKS,
        log::CHECKS,
        settings::CHECKS,
        access::CHECKS,
        statements::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Every check once: a check that is asked differently of different versions is one.
pub(crate) fn checks() -> Vec<&'static Check> {
    let mut checks: Vec<&'static Check> = all().map(|ask| &ask.check).collect();
    checks.dedup_by_key(|check| check.id);
    checks
}
