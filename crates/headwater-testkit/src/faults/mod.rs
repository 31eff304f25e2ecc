//! Faults that tests inject.

mod proxy;

pub use proxy::Proxy;
