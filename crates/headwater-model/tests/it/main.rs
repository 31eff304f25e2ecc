//! Promises of the model that tests keep from the outside.
#![allow(clippy::unwrap_used)]

mod file_access;
mod file_config;
mod file_errors;
mod file_reads;
mod file_sources;
mod support;
