//! Keys and places that are long, alike, or made of any bytes.

use std::sync::Arc;

use headwater_model::{
    Bound, Epoch, Found, Index, Key, Offset, Order, RangeRead, Read, Store as _, Value, View, ViewChange,
};
use headwater_testkit::Flavour;

use super::{database, flat, store};
use crate::store_promises::{held, key, put, record, step};

of_both!(a_key_that_is_too_long_is_refused_and_the_rest_goes_on, long_values_have_their_places_too,);

fn row(view: &Arc<View>, key: Key, fields: &[(&str, Value)]) -> ViewChange {
    ViewChange::Put { view: view.clone(), key, moved_from: None, document: record(fields) }
}

async fn a_key_that_is_too_long_is_refused_and_the_rest_goes_on(flavour: Flavour) {
    let store = store(flavour, &database(flavour));
    let books = flat("books");
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    let one = [("n", Value::Int(1))];
    let long = |length: usize| Key(vec![Value::text("k".repeat(length))]);
    let mut apply = store.begin(Epoch(1), Offset(0)).await.unwrap();
    let large = [("n", Value::text("\\".repeat(9 << 20)))];
    let changes = vec![
        row(&books, long(3073), &one),
        row(&books, long(3072), &one),
        row(&books, key(2), &large),
        row(&books, key(3), &one),
    ];
    let refusals = apply.write(changes).await.unwrap();
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals[0].reason.contains("the key has 3073 bytes"), "{refusals:?}");
    assert!(refusals[1].key == "2" && refusals[1].reason.contains("max_allowed_packet"), "{refusals:?}");
    apply.commit(&held(1, 1)).await.unwrap();
    assert_eq!(store.rows(&books).await.unwrap(), 2);
}

/// Texts that no index takes whole, and that differ only at their ends.
async fn long_values_have_their_places_too(flavour: Flavour) {
    let store = store(flavour, &database(flavour));
    let order = |column: &str| Order { column: column.into(), descending: false };
    let by_title = Index { by: vec!["shelf".into()], order: vec![order("title")] };
    let books = Arc::new(View { indexes: vec![by_title], ..(*flat("books")).clone() });
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&books).await.unwrap();
    // Some end where the index ends, some before, some behind.
    for (shelf_len, title_len) in [(2500, 3000), (3, 980), (3, 985), (3, 990), (3, 995), (3, 10)] {
        let offset = store.held().await.unwrap().unwrap().offset.0;
        let title = |n: i64| Value::text(format!("{}{n}", "t".repeat(title_len)));
        let shelf = Value::text("s".repeat(shelf_len));
        let changes = (0..9).map(|n| put(&books, n, &[("title", title(8 - n)), ("shelf", shelf.clone())]));
        step(&*store, 1, offset, changes.collect()).await;
        let read = |after, reverse| {
            Read::Range(RangeRead {
                view: books.clone(),
                index: 0,
                by: vec![shelf.clone()],
                from: Some(Bound { value: title(2), inclusive: true }),
                to: Some(Bound { value: title(7), inclusive: false }),
                after,
                reverse,
                limit: 3,
            })
        };
        let page = async |after, reverse| {
            let found = store.answer(&read(after, reverse)).await.unwrap().found;
            let Found::Page { documents, next } = found else { panic!("a page") };
            (documents.into_iter().map(|found| found.key).collect::<Vec<_>>(), next)
        };
        let (keys, next) = page(None, false).await;
        assert_eq!(keys, ["6", "5", "4"], "{title_len}");
        let (keys, next) = page(next, false).await;
        assert_eq!((keys, next), (vec!["3".to_owned(), "2".to_owned()], None), "{title_len}");
        assert_eq!(page(None, true).await.0, ["2", "3", "4"], "{title_len}");
    }
}
