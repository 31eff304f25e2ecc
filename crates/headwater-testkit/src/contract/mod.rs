//! Contract suites: what every engine behind a seam must do, written once and run against each.

pub mod store;
