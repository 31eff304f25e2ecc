//! How long recovery takes, and how much of a month is expected to be lost: detection and promotion as published, replay of the
//! log and reconnection by model.

use super::services::{Figures, GIB, Recovery};
use super::workload::Workload;

const PAGE_BYTES: f64 = 8192.0;
/// Checkpoints are spread over this much of the time between them.
const COMPLETION: f64 = 0.9;
/// Of memory, for the database's own buffers.
const BUFFERS: f64 = 0.25;

/// Seconds to replay the log after a crash at the worst moment: with a checkpoint due every T seconds, up to (1 + k)·T of log lie
/// behind the last complete one. Pages come as images the first time after a checkpoint; those that do not stay in memory are
/// read again.
pub(super) fn replay_s(figures: &Figures, workload: &Workload, memory_gib: f64) -> f64 {
    let writes = workload.writes();
    if writes <= 0.0 {
        return 0.0;
    }
    let hot_pages = (workload.bytes() * workload.hot / PAGE_BYTES).max(1.0);
    let mut interval = figures.checkpoint_s;
    let mut log = 0.0;
    let mut pages = 0.0;
    // The interval shrinks until its log fits; page images shrink with it.
    for _ in 0..20 {
        // Of pages touched at random, how many are different ones.
        pages = hot_pages * (1.0 - (-writes * interval / hot_pages).exp());
        log = writes * interval * figures.wal_bytes + pages * PAGE_BYTES;
        if log * (1.0 + COMPLETION) <= figures.max_log_bytes {
            break;
        }
        interval *= (figures.max_log_bytes / (log * (1.0 + COMPLETION))).clamp(0.1, 0.95);
    }
    let replayed = log * (1.0 + COMPLETION);
    let evicted = (pages * PAGE_BYTES - memory_gib * GIB * BUFFERS).max(0.0) / PAGE_BYTES;
    replayed / figures.replay_bytes_per_s + evicted * figures.replay_page_us / 1e6
}

/// Minutes of a month that are expected to be lost, by how often machines, zones and maintenance fail them.
pub(super) fn minutes_lost(figures: &Figures, recovery: &Recovery) -> f64 {
    let per_year = figures.instance_failures + figures.zone_failures + figures.maintenance;
    per_year * recovery.total_s() / 60.0 / 12.0
}

/// Minutes of a month that a contract allows to be lost.
pub(super) fn minutes_allowed(sla: f64) -> f64 {
    43_830.0 * (1.0 - sla / 100.0)
}
