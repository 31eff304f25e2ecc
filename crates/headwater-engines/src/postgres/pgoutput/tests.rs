//! Golden messages, as a server sent them or as the protocol's documentation lays them out.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::postgres::catalog::Shape;
use headwater_model::{Column, Table};

/// Builds a message.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn tag(tag: u8) -> Bytes {
        Bytes(vec![tag])
    }
    fn u8(mut self, n: u8) -> Bytes {
        self.0.push(n);
        self
    }
    fn u16(mut self, n: u16) -> Bytes {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }
    fn u32(mut self, n: u32) -> Bytes {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }
    fn u64(mut self, n: u64) -> Bytes {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }
    fn cstr(mut self, text: &str) -> Bytes {
        self.0.extend_from_slice(text.as_bytes());
        self.u8(0)
    }
    /// `t`ext, `n`ull or `u`nchanged cells.
    fn tuple(self, cells: &[Option<&str>]) -> Bytes {
        cells.iter().fold(self.u16(cells.len() as u16), |bytes, cell| match cell {
            Some("<unchanged>") => bytes.u8(b'u'),
            Some(text) => {
                let mut bytes = bytes.u8(b't').u32(text.len() as u32);
                bytes.0.extend_from_slice(text.as_bytes());
                bytes
            }
            None => bytes.u8(b'n'),
        })
    }
}

fn begin(xid: u32) -> Vec<u8> {
    Bytes::tag(b'B').u64(100).u64(0).u32(xid).0
}

fn commit(end: u64) -> Vec<u8> {
    Bytes::tag(b'C').u8(0).u64(end - 8).u64(end).u64(0).0
}

fn insert(cells: &[Option<&str>]) -> Vec<u8> {
    Bytes::tag(b'I').u32(7).u8(b'N').tuple(cells).0
}

fn mark(transactional: bool, prefix: &str, content: &str) -> Vec<u8> {
    let mut bytes =
        Bytes::tag(b'M').u8(u8::from(transactional)).u64(90).cstr(prefix).u32(content.len() as u32);
    bytes.0.extend_from_slice(content.as_bytes());
    bytes.0
}

/// Knows table 7, `(id int, v text)` with key `id`.
fn decoder() -> Decoder {
    let mut decoder = Decoder::new("1/1".into(), "ours", 1 << 32 | 5, 0);
    let relation = Bytes::tag(b'R')
        .u32(7)
        .cstr("public")
        .cstr("t")
        .u8(b'd')
        .u16(2)
        .u8(1)
        .cstr("id")
        .u32(23)
        .u32(u32::MAX)
        .u8(0)
        .cstr("v")
        .u32(25)
        .u32(u32::MAX);
    let message = decoder.message(&relation.0, &mut Vec::new()).unwrap().expect("a new relation");
    assert_eq!(message.own_key(), Some(vec![0]));
    let column = |name: &str, decode: &Decode| Column { name: name.into(), kind: decode.kind() };
    let decode = [Decode::Int, Decode::Text];
    let table = Table {
        id: 7,
        version: 1,
        name: message.name.clone(),
        columns: vec![column("id", &decode[0]), column("v", &decode[1])],
        key: vec![0],
    };
    decoder.define(message, Shape { table: Arc::new(table), decode: decode.into() });
    assert!(decoder.message(&relation.0, &mut Vec::new()).unwrap().is_none(), "nothing new in a repetition");
    decoder
}

fn decode(messages: &[Vec<u8>]) -> Vec<Event> {
    let (mut decoder, mut events) = (decoder(), Vec::new());
    for message in messages {
        assert!(decoder.message(message, &mut events).unwrap().is_none());
    }
    events
}

fn at(lsn: u64) -> Position {
    Position::new("1/1", lsn)
}

#[test]
fn a_transaction_becomes_begin_changes_commit() {
    let events = decode(&[begin(6), insert(&[Some("-1"), None]), commit(200)]);
    assert!(matches!(&events[0], Event::Begin { xid: Some(xid) } if *xid == (1 << 32) + 6));
    let Event::Change(Change::Insert { table, row }) = &events[1] else { panic!("an insert") };
    assert_eq!((&*table.name.name, &row.0[..]), ("t", &[Value::Int(-1), Value::Null][..]));
    assert_eq!(events[2], Event::Commit { position: at(200), committed_at: EPOCH_MICROS });
    assert_eq!(events.len(), 3);
}

#[test]
fn updates_carry_the_old_key_only_if_it_changed() {
    let update = |old: u8, old_cells: &[Option<&str>], cells: &[Option<&str>]| {
        let message = Bytes::tag(b'U').u32(7).u8(old).tuple(old_cells).u8(b'N').tuple(cells).0;
        let mut events = decode(&[begin(1), message]);
        match events.pop().unwrap() {
            Event::Change(Change::Update { old_key, row, .. }) => (old_key, row.0),
            other => panic!("unexpected {other:?}"),
        }
    };
    let one = Some(Key(vec![Value::Int(1)]));
    let unchanged = Some("<unchanged>");
    assert_eq!(
        update(b'K', &[Some("1"), None], &[Some("2"), unchanged]),
        (one.clone(), vec![Value::Int(2), Value::Unchanged])
    );
    // The server sends a key that is stored out of line although it stayed the same, and leaves it out of the new row.
    assert_eq!(
        update(b'K', &[Some("1"), None], &[unchanged, Some("v")]),
        (None, vec![Value::Int(1), Value::text("v")])
    );
    assert_eq!(
        update(b'O', &[Some("1"), Some("big")], &[Some("2"), unchanged]),
        (one, vec![Value::Int(2), Value::text("big")])
    );
    assert_eq!(
        update(b'O', &[Some("1"), None], &[Some("1"), None]),
        (None, vec![Value::Int(1), Value::Null])
    );
}

#[test]
fn a_marks_own_transaction_leaves_no_trace() {
    let mark_event = |chunk, lsn| Event::Mark { chunk, position: at(lsn) };
    assert_eq!(decode(&[begin(1), mark(true, "headwater", "ours/42"), commit(200)]), [mark_event(42, 200)]);
    assert_eq!(decode(&[mark(false, "headwater", "ours/42")]), [mark_event(42, 90)]);
    for (prefix, content) in
        [("headwater", "theirs/42"), ("other", "ours/42"), ("headwater", "ours/x"), ("headwater", "")]
    {
        let events = decode(&[begin(1), mark(true, prefix, content), commit(200)]);
        assert_eq!(events, [Event::Idle { position: at(200) }], "{prefix} {content}");
    }
    // Beside changes, the mark comes after its transaction.
    let events =
        decode(&[begin(1), mark(true, "headwater", "ours/1"), insert(&[Some("1"), None]), commit(200)]);
    assert_eq!(events[3], mark_event(1, 200));
}

#[test]
fn idle_is_only_said_between_transactions_and_only_forwards() {
    let (mut decoder, mut events) = (decoder(), Vec::new());
    decoder.caught_up(50, &mut events);
    decoder.caught_up(50, &mut events);
    decoder.caught_up(60, &mut events);
    assert_eq!(events, [Event::Idle { position: at(60) }]);
    decoder.message(&begin(1), &mut events).unwrap();
    decoder.caught_up(70, &mut events);
    assert_eq!(events.len(), 1);
    assert_eq!(decoder.position(), 60);
}

#[test]
fn transaction_numbers_widen_to_the_nearest() {
    const EPOCH: u64 = 1 << 32;
    assert_eq!(widen(5, EPOCH + 3), EPOCH + 5);
    assert_eq!(widen(u32::MAX, EPOCH + 3), EPOCH - 1);
    assert_eq!(widen(3, EPOCH - 1), EPOCH + 3);
    assert_eq!(widen(u32::MAX, 3), u64::from(u32::MAX));
}

#[test]
fn a_value_that_cannot_be_read_stays_a_text_and_a_row_too_short_names_its_table() {
    let mut decoder = decoder();
    decoder.message(&begin(1), &mut Vec::new()).unwrap();
    let mut events = Vec::new();
    decoder.message(&insert(&[Some("x"), None]), &mut events).unwrap();
    let Some(Event::Change(Change::Insert { row, .. })) = events.last() else { panic!("{events:?}") };
    assert_eq!(row.0[0], Value::Text("x".into()));
    let error = decoder.message(&insert(&[Some("1")]), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("public.t"));
}

#[test]
fn torn_messages_are_errors_and_never_panic() {
    let update =
        Bytes::tag(b'U').u32(7).u8(b'K').tuple(&[Some("1"), None]).u8(b'N').tuple(&[Some("2"), None]).0;
    let delete = Bytes::tag(b'D').u32(7).u8(b'K').tuple(&[Some("1"), None]).0;
    let truncate = Bytes::tag(b'T').u32(1).u8(0).u32(7).0;
    for message in [
        insert(&[Some("1"), Some("v")]),
        update,
        delete,
        truncate,
        mark(true, "headwater", "ours/1"),
        commit(9),
    ] {
        for length in 0..message.len() {
            let mut decoder = decoder();
            decoder.message(&begin(1), &mut Vec::new()).unwrap();
            assert!(decoder.message(&message[..length], &mut Vec::new()).is_err(), "{message:?} at {length}");
        }
    }
}
