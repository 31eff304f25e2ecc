//! What went through our hands of a table of an engine that is paid by the request: counted by us, asked of nobody. What others read and
//! write there is not in it.

use serde::{Deserialize, Serialize};

/// Of one table, in the engine's own units.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub table: String,
    /// How long it was counted, a day at most.
    pub watched_seconds: u64,
    /// In the busiest minute of that time, its mean.
    pub read_units_per_second: f64,
    pub write_units_per_second: f64,
    /// The key that took most of a minute's writes, of the last hour or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hottest: Option<HotKey>,
    /// Writes that the engine had no capacity for, in the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<Throttled>,
}

/// Writes of everything that lies under one key of what the engine parts a table by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HotKey {
    pub key: String,
    /// In its busiest minute, its mean; at least.
    pub write_units_per_second: f64,
    /// Of what was written to the table in that minute.
    pub share: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Throttled {
    pub times: u64,
    /// Of the last one.
    pub key: String,
}
