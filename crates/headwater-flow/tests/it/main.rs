//! Flow against real engines.
#![allow(clippy::unwrap_used)]

mod behind;
mod bounds;
mod cases;
mod comeback;
mod counting;
mod derive;
mod derive_shapes;
mod derive_speed;
mod failover;
mod filter;
mod hazard;
mod hidden;
mod left_out;
mod more;
mod part;
mod patroni;
mod patterns;
mod property;
mod ranking;
mod reshape;
mod rollups;
mod serve;
mod support;
mod twin;
mod verify;
mod writer;
