//! A first file says what a person would have written, and passes `check`.

use headwater_control::{check, init};
use headwater_model::{ColumnType, Severity, TableName};

use crate::support::{bookshop, load, points, render, table, with_access};

#[test]
fn the_bookshop_gets_a_file_to_start_from() {
    let facts = bookshop();
    let url = init::without_password("postgres://headwater:hunter2@db.internal/shop").url;
    let text = init::write(&url, &facts);
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
    let text = init::write("postgres://h/d", &facts);
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
    let text = init::write("sqlite:derived.db", &facts);
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
    let file = load(&init::write("sqlite:a.db", &facts));
    assert!(check::run(&file, &facts).iter().all(|finding| finding.severity == Severity::Warning));
}
