//! Where documents stand in an index: two columns of their row. An index takes only the beginning of a long place, so the first
//! column has that and is indexed, and the second one has the rest of the few that are longer.
//!
//! Invariant: the two together, beginning first and a missing rest before any other, sort as the whole places do. Binary columns
//! are compared byte by byte, without padding.

use super::sql::bytes_of;
use crate::sql::store::shape::place_column;

/// So that an index has room, and a view may have many.
pub(super) const START_BYTES: usize = 1000;

pub(super) fn rest_column(index: usize) -> String {
    format!("{}_rest", place_column(index))
}

/// What makes both columns and the index.
pub(super) fn added(index: usize) -> String {
    let (start, rest) = (place_column(index), rest_column(index));
    format!(
        "ADD COLUMN {start} VARBINARY({START_BYTES}), ADD COLUMN {rest} LONGBLOB, ADD INDEX {start} ({start})"
    )
}

/// The place in the cells of both columns.
pub(super) fn whole(start: Option<Vec<u8>>, rest: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut place = start?;
    place.extend(rest.unwrap_or_default());
    Some(place)
}

/// Both columns of `v`, as a list.
pub(super) fn columns_sql(index: usize) -> String {
    format!("v.{}, v.{}", place_column(index), rest_column(index))
}

/// That a place is from `lower` on and before `upper`.
pub(super) fn within(index: usize, lower: &[u8], upper: Option<&[u8]>) -> String {
    let (start, rest) =
        (format!("v.{}", place_column(index)), format!("IFNULL(v.{}, X'')", rest_column(index)));
    let bound = |bytes: &[u8], inner: &str, outer: &str| match bytes.split_at_checked(START_BYTES) {
        Some((begin, end)) if !end.is_empty() => {
            let begin = bytes_of(begin);
            format!(
                "{start} {inner}= {begin} AND ({start} {inner} {begin} OR {rest} {outer} {})",
                bytes_of(end)
            )
        }
        _ => format!("{start} {outer} {}", bytes_of(bytes)),
    };
    let from = bound(lower, ">", ">=");
    match upper {
        Some(upper) => format!("{from} AND {}", bound(upper, "<", "<")),
        None => from,
    }
}

/// The order of places: by the index alone, or, where beginnings are cut, by both columns.
pub(super) fn order(index: usize, direction: &str, cut: bool) -> String {
    let start = format!("v.{} {direction}", place_column(index));
    if cut { format!("{start}, v.{} {direction}", rest_column(index)) } else { start }
}
