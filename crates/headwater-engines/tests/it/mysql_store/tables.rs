//! What a team finds in the tables, and what of others' is left alone.

use headwater_engines::mysql::Source;
use headwater_model::file::SourceSection;
use headwater_model::{
    Epoch, ErrorKind, Offset, Secret, Source as _, Store as _, StoredBody, TableName, Value, View, ViewChange,
};
use headwater_testkit::{Chance, Flavour};
use std::sync::Arc;

use super::{database, flat, server, store};
use crate::store_promises::{held, key, put, record, step, view};

of_both!(
    a_team_queries_typed_columns,
    a_field_that_comes_late_in_a_step_gets_its_column_and_its_values,
    any_value_comes_back_from_any_column,
    many_new_rows_are_loaded_as_they_would_be_inserted,
    what_others_have_is_left_alone,
    what_somebody_else_puts_where_nothing_is_expected_is_written_over_or_removed,
    a_store_whose_table_was_dropped_is_empty_and_filled_anew,
    what_is_not_set_up_is_said_with_the_remedy,
);

async fn fields(store: &dyn headwater_model::Store, view: &Arc<View>, id: i64) -> Vec<(String, String)> {
    let body = headwater_testkit::read::document(store, view, &key(id)).await.unwrap().unwrap();
    let StoredBody::Fields(found) = body else { panic!("fields") };
    found.into_iter().map(|(name, text)| (name, String::from_utf8(text).unwrap())).collect()
}

async fn a_team_queries_typed_columns(flavour: Flavour) {
    let database = database(flavour);
    let store = store(flavour, &database);
    let (books, shelves) = (flat("books"), view("shelves"));
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    store.prepare(&shelves).await.unwrap();
    let big = "123456789012345678901234567890.10";
    let first = [
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
        [("id", Value::Int(2)), ("price", Value::Decimal("0.9".into())), ("title", Value::text("B"))];
    let document = [("id", Value::Int(7)), ("n", Value::Decimal("1.50".into()))];
    let changes = vec![put(&books, 1, &first), put(&books, 2, &second), put(&shelves, 7, &document)];
    step(&*store, 1, 0, changes).await;
    let sql = |sql: &str| server(flavour).sql_in(&database, sql);
    let columns =
        sql("SELECT GROUP_CONCAT(column_name, ' ', column_type ORDER BY ordinal_position SEPARATOR ', ')
             FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'books'");
    assert_eq!(
        columns.replace("bigint(20)", "bigint"),
        "headwater_key varbinary(3072), headwater_rest longtext, id bigint, price decimal(65,2), weight double, \
         title longtext, sold tinyint(1), day date, at datetime(6), raw longblob, tags longtext"
    );
    // A number with another scale counts all the same.
    assert_eq!(sql("SELECT SUM(price), COUNT(sold) FROM books"), "123456789012345678901234567891.00\t1");
    let found =
        "SELECT id FROM books WHERE day = '2022-01-08' AND JSON_VALUE(tags, '$[0]') = 'a' AND title LIKE 'Ä%'
                 AND at = '2023-11-14 22:13:20.123456' AND headwater_key = '1'";
    assert_eq!(sql(found), "1");
    // MySQL reads a number out of the text, and prints it its own way.
    let printed = if flavour == Flavour::MySql { "1.5" } else { "1.50" };
    assert_eq!(sql("SELECT JSON_VALUE(document, '$.n') FROM shelves"), printed);
    let text = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    assert_eq!(fields(&*store, &books, 2).await, text(&[("id", "2"), ("price", "0.9"), ("title", "B")]));
    // What the column does not hold is beside it, and comes back all the same.
    let odd = [("id", Value::text("two\0")), ("price", Value::Unchanged)];
    step(&*store, 1, 1, vec![put(&books, 2, &odd)]).await;
    assert_eq!(sql("SELECT id IS NULL, price FROM books WHERE headwater_key = '2'"), "1\t0.90");
    assert_eq!(fields(&*store, &books, 2).await, text(&[("id", "two\0"), ("price", "0.9")]));
}

/// A table cannot be altered inside a transaction: a field that comes late in a step has its column right behind it.
async fn a_field_that_comes_late_in_a_step_gets_its_column_and_its_values(flavour: Flavour) {
    let database = database(flavour);
    let store = store(flavour, &database);
    let books = flat("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let row = |n: i64, late: Value| put(&books, n, &[("n", Value::Int(n)), ("late", late)]);
    let mut open = store.begin(Epoch(1), Offset(0)).await.unwrap();
    open.write((0..1500).map(|n| row(n, Value::Null)).collect()).await.unwrap();
    open.write((1500..3000).map(|n| row(n, Value::Decimal(format!("{n}.25").into()))).collect())
        .await
        .unwrap();
    open.write(vec![row(7, Value::text("seven")), row(8, Value::Decimal("8.5".into()))]).await.unwrap();
    open.commit(&held(1, 1)).await.unwrap();
    let sql = |sql: &str| server(flavour).sql_in(&database, sql);
    assert_eq!(sql("SELECT COUNT(late), SUM(late) FROM books"), "1501\t3374633.50");
    assert_eq!(sql("SELECT headwater_key FROM books WHERE headwater_rest IS NOT NULL"), "7\n8");
    assert_eq!(fields(&*store, &books, 7).await[0].1, "seven");
    assert_eq!(fields(&*store, &books, 8).await[0].1, "8.5");
    assert_eq!(store.held().await.unwrap(), Some(held(1, 1)));
    // An owner that could not: the next step does it.
    let mut open = store.begin(Epoch(1), Offset(1)).await.unwrap();
    open.write(vec![row(1, Value::Null)]).await.unwrap();
    open.write(vec![put(&books, 2, &[("n", Value::Int(2)), ("later", Value::Int(2))])]).await.unwrap();
    let reader = server(flavour).connect(&database).await;
    let reader = hold(reader, "SELECT * FROM books LIMIT 1").await;
    let commit = tokio::spawn(async move { open.commit(&held(1, 2)).await });
    headwater_testkit::eventually(
        std::time::Duration::from_secs(30),
        "the table is waited for",
        async || {
            let waits = server(flavour).sql(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE '%metadata lock%'",
            );
            if waits == "0" { Err(waits) } else { Ok(()) }
        },
    )
    .await;
    let ours = server(flavour).sql(&format!(
        "SELECT id FROM information_schema.processlist WHERE db = '{database}' AND user = 'keeper' AND state LIKE '%metadata lock%'"
    ));
    server(flavour).sql(&format!("KILL {ours}"));
    commit.await.unwrap().unwrap();
    drop(reader);
    assert_eq!(
        fields(&*store, &books, 2).await,
        [("later".to_owned(), "2".to_owned()), ("n".to_owned(), "2".to_owned())]
    );
    step(&*store, 1, 2, vec![]).await;
    assert_eq!(sql("SELECT later FROM books WHERE headwater_key = '2' AND headwater_rest IS NULL"), "2");
}

/// A transaction that has read the table and stays open.
async fn hold(mut connection: mysql_async::Conn, sql: &str) -> mysql_async::Conn {
    use mysql_async::prelude::Queryable as _;
    connection.query_drop("START TRANSACTION").await.unwrap();
    let _: Vec<mysql_async::Row> = connection.query(sql).await.unwrap();
    connection
}

/// Any text, number and moment, in a column of its own type and in one of another.
async fn any_value_comes_back_from_any_column(flavour: Flavour) {
    let mut chance = Chance::from_env(7);
    let database = database(flavour);
    let store = store(flavour, &database);
    let books = flat("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let names = ["bool", "int", "float", "decimal", "text", "bytes", "date", "time", "stamp", "tz", "json"];
    for round in 0..12 {
        let rows: Vec<Vec<(&str, Value)>> = (0..40)
            .map(|_| {
                let shift = if round == 0 { 0 } else { chance.below(2) as usize * chance.below(11) as usize };
                names
                    .iter()
                    .enumerate()
                    .map(|(n, name)| (*name, any((n + shift) % 11, &mut chance)))
                    .collect()
            })
            .collect();
        let changes: Vec<ViewChange> =
            rows.iter().enumerate().map(|(id, row)| put(&books, id as i64, row)).collect();
        step(&*store, 1, round, changes).await;
        for (id, row) in rows.iter().enumerate() {
            let mut expected: Vec<(String, String)> = (record(row).fields())
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.to_owned(), value.to_text()))
                .collect();
            expected.sort();
            assert_eq!(fields(&*store, &books, id as i64).await, expected, "round {round}");
        }
    }
}

/// They go by LOAD DATA where the server takes it, which says otherwise than INSERT what it does not take.
async fn many_new_rows_are_loaded_as_they_would_be_inserted(flavour: Flavour) {
    let mut chance = Chance::from_env(11);
    let database = database(flavour);
    let store = store(flavour, &database);
    let books = flat("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let sql = |sql: &str| server(flavour).sql_in(&database, sql);
    let loads = || -> u64 {
        let said = sql("SHOW GLOBAL STATUS LIKE 'Com_load'");
        said.rsplit('\t').next().unwrap().parse().unwrap()
    };
    let names = ["bool", "int", "float", "decimal", "text", "bytes", "date", "time", "stamp", "tz", "json"];
    let row = |chance: &mut Chance, shift: usize| -> Vec<(&str, Value)> {
        names.iter().enumerate().map(|(n, name)| (*name, any((n + shift) % 11, chance))).collect()
    };
    for (round, takes) in [(0, 0), (1, 1)] {
        sql(&format!("SET GLOBAL local_infile = {takes}"));
        let before = loads();
        // Large enough for several files, and for more than one packet.
        let mut rows: Vec<Vec<(&str, Value)>> = (0..3000).map(|n| row(&mut chance, n % 11)).collect();
        rows[7][4].1 = Value::text("\t\\N\n\0'é🦀".repeat(60_000));
        let changes = rows.iter().enumerate().map(|(id, row)| put(&books, id as i64, row));
        let clear = ViewChange::Clear { view: books.clone() };
        step(&*store, 1, round, [clear].into_iter().chain(changes).collect()).await;
        assert!(takes == 0 || loads() > before, "no row was loaded");
        let (found, _) = store.scan(&books, None, 3001).await.unwrap();
        assert_eq!(found.len(), rows.len());
        for stored in found {
            let row = &rows[stored.key.parse::<usize>().unwrap()];
            let mut expected: Vec<(String, Vec<u8>)> = (record(row).fields())
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.to_owned(), value.to_text().into_bytes()))
                .collect();
            expected.sort();
            let StoredBody::Fields(found) = stored.body else { panic!("fields") };
            let differs = expected.iter().zip(&found).find(|(expected, found)| expected != found);
            assert!(found == expected, "round {round}, row {}: {differs:?}", stored.key);
        }
    }
    // What somebody else put among the new ones.
    sql("INSERT INTO books (headwater_key, `int`) VALUES ('3500', 9)");
    let new = || (3000..4000).map(|id| put(&books, id, &[("int", Value::Int(id))])).collect::<Vec<_>>();
    let mut open = store.begin(Epoch(1), Offset(2)).await.unwrap();
    let error = open.write(new()).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("somebody else"), "{error}");
    drop(open);
    step(&*store, 1, 2, new()).await;
    assert_eq!(
        sql("SELECT COUNT(*), SUM(`int` = headwater_key) FROM books WHERE headwater_key >= 3000"),
        "1000\t1000"
    );
}

fn any(kind: usize, chance: &mut Chance) -> Value {
    let (number, small) = (chance.number() as i64, chance.below(2000) as i64 - 1000);
    if chance.one_in(12) {
        return Value::Null;
    }
    match kind {
        0 => Value::Bool(number % 2 == 0),
        1 => Value::Int(if chance.one_in(2) { number } else { small }),
        2 => Value::Float(if chance.one_in(2) { f64::from_bits(number as u64) } else { small as f64 / 8.0 }),
        3 => {
            let scale = chance.below(40) as usize;
            let fraction: String = (0..scale).map(|n| char::from(b'0' + (number >> n) as u8 % 10)).collect();
            let point = if scale > 0 { "." } else { "" };
            Value::Decimal(format!("{number}{point}{fraction}").into())
        }
        4 => {
            let letters = ["a", "'", "\\", "\0", "\"", "é", "🦀", "\n", " ", "%", "\u{1a}"];
            Value::text((0..chance.below(12)).map(|_| *chance.pick(&letters)).collect::<String>())
        }
        5 => Value::Bytes((0..chance.below(9)).map(|_| chance.number() as u8).collect()),
        6 => Value::Date(number as i32 >> chance.below(20)),
        7 => Value::Time(number.rem_euclid(86_400_000_001)),
        8 => Value::Timestamp(number >> chance.below(30)),
        9 => Value::TimestampTz(number >> chance.below(30)),
        _ => Value::Json(format!("{{\"b\": [{small}.50, null], \"a\": \"\\u0000'\\\\\"}}").into()),
    }
}

async fn what_others_have_is_left_alone(flavour: Flavour) {
    let database = database(flavour);
    let store = store(flavour, &database);
    let sql = |sql: &str| server(flavour).sql_in(&database, sql);
    store.claim(Epoch(1)).await.unwrap();
    sql("CREATE TABLE books (id int); INSERT INTO books VALUES (1)");
    let error = store.prepare(&flat("books")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("did not make"), "{error}");
    assert_eq!(sql("SELECT * FROM books"), "1");
    for name in ["headwater_held", &"x".repeat(65), &"ä".repeat(60), "ends with "] {
        let error = store.prepare(&flat(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    }

    // A team's own columns, indexes and views on a read model stay, and go on working.
    let mine = flat("mine");
    store.prepare(&mine).await.unwrap();
    step(&*store, 1, 0, vec![put(&mine, 1, &[("title", Value::text("red book"))])]).await;
    sql("ALTER TABLE mine ADD short VARCHAR(20) AS (LEFT(title, 3)) STORED, ADD INDEX (short), ADD FULLTEXT (title);
         CREATE VIEW reds AS SELECT title FROM mine WHERE short = 'red'");
    let more = vec![
        put(&mine, 1, &[("title", Value::text("red dog")), ("n", Value::Int(1))]),
        put(&mine, 2, &[("title", Value::text("blue"))]),
    ];
    step(&*store, 1, 1, more).await;
    store.prepare(&mine).await.unwrap();
    assert_eq!(sql("SELECT * FROM reds"), "red dog");
    // A field that has the name of a column of theirs is said, not taken.
    let mut open = store.begin(Epoch(1), Offset(2)).await.unwrap();
    let error = open.write(vec![put(&mine, 3, &[("Short", Value::Int(1))])]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("has a column \"Short\" that Headwater did not make"), "{error}");
    step(&*store, 1, 2, vec![ViewChange::Clear { view: mine.clone() }]).await;
    assert_eq!(sql("SELECT COUNT(*) FROM reds"), "0");
}

/// After a view is emptied, keys that were not written since are not looked for.
async fn what_somebody_else_puts_where_nothing_is_expected_is_written_over_or_removed(flavour: Flavour) {
    let database = database(flavour);
    let store = store(flavour, &database);
    let books = flat("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let n = |id: i64, n: i64| put(&books, id, &[("n", Value::Int(n))]);
    let sql = |sql: &str| server(flavour).sql_in(&database, sql);
    let foreign = |id: i64| sql(&format!("INSERT INTO books (headwater_key, n) VALUES ('{id}', 9)"));
    step(&*store, 1, 0, vec![ViewChange::Clear { view: books.clone() }, n(1, 1)]).await;
    foreign(5);
    let mut open = store.begin(Epoch(1), Offset(1)).await.unwrap();
    let error = open.write(vec![n(5, 5)]).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("somebody else"), "{error}");
    drop(open);
    step(&*store, 1, 1, vec![n(5, 5)]).await;
    foreign(6);
    step(&*store, 1, 2, vec![ViewChange::Delete { view: books.clone(), key: key(6) }]).await;
    assert_eq!(sql("SELECT GROUP_CONCAT(headwater_key, '=', n ORDER BY n) FROM books"), "1=1,5=5");
    step(&*store, 1, 3, vec![ViewChange::Clear { view: books.clone() }]).await;
    foreign(7);
    step(&*store, 1, 4, vec![ViewChange::Delete { view: books.clone(), key: key(7) }]).await;
    assert_eq!(sql("SELECT COUNT(*) FROM books"), "0");
}

async fn a_store_whose_table_was_dropped_is_empty_and_filled_anew(flavour: Flavour) {
    let database = database(flavour);
    let store = store(flavour, &database);
    let (books, authors) = (flat("books"), flat("authors"));
    store.claim(Epoch(1)).await.unwrap();
    for view in [&books, &authors] {
        store.prepare(view).await.unwrap();
    }
    let n = |n: i64| vec![("n", Value::Int(n))];
    // More than one piece is cleared.
    let many = (0..25_000).map(|id| put(&authors, id, &n(1))).collect();
    step(&*store, 1, 0, vec![put(&books, 1, &n(1))]).await;
    step(&*store, 1, 1, many).await;
    server(flavour).sql_in(&database, "DROP TABLE books");
    assert_eq!(store.held().await.unwrap(), None);
    let error = store.begin(Epoch(1), Offset(2)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error}");
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    for view in [&books, &authors] {
        store.prepare(view).await.unwrap();
        assert_eq!(store.rows(view).await.unwrap(), 0, "{}", view.name);
    }
    assert_eq!(server(flavour).sql_in(&database, "SELECT COUNT(*) FROM authors"), "0");
    step(&*store, 1, 0, vec![put(&books, 1, &n(2))]).await;
    assert_eq!(store.held().await.unwrap(), Some(held(1, 1)));
    assert_eq!(server(flavour).sql_in(&database, "SELECT n FROM books"), "2");
}

async fn what_is_not_set_up_is_said_with_the_remedy(flavour: Flavour) {
    let error = store(flavour, "missing").claim(Epoch(1)).await.unwrap_err();
    let remedy = error.remedy().unwrap_or_default();
    assert!(
        remedy.contains("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON `missing`.*"),
        "{error:?} {remedy}"
    );
    // A privilege too few, and then what was said.
    let database = database(flavour);
    server(flavour).sql(&format!("REVOKE UPDATE, ALTER ON {database}.* FROM keeper@'%'"));
    let store = store(flavour, &database);
    let risks = store.inspect().await.unwrap().risks;
    let risk = risks.iter().find(|risk| risk.what.contains("may not")).expect("a risk");
    assert!(risk.what.contains("may not UPDATE, ALTER"), "{}", risk.what);
    server(flavour).sql(&risk.remedy);
    let risks = store.inspect().await.unwrap().risks;
    // The kit's server syncs at its leisure.
    assert!(matches!(&risks[..], [one] if one.what.contains("innodb_flush_log_at_trx_commit")), "{risks:?}");
    // The layout of a view that is there.
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&flat("books")).await.unwrap();
    let error = store.prepare(&view("books")).await.unwrap_err();
    assert!(error.to_string().contains("with the layout hash, not json"), "{error}");
    // Nobody follows a read model.
    let source = Source::new(&SourceSection {
        name: None,
        url: Secret::new(server(flavour).url_of(&database)),
        settings: Default::default(),
        hold_for: std::time::Duration::from_secs(60),
        retained_log_bytes_max: 1 << 30,
    })
    .unwrap();
    let facts = source.inspect().await.unwrap();
    let table = facts.tables.iter().find(|table| table.name == TableName::new(None, "books")).unwrap();
    let obstacle = table.obstacle.as_ref().expect("an obstacle");
    assert!(obstacle.what.contains("is a read model"), "{}", obstacle.what);
}
