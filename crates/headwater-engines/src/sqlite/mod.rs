//! SQLite as a source and as the embedded store.
