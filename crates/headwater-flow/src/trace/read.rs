//! Who was asked for a sampled read, and how that went. The trace goes with the task that reads: a read that is not sampled
//! has none, and then there is nothing to do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::{ErrorKind, Result};
use tokio::time::Instant;

/// Questions that are kept of one read.
const ASKED_MAX: usize = 64;

tokio::task_local! {
    static TRACE: Arc<ReadTrace>;
}

/// A read that is traced.
#[derive(Debug)]
pub struct ReadTrace {
    began: Instant,
    asked: Mutex<Vec<Asked>>,
}

/// An engine that was asked. Times are since the read began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `None`: the source.
    pub store: Option<Box<str>>,
    pub from: Duration,
    /// `None`: another's answer came first, and this one was not waited for.
    pub to: Option<Duration>,
    /// Why there was no answer that could be given.
    pub failed: Option<ErrorKind>,
    /// Asked beside another that was slow.
    pub hedge: bool,
    /// Not asked by this reader: another one waited for the same document already.
    pub joined: bool,
}

impl ReadTrace {
    /// Begins now.
    pub fn new() -> Arc<ReadTrace> {
        Arc::new(ReadTrace { began: Instant::now(), asked: Mutex::default() })
    }

    /// Whatever is read inside `read` belongs to this trace.
    pub async fn of<T>(self: &Arc<Self>, read: impl Future<Output = T>) -> T {
        TRACE.scope(Arc::clone(self), read).await
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// In the order in which they were asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of what is asked from now on; `None` if there is no room for more.
    fn begin(&self, store: Option<&str>, hedge: bool, joined: bool) -> Option<usize> {
        let from = self.elapsed();
        let mut asked = self.lock();
        if asked.len() == ASKED_MAX {
            return None;
        }
        asked.push(Asked { store: store.map(Into::into), from, to: None, failed: None, hedge, joined });
        Some(asked.len() - 1)
    }
}

/// Something that is asked for the read of this task, if that is traced.
pub(crate) struct Asking(Option<(Arc<ReadTrace>, usize)>);

impl Asking {
    /// `None`: the source. `hedge`: beside another that is slow.
    pub fn begin(store: Option<&str>, hedge: bool) -> Asking {
        Asking::of(store, hedge, false)
    }

    /// Another reader's load is waited for.
    pub fn join() -> Asking {
        Asking::of(None, false, true)
    }

    fn of(store: Option<&str>, hedge: bool, joined: bool) -> Asking {
        let begun = TRACE.try_with(|trace| Some((Arc::clone(trace), trace.begin(store, hedge, joined)?)));
        Asking(begun.ok().flatten())
    }

    pub fn ended<T>(self, answered: &Result<T>) {
        self.end(answered.as_ref().err().map(headwater_model::Error::kind));
    }

    pub fn end(self, failed: Option<ErrorKind>) {
        let Some((trace, place)) = self.0 else { return };
        let to = trace.elapsed();
        if let Some(asked) = trace.lock().get_mut(place) {
            (asked.to, asked.failed) = (Some(to), failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_model::Error;

    use super::*;

    #[tokio::test]
    async fn what_is_asked_inside_a_traced_read_belongs_to_it_and_to_no_other() {
        Asking::begin(Some("nobody"), false).ended(&Ok(()));
        let (one, other) = (ReadTrace::new(), ReadTrace::new());
        one.of(async {
            let slow = Asking::begin(Some("near"), false);
            tokio::task::yield_now().await;
            Asking::begin(Some("far"), true).ended::<()>(&Err(Error::transient("gone")));
            drop(slow);
            Asking::begin(None, false).ended(&Ok(()));
        })
        .await;
        let asked = one.asked();
        let told: Vec<_> =
            asked.iter().map(|a| (a.store.as_deref(), a.hedge, a.to.is_some(), a.failed)).collect();
        assert_eq!(
            told,
            [
                (Some("near"), false, false, None),
                (Some("far"), true, true, Some(ErrorKind::Transient)),
                (None, false, true, None),
            ]
        );
        assert!(other.asked().is_empty());
        other.of(async { (0..1000).for_each(|_| Asking::join().end(None)) }).await;
        assert_eq!(other.asked().len(), ASKED_MAX);
    }
}
