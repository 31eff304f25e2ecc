//! The timer inside `run`: everything is examined again and again while this instance leads, and what was found is kept in the
//! data folder, with since when it is there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use headwater_control::doctor::Ledger;
use headwater_flow::Handle;
use headwater_model::exam::Urgency;
use headwater_model::file::File;
use tracing::{info, warn};

use super::own::Seen;
use crate::whole_files::replace;

/// Backfills and caches that fill come first: not sooner than this after an instance begins to lead.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// How often it is looked whether it is time.
const TICK: Duration = Duration::from_secs(1);

/// What was found so far, for whoever shows it.
#[derive(Clone, Default)]
pub struct Findings {
    ledger: Arc<RwLock<Arc<Ledger>>>,
}

impl Findings {
    pub fn now(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, ledger: Ledger) {
        *self.ledger.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ledger);
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("findings.json")
}

/// What the instances of a data folder found; nothing if none did yet.
pub fn kept(data: &Path) -> Result<Ledger> {
    let path = path(data);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ledger::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Examines everything whenever it is time, until dropped.
pub async fn keep_looking(file: File, handle: Handle, findings: Findings) {
    let Some(every) = file.doctor.every else { return };
    let engines = match super::engines(&file, None) {
        Ok(engines) => engines,
        Err(error) => return warn!(%error, "the engines cannot be examined"),
    };
    let mut ledger = kept(&file.data).unwrap_or_else(|error| {
        warn!(%error, "since when findings are there is not known any more");
        Ledger::default()
    });
    findings.set(ledger.clone());
    let mut leads_since = None;
    loop {
        tokio::time::sleep(TICK).await;
        if !handle.is_leading() {
            leads_since = None;
            continue;
        }
        let now = now_micros();
        let due = *leads_since.get_or_insert(now) + micros(every.min(FIRST_AFTER));
        // A clock that was set back must not keep everybody from looking.
        let due = match ledger.at_micros {
            Some(at) if at <= now => due.max(at + micros(every)),
            _ => due,
        };
        if now < due {
            continue;
        }
        let status = handle.status();
        let seen = Seen::new(&file.data, Some(status), u64::try_from(now / 1_000_000).unwrap_or(0));
        let report = super::everything(&file, &engines, &seen).await;
        let noticed = ledger.take(&report, now_micros());
        for new in &noticed.new {
            let (check, subject, what) = (&new.check, &new.subject, &new.what);
            if new.urgency >= Urgency::High {
                warn!(engine = %new.engine, check, subject, what, "{}", new.title);
            } else {
                info!(engine = %new.engine, check, subject, what, "{}", new.title);
            }
        }
        for gone in &noticed.gone {
            info!(engine = %gone.engine, check = gone.check, subject = gone.subject, "found no more: {}", gone.title);
        }
        findings.set(ledger.clone());
        if let Err(error) = keep(&file.data, &ledger) {
            warn!(%error, "findings cannot be kept: after a restart it will not be known since when they are there");
        }
    }
}

fn keep(data: &Path, ledger: &Ledger) -> Result<()> {
    let text = serde_json::to_string_pretty(ledger).context("cannot write the findings as JSON")?;
    replace(&path(data), &text)
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
