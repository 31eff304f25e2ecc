//! Walks against counting by hand.

use std::collections::BTreeMap;

use headwater_model::{Edge, ErrorKind, Hop, Reached, WalkRead};
use headwater_testkit::Chance;

use super::*;

type Ends = Vec<(Value, Value)>;

fn edge(table: &str, source: &str, label: &str, target: &str) -> Arc<View> {
    let edge = Edge { source: source.into(), label: label.into(), target: target.into() };
    view(table, table, ViewKind::Edge(edge), Vec::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn walks_count_every_way() {
    let mut chance = Chance::from_env(11);
    for database in Database::both() {
        let mut sql = String::new();
        for (table, people, things) in
            [("bought", "bigint", "text"), ("gave", "integer", "varchar(20)"), ("knows", "bigint", "bigint")]
        {
            sql.push_str(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, s {people}, t {things});\n"));
            for id in 0..60 {
                let s = (*chance.pick(&["1", "2", "3", "4", "5", "-6", "NULL"])).to_owned();
                let t = match things {
                    "bigint" => chance.pick(&["1", "2", "3", "4", "7", "NULL"]),
                    _ => chance.pick(&["'a'", "'A'", "'é'", "''", "'日本'", "'5'", "NULL"]),
                };
                sql.push_str(&format!("INSERT INTO {table} VALUES ({id}, {s}, {t});\n"));
            }
        }
        database.run(&sql).await;
        database.prepare(&["bought", "gave", "knows"]).await;
        let views = [
            edge("bought", "s", "GOT", "t"),
            edge("gave", "s", "GOT", "t"),
            edge("knows", "s", "KNOWS", "t"),
        ];
        let mut ends: BTreeMap<&str, Ends> = BTreeMap::new();
        for name in ["bought", "gave", "knows"] {
            let rows = database.documents(&view(name, name, ViewKind::Document, Vec::new())).await;
            let rows = rows.iter().map(|(_, row)| (row.values[1].clone(), row.values[2].clone()));
            ends.insert(name, rows.filter(|(s, t)| !s.is_null() && !t.is_null()).collect());
        }
        let got = |against| Hop { views: views[..2].to_vec(), against };
        let knows = |against| Hop { views: views[2..].to_vec(), against };
        for (start, hops) in [
            (Value::Int(1), vec![got(false)]),
            (Value::text("a"), vec![got(true), got(false)]),
            (Value::text("日本"), vec![got(true), knows(false), got(false)]),
            (Value::Int(2), vec![knows(false), knows(false), knows(true), knows(false)]),
            (Value::Int(99), vec![knows(false)]),
            (Value::text("'; --"), vec![got(true)]),
            // Of another kind than any vertex.
            (Value::text("1"), vec![got(false)]),
            (Value::Null, vec![knows(false)]),
        ] {
            let all = by_hand(&ends, &start, &hops);
            for limit in [1, 3, 100] {
                let read = WalkRead { start: start.clone(), hops: hops.clone(), limit, edges_max: 100_000 };
                let found = database.answer(&Read::Walk(read)).await.found;
                let expected = all.iter().take(limit).cloned().collect();
                assert_eq!(found, Found::Reached(expected), "{start:?} along {} hops", hops.len());
            }
        }
        bounded(&database, &views[2]).await;
    }
}

/// The vertices reached, in order.
fn by_hand(ends: &BTreeMap<&str, Ends>, start: &Value, hops: &[Hop]) -> Vec<Reached> {
    let mut ways = vec![(start.clone(), 1)];
    for hop in hops {
        let mut next: Vec<(Value, u64)> = Vec::new();
        for (vertex, count) in &ways {
            for (source, target) in hop.views.iter().flat_map(|view| &ends[&*view.name]) {
                let (near, far) = if hop.against { (target, source) } else { (source, target) };
                if near != vertex {
                    continue;
                }
                match next.iter_mut().find(|(known, _)| known == far) {
                    Some((_, known)) => *known += count,
                    None => next.push((far.clone(), *count)),
                }
            }
        }
        ways = next;
    }
    ways.retain(|(vertex, _)| vertex != start);
    ways.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.compare(b)));
    ways.into_iter().map(|(vertex, ways)| Reached { vertex, ways }).collect()
}

async fn bounded(database: &Database, knows: &Arc<View>) {
    let hops = vec![Hop { views: vec![knows.clone()], against: false }; 2];
    let read =
        |edges_max| Read::Walk(WalkRead { start: Value::Int(1), hops: hops.clone(), limit: 10, edges_max });
    let error = database.source.answer(&read(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("more than 3 edges") && error.remedy().is_some());
    database.answer(&read(1000)).await;
}
