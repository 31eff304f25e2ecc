//! Random access patterns over the views of a workload: every kind of pattern, of every kind of view.

use std::time::Duration;

use headwater_model::{
    Access, Buckets, Edge, Figure, FigureFunction, HopLabel, Order, Pattern, Series, TableName, View,
    ViewKind,
};

use super::Workload;
use super::schema::{Kind, Table};
use crate::Chance;

/// Labels of the edges between whole numbers, each of which several views may have.
const LABELS: [&str; 2] = ["NEAR", "FAR"];

impl Workload {
    /// Adds to [`Workload::views`] the edges that long walks go along and a series by the clock, and gives random access patterns
    /// over all of them. One is always there: `pair`, which reads both rows of the pair.
    pub fn patterns(&self, views: &mut Vec<View>, chance: &mut Chance) -> Vec<Access> {
        let stores = views.first().map(|view| view.stores.clone()).unwrap_or_default();
        for (at, label) in
            [LABELS[0], LABELS[1], LABELS[1], LABELS[chance.below(2) as usize]].iter().enumerate()
        {
            let table = chance.pick(&self.schema.tables);
            let mut view = plain(&format!("edge{at}"), &stores, table, edge(table, label, chance));
            view.filter = chance.one_in(3).then(|| "rank <> 3".into());
            views.push(view);
        }
        views.extend(self.clock(&stores, chance));

        let mut patterns = vec![Pattern::Range {
            view: "pair".into(),
            by: Vec::new(),
            order: vec![Order { column: "version".into(), descending: false }],
            limit: 2,
        }];
        for view in views.iter() {
            self.of_kind(view, chance, &mut patterns);
        }
        for _ in 0..12 {
            let view = chance.pick(views);
            patterns.push(range(view, self.fields(view), chance));
        }
        for _ in 0..5 {
            patterns.push(walk(chance));
        }
        let access = |(at, pattern): (usize, Pattern)| Access {
            name: if at == 0 { "pair".into() } else { format!("{}{at}", pattern.name()).into() },
            pattern,
            stores: Vec::new(),
            source: true,
            stale: None,
            rate_per_second: None,
            p99: None,
        };
        patterns.into_iter().enumerate().map(access).collect()
    }

    /// `clock`, a series by the clock, if a table has times.
    pub fn clock(&self, stores: &[Box<str>], chance: &mut Chance) -> Option<View> {
        let is_timed = |table: &&Table| table.columns.iter().any(|(_, kind)| *kind == Kind::Time);
        let table = self.schema.tables.iter().find(is_timed)?;
        Some(plain("clock", stores, table, clock(table, chance)))
    }

    /// What only views of this kind have.
    fn of_kind(&self, view: &View, chance: &mut Chance, patterns: &mut Vec<Pattern>) {
        patterns.push(Pattern::Get { view: view.name.clone() });
        match &view.kind {
            ViewKind::Document => {}
            ViewKind::Ranking(_) => {
                patterns.push(Pattern::Top { view: view.name.clone(), limit: limit(chance) })
            }
            ViewKind::Edge(edge) if &*edge.label == "KNOWS" => {
                // Its ends may be of different kinds, so the only way on is back.
                let hop = |against| HopLabel { label: edge.label.clone(), against };
                let against = chance.one_in(2);
                let mut hops = vec![hop(against)];
                if chance.one_in(2) {
                    hops.push(hop(!against));
                }
                patterns.push(Pattern::Walk { hops, limit: limit(chance) });
            }
            ViewKind::Edge(_) => {}
            ViewKind::Series(series) => {
                let mut window = |every: Option<Duration>, figures| {
                    let buckets = every.map(Buckets::of);
                    let (view, limit) = (view.name.clone(), limit(chance));
                    patterns.push(Pattern::Window { view, buckets, figures, limit });
                };
                window(None, Vec::new());
                if &*series.time == "at" {
                    for seconds in [1, 3600, 86_400, 604_800] {
                        let figures = self.figures(view, series);
                        window(Some(Duration::from_secs(seconds)), figures);
                    }
                }
            }
        }
    }

    /// Every function of every field that has it.
    fn figures(&self, view: &View, series: &Series) -> Vec<Figure> {
        use FigureFunction::{Avg, Count, First, Last, Max, Min, Percentile, Sum};
        let kinds = self.fields(view);
        let mut figures = vec![Figure { name: "n".into(), function: Count, column: None }];
        for field in &series.fields {
            let kind = kinds.iter().find(|(name, _)| *name == **field).map(|(_, kind)| *kind);
            let exact = matches!(kind, Some(Kind::Int | Kind::Small | Kind::Decimal | Kind::Reference(_)));
            for function in [Count, Min, Max, First, Last, Percentile(50), Percentile(95), Sum, Avg] {
                if exact || !matches!(function, Sum | Avg) {
                    let name = format!("{}_{field}", function.name()).into();
                    figures.push(Figure { name, function, column: Some(field.clone()) });
                }
            }
        }
        figures
    }

    /// The fields of a view's own row that something may be ordered by.
    fn fields(&self, view: &View) -> Vec<(String, Kind)> {
        let Some(table) = self.schema.tables.iter().find(|table| *table.name == *view.from.name) else {
            return ["id", "amount", "version"].map(|name| (name.to_owned(), Kind::Int)).into();
        };
        let mut all = vec![("id".to_owned(), Kind::Int)];
        all.extend(table.columns.iter().cloned());
        if let Some(columns) = &view.columns {
            let kind = |column: &str| {
                all.iter().find(|(name, _)| name == column).map_or(Kind::Int, |(_, kind)| *kind)
            };
            return columns.iter().map(|(column, field)| (field.to_string(), kind(column))).collect();
        }
        match &view.kind {
            ViewKind::Document | ViewKind::Edge(_) => {}
            ViewKind::Ranking(ranking) => {
                all.retain(|(name, _)| ranking.by.iter().chain(&ranking.within).any(|by| **by == **name));
                all.push(("score".into(), Kind::Int));
            }
            ViewKind::Series(series) => all.retain(|(name, _)| {
                let has = |names: &[Box<str>]| names.iter().any(|other| **other == **name);
                name == "id" || **name == *series.time || has(&series.tags) || has(&series.fields)
            }),
        }
        all
    }
}

fn plain(name: &str, stores: &[Box<str>], table: &Table, kind: ViewKind) -> View {
    View {
        name: name.into(),
        from: TableName::new(None, &table.name),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: stores.to_vec(),
        parts: Vec::new(),
        layout: None,
        kind,
        indexes: Vec::new(),
    }
}

fn limit(chance: &mut Chance) -> usize {
    1 + chance.below(12) as usize
}

fn edge(table: &Table, label: &str, chance: &mut Chance) -> ViewKind {
    let mut ends: Vec<Box<str>> = vec!["id".into()];
    let whole = |kind: &Kind| matches!(kind, Kind::Small | Kind::Reference(_));
    ends.extend(table.columns.iter().filter(|(_, kind)| whole(kind)).map(|(name, _)| name.as_str().into()));
    let source = ends.swap_remove(chance.below(ends.len() as u64) as usize);
    let target = chance.pick(&ends).clone();
    ViewKind::Edge(Edge { source, label: label.into(), target })
}

/// Of few parts, so that buckets have several points.
fn clock(table: &Table, chance: &mut Chance) -> ViewKind {
    let others = table.columns.iter().filter(|(name, kind)| *kind != Kind::Time && name != "rank");
    let fields = others.map(|(name, _)| name.as_str().into()).collect();
    let tags = if chance.one_in(2) { vec!["rank".into()] } else { Vec::new() };
    ViewKind::Series(Series { time: "at".into(), tags, fields })
}

fn range(view: &View, mut fields: Vec<(String, Kind)>, chance: &mut Chance) -> Pattern {
    let mut take = |chance: &mut Chance, wanted: fn(Kind) -> bool| {
        let fit: Vec<usize> = (0..fields.len()).filter(|at| wanted(fields[*at].1)).collect();
        (!fit.is_empty()).then(|| Box::from(fields.remove(*chance.pick(&fit)).0))
    };
    let mut by = Vec::new();
    for _ in 0..chance.below(3) {
        by.extend(take(chance, |kind| kind != Kind::Long));
    }
    let mut order: Vec<Order> = Vec::new();
    for _ in 0..chance.below(4) {
        let column = take(chance, |_| true);
        order.extend(column.map(|column| Order { column, descending: chance.one_in(2) }));
    }
    Pattern::Range { view: view.name.clone(), by, order, limit: limit(chance) }
}

fn walk(chance: &mut Chance) -> Pattern {
    let hop =
        |chance: &mut Chance| HopLabel { label: (*chance.pick(&LABELS)).into(), against: chance.one_in(2) };
    let hops = (0..1 + chance.below(3)).map(|_| hop(chance)).collect();
    Pattern::Walk { hops, limit: limit(chance) }
}
