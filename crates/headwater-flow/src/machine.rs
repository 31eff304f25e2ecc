//! What the data plane takes from the machine that it runs on, where a simulation gives its own: the wall clock, and the
//! disk beneath the journals.
//!
//! Sleeping goes by tokio's clock, jitter by `fastrand`'s generator of the thread, and every `select!` of this crate is
//! biased. So on a runtime of one thread whose clock is paused, with a disk that is not the machine's, a seed decides all
//! that happens.
//!
//! Invariant: with a [`Disk`] that is given, the data plane starts no thread of its own.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What a [`crate::Service`] runs on. By default, the machine itself.
#[derive(Clone, Default)]
pub struct Machine {
    pub clock: Clock,
    /// `None`: the machine's own, synced by threads.
    pub disk: Option<Arc<dyn Disk>>,
}

/// The wall clock.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> i64 + Send + Sync>>);

impl Clock {
    /// One that tells microseconds since 1970.
    pub fn new(now_micros: impl Fn() -> i64 + Send + Sync + 'static) -> Clock {
        Clock(Some(Arc::new(now_micros)))
    }

    /// Microseconds since 1970.
    pub fn now_micros(&self) -> i64 {
        match &self.0 {
            Some(now_micros) => now_micros(),
            None => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(given)" } else { "Clock" })
    }
}

/// A disk beneath journals that is not the machine's. Bytes lie in real files; it decides when, and whether, what was
/// written is safe from a power loss.
pub trait Disk: Send + Sync {
    /// May so many bytes be written to the file?
    fn write(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// How long the sync that begins now takes.
    fn sync_takes(&self) -> Duration;

    /// The first `len` bytes of the file are safe, or the disk fails.
    fn sync(&self, path: &Path, len: u64) -> io::Result<()>;
}

impl fmt::Debug for dyn Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}
