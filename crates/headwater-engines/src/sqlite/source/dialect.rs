//! How SQLite says what access patterns need. Each value has a kind of its own, so comparisons must not convert: SQLite does
//! where a column's declared type meets a value of another kind, and only there the column is taken without its type.

use headwater_model::filter::Comparison;
use headwater_model::{Affinity, Aggregate, ColumnType, Error, Ranking, Result, Value};
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

use crate::sql::{Column, Dialect, Grouped, Params};
use crate::sqlite::codec;

/// SQLite, as it is in the binary.
pub(super) struct Sqlite;

type SqliteColumn = Column<Affinity>;

/// The function that gives a value as text with its kind; connections that run statements need it.
pub(super) fn add_functions(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("headwater_text", 1, flags, |context| Ok(tagged(context.get_raw(0))))
}

/// A letter for the storage class, then the value, exactly.
fn tagged(stored: ValueRef<'_>) -> Option<String> {
    Some(match codec::value(stored) {
        Value::Null => return None,
        Value::Float(f) => format!("f{f:?}"),
        Value::Text(text) => format!("t{text}"),
        bytes @ Value::Bytes(_) => format!("x{}", bytes.to_text()),
        other => format!("i{}", other.to_text()),
    })
}

/// Which values a column converts others to when it is compared.
#[derive(PartialEq, Eq)]
enum Group {
    Numbers,
    Texts,
    /// None: values stay what they are.
    Nothing,
}

fn group(affinity: Affinity) -> Group {
    match affinity {
        Affinity::Integer | Affinity::Real | Affinity::Numeric => Group::Numbers,
        Affinity::Text => Group::Texts,
        Affinity::Blob | Affinity::None => Group::Nothing,
    }
}

/// Texts joined as one, nested evenly: SQLite bounds the depth of expressions.
fn joined(parts: &[String]) -> String {
    match parts {
        [] => "''".into(),
        [one] => one.clone(),
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            format!("({} || ',' || {})", joined(left), joined(right))
        }
    }
}

impl Dialect for Sqlite {
    type Column = Affinity;

    fn text(&self, _column: &SqliteColumn, sql: &str) -> String {
        format!("headwater_text({sql})")
    }

    fn value(&self, _column: &SqliteColumn, text: &str) -> Option<Value> {
        let kind = text.chars().next()?;
        let rest = &text[kind.len_utf8()..];
        Some(match kind {
            'i' => Value::Int(rest.parse().ok()?),
            'f' => Value::Float(rest.parse().ok()?),
            't' => Value::text(rest),
            'x' => {
                let digits = rest.strip_prefix("\\x")?.as_bytes();
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                Value::Bytes(digits.chunks(2).map(byte).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    fn texts(&self, texts: &[String]) -> String {
        let quoted: Vec<String> = texts.iter().map(|text| format!("json_quote({text})")).collect();
        format!("('[' || {} || ']')", joined(&quoted))
    }

    fn array(&self, items: &[String]) -> String {
        let items: Vec<String> = items.iter().map(|item| format!("coalesce({item}, 'null')")).collect();
        format!("('[' || {} || ']')", joined(&items))
    }

    fn list(&self, item: &str, from: &str, order: &str, limit: Option<usize>) -> String {
        let limit = limit.map(|limit| format!(" ORDER BY n LIMIT {limit}")).unwrap_or_default();
        format!(
            "(SELECT '[' || coalesce(group_concat(x.o, ',' ORDER BY x.n), '') || ']' FROM \
             (SELECT {item} AS o, row_number() OVER (ORDER BY {order}) AS n FROM {from}{limit}) AS x)"
        )
    }

    fn sortable(&self, _column: &SqliteColumn, sql: &str) -> String {
        format!("{sql} COLLATE BINARY")
    }

    fn compare(
        &self,
        column: &SqliteColumn,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String {
        let converts = match (group(column.native), value) {
            (Group::Nothing, _) | (_, Value::Bytes(_)) | (Group::Texts, Value::Text(_)) => false,
            (Group::Numbers, value) => matches!(value, Value::Text(_)),
            (Group::Texts, _) => true,
        };
        let sql = if converts { format!("(+{sql})") } else { sql.to_owned() };
        self.filter(column, &sql, comparison, value, params)
    }

    fn compare_columns(
        &self,
        (left, left_sql): (&SqliteColumn, &str),
        comparison: Comparison,
        (right, right_sql): (&SqliteColumn, &str),
    ) -> String {
        let operator = comparison.sql();
        if group(left.native) == group(right.native) {
            return format!("{left_sql} COLLATE BINARY {operator} {right_sql}");
        }
        format!("(+{left_sql}) COLLATE BINARY {operator} (+{right_sql})")
    }

    fn filter(
        &self,
        _column: &SqliteColumn,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String {
        format!("{sql} COLLATE BINARY {} {}", comparison.sql(), self.literal(value, params))
    }

    fn filter_columns(
        &self,
        (_, left): (&SqliteColumn, &str),
        comparison: Comparison,
        (_, right): (&SqliteColumn, &str),
    ) -> String {
        format!("{left} COLLATE BINARY {} {right}", comparison.sql())
    }

    fn literal(&self, value: &Value, params: &mut Params) -> String {
        format!("?{}", params.add(value))
    }

    fn aggregate(
        &self,
        function: Aggregate,
        column: Option<(&SqliteColumn, &str)>,
    ) -> Result<(String, SqliteColumn)> {
        let sql = match (function, column) {
            (Aggregate::Count, None) => "count(*)".into(),
            (_, None) => return Err(Error::misconfigured("only count takes no column")),
            (Aggregate::Count, Some((_, sql))) => format!("count({sql})"),
            (Aggregate::Sum, Some((_, sql))) => format!("sum({sql})"),
            (Aggregate::Min, Some((_, sql))) => format!("min({sql} COLLATE BINARY)"),
            (Aggregate::Max, Some((_, sql))) => format!("max({sql} COLLATE BINARY)"),
        };
        let outcome = Column {
            name: Ranking::SCORE.into(),
            kind: ColumnType::Dynamic,
            nullable: function != Aggregate::Count,
            native: Affinity::None,
        };
        Ok((sql, outcome))
    }

    fn grouped(&self, column: &SqliteColumn, sql: &str) -> Grouped<Affinity> {
        Grouped { select: sql.into(), by: format!("{sql} COLLATE BINARY"), column: column.clone() }
    }

    fn nulls(&self, descending: bool) -> &'static str {
        if descending { " NULLS FIRST" } else { " NULLS LAST" }
    }

    fn materialized(&self) -> &'static str {
        " MATERIALIZED"
    }
}

/// A parameter as it is bound. Numbers that come back from the bytes of a place are decimals where they were floats.
pub(super) fn param(value: &Value) -> rusqlite::types::Value {
    use rusqlite::types::Value as Native;
    match value {
        Value::Null | Value::Unchanged => Native::Null,
        Value::Bool(b) => Native::Integer(i64::from(*b)),
        Value::Int(n) => Native::Integer(*n),
        Value::Float(f) => Native::Real(*f),
        Value::Decimal(text) => text.parse().map_or_else(|_| Native::Text(text.to_string()), Native::Real),
        Value::Bytes(bytes) => Native::Blob(bytes.to_vec()),
        other => Native::Text(other.to_text()),
    }
}
