//! Whatever a database looks like, `init` writes a file that `check` accepts.

use headwater_control::init::{self, Looked};
use headwater_control::{check, resolve};
use headwater_model::file::File;
use headwater_model::{
    ColumnFacts, ColumnType, ForeignKey, Indexable, Risk, Severity, SourceFacts, TableFacts, TableName,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{Env, render, with_access};

fn name() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        3 => "(id|created_at|name|book|books|author|author_id|ref)",
        1 => "[a-zA-Z \"'.\\\\é#$\t-]{1,6}[a-z]",
    ]
    .prop_map(String::into_boxed_str)
}

fn column() -> impl Strategy<Value = ColumnFacts> {
    let kind = prop_oneof![
        3 => Just(ColumnType::Int),
        1 => Just(ColumnType::Text),
        1 => Just(ColumnType::TimestampTz),
        1 => Just(ColumnType::Dynamic),
        1 => Just(ColumnType::List(Box::new(ColumnType::Int))),
    ];
    (name(), kind, any::<bool>(), proptest::bool::weighted(0.1)).prop_map(
        |(name, kind, nullable, absent_from_log)| ColumnFacts {
            name,
            kind,
            type_name: "type".into(),
            nullable,
            may_be_unchanged: false,
            absent_from_log,
            indexable: Indexable::InOrder(""),
        },
    )
}

fn table() -> impl Strategy<Value = TableFacts> {
    let schema = prop_oneof![Just("public".into()), name()].prop_map(Some);
    (schema, name(), vec(column(), 1..6), 0..3usize, proptest::bool::weighted(0.1), 0..100_000u64).prop_map(
        |(schema, name, mut columns, key, blocked, rows)| {
            let mut seen = std::collections::BTreeSet::new();
            columns.retain(|column| seen.insert(column.name.clone()));
            // A key is in the log.
            columns.iter_mut().take(key).for_each(|column| column.absent_from_log = false);
            let key: Vec<Box<str>> = columns.iter().take(key).map(|column| column.name.clone()).collect();
            let risk =
                || Risk { severity: Severity::Error, what: "no\nkey".into(), remedy: "add\none".into() };
            TableFacts {
                name: TableName { schema, name },
                unique: if key.is_empty() { Vec::new() } else { vec![key.clone()] },
                obstacle: (blocked || key.is_empty()).then(risk),
                key,
                columns,
                foreign_keys: Vec::new(),
                indexes: Vec::new(),
                create_index: "CREATE INDEX",
                rows_estimate: rows,
                bytes_estimate: 0,
            }
        },
    )
}

/// Tables with foreign keys between them: from some columns of one to as many of another.
fn facts() -> impl Strategy<Value = SourceFacts> {
    let links = vec((0..8usize, 0..8usize, 0..6usize, 0..6usize, 1..3usize), 0..10);
    (vec(table(), 0..8), links, any::<bool>()).prop_map(|(mut tables, links, has_schemas)| {
        if !has_schemas {
            tables.iter_mut().for_each(|table| table.name.schema = None);
        }
        let mut seen = std::collections::BTreeSet::new();
        tables.retain(|table| seen.insert(table.name.clone()));
        for (from, to, at, to_at, count) in links {
            if from >= tables.len() || to >= tables.len() {
                continue;
            }
            let names = |table: &TableFacts, at: usize| -> Vec<Box<str>> {
                table.columns.iter().skip(at).take(count).map(|column| column.name.clone()).collect()
            };
            let (columns, to_columns) = (names(&tables[from], at), names(&tables[to], to_at));
            if !columns.is_empty() && columns.len() == to_columns.len() {
                let to = tables[to].name.clone();
                tables[from].foreign_keys.push(ForeignKey { columns, to, to_columns });
            }
        }
        SourceFacts { server: "Any 1.0".into(), tables, ..SourceFacts::default() }
    })
}

proptest! {
    #[test]
    fn what_init_writes_passes_check(facts in facts()) {
        let text = init::write(&[Looked::alone("postgres://h/d", &facts)]);
        let file = match File::load(&text, &Env) {
            Ok(file) => file,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}\n{text}"))),
        };
        let wrong: Vec<_> =
            check::run(&file, &facts).into_iter().filter(|f| f.severity == Severity::Error).collect();
        prop_assert!(wrong.is_empty(), "{}\n{text}\n{facts:#?}", render(&text, &wrong));
        for view in resolve(&file, &facts).unwrap().views {
            prop_assert!(facts.tables.iter().any(|table| table.name == view.from));
        }
    }

    #[test]
    fn what_init_proposes_as_access_passes_check_too(facts in facts()) {
        let text = with_access(&init::write(&[Looked::alone("postgres://h/d", &facts)]));
        let file = match File::load(&text, &Env) {
            Ok(file) => file,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}\n{text}"))),
        };
        match resolve(&file, &facts) {
            Ok(resolved) => prop_assert_eq!(resolved.access.len(), file.access.len()),
            Err(wrong) => prop_assert!(false, "{}\n{text}\n{facts:#?}", render(&text, &wrong)),
        }
    }

    #[test]
    fn another_databases_file_is_judged_without_panic(a in facts(), b in facts()) {
        let text = with_access(&init::write(&[Looked::alone("postgres://h/d", &a)]));
        let file = File::load(&text, &Env).map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        for finding in check::run(&file, &b) {
            prop_assert!(finding.span.end <= text.len() && finding.line >= 1);
        }
    }
}
