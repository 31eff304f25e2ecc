//! Writes that come late: of a former owner, of a step that is written again.

use headwater_model::{ErrorKind, StoredBody};

use super::*;

#[tokio::test]
async fn what_a_former_owner_still_writes_changes_nothing() {
    let Some(server) = server() else { return };
    let database = database();
    let (former, books) = claimed(server, &database).await;
    // It takes keys for new that it has not seen since.
    let clear = ViewChange::Clear { view: books.clone() };
    let old = vec![clear, put(&books, 1, book(1, "old")), put(&books, 2, book(2, "old"))];
    step(&former, 1, 0, old).await.unwrap();
    let mut late = former.begin(Epoch(1), Offset(1)).await.unwrap();
    let late_changes = vec![
        put(&books, 1, book(1, "late")),
        put(&books, 3, book(3, "late")),
        ViewChange::Delete { view: books.clone(), key: key(2) },
    ];
    late.write(late_changes).await.unwrap();
    let owner = store(server, &database);
    owner.claim(Epoch(2)).await.unwrap();
    let delete = ViewChange::Delete { view: books.clone(), key: key(3) };
    step(&owner, 2, 1, vec![put(&books, 1, book(1, "new")), put(&books, 3, book(3, "new"))]).await.unwrap();
    step(&owner, 2, 2, vec![delete]).await.unwrap();
    let error = late.commit(&held(1, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    // Deleted is deleted; a key that the new owner has not written yet it will.
    assert!(!keys(&owner, &books).await.contains(&key(3).to_text()));
    let new = Some(StoredBody::Json(book(1, "new").to_json().into()));
    assert_eq!(document(&owner, &books, 1).await, new);
}

/// What the store has under a key.
async fn document(store: &Store, view: &Arc<View>, id: i64) -> Option<StoredBody> {
    headwater_testkit::read::document(store, view, &key(id)).await.unwrap()
}

#[tokio::test]
async fn a_step_that_was_written_in_part_is_replayed_in_smaller_ones_without_a_step_back() {
    let Some(server) = server() else { return };
    let database = database();
    let (store, books) = claimed(server, &database).await;
    let mut lost = store.begin(Epoch(1), Offset(0)).await.unwrap();
    lost.write(vec![put(&books, 1, book(1, "third")), put(&books, 2, book(2, "third"))]).await.unwrap();
    let owner = super::store(server, &database);
    owner.claim(Epoch(1)).await.unwrap();
    // Its rows are written, its position is not.
    let error = lost.commit(&held(1, 3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfStep, "{error:?}");
    let third = |id| Some(StoredBody::Json(book(id, "third").to_json().into()));
    let delete = ViewChange::Delete { view: books.clone(), key: key(2) };
    step(&owner, 1, 0, vec![put(&books, 1, book(1, "first")), delete]).await.unwrap();
    assert_eq!((document(&owner, &books, 1).await, document(&owner, &books, 2).await), (third(1), third(2)));
    for after in 1..3 {
        step(&owner, 1, after, vec![put(&books, 1, book(1, "later"))]).await.unwrap();
    }
    let later = Some(StoredBody::Json(book(1, "later").to_json().into()));
    assert_eq!((document(&owner, &books, 1).await, document(&owner, &books, 2).await), (later, third(2)));
}

#[tokio::test]
async fn a_view_that_is_emptied_takes_whatever_was_there() {
    let Some(server) = server() else { return };
    let database = database();
    let (store, books) = claimed(server, &database).await;
    let many: Vec<ViewChange> = (0..2_500).map(|id| put(&books, id, book(id, "x"))).collect();
    step(&store, 1, 0, many).await.unwrap();
    // Somebody else's: under a key as ours are, and under one that is none.
    let foreign = serde_json::json!([{ "_id": "foreign", "title": "y" }, { "_id": 7, "title": "z" }]);
    server.run(&database, &serde_json::json!({ "insert": "book", "documents": foreign }));
    assert_eq!(store.rows(&books).await.unwrap(), 2_502);
    let clear = ViewChange::Clear { view: books.clone() };
    step(&store, 1, 1, vec![clear, put(&books, 5, book(5, "again"))]).await.unwrap();
    assert_eq!(keys(&store, &books).await, [key(5).to_text()]);
    // The one that no key leads to is left alone, and counted.
    assert_eq!(store.rows(&books).await.unwrap(), 2);
}

#[tokio::test]
async fn what_somebody_puts_under_a_key_that_is_new_gives_way() {
    let Some(server) = server() else { return };
    let database = database();
    let (store, books) = claimed(server, &database).await;
    step(&store, 1, 0, vec![ViewChange::Clear { view: books.clone() }]).await.unwrap();
    let (there, gone) = (key(3_000), key(3_001));
    let foreign = [&there, &gone].map(|key| serde_json::json!({ "_id": key.to_text(), "title": "foreign" }));
    server.run(&database, &serde_json::json!({ "insert": "book", "documents": foreign }));
    let mut changes: Vec<ViewChange> = (0..3_001).map(|id| put(&books, id, book(id, "ours"))).collect();
    changes.push(ViewChange::Delete { view: books.clone(), key: gone });
    step(&store, 1, 1, changes).await.unwrap();
    assert_eq!(store.rows(&books).await.unwrap(), 3_001);
    let ours = Some(StoredBody::Json(book(3_000, "ours").to_json().into()));
    assert_eq!(document(&store, &books, 3_000).await, ours);
}
