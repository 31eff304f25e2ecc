//! Other schemas: each is priced as the workload that it would be.

use std::path::Path;

use headwater_control::catalog::Catalog;
use headwater_control::plan::choice::Limits;
use headwater_control::plan::{self, Alternative, Plan, Workload};
use headwater_model::SourceFacts;
use headwater_model::file::File;

use crate::support::load;

fn example(name: &str) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    std::fs::read_to_string(examples.join(name)).unwrap()
}

fn planned(file: &File, facts: Option<&SourceFacts>) -> Plan {
    let workload = Workload::read(file, facts).unwrap();
    plan::plan(&workload, &Catalog::built_in().unwrap(), &["redis"], Limits::default()).unwrap().unwrap()
}

fn found<'p>(plan: &'p Plan, of: &str, instead: &str) -> Vec<&'p Alternative> {
    plan.alternatives.iter().filter(|other| other.of == of && other.instead.contains(instead)).collect()
}

fn cost(workload: &Workload) -> f64 {
    plan::cost(workload, &Catalog::built_in().unwrap(), Limits::default()).unwrap().unwrap()
}

/// What is read often is less than all; what a reader asked for that then could not be met is said, not priced.
#[test]
fn a_cache_of_part_of_a_view_is_priced_with_what_it_misses() {
    let text = example("bookshop/headwater.toml");
    let plan = planned(&load(&text), None);
    let [hold] = found(&plan, "view book", "hold = \"20%\"")[..] else { panic!("{:#?}", plan.alternatives) };
    assert!(hold.instead.contains("200,000") && hold.instead.contains("40/s"), "{hold:?}");
    assert!(hold.difference.unwrap() < -100.0, "{hold:?}");
    // Reviews are walked: what a part lacks nobody could tell from what is not there.
    assert!(found(&plan, "view reviewed", "hold").is_empty());
    // What is declared: 3 of 4 reads find a document that stays for as long as three of its reads take.
    let part = |ttl: &str| {
        text.replacen(
            "store = [\"near\", \"local\"]",
            &format!("store = [\"local\", {{ name = \"near\", hold = \"100_000\", ttl = \"{ttl}\" }}]"),
            1,
        )
    };
    let plan = planned(&load(&part("75s")), None);
    let [aged] = found(&plan, "view book", "ttl = \"75s\"")[..] else { panic!("{:#?}", plan.alternatives) };
    assert!(aged.instead.contains("75,000 of the 100,000") && aged.instead.contains("1,000/s"), "{aged:?}");
    assert_eq!(aged.difference, None, "2 ms were asked for of 99 in 100: {aged:?}");
    let plan = planned(&load(&part("75s").replacen("p99   = \"2ms\"", "", 1)), None);
    if let [aged] = found(&plan, "view book", "ttl = \"75s\"")[..] {
        assert!(aged.difference.is_some(), "{aged:?}");
    }
    let plan = planned(&load(&part("3h")), None);
    let [aged] = found(&plan, "view book", "ttl = \"3h\"")[..] else { panic!("{:#?}", plan.alternatives) };
    assert!(aged.difference.unwrap() < -100.0, "{aged:?}");
}

/// A year from now, beside keeping everything: the difference is that of the two workloads.
#[test]
fn points_that_are_not_kept_for_ever_cost_less_in_a_year() {
    let file = load(&example("plan/metering.toml"));
    let plan = planned(&file, None);
    let [kept] = found(&plan, "view usage", "retention")[..] else { panic!("{:#?}", plan.alternatives) };
    assert_eq!(kept.months, Some(12));
    let now = Workload::read(&file, None).unwrap();
    let mut later = now.clone();
    let added = 12.0 * 3_000.0 * 730.0 * 3_600.0;
    later.tables[0].rows += added;
    later.views[0].documents += added;
    let difference = cost(&now) - cost(&later);
    assert!((kept.difference.unwrap() - difference).abs() < 0.01, "{kept:?} {difference}");
    assert!(difference < -100.0);
    // Nothing is said of what is never written.
    let still = load(
        &example("plan/metering.toml")
            .replace("writes = \"3000/s\"", "rows = 4_000_000_001")
            .replace("rows = 4_000_000_000, ", ""),
    );
    assert!(found(&planned(&still, None), "view usage", "retention").is_empty());
}

/// A ranking that changes more than one partition takes needs parts, and all of them are asked; a key that is read more than one
/// partition answers needs copies, and all of them are written.
#[test]
fn keys_that_are_too_hot_for_one_partition_are_priced_in_parts() {
    let text = example("plan/leaderboard.toml").replace("writes = \"600/s\"", "writes = \"2_500/s\"");
    let plan = planned(&load(&text), None);
    let [parts] = found(&plan, "leaderboard", "in 3 shards")[..] else { panic!("{:#?}", plan.alternatives) };
    assert!(parts.now.contains("changes 2,500/s") && parts.difference.unwrap() > 1_000.0, "{parts:?}");
    let calm = planned(&load(&example("plan/leaderboard.toml")), None);
    assert!(found(&calm, "leaderboard", "shards").is_empty());
    let without = "[plan]\nwithout = [\"elasticache\", \"documentdb\"]\n";
    let hot = |hottest: &str| {
        example("plan/leaderboard.toml")
            .replace("[plan]\n", without)
            .replace("{ rows = 30_000_000 }", &format!("{{ rows = 30_000_000, hottest = \"{hottest}\" }}"))
    };
    let plan = planned(&load(&hot("10%")), None);
    let leaderboard = plan.patterns.iter().find(|pattern| pattern.name == "leaderboard").unwrap();
    assert!(leaderboard.engine.starts_with("DynamoDB"), "{leaderboard:?}");
    // 200 per second of 100 documents and their places, of which 16 kB are 4 units: 104 units each.
    let [copies] = found(&plan, "leaderboard", "in 7 copies")[..] else { panic!("{:#?}", plan.alternatives) };
    assert!(copies.now.contains("20,800/s") && copies.difference.unwrap() > 0.0, "{copies:?}");
    assert!(found(&planned(&load(&hot("1%")), None), "leaderboard", "copies").is_empty());
}

/// Edges of one label are all that a walk reads; without labels it would read what else leaves the same rows. Known from a live
/// source only.
#[test]
fn labels_and_entries_of_walks_and_windows_are_priced() {
    let text = r#"
[source]
url = "postgres://db.internal/shop"

[stores]
near = { url = "redis://cache.internal" }

[views.reviewed]
from  = "reviews"
store = "near"
edge  = { source = "customer_id", label = "REVIEWED", target = "book_id" }

[views.gift]
from  = "orders"
store = "near"
edge  = { source = "customer_id", label = "GIFT", target = "gift_for" }

[views.price]
from   = "price_changes"
store  = "near"
series = { time = "changed_at", tags = ["isbn"], fields = ["price"] }

[access.also_reviewed]
walk  = ["<REVIEWED", "REVIEWED>"]
rate  = "50/s"

[access.price_history]
window = "price"
rate   = "20/s"

[plan.access]
also_reviewed = { rows = 600 }
price_history = { rows = 40 }
"#;
    let file = load(text);
    let mut facts = crate::support::bookshop();
    facts.tables.iter_mut().for_each(|table| table.bytes_estimate = table.rows_estimate * 150);
    let plan = planned(&file, Some(&facts));
    // 150,000 reviews and 80,000 orders leave the customers.
    let [label] = found(&plan, "also_reviewed", "one label")[..] else { panic!("{:#?}", plan.alternatives) };
    assert!(label.now.ends_with("600") && label.instead.ends_with("920"), "{label:?}");
    assert!(label.difference.unwrap() >= 0.0);
    for (of, index) in [
        ("also_reviewed", "reviewed: by book_id and reviewed: by customer_id"),
        ("price_history", "price: on [isbn, changed_at]"),
    ] {
        if plan.patterns.iter().any(|pattern| pattern.name == of && pattern.engine.contains("PostgreSQL")) {
            let [missing] = found(&plan, of, "no index")[..] else { panic!("{:#?}", plan.alternatives) };
            assert!(
                missing.now.contains(index) && missing.difference.is_none_or(|usd| usd > 0.0),
                "{missing:?}"
            );
        }
    }
    assert!(plan.patterns.iter().any(|pattern| pattern.engine.contains("PostgreSQL")));
}
