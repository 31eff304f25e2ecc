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
    ]
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
