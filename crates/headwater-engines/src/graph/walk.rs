//! Walks, in one statement: a part per hop, which knows of each vertex in how many ways it was reached.
//!
//! Each hop is a MATCH of its own: within one, openCypher goes along no edge twice, and every way counts here.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use headwater_model::sort::read_sort;
use headwater_model::{Error, Held, Hop, Reached, Result, Value, ViewKind, WalkRead};

use super::Database;
use super::cypher::{Cell, Param, Statement, quoted};
use super::element::{HELD, VERTEX, VERTEX_LABEL, VIEW, unhex, vertex};
use super::read::held_of;
use super::store::Shared;

pub(super) async fn walk<D: Database>(shared: &Shared<D>, read: &WalkRead) -> Result<(Held, Vec<Reached>)> {
    let (start, null) = (vertex(&read.start), vertex(&Value::Null));
    let rows = shared.run(statement(read, &start, &null)?).await?;
    let held = held_of(shared, &rows)?;
    let mut reached = Vec::with_capacity(rows.len());
    for row in rows {
        let [_, edges, at, ways] = <[Cell; 4]>::try_from(row).map_err(|_| unexpected())?;
        if whole(&edges)? > u64::try_from(read.edges_max).unwrap_or(u64::MAX) {
            return Err(Error::unsupported(format!(
                "the walk leads along more than {} edges",
                read.edges_max
            ))
            .with_remedy("start at a vertex with fewer edges, or give the walk fewer hops"));
        }
        match at {
            Cell::Text(at) if at != start => {
                let vertex = read_sort(&unhex(&at)?, false)?.0;
                reached.push(Reached { vertex, ways: whole(&ways)? });
            }
            _ => {}
        }
    }
    reached.truncate(if read.start.is_null() { 0 } else { read.limit });
    Ok((held, reached))
}

fn statement(read: &WalkRead, start: &str, null: &str) -> Result<Statement> {
    let mut text = format!(
        "MATCH {HELD} OPTIONAL MATCH (s:{VERTEX_LABEL} {{{VERTEX}: $start}}) \
         WITH m, 0 AS edges, [{{v: s, w: 1}}] AS at"
    );
    let mut views = Vec::new();
    for (number, hop) in read.hops.iter().enumerate() {
        let (label, names) = edges_of(hop)?;
        let (left, right) = if hop.against { ("<-", "-") } else { ("-", "->") };
        let _ = write!(
            text,
            " UNWIND CASE WHEN edges > $max THEN [{{v: null, w: 0}}] ELSE at END AS x \
             WITH m, edges, x.v AS v, x.w AS w \
             OPTIONAL MATCH (v){left}[e:{label}]{right}(t) WHERE e.{VIEW} IN $h{number} \
             WITH m, edges, CASE WHEN t.{VERTEX} = $null THEN null ELSE t END AS t, sum(w) AS w, count(e) AS n \
             WITH m, edges, sum(n) AS n, collect({{v: t, w: w}}) AS at \
             WITH m, edges + n AS edges, at"
        );
        views.push((format!("h{number}"), Param::List(names)));
    }
    // The start, and what is no vertex, may be among them.
    let _ = write!(
        text,
        " UNWIND at AS x WITH m, edges, x.v AS v, x.w AS w \
         RETURN m.held AS held, edges AS edges, v.{VERTEX} AS v, w AS w ORDER BY w DESC, v LIMIT {}",
        read.limit.saturating_add(2)
    );
    let mut statement = Statement::read(text, &["held", "edges", "v", "w"])
        .with("start", Param::text(start))
        .with("null", Param::text(null))
        .with("max", Param::Int(i64::try_from(read.edges_max).unwrap_or(i64::MAX)));
    statement.params.extend(views);
    Ok(statement)
}

/// The types of a hop's edges, and the names of the views they are of.
fn edges_of(hop: &Hop) -> Result<(String, Vec<Param>)> {
    let mut labels = BTreeSet::new();
    for view in &hop.views {
        match &view.kind {
            ViewKind::Edge(edge) => labels.insert(quoted(&edge.label)?),
            _ => return Err(Error::bug(format!("the view \"{}\" is not one of edges", view.name))),
        };
    }
    if labels.is_empty() {
        return Err(Error::bug("a hop of a walk has no edges"));
    }
    let labels: Vec<String> = labels.into_iter().collect();
    Ok((labels.join("|"), hop.views.iter().map(|view| Param::text(&*view.name)).collect()))
}

/// A number of ways or edges: sums may come as floats.
fn whole(cell: &Cell) -> Result<u64> {
    match cell {
        Cell::Int(n) => Ok(u64::try_from(*n).unwrap_or(0)),
        Cell::Text(text) => text.parse::<f64>().map(|n| n as u64).map_err(|_| unexpected()),
        Cell::Null => Ok(0),
    }
}

fn unexpected() -> Error {
    Error::bug("the answer to a walk has an unexpected form")
}
