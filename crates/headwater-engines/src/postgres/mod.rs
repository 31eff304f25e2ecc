//! PostgreSQL 15 and later as a source, followed by logical replication (pgoutput).

mod source;

pub use source::Source;
