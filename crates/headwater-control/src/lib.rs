//! The control plane: facts in, conclusions out. Everything here is pure: no I/O, no clock; whoever calls has looked.
//!
//! - [`Finding`]: what is wrong, where in the file, and what to do
//! - [`catalog`]: what services cost and can, with where that was read
//! - [`check`]: the file against the live source and stores
//! - [`doctor`]: what examinations of the engines found, and whom it concerns
//! - [`indexes`]: which indexes a workload asks for
//! - [`init`]: a first file for a database
//! - [`resolve`]: views and access patterns as the flow needs them, every name resolved and typed

pub mod catalog;
pub mod check;
pub mod doctor;
pub mod drill;
mod finding;
pub mod indexes;
pub mod init;
pub mod plan;

pub use check::{Resolved, resolve};
pub use finding::Finding;
