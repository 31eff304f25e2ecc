//! How PostgreSQL says what access patterns need: which comparisons are the model's own, and which need the printed text.
//!
//! A native comparison is used wherever it is exact, so that the source's indexes serve. Where it is not (text order by a
//! locale, `char(n)`, enums, types that travel as text), text is compared byte by byte as printed.

use headwater_model::filter::Comparison;
use headwater_model::{Aggregate, ColumnType, Error, Indexable, Result, Value};

use super::codec::Decode;
use super::sql;
use crate::sql::{Column, Dialect, Grouped, Params};

/// A column's type, as far as answers need it.
#[derive(Clone, Debug)]
pub(super) struct Type {
    pub decode: Decode,
    pub class: Class,
}

/// How values of a type compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// As the model does.
    Native,
    /// `real`: its values are the numbers that it prints, not what they become as `double precision`.
    Real,
    Uuid,
    /// Sorts by bytes under the collation `C`; `exact`: equality is byte by byte under its own.
    Text {
        exact: bool,
    },
    /// `char(n)`: native equality ignores blanks at the end.
    Padded,
    /// Travels as text, and is compared as such.
    Printed,
    /// An array, by the SQL name of its type.
    List {
        type_name: Box<str>,
        collated: bool,
    },
}

impl Type {
    /// `base` is the oid of the type, without domains; `type_name` its SQL name.
    pub fn new(decode: Decode, base: u32, type_name: &str, deterministic: bool, collated: bool) -> Type {
        let class = match (&decode, base) {
            (Decode::List { .. } | Decode::Vector(_), _) => {
                Class::List { type_name: type_name.into(), collated }
            }
            (_, 700) => Class::Real,
            (_, 25 | 1043 | 19) => Class::Text { exact: deterministic },
            (_, 1042) => Class::Padded,
            (_, 2950) => Class::Uuid,
            (Decode::Text | Decode::Json, _) => Class::Printed,
            _ => Class::Native,
        };
        Type { decode, class }
    }

    /// What an index over the column can do for the statements made here. `by_bytes`: its own collation sorts so.
    pub fn indexable(&self, by_bytes: bool) -> Indexable {
        match &self.class {
            Class::Native | Class::Uuid | Class::List { collated: false, .. } => Indexable::InOrder(""),
            Class::Text { .. } | Class::List { .. } if by_bytes => Indexable::InOrder(""),
            Class::Text { .. } | Class::List { .. } => Indexable::InOrder(" COLLATE \"C\""),
            Class::Padded => Indexable::ByValue,
            Class::Real | Class::Printed => Indexable::Never,
        }
    }
}

/// PostgreSQL 15 and later.
pub(super) struct Postgres;

type PgColumn = Column<Type>;

fn printed(sql: &str) -> String {
    // Not a cast: those of `inet`, `boolean` and `char(n)` print something else than the type does.
    format!("CASE WHEN {sql} IS DISTINCT FROM NULL THEN format('%s', {sql}) END")
}

fn by_bytes(sql: &str) -> String {
    format!("({sql}) COLLATE \"C\"")
}

impl Dialect for Postgres {
    type Column = Type;

    fn text(&self, column: &PgColumn, sql: &str) -> String {
        match column.native.decode {
            Decode::Int
            | Decode::Float
            | Decode::Decimal
            | Decode::Bytes
            | Decode::Date
            | Decode::Time
            | Decode::Timestamp
            | Decode::TimestampTz => format!("{sql}::text"),
            Decode::Text if matches!(column.native.class, Class::Text { .. } | Class::Uuid) => {
                format!("{sql}::text")
            }
            _ => printed(sql),
        }
    }

    fn value(&self, column: &PgColumn, text: &str) -> Option<Value> {
        column.native.decode.value(text.as_bytes())
    }

    fn texts(&self, texts: &[String]) -> String {
        format!("array_to_json(ARRAY[{}]::text[])", texts.join(", "))
    }

    fn array(&self, items: &[String]) -> String {
        format!("array_to_json(ARRAY[{}]::json[])", items.join(", "))
    }

    fn list(&self, item: &str, from: &str, order: &str, limit: Option<usize>) -> String {
        let limit = limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
        format!("array_to_json(ARRAY(SELECT {item} FROM {from} ORDER BY {order}{limit}))")
    }

    fn sortable(&self, column: &PgColumn, sql: &str) -> String {
        match &column.native.class {
            Class::Native | Class::Real | Class::Uuid | Class::List { collated: false, .. } => sql.into(),
            Class::Text { .. } | Class::List { .. } => by_bytes(sql),
            Class::Padded | Class::Printed => by_bytes(&printed(sql)),
        }
    }

    fn compare(
        &self,
        column: &PgColumn,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String {
        let equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
        let operator = comparison.sql();
        let text = match value {
            Value::Text(text) | Value::Json(text) => Some(&**text),
            _ => None,
        };
        match (&column.native.class, text) {
            (Class::Uuid, Some(text)) if is_uuid(text) => {
                format!("{sql} {operator} {}", cast(value, "uuid", params))
            }
            (Class::Text { .. } | Class::Padded | Class::Printed | Class::Uuid, Some(text)) => {
                let (text, comparison) = without_nul(text, comparison);
                if text.is_none() && equality {
                    return never(sql, comparison);
                }
                let operator = comparison.sql();
                let shorter = text.map(Value::text);
                let place = cast(shorter.as_ref().unwrap_or(value), "text", params);
                match &column.native.class {
                    Class::Text { exact: true } if equality => format!("{sql} {operator} {place}"),
                    Class::Text { .. } => {
                        let exact = format!("{} {operator} {place}", by_bytes(sql));
                        // The native comparison finds by index; it takes more, never less.
                        if comparison == Comparison::Equal {
                            format!("({sql} = {place} AND {exact})")
                        } else {
                            exact
                        }
                    }
                    Class::Padded if comparison == Comparison::Equal => {
                        format!("({sql} = {place}::bpchar AND {} = {place})", by_bytes(&printed(sql)))
                    }
                    _ => format!("{} {operator} {place}", by_bytes(&printed(sql))),
                }
            }
            (Class::List { type_name, collated }, _) if matches!(value, Value::List(_)) => {
                let place = match (value, &column.native.decode) {
                    (Value::List(items), Decode::Vector(_)) => {
                        let items: Vec<String> = items.iter().map(Value::to_text).collect();
                        cast(&Value::text(items.join(" ")), type_name, params)
                    }
                    _ => cast(value, type_name, params),
                };
                let sql = if *collated { by_bytes(sql) } else { sql.into() };
                format!("{sql} {operator} {place}")
            }
            (Class::Native | Class::Real, _) => match type_of(&column.native.decode, value) {
                Some(name) => {
                    let place = cast(value, name, params);
                    format!("{} {operator} {place}", self.exact(column, sql))
                }
                None => by_kind(column, sql, comparison, value),
            },
            _ => by_kind(column, sql, comparison, value),
        }
    }

    fn compare_columns(
        &self,
        (left, left_sql): (&PgColumn, &str),
        comparison: Comparison,
        (right, right_sql): (&PgColumn, &str),
    ) -> String {
        use Class::{List, Native, Real, Text, Uuid};
        let equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
        let operator = comparison.sql();
        match (&left.native.class, &right.native.class) {
            (Text { exact: true }, Text { exact: true }) if equality => {
                format!("{left_sql} {operator} {right_sql}")
            }
            (Native | Real, Native | Real) | (Uuid, Uuid) | (List { .. }, List { .. }) => {
                format!("{} {operator} {}", self.exact(left, left_sql), self.exact(right, right_sql))
            }
            _ => format!("{} {operator} {}", by_bytes(&printed(left_sql)), by_bytes(&printed(right_sql))),
        }
    }

    fn filter(
        &self,
        column: &PgColumn,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String {
        self.compare(column, sql, comparison, value, params)
    }

    fn filter_columns(
        &self,
        left: (&PgColumn, &str),
        comparison: Comparison,
        right: (&PgColumn, &str),
    ) -> String {
        self.compare_columns(left, comparison, right)
    }

    fn literal(&self, value: &Value, params: &mut Params) -> String {
        let name = match value {
            Value::Bool(_) => "boolean",
            Value::Int(_) => "bigint",
            Value::Float(_) => "float8",
            Value::Decimal(_) => "numeric",
            _ => "text",
        };
        cast(value, name, params)
    }

    fn aggregate(
        &self,
        function: Aggregate,
        column: Option<(&PgColumn, &str)>,
    ) -> Result<(String, PgColumn)> {
        let outcome = |decode: Decode, class: Class, nullable: bool| Column {
            name: headwater_model::Ranking::SCORE.into(),
            kind: decode.kind(),
            nullable,
            native: Type { decode, class },
        };
        let count = || outcome(Decode::Int, Class::Native, false);
        let (column, sql) = match (function, column) {
            (Aggregate::Count, None) => return Ok(("count(*)".into(), count())),
            (Aggregate::Count, Some((_, sql))) => return Ok((format!("count({sql})"), count())),
            (_, None) => return Err(Error::misconfigured("only count takes no column")),
            (_, Some(of)) => of,
        };
        let Type { decode, class } = &column.native;
        let name = if function == Aggregate::Max { "max" } else { "min" };
        Ok(match (function, decode) {
            (Aggregate::Sum, Decode::Int | Decode::Decimal) => {
                (format!("sum({sql})::numeric"), outcome(Decode::Decimal, Class::Native, true))
            }
            (Aggregate::Sum, _) => {
                return Err(Error::unsupported(format!(
                    "column \"{}\" is no exact number to be summed",
                    column.name
                )));
            }
            (
                _,
                Decode::Int
                | Decode::Decimal
                | Decode::Float
                | Decode::Date
                | Decode::Time
                | Decode::Timestamp
                | Decode::TimestampTz,
            ) => (format!("{name}({sql})"), outcome(decode.clone(), class.clone(), true)),
            (_, Decode::Text) => {
                let text = match class {
                    Class::Text { .. } => format!("{sql}::text"),
                    _ => printed(sql),
                };
                (
                    format!("{name}({})", by_bytes(&text)),
                    outcome(Decode::Text, Class::Text { exact: true }, true),
                )
            }
            (_, Decode::Bool | Decode::Bytes) => {
                let direction = if function == Aggregate::Max { "DESC" } else { "ASC" };
                let list =
                    format!("(array_agg({sql} ORDER BY {sql} {direction}) FILTER (WHERE {sql} IS NOT NULL))");
                (format!("{list}[1]"), outcome(decode.clone(), class.clone(), true))
            }
            (_, Decode::Json | Decode::List { .. } | Decode::Vector(_)) => {
                return Err(Error::unsupported(format!(
                    "values of column \"{}\" have no order",
                    column.name
                )));
            }
        })
    }

    fn grouped(&self, column: &PgColumn, sql: &str) -> Grouped<Type> {
        let text = |sql: String| {
            let native = Type { decode: column.native.decode.clone(), class: Class::Text { exact: true } };
            Grouped { by: sql.clone(), select: sql, column: Column { native, ..column.clone() } }
        };
        match &column.native.class {
            Class::Text { exact: false } => text(by_bytes(sql)),
            Class::Padded | Class::Printed => text(by_bytes(&printed(sql))),
            _ => Grouped { by: sql.into(), select: sql.into(), column: column.clone() },
        }
    }

    fn order(&self, sortable: &str, _nullable: bool, descending: bool) -> String {
        // Where NULL is, is the server's own default.
        format!("{sortable} {}", if descending { "DESC" } else { "ASC" })
    }

    fn materialized(&self) -> &'static str {
        " MATERIALIZED"
    }
}

impl Postgres {
    /// The column as an expression whose native comparison is the model's.
    fn exact(&self, column: &PgColumn, sql: &str) -> String {
        match column.native.class {
            Class::Real => format!("{sql}::text::float8"),
            _ => self.sortable(column, sql),
        }
    }
}

fn cast(value: &Value, name: &str, params: &mut Params) -> String {
    format!("${}::{name}", params.add(value))
}

/// The type that a value is sent as beside a column; `None` if the two are of different kinds.
fn type_of(column: &Decode, value: &Value) -> Option<&'static str> {
    Some(match (column, value) {
        (Decode::Bool, Value::Bool(_)) => "boolean",
        (Decode::Float, Value::Int(_) | Value::Float(_) | Value::Decimal(_)) => "float8",
        (Decode::Int | Decode::Decimal, Value::Int(_)) => "bigint",
        (Decode::Int | Decode::Decimal, Value::Float(_)) => "float8",
        (Decode::Int | Decode::Decimal, Value::Decimal(_)) => "numeric",
        (Decode::Bytes, Value::Bytes(_)) => "bytea",
        (Decode::Date, Value::Date(_)) => "date",
        (Decode::Time, Value::Time(_)) => "time",
        (Decode::Timestamp, Value::Timestamp(_)) => "timestamp",
        (Decode::TimestampTz, Value::TimestampTz(_)) => "timestamptz",
        (Decode::Timestamp, Value::Text(text)) if is_late(text) => "timestamp",
        (Decode::TimestampTz, Value::Text(text)) if is_late(text) => "timestamptz",
        _ => return None,
    })
}

/// Values of different kinds order by kind, whatever they are.
fn by_kind(column: &PgColumn, sql: &str, comparison: Comparison, value: &Value) -> String {
    let sample = match column.kind {
        ColumnType::Bool => Value::Bool(false),
        ColumnType::Int | ColumnType::Float | ColumnType::Decimal => Value::Int(0),
        ColumnType::Date => Value::Date(0),
        ColumnType::Time => Value::Time(0),
        ColumnType::Timestamp => Value::Timestamp(0),
        ColumnType::TimestampTz => Value::TimestampTz(0),
        ColumnType::Bytes => Value::Bytes([].into()),
        ColumnType::Json => Value::Json("".into()),
        ColumnType::List(_) => Value::List(Vec::new()),
        ColumnType::Text | ColumnType::Dynamic => Value::text(""),
    };
    if comparison.holds(sample.compare(value)) {
        format!("{sql} IS DISTINCT FROM NULL")
    } else {
        "FALSE".into()
    }
}

fn never(sql: &str, comparison: Comparison) -> String {
    if comparison == Comparison::Unequal { format!("{sql} IS DISTINCT FROM NULL") } else { "FALSE".into() }
}

/// Texts of the server have no zero byte: one that does equals none, and stands right behind what is before that byte.
fn without_nul(text: &str, comparison: Comparison) -> (Option<&str>, Comparison) {
    match (text.split_once('\0'), comparison) {
        (None, comparison) => (Some(text), comparison),
        (Some(_), Comparison::Equal | Comparison::Unequal) => (None, comparison),
        (Some((before, _)), Comparison::Greater | Comparison::AtLeast) => (Some(before), Comparison::Greater),
        (Some((before, _)), Comparison::Less | Comparison::AtMost) => (Some(before), Comparison::AtMost),
    }
}

/// Whether a text is a timestamp too late to be counted, which the model has as text.
fn is_late(text: &str) -> bool {
    let (year, rest) = text.split_once('-').unwrap_or_default();
    year.len() == 6
        && year.bytes().all(|b| b.is_ascii_digit())
        && rest.bytes().all(|b| b.is_ascii_digit() || b"T:.+-".contains(&b))
}

/// Whether a text is a uuid as it is printed, so that comparing natively is comparing texts.
fn is_uuid(text: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { is_digit(b) })
}

/// A parameter as it is sent.
pub(super) fn param(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Unchanged => None,
        value => Some(sql::text(value)),
    }
}
