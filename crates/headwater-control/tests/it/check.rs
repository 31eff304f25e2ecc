//! Every way in which a file and its source do not fit is found, at its place, with a remedy.

use std::fmt::Write as _;

use headwater_control::{check, resolve};
use headwater_model::file::File;
use headwater_model::{Error, ErrorKind, Risk, Severity, TableName};

use crate::support::{bookshop, load, render};

const HEAD: &str =
    "[source]\nurl = \"postgres://me@h/d\"\n[stores]\nlocal = { url = \"sqlite:derived.db\" }\n";

fn with_views(views: &str) -> File {
    load(&format!("{HEAD}{views}"))
}

/// What is wrong, and the views that it is wrong in.
const CASES: &[(&str, &str)] = &[
    (
        "what a part takes, by a name that is none of the document's",
        "[stores.near]\nurl = \"memory:\"\n[views.b]\nfrom = \"books\"\ncolumns = { id = \"id\", cost = \"price\" }\n\
         store = [\"local\", { name = \"near\", hold = \"10%\", where = \"cost > 5 AND price < 9\" }]",
    ),
    (
        "what a part takes, of the wrong kind",
        "[stores.near]\nurl = \"memory:\"\n[views.b]\nfrom = \"books\"\ncolumns = { id = \"id\", cost = \"price\" }\n\
         store = [\"local\", { name = \"near\", hold = \"10%\", where = \"cost > 'cheap'\" }]",
    ),
    ("a misspelt table", "[views.b]\nfrom = \"boks\""),
    ("a misspelt table with a schema", "[views.b]\nfrom = \"archive.boks\""),
    ("a table in another schema", "[views.b]\nfrom = \"archive.reviews\""),
    ("a table in several schemas, none the default", "[views.b]\nfrom = \"invoices\""),
    ("a table like none", "[views.b]\nfrom = \"spaceships\""),
    ("a table in other case", "[views.b]\nfrom = \"Books\""),
    ("a table without a key", "[views.a]\nfrom = \"audit\""),
    (
        "an embedded table without a key",
        "[views.b]\nfrom = \"books\"\nembed.audit = { from = \"audit\", many = \"what\" }",
    ),
    ("a misspelt column in a list", "[views.b]\nfrom = \"books\"\ncolumns = [\"id\", \"titel\"]"),
    ("a misspelt column in a renaming", "[views.b]\nfrom = \"books\"\ncolumns = { name = \"tilte\" }"),
    ("a column like none", "[views.b]\nfrom = \"tags\"\ncolumns = [\"weight\"]"),
    ("a misspelt column in a filter", "[views.b]\nfrom = \"books\"\nwhere = \"price > 10 AND titel = 'x'\""),
    ("a filter of the wrong kind", "[views.b]\nfrom = \"books\"\nwhere = \"price > 'cheap'\""),
    (
        "a misspelt column in an order",
        "[views.b]\nfrom = \"books\"\nembed.reviews = { from = \"reviews\", many = \"book_id\", order = \"-create_at\", limit = 3 }",
    ),
    (
        "a misspelt key column",
        "[views.b]\nfrom = \"books\"\nembed.author = { from = \"authors\", key = \"autor_id\" }",
    ),
    (
        "a misspelt column deep down",
        "[views.o]\nfrom = \"orders\"\n[views.o.embed.lines]\nfrom = \"order_lines\"\nmany = \"order_id\"\nembed.book = { from = \"books\", key = \"book\" }",
    ),
    (
        "key where many is meant",
        "[views.b]\nfrom = \"books\"\nembed.reviews = { from = \"reviews\", key = \"book_id\" }",
    ),
    (
        "many where key is meant",
        "[views.b]\nfrom = \"books\"\nembed.author = { from = \"authors\", many = \"author_id\" }",
    ),
    (
        "a key that is not unique",
        "[views.r]\nfrom = \"reviews\"\nembed.book = { from = \"books\", key = \"body\", references = \"title\" }",
    ),
    (
        "many that points at what is not unique",
        "[views.b]\nfrom = \"books\"\nembed.old = { from = \"archive.books\", many = \"title\", references = \"title\" }",
    ),
    (
        "too few columns for a key",
        "[views.b]\nfrom = \"books\"\nembed.line = { from = \"order_lines\", key = \"id\" }",
    ),
    (
        "columns of different types",
        "[views.p]\nfrom = \"price_changes\"\nembed.book = { from = \"books\", key = \"isbn\" }",
    ),
    (
        "a generated column",
        "[views.b]\nfrom = \"books\"\ncolumns = [\"id\", \"search\"]\nwhere = \"search = 'x'\"",
    ),
    (
        "a generated column among all",
        "[views.b]\nfrom = \"books\"\nembed.author = { from = \"authors\", key = \"author_id\" }",
    ),
    (
        "one name twice in a document",
        "[views.b]\nfrom = \"authors\"\nembed.name = { from = \"books\", many = \"author_id\" }",
    ),
    ("no views", ""),
];

#[test]
fn what_does_not_fit_is_found_at_its_place() {
    let facts = bookshop();
    let mut out = String::new();
    for (what, views) in CASES {
        let file = with_views(views);
        let findings = check::run(&file, &facts);
        let _ = writeln!(out, "## {what}\n{}", render(&file.text, &findings));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn all_mistakes_come_in_one_run() {
    let file = load(
        r#"[source]
url = "postgres://me@h/d"
[stores]
near = { url = "redis://cache" }
spare = { url = "redis://spare" }
[views.book]
from = "boks"
store = "near"
embed.author = { from = "authors", key = "author_id" }
embed.extra = { from = "nowhere", key = "author_id" }
[views.order]
from = "orders"
store = "near"
columns = ["id", "stat"]
where = "placedat > '2026-01-01'"
embed.customer = { from = "customers", key = "customer_id", columns = ["nam"] }
"#,
    );
    let mut facts = bookshop();
    facts.risks = vec![
        Risk {
            severity: Severity::Error,
            what: "wal_level is replica: changes cannot be decoded".to_owned(),
            remedy: "ALTER SYSTEM SET wal_level = logical; then restart".to_owned(),
        },
        Risk {
            severity: Severity::Warning,
            what: "max_slot_wal_keep_size is unlimited".to_owned(),
            remedy: "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'".to_owned(),
        },
    ];
    insta::assert_snapshot!(render(&file.text, &check::run(&file, &facts)));
}

#[test]
fn a_file_that_fits_has_no_findings_and_its_tables_get_schemas() {
    let file = with_views(
        r#"[views.order]
from = "orders"
where = "state <> 'cancelled' AND placed_at > '2026-01-01'"
embed.customer = { from = "customers", key = "customer_id" }
embed.lines = { from = "order_lines", many = "order_id", embed.book = { from = "books", key = "book_id", columns = ["title"] } }
[views.price]
from = "price_changes"
embed.book = { from = "books", key = "isbn", references = "isbn", columns = ["title"] }
[views.archived]
from = "archive.books"
[views.invoice]
from = "legacy.invoices"
"#,
    );
    let facts = bookshop();
    assert_eq!(check::run(&file, &facts), []);
    let views = resolve(&file, &facts).unwrap().views;
    assert_eq!(views[0].from, TableName::new(Some("public"), "orders"));
    assert_eq!(views[0].embeds[1].embeds[0].from, TableName::new(Some("public"), "books"));
    assert_eq!(views[2].from, TableName::new(Some("archive"), "books"));
}

#[test]
fn a_table_without_a_schema_is_the_default_schemas_or_the_only_one() {
    let mut facts = bookshop();
    let file = with_views("[views.b]\nfrom = \"books\"\ncolumns = [\"id\"]");
    assert_eq!(resolve(&file, &facts).unwrap().views[0].from, TableName::new(Some("public"), "books"));
    facts.tables.retain(|t| t.name != TableName::new(Some("public"), "books"));
    assert_eq!(resolve(&file, &facts).unwrap().views[0].from, TableName::new(Some("archive"), "books"));
    for table in &mut facts.tables {
        table.name.schema = None;
    }
    assert_eq!(resolve(&file, &facts).unwrap().views[0].from, TableName::new(None, "books"));
}

#[test]
fn engines_that_refuse_are_shown_at_what_configures_them() {
    let file = load(
        "[source]\nurl = \"postgres://me@nowhere/d\"\nslot = \"a b\"\n[stores]\nlocal = { url = \"sqlite:derived.db\" }\nnear = { url = \"redis://cache\", prefix = \"x\" }",
    );
    let unreachable = Error::transient("connect to nowhere:5432").with_cause("failed to look up address");
    let setting =
        Error::misconfigured("`slot` holds a space").with_remedy("use lower-case letters, digits and _");
    let denied = Error::new(ErrorKind::Denied, "password authentication failed for user \"me\"");
    let findings = [
        check::source_refused(&file, &unreachable),
        check::source_refused(&file, &setting),
        check::source_refused(&file, &denied),
        check::store_refused(&file, &file.stores[1], &unreachable),
        check::store_refused(&file, &file.stores[1], &Error::misconfigured("`prefix` is too short")),
    ];
    insta::assert_snapshot!(render(&file.text, &findings));
}
