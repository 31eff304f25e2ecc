//! Reads as tests want them: one document of a store.

use std::sync::Arc;

use headwater_model::{Found, Key, Read, Result, Store, StoredBody, View};

/// The document of a key. The errors are those of [`Store::answer`].
pub async fn document(store: &dyn Store, view: &Arc<View>, key: &Key) -> Result<Option<StoredBody>> {
    Ok(documents(store, view, vec![key.clone()]).await?.pop().flatten())
}

/// The documents of several keys, as one moment shows them.
pub async fn documents(
    store: &dyn Store,
    view: &Arc<View>,
    keys: Vec<Key>,
) -> Result<Vec<Option<StoredBody>>> {
    let asked = keys.len();
    match store.answer(&Read::Get { view: Arc::clone(view), keys }).await?.found {
        Found::Documents(documents) if documents.len() == asked => Ok(documents),
        found => panic!("a get of {asked} keys was answered with {found:?}"),
    }
}
