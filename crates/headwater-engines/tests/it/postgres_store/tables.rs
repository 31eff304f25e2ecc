//! What a team finds in the tables, and what of others' is left alone.

use headwater_engines::postgres::{Source, Store as Tables};
use headwater_model::Secret;
use headwater_model::file::SourceSection;
use headwater_model::{
    Bound, Epoch, ErrorKind, Found, Index, Key, Layout, Offset, Order, RangeRead, Read, Source as _,
    Store as _, TableName, Value, View, ViewChange,
};

use super::{schema, section, server, store};
use crate::store_promises::{held, key, put, record, step, view};
use std::sync::Arc;

fn flat(name: &str) -> Arc<View> {
    Arc::new(View { layout: Some(Layout::Hash), ..(*view(name)).clone() })
}

fn row(view: &Arc<View>, key: Key, fields: &[(&str, Value)]) -> ViewChange {
    ViewChange::Put { view: view.clone(), key, moved_from: None, document: record(fields) }
}

#[tokio::test]
async fn a_team_queries_typed_columns() {
    let schema = schema();
    let store = store(&schema);
    let (books, shelves) = (flat("books"), view("shelves"));
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    store.prepare(&shelves).await.unwrap();
    let big = "123456789012345678901234567890.10";
    let fields = [
        ("id", Value::Int(1)),
        ("price", Value::Decimal(big.into())),
        ("weight", Value::Float(0.5)),
        ("title", Value::text("Ähren\t\"\\")),
        ("sold", Value::Bool(true)),
        ("day", Value::Date(19_000)),
        ("at", Value::TimestampTz(1_700_000_000_123_456)),
        ("raw", Value::Bytes(vec![0, 255].into())),
        ("tags", Value::List(vec![Value::text("a"), Value::Int(2)])),
        ("none", Value::Null),
    ];
    let second =
        [("id", Value::Int(2)), ("price", Value::Decimal("0.90".into())), ("title", Value::text("B"))];
    let document = [("id", Value::Int(7)), ("n", Value::Decimal("1.50".into()))];
    let changes =
        vec![row(&books, key(1), &fields), row(&books, key(2), &second), row(&shelves, key(7), &document)];
    step(&*store, 1, 0, changes).await;
    let sql = |sql: &str| server().psql(&sql.replace("books", &format!("{schema}.books")));
    assert_eq!(
        sql("SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
             FROM pg_attribute WHERE attrelid = 'books'::regclass AND attnum > 0"),
        "headwater_key text, headwater_rest json, id bigint, price numeric, weight double precision, title text, \
         sold boolean, day date, at timestamp with time zone, raw bytea, tags json"
    );
    assert_eq!(sql("SELECT sum(price), count(sold) FROM books"), "123456789012345678901234567891.00|1");
    assert_eq!(
        sql("SELECT id FROM books WHERE day = '2022-01-08' AND tags->>0 = 'a' AND title LIKE 'Ä%'"),
        "1"
    );
    assert_eq!(server().psql(&format!("SELECT document->>'n' FROM {schema}.shelves")), "1.50");
    // What the column does not hold is beside it, and comes back all the same.
    step(
        &*store,
        1,
        1,
        vec![row(&books, key(2), &[("id", Value::text("two\0")), ("price", Value::Unchanged)])],
    )
    .await;
    assert_eq!(sql("SELECT id IS NULL, price FROM books WHERE headwater_key = '2'"), "t|0.90");
    let body = headwater_testkit::read::document(&*store, &books, &key(2)).await.unwrap().unwrap();
    let headwater_model::StoredBody::Fields(found) = body else { panic!("fields") };
    assert_eq!(found, [("id".to_owned(), b"two\0".to_vec()), ("price".to_owned(), b"0.90".to_vec())]);
}

#[tokio::test]
async fn what_others_have_is_left_alone() {
    let schema = schema();
    let store = store(&schema);
    store.claim(Epoch(1)).await.unwrap();
    server().psql(&format!("CREATE TABLE {schema}.books (id int); INSERT INTO {schema}.books VALUES (1)"));
    let books = flat("books");
    let error = store.prepare(&books).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("did not make"), "{error}");
    assert_eq!(server().psql(&format!("SELECT * FROM {schema}.books")), "1");
    for name in ["headwater_held", &"x".repeat(64)] {
        let error = store.prepare(&flat(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    }

    // A team's own columns, indexes and views on a read model stay, and go on working.
    let mine = flat("mine");
    store.prepare(&mine).await.unwrap();
    step(&*store, 1, 0, vec![row(&mine, key(1), &[("title", Value::text("red book"))])]).await;
    server().psql(&format!(
        "ALTER TABLE {schema}.mine ADD words tsvector GENERATED ALWAYS AS (to_tsvector('english', title)) STORED;
         CREATE INDEX ON {schema}.mine USING gin (words);
         CREATE VIEW {schema}.reds AS SELECT title FROM {schema}.mine WHERE words @@ 'red'"
    ));
    let more = vec![
        row(&mine, key(1), &[("title", Value::text("a red dog")), ("n", Value::Int(1))]),
        row(&mine, key(2), &[("title", Value::text("blue"))]),
    ];
    step(&*store, 1, 1, more).await;
    store.prepare(&mine).await.unwrap();
    assert_eq!(server().psql(&format!("SELECT * FROM {schema}.reds")), "a red dog");
    step(&*store, 1, 2, vec![ViewChange::Clear { view: mine.clone() }]).await;
    assert_eq!(server().psql(&format!("SELECT count(*) FROM {schema}.reds")), "0");
}

#[tokio::test]
async fn a_store_whose_table_was_dropped_is_empty_and_filled_anew() {
    let schema = schema();
    let store = store(&schema);
    let (books, authors) = (flat("books"), flat("authors"));
    store.claim(Epoch(1)).await.unwrap();
    for view in [&books, &authors] {
        store.prepare(view).await.unwrap();
    }
    let n = |n: i64| vec![("n", Value::Int(n))];
    step(&*store, 1, 0, vec![put(&books, 1, &n(1)), put(&authors, 1, &n(1))]).await;
    server().psql(&format!("DROP TABLE {schema}.books"));
    assert_eq!(store.held().await.unwrap(), None);
    let error = store.begin(Epoch(1), Offset(1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error}");
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    for view in [&books, &authors] {
        store.prepare(view).await.unwrap();
        assert_eq!(store.rows(view).await.unwrap(), 0, "{}", view.name);
    }
    step(&*store, 1, 0, vec![put(&books, 1, &n(2))]).await;
    assert_eq!(store.held().await.unwrap(), Some(held(1, 1)));
    assert_eq!(server().psql(&format!("SELECT n FROM {schema}.books")), "2");
}

/// After a view is emptied, keys that were not written since are not looked for.
#[tokio::test]
async fn what_somebody_else_puts_where_nothing_is_expected_is_written_over_or_removed() {
    let schema = schema();
    let store = store(&schema);
    let books = flat("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let n = |id: i64, n: i64| put(&books, id, &[("n", Value::Int(n))]);
    let sql = |sql: &str| server().psql(&sql.replace("books", &format!("{schema}.books")));
    let foreign = |id: i64| {
        sql(&format!(
            "INSERT INTO books SELECT '{id}', headwater_rest, 9 FROM books WHERE headwater_key = '1'"
        ))
    };
    let clear = || ViewChange::Clear { view: books.clone() };
    // One row goes by INSERT, many by COPY.
    for (after, id, ours) in [(0, 5, vec![n(5, 5)]), (2, 200, (100..300).map(|id| n(id, 5)).collect())] {
        step(&*store, 1, after, vec![clear(), n(1, 1)]).await;
        foreign(id);
        let mut open = store.begin(Epoch(1), Offset(after + 1)).await.unwrap();
        let error = open.write(ours.clone()).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("somebody else"), "{error}");
        drop(open);
        step(&*store, 1, after + 1, ours.clone()).await;
        assert_eq!(sql("SELECT count(*) FROM books WHERE n = 5"), ours.len().to_string());
    }
    foreign(6);
    step(&*store, 1, 4, vec![ViewChange::Delete { view: books.clone(), key: key(6) }]).await;
    assert_eq!(sql("SELECT count(*) FROM books WHERE n = 9"), "0");
    step(&*store, 1, 5, vec![clear()]).await;
    sql("INSERT INTO books (headwater_key) VALUES ('7')");
    step(&*store, 1, 6, vec![ViewChange::Delete { view: books.clone(), key: key(7) }]).await;
    assert_eq!(sql("SELECT count(*) FROM books"), "0");
}

#[tokio::test]
async fn a_key_that_is_too_long_is_refused_and_the_rest_goes_on() {
    let store = store(&schema());
    let books = flat("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let long = Key(vec![Value::text("k".repeat(3000))]);
    let mut apply = store.begin(Epoch(1), Offset(0)).await.unwrap();
    let changes =
        vec![row(&books, long, &[("n", Value::Int(1))]), row(&books, key(3), &[("n", Value::Int(1))])];
    let refusals = apply.write(changes).await.unwrap();
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].reason.contains("the key has 3000 bytes"), "{refusals:?}");
    apply.commit(&held(1, 1)).await.unwrap();
    assert_eq!(store.rows(&books).await.unwrap(), 1);
}

/// Texts that no index takes whole, and that differ only at their ends.
#[tokio::test]
async fn long_values_have_their_places_too() {
    let store = store(&schema());
    let order = |column: &str| Order { column: column.into(), descending: false };
    let by_title = Index { by: vec!["shelf".into()], order: vec![order("title")] };
    let books = Arc::new(View { indexes: vec![by_title], ..(*flat("books")).clone() });
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let title = |n: i64| Value::text(format!("{}{n}", "t".repeat(3000)));
    let shelf = Value::text("s".repeat(2500));
    let changes = (0..9).map(|n| row(&books, key(n), &[("title", title(8 - n)), ("shelf", shelf.clone())]));
    step(&*store, 1, 0, changes.collect()).await;
    let read = |after, reverse| {
        Read::Range(RangeRead {
            view: books.clone(),
            index: 0,
            by: vec![shelf.clone()],
            from: Some(Bound { value: title(2), inclusive: true }),
            to: Some(Bound { value: title(7), inclusive: false }),
            after,
            reverse,
            limit: 3,
        })
    };
    let page = async |after, reverse| {
        let found = store.answer(&read(after, reverse)).await.unwrap().found;
        let Found::Page { documents, next } = found else { panic!("a page") };
        (documents.into_iter().map(|found| found.key).collect::<Vec<_>>(), next)
    };
    let (keys, next) = page(None, false).await;
    assert_eq!(keys, ["6", "5", "4"]);
    let (keys, next) = page(next, false).await;
    assert_eq!((keys, next), (vec!["3".to_owned(), "2".to_owned()], None));
    assert_eq!(page(None, true).await.0, ["2", "3", "4"]);
}

#[tokio::test]
async fn nobody_follows_a_read_model() {
    let schema = schema();
    let store = store(&schema);
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&flat("books")).await.unwrap();
    let source = Source::new(&SourceSection {
        name: None,
        url: Secret::new(server().url()),
        settings: Default::default(),
        hold_for: std::time::Duration::from_secs(60),
        retained_log_bytes_max: 1 << 30,
    })
    .unwrap();
    let facts = source.inspect().await.unwrap();
    let table =
        facts.tables.iter().find(|table| table.name == TableName::new(Some(&schema), "books")).unwrap();
    let obstacle = table.obstacle.as_ref().expect("an obstacle");
    assert!(obstacle.what.contains("is a read model"), "{}", obstacle.what);
    // The kit's server syncs nothing.
    let risks = store.inspect().await.unwrap().risks;
    assert!(matches!(&risks[..], [one] if one.what.contains("fsync is off")), "{risks:?}");
    server().psql(&format!("CREATE PUBLICATION {schema} FOR TABLE {schema}.books"));
    let risks = store.inspect().await.unwrap().risks;
    assert!(risks.iter().any(|risk| risk.what.contains("read models are published")), "{risks:?}");
}

#[tokio::test]
async fn what_is_not_set_up_is_said_with_the_remedy() {
    // No schema, and no right to make one.
    let error = store("missing").claim(Epoch(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        error.remedy().unwrap_or_default().contains("CREATE SCHEMA \"missing\" AUTHORIZATION"),
        "{error:?}"
    );
    // A database that cannot hold every text.
    server().psql("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let url = server().url_as("keeper", "").replace("/postgres", "/latin");
    let latin =
        Tables::new(&headwater_model::file::StoreSection { url: Secret::new(url), ..section("s") }).unwrap();
    let error = latin.claim(Epoch(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("LATIN1"), "{error}");
    // The layout of a view that is there.
    let store = store(&schema());
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&flat("books")).await.unwrap();
    let error = store.prepare(&view("books")).await.unwrap_err();
    assert!(error.to_string().contains("with the layout hash, not json"), "{error}");
}
