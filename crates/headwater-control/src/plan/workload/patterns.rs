//! How often each access pattern is asked for, and what one answer is made of.

use std::fmt;

use headwater_model::{Access, HopLabel, Pattern, TableName, View, ViewKind};

use super::views::{Sized, pointed_at};
use super::{Entry, PatternLoad, Reading, Tables};
use crate::plan::report::figure;

#[derive(Clone, Debug, PartialEq)]
pub enum PatternKind {
    Get,
    Range,
    Top,
    Walk {
        hops: usize,
    },
    /// `summed`: figures per bucket, rather than points.
    Window {
        summed: bool,
    },
}

/// More answers than this that are taken as full are said in one line.
const FULL_LINES_MAX: usize = 5;

impl fmt::Display for PatternKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatternKind::Get => "get",
            PatternKind::Range => "range",
            PatternKind::Top => "top",
            PatternKind::Walk { .. } => "walk",
            PatternKind::Window { .. } => "window",
        })
    }
}

impl Reading<'_> {
    pub(super) fn patterns(&mut self, tables: &Tables<'_>, views: &[Sized]) -> Vec<PatternLoad> {
        if self.file.access.is_empty() {
            self.unknown(
                "access",
                "the file has no access patterns: there is nothing to choose engines for",
                "say how the application reads: [access.NAME] with get = \"view\" and rate = \"100/s\"",
            );
        }
        let patterns =
            self.file.access.iter().filter_map(|access| self.pattern(access, tables, views)).collect();
        self.take();
        patterns
    }

    /// What was taken for granted of answers: each in a line, or all of many in one.
    fn take(&mut self) {
        let full = std::mem::take(&mut self.full);
        if let (Some((first, _)), true) = (full.first(), full.len() > FULL_LINES_MAX) {
            self.assumptions.push(format!(
                "answers of {first} and {} other access patterns are taken as full, as many rows as their `limit`: `rows` in [plan.access.NAME] says otherwise",
                full.len() - 1
            ));
            return;
        }
        for (name, rows) in full {
            self.assumptions.push(format!(
                "answers of {name} are taken as full, {} rows each: `rows` in [plan.access.{name}] says otherwise",
                figure(rows)
            ));
        }
    }

    fn pattern(&mut self, access: &Access, tables: &Tables<'_>, sized: &[Sized]) -> Option<PatternLoad> {
        let path = format!("access.{}", access.name);
        let read = access.pattern.reads(&self.file.views);
        let views: Vec<usize> = (0..self.file.views.len())
            .filter(|place| read.iter().any(|view| view.name == self.file.views[*place].name))
            .collect();
        let Some(rate) = access.rate_per_second else {
            self.unknown(
                &path,
                format!("access pattern `{}` has no rate", access.name),
                "say how often it is asked for in the busiest hour: rate = \"100/s\"",
            );
            return None;
        };
        let (view, view_load) = (*read.first()?, &sized[*views.first()?]);
        let declared = self.plan.access.iter().find(|declared| declared.access == access.name);
        let said = declared.and_then(|d| d.rows).map(|rows| rows as f64);
        let document = view_load.load.document_bytes;
        let documents = view_load.load.documents;
        let per_document = view_load.rows_per_document;
        let table_rows = tables.get(&view.from).map_or(1.0, |table| table.rows);
        let (kind, rows, bytes, source_rows, source_summed) = match &access.pattern {
            Pattern::Get { .. } => {
                (PatternKind::Get, 1.0, document, per_document, self.ranked(view, documents, table_rows))
            }
            Pattern::Range { limit, .. } => {
                let rows = said.unwrap_or(*limit as f64).min(documents);
                if said.is_none() {
                    self.taken(access, rows);
                }
                (
                    PatternKind::Range,
                    rows,
                    rows * document,
                    rows * per_document,
                    self.ranked(view, documents, table_rows) * rows,
                )
            }
            Pattern::Top { limit, .. } => {
                let rows = (*limit as f64).min(documents);
                let summed = said.unwrap_or_else(|| table_rows / self.parts(view, tables));
                (PatternKind::Top, rows, rows * document, 0.0, summed)
            }
            Pattern::Walk { hops, limit } => {
                let edges = said.or_else(|| self.edges(access, tables));
                let Some(edges) = edges else {
                    self.unknown(
                        &format!("{path}.walk"),
                        format!(
                            "access pattern `{}`: it is not known how many edges one walk reads",
                            access.name
                        ),
                        format!("declare it: [plan.access.{}] with rows = 400", access.name),
                    );
                    return None;
                };
                (PatternKind::Walk { hops: hops.len() }, edges, *limit as f64 * 32.0, edges, 0.0)
            }
            Pattern::Window { buckets, figures, limit, .. } => {
                let summed = buckets.is_some() || !figures.is_empty();
                let points = said.or((!summed).then_some(*limit as f64)).map(|rows| rows.min(documents));
                let Some(points) = points else {
                    self.unknown(
                        &format!("{path}.window"),
                        format!(
                            "access pattern `{}`: it is not known how many points one answer adds up",
                            access.name
                        ),
                        format!("declare it: [plan.access.{}] with rows = 1_000", access.name),
                    );
                    return None;
                };
                if said.is_none() {
                    self.taken(access, points);
                }
                let bytes = if summed { points.min(*limit as f64) * 48.0 } else { points * document };
                let (found, added) = if summed { (0.0, points) } else { (points, 0.0) };
                (PatternKind::Window { summed }, points, bytes, found, added)
            }
        };
        let index = match &access.pattern {
            Pattern::Range { by, order, .. } if !(by.is_empty() && order.is_empty()) => {
                let order =
                    order.iter().map(|o| format!("{}{}", if o.descending { "-" } else { "" }, o.column));
                Some(format!(
                    "{}: by [{}], order [{}]",
                    view.name,
                    by.join(", "),
                    order.collect::<Vec<_>>().join(", ")
                ))
            }
            Pattern::Top { .. } => Some(format!("{}: by score", view.name)),
            _ => None,
        };
        Some(PatternLoad {
            name: access.name.clone(),
            kind,
            views,
            rate: rate as f64,
            p99_ms: access.p99.map(|p99| p99.as_secs_f64() * 1e3),
            stale_s: access.stale.map(|stale| stale.as_secs_f64()),
            strong: declared.is_some_and(|declared| declared.strong),
            rows,
            bytes,
            source_rows,
            source_summed,
            entry: self.entry(access, view, &index, documents, tables),
            rows_of_any_label: self.of_any_label(access, rows, tables),
            index,
            hottest: declared.and_then(|d| d.hottest).map(|share| f64::from(share) / 1e6),
            shards: 1.0,
        })
    }

    fn taken(&mut self, access: &Access, rows: f64) {
        if rows > 1.0 {
            self.full.push((access.name.clone(), rows));
        }
    }

    /// What the source adds up for one group of a ranking.
    fn ranked(&self, view: &View, groups: f64, rows: f64) -> f64 {
        if matches!(view.kind, ViewKind::Ranking(_)) { rows / groups.max(1.0) } else { 0.0 }
    }

    /// How many rankings of its own a view has, for all that is known.
    fn parts(&self, view: &View, tables: &Tables<'_>) -> f64 {
        let ViewKind::Ranking(ranking) = &view.kind else { return 1.0 };
        let facts = tables.facts(&view.from);
        let parts = ranking.within.iter().filter_map(|column| pointed_at(facts?, column, tables));
        parts.product::<f64>().max(1.0)
    }

    /// What the database finds the first rows of an answer by, and what it goes through without.
    fn entry(
        &self,
        access: &Access,
        view: &View,
        order: &Option<String>,
        documents: f64,
        tables: &Tables<'_>,
    ) -> Option<Entry> {
        match (&access.pattern, &view.kind) {
            (Pattern::Range { .. }, _) => Some(Entry { index: order.clone()?, rows: documents }),
            (Pattern::Window { .. }, ViewKind::Series(series)) => {
                let columns: Vec<&str> =
                    series.tags.iter().map(|tag| &**tag).chain([&*series.time]).collect();
                let index = format!("{}: on [{}]", view.name, columns.join(", "));
                Some(Entry { index, rows: tables.get(&view.from)?.rows })
            }
            (Pattern::Walk { hops, .. }, _) => {
                let (mut indexes, mut rows) = (Vec::new(), 0.0);
                for hop in hops {
                    for (view, column) in self.leaving(hop) {
                        rows += tables.get(&view.from)?.rows;
                        let index = format!("{}: by {column}", view.name);
                        if !indexes.contains(&index) {
                            indexes.push(index);
                        }
                    }
                }
                Some(Entry { index: super::listed(&indexes), rows })
            }
            _ => None,
        }
    }

    /// The edges of a hop's label, and the column that a walk comes from.
    fn leaving<'h>(&self, hop: &'h HopLabel) -> impl Iterator<Item = (&View, &str)> + use<'_, 'h> {
        let against = hop.against;
        self.file.views.iter().filter_map(move |view| match &view.kind {
            ViewKind::Edge(edge) if edge.label == hop.label => {
                Some((view, &**if against { &edge.target } else { &edge.source }))
            }
            _ => None,
        })
    }

    /// Edges that a walk reads, if the source says how many vertices there are: hop by hop, as many as leave the average one.
    fn edges(&self, access: &Access, tables: &Tables<'_>) -> Option<f64> {
        let Pattern::Walk { hops, .. } = &access.pattern else { return None };
        let (mut reached, mut edges) = (1.0, 0.0);
        for hop in hops {
            let mut leaving = 0.0;
            for (view, column) in self.leaving(hop) {
                let vertices = pointed_at(tables.facts(&view.from)?, column, tables)?;
                leaving += tables.get(&view.from)?.rows / vertices.max(1.0);
            }
            reached *= leaving;
            edges += reached;
        }
        Some(f64::max(edges, 1.0))
    }

    /// Edges that a walk would read if every edge between rows of the same tables as its own had one label: as many times more as
    /// leave each row, hop by hop. Where the source does not say which tables the ends of edges point at, it is not known.
    fn of_any_label(&self, access: &Access, rows: f64, tables: &Tables<'_>) -> Option<f64> {
        let Pattern::Walk { hops, .. } = &access.pattern else { return None };
        let ends = |view: &View, column: &str| -> Option<TableName> {
            let facts = tables.facts(&view.from)?;
            let mut keys = facts.foreign_keys.iter();
            let key = keys.find(|key| matches!(&key.columns[..], [one] if **one == *column))?;
            Some(key.to.clone())
        };
        let mut times = 1.0;
        for hop in hops {
            let (mut own, mut from) = (0.0, Vec::new());
            for (view, column) in self.leaving(hop) {
                own += tables.get(&view.from)?.rows;
                from.push(ends(view, column)?);
            }
            let mut all = 0.0;
            for view in &self.file.views {
                let ViewKind::Edge(edge) = &view.kind else { continue };
                let column = if hop.against { &edge.target } else { &edge.source };
                if ends(view, column).is_some_and(|end| from.contains(&end)) {
                    all += tables.get(&view.from)?.rows;
                }
            }
            times *= (all / own.max(1.0)).max(1.0);
        }
        (times > 1.0).then_some(rows * times)
    }
}
