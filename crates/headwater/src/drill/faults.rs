//! What is broken, and what somebody who operates it would do then. Each returns when the fault itself is over; whether
//! everything is whole again is for others to find out.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use headwater_control::drill::Fault;
use headwater_engines::sandbox::Process;

use super::load::{Reader, current};
use super::world::World;
use crate::control_socket::{self, Done, Request};

/// How long what is frozen, cut or full stays so.
const LASTS: Duration = Duration::from_secs(5);

/// A supervisor needs so long to start again what has ended.
pub const SUPERVISOR: Duration = Duration::from_secs(1);

const TAKEOVER_WITHIN: Duration = Duration::from_secs(60);

pub fn inject(fault: Fault, world: &World, reader: &Reader) -> anyhow::Result<()> {
    match fault {
        Fault::KillHeadwater => restarted(world, |_| Ok(())),
        Fault::KillLeader => {
            world.leader().process().kill();
            world.step("killed the leader");
            world.lead_by(1);
            Ok(())
        }
        Fault::FreezeLeader => freeze_leader(world),
        Fault::KillStore => {
            let process = server(world.near.process())?;
            process.kill();
            world.step("killed the store");
            pause(2);
            world.near.start()?;
            world.step(if world.near.forgets() { "started it again, empty" } else { "started it again" });
            Ok(())
        }
        Fault::FreezeStore => frozen(world, server(world.near.process())?, "the store"),
        Fault::KillSource => {
            let source = current(&world.source);
            server(source.process())?.kill();
            world.step("killed the source's server");
            pause(2);
            source.start()?;
            world.step("started it again");
            Ok(())
        }
        Fault::FreezeSource => {
            let source = current(&world.source);
            frozen(world, server(source.process())?, "the source")
        }
        Fault::PartitionStore | Fault::PartitionSource => {
            let proxy =
                world.store_proxy.as_ref().or(world.source_proxy.as_ref()).context("there is no proxy")?;
            proxy.cut();
            world.step("cut the network");
            std::thread::sleep(LASTS);
            proxy.mend();
            world.step("mended it");
            Ok(())
        }
        Fault::ThrottleStore => {
            let proxy = world.store_proxy.as_ref().context("there is no proxy")?;
            proxy.throttle(4 << 10);
            world.step("throttled the network to 4 KiB/s");
            pause(8);
            proxy.mend();
            world.step("ended that");
            Ok(())
        }
        Fault::FlushStore => {
            world.near.flush()?;
            world.step("emptied the store");
            Ok(())
        }
        Fault::PromoteStandby => promote(world, reader),
        Fault::LoseJournal => restarted(world, |data| {
            fs::remove_dir_all(data.join("journal")).context("cannot remove the journal")?;
            world.step("removed the journal's folder");
            Ok(())
        }),
        Fault::CorruptJournal => restarted(world, |data| {
            let file = largest(&data.join("journal"))?;
            flip_a_bit(&file)?;
            world
                .step(format!("flipped a bit of {}", file.file_name().unwrap_or_default().to_string_lossy()));
            Ok(())
        }),
        Fault::CorruptState => restarted(world, |data| {
            let path = data.join("state.db");
            let length = fs::metadata(&path).context("cannot look at the state")?.len();
            fs::write(&path, vec![0xA5; length as usize]).context("cannot damage the state")?;
            // What lies in it would mend the file.
            fs::write(data.join("state.db-wal"), []).context("cannot damage the state")?;
            world.step("overwrote state.db with noise");
            Ok(())
        }),
        Fault::FillDisk => {
            let pid = world.leader().process().id().context("headwater does not run")?;
            grow_to(pid, "0")?;
            world.step("from now on no file may grow");
            std::thread::sleep(LASTS);
            // One that has ended meanwhile is started again without the limit.
            if world.leader().process().is_running() {
                grow_to(pid, "unlimited")?;
            }
            world.step("files may grow again");
            Ok(())
        }
        Fault::Poison => {
            let source = current(&world.source);
            source.execute("UPDATE entry SET note = printf('%.*c', 3000000, 'x') WHERE id = 7")?;
            world.step("committed a row of 3 MB; store far takes 1 MiB");
            pause(3);
            let status = world.status().context("headwater does not answer")?;
            let refused: u64 = status.stores.iter().map(|store| store.quarantined_rows).sum();
            world.step(format!("{refused} row in quarantine, the others flow on"));
            anyhow::ensure!(refused == 1, "the row should be in quarantine");
            source.execute("UPDATE entry SET note = 'mended' WHERE id = 7")?;
            world.step("mended the row at the source");
            Ok(())
        }
        Fault::CutStore => asked(world, Request::CutStore { store: Some("near".to_owned()) }),
        Fault::StepDown => asked(world, Request::StepDown),
    }
}

fn pause(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

fn server(process: Option<&Process>) -> anyhow::Result<&Process> {
    process.context("this engine is no process")
}

fn asked(world: &World, request: Request) -> anyhow::Result<()> {
    let asked = control_socket::ask_for::<Done>(&world.leader().data, &request);
    let done = world.runtime.block_on(asked)?.context("headwater does not answer")?;
    world.step(done.into_result().map_err(|error| anyhow::anyhow!("{error}"))?);
    Ok(())
}

/// Kill -9, harm to the data folder, and a supervisor.
fn restarted(world: &World, harm: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    world.leader().process().kill();
    world.step("killed headwater");
    harm(&world.leader().data)?;
    std::thread::sleep(SUPERVISOR);
    world.leader().start()?;
    world.step("started it again");
    Ok(())
}

fn frozen(world: &World, process: &Process, what: &str) -> anyhow::Result<()> {
    process.freeze();
    world.step(format!("froze {what}"));
    std::thread::sleep(LASTS);
    process.thaw();
    world.step("thawed it");
    Ok(())
}

fn freeze_leader(world: &World) -> anyhow::Result<()> {
    world.instances[0].process().freeze();
    world.step("froze the leader");
    world.lead_by(1);
    let until = Instant::now() + TAKEOVER_WITHIN;
    while world.status().is_none_or(|status| status.epoch < 2) {
        if Instant::now() > until {
            world.instances[0].process().thaw();
            anyhow::bail!("the other instance did not take over; {}", world.leader().last_words());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    world.step("the other instance leads");
    pause(1);
    world.instances[0].process().thaw();
    world.step("thawed the one that led");
    Ok(())
}

fn promote(world: &World, reader: &Reader) -> anyhow::Result<()> {
    let (old, new) = (current(&world.source), world.standby.as_ref().context("there is no standby")?);
    let (proxy, address) =
        (world.source_proxy.as_ref().context("there is no proxy")?, new.address().context("no address")?);
    server(old.process())?.kill();
    world.step("killed the primary");
    new.promote()?;
    // What the old primary had not sent is gone for good, and history goes on without it.
    reader.new_course();
    *world.source.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(new);
    proxy.redirect(address);
    world.step("promoted the standby, behind the same address");
    Ok(())
}

/// Sets how far the files of a process may grow.
fn grow_to(pid: u32, bytes: &str) -> anyhow::Result<()> {
    let set = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--fsize={bytes}:unlimited")])
        .output()
        .context("cannot run prlimit")?;
    anyhow::ensure!(set.status.success(), "prlimit: {}", String::from_utf8_lossy(&set.stderr).trim());
    Ok(())
}

fn largest(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).context("cannot list the journal")? {
        let entry = entry.context("cannot list the journal")?;
        files.push((entry.metadata().map_or(0, |metadata| metadata.len()), entry.path()));
    }
    files.sort();
    files.pop().map(|(_, path)| path).context("the journal has no file")
}

/// Near the start, where everything has been on disk for long.
fn flip_a_bit(path: &Path) -> anyhow::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).context("cannot open it")?;
    let at = (file.metadata().context("cannot look at it")?.len() / 4).min(400);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).context("cannot read it")?;
    file.write_all_at(&[byte[0] ^ 8], at).context("cannot damage it")
}
