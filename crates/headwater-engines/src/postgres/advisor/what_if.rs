//! A planner that can be asked what a statement would cost with other indexes than there are: that of a copy, or that of the
//! database itself.

use std::collections::BTreeSet;

use async_trait::async_trait;
use headwater_model::Result;

use super::candidates::Candidate;
use super::origin::{ColumnStatistics, Schema};
use crate::advice::configs::{Ask, Planner};
use crate::postgres::error::ServerError;

/// A statement as this planner is asked about it.
pub(super) struct Question {
    pub ask: Ask,
    /// Rows that it writes, where no planner has to say that.
    pub rows: Option<f64>,
}

#[async_trait]
pub(super) trait WhatIf: Planner<Refused = ServerError> {
    /// `Err` with the reason if it cannot be asked about such a statement. `parameters` is the highest `$n` of it.
    fn question(&self, statement: &str, parameters: usize, schema: &Schema) -> Result<Question, String>;

    /// Makes a candidate under a name. The inner error is why it cannot be had.
    async fn make(
        &mut self,
        name: &str,
        candidate: &Candidate,
        schema: &Schema,
    ) -> Result<Result<(), String>>;

    /// All candidates are made, and from now on it is asked: it needs to know what these tables and candidates are like.
    async fn furnish(
        &mut self,
        schema: &Schema,
        tables: &[usize],
        statistics: &[ColumnStatistics],
        candidates: &[(String, &Candidate)],
    ) -> Result<()>;

    /// The next questions are about these, by name: other candidates need not be seen.
    fn about(&mut self, open: &BTreeSet<String>);

    /// Whether it can plan as if an index of today were not there.
    fn hides(&self) -> bool;

    /// How often it may still be asked.
    fn left(&self) -> usize;
}
