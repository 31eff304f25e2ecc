use std::time::Duration;

use headwater_testkit::{Postgres, Redis, eventually};

#[tokio::test]
async fn postgres_starts_crashes_and_comes_back_with_its_data() {
    let postgres = Postgres::start();
    assert_eq!(postgres.psql("SHOW wal_level"), "logical");
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    postgres.kill();
    postgres.restart().await;
    let client = postgres.connect().await;
    assert_eq!(client.query_one("SELECT id FROM t", &[]).await.unwrap().get::<_, i32>(0), 1);
    postgres.restart().await;
    assert_eq!(postgres.psql("SELECT count(*) FROM t"), "1");
    assert!(postgres.try_psql("SELECT nonsense").unwrap_err().contains("nonsense"));
}

#[tokio::test]
async fn postgres_takes_settings_rules_and_certificates() {
    let postgres = Postgres::builder()
        .setting("synchronous_standby_names", "nobody")
        .hba("hostssl all all 127.0.0.1/32 scram-sha-256")
        .ssl()
        .start();
    assert_eq!(postgres.psql("SHOW synchronous_standby_names"), "nobody");
    postgres.psql("SET synchronous_commit = local; CREATE ROLE r LOGIN PASSWORD 'p'");
    let plain = tokio_postgres::connect(&postgres.url_as("r", "p"), tokio_postgres::NoTls).await;
    assert!(plain.is_err());
    let output = postgres
        .tool("psql")
        .arg(format!(
            "{}?sslmode=verify-full&sslrootcert={}",
            postgres.url_as("r", "p").replace("127.0.0.1", "localhost"),
            postgres.ca().unwrap().display()
        ))
        .args(["-Atc", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "t",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn redis_starts_pauses_and_restarts() {
    let redis = Redis::builder().password("secret").appendonly().start();
    redis.cli(&["SET", "k", "v"]);
    redis.kill();
    redis.restart();
    assert_eq!(redis.cli(&["GET", "k"]), "v");
    assert!(redis.try_cli(&["INCR", "k"]).is_err());
    redis.pause();
    redis.resume();
    let redis = Redis::builder().cluster().start();
    assert!(redis.try_cli(&["MSET", "a", "1", "b", "2"]).unwrap_err().contains("CROSSSLOT"));
}

/// Not a test of its own: what `nothing_outlives_a_killed_run` kills.
#[test]
#[ignore = "hangs on purpose"]
fn hang_with_engines() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    println!("ports {} {}", postgres.port(), redis.port());
    postgres.pause();
    std::thread::sleep(Duration::from_secs(600));
}

#[tokio::test]
async fn nothing_outlives_a_killed_run() {
    let mut run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "engines::hang_with_engines", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(run.stdout.take().unwrap());
    let ports: Vec<u16> = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, ports) = line.split_once("ports ")?;
            Some(ports.split(' ').map(|port| port.parse().unwrap()).collect())
        })
        .unwrap();
    let open = |port: &u16| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok();
    assert!(ports.iter().all(open));
    run.kill().unwrap();
    run.wait().unwrap();
    eventually(Duration::from_secs(10), "the engines are gone", async || {
        let left: Vec<_> = ports.iter().filter(|port| open(port)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("listening: {left:?}")) }
    })
    .await;
}
