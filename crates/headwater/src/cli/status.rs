//! `headwater status`: what each store holds and how far behind it is, asked of the running instance.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use headwater_flow::status::{PartState, SourceStatus, Status, StoreStatus};
use headwater_model::file::File;

use super::failure::Failure;
use super::file;
use super::picture::{Screen, picture};
use super::which::{Which, heading};
use crate::by_source::BySource;
use crate::control_socket;

/// How often `--watch` looks again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How long a store may take to say what it holds when no instance runs.
const STORE_WITHIN: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub struct Args {
    /// Look again every second until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
    /// One JSON document (with --watch: one per line).
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Exit code 0 if an instance runs and everything is healthy, 1 otherwise.
pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    let file = file::load(path)?;
    let flows = args.which.flows(&file)?;
    let live = args.watch && std::io::stdout().is_terminal();
    loop {
        let (mut all, mut text, mut fine) = (BySource::default(), String::new(), true);
        for flow in &flows {
            let found = control_socket::ask(&flow.data).await.context("cannot ask the running instance")?;
            let running = found.is_some();
            let status = match found {
                Some(status) => status,
                None => at_rest(flow).await?,
            };
            fine &= running && is_healthy(&status);
            text.push_str(&heading(flow));
            if !running {
                text.push_str("no instance runs here; this is what the stores hold\n\n");
            }
            text.push_str(&picture(&status, Screen::of_stdout()));
            if flows.len() > 1 {
                text.push('\n');
            }
            all.add(flow.source().name.as_deref(), status);
        }
        let mut shown = String::new();
        if args.json {
            shown = serde_json::to_string(&all).context("cannot write the status as JSON")?;
            shown.push('\n');
        } else {
            if live {
                shown.push_str("\x1b[H\x1b[J");
            }
            shown.push_str(&text);
        }
        let mut out = std::io::stdout().lock();
        // A reader that went away (`| head`) is a normal end.
        if out.write_all(shown.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        drop(out);
        if !args.watch {
            return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}

fn is_healthy(status: &Status) -> bool {
    status.source.state == PartState::Healthy
        && status.source.quarantined_rows == 0
        && status.stores.iter().all(|store| store.state == PartState::Healthy && store.quarantined_rows == 0)
}

/// What the stores themselves say when nobody keeps them in step.
async fn at_rest(file: &File) -> Result<Status, Failure> {
    let source = headwater_engines::registry::source(file.source())?;
    let mut status = Status {
        source: SourceStatus {
            server: "not followed".to_owned(),
            state: PartState::Paused,
            retained_log_bytes_max: file.source().retained_log_bytes_max,
            ..SourceStatus::default()
        },
        ..Status::default()
    };
    status.journal.bytes_max = file.journal.bytes_max;
    for section in &file.stores {
        let store = headwater_engines::registry::store(section)?;
        let mut found = StoreStatus {
            name: section.name.to_string(),
            state: PartState::Paused,
            ..StoreStatus::default()
        };
        match tokio::time::timeout(STORE_WITHIN, store.held()).await {
            Ok(Ok(Some(held))) => {
                found.offset = held.offset.0;
                found.position = held.position.map(|position| source.notation(&position));
                status.epoch = status.epoch.max(held.epoch.0);
            }
            Ok(Ok(None)) => found.error = Some("the store is empty".to_owned()),
            Ok(Err(error)) => {
                found.state = PartState::Failed;
                found.error = Some(error.to_string());
            }
            Err(_) => {
                found.state = PartState::Failed;
                found.error = Some("the store does not answer".to_owned());
            }
        }
        status.stores.push(found);
    }
    Ok(status)
}
