//! `headwater run`: the data plane, until it is told to stop. Each source's is a life of its own ([`super::lives`]).

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use headwater_flow::serve::{self, Serving};
use headwater_flow::verify::Background;
use headwater_flow::{Handle, NamedStore, Options, Service};
use headwater_model::file::{File, StoreSection};
use headwater_model::{Error, ErrorKind, Source, SourceFacts};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, warn};
use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use super::readers::{Answers, Readers};
use super::{file, lives};
use crate::control_socket;
use crate::telemetry::Telemetry;

#[derive(clap::Args)]
pub struct Args {
    /// Log lines as JSON, one object per line.
    #[arg(long)]
    log_json: bool,
    /// Safe mode: follow and serve, but clear, fill again and repair nothing without approval. As [heal] safe = true.
    #[arg(long)]
    safe: bool,
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    log_to_stderr(args.log_json);
    let mut file = file::load(path)?;
    file.heal.safe |= args.safe;
    let cancel = CancellationToken::new();
    stop_on_signals(&cancel)?;
    let telemetry = Telemetry::start(file.telemetry.as_ref())?;
    // What no engine understands is said before anything is done for any source.
    for flow in file.flows() {
        headwater_engines::registry::source(flow.source())?;
        stores(&flow)?;
    }
    let readers = Readers::start(&file, telemetry.as_ref(), &cancel).await?;
    let code = lives::run(&file, path, telemetry.as_ref(), &readers, &cancel).await;
    cancel.cancel();
    readers.end().await;
    if let Some(telemetry) = telemetry {
        telemetry.end().await;
    }
    code
}

/// The stores of the file. Nothing is connected yet.
pub fn stores(file: &File) -> Result<Vec<NamedStore>, Error> {
    let store = |section: &StoreSection| {
        Ok(NamedStore { name: section.name.clone(), store: headwater_engines::registry::store(section)? })
    };
    file.stores.iter().map(store).collect()
}

/// The service that the file describes, and what answers its readers.
pub fn build(
    file: &File,
    source: Arc<dyn Source>,
    facts: &SourceFacts,
    stores: Vec<NamedStore>,
    telemetry: Option<&Telemetry>,
    path: &Path,
) -> Result<(Service, Answers), Failure> {
    let resolved = headwater_control::resolve(file, facts).map_err(|findings| Failure::Findings {
        path: path.to_owned(),
        text: Arc::clone(&file.text),
        findings,
    })?;
    let options = Options {
        data: file.data.clone(),
        journal_bytes_max: file.journal.bytes_max,
        hold_for: file.source().hold_for,
        retained_log_bytes_max: file.source().retained_log_bytes_max,
        backfill_parallel: file.backfill.parallel,
        backfill_chunk_rows: file.backfill.chunk_rows,
        backfill_rows_per_second_max: file.backfill.rows_per_second_max,
        heal: file.heal,
    };
    let tracer = telemetry.map(Telemetry::tracer);
    let background = Background {
        rows_per_second: file.verify.rows_per_second,
        repair: file.verify.repair.then_some(Background::REPAIR_SHARE),
        detect_within: file.verify.detect_within,
        every: file.verify.every,
    };
    let service = Service::new(options, Arc::clone(&source), stores.clone(), resolved.views)?
        .traced(tracer.clone())
        .verifying(background);
    let bounds = serve::Options {
        source_rate_per_second: file.serve.source_rate_per_second,
        source_parallel: file.serve.source_parallel,
        source_timeout: file.serve.source_timeout,
        tracer,
        ..serve::Options::default()
    };
    let serving = Serving::new(service.handle(), source, &stores, resolved.access, bounds);
    let answers = Answers {
        source: file.source().name.clone(),
        serving,
        by_view: resolved.by_view,
        server: facts.server.clone(),
    };
    Ok((service, answers))
}

/// Runs the service and answers `status` until cancelled, then stops it within its deadline.
pub async fn keep_in_step(
    service: Service,
    data: PathBuf,
    shutdown_within: Duration,
    cancel: CancellationToken,
) -> Result<ExitCode, Failure> {
    let handle = service.handle();
    let mut running = tokio::spawn(service.run(cancel.clone()).in_current_span());
    let answering = tokio::spawn(answer(data, handle).in_current_span());
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = cancel.cancelled() => {
            info!("stopping");
            match tokio::time::timeout(shutdown_within, &mut running).await {
                Ok(ended) => ended,
                Err(_) => {
                    warn!("not stopped in time: ending as after a crash, nothing is lost");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    };
    answering.abort();
    match ended {
        Ok(result) => result?,
        Err(error) => {
            return Err(Error::new(ErrorKind::Bug, "the data plane panicked").with_cause(error).into());
        }
    }
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Answers `status`; a socket that cannot be had is no reason not to run.
async fn answer(data: PathBuf, handle: Handle) {
    loop {
        if data.is_dir()
            && handle.heal().is_some()
            && let Err(error) = control_socket::serve(&data, handle.clone()).await
        {
            warn!(%error, "`headwater status` cannot be answered");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What to log is chosen by HEADWATER_LOG, in the syntax of tracing's EnvFilter; by default `info`.
pub fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call, in a process that logs already, changes nothing.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}

/// Ctrl-C and SIGTERM stop cleanly; a second one ends at once.
pub fn stop_on_signals(cancel: &CancellationToken) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(anyhow::Error::from)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(anyhow::Error::from)?;
    let cancel = cancel.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(130);
            }
            cancel.cancel();
        }
    });
    Ok(())
}
