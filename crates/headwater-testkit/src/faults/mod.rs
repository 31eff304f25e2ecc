//! Faults that tests inject.

mod proxy;
mod store;

pub use proxy::Proxy;
pub use store::{Call, Fault, FaultyStore};
