//! Changes of the schema while following, and what is refused.

use headwater_engines::sqlite::{Source, SourceOptions};
use headwater_model::{ChunkRange, ColumnType, ErrorKind, Severity, Source as _, TableName, Value};

use super::replay::Replica;
use super::{Database, failure, names, read_until};

const ITEMS: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, a, b TEXT UNIQUE, c);";

#[tokio::test]
async fn columns_are_added_dropped_and_renamed_while_following() {
    let database = Database::with(ITEMS, &["item"]).await;
    let mut follow = database.source.follow(None).await.unwrap();
    let mut replica = Replica::default();
    let steps = [
        "INSERT INTO item VALUES (1, 1, 'x', 1), (2, 2, 'y', 2)",
        "ALTER TABLE item ADD COLUMN d DEFAULT 7; INSERT INTO item VALUES (3, 3, 'z', 3, 4)",
        "UPDATE item SET d = 8; ALTER TABLE item RENAME COLUMN a TO \"a b\"; UPDATE item SET \"a b\" = 'renamed'",
        "ALTER TABLE item RENAME COLUMN b TO u; REPLACE INTO item VALUES (9, 9, 'x', 9, 9)",
        "ALTER TABLE item DROP COLUMN c; UPDATE item SET d = 'after drop'",
        "ALTER TABLE item RENAME COLUMN id TO number; INSERT INTO item VALUES (20, 20, 'w', 20)",
        "UPDATE item SET number = 21 WHERE number = 20",
    ];
    for step in steps {
        database.run(step);
        let (end, _) = database.source.progress().await.unwrap();
        read_until(&mut *follow, &mut replica, &end).await;
    }
    let id = "number";
    replica.assert_equals(&database.connect(), "item", &[id]);
    assert_eq!(replica.columns["item"], ["number", "a b", "u", "d"]);
}

#[tokio::test]
async fn a_table_rebuilt_by_a_migration_is_read_again() {
    let database = Database::with(ITEMS, &["item"]).await;
    let mut replica = Replica::default();
    database.run("INSERT INTO item VALUES (1, 1, 'x', 1), (2, 2, 'y', 2)");
    database.catch_up(&mut replica).await;
    let id = database.source.shapes(&names(&["item"])).await.unwrap()[0].table.id;

    let mut follow = database.source.follow(replica.position.as_ref()).await.unwrap();
    database.run(
        "BEGIN;
         CREATE TABLE new_item (id TEXT NOT NULL, part INT NOT NULL, a, b TEXT UNIQUE, PRIMARY KEY (id, part));
         INSERT INTO new_item SELECT 'n' || id, 1, a, b FROM item;
         DROP TABLE item; ALTER TABLE new_item RENAME TO item; COMMIT;
         UPDATE item SET a = 'unseen by any trigger'; INSERT INTO item VALUES ('n3', 1, 3, 'z');",
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while replica.tables["item"].len() != 3 {
        assert!(std::time::Instant::now() < deadline);
        replica.take(super::next(&mut *follow).await);
    }
    database.run("UPDATE item SET part = 2 WHERE id = 'n3'");
    let (end, _) = database.source.progress().await.unwrap();
    read_until(&mut *follow, &mut replica, &end).await;
    replica.assert_equals(&database.connect(), "item", &["id", "part"]);
    let shape = &database.source.shapes(&names(&["item"])).await.unwrap()[0].table;
    assert_eq!(shape.id, id);
    assert_eq!(shape.key.len(), 2);
}

#[tokio::test]
async fn a_migration_while_nobody_follows_loses_nothing() {
    let database = Database::with(ITEMS, &["item"]).await;
    let mut replica = Replica::default();
    database.run("INSERT INTO item VALUES (1, 1, 'x', 1), (2, 2, 'y', 2)");
    database.catch_up(&mut replica).await;
    database.run(
        "ALTER TABLE item RENAME TO old_item;
         CREATE TABLE item (id INTEGER PRIMARY KEY, a, e);
         INSERT INTO item SELECT id, a, 'e' FROM old_item WHERE id > 1; DROP TABLE old_item;
         INSERT INTO item VALUES (5, 5, 5);",
    );
    database.source.prepare(&names(&["item"])).await.unwrap();
    database.catch_up(&mut replica).await;
    replica.assert_equals(&database.connect(), "item", &["id"]);
    database.run("DROP TABLE item");
    let mut follow = database.source.follow(replica.position.as_ref()).await.unwrap();
    while !replica.tables["item"].is_empty() {
        replica.take(super::next(&mut *follow).await);
    }
    database.run("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1);");
    while replica.tables["item"].len() != 1 {
        replica.take(super::next(&mut *follow).await);
    }
}

#[tokio::test]
async fn a_renamed_table_keeps_its_id_and_goes_on() {
    let database = Database::with(ITEMS, &["item"]).await;
    let before = database.source.shapes(&names(&["item"])).await.unwrap()[0].table.clone();
    let mut replica = Replica::default();
    database.run("INSERT INTO item VALUES (1, 1, 'x', 1); ALTER TABLE item RENAME TO thing;");
    database.run("REPLACE INTO thing VALUES (2, 2, 'x', 2);");
    let (end, _) = database.source.progress().await.unwrap();
    let mut follow = database.source.follow(None).await.unwrap();
    read_until(&mut *follow, &mut replica, &end).await;
    replica.assert_equals(&database.connect(), "thing", &["id"]);
    let after = database.source.shapes(&names(&["thing"])).await.unwrap()[0].table.clone();
    assert_eq!(before.id, after.id);
    assert_ne!(before.version, after.version);
}

#[tokio::test]
async fn preparing_again_changes_nothing_and_forgetting_leaves_nothing() {
    let database = Database::with(ITEMS, &["item"]).await;
    let connection = database.connect();
    let schema = || -> Vec<String> {
        let mut statement =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql <> '' ORDER BY 1").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let version = || -> i64 { connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).unwrap() };
    let (prepared, prepared_version) = (schema(), version());
    database.again().prepare(&names(&["item"])).await.unwrap();
    assert_eq!((schema(), version()), (prepared.clone(), prepared_version));
    database.source.forget().await.unwrap();
    assert_eq!(schema(), [ITEMS.trim_end_matches(';')]);
    assert_eq!(failure(&database.source, None).await.kind(), ErrorKind::OutOfStep);
    connection.execute_batch("INSERT INTO item (id) VALUES (1)").unwrap();
    database.source.prepare(&names(&["item"])).await.unwrap();
    assert_eq!(schema(), prepared);
}

#[tokio::test]
async fn a_table_that_is_no_longer_wanted_loses_its_triggers() {
    let schema =
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (x INT, y TEXT, PRIMARY KEY (y, x));";
    let database = Database::with(schema, &["a", "b"]).await;
    database.source.prepare(&names(&["b"])).await.unwrap();
    database.run("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 'y');");
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    assert_eq!(replica.changes, 1);
    replica.assert_equals(&database.connect(), "b", &["y", "x"]);
}

#[tokio::test]
async fn tables_whose_rows_have_no_name_are_refused_with_the_remedy() {
    let database = Database::with(
        "CREATE TABLE none (a, b); CREATE TABLE untyped (k PRIMARY KEY, a);
         CREATE TABLE nulls (k TEXT PRIMARY KEY, a); INSERT INTO nulls VALUES (NULL, 1), (NULL, 2);
         CREATE TABLE fine (k TEXT PRIMARY KEY, a);",
        &["fine"],
    )
    .await;
    for (table, what) in [("none", "no primary key"), ("untyped", "has no type"), ("fin", "no table")] {
        let error = database.source.prepare(&names(&["fine", table])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.remedy().is_some());
    }
    let facts = database.source.inspect().await.unwrap();
    let obstacles: Vec<(&str, bool)> =
        facts.tables.iter().map(|table| (&*table.name.name, table.obstacle.is_some())).collect();
    assert_eq!(obstacles, [("fine", false), ("none", true), ("nulls", false), ("untyped", true)]);

    let risk = |what: &str| facts.risks.iter().find(|risk| risk.what.contains(what)).unwrap();
    let there_are = risk("\"nulls\" has rows with NULL");
    assert_eq!(there_are.severity, Severity::Warning);
    assert!(there_are.remedy.contains("SELECT * FROM \"nulls\" WHERE \"k\" IS NULL"), "{}", there_are.remedy);
    assert_eq!(risk("table \"fine\" may be NULL").severity, Severity::Note);
}

#[tokio::test]
async fn rows_without_a_name_are_left_out_and_said_until_they_are_mended() {
    let database = Database::with(
        "CREATE TABLE fine (k TEXT PRIMARY KEY, a); CREATE TABLE pair (a TEXT, b INTEGER, x, PRIMARY KEY (a, b));
         INSERT INTO fine VALUES (NULL, 0);
         INSERT INTO pair VALUES ('x', 1, 1), ('x', NULL, 2), ('y', NULL, 3), ('y', NULL, 4), ('y', 5, 5), (NULL, NULL, 6);",
        &["fine", "pair"],
    )
    .await;
    let mut replica = Replica::default();
    let refused = |replica: &Replica| -> Vec<u64> { replica.refused.values().copied().collect() };
    database.run("INSERT INTO fine VALUES ('a', 1), (NULL, 2), (NULL, 3), (x'00', 4)");
    database.catch_up(&mut replica).await;
    assert_eq!(replica.tables["fine"].keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(refused(&replica), [1, 3], "one of bytes, and all that are NULL: {:?}", replica.refused);
    database.run("UPDATE fine SET k = 'b' WHERE a = 2; DELETE FROM fine WHERE a = 0");
    database.catch_up(&mut replica).await;
    assert_eq!(refused(&replica), [1, 1]);
    database.run("UPDATE fine SET k = 'c' WHERE k = x'00'; UPDATE fine SET k = 'd' WHERE k IS NULL");
    database.catch_up(&mut replica).await;
    assert_eq!(refused(&replica), [] as [u64; 0]);
    replica.assert_equals(&database.connect(), "fine", &["k"]);
    database.run("UPDATE fine SET k = NULL WHERE k = 'c'");
    database.catch_up(&mut replica).await;
    assert_eq!(replica.tables["fine"].keys().collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!(refused(&replica), [1]);

    // A chunk meets each of them once, whatever its size.
    for limit in 1..4 {
        let (mut after, mut rows, mut left_out) = (None, 0, Vec::new());
        loop {
            let table = TableName::new(None, "pair");
            let range =
                ChunkRange { table, after: after.clone(), limit, bytes_max: 1 << 20, keys: Vec::new() };
            let chunk = database.source.read_chunk(&range).await.unwrap();
            rows += chunk.rows.len();
            left_out.extend(chunk.refused.iter().map(|refused| (refused.rows, refused.place.to_string())));
            after = chunk.upto.or(after);
            if chunk.last {
                break;
            }
        }
        left_out.sort();
        assert_eq!(rows, 2);
        let expected = [(1, "rowid 2"), (1, "rowid 6"), (2, "rowid 3, 4")];
        assert_eq!(left_out, expected.map(|(rows, place)| (rows, place.to_owned())));
    }
}

#[tokio::test]
async fn looking_tells_keys_types_and_risks_and_makes_no_file() {
    let database = Database::with(
        "CREATE TABLE author (id INTEGER PRIMARY KEY, mail TEXT NOT NULL UNIQUE, nick TEXT UNIQUE);
         CREATE TABLE book (isbn TEXT NOT NULL, author_id INT REFERENCES author, n REAL, total REAL AS (n * 2), PRIMARY KEY (isbn)) STRICT;
         CREATE UNIQUE INDEX odd ON author (lower(nick)); CREATE VIRTUAL TABLE words USING fts5(t);
         INSERT INTO author (mail) VALUES ('a'), ('b');",
        &[],
    )
    .await;
    let facts = database.source.inspect().await.unwrap();
    let tables: Vec<&str> = facts.tables.iter().map(|table| &*table.name.name).collect();
    assert_eq!(tables, ["author", "book"]);
    let (author, book) = (&facts.tables[0], &facts.tables[1]);
    assert_eq!(author.key, [Box::from("id")]);
    assert_eq!(author.unique, [vec![Box::from("id")], vec![Box::from("mail")]]);
    assert_eq!(author.rows_estimate, 2);
    assert_eq!(author.columns[0].kind, ColumnType::Int);
    assert_eq!(author.columns[1].kind, ColumnType::Dynamic);
    assert_eq!(book.columns[2].kind, ColumnType::Float);
    assert_eq!(book.columns.len(), 4);
    assert_eq!(&*book.foreign_keys[0].to.name, "author");
    assert_eq!(book.foreign_keys[0].to_columns, [Box::from("id")]);
    assert_eq!(facts.risks.len(), 1, "{:?}", facts.risks);
    assert!(facts.risks[0].what.contains("odd"));

    let database = Database::with("PRAGMA journal_mode=DELETE", &[]).await;
    let facts = database.source.inspect().await.unwrap();
    assert!(
        facts.risks.iter().any(|r| r.remedy == "PRAGMA journal_mode=WAL" && r.severity == Severity::Warning)
    );

    let path = database.path().with_extension("missing");
    let missing = Source::with_options(SourceOptions { path: path.clone(), retained_log_bytes_max: 0 });
    assert_eq!(missing.inspect().await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(missing.prepare(&[]).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert!(!path.exists());
}

#[tokio::test]
async fn generated_columns_and_odd_names_are_followed() {
    let database = Database::with(
        "CREATE TABLE \"o'd \"\"d\" (\"the key\" INTEGER PRIMARY KEY, \"ünï\" TEXT UNIQUE, up AS (upper(\"ünï\")) STORED);",
        &["o'd \"d"],
    )
    .await;
    database.run("REPLACE INTO \"o'd \"\"d\" VALUES (1, 'a'), (2, 'b'), (3, 'a')");
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    let rows = &replica.tables["o'd \"d"];
    assert_eq!(rows.len(), 2);
    assert_eq!(rows["3"].0, [Value::Int(3), Value::text("a"), Value::text("A")]);
}

#[tokio::test]
async fn a_database_without_write_ahead_log_is_followed_too() {
    let database = Database::with(&format!("PRAGMA journal_mode=DELETE; {ITEMS}"), &["item"]).await;
    let mut replica = Replica::default();
    database.run("INSERT INTO item (id, a) VALUES (1, 1)");
    database.catch_up(&mut replica).await;
    replica.assert_equals(&database.connect(), "item", &["id"]);
}
