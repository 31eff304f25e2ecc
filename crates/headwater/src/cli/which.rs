//! `--source`: which of several sources a command is about.

use headwater_model::file::File;
use headwater_model::{Error, nearest};

use super::failure::Failure;

#[derive(clap::Args)]
pub struct Which {
    /// Only this source, where the file has several.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl Which {
    /// The file as each source sees it that the command is about: all, or the one that was named.
    pub fn flows(&self, file: &File) -> Result<Vec<File>, Failure> {
        let flows = file.flows();
        let Some(wanted) = self.source.as_deref() else { return Ok(flows) };
        let name = |flow: &File| flow.source().name.clone();
        let known: Vec<Box<str>> = flows.iter().filter_map(name).collect();
        if let Some(flow) = flows.into_iter().find(|flow| name(flow).as_deref() == Some(wanted)) {
            return Ok(vec![flow]);
        }
        let remedy = match nearest(wanted, known.iter().map(|name| &**name)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => "leave --source out: the file's one source has no name".to_owned(),
            None => format!("the sources are {}", known.join(", ")),
        };
        Err(Error::misconfigured(format!("the file has no source `{wanted}`")).with_remedy(remedy).into())
    }

    /// The one source that the command is about.
    pub fn one(&self, file: &File) -> Result<File, Failure> {
        let mut flows = self.flows(file)?;
        if flows.len() == 1 {
            return Ok(flows.remove(0));
        }
        let names: Vec<&str> = flows.iter().filter_map(|flow| flow.source().name.as_deref()).collect();
        Err(Error::misconfigured("the file has several sources, and this is about one")
            .with_remedy(format!("add --source NAME: one of {}", names.join(", ")))
            .into())
    }
}

/// What stands before what is said of a source, where sources have names.
pub fn heading(flow: &File) -> String {
    flow.source().name.as_ref().map_or(String::new(), |name| format!("── source {name}\n\n"))
}
