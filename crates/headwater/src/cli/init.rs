//! `headwater init URL…`: looks at databases and writes a first file for them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use headwater_control::init::{self, Looked, Reference};
use headwater_model::file::SourceSection;
use headwater_model::{Result, SourceFacts};

use super::check::within;
use super::failure::Failure;
use super::show;
use crate::figures;

#[derive(clap::Args)]
pub struct Args {
    /// The database, or several: postgres://user:password@host/database, mysql://… or sqlite:path. A password does not reach the file.
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,

    #[command(flatten)]
    target: Target,
}

/// Where a first file goes.
#[derive(clap::Args)]
pub struct Target {
    /// Where to write; `-` prints. Default: what --file names.
    #[arg(long)]
    out: Option<PathBuf>,

    /// Overwrite a file that is there.
    #[arg(long)]
    force: bool,
}

pub async fn run(args: Args, file: &Path) -> Result<ExitCode, Failure> {
    let out = args.target.free(file)?;
    let names = init::names(&args.urls);
    let mut facts = Vec::new();
    let mut references = Vec::new();
    for (url, name) in args.urls.iter().zip(&names) {
        facts.push(look(url, name.as_deref()).await?);
        references.push(args.target.reference(url, name.as_deref(), &out)?);
    }
    let looked = names.into_iter().zip(&references).zip(&facts);
    let looked: Vec<Looked<'_>> =
        looked.map(|((name, reference), facts)| Looked { name, url: reference.url.clone(), facts }).collect();
    if args.target.write(&out, &init::write(&looked))? {
        let seen: Vec<String> = looked.iter().map(seen).collect();
        show::print(&format!("Looked at {}. Wrote {}.\n", seen.join("; "), out.display()));
        show::print(&after(&out, &references, "check"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn look(url: &str, name: Option<&str>) -> Result<SourceFacts> {
    let section = SourceSection::of_url(url);
    let facts = within(async { headwater_engines::source(&section)?.inspect().await }).await;
    facts.map_err(|error| match name {
        Some(name) => error.while_doing(format!("look at {name}")),
        None => error,
    })
}

fn seen(looked: &Looked<'_>) -> String {
    let server = &looked.facts.server;
    let server = looked.name.as_ref().map_or(server.clone(), |name| format!("{name} ({server})"));
    format!("{server}: {}", figures::counted(looked.facts.tables.len(), "table"))
}

impl Target {
    /// Where to write. Refused before the database is asked anything, if a file is there.
    pub fn free(&self, file: &Path) -> anyhow::Result<PathBuf> {
        let out = self.out.as_deref().unwrap_or(file);
        if out != Path::new("-") && !self.force && out.exists() {
            return Err(taken(out));
        }
        Ok(out.to_owned())
    }

    /// The URL as the file may have it.
    pub fn reference(&self, url: &str, name: Option<&str>, out: &Path) -> anyhow::Result<Reference> {
        Ok(init::without_password(&from_elsewhere(url, out)?, name))
    }

    /// Writes or prints it; whether it was written.
    pub fn write(&self, out: &Path, text: &str) -> anyhow::Result<bool> {
        if out == Path::new("-") {
            show::print(text);
            return Ok(false);
        }
        write(out, text, self.force)?;
        Ok(true)
    }
}

/// A relative path in a URL (`sqlite:shop.db`) is relative to here, but to the file once it stands in it: a file in
/// another folder names the whole path.
fn from_elsewhere(url: &str, out: &Path) -> anyhow::Result<String> {
    let beside = out.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    match url.split_once(':') {
        Some((scheme, path)) if !beside && !path.starts_with('/') => {
            let path = std::path::absolute(path).with_context(|| format!("cannot find {path}"))?;
            Ok(format!("{scheme}:{}", path.display()))
        }
        _ => Ok(url.to_owned()),
    }
}

fn taken(out: &Path) -> anyhow::Error {
    anyhow!("{} is there already: write elsewhere with --out, or overwrite it with --force", out.display())
}

fn write(out: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    // A file that appeared meanwhile is not overwritten either.
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = options.open(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(out),
        _ => anyhow!("cannot write {}: {error}", out.display()),
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", out.display()))
}

/// What to do next with a file that was written.
pub fn after(out: &Path, references: &[Reference], next: &str) -> String {
    let mut text = String::new();
    let variables = references.iter().filter_map(|reference| reference.variable.as_deref());
    let unset = variables.filter(|variable| std::env::var_os(variable).is_none());
    let unset: Vec<String> = unset.map(|variable| format!("{variable}='…'")).collect();
    if !unset.is_empty() {
        let passwords = if unset.len() == 1 { "The password stays" } else { "Passwords stay" };
        text +=
            &format!("{passwords} out of the file. Before the next command: export {}\n", unset.join(" "));
    }
    let named = match out == Path::new("headwater.toml") {
        true => String::new(),
        false => format!(" --file {}", out.display()),
    };
    text + &format!("Next: headwater {next}{named}\n")
}
