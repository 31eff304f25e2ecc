//! A bookshop, as a source shows it, and findings as a terminal would show them.

use std::fmt::Write as _;
use std::path::Path;

use headwater_control::Finding;
use headwater_model::file::{File, References};
use headwater_model::{
    ColumnFacts, ColumnType, ForeignKey, IndexFacts, Indexable, IndexedColumn, Risk, Severity, SourceFacts,
    TableFacts, TableName,
};

pub struct Env;

impl References for Env {
    fn variable(&self, name: &str) -> Option<String> {
        Some(if name.ends_with("_URL") { "redis://elsewhere".to_owned() } else { format!("value-of-{name}") })
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Ok("a secret from a file".to_owned())
    }
}

pub fn load(text: &str) -> File {
    File::load(text, &Env).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A table from a line: `shop.books: id int, title text, author_id int null; rows 1000`. The first column is the key.
pub fn table(line: &str) -> TableFacts {
    let (name, rest) = line.split_once(": ").unwrap();
    let (columns, rows) = rest.split_once("; rows ").unwrap_or((rest, "0"));
    let columns: Vec<ColumnFacts> = columns.split(", ").map(column).collect();
    let (schema, name) = match name.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (Some("public"), name),
    };
    let key = vec![columns[0].name.clone()];
    let mut table = TableFacts {
        name: TableName::new(schema, name),
        unique: vec![key.clone()],
        key,
        columns,
        foreign_keys: Vec::new(),
        indexes: Vec::new(),
        create_index: "CREATE INDEX CONCURRENTLY",
        rows_estimate: rows.parse().unwrap(),
        bytes_estimate: 0,
        obstacle: None,
    };
    let key = table.key[0].clone();
    index(&mut table, &[&key]);
    table
}

/// An index with the server's own collation: `["a", "-b"]` has b descending.
pub fn index(table: &mut TableFacts, columns: &[&str]) {
    let column = |written: &&str| {
        let name = written.trim_start_matches('-');
        let as_stores =
            table.columns.iter().any(|c| *c.name == *name && c.indexable == Indexable::InOrder(""));
        IndexedColumn { name: name.into(), descending: written.starts_with('-'), as_stores }
    };
    let columns = columns.iter().map(column).collect();
    table.indexes.push(IndexFacts { columns });
}

fn column(text: &str) -> ColumnFacts {
    let mut words = text.split(' ');
    let (name, type_name) = (words.next().unwrap(), words.next().unwrap());
    let kind = match type_name {
        "int" => ColumnType::Int,
        "numeric" => ColumnType::Decimal,
        "timestamptz" => ColumnType::TimestampTz,
        "date" => ColumnType::Date,
        "bool" => ColumnType::Bool,
        "json" => ColumnType::Json,
        "list" => ColumnType::List(Box::new(ColumnType::Int)),
        "float" => ColumnType::Float,
        "any" => ColumnType::Dynamic,
        _ => ColumnType::Text,
    };
    let rest: Vec<&str> = words.collect();
    let indexable = match &kind {
        ColumnType::Text => Indexable::InOrder(" COLLATE \"C\""),
        ColumnType::Json => Indexable::Never,
        _ => Indexable::InOrder(""),
    };
    ColumnFacts {
        name: name.into(),
        indexable,
        kind,
        type_name: type_name.into(),
        nullable: rest.contains(&"null"),
        may_be_unchanged: false,
        absent_from_log: rest.contains(&"generated"),
    }
}

pub fn points(table: &mut TableFacts, columns: &[&str], to: &str, to_columns: &[&str]) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    table.foreign_keys.push(ForeignKey {
        columns: names(columns),
        to: TableName::new(Some("public"), to),
        to_columns: names(to_columns),
    });
    index(table, columns);
}

/// Customers, authors, books with tags, reviews, orders with lines, price changes, a log without a key.
pub fn bookshop() -> SourceFacts {
    let customers = table("customers: id int, name text, email text, joined_on date; rows 20000");
    let authors = table("authors: id int, name text, born_on date null; rows 3000");
    let mut books = table(
        "books: id int, isbn text, title text, author_id int, price numeric, created_at timestamptz, search text generated; rows 10000",
    );
    books.unique.push(vec!["isbn".into()]);
    points(&mut books, &["author_id"], "authors", &["id"]);
    let tags = table("tags: id int, label text; rows 200");
    let mut book_tags = table("book_tags: book_id int, tag_id int; rows 30000");
    book_tags.key = vec!["book_id".into(), "tag_id".into()];
    book_tags.unique = vec![book_tags.key.clone()];
    points(&mut book_tags, &["book_id"], "books", &["id"]);
    points(&mut book_tags, &["tag_id"], "tags", &["id"]);
    let mut reviews = table(
        "reviews: id int, book_id int, customer_id int, stars int, body text, created_at timestamptz; rows 150000",
    );
    points(&mut reviews, &["book_id"], "books", &["id"]);
    points(&mut reviews, &["customer_id"], "customers", &["id"]);
    let mut orders = table(
        "orders: id int, customer_id int, gift_for int null, state text, placed_at timestamptz; rows 80000",
    );
    points(&mut orders, &["customer_id"], "customers", &["id"]);
    points(&mut orders, &["gift_for"], "customers", &["id"]);
    let mut lines = table(
        "order_lines: order_id int, line_no int, book_id int, quantity int, price numeric; rows 240000",
    );
    lines.key = vec!["order_id".into(), "line_no".into()];
    lines.unique = vec![lines.key.clone()];
    index(&mut lines, &["order_id", "line_no"]);
    points(&mut lines, &["order_id"], "orders", &["id"]);
    points(&mut lines, &["book_id"], "books", &["id"]);
    let mut prices =
        table("price_changes: id int, isbn text, price numeric, changed_at timestamptz; rows 90000000");
    points(&mut prices, &["isbn"], "books", &["isbn"]);
    let mut audit = table("audit: at timestamptz, what text; rows 5");
    audit.key.clear();
    audit.unique.clear();
    audit.obstacle = Some(Risk {
        severity: Severity::Error,
        what: "table `public.audit` has no primary key: its updates and deletes cannot be followed"
            .to_owned(),
        remedy: "ALTER TABLE public.audit ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            .to_owned(),
    });
    let archive = table("archive.books: id int, title text");
    let old = table("archive.invoices: id int, total numeric");
    let older = table("legacy.invoices: id int, total numeric");
    SourceFacts {
        server: "PostgreSQL 15.18".to_owned(),
        tables: vec![
            archive, old, audit, authors, book_tags, books, customers, older, lines, orders, prices, reviews,
            tags,
        ],
        ..SourceFacts::default()
    }
}

/// Every finding with its line and a caret under what is wrong.
pub fn render(text: &str, findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let _ =
            writeln!(out, "{:?} {}:{}: {}", finding.severity, finding.line, finding.column, finding.message);
        let line = text.lines().nth(finding.line - 1).unwrap_or_default();
        let span = text.get(finding.span.clone()).unwrap_or_default();
        let width = span.lines().next().unwrap_or_default().chars().count().max(1);
        let _ = writeln!(out, "  | {line}\n  | {}{}", " ".repeat(finding.column - 1), "^".repeat(width));
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(out, "  = {remedy}");
        }
    }
    out
}

/// What `init` wrote, with the access patterns that it proposes taken out of their comments.
pub fn with_access(text: &str) -> String {
    let Some((views, proposed)) = text.split_once("\n# How applications read") else {
        return text.to_owned();
    };
    let lines = proposed.lines().skip(1).filter_map(|line| line.strip_prefix("# "));
    let sections = lines.filter(|line| line.starts_with('[') || line.contains(" = "));
    format!("{views}\n{}", sections.collect::<Vec<_>>().join("\n"))
}
