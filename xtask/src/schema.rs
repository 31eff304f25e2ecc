//! `cargo xtask schema`: which attributes the resources of our Terraform templates have, which of them are required, and what they
//! give. Read from the provider's own schema as the npm package `@cdktf/provider-aws` carries it, written down for the tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

const PACKAGE: &str = "@cdktf/provider-aws@21.22.1";
const TEMPLATES: &str = "crates/headwater-control/templates/terraform";
const TO: &str = "crates/headwater-control/tests/it/emit/provider.toml";

/// An interface of the package's declarations: a resource, or a block in one.
#[derive(Default)]
struct Shape {
    required: Vec<String>,
    optional: Vec<String>,
    /// Attribute and the interface that it is made of.
    blocks: Vec<(String, String)>,
}

pub fn extract() -> anyhow::Result<ExitCode> {
    let mut wanted = types()?;
    wanted.sort();
    wanted.dedup();
    let work = Path::new("target/schema");
    std::fs::create_dir_all(work).context("create target/schema")?;
    run(Command::new("npm").args(["pack", "--silent", PACKAGE]).current_dir(work), "fetch the package")?;
    let packed = std::fs::read_dir(work)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let packed = packed.filter(|name| name.ends_with(".tgz")).max().context("npm packed nothing")?;
    let mut out = format!(
        "# Attributes of the resources that are emitted. From {PACKAGE}; written by `cargo xtask schema`.\n"
    );
    for name in &wanted {
        let (kind, kebab) = match name.strip_prefix("data.") {
            Some(name) => ("data-aws-", name),
            None => ("", name.as_str()),
        };
        let kebab = kebab.trim_start_matches("aws_").replace('_', "-");
        let path = format!("package/lib/{kind}{kebab}/index.d.ts");
        let read = Command::new("tar").args(["xzOf", &packed, &path]).current_dir(work).output();
        let read = read.context("start tar")?;
        if !read.status.success() {
            bail!("{PACKAGE} has no {path}: is there a resource {name}?");
        }
        let text = String::from_utf8(read.stdout).context("the declarations are no text")?;
        write_type(&mut out, name, &text)?;
    }
    std::fs::create_dir_all(Path::new(TO).parent().context("no folder")?)?;
    std::fs::write(TO, out).with_context(|| format!("write {TO}"))?;
    println!("{TO}: {} resources and data sources", wanted.len());
    Ok(ExitCode::SUCCESS)
}

/// `aws_vpc`, `data.aws_caller_identity`: all that the templates name.
fn types() -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(TEMPLATES).with_context(|| format!("read {TEMPLATES}"))? {
        let text = std::fs::read_to_string(entry?.path())?;
        for line in text.lines() {
            let kind = |rest: &str| Some(rest.split('"').nth(1)?.to_owned());
            if let Some(name) = line.strip_prefix("resource ").and_then(kind) {
                all.push(name);
            } else if let Some(name) = line.strip_prefix("data ").and_then(kind) {
                all.push(format!("data.{name}"));
            }
        }
    }
    // Another provider has these.
    all.retain(|name| name.trim_start_matches("data.").starts_with("aws_"));
    Ok(all)
}

fn write_type(out: &mut String, name: &str, text: &str) -> anyhow::Result<()> {
    let shapes = shapes(text);
    let config = |(name, _): &(&String, &Shape)| {
        name.ends_with("Config") && text.contains(&format!("interface {name} extends"))
    };
    let (_, config) = shapes.iter().find(config).with_context(|| format!("{name} has no configuration"))?;
    write_shape(out, name, config, &shapes)?;
    let given = given(text).iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    // Below the type's own section, before those of its blocks.
    let section = format!("\n[\"{name}\"]\n");
    let at = out.find(&section).context("no section")? + section.len();
    out.insert_str(at, &format!("given = [{given}]\n"));
    Ok(())
}

/// What can be read of it once it is there: the getters of its class.
fn given(text: &str) -> Vec<String> {
    let class = text.lines().skip_while(|line| {
        !(line.starts_with("export declare class ")
            && (line.contains("cdktf.TerraformResource") || line.contains("cdktf.TerraformDataSource")))
    });
    let getters = class.take_while(|line| *line != "}").filter_map(|line| {
        let name = line.trim().strip_prefix("get ")?.split('(').next()?;
        (!name.ends_with("Input")).then(|| snake(name))
    });
    getters.collect()
}

fn snake(name: &str) -> String {
    name.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}

fn write_shape(
    out: &mut String,
    path: &str,
    shape: &Shape,
    all: &BTreeMap<String, Shape>,
) -> anyhow::Result<()> {
    let listed =
        |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    writeln!(out, "\n[\"{path}\"]")?;
    writeln!(out, "required = [{}]", listed(&shape.required))?;
    writeln!(out, "optional = [{}]", listed(&shape.optional))?;
    for (name, of) in &shape.blocks {
        // A block within itself would never end; none of ours is.
        if let Some(inner) = all.get(of).filter(|_| path.matches('/').count() < 4) {
            write_shape(out, &format!("{path}/{name}"), inner, all)?;
        }
    }
    Ok(())
}

/// The interfaces of a declaration file, by name.
fn shapes(text: &str) -> BTreeMap<String, Shape> {
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut open: Option<(String, Shape)> = None;
    let mut attribute: Option<String> = None;
    for line in text.lines() {
        let words = line.trim();
        if let Some(name) = line.strip_prefix("export interface ") {
            let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
            open = Some((name, Shape::default()));
        } else if line == "}" {
            if let Some((name, shape)) = open.take() {
                shapes.insert(name, shape);
            }
        } else if words.contains("Docs at Terraform Registry") {
            // `… kms_key#description KmsKey#description}`
            let name = words.rsplit_once('#').map(|(_, name)| name.trim_end_matches('}').to_owned());
            attribute = name;
        } else if let (Some(rest), Some((_, shape))) = (words.strip_prefix("readonly "), open.as_mut()) {
            let Some(name) = attribute.take() else { continue };
            let Some((property, kind)) = rest.split_once(": ") else { continue };
            let to = if property.ends_with('?') { &mut shape.optional } else { &mut shape.required };
            to.push(name.clone());
            let of = kind.split(['[', ' ', ';', '|']).next().unwrap_or_default();
            if of.starts_with(|c: char| c.is_ascii_uppercase()) {
                shape.blocks.push((name, of.to_owned()));
            }
        }
    }
    shapes
}

fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot {what}"))?;
    if !status.success() {
        bail!("cannot {what}: see above");
    }
    Ok(())
}
