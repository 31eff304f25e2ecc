//! A first file for a database: what it shows about itself, written down as views, with comments that say why.
//!
//! Owns: which tables become views, which rows are proposed as embedded, and the text. Not: looking at the database,
//! writing the file. Invariant: what is written passes `check` against the same facts.

mod access;
mod choose;
mod names;
mod url;
mod write;

use headwater_model::SourceFacts;

pub use url::{Reference, without_password};

/// The text of `headwater.toml` for a source that showed `facts`. `url` is what the file says, password by reference.
pub fn write(url: &str, facts: &SourceFacts) -> String {
    write::file(url, facts, &choose::views(facts))
}
