//! Rankings over decimals against arithmetic by hand, and what else is special to groups: views that come, change and share
//! their table, rows that arrive in pieces, stores that are filled again.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater_flow::derive::{Deriver, Tables, compile};
use headwater_model::{
    Aggregate, Change, Column, ColumnType, ErrorKind, Key, Offset, Ranking, Row, Table, TableName, Value,
    View, ViewChange, ViewKind,
};
use headwater_testkit::{Chance, Postgres};

/// `id`, `shop`, `book`, `amount` (decimal), `open` (boolean).
fn sales(version: u32, amount: ColumnType) -> Arc<Table> {
    let kinds = [
        ("id", ColumnType::Int),
        ("shop", ColumnType::Text),
        ("book", ColumnType::Decimal),
        ("amount", amount),
        ("open", ColumnType::Bool),
    ];
    Arc::new(Table {
        id: 1,
        version,
        name: TableName::new(Some("public"), "sales"),
        columns: kinds.into_iter().map(|(n, kind)| Column { name: n.into(), kind }).collect(),
        key: vec![0],
    })
}

fn view(name: &str, kind: ViewKind, filter: Option<&str>) -> Arc<View> {
    Arc::new(View {
        name: name.into(),
        from: TableName::new(None, "sales"),
        columns: None,
        filter: filter.map(Into::into),
        embeds: vec![],
        stores: vec![],
        parts: Vec::new(),
        layout: None,
        kind,
        indexes: Vec::new(),
    })
}

fn ranking(name: &str, within: &[&str], by: &[&str], function: Aggregate, column: Option<&str>) -> Arc<View> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let ranking = Ranking { by: names(by), within: names(within), function, column: column.map(Into::into) };
    view(name, ViewKind::Ranking(ranking), None)
}

fn open(path: &Path, views: &[Arc<View>], table: &Arc<Table>) -> Deriver {
    let tables = Tables::from([(table.name.clone(), table.clone())]);
    Deriver::open(&path.join("mirror.db"), compile(views, &tables).unwrap()).unwrap()
}

/// One transaction; `view key {…}` per put, `-view key` per delete, `view cleared` per clear.
fn step(deriver: &mut Deriver, changes: Vec<Change>) -> Vec<String> {
    let mut lines = Vec::new();
    deriver.begin(deriver.cursor().next()).unwrap();
    changes.into_iter().for_each(|change| deriver.change(change).unwrap());
    deriver
        .commit(&mut |piece| {
            lines.extend(piece.into_iter().map(|change| match change {
                ViewChange::Put { view, key, document, .. } => {
                    format!("{} {key} {}", view.name, document.to_json())
                }
                ViewChange::Delete { view, key } => format!("-{} {key}", view.name),
                ViewChange::Clear { view } => format!("{} cleared", view.name),
            }));
            Ok(())
        })
        .unwrap();
    lines
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.into())
}

fn row(id: i64, shop: &str, book: &str, amount: &str) -> Row {
    Row(vec![Value::Int(id), Value::text(shop), decimal(book), decimal(amount), Value::Bool(true)])
}

fn insert(table: &Arc<Table>, row: Row) -> Change {
    Change::Insert { table: table.clone(), row }
}

fn update(table: &Arc<Table>, row: Row) -> Change {
    Change::Update { table: table.clone(), old_key: None, row }
}

fn delete(table: &Arc<Table>, id: i64) -> Change {
    Change::Delete { table: table.clone(), key: Key(vec![Value::Int(id)]) }
}

// ---- against arithmetic by hand

/// A row of the model: shop, and the amount as units and scale; `None` is NULL.
type Model = BTreeMap<i64, (Option<i64>, Option<Amount>)>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Units(i128, u32),
    NaN,
    Infinite(bool),
}

impl Amount {
    fn random(chance: &mut Chance) -> Amount {
        match chance.below(24) {
            0 => Amount::NaN,
            1 => Amount::Infinite(chance.one_in(2)),
            2 => Amount::Units(
                i128::from(i64::MAX) * 1000 + chance.below(1000) as i128,
                chance.below(4) as u32,
            ),
            _ => Amount::Units(chance.below(2000) as i128 - 1000, *chance.pick(&[0, 0, 2, 2, 2, 5])),
        }
    }

    fn text(self) -> String {
        match self {
            Amount::NaN => "NaN".into(),
            Amount::Infinite(true) => "Infinity".into(),
            Amount::Infinite(false) => "-Infinity".into(),
            Amount::Units(units, scale) => {
                let digits = format!("{:0>1$}", units.unsigned_abs().to_string(), scale as usize + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
                let point = if scale == 0 { "" } else { "." };
                format!("{}{whole}{point}{fraction}", if units < 0 { "-" } else { "" })
            }
        }
    }

    /// PostgreSQL's order: -Infinity, numbers, Infinity, NaN.
    fn rank(self) -> (u8, i128) {
        match self {
            Amount::Infinite(false) => (0, 0),
            Amount::Units(units, scale) => (1, units * 10i128.pow(6 - scale)),
            Amount::Infinite(true) => (2, 0),
            Amount::NaN => (3, 0),
        }
    }
}

fn sum(amounts: &[Amount]) -> Option<Amount> {
    let has = |wanted: Amount| amounts.contains(&wanted);
    let (plus, minus) = (has(Amount::Infinite(true)), has(Amount::Infinite(false)));
    if has(Amount::NaN) || (plus && minus) {
        return Some(Amount::NaN);
    }
    if plus || minus {
        return Some(Amount::Infinite(plus));
    }
    let units: Vec<(i128, u32)> = amounts
        .iter()
        .filter_map(|a| if let Amount::Units(n, s) = a { Some((*n, *s)) } else { None })
        .collect();
    let scale = units.iter().map(|(_, scale)| *scale).max()?;
    Some(Amount::Units(units.iter().map(|(n, own)| n * 10i128.pow(scale - own)).sum(), scale))
}

/// Documents by view and key, as they must be.
fn expected(rows: &Model) -> BTreeMap<String, String> {
    let mut groups: BTreeMap<i64, Vec<Option<Amount>>> = BTreeMap::new();
    for (shop, amount) in rows.values() {
        if let Some(shop) = shop {
            groups.entry(*shop).or_default().push(*amount);
        }
    }
    let mut documents = BTreeMap::new();
    for (shop, all) in groups {
        let amounts: Vec<Amount> = all.iter().flatten().copied().collect();
        let json = |amount: Option<Amount>| match amount {
            None => "null".into(),
            Some(amount @ Amount::Units(..)) => amount.text(),
            Some(special) => format!("\"{}\"", special.text()),
        };
        let least = amounts.iter().copied().min_by_key(|a| a.rank());
        let greatest = amounts.iter().copied().max_by_key(|a| a.rank());
        let scores = [
            ("rows", all.len().to_string()),
            ("values", amounts.len().to_string()),
            ("sum", json(sum(&amounts))),
            ("min", json(least)),
            ("max", json(greatest)),
        ];
        for (view, score) in scores {
            documents.insert(format!("{view} s{shop}"), format!(r#"{{"shop":"s{shop}","score":{score}}}"#));
        }
    }
    documents
}

/// Of numbers that are equal and print differently, any is the least.
fn plain(document: &str) -> String {
    match document.split_once(r#""score":"#) {
        Some((before, score)) if score.contains('.') => {
            let number = score.trim_end_matches('}').trim_end_matches('0').trim_end_matches('.');
            format!("{before}{}", if number == "-0" { "0" } else { number })
        }
        Some((before, score)) => format!("{before}{}", score.trim_end_matches('}')),
        None => document.into(),
    }
}

struct World {
    table: Arc<Table>,
    chance: Chance,
    rows: Model,
    shown: BTreeMap<String, String>,
}

impl World {
    fn row(&self, id: i64) -> Row {
        let (shop, amount) = self.rows[&id];
        Row(vec![
            Value::Int(id),
            shop.map_or(Value::Null, |shop| Value::text(format!("s{shop}"))),
            Value::Null,
            amount.map_or(Value::Null, |amount| decimal(&amount.text())),
            Value::Null,
        ])
    }

    fn change(&mut self) -> Change {
        let table = self.table.clone();
        let id = self.chance.below(30) as i64;
        match (self.chance.below(20), self.rows.contains_key(&id)) {
            (0, _) if self.chance.one_in(6) => {
                self.rows.clear();
                Change::Truncate { tables: vec![table] }
            }
            (0..5, true) => {
                self.rows.remove(&id);
                Change::Delete { table, key: Key(vec![Value::Int(id)]) }
            }
            (5..8, true) => {
                // A new key, which a row that has gone may have had.
                let to = 100 + self.chance.below(30) as i64;
                if self.rows.contains_key(&to) {
                    return Change::Snapshot { table, row: self.row(id) };
                }
                let row = self.rows.remove(&id).unwrap();
                self.rows.insert(to, row);
                Change::Update { table, old_key: Some(Key(vec![Value::Int(id)])), row: self.row(to) }
            }
            (_, known) => {
                let shop = (!self.chance.one_in(8)).then(|| self.chance.below(4) as i64);
                let amount = (!self.chance.one_in(6)).then(|| Amount::random(&mut self.chance));
                let old = self.rows.insert(id, (shop, amount));
                let mut row = self.row(id);
                if !known {
                    return Change::Insert { table, row };
                }
                if old.is_some_and(|(_, had)| had == amount) {
                    row.0[3] = Value::Unchanged;
                }
                Change::Update { table, old_key: None, row }
            }
        }
    }

    fn take(&mut self, emitted: Vec<String>) {
        for line in emitted {
            if let Some(view) = line.strip_suffix(" cleared") {
                self.shown.retain(|key, _| !key.starts_with(&format!("{view} ")));
            } else if let Some(key) = line.strip_prefix('-') {
                self.shown.remove(key);
            } else {
                let (key, document) = line.split_at(line.find(" {").unwrap());
                self.shown.insert(key.into(), document.trim_start().into());
            }
        }
    }

    fn compare(&self, what: &str) {
        let expected = expected(&self.rows);
        let keys = |all: &BTreeMap<String, String>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&self.shown), keys(&expected), "{what}");
        for (key, document) in &expected {
            let shown = &self.shown[key];
            if key.starts_with("m") {
                assert_eq!(plain(shown), plain(document), "{what}: {key}");
            } else {
                assert_eq!(shown, document, "{what}: {key}");
            }
        }
    }
}

#[test]
fn decimals_equal_arithmetic_by_hand_after_every_transaction_and_replay() {
    let first = std::env::var("HEADWATER_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in first.map_or(0..25, |seed| seed..seed + 1) {
        let folder = tempfile::tempdir().unwrap();
        let table = sales(1, ColumnType::Decimal);
        let amount = Some("amount");
        let views = [
            ranking("rows", &[], &["shop"], Aggregate::Count, None),
            ranking("values", &[], &["shop"], Aggregate::Count, amount),
            ranking("sum", &[], &["shop"], Aggregate::Sum, amount),
            ranking("min", &[], &["shop"], Aggregate::Min, amount),
            ranking("max", &[], &["shop"], Aggregate::Max, amount),
        ];
        let mut deriver = open(folder.path(), &views, &table);
        deriver.set_touched_in_memory_max(3);
        let mut world = World {
            table: table.clone(),
            chance: Chance::new(seed),
            rows: Model::new(),
            shown: BTreeMap::new(),
        };
        let mut unsaved: Vec<(Vec<Change>, Vec<String>)> = Vec::new();
        for transaction in 0..60 {
            let what = format!("HEADWATER_SEED={seed}, transaction {transaction}");
            let changes: Vec<Change> = (0..1 + world.chance.below(5)).map(|_| world.change()).collect();
            let emitted = step(&mut deriver, changes.clone());
            unsaved.push((changes, emitted.clone()));
            world.take(emitted);
            world.compare(&what);
            if world.chance.one_in(4) {
                deriver.save().unwrap();
                unsaved.clear();
            }
            if world.chance.one_in(8) {
                drop(deriver);
                deriver = open(folder.path(), &views, &table);
                for (changes, emitted) in &unsaved {
                    assert_eq!(
                        &step(&mut deriver, changes.clone()),
                        emitted,
                        "{what}: a replay emits the same"
                    );
                }
            }
        }
    }
}

/// Every form in which PostgreSQL keeps and prints a `numeric`, in groups that shrink row by row.
#[tokio::test]
async fn sums_least_and_greatest_print_as_postgresql_prints_them() {
    const VALUES: [&str; 18] = [
        "0",
        "0.00",
        "-0.5",
        "1.50",
        "1.5",
        "-1.500",
        "123456789012345678901234567890.123456789",
        "1e40",
        "-1e-40",
        "9223372036854775807",
        "1",
        "-9223372036854775809",
        "NaN",
        "Infinity",
        "-Infinity",
        "7.000",
        "-7",
        "0.1",
    ];
    let mut chance = Chance::from_env(7);
    let postgres = Postgres::start();
    let client = postgres.connect().await;
    client.batch_execute("CREATE TABLE sales (id int PRIMARY KEY, shop int, amount numeric)").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let table = sales(1, ColumnType::Decimal);
    let scores = [("sum", Aggregate::Sum), ("min", Aggregate::Min), ("max", Aggregate::Max)];
    let views = scores.map(|(name, function)| ranking(name, &[], &["shop"], function, Some("amount")));
    let mut deriver = open(folder.path(), &views, &table);
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let mut ids = Vec::new();
    for id in 0..400 {
        // First more and more rows, then fewer and fewer.
        let goes = if id < 150 { chance.one_in(4) } else { !chance.one_in(4) };
        let change = if goes && !ids.is_empty() {
            let gone: i32 = ids.swap_remove(chance.below(ids.len() as u64) as usize);
            client.execute("DELETE FROM sales WHERE id = $1", &[&gone]).await.unwrap();
            delete(&table, gone.into())
        } else {
            let (shop, value) = (chance.below(30) as i32, *chance.pick(&VALUES));
            let insert_row =
                format!("INSERT INTO sales VALUES ({id}, {shop}, '{value}') RETURNING amount::text");
            let amount: String = client.query_one(&insert_row, &[]).await.unwrap().get(0);
            ids.push(id);
            insert(&table, row(id.into(), &shop.to_string(), "1", &amount))
        };
        deriver.begin(deriver.cursor().next()).unwrap();
        deriver.change(change).unwrap();
        deriver
            .commit(&mut |piece| {
                for change in piece {
                    match change {
                        ViewChange::Put { view, key, document, .. } => {
                            let score = document.get(Ranking::SCORE).unwrap().to_text();
                            shown.insert(format!("{} {key}", view.name), score);
                        }
                        ViewChange::Delete { view, key } => {
                            shown.remove(&format!("{} {key}", view.name));
                        }
                        ViewChange::Clear { .. } => panic!("nothing is cleared here"),
                    }
                }
                Ok(())
            })
            .unwrap();
        if id % 10 != 9 {
            continue;
        }
        let mut expected = BTreeMap::new();
        // Of numbers that are equal, PostgreSQL gives whichever it met: those are compared by value.
        let sql = "SELECT shop::text, sum(amount)::text, trim_scale(min(amount))::text, trim_scale(max(amount))::text
                   FROM sales GROUP BY shop";
        for found in client.query(sql, &[]).await.unwrap() {
            let shop: String = found.get(0);
            for (i, (name, _)) in scores.iter().enumerate() {
                expected.insert(format!("{name} {shop}"), found.get::<_, String>(i + 1));
            }
        }
        let mut ours = shown.clone();
        for (_, score) in ours.iter_mut().filter(|(key, _)| !key.starts_with("sum")) {
            if score.contains('.') {
                *score = score.trim_end_matches('0').trim_end_matches('.').to_owned();
            }
        }
        assert_eq!(ours, expected, "after {id}");
    }
}

// ---- what groups are

#[test]
fn a_group_has_one_document_however_its_numbers_print_and_goes_with_its_last_row() {
    let folder = tempfile::tempdir().unwrap();
    let t = sales(1, ColumnType::Decimal);
    let top = ranking("top", &["shop"], &["book"], Aggregate::Sum, Some("amount"));
    let mut deriver = open(folder.path(), &[top], &t);
    let first = vec![insert(&t, row(1, "a", "1.50", "1")), insert(&t, row(2, "a", "1.5", "0.25"))];
    assert_eq!(step(&mut deriver, first), [r#"top a:1.50 {"shop":"a","book":1.50,"score":1.25}"#]);
    assert_eq!(
        step(&mut deriver, vec![delete(&t, 1)]),
        [r#"top a:1.50 {"shop":"a","book":1.50,"score":0.25}"#]
    );
    let moved = vec![update(&t, row(2, "b", "2", "0.25"))];
    assert_eq!(step(&mut deriver, moved), ["-top a:1.50", r#"top b:2 {"shop":"b","book":2,"score":0.25}"#]);
    let null = Row(vec![Value::Int(2), Value::text("b"), Value::Null, decimal("1"), Value::Null]);
    assert_eq!(step(&mut deriver, vec![update(&t, null)]), ["-top b:2"]);
    let fleeting = vec![insert(&t, row(3, "c", "1", "1")), delete(&t, 3)];
    assert!(step(&mut deriver, fleeting).is_empty(), "a group that nobody saw is not deleted");
    let without = Row(vec![Value::Int(4), Value::text("c"), decimal("1"), Value::Null, Value::Null]);
    let whole = vec![insert(&t, without)];
    assert_eq!(step(&mut deriver, whole), [r#"top c:1 {"shop":"c","book":1,"score":null}"#]);
}

#[test]
fn a_transaction_that_leaves_the_score_alone_is_silent_unless_stores_are_being_filled() {
    let folder = tempfile::tempdir().unwrap();
    let t = sales(1, ColumnType::Decimal);
    let views = [
        ranking("most", &[], &["shop"], Aggregate::Max, Some("amount")),
        ranking("rows", &[], &["shop"], Aggregate::Count, None),
    ];
    let mut deriver = open(folder.path(), &views, &t);
    let rows = [row(1, "a", "1", "5"), row(2, "a", "1", "5"), row(3, "a", "1", "2")];
    step(&mut deriver, rows.iter().map(|row| insert(&t, row.clone())).collect());
    let (most, count) = (r#"most a {"shop":"a","score":5}"#, r#"rows a {"shop":"a","score":3}"#);
    assert!(step(&mut deriver, vec![update(&t, row(3, "a", "7", "4"))]).is_empty());
    assert!(step(&mut deriver, vec![delete(&t, 1), insert(&t, row(1, "a", "1", "5"))]).is_empty());
    // A row that is read again on top of itself: its store may have been emptied.
    let again = vec![Change::Snapshot { table: t.clone(), row: row(2, "a", "1", "5") }];
    assert_eq!(step(&mut deriver, again), [most, count]);
    deriver.emit_unchanged(true);
    assert_eq!(step(&mut deriver, vec![update(&t, row(3, "a", "7", "4"))]), [most, count]);
    assert_eq!(
        step(&mut deriver, vec![delete(&t, 1)]),
        [most.to_owned(), r#"rows a {"shop":"a","score":2}"#.to_owned()]
    );
    deriver.emit_unchanged(false);
    assert_eq!(step(&mut deriver, vec![delete(&t, 1), delete(&t, 9)]), Vec::<String>::new());
}

#[test]
fn a_truncated_table_clears_its_rankings_and_counts_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let t = sales(1, ColumnType::Decimal);
    let mut deriver =
        open(folder.path(), &[ranking("top", &[], &["shop"], Aggregate::Sum, Some("amount"))], &t);
    step(&mut deriver, vec![insert(&t, row(1, "a", "1", "5")), insert(&t, row(2, "b", "1", "5"))]);
    let changes =
        vec![delete(&t, 2), Change::Truncate { tables: vec![t.clone()] }, insert(&t, row(3, "a", "1", "5"))];
    assert_eq!(step(&mut deriver, changes), ["top cleared", r#"top a {"shop":"a","score":5}"#]);
}

#[test]
fn rows_enter_and_leave_groups_by_the_filter() {
    let folder = tempfile::tempdir().unwrap();
    let t = sales(1, ColumnType::Decimal);
    let kind = ranking("top", &[], &["shop"], Aggregate::Count, None).kind.clone();
    let mut deriver = open(folder.path(), &[view("top", kind, Some("open AND amount > 1"))], &t);
    assert!(step(&mut deriver, vec![insert(&t, row(1, "a", "1", "1.0"))]).is_empty());
    assert_eq!(
        step(&mut deriver, vec![update(&t, row(1, "a", "1", "1.1"))]),
        [r#"top a {"shop":"a","score":1}"#]
    );
    let mut closed = row(1, "a", "1", "1.1");
    closed.0[4] = Value::Null;
    assert_eq!(step(&mut deriver, vec![update(&t, closed)]), ["-top a"]);
}

// ---- views that come and change

#[test]
fn a_ranking_of_rows_that_the_mirror_has_is_counted_without_asking_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let t = sales(1, ColumnType::Decimal);
    let name = t.name.clone();
    let sum = ranking("top", &[], &["shop"], Aggregate::Sum, Some("amount"));
    let mut deriver = open(folder.path(), std::slice::from_ref(&sum), &t);
    assert_eq!(deriver.incomplete(), std::slice::from_ref(&name));
    step(&mut deriver, vec![insert(&t, row(1, "a", "1", "5")), insert(&t, row(2, "a", "2", "0.5"))]);
    deriver.mark_complete(&name).unwrap();
    deriver.save().unwrap();
    drop(deriver);

    let least = ranking("top", &[], &["shop"], Aggregate::Min, Some("amount"));
    let rows = ranking("rows", &["shop"], &["amount"], Aggregate::Count, None);
    let mut deriver = open(folder.path(), &[least.clone(), rows], &t);
    assert!(deriver.incomplete().is_empty(), "all that the new views need is here");
    deriver.begin(deriver.cursor().next()).unwrap();
    deriver.emit_all("top").unwrap();
    let mut emitted = Vec::new();
    let mut keep = |piece| {
        emitted.extend(piece);
        Ok(())
    };
    deriver.commit(&mut keep).unwrap();
    assert!(
        matches!(&emitted[..], [ViewChange::Put { document, .. }] if document.to_json() == r#"{"shop":"a","score":0.5}"#)
    );
    // A store may have the group from before: it is deleted there, though it was not emitted since.
    assert_eq!(step(&mut deriver, vec![delete(&t, 2)]), [r#"top a {"shop":"a","score":5}"#, "-rows a:0.5"]);
    deriver.save().unwrap();
    drop(deriver);

    let by_book = ranking("top", &[], &["book"], Aggregate::Min, Some("amount"));
    let deriver = open(folder.path(), &[least, ranking("books", &[], &["book"], Aggregate::Count, None)], &t);
    assert_eq!(deriver.incomplete(), std::slice::from_ref(&name), "a column that the rows lack is read");
    drop(deriver);
    let mut deriver = open(folder.path(), &[by_book], &t);
    let read = vec![Change::Snapshot { table: t.clone(), row: row(1, "a", "7", "5") }];
    assert_eq!(step(&mut deriver, read), [r#"top 7 {"book":7,"score":5}"#]);
}

#[test]
fn a_column_that_takes_another_type_is_counted_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (sales(1, ColumnType::Int), sales(2, ColumnType::Decimal));
    let top = ranking("top", &[], &["shop"], Aggregate::Sum, Some("amount"));
    let mut deriver = open(folder.path(), &[top], &before);
    let old = |id, shop: &str, amount| {
        Row(vec![Value::Int(id), Value::text(shop), Value::Null, Value::Int(amount), Value::Null])
    };
    step(&mut deriver, vec![insert(&before, old(1, "a", 5)), insert(&before, old(2, "b", 6))]);
    let changes = vec![delete(&before, 2), update(&after, row(1, "a", "1", "5.5"))];
    assert_eq!(step(&mut deriver, changes), [r#"top a {"shop":"a","score":5.5}"#, "-top b"]);
    assert!(deriver.take_broken().is_empty());
}

#[test]
fn rows_that_arrive_in_pieces_count_when_they_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let t = sales(1, ColumnType::Decimal);
    let mut deriver =
        open(folder.path(), &[ranking("top", &[], &["shop"], Aggregate::Sum, Some("amount"))], &t);
    let mut partial = row(1, "a", "1", "5");
    partial.0[1] = Value::Unchanged;
    assert!(step(&mut deriver, vec![update(&t, partial)]).is_empty(), "its group is not known yet");
    let mut amount = row(2, "a", "1", "5");
    amount.0[3] = Value::Unchanged;
    assert_eq!(step(&mut deriver, vec![update(&t, amount)]), [r#"top a {"shop":"a","score":null}"#]);
    let chunk = [row(1, "a", "1", "6"), row(2, "a", "1", "7")];
    let chunk = chunk.map(|row| Change::Snapshot { table: t.clone(), row });
    assert_eq!(step(&mut deriver, chunk.to_vec()), [r#"top a {"shop":"a","score":13}"#]);
}

#[test]
fn what_does_not_fit_the_table_is_named() {
    let t = sales(1, ColumnType::Decimal);
    let tables = Tables::from([(t.name.clone(), t.clone())]);
    let refused = |view: Arc<View>, part: &str| {
        let error = compile(&[view], &tables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(ranking("x", &[], &["isbn"], Aggregate::Count, None), "no column \"isbn\"");
    refused(ranking("x", &["shop"], &["shop"], Aggregate::Count, None), "two fields are named \"shop\"");
    refused(ranking("x", &[], &["shop"], Aggregate::Sum, None), "only `count`");
    refused(ranking("x", &[], &["shop"], Aggregate::Sum, Some("price")), "no column \"price\"");
}

#[test]
fn a_cursor_never_comes_without_its_groups() {
    let folder = tempfile::tempdir().unwrap();
    let t = sales(1, ColumnType::Decimal);
    let views = [ranking("top", &[], &["shop"], Aggregate::Sum, Some("amount"))];
    let mut deriver = open(folder.path(), &views, &t);
    step(&mut deriver, vec![insert(&t, row(1, "a", "1", "5"))]);
    deriver.save().unwrap();
    let second = vec![insert(&t, row(2, "a", "1", "1"))];
    let emitted = step(&mut deriver, second.clone());
    drop(deriver);
    let mut deriver = open(folder.path(), &views, &t);
    assert_eq!(deriver.cursor(), Offset(1));
    assert_eq!(step(&mut deriver, second), emitted);
    assert_eq!(emitted, [r#"top a {"shop":"a","score":6}"#]);
}
