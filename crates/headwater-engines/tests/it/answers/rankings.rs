//! Rankings against groups made by hand.

use std::collections::BTreeMap;

use headwater_model::{Aggregate, Ranking};
use headwater_testkit::Chance;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn rankings_are_groups_in_order_of_their_score() {
    let mut chance = Chance::from_env(3);
    for database in Database::both() {
        let mut sql =
            "CREATE TABLE line (id bigint PRIMARY KEY, shop bigint, book text, n bigint, price numeric);\n"
                .to_owned();
        for id in 0..300 {
            let text = |chance: &mut Chance, of: &[&str]| (*chance.pick(of)).to_owned();
            let shop = text(&mut chance, &["1", "2", "-3", "NULL"]);
            let book =
                text(&mut chance, &["'a'", "'A'", "'é'", "''", "'it''s'", "'b'", "'c'", "'d'", "NULL"]);
            let n = if book == "'d'" { "NULL".into() } else { text(&mut chance, &["1", "2", "-5", "NULL"]) };
            let price = text(&mut chance, &["0.25", "1.5", "-3", "100.75", "NULL"]);
            sql.push_str(&format!("INSERT INTO line VALUES ({id}, {shop}, {book}, {n}, {price});\n"));
        }
        database.run(&sql).await;
        database.prepare(&["line"]).await;
        for (function, column) in [
            (Aggregate::Count, None),
            (Aggregate::Count, Some("n")),
            (Aggregate::Sum, Some("n")),
            (Aggregate::Sum, Some("price")),
            (Aggregate::Min, Some("n")),
            (Aggregate::Max, Some("price")),
            (Aggregate::Min, Some("book")),
            (Aggregate::Max, Some("book")),
        ] {
            for (within, by) in
                [(vec!["shop"], vec!["book"]), (vec![], vec!["book", "shop"]), (vec!["book"], vec!["n"])]
            {
                let names = |names: Vec<&str>| names.into_iter().map(Into::into).collect();
                let ranking = Ranking {
                    by: names(by),
                    within: names(within),
                    function,
                    column: column.map(Into::into),
                };
                let top = view("top", "line", ViewKind::Ranking(ranking.clone()), Vec::new());
                check(&database, &top, &ranking, &mut chance).await;
            }
        }
    }
}

async fn check(database: &Database, top: &Arc<View>, ranking: &Ranking, chance: &mut Chance) {
    let plain = view("line", "line", ViewKind::Document, Vec::new());
    let groups = groups(&database.documents(&plain).await, ranking);
    let mut part = groups[chance.below(groups.len() as u64) as usize].0.0.clone();
    part.truncate(ranking.within.len());
    let mut read = RangeRead { reverse: chance.one_in(3), ..range(top, 0, part, 3) };
    let expected = model(&top.indexes[0], &groups, &read);
    let mut found = Vec::new();
    loop {
        let (page, next) = database.page(&read).await;
        found.extend(page);
        let Some(next) = next else { break };
        assert_eq!(next, expected[found.len() - 1].0);
        read.after = Some(next);
    }
    assert_eq!(found.len(), expected.len(), "{read:?}");
    for ((key, text), (_, expected_key, record)) in found.iter().zip(&expected) {
        assert_eq!((key, text), (&expected_key.to_text(), &record.to_json()), "{read:?}");
        assert_eq!(database.get(top, vec![(*expected_key).clone()]).await, [Some(text.clone())]);
    }
    let mut missing = groups[0].0.clone();
    *missing.0.last_mut().unwrap() = Value::Int(987_654);
    assert_eq!(database.get(top, vec![missing]).await, [None]);
}

/// One document per group, by hand.
fn groups(rows: &[(Key, Record)], ranking: &Ranking) -> Vec<(Key, Record)> {
    let names: Vec<&Box<str>> = ranking.within.iter().chain(&ranking.by).collect();
    let mut groups: BTreeMap<Vec<u8>, (Key, Vec<&Record>)> = BTreeMap::new();
    for (_, row) in rows {
        let key = Key(names.iter().map(|name| row.get(name).unwrap().clone()).collect());
        if !key.0.iter().any(Value::is_null) {
            groups.entry(key.to_bytes()).or_insert((key, Vec::new())).1.push(row);
        }
    }
    let mut fields: Vec<Box<str>> = names.into_iter().cloned().collect();
    fields.push(Ranking::SCORE.into());
    let fields: Arc<[Box<str>]> = fields.into();
    let mut documents = Vec::new();
    for (key, rows) in groups.into_values() {
        let values =
            rows.iter().filter_map(|row| ranking.column.as_ref().map(|column| row.get(column).unwrap()));
        let values: Vec<&Value> = values.filter(|value| !value.is_null()).collect();
        let score = match (ranking.function, &ranking.column) {
            (Aggregate::Count, None) => Value::Int(rows.len() as i64),
            (Aggregate::Count, Some(_)) => Value::Int(values.len() as i64),
            (_, _) if values.is_empty() => Value::Null,
            (Aggregate::Sum, _) => sum(&values),
            (Aggregate::Min, _) => (*values.iter().min_by(|a, b| a.compare(b)).unwrap()).clone(),
            (Aggregate::Max, _) => (*values.iter().max_by(|a, b| a.compare(b)).unwrap()).clone(),
        };
        let mut record = key.0.clone();
        record.push(score);
        documents.push((key, Record { names: fields.clone(), values: record }));
    }
    documents
}

/// In hundredths, with as many digits behind the point as the values have at most.
fn sum(values: &[&Value]) -> Value {
    let texts: Vec<String> = values.iter().map(|value| value.to_text()).collect();
    let scale = texts.iter().map(|text| text.split_once('.').map_or(0, |(_, f)| f.len())).max().unwrap_or(0);
    let hundredths: i64 =
        texts.iter().map(|text| (text.parse::<f64>().unwrap() * 100.0).round() as i64).sum();
    Value::Decimal(format!("{:.scale$}", hundredths as f64 / 100.0).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_are_exact_beyond_the_numbers_of_the_source() {
    for database in Database::both() {
        let max = i64::MAX;
        database
            .run(&format!(
                "CREATE TABLE t (id bigint PRIMARY KEY, g bigint, n numeric);
                 INSERT INTO t VALUES (1, 1, {max}), (2, 1, {max}), (3, 2, {max}), (4, 2, {max}), (5, 2, 1), (6, 3, 0.1),
                   (7, 3, 0.2), (8, 4, NULL)"
            ))
            .await;
        database.prepare(&["t"]).await;
        let ranking = Ranking {
            by: vec!["g".into()],
            within: Vec::new(),
            function: Aggregate::Sum,
            column: Some("n".into()),
        };
        let top = view("top", "t", ViewKind::Ranking(ranking), Vec::new());
        let mut read = range(&top, 0, Vec::new(), 1);
        let mut found = Vec::new();
        loop {
            let (page, next) = database.page(&read).await;
            found.extend(page.into_iter().map(|(_, text)| text));
            let Some(next) = next else { break };
            read.after = Some(next);
        }
        let expected = [
            r#"{"g":4,"score":null}"#,
            r#"{"g":2,"score":18446744073709551615}"#,
            r#"{"g":1,"score":18446744073709551614}"#,
            r#"{"g":3,"score":0.3}"#,
        ];
        assert_eq!(found, expected);
    }
}
