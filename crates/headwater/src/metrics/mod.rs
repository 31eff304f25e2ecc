//! `/metrics`: everything that is counted, computed when it is asked for.
//!
//! Owns: the names ([`names`]) and the text ([`text`]). Does not own: counting, which the parts do themselves.

pub mod names;
mod process;
mod text;

use std::sync::Arc;
use std::time::Duration;

use headwater_control::doctor::Ledger;
use headwater_flow::Handle;
use headwater_flow::serve::stats::{HistogramSample, PatternSample};
use headwater_flow::status::{PartState, PartStatus, Status, StoreStatus};
use headwater_model::exam::Urgency;
use names::*;

use crate::telemetry::Spans;
pub use text::CONTENT_TYPE;
use text::Text;

/// Every state that a part can be in.
const STATES: [PartState; 7] = [
    PartState::Starting,
    PartState::Standby,
    PartState::Healthy,
    PartState::Lagging,
    PartState::Failed,
    PartState::Rebuilding,
    PartState::Paused,
];

/// What the data plane shows at one moment.
pub struct Look {
    pub status: Status,
    pub leading: bool,
    /// How long ago it was last known that everything the source had committed was read; `None` while this instance does
    /// not lead.
    pub silent: Option<Duration>,
    pub visible: Vec<(Box<str>, HistogramSample)>,
    pub patterns: Vec<PatternLook>,
    /// How often something happened, by kind.
    pub incidents: Vec<(&'static str, u64)>,
    /// What was found to erode the engines.
    pub findings: Arc<Ledger>,
}

/// An access pattern, its objectives and its counters.
pub struct PatternLook {
    pub name: String,
    pub stale: Option<Duration>,
    pub p99: Option<Duration>,
    pub rate_per_second: Option<u64>,
    pub sample: PatternSample,
}

impl Look {
    /// Asks no engine.
    pub fn now(handle: &Handle, serving: &headwater_flow::serve::Serving, findings: Arc<Ledger>) -> Look {
        let patterns = serving.patterns().map(|pattern| {
            let access = &pattern.plan.access;
            PatternLook {
                name: access.name.to_string(),
                stale: access.stale,
                p99: access.p99,
                rate_per_second: access.rate_per_second,
                sample: pattern.stats.sample(),
            }
        });
        Look {
            status: handle.status(),
            leading: handle.is_leading(),
            silent: handle.silent_for(),
            visible: handle.commit_to_visible(),
            patterns: patterns.collect(),
            incidents: handle.incident_counts(),
            findings,
        }
    }
}

/// The text of `/metrics`: of each source by its name, if it has one, unless its data plane is not there yet; and of the process.
/// `spans`: if traces are sent.
pub fn text(looks: &[(Option<&str>, Option<Look>)], spans: Option<Spans>) -> String {
    let mut text = Text::default();
    text.set(BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    process::write(&mut text);
    for (source, look) in looks {
        text.of_source(*source);
        let leading = look.as_ref().is_some_and(|look| look.leading);
        text.set(LEADING, &[], f64::from(u8::from(leading)));
        if let Some(look) = look {
            of(&mut text, look);
        }
    }
    text.of_source(None);
    if let Some(spans) = spans {
        text.set(TRACE_SPANS_EXPORTED, &[], spans.exported as f64);
        text.set(TRACE_SPANS_DROPPED, &[], spans.dropped as f64);
    }
    text.finish()
}

fn of(text: &mut Text, look: &Look) {
    flow(text, look);
    look.status.stores.iter().for_each(|store| self::store(text, store));
    for (store, visible) in &look.visible {
        text.histogram(STORE_VISIBLE_SECONDS, &[("store", store)], visible);
    }
    look.patterns.iter().for_each(|pattern| self::pattern(text, pattern));
    let verification = &look.status.verification;
    text.set(VERIFIED_RATIO, &[], verification.covered);
    if let Some(oldest) = verification.oldest_ms {
        text.set(VERIFIED_OLDEST_SECONDS, &[], oldest as f64 / 1e3);
    }
    for (store, canary) in &verification.canaries {
        let labels = [("store", &**store)];
        text.set(CANARY_DETECTIONS, &labels, canary.detections as f64);
        let took =
            [(CANARY_DETECT_SECONDS, canary.newest_ms), (CANARY_DETECT_MAX_SECONDS, canary.longest_ms)];
        for (metric, ms) in took {
            if let Some(ms) = ms {
                text.set(metric, &labels, ms as f64 / 1e3);
            }
        }
        let wrong = canary.altered_at_micros.map_or(0, |at| verification.at_micros.saturating_sub(at).max(0));
        text.set(CANARY_UNDETECTED_SECONDS, &labels, wrong as f64 / 1e6);
    }
    text.set(VERIFYING, &[], f64::from(u8::from(verification.running.is_some())));
    text.set(HEAL_HELD, &[], look.status.heal.held.len() as f64);
    look.incidents.iter().for_each(|(kind, count)| text.set(INCIDENTS, &[("kind", kind)], *count as f64));
    findings(text, &look.findings);
}

fn findings(text: &mut Text, ledger: &Ledger) {
    let Some(at) = ledger.at_micros else { return };
    text.set(EXAMINED_SECONDS, &[], at as f64 / 1e6);
    text.set(EXAMINED_FAILED, &[], ledger.failed.len() as f64);
    for urgency in Urgency::ALL {
        let count = ledger.open().filter(|standing| standing.urgency == urgency).count();
        text.set(FINDINGS, &[("severity", urgency.name())], count as f64);
    }
}

fn flow(text: &mut Text, look: &Look) {
    let (status, source) = (&look.status, &look.status.source);
    text.set(UPTIME_SECONDS, &[], status.uptime_seconds as f64);
    text.set(EPOCH, &[], status.epoch as f64);
    state(text, SOURCE_STATE, &[], source.state);
    text.set(SOURCE_TRANSACTIONS, &[], source.transactions_total as f64);
    text.set(SOURCE_CHANGES, &[], source.changes_total as f64);
    if let Some(silent) = look.silent {
        text.set(SOURCE_SILENT_SECONDS, &[], silent.as_secs_f64());
    }
    if let Some(micros) = source.committed_at_micros {
        text.set(SOURCE_LAST_COMMIT_SECONDS, &[], micros as f64 / 1e6);
    }
    if let Some(bytes) = source.retained_log_bytes {
        text.set(SOURCE_RETAINED_BYTES, &[], bytes as f64);
    }
    text.set(SOURCE_RETAINED_MAX_BYTES, &[], source.retained_log_bytes_max as f64);
    text.set(SOURCE_QUARANTINED_ROWS, &[], source.quarantined_rows as f64);
    text.set(JOURNAL_BYTES, &[], status.journal.bytes as f64);
    text.set(JOURNAL_MAX_BYTES, &[], status.journal.bytes_max as f64);
    text.set(JOURNAL_OFFSET, &[], status.journal.durable_offset as f64);
    if let Some(mirror) = &status.mirror {
        text.set(MIRROR_LAG_TRANSACTIONS, &[], mirror.lag_transactions as f64);
    }
    text.set(BACKFILL_TABLES, &[], status.backfills.len() as f64);
    text.set(BACKFILL_ROWS, &[], status.backfills.iter().map(|b| b.rows as f64).sum());
    text.set(BACKFILL_ESTIMATED_ROWS, &[], status.backfills.iter().map(|b| b.rows_estimate as f64).sum());
}

fn store(text: &mut Text, store: &StoreStatus) {
    let labels = [("store", &*store.name)];
    state(text, STORE_STATE, &labels, store.state);
    text.set(STORE_LAG_SECONDS, &labels, store.lag_ms as f64 / 1e3);
    text.set(STORE_LAG_TRANSACTIONS, &labels, store.lag_transactions as f64);
    text.set(STORE_LAG_BYTES, &labels, store.lag_bytes as f64);
    text.set(STORE_CHANGES, &labels, store.changes_total as f64);
    text.set(STORE_QUARANTINED_ROWS, &labels, store.quarantined_rows as f64);
    for view in &store.views {
        let labels = [("store", &*store.name), ("view", &*view.name)];
        state(text, VIEW_STATE, &labels, view.state);
        text.set(VIEW_CHANGES, &labels, view.changes_total as f64);
        if let Some(consumed) = &view.consumed {
            text.set(VIEW_READ_UNITS, &labels, consumed.read_units);
            text.set(VIEW_WRITE_UNITS, &labels, consumed.write_units);
        }
        if let Some(verified) = &view.verified {
            text.set(VIEW_VERIFIED_SECONDS, &labels, verified.at_micros as f64 / 1e6);
            text.set(VIEW_DRIFTED_ROWS, &labels, verified.drifted as f64);
        }
        if let Some(part) = &view.part {
            self::part(text, &labels, part);
        }
    }
}

fn part(text: &mut Text, labels: text::Labels<'_>, part: &PartStatus) {
    for (name, value) in [
        (PART_DOCUMENTS, part.documents),
        (PART_MAX_DOCUMENTS, part.documents_max),
        (PART_HITS, part.hits),
        (PART_MISSES, part.misses),
        (PART_MISSES_JOINED, part.joined),
        (PART_FILLS, part.fills),
        (PART_FILLS_DROPPED, part.fills_dropped),
        (PART_EVICTIONS, part.evicted),
        (PART_EXPIRATIONS, part.expired),
    ] {
        text.set(name, labels, value as f64);
    }
}

fn pattern(text: &mut Text, look: &PatternLook) {
    let (labels, sample) = ([("pattern", &*look.name)], &look.sample);
    text.histogram(READ_SECONDS, &labels, &sample.latency);
    text.histogram(READ_AGE_SECONDS, &labels, &sample.age);
    for (store, reads) in &sample.by_store {
        text.set(READS, &[("pattern", &*look.name), ("store", store)], *reads as f64);
    }
    text.set(SOURCE_READS, &labels, sample.by_source as f64);
    text.set(READS_HEDGED, &labels, sample.hedged as f64);
    for (reason, reads) in [
        ("bad_request", sample.bad_requests),
        ("behind", sample.behind),
        ("overloaded", sample.overloaded),
        ("unavailable", sample.unavailable),
    ] {
        text.set(READS_REFUSED, &[("pattern", &*look.name), ("reason", reason)], reads as f64);
    }
    let objectives = [(READ_P99_OBJECTIVE, look.p99), (READ_AGE_OBJECTIVE, look.stale)];
    for (name, objective) in objectives {
        if let Some(objective) = objective {
            text.set(name, &labels, objective.as_secs_f64());
        }
    }
    if let Some(rate) = look.rate_per_second {
        text.set(READ_RATE_OBJECTIVE, &labels, rate as f64);
    }
}

fn state(text: &mut Text, name: Name, labels: text::Labels<'_>, is: PartState) {
    for state in STATES {
        let labels: Vec<_> = labels.iter().copied().chain([("state", state.as_str())]).collect();
        text.set(name, &labels, f64::from(u8::from(state == is)));
    }
}
