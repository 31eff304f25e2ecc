//! Reading a chunk: a part of a table, or single items, strongly consistent.
//!
//! The order of a table is that of the service's own hashes of keys, and a scan goes on behind any key; a chunk has the next part of
//! each of several [`Segments`] of the table, which are read at the same time. A scan is no snapshot: each
//! item is as it was when it was read, which is after the chunk began. So the chunk shows at least everything that its stream had
//! told of by then ([`headwater_model::Moment::At`]); whatever is told of later decides over the item that was read, key by key.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity};
use headwater_model::{Chunk, ChunkRange, Error, Moment, Position, Result};
use tokio::time::Instant;

use super::segments::{Place, Segments};
use super::shape::Shape;
use super::value::Item;
use crate::dynamodb::failure::failure;
use crate::dynamodb::item::size;

/// Of one request, as the service says.
const KEYS_MAX: usize = 100;

/// Waits between requests that leave keys over because the table is throttled.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const TRIES_MAX: u32 = 10;

/// Lets no more be read per second than the file allows.
#[derive(Default)]
pub(super) struct Pace {
    units_per_second: Option<u32>,
    /// When what was read so far is paid for.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(units_per_second: Option<u32>) -> Pace {
        Pace { units_per_second, free_at: Mutex::default() }
    }

    async fn wait(&self) {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free_at) = free_at {
            tokio::time::sleep_until(free_at).await;
        }
    }

    fn used(&self, consumed: Option<&ConsumedCapacity>) {
        let Some(rate) = self.units_per_second else { return };
        let units = consumed.and_then(|consumed| consumed.capacity_units).unwrap_or_default().max(0.0);
        let now = Instant::now();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = free_at.map_or(now, |at| at.max(now));
        *free_at = Some(from + Duration::from_secs_f64(units / f64::from(rate)));
    }
}

pub(super) async fn read(
    client: &Client,
    pace: &Pace,
    shape: &Shape,
    position: Position,
    range: &ChunkRange,
    segments: usize,
) -> Result<Chunk> {
    let mut chunk = Chunk {
        table: shape.table.clone(),
        rows: Vec::with_capacity(range.limit.min(10_000)),
        refused: Vec::new(),
        upto: None,
        moment: Moment::At(position),
        last: true,
    };
    let read = match range.keys.is_empty() {
        true => scan(client, pace, shape, range, segments, &mut chunk).await,
        false => get(client, pace, shape, range, &mut chunk).await,
    };
    read.map_err(|error| error.while_doing(format_args!("read a chunk of table {}", range.table)))?;
    Ok(chunk)
}

fn take(shape: &Shape, item: &Item, chunk: &mut Chunk) {
    match shape.row(item) {
        Ok(row) => chunk.rows.push(row),
        Err(refused) => chunk.refused.push(refused),
    }
}

/// The next part of every segment that has one, at the same time.
async fn scan(
    client: &Client,
    pace: &Pace,
    shape: &Shape,
    range: &ChunkRange,
    segments: usize,
    chunk: &mut Chunk,
) -> Result<()> {
    let mut reached = Segments::behind(range.after.as_ref(), segments, shape)?;
    let (total, open) = (reached.0.len(), reached.open());
    let limit = range.limit.max(1);
    let now = open.len().min(limit);
    let parts = open[..now].iter().enumerate().map(|(nth, segment)| Part {
        segment: *segment,
        total,
        from: &reached.0[*segment],
        // Together as many as the chunk may have.
        limit: limit / now + usize::from(nth < limit % now),
        bytes_max: range.bytes_max / now,
    });
    let reads = parts.map(|part| part.read(client, pace, shape, &range.table.name));
    let read = futures::future::try_join_all(reads).await?;
    chunk.last = now == open.len() && read.iter().all(|(_, place)| *place == Place::End);
    for (segment, (items, place)) in open.into_iter().zip(read) {
        items.iter().for_each(|item| take(shape, item, chunk));
        match (place, items.last()) {
            // Of a scan in one the last key is told, be it the end or not.
            (Place::End, Some(last)) if total == 1 => reached.0[segment] = Place::After(shape.key(last)),
            (Place::End, None) if total == 1 => {}
            (place, _) => reached.0[segment] = place,
        }
    }
    chunk.upto = reached.upto();
    Ok(())
}

/// What a chunk has of one segment.
struct Part<'c> {
    segment: usize,
    total: usize,
    from: &'c Place,
    limit: usize,
    bytes_max: usize,
}

impl Part<'_> {
    /// Items, and how far the segment is read with them.
    async fn read(
        self,
        client: &Client,
        pace: &Pace,
        shape: &Shape,
        table: &str,
    ) -> Result<(Vec<Item>, Place)> {
        let mut start = match self.from {
            Place::After(key) => Some(shape.attributes(key).ok_or_else(|| {
                Error::out_of_step(format!("the chunk begins behind {key}, which is no key of the table now"))
            })?),
            Place::Start | Place::End => None,
        };
        let number = |n: usize| (self.total > 1).then(|| i32::try_from(n).unwrap_or(i32::MAX));
        let (mut items, mut bytes) = (Vec::new(), 0);
        loop {
            pace.wait().await;
            let request = (client.scan())
                .table_name(table)
                .consistent_read(true)
                .set_segment(number(self.segment))
                .set_total_segments(number(self.total))
                .limit(i32::try_from(self.limit - items.len()).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(start);
            let page = request.send().await.map_err(|e| failure("scan", e))?;
            pace.used(page.consumed_capacity());
            bytes += page.items().iter().map(size).sum::<usize>();
            items.extend(page.items.unwrap_or_default());
            let Some(last) = page.last_evaluated_key else { return Ok((items, Place::End)) };
            if items.len() >= self.limit || bytes > self.bytes_max {
                return Ok((items, Place::After(shape.key(&last))));
            }
            start = Some(last);
        }
    }
}

async fn get(
    client: &Client,
    pace: &Pace,
    shape: &Shape,
    range: &ChunkRange,
    chunk: &mut Chunk,
) -> Result<()> {
    let mut seen = HashSet::new();
    let distinct = range.keys.iter().filter(|key| seen.insert(key.to_bytes()));
    let wanted: Vec<Item> = distinct.filter_map(|key| shape.attributes(key)).collect();
    for some in wanted.chunks(KEYS_MAX) {
        let mut left = some.to_vec();
        let mut tries = 0;
        while !left.is_empty() {
            pace.wait().await;
            let keys = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(left)).build();
            let keys = keys.map_err(|e| Error::bug("a request for keys is incomplete").with_cause(e))?;
            let request = (client.batch_get_item())
                .set_request_items(Some(HashMap::from([(range.table.name.to_string(), keys)])))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let page = request.send().await.map_err(|e| failure("get items", e))?;
            page.consumed_capacity().iter().for_each(|consumed| pace.used(Some(consumed)));
            let items = page.responses.unwrap_or_default().remove(&*range.table.name).unwrap_or_default();
            items.iter().for_each(|item| take(shape, item, chunk));
            left = (page.unprocessed_keys.unwrap_or_default().remove(&*range.table.name))
                .map(|keys| keys.keys)
                .unwrap_or_default();
            if !left.is_empty() {
                tries += 1;
                if tries >= TRIES_MAX {
                    return Err(Error::new(
                        headwater_model::ErrorKind::Throttled,
                        "the service leaves keys over, again and again",
                    )
                    .with_remedy("raise the table's read capacity or make it on-demand"));
                }
                tokio::time::sleep(FIRST_WAIT * (1 << tries.min(6))).await;
            }
        }
    }
    Ok(())
}
