//! Access patterns. The position is read first, then what is asked for, both as a majority of the servers has them: an answer
//! shows what the store held there, or something newer.
//!
//! A document and its places change at once. But a query reads an index piece by piece, so that a document that moves
//! meanwhile may be met twice: then it is as it was met last.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use headwater_model::{
    Answer, AnswerMoment, Astray, Found, Key, RangeRead, Read, Result, Standing, Stored as Document,
    StoredBody, View,
};
use mongodb::bson::doc;

use super::item::{self, OURS, Stored, place_field, text};
use super::store::Shared;
use super::{codec, collections};
use crate::entries;
use crate::span::Span;
use crate::versioned::{Engine as _, What};
use crate::walk::{Part, walk_by_hops};

/// Parts of an index that a walk reads at a time.
const PARTS: usize = 16;

pub(super) async fn answer(shared: &Shared, read: &Read) -> Result<Answer> {
    let at = AnswerMoment::AtLeast(shared.held().await?);
    let found = match read {
        Read::Get { view, keys } => Found::Documents(get(shared, view, keys).await?),
        Read::Range(read) => range(shared, read).await?,
        Read::Walk(read) => {
            Found::Reached(walk_by_hops(read, |parts| edges(shared, parts, read.edges_max)).await?)
        }
    };
    Ok(Answer { at, found })
}

/// Whether documents stand where they should: as far as they say so, for the server's index is over what they say.
pub(super) async fn astray(
    shared: &Shared,
    view: &View,
    asked: &[Standing],
) -> Result<(AnswerMoment, Vec<Astray>)> {
    let at = AnswerMoment::AtLeast(shared.held().await?);
    let keys = asked.iter().map(|standing| standing.key.to_string()).collect();
    let stored = shared.stored(view, keys, What::Ours).await?;
    let told = asked.iter().map(|standing| {
        let stored = stored.get(&*standing.key).filter(|stored| !stored.is_gone);
        let places = stored.map_or(&[][..], |stored| &stored.places);
        entries::astray(standing, places, |entry| places.contains(&entry.into()))
    });
    Ok((at, told.collect()))
}

async fn get(shared: &Shared, view: &View, keys: &[Key]) -> Result<Vec<Option<StoredBody>>> {
    let texts: Vec<String> = keys.iter().map(Key::to_text).collect();
    let stored = shared.stored(view, texts.iter().cloned().collect(), What::All).await?;
    let body = |key: &String| {
        let stored = stored.get(key).filter(|stored| !stored.is_gone)?;
        Some(codec::decode(view.layout(), &stored.body))
    };
    Ok(texts.iter().map(body).collect())
}

async fn range(shared: &Shared, read: &RangeRead) -> Result<Found> {
    let Some(span) = Span::of(read)? else { return Ok(Found::Page { documents: Vec::new(), next: None }) };
    let limit = read.limit.max(1);
    let found = within(shared, &read.view, read.index, &span, read.reverse, limit + 1, What::All).await?;
    let more = found.len() > limit;
    let mut next = None;
    let mut documents = Vec::with_capacity(limit.min(found.len()));
    for (sort, key, stored) in found.into_iter().take(limit) {
        documents.push(Document { key, body: codec::decode(read.view.layout(), &stored.body) });
        next = Some(sort);
    }
    Ok(Found::Page { documents, next: next.filter(|_| more) })
}

/// The documents of a stretch of an index, in its order: by what they are sorted there, and their keys.
async fn within(
    shared: &Shared,
    view: &View,
    index: usize,
    span: &Span,
    reverse: bool,
    limit: usize,
    what: What,
) -> Result<Vec<(Vec<u8>, String, Stored)>> {
    let field = place_field(index);
    let (lower, upper) = span.with_part();
    let mut bounds = doc! { "$gte": text(&lower) };
    if let Some(upper) = upper {
        bounds.insert("$lt", text(&upper));
    }
    let mut options = doc! {
        "sort": { &*field: if reverse { -1 } else { 1 } },
        "limit": i64::try_from(limit).unwrap_or(i64::MAX),
    };
    if what == What::Ours {
        options.insert("projection", doc! { OURS: 1 });
    }
    let doing = format!("read an index of the view \"{}\"", view.name);
    let collection = collections::of_documents(&shared.config.prefix, &view.name);
    let found = shared.server().await?.find(doing, &collection, doc! { field: bounds }, options).await?;
    let mut newest: HashMap<String, Stored> = HashMap::with_capacity(found.len());
    for document in found {
        let (key, stored) = item::read(document)?;
        newest.insert(key, stored);
    }
    let mut sorted = BTreeMap::new();
    for (key, stored) in newest {
        let entry = stored.places.iter().find(|entry| usize::from(entry.index) == index);
        if let Some(sort) = entry.map(|entry| entry.sort().to_vec()) {
            sorted.insert(sort, (key, stored));
        }
    }
    let mut sorted: Vec<_> = sorted.into_iter().map(|(sort, (key, stored))| (sort, key, stored)).collect();
    if reverse {
        sorted.reverse();
    }
    Ok(sorted)
}

/// The edges of parts: of each no more than one beyond what the walk may read.
async fn edges(shared: &Shared, parts: Vec<Part<'_>>, edges_max: usize) -> Result<Vec<Vec<Vec<u8>>>> {
    let mut each = Vec::with_capacity(parts.len());
    for Part { view, index, part } in parts {
        each.push(async move {
            let span = Span { part, lower: Vec::new(), upper: None };
            let found = within(shared, view, index, &span, false, edges_max + 1, What::Ours).await?;
            Ok(found.into_iter().map(|(sort, ..)| sort).collect())
        });
    }
    stream::iter(each).buffered(PARTS).try_collect().await
}
