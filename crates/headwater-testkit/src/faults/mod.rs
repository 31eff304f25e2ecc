//! Faults that tests inject.

mod disk;
mod network;
mod proxy;
mod source;
mod store;
mod syscalls;

pub use disk::Disk;
pub use network::Network;
pub use proxy::Proxy;
pub use source::HeldLog;
pub use store::{Call, Fault, FaultyStore};
pub use syscalls::Syscalls;
