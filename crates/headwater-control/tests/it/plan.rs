//! Plans: worked examples, and what must hold for all of them.

use std::path::{Path, PathBuf};

use headwater_control::catalog::Catalog;
use headwater_control::plan::choice::Limits;
use headwater_control::plan::{self, Compared, Conflict, Plan, Workload};
use headwater_model::SourceFacts;
use headwater_model::file::File;

use crate::support::{load, render};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn read(name: &str) -> File {
    load(&std::fs::read_to_string(examples().join(name)).unwrap())
}

fn plan_of(file: &File, facts: Option<&SourceFacts>) -> Result<Plan, Conflict> {
    let workload =
        Workload::read(file, facts).unwrap_or_else(|found| panic!("{}", render(&file.text, &found)));
    plan::plan(&workload, &Catalog::built_in().unwrap(), &["redis"], Limits::default()).unwrap()
}

fn planned(file: &File) -> Plan {
    plan_of(file, None).unwrap_or_else(|conflict| panic!("{conflict:#?}"))
}

#[test]
fn the_bookshop_as_an_engineer_reads_it() {
    insta::assert_snapshot!(plan::text(&planned(&read("bookshop/headwater.toml"))));
}

#[test]
fn the_bookshop_in_a_design_document() {
    insta::assert_snapshot!(plan::markdown(&planned(&read("bookshop/headwater.toml"))));
}

/// What is chosen for each of the workloads in `examples/plan`, in one line each.
#[test]
fn ten_workloads() {
    let mut files: Vec<String> = std::fs::read_dir(examples().join("plan"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 10);
    let mut out = String::new();
    for name in files {
        let plan = planned(&read(&format!("plan/{name}")));
        assert!(plan.gap < 1e-3, "{name}: {}", plan.gap);
        assert!(
            plan.lines().all(|line| line.monthly >= 0.0 && !line.date.is_empty() && !line.source.is_empty())
        );
        let engines: Vec<String> = plan.engines.iter().map(|e| format!("{}, {}", e.title, e.setup)).collect();
        out.push_str(&format!("{name:<20} ${:<6.0} {}\n", plan.monthly, engines.join(" | ")));
        out.push_str(&format!("{:<28} alone: {}\n", "", plan.alone));
        for pattern in &plan.patterns {
            out.push_str(&format!("{:<28} {}: {}: {}\n", "", pattern.name, pattern.engine, pattern.because));
        }
    }
    for name in ["blog.toml", "clinic.toml", "accounting.toml"] {
        let plan = planned(&read(&format!("plan/{name}")));
        assert_eq!(plan.engines.len(), 1, "{name}");
    }
    insta::assert_snapshot!(out);
}

/// More reads, rows or writes never cost less, and a wish that is dropped never costs more.
#[test]
fn more_never_costs_less_and_fewer_wishes_never_more() {
    let catalog = Catalog::built_in().unwrap();
    let cost = |workload: &Workload| {
        plan::cost(workload, &catalog, Limits::default()).unwrap().unwrap_or(f64::INFINITY)
    };
    for name in [
        "bookshop/headwater.toml",
        "plan/social.toml",
        "plan/spiky-tickets.toml",
        "plan/leaderboard.toml",
        "plan/sessions.toml",
    ] {
        let file = read(name);
        let workload = Workload::read(&file, None).unwrap();
        let now = cost(&workload);
        let mut factors = vec![1.7, 6.0, 40.0];
        let mut before = now;
        for factor in factors.drain(..) {
            let mut more = workload.clone();
            more.patterns.iter_mut().for_each(|pattern| pattern.rate *= factor);
            let then = cost(&more);
            assert!(then >= before - 1e-6, "{name}: rates x {factor}: {then} after {before}");
            before = then;
        }
        for place in 0..workload.patterns.len() {
            let mut more = workload.clone();
            more.patterns[place].rate *= 3.0;
            assert!(cost(&more) >= now - 1e-6, "{name}: {}", workload.patterns[place].name);
            let mut fewer = workload.clone();
            fewer.patterns[place].p99_ms = None;
            fewer.patterns[place].stale_s = None;
            fewer.patterns[place].strong = false;
            assert!(cost(&fewer) <= now + 1e-6, "{name}: {}", workload.patterns[place].name);
        }
        let mut grown = workload.clone();
        grown.growth = 0.5;
        assert!(cost(&grown.grown(1.0)) >= now - 1e-6, "{name}");
        for fewer in [
            Workload { availability: None, ..workload.clone() },
            Workload { rto_s: None, ..workload.clone() },
            Workload { rpo_s: None, ..workload.clone() },
            Workload { budget: None, ..workload.clone() },
            Workload { connections: None, ..workload.clone() },
        ] {
            assert!(cost(&fewer) <= now + 1e-6, "{name}");
        }
    }
}

const SMALL: &str = r#"
[source]
url = "postgres://db.internal/shop"

[stores]
near = { url = "redis://cache.internal" }

[views.book]
from  = "books"
store = "near"

[access.page]
get  = "book"
rate = "100/s"

[plan]
[plan.tables]
books = { rows = 1_000_000, row = "1kB", writes = "10/s" }
"#;

fn wished(access: &str, plan: &str) -> File {
    load(
        &SMALL
            .replace("rate = \"100/s\"\n", &format!("rate = \"100/s\"\n{access}\n"))
            .replace("[plan]\n", &format!("[plan]\n{plan}\n")),
    )
}

#[test]
fn what_cannot_be_met_is_named_with_what_to_drop() {
    let conflict = |file: &File| {
        let conflict = plan_of(file, None).unwrap_err();
        render(&file.text, &plan::conflicting(file, &conflict))
    };
    let file = wished("p99 = \"2ms\"", "rto = \"2m\"\n[plan.access]\npage = { consistency = \"strong\" }");
    let first = conflict(&file);
    let file = wished("", "rto = \"20s\"\navailability = \"99.9%\"\nbudget = \"40 USD\"");
    insta::assert_snapshot!(format!("{first}\n---\n{}", conflict(&file)));
}

#[test]
fn mistakes_are_found_where_they_stand() {
    let wrong = |from: &str, to: &str| {
        let text = SMALL.replace(from, to);
        assert_ne!(text, SMALL, "{from}");
        match File::load(&text, &crate::support::Env) {
            Err(errors) => errors.to_string(),
            Ok(file) => {
                let catalog = Catalog::built_in().unwrap();
                let mut found = plan::check(&file, &catalog);
                found.extend(Workload::read(&file, None).err().unwrap_or_default());
                render(&file.text, &found)
            }
        }
    };
    let found = [
        wrong("rate = \"100/s\"", "rate = \"-100/s\""),
        wrong("rate = \"100/s\"", "rate = \"100/min\""),
        wrong("rate = \"100/s\"", "rate = \"10 MB/s\""),
        wrong("rate = \"100/s\"", "rate = \"20ms\""),
        wrong("rate = \"100/s\"", "rate = 100"),
        wrong("rate = \"100/s\"", "rate = \"100/s\"\np99 = \"100/s\""),
        wrong("rate = \"100/s\"", "rate = \"100/s\"\np99 = \"1.5ms\""),
        wrong("rate = \"100/s\"", "rate = \"100/s\"\nstale = \"5MB\""),
        wrong("rate = \"100/s\"\n", ""),
        wrong("row = \"1kB\"", "row = 1000"),
        wrong("row = \"1kB\"", "row = \"1KB\""),
        wrong("row = \"1kB\", ", ""),
        wrong("row = \"1kB\"", "row = \"1kB/s\""),
        wrong("rows = 1_000_000", "rows = 0"),
        wrong("rows = 1_000_000", "rows = \"1M\""),
        wrong("rows = 1_000_000", "rows = -5"),
        wrong("writes = \"10/s\"", "writes = \"10ms\""),
        wrong("writes = \"10/s\"", "writes = \"2MB/s\""),
        wrong("writes = \"10/s\"", "writes = \"-10/s\""),
        wrong("writes = \"10/s\"", "writs = \"10/s\""),
        wrong("books = {", "boks = {"),
        wrong("[plan]\n", "[plan]\nregion = \"us-esat-1\"\n"),
        wrong("[plan]\n", "[plan]\nbudget = 500\n"),
        wrong("[plan]\n", "[plan]\nbudget = \"500 EUR\"\n"),
        wrong("[plan]\n", "[plan]\nbudget = \"-500 USD\"\n"),
        wrong("[plan]\n", "[plan]\nbudget = \"40%\"\n"),
        wrong("[plan]\n", "[plan]\ngrowth = \"40%\"\n"),
        wrong("[plan]\n", "[plan]\ngrowth = \"-5%/year\"\n"),
        wrong("[plan]\n", "[plan]\naverage = 0.4\n"),
        wrong("[plan]\n", "[plan]\nrto = \"30\"\n"),
        wrong("[plan]\n", "[plan]\nrto = \"99.9%\"\n"),
        wrong("[plan]\n", "[plan]\nrpo = \"-1s\"\n"),
        wrong("[plan]\n", "[plan]\navailability = \"10m\"\n"),
        wrong("[plan]\n", "[plan]\navailability = \"100.5%\"\n"),
        wrong("[plan]\n", "[plan]\nregions = [\"eu-wset-1\"]\n"),
        wrong("[plan]\n", "[plan]\nregions = [\"us-east-1\"]\n"),
        wrong("[plan]\n", "[plan]\nregions = [\"us-east-2\", \"eu-west-1\"]\nresidency = [\"us\"]\n"),
        wrong("[plan]\n", "[plan]\nresidency = [\"eu\"]\n"),
        wrong("[plan]\n", "[plan]\nresidency = [\"europe\"]\n"),
        wrong("[plan]\n", "[plan]\nwithout = [\"dynamo\", \"mongodb\"]\n"),
        wrong("[plan]\n", "[plan]\n[plan.access]\npgae = { rows = 3 }\n"),
        wrong("[plan]\n", "[plan]\n[plan.access]\npage = { consistency = \"quorum\" }\n"),
    ];
    insta::assert_snapshot!(found.join("\n---\n"));
}

/// Copies in other regions cost what has a price, and what has none is said; so is what is not offered there.
#[test]
fn other_regions_are_priced_as_far_as_they_have_prices() {
    let near = planned(&load(SMALL));
    let far = planned(&wished("", "regions = [\"us-east-2\", \"ca-west-1\"]\nresidency = [\"us\", \"ca\"]"));
    assert!(far.monthly > near.monthly && near.regions.is_empty());
    let what: Vec<&str> = far.lines().map(|line| &*line.what).collect();
    assert!(what.contains(&"the log to us-east-2") && what.contains(&"the log to ca-west-1"), "{what:?}");
    let said = plan::text(&far);
    for part in [
        "OTHER REGIONS",
        "copies in ca-west-1: machines or storage of",
        "ca-west-1: no Aurora db.r8g; no MemoryDB",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Nothing is kept where it may not be, also where the file has it today.
    let text = wished("", "residency = [\"us\"]")
        .text
        .replace("redis://cache.internal", "redis://near.eu-west-1.cache");
    let file = load(&text);
    let found = render(&file.text, &plan::check(&file, &Catalog::built_in().unwrap()));
    assert!(
        found.contains("data may be kept in us only, not in eu-west-1") && found.contains("near.eu-west-1"),
        "{found}"
    );
}

#[test]
fn the_source_says_what_the_file_does_not() {
    let text = SMALL.split("[plan]").next().unwrap();
    let file = load(text);
    let mut facts = crate::support::bookshop();
    for table in &mut facts.tables {
        table.bytes_estimate = table.rows_estimate * 150;
    }
    let workload = Workload::read(&file, Some(&facts)).unwrap();
    let books = workload.tables.iter().find(|table| table.name == "public.books").unwrap();
    assert_eq!((books.rows, books.row_bytes, &*books.said_by), (10_000.0, 150.0, "PostgreSQL 15.18"));
    // All of its tables have to be stored, also those that nobody reads here.
    assert!(workload.tables.len() > 5);
    assert!(plan_of(&file, Some(&facts)).is_ok());
    let alone = Workload::read(&file, None).unwrap_err();
    assert!(alone[0].message.contains("no [plan]"), "{alone:?}");
}

/// Every point of a chart is a plan: the framed one is this plan, more rows or reads never cost less, and the page shows it all
/// without loading anything or taking a name for markup.
#[test]
fn the_page_shows_what_was_solved() {
    let text = SMALL.replace("[plan]\n", "[plan]\ngrowth = \"60%/year\"\n");
    let file = load(&text);
    let workload = Workload::read(&file, None).unwrap();
    let catalog = Catalog::built_in().unwrap();
    let mut plan = planned(&file);
    let charts = plan::charts(&workload, &catalog, Limits::default()).unwrap();
    assert_eq!(charts.growth[0].monthly, Some(plan.monthly));
    assert_eq!(charts.map[4][4].monthly, Some(plan.monthly));
    assert_eq!(charts.growth.last().map(|grown| grown.months), Some(24));
    let costs = |cells: Vec<Option<f64>>| {
        cells.into_iter().map(|cost| cost.unwrap_or(f64::INFINITY)).collect::<Vec<_>>()
    };
    let rises = |costs: &[f64]| costs.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6);
    assert!(rises(&costs(charts.growth.iter().map(|grown| grown.monthly).collect())));
    for place in 0..charts.map.len() {
        assert!(rises(&costs(charts.map[place].iter().map(|cell| cell.monthly).collect())));
        assert!(rises(&costs(charts.map.iter().map(|row| row[place].monthly).collect())));
    }
    plan.patterns[0].name = "<script>alert(1)</script>".into();
    let page = plan::html(&plan, &charts);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("));
    assert_eq!(page.matches("role=\"img\"").count(), 3);
}

#[test]
fn suppositions_change_what_they_name() {
    let mut file = read("bookshop/headwater.toml");
    let before = planned(&file);
    let now = Workload::read(&file, None).unwrap();
    for change in [
        "access.book_page.rate=0.1x",
        "access.book_page.p99=none",
        "access.bestsellers.p99=20s",
        "tables.books.rows=2x",
        "budget=none",
    ] {
        plan::suppose(&mut file, &now, change).unwrap();
    }
    let after = planned(&file);
    insta::assert_snapshot!(plan::differences_text(&before, &after));
    assert!(plan::differences(&before, &before).is_empty());
    let wrong = [
        "access.book_pag.rate=2x",
        "access.book_page.rate=fast",
        "access.book_page.colour=2x",
        "tables.cats.rows=2x",
        "rate",
    ];
    let refused = wrong.map(|change| {
        let refused = plan::suppose(&mut file, &now, change).unwrap_err();
        render(change, &[refused])
    });
    insta::assert_snapshot!("suppositions_that_are_none", refused.join("---\n"));
}

/// Regions and where data may be kept, as the file writes them; what is wrong is found in the change that says it, in whichever
/// order they are given.
#[test]
fn suppositions_about_regions_are_checked_together() {
    let file = wished("", "residency = [\"us\"]");
    let catalog = Catalog::built_in().unwrap();
    let supposed = |changes: &[&str]| {
        let mut file = file.clone();
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        for change in &changes {
            let now = Workload::read(&file, None).unwrap();
            plan::suppose(&mut file, &now, change).unwrap();
        }
        match plan::supposed_wrong(&file, &catalog, &changes) {
            Some((at, finding)) => Err(render(&changes[at], &[finding])),
            None => Ok(file.plan.clone().unwrap_or_default()),
        }
    };
    for regions in [
        "plan.regions=[\"us-east-2\", \"us-west-2\"]",
        "regions=us-east-2,us-west-2",
        "regions = us-east-2, us-west-2",
    ] {
        assert_eq!(supposed(&[regions]).unwrap().regions, ["us-east-2".into(), "us-west-2".into()]);
    }
    assert!(supposed(&["regions=us-east-2", "regions=none"]).unwrap().regions.is_empty());
    let moved = supposed(&["regions=eu-west-1", "residency=[\"us\", \"eu\"]"]).unwrap();
    assert_eq!(moved.residency, ["us".into(), "eu".into()]);
    let refused = [
        supposed(&["regions=us-east-2,eu-wset-1"]).unwrap_err(),
        supposed(&["access.page.rate=2x", "plan.regions=[\"eu-west-1\"]"]).unwrap_err(),
        supposed(&["regions=us-east-2", "residency=us-west"]).unwrap_err(),
        supposed(&["region=us-esat-1", "residency=none"]).unwrap_err(),
        supposed(&["residency=europe"]).unwrap_err(),
    ];
    insta::assert_snapshot!(refused.join("---\n"));
    // With a copy there it costs more.
    let there = Workload::read(&wished("", "regions = [\"us-east-2\"]"), None).unwrap();
    let cost = |workload: &Workload| plan::cost(workload, &catalog, Limits::default()).unwrap().unwrap();
    assert!(cost(&there) > cost(&Workload::read(&file, None).unwrap()));
}

/// What was measured replaces what was declared, figure by figure, and what was not stays.
#[test]
fn what_was_measured_is_priced_figure_by_figure() {
    let file = read("bookshop/headwater.toml");
    let catalog = Catalog::built_in().unwrap();
    let seen = |rate, rows, document_bytes| plan::SeenReads {
        rate,
        rows: Some(rows),
        document_bytes: Some(document_bytes),
        p99_ms: Some(3.0),
    };
    let declared = Workload::read(&file, None).unwrap();
    let mut observed = plan::Observed {
        hours: 30.0,
        from: "2026-11-21 08:00:00".into(),
        to: "2026-11-22 14:00:00".into(),
        average: Some(0.2),
        ..plan::Observed::default()
    };
    observed.patterns.insert("book_page".into(), seen(310.0, 1.0, 5_200.0));
    observed.patterns.insert("bestsellers".into(), seen(3_000.0, 20.0, 64.0));
    observed.patterns.insert("of_another_file".into(), seen(3_000.0, 20.0, 64.0));
    observed.writes.insert("public.books".into(), 40.0);
    observed.documents.insert("book".into(), 3e6);
    let look = |observed: &plan::Observed| {
        plan::observe(&file, None, observed, &catalog, Limits::default()).unwrap().unwrap()
    };
    let Compared { declared: base, measured, beside } = look(&observed);
    assert_eq!(base, declared);
    let (old, new) = (planned(&file), {
        let workload = Workload { budget: None, ..measured.clone() };
        plan::plan(&workload, &catalog, &["redis"], Limits::default()).unwrap().unwrap()
    });
    insta::assert_snapshot!(format!(
        "{}\n{}",
        plan::beside_text(&beside),
        plan::differences_text(&old, &new)
    ));
    let pattern = |workload: &Workload, name: &str| {
        workload.patterns.iter().find(|pattern| *pattern.name == *name).unwrap().clone()
    };
    assert_eq!(pattern(&measured, "book_page").rate, 310.0);
    for name in &beside.unseen {
        assert_eq!(pattern(&measured, name).rate, pattern(&base, name).rate);
    }
    // Of nothing nothing follows.
    let Compared { declared: base, measured, beside } = look(&plan::Observed::default());
    assert_eq!(base.patterns, measured.patterns);
    assert_eq!(beside.latencies, []);
}
