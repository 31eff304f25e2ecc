#![allow(clippy::unwrap_used)]

mod checker;
mod engines;
mod proxy;
mod workload;
