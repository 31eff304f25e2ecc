//! The database as one instance reaches it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::{
    Answer, Catalogued, Chunk, ChunkId, ChunkRange, ColumnFacts, Error, Event, Follow, Indexable, Key,
    Lineage, Position, Read, Result, RetainedLog, Source, SourceFacts, TableFacts, TableName, Value,
};

use super::database::{Database, Inner, SYSTEM, Slot, What};
use super::{Line, Mischief};

#[derive(Clone)]
pub struct SimulatedSource {
    pub database: Database,
    pub line: Line,
}

fn place(inner: &Inner, name: &TableName) -> Result<usize> {
    let found = inner.tables.iter().position(|table| table.shape.name == *name);
    found.ok_or_else(|| Error::misconfigured(format!("there is no table {name}")))
}

fn position(sequence: u64) -> Position {
    Position::new(SYSTEM, sequence)
}

#[async_trait]
impl Source for SimulatedSource {
    async fn inspect(&self) -> Result<SourceFacts> {
        self.line.call("inspect", || Ok(facts(&self.database.lock()))).await
    }

    async fn lineage(&self, _: Option<&Position>) -> Result<Lineage> {
        self.line.call("lineage", || Ok(Lineage::only(SYSTEM))).await
    }

    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>> {
        self.line.passage("prepare").await?;
        let mut joined = tables.to_vec();
        let wait_for = {
            let mut inner = self.database.lock();
            joined.retain(|table| !inner.published.contains(table));
            inner.published = tables.iter().cloned().collect();
            match inner.slot {
                Some(_) => None,
                None => Some(inner.running.clone()),
            }
        };
        if let Some(running) = wait_for {
            // A slot begins where everything that ran before has ended.
            self.database.wait(|inner| inner.running.is_disjoint(&running)).await;
            let mut inner = self.database.lock();
            let confirmed = inner.end;
            inner.slot.get_or_insert(Slot { confirmed, reader: None, readers: 0 });
        }
        self.line.passage("prepare").await?;
        Ok(joined)
    }

    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn Follow>> {
        let after = after.cloned();
        let follow = self
            .line
            .call("follow", || {
                let mut inner = self.database.lock();
                let end = inner.end;
                let Some(slot) = &mut inner.slot else {
                    return Err(Error::out_of_step("the slot is not there"));
                };
                if slot.reader.is_some() {
                    return Err(Error::transient("another instance follows"));
                }
                let from = match after {
                    None => slot.confirmed,
                    Some(after) if *after.system != *SYSTEM || after.sequence < slot.confirmed => {
                        return Err(Error::out_of_step(format!(
                            "the log after {} is gone: it begins after {}",
                            after.sequence, slot.confirmed
                        )));
                    }
                    Some(after) if after.sequence > end => {
                        return Err(Error::out_of_step("the log is not there yet"));
                    }
                    // Sometimes what has been sent is sent again.
                    Some(_) if self.database.world.one_in(4) => slot.confirmed,
                    Some(after) => after.sequence,
                };
                slot.readers += 1;
                slot.reader = Some(slot.readers);
                // If the reply is lost, this is dropped, and with it the connection.
                Ok(SimulatedFollow { source: self.clone(), number: slot.readers, after: from, inside: 0 })
            })
            .await?;
        self.database.world.note("follow", follow.after);
        Ok(Box::new(follow))
    }

    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>> {
        self.line
            .call("shapes", || {
                let inner = self.database.lock();
                tables.iter().map(|name| Ok(inner.tables[place(&inner, name)?].catalogued())).collect()
            })
            .await
    }

    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk> {
        let world = &self.database.world;
        self.line.passage("chunk").await?;
        let (table, snapshot) = {
            let inner = self.database.lock();
            (place(&inner, &range.table)?, inner.snapshot())
        };
        tokio::time::sleep(Duration::from_millis(world.below(4) * world.below(10))).await;
        self.database.wait(|inner| inner.tables[table].locked_whole.is_none()).await;
        let chunk = {
            let inner = self.database.lock();
            let rows = inner.visible(table, &snapshot);
            let after = match &range.after {
                Some(Key(values)) => number(&values[0]),
                None => i64::MIN,
            };
            let keys: Vec<i64> = range.keys.iter().map(|key| number(&key.0[0])).collect();
            let wanted = |key: i64| if keys.is_empty() { key > after } else { keys.contains(&key) };
            let all: Vec<_> = rows.into_iter().filter(|(key, _)| wanted(*key)).collect();
            let last = all.len() <= range.limit;
            world.note("chunk", all.len() as u64);
            world.tell(|| format!("  {} after {after}: {snapshot:?} {all:?}", range.table));
            let shape = Arc::clone(&inner.tables[table].shape);
            let rows: Vec<_> = all.into_iter().take(range.limit).map(|(_, row)| row).collect();
            Chunk {
                upto: rows.last().map(|row| row.key(&shape)),
                table: shape,
                rows,
                refused: Vec::new(),
                moment: inner.as_told(snapshot, world),
                last,
            }
        };
        self.line.passage("chunk").await?;
        Ok(chunk)
    }

    async fn mark(&self, chunk: ChunkId) -> Result<()> {
        self.line
            .call("mark", || {
                let by = self.database.world.below(9);
                let mut inner = self.database.lock();
                let xid = inner.next_xid;
                inner.next_xid += 1;
                let at = inner.append(by, What::Mark(chunk));
                inner.ended(xid);
                drop(inner);
                self.database.world.note("mark", at);
                self.database.tell();
                Ok(())
            })
            .await
    }

    async fn release(&self, upto: &Position) -> Result<()> {
        self.line.stand_still().await;
        let mut inner = self.database.lock();
        if upto.sequence > inner.end {
            self.database.world.violated(format!("{} is released, which was never written", upto.sequence));
        }
        if let Some(slot) = &mut inner.slot
            && slot.reader.is_some()
        {
            slot.confirmed = slot.confirmed.max(upto.sequence);
        }
        Ok(())
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        self.line.call("progress", || Ok((position(self.database.lock().end), RetainedLog::default()))).await
    }

    async fn forget(&self) -> Result<()> {
        self.line
            .call("forget", || {
                let mut inner = self.database.lock();
                if inner.slot.as_ref().is_some_and(|slot| slot.reader.is_some()) {
                    return Err(Error::transient("another instance follows"));
                }
                inner.slot = None;
                Ok(())
            })
            .await
    }

    async fn answer(&self, _: &Read) -> Result<Answer> {
        Err(Error::unsupported("the simulated source answers nothing"))
    }

    fn traffic(&self) -> Vec<headwater_model::Traffic> {
        Vec::new()
    }

    fn notation(&self, position: &Position) -> String {
        position.sequence.to_string()
    }

    fn sequence(&self, notation: &str) -> Option<u64> {
        notation.parse().ok()
    }
}

struct SimulatedFollow {
    source: SimulatedSource,
    number: u64,
    /// The last place of the log that was sent whole, and how many events of the next one were.
    after: u64,
    inside: usize,
}

impl SimulatedFollow {
    /// What is there now, up to some events: a large transaction comes in pieces.
    fn take(&mut self) -> Result<Vec<Event>> {
        let database = &self.source.database;
        let mut inner = database.lock();
        if !inner.is_read_by(self.number) {
            return Err(Error::transient("simulated: the source ended the connection"));
        }
        let most = 1 + database.world.below(12) as usize;
        let mut events = Vec::new();
        let first = inner.log.partition_point(|logged| logged.position <= self.after);
        for logged in &inner.log[first..] {
            let whole: Vec<Event> = match &logged.what {
                What::Mark(chunk) => vec![Event::Mark { chunk: *chunk, position: position(logged.position) }],
                What::Transaction { xid, changes } => {
                    let begin = Event::Begin { xid: Some(*xid) };
                    let commit = Event::Commit {
                        position: position(logged.position),
                        committed_at: logged.position as i64,
                    };
                    let changes = changes.iter().cloned().map(Event::Change);
                    std::iter::once(begin).chain(changes).chain(std::iter::once(commit)).collect()
                }
            };
            let count = whole.len();
            events.extend(whole.into_iter().skip(self.inside).take(most.saturating_sub(events.len())));
            if events.len() == most {
                let sent: usize = count_of_last(&events, count, self.inside);
                if sent < count {
                    self.inside = sent;
                    break;
                }
            }
            (self.after, self.inside) = (logged.position, 0);
            if events.len() == most {
                break;
            }
        }
        if database.world.is(Mischief::ForgetsWhatItSent)
            && let Some(slot) = &mut inner.slot
        {
            slot.confirmed = slot.confirmed.max(self.after);
        }
        Ok(events)
    }
}

/// How many events of the last logged thing have been sent, of its `count`, `before` of which were sent earlier.
fn count_of_last(events: &[Event], count: usize, before: usize) -> usize {
    let begins = |event: &Event| matches!(event, Event::Begin { .. } | Event::Mark { .. });
    match events.iter().rposition(begins) {
        Some(place) => events.len() - place,
        None => (before + events.len()).min(count),
    }
}

#[async_trait]
impl Follow for SimulatedFollow {
    async fn next(&mut self) -> Result<Vec<Event>> {
        self.source.line.passage("next").await?;
        let (after, number, database) = (self.after, self.number, self.source.database.clone());
        let there = database.wait(|inner| inner.end > after || !inner.is_read_by(number));
        let _ = tokio::time::timeout(Duration::from_millis(500), there).await;
        self.source.line.stand_still().await;
        let events = self.take()?;
        database.world.note("sent", events.len() as u64);
        Ok(match events.is_empty() {
            true => vec![Event::Idle { position: position(database.lock().end) }],
            false => events,
        })
    }
}

impl Drop for SimulatedFollow {
    fn drop(&mut self) {
        // A process that was killed is noticed by the kernel; a machine that went away, later ([`Database::throw_out`]).
        if let Some(slot) = &mut self.source.database.lock().slot
            && slot.reader == Some(self.number)
        {
            slot.reader = None;
        }
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => panic!("a key is {other:?}"),
    }
}

fn facts(inner: &Inner) -> SourceFacts {
    let table = |table: &super::database::TableState| TableFacts {
        name: table.shape.name.clone(),
        columns: table
            .shape
            .columns
            .iter()
            .map(|column| ColumnFacts {
                name: column.name.clone(),
                kind: column.kind.clone(),
                type_name: "bigint".into(),
                nullable: true,
                may_be_unchanged: &*column.name == "wide",
                absent_from_log: false,
                indexable: Indexable::Never,
            })
            .collect(),
        key: vec!["id".into()],
        unique: vec![vec!["id".into()]],
        foreign_keys: Vec::new(),
        indexes: Vec::new(),
        create_index: "CREATE INDEX",
        rows_estimate: 10,
        bytes_estimate: 1000,
        obstacle: None,
    };
    SourceFacts {
        server: "simulated".to_owned(),
        tables: inner.tables.iter().map(table).collect(),
        ..SourceFacts::default()
    }
}
