//! The command line against real engines.
#![allow(clippy::unwrap_used)]

mod check;
mod config;
mod init;
mod shop;
mod support;
