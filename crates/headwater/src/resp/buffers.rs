//! Buffers that connections borrow while they work, so that those that wait hold none: one thread serves many thousands
//! of connections with the few buffers of those that are at work.

use std::cell::RefCell;

use headwater_model::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is read at once.
pub const READ_BYTES: usize = 64 << 10;

/// Buffers kept for the next who needs one.
const KEPT_MAX: usize = 64;

/// One that has grown beyond this is not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static INPUTS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into, of [`READ_BYTES`]. What is in it was read by others.
pub fn input() -> Box<[u8]> {
    INPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_BYTES].into())
}

pub fn give_back_input(buffer: Box<[u8]>) {
    INPUTS.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    });
}

/// An empty buffer to write replies into.
pub fn output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

pub fn give_back_output(mut buffer: Vec<u8>) {
    buffer.clear();
    OUTPUTS.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES_MAX {
            kept.push(buffer);
        }
    });
}

/// What all connections together may hold of requests that are not whole and of replies that are not read.
#[derive(Clone, Debug)]
pub struct HeldBytes {
    all: Arc<AtomicUsize>,
    max: usize,
    mine: usize,
}

impl HeldBytes {
    pub fn new(max: usize) -> HeldBytes {
        HeldBytes { all: Arc::default(), max, mine: 0 }
    }

    /// For one connection.
    pub fn share(&self) -> HeldBytes {
        HeldBytes { all: Arc::clone(&self.all), max: self.max, mine: 0 }
    }

    /// This connection now holds so many bytes. `Throttled` if that is more than there is for all.
    pub fn hold(&mut self, bytes: usize) -> Result<()> {
        if bytes == self.mine {
            return Ok(());
        }
        let before = self.all.fetch_sub(self.mine, Ordering::Relaxed) - self.mine;
        self.mine = 0;
        if before.saturating_add(bytes) > self.max {
            return Err(Error::new(
                headwater_model::ErrorKind::Throttled,
                format!(
                    "connections hold {before} bytes that were not read, and at most {} are kept",
                    self.max
                ),
            ));
        }
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.mine = bytes;
        Ok(())
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_one_bound() {
        let all = HeldBytes::new(100);
        let (mut a, mut b) = (all.share(), all.share());
        assert!(a.hold(60).is_ok());
        assert!(b.hold(41).is_err());
        assert!(b.hold(40).is_ok());
        assert!(a.hold(61).is_err());
        assert!(b.hold(100).is_ok(), "what was refused is not held");
        drop(b);
        assert!(a.hold(100).is_ok());
    }
}
