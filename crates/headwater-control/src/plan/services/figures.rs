//! The planner's own figures, as `catalog/model.toml` has them.

use crate::catalog::{Catalog, Malformed};

macro_rules! figures {
    ($($name:ident $fact:literal)*) => {
        #[derive(Clone, Debug)]
        pub(in crate::plan) struct Figures {
            $(pub $name: f64,)*
            /// By size: share of each processor that a burstable class gives for good.
            pub baselines: Vec<(&'static str, f64)>,
        }

        impl Figures {
            pub fn of(catalog: &Catalog) -> Result<Figures, Malformed> {
                Ok(Figures {
                    $($name: figure(catalog, $fact)?,)*
                    baselines: baselines(catalog)?,
                })
            }
        }
    };
}

figures! {
    statement_us "statement-cpu-us"
    row_us "row-cpu-us"
    summed_row_us "summed-row-cpu-us"
    write_us "write-cpu-us"
    replica_apply "replica-apply"
    cache_command_us "cache-command-cpu-us"
    cache_entry_us "cache-entry-cpu-us"
    document_command_us "document-command-cpu-us"
    graph_edge_us "graph-edge-cpu-us"
    relational_p99_ms "relational-p99-ms"
    cache_p99_ms "cache-p99-ms"
    key_value_p99_ms "key-value-p99-ms"
    document_p99_ms "document-p99-ms"
    graph_p99_ms "graph-p99-ms"
    derived_lag_s "derived-lag-s"
    replica_lag_s "replica-lag-s"
    processor_share "processor-share"
    memory_share "memory-share"
    cache_memory_share "cache-memory-share"
    storage_room "storage-room"
    provisioned_share "provisioned-share"
    cache_document_bytes "cache-document-bytes"
    cache_entry_bytes "cache-entry-bytes"
    page_writes "page-writes-per-row"
    postgresql_connection_bytes "postgresql-connection-bytes"
    mysql_connection_bytes "mysql-connection-bytes"
    connections_share "connections-share"
    wal_bytes "wal-bytes-per-row"
    replay_bytes_per_s "replay-bytes-per-s"
    replay_page_us "replay-page-us"
    checkpoint_s "checkpoint-s"
    max_log_bytes "max-log-bytes"
    recreate_s "recreate-s"
    cache_failover_s "cache-failover-s"
    cache_recreate_s "cache-recreate-s"
    document_failover_s "document-failover-s"
    refill_per_s "refill-per-s"
    reconnect_per_s "reconnect-per-s"
    backup_rpo_s "backup-rpo-s"
    instance_failures "instance-failures-per-year"
    zone_failures "zone-failures-per-year"
    maintenance "maintenance-per-year"
}

fn figure(catalog: &Catalog, fact: &str) -> Result<f64, Malformed> {
    let known = catalog.service("model").and_then(|model| model.fact(fact)).and_then(|fact| fact.value);
    known.ok_or_else(|| Malformed { file: "model".into(), what: format!("there is no value of `{fact}`") })
}

fn baselines(catalog: &Catalog) -> Result<Vec<(&'static str, f64)>, Malformed> {
    let sizes = ["nano", "micro", "small", "medium", "large", "xlarge", "2xlarge"];
    sizes.into_iter().map(|size| Ok((size, figure(catalog, &format!("baseline-{size}"))?))).collect()
}
