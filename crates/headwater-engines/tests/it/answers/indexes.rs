//! Ranges against the model's own order: every part, bound, direction and page.

use headwater_testkit::Chance;

use super::rows::{COLUMNS, KEYS, table};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_the_stretches_of_the_index() {
    let mut chance = Chance::from_env(7);
    for database in Database::both() {
        let mut tables = Vec::new();
        for key in 0..KEYS.len() {
            tables.push(table(&database, key, &mut chance, 150).await);
        }
        database.prepare(&tables.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for name in &tables {
            let plain = view(name, name, ViewKind::Document, Vec::new());
            let documents = database.documents(&plain).await;
            assert!(documents.len() > 30, "{name} has {} rows", documents.len());
            for _ in 0..40 {
                let indexed = view(name, name, ViewKind::Document, vec![index(&mut chance)]);
                for _ in 0..6 {
                    stretch(&database, &indexed, &documents, &mut chance).await;
                }
            }
        }
    }
}

fn index(chance: &mut Chance) -> Index {
    let mut columns: Vec<&str> = COLUMNS.to_vec();
    let mut take = |chance: &mut Chance| columns.remove(chance.below(columns.len() as u64) as usize);
    let by = (0..chance.below(3)).map(|_| if chance.one_in(2) { "grp" } else { take(chance) });
    let mut by: Vec<Box<str>> = by.map(Into::into).collect();
    by.dedup();
    let order = (0..chance.below(4))
        .map(|_| Order { column: take(chance).into(), descending: chance.one_in(2) })
        .collect();
    Index { by, order }
}

/// One stretch, in pages.
async fn stretch(database: &Database, view: &Arc<View>, documents: &[(Key, Record)], chance: &mut Chance) {
    let index = &view.indexes[0];
    let some = |chance: &mut Chance| &chance.pick(documents).1;
    let row = some(chance);
    let by = index.by.iter().map(|name| row.get(name).unwrap().clone()).collect();
    let mut read =
        RangeRead { reverse: chance.one_in(2), ..range(view, 0, by, 1 + chance.below(9) as usize) };
    if let Some(first) = index.order.first() {
        let bound = |chance: &mut Chance| {
            let value = some(chance).get(&first.column).unwrap().clone();
            (chance.one_in(3) && !value.is_null()).then(|| Bound { value, inclusive: chance.one_in(2) })
        };
        read.from = bound(chance);
        read.to = bound(chance);
    }
    let expected = model(index, documents, &read);
    let mut found = Vec::new();
    loop {
        let (page, next) = database.page(&read).await;
        assert!(page.len() <= read.limit);
        found.extend(page);
        match next {
            None => break,
            Some(next) => {
                assert_eq!(found.len() % read.limit, 0, "a page that is not the last is full");
                let (sort, ..) = &expected[found.len() - 1];
                assert_eq!(next, *sort, "the place is the one that stores have");
                read.after = Some(next);
            }
        }
        assert!(found.len() < expected.len(), "a page behind the last: {read:?}");
    }
    let expected: Vec<(String, String)> =
        expected.iter().map(|(_, key, record)| (key.to_text(), record.to_json())).collect();
    assert_eq!(found, expected, "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_none_is_refused() {
    for database in Database::both() {
        database.run("CREATE TABLE t (id bigint PRIMARY KEY, n bigint); INSERT INTO t VALUES (1, 1)").await;
        database.prepare(&["t"]).await;
        let order = vec![Order { column: "n".into(), descending: true }];
        let t = view("t", "t", ViewKind::Document, vec![Index { by: Vec::new(), order }]);
        for after in [vec![], vec![1], b"' OR 1=1 --".to_vec(), vec![0xff; 64]] {
            let read = RangeRead { after: Some(after), ..range(&t, 0, Vec::new(), 5) };
            let error = database.source.answer(&Read::Range(read)).await.unwrap_err();
            assert_eq!(error.kind(), headwater_model::ErrorKind::Unsupported, "{error}");
        }
        for wrong in [range(&t, 1, Vec::new(), 5), range(&t, 0, vec![Value::Int(1)], 5)] {
            assert!(database.source.answer(&Read::Range(wrong)).await.is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_read_by_tag_and_time_through_renamed_fields() {
    for database in Database::both() {
        let at = if database.dialect() == Dialect::Postgres { "timestamptz" } else { "text" };
        database.run(&format!(
            "CREATE TABLE p (id bigint PRIMARY KEY, book text, changed_at {at}, price numeric);
             INSERT INTO p VALUES (1, 'a', '2024-01-03Z', 3.5), (2, 'a', '2024-01-01Z', 1.5), (3, 'b', '2024-01-02Z', 2.5),
               (4, 'a', NULL, 4.5), (5, NULL, '2024-01-05Z', 5.5), (6, 'a', '2024-01-02Z', 2.25)"
        )).await;
        database.prepare(&["p"]).await;
        let series = headwater_model::Series {
            time: "when".into(),
            tags: vec!["book".into()],
            fields: vec!["price".into()],
        };
        let mut p = (*view("p", "p", ViewKind::Series(series), Vec::new())).clone();
        p.columns = Some(vec![
            ("changed_at".into(), "when".into()),
            ("book".into(), "book".into()),
            ("price".into(), "price".into()),
        ]);
        let read = RangeRead { reverse: true, ..range(&Arc::new(p), 0, vec![Value::text("a")], 10) };
        let (page, next) = database.page(&read).await;
        let keys: Vec<&str> = page.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!((keys, next), (vec!["4", "1", "6", "2"], None));
        assert!(page[3].1.starts_with("{\"when\":\"2024-01-01"), "{}", page[3].1);
        assert!(page[3].1.ends_with(",\"book\":\"a\",\"price\":1.5}"), "{}", page[3].1);
    }
}
