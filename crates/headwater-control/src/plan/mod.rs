//! Which engines carry a workload, and what that costs. Pure: the file, facts and the catalogue in, a plan out.
//!
//! - [`Workload`]: what has to be carried
//! - `services`: what can be chosen, sized and priced
//! - [`choice`]: the cheapest set of engines, proven
//! - [`Plan`]: what was chosen and why; [`Conflict`]: why nothing could be
//!
//! Invariant: every figure of a plan follows from the file, the source's statistics or the catalogue. Same input, same plan.

mod alternatives;
mod charts;
mod check;
pub mod choice;
mod conflict;
mod decide;
mod emit;
mod explain;
mod observed;
mod parallel;
mod problem;
mod report;
mod resilience;
mod services;
mod warnings;
mod what_if;
mod workload;

pub use charts::{Cell, Charts, charts};
pub use check::{check, conflicting};
pub use conflict::{Conflict, Wish};
pub use decide::{cost, plan};
pub use emit::{Emitted, Format, emit};
pub use observed::{Beside, Compared, Observed, SeenReads, observe};
pub use report::{
    Alternative, Change, EnginePlan, Grown, PatternPlan, Plan, Rejected, RunnerUp, TablePlan,
    beside_markdown, beside_text, differences, differences_text, html, markdown, text,
};
pub use services::{Line, Recovery, Shape};
pub use what_if::{suppose, supposed_wrong};
pub use workload::Workload;
