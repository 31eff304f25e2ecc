//! `headwater demo`: all of it on embedded engines with live traffic, nothing to install.

mod check;
mod shop;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use headwater_flow::status::{PartState, Status};
use headwater_flow::{Handle, NamedStore};
use headwater_model::View;
use headwater_model::file::File;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::picture::{Screen, picture};
use super::readers::Readers;
use super::{file, run as data_plane};
use crate::examine::watch::Findings;
use crate::figures::count;
use crate::telemetry::Telemetry;

const FILE: &str = include_str!("headwater.toml");

/// What lies in the demo's folder and may be removed by `--reset`: nothing else there is touched.
const OURS: [&str; 9] = [
    "headwater.toml",
    "shop.db",
    "shop.db-wal",
    "shop.db-shm",
    "shop.db-headwater.lock",
    "derived.db",
    "derived.db-wal",
    "derived.db-shm",
    "headwater-data",
];

/// How long the stores may take to catch up after the last write.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);

const DRAW_EVERY: Duration = Duration::from_millis(500);

/// Rows in the picture may have been counted so long ago.
const ROWS_AGE_MAX: Duration = Duration::from_secs(10);

/// How long the summary waits for rows counted after the last write.
const ROWS_WITHIN: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// The folder of the demo; created if it is not there.
    #[arg(long, default_value = "headwater-demo")]
    dir: PathBuf,
    /// Start over: remove what an earlier demo left in the folder.
    #[arg(long)]
    reset: bool,
    /// Run this long without a terminal, then stop the writes, check that every store equals the source, and end with
    /// exit code 0 or 1.
    #[arg(long = "for", value_name = "DURATION", value_parser = super::duration)]
    run_for: Option<Duration>,
    /// Transactions per second that the shop commits.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
}

pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.reset {
        reset(&args.dir)?;
    }
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
    let folder = args.dir.canonicalize().with_context(|| format!("cannot enter {}", args.dir.display()))?;
    let toml = folder.join("headwater.toml");
    let resumed = toml.exists();
    if !resumed {
        std::fs::write(&toml, FILE).with_context(|| format!("cannot write {}", toml.display()))?;
    }
    let file = file::load(&toml)?;
    let shop = folder.join("shop.db");
    if !shop.exists() {
        shop::open_shop(&shop).context("cannot create the shop's database")?;
    }

    let cancel = CancellationToken::new();
    data_plane::stop_on_signals(&cancel)?;
    let source = headwater_engines::registry::source(file.source())?;
    let facts = source.inspect().await?;
    let stores = data_plane::stores(&file)?;
    let telemetry = Telemetry::start(file.telemetry.as_ref())?;
    let readers = anywhere(&file, telemetry.as_ref(), &cancel).await?;
    let (service, answering) =
        data_plane::build(&file, source, &facts, stores.clone(), telemetry.as_ref(), &toml)?;
    let handle = service.handle();
    readers.open(answering, handle.clone(), Findings::default()).await?;
    let serving = {
        let (data, deadline, cancel) = (file.data.clone(), file.run.shutdown_within, cancel.clone());
        tokio::spawn(async move { data_plane::keep_in_step(service, data, deadline, cancel).await })
    };
    let business = Running::start(&shop, args.rate)?;

    if args.run_for.is_none() {
        watch(&handle, &folder, readers.url(), resumed, &cancel, &business).await;
        business.stop()?;
        let code = joined(serving.await)?;
        readers.end().await;
        println!("\nStopped. `headwater demo` goes on where it was; `headwater demo --reset` starts over.");
        return Ok(code);
    }
    let until = Instant::now() + args.run_for.unwrap_or_default();
    println!("the shop is open for {:?} in {}", args.run_for.unwrap_or_default(), folder.display());
    while Instant::now() < until && !cancel.is_cancelled() && !serving.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let committed = business.stop()?;
    let verdict = match caught_up(&handle, &cancel).await {
        true => {
            // Counted after the last write.
            let status = handle.status_with_rows(Duration::ZERO, ROWS_WITHIN).await;
            summary(&shop, &stores, &file.views, &status, committed).await
        }
        false => {
            eprintln!(
                "the stores did not catch up in {CATCH_UP_WITHIN:?}:\n\n{}",
                picture(&handle.status(), Screen::default())
            );
            Ok(ExitCode::FAILURE)
        }
    };
    cancel.cancel();
    let ended = joined(serving.await)?;
    readers.end().await;
    let verdict = verdict?;
    Ok(if verdict == ExitCode::SUCCESS { ended } else { verdict })
}

/// The ports of the file, or a free one if something else has the usual one: nobody has to tidy up for a demo.
async fn anywhere(
    file: &File,
    telemetry: Option<&Telemetry>,
    cancel: &CancellationToken,
) -> Result<Readers, Failure> {
    match Readers::start(file, telemetry, cancel).await {
        Err(Failure::Refused(error)) if error.is_retryable() => {
            let mut file = file.clone();
            if let Some(listen) = &mut file.serve.listen {
                listen.set_port(0);
            }
            Readers::start(&file, telemetry, cancel).await
        }
        started => started,
    }
}

fn joined(ended: Result<Result<ExitCode, Failure>, tokio::task::JoinError>) -> Result<ExitCode, Failure> {
    ended.context("the demo's data plane panicked")?
}

fn reset(dir: &Path) -> anyhow::Result<()> {
    for name in OURS {
        let path = dir.join(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The live picture, until Ctrl-C. Without a terminal: a line now and then.
async fn watch(
    handle: &Handle,
    folder: &Path,
    url: Option<&str>,
    resumed: bool,
    cancel: &CancellationToken,
    business: &Running,
) {
    let live = std::io::stdout().is_terminal();
    let every = if live { DRAW_EVERY } else { Duration::from_secs(5) };
    loop {
        let mut out = String::new();
        if live {
            out.push_str("\x1b[H\x1b[J");
        }
        let how = if resumed { "goes on" } else { "has opened" };
        out.push_str(&format!(
            "A bookshop {how} in {}: {} transactions committed since this start.\n\n",
            folder.display(),
            count(business.committed())
        ));
        let status = handle.status_with_rows(ROWS_AGE_MAX, DRAW_EVERY).await;
        // Looked at each time: a terminal may change its width.
        out.push_str(&picture(&status, Screen::of_stdout()));
        if live {
            out.push_str(&format!(
                "\nOpen {1}/ in a browser to watch it. Try, in another terminal:\n  \
                 curl '{1}/v1/book_page?id=1'\n  \
                 curl '{1}/v1/bestsellers?limit=3'\n  \
                 sqlite3 {0}/derived.db 'SELECT document FROM book LIMIT 1'\n  \
                 sqlite3 {0}/shop.db \"UPDATE books SET title = 'Mine' WHERE id = 1\"\n  \
                 headwater -f {0}/headwater.toml status --watch\n\
                 Look into {0}/headwater.toml to see what the views are. Ctrl-C stops; kill -9 is fine too.\n",
                folder.display(),
                url.unwrap_or("http://127.0.0.1:7070")
            ));
        }
        let mut stdout = std::io::stdout().lock();
        if stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            cancel.cancel();
        }
        drop(stdout);
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

async fn caught_up(handle: &Handle, cancel: &CancellationToken) -> bool {
    let until = Instant::now() + CATCH_UP_WITHIN;
    // Healthy twice in a row, some time apart: the last commit has had time to be noticed.
    let mut calm = 0;
    while Instant::now() < until && !cancel.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let status = handle.status();
        let healthy = status.backfills.is_empty()
            && status
                .stores
                .iter()
                .all(|store| store.state == PartState::Healthy && store.lag_transactions == 0);
        calm = if healthy { calm + 1 } else { 0 };
        if calm >= 4 {
            return true;
        }
    }
    false
}

async fn summary(
    shop: &Path,
    stores: &[NamedStore],
    views: &[View],
    status: &Status,
    committed: u64,
) -> Result<ExitCode, Failure> {
    println!("\n{}", picture(status, Screen::of_stdout()));
    println!("{} transactions committed; comparing every store with the source:", count(committed));
    let mut fine = true;
    for compared in check::check(shop, stores, views).await? {
        let verdict = if compared.different == 0 { "equal" } else { "DIFFERENT" };
        println!(
            "  {:<8} {:<14} {:>9} documents equal, {} not: {verdict}",
            compared.store,
            compared.view,
            count(compared.equal),
            count(compared.different)
        );
        for difference in &compared.differences {
            println!("    {difference}");
        }
        fine &= compared.different == 0;
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The shop's business in a thread of its own.
struct Running {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    thread: JoinHandle<rusqlite::Result<()>>,
}

impl Running {
    fn start(shop: &Path, per_second: u32) -> anyhow::Result<Running> {
        let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut business =
            shop::Business::open(shop, seed, per_second).context("cannot open the shop's database")?;
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
            move || {
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    due += business.pause();
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if business.happen()? {
                        committed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            }
        });
        Ok(Running { stop, committed, thread })
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Stops and tells how many transactions were committed.
    fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(result) => result.context("the shop's database failed")?,
            Err(_) => anyhow::bail!("the shop panicked"),
        }
        Ok(self.committed.load(Ordering::Relaxed))
    }
}
