//! What `doctor` finds in a real graph: a problem that is really there, its remedy as printed, and then nothing.

use headwater_engines::registry;
use headwater_model::exam::{Diagnosis, ExamBudget};

use super::*;

async fn look(server: &Redis, check: &str, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
    let budget = ExamBudget {
        only: vec![check.into()],
        limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
        ..ExamBudget::default()
    };
    let examiner = registry::store_examiner(&section(FalkorDb::url(server, "shop"))).unwrap().unwrap();
    let examination = examiner.examine(&budget).await.unwrap();
    assert!(examination.skipped.is_empty() && examination.made == 1, "{examination:?}");
    examination.found
}

/// As a person pastes it into `redis-cli`.
fn paste(server: &Redis, statement: &str) {
    let (plain, quoted) = statement.split_once('"').unwrap_or((statement, ""));
    let mut words: Vec<&str> =
        plain.split(' ').take_while(|word| *word != "#").filter(|w| !w.is_empty()).collect();
    words.extend(Some(quoted.trim_end_matches('"')).filter(|text| !text.is_empty()));
    server.cli(&words);
}

#[tokio::test]
async fn doctor_finds_what_erodes_a_graph() {
    let Some(server) = FalkorDb::start() else { return };
    let view = view("book", Layout::Json);
    assert_eq!(look(&server, "HW6001", &[]).await, [], "there is no graph yet");
    assert_eq!(look(&server, "HW6002", &[]).await, []);
    let store = open(&server);
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&view).await.unwrap();
    let put = ViewChange::Put { view: view.clone(), key: key(1), moved_from: None, document: document(1, 1) };
    try_step(&*store, 0, vec![put]).await.unwrap();
    assert_eq!(look(&server, "HW6001", &[]).await, []);
    ask(&server, "DROP INDEX FOR (x:book) ON (x.headwater_key)");
    let found = look(&server, "HW6001", &[]).await;
    assert_eq!(found.iter().map(|found| &*found.subject).collect::<Vec<_>>(), ["book (headwater_key)"]);
    paste(&server, &found[0].remedy[0]);
    assert_eq!(look(&server, "HW6001", &[]).await, []);

    // What takes less than 10 ms is in no slow log.
    ask(&server, "UNWIND range(1, 1000000) AS n WITH sum(n) AS s WHERE s > 7 RETURN 'a name', s");
    let any = [("milliseconds", 0.0)];
    let found = look(&server, "HW6002", &any).await;
    assert!(found.iter().any(|found| found.subject.contains("UNWIND range(?, ?) AS n")), "{found:?}");
    assert!(found.iter().all(|found| !format!("{found:?}").contains("a name")), "{found:?}");
    paste(&server, &found[0].remedy[0]);
    assert_eq!(look(&server, "HW6002", &any).await, []);

    let found = look(&server, "HW6003", &[]).await;
    assert_eq!(
        found.iter().map(|found| &*found.subject).collect::<Vec<_>>(),
        ["QUERY_MEM_CAPACITY", "TIMEOUT_DEFAULT"]
    );
    found.iter().for_each(|found| paste(&server, &found.remedy[0]));
    assert_eq!(look(&server, "HW6003", &[]).await, []);
    found.iter().for_each(|found| paste(&server, &found.undo[0]));
    assert_eq!(look(&server, "HW6003", &[]).await.len(), 2, "undone");

    // The server is one of Redis, and so are its remedies.
    let found = look(&server, "HW2001", &[]).await;
    paste(&server, &found[0].remedy[0]);
    assert_eq!(look(&server, "HW2001", &[]).await, []);
}
