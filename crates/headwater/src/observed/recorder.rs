//! Counts by the hour while this instance leads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_flow::Handle;
use headwater_flow::serve::Serving;
use headwater_flow::serve::stats::PatternSample;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::hours::{self, Hour, Reads};

/// What a killed instance had counted since is not known.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);

struct Sample {
    at: Instant,
    patterns: BTreeMap<String, PatternSample>,
    tables: BTreeMap<String, u64>,
}

impl Sample {
    fn now(handle: &Handle, serving: &Serving) -> Sample {
        let patterns = serving.patterns();
        Sample {
            at: Instant::now(),
            patterns: patterns.map(|p| (p.plan.access.name.to_string(), p.stats.sample())).collect(),
            tables: handle.status().source.table_changes,
        }
    }
}

/// Until cancelled. A folder that cannot be written is said once, and is no reason not to run.
pub async fn record(data: PathBuf, handle: Handle, serving: Serving, cancel: CancellationToken) {
    // Counters begin at nothing.
    let mut before = Some(Sample { at: Instant::now(), patterns: BTreeMap::new(), tables: BTreeMap::new() });
    let mut current: Option<Hour> = None;
    let (mut leads, mut fails) = (false, false);
    loop {
        let stopping = tokio::select! {
            () = cancel.cancelled() => true,
            () = tokio::time::sleep(SAMPLE_EVERY) => false,
        };
        // At the end it may have let go of the lead already, with something left to count.
        leads = handle.is_leading() || (leads && stopping);
        if leads {
            let sample = Sample::now(&handle, &serving);
            if let Some(before) = &before {
                let done = count(&data, &mut current, before, &sample);
                if let Err(error) = &done
                    && !fails
                {
                    warn!(%error, "what goes on is not recorded for `plan --observed`");
                }
                fails = done.is_err();
            }
            before = Some(sample);
        } else {
            // Another instance of the folder may lead: what it has counted is on disk.
            (before, current) = (None, None);
        }
        if stopping {
            return;
        }
    }
}

/// Adds what came between two samples to the hour that goes on.
fn count(data: &std::path::Path, current: &mut Option<Hour>, a: &Sample, b: &Sample) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 3_600);
    let mut hour = match current.take() {
        Some(hour) => hour,
        None => hours::going_on(data)?.unwrap_or_default(),
    };
    if hour.hour < now {
        if hour.seconds > 0.0 {
            hours::close(data, hour)?;
        }
        hour = Hour { hour: now, ..Hour::default() };
    }
    hour.seconds += (b.at - a.at).as_secs_f64();
    for (name, after) in &b.patterns {
        let before = a.patterns.get(name).cloned().unwrap_or_default();
        hour.patterns.entry(name.clone()).or_default().add(&Reads::between(&before, after));
    }
    for (table, rows) in &b.tables {
        let more = rows.saturating_sub(a.tables.get(table).copied().unwrap_or(0));
        *hour.tables.entry(table.clone()).or_default() += more;
    }
    let said = hours::say(data, &hour);
    *current = Some(hour);
    said
}
