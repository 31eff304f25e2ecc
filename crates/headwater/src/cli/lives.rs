//! The data planes of one process, one for each source: each looks at its source, follows it and keeps its stores in step, and
//! what becomes of one is none of the others' business.
//!
//! Invariant: where there are several sources, the end of one data plane ends none of the others. The process ends when it is told
//! to, or when none of them can go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use headwater_model::file::File;
use headwater_model::{Error, Source, SourceFacts};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error_span, warn};

use super::failure::Failure;
use super::readers::Readers;
use super::run::{build, keep_in_step, stores};
use crate::examine::watch::{Findings, keep_looking};
use crate::observed;
use crate::telemetry::Telemetry;

/// How often the source is tried while it cannot be looked at yet.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long a source is left alone after an error that waiting does not mend: somebody has to do something first.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// What all of them share.
struct Shared<'r> {
    path: &'r Path,
    telemetry: Option<&'r Telemetry>,
    readers: &'r Readers,
    cancel: &'r CancellationToken,
}

pub async fn run(
    file: &File,
    path: &Path,
    telemetry: Option<&Telemetry>,
    readers: &Readers,
    cancel: &CancellationToken,
) -> Result<ExitCode, Failure> {
    let shared = Shared { path, telemetry, readers, cancel };
    let flows = file.flows();
    if let [only] = &flows[..] {
        return live(&shared, only).await;
    }
    let failed = Mutex::new(BTreeMap::new());
    let lives = flows.iter().map(|flow| {
        let name = flow.source().name.as_deref().unwrap_or_default();
        endure(&shared, flow, flows.len(), &failed).instrument(error_span!("source", name))
    });
    let codes = join_all(lives).await;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.len() == flows.len()
        && let Some((_, failure)) = failed.into_iter().next()
    {
        return Err(failure);
    }
    let fine = codes.iter().all(|code| *code == ExitCode::SUCCESS);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One of several: begins anew after an error that waiting does not mend, until all of them have one.
async fn endure(
    shared: &Shared<'_>,
    flow: &File,
    of: usize,
    failed: &Mutex<BTreeMap<Box<str>, Failure>>,
) -> ExitCode {
    let name = flow.source().name.clone().unwrap_or_default();
    let mut told = String::new();
    loop {
        let failure = match live(shared, flow).await {
            Ok(code) => return code,
            Err(failure) => failure,
        };
        let why = failure.to_string();
        shared.readers.wait_for(Some(&name), &*why);
        if why != told {
            warn!(error = %why, "this source cannot be followed; the others go on");
            told = why;
        }
        let all = {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.insert(name.clone(), failure);
            failed.len() == of
        };
        if all {
            shared.cancel.cancel();
            return ExitCode::FAILURE;
        }
        tokio::select! {
            // It was told to stop, and had nothing to stop.
            () = shared.cancel.cancelled() => return ExitCode::SUCCESS,
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
        failed.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    }
}

/// Until cancelled, or an error that waiting does not mend.
async fn live(shared: &Shared<'_>, file: &File) -> Result<ExitCode, Failure> {
    let source = headwater_engines::registry::source(file.source())?;
    let stores = stores(file)?;
    let Some(facts) = look(shared, file, &*source).await? else { return Ok(ExitCode::SUCCESS) };
    let (service, answers) = build(file, source, &facts, stores, shared.telemetry, shared.path)?;
    let over = shared.cancel.child_token();
    let recording =
        observed::record(file.data.clone(), service.handle(), answers.serving.clone(), over.clone());
    let recording = tokio::spawn(recording.in_current_span());
    let findings = Findings::default();
    let looking = keep_looking(file.clone(), service.handle(), findings.clone());
    let looking = tokio::spawn(looking.in_current_span());
    shared.readers.open(answers, service.handle(), findings).await?;
    let code =
        keep_in_step(service, file.data.clone(), file.run.shutdown_within, shared.cancel.clone()).await;
    over.cancel();
    looking.abort();
    let _ = recording.await;
    code
}

/// Looks at the source, waiting for one that is not up yet.
async fn look(shared: &Shared<'_>, file: &File, source: &dyn Source) -> Result<Option<SourceFacts>, Error> {
    loop {
        let Some(looked) = shared.cancel.run_until_cancelled(source.inspect()).await else { return Ok(None) };
        match looked {
            Ok(facts) => return Ok(Some(facts)),
            Err(error) if error.is_retryable() => {
                warn!(%error, "the source cannot be looked at yet");
                let why = format!("the source cannot be looked at yet: {error}");
                shared.readers.wait_for(file.source().name.as_deref(), why);
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = shared.cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}
