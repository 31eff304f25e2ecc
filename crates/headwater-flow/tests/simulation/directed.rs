//! Courses that a seed once took, told on their own.

use std::time::Duration;

use headwater_flow::Options;
use headwater_testkit::simulated::{Database, Shape, Shelf, Telling, World};
use tokio::time::{Instant, sleep, timeout};

use crate::instance::{Instance, Wall};

/// A source that nobody writes to but the test, one store, one view.
struct Quiet {
    world: World,
    database: Database,
    shelf: Shelf,
    began: Instant,
    folder: tempfile::TempDir,
}

impl Quiet {
    fn new() -> Quiet {
        let world = World::new(1, None, Telling::Nothing);
        let (database, shelf) = (Database::new(&world), Shelf::new(&world, "near", true));
        Quiet { world, database, shelf, began: Instant::now(), folder: tempfile::tempdir().unwrap() }
    }

    /// An instance with a data folder of its own, which has filled the view.
    async fn lead(&self, folder: &str, wall: Wall) -> Instance {
        let options = Options {
            data: self.folder.path().join(folder),
            journal_bytes_max: 1 << 30,
            hold_for: Duration::from_secs(60),
            retained_log_bytes_max: 1 << 30,
            backfill_parallel: 1,
            backfill_chunk_rows: 10,
            backfill_rows_per_second_max: None,
            heal: Default::default(),
        };
        let (views, shelves) = ([Shape::Flat.view(&["near"])], [self.shelf.clone()]);
        let wall = (wall, self.began);
        let instance = Instance::start(&self.world, &self.database, &shelves, &views, options, wall);
        let filled = async {
            while !instance.is_filled() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), filled).await.expect("the view is filled");
        instance
    }
}

fn simulated(course: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(course);
}

/// Two that started together count from about the same time, and a machine without a battery always begins in 1970: the
/// marks that one left in the log must not be taken for those of the other.
#[test]
fn marks_of_two_instances_have_different_numbers_though_their_clocks_say_the_same() {
    simulated(async {
        let quiet = Quiet::new();
        quiet.lead("one", Wall::Stands).await.crash(|_, _| {}).await;
        let of_one = quiet.database.marks();
        let other = quiet.lead("other", Wall::Stands).await;
        let of_other = &quiet.database.marks()[of_one.len()..];
        assert!(!of_one.is_empty() && !of_other.is_empty());
        assert!(of_other.iter().all(|mark| !of_one.contains(mark)), "{of_one:?} {of_other:?}");
        other.stop().await.unwrap();
    });
}

#[test]
fn a_sync_that_failed_is_made_good_though_nothing_else_is_committed() {
    simulated(async {
        let quiet = Quiet::new();
        let instance = quiet.lead("data", Wall::Off(0)).await;
        instance.disk.weather(1, 0);
        while Shape::Flat.expected(&quiet.database.now()).is_empty() {
            if let Some(transaction) = quiet.database.begin() {
                transaction.commit().seen();
            }
        }
        sleep(Duration::from_millis(50)).await;
        instance.disk.weather(0, 0);
        let arrives = async {
            while quiet.shelf.documents("flat") != Shape::Flat.expected(&quiet.database.now()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), arrives).await.expect("what was committed arrives");
        instance.stop().await.unwrap();
    });
}
