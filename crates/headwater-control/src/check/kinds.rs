//! Rankings, series and edges against the tables they are made of.

use headwater_model::{
    Aggregate, ColumnFacts, ColumnType, Edge, Ranking, Series, Severity, TableFacts, View, ViewKind,
};

use super::Look;

/// What a ranking's score is.
pub(super) struct Score {
    pub kind: ColumnType,
    pub type_name: Box<str>,
    pub nullable: bool,
}

impl<'a> Look<'a> {
    /// Checks what makes the view of its kind.
    pub(super) fn kind(&mut self, path: &str, table: &'a TableFacts, view: &View) {
        match &view.kind {
            ViewKind::Document => {}
            ViewKind::Ranking(ranking) => self.ranking(&format!("{path}.rank"), table, ranking),
            ViewKind::Series(series) => self.series(&format!("{path}.series"), table, series),
            ViewKind::Edge(edge) => self.edge(&format!("{path}.edge"), table, edge),
        }
    }

    fn ranking(&mut self, path: &str, table: &'a TableFacts, ranking: &Ranking) {
        self.sortable(&format!("{path}.within"), table, &ranking.within);
        self.sortable(&format!("{path}.by"), table, &ranking.by);
        let Some(name) = &ranking.column else { return };
        let at = format!("{path}.score");
        let Some(column) = self.column(&at, table, name) else { return };
        let what = format!("`{name}` of `{}` is {}", table.name, type_of(column));
        match (ranking.function, &column.kind) {
            (Aggregate::Count, _) => {}
            (Aggregate::Sum, ColumnType::Float) if !is_exact(column) => self.wrong(
                &at,
                format!("{what}: such a sum depends on the order in which rows are added"),
                format!("make the column exact: ALTER TABLE {} ALTER COLUMN {name} TYPE numeric", table.name),
            ),
            (Aggregate::Sum, kind) if is_number(kind) || *kind == ColumnType::Dynamic => {}
            (Aggregate::Sum, _) => {
                self.wrong(
                    &at,
                    format!("{what}: only numbers have a sum"),
                    "sum a column of numbers, or write count(*)",
                );
            }
            (Aggregate::Min | Aggregate::Max, kind) if is_number(kind) || is_time(kind) => {}
            (Aggregate::Min | Aggregate::Max, ColumnType::Dynamic) => {}
            (Aggregate::Min | Aggregate::Max, ColumnType::Text) if is_plain_text(column) => {}
            (Aggregate::Min | Aggregate::Max, _) => self.wrong(
                &at,
                format!("{what}, which is no score"),
                "a score is a number, a date, a time or a plain text",
            ),
        }
    }

    fn series(&mut self, path: &str, table: &'a TableFacts, series: &Series) {
        let at = format!("{path}.time");
        if let Some(time) = self.column(&at, table, &series.time) {
            let what = format!("`{}` of `{}` is {}", series.time, table.name, type_of(time));
            match &time.kind {
                kind if is_number(kind) || matches!(kind, ColumnType::Dynamic) => {}
                ColumnType::Date | ColumnType::Timestamp | ColumnType::TimestampTz => {}
                ColumnType::Text if is_plain_text(time) => self.warn(
                    &at,
                    Severity::Note,
                    format!("{what}: texts are ordered by their bytes"),
                    "write every time in one form of ISO 8601, as in 2026-01-31T12:00:00Z",
                ),
                _ => self.wrong(
                    &at,
                    format!("{what}, which is no point in time"),
                    "name a date, a timestamp or a number",
                ),
            }
        }
        self.sortable(&format!("{path}.tags"), table, &series.tags);
        self.columns(&format!("{path}.fields"), table, &series.fields);
    }

    fn edge(&mut self, path: &str, table: &'a TableFacts, edge: &Edge) {
        self.sortable(&format!("{path}.source"), table, std::slice::from_ref(&edge.source));
        self.sortable(&format!("{path}.target"), table, std::slice::from_ref(&edge.target));
    }

    /// Columns that an index is made of.
    fn sortable(&mut self, path: &str, table: &'a TableFacts, names: &[Box<str>]) {
        for name in names {
            if let Some(column) = self.column(path, table, name)
                && !sorts(&column.kind)
            {
                self.wrong(
                    path,
                    format!("`{name}` of `{}` is {}, which has no order", table.name, type_of(column)),
                    "name a column that holds one plain value",
                );
            }
        }
    }
}

/// The score of a ranking over this table; `None` if there is no such column.
pub(super) fn score(table: &TableFacts, ranking: &Ranking) -> Option<Score> {
    let whole = || Score { kind: ColumnType::Int, type_name: "bigint".into(), nullable: false };
    let Some(name) = &ranking.column else { return Some(whole()) };
    let column = table.columns.iter().find(|column| column.name == *name)?;
    let (kind, type_name) = match ranking.function {
        Aggregate::Count => return Some(whole()),
        Aggregate::Sum => sum(column),
        Aggregate::Min | Aggregate::Max => (column.kind.clone(), column.type_name.clone()),
    };
    Some(Score { kind, type_name, nullable: column.nullable })
}

/// The type of a sum over the column, as SQL has it: a sum of 64-bit integers may be beyond 64 bits.
pub(super) fn sum(column: &ColumnFacts) -> (ColumnType, Box<str>) {
    match (&column.kind, &*column.type_name) {
        (ColumnType::Int, "smallint" | "integer" | "INTEGER" | "INT") => (ColumnType::Int, "bigint".into()),
        (ColumnType::Float, _) if !is_exact(column) => (ColumnType::Float, column.type_name.clone()),
        // A sum of values that have no kind is exact too, so it must not be read as a column of its own would store it.
        (ColumnType::Int | ColumnType::Decimal | ColumnType::Float | ColumnType::Dynamic, _) => {
            (ColumnType::Decimal, "numeric".into())
        }
        (kind, _) => (kind.clone(), column.type_name.clone()),
    }
}

/// Whether a column of floats is summed as the decimals that they print as: where the source has no decimals of its own.
fn is_exact(column: &ColumnFacts) -> bool {
    &*column.type_name == "REAL"
}

pub(super) fn is_number(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Int | ColumnType::Float | ColumnType::Decimal)
}

fn is_time(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Date | ColumnType::Time | ColumnType::Timestamp | ColumnType::TimestampTz)
}

/// Whether values of this kind stand in an order that every engine and the source agree on.
pub(super) fn sorts(kind: &ColumnType) -> bool {
    !matches!(kind, ColumnType::Json | ColumnType::List(_))
}

/// Text as people write it, not a kind that travels as text.
fn is_plain_text(column: &ColumnFacts) -> bool {
    let name = column.type_name.to_ascii_lowercase();
    name == "text" || name.starts_with("character varying") || name.starts_with("varchar")
}

/// The source's name of the type, or that it has none.
pub(super) fn type_of(column: &ColumnFacts) -> &str {
    if column.type_name.is_empty() { "of no type" } else { &column.type_name }
}
