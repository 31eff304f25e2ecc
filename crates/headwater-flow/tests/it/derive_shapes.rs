//! Stateful views when something other than rows changes: table shapes, views, the mirror's completeness; and rows that
//! arrive in pieces.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use headwater_flow::derive::{Deriver, Tables, compile};
use headwater_model::{
    Change, Column, ColumnType, Embed, EmbedKind, ErrorKind, Key, Offset, Row, Table, TableName, Value, View,
    ViewChange,
};

fn table(id: u32, version: u32, name: &str, columns: &[(&str, ColumnType)]) -> Arc<Table> {
    Arc::new(Table {
        id,
        version,
        name: TableName::new(Some("public"), name),
        columns: columns.iter().map(|(n, k)| Column { name: (*n).into(), kind: k.clone() }).collect(),
        key: vec![0],
    })
}

fn books(version: u32, more: &[&str]) -> Arc<Table> {
    let mut columns =
        vec![("id", ColumnType::Int), ("title", ColumnType::Text), ("author_id", ColumnType::Int)];
    columns.extend(more.iter().map(|name| (*name, ColumnType::Text)));
    table(1, version, "books", &columns)
}

fn authors() -> Arc<Table> {
    table(2, 1, "authors", &[("id", ColumnType::Int), ("name", ColumnType::Text)])
}

fn one(field: &str, from: &str, column: &str) -> Embed {
    Embed {
        field: field.into(),
        from: TableName::new(None, from),
        kind: EmbedKind::One { columns: vec![column.into()], references: None },
        columns: None,
        filter: None,
        order: vec![],
        limit: None,
        embeds: vec![],
    }
}

fn view(name: &str, columns: Option<&[&str]>, embeds: Vec<Embed>) -> Arc<View> {
    Arc::new(View {
        name: name.into(),
        from: TableName::new(None, "books"),
        columns: columns.map(|c| c.iter().map(|c| ((*c).into(), (*c).into())).collect()),
        filter: None,
        embeds,
        stores: vec![],
        parts: Vec::new(),
        layout: None,
        kind: headwater_model::ViewKind::Document,
        indexes: Vec::new(),
    })
}

fn tables(all: &[Arc<Table>]) -> Tables {
    all.iter().map(|t| (t.name.clone(), t.clone())).collect()
}

fn int(n: i64) -> Value {
    Value::Int(n)
}

struct Running {
    deriver: Deriver,
    _folder: tempfile::TempDir,
}

impl Running {
    fn new(views: &[Arc<View>], all: &[Arc<Table>]) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let plan = compile(views, &tables(all)).unwrap();
        let deriver = Deriver::open(&folder.path().join("mirror.db"), plan).unwrap();
        Running { deriver, _folder: folder }
    }

    /// One transaction; `book 1 {…}` per put, `-book 1` per delete, `book cleared` per clear.
    fn step(&mut self, changes: Vec<Change>) -> Vec<String> {
        let mut lines = Vec::new();
        let offset = self.deriver.cursor().next();
        self.deriver.begin(offset).unwrap();
        for change in changes {
            self.deriver.change(change).unwrap();
        }
        self.deriver
            .commit(&mut |piece| {
                for change in piece {
                    lines.push(match change {
                        ViewChange::Put { view, key, document, .. } => {
                            format!("{} {key} {}", view.name, document.to_json())
                        }
                        ViewChange::Delete { view, key } => format!("-{} {key}", view.name),
                        ViewChange::Clear { view } => format!("{} cleared", view.name),
                    });
                }
                Ok(())
            })
            .unwrap();
        lines
    }
}

fn insert(table: &Arc<Table>, values: &[Value]) -> Change {
    Change::Insert { table: table.clone(), row: Row(values.to_vec()) }
}

fn snapshot(table: &Arc<Table>, values: &[Value]) -> Change {
    Change::Snapshot { table: table.clone(), row: Row(values.to_vec()) }
}

#[test]
fn an_added_column_arrives_and_the_table_is_asked_for_again() {
    let (before, a) = (books(1, &[]), authors());
    let mut running = Running::new(
        &[view("book", None, vec![one("author", "authors", "author_id")])],
        &[before.clone(), a.clone()],
    );
    let names = running.deriver.incomplete();
    assert_eq!(names.iter().map(|n| &*n.name).collect::<Vec<_>>(), ["authors", "books"], "deepest first");
    running.step(vec![insert(&a, &[int(7), Value::text("Ann")])]);
    running.step(vec![
        insert(&before, &[int(1), Value::text("x"), int(7)]),
        insert(&before, &[int(2), Value::text("y"), Value::Null]),
    ]);
    for name in &names {
        running.deriver.mark_complete(name).unwrap();
    }
    running.deriver.save().unwrap();
    assert!(running.deriver.incomplete().is_empty());
    let after = books(2, &["isbn"]);
    assert_eq!(
        running.step(vec![insert(&after, &[int(3), Value::text("z"), int(7), Value::text("978")])]),
        [r#"book 3 {"id":3,"title":"z","author_id":7,"isbn":"978","author":{"id":7,"name":"Ann"}}"#]
    );
    assert_eq!(
        running.deriver.incomplete(),
        std::slice::from_ref(&before.name),
        "older rows lack the column"
    );
    assert_eq!(
        running.step(vec![snapshot(&after, &[int(1), Value::text("x"), int(7), Value::text("1")])]),
        [r#"book 1 {"id":1,"title":"x","author_id":7,"isbn":"1","author":{"id":7,"name":"Ann"}}"#]
    );
    // A row of the older shape, read before the change: the mirror keeps what it knows of the column.
    assert_eq!(
        running.step(vec![snapshot(&before, &[int(1), Value::text("xx"), int(7)])]),
        [r#"book 1 {"id":1,"title":"xx","author_id":7,"isbn":"1","author":{"id":7,"name":"Ann"}}"#]
    );
    // Not read again yet: null.
    assert_eq!(
        running.step(vec![Change::Update {
            table: a,
            old_key: None,
            row: Row(vec![int(7), Value::text("Bo")])
        }])[1],
        r#"book 3 {"id":3,"title":"z","author_id":7,"isbn":"978","author":{"id":7,"name":"Bo"}}"#
    );
}

#[test]
fn a_dropped_column_reaches_embedded_rows_when_they_are_read_again() {
    let (b, a) = (books(1, &[]), table(2, 1, "authors", &[("id", ColumnType::Int), ("x", ColumnType::Int)]));
    let mut running = Running::new(
        &[view("book", Some(&["id"]), vec![one("author", "authors", "author_id")])],
        &[b.clone(), a.clone()],
    );
    running.step(vec![insert(&a, &[int(7), int(1)]), insert(&b, &[int(1), Value::text("x"), int(7)])]);
    let slim = table(2, 2, "authors", &[("id", ColumnType::Int)]);
    assert_eq!(running.step(vec![snapshot(&slim, &[int(7)])]), [r#"book 1 {"id":1,"author":{"id":7}}"#]);
    assert_eq!(running.step(vec![snapshot(&slim, &[int(7)])]), [""; 0], "said once");
}

#[test]
fn a_dropped_column_pauses_only_the_view_that_names_it() {
    let (b, a) = (books(1, &["isbn"]), authors());
    let embed = || vec![one("author", "authors", "author_id")];
    let views = [view("named", Some(&["isbn"]), embed()), view("all", None, embed())];
    let mut running = Running::new(&views, &[b.clone(), a]);
    assert_eq!(
        running.step(vec![insert(&b, &[int(1), Value::text("x"), Value::Null, Value::Null])]).len(),
        2
    );
    let after = books(2, &[]);
    assert_eq!(
        running.step(vec![insert(&after, &[int(2), Value::text("y"), Value::Null])]),
        [r#"all 2 {"id":2,"title":"y","author_id":null,"author":null}"#]
    );
    let broken = running.deriver.take_broken();
    assert_eq!(broken.len(), 1);
    assert_eq!(&*broken[0].view, "named");
    assert_eq!(broken[0].error.kind(), ErrorKind::Misconfigured);
    assert!(broken[0].error.remedy().is_some_and(|r| r.contains("isbn")));
    running.step(vec![insert(&books(3, &["x"]), &[int(3), Value::text("z"), Value::Null, Value::Null])]);
    assert!(running.deriver.take_broken().is_empty(), "said once");
}

#[test]
fn cells_that_are_still_to_come_are_null_until_the_chunk_lands() {
    let (b, a) = (books(1, &[]), authors());
    let mut running = Running::new(
        &[view("book", Some(&["title"]), vec![one("author", "authors", "author_id")])],
        &[b.clone(), a],
    );
    let partial = Row(vec![int(1), Value::Unchanged, int(5)]);
    assert_eq!(
        running.step(vec![Change::Update { table: b.clone(), old_key: None, row: partial }]),
        [r#"book 1 {"title":null,"author":null}"#]
    );
    assert_eq!(
        running.step(vec![snapshot(&b, &[int(1), Value::text("x"), Value::Unchanged])]),
        [r#"book 1 {"title":"x","author":null}"#]
    );
    // The key moves, and the cell that the source left out moves with it.
    let moved = Row(vec![int(2), Value::Unchanged, Value::Null]);
    assert_eq!(
        running.step(vec![Change::Update { table: b, old_key: Some(Key(vec![int(1)])), row: moved }]),
        ["-book 1", r#"book 2 {"title":"x","author":null}"#]
    );
}

#[test]
fn a_row_the_mirror_never_had_still_leaves_the_store() {
    let (b, a) = (books(1, &[]), authors());
    let mut running = Running::new(
        &[view("book", Some(&["id"]), vec![one("author", "authors", "author_id")])],
        &[b.clone(), a.clone()],
    );
    assert_eq!(running.step(vec![Change::Delete { table: b.clone(), key: Key(vec![int(9)]) }]), ["-book 9"]);
    assert!(running.step(vec![Change::Delete { table: a, key: Key(vec![int(9)]) }]).is_empty());
    let row = Row(vec![int(4), Value::text("x"), Value::Null]);
    assert_eq!(
        running.step(vec![Change::Update { table: b.clone(), old_key: Some(Key(vec![int(3)])), row }]),
        ["-book 3", r#"book 4 {"id":4,"author":null}"#]
    );
    assert_eq!(
        running.step(vec![
            insert(&b, &[int(5), Value::text("x"), Value::Null]),
            Change::Truncate { tables: vec![b] }
        ]),
        ["book cleared"]
    );
}

#[test]
fn decimals_join_across_their_scales() {
    let decimal = |text: &str| Value::Decimal(text.into());
    let b = table(1, 1, "books", &[("id", ColumnType::Int), ("author", ColumnType::Decimal)]);
    let a = table(2, 1, "authors", &[("id", ColumnType::Decimal), ("n", ColumnType::Int)]);
    let mut running = Running::new(
        &[view("book", Some(&["id"]), vec![one("by", "authors", "author")])],
        &[b.clone(), a.clone()],
    );
    running.step(vec![insert(&b, &[int(1), decimal("7.0")])]);
    assert_eq!(
        running.step(vec![insert(&a, &[decimal("7.00"), int(3)])]),
        [r#"book 1 {"id":1,"by":{"id":7.00,"n":3}}"#]
    );
    let row = Row(vec![decimal("7"), int(4)]);
    let update = Change::Update { table: a, old_key: Some(Key(vec![decimal("7.00")])), row };
    assert_eq!(running.step(vec![update]), [r#"book 1 {"id":1,"by":{"id":7,"n":4}}"#]);
}

#[test]
fn a_wide_fan_out_comes_in_pieces_and_can_be_asked_for_again() {
    let (b, a) = (books(1, &[]), authors());
    let embed = vec![one("author", "authors", "author_id")];
    let mut running = Running::new(&[view("book", Some(&["id"]), embed)], &[b.clone(), a.clone()]);
    running.deriver.set_touched_in_memory_max(100);
    running.step(vec![insert(&a, &[int(7), Value::text("Ann")])]);
    assert_eq!(
        running.step((0..3000).map(|n| insert(&b, &[int(n), Value::text("x"), int(7)])).collect()).len(),
        3000
    );
    running.deriver.begin(Offset(100)).unwrap();
    let row = Row(vec![int(7), Value::text("Bo")]);
    running.deriver.change(Change::Update { table: a, old_key: None, row }).unwrap();
    let (mut pieces, mut documents) = (0, 0);
    running
        .deriver
        .commit(&mut |piece| {
            pieces += 1;
            documents += piece.len();
            assert!(piece.len() <= 1024);
            Ok(())
        })
        .unwrap();
    assert_eq!((pieces, documents), (3, 3000));
    running.deriver.begin(Offset(101)).unwrap();
    running.deriver.emit_all("book").unwrap();
    let mut documents = 0;
    running
        .deriver
        .commit(&mut |piece| {
            documents += piece.len();
            Ok(())
        })
        .unwrap();
    assert_eq!(documents, 3000);
}

#[test]
fn another_view_asks_only_for_what_it_lacks() {
    let (b, a) = (books(1, &[]), authors());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.db");
    let all = tables(&[b.clone(), a.clone()]);
    let slim = view(
        "slim",
        Some(&["id"]),
        vec![Embed {
            columns: Some(vec![("name".into(), "n".into())]),
            ..one("author", "authors", "author_id")
        }],
    );
    let mut deriver = Deriver::open(&path, compile(std::slice::from_ref(&slim), &all).unwrap()).unwrap();
    for name in deriver.incomplete() {
        deriver.mark_complete(&name).unwrap();
    }
    deriver.begin(Offset(5)).unwrap();
    deriver.change(insert(&a, &[int(7), Value::text("Ann")])).unwrap();
    deriver.commit(&mut |_| Ok(())).unwrap();
    deriver.persist().unwrap();
    drop(deriver);
    let other = view("other", Some(&["title"]), vec![one("author", "authors", "author_id")]);
    let deriver = Deriver::open(&path, compile(&[slim.clone(), other], &all).unwrap()).unwrap();
    assert_eq!(deriver.cursor(), Offset(5));
    assert_eq!(deriver.incomplete(), std::slice::from_ref(&b.name));
    drop(deriver);
    let deriver = Deriver::open(&path, compile(&[slim], &all).unwrap()).unwrap();
    assert!(deriver.is_complete(&a.name));
}

#[test]
fn a_file_that_is_no_mirror_is_said_to_be_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.db");
    std::fs::write(&path, b"not a database, but long enough to be looked at as one ".repeat(400)).unwrap();
    let plan = compile(&[view("book", None, vec![])], &tables(&[books(1, &[])])).unwrap();
    let error = Deriver::open(&path, plan).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.remedy().is_some());
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let all = tables(&[books(1, &[]), authors()]);
    let refused = |view: Arc<View>, needle: &str| {
        let error = compile(&[view], &all).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(needle), "{error}");
        assert!(error.remedy().is_some());
    };
    let author = |change: &dyn Fn(&mut Embed)| {
        let mut embed = one("author", "authors", "author_id");
        change(&mut embed);
        view("book", None, vec![embed])
    };
    refused(author(&|e| e.from = TableName::new(None, "nobody")), "view \"book\", field \"author\"");
    refused(author(&|e| e.columns = Some(vec![("nom".into(), "nom".into())])), "\"nom\"");
    refused(author(&|e| e.filter = Some("nom = 1".into())), "\"nom\"");
    refused(author(&|e| e.filter = Some("name = ".into())), "view \"book\", field \"author\"");
    refused(author(&|e| e.field = "title".into()), "\"title\"");
    refused(author(&|e| e.embeds = vec![one("x", "books", "nom")]), "field \"author.x\"");
    let two = EmbedKind::One { columns: vec!["id".into(), "author_id".into()], references: None };
    refused(author(&|e| e.kind = two.clone()), "cannot point at");
}
