//! Which indexes to build and which to drop, for a whole workload under a budget: an integer program over the plans that each
//! query could have. What plans there are and what they cost is told by an engine (`headwater_model::advice`).
//!
//! - [`choose`]: the choice
//! - [`advise`]: what it does to each query, in the order of what each index is worth

mod advise;
mod bound;
mod effect;
mod program;
mod queries;
mod script;
#[cfg(test)]
mod tests;
mod trial;

pub use advise::{Advice, Advised, Asked, Dearer, Helped, advise};
pub use program::{Choice, choose};
pub use queries::{queries, refused};
pub use script::script;
pub use trial::{measured, pool};

/// What a choice may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// For new indexes together.
    pub bytes: Option<f64>,
    /// How much more the writes of any one table may cost, as a share of what they cost today.
    pub writes: Option<f64>,
    /// How much more any query may cost than today, as a share, where an index is dropped.
    pub regression: f64,
    /// What an index has to save of the whole workload, as a share.
    pub worth: f64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { bytes: None, writes: None, regression: 0.0, worth: 0.001 }
    }
}
