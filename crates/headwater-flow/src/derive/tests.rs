//! What one row's change does to documents made of one row.

use std::sync::Arc;

use headwater_model::{
    Aggregate, Change, Column, ColumnFacts, ColumnType, Edge, ErrorKind, Indexable, Key, Order, Ranking, Row,
    Series, Table, TableFacts, TableName, Value, View, ViewChange, ViewKind,
};

use super::*;

fn table(version: u32, columns: &[&str]) -> Arc<Table> {
    Arc::new(Table {
        id: 1,
        version,
        name: TableName::new(Some("public"), "items"),
        columns: columns.iter().map(|c| Column { name: (*c).into(), kind: ColumnType::Dynamic }).collect(),
        key: vec![0],
    })
}

fn view(columns: Option<&[(&str, &str)]>, filter: Option<&str>) -> Arc<View> {
    Arc::new(View {
        name: "item".into(),
        from: TableName::new(None, "items"),
        columns: columns.map(|c| c.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()),
        filter: filter.map(Into::into),
        embeds: vec![],
        stores: vec![],
        parts: Vec::new(),
        layout: None,
        kind: headwater_model::ViewKind::Document,
        indexes: Vec::new(),
    })
}

fn tables(table: &Arc<Table>) -> Tables {
    Tables::from([(table.name.clone(), table.clone())])
}

fn row(values: &[Value]) -> Row {
    Row(values.to_vec())
}

/// One line per change: `put 1 {"a":1}`, `put 2<1 {…}`, `delete 1`, `clear`.
fn lines(stateless: &mut Stateless, change: Change) -> Vec<String> {
    let mut out = Vec::new();
    stateless.map(change, &mut out);
    out.iter()
        .map(|change| match change {
            ViewChange::Put { key, moved_from: None, document, .. } => {
                format!("put {key} {}", document.to_json())
            }
            ViewChange::Put { key, moved_from: Some(old), document, .. } => {
                format!("put {key}<{old} {}", document.to_json())
            }
            ViewChange::Delete { key, .. } => format!("delete {key}"),
            ViewChange::Clear { .. } => "clear".into(),
        })
        .collect()
}

const fn int(n: i64) -> Value {
    Value::Int(n)
}

#[test]
fn each_kind_of_change_reaches_the_document() {
    let t = table(0, &["id", "a", "b"]);
    let v = view(Some(&[("b", "bee"), ("id", "id")]), None);
    let mut stateless = Stateless::new(&[v], &tables(&t)).expect("the view fits");
    let insert = Change::Insert { table: t.clone(), row: row(&[int(1), int(2), int(3)]) };
    assert_eq!(lines(&mut stateless, insert), [r#"put 1 {"bee":3,"id":1}"#]);
    let snapshot = Change::Snapshot { table: t.clone(), row: row(&[int(1), int(2), Value::Unchanged]) };
    assert_eq!(lines(&mut stateless, snapshot), [r#"put 1 {"id":1}"#]);
    let old_key = Some(Key(vec![int(1)]));
    let update = Change::Update {
        table: t.clone(),
        old_key: old_key.clone(),
        row: row(&[int(2), Value::Unchanged, int(4)]),
    };
    assert_eq!(lines(&mut stateless, update), ["delete 1", r#"put 2 {"bee":4,"id":2}"#]);
    let update = Change::Update { table: t.clone(), old_key, row: row(&[int(2), int(0), Value::Unchanged]) };
    assert_eq!(lines(&mut stateless, update), [r#"put 2<1 {"id":2}"#]);
    let delete = Change::Delete { table: t.clone(), key: Key(vec![int(2)]) };
    assert_eq!(lines(&mut stateless, delete), ["delete 2"]);
    assert_eq!(lines(&mut stateless, Change::Truncate { tables: vec![t] }), ["clear"]);
    let other = Arc::new(Table { name: TableName::new(None, "others"), ..(*table(0, &["id"])).clone() });
    let elsewhere = Change::Insert { table: other, row: row(&[int(1)]) };
    assert!(lines(&mut stateless, elsewhere).is_empty());
}

#[test]
fn a_rejected_row_leaves_the_view() {
    let t = table(0, &["id", "a"]);
    let mut stateless = Stateless::new(&[view(None, Some("a > 5"))], &tables(&t)).expect("the view fits");
    let old_key = Some(Key(vec![int(1)]));
    let update = |old_key, a| Change::Update { table: t.clone(), old_key, row: row(&[int(2), a]) };
    assert_eq!(lines(&mut stateless, update(None, int(5))), ["delete 2"]);
    assert_eq!(lines(&mut stateless, update(None, Value::Null)), ["delete 2"]);
    assert_eq!(lines(&mut stateless, update(old_key.clone(), int(5))), ["delete 1", "delete 2"]);
    assert_eq!(lines(&mut stateless, update(old_key, int(6))), ["delete 1", r#"put 2 {"id":2,"a":6}"#]);
}

#[test]
fn an_added_column_arrives_and_a_dropped_one_pauses_only_the_view_that_names_it() {
    let before = table(0, &["id", "a"]);
    let named: Arc<View> =
        Arc::new(View { name: "named".into(), ..(*view(Some(&[("a", "a")]), None)).clone() });
    let mut stateless = Stateless::new(&[view(None, None), named], &tables(&before)).expect("the views fit");
    let insert = |t: &Arc<Table>| Change::Insert { table: t.clone(), row: row(&[int(1), int(2)]) };
    assert_eq!(lines(&mut stateless, insert(&before)).len(), 2);
    assert!(stateless.take_broken().is_empty());
    let after = table(1, &["id", "b"]);
    assert_eq!(lines(&mut stateless, insert(&after)), [r#"put 1 {"id":1,"b":2}"#]);
    let broken = stateless.take_broken();
    assert_eq!(broken.len(), 1);
    assert_eq!(&*broken[0].view, "named");
    assert_eq!(broken[0].error.kind(), ErrorKind::Misconfigured);
    assert!(broken[0].error.to_string().contains("\"a\""));
    assert_eq!(lines(&mut stateless, insert(&after)).len(), 1);
}

#[test]
fn an_undecidable_filter_breaks_the_view_instead_of_guessing() {
    let t = table(0, &["id", "a"]);
    let mut stateless = Stateless::new(&[view(None, Some("a > 5"))], &tables(&t)).expect("the view fits");
    let update = Change::Update { table: t.clone(), old_key: None, row: row(&[int(2), Value::Unchanged]) };
    assert!(lines(&mut stateless, update.clone()).is_empty());
    assert_eq!(stateless.take_broken()[0].error.kind(), ErrorKind::Unsupported);
    assert!(lines(&mut stateless, update).is_empty());
    assert!(stateless.take_broken().is_empty());
}

#[test]
fn a_view_that_misses_its_column_is_refused() {
    let t = table(0, &["id", "a"]);
    for wrong in [
        view(Some(&[("x", "x")]), None),
        view(None, Some("x = 1")),
        view(Some(&[("a", "n"), ("id", "n")]), None),
    ] {
        let error = Stateless::new(&[wrong], &tables(&t)).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("view \"item\""), "{error}");
        assert!(error.remedy().is_some());
    }
    assert!(Stateless::new(&[view(None, None)], &Tables::new()).is_err());
}

fn of_kind(kind: ViewKind, columns: Option<&[(&str, &str)]>, filter: Option<&str>) -> Arc<View> {
    Arc::new(View { kind, ..(*view(columns, filter)).clone() })
}

fn edge() -> ViewKind {
    ViewKind::Edge(Edge { source: "from \"x\"".into(), label: "KNOWS".into(), target: "to".into() })
}

#[test]
fn an_edge_has_both_ends_and_a_row_without_one_has_none() {
    let t = table(0, &["id", "from \"x\"", "to", "since"]);
    let v = of_kind(edge(), Some(&[("since", "since")]), Some("since > 0 OR since IS NULL"));
    let mut stateless = Stateless::new(&[v], &tables(&t)).expect("the view fits");
    let mut update = |cells: [Value; 3]| {
        let [from, to, since] = cells;
        let row = row(&[int(1), from, to, since]);
        lines(&mut stateless, Change::Update { table: t.clone(), old_key: None, row })
    };
    assert_eq!(update([int(7), int(8), Value::Null]), [r#"put 1 {"since":null,"from \"x\"":7,"to":8}"#]);
    assert_eq!(update([Value::Null, int(8), int(1)]), ["delete 1"]);
    assert_eq!(update([int(7), Value::Null, int(1)]), ["delete 1"]);
    assert_eq!(update([int(7), int(8), int(0)]), ["delete 1"]);
    let all = of_kind(edge(), None, None);
    let mut stateless = Stateless::new(&[all], &tables(&t)).expect("the view fits");
    let insert = Change::Insert { table: t.clone(), row: row(&[int(1), int(2), int(3), int(4)]) };
    assert_eq!(lines(&mut stateless, insert), [r#"put 1 {"id":1,"from \"x\"":2,"to":3,"since":4}"#]);
    let lacks = of_kind(edge(), None, None);
    assert!(Stateless::new(&[lacks], &tables(&table(0, &["id", "to"]))).is_err());
}

#[test]
fn a_point_has_its_key_and_the_columns_of_the_series_in_the_tables_order() {
    let t = table(0, &["id", "note", "price", "book", "at"]);
    let series = || {
        ViewKind::Series(Series {
            time: "at".into(),
            tags: vec!["book".into()],
            fields: vec!["price".into()],
        })
    };
    let views =
        [of_kind(series(), None, None), of_kind(series(), Some(&[("at", "t"), ("price", "p")]), None)];
    let mut stateless = Stateless::new(&views, &tables(&t)).expect("the views fit");
    let insert =
        Change::Insert { table: t.clone(), row: row(&[int(1), int(2), int(3), Value::Null, int(5)]) };
    assert_eq!(
        lines(&mut stateless, insert),
        [r#"put 1 {"id":1,"price":3,"book":null,"at":5}"#, r#"put 1 {"t":5,"p":3}"#]
    );
    let error =
        Stateless::new(&views[..1], &tables(&table(0, &["id", "price", "at"]))).err().expect("refused");
    assert!(error.to_string().contains("no column \"book\""), "{error}");
}

#[test]
fn state_is_needed_only_where_cells_may_lack() {
    let facts = |unchanged: bool| TableFacts {
        name: TableName::new(None, "items"),
        columns: ["id", "a"]
            .iter()
            .map(|name| ColumnFacts {
                name: (*name).into(),
                kind: ColumnType::Text,
                type_name: "text".into(),
                nullable: true,
                may_be_unchanged: unchanged && *name == "a",
                absent_from_log: false,
                indexable: Indexable::Never,
            })
            .collect(),
        key: vec!["id".into()],
        unique: vec![],
        foreign_keys: vec![],
        indexes: vec![],
        create_index: "CREATE INDEX",
        rows_estimate: 0,
        bytes_estimate: 0,
        obstacle: None,
    };
    assert!(!needs_state(&view(None, None), &facts(true), true));
    assert!(needs_state(&view(None, None), &facts(true), false));
    assert!(!needs_state(&view(Some(&[("id", "id")]), None), &facts(true), false));
    assert!(needs_state(&view(None, Some("A = 'x'")), &facts(true), true));
    assert!(
        needs_state(&view(None, Some("id = 'x'")), &facts(true), true),
        "a row that the filter takes from now on has no document whose values could stay"
    );
    assert!(!needs_state(&view(Some(&[("id", "id")]), Some("id = 'x'")), &facts(true), true));
    assert!(!needs_state(&view(None, Some("a = 'x'")), &facts(false), false));
    // An index needs its fields, by whatever name the document has them.
    let indexed = |columns: Option<&[(&str, &str)]>, by: &str, order: &str| View {
        indexes: vec![Index {
            by: vec![by.into()],
            order: vec![Order { column: order.into(), descending: false }],
        }],
        ..(*view(columns, None)).clone()
    };
    assert!(needs_state(&indexed(None, "id", "a"), &facts(true), true));
    assert!(needs_state(&indexed(Some(&[("id", "id"), ("a", "b")]), "b", "id"), &facts(true), true));
    assert!(needs_state(
        &indexed(Some(&[("a", "x"), ("a", "b"), ("id", "id")]), "b", "id"),
        &facts(true),
        true
    ));
    assert!(!needs_state(&indexed(Some(&[("id", "a"), ("a", "b")]), "a", "a"), &facts(true), true));
    assert!(!needs_state(&indexed(None, "id", "a"), &facts(false), true));
    let ends =
        |source: &str| ViewKind::Edge(Edge { source: source.into(), label: "X".into(), target: "id".into() });
    assert!(
        needs_state(&of_kind(ends("a"), None, None), &facts(true), true),
        "whether there is an edge may be unknown"
    );
    assert!(!needs_state(&of_kind(ends("id"), None, None), &facts(true), true));
    let of = |field: &str| {
        ViewKind::Series(Series { time: "id".into(), tags: Vec::new(), fields: vec![field.into()] })
    };
    assert!(!needs_state(&of_kind(of("id"), None, None), &facts(true), false), "the point does not show it");
    assert!(needs_state(&of_kind(of("a"), None, None), &facts(true), false));
    let ranking =
        Ranking { by: vec!["id".into()], within: Vec::new(), function: Aggregate::Count, column: None };
    assert!(needs_state(&of_kind(ViewKind::Ranking(ranking), None, None), &facts(false), true));
}
