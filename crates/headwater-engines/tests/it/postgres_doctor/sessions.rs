//! Findings about what sessions do at this moment, and what they hold.

use super::*;

/// Takes so many transaction numbers.
fn burn(patient: &Patient<'_>, numbers: u32) {
    patient.psql("CREATE TABLE IF NOT EXISTS burnt (n int)");
    patient.psql(&format!(
        "DO $$ BEGIN FOR n IN 1..{numbers} LOOP BEGIN INSERT INTO burnt VALUES (n); EXCEPTION WHEN division_by_zero THEN END; END LOOP; END $$"
    ));
}

#[tokio::test]
async fn sessions_that_hold_others_up() {
    let postgres = Postgres::builder().setting("max_prepared_transactions", "5").start();
    let patient = Patient::new(&postgres, "sessions");
    let now = [("seconds", 0.0)];
    patient.psql("CREATE ROLE app LOGIN; CREATE TABLE t (id int PRIMARY KEY)");

    let idle = postgres.connect().await;
    idle.batch_execute("BEGIN; SELECT 1").await.unwrap();
    patient.heals("HW1022", &now, "of postgres").await;
    assert!(idle.batch_execute("SELECT 1").await.is_err(), "it was ended");

    let long = patient.session("app", "SELECT pg_sleep(600)");
    let found = patient.heals("HW1023", &now, "of app").await;
    assert!(found.answered["statement"].contains("pg_sleep"), "{found:?}");
    drop(long);

    let root = patient.session("postgres", "BEGIN; LOCK TABLE t; SELECT pg_sleep(600)");
    eventually(PATIENCE, "the lock", async || {
        match patient.psql("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass").as_str() {
            "0" => Err("not taken".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let waiting = [
        patient.session("postgres", "SELECT * FROM t"),
        patient.session("postgres", "ALTER TABLE t ADD x int"),
    ];
    let found = patient.heals("HW1024", &now, "session").await;
    assert!(found.answered["statement"].contains("LOCK TABLE"), "the root, not those between: {found:?}");
    drop((root, waiting));

    patient.psql("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'two''phase'");
    patient.heals("HW1025", &now, "'two''phase'").await;
}

#[tokio::test]
async fn transaction_numbers_that_are_held_or_run_out() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "numbers");
    let old = postgres.connect().await;
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    burn(&patient, 20_000);
    let some = [("transactions", 10_000.0)];
    patient.heals("HW1021", &some, "session").await;
    let share = [("share", 10_000.0 / 2_147_483_647.0)];
    let found = patient.heals("HW1020", &share, "database numbers").await;
    assert!(found.what.contains("transaction numbers"), "{found:?}");
}

/// This machine as others see it; `None` where it has no network at all.
fn outward_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: which way it would go is all that is asked.
    socket.connect("203.0.113.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[tokio::test]
async fn sessions_from_the_network_without_tls() {
    let Some(address) = outward_address() else {
        eprintln!("skipped: this machine has no address but its own");
        return;
    };
    let postgres =
        Postgres::builder().ssl().setting("listen_addresses", "*").hba("host all all all trust").start();
    let patient = Patient::new(&postgres, "network");
    let from_afar = |mode: &str| {
        let mut psql = patient.tool("psql");
        psql.env("PGHOST", address.to_string()).env("PGSSLMODE", mode).env("PGUSER", "postgres");
        psql.args(["-X", "-q", "-c", "SELECT pg_sleep(600)"]).stdout(Stdio::null()).stderr(Stdio::null());
        Session(psql.spawn().expect("start psql"))
    };
    let in_the_clear = from_afar("disable");
    let found = patient.finds("HW1050", &[], "role postgres").await;
    assert!(found.what.contains("without TLS") && found.remedy[0].contains("hostssl"), "{found:?}");
    assert_eq!(found.answered["from_addresses"], address.to_string());
    // As the server does it once pg_hba.conf lets it in no more.
    patient.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl AND query LIKE 'SELECT pg_sleep%'");
    drop(in_the_clear);
    let _encrypted = from_afar("require");
    let there = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl";
    eventually(PATIENCE, "the session with TLS", async || match &*patient.psql(there) {
        "0" => Err("it is not there"),
        _ => Ok(()),
    })
    .await;
    patient.is_gone("HW1050", &[], "role postgres").await;
}
