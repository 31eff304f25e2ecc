//! What is looked for in a MariaDB or MySQL server: queries over the information schema and the server's variables, nothing else.
//!
//! As with PostgreSQL, a check is a query whose rows are findings ([`crate::checks::diagnosis`]). Table checks look at the database
//! of the URL. `{status}` stands for the table of the server's counters, which has another name in each of the two.

mod examine;
mod schema;
mod server;

use headwater_model::exam::Check;

pub(crate) use examine::Examiner;

use crate::checks::{limit, page};

/// A check, and which of the two servers it is asked of.
pub(super) struct Ask {
    check: Check,
    of: Of,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Both,
    MariaDb,
    /// Another ask of the same check is for MariaDB.
    MySql,
}

fn all() -> impl Iterator<Item = &'static Ask> {
    [schema::CHECKS, server::CHECKS].into_iter().flatten()
}

/// Every check once, in the order of their ids.
pub(crate) fn checks() -> Vec<&'static Check> {
    let mut checks: Vec<&'static Check> = all().map(|ask| &ask.check).collect();
    checks.dedup_by_key(|check| check.id);
    checks
}
