//! One connection: bytes out, bytes in, at the same time.
//!
//! Owns the socket and its two buffers. Sending and receiving always go on together, so that neither side ever waits
//! for the other to read, however large a pipeline is. Cancel safe: what a dropped future has not sent or read is
//! still in the buffers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use headwater_model::{Error, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::config::{Address, Config};
use super::failure;
use super::resp::{self, Reply, Token};

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Room that is kept for replies; grows for a reply that is larger.
const INBOX_BYTES: usize = 64 << 10;

/// Room that is made for the items of an array before they are there.
const ROOM_ITEMS: usize = 1024;

pub(crate) struct Connection {
    pub(super) address: Address,
    stream: Box<dyn Stream>,
    /// Commands that are encoded but not all sent: the part before `sent` is.
    pub(super) out: Vec<u8>,
    sent: usize,
    flushed: bool,
    /// Received and not yet read: `read..received`.
    inbox: Vec<u8>,
    read: usize,
    received: usize,
    /// How long the other side may stay silent.
    patience: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Goal {
    Sent,
    Received,
}

impl Connection {
    /// Connects, authenticates and selects the database.
    pub(crate) async fn open(config: &Config, address: &Address) -> Result<Connection> {
        let connecting = async {
            let stream: Box<dyn Stream> = match address {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    match &config.tls {
                        Some(tls) => Box::new(tls.connect(host, stream).await?),
                        None => Box::new(stream),
                    }
                }
                #[cfg(unix)]
                Address::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
            };
            Ok(stream)
        };
        let stream = tokio::time::timeout(config.connect_within, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|e| failure::lost(&format!("connect to {address}"), e))?;
        let mut connection = Connection {
            address: address.clone(),
            stream,
            out: Vec::with_capacity(INBOX_BYTES),
            sent: 0,
            flushed: true,
            inbox: vec![0; INBOX_BYTES],
            read: 0,
            received: 0,
            patience: config.answer_within,
        };
        if let Some(password) = &config.password {
            let password = password.reveal().as_bytes();
            match &config.user {
                Some(user) => connection.call(&[b"AUTH", user.as_bytes(), password]).await?,
                None => connection.call(&[b"AUTH", password]).await?,
            };
        }
        if config.database != 0 {
            connection.call(&[b"SELECT", config.database.to_string().as_bytes()]).await?;
        }
        Ok(connection)
    }

    /// One command, one reply, whatever it is.
    pub(crate) async fn ask(&mut self, args: &[&[u8]]) -> Result<Reply> {
        resp::whole(args, &mut self.out);
        self.reply().await
    }

    /// One command, one reply; an error reply is an error.
    pub(crate) async fn call(&mut self, args: &[&[u8]]) -> Result<Reply> {
        match self.ask(args).await? {
            Reply::Error(text) => Err(failure::from_reply(&text)),
            reply => Ok(reply),
        }
    }

    /// The next whole reply. Sends whatever is not sent yet.
    pub(super) async fn reply(&mut self) -> Result<Reply> {
        // Replies nest (SCAN, CLUSTER SLOTS): a stack of arrays that still miss items.
        let mut open: Vec<(usize, Vec<Reply>)> = Vec::new();
        loop {
            // Most of a reply is there at once: what has arrived is taken without waiting.
            while let Some(token) = self.token_now()? {
                let mut whole = match token {
                    Token::Array(Some(0)) => Reply::Array(Vec::new()),
                    Token::Array(Some(items)) => {
                        open.push((items, Vec::with_capacity(items.min(ROOM_ITEMS))));
                        continue;
                    }
                    leaf => self.leaf(leaf),
                };
                loop {
                    let Some((missing, items)) = open.last_mut() else { return Ok(whole) };
                    items.push(whole);
                    *missing -= 1;
                    if *missing > 0 {
                        break;
                    }
                    let (_, items) = open.pop().ok_or_else(failure::garbled)?;
                    whole = Reply::Array(items);
                }
            }
            self.pump(Goal::Received).await?;
        }
    }

    fn leaf(&self, token: Token) -> Reply {
        match token {
            Token::Simple(range) | Token::Bulk(Some(range)) => Reply::Text(self.inbox[range].to_vec()),
            Token::Error(range) => Reply::Error(String::from_utf8_lossy(&self.inbox[range]).into_owned()),
            Token::Int(n) => Reply::Int(n),
            Token::Bulk(None) | Token::Array(_) => Reply::Nil,
        }
    }

    /// The next token. Its ranges are valid for [`Connection::text`] until the next call.
    pub(super) async fn token(&mut self) -> Result<Token> {
        loop {
            if let Some(token) = self.token_now()? {
                return Ok(token);
            }
            self.pump(Goal::Received).await?;
        }
    }

    /// The next token if it has already arrived.
    pub(super) fn token_now(&mut self) -> Result<Option<Token>> {
        match resp::cut(&self.inbox[..self.received], self.read) {
            Ok(Some((token, next))) => {
                self.read = next;
                Ok(Some(token))
            }
            Ok(None) => Ok(None),
            Err(resp::Garbled) => Err(failure::garbled()),
        }
    }

    /// Skips up to `at_most` replies that are exactly `+QUEUED` and have already arrived; gives how many.
    pub(super) fn skip_queued(&mut self, at_most: usize) -> usize {
        const QUEUED: &[u8] = b"+QUEUED\r\n";
        let waiting = &self.inbox[self.read..self.received];
        let count =
            waiting.chunks_exact(QUEUED.len()).take(at_most).take_while(|reply| *reply == QUEUED).count();
        self.read += count * QUEUED.len();
        count
    }

    pub(super) fn text(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.inbox[range]
    }

    /// Sends everything in `out`; replies that arrive meanwhile wait in the inbox.
    pub(super) async fn send(&mut self) -> Result<()> {
        if self.out.is_empty() && self.flushed {
            return Ok(());
        }
        self.pump(Goal::Sent).await
    }

    /// Sends and receives until the goal is met.
    async fn pump(&mut self, goal: Goal) -> Result<()> {
        let patience = self.patience;
        tokio::time::timeout(patience, poll_fn(|context| self.poll_pump(goal, context)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|e| match e.kind() {
                io::ErrorKind::TimedOut => {
                    Error::transient(format!("the server was silent for {} s", patience.as_secs()))
                }
                _ => failure::lost("talk to the server", e),
            })
    }

    fn poll_pump(&mut self, goal: Goal, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            match Pin::new(&mut self.stream).poll_write(context, &self.out[self.sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    self.flushed = false;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => break,
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            if !self.flushed && Pin::new(&mut self.stream).poll_flush(context)?.is_ready() {
                self.flushed = true;
            }
            if goal == Goal::Sent && self.flushed {
                return Poll::Ready(Ok(()));
            }
        }
        // Reads until nothing is left: only a read that had to wait wakes this task again.
        let mut news = false;
        loop {
            self.make_room();
            let mut buffer = ReadBuf::new(&mut self.inbox[self.received..]);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(())) => {
                    self.received += buffer.filled().len();
                    news = true;
                    if goal == Goal::Received {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => break,
            }
        }
        if news && goal == Goal::Received { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn make_room(&mut self) {
        if self.read == self.received {
            (self.read, self.received) = (0, 0);
            // One large reply must not keep its memory for ever.
            if self.inbox.len() > 16 * INBOX_BYTES {
                self.inbox.truncate(INBOX_BYTES);
                self.inbox.shrink_to_fit();
            }
        }
        if self.received == self.inbox.len() {
            if self.read > self.inbox.len() / 2 {
                self.inbox.copy_within(self.read..self.received, 0);
                self.received -= self.read;
                self.read = 0;
            } else {
                self.inbox.resize(self.inbox.len() * 2, 0);
            }
        }
    }
}
