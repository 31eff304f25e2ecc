//! Which indexes a workload asks for: the words between the engine that knows what each would cost and save, and the control
//! plane that chooses under a budget. An engine's folder finds candidates and asks its planner; nothing here asks anybody.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::Serialize;

use crate::{Result, Secret, TableName};

/// What the applications ask of a database, over some time.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What the user calls it: its name in the file, or the number under which the engine counts it.
    pub name: String,
    pub sql: String,
    pub calls: f64,
    /// Rows that all calls gave or wrote, where that was counted.
    pub rows: Option<f64>,
    /// Where it begins in the file it comes from, in bytes.
    pub at: Option<usize>,
}

/// A statement that cannot be asked, and where in it the mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In the file, in bytes.
    pub at: usize,
    pub why: String,
}

/// What is to be chosen from.
#[derive(Clone, Debug, Default)]
pub struct IndexProblem {
    /// Product and version, for people.
    pub server: String,
    /// What costs are counted in: the planner's units, or milliseconds.
    pub unit: &'static str,
    pub queries: Vec<Query>,
    pub indexes: Vec<Index>,
    pub writes: Vec<TableWrites>,
    /// Statements that were not weighed, and why.
    pub left_out: Vec<LeftOut>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    pub name: String,
    pub why: String,
}

/// A statement, and what it costs with which indexes.
#[derive(Clone, Debug)]
pub struct Query {
    pub name: String,
    pub sql: String,
    pub calls: f64,
    /// One call with the indexes of today.
    pub before: f64,
    pub configs: Vec<Config>,
}

/// One plan of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Indexes that the plan reads, by their places in [`IndexProblem::indexes`], ascending. Those that are always there are not
    /// among them.
    pub uses: Vec<usize>,
    /// What the engine's planner believes: it takes the cheapest plan by this figure among those whose indexes are there.
    pub believed: f64,
    /// One call, in the problem's unit: what was measured, or else what is believed.
    pub cost: f64,
    /// Whether the query may be left with it: not if it was measured to be slower than today.
    pub acceptable: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Index {
    pub name: String,
    pub table: TableName,
    /// What it indexes, as the engine writes it: `btree (a, b) WHERE c`.
    pub definition: String,
    pub bytes: f64,
    /// It is there today. One that is not may be built.
    pub exists: bool,
    /// What to run to get it, or to lose one that exists, and to undo that.
    pub statement: String,
    pub undo: String,
    /// How long building it takes, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_ms: Option<f64>,
    /// What keeping it up costs the whole workload by itself.
    pub upkeep: f64,
    /// Part of [`TableWrites::in_place`] that it would end, by its place there.
    pub ends: Vec<usize>,
}

/// What is written to a table by the whole workload.
#[derive(Clone, Debug)]
pub struct TableWrites {
    pub table: TableName,
    /// What the writes cost today.
    pub cost: f64,
    /// Updates that touch no index today, and would touch all of them once one holds a column that they change.
    pub in_place: Vec<InPlace>,
}

#[derive(Clone, Debug)]
pub struct InPlace {
    /// What these updates would then cost for the indexes that are there today and stay.
    pub standing: f64,
    /// And for each chosen index of the table, one after the other as in [`IndexProblem::indexes`].
    pub each: f64,
}

/// Whose planner says what a query would cost with other indexes than there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// That of a copy, in a server of our own.
    Copy,
    /// That of the engine itself, in a session that only reads; so often at most.
    InPlace { calls_max: usize },
}

/// An engine that can be asked what indexes would be worth.
#[async_trait]
pub trait AdviseIndexes: Send + Sync {
    /// What the engine itself counted. Reads only.
    async fn workload(&self) -> Result<Workload>;

    /// Finds candidates and asks a planner. The engine is only read: its catalog and its statistics.
    async fn weigh(&self, workload: &Workload, asking: Asking) -> Result<Weighed>;

    /// Whether indexes may be built on a copy: it is there, and is not the engine that is advised.
    async fn may_build_on(&self, copy: &RestoredCopy) -> Result<()>;

    /// Builds these indexes of the problem on a copy, to measure there.
    async fn trial(
        &self,
        problem: &IndexProblem,
        pool: &[usize],
        copy: &RestoredCopy,
    ) -> Result<Box<dyn IndexTrial>>;
}

/// What a planner says of a workload.
#[derive(Clone, Debug, Default)]
pub struct Weighed {
    pub problem: IndexProblem,
    /// Statements of a file that the engine refuses: nothing is advised while there are some.
    pub refused: Vec<Refusal>,
    /// What limits the advice, for people.
    pub notes: Vec<String>,
    /// How long asking the planner took, apart from getting ready to.
    pub asked_ms: f64,
}

/// Where indexes may be built to see what they do.
#[derive(Clone, Debug)]
pub enum RestoredCopy {
    /// A database that somebody restored for this.
    Server(Secret),
    /// A dump, to be restored into a server of our own.
    Dump(PathBuf),
}

/// Indexes on a copy, and queries that are run there. Dropping it leaves the indexes that it built.
#[async_trait]
pub trait IndexTrial: Send {
    /// The pool's indexes with what building them told, and plans with measured costs. The places of indexes and queries are
    /// those of the problem it began with.
    fn problem(&self) -> &IndexProblem;

    /// Runs each query once more for every plan that these indexes lead to and that was not seen yet. `true` if there was none.
    async fn settle(&mut self, chosen: &[usize]) -> Result<bool>;

    /// All queries, one after the other, with these indexes only: milliseconds of each.
    async fn run(&mut self, chosen: &[usize]) -> Result<Vec<f64>>;

    /// Removes what it built.
    async fn end(self: Box<Self>) -> Result<()>;
}
