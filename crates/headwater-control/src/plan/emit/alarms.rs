//! What somebody has to know of: of each part, the few figures that say that it will fail, or has.

use super::infrastructure::Infrastructure;
use super::names::{id, pascal};
use super::parts::{Alarm, Part};

/// Headwater gives the source's log up at this much by default; somebody should know at half of it.
const RETAINED_LOG_BYTES: u64 = 10 << 30;
/// A shutdown for wraparound comes at two thousand million.
const TRANSACTION_IDS: u64 = 1_000_000_000;
const GIB: u64 = 1 << 30;

struct Watched {
    id: String,
    dimension: &'static str,
    terraform: String,
    cloudformation: String,
}

impl Watched {
    /// For three times five minutes, as averages.
    fn alarm(
        &self,
        namespace: &'static str,
        metric: &'static str,
        (above, threshold): (bool, u64),
        about: &str,
    ) -> Alarm {
        Alarm {
            id: format!("{}_{}", self.id, snake(metric)),
            about: about.to_owned(),
            namespace,
            metric,
            statistic: "Average",
            above,
            threshold,
            period: 300,
            periods: 3,
            missing: "missing",
            dimension: self.dimension,
            terraform: self.terraform.clone(),
            cloudformation: self.cloudformation.clone(),
        }
    }
}

pub(super) fn all(it: &Infrastructure) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    database(it, &mut alarms);
    for cache in &it.caches {
        let slug = cache.slug();
        if cache.serverless {
            let watched = Watched {
                id: cache.id.clone(),
                dimension: "clusterId",
                terraform: format!("aws_elasticache_serverless_cache.{}.name", cache.id),
                cloudformation: format!("!Ref {}", cache.pascal()),
            };
            let said = "Requests are throttled: Headwater waits, readers see it";
            alarms.push(Alarm {
                statistic: "Sum",
                missing: "notBreaching",
                ..watched.alarm("AWS/ElastiCache", "ThrottledCmds", (true, 0), said)
            });
            continue;
        }
        for shard in 1..=cache.shards {
            let node = if cache.shards == 1 { "001".to_owned() } else { format!("{shard:04}-001") };
            let watched = Watched {
                id: format!("{}_{}", cache.id, id(&node)),
                dimension: "CacheClusterId",
                terraform: format!("\"${{aws_elasticache_replication_group.{}.id}}-{node}\"", cache.id),
                cloudformation: format!("{}-{slug}-{node}", it.name),
            };
            let memory = "Near its memory it refuses writes: more shards or a larger class";
            let processor = "Commands wait for each other: more shards";
            alarms.push(watched.alarm(
                "AWS/ElastiCache",
                "DatabaseMemoryUsagePercentage",
                (true, 85),
                memory,
            ));
            alarms.push(watched.alarm("AWS/ElastiCache", "EngineCPUUtilization", (true, 80), processor));
        }
    }
    for table in &it.tables {
        let watched = Watched {
            id: table.id.clone(),
            dimension: "TableName",
            terraform: match it.is_copy() {
                true => format!("\"{}\"", table.name),
                false => format!("aws_dynamodb_table.{}.name", table.id),
            },
            cloudformation: match it.is_copy() {
                true => table.name.clone(),
                false => format!("!Ref {}", table.pascal()),
            },
        };
        for (metric, about) in [
            ("ReadThrottleEvents", "Reads are throttled: a hot key, or too little capacity"),
            ("WriteThrottleEvents", "Writes are throttled: Headwater falls behind"),
        ] {
            alarms.push(Alarm {
                statistic: "Sum",
                missing: "notBreaching",
                ..watched.alarm("AWS/DynamoDB", metric, (true, 0), about)
            });
        }
    }
    let clusters = [
        ("documents", "AWS/DocDB", "docdb", it.documents.is_some()),
        ("graph", "AWS/Neptune", "neptune", it.graph.is_some()),
    ];
    for (name, namespace, kind, _) in clusters.into_iter().filter(|cluster| cluster.3) {
        let watched = Watched {
            id: name.to_owned(),
            dimension: "DBClusterIdentifier",
            terraform: format!("aws_{kind}_cluster.{name}.cluster_identifier"),
            cloudformation: format!("!Ref {}", pascal(name)),
        };
        let about = "More than the plan sized it for: answers slow down";
        alarms.push(watched.alarm(namespace, "CPUUtilization", (true, 80), about));
    }
    // Of a copy none works until it has to.
    if it.headwater && !it.is_copy() {
        let watched = Watched {
            id: "headwater".to_owned(),
            dimension: "AutoScalingGroupName",
            terraform: "aws_autoscaling_group.headwater.name".to_owned(),
            cloudformation: "!Ref Headwater".to_owned(),
        };
        let about = "No second machine of Headwater to take over";
        alarms.push(Alarm {
            missing: "breaching",
            ..watched.alarm("AWS/AutoScaling", "GroupInServiceInstances", (false, 2), about)
        });
    }
    alarms
}

/// How far the copy of another region is behind.
fn behind(it: &Infrastructure, aurora: bool) -> Option<Alarm> {
    let watched = |dimension, terraform: &str| Watched {
        id: "source_copy".to_owned(),
        dimension,
        terraform: terraform.to_owned(),
        cloudformation: "!Ref Source".to_owned(),
    };
    it.copy_of.as_ref().map(|_| match aurora {
        true => watched("DBClusterIdentifier", "aws_rds_cluster.source.cluster_identifier").alarm(
            "AWS/RDS",
            "AuroraGlobalDBReplicationLag",
            (true, 5_000),
            "The copy is more than 5 seconds behind",
        ),
        false => watched("DBInstanceIdentifier", "aws_db_instance.source.identifier").alarm(
            "AWS/RDS",
            "ReplicaLag",
            (true, 60),
            "The copy is more than a minute behind",
        ),
    })
}

fn database(it: &Infrastructure, alarms: &mut Vec<Alarm>) {
    let Some(db) = &it.database else { return };
    alarms.extend(behind(it, db.aurora));
    let instances = (1..=db.instances).map(|n| {
        let (id, terraform, cloudformation) = match (db.aurora, n) {
            (true, n) => (
                format!("source_{n}"),
                format!("aws_rds_cluster_instance.source[{}].identifier", n - 1),
                format!("!Ref Source{n}"),
            ),
            (false, 1) => (
                "source".to_owned(),
                "aws_db_instance.source.identifier".to_owned(),
                "!Ref Source".to_owned(),
            ),
            (false, n) => (
                format!("reader_{}", n - 1),
                format!("aws_db_instance.reader[{}].identifier", n - 2),
                format!("!Ref Reader{}", n - 1),
            ),
        };
        Watched { id, dimension: "DBInstanceIdentifier", terraform, cloudformation }
    });
    for (place, watched) in instances.enumerate() {
        let mut alarm =
            |metric, bound, about: &str| alarms.push(watched.alarm("AWS/RDS", metric, bound, about));
        alarm("CPUUtilization", (true, 80), "More than the plan sized it for: a larger class or fewer reads");
        alarm("SwapUsage", (true, GIB / 4), "Too little memory: a larger class");
        if !db.aurora {
            let tenth = db.storage_gb * 1_000_000_000 / 10;
            alarm("FreeStorageSpace", (false, tenth), "Less than a tenth of the storage is free");
        }
        match (place, db.aurora) {
            (0, _) => {}
            (_, true) => alarm("AuroraReplicaLag", (true, 5_000), "A reader shows data older than 5 seconds"),
            (_, false) => alarm("ReplicaLag", (true, 30), "A reader shows data older than 30 seconds"),
        }
        if db.postgres && place == 0 && !it.is_copy() {
            alarm(
                "MaximumUsedTransactionIDs",
                (true, TRANSACTION_IDS),
                "Vacuum does not keep up: wraparound comes nearer",
            );
            if it.headwater {
                let about =
                    "A slot retains log: Headwater is down or too slow, and gives up at twice as much";
                alarm("OldestReplicationSlotLag", (true, RETAINED_LOG_BYTES / 2), about);
            }
        }
    }
}

/// `CPUUtilization` as `cpu_utilization`.
fn snake(metric: &str) -> String {
    let chars: Vec<char> = metric.chars().collect();
    let mut out = String::new();
    for (place, c) in chars.iter().enumerate() {
        let after_lower = place > 0 && chars[place - 1].is_lowercase();
        let before_lower =
            place > 0 && chars[place + 1..].iter().take_while(|next| next.is_lowercase()).count() > 1;
        if c.is_uppercase() && (after_lower || before_lower) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn metrics_read_as_words() {
        assert_eq!(super::snake("CPUUtilization"), "cpu_utilization");
        assert_eq!(super::snake("MaximumUsedTransactionIDs"), "maximum_used_transaction_ids");
        assert_eq!(super::snake("ReplicaLag"), "replica_lag");
    }
}
