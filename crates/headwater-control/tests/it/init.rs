//! A first file says what a person would have written, and passes `check`.

use headwater_control::check;
use headwater_control::init::{self, Looked};
use headwater_model::{ColumnType, Severity, SourceUsage, StatementUsage, TableName, TableUsage};

use crate::support::{bookshop, load, points, render, table, with_access};

#[test]
fn the_bookshop_gets_a_file_to_start_from() {
    let facts = bookshop();
    let url = init::without_password("postgres://headwater:hunter2@db.internal/shop", None).url;
    let text = init::write(&[Looked::alone(&url, &facts)]);
    let file = load(&text);
    let wrong: Vec<_> =
        check::run(&file, &facts).into_iter().filter(|f| f.severity > Severity::Warning).collect();
    assert_eq!(wrong, [], "{}", render(&text, &wrong));
    insta::assert_snapshot!(text);
    let patterns = load(&with_access(&text)).access.len();
    assert_eq!(patterns, text.matches("# [access.").count());
}

#[test]
fn odd_names_are_written_so_that_they_read_back() {
    let mut facts = bookshop();
    let mut odd = table("archive.x: id int, a text");
    odd.name = TableName::new(Some("Odd.Schema"), "Tab \"le\"\n");
    odd.columns[0].name = "größe \"x\"".into();
    odd.key = vec!["größe \"x\"".into()];
    odd.unique = vec![odd.key.clone()];
    let mut child = table("child: id int, ref int");
    points(&mut child, &["ref"], "x", &["größe \"x\""]);
    child.foreign_keys[0].to = odd.name.clone();
    facts.tables.extend([odd, child]);
    let text = init::write(&[Looked::alone("postgres://h/d", &facts)]);
    let file = load(&text);
    let findings = check::run(&file, &facts);
    assert!(findings.iter().all(|f| f.severity < Severity::Error), "{}\n{text}", render(&text, &findings));
    assert!(
        file.views.iter().any(|view| &*view.from.name == "Tab \"le\"\n" && view.embeds.len() == 1),
        "{text}"
    );
}

#[test]
fn a_source_without_schemas_or_kinds_works_as_well() {
    let mut facts = bookshop();
    facts.tables.retain(|table| table.name.schema.as_deref() == Some("public"));
    for table in &mut facts.tables {
        table.name.schema = None;
        table.columns.iter_mut().for_each(|column| column.kind = ColumnType::Dynamic);
        table.foreign_keys.iter_mut().for_each(|key| key.to.schema = None);
    }
    let text = init::write(&[Looked::alone("sqlite:derived.db", &facts)]);
    let findings = check::run(&load(&text), &facts);
    assert!(findings.iter().all(|f| f.severity < Severity::Error), "{}", render(&text, &findings));
    assert!(
        text.contains("order = \"-created_at\"") && text.contains("sqlite:headwater-derived.db"),
        "{text}"
    );
}

#[test]
fn an_empty_database_gets_a_file_too() {
    let facts = headwater_model::SourceFacts::default();
    let file = load(&init::write(&[Looked::alone("sqlite:a.db", &facts)]));
    assert!(check::run(&file, &facts).iter().all(|finding| finding.severity == Severity::Warning));
}

fn usage(statements: &[(&str, u64, u64)]) -> SourceUsage {
    let statement = |(text, calls, rows): &(&str, u64, u64)| StatementUsage {
        text: (*text).to_owned(),
        calls: *calls,
        rows: *rows,
        took_ms: *calls as f64 * 0.25,
    };
    SourceUsage {
        tables_for: Some(864_000.0),
        tables: vec![
            TableUsage {
                name: TableName::new(Some("public"), "orders"),
                inserted: 8_640,
                updated: 17_280,
                deleted: 0,
            },
            TableUsage { name: TableName::new(Some("public"), "books"), inserted: 3, updated: 0, deleted: 1 },
        ],
        statements_for: Some(3_600.0),
        statements: Some(statements.iter().map(statement).collect()),
        sessions: 37,
        missing: Vec::new(),
    }
}

/// Statements as applications and ORMs send them. What asks for rows of one table by given values is an access pattern; the rest
/// stays a comment with the reason.
#[test]
fn statements_become_access_patterns_or_say_why_not() {
    let mut facts = bookshop();
    facts.tables.iter_mut().for_each(|table| table.bytes_estimate = table.rows_estimate * 150);
    let used = usage(&[
        (
            "SELECT b.*, a.name FROM books b JOIN authors a ON a.id = b.author_id WHERE b.id = $1",
            720_000,
            720_000,
        ),
        ("/* route='/book' */ SELECT * FROM public.books WHERE id = $1", 36_000, 35_000),
        ("SELECT * FROM books WHERE id = ANY($1::int[])", 3_600, 72_000),
        (
            "select r.* from reviews r where r.book_id = $1 order by r.created_at desc limit $2",
            180_000,
            1_700_000,
        ),
        (
            "SELECT * FROM reviews WHERE book_id = $1 AND created_at < $2 ORDER BY created_at DESC LIMIT $3",
            1_000,
            20_000,
        ),
        ("SELECT * FROM books WHERE isbn = $1 LIMIT $2", 90, 90),
        ("SELECT \"orders\".\"id\" FROM \"orders\" WHERE \"orders\".\"customer_id\" = $1", 7_200, 20_000),
        ("SELECT * FROM books ORDER BY created_at DESC LIMIT $1", 60, 1_200),
        (
            "SELECT book_id, sum(quantity) AS n FROM order_lines GROUP BY book_id ORDER BY n DESC LIMIT $1",
            120,
            1_200,
        ),
        ("SELECT count(*) FROM orders WHERE customer_id = $1", 400, 400),
        ("SELECT * FROM orders WHERE id = $1 FOR UPDATE", 500, 500),
        ("SELECT * FROM books WHERE title ILIKE $1", 70, 700),
        ("SELECT * FROM book_tags WHERE book_id = $1", 80, 240),
        ("SELECT * FROM audit WHERE what = $1", 3, 3),
        (
            "SELECT b.id FROM books b JOIN authors a ON a.id = b.author_id WHERE a.name = $1 AND b.price = $2",
            30,
            60,
        ),
        ("WITH x AS (SELECT $1) SELECT * FROM tags", 10, 100),
        ("SELECT id FROM tags UNION SELECT id FROM books", 5, 100),
        ("SELECT relname FROM pg_class WHERE oid = $1", 9_000, 9_000),
        ("SELECT this is no statement", 2, 2),
    ]);
    let imported = init::import("postgres://h/d", &facts, Some(&used));
    let file = load(&imported.text);
    let wrong: Vec<_> =
        check::run(&file, &facts).into_iter().filter(|f| f.severity > Severity::Warning).collect();
    assert_eq!(wrong, [], "{}", render(&imported.text, &wrong));
    let plan = headwater_control::plan::Workload::read(&file, Some(&facts))
        .unwrap_or_else(|found| panic!("{}", render(&imported.text, &found)));
    let rate = |name: &str| plan.patterns.iter().find(|pattern| *pattern.name == *name).unwrap().rate;
    // 720,000 + 36,000 + 72,000 rows of several keys, in an hour.
    assert_eq!(rate("book"), 230.0);
    assert_eq!(rate("reviews_by_book_id"), 51.0);
    let orders = plan.tables.iter().find(|table| table.name == "public.orders").unwrap();
    assert_eq!((orders.rows, orders.row_bytes), (80_000.0, 150.0));
    assert!((orders.writes - 0.03).abs() < 1e-6, "{}", orders.writes);
    assert_eq!(plan.connections, Some(37.0));
    let (_, section) = imported.text.split_once("# How applications read").unwrap();
    insta::assert_snapshot!(section);
}

#[test]
fn what_is_not_known_is_said_and_left_open() {
    let facts = bookshop();
    let blind = SourceUsage {
        missing: vec![headwater_model::Risk {
            severity: Severity::Warning,
            what: "the database has no extension\nthat counts".into(),
            remedy: "install it".into(),
        }],
        ..SourceUsage::default()
    };
    for usage in [Some(&blind), None] {
        let imported = init::import("postgres://h/d", &facts, usage);
        assert_eq!((imported.patterns, imported.left), (0, 0));
        let text = imported.text;
        assert!(
            text.contains("How applications read is not known") && text.contains("# [access.book]"),
            "{text}"
        );
        assert_eq!(text.contains("# Missing: the database has no extension that counts."), usage.is_some());
        assert!(text.contains("# growth") && text.contains("# connections"), "{text}");
        let file = load(&text);
        assert!(
            file.access.is_empty() && check::run(&file, &facts).iter().all(|f| f.severity < Severity::Error)
        );
    }
}
