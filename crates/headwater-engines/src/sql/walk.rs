//! From one vertex along edges. Each hop is a common table expression: the edges read, then the vertices reached with
//! the number of ways to them, so that what is read grows with the edges and not with the ways.

use std::fmt::Write as _;

use headwater_model::filter::Comparison;
use headwater_model::{Edge, Error, Found, Hop, Reached, Result, Value, View, ViewKind, WalkRead};

use super::Params;
use super::cells::misread;
use super::dialect::{Dialect, all};
use super::rows::conditions;
use super::shape::{Column, Shapes, quoted, shape};

/// Each hop is a part of one statement, and engines bound these.
const HOPS_MAX: usize = 32;

pub(super) struct Reader<D: Dialect> {
    vertex: Column<D::Column>,
    edges_max: usize,
}

/// One view that a hop may go along.
struct Edges<'a, D: Dialect> {
    from: &'a str,
    near: Column<D::Column>,
    far: Column<D::Column>,
    conditions: Vec<String>,
}

pub(super) fn statement<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    read: &WalkRead,
    params: &mut Params,
) -> Result<(String, Reader<D>)> {
    if read.hops.len() > HOPS_MAX {
        return Err(Error::unsupported(format!(
            "{} hops in one walk, more than {HOPS_MAX}",
            read.hops.len()
        )));
    }
    let most = read.edges_max.saturating_add(1).min(i64::MAX as usize);
    let mut ctes: Vec<String> = Vec::new();
    let mut vertex: Option<Column<D::Column>> = None;
    for (place, hop) in read.hops.iter().enumerate() {
        let edges = edges(dialect, shapes, hop, params)?;
        let mut parts = Vec::with_capacity(edges.len());
        for edge in &edges {
            let near = format!("e.{}", quoted(&edge.near.name));
            let far = dialect.grouped(&edge.far, &format!("e.{}", quoted(&edge.far.name)));
            let mut conditions = edge.conditions.clone();
            let (from, ways) = match &vertex {
                None => {
                    let start = match &read.start {
                        Value::Null | Value::Unchanged => "FALSE".into(),
                        start => dialect.compare(&edge.near, &near, Comparison::Equal, start, params),
                    };
                    conditions.push(start);
                    (format!("{} AS e", edge.from), "1")
                }
                Some(reached) => {
                    conditions.push(dialect.compare_columns(
                        (&edge.near, &near),
                        Comparison::Equal,
                        (reached, "w.v"),
                    ));
                    (format!("h{place} AS w JOIN {} AS e ON TRUE", edge.from), "w.ways")
                }
            };
            parts.push(format!(
                "SELECT {} AS v, {ways} AS ways FROM {from} WHERE {}",
                far.select,
                all(&conditions)
            ));
        }
        let reached = reached(dialect, &edges)?;
        let made = dialect.materialized();
        let n = place + 1;
        ctes.push(format!(
            "e{n} (v, ways) AS{made} (SELECT v, ways FROM ({}) AS x LIMIT {most})",
            parts.join(" UNION ALL ")
        ));
        let by = dialect.grouped(&reached, "v").by;
        ctes.push(format!("h{n} (v, ways) AS{made} (SELECT v, sum(ways) FROM e{n} GROUP BY {by})"));
        vertex = Some(reached);
    }
    let vertex = vertex.ok_or_else(|| Error::unsupported("a walk without a hop"))?;
    let sql = end(dialect, read, &vertex, &ctes, params);
    Ok((sql, Reader { vertex, edges_max: read.edges_max }))
}

/// The vertices reached, and beside each the number of edges read; without any, that number alone.
fn end<D: Dialect>(
    dialect: &D,
    read: &WalkRead,
    vertex: &Column<D::Column>,
    ctes: &[String],
    params: &mut Params,
) -> String {
    let last = read.hops.len();
    let count: Vec<String> = (1..=last).map(|n| format!("(SELECT count(*) FROM e{n})")).collect();
    let others = match &read.start {
        Value::Null | Value::Unchanged => "TRUE".into(),
        start => format!("NOT ({})", dialect.compare(vertex, "h.v", Comparison::Equal, start, params)),
    };
    let order = dialect.sortable(vertex, "h.v");
    let mut sql = format!("WITH {}", ctes.join(", "));
    let _ = write!(
        sql,
        " SELECT n.edges, r.vertex, r.ways FROM (SELECT {} AS edges) AS n LEFT JOIN (SELECT {} AS vertex, h.ways AS ways, \
         row_number() OVER (ORDER BY h.ways DESC, {order}) AS place FROM h{last} AS h WHERE {others} \
         ORDER BY place LIMIT {}) AS r ON TRUE ORDER BY r.place",
        count.join(" + "),
        dialect.text(vertex, "h.v"),
        read.limit.min(i64::MAX as usize)
    );
    sql
}

fn edges<'a, D: Dialect>(
    dialect: &D,
    shapes: &'a Shapes<D::Column>,
    hop: &Hop,
    params: &mut Params,
) -> Result<Vec<Edges<'a, D>>> {
    if hop.views.is_empty() {
        return Err(Error::unsupported("a hop along no view"));
    }
    let mut edges = Vec::with_capacity(hop.views.len());
    for view in &hop.views {
        let edge = edge_of(view)?;
        let table = shape(shapes, &view.from)?;
        let (near, far) =
            if hop.against { (&edge.target, &edge.source) } else { (&edge.source, &edge.target) };
        let column = |name: &str| Ok::<_, Error>(table.columns[table.column(name)?].clone());
        edges.push(Edges {
            from: &table.from,
            near: column(near)?,
            far: column(far)?,
            conditions: conditions(dialect, table, view, "e", params)?,
        });
    }
    Ok(edges)
}

fn edge_of(view: &View) -> Result<&Edge> {
    match &view.kind {
        ViewKind::Edge(edge) => Ok(edge),
        _ => Err(Error::unsupported(format!("view \"{}\" holds no edges", view.name))),
    }
}

/// What is known of the vertices that a hop comes to.
fn reached<D: Dialect>(dialect: &D, edges: &[Edges<'_, D>]) -> Result<Column<D::Column>> {
    let columns: Vec<_> = edges.iter().map(|edge| dialect.grouped(&edge.far, "v").column).collect();
    let Some(first) = columns.first() else { return Err(Error::unsupported("a hop along no view")) };
    if let Some(other) = columns.iter().find(|column| column.kind != first.kind) {
        return Err(Error::unsupported(format!(
            "one hop leads to vertices of different kinds: \"{}\" is {:?}, \"{}\" is {:?}",
            first.name, first.kind, other.name, other.kind
        )));
    }
    Ok(Column { nullable: false, ..first.clone() })
}

impl<D: Dialect> Reader<D> {
    pub fn found(&self, dialect: &D, rows: Vec<Vec<Option<String>>>) -> Result<Found> {
        let mut reached = Vec::with_capacity(rows.len());
        for row in rows {
            let [Some(edges), vertex, ways] = &row[..] else { return Err(misread("no number of edges")) };
            if edges.parse::<usize>().map_err(|_| misread("no number of edges"))? > self.edges_max {
                return Err(Error::unsupported(format!("the walk reads more than {} edges", self.edges_max))
                    .with_remedy(
                        "start at a vertex with fewer edges, or make the bound of the access pattern larger",
                    ));
            }
            let (Some(vertex), Some(ways)) = (vertex, ways) else { continue };
            let vertex = dialect.value(&self.vertex, vertex).ok_or_else(|| misread("no vertex"))?;
            // More ways than can be counted are as many as can be.
            let ways = ways.parse().unwrap_or(u64::MAX);
            reached.push(Reached { vertex, ways });
        }
        Ok(Found::Reached(reached))
    }
}
