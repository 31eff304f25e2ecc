//! How far a scan of a table has come: in one, or in segments that are read at the same time.
//!
//! Whoever reads a table in chunks goes on behind a key and does not care what it is. Of a scan in one it is the last key that was
//! read. Of a scan in segments it is the number of segments, and of each whether it is read to its end, and the last key that was
//! read of it: more parts than any key of a table has, which is what tells it from one. So a scan that was begun goes on as it was
//! begun, however many segments the file asks for by then.

use headwater_model::{Error, Key, Result, Value};

use super::shape::Shape;

/// How far a segment is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Start,
    After(Key),
    End,
}

/// Segments by their numbers, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segments(pub(super) Vec<Place>);

const START: i64 = 0;
const AFTER: i64 = 1;
const END: i64 = 2;

impl Segments {
    /// Where a chunk goes on. Read as `behind` says, or from the beginning in `segments`.
    pub(super) fn behind(behind: Option<&Key>, segments: usize, shape: &Shape) -> Result<Segments> {
        let Some(behind) = behind else { return Ok(Segments(vec![Place::Start; segments.max(1)])) };
        let parts = shape.table.key.len();
        if behind.0.len() == parts {
            return Ok(Segments(vec![Place::After(behind.clone())]));
        }
        Segments::read(&behind.0, parts).ok_or_else(|| {
            Error::out_of_step(format!("the chunk begins behind {behind}, which is no key of the table now"))
        })
    }

    fn read(values: &[Value], parts: usize) -> Option<Segments> {
        let (Value::Int(count), mut rest) = values.split_first()? else { return None };
        let mut places = Vec::new();
        while let Some((state, more)) = rest.split_first() {
            rest = more;
            places.push(match state {
                Value::Int(START) => Place::Start,
                Value::Int(END) => Place::End,
                Value::Int(AFTER) => {
                    let (key, more) = rest.split_at_checked(parts)?;
                    rest = more;
                    Place::After(Key(key.to_vec()))
                }
                _ => return None,
            });
        }
        (places.len() >= 2 && usize::try_from(*count) == Ok(places.len())).then_some(Segments(places))
    }

    /// What the next chunk goes on behind; `None` if nothing was read and there is nothing.
    pub(super) fn upto(&self) -> Option<Key> {
        match &self.0[..] {
            [Place::After(key)] => Some(key.clone()),
            [_] => None,
            places => {
                let mut values = vec![Value::Int(i64::try_from(places.len()).unwrap_or(i64::MAX))];
                for place in places {
                    match place {
                        Place::Start => values.push(Value::Int(START)),
                        Place::End => values.push(Value::Int(END)),
                        Place::After(key) => {
                            values.push(Value::Int(AFTER));
                            values.extend(key.0.iter().cloned());
                        }
                    }
                }
                Some(Key(values))
            }
        }
    }

    /// Those that are not read to their end.
    pub(super) fn open(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|at| self.0[*at] != Place::End).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_scan_goes_on_as_it_was_begun() {
        let key = |n: i64| Key(vec![Value::text("a"), Value::Int(n)]);
        for places in [
            vec![Place::Start, Place::End],
            vec![Place::After(key(1)), Place::Start, Place::After(key(2)), Place::End],
            vec![Place::End, Place::End],
        ] {
            let segments = Segments(places);
            let upto = segments.upto().unwrap();
            assert!(upto.0.len() > 2, "{upto}");
            assert_eq!(Segments::read(&upto.0, 2), Some(segments));
        }
        assert_eq!(Segments(vec![Place::After(key(1))]).upto(), Some(key(1)));
        for broken in [
            vec![],
            vec![Value::Int(2), Value::Int(0)],
            vec![Value::Int(2), Value::Int(0), Value::Int(1), Value::text("a")],
            vec![Value::Int(2), Value::Int(0), Value::Int(3)],
            vec![Value::text("2"), Value::Int(0), Value::Int(0)],
        ] {
            assert_eq!(Segments::read(&broken, 2), None, "{broken:?}");
        }
    }
}
