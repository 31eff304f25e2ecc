//! What lies in InfluxDB, as its own tools see it, and what is refused.

use headwater_model::{Store as _, StoredBody, Value, ViewChange};
use headwater_testkit::contract::store::{key, record};
use headwater_testkit::read::document;
use serde_json::{Value as Json, json};

use super::*;

/// Rows of a statement that has one series.
fn rows(answer: &Json) -> Vec<Json> {
    assert!(answer["results"][0]["error"].is_null(), "{answer}");
    answer["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default()
}

const ALL: &str = "SELECT book, price, sold, note, sale FROM price ORDER BY time";

/// Several are under way at once, but for what has to come in an order.
#[tokio::test]
async fn a_step_of_many_requests_arrives_as_a_whole() {
    let Some(server) = server() else { return };
    let (store, database) = claimed(server).await;
    let view = prices();
    let all = |price: &str| (0..6000).map(|id| put(&view, id, point(id, id, "m", price))).collect::<Vec<_>>();
    let clear = ViewChange::Clear { view: view.clone() };
    assert_eq!(step(&store, 1, 0, [vec![clear], all("1")].concat()).await.unwrap(), []);
    // One takes its note along to another key, its own is put anew, and some go.
    let mut moved = point(9000, 9000, "n", "2");
    moved.values[5] = Value::Unchanged;
    let mut changes = all("2");
    changes[7] = put(&view, 7, {
        let mut other = point(7, 7, "m", "2");
        other.values[5] = Value::text("another");
        other
    });
    changes.insert(
        7,
        ViewChange::Put { view: view.clone(), key: key(9000), moved_from: Some(key(7)), document: moved },
    );
    changes.extend((0..5).map(|id| delete(&view, id)));
    assert_eq!(step(&store, 1, 1, changes).await.unwrap(), []);
    assert_eq!(store.rows(&view).await.unwrap(), 5996);
    let counted = server.ask(&database, "SELECT count(hw) FROM price WHERE price = 2");
    assert_eq!(rows(&counted)[0][1], json!(5996));
    for (id, micros, book, note) in [(9000, 9000, "n", "a \"note\""), (7, 7, "m", "another")] {
        let mut expected = point(id, micros, book, "2");
        expected.values[5] = Value::text(note);
        let found = document(&*store, &view, &key(id)).await.unwrap().unwrap();
        assert_eq!(found, StoredBody::Json(expected.to_json().into()));
    }
}

#[tokio::test]
async fn points_are_influxdbs_own_and_documents_are_exact() {
    let Some(server) = server() else { return };
    let (store, database) = claimed(server).await;
    let view = prices();
    let exact = "123456789012345678901234567890.000000000000000000000000000001";
    let mut odd = point(3, 9, "b c,d=e", "NaN");
    odd.values[4] = Value::Null;
    let changes = vec![
        put(&view, 1, point(1, 0, "a", "1.10")),
        put(&view, 2, point(2, 0, "a", exact)),
        put(&view, 3, odd),
    ];
    assert_eq!(step(&store, 1, 0, changes).await.unwrap(), []);
    let t0 = T0 * 1000;
    assert_eq!(
        rows(&server.ask(&database, ALL)),
        [
            json!([t0, "a", 1.1, 7, "a \"note\"", true]),
            json!([t0 + 1, "a", 1.234_567_890_123_456_8e29, 7, "a \"note\"", true]),
            json!([t0 + 9000, "b c,d=e", null, null, "a \"note\"", true]),
        ]
    );
    let found = document(&*store, &view, &key(2)).await.unwrap().unwrap();
    assert_eq!(found, StoredBody::Json(point(2, 0, "a", exact).to_json().into()));
    // A corrected time, a corrected tag, a field that is NULL now, and a row that is gone.
    let mut emptied = point(2, 0, "a", "5");
    emptied.values[4] = Value::Null;
    let changes = vec![
        put(&view, 1, point(1, -5, "a", "1.10")),
        put(&view, 2, emptied),
        delete(&view, 3),
        put(&view, 4, point(4, 2, "z", "-0.5")),
    ];
    assert_eq!(step(&store, 1, 1, changes).await.unwrap(), []);
    assert_eq!(step(&store, 1, 2, vec![put(&view, 4, point(4, 2, "y", "-0.5"))]).await.unwrap(), []);
    assert_eq!(
        rows(&server.ask(&database, ALL)),
        [
            json!([t0 - 5000, "a", 1.1, 7, "a \"note\"", true]),
            json!([t0 + 2, "a", 5, null, "a \"note\"", true]),
            json!([t0 + 2000, "y", -0.5, 7, "a \"note\"", true]),
        ]
    );
    assert_eq!(window(&store, &view, "a").await.unwrap(), ["1", "2"]);
    assert_eq!(store.rows(&view).await.unwrap(), 3);
    // A stretch that goes as a whole, beside one that stays.
    let many = (10..200).map(|id| put(&view, id, point(id, id, "m", "1"))).collect();
    assert_eq!(step(&store, 1, 3, many).await.unwrap(), []);
    let gone = (10..200).filter(|id| *id < 150 || id % 7 != 0).map(|id| delete(&view, id)).collect();
    assert_eq!(step(&store, 1, 4, gone).await.unwrap(), []);
    let left: Vec<String> = (150..200).filter(|id| id % 7 == 0).map(|id| id.to_string()).collect();
    assert_eq!(window(&store, &view, "m").await.unwrap(), left);
    let count = server.ask(&database, "SELECT count(hw) FROM price WHERE book = 'm'");
    assert_eq!(rows(&count)[0][1], json!(left.len()));
}

#[tokio::test]
async fn what_influxdb_cannot_hold_is_refused_by_key_with_the_reason() {
    let Some(server) = server() else { return };
    let database = database(server);
    let few = [("series_max", Setting::Int(3))];
    let store = Store::new(&section(&server.url(&database), &few)).unwrap();
    store.claim(Epoch(1)).await.unwrap();
    let view = prices();
    let at = |id: i64, time: Value| {
        let mut document = point(id, 0, "a", "1");
        document.values[1] = time;
        put(&view, id, document)
    };
    let retyped =
        record(&[("at", Value::TimestampTz(T0)), ("book", Value::text("a")), ("sold", Value::text("7"))]);
    let mut long = point(10, 0, "a", "1");
    long.values[5] = Value::text("x".repeat(49_200));
    let changes = vec![
        put(&view, 1, point(1, 0, "a", "1")),
        at(2, Value::Null),
        at(3, Value::TimestampTz(i64::MAX)),
        at(4, Value::Timestamp(-10_000_000_000_000_000)),
        at(5, Value::Int(5)),
        put(&view, 6, retyped),
        put(&view, 7, point(7, 0, "b", "1")),
        put(&view, 8, point(8, 0, "c", "1")),
        put(&view, 9, point(9, 0, "d", "1")),
        put(&view, 10, long),
        at(11, Value::Date(1)),
    ];
    let refusals = step(&store, 1, 0, changes).await.unwrap();
    let expected = [
        ("2", "its time is NULL"),
        ("3", "its time is infinity, and InfluxDB's are of the years 1678 to 2261"),
        ("4", "of the years 1678 to 2261"),
        ("5", "its time is \"5\", and InfluxDB takes dates and timestamps"),
        ("6", "its field \"sold\" is string, and InfluxDB has it as integer"),
        ("9", "beyond series_max = 3: the tag \"book\" has 3 values"),
        ("10", "the document has 49"),
    ];
    assert_eq!(refusals.len(), expected.len(), "{refusals:?}");
    for (refusal, (key, reason)) in refusals.iter().zip(expected) {
        assert!(&*refusal.key == key && refusal.reason.contains(reason), "{key}: {refusal:?}");
    }
    // Another session learns it from the server.
    let again = Store::new(&section(&server.url(&database), &few)).unwrap();
    let refusals = step(&again, 1, 1, vec![put(&view, 9, point(9, 0, "d", "1"))]).await.unwrap();
    assert!(refusals[0].reason.contains("the tag \"book\" has 3 values"), "{refusals:?}");
    // A microsecond is full at its thousandth row, also over several steps and for rows that come again.
    let full = |ids: std::ops::Range<i64>| ids.map(|id| put(&view, id, point(id, 50, "b", "1"))).collect();
    assert_eq!(step(&again, 1, 2, full(1000..1600)).await.unwrap(), []);
    let refusals = step(&again, 1, 3, full(1300..2001)).await.unwrap();
    assert_eq!(refusals.iter().map(|refusal| &*refusal.key).collect::<Vec<_>>(), ["2000"], "{refusals:?}");
    assert!(refusals[0].reason.contains("1000 other rows have the same tags and the same microsecond"));
    assert_eq!(window(&again, &view, "b").await.unwrap().len(), 1001);
    // An emptied view forgets tags and types.
    let clear = ViewChange::Clear { view: view.clone() };
    let text =
        record(&[("at", Value::TimestampTz(T0)), ("book", Value::text("d")), ("sold", Value::text("7"))]);
    assert_eq!(step(&again, 1, 4, vec![clear, put(&view, 6, text)]).await.unwrap(), []);
    assert_eq!(rows(&server.ask(&database, "SELECT sold FROM price")), [json!([T0 * 1000, "7"])]);
}

#[tokio::test]
async fn points_of_nobody_and_points_that_are_gone_are_told_and_put_right() {
    let Some(server) = server() else { return };
    let (store, database) = claimed(server).await;
    let view = prices();
    let changes = (0..5).map(|id| put(&view, id, point(id, id, "a", "1"))).collect();
    step(&store, 1, 0, changes).await.unwrap();
    let text = rows(&server.ask(&database, "SELECT hw FROM price WHERE book = 'a' ORDER BY time LIMIT 1"))[0]
        [1]
    .clone();
    let text = text.as_str().unwrap().replace('\\', "\\\\").replace('"', "\\\"");
    // A copy elsewhere, one point that is lost, and one that says something else.
    server.write(&database, &format!("price,book=it's\\ b price=9,hw=\"{text}\" {}", T0 * 1000));
    server.ask(&database, &format!("DELETE FROM price WHERE time = {}", (T0 + 2) * 1000));
    let other = text.replace("\\\"price\\\":1", "\\\"price\\\":2");
    assert_ne!(text, other);
    server.write(&database, &format!("price,book=a hw=\"{other}\" {}", T0 * 1000));
    let (listed, _) = store.entries(&view, None, 100).await.unwrap();
    let foreign: Vec<_> = listed
        .iter()
        .filter(|listed| matches!(listed, headwater_model::Listed::Foreign(_)))
        .cloned()
        .collect();
    assert_eq!((listed.len(), foreign.len()), (5, 1), "{listed:?}");
    let asked: Vec<headwater_model::Standing> = (0..5)
        .map(|id| headwater_model::Standing {
            key: id.to_string().into(),
            should: view.entries(&key(id), &point(id, id, "a", "1")),
            should_not: Vec::new(),
        })
        .collect();
    let (_, told) = store.astray(&view, &asked).await.unwrap();
    let lacking: Vec<usize> = (0..5).filter(|id| told[*id].lacks == [0]).collect();
    assert_eq!(lacking, [0, 2], "{told:?}");
    let mut apply = store.begin(Epoch(1), Offset(1)).await.unwrap();
    apply.unplace(&view, &foreign).await.unwrap();
    let again =
        [0, 2].into_iter().flat_map(|id| [delete(&view, id), put(&view, id, point(id, id, "a", "1"))]);
    apply.write(again.collect()).await.unwrap();
    apply.commit(&held(1, 2)).await.unwrap();
    assert_eq!(store.entries(&view, None, 100).await.unwrap().0.len(), 5);
    let (_, told) = store.astray(&view, &asked).await.unwrap();
    assert_eq!(told, vec![headwater_model::Astray::default(); 5]);
}
