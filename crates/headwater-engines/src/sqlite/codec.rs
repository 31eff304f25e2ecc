//! SQLite's values and ours. A value keeps its storage class: nothing goes through text.

use headwater_model::{Affinity, ColumnType, Key, Value};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

/// A stored value. Text that is not UTF-8, which SQLite allows, is handed on as bytes rather than changed.
pub(super) fn value(stored: ValueRef<'_>) -> Value {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        // SQLite forgets the sign of a zero when it writes it; a trigger may still see it.
        ValueRef::Real(f) => Value::Float(if f == 0.0 { 0.0 } else { f }),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::text(text),
            Err(_) => Value::Bytes(text.into()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.into()),
    }
}

/// A value as a parameter. Keys come from [`value`], so kinds that SQLite has no class for only come from outside.
pub(super) struct Parameter<'a>(pub(super) &'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null | Value::Unchanged => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(b) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*b))),
            Value::Int(n) => ToSqlOutput::Borrowed(ValueRef::Integer(*n)),
            Value::Float(f) => ToSqlOutput::Borrowed(ValueRef::Real(*f)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            other => ToSqlOutput::Owned(other.to_text().into()),
        })
    }
}

pub(super) fn parameters(key: &Key) -> impl Iterator<Item = Parameter<'_>> {
    key.0.iter().map(Parameter)
}

/// What SQLite does to a value on its way into a column. A strict table's `ANY` leaves values as they are.
pub(super) fn affinity(declared: &str, strict: bool) -> Affinity {
    if strict && declared.eq_ignore_ascii_case("ANY") { Affinity::None } else { Affinity::of(declared) }
}

/// Which kind all values of a column have, if the table enforces one.
pub(super) fn column_type(declared: &str, strict: bool, row_id: bool) -> ColumnType {
    match (strict, affinity(declared, strict)) {
        _ if row_id => ColumnType::Int,
        (true, Affinity::Integer) => ColumnType::Int,
        (true, Affinity::Real) => ColumnType::Float,
        (true, Affinity::Text) => ColumnType::Text,
        (true, Affinity::Blob) => ColumnType::Bytes,
        _ => ColumnType::Dynamic,
    }
}

/// Whether a key of this column prints differently from every other key of it. Bytes beside text would not: `x'00'`
/// and `'\x00'` print alike.
pub(super) fn identifies(affinity: Affinity, part: &Value) -> bool {
    match affinity {
        Affinity::Blob => matches!(part, Value::Bytes(_)),
        Affinity::Integer | Affinity::Real | Affinity::Numeric | Affinity::Text => {
            matches!(part, Value::Int(_) | Value::Float(_) | Value::Text(_))
        }
        Affinity::None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_is_what_sqlite_documents() {
        use Affinity::*;
        for (declared, expected) in [
            ("INTEGER", Integer),
            ("bigint", Integer),
            ("CHARINT", Integer),
            ("VARCHAR(20)", Text),
            ("text", Text),
            ("BLOB", Blob),
            ("", None),
            ("DOUBLE", Real),
            ("DECIMAL(10,2)", Numeric),
            ("DATE", Numeric),
        ] {
            assert_eq!(affinity(declared, false), expected, "{declared}");
        }
        assert_eq!(affinity("ANY", true), None);
    }

    #[test]
    fn values_keep_their_class() {
        assert_eq!(value(ValueRef::Integer(1)), Value::Int(1));
        assert_eq!(value(ValueRef::Text(b"1")), Value::text("1"));
        assert_eq!(value(ValueRef::Text(b"\xff")), Value::Bytes([0xff].into()));
        assert_eq!(value(ValueRef::Real(-0.0)).to_text(), "0");
    }
}
