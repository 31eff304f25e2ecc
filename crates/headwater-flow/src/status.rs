//! What `headwater status` shows, as data.

use serde::{Deserialize, Serialize};

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
    pub stores: Vec<StoreStatus>,
    pub backfills: Vec<BackfillStatus>,
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
    /// Log that the source keeps for us, and what it would keep at most.
    pub retained_log_bytes: Option<u64>,
    pub retained_log_bytes_max: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JournalStatus {
    pub first_offset: u64,
    pub durable_offset: u64,
    pub bytes: u64,
    pub bytes_max: u64,
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
