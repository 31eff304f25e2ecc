//! What `headwater status` shows, as data.

use std::collections::BTreeMap;

use headwater_model::Traffic;
use serde::{Deserialize, Serialize};

use crate::heal::HealStatus;
use crate::verify::report::Progress;

/// The state of one part: the source, a store, a view in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// Not looked at yet.
    #[default]
    Starting,
    /// Another instance leads; this one waits.
    Standby,
    Healthy,
    /// Works, but is behind by more than a moment.
    Lagging,
    /// Does not answer, or answers with errors; tried again by itself.
    Failed,
    /// Being filled from the source.
    Rebuilding,
    /// Stopped until someone changes something.
    Paused,
}

impl PartState {
    pub fn as_str(self) -> &'static str {
        match self {
            PartState::Starting => "starting",
            PartState::Standby => "standby",
            PartState::Healthy => "healthy",
            PartState::Lagging => "lagging",
            PartState::Failed => "failed",
            PartState::Rebuilding => "rebuilding",
            PartState::Paused => "paused",
        }
    }
}

/// One look at a running instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    pub epoch: u64,
    pub uptime_seconds: u64,
    pub source: SourceStatus,
    pub journal: JournalStatus,
    /// `None` if no view needs one, or this instance does not lead.
    #[serde(default)]
    pub mirror: Option<MirrorStatus>,
    pub stores: Vec<StoreStatus>,
    pub backfills: Vec<BackfillStatus>,
    /// What waits for approval, and what is paused.
    #[serde(default)]
    pub heal: HealStatus,
    /// How much was compared with the source.
    #[serde(default)]
    pub verification: VerificationStatus,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    pub server: String,
    pub state: PartState,
    pub error: Option<String>,
    /// The newest transaction in the journal, in the source's notation.
    pub position: Option<String>,
    pub committed_at_micros: Option<i64>,
    pub transactions_per_second: f64,
    pub changes_per_second: f64,
    /// Since the process started.
    #[serde(default)]
    pub transactions_total: u64,
    #[serde(default)]
    pub changes_total: u64,
    /// Of these, by table; those without any are not there.
    #[serde(default)]
    pub table_changes: BTreeMap<String, u64>,
    /// Log that the source keeps for us, and what it would keep at most.
    pub retained_log_bytes: Option<u64>,
    pub retained_log_bytes_max: u64,
    /// Rows that cannot be handed on, for want of a key.
    #[serde(default)]
    pub quarantined_rows: u64,
    /// What went through our hands of its tables, if it is paid by the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JournalStatus {
    pub first_offset: u64,
    pub durable_offset: u64,
    pub bytes: u64,
    pub bytes_max: u64,
}

/// The copy of the source's rows that documents with embedded rows, and rankings, are made from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// Everything up to here is derived.
    pub offset: u64,
    pub lag_transactions: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    pub name: String,
    pub server: String,
    pub state: PartState,
    pub error: Option<String>,
    /// `transaction` or `key`.
    pub promise: Option<String>,
    pub offset: u64,
    pub position: Option<String>,
    pub lag_ms: u64,
    pub lag_transactions: u64,
    pub lag_bytes: u64,
    pub changes_per_second: f64,
    pub changes_total: u64,
    pub quarantined_rows: u64,
    pub views: Vec<ViewStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ViewStatus {
    pub name: String,
    pub state: PartState,
    pub error: Option<String>,
    pub rows: Option<u64>,
    pub changes_per_second: f64,
    pub changes_total: u64,
    /// While a gap in the log is closed in place: documents may lack what was committed after this, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since_micros: Option<i64>,
    /// If the store holds part of the view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartStatus>,
    /// If all of it was ever compared with the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<VerifiedStatus>,
    /// If the store's engine is paid by the request, and the view has used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed: Option<ConsumedStatus>,
    /// And of each of its tables in the engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
}

/// Capacity that was used since this instance started, in the engine's own units and as the engine counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumedStatus {
    pub read_units: f64,
    pub write_units: f64,
}

/// What of all views in all stores was compared with the source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerificationStatus {
    /// When this was said, microseconds since 1970 by this machine's clock.
    pub at_micros: i64,
    /// The share of all documents that belong to views which were compared to their end, ever.
    pub covered: f64,
    /// Views in stores that never were.
    pub never_compared: u64,
    /// How long ago the oldest comparison began that no newer one replaced; `None` while something was never compared.
    pub oldest_ms: Option<u64>,
    /// The one that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Progress>,
    /// Of each store that is verified by itself.
    #[serde(default)]
    pub canaries: BTreeMap<String, CanaryStatus>,
}

/// A document of our own in a store, which is made wrong at random moments to see how long it takes to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// Since when it is wrong, and not found yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altered_at_micros: Option<i64>,
    /// Since this instance leads.
    pub detections: u64,
    /// From being made wrong to being found: the newest time, and the longest.
    pub newest_ms: Option<u64>,
    pub longest_ms: Option<u64>,
    /// Why the store holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// The newest comparison of all of a view in a store with the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedStatus {
    /// When it began, microseconds since 1970 by this machine's clock: no document has gone unlooked at for longer.
    pub at_micros: i64,
    pub rows: u64,
    /// Keys that differed and were not put right.
    pub drifted: u64,
}

/// Part of a view in a store: how full it is, and counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartStatus {
    pub documents_max: u64,
    pub documents: u64,
    /// Reads that it answered, and those that had to go on.
    pub hits: u64,
    pub misses: u64,
    /// Of the misses, those that waited for another reader's load.
    pub joined: u64,
    /// Documents that came in; and those that did not, because they had changed, were not wanted or were too many.
    pub fills: u64,
    pub fills_dropped: u64,
    /// Documents that left to make room, and those that were too old.
    pub evicted: u64,
    pub expired: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BackfillStatus {
    pub table: String,
    pub rows: u64,
    pub rows_estimate: u64,
    pub rows_per_second: f64,
    pub eta_seconds: Option<u64>,
    /// The views that wait for it, as `store/view`.
    pub views: Vec<String>,
}

/// Something that happened to a part, or several times the same; and what was done about it, if something was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number in the log; 0 as long as it is not written there.
    #[serde(default, skip_serializing)]
    pub id: u64,
    /// When it was first noticed, microseconds since 1970 by this machine's clock.
    pub at_micros: i64,
    /// When it last was.
    pub last_at_micros: i64,
    pub times: u64,
    /// `source`, `journal`, `store NAME` or `view STORE/VIEW`.
    pub part: String,
    pub kind: IncidentKind,
    pub cause: String,
    /// Of the leadership under which it happened; 0 before the first.
    #[serde(default)]
    pub epoch: u64,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What is done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Who or what allowed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// If this is the end of some trouble of the part: when that was first noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_micros: Option<i64>,
}

impl Incident {
    pub fn new(at_micros: i64, part: &str, kind: IncidentKind, cause: &str) -> Incident {
        Incident {
            id: 0,
            at_micros,
            last_at_micros: at_micros,
            times: 1,
            part: part.to_owned(),
            kind,
            cause: cause.to_owned(),
            epoch: 0,
            evidence: None,
            step: None,
            approved_by: None,
            result: None,
            began_micros: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentKind {
    /// This instance leads from now on.
    Leading,
    /// Another instance leads, or the source cannot be followed yet.
    Standby,
    Failed,
    /// Behind by more than a moment.
    Lagging,
    /// Works again, or is in step again.
    Recovered,
    /// The source takes another course of history: a standby was promoted, or a backup restored.
    Promoted,
    /// The log has a gap: what it hides is read again.
    Gap,
    /// The journal keeps nothing for the store any more: it is filled again when it is back.
    LetGo,
    /// Views are filled from the source.
    Filling,
    /// All of a store's views are filled.
    Filled,
    /// A view can be derived no further.
    Broken,
    /// A store refused rows, or the source has rows that cannot be handed on.
    Quarantined,
    /// Verification found documents that are not what the source says.
    Drifted,
    /// A document that was made wrong on purpose was not found in time.
    Undetected,
    /// Something is done to mend a part, or waits to be allowed, or was: see its step.
    Healing,
    /// The incident log itself is damaged, or lacks something.
    LogDamaged,
}

impl IncidentKind {
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentKind::Leading => "leading",
            IncidentKind::Standby => "standby",
            IncidentKind::Failed => "failed",
            IncidentKind::Lagging => "lagging",
            IncidentKind::Recovered => "recovered",
            IncidentKind::Promoted => "promoted",
            IncidentKind::Gap => "gap",
            IncidentKind::LetGo => "let go",
            IncidentKind::Filling => "filling",
            IncidentKind::Filled => "filled",
            IncidentKind::Broken => "broken",
            IncidentKind::Quarantined => "quarantined",
            IncidentKind::Drifted => "drifted",
            IncidentKind::Undetected => "undetected",
            IncidentKind::Healing => "healing",
            IncidentKind::LogDamaged => "log damaged",
        }
    }

    /// Whether somebody may have to do something.
    pub fn is_bad(self) -> bool {
        match self {
            IncidentKind::Failed
            | IncidentKind::Lagging
            | IncidentKind::Gap
            | IncidentKind::LetGo
            | IncidentKind::Broken
            | IncidentKind::Quarantined
            | IncidentKind::Drifted
            | IncidentKind::Undetected
            | IncidentKind::LogDamaged => true,
            IncidentKind::Leading
            | IncidentKind::Standby
            | IncidentKind::Promoted
            | IncidentKind::Recovered
            | IncidentKind::Filling
            | IncidentKind::Filled
            | IncidentKind::Healing => false,
        }
    }

    /// The kinds of trouble that it is the end of.
    pub fn ends(self) -> &'static [IncidentKind] {
        match self {
            IncidentKind::Leading => &[IncidentKind::Failed, IncidentKind::Standby],
            IncidentKind::Recovered => &[IncidentKind::Failed, IncidentKind::Lagging],
            IncidentKind::Filled => &[IncidentKind::LetGo, IncidentKind::Filling],
            _ => &[],
        }
    }
}

/// A row that a store refused, or rows of one key that the source does not hand on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedRow {
    pub id: i64,
    /// `None`: the source itself.
    pub store: Option<String>,
    /// The view; of the source, the table.
    pub view: String,
    /// The document's key, as readers write it.
    pub key: String,
    pub reason: String,
    /// Of the transaction whose row was refused, about.
    pub offset: u64,
}
