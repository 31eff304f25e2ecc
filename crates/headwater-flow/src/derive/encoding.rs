//! Bytes that the mirror is keyed by: of primary keys and of join columns.

use headwater_model::sort::Number;
use headwater_model::wire::{Reader, write_value};
use headwater_model::{Key, Result, Value};

/// Appends a primary key's bytes. They read back as the same key, except that a float without a fraction becomes an
/// integer: SQLite holds the two as one key, and they print alike.
pub(super) fn write_key<'a>(values: impl IntoIterator<Item = &'a Value>, out: &mut Vec<u8>) {
    for value in values {
        match whole_float(value) {
            Some(n) => write_value(&Value::Int(n), out),
            None => write_value(value, out),
        }
    }
}

pub(super) fn key_bytes<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    write_key(values, &mut out);
    out
}

pub(super) fn read_key(bytes: &[u8]) -> Result<Key> {
    let mut reader = Reader::new(bytes);
    let mut values = Vec::with_capacity(1);
    while !reader.is_empty() {
        values.push(reader.value()?);
    }
    Ok(Key(values))
}

/// Bytes that are equal iff SQL's `=` holds between the columns, `None` if some value is NULL and so never matches, or
/// not known yet. The same as [`key_bytes`] unless there are decimals, which are equal across their scales.
pub(super) fn join_bytes(cells: &[Value], columns: &[usize]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(16);
    for &column in columns {
        match &cells[column] {
            Value::Null | Value::Unchanged => return None,
            Value::Decimal(text) => {
                let decimal = Number::parse(text);
                match decimal.whole() {
                    Some(n) => write_value(&Value::Int(n), &mut out),
                    None => decimal.write(&mut out),
                }
            }
            value => write_key([value], &mut out),
        }
    }
    Some(out)
}

fn whole_float(value: &Value) -> Option<i64> {
    match value {
        // 2^53: below it each whole float is one integer and no other.
        Value::Float(f) if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 => Some(*f as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn join_bytes_are_equal_iff_values_are(a in "-?[0-9]{1,2}(\\.[0-9]{1,2})?", b in "-?[0-9]{1,2}(\\.[0-9]{1,2})?") {
            let (a, b) = (Value::Decimal(a.into()), Value::Decimal(b.into()));
            let joined = |v: &Value| join_bytes(std::slice::from_ref(v), &[0]);
            prop_assert_eq!(joined(&a) == joined(&b), a.same(&b));
        }
    }

    #[test]
    fn whole_numbers_join_whatever_their_kind() {
        let joined = |v: Value| join_bytes(&[v], &[0]);
        assert_eq!(joined(Value::Int(-50)), joined(Value::Decimal("-50.00".into())));
        assert_eq!(joined(Value::Int(3)), joined(Value::Float(3.0)));
        assert_eq!(joined(Value::Int(i64::MIN)), joined(Value::Decimal(i64::MIN.to_string().into())));
        assert_ne!(joined(Value::Int(5)), joined(Value::text("5")));
        assert_eq!(joined(Value::Null), None);
        assert_eq!(
            read_key(&key_bytes(&[Value::Int(7), Value::text("x")])).ok(),
            Some(Key(vec![Value::Int(7), Value::text("x")]))
        );
    }
}
