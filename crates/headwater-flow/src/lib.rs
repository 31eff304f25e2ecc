//! The data plane: everything between a source and its stores.

pub mod derive;
pub mod journal;
