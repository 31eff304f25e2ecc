//! Reads, each answered under one lock, so that documents and position are of one moment.

use std::ops::Bound;
use std::sync::Arc;

use headwater_model::{
    Answer, AnswerMoment, Error, Found, Key, RangeRead, Read, Result, Stored, StoredBody, View, WalkRead,
};
use smol_str::SmolStr;

use super::state::{Documents, State};
use crate::span::Span;
use crate::walk::walk;

pub(super) fn answer(state: &State, read: &Read) -> Result<Answer> {
    let held = state.held.as_ref().ok_or_else(empty)?;
    let at = AnswerMoment::Applied(held.clone());
    let found = match read {
        Read::Get { view, keys } => Found::Documents(documents(state, view, keys)),
        Read::Range(read) => range(state, read)?,
        Read::Walk(read) => Found::Reached(reached(state, read)?),
    };
    Ok(Answer { at, found })
}

pub(super) fn empty() -> Error {
    Error::out_of_step("the store in memory is empty")
}

fn documents(state: &State, view: &View, keys: &[Key]) -> Vec<Option<StoredBody>> {
    let Some(documents) = state.views.get(&view.name) else { return vec![None; keys.len()] };
    let mut text = Vec::with_capacity(32);
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        text.clear();
        key.write_text(&mut text);
        let document = std::str::from_utf8(&text).ok().and_then(|key| documents.by_key.get(key));
        found.push(document.map(|document| StoredBody::Json(Arc::clone(&document.json))));
    }
    found
}

fn range(state: &State, read: &RangeRead) -> Result<Found> {
    let nothing = Found::Page { documents: Vec::new(), next: None };
    let Some(span) = Span::of(read)? else { return Ok(nothing) };
    let Some(documents) = state.views.get(&read.view.name) else { return Ok(nothing) };
    let (lower, upper) = span.with_part();
    let mut entries = entries(documents, read.index, &lower, upper.as_deref());
    // `Span` makes no empty one, so the order of the bounds is right.
    let mut next = || if read.reverse { entries.next_back() } else { entries.next() };
    let limit = read.limit.max(1);
    let (mut page, mut last) = (Vec::with_capacity(limit.min(64)), None);
    while let Some((bytes, key)) = next() {
        if page.len() == limit {
            return Ok(Found::Page { documents: page, next: last });
        }
        let document = documents.by_key.get(key).ok_or_else(|| {
            Error::bug(format!("an index of the view \"{}\" has a key without a document", read.view.name))
        })?;
        let body = StoredBody::Json(Arc::clone(&document.json));
        page.push(Stored { key: key.to_string(), body });
        if page.len() == limit {
            last = Some(bytes[span.part.len()..].to_vec());
        }
    }
    Ok(Found::Page { documents: page, next: None })
}

fn reached(state: &State, read: &WalkRead) -> Result<Vec<headwater_model::Reached>> {
    walk(read, |view, index, part, edges| {
        let Some(documents) = state.views.get(&view.name) else { return Ok(()) };
        let upper = crate::span::behind(part);
        for (bytes, _) in entries(documents, index, part, upper.as_deref()) {
            edges.take(&bytes[part.len()..])?;
        }
        Ok(())
    })
}

/// The entries of an index from `lower` on, before `upper`.
fn entries<'s>(
    documents: &'s Documents,
    index: usize,
    lower: &[u8],
    upper: Option<&[u8]>,
) -> impl DoubleEndedIterator<Item = (&'s Arc<[u8]>, &'s SmolStr)> {
    let upper = upper.map_or(Bound::Unbounded, Bound::Excluded);
    documents
        .indexes
        .get(index)
        .into_iter()
        .flat_map(move |entries| entries.range::<[u8], _>((Bound::Included(lower), upper)))
}
