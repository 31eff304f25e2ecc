//! Following: what the log says, in order, across everything that tables go through.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn idle_notices_let_an_idle_source_forget_its_log() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int)");
    let mut log = Log::new(&postgres, &["t"]).await;
    log.drain().await;
    // The log grows, and none of it concerns us.
    postgres.psql("INSERT INTO other SELECT generate_series(1, 100000)");
    let target = postgres.psql("SELECT pg_current_wal_lsn()");
    loop {
        let Event::Idle { position } = log.next().await else { continue };
        log.source.release(&position).await.unwrap();
        let done =
            postgres.psql(&format!("SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots"));
        if done == "t" {
            break;
        }
        if log.source.notation(&position) >= target {
            headwater_testkit::eventually(Duration::from_secs(10), "the slot moves on", async || {
                let done = postgres
                    .psql(&format!("SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots"));
                if done == "t" { Ok(()) } else { Err(done) }
            })
            .await;
            break;
        }
    }
}
