//! A filter tied to one shape of a table: names are places in the row, literals have the column's kind.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Comparison, Expr, Filter, Operand, Term, literal};
use crate::{ColumnType, Error, Result, Row, Table, Value};

/// A filter ready to be asked about rows of one [`Table`] shape. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BoundFilter {
    pub(super) root: Arc<Node>,
}

/// What a filter says about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The expression is TRUE.
    Accepted,
    /// The expression is FALSE or NULL.
    Rejected,
    /// It depends on a cell that is [`Value::Unchanged`]: ask again with the cell filled in.
    Undecided,
}

#[derive(Debug)]
pub(super) enum Node {
    /// A boolean cell, or a number other than zero where kinds are dynamic.
    Truth(Cell),
    Compare(Cell, Comparison, Cell),
    IsNull(Cell),
    /// The condition's answer is NULL.
    IsUnknown(Box<Node>),
    Is(Box<Node>, bool),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

#[derive(Debug)]
pub(super) enum Cell {
    Column(usize),
    Literal(Value),
}

/// The set of answers that are possible: one, unless the row has unchanged cells.
type Answers = u8;
const TRUE: Answers = 1;
const FALSE: Answers = 2;
const NULL: Answers = 4;
const ANY: Answers = TRUE | FALSE | NULL;

impl Filter {
    /// Resolves names and kinds. `Misconfigured`, naming the column or the literal, if the table has no such column
    /// or a literal is not of its column's kind.
    pub fn bind(&self, table: &Table) -> Result<BoundFilter> {
        let mut indices = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let index = column.find(table.columns.iter().map(|c| &*c.name)).ok_or_else(|| {
                Error::misconfigured(format!("table {} has no column \"{}\"", table.name, column.name))
                    .with_remedy("name a column of the table in the filter")
            })?;
            indices.push(index);
        }
        let binder = Binder { table, indices };
        Ok(BoundFilter { root: Arc::new(binder.node(&self.root)?) })
    }
}

impl BoundFilter {
    /// Whether the row is taken. The row must have the shape of the table that the filter is bound to.
    pub fn accepts(&self, row: &Row) -> Verdict {
        self.accepts_values(&row.0)
    }

    /// [`BoundFilter::accepts`] for a row's bare values.
    pub fn accepts_values(&self, values: &[Value]) -> Verdict {
        match self.root.answers(values) {
            TRUE => Verdict::Accepted,
            answers if answers & TRUE == 0 => Verdict::Rejected,
            _ => Verdict::Undecided,
        }
    }
}

struct Binder<'a> {
    table: &'a Table,
    /// The table's column for each of the filter's.
    indices: Vec<usize>,
}

impl Binder<'_> {
    fn node(&self, expr: &Expr) -> Result<Node> {
        Ok(match expr {
            Expr::Operand(operand) => Node::Truth(self.truth(operand)?),
            Expr::Compare(left, comparison, right) => {
                let (left_kind, right_kind) = (self.kind(left), self.kind(right));
                self.check_kinds(left, right)?;
                let left = self.cell(left, right_kind)?;
                Node::Compare(left, *comparison, self.cell(right, left_kind)?)
            }
            Expr::IsNull(inner) => match &**inner {
                Expr::Operand(operand) => Node::IsNull(self.cell(operand, None)?),
                condition => Node::IsUnknown(Box::new(self.node(condition)?)),
            },
            Expr::Is(inner, wanted) => Node::Is(Box::new(self.node(inner)?), *wanted),
            Expr::And(parts) => Node::And(parts.iter().map(|p| self.node(p)).collect::<Result<_>>()?),
            Expr::Or(parts) => Node::Or(parts.iter().map(|p| self.node(p)).collect::<Result<_>>()?),
            Expr::Not(inner) => Node::Not(Box::new(self.node(inner)?)),
        })
    }

    fn kind(&self, operand: &Operand) -> Option<&ColumnType> {
        match operand.what {
            Term::Column(column) => Some(&self.table.columns[self.indices[column]].kind),
            _ => None,
        }
    }

    fn name(&self, operand: &Operand) -> &str {
        match operand.what {
            Term::Column(column) => &self.table.columns[self.indices[column]].name,
            _ => "",
        }
    }

    fn truth(&self, operand: &Operand) -> Result<Cell> {
        match (&operand.what, self.kind(operand)) {
            (Term::Column(_), Some(ColumnType::Bool | ColumnType::Dynamic))
            | (Term::Null | Term::Bool(_), _) => self.cell(operand, None),
            (Term::Column(_), _) => Err(Error::misconfigured(format!(
                "column \"{}\" of {} is not boolean",
                self.name(operand),
                self.table.name
            ))
            .with_remedy("compare it with a value")),
            _ => Err(Error::misconfigured("a number or a text is no condition")
                .with_remedy("compare it with a column")),
        }
    }

    /// Refuses what could only ever compare by accident.
    fn check_kinds(&self, left: &Operand, right: &Operand) -> Result<()> {
        use ColumnType::*;
        let number = |kind: &ColumnType| matches!(kind, Int | Float | Decimal);
        let comparable = match (self.kind(left), self.kind(right)) {
            (Some(Bytes | Json | List(_)), _) | (_, Some(Bytes | Json | List(_))) => {
                matches!(left.what, Term::Null) || matches!(right.what, Term::Null)
            }
            (Some(Dynamic), Some(_)) | (Some(_), Some(Dynamic)) => true,
            (Some(a), Some(b)) => a == b || (number(a) && number(b)),
            (None, None) => match (&left.what, &right.what) {
                (Term::Null, _) | (_, Term::Null) => true,
                (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
            },
            _ => true,
        };
        if comparable {
            return Ok(());
        }
        let side = |operand: &Operand| match self.kind(operand) {
            Some(kind) => format!("column \"{}\" ({kind:?})", self.name(operand)),
            None => "a literal".to_owned(),
        };
        Err(Error::misconfigured(format!("{} does not compare with {}", side(left), side(right)))
            .with_remedy(
                "compare columns and values of one kind; for these only IS NULL and IS NOT NULL work",
            ))
    }

    /// `beside` is the kind of the column that the operand is compared with.
    fn cell(&self, operand: &Operand, beside: Option<&ColumnType>) -> Result<Cell> {
        let read = match &operand.what {
            Term::Column(column) => return Ok(Cell::Column(self.indices[*column])),
            Term::Null => Some(Value::Null),
            Term::Bool(b) => match beside {
                None | Some(ColumnType::Bool) => Some(Value::Bool(*b)),
                Some(ColumnType::Dynamic) => Some(Value::Int(i64::from(*b))),
                Some(_) => None,
            },
            Term::Number(text) => literal::number(text, beside),
            Term::Text(text) => literal::text(text, beside),
        };
        let shown = match &operand.what {
            Term::Number(text) => text.to_string(),
            Term::Text(text) => format!("'{text}'"),
            Term::Bool(b) => b.to_string(),
            Term::Null | Term::Column(_) => String::new(),
        };
        read.map(Cell::Literal).ok_or_else(|| {
            Error::misconfigured(format!(
                "{shown} (at byte {}) does not compare with a {:?} column of {}",
                operand.offset,
                beside.unwrap_or(&ColumnType::Dynamic),
                self.table.name
            ))
            .with_remedy("write the value as the column's kind: '2026-01-31' for a date, TRUE for a boolean, 7 for a number")
        })
    }
}

impl Cell {
    fn value<'a>(&'a self, row: &'a [Value]) -> &'a Value {
        match self {
            Cell::Column(index) => row.get(*index).unwrap_or(&Value::Unchanged),
            Cell::Literal(value) => value,
        }
    }
}

impl Node {
    fn answers(&self, row: &[Value]) -> Answers {
        match self {
            Node::Truth(cell) => match cell.value(row) {
                Value::Unchanged => ANY,
                Value::Null => NULL,
                Value::Bool(b) => truth(*b),
                Value::Int(n) => truth(*n != 0),
                Value::Float(f) => truth(*f != 0.0),
                Value::Text(text) => truth(leading_number(text) != 0.0),
                _ => FALSE,
            },
            Node::Compare(left, comparison, right) => {
                let (a, b) = (left.value(row), right.value(row));
                if a.is_null() || b.is_null() {
                    return NULL;
                }
                if a.is_unchanged() || b.is_unchanged() {
                    return ANY;
                }
                let literal = matches!(left, Cell::Literal(_)) || matches!(right, Cell::Literal(_));
                truth(comparison.holds(compare(a, matches!(left, Cell::Literal(_)), b, literal)))
            }
            Node::IsNull(cell) => match cell.value(row) {
                Value::Unchanged => TRUE | FALSE,
                value => truth(value.is_null()),
            },
            Node::IsUnknown(inner) => test(inner.answers(row), NULL),
            Node::Is(inner, wanted) => test(inner.answers(row), truth(*wanted)),
            Node::And(parts) => {
                let mut all = TRUE;
                for part in parts {
                    all = and(all, part.answers(row));
                    if all == FALSE {
                        break;
                    }
                }
                all
            }
            Node::Or(parts) => {
                let mut any = FALSE;
                for part in parts {
                    any = not(and(not(any), not(part.answers(row))));
                    if any == TRUE {
                        break;
                    }
                }
                any
            }
            Node::Not(inner) => not(inner.answers(row)),
        }
    }
}

fn truth(b: bool) -> Answers {
    if b { TRUE } else { FALSE }
}

/// Which answers are possible to "is it one of `wanted`?".
fn test(answers: Answers, wanted: Answers) -> Answers {
    (if answers & wanted != 0 { TRUE } else { 0 }) | (if answers & !wanted != 0 { FALSE } else { 0 })
}

fn not(a: Answers) -> Answers {
    (a & NULL) | ((a & TRUE) << 1) | ((a & FALSE) >> 1)
}

fn and(a: Answers, b: Answers) -> Answers {
    let both_true = a & b & TRUE;
    let some_false = (a | b) & FALSE;
    let null_beside = |x: Answers, y: Answers| x & NULL != 0 && y & (NULL | TRUE) != 0;
    let some_null = if null_beside(a, b) || null_beside(b, a) { NULL } else { 0 };
    both_true | some_false | some_null
}

impl Comparison {
    /// Whether values that compare so pass.
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::Unequal => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::AtMost => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::AtLeast => ordering.is_ge(),
        }
    }
}

/// Like [`Value::compare`], and as SQLite does where a number meets a text (see the module's word on kinds).
fn compare(a: &Value, a_literal: bool, b: &Value, some_literal: bool) -> Ordering {
    use Value::{Decimal, Float, Int, Text};
    match (a, b) {
        (Int(_) | Float(_) | Decimal(_), Text(text)) => number_to_text(a, a_literal, text),
        (Text(text), Int(_) | Float(_) | Decimal(_)) => {
            number_to_text(b, some_literal && !a_literal, text).reverse()
        }
        _ => a.compare(b),
    }
}

fn number_to_text(number: &Value, number_is_literal: bool, text: &str) -> Ordering {
    if number_is_literal {
        return number.to_text().as_str().cmp(text);
    }
    let trimmed = text.trim();
    if literal::is_number(trimmed) { number.compare(&Value::Decimal(trimmed.into())) } else { Ordering::Less }
}

/// The number at the start of a text, 0 if there is none: a text's truth in SQLite.
fn leading_number(text: &str) -> f64 {
    let text = text.trim_start();
    (1..=text.len())
        .rev()
        .filter(|end| text.is_char_boundary(*end) && literal::is_number(&text[..*end]))
        .find_map(|end| text[..end].parse().ok())
        .unwrap_or(0.0)
}
