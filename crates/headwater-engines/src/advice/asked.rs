//! What a statement asks of each of its tables: which columns it compares, joins, sorts and reads. This finds candidates for
//! indexes; whether one is of any use is for the planner to say, so a wrong guess here costs time and never an answer.
//!
//! Scopes are not told apart beyond the names of tables: a column is of every table in the statement that could be meant.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    Ident, JoinConstraint, JoinOperator, LimitClause, ObjectName, ObjectNamePart, OrderBy, OrderByExpr,
    OrderByKind, OrderBySort, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    TableFactor, TableObject, UnaryOperator, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use sqlparser::dialect::Dialect;
use sqlparser::parser::Parser;

/// The tables of a database, by their places, as statements name them.
pub(crate) trait Tables: Send + Sync {
    fn dialect(&self) -> &dyn Dialect;
    /// A name as the catalog has it.
    fn name(&self, ident: &Ident) -> String;
    fn table(&self, schema: Option<&str>, name: &str) -> Option<usize>;
    fn column(&self, table: usize, name: &str) -> Option<usize>;
    /// A column's name as it may stand in a statement.
    fn ident(&self, table: usize, column: usize) -> &str;
    /// Whether a column is a truth value, and so a condition by itself.
    fn is_truth(&self, table: usize, column: usize) -> bool;
    fn is_text(&self, table: usize, column: usize) -> bool;
}

/// A table where a statement names it.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// Its place in the schema.
    pub table: usize,
    pub alias: String,
    /// Columns, by their places in the table.
    pub equal: Vec<usize>,
    pub joined: Vec<usize>,
    pub range: Vec<usize>,
    /// Columns of one ORDER BY, and which of them descend.
    pub orders: Vec<Vec<(usize, bool)>>,
    pub groups: Vec<Vec<usize>>,
    pub read: BTreeSet<usize>,
    /// All columns are read.
    pub all: bool,
    /// Conditions without a parameter.
    pub constants: Vec<Constant>,
    /// Expressions that are compared with something, as an index would have them.
    pub expressions: Vec<Sought>,
    /// Texts that are searched for a part of them.
    pub parts: Vec<Sought>,
    /// Texts whose beginning is known.
    pub prefixes: Vec<usize>,
    /// What a GIN index would hold.
    pub contained: Vec<Sought>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Constant {
    pub column: usize,
    /// As a predicate of an index.
    pub text: String,
    pub kind: ConstantKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ConstantKind {
    Equal(String),
    Null,
    NotNull,
}

/// An expression over columns of one table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sought {
    pub text: String,
    pub columns: Vec<usize>,
}

/// What a statement writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    Insert {
        table: usize,
    },
    /// These columns.
    Update {
        table: usize,
        columns: Vec<usize>,
    },
    Delete {
        table: usize,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub uses: Vec<Use>,
    pub write: Option<Write>,
    /// The highest `$n`.
    pub parameters: usize,
    /// Rows after which nobody reads on: a number in the statement, where no row is made of several.
    pub limit: Option<f64>,
}

/// `Err` with the reason if the statement is none that is understood here.
pub(crate) fn parse(sql: &str, schema: &dyn Tables) -> Result<Parsed, String> {
    let statements = Parser::parse_sql(schema.dialect(), sql).map_err(|error| error.to_string())?;
    let [statement] = &statements[..] else { return Err("it is not one statement".into()) };
    let mut names = Names { schema, withs: BTreeSet::new(), uses: Vec::new() };
    let _ = statement.visit(&mut names);
    let mut reader = Reader { schema, uses: names.uses, existential: false, parameters: 0 };
    let _ = statement.visit(&mut reader);
    let write = write(statement, schema);
    Ok(Parsed { uses: reader.uses, write, parameters: reader.parameters, limit: limit(statement) })
}

fn limit(statement: &Statement) -> Option<f64> {
    let Statement::Query(query) = statement else { return None };
    let SetExpr::Select(select) = &*query.body else { return None };
    let groups = match &select.group_by {
        GroupByExpr::Expressions(by, _) => !by.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let is_sum = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Function(function) if function.over.is_none()
                && SUMS.contains(&&*function.name.to_string().to_lowercase()))
        }
        _ => false,
    };
    if groups || select.distinct.is_some() || select.having.is_some() || select.projection.iter().any(is_sum)
    {
        return None;
    }
    let number = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.to_string().parse::<f64>().ok(),
            _ => None,
        },
        _ => None,
    };
    match query.limit_clause.as_ref()? {
        LimitClause::LimitOffset { limit, offset, .. } => {
            let skipped = match offset {
                Some(offset) => number(&offset.value)?,
                None => 0.0,
            };
            Some(number(limit.as_ref()?)? + skipped)
        }
        LimitClause::OffsetCommaLimit { offset, limit } => Some(number(offset)? + number(limit)?),
    }
}

/// Functions that make one row of many.
const SUMS: &[&str] =
    &["count", "sum", "avg", "min", "max", "group_concat", "json_arrayagg", "json_objectagg"];

/// The highest `$n` of a statement that is not understood.
pub(crate) fn parameters(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().unwrap_or(0)
    });
    numbers.max().unwrap_or(0)
}

fn write(statement: &Statement, schema: &dyn Tables) -> Option<Write> {
    match statement {
        Statement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => Some(Write::Insert { table: find(name, schema)? }),
            _ => None,
        },
        Statement::Update(update) => {
            let TableFactor::Table { name, .. } = &update.table.relation else { return None };
            let table = find(name, schema)?;
            let mut columns = Vec::new();
            for assignment in &update.assignments {
                let targets = match &assignment.target {
                    AssignmentTarget::ColumnName(name) => std::slice::from_ref(name),
                    AssignmentTarget::Tuple(names) => names,
                };
                for target in targets {
                    let name = part(target.0.last()?, schema)?;
                    columns.extend(schema.column(table, &name));
                }
            }
            Some(Write::Update { table, columns })
        }
        Statement::Delete(delete) => {
            use sqlparser::ast::FromTable::{WithFromKeyword, WithoutKeyword};
            let (WithFromKeyword(from) | WithoutKeyword(from)) = &delete.from;
            let TableFactor::Table { name, .. } = &from.first()?.relation else { return None };
            Some(Write::Delete { table: find(name, schema)? })
        }
        _ => None,
    }
}

fn part(part: &ObjectNamePart, schema: &dyn Tables) -> Option<String> {
    match part {
        ObjectNamePart::Identifier(ident) => Some(schema.name(ident)),
        ObjectNamePart::Function(_) => None,
    }
}

pub(crate) fn find(name: &ObjectName, schema: &dyn Tables) -> Option<usize> {
    let parts: Vec<String> = name.0.iter().map(|name| part(name, schema)).collect::<Option<_>>()?;
    let (table, named) = parts.split_last()?;
    schema.table(named.last().map(String::as_str), table)
}

/// Finds the tables.
struct Names<'s> {
    schema: &'s dyn Tables,
    withs: BTreeSet<String>,
    uses: Vec<Use>,
}

impl Visitor for Names<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.withs.extend(with.cte_tables.iter().map(|cte| self.schema.name(&cte.alias.name)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let last = name.0.last().and_then(|name| part(name, self.schema)).unwrap_or_default();
        if name.0.len() == 1 && self.withs.contains(&last) {
            return ControlFlow::Continue(());
        }
        if let Some(table) = find(name, self.schema) {
            let alias = alias.as_ref().map_or(last, |alias| self.schema.name(&alias.name));
            if !self.uses.iter().any(|known| known.alias == alias && known.table == table) {
                self.uses.push(Use { table, alias, ..Use::default() });
            }
        }
        ControlFlow::Continue(())
    }
}

/// Reads the conditions.
struct Reader<'s> {
    schema: &'s dyn Tables,
    uses: Vec<Use>,
    /// The next select is one whose columns nobody reads.
    existential: bool,
    parameters: usize,
}

/// One side of a comparison.
enum Side {
    /// A column of these uses.
    Column(Vec<(usize, usize)>),
    /// An expression over one use's columns.
    Sought(usize, Sought),
    /// No column in it. The text if there is no parameter and no query in it either.
    Constant(Option<String>),
    Other,
}

impl Reader<'_> {
    /// Which uses' columns an expression may be.
    fn columns(&self, expr: &Expr) -> Vec<(usize, usize)> {
        let (alias, name) = match expr {
            Expr::Identifier(ident) => (None, self.schema.name(ident)),
            Expr::CompoundIdentifier(parts) => match &parts[..] {
                [.., alias, name] => (Some(self.schema.name(alias)), self.schema.name(name)),
                _ => return Vec::new(),
            },
            Expr::Nested(inner) => return self.columns(inner),
            _ => return Vec::new(),
        };
        let meant = |used: &&(usize, &Use)| alias.as_ref().is_none_or(|alias| *alias == used.1.alias);
        let all = self.uses.iter().enumerate().collect::<Vec<_>>();
        all.iter()
            .filter(meant)
            .filter_map(|(place, used)| Some((*place, self.schema.column(used.table, &name)?)))
            .collect()
    }

    fn side(&self, expr: &Expr) -> Side {
        let columns = self.columns(expr);
        if !columns.is_empty() {
            return Side::Column(columns);
        }
        let mut inside = Inside::default();
        let _ = expr.visit(&mut inside);
        if inside.queries {
            return Side::Other;
        }
        if inside.identifiers.is_empty() {
            return Side::Constant((!inside.parameters).then(|| expr.to_string()));
        }
        if inside.parameters {
            return Side::Other;
        }
        let mut of: Option<usize> = None;
        let mut columns = Vec::new();
        for identifier in &inside.identifiers {
            let Some((used, column)) = self.columns(identifier).into_iter().next() else {
                return Side::Other;
            };
            if of.is_some_and(|of| of != used) {
                return Side::Other;
            }
            of = Some(used);
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let mut plain = expr.clone();
        while let Expr::Nested(inner) = plain {
            plain = *inner;
        }
        let _ = VisitMut::visit(&mut plain, &mut Unqualify);
        match of {
            Some(of) => Side::Sought(of, Sought { text: plain.to_string(), columns }),
            None => Side::Other,
        }
    }

    fn equal(&mut self, left: &Expr, right: &Expr) {
        match (self.side(left), self.side(right)) {
            (Side::Column(a), Side::Column(b)) => {
                for (used, column) in a.into_iter().chain(b) {
                    add(&mut self.uses[used].joined, column);
                }
            }
            (Side::Column(columns), Side::Constant(text)) | (Side::Constant(text), Side::Column(columns)) => {
                for (used, column) in columns {
                    add(&mut self.uses[used].equal, column);
                    if let Some(text) = &text {
                        self.constant(used, column, "=", text);
                    }
                }
            }
            (Side::Column(columns), _) | (_, Side::Column(columns)) => {
                for (used, column) in columns {
                    add(&mut self.uses[used].joined, column);
                }
            }
            (Side::Sought(used, sought), Side::Constant(_))
            | (Side::Constant(_), Side::Sought(used, sought)) => {
                add(&mut self.uses[used].expressions, sought);
            }
            _ => {}
        }
    }

    fn constant(&mut self, used: usize, column: usize, op: &str, text: &str) {
        let name = self.schema.ident(self.uses[used].table, column).to_owned();
        let value = text.trim_matches('\'').replace("''", "'");
        let constant =
            Constant { column, text: format!("{name} {op} {text}"), kind: ConstantKind::Equal(value) };
        add(&mut self.uses[used].constants, constant);
    }

    fn nullness(&mut self, expr: &Expr, null: bool) {
        for (used, column) in self.columns(expr) {
            let name = self.schema.ident(self.uses[used].table, column).to_owned();
            let (words, kind) = match null {
                true => ("IS NULL", ConstantKind::Null),
                false => ("IS NOT NULL", ConstantKind::NotNull),
            };
            add(&mut self.uses[used].constants, Constant { column, text: format!("{name} {words}"), kind });
            if null {
                add(&mut self.uses[used].equal, column);
            }
        }
    }

    /// A condition that is a column alone, or the opposite of one.
    fn truth(&mut self, expr: &Expr) {
        let (expr, wanted) = match expr {
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => (&**expr, false),
            Expr::IsTrue(expr) => (&**expr, true),
            Expr::IsFalse(expr) => (&**expr, false),
            other => (other, true),
        };
        for (used, column) in self.columns(expr) {
            let table = self.uses[used].table;
            if self.schema.is_truth(table, column) {
                let name = self.schema.ident(table, column).to_owned();
                let text = if wanted { name } else { format!("NOT {name}") };
                let kind = ConstantKind::Equal(if wanted { "t" } else { "f" }.into());
                add(&mut self.uses[used].constants, Constant { column, text, kind });
                add(&mut self.uses[used].equal, column);
            }
        }
    }

    fn range(&mut self, expr: &Expr) {
        match self.side(expr) {
            Side::Column(columns) => {
                for (used, column) in columns {
                    add(&mut self.uses[used].range, column);
                }
            }
            Side::Sought(used, sought) => add(&mut self.uses[used].expressions, sought),
            Side::Constant(_) | Side::Other => {}
        }
    }

    fn compared(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) {
        use BinaryOperator as Op;
        match op {
            Op::Eq => self.equal(left, right),
            Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
                for (side, other) in [(left, right), (right, left)] {
                    if !matches!(self.side(other), Side::Column(_)) {
                        self.range(side);
                    }
                }
            }
            Op::And | Op::Or => {
                self.truth(left);
                self.truth(right);
            }
            Op::AtArrow
            | Op::PGOverlap
            | Op::Question
            | Op::QuestionAnd
            | Op::QuestionPipe
            | Op::AtAt
            | Op::AtQuestion => self.contains(left),
            Op::ArrowAt => self.contains(right),
            Op::PGRegexMatch | Op::PGRegexIMatch => self.searched(left),
            Op::PGLikeMatch => self.like(left, right, false),
            Op::PGILikeMatch => self.like(left, right, true),
            // The operators of pg_trgm.
            Op::Custom(word) if matches!(word.as_str(), "%" | "<%" | "%>") => self.searched(left),
            Op::Modulo if matches!(self.side(left), Side::Column(_)) => {
                // `text % text` asks for what is similar.
                for (used, column) in self.columns(left) {
                    if self.schema.is_text(self.uses[used].table, column) {
                        self.searched(left);
                    }
                }
            }
            _ => {}
        }
    }

    fn soughts(&self, expr: &Expr) -> Vec<(usize, Sought)> {
        match self.side(expr) {
            Side::Column(columns) => (columns.into_iter())
                .map(|(used, column)| {
                    let name = self.schema.ident(self.uses[used].table, column).to_owned();
                    (used, Sought { text: name, columns: vec![column] })
                })
                .collect(),
            Side::Sought(used, sought) => vec![(used, sought)],
            Side::Constant(_) | Side::Other => Vec::new(),
        }
    }

    fn contains(&mut self, expr: &Expr) {
        for (used, sought) in self.soughts(expr) {
            add(&mut self.uses[used].contained, sought);
        }
    }

    fn searched(&mut self, expr: &Expr) {
        for (used, sought) in self.soughts(expr) {
            add(&mut self.uses[used].parts, sought);
        }
    }

    fn like(&mut self, expr: &Expr, pattern: &Expr, folds: bool) {
        let literal = match pattern {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        };
        let begins = literal.is_some_and(|text| !text.starts_with(['%', '_']));
        if begins && !folds {
            for (used, column) in self.columns(expr) {
                add(&mut self.uses[used].prefixes, column);
            }
        }
        if !begins || folds {
            self.searched(expr);
        }
    }

    fn order(&mut self, order: &[OrderByExpr]) {
        let mut columns: Vec<(usize, bool)> = Vec::new();
        let mut of: Option<usize> = None;
        for by in order {
            let Some((used, column)) = self.columns(&by.expr).into_iter().next() else { break };
            if of.is_some_and(|of| of != used) {
                break;
            }
            of = Some(used);
            columns.push((column, matches!(by.options.sort, Some(OrderBySort::Desc))));
        }
        if let Some(of) = of {
            add(&mut self.uses[of].orders, columns);
        }
    }
}

fn add<T: PartialEq>(to: &mut Vec<T>, what: T) {
    if !to.contains(&what) {
        to.push(what);
    }
}

impl Visitor for Reader<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(OrderBy { kind: OrderByKind::Expressions(order), .. }) = &query.order_by {
            self.order(order);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if !std::mem::take(&mut self.existential) {
            for item in &select.projection {
                match item {
                    SelectItem::Wildcard(_) => self.uses.iter_mut().for_each(|used| used.all = true),
                    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                        let alias =
                            name.0.last().and_then(|name| part(name, self.schema)).unwrap_or_default();
                        self.uses
                            .iter_mut()
                            .filter(|used| used.alias == alias)
                            .for_each(|used| used.all = true);
                    }
                    _ => {}
                }
            }
        }
        for join in select.from.iter().flat_map(|from| &from.joins) {
            use JoinOperator as J;
            if let J::Join(on)
            | J::Inner(on)
            | J::Left(on)
            | J::LeftOuter(on)
            | J::Right(on)
            | J::RightOuter(on)
            | J::FullOuter(on) = &join.join_operator
                && let JoinConstraint::Using(names) = on
            {
                for name in
                    names.iter().filter_map(|name| name.0.last().and_then(|name| part(name, self.schema)))
                {
                    for used in &mut self.uses {
                        if let Some(column) = self.schema.column(used.table, &name) {
                            add(&mut used.joined, column);
                            used.read.insert(column);
                        }
                    }
                }
            }
        }
        if let Some(condition) = &select.selection {
            self.truth(condition);
        }
        if let GroupByExpr::Expressions(by, _) = &select.group_by {
            for place in 0..self.uses.len() {
                let of_it = |expr: &Expr| {
                    self.columns(expr).into_iter().find(|(used, _)| *used == place).map(|(_, column)| column)
                };
                let columns: Vec<usize> = by.iter().map_while(of_it).collect();
                if !columns.is_empty() {
                    add(&mut self.uses[place].groups, columns);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                for (used, column) in self.columns(expr) {
                    self.uses[used].read.insert(column);
                }
            }
            Expr::Exists { .. } => self.existential = true,
            Expr::BinaryOp { left, op, right } => self.compared(left, op, right),
            Expr::Between { expr, negated: false, .. } => self.range(expr),
            Expr::InList { expr, negated: false, .. }
            | Expr::AnyOp { left: expr, compare_op: BinaryOperator::Eq, .. } => match self.side(expr) {
                Side::Column(columns) => {
                    columns.into_iter().for_each(|(used, column)| add(&mut self.uses[used].equal, column));
                }
                Side::Sought(used, sought) => add(&mut self.uses[used].expressions, sought),
                Side::Constant(_) | Side::Other => {}
            },
            Expr::InSubquery { expr, .. } => {
                for (used, column) in self.columns(expr) {
                    add(&mut self.uses[used].joined, column);
                }
            }
            Expr::IsNull(expr) => self.nullness(expr, true),
            Expr::IsNotNull(expr) => self.nullness(expr, false),
            Expr::IsTrue(_) | Expr::IsFalse(_) => self.truth(expr),
            Expr::Like { negated: false, expr, pattern, .. } => self.like(expr, pattern, false),
            Expr::ILike { negated: false, expr, pattern, .. } => self.like(expr, pattern, true),
            // The least and the greatest stand at the ends of an index.
            Expr::Function(function)
                if ["min", "max"].contains(&&*function.name.to_string().to_lowercase()) =>
            {
                if let FunctionArguments::List(list) = &function.args
                    && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] = &list.args[..]
                {
                    for (used, column) in self.columns(expr) {
                        add(&mut self.uses[used].orders, vec![(column, false)]);
                    }
                }
            }
            Expr::Value(value) => {
                if let Value::Placeholder(name) = &value.value {
                    let number = name.trim_start_matches('$').parse().unwrap_or(0);
                    self.parameters = self.parameters.max(number);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &sqlparser::ast::ValueWithSpan) -> ControlFlow<()> {
        // LIMIT $1 is no expression of the statement's own.
        if let Value::Placeholder(name) = &value.value {
            let number = name.trim_start_matches('$').parse().unwrap_or(0);
            self.parameters = self.parameters.max(number);
        }
        ControlFlow::Continue(())
    }
}

/// What is in an expression.
#[derive(Default)]
struct Inside {
    identifiers: Vec<Expr>,
    parameters: bool,
    queries: bool,
}

impl Visitor for Inside {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries = true;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.identifiers.push(expr.clone()),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => self.parameters = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Takes the tables' names away: an index is of one table.
struct Unqualify;

impl VisitorMut for Unqualify {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some(last) = parts.pop()
        {
            *expr = Expr::Identifier(last);
        }
        ControlFlow::Continue(())
    }
}
