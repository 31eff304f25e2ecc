//! A first file for a database: what it shows about itself, written down as views, with comments that say why; and, if it counts
//! how it is used, as access patterns with rates and as a first `[plan]`.
//!
//! Owns: which tables become views, which rows are proposed as embedded, which statements are access patterns, and the text. Not: looking at the database,
//! writing the file. Invariant: what is written passes `check` against the same facts.

mod access;
mod choose;
mod measured;
mod names;
mod statements;
mod url;
mod write;

use headwater_model::{SourceFacts, SourceUsage};

pub use url::{Reference, names, without_password};

/// A database that showed `facts`.
pub struct Looked<'f> {
    /// What it is called in the file, where that has several.
    pub name: Option<String>,
    /// What the file says, password by reference.
    pub url: String,
    pub facts: &'f SourceFacts,
}

impl<'f> Looked<'f> {
    /// The one source of its file.
    pub fn alone(url: &str, facts: &'f SourceFacts) -> Looked<'f> {
        Looked { name: None, url: url.into(), facts }
    }
}

/// The text of `headwater.toml` for these databases.
pub fn write(databases: &[Looked<'_>]) -> String {
    let choices = choose::views(databases);
    let mut text = write::file("init", databases, &choices);
    // Writing to a string does not fail.
    let _ = access::write(&mut text, &choices);
    text
}

/// The same of one, with how it is used as far as that is known: what its statements ask becomes access patterns.
pub fn import(url: &str, facts: &SourceFacts, usage: Option<&SourceUsage>) -> Imported {
    let databases = [Looked::alone(url, facts)];
    let choices = choose::views(&databases);
    let measured = measured::read(facts, &choices, usage);
    let mut text = write::file("import", &databases, &choices);
    let _ = measured::section(&mut text, facts, &choices, &measured);
    Imported { text, patterns: measured.patterns.len(), left: measured.left.len() }
}

/// A first file with what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    pub text: String,
    /// Access patterns in it, and statements that became none and stand in it as comments.
    pub patterns: usize,
    pub left: usize,
}
