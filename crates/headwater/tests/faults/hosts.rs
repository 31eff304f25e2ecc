//! What happens to the machine and the processes of the program: its disk, its clock, its turns at leading.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::instance::Instance;
use crate::world::World;

/// It stands still until another instance leads, and wakes up.
pub async fn leader_stopped(world: &mut World) {
    let first = first_leads(world);
    let (leader, other) = leader_and_other(world, first);
    let since = other.log().len();
    leader.signal(Signal::SIGSTOP);
    if !other.is_running() {
        other.start();
    }
    other.says(since, &["leading"]).await;
    world.pause(1000).await;
    leader_and_other(world, first).0.signal(Signal::SIGCONT);
    world.pause(1500).await;
}

pub async fn second_instance(world: &World) {
    let (leader, other) = leader_and_other(world, first_leads(world));
    let since = other.log().len();
    if !other.is_running() {
        other.start();
        // It leads at once if the leader has just lost that, be it to a full disk.
        other
            .eventually("it stands by, or leads", async || {
                let log = other.log();
                let said = |line: &str| line.contains("standing by") || line.contains("leading epoch");
                let decided = log.get(since..).unwrap_or_default().lines().any(said);
                if decided { Ok(()) } else { Err(other.log_tail()) }
            })
            .await;
    }
    leader.kill();
    other.says(since, &["leading"]).await;
    leader.start();
}

fn first_leads(world: &World) -> bool {
    !world.second.is_running() || world.service.leads()
}

fn leader_and_other(world: &World, first: bool) -> (&Instance, &Instance) {
    match first {
        true => (&world.service, &world.second),
        false => (&world.second, &world.service),
    }
}

/// An hour ahead, an hour behind, with restarts and a store that is filled meanwhile.
pub async fn clock_off(world: &mut World) {
    for seconds in [3600, -3600] {
        for instance in [&world.service, &world.second] {
            instance.syscalls().clock_off(seconds);
        }
        world.shows_newer(world.committed()).await;
        world.pause(800).await;
        world.service.restart();
        world.shows_newer(world.committed()).await;
        world.redis.cli(&["FLUSHALL"]);
        world.shows_newer(world.committed()).await;
    }
}

pub fn clock_right(world: &World) {
    for instance in [&world.service, &world.second] {
        instance.syscalls().clock_off(0);
    }
}

/// Packets vanish, first those that the program sends, then those that it is sent, longer than the source waits.
pub async fn one_way_loss(world: &mut World) {
    let lost = Duration::from_secs(5);
    let network = world.network.as_ref().expect("the world has a network");
    network.lose_what_it_sends();
    tokio::time::sleep(lost).await;
    network.deliver_what_it_sends();
    world.pause(2000).await;
    let network = world.network.as_ref().expect("the world has a network");
    network.lose_what_it_is_sent();
    tokio::time::sleep(lost).await;
    network.deliver_what_it_is_sent();
}

/// One packet in twenty vanishes, and others are overtaken: it flows, if slowly.
pub async fn loss_and_disorder(world: &mut World) {
    world.network.as_ref().expect("the world has a network").lose_and_disorder(5);
    for _ in 0..3 {
        world.shows_newer(world.committed()).await;
        world.pause(2000).await;
    }
    let network = world.network.as_ref().expect("the world has a network");
    let (lost, late) = network.deliver_in_order();
    assert!(lost > 0 && late > 0, "{lost} packets vanished and {late} came late");
}

/// Nothing more can be written where journal and state are, and much is committed.
pub async fn disk_full(world: &mut World) {
    let disk = world.disk.as_ref().expect("the world has a small disk");
    disk.fill();
    world.service.says(0, &["space"]).await;
    world.pause(4000).await;
    assert!(world.service.is_running(), "it waits for space\n{}", world.service.log_tail());
}

pub fn disk_freed(world: &World) {
    world.disk.as_ref().expect("the world has a small disk").free();
}

pub fn bit_flip(world: &World) {
    world.service.kill();
    let segment = last_segment(world);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(segment).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    world.service.start();
}

/// Damage is refused and named; the remedy is what it says.
pub fn without_the_journal(world: &World) {
    let status = world.service.wait();
    assert_ne!(status.code(), Some(0), "damage ends the program");
    assert!(world.service.log().contains("is damaged at byte"), "{}", world.service.log_tail());
    std::fs::remove_dir_all(world.service.path("headwater-data/journal")).unwrap();
    world.service.start();
}

/// Bytes that no sync attests: half a frame.
pub fn torn_tail(world: &World) {
    world.service.kill();
    let mut file = std::fs::OpenOptions::new().append(true).open(last_segment(world)).unwrap();
    file.write_all(&[0x5a; 777]).unwrap();
    world.service.start();
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
