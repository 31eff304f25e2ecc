//! `headwater plan`: the program on the bookshop's file, without its database.

use std::path::Path;

use headwater_engines::dynamodb::{Layout, layout};
use headwater_model::Index;
use headwater_model::file::{File, References};
use headwater_testkit::{Postgres, Redis};

use crate::http::client::Client;
use crate::service::Service;
use crate::support::Site;

struct Nothing;

impl References for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        Some(String::new())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("no files here".into())
    }
}

fn bookshop() -> Site {
    let text = include_str!("../../../../examples/bookshop/headwater.toml");
    Site::with_file("plan", text).env("PGPASSWORD", "x")
}

#[test]
fn a_plan_is_printed_kept_and_compared() {
    let site = bookshop();
    let ran = site.run(&["plan", "--offline"]).expect(0);
    for part in
        ["per month in us-east-1", "ENGINES", "ACCESS PATTERNS", "book_page", "WHERE PRICES COME FROM"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let kept = site.run(&["plan", "--offline", "--json"]).expect(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert!(plan["monthly"].as_f64().unwrap() > 0.0 && plan["engines"].as_array().unwrap().len() > 1);
    site.write("old.json", &kept);
    let same = site.run(&["plan", "--offline", "--diff", "old.json"]).expect(0).stdout;
    assert!(same.contains("nothing else is different"), "{same}");
    let other = site.run(&["plan", "--offline", "--what-if", "access.book_page.rate=0.1x"]).expect(0).stdout;
    assert!(other.contains("book_page") && other.contains("becomes"), "{other}");
    site.run(&["plan", "--offline", "--html", "plan.html"]).expect(0);
    assert!(site.read("plan.html").contains("Decision map"));
    assert!(site.run(&["plan", "--offline", "--markdown"]).expect(0).stdout.starts_with("# Plan"));
}

#[test]
fn what_stands_in_the_way_is_shown_at_its_place() {
    let text = include_str!("../../../../examples/bookshop/headwater.toml");
    let site = Site::with_file("plan", &text.replace("\"4000 USD\"", "\"100 USD\"")).env("PGPASSWORD", "x");
    site.run(&["plan", "--offline"]).expect(1).says(&["at most 100 USD per month", "headwater.toml:"]);
    let site = bookshop();
    let over = site.run(&["plan", "--offline", "--what-if", "access.book_page.rate=10x"]).expect(0);
    assert!(
        over.stderr.contains("and the budget is 4000 USD") && over.stdout.contains("becomes"),
        "{}",
        over.stderr
    );
    site.run(&["plan", "--offline", "--what-if", "access.bok_page.rate=2x"])
        .expect(1)
        .says(&["did you mean `book_page`?"]);
    site.write("old.json", "{}");
    site.run(&["plan", "--offline", "--diff", "old.json"])
        .expect(1)
        .says(&["is no plan", "headwater plan --json"]);
}

/// What it wrote it replaces and removes; what somebody else wrote or changed it leaves, and then writes nothing.
#[test]
fn infrastructure_is_written_and_nobody_elses_file_is_touched() {
    let site = bookshop();
    let emit = ["plan", "--offline", "--emit", "terraform", "infra"];
    let ran = site.run(&emit).expect(0);
    for part in
        ["wrote", "infra/main.tf", "infra/decisions/0001-", "infra/headwater.stores.toml", "README.md first"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let first = site.read("infra/stores.tf");
    assert!(first.contains("aws_elasticache_replication_group"), "{first}");
    site.run(&emit).expect(0);

    // Another plan: what it has no use for goes.
    site.write("blog.toml", include_str!("../../../../examples/plan/blog.toml"));
    let ran = site.run(&["-f", "blog.toml", "plan", "--offline", "--emit", "terraform", "infra"]).expect(0);
    assert!(ran.stdout.contains("removed") && !site.path("infra/headwater.tf").exists(), "{}", ran.stdout);
    site.run(&emit).expect(0);
    assert_eq!(site.read("infra/stores.tf"), first);

    site.write("infra/network.tf", "# mine now\n");
    site.write("infra/stores.tf", "# gone\n");
    site.run(&emit).expect(1).says(&["changed since", "network.tf, stores.tf", "nothing was written"]);
    assert_eq!(site.read("infra/network.tf"), "# mine now\n");
    assert_eq!(site.read("infra/stores.tf"), "# gone\n");

    // A folder with somebody's own file of that name.
    std::fs::create_dir(site.path("theirs")).unwrap();
    site.write("theirs/main.tf", "# theirs\n");
    site.run(&["plan", "--offline", "--emit", "terraform", "theirs"])
        .expect(1)
        .says(&["not written by --emit", "main.tf"]);
    assert!(!site.path("theirs/network.tf").exists());
    site.run(&["plan", "--offline", "--emit", "ansible", "x"])
        .expect(1)
        .says(&["no format `ansible`", "cloudformation"]);
    site.run(&["plan", "--offline", "--emit", "cloudformation", "stack"]).expect(0);
    assert!(site.read("stack/template.yaml").contains("AWS::ElastiCache::ReplicationGroup"));
}

const OBSERVED: &str = r#"
[views.item]
from = "item"
store = ["near"]
embed.parts = { from = "part", many = "item_id", order = "id" }
[views.part]
from = "part"
store = ["near"]
[access.item_page]
get = "item"
rate = "90000/s"
p99 = "30s"
[access.parts_of]
range = "part"
by = "item_id"
limit = 50
[access.never]
get = "part"
rate = "10/s"
[plan.tables]
item = { rows = 90_000_000, row = "1kB", writes = "900/s" }
"#;

fn figure<'j>(plan: &'j serde_json::Value, what: &str) -> &'j serde_json::Value {
    let figures = plan["observed"]["figures"].as_array().unwrap();
    figures.iter().find(|figure| figure["what"] == what).unwrap_or_else(|| panic!("no {what} in {plan:#}"))
}

/// PostgreSQL to Redis with readers and writers: what was measured is planned for, while it runs and when it does no longer.
#[tokio::test(flavor = "multi_thread")]
async fn what_run_measured_stands_beside_what_is_declared() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    postgres.psql(
        "CREATE TABLE item (id int PRIMARY KEY, name text, note text);
         CREATE TABLE part (id int PRIMARY KEY, item_id int, name text);
         INSERT INTO item SELECT i, repeat('x', 100), NULL FROM generate_series(1, 50) i;
         INSERT INTO part SELECT i, i % 50, 'p' || i FROM generate_series(1, 200) i;
         ANALYZE",
    );
    let text = format!(
        "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\n{OBSERVED}",
        postgres.url(),
        redis.url()
    );
    let service = Service::new("observed", &text);
    service.command(&["plan", "--observed"]).expect(1).says(&["nothing was observed yet", "headwater run"]);
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    for id in 0..200 {
        client.get(&format!("/v1/item_page?id={}", 1 + id % 50)).expect(200);
        client.get(&format!("/v1/parts_of?item_id={}", id % 50)).expect(200);
    }
    postgres.psql("UPDATE part SET name = 'q' || id WHERE id <= 150");

    let seen = async |least: f64| {
        service
            .eventually("all of it is counted", async || {
                let ran = service.command(&["plan", "--observed", "--json"]);
                let Ok(plan) = serde_json::from_str::<serde_json::Value>(&ran.stdout) else {
                    return Err(format!("{}{}", ran.stdout, ran.stderr));
                };
                let seconds = plan["observed"]["hours"].as_f64().unwrap() * 3600.0;
                let counted = |what: &str| figure(&plan, what)["observed"].as_f64().unwrap() * seconds;
                let all = plan["observed"]["unseen"] == serde_json::json!(["never"])
                    && counted("access.item_page.rate") > least - 1.0
                    && counted("plan.tables.public.part.writes") > 149.0;
                if all { Ok(plan) } else { Err(format!("{plan:#}")) }
            })
            .await
    };
    let plan = seen(200.0).await;
    let page = figure(&plan, "access.item_page.rate");
    assert_eq!(page["planned"], 90_000.0);
    assert!(page["difference"].as_f64().unwrap() < 0.0, "fewer reads cost less: {plan:#}");
    assert_eq!(figure(&plan, "access.parts_of.rate")["planned"], serde_json::Value::Null);
    assert_eq!(figure(&plan, "plan.access.parts_of.rows")["observed"], 4.0);
    assert_eq!(figure(&plan, "plan.tables.public.item.rows")["observed"], 50.0);
    assert_eq!(figure(&plan, "plan.tables.public.item.writes")["observed"], 0.0);
    let bytes = figure(&plan, "plan.views.item.document")["observed"].as_f64().unwrap();
    assert!((150.0..400.0).contains(&bytes), "{bytes}");
    let (before, after) = (plan["before"].as_f64().unwrap(), plan["after"].as_f64().unwrap());
    assert!(after < before && plan["plan"]["monthly"] == plan["after"], "{before} {after}");
    let latency = &plan["observed"]["latencies"][0];
    assert!(latency["pattern"] == "item_page" && latency["p99_ms"].as_f64().unwrap() > 0.0, "{latency}");
    // Documents are counted by the store, which may take it a moment.
    service
        .eventually("documents are counted", async || {
            let text = service.command(&["plan", "--observed"]).expect(0).stdout;
            let line = text.lines().find(|line| line.contains("plan.views.part.documents"));
            match line {
                Some(line) if line.contains("as planned") && text.contains("becomes") => Ok(()),
                _ => Err(text),
            }
        })
        .await;

    // Nothing runs: what was counted is on disk, and the next instance goes on from there.
    service.stop();
    let text = service.command(&["plan", "--observed", "--markdown"]).expect(0).stdout;
    assert!(text.starts_with("# Observed") && text.contains("`access.item_page.rate` | 90,000/s"), "{text}");
    service.start();
    let client = Client::of(&service).await;
    service.healthy().await;
    for id in 1..=50 {
        client.get(&format!("/v1/item_page?id={id}")).expect(200);
    }
    seen(250.0).await;
}

/// Whatever stands in quotes behind `key` in a line of its own.
fn said<'t>(block: &'t str, key: &str) -> Option<&'t str> {
    let line = block.lines().find(|line| line.split_whitespace().next() == Some(key))?;
    line.split('"').nth(1)
}

/// Infrastructure makes the tables that the store then looks for: the same names, keys, types and expiry.
#[test]
fn the_tables_that_are_emitted_are_those_that_the_store_keeps() {
    let text = include_str!("../../../../examples/plan/spiky-tickets.toml");
    let text = format!(
        "{text}\n[access.by_anything]\nrange = \"event\"\nby = \"venue_id\"\nlimit = 5\nrate = \"5/s\"\n"
    );
    let text = text.replace("[plan]\n", "[plan]\nwithout = [\"elasticache\", \"documentdb\"]\n");
    let site = Site::with_file("tables", &text);
    let file = File::load(&text, &Nothing).unwrap_or_else(|errors| panic!("{errors}"));
    site.run(&["plan", "--offline", "--emit", "terraform", "infra"]).expect(0);
    let stores = site.read("infra/headwater.stores.toml");
    let url = stores.split("dynamodb://").nth(1).unwrap().split('"').next().unwrap();
    let prefix = url.split_once('/').unwrap().1.split('?').next().unwrap();
    let emitted = site.read("infra/stores.tf");
    let mut made: Vec<Layout> = emitted
        .split("resource \"aws_dynamodb_table\"")
        .skip(1)
        .map(|block| {
            let block = block.split("\n}\n").next().unwrap();
            let typed = |name: &str| {
                let attributes = block.split("attribute {").skip(1);
                let kind = attributes.filter(|a| said(a, "name") == Some(name)).find_map(|a| said(a, "type"));
                (name.to_owned(), kind.unwrap_or_else(|| panic!("no type of {name} in {block}")).to_owned())
            };
            Layout {
                name: said(block, "name").unwrap().to_owned(),
                partition: typed(said(block, "hash_key").unwrap()),
                sort: said(block, "range_key").map(typed),
                expires: said(block, "attribute_name").map(str::to_owned),
            }
        })
        .collect();
    made.sort();
    // The views that are kept there, with the orders that they are read in.
    let mut views = file.views.clone();
    views.retain(|view| emitted.contains(&format!("\"{prefix}{}\"", view.name)));
    for view in &mut views {
        if emitted.contains(&format!("\"{prefix}{}.index\"", view.name)) {
            view.indexes = vec![Index { by: vec!["venue_id".into()], order: Vec::new() }];
        }
    }
    assert!(views.iter().any(|view| !view.indexes.is_empty()), "{emitted}");
    let mut kept = layout(prefix, &views);
    kept.sort();
    assert_eq!(made, kept);

    // The other format says the same of each.
    site.run(&["plan", "--offline", "--emit", "cloudformation", "stack"]).expect(0);
    let template = site.read("stack/template.yaml");
    for Layout { name, partition, sort, expires } in &kept {
        let block = template.split("\n\n").find(|b| b.contains(&format!("TableName: {name}\n")));
        let block = block.unwrap_or_else(|| panic!("no {name} in {template}"));
        for (attribute, kind) in std::iter::once(partition).chain(sort) {
            assert!(block.contains(&format!("AttributeName: {attribute}, AttributeType: {kind}")), "{block}");
        }
        assert_eq!(block.contains("KeyType: RANGE"), sort.is_some(), "{block}");
        assert_eq!(block.contains("TimeToLiveSpecification"), expires.is_some(), "{block}");
    }
}
