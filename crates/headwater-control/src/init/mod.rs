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

pub use url::{Reference, without_password};

/// The text of `headwater.toml` for a source that showed `facts`. `url` is what the file says, password by reference.
pub fn write(url: &str, facts: &SourceFacts) -> String {
    write::file(url, facts, &choose::views(facts), None)
}

/// The same, with how the source is used as far as that is known: what its statements ask becomes access patterns.
pub fn import(url: &str, facts: &SourceFacts, usage: Option<&SourceUsage>) -> Imported {
    let choices = choose::views(facts);
    let measured = measured::read(facts, &choices, usage);
    let text = write::file(url, facts, &choices, Some(&measured));
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
