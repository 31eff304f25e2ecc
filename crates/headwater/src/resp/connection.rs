//! One connection: reads what has come, answers it, writes the replies, and only then reads on.
//!
//! Invariants: while replies are not read by the client nothing more is read from it, so a client that only writes costs
//! one buffer of replies until it is given up; a connection that waits for a request holds no buffer; replies come in the
//! order of the requests.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use super::buffers::{self, HeldBytes};
use super::documents::Batch;
use super::execute::{Next, execute};
use super::parse::{Args, Bounds, Malformed, Parsed, parse};
use super::reply;
use super::session::Session;
use super::shared::{Reading, Shared};

/// Replies are written when they are so many bytes, even if more are to come.
const REPLIES_BYTES_MAX: usize = 256 << 10;

/// A client that reads nothing for so long while there are replies for it is gone.
const UNREAD_WITHIN: Duration = Duration::from_secs(30);

/// A request that has begun is whole after so long.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// After so many requests of one client without a pause the others have their turn.
const TURN_REQUESTS: usize = 2_048;

pub struct Connection<S> {
    stream: S,
    shared: Arc<Shared>,
    session: Session,
    /// The beginning of a request that is not whole.
    rest: Vec<u8>,
    /// Bytes that it must have before it is looked at again, and when it began.
    needed: usize,
    rest_since: Option<Instant>,
    held: HeldBytes,
}

/// What a connection works with while it answers.
pub struct Work<'a, S> {
    pub shared: &'a Shared,
    pub reading: Arc<Reading>,
    pub session: &'a mut Session,
    pub batch: Batch,
    pub out: Replies<'a, S>,
}

/// Replies on their way to the client.
pub struct Replies<'a, S> {
    pub bytes: Vec<u8>,
    stream: &'a mut S,
    held: &'a mut HeldBytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn new(stream: S, shared: Arc<Shared>, session: Session, held: HeldBytes) -> Connection<S> {
        Connection { stream, shared, session, rest: Vec::new(), needed: 0, rest_since: None, held }
    }

    /// Until the client or we have had enough. An error is the connection's end too, of which nobody needs to know.
    pub async fn run(mut self) -> io::Result<()> {
        loop {
            let (buffer, length) = match self.rest_since {
                None => self.fill().await?,
                Some(since) => match timeout_at(since + REQUEST_WITHIN, self.fill()).await {
                    Ok(filled) => filled?,
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                },
            };
            if length == 0 {
                buffers::give_back_input(buffer);
                return Ok(());
            }
            // Boxed, so that a connection that waits is small.
            let next = Box::pin(self.turn(&buffer[..length])).await;
            buffers::give_back_input(buffer);
            if next? == Next::Close {
                self.stream.shutdown().await?;
                return Ok(());
            }
        }
    }

    /// What has come, in a buffer that is borrowed only once there is something.
    async fn fill(&mut self) -> io::Result<(Box<[u8]>, usize)> {
        poll_fn(|context| {
            let mut buffer = buffers::input();
            let mut into = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut self.stream).poll_read(context, &mut into);
            let length = into.filled().len();
            match polled {
                Poll::Ready(Ok(())) => Poll::Ready(Ok((buffer, length))),
                other => {
                    buffers::give_back_input(buffer);
                    other.map(|result| result.map(|()| (Box::default(), 0)))
                }
            }
        })
        .await
    }

    async fn turn(&mut self, came: &[u8]) -> io::Result<Next> {
        let mut rest = std::mem::take(&mut self.rest);
        let input = if rest.is_empty() {
            came
        } else {
            rest.extend_from_slice(came);
            &rest
        };
        if input.len() < self.needed {
            self.held.hold(input.len()).map_err(io::Error::other)?;
            self.rest = rest;
            return Ok(Next::Continue);
        }
        self.needed = 0;
        let since = self.rest_since.take();
        let mut work = Work {
            shared: &self.shared,
            reading: self.shared.reading(),
            session: &mut self.session,
            batch: Batch::default(),
            out: Replies { bytes: buffers::output(), stream: &mut self.stream, held: &mut self.held },
        };
        let mut args = Args::default();
        let mut at = 0;
        let mut requests = 0;
        let mut ended = Next::Continue;
        while ended == Next::Continue && at < input.len() {
            let bounds = if work.session.user.is_some() { &Bounds::KNOWN } else { &Bounds::UNKNOWN };
            match parse(&input[at..], bounds, &mut args) {
                Ok(Parsed::Whole(length)) => {
                    if !args.is_empty() {
                        ended = execute(&mut work, &args, &input[at..]).await?;
                        requests += 1;
                        if requests % TURN_REQUESTS == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    at += length;
                }
                Ok(Parsed::Partial(needed)) => {
                    self.needed = needed;
                    break;
                }
                Err(Malformed(text)) => {
                    work.answer_batch().await?;
                    reply::error(&text, &mut work.out.bytes);
                    ended = Next::Close;
                }
            }
        }
        self.shared.commands.fetch_add(requests as u64, Ordering::Relaxed);
        work.answer_batch().await?;
        work.out.write().await?;
        buffers::give_back_output(std::mem::take(&mut work.out.bytes));
        if ended == Next::Continue && at < input.len() {
            // The time of a request counts from its first byte.
            self.rest_since = if at == 0 { since } else { None }.or_else(|| Some(Instant::now()));
            self.rest = if rest.is_empty() {
                came[at..].to_vec()
            } else {
                rest.drain(..at);
                rest
            };
        }
        self.held.hold(self.rest.len()).map_err(io::Error::other)?;
        Ok(ended)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Work<'_, S> {
    /// Answers the commands that wait for documents.
    pub async fn answer_batch(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch.read(&self.reading.views, self.session).await;
        for place in 0..self.batch.len() {
            self.batch.reply(place, &self.reading.views, self.session.protocol, &mut self.out.bytes);
            self.out.write_if_many().await?;
        }
        self.batch.clear();
        Ok(())
    }
}

impl<S: AsyncWrite + Unpin> Replies<'_, S> {
    pub async fn write_if_many(&mut self) -> io::Result<()> {
        if self.bytes.len() < REPLIES_BYTES_MAX { Ok(()) } else { self.write().await }
    }

    /// Until the client's side has taken everything.
    async fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.bytes.len() {
            let stream = &mut *self.stream;
            let bytes = &self.bytes[written..];
            // Tried once without a clock: nearly always everything is taken at once.
            let tried =
                poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_write(context, bytes))).await;
            written += match tried {
                Poll::Ready(taken) => some(taken?)?,
                Poll::Pending => {
                    self.held.hold(bytes.len()).map_err(io::Error::other)?;
                    some(timeout(UNREAD_WITHIN, stream.write(bytes)).await??)?
                }
            };
        }
        self.bytes.clear();
        let flushed = poll_fn(|context| Poll::Ready(Pin::new(&mut *self.stream).poll_flush(context))).await;
        match flushed {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => timeout(UNREAD_WITHIN, self.stream.flush()).await?,
        }
    }
}

fn some(taken: usize) -> io::Result<usize> {
    if taken == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(taken) }
}
