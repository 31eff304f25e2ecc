//! What happens to the source and to the log it keeps.

use headwater_testkit::{Postgres, eventually};
use nix::sys::signal::Signal;

use crate::catalogue::says;
use crate::world::{PATIENCE, World};

pub fn slot_dropped(world: &World) {
    world.postgres.psql(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
         SELECT pg_sleep(0.01);
         SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
    );
}

/// The program stands still while more is written than the source may keep for it.
pub async fn slot_invalidated(world: &World) {
    world.service.signal(Signal::SIGSTOP);
    eventually(PATIENCE, "the source gives the slot up", async || {
        world.postgres.psql("CREATE TABLE IF NOT EXISTS filler (id int)");
        for _ in 0..2 {
            world.postgres.psql("INSERT INTO filler VALUES (1)");
            world.postgres.psql("SELECT pg_switch_wal()");
        }
        world.postgres.psql("CHECKPOINT");
        match world.postgres.psql("SELECT DISTINCT wal_status FROM pg_replication_slots") {
            status if status == "lost" => Ok(()),
            status => Err(status),
        }
    })
    .await;
    world.service.signal(Signal::SIGCONT);
}

/// While a chunk is read, a commit is in the log and cannot be seen: it waits for a standby.
pub async fn commit_held_during_a_chunk(world: &mut World) {
    world.postgres.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    world.postgres.psql("SELECT pg_reload_conf()");
    let since = world.service.log().len();
    world.redis.cli(&["FLUSHALL"]);
    says(world, since, "reading the table").await;
    world.pause(2000).await;
}

pub fn commits_go_on(world: &World) {
    world.postgres.psql("ALTER SYSTEM RESET synchronous_standby_names");
    world.postgres.psql("SELECT pg_reload_conf()");
}

/// An asynchronous standby that has the slot, and lacks what was committed last, takes over.
pub async fn lagging_standby_promoted(world: &mut World) {
    let standby = world.postgres.standby();
    let slot = world.postgres.psql("SELECT slot_name FROM pg_replication_slots");
    world.postgres.carry_slot(&slot, &standby).await;
    world.postgres.wait_replayed(&standby).await;
    standby.cut_off();
    world.shows_newer(world.committed()).await;
    world.pause(1000).await;
    promote(world, standby);
}

/// A standby takes over that has all that was streamed to it, but not the slot: a gap.
pub async fn standby_without_slot_promoted(world: &mut World) {
    let standby = world.postgres.standby();
    world.postgres.wait_replayed(&standby).await;
    world.pause(500).await;
    promote(world, standby);
}

fn promote(world: &mut World, standby: Postgres) {
    world.postgres.kill();
    standby.promote();
    world.source_moved(standby);
}

/// After a failover the address leads back to the old primary, which somebody has started and writes to: it is refused. Then it
/// leads to the new one again.
pub async fn old_primary_back(world: &mut World) {
    standby_without_slot_promoted(world).await;
    world.healthy().await;
    let old = world.old_primary.take().expect("there was a failover");
    old.restart().await;
    old.psql("INSERT INTO odd VALUES ('phantom', 0, 0, NULL, 'of the old primary')");
    old.psql("UPDATE pair SET version = 1, amount = 0");
    let since = world.leader().await.log().len();
    world.to_source.lead_to(old.port());
    says(world, since, "an old primary that has come back").await;
    world.pause(1500).await;
    world.to_source.lead_to(world.postgres.port());
}

/// A store stands still while far more is written than the source may keep: it is released all the same, again and again.
pub async fn log_filling(world: &mut World) {
    world.leader().await;
    world.to_store.hold();
    world.postgres.psql("CREATE TABLE IF NOT EXISTS filler (id int)");
    for _ in 0..5 {
        for _ in 0..2 {
            world.postgres.psql("INSERT INTO filler VALUES (1)");
            world.postgres.psql("SELECT pg_switch_wal()");
        }
        eventually(PATIENCE, "the source may forget its log", async || {
            world.postgres.psql("INSERT INTO filler VALUES (1)");
            world.postgres.psql("CHECKPOINT");
            let kept =
                "SELECT coalesce(max(pg_current_wal_lsn() - restart_lsn), 0)::bigint FROM pg_replication_slots";
            match world.postgres.psql(kept).parse::<i64>().unwrap() {
                kept if kept < 16 << 20 => Ok(()),
                kept => Err(format!("{kept} bytes are kept\n{}", world.service.log_tail())),
            }
        })
        .await;
    }
    let lost = world.postgres.psql("SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'");
    assert_eq!(lost, "0", "released in time, not given up by the source");
}

/// Not one byte more fits where the source keeps its log: it goes down.
pub async fn log_disk_full(world: &mut World) {
    world.healthy().await;
    world.log_disk.as_ref().expect("the world has a small disk for the log").fill();
    eventually(PATIENCE, "the source has no room for its log", async || {
        let _ = world.postgres.try_psql("CREATE TABLE IF NOT EXISTS filler (id int)");
        let _ = world.postgres.try_psql("INSERT INTO filler VALUES (1)");
        let _ = world.postgres.try_psql("SELECT pg_switch_wal()");
        match world.postgres.log_tail() {
            log if log.contains("No space left on device") => Ok(()),
            log => Err(log),
        }
    })
    .await;
    world.pause(2000).await;
}

pub async fn log_disk_freed(world: &World) {
    world.log_disk.as_ref().expect("the world has a small disk for the log").free();
    world.postgres.kill();
    world.postgres.restart().await;
}
