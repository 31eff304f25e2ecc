//! What `doctor` finds in a real InfluxDB: a problem that is really there, its remedy as printed, and then nothing.

use headwater_engines::registry;
use headwater_model::exam::{Diagnosis, ExamBudget};

use super::*;

async fn look(section: &StoreSection, check: &str, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
    let budget = ExamBudget {
        only: vec![check.into()],
        limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
        ..ExamBudget::default()
    };
    let examination = registry::store_examiner(section).unwrap().unwrap().examine(&budget).await.unwrap();
    assert!(examination.skipped.is_empty() && examination.made == 1, "{examination:?}");
    examination.found
}

#[tokio::test]
async fn doctor_finds_what_erodes_a_database() {
    let Some(server) = server() else { return };
    let database = database(server);
    let of = |series_max: i64| section(&server.url(&database), &[("series_max", Setting::Int(series_max))]);
    assert_eq!(look(&of(5), "HW7001", &[]).await, [], "there is nothing yet");
    let lines: Vec<String> =
        (1..=4).map(|n| format!("price,book=b{n} price={n} {}", n * 86_400_000_000_000_i64)).collect();
    server.write(&database, &lines.join("\n"));
    let found = look(&of(5), "HW7001", &[]).await;
    assert_eq!((&*found[0].subject, found[0].urgency.name()), ("series price", "medium"), "{found:?}");
    assert!(found[0].remedy[0].starts_with("series_max = 10 "), "{found:?}");
    assert_eq!(look(&of(10), "HW7001", &[]).await, []);
    assert_eq!(look(&of(4), "HW7001", &[]).await[0].urgency.name(), "high");

    let all = of(1000);
    assert_eq!(look(&all, "HW7002", &[]).await, []);
    server.ask(
        &database,
        &format!("ALTER RETENTION POLICY autogen ON {database} DURATION 900w SHARD DURATION 7d"),
    );
    let found = look(&all, "HW7002", &[]).await;
    assert_eq!((found.len(), found[0].urgency.name()), (1, "high"), "{found:?}");
    server.ask(&database, &found[0].remedy[0]);
    assert_eq!(look(&all, "HW7002", &[]).await, []);
    server.ask(&database, &found[0].undo[0]);
    assert_eq!(look(&all, "HW7002", &[]).await.len(), 1, "undone");
    server.ask(&database, &found[0].remedy[0]);

    let many = [("groups", 2.0)];
    server.ask(&database, &format!("ALTER RETENTION POLICY autogen ON {database} SHARD DURATION 1d"));
    let later: Vec<String> =
        (0..3).map(|n| format!("price,book=b price={n} {}", T0 * 1000 + n * 86_400_000_000_000)).collect();
    server.write(&database, &later.join("\n"));
    assert_eq!(look(&all, "HW7003", &[]).await, [], "so few are fine");
    let found = look(&all, "HW7003", &many).await;
    assert!(found[0].what.contains("groups of shards of 24 hours"), "{found:?}");
    server.ask(&database, &found[0].remedy[0]);
    assert_eq!(look(&all, "HW7003", &many).await, []);
    server.ask(&database, &found[0].undo[0]);
    assert_eq!(look(&all, "HW7003", &many).await.len(), 1, "undone");
}
