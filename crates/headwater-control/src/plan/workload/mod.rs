//! What has to be carried: tables, views and access patterns with their sizes and rates.
//!
//! Owns: turning the file, and what the live source says of its tables, into figures. Not: what they mean for any engine.
//!
//! Invariant: every figure was declared, said by the source, or worked out from such figures; what else was taken for granted is
//! in [`Workload::assumptions`], and what cannot be known is a located finding that says what to declare.

mod patterns;
mod tables;
mod views;

use headwater_model::SourceFacts;
use headwater_model::file::{File, PlanSection};

use crate::Finding;

pub use patterns::PatternKind;
use tables::Tables;

/// Rates are per second in the busiest hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The scheme of the source's URL: which database the application talks to.
    pub dialect: Box<str>,
    pub region: Box<str>,
    /// Others that hold a copy of everything.
    pub regions: Vec<Box<str>>,
    pub without: Vec<Box<str>>,
    /// US dollars per month.
    pub budget: Option<f64>,
    /// Of everything, per year: 0.4 is 40 %.
    pub growth: f64,
    /// Percent of a month, by contract.
    pub availability: Option<f64>,
    pub rto_s: Option<f64>,
    pub rpo_s: Option<f64>,
    /// The month's average over the busiest hour.
    pub average: f64,
    /// Share of the source's rows that is read often.
    pub hot: f64,
    /// Share of answers that crosses zones.
    pub cross_zone: f64,
    /// US dollars per month and engine beside the source.
    pub upkeep: f64,
    pub connections: Option<f64>,
    pub tables: Vec<TableLoad>,
    pub views: Vec<ViewLoad>,
    pub patterns: Vec<PatternLoad>,
    /// What was taken for granted, for people.
    pub assumptions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableLoad {
    pub name: String,
    pub rows: f64,
    pub row_bytes: f64,
    pub writes: f64,
    /// `declared`, or what the source is.
    pub said_by: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ViewLoad {
    pub name: Box<str>,
    pub documents: f64,
    pub document_bytes: f64,
    /// Documents that change per second.
    pub changes: f64,
    /// Whether it is kept in other orders than by its key as well.
    pub is_ordered: bool,
    pub shape: ViewShape,
    /// Whose rows it is made of: a name in [`Workload::tables`].
    pub table: String,
    /// Lists of rows inside its documents.
    pub embeds: Vec<EmbedLoad>,
    /// How much of it a cache holds by the file, and how long.
    pub part: Option<PartLoad>,
    /// Where not all of it is held in memory: what is.
    pub held: Option<Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewShape {
    Document,
    Ranking,
    Series,
    Edge,
}

/// A part of a view, as the file declares it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartLoad {
    pub documents: f64,
    pub ttl_s: Option<f64>,
}

/// What a store in memory has of a view that it does not hold all of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// Of the documents.
    pub share: f64,
    /// Documents per second that come in because a reader missed them.
    pub fills: f64,
}

/// A list of another table's rows inside each document.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedLoad {
    pub field: Box<str>,
    /// In one document, on average, and how large they are there.
    pub rows: f64,
    pub bytes: f64,
    /// Documents per second that change because of it.
    pub changes: f64,
    /// Of the other table: rows, and rows written per second.
    pub documents: f64,
    pub writes: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PatternLoad {
    pub name: Box<str>,
    pub kind: PatternKind,
    /// Places in [`Workload::views`].
    pub views: Vec<usize>,
    pub rate: f64,
    pub p99_ms: Option<f64>,
    /// How old an answer may be.
    pub stale_s: Option<f64>,
    pub strong: bool,
    /// Documents, points or edges that one answer is made of.
    pub rows: f64,
    /// Of one answer.
    pub bytes: f64,
    /// Rows that the source finds by an index for one answer, those embedded included.
    pub source_rows: f64,
    /// Rows that the source adds up for one answer.
    pub source_summed: f64,
    /// The order beside the view's key that the pattern reads in, if it needs one.
    pub index: Option<String>,
    /// What the database finds the first rows of an answer by.
    pub entry: Option<Entry>,
    /// Edges that one walk would read if all edges from the same rows had one label; `None` if that is not known or no more.
    pub rows_of_any_label: Option<f64>,
    /// Share of the rate that goes to one key.
    pub hottest: Option<f64>,
    /// Parts that one key's items are spread over.
    pub shards: f64,
}

/// An index of the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub index: String,
    /// That one answer goes through without it.
    pub rows: f64,
}

impl Workload {
    /// From the file, and from what the live source says if it can be reached.
    pub fn read(file: &File, facts: Option<&SourceFacts>) -> Result<Workload, Vec<Finding>> {
        let plan = match &file.plan {
            Some(plan) => plan.clone(),
            None if facts.is_some() => PlanSection::default(),
            None => {
                return Err(vec![Finding::at(
                    file,
                    "plan",
                    "the file has no [plan], and the source cannot be asked how large its tables are",
                    "add [plan], and for each table [plan.tables.NAME] with rows = 1_000_000, row = \"200B\", writes = \"10/s\"",
                )]);
            }
        };
        let mut read = Reading {
            file,
            facts,
            plan: &plan,
            findings: Vec::new(),
            assumptions: Vec::new(),
            full: Vec::new(),
        };
        let tables = read.tables();
        let views = read.views(&tables);
        let patterns = read.patterns(&tables, &views);
        let Reading { findings, mut assumptions, .. } = read;
        if !findings.is_empty() {
            return Err(findings);
        }
        let share = |millionths: u32| f64::from(millionths) / 1e6;
        if plan.average == 1_000_000 {
            assumptions.push(
                "rates are taken as going on day and night: `average` in [plan] says otherwise".to_owned(),
            );
        }
        Ok(Workload {
            dialect: scheme(file.source().url.reveal()).into(),
            region: plan.region.clone(),
            regions: plan.regions.clone(),
            without: plan.without.clone(),
            budget: plan.budget_usd.map(|usd| usd as f64),
            growth: plan.growth,
            availability: plan.availability.map(|millionths| f64::from(millionths) / 1e4),
            rto_s: plan.rto.map(|rto| rto.as_secs_f64()),
            rpo_s: plan.rpo.map(|rpo| rpo.as_secs_f64()),
            average: share(plan.average),
            hot: share(plan.hot),
            cross_zone: share(plan.cross_zone),
            upkeep: plan.upkeep_usd as f64,
            connections: plan.connections.map(|count| count as f64),
            tables: tables.loads(),
            views: views.into_iter().map(|view| view.load).collect(),
            patterns,
            assumptions,
        })
    }

    /// The same after some years of growth: more rows, more writes, more reads.
    pub fn grown(&self, years: f64) -> Workload {
        let factor = (1.0 + self.growth).powf(years);
        let mut grown = self.clone();
        for table in &mut grown.tables {
            table.rows *= factor;
            table.writes *= factor;
        }
        for view in &mut grown.views {
            view.documents *= factor;
            view.changes *= factor;
            for embed in &mut view.embeds {
                embed.documents *= factor;
                embed.changes *= factor;
                embed.writes *= factor;
            }
        }
        for pattern in &mut grown.patterns {
            pattern.rate *= factor;
            pattern.source_summed *= factor;
        }
        grown.connections = grown.connections.map(|count| count * factor);
        grown
    }

    /// Of all tables, without indexes.
    pub fn bytes(&self) -> f64 {
        self.tables.iter().map(|table| table.rows * table.row_bytes).sum()
    }

    pub fn writes(&self) -> f64 {
        self.tables.iter().map(|table| table.writes).sum()
    }
}

/// One reading of a file.
struct Reading<'a> {
    file: &'a File,
    facts: Option<&'a SourceFacts>,
    plan: &'a PlanSection,
    findings: Vec<Finding>,
    assumptions: Vec<String>,
    /// Access patterns whose answers are taken to have so many rows.
    full: Vec<(Box<str>, f64)>,
}

impl Reading<'_> {
    fn unknown(&mut self, path: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::at(self.file, path, what, remedy));
    }
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// `a, b and c`
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [all @ .., last] => {
            let all: Vec<&str> = all.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", all.join(", "), last.as_ref())
        }
    }
}

impl PatternLoad {
    /// Whether it reads the view of that name.
    pub(super) fn reads(&self, views: &[ViewLoad], name: &str) -> bool {
        self.views.iter().any(|place| *views[*place].name == *name)
    }
}
