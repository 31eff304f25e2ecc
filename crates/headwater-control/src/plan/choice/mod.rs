//! The cheapest set of engines that carries a workload, and what each of them carries. Pure arithmetic: knows no service.
//!
//! Every engine has deployments to choose from, each with a monthly price and what it can carry. Every pattern is answered by
//! one engine, which must then keep the views that it reads. Exactly one engine is the source. What several patterns and
//! views share is paid once.
//!
//! Owns: the mixed-integer program and its solution: a branch and bound over engines and their deployments, whose bounds come
//! from the Lagrangian dual of the capacities (A. M. Geoffrion, "Lagrangean relaxation for integer programming", 1974). With
//! prices put on load the views fall apart and each is solved exactly, so that bounds are tight where those of the linear
//! relaxation are not. Where deployments are fixed and patterns still compete for a capacity, a solver decides. A problem with few
//! combinations is gone through as a whole. What was searched once can be asked again with one pattern changed: [`Explored`].
//!
//! Invariant: the choice carries what it has to, and [`Choice::bound`] is not above the cost of any other that does.

mod base;
mod bound;
mod branch;
mod dominated;
mod group;
mod improve;
mod leaf;
mod problem;
mod repair;
mod small;
#[cfg(test)]
mod tests;
mod variation;

pub use branch::{Limits, choose};
pub use dominated::dominates;
pub use problem::{
    Choice, Deployed, Deployment, Engine, Keep, LOAD_NONE, Load, Pattern, Problem, RESOURCES, UNLIMITED, Use,
    View,
};
pub use variation::{Around, Explored, Varied};
