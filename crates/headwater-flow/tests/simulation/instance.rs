//! One life of one instance: a real [`Service`] over simulated parts, which can end at any point.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_flow::machine::{Clock, Disk, Machine};
use headwater_flow::status::{IncidentKind, PartState};
use headwater_flow::{Handle, NamedStore, Options, Service};
use headwater_model::{Error, Result, Source, View};
use headwater_testkit::simulated::{Database, Line, Shelf, SimulatedSource, SimulatedStore, World};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::SimulatedDisk;

pub struct Instance {
    pub folder: PathBuf,
    pub line: Line,
    pub disk: Arc<SimulatedDisk>,
    pub handle: Handle,
    running: Option<JoinHandle<Result<()>>>,
    cancel: CancellationToken,
}

/// How the wall clock of a machine goes.
#[derive(Clone, Copy, Debug)]
pub enum Wall {
    /// Right, but for so many seconds.
    Off(i64),
    /// It always says the same.
    Stands,
}

impl Wall {
    fn clock(self, began: Instant) -> Clock {
        const BASE: i64 = 1_700_000_000_000_000;
        Clock::new(move || match self {
            Wall::Off(seconds) => BASE + seconds * 1_000_000 + began.elapsed().as_micros() as i64,
            Wall::Stands => BASE,
        })
    }
}

impl Instance {
    pub fn start(
        world: &World,
        database: &Database,
        shelves: &[Shelf],
        views: &[View],
        options: Options,
        wall: (Wall, Instant),
    ) -> Instance {
        let line = Line::new(world);
        let disk = Arc::new(SimulatedDisk::new(world));
        let source: Arc<dyn Source> =
            Arc::new(SimulatedSource { database: database.clone(), line: line.clone() });
        let store = |shelf: &Shelf| NamedStore {
            name: shelf.name.into(),
            store: Arc::new(SimulatedStore { shelf: shelf.clone(), line: line.clone() }),
        };
        let given: Arc<dyn Disk> = disk.clone();
        let machine = Machine { clock: wall.0.clock(wall.1), disk: Some(given) };
        let folder = options.data.clone();
        let views = views.iter().cloned().map(Arc::new).collect();
        let stores = shelves.iter().map(store).collect();
        let service = Service::on(machine, options, source, stores, views).unwrap();
        let handle = service.handle();
        let cancel = CancellationToken::new();
        let running = tokio::spawn(service.run(cancel.clone()));
        Instance { folder, line, disk, handle, running: Some(running), cancel }
    }

    /// The error with which the service ended by itself, if it did.
    pub async fn ended(&mut self) -> Option<Error> {
        let running = self.running.take_if(|running| running.is_finished())?;
        Some(match running.await {
            Ok(Ok(())) => Error::bug("the service ended without a reason"),
            Ok(Err(error)) => error,
            Err(error) => Error::bug("the service panicked").with_cause(error),
        })
    }

    /// Whether every view is filled in every store.
    pub fn is_filled(&self) -> bool {
        let status = self.handle.status();
        let filled = |state| matches!(state, PartState::Healthy | PartState::Lagging);
        self.handle.is_leading()
            && status.stores.iter().all(|store| store.views.iter().all(|view| filled(view.state)))
    }

    pub fn happened(&self, kind: IncidentKind) -> bool {
        self.handle.incidents().iter().any(|incident| incident.kind == kind)
    }

    /// Ends as on SIGTERM.
    pub async fn stop(mut self) -> std::result::Result<(), String> {
        self.cancel.cancel();
        let Some(running) = self.running.take() else { return Ok(()) };
        match tokio::time::timeout(Duration::from_secs(120), running).await {
            Ok(Ok(Ok(()))) => {
                self.line.die();
                Ok(())
            }
            Ok(other) => Err(format!("the service did not stop well: {other:?}")),
            Err(_) => Err("the service did not stop in time".to_owned()),
        }
    }

    /// Ends at the point it has come to. `image` takes what is on the disk, before anything can tidy up.
    pub async fn crash(&mut self, image: impl FnOnce(&SimulatedDisk, &Path)) {
        self.line.die();
        image(&self.disk, &self.folder);
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
        // Its tasks hear of it when they are run the next time.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
