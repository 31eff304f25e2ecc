//! The faults: their names, what they need, how each begins and ends.

use std::time::Duration;

use headwater_testkit::faults::{Disk, Network, Syscalls};

use crate::service::PATIENCE;
use crate::world::World;
use crate::{hosts, kills, sources, stores};

/// A fault, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KilledUnderLoad,
    KilledBeforeJournalSync,
    KilledAfterJournalSync,
    KilledBeforeRelease,
    KilledInAChunk,
    KilledInARepair,
    KilledAtEachStepOfAHeal,
    LeaderStopped,
    SecondInstance,
    SourceKilled,
    SourceFrozen,
    SlotDropped,
    SlotInvalidated,
    LogFilling,
    LogDiskFull,
    LaggingStandbyPromoted,
    StandbyWithoutSlotPromoted,
    OldPrimaryBack,
    CommitHeldDuringAChunk,
    StoreFlushed,
    StoreKilled,
    ReplicaPromoted,
    Altered,
    RemovedAndAdded,
    PoisonRows,
    Slow,
    Throttled,
    Cut,
    TimedOut,
    OneWayLoss,
    LossAndDisorder,
    BitFlipInJournal,
    TornTail,
    OurDiskFull,
    ClockOff,
}

pub const ALL: [(Fault, &str); 35] = [
    (Fault::KilledUnderLoad, "kill-under-load"),
    (Fault::KilledBeforeJournalSync, "kill-after-read-before-journal-sync"),
    (Fault::KilledAfterJournalSync, "kill-after-journal-before-apply"),
    (Fault::KilledBeforeRelease, "kill-after-apply-before-release"),
    (Fault::KilledInAChunk, "kill-in-a-chunk"),
    (Fault::KilledInARepair, "kill-in-a-repair"),
    (Fault::KilledAtEachStepOfAHeal, "kill-at-each-step-of-a-heal"),
    (Fault::LeaderStopped, "leader-stopped-past-its-lease"),
    (Fault::SecondInstance, "second-instance"),
    (Fault::SourceKilled, "source-killed"),
    (Fault::SourceFrozen, "source-frozen"),
    (Fault::SlotDropped, "slot-dropped"),
    (Fault::SlotInvalidated, "slot-invalidated"),
    (Fault::LogFilling, "source-log-disk-filling"),
    (Fault::LogDiskFull, "source-log-disk-full"),
    (Fault::LaggingStandbyPromoted, "lagging-standby-promoted"),
    (Fault::StandbyWithoutSlotPromoted, "standby-without-slot-promoted"),
    (Fault::OldPrimaryBack, "old-primary-back"),
    (Fault::CommitHeldDuringAChunk, "commit-held-during-a-chunk"),
    (Fault::StoreFlushed, "store-flushed"),
    (Fault::StoreKilled, "store-killed"),
    (Fault::ReplicaPromoted, "redis-replica-promoted"),
    (Fault::Altered, "values-altered-behind-our-back"),
    (Fault::RemovedAndAdded, "values-removed-and-added-behind-our-back"),
    (Fault::PoisonRows, "poison-rows"),
    (Fault::Slow, "slow-300ms"),
    (Fault::Throttled, "throttled"),
    (Fault::Cut, "connections-cut"),
    (Fault::TimedOut, "timeout-after-the-commit-took-effect"),
    (Fault::OneWayLoss, "one-way-loss"),
    (Fault::LossAndDisorder, "5-percent-loss-and-reordering"),
    (Fault::BitFlipInJournal, "bit-flip-in-journal"),
    (Fault::TornTail, "torn-tail-in-journal"),
    (Fault::OurDiskFull, "our-disk-full"),
    (Fault::ClockOff, "clock-an-hour-off"),
];

impl Fault {
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }

    /// What it needs and this machine lacks.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Fault::KilledBeforeJournalSync | Fault::KilledAfterJournalSync | Fault::ClockOff => {
                Syscalls::new().is_none().then_some("a C compiler (cc)")
            }
            Fault::OurDiskFull | Fault::LogDiskFull => Disk::missing(),
            Fault::OneWayLoss => Network::missing(),
            Fault::LossAndDisorder => Network::missing_disorder(),
            _ => None,
        }
    }

    /// Who is out of reach from its begin to its end.
    fn takes_away(self) -> Option<Part> {
        match self {
            Fault::SourceKilled
            | Fault::SourceFrozen
            | Fault::LogDiskFull
            | Fault::CommitHeldDuringAChunk => Some(Part::Source),
            Fault::StoreKilled | Fault::LogFilling => Some(Part::Store),
            Fault::BitFlipInJournal | Fault::OurDiskFull => Some(Part::Program),
            Fault::Slow | Fault::Throttled | Fault::Cut | Fault::TimedOut => Some(Part::Network),
            _ => None,
        }
    }

    /// Whether it can begin while the other has not ended.
    pub fn goes_with(self, other: Fault) -> bool {
        let Some(gone) = other.takes_away() else { return self != other };
        let needs: &[Part] = match self {
            Fault::SourceKilled | Fault::SourceFrozen | Fault::SlotDropped | Fault::SlotInvalidated => {
                &[Part::Source]
            }
            Fault::StoreFlushed | Fault::StoreKilled => &[Part::Store],
            Fault::KilledUnderLoad
            | Fault::LeaderStopped
            | Fault::SecondInstance
            | Fault::BitFlipInJournal
            | Fault::TornTail => &[Part::Program],
            Fault::Slow | Fault::Throttled | Fault::Cut | Fault::TimedOut => &[],
            // They wait for something to arrive, or to be said.
            _ => &[Part::Source, Part::Store, Part::Program, Part::Network],
        };
        !needs.contains(&gone)
    }

    /// What happens; whatever still holds then is ended by [`Fault::end`].
    pub async fn begin(self, world: &mut World) {
        match self {
            Fault::KilledUnderLoad => kills::under_load(world).await,
            Fault::KilledBeforeJournalSync => kills::before_journal_sync(world).await,
            Fault::KilledAfterJournalSync => kills::after_journal_sync(world).await,
            Fault::KilledBeforeRelease => kills::before_release(world).await,
            Fault::KilledInAChunk => kills::in_a_chunk(world).await,
            Fault::KilledInARepair => kills::in_a_repair(world).await,
            Fault::KilledAtEachStepOfAHeal => kills::at_each_step_of_a_heal(world).await,
            Fault::LeaderStopped => hosts::leader_stopped(world).await,
            Fault::SecondInstance => hosts::second_instance(world).await,
            Fault::SourceKilled => world.postgres.kill(),
            Fault::SourceFrozen => {
                world.postgres.pause();
                world.pause(6000).await;
            }
            Fault::SlotDropped => sources::slot_dropped(world),
            Fault::SlotInvalidated => sources::slot_invalidated(world).await,
            Fault::LogFilling => sources::log_filling(world).await,
            Fault::LogDiskFull => sources::log_disk_full(world).await,
            Fault::LaggingStandbyPromoted => sources::lagging_standby_promoted(world).await,
            Fault::StandbyWithoutSlotPromoted => sources::standby_without_slot_promoted(world).await,
            Fault::OldPrimaryBack => sources::old_primary_back(world).await,
            Fault::CommitHeldDuringAChunk => sources::commit_held_during_a_chunk(world).await,
            Fault::StoreFlushed => {
                world.redis.cli(&["FLUSHALL"]);
            }
            Fault::StoreKilled => world.redis.kill(),
            Fault::ReplicaPromoted => stores::replica_promoted(world).await,
            Fault::Altered => stores::altered(world).await,
            Fault::RemovedAndAdded => stores::removed_and_added(world).await,
            Fault::PoisonRows => stores::poisoned(world).await,
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
                    // What is on its way takes effect, and no reply comes.
                    world.to_store.hold_replies();
                    world.pause(500).await;
                    world.to_store.refuse();
                    world.pause(100).await;
                    world.to_store.mend();
                    world.pause(1000).await;
                }
            }
            Fault::OneWayLoss => hosts::one_way_loss(world).await,
            Fault::LossAndDisorder => hosts::loss_and_disorder(world).await,
            Fault::BitFlipInJournal => hosts::bit_flip(world),
            Fault::TornTail => hosts::torn_tail(world),
            Fault::OurDiskFull => hosts::disk_full(world).await,
            Fault::ClockOff => hosts::clock_off(world).await,
        }
    }

    pub async fn end(self, world: &mut World) {
        match self {
            Fault::KilledInARepair => kills::after_a_repair(world).await,
            Fault::SourceKilled => world.postgres.restart().await,
            Fault::SourceFrozen => world.postgres.resume(),
            Fault::StoreKilled => world.redis.restart(),
            Fault::Altered | Fault::RemovedAndAdded => stores::repair(world).await,
            Fault::PoisonRows => stores::mend_the_poisoned(world).await,
            Fault::OurDiskFull => hosts::disk_freed(world),
            Fault::LogDiskFull => sources::log_disk_freed(world).await,
            Fault::LogFilling | Fault::Slow | Fault::Throttled | Fault::Cut | Fault::TimedOut => {
                world.to_source.mend();
                world.to_store.mend();
            }
            Fault::CommitHeldDuringAChunk => sources::commits_go_on(world),
            Fault::BitFlipInJournal => hosts::without_the_journal(world),
            Fault::ClockOff => hosts::clock_right(world),
            _ => {}
        }
    }
}

/// What a fault may take away, or need.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Source,
    Store,
    Program,
    Network,
}

pub async fn says(world: &World, since: usize, what: &str) {
    headwater_testkit::eventually(PATIENCE, what, async || {
        match world.service.log().get(since..).unwrap_or_default().contains(what) {
            true => Ok(()),
            false => Err(world.service.log_tail()),
        }
    })
    .await;
}
