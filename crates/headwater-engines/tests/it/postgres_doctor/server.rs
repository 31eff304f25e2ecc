//! Findings about the server: its settings, its log, its slots and standbys.

use super::*;

#[tokio::test]
async fn slots_and_standbys_that_keep_log() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "slots");
    patient.psql("SELECT pg_create_logical_replication_slot('nobody', 'test_decoding')");
    patient.psql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
    patient.heals("HW1031", &[], "max_slot_wal_keep_size").await;
    patient.heals("HW1030", &[("idle_bytes", 1000.0)], "slot nobody").await;
    patient.is_gone("HW1031", &[], "max_slot_wal_keep_size").await;

    let standby = postgres.standby();
    postgres.wait_for_standby(Some(&standby));
    standby.psql("SELECT pg_wal_replay_pause()");
    patient.psql("INSERT INTO t SELECT generate_series(1, 10000)");
    let behind = [("bytes", 100_000.0)];
    let found = patient.finds("HW1033", &behind, "standby").await;
    assert!(found.answered["held_up_by"].starts_with("replay"), "{found:?}");
    standby.psql("SELECT pg_wal_replay_resume()");
    patient.is_gone("HW1033", &behind, "standby").await;
}

#[tokio::test]
async fn archiving_that_fails() {
    let postgres =
        Postgres::builder().setting("archive_mode", "on").setting("archive_command", "false").start();
    let patient = Patient::new(&postgres, "archive");
    patient.psql("CREATE TABLE t (n int)");
    patient.psql("SELECT pg_switch_wal()");
    let found = patient.finds("HW1034", &[], "archive_command").await;
    assert_eq!(found.urgency.name(), "critical");
    patient.psql("ALTER SYSTEM SET archive_command = 'true'");
    patient.psql("SELECT pg_reload_conf()");
    patient.is_gone("HW1034", &[], "archive").await;
}

#[tokio::test]
async fn a_tail_of_the_log_that_is_archived_only_when_it_is_long() {
    let postgres =
        Postgres::builder().setting("archive_mode", "on").setting("archive_command", "true").start();
    let patient = Patient::new(&postgres, "tail");
    patient.psql("SELECT pg_switch_wal()");
    patient.psql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
    patient.heals("HW1035", &[("minutes", 0.0)], "archive_timeout").await;
    patient.is_gone("HW1035", &[], "archive_timeout").await;
}

#[tokio::test]
async fn pages_without_checksums() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "pages");
    patient.finds("HW1041", &[], "data_checksums").await;
    postgres.stop().await;
    let data = postgres.folder().join("data");
    let status = postgres
        .server_tool("pg_checksums")
        .args(["--enable", "--no-sync", "-D"])
        .arg(data)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    postgres.restart().await;
    patient.is_gone("HW1041", &[], "data_checksums").await;
}

#[tokio::test]
async fn settings_that_cost_data_speed_or_sight() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "settings");
    // The kit's servers do not outlive their test, and do not sync.
    patient.heals("HW1040", &[], "fsync").await;
    patient.heals("HW1040", &[], "full_page_writes").await;
    patient.heals("HW1043", &[], "track_io_timing").await;

    patient.psql("ALTER SYSTEM SET max_connections = 61");
    patient.psql("SELECT pg_reload_conf()");
    patient.finds("HW1042", &[], "max_connections").await;
    postgres.restart().await;
    patient.is_gone("HW1042", &[], "max_connections").await;

    for _ in 0..4 {
        patient.psql("CHECKPOINT");
    }
    patient.heals("HW1032", &[("checkpoints", 3.0)], "max_wal_size").await;

    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(postgres.connect().await);
    }
    let third = [("share", 0.3)];
    let found = patient.finds("HW1044", &third, "max_connections").await;
    assert!(found.remedy[0].contains("CONNECTION LIMIT"), "{found:?}");
    drop(crowd);
    patient.is_gone("HW1044", &third, "max_connections").await;

    patient.psql("UPDATE pg_database SET datcollversion = '1' WHERE datname = current_database()");
    patient.heals("HW1046", &[], "database settings").await;

    let found = patient.finds("HW1045", &[("days", 36_500.0)], "PostgreSQL").await;
    assert!(found.answered.contains_key("supported_until"), "{found:?}");
}

#[tokio::test]
async fn who_is_let_in_and_how() {
    let postgres = Postgres::builder()
        .hba("host all all 127.0.0.1/32 trust")
        .hba("host all app 10.0.0.0/8 trust")
        .hba("host all all 10.1.0.0/16 md5")
        .start();
    let patient = Patient::new(&postgres, "hba");
    let found = patient.look("HW1051", &[]).await;
    let levels: Vec<&str> = found.iter().map(|found| found.urgency.name()).collect();
    assert_eq!(levels, ["critical", "medium"], "not what is for this machine alone: {found:?}");
    let file = patient.psql("SHOW hba_file");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace(" 10.0.0.0/8 trust", " 10.0.0.0/8 scram-sha-256")
            .replace("/16 md5", "/16 scram-sha-256"),
    )
    .unwrap();
    patient.psql("SELECT pg_reload_conf()");
    patient.is_gone("HW1051", &[], "pg_hba.conf").await;
}
