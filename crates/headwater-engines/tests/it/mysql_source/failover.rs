//! A replica is promoted: the same positions mean the same transactions there.

use headwater_model::ErrorKind;

use super::*;

of_both!(
    following_goes_on_at_a_promoted_replica_and_finds_what_was_lost,
    a_server_that_was_restored_or_replaced_is_another_history,
);

async fn following_goes_on_at_a_promoted_replica_and_finds_what_was_lost(flavour: Flavour) {
    let one = flavour.start();
    let two = flavour.builder().server_id(2).start();
    one.sql("CREATE TABLE t (id INT PRIMARY KEY)");
    two.replicate(&one);
    let url = format!("mysql://root@127.0.0.1:{},127.0.0.1:{}/app", one.port(), two.port());
    let source = open(&url);
    let first = source.lineage(None).await.unwrap();
    let (database, [old, new]) = match flavour {
        Flavour::MariaDb => ("mariadb-0", ["1".to_owned(), "2".to_owned()]),
        Flavour::MySql => {
            ("mysql", [&one, &two].map(|server| server.sql_in("", "SELECT REPLACE(@@server_uuid, '-', '')")))
        }
    };
    assert_eq!((first.system.to_string(), first.ancestors.len()), (format!("{database}/{old}"), 0));
    let mut log = Log::of(source.clone(), &["t"], None).await;
    one.sql("INSERT INTO t VALUES (1)");
    log.drain().await;
    let both = log.last.clone().unwrap();
    one.sql("INSERT INTO t VALUES (2)");
    two.catch_up(&one);
    let left: u64 = two.position().rsplit('-').next().unwrap().parse().unwrap();
    // What the replica never gets.
    two.stop_replica();
    one.sql("INSERT INTO t VALUES (3)");
    log.drain().await;
    let lost = log.last.clone().unwrap();
    one.kill();
    assert_eq!(log.end().await.kind(), ErrorKind::Transient);
    drop(log);
    two.promote();
    let lineage = source.lineage(Some(&lost)).await.unwrap();
    assert_eq!(&*lineage.system, &*format!("{database}/{old}+{new}@{left}"));
    assert_eq!(lineage.ancestors, [Position::new(format!("{database}/{old}"), left)]);
    assert_eq!(lineage.place(&lost), None, "the new primary never had it");
    // From before the promotion, by the position of the old primary.
    let place = lineage.place(&both).unwrap();
    let mut log = Log::of(source.clone(), &["t"], Some(&place)).await;
    two.sql("INSERT INTO t VALUES (4)");
    let ids: Vec<Value> = log.rows().await.into_iter().map(|row| row.0[0].clone()).collect();
    assert_eq!(ids, [Value::Int(2), Value::Int(4)]);
    let last = log.last.clone().unwrap();
    // The old primary comes back as it was: nobody speaks to it.
    one.restart();
    drop(log);
    two.sql_in("", "SET GLOBAL read_only = ON");
    let error = source.lineage(Some(&last)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("old primary"), "{error}");
    two.sql_in("", "SET GLOBAL read_only = OFF");
}

async fn a_server_that_was_restored_or_replaced_is_another_history(flavour: Flavour) {
    let server = flavour.start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY)");
    let source = open(&server.url());
    let mut log = Log::of(source.clone(), &["t"], None).await;
    server.sql("INSERT INTO t VALUES (1)");
    log.drain().await;
    let last = log.last.clone().unwrap();
    drop(log);
    server.reset_log();
    server.sql("INSERT INTO t VALUES (2)");
    let lineage = source.lineage(Some(&last)).await.unwrap();
    assert_ne!(lineage.system, last.system);
    assert_eq!(lineage.place(&last), None);
    assert!(Position::new(lineage.system.clone(), 0).is_same_database(&last));
    // Somebody else's numbers are refused by the server itself.
    let other = flavour.builder().server_id(7).start();
    other.sql("CREATE TABLE t (id INT PRIMARY KEY)");
    for id in 10..30 {
        other.sql(&format!("INSERT INTO t VALUES ({id})"));
    }
    let foreign = open(&other.url());
    let lineage = foreign.lineage(Some(&last)).await.unwrap();
    assert_eq!(lineage.place(&last), None);
}
