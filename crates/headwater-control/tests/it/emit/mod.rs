//! Emitted infrastructure: known to the provider, accepted by linters, and what `run` then reads.

mod linted;
mod provider;

use std::path::Path;
use std::sync::OnceLock;

use headwater_control::catalog::Catalog;
use headwater_control::plan::choice::Limits;
use headwater_control::plan::{self, Emitted, EnginePlan, Format, Plan, Shape, TablePlan, Workload};
use headwater_model::file::File;

use crate::support::{Env, load};

const SOURCE: &str = "postgres://headwater:top-secret@db.internal/shop?sslmode=require";

fn planned(name: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let file = load(&std::fs::read_to_string(path).unwrap());
    let workload = Workload::read(&file, None).unwrap();
    plan::plan(&workload, &Catalog::built_in().unwrap(), &[], Limits::default()).unwrap().unwrap()
}

fn emitted(plan: &Plan, format: Format) -> Vec<Emitted> {
    plan::emit(plan, SOURCE, format).unwrap()
}

fn text<'f>(files: &'f [Emitted], path: &str) -> &'f str {
    &files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).text
}

/// Plans of which some engine has every shape that is emitted.
fn plans() -> &'static [(&'static str, Plan)] {
    static PLANS: OnceLock<Vec<(&str, Plan)>> = OnceLock::new();
    PLANS.get_or_init(all)
}

fn all() -> Vec<(&'static str, Plan)> {
    let bookshop = planned("bookshop/headwater.toml");
    let engine = |name: &str, scheme: &str, shape: Shape| EnginePlan {
        name: name.to_owned(),
        scheme: scheme.to_owned(),
        title: format!("Title of \"{name}\" ${{x}}"),
        is_source: scheme == "postgres" || scheme == "mysql",
        shape,
        ..bookshop.engines[1].clone()
    };
    let class = |class: &str| Shape { class: Some(class.to_owned()), shards: 1, ..Shape::default() };
    let volume = |of: &str| Shape { storage_gb: 450.0, standby: true, ..class(of) };
    let table = |view: &str, is_index| TablePlan {
        view: view.to_owned(),
        is_index,
        read_units: 100.5,
        write_units: 20.0,
    };
    let tables = |name: &str| EnginePlan {
        tables: vec![table("book", false), table("book", true), table("Bo-ok", false), table("bo_ok", false)],
        ..engine(name, "dynamodb", Shape::default())
    };
    let with = |engines: Vec<EnginePlan>| Plan { engines, ..bookshop.clone() };
    vec![
        ("bookshop", bookshop.clone()),
        ("one_database", planned("plan/blog.toml")),
        (
            "much",
            with(vec![
                engine(
                    "rds-postgresql",
                    "postgres",
                    Shape { replicas: 2, iops: Some(14_000.0), ..volume("db.m7g.xlarge") },
                ),
                engine(
                    "elasticache-redis",
                    "redis",
                    Shape { shards: 3, replicas: 1, ..class("cache.r7g.large") },
                ),
                engine("elasticache-valkey-serverless", "redis", Shape::default()),
                tables("dynamodb-on-demand"),
                tables("dynamodb-provisioned"),
                engine("documentdb", "mongodb", Shape { replicas: 1, ..class("db.r6g.large") }),
                engine("neptune", "neptune", Shape { replicas: 1, units: Some(8.0), ..Shape::default() }),
            ]),
        ),
        (
            "mysql",
            with(vec![
                engine("rds-mysql", "mysql", Shape { standby: false, ..volume("db.t4g.micro") }),
                engine("elasticache-valkey", "redis", class("cache.t4g.small")),
                engine("neptune", "neptune", class("db.r6g.large")),
            ]),
        ),
        (
            "aurora_mysql",
            with(vec![engine(
                "aurora-mysql",
                "mysql",
                Shape { replicas: 1, io_optimized: true, ..class("db.r7g.large") },
            )]),
        ),
        (
            "far",
            far(with(vec![
                engine("aurora-postgresql", "postgres", Shape { replicas: 1, ..class("db.r6g.large") }),
                bookshop.engines[1].clone(),
                tables("dynamodb-provisioned"),
            ])),
        ),
        (
            "far_volume",
            far(with(vec![
                engine("rds-postgresql", "postgres", Shape { replicas: 1, ..volume("db.m7g.xlarge") }),
                engine("elasticache-valkey-serverless", "redis", Shape::default()),
                tables("dynamodb-on-demand"),
                engine("documentdb", "mongodb", Shape { replicas: 1, ..class("db.r6g.large") }),
                engine("neptune", "neptune", Shape { replicas: 1, units: Some(8.0), ..Shape::default() }),
            ])),
        ),
        ("far_database", far(planned("plan/blog.toml"))),
    ]
}

fn far(plan: Plan) -> Plan {
    Plan { copies: vec!["us-east-2".to_owned(), "eu-west-1".to_owned()], ..plan }
}

/// The folders that files are in, each of which is read as a whole: `""` first.
fn folders(files: &[Emitted]) -> Vec<(String, Vec<&Emitted>)> {
    let mut folders: Vec<(String, Vec<&Emitted>)> = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with("decisions/")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match folders.iter_mut().find(|(name, _)| name == folder) {
            Some((_, files)) => files.push(file),
            None => folders.push((folder.to_owned(), vec![file])),
        }
    }
    folders.sort_by(|a, b| a.0.cmp(&b.0));
    folders
}

#[test]
fn the_bookshop_in_terraform_as_an_engineer_reads_it() {
    let files = emitted(&plans()[0].1, Format::Terraform);
    let mut out = String::new();
    for file in &files {
        out.push_str(&format!("==== {}\n{}\n", file.path, file.text));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn nothing_secret_and_nothing_random_is_emitted() {
    for (name, plan) in plans() {
        for format in [Format::Terraform, Format::CloudFormation] {
            let files = emitted(plan, format);
            assert_eq!(files, emitted(plan, format), "{name}");
            assert!(files.iter().all(|file| !file.text.contains("top-secret")), "{name}");
        }
    }
}

/// Every other region has all that the first one has, and what only one of them may have is there once.
#[test]
fn copies_are_whole_and_only_one_region_writes() {
    for (name, plan) in plans().iter().filter(|(_, plan)| !plan.copies.is_empty()) {
        let files = emitted(plan, Format::Terraform);
        let folders = folders(&files);
        let names: Vec<&str> = folders.iter().map(|(folder, _)| &**folder).collect();
        assert_eq!(names, ["", "eu-west-1", "us-east-2"], "{name}");
        let of = |folder: usize, path: &str| {
            let files = &folders[folder].1;
            files.iter().find(|file| file.path.ends_with(path)).map_or("", |file| &*file.text)
        };
        for copy in 1..=2 {
            assert!(of(copy, "database.tf").contains("come from the first region"), "{name}");
            assert!(!of(copy, "database.tf").contains("administrator"), "{name}");
            assert!(!of(copy, "stores.tf").contains("aws_dynamodb_table"), "{name}");
            assert_eq!(of(copy, "headwater.tf").is_empty(), of(0, "headwater.tf").is_empty(), "{name}");
            let machines = of(copy, "headwater.tf");
            assert!(machines.is_empty() || machines.contains("desired_capacity    = var.machines"), "{name}");
            for (kind, what) in [("elasticache", "cache"), ("docdb", "cluster"), ("neptune", "cluster")] {
                let count =
                    |folder| of(folder, "stores.tf").matches(&format!("resource \"aws_{kind}_")).count();
                assert_eq!(count(copy), count(0), "{name}: {what}");
            }
            assert!(of(copy, "main.tf").contains(&format!("10.2{}.0.0/16", 3 - copy)), "{name}");
        }
        assert!(text(&files, "README.md").contains("When us-east-1 is lost"), "{name}");
        let regions = text(&files, "regions.tf");
        for (id, region) in [("us_east_2", "us-east-2"), ("eu_west_1", "eu-west-1")] {
            assert!(
                regions.contains(&format!("module \"{id}\"")) && regions.contains(&format!("\"./{region}\""))
            );
        }
    }
}

/// What is to be put into `headwater.toml` reads there, with the variables that the machines set.
#[test]
fn the_stores_that_are_emitted_read_back() {
    for (name, plan) in plans() {
        let files = emitted(plan, Format::Terraform);
        if plan.engines.iter().all(|engine| engine.is_source) {
            assert!(files.iter().all(|file| file.path != "headwater.stores.toml"), "{name}");
            continue;
        }
        let stores = text(&files, "headwater.stores.toml");
        for variable in stores.split("${").skip(1).filter_map(|rest| rest.split('}').next()) {
            assert!(
                text(&files, "headwater.sh.tftpl").contains(&format!("echo \"{variable}=")),
                "{variable}"
            );
        }
        // What stands in comments is for the views that the file has.
        let views: String = stores
            .split("\n# [views.")
            .skip(1)
            .map(|view| format!("[views.{}from = \"t\"\n", view.replace("\n# ", "\n")))
            .collect();
        let text = format!("{}\n{views}", stores.replace("mysql://", "postgres://"));
        match File::load(&text, &Env) {
            Ok(file) => assert!(!file.stores.is_empty(), "{name}"),
            Err(errors) => panic!("{name}: {errors}\n{text}"),
        }
    }
}
