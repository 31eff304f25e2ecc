//! The course of one seed: an application writes, instances live and end, everything fails now and then; in the end all is
//! quiet and every store equals the source. On the way, watchers look at each store after every effect.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_flow::status::{Incident, IncidentKind, PartState};
use headwater_flow::{Handle, Options};
use headwater_model::{ErrorKind, View};
use headwater_testkit::simulated::{Database, Line, Mischief, Shape, Shelf, Telling, World};
use tokio::time::{Instant, sleep};

use crate::instance::{Instance, Wall};

/// For everything to become quiet and equal, by the simulation's clock.
const PATIENCE: Duration = Duration::from_secs(600);

const APPLICATIONS: u64 = 3;

/// How a seed ended.
pub struct Ended {
    pub violation: Option<String>,
    pub trace: u64,
    pub story: Vec<String>,
}

/// Plays a seed.
pub fn play(seed: u64, mischief: Option<Mischief>, telling: Telling) -> Ended {
    fastrand::seed(seed);
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let world = World::new(seed, mischief, telling);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ended = runtime.block_on(async {
        let course = Course::new(&world, folder.path());
        course.run().await
    });
    drop(runtime);
    // What a watcher saw comes first: the end may be but a consequence.
    let violation = world.violation().or(ended.err());
    Ended { violation, trace: world.trace(), story: world.story() }
}

struct Course {
    world: World,
    database: Database,
    shelves: Vec<Shelf>,
    shapes: Vec<(Shape, Vec<&'static str>)>,
    views: Vec<View>,
    root: PathBuf,
    folders: u64,
    options: Options,
    began: Instant,
    over: Arc<AtomicBool>,
    /// Of those who live.
    handles: Arc<Mutex<Vec<(Line, Handle)>>>,
    /// The source's tables have other columns than views that were filled before.
    reshaped: Arc<AtomicBool>,
    /// Whether every view was filled when the last life ended.
    filled: bool,
    /// What may be filled again, or be found to have a gap, through no fault of ours.
    refill_excused: bool,
    gap_excused: bool,
    flipped: bool,
}

impl Course {
    fn new(world: &World, root: &Path) -> Course {
        let database = Database::new(world);
        let names: &[&'static str] = if world.one_in(2) { &["near"] } else { &["near", "far"] };
        let shelves: Vec<Shelf> = names.iter().map(|name| Shelf::new(world, name, world.one_in(2))).collect();
        let mut shapes = Vec::new();
        for shape in Shape::ALL {
            let held: Vec<&'static str> = names.iter().copied().filter(|_| world.one_in(2)).collect();
            if !held.is_empty() {
                shapes.push((shape, held));
            }
        }
        if shapes.is_empty() {
            shapes.push((Shape::Flat, names.to_vec()));
        }
        let views = shapes.iter().map(|(shape, held)| shape.view(held)).collect();
        // A small journal lets go of stores that are behind.
        let small = world.one_in(6);
        let options = Options {
            data: root.join("0"),
            journal_bytes_max: if small { 64 << 10 } else { 1 << 30 },
            hold_for: Duration::from_secs(world.pick(&[0, 1, 60])),
            retained_log_bytes_max: 1 << 30,
            backfill_parallel: 1 + world.below(3) as usize,
            backfill_chunk_rows: world.pick(&[1, 2, 3, 5, 1000]),
            backfill_rows_per_second_max: None,
            heal: Default::default(),
        };
        Course {
            world: world.clone(),
            database,
            shelves,
            shapes,
            views,
            root: root.to_owned(),
            folders: 0,
            options,
            began: Instant::now(),
            over: Arc::default(),
            handles: Arc::default(),
            reshaped: Arc::default(),
            filled: false,
            refill_excused: small,
            gap_excused: false,
            flipped: false,
        }
    }

    async fn run(mut self) -> Result<(), String> {
        self.watch();
        let applications: Vec<_> = (0..APPLICATIONS).map(|_| tokio::spawn(self.application())).collect();
        self.pause(400).await;
        for _ in 0..self.world.below(4) {
            self.life().await?;
        }
        let mut last = self.begin();
        self.pause(3000).await;
        self.over.store(true, Ordering::SeqCst);
        for application in applications {
            application.await.map_err(|error| error.to_string())?;
        }
        last.line.weather(0, 2);
        last.disk.weather(0, 2);
        last.disk.full(false);
        self.settle(&mut last).await?;
        self.look_back(&last)?;
        last.stop().await
    }

    /// Every store comes to equal the source.
    async fn settle(&mut self, last: &mut Instance) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(error) = last.ended().await {
                self.mend(last, &error.to_string(), error.kind()).await?;
            }
            let differs = self.difference(last);
            let Some(differs) = differs else { return Ok(()) };
            let damaged = last
                .handle
                .status()
                .stores
                .into_iter()
                .find_map(|store| store.error.filter(|error| self.flipped && error.contains("damaged")));
            if let Some(error) = damaged {
                self.mend(last, &error, ErrorKind::Corrupt).await?;
            }
            if Instant::now() >= until {
                return Err(format!("not equal after {PATIENCE:?}: {differs}"));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// What an operator does about damage that was told of: as the remedy says, the journal's folder goes.
    async fn mend(&mut self, instance: &mut Instance, why: &str, kind: ErrorKind) -> Result<(), String> {
        if kind != ErrorKind::Corrupt || !self.flipped {
            return Err(format!("the service ended by itself: {why}"));
        }
        self.world.note("mended", 0);
        let next = self.folder();
        instance.crash(|disk, folder| disk.after_kill(folder, &next)).await;
        for folder in ["journal", "derived"] {
            let _ = std::fs::remove_dir_all(next.join(folder));
        }
        (self.gap_excused, self.refill_excused, self.flipped) = (true, true, false);
        *instance = self.instance(next);
        Ok(())
    }

    /// `None` when every view in every store is filled and what it should be.
    fn difference(&self, last: &Instance) -> Option<String> {
        let status = last.handle.status();
        for store in &status.stores {
            if let Some(view) = store.views.iter().find(|view| view.state == PartState::Rebuilding) {
                return Some(format!("{} of {} is being filled: {:?}", view.name, store.name, store.error));
            }
        }
        let state = self.database.now();
        for (shape, held) in &self.shapes {
            for shelf in self.shelves.iter().filter(|shelf| held.contains(&shelf.name)) {
                let (found, expected) = (shelf.documents(shape.name()), shape.expected(&state));
                if found != expected {
                    return Some(format!(
                        "{} of {}: found {found:?}, expected {expected:?}; {:?}",
                        shape.name(),
                        shelf.name,
                        status.stores.iter().map(|store| (&store.name, &store.error)).collect::<Vec<_>>()
                    ));
                }
            }
        }
        None
    }

    /// After every effect on a store: a view that is filled is what the source was at the store's position.
    fn watch(&self) {
        for shelf in &self.shelves {
            let (world, database) = (self.world.clone(), self.database.clone());
            let (handles, reshaped) = (Arc::clone(&self.handles), Arc::clone(&self.reshaped));
            let shapes: Vec<Shape> =
                self.shapes.iter().filter(|(_, held)| held.contains(&shelf.name)).map(|(s, _)| *s).collect();
            shelf.watch(Arc::new(move |name, views, held| {
                if reshaped.load(Ordering::SeqCst) {
                    return;
                }
                let Some(position) = &held.position else { return };
                let mut handles = handles.lock().unwrap();
                handles.retain(|(line, _)| !line.is_dead());
                let writes = |(_, handle): &&(Line, Handle)| {
                    handle.is_leading() && handle.status().epoch == held.epoch.0
                };
                let Some((_, handle)) = handles.iter().find(writes) else { return };
                let status = handle.status();
                let Some(store) = status.stores.iter().find(|store| store.name == name) else { return };
                let state = database.at(position.sequence);
                for shape in &shapes {
                    let filled = store.views.iter().any(|view| {
                        view.name == shape.name()
                            && matches!(view.state, PartState::Healthy | PartState::Lagging)
                    });
                    let expected = shape.expected(&state);
                    let found = views.get(shape.name());
                    if filled && found.map_or(!expected.is_empty(), |found| *found != expected) {
                        world.violated(format!(
                            "{name} shows of `{}` at position {}: {found:?}, expected {expected:?}",
                            shape.name(),
                            position.sequence
                        ));
                    }
                }
            }));
        }
    }

    /// Transactions until it is over.
    fn application(&self) -> impl Future<Output = ()> + Send + 'static {
        let (world, database, over) = (self.world.clone(), self.database.clone(), Arc::clone(&self.over));
        async move {
            let pace = 1 + world.below(150);
            while !over.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(world.below(pace))).await;
                let Some(transaction) = database.begin() else { continue };
                let open = if world.one_in(6) { 600 } else { 15 };
                sleep(Duration::from_millis(world.below(open))).await;
                if world.one_in(6) {
                    transaction.abort();
                    continue;
                }
                let hanging = transaction.commit();
                if world.one_in(3) {
                    let most = if world.one_in(4) { 4000 } else { 80 };
                    sleep(Duration::from_millis(world.below(most))).await;
                }
                hanging.seen();
            }
        }
    }

    async fn pause(&self, ms_max: u64) {
        sleep(Duration::from_millis(self.world.below(ms_max + 1))).await;
    }

    fn folder(&mut self) -> PathBuf {
        self.folders += 1;
        self.root.join(self.folders.to_string())
    }

    fn begin(&self) -> Instance {
        self.instance(self.options.data.clone())
    }

    fn instance(&self, data: PathBuf) -> Instance {
        let world = &self.world;
        let wall = match world.below(4) {
            0 => Wall::Stands,
            1 => Wall::Off(world.below(7200) as i64 - 3600),
            _ => Wall::Off(0),
        };
        // What happened in earlier lives was looked at when they ended.
        let _ = std::fs::remove_dir_all(data.join("incidents"));
        let options = Options { data, ..self.options.clone() };
        let instance =
            Instance::start(world, &self.database, &self.shelves, &self.views, options, (wall, self.began));
        instance.line.weather(world.pick(&[0, 0, 40, 200]), world.pick(&[0, 2, 20]));
        instance.disk.weather(world.pick(&[0, 0, 20]), world.pick(&[0, 5, 50]));
        self.handles.lock().unwrap().push((instance.line.clone(), instance.handle.clone()));
        instance
    }

    /// A life that ends at some point, mostly like a crash.
    async fn life(&mut self) -> Result<(), String> {
        let mut instance = self.begin();
        if self.world.one_in(3) {
            instance.line.die_after(1 + self.world.below(600));
        }
        for _ in 0..self.world.below(4) {
            tokio::select! {
                biased;
                () = instance.line.died() => break,
                () = self.pause(1500) => {}
            }
            self.happening(&mut instance).await?;
        }
        tokio::select! {
            biased;
            () = instance.line.died() => {}
            () = self.pause(2500) => {}
        }
        if let Some(error) = instance.ended().await {
            self.mend(&mut instance, &error.to_string(), error.kind()).await?;
        }
        self.look_back(&instance)?;
        self.filled = instance.is_filled();
        if !instance.line.is_dead() && self.world.one_in(4) {
            self.world.note("stop", 0);
            instance.line.lives();
            instance.line.resume();
            instance.disk.full(false);
            self.options.data = instance.folder.clone();
            return instance.stop().await;
        }
        let next = self.folder();
        let (power, flips) = (self.world.one_in(2), self.world.one_in(12));
        self.world.note(if power { "power loss" } else { "kill" }, 0);
        let mut flipped = false;
        instance
            .crash(|disk, folder| {
                if power {
                    disk.after_power_loss(folder, &next)
                } else {
                    disk.after_kill(folder, &next)
                }
                flipped = flips && disk.flip(&next);
            })
            .await;
        if flipped {
            // Bytes that no sync attests any more may pass for a torn tail: then the gap is found at the source.
            (self.flipped, self.gap_excused, self.refill_excused) = (true, true, true);
        }
        self.options.data = next;
        Ok(())
    }

    /// Nothing was filled again, and no gap was found, without a reason.
    fn look_back(&self, instance: &Instance) -> Result<(), String> {
        if !self.gap_excused && instance.happened(IncidentKind::Gap) {
            let why = instance.handle.incidents().into_iter().find(|i| i.kind == IncidentKind::Gap);
            return Err(format!("the source forgot what was not durable: {why:?}"));
        }
        // Views that are made from the mirror may be read again after any crash: it notes late that it is whole.
        let flat = |incident: &Incident| {
            incident.kind == IncidentKind::Filling && incident.cause.contains(Shape::Flat.name())
        };
        let again = instance.handle.incidents().iter().any(flat);
        if self.filled && again && !self.refill_excused && !self.gap_excused {
            return Err(format!("views are filled again for no reason: {:?}", instance.handle.incidents()));
        }
        Ok(())
    }

    async fn happening(&mut self, instance: &mut Instance) -> Result<(), String> {
        let world = self.world.clone();
        match world.below(12) {
            0 => {
                world.note("flush", 0);
                self.refill_excused = true;
                self.shelves[world.below(self.shelves.len() as u64) as usize].flush();
            }
            1 => {
                world.note("restore", 0);
                self.refill_excused = true;
                self.shelves[world.below(self.shelves.len() as u64) as usize].restore();
            }
            2 | 3 => {
                world.note("thrown out", 0);
                self.database.throw_out();
            }
            4 => {
                world.note("slot dropped", 0);
                (self.gap_excused, self.refill_excused) = (true, true);
                self.database.drop_slot();
            }
            5 => {
                if self.database.add_column(world.below(2) as usize) {
                    world.note("column", 0);
                    self.refill_excused = true;
                    self.reshaped.store(true, Ordering::SeqCst);
                }
            }
            6 => {
                world.note("disk full", 0);
                instance.disk.full(true);
                self.pause(2000).await;
                instance.disk.full(false);
            }
            7 | 8 => self.rival(instance).await?,
            9 => {
                world.note("paused", 0);
                instance.line.pause();
                self.pause(5000).await;
                instance.line.resume();
            }
            _ => {
                instance.line.weather(world.pick(&[3, 10, 0]), world.pick(&[0, 20, 200]));
                self.pause(800).await;
                instance.line.weather(0, world.pick(&[0, 5]));
            }
        }
        Ok(())
    }

    /// A second instance waits, takes over while the first stands still, and then both are there.
    async fn rival(&mut self, instance: &mut Instance) -> Result<(), String> {
        let world = self.world.clone();
        world.note("rival", 0);
        (self.gap_excused, self.refill_excused) = (true, true);
        let folder = self.folder();
        let mut rival = self.instance(folder);
        self.pause(1000).await;
        instance.line.pause();
        self.pause(300).await;
        self.database.throw_out();
        self.pause(5000).await;
        instance.line.resume();
        self.pause(3000).await;
        if let Some(error) = rival.ended().await {
            return Err(format!("the rival ended by itself: {error}"));
        }
        let goes = world.one_in(2);
        if goes {
            std::mem::swap(instance, &mut rival);
        }
        world.note("rival goes", u64::from(goes));
        rival.crash(|_, _| {}).await;
        Ok(())
    }
}
