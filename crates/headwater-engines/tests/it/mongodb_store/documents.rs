//! What documents look like to whoever reads them with a driver of their own, and what does not fit.

use headwater_model::{Found, Index, Order, RangeRead, Read};
use serde_json::json;

use super::*;

#[tokio::test]
async fn fields_have_types_of_their_own_and_rows_that_belong_to_them_lie_within() {
    let Some(server) = server() else { return };
    let database = database();
    let (store, books) = claimed(server, &database).await;
    let line = record(&[("isbn", Value::text("x")), ("price", Value::Decimal("9.90".into()))]);
    let row = record(&[
        ("id", Value::Int(1)),
        ("price", Value::Decimal("19.90".into())),
        ("weight", Value::Float(0.5)),
        ("none", Value::Null),
        ("sold", Value::Bool(true)),
        ("cover", Value::Bytes(vec![1, 2].into())),
        ("facts", Value::Json(r#"{"pages": [1, 2.5]}"#.into())),
        ("lines", Value::List(vec![Value::Record(line)])),
        ("_id", Value::text("a column with a name of MongoDB's")),
    ]);
    step(&store, 1, 0, vec![put(&books, 1, row)]).await.unwrap();
    let mut documents = server.export(&database, "book");
    let ours = documents[0].as_object_mut().unwrap().remove("_hw").unwrap();
    assert!(ours["w"].as_str().unwrap().starts_with("0000000000000001-"), "{ours}");
    assert_eq!(ours["as"], json!({ "facts": true }), "how PostgreSQL writes JSON, and no second copy of it");
    let decimal = |digits: &str| json!({ "$numberDecimal": digits });
    let long = |n: i64| json!({ "$numberLong": n.to_string() });
    let expected = json!({
        "_id": "1",
        "id": long(1),
        "price": decimal("19.90"),
        "weight": 0.5,
        "none": null,
        "sold": true,
        "cover": { "$binary": "AQI=", "$type": "00" },
        "facts": { "pages": [long(1), 2.5] },
        "lines": [{ "isbn": "x", "price": decimal("9.90") }],
        "_hw_id": "a column with a name of MongoDB's",
    });
    assert_eq!(documents, [expected]);
    // What is deleted leaves a stamp, which the server removes in a day.
    step(&store, 1, 1, vec![ViewChange::Delete { view: books.clone(), key: key(1) }]).await.unwrap();
    let left = server.export(&database, "book");
    let names: Vec<&String> = left[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["_id", "_hw"]);
    assert!(left[0]["_hw"]["gone"].is_object(), "{left:?}");
    assert_eq!(store.rows(&books).await.unwrap(), 0);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_reason_and_the_rest_goes_on() {
    let Some(server) = server() else { return };
    let (store, _) = claimed(server, &database()).await;
    let mut sorted = (*view("shelf", Layout::Json)).clone();
    let by_title = Order { column: "title".into(), descending: false };
    sorted.indexes = vec![Index { by: vec![], order: vec![by_title] }];
    let shelf = Arc::new(sorted);
    store.prepare(&shelf).await.unwrap();
    let unsorted = view("book", Layout::Json);
    let changes = vec![
        put(&shelf, 1, book(1, &"t".repeat(2_000))),
        put(&shelf, 2, book(2, "short")),
        put(&unsorted, 3, book(3, &"x".repeat(17 << 20))),
        put(&unsorted, 4, book(4, &"x".repeat(15 << 20))),
    ];
    let refused = step(&store, 1, 0, changes).await.unwrap();
    let reasons: Vec<(&str, &str)> = refused.iter().map(|r| (&*r.key, &*r.reason)).collect();
    assert!(
        matches!(&reasons[..], [("1", place), ("3", large)] if place.contains("index 0") && large.contains("16711680")),
        "{reasons:?}"
    );
    let read = RangeRead {
        view: shelf.clone(),
        index: 0,
        by: vec![],
        from: None,
        to: None,
        after: None,
        reverse: false,
        limit: 10,
    };
    let Found::Page { documents, .. } = store.answer(&Read::Range(read)).await.unwrap().found else {
        panic!("no page")
    };
    assert_eq!(documents.iter().map(|found| &*found.key).collect::<Vec<_>>(), ["2"]);
    assert_eq!(keys(&store, &unsorted).await, ["4"]);
}

#[tokio::test]
async fn an_index_that_a_view_has_no_more_is_dropped() {
    let Some(server) = server() else { return };
    let database = database();
    let (store, books) = claimed(server, &database).await;
    let by =
        |column: &str| Index { by: vec![], order: vec![Order { column: column.into(), descending: false }] };
    let with = |indexes: Vec<Index>| {
        let mut view = (*books).clone();
        view.indexes = indexes;
        view
    };
    store.prepare(&with(vec![by("title"), by("id")])).await.unwrap();
    store.prepare(&with(vec![by("title"), by("id")])).await.unwrap();
    store.prepare(&with(vec![by("title")])).await.unwrap();
    // An index that is not there cannot be dropped, one that is there can.
    server.run(&database, &json!({ "dropIndexes": "book", "index": "hw_p0" }));
    let gone = std::panic::catch_unwind(|| {
        server.run(&database, &json!({ "dropIndexes": "book", "index": "hw_p1" }))
    });
    assert!(gone.is_err());
}
