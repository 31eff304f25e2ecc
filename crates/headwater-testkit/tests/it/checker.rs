//! The checker against documents written by hand: it must accept what is right and name what is not.

use headwater_model::{
    Aggregate, Edge, Embed, EmbedKind, Layout, Order, Ranking, Series, TableName, View, ViewKind,
};
use headwater_testkit::checker::{Copy, Truth, assert_equal, report};
use headwater_testkit::{Folder, Postgres, Redis};

fn view(name: &str, from: &str) -> View {
    View {
        name: name.into(),
        from: TableName::new(None, from),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: Vec::new(),
        parts: Vec::new(),
        layout: None,
        kind: headwater_model::ViewKind::Document,
        indexes: Vec::new(),
    }
}

fn embed(field: &str, from: &str, kind: EmbedKind) -> Embed {
    Embed {
        field: field.into(),
        from: TableName::new(None, from),
        kind,
        columns: None,
        filter: None,
        order: Vec::new(),
        limit: None,
        embeds: Vec::new(),
    }
}

fn one(column: &str) -> EmbedKind {
    EmbedKind::One { columns: vec![column.into()], references: None }
}

fn many(column: &str) -> EmbedKind {
    EmbedKind::Many { columns: vec![column.into()], references: None }
}

fn columns(pairs: &[(&str, &str)]) -> Option<Vec<(Box<str>, Box<str>)>> {
    Some(pairs.iter().map(|(column, field)| ((*column).into(), (*field).into())).collect())
}

/// Books with their author and their two newest good reviews, each with its reader.
fn book() -> View {
    let mut reader = embed("reader", "readers", one("reader"));
    reader.columns = columns(&[("name", "name")]);
    let mut reviews = embed("reviews", "reviews", many("book"));
    reviews.columns = columns(&[("id", "id"), ("word", "text")]);
    reviews.filter = Some("stars >= 3".into());
    reviews.order = vec![Order { column: "word".into(), descending: true }];
    reviews.limit = Some(3);
    reviews.embeds = vec![reader];
    let mut book = view("book", "books");
    book.embeds = vec![embed("author", "authors", one("author")), reviews];
    book
}

const BOOKS: &str = "
    CREATE TABLE authors (id int PRIMARY KEY, name text);
    CREATE TABLE readers (id int PRIMARY KEY, name text);
    CREATE TABLE books (id int PRIMARY KEY, author int, price numeric);
    CREATE TABLE reviews (id int PRIMARY KEY, book int, reader int, stars int, word text);
    INSERT INTO authors VALUES (1, 'Ada');
    INSERT INTO readers VALUES (1, 'Ben');
    INSERT INTO books VALUES (1, 1, 9.5), (2, NULL, NULL), (3, 7, 1);
    INSERT INTO reviews VALUES (1, 1, 1, 5, 'a'), (2, 1, 9, 5, 'B'), (3, 1, 1, 1, 'z'), (4, 1, NULL, 4, NULL),
        (5, 1, 1, 3, 'a'), (6, 2, 1, 3, 'x'), (7, 1, 1, 3, '');
";

/// By bytes `a` comes after `B`; descending, NULL comes first; the fourth in order is cut off.
const DOCUMENTS: [(&str, &str); 3] = [
    (
        "1",
        r#"{"id": 1, "author": {"id": 1, "name": "Ada"}, "price": 9.50, "reviews": [
            {"id": 4, "text": null, "reader": null}, {"id": 1, "text": "a", "reader": {"name": "Ben"}},
            {"id": 5, "text": "a", "reader": {"name": "Ben"}}]}"#,
    ),
    (
        "2",
        r#"{"id": 2, "author": null, "price": null, "reviews": [{"id": 6, "text": "x", "reader": {"name": "Ben"}}]}"#,
    ),
    ("3", r#"{"id": 3, "author": null, "price": 1.0, "reviews": []}"#),
];

fn derived(folder: &Folder, documents: &[(&str, &str)]) -> Copy {
    let path = folder.join("derived.db");
    let _ = std::fs::remove_file(&path);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE book (key TEXT PRIMARY KEY, document TEXT)").unwrap();
    for row in documents {
        db.execute("INSERT INTO book VALUES (?1, ?2)", *row).unwrap();
    }
    Copy::Sqlite(path)
}

fn sqlite(folder: &Folder, sql: &str) -> Truth {
    let path = folder.join("source.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch(sql).unwrap();
    Truth::Sqlite(path)
}

#[tokio::test]
async fn nested_documents_from_both_sources_are_what_people_expect() {
    let folder = Folder::new("checker");
    let copy = derived(&folder, &DOCUMENTS);
    let postgres = Postgres::start();
    postgres.psql(BOOKS);
    assert_equal(&Truth::Postgres(postgres.url()), &copy, &[book()]).await;
    assert_equal(&sqlite(&folder, BOOKS), &copy, &[book()]).await;
}

/// A view, and its documents by key.
type Listed = (View, &'static [(&'static str, &'static str)]);

#[tokio::test]
async fn rankings_series_and_edges_from_both_sources_are_what_people_expect() {
    let rank = |name: &str, by: &[&str], function, column: Option<&str>| {
        let by = by.iter().map(|name| (*name).into()).collect();
        let ranking = Ranking { by, within: Vec::new(), function, column: column.map(Into::into) };
        View { kind: ViewKind::Ranking(ranking), ..view(name, "reviews") }
    };
    let mut good = rank("good", &["book"], Aggregate::Count, None);
    good.filter = Some("stars >= 4".into());
    let series = Series { time: "id".into(), tags: vec!["book".into()], fields: vec!["stars".into()] };
    let edge = Edge { source: "reader".into(), label: "READ".into(), target: "book".into() };
    let columns = columns(&[("word", "said")]);
    let listed: Vec<Listed> = vec![
        (good, &[("1", r#"{"book": 1, "score": 3}"#)]),
        (
            rank("stars", &["book"], Aggregate::Sum, Some("stars")),
            &[("1", r#"{"book": 1, "score": 21}"#), ("2", r#"{"book": 2, "score": 3}"#)],
        ),
        (
            rank("first", &["book", "reader"], Aggregate::Min, Some("word")),
            &[
                ("1:1", r#"{"book": 1, "reader": 1, "score": ""}"#),
                ("1:9", r#"{"book": 1, "reader": 9, "score": "B"}"#),
                ("2:1", r#"{"book": 2, "reader": 1, "score": "x"}"#),
            ],
        ),
        (
            rank("words", &["stars"], Aggregate::Count, Some("word")),
            &[
                ("1", r#"{"stars": 1, "score": 1}"#),
                ("3", r#"{"stars": 3, "score": 3}"#),
                ("4", r#"{"stars": 4, "score": 0}"#),
                ("5", r#"{"stars": 5, "score": 2}"#),
            ],
        ),
        (
            View {
                filter: Some("id <= 2".into()),
                kind: ViewKind::Series(series),
                ..view("points", "reviews")
            },
            &[("1", r#"{"id": 1, "book": 1, "stars": 5}"#), ("2", r#"{"id": 2, "book": 1, "stars": 5}"#)],
        ),
        (
            View {
                filter: Some("stars > 3".into()),
                columns,
                kind: ViewKind::Edge(edge),
                ..view("read", "reviews")
            },
            &[
                ("1", r#"{"said": "a", "reader": 1, "book": 1}"#),
                ("2", r#"{"said": "B", "reader": 9, "book": 1}"#),
            ],
        ),
    ];
    let folder = Folder::new("checker");
    let path = folder.join("derived.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    for (view, documents) in &listed {
        let name = &view.name;
        db.execute_batch(&format!("CREATE TABLE {name} (key TEXT PRIMARY KEY, document TEXT)")).unwrap();
        for row in *documents {
            db.execute(&format!("INSERT INTO {name} VALUES (?1, ?2)"), *row).unwrap();
        }
    }
    let views: Vec<View> = listed.into_iter().map(|(view, _)| view).collect();
    let copy = Copy::Sqlite(path);
    let postgres = Postgres::start();
    postgres.psql(BOOKS);
    assert_equal(&Truth::Postgres(postgres.url()), &copy, &views).await;
    assert_equal(&sqlite(&folder, BOOKS), &copy, &views).await;
}

#[tokio::test]
async fn what_is_missing_extra_or_different_is_named() {
    let folder = Folder::new("checker");
    let truth = sqlite(&folder, BOOKS);
    let changed = DOCUMENTS[0].1.replace("9.50", "9.51").replace("\"Ben\"", "\"ben\"");
    let copy = derived(&folder, &[("1", &changed), ("2", DOCUMENTS[1].1), ("4", "{}")]);
    let report = report(&truth, &copy, &[book()]).await;
    assert_eq!(report.compared, 2);
    assert_eq!(report.missing, ["book/3"]);
    assert_eq!(report.extra, ["book/4"]);
    assert_eq!(report.different.len(), 1);
    let (key, differences) = &report.different[0];
    assert_eq!(key, "book/1");
    assert_eq!(
        differences,
        &[
            "price: expected 9.5, found 9.51",
            r#"reviews[1].reader.name: expected "Ben", found "ben""#,
            r#"reviews[2].reader.name: expected "Ben", found "ben""#,
        ]
    );
}

#[tokio::test]
async fn hash_fields_of_every_kind_are_compared_exactly() {
    let postgres = Postgres::start();
    postgres.psql(
        r#"CREATE TYPE mood AS ENUM ('sad', 'happy');
           CREATE TABLE "Straße" (a text, b int, big int8, price numeric, ratio float8, at timestamptz, raw bytea,
               doc jsonb, tags text[], m mood, flag bool, empty text, nothing text, twice int GENERATED ALWAYS AS (b * 2) STORED,
               PRIMARY KEY (a, b));
           INSERT INTO "Straße" VALUES ('x:y%', -1, 9007199254740993, 0.10, 1e20, '2024-02-29 12:00+02', '\x00ff',
               '"text"', '{a,NULL}', 'happy', true, '', NULL)"#,
    );
    let redis = Redis::start();
    let set = |field: &str, text: &str| redis.cli(&["HSET", "p*:s:x%3Ay%25:-1", field, text]);
    for (field, text) in [
        ("a", "x:y%"),
        ("b", "-1"),
        ("big", "9007199254740993"),
        ("price", "0.10"),
        ("ratio", "1e20"),
        ("at", "2024-02-29T10:00:00+00:00"),
        ("raw", "\\x00ff"),
        ("doc", "\"text\""),
        ("tags", r#"["a",null]"#),
        ("m", "happy"),
        ("flag", "true"),
        ("empty", ""),
    ] {
        set(field, text);
    }
    // Not under the prefix, although a pattern that is not escaped would say so; and a key that is no document.
    redis.cli(&["SET", "px:s:1", "1"]);
    redis.cli(&["SET", "p*:headwater", "1"]);
    let mut flat = view("s", "Straße");
    flat.layout = Some(Layout::Hash);
    let truth = Truth::Postgres(postgres.url());
    let copy = Copy::Redis { url: redis.url(), prefix: "p*:".into() };
    assert_equal(&truth, &copy, &[flat.clone()]).await;

    set("nothing", "");
    set("big", "9007199254740992");
    let report = report(&truth, &copy, &[flat]).await;
    assert_eq!(
        report.different[0].1,
        ["big: expected 9007199254740993, found \"9007199254740992\"", "nothing: expected null, found \"\""]
    );
}

#[tokio::test]
async fn sqlite_values_keep_their_kind_and_every_digit() {
    let folder = Folder::new("checker");
    let truth = sqlite(
        &folder,
        "CREATE TABLE t (k TEXT PRIMARY KEY, v);
         INSERT INTO t VALUES ('int', 9223372036854775807), ('real', 0.1 + 0.2), ('blob', x'00ff'), ('text', '1'), ('inf', 9e999)",
    );
    let path = folder.join("derived.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        r#"CREATE TABLE t (key TEXT PRIMARY KEY, document TEXT);
           INSERT INTO t VALUES ('int', '{"k": "int", "v": 9223372036854775807}'), ('blob', '{"k": "blob", "v": "\\x00ff"}'),
               ('real', '{"k": "real", "v": 0.30000000000000004}'), ('text', '{"k": "text", "v": "1"}'),
               ('inf', '{"k": "inf", "v": "Infinity"}')"#,
    )
    .unwrap();
    assert_equal(&truth, &Copy::Sqlite(path), &[view("t", "t")]).await;
}
