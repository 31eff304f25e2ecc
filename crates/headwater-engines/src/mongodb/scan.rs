//! All documents of a view, page by page, in the order of their keys. A cursor is the key it ended at.
//!
//! What lies under an `_id` that is no text is none of ours, and nothing that a key leads to: it is left alone.

use headwater_model::{Result, Stored as Found, View};
use mongodb::bson::{Document, doc};

use super::item::{self, GONE, ID, LONG_KEY};
use super::server::count as counted;
use super::store::Shared;
use super::{codec, collections};

/// Documents of a page, and their bytes: each may be large.
const PAGE_MAX: usize = 1_000;
const BYTES_MAX: usize = 16 << 20;

pub(super) async fn page(
    shared: &Shared,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<Found>, Option<String>)> {
    let (found, next) = read(shared, view, cursor, limit, Document::new()).await?;
    let documents = found.into_iter().map(|document| {
        let (key, stored) = item::read(document)?;
        Ok(Found { key, body: codec::decode(view.layout(), &stored.body) })
    });
    Ok((documents.collect::<Result<_>>()?, next))
}

pub(super) async fn texts(
    shared: &Shared,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let (found, next) = read(shared, view, cursor, limit, doc! { "projection": { LONG_KEY: 1 } }).await?;
    let keys = found.into_iter().map(|document| Ok(item::read(document)?.0));
    Ok((keys.collect::<Result<_>>()?, next))
}

async fn read(
    shared: &Shared,
    view: &View,
    cursor: Option<String>,
    limit: usize,
    mut options: Document,
) -> Result<(Vec<Document>, Option<String>)> {
    let limit = limit.clamp(1, PAGE_MAX);
    let behind = match cursor {
        Some(key) => doc! { "$gt": key },
        None => doc! { "$gte": "" },
    };
    options.extend(doc! { "sort": { ID: 1 }, "limit": limit as i64 });
    let filter = doc! { ID: behind, GONE: { "$exists": false } };
    let collection = collections::of_documents(&shared.config.prefix, &view.name);
    let doing = format!("scan the view \"{}\"", view.name);
    let server = shared.server().await?;
    let (found, is_all) = server.find_up_to(BYTES_MAX, doing, &collection, filter, options).await?;
    let is_end = is_all && found.len() < limit;
    let last = found.last().and_then(|document| document.get_str(ID).ok()).map(str::to_owned);
    Ok((found, last.filter(|_| !is_end)))
}

/// All documents, by what the server counts anyway, less those that were deleted.
pub(super) async fn count(shared: &Shared, view: &View) -> Result<u64> {
    let server = shared.server().await?;
    let collection = collections::of_documents(&shared.config.prefix, &view.name);
    let doing = format!("count the view \"{}\"", view.name);
    let all = counted(&server.run(&doing, &doc! { "count": &*collection }).await?);
    let gone = doc! { "count": &*collection, "query": { GONE: { "$type": "date" } } };
    Ok(all.saturating_sub(counted(&server.run(&doing, &gone).await?)))
}
