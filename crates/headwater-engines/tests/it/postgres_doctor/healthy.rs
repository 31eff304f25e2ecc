//! A healthy server has nothing to be found, and what a role may not see is said to be unseen, not healthy.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn a_healthy_server_gives_no_finding() {
    let postgres = Postgres::builder()
        .checksums()
        .fsync()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("track_io_timing", "on")
        .setting("archive_mode", "on")
        .setting("archive_command", "true")
        .setting("max_slot_wal_keep_size", "1GB")
        .start();
    let patient = Patient::new(&postgres, "shop");
    patient.psql(
        "CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pgstattuple;
         CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
         CREATE TABLE \"order\" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint REFERENCES customer);
         CREATE INDEX ON \"order\" (customer_id); CREATE INDEX ON customer (name);
         INSERT INTO customer (name) SELECT 'name ' || i FROM generate_series(1, 20000) i;
         INSERT INTO \"order\" (customer_id) SELECT 1 + i % 10000 FROM generate_series(1, 50000) i;
         DELETE FROM customer WHERE id > 19990;
         ANALYZE",
    );
    patient.psql("VACUUM ANALYZE");
    patient.psql("SELECT pg_create_logical_replication_slot('headwater', 'pgoutput')");
    let all = patient.examine(&ExamBudget::default()).await;
    // The version's own end comes with time.
    let found: Vec<&Diagnosis> = all.found.iter().filter(|found| found.check != "HW1045").collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(all.skipped.is_empty(), "{:?}", all.skipped);
    assert_eq!(all.made, registry::checks().iter().filter(|check| check.id.starts_with("HW1")).count());
}

#[tokio::test]
async fn what_a_role_may_not_see_is_said() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "blind");
    patient.psql("CREATE ROLE watcher LOGIN");
    let url = format!("postgres://watcher@127.0.0.1:{}/blind", postgres.port());
    let seen = async || examiner(&url).examine(&ExamBudget::default()).await.unwrap();
    let blind = seen().await;
    let skipped =
        |examination: &Examination| examination.skipped.iter().map(|s| s.check).collect::<BTreeSet<_>>();
    assert!(skipped(&blind).contains("HW1022"), "{:?}", blind.skipped);
    for remedy in
        blind.skipped.iter().filter_map(|skipped| skipped.remedy.as_ref()).filter(|r| r.starts_with("GRANT"))
    {
        remedy.lines().for_each(|line| drop(patient.psql(line)));
    }
    let seeing = seen().await;
    assert!(
        !skipped(&seeing).contains("HW1022") && !skipped(&seeing).contains("HW1051"),
        "{:?}",
        seeing.skipped
    );
}

/// Nothing that is asked may hold up, or change, what is examined.
#[tokio::test]
async fn an_examination_waits_for_nobody_and_writes_nothing() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "busy");
    patient.psql("CREATE EXTENSION pgstattuple; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 400000)");
    let locker = patient.session("postgres", "BEGIN; LOCK TABLE t; SELECT pg_sleep(600)");
    eventually(PATIENCE, "the lock", async || {
        match patient.try_psql("SET lock_timeout = 1; SELECT count(*) FROM t") {
            Err(_) => Ok(()),
            Ok(_) => Err("not taken"),
        }
    })
    .await;
    let before =
        patient.psql("SELECT pg_current_xact_id_if_assigned() IS NULL, txid_current_snapshot()::text <> ''");
    let next = || {
        patient.psql("SELECT next_xid FROM pg_control_checkpoint(), pg_current_wal_insert_lsn() LIMIT 0; SELECT pg_snapshot_xmax(pg_current_snapshot())")
    };
    let xid = next();
    let examination = patient.examine(&ExamBudget::default()).await;
    assert_eq!(next(), xid, "no transaction number was taken");
    assert_eq!(before, "t|t");
    // What needs the locked table is skipped with the reason, and soon.
    assert!(examination.skipped.iter().any(|skipped| skipped.check == "HW1011"), "{:?}", examination.skipped);
    assert!(examination.made > 25, "{}", examination.made);
    drop(locker);
}

#[tokio::test]
async fn a_database_that_is_a_store_is_examined_alike() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "derived");
    patient.psql("CREATE TABLE t (n int); CREATE INDEX one ON t (n); CREATE INDEX two ON t (n)");
    let section = StoreSection {
        source: None,
        name: "tables".into(),
        url: Secret::new(format!("postgres://postgres@127.0.0.1:{}/derived", postgres.port())),
        settings: Default::default(),
    };
    let budget = ExamBudget { only: vec!["HW1003".into()], ..ExamBudget::default() };
    let seen = registry::store_examiner(&section).unwrap().unwrap().examine(&budget).await.unwrap();
    assert_eq!(seen.found.iter().map(|found| &*found.subject).collect::<Vec<_>>(), ["public.two"]);
}
