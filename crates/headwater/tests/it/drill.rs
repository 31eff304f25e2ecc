//! Drills, as an operator runs them: the sandbox is real, what is measured is judged, and nothing stays behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_testkit::{InfluxDb, MariaDb, eventually};
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::service::{PATIENCE, Service};
use crate::support::Site;

const FILE: &str = r#"
[source]
url = "sqlite:shop.db"
[stores]
local = { url = "sqlite:derived.db" }
[views.item]
from = "item"
store = "local"
[objectives]
"#;

/// A site whose file is read for its objectives only.
fn site(name: &str, rto: &str) -> Site {
    Site::with_file(name, &format!("{FILE}rto = \"{rto}\"\n"))
}

/// Runs a drill that must pass; its report.
#[track_caller]
fn passes(drill: &str) -> Json {
    passes_with(drill, &[])
}

/// The same, with these arguments.
#[track_caller]
fn passes_with(drill: &str, more: &[&str]) -> Json {
    // Objectives are for machines that have nothing else to do.
    let site = site(&[&[drill], more].concat().join("-"), "3m");
    let ran = site.run(&[&["drill", "run", drill, "--sandbox", "--json"], more].concat()).expect(0);
    let report: Json = serde_json::from_str(&ran.stdout).unwrap();
    let measured = &report["measured"];
    assert_eq!(report["passed"], true, "{report}");
    for nothing in ["lost_transactions", "different_keys", "went_back"] {
        assert_eq!(measured[nothing], 0, "{report}");
    }
    for something in ["committed", "compared_keys", "reads", "rto_ms"] {
        assert!(measured[something].as_u64() > Some(0), "{something}: {report}");
    }
    // It is kept, as Markdown too, and listed.
    let listed = site.run(&["drill", "list"]).expect(0).stdout;
    assert!(listed.contains("passed, whole again after"), "{listed}");
    let kept: Vec<_> = std::fs::read_dir(site.path("headwater-data/drills")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 2);
    report
}

fn did(report: &Json, what: &str) -> bool {
    report["steps"].as_array().unwrap().iter().any(|step| step["what"].as_str().unwrap().contains(what))
}

#[test]
fn a_killed_leader_is_followed_by_the_other_instance() {
    let report = passes("kill-leader");
    assert!(report["measured"]["detected_ms"].is_u64(), "{report}");
    assert_eq!(report["measured"]["lost_by_source"], 0, "{report}");
}

#[test]
fn a_store_that_is_killed_comes_back_empty_and_is_filled() {
    let report = passes("kill-store");
    assert!(did(&report, "started it again, empty"), "{report}");
    let filled = report["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .any(|i| i["what"].as_str().unwrap().contains("filled"));
    assert!(filled, "{report}");
}

#[test]
fn an_emptied_store_is_noticed_and_filled() {
    assert!(passes("flush-store")["measured"]["detected_ms"].is_u64());
}

#[test]
fn a_damaged_journal_is_refused_and_what_the_message_says_heals_it() {
    let report = passes("corrupt-journal");
    assert!(did(&report, "is damaged at byte") && did(&report, "removed the journal"), "{report}");
}

#[test]
fn files_that_may_not_grow_lose_nothing() {
    passes("fill-disk");
}

#[test]
fn a_source_that_is_killed_under_load_loses_nothing() {
    passes("kill-source");
}

/// The source is killed, so its log and the position in it are what they were; the store is written to all the while.
#[test]
fn other_engines_are_drilled_too() {
    if MariaDb::is_left_out() || InfluxDb::is_left_out() {
        return;
    }
    let report = passes_with("kill-source", &["--source-engine", "mariadb", "--store-engine", "influx"]);
    let engines = report["engines"].to_string();
    assert!(engines.contains("MariaDB ") && engines.contains("InfluxDB "), "{engines}");
    let site = site("drill-engines", "3m");
    let ran = site.run(&["drill", "run", "kill-store", "--sandbox", "--store-engine", "floppy"]).expect(1);
    assert!(
        ran.stderr.contains("\"floppy\"") && ran.stderr.contains("sqlite, redis, influx"),
        "{}",
        ran.stderr
    );
    let ran = site.run(&["drill", "run", "kill-store", "--store-engine", "influx"]).expect(2);
    assert!(ran.stderr.contains("--sandbox"), "{}", ran.stderr);
}

/// What it has acknowledged is there again, so nothing is filled.
#[test]
fn a_store_that_keeps_what_it_has_goes_on_after_a_kill() {
    if InfluxDb::is_left_out() {
        return;
    }
    let report = passes_with("kill-store", &["--store-engine", "influx"]);
    assert!(did(&report, "started it again") && !did(&report, "empty"), "{report}");
}

#[test]
fn a_drill_that_misses_its_objectives_fails_and_says_which() {
    // A supervisor takes longer.
    let site = site("drill-fails", "100ms");
    let ran = site.run(&["drill", "run", "kill-headwater", "--sandbox", "--report", "report.md"]).expect(1);
    assert!(ran.stdout.contains("FAILED") && ran.stdout.contains("100 are allowed"), "{}", ran.stdout);
    assert_eq!(site.read("report.md"), ran.stdout);
    assert!(site.run(&["drill", "list"]).expect(0).stdout.contains("FAILED"));
}

#[tokio::test]
async fn nothing_of_a_sandbox_outlives_a_killed_drill() {
    let site = site("drill-killed", "10m");
    let mut child = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["drill", "run", "freeze-store", "--sandbox"])
        .current_dir(site.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let folder = std::env::temp_dir().join(format!("headwater-sandbox-{}-0", child.id()));
    let pids = |folder: &Path| -> Vec<String> {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let pids = files.filter(|path| path.extension().is_some_and(|extension| extension == "pid"));
        pids.filter_map(|path| std::fs::read_to_string(path).ok()).filter(|pid| !pid.is_empty()).collect()
    };
    let until = Instant::now() + PATIENCE;
    while pids(&folder).len() < 2 {
        assert!(Instant::now() < until, "the sandbox does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pids = pids(&folder);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(PATIENCE, "processes and folder are gone", async || {
        let left = pids.iter().find(|pid| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
        });
        if left.is_none() && !folder.exists() { Ok(()) } else { Err(format!("{left:?} {}", folder.exists())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_system_is_disturbed_only_by_safe_drills_and_only_if_somebody_agrees() {
    let service = Service::new("drill-live", &format!("{FILE}rto = \"10m\"\n"));
    let db = Connection::open(service.path("shop.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO item VALUES (1, 'one')",
    )
    .unwrap();
    let ran = service.command(&["drill", "run", "step-down", "--yes"]).expect(2);
    assert!(ran.stderr.contains("no instance runs here"), "{}", ran.stderr);
    service.start();
    service.healthy().await;
    let ran = service.command(&["drill", "run", "kill-store", "--yes"]).expect(1);
    assert!(
        ran.stderr.contains("would harm the live system") && ran.stderr.contains("--sandbox"),
        "{}",
        ran.stderr
    );
    let ran = service.command(&["drill", "run", "step-down"]).expect(1);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert!(
        service.command(&["drill", "run", "step-dwon", "--yes"]).expect(1).stderr.contains("`step-down`")
    );
    assert_eq!(service.status().0["epoch"], 1, "nothing has happened so far");

    let ran = service.command(&["drill", "run", "cut-store", "--yes", "--json"]).expect(0);
    let report: Json = serde_json::from_str(&ran.stdout).unwrap();
    assert!(did(&report, "gave up the connection to store local"), "{report}");
    let ran = service.command(&["drill", "run", "step-down", "--yes", "--json"]).expect(0);
    let report: Json = serde_json::from_str(&ran.stdout).unwrap();
    assert!(
        did(&report, "the leader stepped down") && report["measured"]["rto_ms"].as_u64() > Some(1000),
        "{report}"
    );
    service.healthy().await;
    assert_eq!(service.status().0["epoch"], 2, "it leads again, as somebody new");
    let page = crate::http::client::Client::of(&service).await.get("/dashboard/live").expect(200);
    assert!(page.text().contains("step-down") && page.text().contains("passed"), "{}", page.text());
    service.stop();
}

/// On a real server that is killed and reads its log again: what it measured stands beside the model, and `plan` counts with it.
#[test]
fn what_this_machine_takes_is_measured_and_planned_with() {
    let text = include_str!("../../../../examples/bookshop/headwater.toml");
    // A database that recovers from its log.
    let text = text.replace("\n[plan]\n", "\n[plan]\nwithout = [\"aurora\"]\n").replace("\"2m\"", "\"10m\"");
    let site = Site::with_file("calibrate", &text).env("PGPASSWORD", "x");
    site.run(&["plan", "--offline", "--calibrated"])
        .expect(1)
        .says(&["nothing was measured", "drill --calibrate"]);
    let ran = site.run(&["drill", "--calibrate", "--json"]).expect(0);
    let measured: Json = serde_json::from_str(&ran.stdout).unwrap();
    let figures = measured["figures"].as_array().unwrap();
    for name in ["replay-bytes-per-s", "warm-bytes-per-s", "refill-per-s"] {
        let figure = figures.iter().find(|figure| figure["name"] == name);
        assert!(
            figure.unwrap_or_else(|| panic!("no {name}"))["value"].as_f64().unwrap() > 100.0,
            "{measured}"
        );
    }
    let engines = measured["engines"].to_string();
    assert!(engines.contains("PostgreSQL 1"), "{engines}");
    let plan = |args: &[&str]| -> Json {
        let all: Vec<&str> = ["plan", "--offline", "--json"].iter().chain(args).copied().collect();
        serde_json::from_str(&site.run(&all).expect(0).stdout).unwrap()
    };
    let (usual, counted) = (plan(&[]), plan(&["--calibrated"]));
    let replayed = |plan: &Json| plan["engines"][0]["recovery"]["replay_s"].as_f64().unwrap();
    assert!(replayed(&usual) > 0.0 && replayed(&usual) != replayed(&counted), "{counted:#}");
    let listed = site.run(&["drill", "list"]).expect(0).stdout;
    assert!(!listed.contains("last:"), "{listed}");
}
