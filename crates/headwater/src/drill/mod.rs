//! Running a drill: build the sandbox, break something under load, watch until it is whole again, compare, tell.
//!
//! Owns: the breaking and the measuring. Does not own: which drills there are, what passes, and how it is told
//! ([`headwater_control::drill`]); engines ([`headwater_engines::sandbox`]).
//!
//! Everything here blocks: it runs on a thread of its own, beside the runtime.

mod calibrate;
mod compare;
mod faults;
pub mod history;
pub mod live;
mod load;
mod proxy;
mod world;

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use headwater_control::drill::{Drill, Fault, Measured, Report, Step, Verdict};
use headwater_flow::incidents;
use headwater_flow::status::{Incident, IncidentKind};
use tokio::runtime::Handle;

use crate::figures::utc;
pub use calibrate::calibrate;
use compare::Compared;
use load::{Load, Reader, current};
pub use world::Engines;
use world::World;

/// How long building, filling and comparing may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// It is whole again when it stays so for this long.
const CALM: Duration = Duration::from_secs(1);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A supervisor gives up then, and whoever operates it does what the message says.
const STARTS_MAX: u32 = 3;

pub fn in_sandbox(
    drill: &Drill,
    engines: &Engines,
    objectives: Verdict,
    runtime: Handle,
    say: fn(&str),
) -> anyhow::Result<Report> {
    say("building the sandbox");
    let world = World::build(drill, engines, runtime, say)?;
    for (nth, instance) in world.instances.iter().enumerate() {
        instance.start()?;
        if nth == 0 {
            world.wait_whole(None, PATIENCE)?;
        }
    }
    let load = Load::start(&world.source);
    world.wait_whole(Some(&load), PATIENCE)?;
    let stores = world.stores().map(|(_, store)| store);
    let reader = Reader::start(&stores);
    std::thread::sleep(CALM);

    let (fault, fault_micros) = (Instant::now(), now_micros());
    let within = PATIENCE.max(Duration::from_millis(objectives.rto_ms_max) * 2);
    let broken = std::thread::scope(|scope| {
        let fault = scope.spawn(|| faults::inject(drill.fault, &world, &reader));
        let rto = watch(drill.fault, &world, &load, within, || fault.is_finished());
        match fault.join() {
            Ok(injected) => injected.and(rto),
            Err(_) => Err(anyhow::anyhow!("the drill panicked")),
        }
    });
    let rto = broken?.map(|whole| whole.saturating_duration_since(fault));

    let acknowledged = load.stop();
    world.step("stopped the writes; comparing every store with the source");
    let compared = settled(&world)?;
    let (reads, went_back) = reader.stop();
    compared.samples.iter().for_each(|sample| world.step(sample));
    let noted = noted(&world, fault_micros)?;
    let detected =
        noted.iter().find(|incident| tells(incident)).map(|incident| incident.at_micros - fault_micros);
    let measured = Measured {
        detected_ms: detected.map(|micros| u64::try_from(micros / 1000).unwrap_or(0)),
        rto_ms: rto.map(|rto| rto.as_millis() as u64),
        committed: acknowledged.len() as u64,
        lost_by_source: acknowledged.difference(&compared.entries).count() as u64,
        lost_transactions: compared.lost.len() as u64,
        different_keys: compared.different,
        compared_keys: compared.keys,
        went_back,
        reads,
    };
    let incidents = noted.iter().map(|incident| as_step(incident, fault_micros)).collect();
    Ok(report(
        drill,
        true,
        world.engines(),
        world.steps(fault),
        incidents,
        measured,
        objectives,
        fault_micros,
    ))
}

#[expect(clippy::too_many_arguments, reason = "each is a part of the report")]
fn report(
    drill: &Drill,
    sandbox: bool,
    engines: Vec<String>,
    steps: Vec<Step>,
    incidents: Vec<Step>,
    measured: Measured,
    objectives: Verdict,
    at_micros: i64,
) -> Report {
    let failures = objectives.failures(&measured);
    Report {
        drill: drill.name.to_owned(),
        what: drill.what.to_owned(),
        at_seconds: u64::try_from(at_micros / 1_000_000).unwrap_or(0),
        at: utc(at_micros),
        sandbox,
        engines,
        steps,
        incidents,
        passed: failures.is_empty(),
        failures,
        measured,
        objectives,
    }
}

/// From when on everything is whole; `None` if that does not come. Acts as the supervisor meanwhile.
fn watch(
    fault: Fault,
    world: &World,
    load: &Load,
    within: Duration,
    is_over: impl Fn() -> bool,
) -> anyhow::Result<Option<Instant>> {
    let until = Instant::now() + within;
    let (mut whole_since, mut starts, mut told) = (None, 0, String::new());
    while Instant::now() < until {
        std::thread::sleep(LOOK_EVERY);
        if is_over() && !world.leader().process().is_running() {
            starts += 1;
            world.step(format!("headwater ended: {}", world.leader().last_words()));
            if starts >= STARTS_MAX {
                obey(fault, world)?;
            }
            std::thread::sleep(faults::SUPERVISOR);
            world.leader().start()?;
            world.step("started it again, as a supervisor does");
        }
        let looked = Instant::now();
        match world.lacks(Some(load)) {
            None => {
                let since = *whole_since.get_or_insert(looked);
                if is_over() && since.elapsed() > CALM {
                    world.step("everything is whole again");
                    return Ok(Some(since));
                }
            }
            Some(what) => {
                whole_since = None;
                if what != told {
                    told = what;
                }
            }
        }
    }
    world.step(format!("not whole in time: {told}"));
    Ok(None)
}

/// What the message of a headwater that does not start says to do.
fn obey(fault: Fault, world: &World) -> anyhow::Result<()> {
    let data = &world.leader().data;
    match fault {
        Fault::CorruptJournal | Fault::LoseJournal => {
            fs::remove_dir_all(data.join("journal")).context("cannot remove the journal")?;
            world.step("did what the message says: removed the journal");
        }
        Fault::CorruptState => {
            for name in ["state.db", "state.db-wal", "state.db-shm"] {
                let _ = fs::remove_file(data.join(name));
            }
            world.step("did what the message says: removed state.db");
        }
        _ => {}
    }
    Ok(())
}

/// Compares until nothing differs, as changes may be on their way, or patience ends.
fn settled(world: &World) -> anyhow::Result<Compared> {
    let until = Instant::now() + PATIENCE;
    loop {
        let stores = world.stores();
        let stores = [(stores[0].0, &*stores[0].1), (stores[1].0, &*stores[1].1)];
        let compared = compare::compare(&*current(&world.source), &stores);
        match compared {
            Ok(compared) if compared.different == 0 || Instant::now() > until => return Ok(compared),
            Err(error) if Instant::now() > until => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// What every instance noted since the fault, oldest first. What has just happened is written a moment later.
fn noted(world: &World, since_micros: i64) -> anyhow::Result<Vec<Incident>> {
    std::thread::sleep(Duration::from_millis(500));
    let mut folders: Vec<_> = world.instances.iter().map(|instance| instance.data.clone()).collect();
    folders.dedup();
    let mut noted = Vec::new();
    for data in folders {
        noted.extend(incidents::read(&incidents::folder(&data))?.incidents);
    }
    noted.retain(|incident| incident.at_micros >= since_micros);
    noted.sort_by_key(|incident| incident.at_micros);
    Ok(noted)
}

/// Whether an incident shows that something was noticed. That an instance still waits for its turn does not.
fn tells(incident: &Incident) -> bool {
    incident.kind.is_bad()
        || matches!(incident.kind, IncidentKind::Leading | IncidentKind::Healing | IncidentKind::Filling)
}

fn as_step(incident: &Incident, fault_micros: i64) -> Step {
    let mut what = format!("{}: {}", incident.part, incident.kind.as_str());
    if !incident.cause.is_empty() {
        what.push_str(&format!(" ({})", incident.cause));
    }
    if let Some(step) = &incident.step {
        what.push_str(&format!("; {step}"));
    }
    Step { at_ms: (incident.at_micros - fault_micros) / 1000, what }
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
