//! The first frame of a segment: how it links to the one before, and what must outlive truncated segments.

use headwater_model::wire::{self, write_varint};
use headwater_model::{Error, Offset, Result};

use super::entry::Stamp;
use super::frame::{self, Kind};

pub(super) const MAGIC: &[u8; 8] = b"HWSEGM01";

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub payload: u8,
    pub after: Offset,
    /// The segment before and its final length; `None` where the journal, or a skip, begins.
    pub previous: Option<(Offset, u64)>,
    /// Of the last entry before this segment.
    pub stamp: Option<Stamp>,
    /// Of all transactions before this segment.
    pub highest_xid: Option<u64>,
}

impl Header {
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        let start = frame::open(Kind::Header, &mut out);
        out.push(self.payload);
        write_varint(self.after.0, &mut out);
        match self.previous {
            None => out.push(0),
            Some((after, len)) => {
                out.push(1);
                write_varint(after.0, &mut out);
                write_varint(len, &mut out);
            }
        }
        match &self.stamp {
            None => out.push(0),
            Some(stamp) => {
                out.push(1);
                stamp.encode(&mut out);
            }
        }
        match self.highest_xid {
            None => out.push(0),
            Some(xid) => {
                out.push(1);
                write_varint(xid, &mut out);
            }
        }
        frame::close(&mut out, start, self.after.0, start as u64)?;
        Ok(out)
    }

    pub fn decode(body: &[u8]) -> Result<Header> {
        let mut reader = wire::Reader::new(body);
        let payload = reader.byte()?;
        let after = Offset(reader.varint()?);
        let previous = match flag(&mut reader)? {
            true => Some((Offset(reader.varint()?), reader.varint()?)),
            false => None,
        };
        let stamp = match flag(&mut reader)? {
            true => Some(Stamp::decode(&mut reader, None)?),
            false => None,
        };
        let highest_xid = match flag(&mut reader)? {
            true => Some(reader.varint()?),
            false => None,
        };
        if !reader.is_empty() {
            return Err(Error::corrupt("a segment header is longer than its content"));
        }
        Ok(Header { payload, after, previous, stamp, highest_xid })
    }
}

fn flag(reader: &mut wire::Reader<'_>) -> Result<bool> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        byte => Err(Error::corrupt(format!("a flag has the value {byte}"))),
    }
}
