//! Binary form of values, rows and keys for our own files: the journal and the local state. Not for other programs.
//!
//! Each value is a tag byte and its content; lengths and integers are LEB128 varints (zigzag for signed). The form
//! is injective and self-delimiting, so a concatenation of values is an injective form of the list.

use std::sync::Arc;

use crate::{Error, Key, Record, Result, Row, Value};

pub fn write_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub fn write_signed(n: i64, out: &mut Vec<u8>) {
    write_varint(((n << 1) ^ (n >> 63)) as u64, out);
}

pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Unchanged => out.push(1),
        Value::Bool(false) => out.push(2),
        Value::Bool(true) => out.push(3),
        Value::Int(n) => {
            out.push(4);
            write_signed(*n, out);
        }
        Value::Float(f) => {
            out.push(5);
            out.extend_from_slice(&f.to_bits().to_le_bytes());
        }
        Value::Decimal(text) => {
            out.push(6);
            write_bytes(text.as_bytes(), out);
        }
        Value::Text(text) => {
            out.push(7);
            write_bytes(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            out.push(8);
            write_bytes(bytes, out);
        }
        Value::Date(days) => {
            out.push(9);
            write_signed(i64::from(*days), out);
        }
        Value::Time(micros) => {
            out.push(10);
            write_signed(*micros, out);
        }
        Value::Timestamp(micros) => {
            out.push(11);
            write_signed(*micros, out);
        }
        Value::TimestampTz(micros) => {
            out.push(12);
            write_signed(*micros, out);
        }
        Value::Json(text) => {
            out.push(13);
            write_bytes(text.as_bytes(), out);
        }
        Value::List(items) => {
            out.push(14);
            write_values(items, out);
        }
        Value::Record(record) => {
            out.push(15);
            write_varint(record.values.len() as u64, out);
            for (name, value) in record.fields() {
                write_bytes(name.as_bytes(), out);
                write_value(value, out);
            }
        }
    }
}

/// A count, then the values.
pub fn write_values(values: &[Value], out: &mut Vec<u8>) {
    write_varint(values.len() as u64, out);
    for value in values {
        write_value(value, out);
    }
}

pub fn write_row(row: &Row, out: &mut Vec<u8>) {
    write_values(&row.0, out);
}

pub fn write_key(key: &Key, out: &mut Vec<u8>) {
    write_values(&key.0, out);
}

/// Reads what the functions above wrote. Every method gives `Corrupt` on bytes that they did not write.
pub struct Reader<'a> {
    bytes: &'a [u8],
}

/// Lists and records nest at most this deep, so that corrupt bytes cannot exhaust the stack.
const DEPTH_MAX: usize = 64;

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.bytes.split_first().ok_or_else(truncated)?;
        self.bytes = rest;
        Ok(*first)
    }

    pub fn varint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Error::corrupt("a varint is longer than 64 bits"))
    }

    pub fn signed(&mut self) -> Result<i64> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if count > self.bytes.len() {
            return Err(truncated());
        }
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        Ok(taken)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.varint()?;
        self.take(usize::try_from(count).map_err(|_| truncated())?)
    }

    pub fn str(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|e| Error::corrupt("text is not UTF-8").with_cause(e))
    }

    pub fn value(&mut self) -> Result<Value> {
        self.nested_value(0)
    }

    fn nested_value(&mut self, depth: usize) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(Error::corrupt("values nest too deep"));
        }
        Ok(match self.byte()? {
            0 => Value::Null,
            1 => Value::Unchanged,
            2 => Value::Bool(false),
            3 => Value::Bool(true),
            4 => Value::Int(self.signed()?),
            5 => {
                let mut bits = [0; 8];
                bits.copy_from_slice(self.take(8)?);
                Value::Float(f64::from_bits(u64::from_le_bytes(bits)))
            }
            6 => Value::Decimal(self.str()?.into()),
            7 => Value::Text(self.str()?.into()),
            8 => Value::Bytes(self.bytes()?.into()),
            9 => Value::Date(
                i32::try_from(self.signed()?).map_err(|_| Error::corrupt("a date is out of range"))?,
            ),
            10 => Value::Time(self.signed()?),
            11 => Value::Timestamp(self.signed()?),
            12 => Value::TimestampTz(self.signed()?),
            13 => Value::Json(self.str()?.into()),
            14 => {
                let count = self.count()?;
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.nested_value(depth + 1)?);
                }
                Value::List(items)
            }
            15 => {
                let count = self.count()?;
                let (mut names, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
                for _ in 0..count {
                    names.push(Box::<str>::from(self.str()?));
                    values.push(self.nested_value(depth + 1)?);
                }
                Value::Record(Record { names: Arc::from(names), values })
            }
            tag => return Err(Error::corrupt(format!("no value has tag {tag}"))),
        })
    }

    /// A count of things that take at least one byte each, so never more than the bytes that are left.
    fn count(&mut self) -> Result<usize> {
        let count = self.varint()?;
        if count > self.bytes.len() as u64 {
            return Err(truncated());
        }
        Ok(count as usize)
    }

    pub fn values(&mut self) -> Result<Vec<Value>> {
        let count = self.count()?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.value()?);
        }
        Ok(values)
    }

    pub fn row(&mut self) -> Result<Row> {
        self.values().map(Row)
    }

    pub fn key(&mut self) -> Result<Key> {
        self.values().map(Key)
    }
}

fn truncated() -> Error {
    Error::corrupt("bytes end in the middle of a value")
}
