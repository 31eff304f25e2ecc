//! What `doctor` finds in streams: that they are read late.

use aws_sdk_dynamodb::types::ScalarAttributeType;
use headwater_engines::registry;
use headwater_model::exam::{Diagnosis, ExamBudget, Urgency};

use super::*;

const COLUMNS: &[(&str, &[(&str, &str)])] = &[("c", &[("v", "integer")])];

/// What is found with that limit: what it is about, and how urgent that is.
async fn look(account: &Account, hours: f64) -> Vec<(String, Urgency)> {
    let budget = ExamBudget {
        only: vec!["HW5010".into()],
        each: Duration::from_secs(60),
        limits: [("HW5010.hours".to_owned(), hours)].into(),
        ..ExamBudget::default()
    };
    let examiner = registry::source_examiner(&account.section(COLUMNS)).unwrap().unwrap();
    let looked = examiner.examine(&budget).await.unwrap();
    assert_eq!((looked.made, &*looked.skipped), (1, &[][..]));
    looked.found.into_iter().map(|found| (found.subject, found.urgency)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_read_late_is_found_until_it_is_read() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, None).await;
    assert_eq!(look(&account, 12.0).await, [], "nobody has followed yet");
    let source = account.source(COLUMNS);
    let mut log = Log::of(Arc::clone(&source), &[&table], None).await;
    account.put(&table, &[("id", text("a")), ("v", number(1))]).await;
    assert_eq!(log.changes().await.len(), 1);
    assert_eq!(look(&account, 12.0).await, []);
    let is_late =
        |found: &[(String, Urgency)]| found.iter().any(|(about, _)| *about == format!("table {table}"));
    assert!(!is_late(&look(&account, 0.0).await), "everything is read");

    let after = log.last.clone();
    drop(log);
    // Until the one that was dropped has ended, it may read what comes.
    let free = Duration::from_secs(60);
    headwater_testkit::eventually(free, "nobody follows", async || {
        let request = account.client.get_item().table_name(account.state_table());
        let lease = request.set_key(Some(account.state_key("lease"))).send().await.unwrap().item.unwrap();
        if lease["owner"] == text("-") { Ok(()) } else { Err(format!("{:?}", lease["owner"])) }
    })
    .await;
    account.put(&table, &[("id", text("b")), ("v", number(2))]).await;
    headwater_testkit::eventually(free, "the stream tells of it", async || {
        let found = look(&account, 0.0).await;
        if is_late(&found) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    assert_eq!(look(&account, 12.0).await, []);

    // As if the last one had ended long ago.
    for (hours, urgency) in [(13, Urgency::High), (19, Urgency::Critical)] {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let request = account.client.update_item().table_name(account.state_table());
        let request = request.set_key(Some(account.state_key("lease"))).update_expression("SET at_ms = :t");
        let at = number(now - hours * 3_600_000);
        request.expression_attribute_values(":t", at).send().await.unwrap();
        assert_eq!(look(&account, 12.0).await, [("follower headwater".to_owned(), urgency)]);
    }

    let mut log = Log::of(source, &[&table], after.as_ref()).await;
    assert_eq!(log.changes().await.len(), 1);
    headwater_testkit::eventually(free, "it is followed again", async || {
        let found = look(&account, 12.0).await;
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    assert!(!is_late(&look(&account, 0.0).await));
}

/// As `doctor` looks beside a running instance with this source.
async fn hot(account: &Account, source: Option<&Arc<dyn Source>>, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
    let budget = ExamBudget {
        only: vec!["HW5011".into()],
        limits: limits.iter().map(|(name, value)| (format!("HW5011.{name}"), *value)).collect(),
        traffic: source.map(|source| source.traffic()),
        ..ExamBudget::default()
    };
    let looked =
        registry::source_examiner(&account.section(COLUMNS)).unwrap().unwrap().examine(&budget).await;
    let looked = looked.unwrap();
    assert_eq!((looked.made, looked.skipped.len()), if source.is_some() { (1, 0) } else { (0, 1) });
    looked.found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_takes_most_writes_of_a_table_is_found_until_it_is_divided() {
    let account = Account::new();
    let table = account.table("c", ScalarAttributeType::S, Some(ScalarAttributeType::N)).await;
    let few = [("from_units", 0.1)];
    let source = account.source(COLUMNS);
    let mut log = Log::of(Arc::clone(&source), &[&table], None).await;
    for n in 0..40 {
        // Of two units each, since the item has more than 1 KB.
        let id = if n % 4 == 0 { format!("shop {n}") } else { "everybody".to_owned() };
        account.put(&table, &[("id", text(id)), ("n", number(n)), ("t", text("x".repeat(1_500)))]).await;
    }
    assert_eq!(log.changes().await.len(), 40);
    let found = hot(&account, Some(&source), &few).await;
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!((finding.subject.clone(), finding.urgency), (format!("table {table}"), Urgency::Medium));
    assert!(finding.what.contains("the key everybody takes"), "{finding:?}");
    assert!(finding.remedy[0].contains("KEY#0 to KEY#1"), "{finding:?}");
    assert_eq!(hot(&account, Some(&source), &[]).await, [], "far from what a partition takes");
    assert_eq!(hot(&account, None, &few).await, []);

    let after = log.last.clone();
    drop((log, source));
    let source = account.source(COLUMNS);
    let mut log = Log::of(Arc::clone(&source), &[&table], after.as_ref()).await;
    for n in 40..80 {
        let id = if n % 4 == 0 { format!("shop {n}") } else { format!("everybody#{}", n % 3) };
        account.put(&table, &[("id", text(id)), ("n", number(n)), ("t", text("x"))]).await;
    }
    assert_eq!(log.changes().await.len(), 40);
    assert_eq!(hot(&account, Some(&source), &few).await, []);
}
