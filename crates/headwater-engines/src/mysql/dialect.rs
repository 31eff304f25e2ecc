//! How MySQL and MariaDB say what access patterns need.
//!
//! Every value travels as the hexadecimal digits of its text, so no character of it can mean anything on the way. Texts
//! compare and sort byte by byte, as stores do; a native comparison, which takes more and never less, stands beside it where an
//! index may serve.
//!
//! Statements have numbered places (`?3`) until [`bound`] puts the server's own in, which have no numbers.

use std::cmp::Ordering;

use headwater_model::filter::Comparison;
use headwater_model::{Aggregate, ColumnType, Error, Indexable, Ranking, Result, Value};

use super::catalog::DescribedColumn;
use super::chunk::exact;
use super::codec::Kind;
use super::config::ZeroDates;
use crate::sql::{Column, Dialect, Grouped, Params};

/// A column's type, as far as answers need it.
#[derive(Clone, Debug)]
pub(super) struct Type {
    pub kind: Kind,
    /// The catalog's name of the type; empty for what was computed.
    data_type: Box<str>,
    /// Of a text in a Unicode character set: comparing it natively is no conversion.
    collation: Option<Box<str>>,
}

impl Type {
    pub fn new(kind: Kind, column: &DescribedColumn) -> Type {
        let unicode = kind == Kind::Text
            && matches!(&*column.charset, "utf8mb4" | "utf8mb3" | "utf8" | "ascii")
            && !matches!(&*column.data_type, "enum" | "set");
        let collation = unicode.then(|| column.collation.clone());
        Type { kind, data_type: column.data_type.clone(), collation }
    }

    fn computed(kind: Kind) -> Type {
        Type { kind, data_type: "".into(), collation: None }
    }

    /// Whether the server's own comparison is the model's.
    pub fn is_native(&self) -> bool {
        !matches!(self.kind, Kind::Text | Kind::Json | Kind::Float) && &*self.data_type != "bit"
    }

    /// What an index over the column can do for the statements made here.
    pub fn indexable(&self) -> Indexable {
        match (self.is_native(), &self.collation) {
            (true, _) => Indexable::InOrder(""),
            (false, Some(_)) => Indexable::ByValue,
            (false, None) if self.kind == Kind::Float => Indexable::ByValue,
            (false, None) => Indexable::Never,
        }
    }
}

pub(super) struct MySql {
    pub mariadb: bool,
    pub zero_dates: ZeroDates,
}

type MyColumn = Column<Type>;

/// A text's bytes, in UTF-8.
fn bytes(sql: &str) -> String {
    format!("CAST(CONVERT({sql} USING utf8mb4) AS BINARY)")
}

fn parameter(value: &Value, params: &mut Params) -> String {
    format!("?{}", params.add(value))
}

/// A text as its bytes, whatever they are.
fn unhex(text: &str, params: &mut Params) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("UNHEX({})", parameter(&Value::text(hex), params))
}

impl Dialect for MySql {
    type Column = Type;

    fn text(&self, column: &MyColumn, sql: &str) -> String {
        let Type { kind, data_type, .. } = &column.native;
        match kind {
            Kind::Bytes => format!("HEX({sql})"),
            Kind::Text | Kind::Json => format!("HEX(CONVERT({sql} USING utf8mb4))"),
            kind => format!("HEX(CONCAT({}))", exact(*kind, data_type, sql)),
        }
    }

    fn value(&self, column: &MyColumn, text: &str) -> Option<Value> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let text: Vec<u8> = text.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?;
        let kind = column.native.kind;
        let value = kind.value(&text)?;
        match (kind.is_moment(), &value, self.zero_dates) {
            (true, Value::Text(_), ZeroDates::Null) => Some(Value::Null),
            // Rows that have one are left out of every store.
            (true, Value::Text(_), ZeroDates::Refuse) => None,
            _ => Some(value),
        }
    }

    fn texts(&self, texts: &[String]) -> String {
        let quoted: Vec<String> =
            texts.iter().map(|text| format!("CONCAT('\\\"', {text}, '\\\"')")).collect();
        self.array(&quoted)
    }

    fn array(&self, items: &[String]) -> String {
        let items: Vec<String> = items.iter().map(|item| format!("COALESCE({item}, 'null')")).collect();
        match items.is_empty() {
            true => "'[]'".into(),
            false => format!("CONCAT('[', {}, ']')", items.join(", ',', ")),
        }
    }

    fn list(&self, item: &str, from: &str, order: &str, limit: Option<usize>) -> String {
        let limit = limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
        match self.mariadb {
            true => format!(
                "(SELECT CONCAT('[', COALESCE(GROUP_CONCAT({item} ORDER BY {order} SEPARATOR ','{limit}), ''), ']') \
                 FROM {from})"
            ),
            // A derived table of MySQL may refer to what is outside of it.
            false => format!(
                "(SELECT CONCAT('[', COALESCE(GROUP_CONCAT(x.o ORDER BY x.n SEPARATOR ','), ''), ']') FROM \
                 (SELECT {item} AS o, ROW_NUMBER() OVER (ORDER BY {order}) AS n FROM {from} ORDER BY n{limit}) AS x)"
            ),
        }
    }

    fn sortable(&self, column: &MyColumn, sql: &str) -> String {
        match column.native.kind {
            Kind::Text | Kind::Json => bytes(sql),
            Kind::Bytes => format!("CAST({sql} AS BINARY)"),
            kind => exact(kind, &column.native.data_type, sql),
        }
    }

    fn compare(
        &self,
        column: &MyColumn,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String {
        let operator = comparison.sql();
        match (column.native.kind, value) {
            (Kind::Text | Kind::Json, Value::Text(text) | Value::Json(text)) => {
                let exact = format!("{} {operator} {}", bytes(sql), unhex(text, params));
                match (comparison, &column.native.collation) {
                    (Comparison::Equal, Some(_)) => {
                        format!("({sql} = {} AND {exact})", parameter(&Value::text(&**text), params))
                    }
                    _ => exact,
                }
            }
            (Kind::Bytes, Value::Bytes(found)) => {
                let hex: String = found.iter().map(|byte| format!("{byte:02X}")).collect();
                let place = parameter(&Value::text(hex), params);
                format!("{} {operator} UNHEX({place})", self.sortable(column, sql))
            }
            (Kind::Float, Value::Int(_) | Value::Float(_) | Value::Decimal(_)) => {
                float(sql, comparison, value, params)
            }
            (Kind::Double, Value::Int(_) | Value::Float(_) | Value::Decimal(_)) => {
                match value.to_text().parse::<f64>() {
                    Ok(f) if f.is_finite() => {
                        format!("{sql} {operator} {}", parameter(&Value::Float(f), params))
                    }
                    _ => beyond(sql, comparison, value),
                }
            }
            (Kind::Int | Kind::Decimal, Value::Int(_)) => {
                let sql = exact(column.native.kind, &column.native.data_type, sql);
                format!("{sql} {operator} {}", parameter(value, params))
            }
            (Kind::Int | Kind::Decimal, Value::Float(_) | Value::Decimal(_)) => {
                let sql = exact(column.native.kind, &column.native.data_type, sql);
                match decimal(value) {
                    Some(text) => {
                        let place = parameter(&Value::text(text), params);
                        format!("{sql} {operator} CAST({place} AS DECIMAL(65,30))")
                    }
                    None => beyond(&sql, comparison, value),
                }
            }
            (Kind::Date, Value::Date(_)) => moment(sql, comparison, value, "DATE", params),
            (Kind::DateTime, Value::Timestamp(_)) | (Kind::Timestamp, Value::TimestampTz(_)) => {
                moment(sql, comparison, value, "DATETIME(6)", params)
            }
            _ => by_kind(column, sql, comparison, value),
        }
    }

    fn compare_columns(
        &self,
        (left, left_sql): (&MyColumn, &str),
        comparison: Comparison,
        (right, right_sql): (&MyColumn, &str),
    ) -> String {
        let operator = comparison.sql();
        let is_text = |column: &MyColumn| matches!(column.native.kind, Kind::Text | Kind::Json);
        if is_text(left) || is_text(right) {
            let exact = format!("{} {operator} {}", bytes(left_sql), bytes(right_sql));
            let alike = left.native.collation.is_some() && left.native.collation == right.native.collation;
            return match comparison {
                Comparison::Equal if alike => format!("({left_sql} = {right_sql} AND {exact})"),
                _ => exact,
            };
        }
        let side = |column: &MyColumn, sql: &str| exact(column.native.kind, &column.native.data_type, sql);
        format!("{} {operator} {}", side(left, left_sql), side(right, right_sql))
    }

    fn filter(
        &self,
        column: &MyColumn,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String {
        self.compare(column, sql, comparison, value, params)
    }

    fn filter_columns(
        &self,
        left: (&MyColumn, &str),
        comparison: Comparison,
        right: (&MyColumn, &str),
    ) -> String {
        self.compare_columns(left, comparison, right)
    }

    fn literal(&self, value: &Value, params: &mut Params) -> String {
        match value {
            Value::Bool(true) => "TRUE".into(),
            Value::Bool(false) => "FALSE".into(),
            Value::Int(_) | Value::Float(_) => parameter(value, params),
            other => parameter(&Value::text(other.to_text()), params),
        }
    }

    fn aggregate(
        &self,
        function: Aggregate,
        column: Option<(&MyColumn, &str)>,
    ) -> Result<(String, MyColumn)> {
        let outcome = |native: Type, nullable: bool| Column {
            name: Ranking::SCORE.into(),
            kind: native.kind.column_type(),
            nullable,
            native,
        };
        let (column, sql) = match (function, column) {
            (Aggregate::Count, None) => {
                return Ok(("COUNT(*)".into(), outcome(Type::computed(Kind::Int), false)));
            }
            (Aggregate::Count, Some((_, sql))) => {
                return Ok((format!("COUNT({sql})"), outcome(Type::computed(Kind::Int), false)));
            }
            (_, None) => return Err(Error::misconfigured("only count takes no column")),
            (_, Some(of)) => of,
        };
        let Type { kind, data_type, .. } = &column.native;
        let name = if function == Aggregate::Max { "MAX" } else { "MIN" };
        let value = exact(*kind, data_type, sql);
        Ok(match (function, kind) {
            (Aggregate::Sum, Kind::Int | Kind::Decimal) => {
                (format!("SUM({value})"), outcome(Type::computed(Kind::Decimal), true))
            }
            (Aggregate::Sum, _) => {
                return Err(Error::unsupported(format!(
                    "column \"{}\" is no exact number to be summed",
                    column.name
                )));
            }
            (_, Kind::Json) => {
                return Err(Error::unsupported(format!(
                    "values of column \"{}\" have no order",
                    column.name
                )));
            }
            (_, Kind::Text) => (format!("{name}({})", bytes(sql)), outcome(Type::computed(Kind::Text), true)),
            (_, Kind::Bytes) => {
                (format!("{name}(CAST({sql} AS BINARY))"), outcome(Type::computed(Kind::Bytes), true))
            }
            (_, kind) => (format!("{name}({value})"), outcome(Type::computed(*kind), true)),
        })
    }

    fn grouped(&self, column: &MyColumn, sql: &str) -> Grouped<Type> {
        let by = self.sortable(column, sql);
        let native = Type::computed(column.native.kind);
        Grouped { select: by.clone(), by, column: Column { native, ..column.clone() } }
    }

    fn order(&self, sortable: &str, nullable: bool, descending: bool) -> String {
        let direction = if descending { "DESC" } else { "ASC" };
        match nullable {
            true => format!("{sortable} IS NULL {direction}, {sortable} {direction}"),
            false => format!("{sortable} {direction}"),
        }
    }

    fn materialized(&self) -> &'static str {
        ""
    }
}

/// A column of floats of four bytes stands for the numbers that it prints. These are in the order of the floats, so a
/// comparison with any number is one with the nearest float.
fn float(sql: &str, comparison: Comparison, value: &Value, params: &mut Params) -> String {
    let Ok(wanted) = value.to_text().parse::<f64>() else { return beyond(sql, comparison, value) };
    let nearest = wanted as f32;
    if !nearest.is_finite() {
        return beyond(sql, comparison, value);
    }
    let place = |params: &mut Params| {
        format!("{sql} + 0e0 {{}} {}", parameter(&Value::Float(f64::from(nearest)), params))
    };
    let with = |operator: &str, params: &mut Params| place(params).replace("{}", operator);
    let printed = super::codec::float(nearest);
    match (printed.compare(value), comparison) {
        (Ordering::Equal, comparison) => with(comparison.sql(), params),
        (_, Comparison::Equal) => never(sql),
        (_, Comparison::Unequal) => always(sql),
        (Ordering::Less, Comparison::Less | Comparison::AtMost) => with("<=", params),
        (Ordering::Less, _) => with(">", params),
        (_, Comparison::Less | Comparison::AtMost) => with("<", params),
        (_, _) => with(">=", params),
    }
}

/// As many digits as the server's decimals have.
fn decimal(value: &Value) -> Option<String> {
    let text = match value {
        // Without an exponent.
        Value::Float(f) if f.is_finite() => f.to_string(),
        Value::Decimal(text) => text.to_string(),
        _ => return None,
    };
    let (whole, fraction) =
        text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction) && whole.len() <= 35 && fraction.len() <= 30).then_some(text)
}

/// A number that no value of the column comes near.
fn beyond(sql: &str, comparison: Comparison, value: &Value) -> String {
    let text = value.to_text();
    let tiny = text.parse::<f64>().is_ok_and(|f| f.abs() < 1.0);
    let ordering = match (tiny, text.starts_with('-')) {
        // Between zero and the smallest that the column can tell from it.
        (true, false) => return side(sql, comparison, ">"),
        (true, true) => return side(sql, comparison, "<"),
        (false, true) => Ordering::Greater,
        (false, false) => Ordering::Less,
    };
    constant(sql, comparison.holds(ordering))
}

/// A value is above zero, or else it is at or below it; the same below.
fn side(sql: &str, comparison: Comparison, of: &str) -> String {
    let (above, below) = if of == ">" { (">", "<=") } else { (">=", "<") };
    match comparison {
        Comparison::Equal => never(sql),
        Comparison::Unequal => always(sql),
        Comparison::Greater | Comparison::AtLeast => format!("{sql} {above} 0"),
        Comparison::Less | Comparison::AtMost => format!("{sql} {below} 0"),
    }
}

fn always(sql: &str) -> String {
    format!("{sql} IS NOT NULL")
}

/// False, but NULL for NULL.
fn never(sql: &str) -> String {
    format!("({sql} IS NULL AND NULL)")
}

fn constant(sql: &str, holds: bool) -> String {
    if holds { always(sql) } else { never(sql) }
}

fn moment(sql: &str, comparison: Comparison, value: &Value, name: &str, params: &mut Params) -> String {
    // The server's years have four digits.
    const FIRST: i64 = -62_167_219_200;
    const END: i64 = 253_402_300_800;
    let seconds = match value {
        Value::Date(days) => i64::from(*days) * 86_400,
        Value::Timestamp(micros) | Value::TimestampTz(micros) => micros.div_euclid(1_000_000),
        _ => 0,
    };
    if seconds < FIRST {
        return constant(sql, comparison.holds(Ordering::Greater));
    }
    if seconds >= END {
        return constant(sql, comparison.holds(Ordering::Less));
    }
    let text = value.to_text().replace('T', " ");
    let text = text.trim_end_matches("+00:00").to_owned();
    format!("{sql} {} CAST({} AS {name})", comparison.sql(), parameter(&Value::text(text), params))
}

/// Values of different kinds order by kind, whatever they are.
fn by_kind(column: &MyColumn, sql: &str, comparison: Comparison, value: &Value) -> String {
    let sample = match column.kind {
        ColumnType::Int | ColumnType::Float | ColumnType::Decimal => Value::Int(0),
        ColumnType::Date => Value::Date(0),
        ColumnType::Timestamp => Value::Timestamp(0),
        ColumnType::TimestampTz => Value::TimestampTz(0),
        ColumnType::Bytes => Value::Bytes(Box::default()),
        ColumnType::Json => Value::Json("".into()),
        _ => Value::text(""),
    };
    constant(sql, comparison.holds(sample.compare(value)))
}

/// The statement with the server's places, and the values in the order of their places there.
pub(super) fn bound(sql: &str, params: &[Value]) -> Result<(String, Vec<mysql_async::Value>)> {
    let mut out = String::with_capacity(sql.len());
    let mut values = Vec::with_capacity(params.len());
    let mut quote = None;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\\') => {
                out.push(c);
                out.extend(chars.next());
            }
            (Some(open), c) => {
                // A doubled quote closes and opens.
                quote = (c != open).then_some(open);
                out.push(c);
            }
            (None, '"' | '\'') => {
                quote = Some(c);
                out.push(c);
            }
            (None, '?') => {
                let mut number = 0usize;
                while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                    number = number * 10 + digit as usize;
                    chars.next();
                }
                let value = number.checked_sub(1).and_then(|place| params.get(place));
                values.push(param(value.ok_or_else(|| Error::bug("a place without a value"))?));
                out.push('?');
            }
            (None, c) => out.push(c),
        }
    }
    Ok((out, values))
}

fn param(value: &Value) -> mysql_async::Value {
    match value {
        Value::Null | Value::Unchanged => mysql_async::Value::NULL,
        Value::Bool(b) => mysql_async::Value::Int(i64::from(*b)),
        Value::Int(n) => mysql_async::Value::Int(*n),
        Value::Float(f) => mysql_async::Value::Double(*f),
        other => mysql_async::Value::Bytes(other.to_text().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_get_their_values_wherever_they_stand_and_quotes_are_left_alone() {
        let params = [Value::Int(1), Value::text("two")];
        let (sql, values) =
            bound("SELECT \"a?1\", 'it''s \\' ?2', x FROM t WHERE b = ?2 AND c = ?1 AND d = ?2", &params)
                .unwrap();
        assert_eq!(sql, "SELECT \"a?1\", 'it''s \\' ?2', x FROM t WHERE b = ? AND c = ? AND d = ?");
        let two = || mysql_async::Value::Bytes(b"two".to_vec());
        assert_eq!(values, [two(), mysql_async::Value::Int(1), two()]);
        assert!(bound("?3", &params).is_err());
    }

    #[test]
    fn a_float_is_compared_as_it_prints() {
        let mut params = Params::default();
        let text = |comparison, f, params: &mut Params| float("c", comparison, &Value::Float(f), params);
        assert_eq!(text(Comparison::Equal, 0.1, &mut params), "c + 0e0 = ?1");
        assert_eq!(text(Comparison::Equal, 0.100_000_01, &mut params), "c + 0e0 = ?2");
        assert_eq!(text(Comparison::Equal, 0.100_000_000_1, &mut params), "(c IS NULL AND NULL)");
        assert_eq!(text(Comparison::Less, 0.100_000_000_1, &mut params), "c + 0e0 <= ?3");
        assert_eq!(text(Comparison::Greater, 1e300, &mut params), "(c IS NULL AND NULL)");
    }
}
