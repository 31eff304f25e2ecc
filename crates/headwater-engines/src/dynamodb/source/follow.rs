//! A running read of all streams: a task that asks every open shard in turns, and a short queue that it fills.
//!
//! What a turn brought is one transaction and one position. DynamoDB orders the changes of a key and nothing else, so any
//! order of shards is right that has each shard's records in theirs. How far each shard was read is durable before the position is
//! handed on ([`super::state`]), so following again behind any position neither loses a record nor repeats one.
//!
//! A shard says how far it was read by the number of its last record. Before the first one there is no such number: until then a
//! shard is asked from the iterator that it gave when its table was joined, and, once that is no longer taken, by the time
//! of its records, if nothing was made about the time of the join ([`Place::found_empty`]). Whatever lay in the shard then must
//! never be told of: chunks show what it came to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::Client as Streams;
use aws_sdk_dynamodbstreams::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodbstreams::types::{OperationType, Record, ShardIteratorType, StreamStatus};
use futures::{StreamExt as _, TryStreamExt as _};
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

/// Answers of a shard may be empty although more comes. Not for so long.
const EMPTY_FOR: Duration = Duration::from_secs(60);

/// What the service says of an iterator, or of what it stands at.
const EXPIRED: &str = "ExpiredIteratorException";
const TRIMMED: &str = "TrimmedDataAccessException";

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
    /// The greatest number that was ever given.
    pub(super) given: u64,
    pub(super) read: Checkpoint,
    /// Streams by table.
    pub(super) arns: BTreeMap<String, String>,
    /// Iterators of joins by table and shard.
    pub(super) joined: BTreeMap<(String, String), String>,
    pub(super) lease: Lease,
}

/// Begins, with the shards that there are now.
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
        given: begin.given,
        read: begin.read,
        joined: begin.joined,
        tables: begin.arns.into_iter().map(|(table, arn)| (table, stream(arn))).collect(),
        open: BTreeMap::new(),
        next: 0,
        committed_at: 0,
        began: now,
        told: now,
        renewed: now,
    };
    reading.list().await?;
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
    /// Records that were made until then lay there before the table was joined.
    skip_upto_ms: Option<i64>,
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
    /// The greatest number that was ever given: to turns that were told of, and to those that never were.
    given: u64,
    read: Checkpoint,
    /// Iterators of joins by table and shard.
    joined: BTreeMap<(String, String), String>,
    tables: BTreeMap<String, Stream>,
    /// By table and shard.
    open: BTreeMap<(String, String), Open>,
    /// Whose turn it is.
    next: usize,
    committed_at: i64,
    began: Instant,
    told: Instant,
    renewed: Instant,
}

/// What a shard answered.
struct Answered {
    shard: (String, String),
    asked_at: Instant,
    asked_ms: i64,
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
        self.given += 1;
        let owned = self.state.advance(&mut self.lease, self.given, &self.read).await?;
        self.owned(owned)?;
        (self.number, self.place) = (self.given, 0);
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
            if let (Place::Behind(ms), None) = (&place, &open.iterator) {
                open.skip_upto_ms = Some(*ms);
            }
            let (arn, joined) = (self.tables[&shard.0].arn.clone(), self.joined.get(shard).cloned());
            asked.push(ask_one(&self.streams, arn, shard.clone(), place, open.iterator.take(), joined));
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
        let place = self.place_of(table, shard);
        let Some(shape) = self.shapes.get(table) else {
            return Err(Error::bug(format!("nobody knows the shape of table {table}")));
        };
        let open = self.open.entry(answer.shard.clone()).or_default();
        let mut after = None;
        if answer.records.is_empty() {
            open.told.empty_at = Some(answer.asked_at);
            if self.began + EMPTY_FOR <= answer.asked_at {
                after = place.found_empty(answer.asked_ms);
            }
        }
        for record in answer.records {
            let Some(told) = record.dynamodb else { continue };
            let made_ms = told.approximate_creation_date_time.and_then(|at| at.to_millis().ok()).unwrap_or(0);
            open.told.newest_ms = open.told.newest_ms.max(made_ms);
            if open.skip_upto_ms.is_some_and(|upto| made_ms <= upto) {
                continue;
            }
            open.skip_upto_ms = None;
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
            TRIMMED => Error::out_of_step(format!(
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

/// An iterator of each shard that is open, behind what lies in it now.
pub(super) async fn latest(
    streams: &Streams,
    table: &str,
    arn: &str,
    listed: &[Listed],
) -> Result<BTreeMap<String, String>> {
    let mut asked = Vec::new();
    for shard in listed.iter().filter(|shard| !shard.is_closed) {
        asked.push(async {
            let given = iterator(streams, arn, &shard.id, ShardIteratorType::Latest, None).await;
            Ok((shard.id.clone(), given.map_err(|e| e.of(table))?))
        });
    }
    futures::stream::iter(asked).buffer_unordered(REQUESTS_MAX).try_collect().await
}

/// Asks behind `known`, where the last answer ended, or from the place on; `joined` is the iterator of its join. `None` if the
/// iterator is of no use any more: it is asked for anew in the next turn.
async fn ask_one(
    streams: &Streams,
    arn: String,
    shard: (String, String),
    place: Place,
    known: Option<String>,
    joined: Option<String>,
) -> Result<Option<Answered>> {
    let (asked_at, asked_ms) = (Instant::now(), now_ms());
    let at = async |kind, number| {
        iterator(streams, &arn, &shard.1, kind, number).await.map_err(|refusal| refusal.of(&shard.0))
    };
    let records = async |from| streams.get_records().shard_iterator(from).limit(RECORDS_MAX).send().await;
    let (goes_on, is_joined) = (known.is_some(), matches!(place, Place::Joined(_)));
    let from = match (known, place) {
        (Some(iterator), _) => iterator,
        (None, Place::Joined(_)) => joined.ok_or_else(|| join_is_lost(&shard))?,
        (None, Place::After(number)) => at(ShardIteratorType::AfterSequenceNumber, Some(number)).await?,
        (None, _) => at(ShardIteratorType::TrimHorizon, None).await?,
    };
    let mut answer = records(from).await;
    if is_joined && !goes_on && answer.as_ref().is_err_and(|error| error.code() == Some(TRIMMED)) {
        // Given minutes ago, it stands before all that is in the shard, which was empty.
        answer = records(at(ShardIteratorType::TrimHorizon, None).await?).await;
    }
    match answer {
        Ok(answer) => Ok(Some(Answered {
            asked_at,
            asked_ms,
            records: answer.records.unwrap_or_default(),
            iterator: answer.next_shard_iterator,
            shard,
        })),
        Err(error) => match error.code() {
            Some(EXPIRED) if is_joined && !goes_on => Err(join_is_lost(&shard)),
            Some(EXPIRED) => Ok(None),
            Some(TRIMMED) if is_joined && goes_on => Ok(None),
            _ => Err(Refusal::new("read", error).of(&shard.0)),
        },
    }
}

/// What lay in a shard before its table was joined cannot be told from what came since.
fn join_is_lost((table, shard): &(String, String)) -> Error {
    Error::out_of_step(format!(
        "where shard {shard} of table {table} was when following it began is not known any more: it was followed for a few \
         minutes only, in which nothing came by"
    ))
}
