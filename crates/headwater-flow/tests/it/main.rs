//! Flow against real engines.

mod derive;
mod derive_shapes;
mod derive_speed;
mod filter;
