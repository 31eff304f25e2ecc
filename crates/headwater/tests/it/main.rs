//! The whole program against real engines, judged by the independent checker.
#![allow(clippy::unwrap_used)]

mod check;
mod config;
mod crash;
mod demo;
mod doctor;
mod drill;
mod dynamodb_source;
mod engines;
mod heal;
mod http;
mod incidents;
mod indexes;
mod init;
mod leader;
mod mysql_indexes;
mod mysql_source;
mod mysql_store;
mod outage;
mod plan;
mod probe;
mod random;
mod refill_hazard;
mod resp;
mod service;
mod shop;
mod sources;
mod sqlite_source;
mod stop;
mod support;
mod verify;
mod whereabouts;
