//! Whoever syncs: a thread, or on a disk that is not the machine's, a task. The writer asks and goes on; one sync covers
//! everything written before it began.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_model::{Error, Offset, Result};
use tokio::sync::Notify;

use super::file::segment_path;
use super::{Durable, Shared};
use crate::machine::Disk;

/// What becomes durable by the next sync.
pub(super) struct Request {
    pub file: Arc<File>,
    pub segment: Offset,
    pub durable: Durable,
    /// All bytes that the writer ever wrote, uncommitted ones included.
    pub written: u64,
}

pub(super) struct Syncer {
    desk: Arc<Desk>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    asked: Condvar,
    answered: Condvar,
    /// As `asked`, for a task.
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// The newest request replaces one that no sync has taken up yet: it covers it.
    request: Option<Request>,
    /// [`Request::written`] of the last sync that is done.
    synced: u64,
    /// After a failed sync the kernel may drop the bytes and report the next one as good. So nothing is synced until
    /// the writer has written them once more ([`Syncer::forgive`]).
    failed: Option<String>,
    closing: bool,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs what is asked for, if anything is.
    fn sync_on(&self, disk: &dyn Disk, shared: &Shared) {
        let Some(request) = self.state().request.take() else { return };
        let path = segment_path(&shared.options.dir, request.segment);
        let synced = disk.sync(&path, request.durable.len);
        self.answer(request, synced, shared);
    }

    fn answer(&self, request: Request, synced: std::io::Result<()>, shared: &Shared) {
        shared.syncs.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = synced {
            let dir = shared.options.dir.display();
            self.state().failed = Some(format!("sync the journal in {dir}: {error}"));
        } else {
            // The mark only sharpens recovery: without it, a damaged tail may pass for a torn one.
            let _ = shared.mark.write(request.segment, request.durable.len);
            shared.publish(request.durable);
            self.state().synced = request.written;
        }
        self.answered.notify_all();
    }
}

impl Syncer {
    pub fn start(shared: Arc<Shared>) -> Result<Syncer> {
        let desk = Arc::new(Desk::default());
        if let Some(disk) = shared.options.disk.clone() {
            tokio::spawn(run_on(disk, desk.clone(), shared.clone()));
            return Ok(Syncer { desk, shared, thread: None });
        }
        let thread = std::thread::Builder::new()
            .name("journal-sync".into())
            .spawn({
                let (desk, shared) = (desk.clone(), shared.clone());
                move || run(&desk, &shared)
            })
            .map_err(|error| Error::transient("start the journal's sync thread").with_cause(error))?;
        Ok(Syncer { desk, shared, thread: Some(thread) })
    }

    /// Asks for a sync and returns at once.
    pub fn ask(&self, request: Request) -> Result<()> {
        let mut state = self.desk.state();
        check(&state)?;
        state.request = Some(request);
        self.desk.asked.notify_one();
        self.desk.wake.notify_one();
        Ok(())
    }

    pub fn failure(&self) -> Option<Error> {
        check(&self.desk.state()).err()
    }

    /// What a failed sync left unsure has been written again: sync as before.
    pub fn forgive(&self) {
        let mut state = self.desk.state();
        (state.failed, state.request) = (None, None);
    }

    /// Bytes synced, by [`Request::written`].
    pub fn synced(&self) -> Result<u64> {
        let state = self.desk.state();
        check(&state)?;
        Ok(state.synced)
    }

    /// Waits until the first `written` bytes, which someone has asked for, are synced.
    pub fn wait(&self, written: u64) -> Result<()> {
        if let Some(disk) = &self.shared.options.disk {
            // No task can run before this returns: it is done here.
            self.desk.sync_on(&**disk, &self.shared);
        }
        let mut state = self.desk.state();
        while state.synced < written {
            check(&state)?;
            state = self.desk.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        check(&state)
    }
}

fn check(state: &State) -> Result<()> {
    match &state.failed {
        None => Ok(()),
        Some(message) => Err(Error::transient(message.as_str())
            .with_remedy("Check the disk. What was not synced is written again by itself.")),
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.desk.state().closing = true;
        self.desk.asked.notify_one();
        self.desk.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Syncs begin at least this far apart. The first after a pause begins at once, so it costs a lone transaction nothing;
/// under load one sync covers more, and everyone behind it works on larger pieces.
const APART: Duration = Duration::from_millis(2);

fn run(desk: &Desk, shared: &Shared) {
    let mut began: Option<Instant> = None;
    loop {
        let mut request = {
            let mut state = desk.state();
            loop {
                match state.request.take() {
                    Some(request) => break request,
                    None if state.closing => return,
                    None => state = desk.asked.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            }
        };
        if let Some(left) = began.and_then(|began| APART.checked_sub(began.elapsed())) {
            std::thread::sleep(left);
            if let Some(newer) = desk.state().request.take() {
                request = newer;
            }
        }
        began = Some(Instant::now());
        let synced = request.file.sync_data();
        #[cfg(test)]
        let synced = synced.and_then(|()| shared.pretend());
        desk.answer(request, synced, shared);
    }
}

/// As [`run`], on a disk that is given.
async fn run_on(disk: Arc<dyn Disk>, desk: Arc<Desk>, shared: Arc<Shared>) {
    loop {
        desk.wake.notified().await;
        if desk.state().closing {
            return;
        }
        tokio::time::sleep(disk.sync_takes()).await;
        desk.sync_on(&*disk, &shared);
    }
}
