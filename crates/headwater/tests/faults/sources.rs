//! What happens to the source and to the log it keeps.

use headwater_testkit::eventually;
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
