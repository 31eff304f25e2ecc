//! The name, kind and help of every metric. A name is for good: rules and dashboards of others use it.
//!
//! `headwater_<noun>_<unit>`, counters end in `_total`. Labels have few values, all from the file: `source`, `store`,
//! `view`, `pattern`, and words of ours (`state`, `by`, `reason`, `kind`). Never a value of a row.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    pub name: &'static str,
    pub kind: Type,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal: $help:literal;)*) => {
        $(pub const $constant: Name = Name { name: $name, kind: Type::$kind, help: $help };)*

        /// All of them, in the order in which they are written.
        pub const ALL: &[Name] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "headwater_build_info": "Always 1; the label says the version.";
    UPTIME_SECONDS = Gauge "headwater_uptime_seconds": "Since the process started.";
    LEADING = Gauge "headwater_leading": "1 if this instance follows the source and writes to the stores, 0 if it stands by.";
    EPOCH = Gauge "headwater_epoch": "Number of the current leadership; grows with each takeover.";

    SOURCE_STATE = Gauge "headwater_source_state": "1 for the state the source is in, 0 for the others.";
    SOURCE_TRANSACTIONS = Counter "headwater_source_transactions_total": "Transactions read from the source's log.";
    SOURCE_CHANGES = Counter "headwater_source_changes_total": "Row changes read from the source's log.";
    SOURCE_SILENT_SECONDS = Gauge "headwater_source_silent_seconds": "How long ago it was last known that everything the source had committed was read.";
    SOURCE_LAST_COMMIT_SECONDS = Gauge "headwater_source_last_commit_timestamp_seconds": "When the newest transaction read was committed, seconds since 1970 by the source's clock.";
    SOURCE_RETAINED_BYTES = Gauge "headwater_source_retained_log_bytes": "Log that the source keeps for this pipeline.";
    SOURCE_RETAINED_MAX_BYTES = Gauge "headwater_source_retained_log_max_bytes": "Bound on that: past it the source is set free and views are filled again.";
    SOURCE_QUARANTINED_ROWS = Gauge "headwater_source_quarantined_rows": "Rows that are left out because they have no key that a store could keep them under.";

    JOURNAL_BYTES = Gauge "headwater_journal_bytes": "Size of the journal on disk.";
    JOURNAL_MAX_BYTES = Gauge "headwater_journal_max_bytes": "Bound on that: past it the slowest store is let go.";
    JOURNAL_OFFSET = Gauge "headwater_journal_durable_offset": "Newest durable entry of the journal.";
    MIRROR_LAG_TRANSACTIONS = Gauge "headwater_mirror_lag_transactions": "Journal entries that the mirror has not derived from yet.";

    STORE_STATE = Gauge "headwater_store_state": "1 for the state the store is in, 0 for the others.";
    STORE_LAG_SECONDS = Gauge "headwater_store_lag_seconds": "How long the oldest change that the store lacks has been committed.";
    STORE_LAG_TRANSACTIONS = Gauge "headwater_store_lag_transactions": "Journal entries that the store has not applied.";
    STORE_LAG_BYTES = Gauge "headwater_store_lag_bytes": "Journal before the store, in bytes.";
    STORE_CHANGES = Counter "headwater_store_changes_total": "View changes applied to the store.";
    STORE_QUARANTINED_ROWS = Gauge "headwater_store_quarantined_rows": "Rows that the store refused and that wait for somebody.";
    STORE_VISIBLE_SECONDS = Histogram "headwater_store_commit_to_visible_seconds": "From a commit at the source to its being seen in the store, of the newest transaction of each step.";

    VIEW_STATE = Gauge "headwater_view_state": "1 for the state the view in the store is in, 0 for the others.";
    VIEW_READ_UNITS = Counter "headwater_view_read_units_total": "Read capacity that the view has used of an engine that is paid by the request, in the engine's units, since this instance started.";
    VIEW_WRITE_UNITS = Counter "headwater_view_write_units_total": "Write capacity that the view has used of such an engine.";
    VIEW_CHANGES = Counter "headwater_view_changes_total": "Changes applied to the view in the store.";

    VIEW_VERIFIED_SECONDS = Gauge "headwater_view_verified_seconds": "When the newest comparison of all of the view with the source began, in seconds since 1970.";
    VIEW_DRIFTED_ROWS = Gauge "headwater_view_drifted_rows": "Documents that differed from the source then and were not put right.";

    VERIFIED_RATIO = Gauge "headwater_verified_ratio": "The share of all documents in views that were compared with the source to their end.";
    VERIFIED_OLDEST_SECONDS = Gauge "headwater_verified_oldest_seconds": "How long ago the oldest comparison began that no newer one replaced: no document has gone unlooked at for longer. Absent while a view was never compared.";
    CANARY_DETECTIONS = Counter "headwater_canary_detections_total": "How often verification found the store's own document that was made wrong on purpose.";
    CANARY_DETECT_SECONDS = Gauge "headwater_canary_detect_seconds": "How long the newest of these took.";
    CANARY_DETECT_MAX_SECONDS = Gauge "headwater_canary_detect_max_seconds": "How long the longest of these took since this instance leads.";
    CANARY_UNDETECTED_SECONDS = Gauge "headwater_canary_undetected_seconds": "For how long it is wrong now and was not found; 0 while it is right.";
    VERIFYING = Gauge "headwater_verifying": "1 while something is compared with the source.";

    PART_DOCUMENTS = Gauge "headwater_part_documents": "Documents that the store holds of the view, where it holds part of it.";
    PART_MAX_DOCUMENTS = Gauge "headwater_part_max_documents": "Documents that it holds at most.";
    PART_HITS = Counter "headwater_part_hits_total": "Reads that the part answered.";
    PART_MISSES = Counter "headwater_part_misses_total": "Reads of documents that the part lacked, which went on to another store.";
    PART_MISSES_JOINED = Counter "headwater_part_joined_misses_total": "Of the misses, those that waited for another reader's load.";
    PART_FILLS = Counter "headwater_part_fills_total": "Documents that came in.";
    PART_FILLS_DROPPED = Counter "headwater_part_dropped_fills_total": "Loaded documents that did not come in: changed meanwhile, not wanted, or too many at once.";
    PART_EVICTIONS = Counter "headwater_part_evictions_total": "Documents that left to make room.";
    PART_EXPIRATIONS = Counter "headwater_part_expirations_total": "Documents that left for their age.";

    BACKFILL_TABLES = Gauge "headwater_backfill_tables": "Tables that are being read to fill views.";
    BACKFILL_ROWS = Gauge "headwater_backfill_rows": "Rows read so far of the tables that are being read.";
    BACKFILL_ESTIMATED_ROWS = Gauge "headwater_backfill_estimated_rows": "Rows that these tables have, by estimate.";

    READS = Counter "headwater_reads_total": "Reads that a store answered, by pattern.";
    SOURCE_READS = Counter "headwater_source_reads_total": "Reads that the source answered, because no store could, by pattern.";
    READS_REFUSED = Counter "headwater_reads_refused_total": "Reads without an answer, by pattern and reason: bad_request, behind, overloaded, unavailable.";
    READS_HEDGED = Counter "headwater_reads_hedged_total": "Reads for which a second store was asked because the first was slow.";
    READ_SECONDS = Histogram "headwater_read_duration_seconds": "How long answers took.";
    READ_AGE_SECONDS = Histogram "headwater_read_age_seconds": "How far answers may lie behind the source.";
    READ_P99_OBJECTIVE = Gauge "headwater_read_duration_objective_seconds": "The file's p99 of the pattern.";
    READ_AGE_OBJECTIVE = Gauge "headwater_read_age_objective_seconds": "The file's stale of the pattern.";
    READ_RATE_OBJECTIVE = Gauge "headwater_read_rate_objective": "The file's rate of the pattern, reads per second.";

    INCIDENTS = Counter "headwater_incidents_total": "What happened to parts, by kind; `headwater incidents` tells of each.";
    TRACE_SPANS_EXPORTED = Counter "headwater_trace_spans_exported_total": "Spans that the collector took.";
    TRACE_SPANS_DROPPED = Counter "headwater_trace_spans_dropped_total": "Spans that the collector did not take in time.";
    HEAL_HELD = Gauge "headwater_heal_held": "Steps of healing that wait for somebody's approval.";

    FINDINGS = Gauge "headwater_findings": "What erodes engines, by severity, as the newest examination found it; `headwater doctor` tells of each. What is accepted does not count.";
    EXAMINED_SECONDS = Gauge "headwater_examined_timestamp_seconds": "When the engines were last examined, seconds since 1970.";
    EXAMINED_FAILED = Gauge "headwater_examined_failed_engines": "Engines that could not be examined then.";

    PROCESS_CPU = Counter "process_cpu_seconds_total": "User and system time.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes": "Memory held.";
    PROCESS_FDS = Gauge "process_open_fds": "Open file descriptors.";
    PROCESS_FDS_MAX = Gauge "process_max_fds": "Most file descriptors that may be open.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented_and_nothing_else_is() {
        let documented = include_str!("../../../../docs/operate.md");
        for metric in ALL {
            assert!(
                documented.contains(&format!("`{}`", metric.name)),
                "docs/operate.md lacks {}",
                metric.name
            );
        }
        let quoted = documented.split('`').skip(1).step_by(2);
        for name in quoted.filter(|text| text.starts_with("headwater_") || text.starts_with("process_")) {
            assert!(ALL.iter().any(|metric| metric.name == name), "docs/operate.md has {name}");
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        for (i, metric) in ALL.iter().enumerate() {
            let name = metric.name;
            assert!(name.starts_with("headwater_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Type::Counter, "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert!(metric.help.ends_with('.'), "{name}");
            assert!(ALL[..i].iter().all(|other| other.name != name), "{name} twice");
            if metric.kind == Type::Histogram {
                assert!(name.ends_with("_seconds"), "{name}: histograms are of durations");
            }
        }
    }
}
