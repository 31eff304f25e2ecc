//! What a running instance measured beside what the plan counts with, and what each difference costs.
//!
//! Owns: which figures are compared, and the workload that was measured. Not: measuring. Invariant: a figure is replaced only by
//! one that was measured of the same thing; what was not measured stays as declared, and is named.

use std::collections::BTreeMap;

use headwater_model::file::{File, PlanSection, PlannedAccess, PlannedView};
use headwater_model::{Embed, SourceFacts};
use serde::Serialize;

use super::choice::Limits;
use super::decide::monthly;
use super::explain::few;
use super::parallel;
use super::what_if::declared;
use super::workload::{PatternKind, Workload};
use crate::Finding;
use crate::catalog::{Catalog, Malformed};

/// What was counted over some time. Rates are per second, in the busiest hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// That were watched, between two times for people.
    pub hours: f64,
    pub from: String,
    pub to: String,
    pub patterns: BTreeMap<String, SeenReads>,
    /// Rows inserted, updated and deleted, by table; a followed table that is not there was not written.
    pub writes: BTreeMap<String, f64>,
    /// Documents that views have.
    pub documents: BTreeMap<String, f64>,
    /// The mean of all reads over the busiest hour, once there is enough to say.
    pub average: Option<f64>,
}

/// An access pattern as it was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenReads {
    pub rate: f64,
    /// Documents that an answer is made of.
    pub rows: Option<f64>,
    pub document_bytes: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// A figure that the plan counts with, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// As the file names it: `access.book_page.rate`.
    pub what: String,
    pub unit: Unit,
    /// Declared, or taken for granted; nothing where the file does not say and nobody could.
    pub planned: Option<f64>,
    pub observed: f64,
    /// US dollars per month: if only this were as observed. Nothing if it is as planned, or cannot be said.
    pub difference: Option<f64>,
    #[serde(skip)]
    subject: Subject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    PerSecond,
    Count,
    Bytes,
    Share,
}

/// What a figure is of, by its place in the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Subject {
    Rate(usize),
    AnswerRows(usize),
    Writes(usize),
    Rows(usize),
    RowBytes(usize),
    Documents(usize),
    DocumentBytes(usize),
    Average,
}

/// How fast a pattern was answered, and how fast it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub pattern: String,
    pub p99_ms: f64,
    pub p99_ms_asked: Option<f64>,
}

/// Measured beside planned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    pub hours: f64,
    pub from: String,
    pub to: String,
    pub figures: Vec<Figure>,
    pub latencies: Vec<Latency>,
    /// Access patterns that nobody asked for here: they stay as declared.
    pub unseen: Vec<String>,
}

/// Two workloads and what is different.
#[derive(Clone, Debug)]
pub struct Compared {
    pub declared: Workload,
    pub measured: Workload,
    pub beside: Beside,
}

/// Figures that are closer than this are the same.
const ALIKE: f64 = 0.05;

impl Figure {
    pub fn is_another(&self) -> bool {
        let Some(planned) = self.planned else { return true };
        let larger = planned.max(self.observed);
        larger > 0.0 && (planned - self.observed).abs() / larger > ALIKE
    }
}

/// The workload as the file has it, where access patterns without a rate get the one that was observed; and as it was measured;
/// and what is different.
pub fn observe(
    file: &File,
    facts: Option<&SourceFacts>,
    observed: &Observed,
    catalog: &Catalog,
    limits: Limits,
) -> Result<Result<Compared, Vec<Finding>>, Malformed> {
    let mut filled = file.clone();
    for access in &mut filled.access {
        let seen = observed.patterns.get(&*access.name).filter(|seen| seen.rate > 0.0);
        access.rate_per_second =
            access.rate_per_second.or_else(|| seen.map(|seen| (seen.rate.ceil() as u64).max(1)));
    }
    let declared = match Workload::read(&filled, facts) {
        Ok(workload) => workload,
        Err(findings) => return Ok(Err(findings)),
    };
    let mut figures = compared(file, facts, &declared, observed);
    let with = |figures: &[&Figure]| changed(&filled, facts, &declared, figures);
    // What the file leaves open is as observed on both sides.
    let open: Vec<&Figure> = figures.iter().filter(|figure| figure.planned.is_none()).collect();
    let declared = match with(&open) {
        Ok(workload) => workload,
        Err(findings) => return Ok(Err(findings)),
    };
    let limits = few(declared.patterns.len(), limits);
    let now = monthly(&declared, catalog, limits)?;
    let differences = parallel::each(figures.len(), |at| {
        let figure = &figures[at];
        if figure.planned.is_none() || !figure.is_another() {
            return Ok(None);
        }
        let Ok(alone) = with(&open.iter().copied().chain([figure]).collect::<Vec<_>>()) else {
            return Ok(None);
        };
        let then = monthly(&alone, catalog, limits)?;
        Ok(then.zip(now).map(|(then, now)| then - now))
    });
    let differences: Vec<Option<f64>> = differences.into_iter().collect::<Result<_, _>>()?;
    let measured = match with(&figures.iter().collect::<Vec<_>>()) {
        Ok(workload) => workload,
        Err(findings) => return Ok(Err(findings)),
    };
    figures.iter_mut().zip(differences).for_each(|(figure, difference)| figure.difference = difference);
    let seen = |name: &str| observed.patterns.get(name).filter(|seen| seen.rate > 0.0);
    let latencies = declared.patterns.iter().filter_map(|pattern| {
        let p99_ms = seen(&pattern.name)?.p99_ms?;
        Some(Latency { pattern: pattern.name.to_string(), p99_ms, p99_ms_asked: pattern.p99_ms })
    });
    let unseen = declared.patterns.iter().filter(|pattern| seen(&pattern.name).is_none());
    let beside = Beside {
        hours: observed.hours,
        from: observed.from.clone(),
        to: observed.to.clone(),
        latencies: latencies.collect(),
        unseen: unseen.map(|pattern| pattern.name.to_string()).collect(),
        figures,
    };
    Ok(Ok(Compared { declared, measured, beside }))
}

/// Every figure that was measured of something that the plan counts with.
fn compared(
    file: &File,
    facts: Option<&SourceFacts>,
    workload: &Workload,
    observed: &Observed,
) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut figure = |subject, what: String, unit, planned, observed| {
        figures.push(Figure { what, unit, planned, observed, difference: None, subject });
    };
    let mut sized: Vec<usize> = Vec::new();
    let mut sizes = Vec::new();
    for (place, pattern) in workload.patterns.iter().enumerate() {
        let Some(seen) = observed.patterns.get(&*pattern.name).filter(|seen| seen.rate > 0.0) else {
            continue;
        };
        let declared = file.access.iter().find(|access| access.name == pattern.name);
        let declared = declared.is_some_and(|access| access.rate_per_second.is_some());
        let path = |key| format!("access.{}.{key}", pattern.name);
        let planned = declared.then_some(pattern.rate);
        figure(Subject::Rate(place), path("rate"), Unit::PerSecond, planned, seen.rate);
        let pages = matches!(pattern.kind, PatternKind::Range | PatternKind::Window { summed: false });
        if let (true, Some(rows)) = (pages, seen.rows) {
            let what = format!("plan.access.{}.rows", pattern.name);
            figure(Subject::AnswerRows(place), what, Unit::Count, Some(pattern.rows), rows);
        }
        let whole = matches!(pattern.kind, PatternKind::Get | PatternKind::Range);
        if let (true, Some(bytes), [view]) = (whole, seen.document_bytes, &pattern.views[..])
            && !sized.contains(view)
        {
            sized.push(*view);
            sizes.push((*view, bytes));
        }
    }
    for (view, bytes) in sizes {
        let load = &workload.views[view];
        let what = format!("plan.views.{}.document", load.name);
        figure(Subject::DocumentBytes(view), what, Unit::Bytes, Some(load.document_bytes), bytes);
    }
    for (place, view) in workload.views.iter().enumerate() {
        if let Some(documents) = observed.documents.get(&*view.name) {
            let what = format!("plan.views.{}.documents", view.name);
            figure(Subject::Documents(place), what, Unit::Count, Some(view.documents), *documents);
        }
    }
    let followed = followed(file);
    for (place, table) in workload.tables.iter().enumerate() {
        let path = |key| format!("plan.tables.{}.{key}", table.name);
        if followed.iter().any(|name| is_same(name, &table.name)) {
            let seen = observed.writes.iter().find(|(name, _)| is_same(name, &table.name));
            let planned = Some(table.writes);
            figure(
                Subject::Writes(place),
                path("writes"),
                Unit::PerSecond,
                planned,
                seen.map_or(0.0, |(_, rate)| *rate),
            );
        }
        let known = facts.into_iter().flat_map(|facts| &facts.tables);
        let mut known = known.filter(|facts| facts.rows_estimate > 0);
        let found =
            known.find(|facts| is_same(&headwater_model::file::show_table_name(&facts.name), &table.name));
        if let Some(facts) = found {
            let rows = facts.rows_estimate as f64;
            figure(Subject::Rows(place), path("rows"), Unit::Count, Some(table.rows), rows);
            if facts.bytes_estimate > 0 {
                let bytes = (facts.bytes_estimate as f64 / rows).max(1.0);
                figure(Subject::RowBytes(place), path("row"), Unit::Bytes, Some(table.row_bytes), bytes);
            }
        }
    }
    if let Some(average) = observed.average {
        let what = "plan.average".to_owned();
        figure(Subject::Average, what, Unit::Share, Some(workload.average), average);
    }
    figures
}

/// The tables that views read: what the others' rows do is not in the log that is followed.
fn followed(file: &File) -> Vec<String> {
    fn embedded(embeds: &[Embed], names: &mut Vec<String>) {
        for embed in embeds {
            names.push(headwater_model::file::show_table_name(&embed.from));
            embedded(&embed.embeds, names);
        }
    }
    let mut names = Vec::new();
    for view in &file.views {
        names.push(headwater_model::file::show_table_name(&view.from));
        embedded(&view.embeds, &mut names);
    }
    names
}

/// Whether two names, with a schema or without one, mean the same table.
fn is_same(a: &str, b: &str) -> bool {
    let (longer, shorter) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    longer.strip_suffix(shorter).is_some_and(|schema| schema.is_empty() || schema.ends_with('.'))
}

/// The workload as if the file said these figures.
fn changed(
    file: &File,
    facts: Option<&SourceFacts>,
    now: &Workload,
    figures: &[&Figure],
) -> Result<Workload, Vec<Finding>> {
    let mut file = file.clone();
    let whole = |amount: f64| (amount.round() as u64).max(1);
    for figure in figures {
        let amount = figure.observed;
        match figure.subject {
            Subject::Writes(table) | Subject::Rows(table) | Subject::RowBytes(table) => {
                // The name is one that the workload has, so it reads.
                let Ok(table) = declared(&mut file, &now.tables[table].name) else { continue };
                match figure.subject {
                    Subject::Writes(_) => table.writes_per_second = Some(amount),
                    Subject::Rows(_) => table.rows = Some(whole(amount)),
                    _ => table.row_bytes = Some(whole(amount)),
                }
            }
            Subject::Documents(view) | Subject::DocumentBytes(view) => {
                let plan = file.plan.get_or_insert_with(PlanSection::default);
                let name = &now.views[view].name;
                let at = plan.views.iter().position(|planned| planned.view == *name).unwrap_or_else(|| {
                    let view = name.clone();
                    plan.views.push(PlannedView { view, documents: None, document_bytes: None });
                    plan.views.len() - 1
                });
                match figure.subject {
                    Subject::Documents(_) => plan.views[at].documents = Some(whole(amount)),
                    _ => plan.views[at].document_bytes = Some(whole(amount)),
                }
            }
            Subject::AnswerRows(pattern) => {
                let plan = file.plan.get_or_insert_with(PlanSection::default);
                let access = &now.patterns[pattern].name;
                match plan.access.iter_mut().find(|planned| planned.access == *access) {
                    Some(planned) => planned.rows = Some(whole(amount)),
                    None => plan.access.push(PlannedAccess {
                        access: access.clone(),
                        rows: Some(whole(amount)),
                        hottest: None,
                        strong: false,
                    }),
                }
            }
            Subject::Average => {
                let plan = file.plan.get_or_insert_with(PlanSection::default);
                plan.average = ((amount * 1e6).round() as u32).clamp(1, 1_000_000);
            }
            Subject::Rate(_) => {}
        }
    }
    let mut workload = Workload::read(&file, facts)?;
    for figure in figures {
        // The file has whole reads per second only.
        if let Subject::Rate(pattern) = figure.subject {
            workload.patterns[pattern].rate = figure.observed;
        }
    }
    Ok(workload)
}
