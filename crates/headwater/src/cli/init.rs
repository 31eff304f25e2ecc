//! `headwater init URL`: looks at a database and writes a first file for it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use headwater_control::init::{self, Reference};
use headwater_model::file::SourceSection;

use super::check::within;
use super::failure::Failure;
use super::show;
use crate::figures;

#[derive(clap::Args)]
pub struct Args {
    /// The database: postgres://user:password@host/database, mysql://… or sqlite:path. A password does not reach the file.
    url: String,

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
    let section = SourceSection::of_url(&args.url);
    let facts = within(async { headwater_engines::source(&section)?.inspect().await }).await?;
    let reference = args.target.reference(&args.url, &out)?;
    let text = init::write(&reference.url, &facts);
    if args.target.write(&out, &text)? {
        let tables = figures::counted(facts.tables.len(), "table");
        show::print(&format!("Looked at {}: {tables}. Wrote {}.\n", facts.server, out.display()));
        show::print(&after(&out, reference.variable, "check"));
    }
    Ok(ExitCode::SUCCESS)
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
    pub fn reference(&self, url: &str, out: &Path) -> anyhow::Result<Reference> {
        Ok(init::without_password(&from_elsewhere(url, out)?))
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
pub fn after(out: &Path, variable: Option<&str>, next: &str) -> String {
    let mut text = String::new();
    if let Some(variable) = variable
        && std::env::var_os(variable).is_none()
    {
        text +=
            &format!("The password stays out of the file. Before the next command: export {variable}='…'\n");
    }
    let named = match out == Path::new("headwater.toml") {
        true => String::new(),
        false => format!(" --file {}", out.display()),
    };
    text + &format!("Next: headwater {next}{named}\n")
}
