//! A plan as infrastructure: the files that build what was chosen, why it was chosen, and what `headwater.toml` then says.
//!
//! Owns: what is emitted for each service, from templates in `templates/`; services of providers are named here as in
//! `plan/services`. Not: writing files, and what is chosen.
//!
//! Invariant: every text that goes into a template is a figure, a name that [`names`] made, or prose in a comment or description
//! of one line. Same plan, same files.

mod alarms;
mod infrastructure;
mod names;
mod parts;
mod records;
mod stores;

use askama::Template;

use super::Plan;
use infrastructure::Infrastructure;
use parts::Part as _;

const SCRIPT_DEPTH: usize = 14;

/// What the files are read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Terraform,
    CloudFormation,
}

/// A file, its path below the folder with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    pub path: String,
    pub text: String,
}

/// The files of a plan, called after the database of the source's URL; nothing else of the URL gets into them.
pub fn emit(plan: &Plan, source: &str, format: Format) -> Result<Vec<Emitted>, String> {
    let database = names::database_in(source);
    let it = Infrastructure::of(plan, database)?;
    let mut files = region(plan, &it, format)?;
    for place in 0..plan.copies.len() {
        let copy = Infrastructure::copy(plan, database, place)?;
        for mut file in region(plan, &copy, format)? {
            file.path = format!("{}/{}", copy.region, file.path);
            files.push(file);
        }
    }
    files.extend(records::all(plan));
    files.push(file("README.md", &Readme { it: &it, terraform: format == Format::Terraform })?);
    files.retain(|file| !file.text.trim().is_empty());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// What builds one region.
fn region(plan: &Plan, it: &Infrastructure, format: Format) -> Result<Vec<Emitted>, String> {
    let mut files = match format {
        Format::Terraform => vec![
            file("main.tf", &Main { it })?,
            file("regions.tf", &Regions { it })?,
            file("network.tf", &Network { it })?,
            file("keys.tf", &Keys { it })?,
            file("database.tf", &Database { it })?,
            file("stores.tf", &Stores { it })?,
            file("alarms.tf", &Alarms { it })?,
            file("outputs.tf", &Outputs { it })?,
        ],
        Format::CloudFormation => {
            let script = indented(&file("headwater.sh", &Script { it })?.text, SCRIPT_DEPTH);
            vec![file("template.yaml", &Stack { it, script: &script })?]
        }
    };
    match format {
        Format::Terraform if it.headwater => {
            files.push(file("headwater.tf", &Machines { it })?);
            files.push(file("headwater.sh.tftpl", &Script { it })?);
        }
        Format::CloudFormation if it.is_copy() => files.push(file("key.yaml", &Key { it })?),
        _ => {}
    }
    if it.headwater {
        files.push(Emitted { path: "headwater.stores.toml".to_owned(), text: stores::text(plan, it) });
    }
    Ok(files)
}

/// Lines after the first begin so deep; empty ones stay empty.
fn indented(text: &str, depth: usize) -> String {
    let line = |line: &str| if line.is_empty() { String::new() } else { format!("{:depth$}{line}", "") };
    text.trim().lines().map(line).collect::<Vec<_>>().join("\n").trim_start().to_owned()
}

fn file(path: &str, template: &impl Template) -> Result<Emitted, String> {
    let text = template.render().map_err(|error| format!("{path}: {error}"))?;
    Ok(Emitted { path: path.to_owned(), text: format!("{}\n", text.trim()) })
}

macro_rules! templates {
    ($($name:ident $path:literal)*) => {
        $(
            #[derive(Template)]
            #[template(path = $path, escape = "none")]
            struct $name<'a> {
                it: &'a Infrastructure,
            }
        )*
    };
}

templates! {
    Main "terraform/main.tf"
    Regions "terraform/regions.tf"
    Network "terraform/network.tf"
    Keys "terraform/keys.tf"
    Database "terraform/database.tf"
    Stores "terraform/stores.tf"
    Machines "terraform/headwater.tf"
    Alarms "terraform/alarms.tf"
    Outputs "terraform/outputs.tf"
    Script "headwater.sh"
    Key "cloudformation/key.yaml"
}

#[derive(Template)]
#[template(path = "cloudformation/template.yaml", escape = "none")]
struct Stack<'a> {
    it: &'a Infrastructure,
    /// What a machine runs at its first start, as deep as it stands in the template.
    script: &'a str,
}

#[derive(Template)]
#[template(path = "README.md", escape = "none")]
struct Readme<'a> {
    it: &'a Infrastructure,
    terraform: bool,
}
