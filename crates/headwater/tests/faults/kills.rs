//! kill -9 at moments that matter, exact to the system call or the byte.

use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_testkit::eventually;

use crate::catalogue::says;
use crate::instance::Instance;
use crate::world::{PATIENCE, World};

/// Changes were read from the log and are not safe yet. Half of the time the power goes as well, and with it some of what no
/// sync attests.
pub async fn before_journal_sync(world: &mut World) {
    for _ in 0..5 {
        let (syncs, power_goes) = (1 + world.chance.below(30) as i64, world.chance.one_in(2));
        let share = world.chance.below(101);
        for instance in [&world.service, &world.second] {
            instance.syscalls().kill_before_sync(syncs);
        }
        world
            .killed(|instance| {
                if power_goes {
                    lose_unsynced(instance, share)
                }
            })
            .await;
        world.pause(700).await;
    }
}

/// Changes are safe in the journal, and no store has them.
pub async fn after_journal_sync(world: &mut World) {
    for _ in 0..5 {
        let syncs = 1 + world.chance.below(30) as i64;
        for instance in [&world.service, &world.second] {
            instance.syscalls().kill_after_sync(syncs);
        }
        world.killed(|_| ()).await;
        world.pause(700).await;
    }
}

/// Stores have changes, and the source was not told that it may forget them: it sends them again.
pub async fn before_release(world: &mut World) {
    for _ in 0..3 {
        // Nothing has to be filled first: that takes answers of the source.
        world.healthy().await;
        world.shows_newer(world.committed()).await;
        world.to_source.hold_requests();
        let held = world.postgres.psql("SELECT pg_current_wal_insert_lsn()");
        world.shows_newer(world.committed()).await;
        let released = world
            .postgres
            .psql(&format!("SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn > '{held}'"));
        assert_eq!(released, "0", "nothing that came after was released");
        for instance in [&world.service, &world.second] {
            if instance.is_running() {
                instance.kill();
                instance.start();
            }
        }
        world.to_source.mend();
        world.pause(900).await;
    }
}

/// A share of what lies in the newest segment behind what was synced stays, as on a disk that lost its power.
fn lose_unsynced(instance: &Instance, percent: u64) {
    let folder = instance.path("headwater-data/journal");
    let mut mark = [0; 16];
    let read = std::fs::File::open(folder.join("synced")).and_then(|file| file.read_exact_at(&mut mark, 0));
    if read.is_err() {
        // Killed before the first sync of all.
        return;
    }
    let number = |at: usize| u64::from_le_bytes(mark[at..at + 8].try_into().unwrap());
    let (segment, synced) = (number(0), number(8));
    let file =
        std::fs::OpenOptions::new().write(true).open(folder.join(format!("{segment:020}.segment"))).unwrap();
    let unsynced = file.metadata().unwrap().len() - synced;
    file.set_len(synced + unsynced * percent / 100).unwrap();
}

/// Put right in steps of 200 with pauses between them.
const MANY: u64 = 2_000;

/// A part of what drifted is put right when the end comes.
pub async fn in_a_repair(world: &mut World) {
    world.postgres.psql(&format!(
        "INSERT INTO odd SELECT 'many ' || i, i, i, NULL, 'x' FROM generate_series(1, {MANY}) AS i"
    ));
    let leader = world.healthy().await;
    eventually(PATIENCE, "the rows are there", async || match many(world, "EXISTS") {
        MANY => Ok(()),
        some => Err(format!("{some}\n{}", leader.log_tail())),
    })
    .await;
    assert_eq!(many(world, "DEL"), MANY);
    let mut verify = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["verify", "odd", "--store", "near", "--repair", "--allow", "100%"])
        .current_dir(leader.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let asked = Instant::now();
    while many(world, "EXISTS") == 0 {
        assert!(asked.elapsed() < PATIENCE, "nothing is put right\n{}", leader.log_tail());
        if verify.try_wait().unwrap().is_some() {
            let said = verify.wait_with_output().unwrap().stdout;
            panic!("nothing was put right: {}", String::from_utf8_lossy(&said));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = many(world, "EXISTS");
    leader.restart();
    assert!(begun < MANY, "it was in the middle");
    assert!(!verify.wait().unwrap().success(), "it knows that it broke off");
}

/// It is asked for again.
pub async fn after_a_repair(world: &World) {
    let leader = world.healthy().await;
    leader.command(&["verify", "odd", "--repair", "--allow", "100%"]).expect(0);
    assert_eq!(many(world, "EXISTS"), MANY);
    world.postgres.psql("DELETE FROM odd WHERE id LIKE 'many %'");
}

/// A command on the many keys; the sum of its replies.
fn many(world: &World, command: &str) -> u64 {
    let script = format!(
        "local sum = 0
         for i = 1, {MANY} do sum = sum + redis.call('{command}', 'shop:odd:many ' .. i) end
         return sum"
    );
    world.redis.cli(&["EVAL", &script, "0"]).parse().unwrap()
}

pub async fn in_a_chunk(world: &mut World) {
    let since = world.service.log().len();
    world.redis.cli(&["FLUSHALL"]);
    says(world, since, "reading the table").await;
    world.pause(60).await;
    world.service.restart();
}

pub async fn at_each_step_of_a_heal(world: &World) {
    // Of one instance: another that leads, or takes over, would be the one that heals.
    if world.second.is_running() {
        world.second.kill();
    }
    for step in ["views are filled", "reading the table", "the table is read", "the view is complete"] {
        let since = world.service.log().len();
        world.redis.cli(&["FLUSHALL"]);
        says(world, since, step).await;
        world.service.restart();
    }
}

pub async fn under_load(world: &mut World) {
    for _ in 0..4 {
        world.service.restart();
        world.pause(900).await;
    }
}
