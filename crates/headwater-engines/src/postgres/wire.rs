//! The byte stream of one connection: frames in, frames out, one large buffer each way.
//!
//! Owns framing only. A frame is handed out as a range of the input buffer, so nothing is copied or allocated per
//! message; it stays valid until the next [`Wire::fill`].

use std::ops::Range;

use bytes::BytesMut;
use headwater_model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// TCP, a Unix socket, or TLS over TCP.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// The input buffer at rest; a larger message makes it grow until the message is read.
const BUFFER_BYTES: usize = 256 * 1024;

/// PostgreSQL's own bound on a message, so that a broken length cannot make us allocate without bound.
const FRAME_BYTES_MAX: usize = 0x4000_0000;

pub(super) struct Wire {
    io: Box<dyn Io>,
    input: Vec<u8>,
    /// What is read and not yet consumed.
    unread: Range<usize>,
    pub output: BytesMut,
}

/// One backend message: its type and where its body lies.
pub(super) struct Frame {
    pub tag: u8,
    pub body: Range<usize>,
}

impl Wire {
    pub fn new(io: Box<dyn Io>) -> Wire {
        Wire { io, input: Vec::new(), unread: 0..0, output: BytesMut::new() }
    }

    /// The next frame that has arrived completely, and consumes it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let unread = &self.input[self.unread.clone()];
        let [tag, a, b, c, d, ..] = *unread else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(Error::transient("the server sent a message of impossible length"));
        }
        if unread.len() < length + 1 {
            return Ok(None);
        }
        let start = self.unread.start;
        self.unread.start += length + 1;
        Ok(Some(Frame { tag, body: start + 5..start + 1 + length }))
    }

    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.input[range]
    }

    /// Reads what has arrived, at least one byte. Cancel safe. Frames handed out before are gone.
    pub async fn fill(&mut self) -> Result<usize> {
        self.make_room();
        let count = self.io.read(&mut self.input[self.unread.end..]).await.map_err(broken)?;
        if count == 0 {
            return Err(Error::transient("the server closed the connection"));
        }
        self.unread.end += count;
        Ok(count)
    }

    fn make_room(&mut self) {
        let wanted = match self.input[self.unread.clone()] {
            [_, a, b, c, d, ..] => (u32::from_be_bytes([a, b, c, d]) as usize).min(FRAME_BYTES_MAX) + 1,
            _ => 0,
        };
        if self.unread.is_empty() {
            self.unread = 0..0;
            if self.input.len() > BUFFER_BYTES {
                self.input = Vec::new();
            }
        } else if self.unread.start > 0 && self.input.len() - self.unread.end < BUFFER_BYTES / 4 {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let room = BUFFER_BYTES.max(self.unread.start + wanted).max(self.unread.end + 1);
        if self.input.len() < room {
            self.input.resize(room, 0);
        }
    }

    /// Sends what was put into `output`.
    pub async fn flush(&mut self) -> Result<()> {
        self.io.write_all(&self.output).await.map_err(broken)?;
        self.output.clear();
        self.io.flush().await.map_err(broken)
    }

    /// Reads one byte that is not framed: the answer to an SSLRequest.
    pub async fn read_byte(&mut self) -> Result<u8> {
        self.io.read_u8().await.map_err(broken)
    }

    pub fn into_io(self) -> Box<dyn Io> {
        self.io
    }
}

pub(super) fn broken(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Transient, "the connection to PostgreSQL broke").with_cause(cause)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn frames_come_out_whole_however_they_arrive() {
        let mut sent = Vec::new();
        let bodies: Vec<Vec<u8>> =
            [0, 1, 3, 70_000, 300_000, 5, 0, 262_144].iter().map(|n| vec![*n as u8; *n]).collect();
        for body in &bodies {
            sent.push(b'd');
            sent.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            sent.extend_from_slice(body);
        }
        for piece in [1_000, 65_536, usize::MAX] {
            let (mut server, client) = tokio::io::duplex(50_000);
            let sent = sent.clone();
            let writer = tokio::spawn(async move {
                for part in sent.chunks(piece.min(sent.len())) {
                    server.write_all(part).await.unwrap();
                }
            });
            let mut wire = Wire::new(Box::new(client));
            for body in &bodies {
                let frame = loop {
                    if let Some(frame) = wire.next_frame().unwrap() {
                        break frame;
                    }
                    wire.fill().await.unwrap();
                };
                assert_eq!(wire.bytes(frame.body), &body[..]);
            }
            writer.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_impossible_length_is_an_error() {
        let (mut server, client) = tokio::io::duplex(64);
        server.write_all(b"d\xff\xff\xff\xff").await.unwrap();
        let mut wire = Wire::new(Box::new(client));
        wire.fill().await.unwrap();
        assert!(wire.next_frame().is_err());
    }
}
