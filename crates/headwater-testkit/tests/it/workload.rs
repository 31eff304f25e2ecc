//! The workload and the checker against each other: two databases that ran the same statements must expect the same
//! documents, or one of the two dialects is wrong.

use headwater_testkit::checker::{Body, Found, Truth, compare, expected};
use headwater_testkit::workload::{Dialect, PairReader, PairStore, Workload};
use headwater_testkit::{Folder, Postgres, Redis};

#[tokio::test]
async fn both_sources_expect_the_same_documents_of_the_same_workload() {
    let postgres = Postgres::start();
    let folder = Folder::new("workload");
    let mut documents = 0;
    for seed in 0..6 {
        let (mut one, mut other) =
            (Workload::new(seed, Dialect::Postgres), Workload::new(seed, Dialect::Sqlite));
        let client = postgres.connect().await;
        client
            .batch_execute(&format!(
                "CREATE SCHEMA s{seed}; ALTER DATABASE postgres SET search_path = s{seed}"
            ))
            .await
            .unwrap();
        let client = postgres.connect().await;
        client.batch_execute(&one.ddl()).await.unwrap();
        let path = folder.join(format!("{seed}.db"));
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.execute_batch(&other.ddl()).unwrap();
        for _ in 0..150 {
            let sql = one.transaction().sql();
            client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{sql}"));
            let sql = other.transaction().sql();
            db.execute_batch(&sql).unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{sql}"));
        }
        let views = one.views(&["near"]);
        assert_eq!(views, other.views(&["near"]));
        let from_postgres = expected(&Truth::Postgres(postgres.url()), &views).await;
        let from_sqlite: Found = expected(&Truth::Sqlite(path), &views)
            .await
            .into_iter()
            .map(|(view, documents)| {
                let json = |fields| Body::Json(serde_json::to_vec(&fields).unwrap());
                (view, documents.into_iter().map(|(key, document)| (key, json(document.fields))).collect())
            })
            .collect();
        let report = compare(&from_postgres, &from_sqlite);
        assert!(report.is_equal(), "seed {seed}: {report}");
        documents += report.compared;
    }
    assert!(documents > 500, "the workload leaves too little behind: {documents}");
}

#[test]
fn a_torn_pair_and_one_that_goes_backwards_are_seen() {
    let redis = Redis::start();
    let set = |id: &str, amount: &str, version: &str| {
        redis.cli(&["HSET", &format!("pair:{id}"), "amount", amount, "version", version]);
    };
    let watch = || {
        let reader = PairReader::start(PairStore::Redis { url: redis.url(), prefix: String::new() });
        std::thread::sleep(std::time::Duration::from_millis(200));
        reader
    };
    set("1", "5", "3");
    set("2", "-5", "3");
    assert!(watch().finish().unwrap() > 10);

    let reader = watch();
    redis.cli(&[
        "EVAL",
        "redis.call('HSET','pair:1','version',2) redis.call('HSET','pair:2','version',2)",
        "0",
    ]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(reader.finish().unwrap_err().contains("backwards"));

    set("1", "6", "2");
    let reader = watch();
    assert!(reader.finish().unwrap_err().contains("torn"));
}
