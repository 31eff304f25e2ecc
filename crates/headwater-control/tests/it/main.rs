//! Promises of the control plane, kept over facts as sources give them.
#![allow(clippy::unwrap_used)]

mod access;
mod alternatives;
mod any_schema;
mod check;
mod emit;
mod examples;
mod indexes;
mod init;
mod plan;
mod support;
