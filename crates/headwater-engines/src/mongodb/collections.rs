//! The collections of a view: what they are called, and their indexes.
//!
//! | collection | content |
//! |---|---|
//! | the store's prefix and the view's name | the documents |
//! | the prefix and `headwater_state` | the position: no view is called so |
//!
//! Index `hw_pN` holds where documents stand in the view's index N; `hw_gone` has the server remove what deleted documents
//! leave, a day later.

use headwater_model::{Result, View};
use mongodb::bson::{Bson, Document, doc};

use super::item::{GONE, place_field};
use super::server::{Server, batch};

/// What is left of a deleted document stays so long.
const TOMBSTONE_SECONDS: i64 = 86_400;

pub(super) fn of_documents(prefix: &str, view: &str) -> String {
    format!("{prefix}{view}")
}

pub(super) fn of_state(prefix: &str) -> String {
    format!("{prefix}headwater_state")
}

/// The collection and its indexes are there, and no index that the view has no more.
pub(super) async fn prepare(server: &Server, collection: &str, view: &View) -> Result<()> {
    let doing = format!("prepare the view \"{}\"", view.name);
    let indexes: Vec<Bson> =
        std::iter::once(gone()).chain((0..view.indexes.len()).map(place)).map(Bson::Document).collect();
    server.write(&doing, &doc! { "createIndexes": collection, "indexes": indexes }).await?;
    for name in names(server, &doing, collection).await? {
        let number = name.strip_prefix("hw_p").and_then(|number| number.parse::<usize>().ok());
        if number.is_some_and(|number| number >= view.indexes.len()) {
            server.write(&doing, &doc! { "dropIndexes": collection, "index": name }).await?;
        }
    }
    Ok(())
}

/// The index that has the server remove what deleted documents leave.
pub(super) fn gone() -> Document {
    doc! { "key": { GONE: 1 }, "name": "hw_gone", "sparse": true, "expireAfterSeconds": TOMBSTONE_SECONDS }
}

/// The index over where documents stand in the view's index `number`.
pub(super) fn place(number: usize) -> Document {
    doc! { "key": { place_field(number): 1 }, "name": format!("hw_p{number}"), "sparse": true }
}

async fn names(server: &Server, doing: &str, collection: &str) -> Result<Vec<String>> {
    let found =
        server.run(doing, &doc! { "listIndexes": collection, "cursor": { "batchSize": 1000 } }).await?;
    let name = |index: &Document| index.get_str("name").ok().map(str::to_owned);
    Ok(batch(found).iter().filter_map(name).collect())
}
