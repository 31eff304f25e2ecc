//! `headwater doctor`: the program against a PostgreSQL with something wrong.

use headwater_testkit::{Postgres, Redis, eventually};
use serde_json::Value as Json;

use crate::http::client::Client;
use crate::service::{PATIENCE, Service};
use crate::support::Site;

fn sick() -> Postgres {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE books (id int PRIMARY KEY, title text);
         CREATE TABLE reviews (id int PRIMARY KEY, book_id int REFERENCES books);
         CREATE INDEX book_title ON books (title); CREATE INDEX book_title_again ON books (title);
         CREATE TABLE nameless (n int); CREATE PUBLICATION p FOR TABLE nameless",
    );
    postgres
}

fn site(postgres: &Postgres, more: &str) -> Site {
    let file = format!(
        "[source]\nurl = \"{}\"\n[stores]\nlocal = {{ url = \"sqlite:derived.db\" }}\n\
         [views.review]\nfrom = \"reviews\"\nstore = \"local\"\n\
         [views.book]\nfrom = \"books\"\nstore = \"local\"\n\
         [access.book_page]\nget = \"book\"\nrate = \"200/s\"\n{more}",
        postgres.url()
    );
    Site::with_file("doctor", &file)
}

#[test]
fn findings_say_what_whom_and_how_and_a_script_mends_them() {
    let postgres = sick();
    let site = site(&postgres, "");
    let ran = site.run(&["doctor", "--fix-script", "remedies.sql"]).expect(1);
    for part in [
        "HIGH      HW1010  A table without a primary key",
        "public.nameless: has no primary key and is in a publication",
        "concerns: book comes from it; read as book_page (200/s)",
        "do:       DROP INDEX CONCURRENTLY public.book_title_again;",
        "undo:     CREATE INDEX book_title_again ON public.books USING btree (title);",
        "CRITICAL  HW1040",
        "skipped  HW1006, HW1011: the database has no extension pgstattuple",
        "headwater doctor --explain ID",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let script = site.read("remedies.sql");
    assert!(
        script.contains("\n-- DROP INDEX CONCURRENTLY"),
        "what removes is for a person to decide: {script}"
    );
    let ran = postgres
        .tool("psql")
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(site.path("remedies.sql"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}\n{script}", String::from_utf8_lossy(&ran.stderr));
    let report = site.run(&["doctor", "--json"]).expect(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let found: Vec<&str> = report["engines"][0]["found"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["check"].as_str().unwrap())
        .collect();
    assert!(
        found.contains(&"HW1003") && !found.contains(&"HW1010") && !found.contains(&"HW1040"),
        "{found:?}"
    );
    // Somebody's own file is not written over.
    site.write("mine.sql", "SELECT 1;");
    site.run(&["doctor", "--fix-script", "mine.sql"]).expect(2).says(&["mine.sql", "no script of doctor's"]);
}

#[test]
fn a_database_is_looked_at_without_a_file() {
    let postgres = sick();
    let site = Site::new("doctor");
    let ran = site.run(&["doctor", &postgres.url(), "--check", "hw1003", "--evidence"]).expect(0);
    assert!(
        ran.stdout.contains("kept = CREATE INDEX book_title ON") && ran.stdout.contains("| FROM pg_index a"),
        "{}",
        ran.stdout
    );
    site.run(&["doctor", "postgres://me:s3cret@127.0.0.1:1/x"]).expect(2);
    let ran = site.run(&["doctor", "postgres://me:s3cret@127.0.0.1:1/x", "--json"]).expect(2);
    assert!(!ran.stdout.contains("s3cret") && ran.stdout.contains("127.0.0.1:1"), "{}", ran.stdout);
    site.run(&["doctor", "--check", "HW1O03", &postgres.url()])
        .expect(1)
        .says(&["there is no check HW1O03", "did you mean"]);
    site.run(&["doctor", "sqlite:x.db"]).expect(1).says(&["nothing to examine"]);
}

#[test]
fn stores_are_examined_too_and_a_missing_one_keeps_nobody_from_looking() {
    let (postgres, redis) =
        (sick(), Redis::builder().arg("maxmemory", "64mb").arg("maxmemory-policy", "allkeys-lru").start());
    let site = Site::with_file(
        "doctor",
        &format!(
            "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\ngone = {{ url = \"redis://127.0.0.1:1\" }}\n\
             local = {{ url = \"sqlite:derived.db\" }}\n[views.book]\nfrom = \"books\"\nstore = [\"near\", \"gone\", \"local\"]\n",
            postgres.url(),
            redis.url()
        ),
    );
    let ran = site.run(&["doctor"]).expect(2);
    for part in ["source: PostgreSQL", "store near: Redis", "HW2002", "store gone", "could not look: "] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let ran = site.run(&["doctor", "--store", "near"]).expect(1);
    assert!(
        !ran.stdout.contains("source: ") && ran.stdout.contains("CONFIG SET maxmemory-policy noeviction"),
        "{}",
        ran.stdout
    );
    site.run(&["doctor", "--store", "nea"]).expect(1).says(&["no store `nea`", "did you mean `near`?"]);
    assert!(site.run(&["doctor", &redis.url()]).expect(1).stdout.contains("HW2002"));
}

#[test]
fn checks_are_explained_listed_and_accepted() {
    let site = Site::new("doctor");
    let explained = site.run(&["doctor", "--explain", "HW1002"]).expect(0).stdout;
    for part in [
        "# HW1002: An index that no query uses",
        "## Risk",
        "\"HW1002.days\" = 30",
        "FROM pg_stat_user_indexes",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    assert!(site.run(&["doctor", "--list"]).expect(0).stdout.lines().count() > 30);
    let postgres = sick();
    let accepting = "[doctor.accepted]\n\"HW1003 public.book_title_again\" = \"goes with release 12\"\nHW1040 = \"a scratch database\"\n";
    let site = self::site(&postgres, accepting);
    let ran = site.run(&["doctor", "--fail-on", "critical"]).expect(0);
    assert!(
        ran.stdout.contains("accepted  HW1003 public.book_title_again: goes with release 12"),
        "{}",
        ran.stdout
    );
    let site = self::site(&postgres, "[doctor.limits]\n\"HW1002.day\" = 1\n");
    site.run(&["doctor"]).expect(1).says(&[
        "no check has a limit \"HW1002.day\"",
        "did you mean \"HW1002.days\"?",
        "headwater.toml:",
    ]);
    let site =
        self::site(&postgres, "[doctor.limits]\nHW1002 = \"many\"\n[doctor.accepted]\n\"HW1003\" = \"\"\n");
    site.run(&["doctor"]).expect(1).says(&["names no limit"]);
    site.run(&["doctor"]).expect(1).says(&["accepted for a reason"]);
}

/// What a running instance finds by itself is on its page, in its metrics and in its folder, with since when; and gone once it
/// is put right.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_instance_looks_by_itself() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE books (id int PRIMARY KEY, title text); CREATE INDEX twin ON books (title);
         CREATE INDEX twin_again ON books (title); INSERT INTO books VALUES (1, 'one')",
    );
    let service = Service::new(
        "doctor-inside",
        &format!(
            "[source]\nurl = \"{}\"\n[stores]\nlocal = {{ url = \"sqlite:derived.db\" }}\n\
             [views.book]\nfrom = \"books\"\nstore = \"local\"\n[serve]\nlisten = \"127.0.0.1:0\"\n\
             [doctor]\nevery = \"1s\"\n[doctor.accepted]\nHW1040 = \"a scratch database\"\n",
            postgres.url()
        ),
    );
    service.start();
    let path = service.path("headwater-data/findings.json");
    let holds = async |part: &str, check: &str| {
        eventually(PATIENCE, &format!("{check} is {part}"), async || {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let kept: Json = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let there = kept[part].as_array().unwrap().iter().any(|finding| finding["check"] == check);
            if there { Ok(()) } else { Err(text) }
        })
        .await;
    };
    holds("standing", "HW1003").await;
    holds("standing", "HW3001").await;
    let client = Client::of(&service).await;
    let page = client.get("/").expect(200).text().to_owned();
    for part in ["HW1003", "public.twin_again", "HW3001", " accepted."] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let metrics = client.get("/metrics").expect(200).text().to_owned();
    assert!(metrics.contains("headwater_findings{severity=\"low\"}"), "{metrics}");
    assert!(!page.contains("HW1040"), "what is accepted is not listed: {page}");
    let told = service.command(&["doctor", "--check", "HW1003"]).expect(0).stdout;
    assert!(told.contains("since:    20"), "{told}");
    postgres.psql("DROP INDEX twin_again");
    holds("gone", "HW1003").await;
    service.stop();
}
