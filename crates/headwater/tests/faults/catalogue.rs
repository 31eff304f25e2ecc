//! The faults: what each does to the world, and how it ends.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::service::PATIENCE;
use crate::world::World;

/// A fault, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KilledUnderLoad,
    KilledInAChunk,
    KilledAtEachStepOfAHeal,
    LeaderStopped,
    SecondInstance,
    SourceKilled,
    SourceFrozen,
    SlotDropped,
    CommitHeldDuringAChunk,
    StoreFlushed,
    StoreKilled,
    Slow,
    Throttled,
    Cut,
    TimedOut,
    BitFlipInJournal,
    TornTail,
}

pub const ALL: [(Fault, &str); 17] = [
    (Fault::KilledUnderLoad, "kill-under-load"),
    (Fault::KilledInAChunk, "kill-in-a-chunk"),
    (Fault::KilledAtEachStepOfAHeal, "kill-at-each-step-of-a-heal"),
    (Fault::LeaderStopped, "leader-stopped-past-its-lease"),
    (Fault::SecondInstance, "second-instance"),
    (Fault::SourceKilled, "source-killed"),
    (Fault::SourceFrozen, "source-frozen"),
    (Fault::SlotDropped, "slot-dropped"),
    (Fault::CommitHeldDuringAChunk, "commit-held-during-a-chunk"),
    (Fault::StoreFlushed, "store-flushed"),
    (Fault::StoreKilled, "store-killed"),
    (Fault::Slow, "slow-300ms"),
    (Fault::Throttled, "throttled"),
    (Fault::Cut, "connections-cut"),
    (Fault::TimedOut, "timeout-after-the-commit-took-effect"),
    (Fault::BitFlipInJournal, "bit-flip-in-journal"),
    (Fault::TornTail, "torn-tail-in-journal"),
];

/// What the matrix should have and has not, each with the reason.
pub const NOT_RUNNABLE: [(&str, &str); 16] = [
    (
        "kill-after-read-before-journal-sync",
        "the program has no point there to be stopped at; the simulation does it",
    ),
    (
        "kill-after-journal-before-apply",
        "the program has no point there to be stopped at; the simulation does it",
    ),
    (
        "kill-after-apply-before-release",
        "the program has no point there to be stopped at; the simulation does it",
    ),
    ("kill-in-a-repair", "not written yet"),
    ("lagging-standby-promoted", "the test kit starts no standby yet"),
    ("standby-without-slot-promoted", "the test kit starts no standby yet"),
    ("old-primary-back", "the test kit starts no standby yet"),
    ("slot-invalidated", "not written yet"),
    ("redis-replica-promoted", "not written yet; the simulation restores stores from older copies"),
    ("values-altered-behind-our-back", "not written yet"),
    ("values-removed-and-added-behind-our-back", "not written yet"),
    ("one-way-loss-and-reordering", "not written yet: needs network namespaces"),
    ("our-disk-full", "not written yet; the simulation fills the disk"),
    ("source-log-disk-filling", "not written yet; `bounds` in flow sets the source free"),
    ("clock-an-hour-off", "not written yet; the simulation's clock is off, and stands"),
    ("poison-rows", "not written yet; `bounds` in flow quarantines one"),
];

impl Fault {
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }

    /// What happens; whatever still holds then is ended by [`Fault::end`].
    pub async fn begin(self, world: &mut World) {
        match self {
            Fault::KilledUnderLoad => {
                for _ in 0..4 {
                    restart(world);
                    world.pause(900).await;
                }
            }
            Fault::KilledInAChunk => {
                let since = world.service.log().len();
                world.redis.cli(&["FLUSHALL"]);
                says(world, since, "reading the table").await;
                world.pause(60).await;
                restart(world);
            }
            Fault::KilledAtEachStepOfAHeal => {
                for step in
                    ["views are filled", "reading the table", "the table is read", "the view is complete"]
                {
                    let since = world.service.log().len();
                    world.redis.cli(&["FLUSHALL"]);
                    says(world, since, step).await;
                    restart(world);
                }
            }
            Fault::LeaderStopped => {
                world.service.signal(Signal::SIGSTOP);
                world.second.start();
                let leads = world.second.says(0, &["leading"]);
                leads.await;
                world.pause(1000).await;
                world.service.signal(Signal::SIGCONT);
                world.pause(1500).await;
            }
            Fault::SecondInstance => {
                world.second.start();
                world.second.says(0, &["standing by"]).await;
                world.service.kill();
                world.second.says(0, &["leading"]).await;
                world.service.start();
            }
            Fault::SourceKilled => world.postgres.kill(),
            Fault::SourceFrozen => {
                world.postgres.pause();
                world.pause(6000).await;
            }
            Fault::SlotDropped => {
                world.postgres.psql(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
                     SELECT pg_sleep(0.01);
                     SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
                );
            }
            Fault::CommitHeldDuringAChunk => {
                world.postgres.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
                world.postgres.psql("SELECT pg_reload_conf()");
                let since = world.service.log().len();
                world.redis.cli(&["FLUSHALL"]);
                says(world, since, "reading the table").await;
                world.pause(2000).await;
            }
            Fault::StoreFlushed => {
                world.redis.cli(&["FLUSHALL"]);
            }
            Fault::StoreKilled => world.redis.kill(),
            Fault::Slow => {
                world.to_source.delay(Duration::from_millis(300));
                world.to_store.delay(Duration::from_millis(300));
                world.pause(4000).await;
            }
            Fault::Throttled => {
                world.to_source.throttle(20_000);
                world.to_store.throttle(20_000);
                world.pause(4000).await;
            }
            Fault::Cut => {
                for _ in 0..6 {
                    world.to_source.cut();
                    world.pause(300).await;
                    world.to_store.cut();
                    world.pause(300).await;
                }
            }
            Fault::TimedOut => {
                for _ in 0..4 {
                    // What is on its way to the store arrives or not; no reply does.
                    world.to_store.hold();
                    world.pause(500).await;
                    world.to_store.refuse();
                    world.pause(100).await;
                    world.to_store.mend();
                    world.pause(1000).await;
                }
            }
            Fault::BitFlipInJournal => {
                world.service.kill();
                let segment = last_segment(world);
                let file = std::fs::OpenOptions::new().read(true).write(true).open(segment).unwrap();
                let at = file.metadata().unwrap().len() / 2;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 4], at).unwrap();
                world.service.start();
            }
            Fault::TornTail => {
                world.service.kill();
                // Bytes that no sync attests: half a frame.
                use std::io::Write;
                let mut file = std::fs::OpenOptions::new().append(true).open(last_segment(world)).unwrap();
                file.write_all(&[0x5a; 777]).unwrap();
                world.service.start();
            }
        }
    }

    pub async fn end(self, world: &mut World) {
        match self {
            Fault::SourceKilled => world.postgres.restart().await,
            Fault::SourceFrozen => world.postgres.resume(),
            Fault::StoreKilled => world.redis.restart(),
            Fault::Slow | Fault::Throttled | Fault::Cut | Fault::TimedOut => {
                world.to_source.mend();
                world.to_store.mend();
            }
            Fault::CommitHeldDuringAChunk => {
                world.postgres.psql("ALTER SYSTEM RESET synchronous_standby_names");
                world.postgres.psql("SELECT pg_reload_conf()");
            }
            // Damage is refused and named; the remedy is what it says.
            Fault::BitFlipInJournal => {
                let status = world.service.wait();
                assert_ne!(status.code(), Some(0), "damage ends the program");
                assert!(world.service.log().contains("is damaged at byte"), "{}", world.service.log_tail());
                std::fs::remove_dir_all(world.service.path("headwater-data/journal")).unwrap();
                world.service.start();
            }
            _ => {}
        }
    }
}

fn restart(world: &World) {
    world.service.kill();
    world.service.start();
}

async fn says(world: &World, since: usize, what: &str) {
    headwater_testkit::eventually(PATIENCE, what, async || {
        match world.service.log().get(since..).unwrap_or_default().contains(what) {
            true => Ok(()),
            false => Err(world.service.log_tail()),
        }
    })
    .await;
}

fn last_segment(world: &World) -> PathBuf {
    let folder = world.service.path("headwater-data/journal");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    segments.sort();
    segments.pop().expect("the journal has a segment")
}
