//! What PostgreSQL takes as the columns of a view's table; what they are is `crate::sql::store::shape`.

use crate::sql::store::kind::Kind;
use crate::sql::store::shape::{self, OWN};

pub(super) type Shape = shape::Shape<Kind>;

/// So that the fixed part of a row fits into a page of 8 KiB, whatever the types are. Further fields go to the rest.
const COLUMNS_MAX: usize = 300;

/// Bytes of a name that the server does not cut.
pub(super) const NAME_BYTES_MAX: usize = 63;

/// Columns that every table has already.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// What the index over that column is over: the beginning of the place, which every index takes. Rows whose places begin alike
/// are told apart by the column itself.
pub(super) fn place_start(place: &str) -> String {
    format!("substr({place}, 1, {PLACE_START_BYTES})")
}

const PLACE_START_BYTES: usize = 2000;

/// Whether a field that is not there yet can be a column.
pub(super) fn takes(shape: &Shape, name: &str) -> bool {
    shape.fields.len() < COLUMNS_MAX
        && (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.contains('\0')
        && !name.starts_with(OWN)
        && !SYSTEM_COLUMNS.contains(&name)
}
