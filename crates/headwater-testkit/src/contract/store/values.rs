//! Nothing is lost or confused on the way in and out: keys, values, names.

use headwater_model::{Key, Value};

use super::setup::{Bench, clear, delete, document, key, put, record};

/// Texts that break what is not escaped.
const TRICKY: &[&str] = &[
    "", " ", ":", "::", "a:b", "%", "%N", "%E", "%3A", "*", "?", "[a]", "\\", "\"", "'", "{a}", "a\0b",
    "\r\n", "\t", "\u{7f}", "é", "e\u{301}", "漢字", "🦀", "\u{feff}", "NULL", "null",
];

pub(super) async fn keys_that_look_alike_stay_apart(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let text = |text: &str| Value::text(text);
    let mut keys: Vec<Key> = vec![
        Key(vec![text("a:b"), text("c")]),
        Key(vec![text("a"), text("b:c")]),
        Key(vec![text("a%3Ab"), text("c")]),
        Key(vec![text("a"), text("")]),
        Key(vec![text(""), text("a")]),
        Key(vec![text(""), text("")]),
        Key(vec![text("a"), Value::Null]),
        Key(vec![text("A"), text("")]),
        Key(vec![text("a"), text(" ")]),
        Key(vec![text("a"), text("\u{301}")]),
        Key(vec![text("a"), text("%N")]),
    ];
    keys.extend(TRICKY.iter().map(|tricky| Key(vec![text("k"), text(tricky)])));
    keys.push(Key(vec![text("long"), text(&"x".repeat(2_000))]));
    let each = |n: usize| document(n as i64, n as i64);
    bench.step(keys.iter().enumerate().map(|(n, key)| put(&view, key.clone(), each(n))).collect()).await;
    for (n, key) in keys.iter().enumerate() {
        bench.expect(&view, key, Some(&each(n))).await;
    }
    assert_eq!(
        bench.ok("rows", bench.store.rows(&view).await),
        keys.len() as u64,
        "{bench}: a document per key"
    );
    bench.step(keys.iter().step_by(2).map(|key| delete(&view, key.clone())).collect()).await;
    for (n, key) in keys.iter().enumerate() {
        bench.expect(&view, key, (n % 2 == 1).then(|| each(n)).as_ref()).await;
    }
}

pub(super) async fn values_come_back_exactly(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    let decimal = |text: &str| Value::Decimal(text.into());
    let mut values = vec![
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(0),
        Value::Int(-1),
        Value::Int(9_007_199_254_740_993),
        Value::Int(i64::MAX),
        Value::Int(i64::MIN),
        Value::Float(0.1),
        Value::Float(3.0),
        Value::Float(1e300),
        Value::Float(5e-324),
        Value::Float(-0.0),
        Value::Float(f64::NAN),
        Value::Float(f64::INFINITY),
        Value::Float(f64::NEG_INFINITY),
        decimal("1.50"),
        decimal("-0.00"),
        decimal("123456789012345678901234567890.000000000000000000000000000001"),
        decimal("NaN"),
        decimal("Infinity"),
        Value::Bytes(Vec::new().into()),
        Value::Bytes((0..=255).collect()),
        Value::Date(0),
        Value::Date(-719_529),
        Value::Date(i32::MAX),
        Value::Time(86_400_000_000),
        Value::Timestamp(-1),
        Value::Timestamp(i64::MIN),
        Value::TimestampTz(1_700_000_000_123_456),
        Value::TimestampTz(i64::MAX),
        Value::Json(r#"{"b": [1, 2.50, null], "a": "\u0000é"}"#.into()),
        Value::Json("123456789012345678901234567890".into()),
        Value::List(vec![Value::Int(1), Value::Null, Value::text("a,b"), Value::List(vec![])]),
        Value::Record(record(&[("x", Value::Int(1)), ("y", Value::text("é\"\\"))])),
        Value::text("x".repeat((1 << 20).min(bench.facts.document_bytes_max * 3 / 4))),
        Value::text("true"),
        Value::text("1e5"),
    ];
    values.extend(TRICKY.iter().map(|tricky| Value::text(*tricky)));
    let names: Vec<String> = (0..values.len()).map(|n| format!("f{n}")).collect();
    let fields: Vec<(&str, Value)> = names.iter().map(|name| &**name).zip(values).collect();
    let all = record(&fields);
    bench.step(vec![put(&view, key(1), all.clone())]).await;
    bench.expect(&view, &key(1), Some(&all)).await;
    // Names are as tricky as values.
    let names: Vec<String> = TRICKY.iter().map(|tricky| format!("x{tricky}")).collect();
    let fields: Vec<(&str, Value)> = names.iter().map(|name| (&**name, Value::Int(1))).collect();
    bench.step(vec![put(&view, key(2), record(&fields))]).await;
    bench.expect(&view, &key(2), Some(&record(&fields))).await;
}

pub(super) async fn view_names_are_only_names(bench: &mut Bench<'_>) {
    let names = [
        "a",
        "a:b",
        "a%3Ab",
        "a*",
        "a?",
        "[a]",
        "a\\",
        "a b",
        "ä",
        "headwater",
        "select",
        "a\"b",
        "a'b",
        "t_1",
    ];
    let views: Vec<_> = names.iter().map(|name| bench.view(name)).collect();
    bench.claim(&views.iter().collect::<Vec<_>>()).await;
    // Keys that would continue one view's name into another's.
    let keys = [
        Key(vec![Value::text("b"), Value::text("1")]),
        Key(vec![Value::text("1")]),
        Key(vec![Value::text("b:1")]),
    ];
    let mut changes = Vec::new();
    for (n, view) in views.iter().enumerate() {
        changes.extend(keys.iter().map(|key| put(view, key.clone(), document(1, n as i64))));
    }
    bench.step(changes).await;
    for cleared in 0..views.len() {
        for (n, view) in views.iter().enumerate() {
            let there = n >= cleared;
            for key in &keys {
                bench.expect(view, key, there.then(|| document(1, n as i64)).as_ref()).await;
            }
            let (page, _) = bench.ok("scan", bench.store.scan(view, None, 100).await);
            assert_eq!(
                page.len(),
                if there { 3 } else { 0 },
                "{bench}: documents of view {:?}: {page:?}",
                view.name
            );
        }
        bench.step(vec![clear(&views[cleared])]).await;
    }
}
