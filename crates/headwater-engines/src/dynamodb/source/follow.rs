//! A running read of all streams: a task that asks every open shard in turns, and a short queue that it fills.
//!
//! What a turn brought is one transaction and one position. DynamoDB orders the changes of a key and nothing else, so any
//! order of shards is right that has each shard's records in theirs. How far each shard was read is durable before the position is
//! handed on ([`super::state`]), so following again behind any position neither loses a record nor repeats one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::Client as Streams;
use aws_sdk_dynamodbstreams::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodbstreams::types::{OperationType, Record, ShardIteratorType, StreamStatus};
use futures::StreamExt as _;
use headwater_model::{Change, Error, Event, Follow, Position, Result, Row};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::marks::{Shared, Told};
use super::shape::{Shape, Shapes};
use super::shards::{Listed, Place};
use super::state::{Checkpoint, Lease, Owned, State, now_ms};
use super::value::{Item, streamed};
use crate::dynamodb::failure::failure;
use crate::dynamodb::item::size;

/// Turns that may wait for the consumer.
const TURNS_MAX: usize = 2;
/// Requests under way at a time.
pub(super) const REQUESTS_MAX: usize = 8;
/// Shards that are asked in one turn. An answer has up to 1 MB, so this bounds what a turn holds.
const SHARDS_PER_TURN: usize = 32;
/// Of one answer, as the service says.
pub(super) const RECORDS_MAX: i32 = 1000;

/// How often a stream is asked for its shards while all goes on, and while children are waited for.
const LIST_EVERY: Duration = Duration::from_secs(20);
const LIST_SOON: Duration = Duration::from_millis(500);

/// How often a quiet source is said to be quiet.
const TELL_EVERY: Duration = Duration::from_millis(400);

/// Records are kept for 24 hours: before one that is older than this when it is read, others may be gone.
pub(super) const TRIMMED_AFTER_MS: i64 = (24 * 60 - 30) * 60 * 1000;

/// Where nothing came by since a table was joined, records of so long before are read again: clocks differ.
pub(super) const CLOCKS_DIFFER_MS: i64 = 60 * 1000;

/// What a write unit writes of the larger one of an item before and after.
const UNIT_BYTES: usize = 1024;

/// Positions between one turn and the next, for marks.
const PLACES: u64 = 1 << 16;

/// The sequence of a position: of a turn, and the place behind it.
pub(super) fn sequence(number: u64, place: u64) -> u64 {
    number.saturating_mul(PLACES).saturating_add(place)
}

/// The number of a position's turn, and the place behind it.
pub(super) fn number(sequence: u64) -> (u64, u64) {
    (sequence / PLACES, sequence % PLACES)
}

/// The consumer's end. Dropping it ends the task, which gives the lease back.
pub(super) struct Following {
    turns: mpsc::Receiver<Result<Vec<Event>>>,
}

#[async_trait]
impl Follow for Following {
    async fn next(&mut self) -> Result<Vec<Event>> {
        let ended = || Err(Error::transient("following ended with the error given before"));
        self.turns.recv().await.unwrap_or_else(ended)
    }
}

/// Behind which position to go on, and as whom.
pub(super) struct Begin {
    pub(super) system: Arc<str>,
    pub(super) number: u64,
    pub(super) place: u64,
    pub(super) read: Checkpoint,
    /// Streams by table.
    pub(super) arns: BTreeMap<String, String>,
    /// Tables that are followed from this moment on, and were not before.
    pub(super) fresh: BTreeSet<String>,
    pub(super) lease: Lease,
}

/// Begins, with an iterator for every shard of the tables that are new: what is written to them from now on comes by.
pub(super) async fn start(
    streams: Streams,
    state: Arc<State>,
    shared: Arc<Shared>,
    shapes: Shapes,
    poll: Duration,
    renew_every: Duration,
    begin: Begin,
) -> Result<Following> {
    let now = Instant::now();
    let stream = |arn| Stream { arn, parents: BTreeMap::new(), list_at: now };
    let mut reading = Reading {
        streams,
        state,
        shared,
        shapes,
        poll,
        renew_every,
        lease: begin.lease,
        system: begin.system,
        number: begin.number,
        place: begin.place,
        read: begin.read,
        tables: begin.arns.into_iter().map(|(table, arn)| (table, stream(arn))).collect(),
        open: BTreeMap::new(),
        next: 0,
        committed_at: 0,
        told: now,
        renewed: now,
    };
    reading.list().await?;
    for (table, shard) in reading.readable() {
        if begin.fresh.contains(&table) && matches!(reading.place_of(&table, &shard), Place::Since(_)) {
            let arn = &reading.tables[&table].arn;
            let iterator = iterator(&reading.streams, arn, &shard, ShardIteratorType::Latest, None).await;
            let open = Open { iterator: Some(iterator.map_err(|e| e.of(&table))?), ..Open::default() };
            reading.open.insert((table, shard), open);
        }
    }
    reading.shared.reach(reading.position());
    let (sender, turns) = mpsc::channel(TURNS_MAX);
    tokio::spawn(async move {
        if let Err(error) = reading.run(&sender).await {
            let _ = sender.send(Err(error)).await;
        }
        // Whoever comes next need not wait for it to run out.
        let _ = reading.state.give_back(&reading.lease).await;
    });
    Ok(Following { turns })
}

struct Stream {
    arn: String,
    parents: BTreeMap<String, String>,
    list_at: Instant,
}

/// A shard that is being read.
#[derive(Default)]
struct Open {
    iterator: Option<String>,
    told: Told,
    /// Older records were there before the table was joined.
    skip_before_ms: Option<i64>,
}

struct Reading {
    streams: Streams,
    state: Arc<State>,
    shared: Arc<Shared>,
    shapes: Shapes,
    poll: Duration,
    renew_every: Duration,
    lease: Lease,
    system: Arc<str>,
    /// The newest position.
    number: u64,
    place: u64,
    read: Checkpoint,
    tables: BTreeMap<String, Stream>,
    /// By table and shard.
    open: BTreeMap<(String, String), Open>,
    /// Whose turn it is.
    next: usize,
    committed_at: i64,
    told: Instant,
    renewed: Instant,
}

/// What a shard answered.
struct Answered {
    shard: (String, String),
    asked_at: Instant,
    records: Vec<Record>,
    /// `None`: the shard is closed, and this was its end.
    iterator: Option<String>,
}

impl Reading {
    async fn run(&mut self, sender: &mpsc::Sender<Result<Vec<Event>>>) -> Result<()> {
        let mut round = Instant::now();
        loop {
            let events = tokio::select! {
                biased;
                () = sender.closed() => return Ok(()),
                events = self.turn() => events?,
            };
            if !events.is_empty() {
                self.told = Instant::now();
                if sender.send(Ok(events)).await.is_err() {
                    return Ok(());
                }
            }
            // Every shard is asked once in `poll`, however many turns they take.
            if self.next == 0 {
                tokio::select! {
                    biased;
                    () = sender.closed() => return Ok(()),
                    () = tokio::time::sleep(self.poll.saturating_sub(round.elapsed())) => {}
                }
                round = Instant::now();
            }
        }
    }

    async fn turn(&mut self) -> Result<Vec<Event>> {
        if self.tables.values().any(|stream| stream.list_at <= Instant::now()) {
            self.list().await?;
        }
        let answers = self.ask().await?;
        let mut changes = Vec::new();
        let mut moved = false;
        for answer in answers {
            moved |= self.take(answer, &mut changes)?;
        }
        let mut events = Vec::with_capacity(changes.len() + 4);
        if moved {
            self.advance().await?;
        }
        if !changes.is_empty() {
            events.push(Event::Begin { xid: None });
            events.append(&mut changes);
            events.push(Event::Commit { position: self.position(), committed_at: self.committed_at });
        }
        self.marks(&mut events).await?;
        if events.is_empty() && self.told.elapsed() >= TELL_EVERY {
            events.push(Event::Idle { position: self.position() });
        }
        if self.renewed.elapsed() >= self.renew_every {
            let owned = self.state.renew(&mut self.lease).await?;
            self.owned(owned)?;
        }
        Ok(events)
    }

    fn position(&self) -> Position {
        Position::new(Arc::clone(&self.system), sequence(self.number, self.place))
    }

    fn place_of(&self, table: &str, shard: &str) -> Place {
        self.read.get(table).and_then(|read| read.shards.0.get(shard)).cloned().unwrap_or(Place::Done)
    }

    fn readable(&self) -> Vec<(String, String)> {
        let of_table = |(table, read): (&String, &super::state::Read)| {
            let parents = self.tables.get(table).map(|stream| &stream.parents);
            let shards = parents.map(|parents| read.shards.readable(parents)).unwrap_or_default();
            shards.into_iter().map(|shard| (table.clone(), shard)).collect::<Vec<_>>()
        };
        self.read.iter().flat_map(of_table).collect()
    }

    /// What is read so far is durable under a new position.
    async fn advance(&mut self) -> Result<()> {
        let to = self.number + 1;
        let owned = self.state.advance(&mut self.lease, to, &self.read).await?;
        self.owned(owned)?;
        (self.number, self.place) = (to, 0);
        self.shared.reach(self.position());
        Ok(())
    }

    fn owned(&mut self, owned: Owned) -> Result<()> {
        self.renewed = Instant::now();
        match owned {
            Owned::Yes => Ok(()),
            Owned::No => Err(Error::transient("another instance follows these tables by now")),
        }
    }

    /// Asks the next shards for what they have.
    async fn ask(&mut self) -> Result<Vec<Answered>> {
        let readable = self.readable();
        self.open.retain(|shard, _| readable.contains(shard));
        if self.next >= readable.len() {
            self.next = 0;
        }
        let now = readable[self.next..].iter().take(SHARDS_PER_TURN);
        let mut asked = Vec::with_capacity(SHARDS_PER_TURN);
        for shard in now {
            let place = self.place_of(&shard.0, &shard.1);
            let open = self.open.entry(shard.clone()).or_default();
            if let (Place::Since(ms), None) = (&place, &open.iterator) {
                open.skip_before_ms = Some(ms.saturating_sub(CLOCKS_DIFFER_MS));
            }
            let arn = self.tables[&shard.0].arn.clone();
            asked.push(ask_one(&self.streams, arn, shard.clone(), place, open.iterator.take()));
        }
        self.next += asked.len();
        if self.next >= readable.len() {
            self.next = 0;
        }
        let mut answers = Vec::with_capacity(asked.len());
        let mut asked = futures::stream::iter(asked).buffer_unordered(REQUESTS_MAX);
        while let Some(answer) = asked.next().await {
            answers.extend(answer?);
        }
        Ok(answers)
    }

    /// Whether the shard was read further.
    fn take(&mut self, answer: Answered, out: &mut Vec<Event>) -> Result<bool> {
        let (table, shard) = &answer.shard;
        let Some(shape) = self.shapes.get(table) else {
            return Err(Error::bug(format!("nobody knows the shape of table {table}")));
        };
        let open = self.open.entry(answer.shard.clone()).or_default();
        if answer.records.is_empty() {
            open.told.empty_at = Some(answer.asked_at);
        }
        let mut after = None;
        for record in answer.records {
            let Some(told) = record.dynamodb else { continue };
            let made_ms = told.approximate_creation_date_time.and_then(|at| at.to_millis().ok()).unwrap_or(0);
            open.told.newest_ms = open.told.newest_ms.max(made_ms);
            if open.skip_before_ms.is_some_and(|before| made_ms < before) {
                continue;
            }
            open.skip_before_ms = None;
            if made_ms > 0 && made_ms < now_ms() - TRIMMED_AFTER_MS {
                return Err(Error::out_of_step(format!(
                    "the stream of table {table} is read almost 24 hours late: records before this one are deleted unread"
                )));
            }
            let number = told.sequence_number.ok_or_else(|| Error::bug("a record has no sequence number"))?;
            let image = |image: Option<_>| image.map(|image| known(table, image)).transpose();
            let (before, now) = (image(told.old_image)?, image(told.new_image)?);
            let (before, now) = match record.event_name {
                Some(OperationType::Insert) => (None, now),
                Some(OperationType::Modify) => (before, now),
                Some(OperationType::Remove) => (before.or(image(told.keys)?), None),
                other => return Err(Error::unsupported(format!("a record of table {table} is {other:?}"))),
            };
            if let Some(partition) = shape.partition(now.as_ref().or(before.as_ref())) {
                let bytes = [&before, &now].into_iter().flatten().map(size).max().unwrap_or(0);
                let units = bytes.div_ceil(UNIT_BYTES).max(1) as f64;
                self.shared.written(table, partition, units, made_ms);
            }
            change(shape, before, now, out);
            after = Some(Place::After(number));
            self.committed_at = self.committed_at.max(made_ms.saturating_mul(1000));
        }
        open.iterator = answer.iterator;
        if open.iterator.is_none() {
            after = Some(Place::Done);
            if let Some(stream) = self.tables.get_mut(table) {
                stream.list_at = Instant::now();
            }
        }
        let Some(after) = after else { return Ok(false) };
        if let Some(read) = self.read.get_mut(table) {
            read.shards.0.insert(shard.clone(), after);
        }
        Ok(true)
    }

    /// Marks that come by here.
    async fn marks(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let mut told = Vec::new();
        for (table, read) in &self.read {
            if read.shards.awaits_children() {
                return Ok(());
            }
            for (shard, place) in &read.shards.0 {
                if *place != Place::Done {
                    let open = self.open.get(&(table.clone(), shard.clone()));
                    told.push(open.map_or_else(Told::default, |open| open.told));
                }
            }
        }
        for chunk in self.shared.come_by(&told) {
            if self.place + 1 >= PLACES {
                self.advance().await?;
            }
            self.place += 1;
            out.push(Event::Mark { chunk, position: self.position() });
        }
        Ok(())
    }

    /// Takes in which shards there are.
    async fn list(&mut self) -> Result<()> {
        for (table, stream) in &mut self.tables {
            if stream.list_at > Instant::now() {
                continue;
            }
            let (listed, status) = list(&self.streams, &stream.arn).await.map_err(|e| e.of(table))?;
            let Some(read) = self.read.get_mut(table) else { continue };
            read.shards.learn(&listed).map_err(|e| e.while_doing(format_args!("follow table {table}")))?;
            if read.shards.is_at_end() && status == Some(StreamStatus::Disabled) {
                return Err(switched_off(table));
            }
            let wait = if read.shards.awaits_children() { LIST_SOON } else { LIST_EVERY };
            stream.list_at = Instant::now() + wait;
            stream.parents = listed.into_iter().filter_map(|shard| Some((shard.id, shard.parent?))).collect();
        }
        Ok(())
    }
}

fn switched_off(table: &str) -> Error {
    Error::transient(format!("the stream of table {table} was switched off, or the table deleted"))
        .with_remedy(format!(
            "switch it on again, and the table is read anew: aws dynamodb update-table --table-name {table} \
             --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
        ))
}

fn known(
    table: &str,
    image: std::collections::HashMap<String, aws_sdk_dynamodbstreams::types::AttributeValue>,
) -> Result<Item> {
    streamed(image).ok_or_else(|| {
        Error::unsupported(format!("an item of table {table} has an attribute of a type that is not known"))
    })
}

/// An item that is not handed on is, to those who get the others, not there.
fn change(shape: &Shape, before: Option<Item>, after: Option<Item>, out: &mut Vec<Event>) {
    let table = &shape.table;
    let mut admitted = |item: Option<&Item>, rows: u64| -> Option<Row> {
        match shape.row(item?) {
            Ok(row) => Some(row),
            Err(refused) => {
                out.push(Event::Refused(headwater_model::Refused { rows, ..refused }));
                None
            }
        }
    };
    let was = admitted(before.as_ref(), 0);
    let is = admitted(after.as_ref(), 1);
    let table = Arc::clone(table);
    let change = match (was, is) {
        (None, None) => return,
        (None, Some(row)) => Change::Insert { table, row },
        (Some(was), None) => Change::Delete { key: was.key(&table), table },
        (Some(_), Some(row)) => Change::Update { table, old_key: None, row },
    };
    out.push(Event::Change(change));
}

/// What the service says of a stream, before it is said of which table.
pub(super) struct Refusal {
    code: String,
    error: Error,
}

impl Refusal {
    pub(super) fn new<E>(doing: &str, error: aws_sdk_dynamodbstreams::error::SdkError<E>) -> Refusal
    where
        E: aws_sdk_dynamodbstreams::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Refusal { code: error.code().unwrap_or_default().to_owned(), error: failure(doing, error) }
    }

    pub(super) fn of(self, table: &str) -> Error {
        match &*self.code {
            "TrimmedDataAccessException" => Error::out_of_step(format!(
                "what comes next in the stream of table {table} is deleted: DynamoDB keeps records for 24 hours"
            )),
            "ResourceNotFoundException" => switched_off(table),
            _ => self.error.while_doing(format_args!("follow table {table}")),
        }
    }
}

/// All shards of a stream, and whether it is on.
pub(super) async fn listed(streams: &Streams, table: &str, arn: &str) -> Result<Vec<Listed>> {
    list(streams, arn).await.map(|(listed, _)| listed).map_err(|e| e.of(table))
}

async fn list(streams: &Streams, arn: &str) -> Result<(Vec<Listed>, Option<StreamStatus>), Refusal> {
    let (mut shards, mut start) = (Vec::new(), None);
    loop {
        let request = streams.describe_stream().stream_arn(arn).set_exclusive_start_shard_id(start);
        let page = request.send().await.map_err(|e| Refusal::new("describe the stream", e))?;
        let Some(described) = page.stream_description else { return Ok((shards, None)) };
        for shard in described.shards() {
            let Some(id) = shard.shard_id() else { continue };
            let range = shard.sequence_number_range();
            shards.push(Listed {
                id: id.to_owned(),
                parent: shard.parent_shard_id().map(str::to_owned),
                is_closed: range.is_some_and(|range| range.ending_sequence_number().is_some()),
            });
        }
        start = described.last_evaluated_shard_id;
        if start.is_none() {
            return Ok((shards, described.stream_status));
        }
    }
}

pub(super) async fn iterator(
    streams: &Streams,
    arn: &str,
    shard: &str,
    kind: ShardIteratorType,
    number: Option<String>,
) -> Result<String, Refusal> {
    let request = (streams.get_shard_iterator())
        .stream_arn(arn)
        .shard_id(shard)
        .shard_iterator_type(kind)
        .set_sequence_number(number);
    let answer = request.send().await.map_err(|e| Refusal::new("ask for an iterator", e))?;
    answer.shard_iterator.ok_or_else(|| Refusal {
        code: String::new(),
        error: Error::transient("the service gave no iterator"),
    })
}

/// `None` if the iterator is of no use any more: it is asked for anew in the next turn.
async fn ask_one(
    streams: &Streams,
    arn: String,
    shard: (String, String),
    place: Place,
    known: Option<String>,
) -> Result<Option<Answered>> {
    let asked_at = Instant::now();
    let of = |refusal: Refusal| refusal.of(&shard.0);
    // Nothing was told of yet that could be missed; an iterator that was given for an empty shard may be refused once there is
    // something.
    let is_fresh = matches!((&known, &place), (Some(_), Place::Since(_)));
    let from = match (known, place) {
        (Some(iterator), _) => iterator,
        (None, Place::After(number)) => {
            let kind = ShardIteratorType::AfterSequenceNumber;
            iterator(streams, &arn, &shard.1, kind, Some(number)).await.map_err(of)?
        }
        (None, _) => {
            iterator(streams, &arn, &shard.1, ShardIteratorType::TrimHorizon, None).await.map_err(of)?
        }
    };
    match streams.get_records().shard_iterator(from).limit(RECORDS_MAX).send().await {
        Ok(answer) => Ok(Some(Answered {
            asked_at,
            records: answer.records.unwrap_or_default(),
            iterator: answer.next_shard_iterator,
            shard,
        })),
        Err(error) if error.code() == Some("ExpiredIteratorException") => Ok(None),
        Err(error) if is_fresh && error.code() == Some("TrimmedDataAccessException") => Ok(None),
        Err(error) => Err(of(Refusal::new("read", error))),
    }
}
