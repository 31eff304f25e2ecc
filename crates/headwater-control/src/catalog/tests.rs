//! Figures of the catalogue, and that each says where it was read.
#![allow(clippy::unwrap_used)]

use super::*;

fn built_in() -> Catalog {
    Catalog::built_in().unwrap()
}

/// Worked examples of the providers' pages: on-demand requests and storage in us-east-1.
#[test]
fn published_prices_are_found_with_their_origin() {
    let catalog = built_in();
    let dynamodb = catalog.service("dynamodb").unwrap();
    let write = dynamodb.price("us-east-1", "on-demand-write-request-unit").unwrap();
    assert_eq!((write.usd.value, &*write.per), (0.625, "million WRU"));
    assert_eq!((write.usd.origin.confidence, write.usd.origin.year()), (Confidence::A, Some(2026)));
    assert!(dynamodb.price("eu-south-9", "on-demand-write-request-unit").is_none());

    let postgresql = catalog.service("rds-postgresql").unwrap();
    let large = postgresql.instances("us-east-1", InstanceOffer::Standard).find(|(c, _)| *c == "db.m5.large");
    assert_eq!(large.unwrap().1.value, 0.178);
    assert_eq!(catalog.class("db.m5.large").map(|class| (class.vcpu, class.memory_gib)), Some((2.0, 8.0)));
}

#[test]
fn a_fact_is_a_figure_a_range_or_a_text() {
    let catalog = built_in();
    let rds = catalog.service("rds").unwrap();
    let failover = rds.fact("multi-az-instance-failover-typical").unwrap();
    assert_eq!((failover.low, failover.high, failover.value), (Some(60.0), Some(120.0), None));
    assert_eq!(rds.fact("multi-az-instance-sla").unwrap().value, Some(99.95));
    assert_eq!(catalog.service("aurora").unwrap().fact("failover-with-replica").unwrap().high, Some(60.0));
}

#[test]
fn every_file_says_where_each_figure_was_read() {
    let catalog = built_in();
    assert!(catalog.services().count() > 25);
    for (name, service) in catalog.services() {
        let origins = service.prices.values().map(|price| &price.usd.origin);
        let origins = origins.chain(service.facts.values().map(|fact| &fact.origin));
        for origin in origins {
            assert!(origin.year().is_some_and(|year| (2021..=2026).contains(&year)), "{name}: {origin:?}");
            assert!(!origin.text.is_empty(), "{name}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let read = |text: &str| Catalog::read([("made-up", text)]).unwrap_err().to_string();
    let sources =
        "service = \"Made up\"\n[sources]\na = { text = \"t\", date = \"2026\", confidence = \"A\" }\n";
    let zero = read(&format!(
        "{sources}[prices.here]\nx = {{ usd = 0, per = \"hour\", from = \"a\", text = \"\" }}"
    ));
    assert!(zero.contains("made-up.toml") && zero.contains("`x`") && zero.contains("left out"), "{zero}");
    let nowhere = read(&format!(
        "{sources}[prices.here]\nx = {{ usd = 1, per = \"hour\", from = \"b\", text = \"\" }}"
    ));
    assert!(nowhere.contains("`b` is not among its sources"), "{nowhere}");
    let unknown = read(&format!("{sources}[facts]\nx = {{ worth = 1, from = \"a\" }}"));
    assert!(unknown.contains("worth"), "{unknown}");
}
