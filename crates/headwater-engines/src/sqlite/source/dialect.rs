//! How SQLite says what access patterns need. Each value has a kind of its own, so comparisons must not convert: SQLite does
//! where a column's declared type meets a value of another kind, and only there the column is taken without its type.

use headwater_model::filter::Comparison;
use headwater_model::sort::write_sort;
use headwater_model::{Affinity, Aggregate, ColumnType, Error, Ranking, Result, Sum, Value};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

use crate::sql::{Column, Dialect, Grouped, Params};
use crate::sqlite::codec;

/// SQLite, as it is in the binary.
pub(super) struct Sqlite;

/// What is known of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Native {
    Of(Affinity),
    /// An exact sum: the text of a number that SQLite's own numbers may be too small for.
    Sum,
}

type SqliteColumn = Column<Native>;

/// Functions that statements need: a value as text with its kind; an exact sum; bytes that sort as the number in a text.
pub(super) fn add_functions(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection
        .create_scalar_function("headwater_text", 1, flags, |context| Ok(tagged(context.get_raw(0))))?;
    connection.create_scalar_function("headwater_sort", 1, flags, |context| {
        Ok(context.get::<Option<String>>(0)?.map(|text| sort_bytes(&number(&text))))
    })?;
    connection.create_aggregate_function("headwater_sum", 1, flags, ExactSum)
}

/// SQLite's own sum rounds reals, and fails where integers grow past 64 bits.
struct ExactSum;

impl rusqlite::functions::Aggregate<Sum, Option<String>> for ExactSum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Sum> {
        Ok(Sum::default())
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Sum) -> rusqlite::Result<()> {
        match codec::value(context.get_raw(0)) {
            Value::Null => Ok(()),
            value => sum.add(&value).map_err(|e| rusqlite::Error::UserFunctionError(Box::new(e))),
        }
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Sum>) -> rusqlite::Result<Option<String>> {
        let value = sum.unwrap_or_default().value();
        Ok((!value.is_null()).then(|| value.to_text()))
    }
}

/// The number that a sum's text stands for.
fn number(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::Decimal(text.into()), Value::Int)
}

fn sort_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_sort(value, false, &mut bytes);
    bytes
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

fn group(native: Native) -> Group {
    match native {
        Native::Of(Affinity::Integer | Affinity::Real | Affinity::Numeric) => Group::Numbers,
        Native::Of(Affinity::Text) => Group::Texts,
        Native::Of(Affinity::Blob | Affinity::None) | Native::Sum => Group::Nothing,
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
    type Column = Native;

    fn text(&self, column: &SqliteColumn, sql: &str) -> String {
        match column.native {
            Native::Of(_) => format!("headwater_text({sql})"),
            Native::Sum => sql.into(),
        }
    }

    fn value(&self, column: &SqliteColumn, text: &str) -> Option<Value> {
        if let Native::Sum = column.native {
            return Some(number(text));
        }
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

    fn sortable(&self, column: &SqliteColumn, sql: &str) -> String {
        match column.native {
            Native::Of(_) => format!("{sql} COLLATE BINARY"),
            Native::Sum => format!("headwater_sort({sql})"),
        }
    }

    fn compare(
        &self,
        column: &SqliteColumn,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String {
        if let Native::Sum = column.native {
            let place = params.add(&Value::Bytes(sort_bytes(value).into()));
            return format!("headwater_sort({sql}) {} ?{place}", comparison.sql());
        }
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
            (Aggregate::Sum, Some((_, sql))) => format!("headwater_sum({sql})"),
            (Aggregate::Min, Some((_, sql))) => format!("min({sql} COLLATE BINARY)"),
            (Aggregate::Max, Some((_, sql))) => format!("max({sql} COLLATE BINARY)"),
        };
        let outcome = Column {
            name: Ranking::SCORE.into(),
            kind: ColumnType::Dynamic,
            nullable: function != Aggregate::Count,
            native: if function == Aggregate::Sum { Native::Sum } else { Native::Of(Affinity::None) },
        };
        Ok((sql, outcome))
    }

    fn grouped(&self, column: &SqliteColumn, sql: &str) -> Grouped<Native> {
        Grouped { select: sql.into(), by: format!("{sql} COLLATE BINARY"), column: column.clone() }
    }

    fn order(&self, sortable: &str, nullable: bool, descending: bool) -> String {
        match (nullable, descending) {
            (true, true) => format!("{sortable} DESC NULLS FIRST"),
            (true, false) => format!("{sortable} ASC NULLS LAST"),
            (false, true) => format!("{sortable} DESC"),
            (false, false) => format!("{sortable} ASC"),
        }
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
