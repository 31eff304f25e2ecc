//! Drills against the system that runs: only what costs it a moment. What is compared afterwards is for `headwater verify`.

use std::time::{Duration, Instant};

use anyhow::Context;
use headwater_control::drill::{Drill, Fault, Measured, Report, Step, Verdict};
use headwater_flow::incidents;
use headwater_flow::status::{PartState, Status};
use headwater_model::file::File;

use super::{CALM, LOOK_EVERY, as_step, now_micros, report, tells};
use crate::control_socket::{self, Done, Request};

pub async fn run(
    drill: &Drill,
    file: &File,
    store: Option<String>,
    objectives: Verdict,
) -> anyhow::Result<Report> {
    let status = control_socket::ask(&file.data).await?;
    let status = status.context("no instance runs here: start one, or add --sandbox")?;
    if let Some(what) = lacks(&status) {
        anyhow::bail!("{what}: nothing is broken on purpose before that is mended");
    }
    let request = match drill.fault {
        Fault::CutStore => Request::CutStore { store },
        Fault::StepDown => Request::StepDown,
        _ => anyhow::bail!("`{}` runs in a sandbox only", drill.name),
    };
    let (fault, fault_micros) = (Instant::now(), now_micros());
    let done =
        control_socket::ask_for::<Done>(&file.data, &request).await?.context("the instance has gone")?;
    let what = done.into_result().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut steps = vec![Step { at_ms: fault.elapsed().as_millis() as i64, what }];
    let until = fault + Duration::from_millis(objectives.rto_ms_max).max(Duration::from_secs(30)) * 2;
    let mut whole_since = None;
    let mut rto = None;
    while Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked = Instant::now();
        // It may be another instance that answers by then.
        let status = control_socket::ask(&file.data).await.ok().flatten();
        match status.as_ref().map(lacks) {
            Some(None) => {
                let since = *whole_since.get_or_insert(looked);
                if since.elapsed() > CALM + drill_lasts(drill.fault) {
                    rto = Some(since.saturating_duration_since(fault));
                    steps.push(Step {
                        at_ms: fault.elapsed().as_millis() as i64,
                        what: "everything is whole again".to_owned(),
                    });
                    break;
                }
            }
            _ => whole_since = None,
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let noted = incidents::read(&incidents::folder(&file.data))?.incidents;
    let noted: Vec<_> = noted.into_iter().filter(|incident| incident.at_micros >= fault_micros).collect();
    let detected =
        noted.iter().find(|incident| tells(incident)).map(|incident| incident.at_micros - fault_micros);
    let measured = Measured {
        detected_ms: detected.map(|micros| u64::try_from(micros / 1000).unwrap_or(0)),
        rto_ms: rto.map(|rto| rto.as_millis() as u64),
        ..Measured::default()
    };
    let mut engines = vec![status.source.server];
    engines.extend(status.stores.into_iter().map(|store| store.server));
    let noted = noted.iter().map(|incident| as_step(incident, fault_micros)).collect();
    Ok(report(drill, false, engines, steps, noted, measured, objectives, fault_micros))
}

/// The fault may begin a moment after it was asked for.
fn drill_lasts(fault: Fault) -> Duration {
    match fault {
        Fault::StepDown => Duration::from_secs(1),
        _ => Duration::ZERO,
    }
}

fn lacks(status: &Status) -> Option<String> {
    if status.source.state != PartState::Healthy {
        return Some(format!("the source is {}", status.source.state.as_str()));
    }
    let unwell = status.stores.iter().find(|store| store.state != PartState::Healthy)?;
    Some(format!("store {} is {}", unwell.name, unwell.state.as_str()))
}
