//! Access patterns. The position is read first, then what is asked for, all of it strongly consistent: an answer shows what
//! the store held there, or something newer.
//!
//! A place in an index is believed only where its document says that it stands there: there may be places of documents
//! that moved or are yet to be written. A document that moved meanwhile is taken from where it stands now.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use futures::{StreamExt, TryStreamExt, stream};
use headwater_model::{
    Answer, AnswerMoment, Astray, Error, Found, Key, RangeRead, Reached, Read, Result, Standing,
    Stored as Document, StoredBody, View, WalkRead,
};

use super::codec;
use super::failure::failure;
use super::fetch;
use super::item::{Item, KEY, PART, SORT, Stored, binary, part_of, place_key};
use super::meter::Of;
use super::store::Shared;
use crate::entries::{self, Entry};
use crate::span::Span;
use crate::versioned::{Engine as _, What};
use crate::walk::{Part, walk_by_hops};

/// Places in one request: their documents are read next, a hundred per request.
const PLACES_MAX: usize = 100;

/// What a document is sorted by, and its key.
type Place = (Vec<u8>, String);

pub(super) async fn answer(shared: &Shared, read: &Read) -> Result<Answer> {
    let at = AnswerMoment::AtLeast(shared.held().await?);
    let found = match read {
        Read::Get { view, keys } => Found::Documents(get(shared, view, keys).await?),
        Read::Range(read) => range(shared, read).await?,
        Read::Walk(read) => Found::Reached(walked(shared, read).await?),
    };
    Ok(Answer { at, found })
}

/// Whether documents stand where they should. What they should not stand at is not believed, and not looked for.
pub(super) async fn astray(
    shared: &Shared,
    view: &View,
    asked: &[Standing],
) -> Result<(AnswerMoment, Vec<Astray>)> {
    let at = AnswerMoment::AtLeast(shared.held().await?);
    let keys = asked.iter().map(|standing| standing.key.to_string()).collect();
    let stored = shared.stored(view, keys, What::Ours).await?;
    let wanted = asked.iter().flat_map(|standing| &standing.should).map(Entry::from).collect();
    let placed = fetch::places(shared, &view.name, wanted).await?;
    let told = asked.iter().map(|standing| {
        let stored = stored.get(&*standing.key).filter(|stored| !stored.is_gone);
        let standing = Standing { should_not: Vec::new(), ..standing.clone() };
        entries::astray(&standing, stored.map_or(&[], |stored| &stored.places), |entry| {
            placed.get(&place_key(&Entry::from(entry))).is_some_and(|key| **key == *entry.key)
        })
    });
    Ok((at, told.collect()))
}

async fn get(shared: &Shared, view: &View, keys: &[Key]) -> Result<Vec<Option<StoredBody>>> {
    let texts: Vec<String> = keys.iter().map(Key::to_text).collect();
    let stored = shared.stored(view, texts.iter().cloned().collect(), What::All).await?;
    let mut bodies = HashMap::with_capacity(stored.len());
    for (key, stored) in stored {
        if !stored.is_gone {
            bodies.insert(key, codec::decode(view.layout(), &stored.body)?);
        }
    }
    Ok(texts.iter().map(|key| bodies.get(key).cloned()).collect())
}

async fn range(shared: &Shared, read: &RangeRead) -> Result<Found> {
    let nothing = Found::Page { documents: Vec::new(), next: None };
    let Some(span) = Span::of(read)? else { return Ok(nothing) };
    let (view, limit, layout) = (&*read.view, read.limit.max(1), read.view.layout());
    let mut places = Places::of(shared, view, read.index, &span, read.reverse)?;
    // By the bytes at which a document stands now. What lies behind the last place that was read may lack others.
    let mut known: BTreeMap<Vec<u8>, Document> = BTreeMap::new();
    loop {
        let page = places.next(limit + 1).await?;
        let reached = page.last().map(|(sort, _)| sort.clone());
        for (key, stored) in documents(shared, view, page, What::All).await? {
            if let Some(sort) = place_in(&stored, read.index, &span) {
                known.insert(sort, Document { key, body: codec::decode(layout, &stored.body)? });
            }
        }
        let is_passed = |sort: &Vec<u8>| match &reached {
            _ if places.is_done() => true,
            Some(reached) if read.reverse => sort >= reached,
            Some(reached) => sort <= reached,
            None => false,
        };
        let passed = known.keys().filter(|sort| is_passed(sort)).count();
        if !places.is_done() && passed <= limit {
            continue;
        }
        let mut sorted: Vec<(Vec<u8>, Document)> =
            known.into_iter().filter(|(sort, _)| is_passed(sort)).collect();
        if read.reverse {
            sorted.reverse();
        }
        let more = sorted.len() > limit;
        sorted.truncate(limit);
        let next = sorted.last().filter(|_| more).map(|(sort, _)| sort.clone());
        let documents = sorted.into_iter().map(|(_, document)| document).collect();
        return Ok(Found::Page { documents, next });
    }
}

/// Where a document stands in an index, if that is within the span.
fn place_in(stored: &Stored, index: usize, span: &Span) -> Option<Vec<u8>> {
    let entry = stored.places.iter().find(|entry| usize::from(entry.index) == index)?;
    let sort = entry.sort();
    let within = entry.part() == span.part
        && sort >= &span.lower[..]
        && span.upper.as_ref().is_none_or(|upper| sort < &upper[..]);
    within.then(|| sort.to_vec())
}

/// The documents of places, each once, as they are now.
async fn documents(
    shared: &Shared,
    view: &View,
    places: Vec<Place>,
    what: What,
) -> Result<Vec<(String, Stored)>> {
    let keys = places.into_iter().map(|(_, key)| key).collect();
    let stored = shared.stored(view, keys, what).await?;
    Ok(stored.into_iter().filter(|(_, stored)| !stored.is_gone).collect())
}

/// The places of a span, in order.
struct Places<'s> {
    shared: &'s Shared,
    view: &'s View,
    table: String,
    part: Vec<u8>,
    span: &'s Span,
    reverse: bool,
    start: Option<Item>,
    done: bool,
}

impl<'s> Places<'s> {
    fn of(
        shared: &'s Shared,
        view: &'s View,
        index: usize,
        span: &'s Span,
        reverse: bool,
    ) -> Result<Places<'s>> {
        let table = shared.places(&view.name);
        let index = u16::try_from(index).map_err(|_| Error::bug("a view has too many indexes"))?;
        let part = part_of(index, &span.part);
        // No document stands where the service takes no key.
        let done = part.len() > codec::KEY_BYTES_MAX;
        Ok(Places { shared, view, table, part, span, reverse, start: None, done })
    }

    fn is_done(&self) -> bool {
        self.done
    }

    /// The next places and the keys of their documents: about `limit`, perhaps fewer.
    async fn next(&mut self, limit: usize) -> Result<Vec<Place>> {
        if self.done {
            return Ok(Vec::new());
        }
        let limit = limit.min(PLACES_MAX);
        let request = self
            .shared
            .client()
            .await
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(!self.reverse)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .expression_attribute_names("#part", PART)
            .expression_attribute_values(":part", binary(&self.part[..]))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(self.start.take());
        let request = within(request, self.span);
        let doing = format!("read index of the view \"{}\"", self.view.name);
        let page = request.send().await.map_err(|e| failure(doing, e))?;
        self.shared.meter.read(&self.view.name, Of::Places, page.consumed_capacity());
        self.start = page.last_evaluated_key;
        self.done = self.start.is_none();
        let mut places = Vec::new();
        for item in page.items.unwrap_or_default() {
            let sort = item.get(SORT).and_then(|sort| sort.as_b().ok()).ok_or_else(|| codec::broken(SORT))?;
            let key = item.get(KEY).and_then(|key| key.as_s().ok()).ok_or_else(|| codec::broken(KEY))?;
            places.push((sort.as_ref().to_vec(), key.clone()));
        }
        Ok(places)
    }
}

/// The span's bounds as a condition. The upper one is not to be in it, which BETWEEN cannot say: whoever asks looks at
/// where documents stand anyway.
fn within(request: QueryFluentBuilder, span: &Span) -> QueryFluentBuilder {
    // Longer bytes than a key may have: cut, they bound a little more, or exactly as much.
    let cut = |bytes: &[u8]| bytes[..bytes.len().min(codec::SORT_BYTES_MAX)].to_vec();
    let (lower, upper) = (cut(&span.lower), span.upper.as_deref().map(cut));
    let has_lower = !lower.is_empty();
    let condition = match (has_lower, &upper) {
        (false, None) => "#part = :part",
        (true, None) => "#part = :part AND #sort >= :lower",
        (false, Some(_)) => "#part = :part AND #sort <= :upper",
        (true, Some(_)) => "#part = :part AND #sort BETWEEN :lower AND :upper",
    };
    let mut request = request.key_condition_expression(condition);
    if has_lower || upper.is_some() {
        request = request.expression_attribute_names("#sort", SORT);
    }
    if has_lower {
        request = request.expression_attribute_values(":lower", binary(lower));
    }
    if let Some(upper) = upper {
        request = request.expression_attribute_values(":upper", binary(upper));
    }
    request
}

async fn walked(shared: &Shared, read: &WalkRead) -> Result<Vec<Reached>> {
    walk_by_hops(read, |parts| edges(shared, parts, read.edges_max)).await
}

/// The edges of parts: of each no more than one page beyond what the walk may read.
async fn edges(shared: &Shared, parts: Vec<Part<'_>>, edges_max: usize) -> Result<Vec<Vec<Vec<u8>>>> {
    let spans: Vec<Span> =
        (parts.iter()).map(|part| Span { part: part.part.clone(), lower: Vec::new(), upper: None }).collect();
    let mut open = Vec::with_capacity(spans.len());
    for (part, span) in parts.iter().zip(&spans) {
        open.push(Places::of(shared, part.view, part.index, span, false)?);
    }
    // By the key of the edge's document.
    let mut found: Vec<HashMap<String, Vec<u8>>> = vec![HashMap::new(); spans.len()];
    loop {
        let mut asked = Vec::new();
        for (places, found) in open.iter_mut().zip(&found) {
            if !places.is_done() && found.len() <= edges_max {
                asked.push(async move { Ok::<_, Error>((places.view, places.next(PLACES_MAX).await?)) });
            }
        }
        let pages: Vec<(&View, Vec<Place>)> =
            stream::iter(asked).buffer_unordered(shared.config.requests).try_collect().await?;
        if pages.is_empty() {
            break;
        }
        let mut by_view: HashMap<&str, (&View, Vec<Place>)> = HashMap::new();
        for (view, page) in pages {
            by_view.entry(&view.name).or_insert_with(|| (view, Vec::new())).1.extend(page);
        }
        for (view, places) in by_view.into_values() {
            for (key, stored) in documents(shared, view, places, What::Ours).await? {
                for ((part, span), found) in parts.iter().zip(&spans).zip(&mut found) {
                    if part.view.name == view.name
                        && let Some(sort) = place_in(&stored, part.index, span)
                    {
                        found.insert(key.clone(), sort);
                    }
                }
            }
        }
    }
    Ok(found.into_iter().map(|found| found.into_values().collect()).collect())
}
