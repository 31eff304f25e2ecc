//! The command line against real engines.
#![allow(clippy::unwrap_used)]

mod check;
mod config;
mod crash;
mod demo;
mod init;
mod leader;
mod probe;
mod service;
mod shop;
mod sqlite_source;
mod stop;
mod support;
