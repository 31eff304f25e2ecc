//! Which rows of a chunk are still true where its mark comes by in the stream.
//!
//! A chunk is read at one moment and put into the journal later, at its mark. Between the two, and on PostgreSQL even
//! before the read, the stream carries transactions that the read did not see (visibility order is not log order: a
//! commit that waits for a synchronous standby is decoded while readers still see the old row). The keys that such
//! transactions touched are news that the chunk must not overwrite.
//!
//! Owns: the record of touched keys while chunks are in flight, and the decision per row. Does not own: reading
//! chunks ([`crate::backfill`]) or writing them ([`crate::capture`]).
//!
//! Such a transaction may even have come by before the view's filling began. Whoever is filled now never gets it from
//! the stream, so its rows land in place of what was read.
//!
//! A chunk may also be read only to be looked at (verify), or to put right what the mirror has of its keys: the same rows are
//! true of it, and of the keys that were asked for and are not there it is known as well whether that is true.
//!
//! Invariant: what lands for a key is its row as of the mark, or nothing if the stream brings that row to everyone who is
//! being filled. A row that was read lands iff no transaction that precedes the mark in the stream and is invisible to
//! the read touched its key. Windows open and close between transactions only, so a window has seen each transaction whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{
    Change, Chunk, ChunkId, Error, Key, Moment, Offset, Position, Refused, Result, Row, Table, TableId, Value,
};
use tokio::sync::oneshot;

use crate::passed::Passed;

/// Touches a window remembers before it gives the chunk up to be read again, smaller.
const TOUCHES_MAX: usize = 1_000_000;

/// What a transaction did to a key of a watched table, as far as chunks care.
#[derive(Clone, Debug, PartialEq)]
pub enum Touch {
    /// The stream has the whole new state of the row: the chunk's row is old.
    Settled(Vec<u8>),
    /// The stream says that there is no such row.
    Gone(Vec<u8>),
    /// The stream has the row except for its [`Value::Unchanged`] cells: these the chunk must still give.
    Kept { key: Vec<u8>, row: Row, table: Arc<Table> },
    /// The whole row, of a change that came by before recording began: who is filled from here on never gets that
    /// change, so the row itself must land.
    Known { key: Vec<u8>, row: Row, table: Arc<Table> },
    /// A row changed its key and kept columns the stream does not show: it is read again under its new key.
    Moved { from: Vec<u8>, to: Key },
    /// The table was truncated.
    Emptied,
}

/// One transaction's touches, in order.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub xid: Option<u64>,
    pub position: Position,
    pub touches: Vec<(TableId, Touch)>,
}

/// The touches of one change, for every table it concerns.
pub fn touches(change: &Change, out: &mut Vec<(TableId, Touch)>) {
    match change {
        Change::Insert { table, row } => out.push((table.id, Touch::Settled(row.key(table).to_bytes()))),
        Change::Update { table, old_key, row } => {
            let key = row.key(table);
            let touch = match (old_key, row.0.iter().any(Value::is_unchanged)) {
                (Some(from), true) => Touch::Moved { from: from.to_bytes(), to: key },
                (None, true) => {
                    Touch::Kept { key: key.to_bytes(), row: row.clone(), table: Arc::clone(table) }
                }
                (Some(from), false) => {
                    out.push((table.id, Touch::Gone(from.to_bytes())));
                    Touch::Settled(key.to_bytes())
                }
                (None, false) => Touch::Settled(key.to_bytes()),
            };
            out.push((table.id, touch));
        }
        Change::Delete { table, key } => out.push((table.id, Touch::Gone(key.to_bytes()))),
        Change::Truncate { tables } => out.extend(tables.iter().map(|table| (table.id, Touch::Emptied))),
        // Rows of other chunks are not changes: both chunks show what the source had.
        Change::Snapshot { .. } => {}
    }
}

/// The touches of a change that came by before recording began.
pub fn earlier_touches(change: &Change, out: &mut Vec<(TableId, Touch)>) {
    let (table, row, old_key) = match change {
        Change::Insert { table, row } => (table, row, None),
        Change::Update { table, row, old_key } if !row.0.iter().any(Value::is_unchanged) => {
            (table, row, old_key.as_ref())
        }
        other => return touches(other, out),
    };
    if let Some(from) = old_key {
        out.push((table.id, Touch::Gone(from.to_bytes())));
    }
    let key = row.key(table).to_bytes();
    out.push((table.id, Touch::Known { key, row: row.clone(), table: Arc::clone(table) }));
}

/// What of a chunk goes into the journal at its mark.
#[derive(Debug, Default)]
pub struct Landing {
    pub rows: Vec<Row>,
    /// What the read left out.
    pub refused: Vec<Refused>,
    /// Keys to read again: their rows can be told neither from the chunk nor from the stream.
    pub reread: Vec<Key>,
    /// As in [`Seen`]; of chunks that are not read for their rows alone.
    pub absent: Vec<Key>,
    pub unknown: Vec<Key>,
}

/// Decides a chunk's rows against the touches of the transactions it did not see, in stream order.
pub fn land<'a>(chunk: &mut Chunk, unseen: impl Iterator<Item = &'a Touch>) -> Landing {
    enum State {
        Settled,
        Kept(Row),
        Known(Row),
    }
    let mut emptied = false;
    let mut states: BTreeMap<&[u8], State> = BTreeMap::new();
    let mut reread = Vec::new();
    for touch in unseen {
        match touch {
            Touch::Settled(key) | Touch::Gone(key) => {
                states.insert(key, State::Settled);
            }
            Touch::Kept { key, row, .. } => {
                match states.entry(key).or_insert_with(|| State::Kept(row.clone())) {
                    State::Settled => {}
                    // A cell is the chunk's only if every later change left it alone.
                    State::Kept(known) | State::Known(known) => overlay(known, row),
                }
            }
            Touch::Known { key, row, .. } => {
                states.insert(key, State::Known(row.clone()));
            }
            Touch::Moved { from, to } => {
                states.insert(from, State::Settled);
                reread.push(to.clone());
            }
            Touch::Emptied => {
                emptied = true;
                states.clear();
                reread.clear();
            }
        }
    }
    if emptied {
        chunk.rows.clear();
        chunk.refused.clear();
    }
    let mut refused = std::mem::take(&mut chunk.refused);
    if states.is_empty() {
        return Landing { rows: std::mem::take(&mut chunk.rows), refused, reread, ..Landing::default() };
    }
    refused.retain(|refused| !states.contains_key(refused.key.to_bytes().as_slice()));
    let mut rows = Vec::with_capacity(chunk.rows.len());
    for mut row in std::mem::take(&mut chunk.rows) {
        match states.get(row.key(&chunk.table).to_bytes().as_slice()) {
            None => rows.push(row),
            Some(State::Settled | State::Known(_)) => {}
            Some(State::Kept(known)) => {
                overlay(&mut row, known);
                rows.push(row);
            }
        }
    }
    // Whether the read has the key or not: a row that it could not see yet is missing there altogether.
    rows.extend(states.into_values().filter_map(|state| match state {
        State::Known(row) => Some(row),
        State::Settled | State::Kept(_) => None,
    }));
    Landing { rows, refused, reread, ..Landing::default() }
}

/// Puts the cells that `newer` has over those of `row`.
fn overlay(row: &mut Row, newer: &Row) {
    for (cell, newer) in row.0.iter_mut().zip(&newer.0) {
        if !newer.is_unchanged() {
            cell.clone_from(newer);
        }
    }
}

/// What a chunk is read for.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    /// Its rows go into the journal at its mark.
    Land,
    /// It goes nowhere: whoever asked is told what is true at its mark. Of these keys, if there are any, also which are not
    /// there.
    Look { asked: Vec<Key> },
    /// Its rows go into the journal at its mark, and so do deletions of those of these keys that are not there.
    Mend { asked: Vec<Key> },
}

impl Purpose {
    fn asked(&self) -> &[Key] {
        match self {
            Purpose::Land => &[],
            Purpose::Look { asked } | Purpose::Mend { asked } => asked,
        }
    }
}

/// Where a chunk landed.
#[derive(Debug)]
pub struct Landed {
    pub offset: Offset,
    pub reread: Vec<Key>,
    /// As in [`Seen`]; of [`Purpose::Mend`].
    pub unknown: Vec<Key>,
}

/// What is true at a chunk's mark: behind the entry at `offset`, and before the next one.
#[derive(Debug)]
pub struct Seen {
    pub offset: Offset,
    pub table: Arc<Table>,
    pub rows: Vec<Row>,
    /// Keys that were asked for and are not there.
    pub absent: Vec<Key>,
    /// Keys that were read or asked for, and of which it cannot be told: transactions that the read did not see touched
    /// them.
    pub unknown: Vec<Key>,
}

/// How a chunk's landing ended.
#[derive(Debug)]
pub enum Outcome {
    Landed(Landed),
    Seen(Seen),
    /// Read it again: too many changes came by, or the table changed its shape.
    Again(&'static str),
}

struct Window {
    table: TableId,
    /// The last transaction that had come by when the window opened.
    opened_after: Offset,
    /// [`Inner::ended_below`] when the window opened.
    ended_below: u64,
    delivered: Vec<Arc<Delivered>>,
    touches: usize,
    chunk: Option<(Chunk, Purpose, oneshot::Sender<Outcome>)>,
}

/// A chunk whose mark came by.
pub struct Arrived {
    pub chunk: Chunk,
    pub purpose: Purpose,
    /// `Err` if it must be read again.
    pub landing: Result<Landing, &'static str>,
    pub tell: oneshot::Sender<Outcome>,
}

struct Inner {
    in_transaction: bool,
    open: HashMap<ChunkId, Window>,
    /// Windows that wait for the transaction in flight to end.
    waiting: Vec<(ChunkId, TableId, oneshot::Sender<()>)>,
    passed: Passed,
    last_offset: Offset,
    /// Transactions with lower numbers are visible to every read that begins now.
    ended_below: u64,
}

/// The windows of all chunks in flight, shared by capture, backfill and whoever judges an answer of the source.
pub struct Windows {
    inner: Mutex<Inner>,
}

impl Windows {
    /// `first_look`: see [`Passed::new`].
    pub fn new(first_look: &Moment) -> Windows {
        let inner = Inner {
            in_transaction: false,
            open: HashMap::new(),
            waiting: Vec::new(),
            passed: Passed::new(first_look),
            last_offset: Offset::ZERO,
            ended_below: 0,
        };
        Windows { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every critical section below leaves the state whole, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts recording for a chunk of `table` that is about to be read. Returns when recording has begun.
    pub async fn open(&self, chunk: ChunkId, table: TableId) {
        let begun = {
            let mut inner = self.lock();
            if !inner.in_transaction {
                inner.open_window(chunk, table);
                return;
            }
            let (tell, begun) = oneshot::channel();
            inner.waiting.push((chunk, table, tell));
            begun
        };
        // The sender is dropped without a word only when capture is gone for good.
        let _ = begun.await;
    }

    /// Of the transactions that the read of `id` did not see, those that had come by before its window opened: their
    /// keys must be looked up at these offsets. `Err` with a number when that cannot be told: read again when it has
    /// ended.
    pub fn passed_before(&self, id: ChunkId, moment: &Moment) -> Result<Vec<Offset>, u64> {
        let Moment::Snapshot { xmin, .. } = moment else { return Ok(Vec::new()) };
        let mut inner = self.lock();
        let Some(opened_after) = inner.open.get(&id).map(|window| window.opened_after) else {
            return Ok(Vec::new());
        };
        let unseen = inner.passed.unseen(moment)?.map(|(_, place)| place.offset);
        let mut passed: Vec<Offset> = unseen.filter(|offset| *offset <= opened_after).collect();
        passed.sort_unstable();
        inner.ended_below = inner.ended_below.max(*xmin);
        inner.forget_ended();
        Ok(passed)
    }

    /// The number of a transaction that the log shows at or before `position`, or may show there, and that a read of
    /// `moment` does not: whoever was shown that position may know it.
    pub fn lacks(&self, moment: &Moment, position: &Position) -> Option<u64> {
        let inner = self.lock();
        let mut unseen = match inner.passed.unseen(moment) {
            Ok(unseen) => unseen,
            Err(xid) => return Some(xid),
        };
        unseen.find(|(_, place)| place.sequence <= position.sequence).map(|(xid, _)| xid)
    }

    /// Hands over the rows that were read, and `earlier`: transactions that passed before the window opened and that
    /// the read did not see. The receiver tells the outcome after the mark.
    pub fn fill(
        &self,
        id: ChunkId,
        chunk: Chunk,
        purpose: Purpose,
        earlier: Vec<Delivered>,
    ) -> oneshot::Receiver<Outcome> {
        let (tell, outcome) = oneshot::channel();
        if let Some(window) = self.lock().open.get_mut(&id) {
            let mut delivered: Vec<_> = earlier.into_iter().map(Arc::new).collect();
            delivered.append(&mut window.delivered);
            window.delivered = delivered;
            window.chunk = Some((chunk, purpose, tell));
        }
        outcome
    }

    /// Stops recording for a chunk that will not be landed.
    pub fn close(&self, id: ChunkId) {
        self.lock().open.remove(&id);
    }

    /// Capture: a transaction begins. Whether its changes are to be recorded.
    pub fn transaction_begins(&self) -> bool {
        let mut inner = self.lock();
        inner.in_transaction = true;
        !inner.open.is_empty()
    }

    /// Capture: the transaction is in the journal at `offset`.
    pub fn transaction_ends(&self, offset: Offset, delivered: Delivered) {
        let mut inner = self.lock();
        inner.last_offset = offset;
        if let Some(xid) = delivered.xid {
            inner.passed.came_by(xid, offset, &delivered.position);
        }
        if !delivered.touches.is_empty() {
            let delivered = Arc::new(delivered);
            for window in inner.open.values_mut() {
                let touches = delivered.touches.iter().filter(|(table, _)| *table == window.table).count();
                if touches > 0 {
                    window.touches += touches;
                    if window.touches <= TOUCHES_MAX {
                        window.delivered.push(Arc::clone(&delivered));
                    } else {
                        window.delivered.clear();
                    }
                }
            }
        }
        inner.end_transaction();
    }

    /// Capture: the transaction was dropped (seen before, or the stream broke).
    pub fn transaction_dropped(&self) {
        self.lock().end_transaction();
    }

    /// Capture: the mark of `id` came by. `None` for a mark of an earlier run.
    pub fn land(&self, id: ChunkId) -> Option<Arrived> {
        let window = self.lock().open.remove(&id)?;
        let (mut chunk, purpose, tell) = window.chunk?;
        let again = |chunk, purpose, why, tell| Some(Arrived { chunk, purpose, landing: Err(why), tell });
        if window.touches > TOUCHES_MAX {
            return again(chunk, purpose, "too many changes while the chunk was read", tell);
        }
        let moment = chunk.moment.clone();
        // Versions count anew with each start, so columns decide.
        let shaped_otherwise = |touch: &Touch| match touch {
            Touch::Kept { table, .. } | Touch::Known { table, .. } => {
                !Arc::ptr_eq(table, &chunk.table) && table.columns != chunk.table.columns
            }
            Touch::Settled(_) | Touch::Gone(_) | Touch::Moved { .. } | Touch::Emptied => false,
        };
        let mut touches = window.delivered.iter().flat_map(|d| &d.touches);
        let reshaped = touches.any(|(table, touch)| *table == window.table && shaped_otherwise(touch));
        if reshaped {
            return again(chunk, purpose, "the table changed its shape while the chunk was read", tell);
        }
        let unseen = || {
            window.delivered.iter().filter(|d| !moment.sees(d.xid, &d.position)).flat_map(|d| {
                d.touches.iter().filter(|(table, _)| *table == window.table).map(|(_, touch)| touch)
            })
        };
        let read: Vec<Key> = match &purpose {
            Purpose::Land => Vec::new(),
            Purpose::Look { .. } | Purpose::Mend { .. } => {
                chunk.rows.iter().map(|row| row.key(&chunk.table)).collect()
            }
        };
        let mut landing = land(&mut chunk, unseen());
        tell_missing(&mut landing, &chunk.table, read, purpose.asked(), unseen());
        Some(Arrived { chunk, purpose, landing: Ok(landing), tell })
    }
}

/// Sorts the keys that were read or asked for and have not landed into those that are not there and those of which it cannot
/// be told.
fn tell_missing<'a>(
    landing: &mut Landing,
    table: &Table,
    read: Vec<Key>,
    asked: &[Key],
    unseen: impl Iterator<Item = &'a Touch>,
) {
    // By key, whether the last of the touches took it away.
    let (mut touched, mut emptied) = (HashMap::new(), false);
    for touch in unseen {
        match touch {
            Touch::Settled(key) | Touch::Kept { key, .. } | Touch::Known { key, .. } => {
                touched.insert(key.clone(), false);
            }
            Touch::Gone(key) => drop(touched.insert(key.clone(), true)),
            Touch::Moved { from, to } => {
                touched.insert(from.clone(), true);
                touched.insert(to.to_bytes(), false);
            }
            Touch::Emptied => {
                emptied = true;
                touched.clear();
            }
        }
    }
    if asked.is_empty() && touched.is_empty() && !emptied {
        return;
    }
    let landed: HashSet<Vec<u8>> = landing.rows.iter().map(|row| row.key(table).to_bytes()).collect();
    let mut told = HashSet::new();
    for key in read.into_iter().chain(asked.iter().cloned()) {
        let bytes = key.to_bytes();
        if landed.contains(&bytes) || !told.insert(bytes.clone()) {
            continue;
        }
        match touched.get(&bytes) {
            Some(false) => landing.unknown.push(key),
            Some(true) | None => landing.absent.push(key),
        }
    }
}

impl Inner {
    fn open_window(&mut self, chunk: ChunkId, table: TableId) {
        let window = Window {
            table,
            opened_after: self.last_offset,
            ended_below: self.ended_below,
            delivered: Vec::new(),
            touches: 0,
            chunk: None,
        };
        self.open.insert(chunk, window);
    }

    /// Forgets transactions that every read sees, also the reads under way, which may have begun a while ago.
    fn forget_ended(&mut self) {
        let reading = self.open.values().filter(|window| window.chunk.is_none());
        let below = reading.map(|window| window.ended_below).min().unwrap_or(self.ended_below);
        self.passed.forget_below(below);
    }

    fn end_transaction(&mut self) {
        self.in_transaction = false;
        for (chunk, table, tell) in std::mem::take(&mut self.waiting) {
            self.open_window(chunk, table);
            let _ = tell.send(());
        }
    }
}

/// Turns a failed lookup into the error that is logged while waiting.
pub(crate) fn unknown_transaction(xid: u64) -> Error {
    Error::transient(format!(
        "transaction {xid} was open before this start and has not ended: the chunk is read again"
    ))
}

#[cfg(test)]
mod tests {
    use headwater_model::{Column, ColumnType, TableName};

    use super::*;

    fn table() -> Arc<Table> {
        let column = |name: &str| Column { name: name.into(), kind: ColumnType::Int };
        Arc::new(Table {
            id: 7,
            version: 1,
            name: TableName::new(None, "t"),
            columns: vec![column("id"), column("a"), column("b")],
            key: vec![0],
        })
    }

    fn row(values: [i64; 3]) -> Row {
        Row(values.map(Value::Int).to_vec())
    }

    fn key(id: i64) -> Key {
        Key(vec![Value::Int(id)])
    }

    fn chunk(moment: Moment) -> Chunk {
        Chunk {
            table: table(),
            rows: (1..=4).map(|i| row([i, i * 10, i * 100])).collect(),
            refused: Vec::new(),
            upto: None,
            moment,
            last: false,
        }
    }

    fn snapshot() -> Moment {
        Moment::Snapshot { xmin: 10, xmax: 20, in_progress: vec![10, 12] }
    }

    fn first_look(xmax: u64) -> Moment {
        Moment::Snapshot { xmin: xmax, xmax, in_progress: vec![] }
    }

    fn delivered(xid: u64, change: Change) -> Delivered {
        let mut found = Vec::new();
        touches(&change, &mut found);
        Delivered { xid: Some(xid), position: Position::new("s", xid), touches: found }
    }

    #[tokio::test]
    async fn rows_touched_by_transactions_the_read_did_not_see_do_not_land() {
        let windows = Windows::new(&first_look(5));
        windows.open(1, 7).await;
        for (xid, id) in [(11, 1), (12, 2), (21, 3)] {
            windows.transaction_begins();
            let change = Change::Update { table: table(), old_key: None, row: row([id, 0, 0]) };
            windows.transaction_ends(Offset(xid), delivered(xid, change));
        }
        let _outcome = windows.fill(1, chunk(snapshot()), Purpose::Land, Vec::new());
        let landing = windows.land(1).expect("the window is open").landing;
        // 11 was visible; 12 was in progress; 21 had not begun.
        assert_eq!(landing.expect("landed").rows, vec![row([1, 10, 100]), row([4, 40, 400])]);
    }

    #[tokio::test]
    async fn a_commit_that_passed_before_the_window_is_found_by_its_number() {
        let windows = Windows::new(&first_look(5));
        windows.transaction_begins();
        let hanging = delivered(12, Change::Delete { table: table(), key: key(2) });
        windows.transaction_ends(Offset(5), hanging.clone());
        windows.open(1, 7).await;
        assert_eq!(windows.passed_before(1, &snapshot()), Ok(vec![Offset(5)]));
        let _outcome = windows.fill(1, chunk(snapshot()), Purpose::Land, vec![hanging]);
        let landing = windows.land(1).expect("the window is open").landing;
        assert_eq!(landing.expect("landed").rows.len(), 3);
    }

    #[tokio::test]
    async fn rows_of_a_commit_that_passed_before_the_window_land_in_place_of_what_was_read() {
        let windows = Windows::new(&first_look(5));
        windows.open(1, 7).await;
        let mut found = Vec::new();
        for change in [
            Change::Update { table: table(), old_key: None, row: row([2, 0, 0]) },
            Change::Insert { table: table(), row: row([9, 0, 0]) },
            Change::Update { table: table(), old_key: Some(key(3)), row: row([30, 0, 0]) },
            Change::Insert { table: table(), row: row([8, 0, 0]) },
        ] {
            earlier_touches(&change, &mut found);
        }
        let hanging = Delivered { xid: Some(12), position: Position::new("s", 12), touches: found };
        // What came by since is brought by the stream.
        windows.transaction_begins();
        let since = delivered(21, Change::Delete { table: table(), key: key(8) });
        windows.transaction_ends(Offset(21), since);
        let _outcome = windows.fill(1, chunk(snapshot()), Purpose::Land, vec![hanging]);
        let landing = windows.land(1).expect("the window is open").landing;
        let mut rows = landing.expect("landed").rows;
        rows.sort_by(|a, b| a.0[0].compare(&b.0[0]));
        let expected =
            [row([1, 10, 100]), row([2, 0, 0]), row([4, 40, 400]), row([9, 0, 0]), row([30, 0, 0])];
        assert_eq!(rows, expected);
    }

    #[tokio::test]
    async fn a_commit_that_hangs_beyond_the_last_that_ended_is_found_too() {
        let windows = Windows::new(&first_look(5));
        windows.transaction_begins();
        windows.transaction_ends(Offset(5), delivered(20, Change::Delete { table: table(), key: key(2) }));
        windows.open(1, 7).await;
        windows.transaction_begins();
        windows.transaction_ends(Offset(6), delivered(21, Change::Delete { table: table(), key: key(3) }));
        let none_ended_since = Moment::Snapshot { xmin: 20, xmax: 20, in_progress: vec![] };
        assert_eq!(windows.passed_before(1, &none_ended_since), Ok(vec![Offset(5)]));
    }

    #[tokio::test]
    async fn a_later_read_does_not_make_an_earlier_one_forget() {
        let windows = Windows::new(&first_look(5));
        windows.transaction_begins();
        windows.transaction_ends(Offset(5), delivered(12, Change::Delete { table: table(), key: key(2) }));
        windows.open(1, 7).await;
        windows.open(2, 7).await;
        let later = Moment::Snapshot { xmin: 25, xmax: 30, in_progress: vec![] };
        assert_eq!(windows.passed_before(2, &later), Ok(vec![]));
        assert_eq!(windows.passed_before(1, &snapshot()), Ok(vec![Offset(5)]));
    }

    #[tokio::test]
    async fn a_transaction_that_was_open_at_the_start_is_waited_for() {
        let windows = Windows::new(&first_look(20));
        windows.open(1, 7).await;
        assert_eq!(windows.passed_before(1, &snapshot()), Err(10));
        let later = Moment::Snapshot { xmin: 25, xmax: 30, in_progress: vec![26] };
        assert_eq!(windows.passed_before(1, &later), Ok(vec![]));
    }

    #[tokio::test]
    async fn a_window_asked_for_inside_a_transaction_opens_after_it() {
        let windows = Arc::new(Windows::new(&first_look(5)));
        assert!(!windows.transaction_begins());
        let opening = tokio::spawn({
            let windows = Arc::clone(&windows);
            async move { windows.open(1, 7).await }
        });
        tokio::task::yield_now().await;
        assert!(!opening.is_finished());
        windows.transaction_dropped();
        opening.await.expect("opened");
        assert!(windows.transaction_begins());
    }

    #[test]
    fn columns_the_stream_did_not_show_are_taken_from_the_chunk() {
        let kept = Change::Update {
            table: table(),
            old_key: None,
            row: Row(vec![Value::Int(2), Value::Int(9), Value::Unchanged]),
        };
        let both = Change::Update {
            table: table(),
            old_key: None,
            row: Row(vec![Value::Int(3), Value::Unchanged, Value::Unchanged]),
        };
        let mut found = Vec::new();
        touches(&kept, &mut found);
        touches(&both, &mut found);
        touches(&Change::Delete { table: table(), key: key(1) }, &mut found);
        let landing = land(&mut chunk(snapshot()), found.iter().map(|(_, t)| t));
        assert_eq!(landing.rows[0], row([2, 9, 200]));
        assert_eq!(landing.rows[1], row([3, 30, 300]));
        assert_eq!(landing.rows[2], row([4, 40, 400]));
    }

    #[test]
    fn truncate_empties_the_chunk_and_a_moved_row_is_read_again() {
        let mut found = Vec::new();
        let moved = Change::Update {
            table: table(),
            old_key: Some(key(1)),
            row: Row(vec![Value::Int(50), Value::Int(0), Value::Unchanged]),
        };
        touches(&moved, &mut found);
        let landing = land(&mut chunk(snapshot()), found.iter().map(|(_, t)| t));
        assert_eq!((landing.rows.len(), landing.reread), (3, vec![key(50)]));

        touches(&Change::Truncate { tables: vec![table()] }, &mut found);
        let landing = land(&mut chunk(snapshot()), found.iter().map(|(_, t)| t));
        assert!(landing.rows.is_empty() && landing.reread.is_empty());
    }
}
