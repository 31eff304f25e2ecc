//! Dates that are none: what becomes of the rows that have them.

use headwater_model::{Key, Refused, Row, Value};

use super::catalog::Shape;
use super::config::ZeroDates;

impl ZeroDates {
    /// Puts a row into the form that is handed on; `false` if it is not to be.
    pub fn admit(self, shape: &Shape, row: &mut Row) -> bool {
        let is_zero = |(kind, value): (&super::codec::Kind, &Value)| {
            kind.is_moment() && matches!(value, Value::Text(_))
        };
        match self {
            ZeroDates::Text => true,
            ZeroDates::Refuse => !shape.kinds.iter().zip(&row.0).any(is_zero),
            ZeroDates::Null => {
                for (kind, value) in shape.kinds.iter().zip(&mut row.0) {
                    if is_zero((kind, value)) {
                        *value = Value::Null;
                    }
                }
                true
            }
        }
    }
}

pub(super) fn refused(shape: &Shape, key: Key, rows: u64) -> Refused {
    Refused {
        table: shape.table.clone(),
        key,
        rows,
        place: "".into(),
        reason:
            "it has a date with a year, month or day that is zero, which zero_dates = \"refuse\" leaves out"
                .into(),
    }
}
