//! How fast derive is, per second of CPU time, without source, journal and store:
//! `cargo test --release -p headwater-flow --test it derive_speed -- --ignored --nocapture`

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use headwater_flow::derive::{Deriver, Stateless, Tables, collapse, compile};
use headwater_model::{
    Aggregate, Change, Column, ColumnType, Embed, EmbedKind, Offset, Order, Ranking, Row, Table, TableName,
    Value, View, ViewKind,
};

/// CPU time of this thread, so that figures hold on a busy machine.
struct Clock(Duration);

impl Clock {
    fn now() -> Clock {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Clock(Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap()))
    }

    fn elapsed(&self) -> Duration {
        Clock::now().0 - self.0
    }
}

fn table(id: u32, name: &str, columns: &[(&str, ColumnType)]) -> Arc<Table> {
    Arc::new(Table {
        id,
        version: 1,
        name: TableName::new(None, name),
        columns: columns.iter().map(|(n, k)| Column { name: (*n).into(), kind: k.clone() }).collect(),
        key: vec![0],
    })
}

fn tables(all: &[&Arc<Table>]) -> Tables {
    all.iter().map(|t| (t.name.clone(), (*t).clone())).collect()
}

fn embed(field: &str, from: &str, kind: EmbedKind) -> Embed {
    Embed {
        field: field.into(),
        from: TableName::new(None, from),
        kind,
        columns: None,
        filter: None,
        order: vec![],
        limit: None,
        embeds: vec![],
    }
}

#[test]
#[ignore = "a measurement"]
fn derive_speed() {
    use ColumnType::{Int, Text};
    let accounts = table(1, "accounts", &[("aid", Int), ("bid", Int), ("abalance", Int), ("filler", Text)]);
    let view = |name: &str, from: &str, embeds| {
        Arc::new(View {
            name: name.into(),
            from: TableName::new(None, from),
            columns: None,
            filter: None,
            embeds,
            stores: vec![],
            parts: Vec::new(),
            layout: None,
            kind: headwater_model::ViewKind::Document,
            indexes: Vec::new(),
        })
    };
    let row =
        |n: i64| Row(vec![Value::Int(n), Value::Int(1), Value::Int(n * 3), Value::text(" ".repeat(84))]);
    let total: i64 = 2_000_000;
    let mut stateless =
        Stateless::new(&[view("account", "accounts", vec![])], &tables(&[&accounts])).unwrap();
    let (mut seconds, mut done) = (0.0, 0);
    while done < total {
        let batch: Vec<Change> = (done..done + 10_000)
            .map(|n| Change::Update { table: accounts.clone(), old_key: None, row: row(n) })
            .collect();
        let started = Clock::now();
        let mut out = Vec::with_capacity(batch.len());
        for change in batch {
            let from = out.len();
            stateless.map(change, &mut out);
            collapse(&mut out, from);
        }
        seconds += started.elapsed().as_secs_f64();
        black_box(&out);
        done += 10_000;
    }
    println!("stateless, single-row transactions: {:.0} rows/s", total as f64 / seconds);
    let mut out: Vec<_> = Vec::new();
    (0..1_000_000)
        .for_each(|n| stateless.map(Change::Insert { table: accounts.clone(), row: row(n) }, &mut out));
    let started = Clock::now();
    collapse(&mut out, 0);
    println!(
        "collapse of one transaction of 1,000,000 rows: {:.0} rows/s",
        1e6 / started.elapsed().as_secs_f64()
    );

    let books = table(1, "books", &[("id", Int), ("title", Text), ("author_id", Int)]);
    let authors = table(2, "authors", &[("id", Int), ("name", Text)]);
    let reviews = table(3, "reviews", &[("id", Int), ("book_id", Int), ("stars", Int), ("text", Text)]);
    let mut recent =
        embed("reviews", "reviews", EmbedKind::Many { columns: vec!["book_id".into()], references: None });
    recent.order = vec![Order { column: "id".into(), descending: true }];
    recent.limit = Some(20);
    let author =
        embed("author", "authors", EmbedKind::One { columns: vec!["author_id".into()], references: None });
    let all = tables(&[&books, &authors, &reviews]);
    let plan = compile(&[view("book", "books", vec![author, recent])], &all).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut deriver = Deriver::open(&folder.path().join("mirror.db"), plan).unwrap();
    let mut offset = 0;
    let mut documents = 0;
    let mut run = |deriver: &mut Deriver, changes: Vec<Change>, each: usize| {
        let mut changes = changes.into_iter().peekable();
        let mut transactions = 0;
        while changes.peek().is_some() {
            offset += 1;
            transactions += 1;
            deriver.begin(Offset(offset)).unwrap();
            for change in changes.by_ref().take(each) {
                deriver.change(change).unwrap();
            }
            deriver
                .commit(&mut |piece| {
                    documents += piece.len();
                    black_box(piece);
                    Ok(())
                })
                .unwrap();
            if transactions % 500 == 0 {
                deriver.save().unwrap();
            }
        }
        deriver.persist().unwrap();
        std::mem::take(&mut documents)
    };
    let (books_n, authors_n, reviews_n) = (50_000, 5_000, 500_000);
    let author_row = |n: i64, v: i64| Row(vec![Value::Int(n), Value::text(format!("author {n} {v}"))]);
    let book_row = |n: i64, v: i64| {
        Row(vec![Value::Int(n), Value::text(format!("book {n} {v}")), Value::Int(n % authors_n)])
    };
    let review_row = |n: i64, v: i64| {
        let text = format!("review {n} {v} of about a hundred bytes, {}", "so it goes ".repeat(6));
        Row(vec![Value::Int(n), Value::Int((n * 7919) % books_n), Value::Int(v % 5), Value::text(text)])
    };
    let fill = |t: &Arc<Table>, n: i64, row: &dyn Fn(i64, i64) -> Row| -> Vec<Change> {
        (0..n).map(|i| Change::Snapshot { table: t.clone(), row: row(i, 0) }).collect()
    };
    let update = |t: &Arc<Table>, n: i64, rows: i64, row: &dyn Fn(i64, i64) -> Row| -> Vec<Change> {
        (0..n)
            .map(|i| Change::Update { table: t.clone(), old_key: None, row: row((i * 104_729) % rows, i) })
            .collect()
    };
    for (what, changes, each) in [
        ("fill authors", fill(&authors, authors_n, &author_row), 5000),
        ("fill reviews", fill(&reviews, reviews_n, &review_row), 5000),
        ("fill books (each document once)", fill(&books, books_n, &book_row), 5000),
        ("follow: update a review", update(&reviews, 50_000, reviews_n, &review_row), 1),
        ("follow: update a book", update(&books, 50_000, books_n, &book_row), 1),
        ("follow: update an author (10 books each)", update(&authors, 5_000, authors_n, &author_row), 1),
    ] {
        let count = changes.len();
        let started = Clock::now();
        let documents = run(&mut deriver, changes, each);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "3 tables, {what}: {:.0} changes/s, {:.0} documents/s",
            count as f64 / seconds,
            documents as f64 / seconds
        );
    }
    for (function, column) in
        [(Aggregate::Count, None), (Aggregate::Sum, Some("amount")), (Aggregate::Max, Some("amount"))]
    {
        rankings(function, column);
    }
}

/// Sales of 1,000 books, one of which has half of them.
fn rankings(function: Aggregate, column: Option<&str>) {
    use ColumnType::{Decimal, Int};
    let sales = table(1, "sales", &[("id", Int), ("book", Int), ("amount", Decimal)]);
    let ranking =
        Ranking { by: vec!["book".into()], within: Vec::new(), function, column: column.map(Into::into) };
    let view = Arc::new(View {
        name: "top".into(),
        from: TableName::new(None, "sales"),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: vec![],
        parts: Vec::new(),
        layout: None,
        kind: ViewKind::Ranking(ranking),
        indexes: Vec::new(),
    });
    let folder = tempfile::tempdir().unwrap();
    let plan = compile(&[view], &tables(&[&sales])).unwrap();
    let mut deriver = Deriver::open(&folder.path().join("mirror.db"), plan).unwrap();
    let row = |n: i64, v: i64| {
        let book = if n % 2 == 0 { 0 } else { n * 7919 % 1000 };
        let amount = format!("{}.{:02}", (n + v) % 500, (n * 31 + v) % 100);
        Row(vec![Value::Int(n), Value::Int(book), Value::Decimal(amount.into())])
    };
    let rows = 500_000;
    let fill: Vec<_> = (0..rows).map(|n| Change::Snapshot { table: sales.clone(), row: row(n, 0) }).collect();
    let update = |n| Change::Update { table: sales.clone(), old_key: None, row: row(n * 104_729 % rows, n) };
    let follow: Vec<_> = (0..100_000).map(update).collect();
    for (what, changes, each) in [("fill", fill, 5000), ("follow", follow, 1)] {
        let count = changes.len();
        let started = Clock::now();
        for (i, transaction) in changes.chunks(each).enumerate() {
            deriver.begin(deriver.cursor().next()).unwrap();
            transaction.iter().for_each(|change| deriver.change(change.clone()).unwrap());
            deriver
                .commit(&mut |piece| {
                    black_box(piece);
                    Ok(())
                })
                .unwrap();
            if i % 500 == 0 {
                deriver.save().unwrap();
            }
        }
        deriver.persist().unwrap();
        let seconds = started.elapsed().as_secs_f64();
        println!("ranking by {function:?}, {what}: {:.0} changes/s", count as f64 / seconds);
    }
}
