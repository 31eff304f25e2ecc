//! Which engines carry a workload, and what that costs. Pure: facts and wishes in, a plan out.

pub mod choice;
