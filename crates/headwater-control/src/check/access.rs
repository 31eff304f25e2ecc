//! Access patterns against the views they read: names resolved, parameters and fields typed, orders given to the views.

use std::sync::Arc;

use headwater_model::{
    Access, AccessPlan, Buckets, ColumnType, Field, FieldShape, Figure, FigureFunction, Hop, HopLabel, Index,
    Order, Param, ParamRole, Pattern, PlannedRead, Series, View, ViewKind,
};

use super::Look;
use super::embeds::comparable;
use super::fields::Own;
use super::kinds::{is_number, sorts, sum, type_of};

/// Edges that one walk may read; beyond it the answer is an error rather than incomplete.
const WALK_EDGES_MAX: usize = 100_000;
/// Members of a ranking that are read at once by those who name no access pattern.
const VIEW_TOP_LIMIT: usize = 1_000;
/// The parameters that reads have whatever their fields are called.
pub(crate) const OWN_PARAMS: [&str; 8] =
    ["from", "to", "start", "limit", "cursor", "reverse", "every", "position"];

impl<'a> Look<'a> {
    /// Gives the view the order that a pattern reads in: its place in [`View::indexes`]. `None` if a name is wrong, or
    /// there is none to give.
    pub(super) fn index(&mut self, access: &Access, views: &mut [View]) -> Option<usize> {
        let Pattern::Range { view, by, order, .. } = &access.pattern else { return None };
        let view = views.iter_mut().find(|candidate| candidate.name == *view)?;
        let fields = self.own_fields(view)?;
        let path = format!("access.{}", access.name);
        let mut fine = true;
        let names = by.iter().map(|name| ("by", name)).chain(order.iter().map(|o| ("order", &o.column)));
        for (setting, name) in names {
            let at = format!("{path}.{setting}");
            match self.field(&at, view, &fields, name) {
                Some(field) if sorts(&field.kind) => {}
                Some(field) => {
                    self.wrong(
                        &at,
                        format!(
                            "`{name}` of view `{}` is {}, which has no order",
                            view.name, field.type_name
                        ),
                        "name a field that holds one plain value",
                    );
                    fine = false;
                }
                None => fine = false,
            }
        }
        if !fine {
            return None;
        }
        let index = Index { by: by.clone(), order: order.clone() };
        Some(view.indexes.iter().position(|known| *known == index).unwrap_or_else(|| {
            view.indexes.push(index);
            view.indexes.len() - 1
        }))
    }

    /// The pattern with everything typed; `None` if something is wrong, which has been reported.
    pub(super) fn plan(
        &mut self,
        access: &Access,
        index: Option<usize>,
        views: &[Arc<View>],
    ) -> Option<AccessPlan> {
        let path = format!("access.{}", access.name);
        let view = |name: &str| views.iter().find(|view| *view.name == *name).cloned();
        let (read, params, fields) = match &access.pattern {
            Pattern::Get { view: name } => {
                let view = view(name)?;
                let params = self.key_params(&format!("{path}.get"), &view)?;
                let fields = self.fields(&view)?;
                (PlannedRead::Get { view }, params, fields)
            }
            Pattern::Range { view: name, limit, .. } => {
                let (view, index) = (view(name)?, index?);
                let mut params = self.by_params(&format!("{path}.by"), &view, index)?;
                params.extend(self.bounds(&view, index)?);
                let fields = self.fields(&view)?;
                (PlannedRead::Range { view, index, limit: *limit }, params, fields)
            }
            Pattern::Top { view: name, limit } => {
                let view = view(name)?;
                let params = self.by_params(&format!("{path}.top"), &view, 0)?;
                let fields = self.fields(&view)?;
                (PlannedRead::Range { view, index: 0, limit: *limit }, params, fields)
            }
            Pattern::Walk { hops, limit } => self.walk(&format!("{path}.walk"), hops, *limit, views)?,
            Pattern::Window { view: name, buckets, figures, limit } => {
                let view = view(name)?;
                let mut params = self.by_params(&format!("{path}.window"), &view, 0)?;
                params.extend(self.bounds(&view, 0)?);
                let fields = match buckets {
                    Some(buckets) => self.buckets(&path, &view, buckets, figures)?,
                    None => self.fields(&view)?,
                };
                let (buckets, figures, limit) = (buckets.clone(), figures.clone(), *limit);
                (PlannedRead::Window { view, index: 0, buckets, figures, limit }, params, fields)
            }
        };
        let stores = stores(access, &read);
        Some(AccessPlan { access: access.clone(), read, params, fields, stores })
    }

    /// Plans for views as such. What stands in the way of one is no finding: nobody has asked for it.
    pub(super) fn by_view(&mut self, views: &[Arc<View>]) -> Vec<AccessPlan> {
        let known = self.findings.len();
        let mut plans = Vec::new();
        for view in views {
            let name = view.name.clone();
            let mut patterns = vec![Pattern::Get { view: name.clone() }];
            if matches!(view.kind, ViewKind::Ranking(_)) {
                patterns.push(Pattern::Top { view: name.clone(), limit: VIEW_TOP_LIMIT });
            }
            for pattern in patterns {
                let access = Access {
                    name: name.clone(),
                    pattern,
                    stores: Vec::new(),
                    source: true,
                    stale: None,
                    rate_per_second: None,
                    p99: None,
                };
                plans.extend(self.plan(&access, None, views));
            }
        }
        self.findings.truncate(known);
        plans
    }

    /// A parameter per column of the key, named as its field if the document has it.
    fn key_params(&mut self, path: &str, view: &View) -> Option<Vec<Param>> {
        let table = self.table_of(&view.from)?;
        let key: Vec<&Box<str>> = match &view.kind {
            ViewKind::Ranking(ranking) => ranking.within.iter().chain(&ranking.by).collect(),
            _ => table.key.iter().collect(),
        };
        let mut params = Vec::with_capacity(key.len());
        for name in key {
            let column = table.columns.iter().find(|column| column.name == *name)?;
            if !sorts(&column.kind) {
                self.wrong(
                    path,
                    format!("the key of view `{}` has `{name}`, which is {}", view.name, type_of(column)),
                    "only documents with keys of plain values can be asked for by key",
                );
                return None;
            }
            let field = view.columns.iter().flatten().find(|(column, _)| column == name);
            let name = field.map_or(name, |(_, field)| field);
            params.push(param(Own::of(column, name), ParamRole::Key, true));
        }
        Some(params)
    }

    /// A parameter per field of the index's `by`.
    fn by_params(&mut self, path: &str, view: &View, index: usize) -> Option<Vec<Param>> {
        let fields = self.own_fields(view)?;
        let mut params = Vec::new();
        for name in &view.indexes.get(index)?.by {
            if OWN_PARAMS.contains(&&**name) {
                self.wrong(
                    path,
                    format!(
                        "`{name}` is a parameter of every such pattern, and a field of view `{}`",
                        view.name
                    ),
                    "give the field another name: columns = { other_name = \"column\" }",
                );
                return None;
            }
            let field = fields.iter().find(|field| field.name == *name)?;
            params.push(param(field.clone(), ParamRole::By, true));
        }
        Some(params)
    }

    /// `from` and `to` on the first field of the index's order, if it has one.
    fn bounds(&self, view: &View, index: usize) -> Option<Vec<Param>> {
        let Some(Order { column, .. }) = view.indexes.get(index)?.order.first() else {
            return Some(Vec::new());
        };
        let field = self.own_fields(view)?.into_iter().find(|field| field.name == *column)?;
        let bound = |name: &str, role| param(Own { name: name.into(), ..field.clone() }, role, false);
        Some(vec![bound("from", ParamRole::From), bound("to", ParamRole::To)])
    }

    fn walk(
        &mut self,
        path: &str,
        labels: &[HopLabel],
        limit: usize,
        views: &[Arc<View>],
    ) -> Option<(PlannedRead, Vec<Param>, Vec<Field>)> {
        let mut hops = Vec::with_capacity(labels.len());
        // Where the walk stands: the field of the vertex, and the view it is of.
        let mut start: Option<Own> = None;
        let mut stands: Option<(Own, Arc<View>)> = None;
        for HopLabel { label, against } in labels {
            let along: Vec<Arc<View>> = views.iter().filter(|view| has_label(view, label)).cloned().collect();
            let mut arrives: Option<(Own, Arc<View>)> = None;
            for view in &along {
                let ViewKind::Edge(edge) = &view.kind else { continue };
                let (leave, arrive) =
                    if *against { (&edge.target, &edge.source) } else { (&edge.source, &edge.target) };
                let fields = self.own_fields(view)?;
                let find = |name: &str| fields.iter().find(|field| *field.name == *name).cloned();
                let (leave, arrive) = (find(leave)?, find(arrive)?);
                if let Some((at, before)) = &stands {
                    self.meet(path, (at, before), (&leave, view))?;
                }
                start.get_or_insert(leave);
                if let Some((at, before)) = &arrives {
                    self.meet(path, (at, before), (&arrive, view))?;
                }
                arrives.get_or_insert((arrive, Arc::clone(view)));
            }
            stands = Some(arrives?);
            hops.push(Hop { views: along, against: *against });
        }
        let (start, (end, _)) = (start?, stands?);
        let params = vec![param(Own { name: "start".into(), ..start }, ParamRole::Start, true)];
        let vertex = Own { name: "vertex".into(), nullable: false, ..end }.into_field();
        let fields = vec![vertex, value("ways", ColumnType::Int, "bigint", false)];
        Some((PlannedRead::Walk { hops, limit, edges_max: WALK_EDGES_MAX }, params, fields))
    }

    /// The two are ends of edges that a walk takes to be one vertex.
    fn meet(&mut self, path: &str, (a, of_a): (&Own, &View), (b, of_b): (&Own, &View)) -> Option<()> {
        if comparable(&a.kind, &b.kind) {
            return Some(());
        }
        self.wrong(
            path,
            format!(
                "`{}` of view `{}` is {}, `{}` of view `{}` is {}: the walk never gets on",
                a.name, of_a.name, a.type_name, b.name, of_b.name, b.type_name
            ),
            "turn a step round (\"<LABEL\" goes against the edges), or take edges whose ends are of one type",
        );
        None
    }

    /// What a bucket has: when it begins, and the figures.
    fn buckets(
        &mut self,
        path: &str,
        view: &View,
        buckets: &Buckets,
        figures: &[Figure],
    ) -> Option<Vec<Field>> {
        let ViewKind::Series(Series { time, .. }) = &view.kind else { return None };
        let table = self.table_of(&view.from)?;
        let column = |name: &str| table.columns.iter().find(|column| *column.name == *name);
        let time = column(time)?;
        if is_number(&time.kind) {
            self.wrong(
                &format!("{path}.every"),
                format!(
                    "`{}` of `{}` is {}: nothing says which unit it counts",
                    time.name,
                    table.name,
                    type_of(time)
                ),
                "read the points without `every`, or keep the time as a date or a timestamp",
            );
            return None;
        }
        if buckets.zone.is_some() && time.kind == ColumnType::Date {
            self.wrong(
                &format!("{path}.zone"),
                format!("`{}` of `{}` is a date, which is the same by every clock", time.name, table.name),
                "drop `zone`",
            );
            return None;
        }
        let mut fields = vec![value(&time.name, time.kind.clone(), &time.type_name, false)];
        for Figure { name, function, column: of } in figures {
            let Some(of) = of else {
                fields.push(value(name, ColumnType::Int, "bigint", false));
                continue;
            };
            let of = column(of)?;
            let at = format!("{path}.figures.{name}");
            let numbers = matches!(function, FigureFunction::Sum | FigureFunction::Avg);
            if numbers && !is_number(&of.kind) && of.kind != ColumnType::Dynamic {
                self.wrong(
                    &at,
                    format!(
                        "`{}` of `{}` is {}: only numbers have a {}",
                        of.name,
                        table.name,
                        type_of(of),
                        function.name()
                    ),
                    "name a field of numbers",
                );
                return None;
            }
            let ordered =
                matches!(function, FigureFunction::Min | FigureFunction::Max | FigureFunction::Percentile(_));
            if ordered && !sorts(&of.kind) {
                self.wrong(
                    &at,
                    format!("`{}` of `{}` is {}, which has no order", of.name, table.name, type_of(of)),
                    "name a field that holds one plain value",
                );
                return None;
            }
            let (kind, type_name) = match function {
                FigureFunction::Count => (ColumnType::Int, "bigint".into()),
                FigureFunction::Sum => sum(of),
                FigureFunction::Avg if of.kind == ColumnType::Int => (ColumnType::Decimal, "numeric".into()),
                _ => (of.kind.clone(), of.type_name.clone()),
            };
            fields.push(value(name, kind, &type_name, of.nullable && *function != FigureFunction::Count));
        }
        Some(fields)
    }
}

/// Those that the file names, or else every store that holds all that is read, in the order of the first view; for the
/// document of a key also those that hold a part, which are asked first.
fn stores(access: &Access, read: &PlannedRead) -> Vec<Box<str>> {
    if !access.stores.is_empty() {
        return access.stores.clone();
    }
    let views = read.views();
    let Some(first) = views.first() else { return Vec::new() };
    let all = first.stores.iter().filter(|store| views.iter().all(|view| view.stores.contains(store)));
    match read {
        PlannedRead::Get { view } => view.parts.iter().map(|part| &part.store).chain(all).cloned().collect(),
        _ => all.cloned().collect(),
    }
}

fn has_label(view: &View, label: &str) -> bool {
    matches!(&view.kind, ViewKind::Edge(edge) if *edge.label == *label)
}

fn param(field: Own, role: ParamRole, required: bool) -> Param {
    Param { name: field.name, role, kind: field.kind, type_name: field.type_name, required }
}

fn value(name: &str, kind: ColumnType, type_name: &str, nullable: bool) -> Field {
    Field { name: name.into(), nullable, shape: FieldShape::Value { kind, type_name: type_name.into() } }
}
