//! `/metrics`, and what is made of it: a real Prometheus scrapes a real run, and the rules and the dashboard in `ops` name
//! nothing that is not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use headwater_testkit::{Folder, Process};

use super::client::Client;
use super::{SHOP, open_shop, shop};
use crate::service::{PATIENCE, Service};

const OBJECTIVES: &str = "stale = \"5s\"\np99 = \"30s\"\nrate = \"1000/s\"\n";

fn ops(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Another view of the same table, of which the memory store holds five documents.
const PART: &str = r#"
[views.copies]
from = "books"
columns = ["id", "copies"]
store = ["local", { name = "memory", hold = "5" }]
[access.copies]
get = "copies"
"#;

/// Names of metrics in a text, as PromQL and the text format write them.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("headwater_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

fn promtool(args: &[&str], input: Option<&Path>) -> String {
    let mut command = Command::new("promtool");
    command
        .args(args)
        .stdin(input.map_or_else(Stdio::null, |path| std::fs::File::open(path).unwrap().into()));
    let output = command.output().expect("promtool: `cargo xtask engines` says what is missing");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}\n{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_and_dashboard_name_is_in_a_scrape() {
    let (service, db, client) = shop("metrics", &format!("{OBJECTIVES}{PART}")).await;
    db.execute_batch("UPDATE books SET title = 'Mine' WHERE id = 1").unwrap();
    client.get("/v1/book_page?id=1").expect(200);
    client.get("/v1/book_page?id=x").expect(400);
    service
        .eventually("the part answers", async || {
            match client.get("/v1/copies?id=7").expect(200).header("headwater-store") {
                Some("memory") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    service
        .eventually("the commit is counted", async || {
            let text = client.get("/metrics").expect(200);
            let text = text.text().to_owned();
            let seen =
                |store| text.contains(&format!("commit_to_visible_seconds_count{{store=\"{store}\"}} 1\n"));
            if seen("memory") && seen("local") { Ok(()) } else { Err(text) }
        })
        .await;
    let response = client.get("/metrics").expect(200);
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = response.text();
    let scraped = service.path("scraped");
    std::fs::write(&scraped, text).unwrap();
    assert_eq!(promtool(&["check", "metrics"], Some(&scraped)), "", "promtool has nothing to say");
    for line in [
        "headwater_leading 1",
        "headwater_store_state{store=\"local\",state=\"healthy\"} 1",
        "headwater_reads_total{pattern=\"book_page\",store=\"memory\"} 1",
        "headwater_reads_refused_total{pattern=\"book_page\",reason=\"bad_request\"} 1",
        "headwater_read_duration_objective_seconds{pattern=\"reviews_of_book\"} 30",
        "headwater_part_documents{store=\"memory\",view=\"copies\"} 1",
        "headwater_part_max_documents{store=\"memory\",view=\"copies\"} 5",
        "headwater_part_hits_total{store=\"memory\",view=\"copies\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }

    let page = client.get("/dashboard/live").expect(200);
    assert!(page.text().contains("1 of at most 5 rows; answered "), "{}", page.text());
    let picture = service.command(&["status"]).expect(0).stdout;
    let copies: Vec<&str> = picture.lines().filter(|line| line.contains("  copies ")).collect();
    assert!(copies.iter().any(|line| line.contains("1 of 5 ") && line.contains(" a part, ")), "{picture}");

    let here = names(text);
    for file in ["alerts.yml", "grafana.json"] {
        let named = names(&read(&ops(file)));
        assert!(named.len() > 10, "{named:?}");
        let missing: Vec<_> = named.iter().filter(|name| !here.contains(*name)).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}");
    }
    service.stop();
}

#[test]
fn promtool_accepts_rules_and_configuration() {
    promtool(&["check", "config", ops("prometheus.yml").to_str().unwrap()], None);
    let dashboard: serde_json::Value = serde_json::from_str(&read(&ops("grafana.json"))).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let exprs = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let rules: Vec<_> = exprs
        .map(|target| target["expr"].as_str().unwrap())
        .map(|expr| expr.replace("$__rate_interval", "1m").replace("$instance", ".*"))
        .map(|expr| serde_json::json!({ "record": "dashboard:expr", "expr": expr }))
        .collect();
    assert!(rules.len() > 20);
    // Every expression of the dashboard parses: as rules, in JSON, which YAML reads too.
    let folder = Folder::new("dashboard-rules");
    let labelled = rules.into_iter().enumerate().map(|(i, mut rule)| {
        rule["labels"] = serde_json::json!({ "panel": i.to_string() });
        rule
    });
    let file =
        serde_json::json!({ "groups": [{ "name": "dashboard", "rules": labelled.collect::<Vec<_>>() }] });
    std::fs::write(folder.join("rules.yml"), file.to_string()).unwrap();
    promtool(&["check", "rules", folder.join("rules.yml").to_str().unwrap()], None);
}

/// A Prometheus with the configuration of `ops`, but for its targets. Gone when dropped.
struct Prometheus {
    process: Process,
    client: Client,
    _folder: Folder,
}

impl Prometheus {
    fn start(target: &str) -> Prometheus {
        let folder = Folder::new("prometheus");
        let config = read(&ops("prometheus.yml"))
            .replace("127.0.0.1:7070", target)
            .replace("scrape_interval: 5s", "scrape_interval: 200ms")
            .replace("evaluation_interval: 5s", "evaluation_interval: 200ms");
        // What would otherwise be waited for in minutes.
        let rules: Vec<String> = read(&ops("alerts.yml"))
            .lines()
            .filter(|line| !line.trim().starts_with("for: "))
            .map(str::to_owned)
            .collect();
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        std::fs::write(folder.join("alerts.yml"), rules.join("\n")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Process::default();
        let mut command = Command::new("prometheus");
        command
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        process.start(&mut command, folder.path());
        Prometheus { process, client: Client::at(port), _folder: folder }
    }

    /// The names of the alerts that fire; `None` before it answers.
    fn firing(&self) -> Option<BTreeSet<String>> {
        let found = self.query("count by (alertname) (ALERTS{alertstate=\"firing\"})")?;
        let names = found.iter().filter_map(|alert| alert["metric"]["alertname"].as_str().map(str::to_owned));
        Some(names.collect())
    }

    fn value(&self, query: &str) -> Option<f64> {
        self.query(query)?.first()?["value"][1].as_str()?.parse().ok()
    }

    fn query(&self, query: &str) -> Option<Vec<serde_json::Value>> {
        let query = super::client::encode(query);
        let answer = self.client.try_get(&format!("/api/v1/query?query={query}"))?;
        // It says 503 while it starts.
        if answer.status != 200 {
            return None;
        }
        answer.json()["data"]["result"].as_array().cloned()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_scrapes_a_run_and_alarms_when_it_is_gone() {
    let (service, _db, client) = shop("scraped", OBJECTIVES).await;
    let prometheus = Prometheus::start(&client.address.to_string());
    service
        .eventually("it is scraped", async || match prometheus.value("headwater_leading") {
            Some(1.0) => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    client.get("/v1/book_page?id=1").expect(200);
    service
        .eventually("reads are counted", async || {
            match prometheus.value("sum(headwater_reads_total{pattern=\"book_page\"})") {
                Some(1.0) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    wait_for(&prometheus, "nothing fires", &BTreeSet::is_empty).await;
    service.stop();
    wait_for(&prometheus, "the end is noticed", &|firing| firing.contains("HeadwaterDown")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_opened_raises_an_alarm() {
    let service = Service::new("scraped-failing", SHOP);
    open_shop(&service);
    // A folder where the store's file should be.
    std::fs::create_dir(service.path("derived.db")).unwrap();
    service.start();
    let client = Client::of(&service).await;
    let prometheus = Prometheus::start(&client.address.to_string());
    wait_for(&prometheus, "the store's failure is noticed", &|firing| {
        firing.contains("HeadwaterStoreNotInStep") && !firing.contains("HeadwaterDown")
    })
    .await;
    service.stop();
}

async fn wait_for(prometheus: &Prometheus, what: &str, holds: &(dyn Fn(&BTreeSet<String>) -> bool + Sync)) {
    headwater_testkit::eventually(PATIENCE, what, async || match prometheus.firing() {
        Some(firing) if holds(&firing) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}
