//! The control plane: facts in, conclusions out. Everything here is pure: no I/O, no clock; whoever calls has looked.
//!
//! - [`Finding`]: what is wrong, where in the file, and what to do

mod finding;

pub use finding::Finding;
