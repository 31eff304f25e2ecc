//! A connection that ends by itself when its client sends too slowly, says nothing for too long, or does not take what it
//! asked for.
//!
//! The protocol above polls for reading while it waits for a request and for writing while an answer goes out; whoever
//! has to wait is timed here, by one timer per connection that is armed again only when it has fired.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Bounds;

/// How many requests of a connection began and ended: told by whoever answers them.
#[derive(Debug, Default)]
pub struct Turns {
    began: AtomicU32,
    ended: AtomicU32,
}

/// A request being answered; it has ended when this is dropped.
pub struct Turn(Arc<Turns>);

impl Turns {
    pub fn begin(self: &Arc<Turns>) -> Turn {
        self.began.fetch_add(1, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Paced<S> {
    io: S,
    turns: Arc<Turns>,
    head_within: Duration,
    idle_for: Duration,
    written_within: Duration,
    timer: Pin<Box<Sleep>>,
    /// Requests that had ended when the present wait began.
    seen: u32,
    /// Until when the head of the next request must be whole, or have begun.
    read_until: Instant,
    head_began: bool,
    /// Until when what is being written must be taken.
    write_until: Option<Instant>,
}

impl<S> Paced<S> {
    pub fn new(io: S, turns: Arc<Turns>, bounds: &Bounds) -> Paced<S> {
        let read_until = Instant::now() + bounds.idle_for;
        Paced {
            io,
            turns,
            head_within: bounds.head_within,
            idle_for: bounds.idle_for,
            written_within: bounds.written_within,
            timer: Box::pin(tokio::time::sleep_until(read_until)),
            seen: 0,
            read_until,
            head_began: false,
            write_until: None,
        }
    }

    /// Ready when `until` has passed; otherwise this task is woken when it has, or sooner.
    fn passed(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.deadline() > until || self.timer.is_elapsed() {
            self.timer.as_mut().reset(until);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// A request that has been answered since gives the next one its full time.
    fn look_at_turns(&mut self) {
        let ended = self.turns.ended.load(Ordering::Relaxed);
        if ended != self.seen {
            self.seen = ended;
            self.head_began = false;
            self.read_until = Instant::now() + self.idle_for;
        }
    }

    fn is_answering(&self) -> bool {
        self.turns.began.load(Ordering::Relaxed) != self.turns.ended.load(Ordering::Relaxed)
    }

    fn too_slow_to_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let within = self.written_within;
        let until = *self.write_until.get_or_insert_with(|| Instant::now() + within);
        ready!(self.passed(until, cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client does not take the answer"))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        this.look_at_turns();
        if read.is_ready() {
            if buf.filled().len() > before && !this.head_began && !this.is_answering() {
                this.head_began = true;
                this.read_until = Instant::now() + this.head_within;
            }
            return read;
        }
        // While a request is answered, and while its answer goes out, it is not the client that is waited for here.
        if this.is_answering() || this.write_until.is_some() {
            return Poll::Pending;
        }
        ready!(this.passed(this.read_until, cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends no request")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(cx, buf) {
            Poll::Pending => self.too_slow_to_take(cx).map(Err),
            written => written,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write_vectored(cx, bufs) {
            Poll::Pending => self.too_slow_to_take(cx).map(Err),
            written => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Reached when everything is written: only then does the time for writing end, so that a client that takes a byte
    /// now and then gains nothing.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => self.too_slow_to_take(cx).map(Err),
            flushed => {
                self.write_until = None;
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_shutdown(cx) {
            Poll::Pending => self.too_slow_to_take(cx).map(Err),
            ended => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn paced(buffer: usize) -> (Paced<DuplexStream>, DuplexStream, Arc<Turns>) {
        let (ours, theirs) = duplex(buffer);
        let turns = Arc::<Turns>::default();
        (Paced::new(ours, Arc::clone(&turns), &Bounds::default()), theirs, turns)
    }

    async fn seconds(future: impl Future<Output = io::Error>) -> (u64, io::ErrorKind) {
        let began = Instant::now();
        let error = future.await;
        (began.elapsed().as_secs(), error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go() {
        let (mut ours, _theirs, _) = paced(64);
        let ended = seconds(async { ours.read_u8().await.unwrap_err() }).await;
        assert_eq!(ended, (75, io::ErrorKind::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_has_no_more_time_than_one_that_stalls() {
        let (mut ours, mut theirs, _) = paced(64);
        tokio::spawn(async move {
            while theirs.write_u8(b'x').await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let ended = seconds(async {
            loop {
                if let Err(error) = ours.read_u8().await {
                    return error;
                }
            }
        });
        assert_eq!(ended.await, (10, io::ErrorKind::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn time_spent_on_an_answer_is_not_the_clients() {
        let (mut ours, mut theirs, turns) = paced(64);
        theirs.write_all(b"GET").await.unwrap();
        ours.read_exact(&mut [0; 3]).await.unwrap();
        let turn = turns.begin();
        let waited = tokio::time::timeout(Duration::from_secs(300), ours.read_u8()).await;
        assert!(waited.is_err(), "nothing ended it");
        drop(turn);
        let ended = seconds(async { ours.read_u8().await.unwrap_err() }).await;
        assert_eq!(ended, (75, io::ErrorKind::TimedOut), "the next request has its full time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_byte_now_and_then_is_let_go() {
        let (mut ours, mut theirs, _) = paced(16);
        tokio::spawn(async move {
            while theirs.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
        });
        let ended = seconds(async { ours.write_all(&[0; 1024]).await.unwrap_err() }).await;
        assert_eq!(ended, (30, io::ErrorKind::TimedOut));
    }
}
