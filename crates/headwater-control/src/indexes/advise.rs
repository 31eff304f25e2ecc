//! What a choice of indexes does: to each query, to the writes of each table, and which index is worth the most.

use headwater_model::TableName;
use headwater_model::advice::{Index, IndexProblem, LeftOut};
use serde::Serialize;

use super::effect::{after, dearer, slower, taken, workload};
use super::{Budget, Choice};

/// Advice about indexes, the most worth first.
#[derive(Debug, Serialize)]
pub struct Advice {
    pub server: String,
    pub unit: &'static str,
    /// The whole workload, before and after: queries alone.
    pub before: f64,
    pub after: f64,
    pub bytes: f64,
    /// What another choice of these candidates could save beyond this one at most, as a share of `before`: proven.
    pub gap: f64,
    pub indexes: Vec<Advised>,
    pub queries: Vec<Asked>,
    pub writes: Vec<Dearer>,
    pub left_out: Vec<LeftOut>,
    pub notes: Vec<String>,
    /// Whether it was measured on a copy.
    pub verified: bool,
    /// How long asking the planner took.
    pub asked_ms: f64,
}

/// An index to build, or one to drop.
#[derive(Debug, Serialize)]
pub struct Advised {
    #[serde(flatten)]
    pub index: Index,
    /// What the workload would cost more without it, as a share of what it costs today.
    pub worth: f64,
    pub helps: Vec<Helped>,
    /// How much more the writes of its table cost with it, as a share.
    pub writes_dearer: f64,
    /// Whether updates that stay in their page today no longer do.
    pub ends_updates_in_place: bool,
    /// Why somebody has decided not to do it, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

impl Advised {
    /// What it is called where it is one finding among others: the same from one time to the next.
    pub fn subject(&self) -> String {
        let Index { table, name, definition, exists, .. } = &self.index;
        if *exists { format!("{table} {name}") } else { format!("{table} {definition}") }
    }
}

#[derive(Debug, Serialize)]
pub struct Helped {
    pub query: String,
    pub calls: f64,
    pub before: f64,
    pub after: f64,
}

/// A query of the workload.
#[derive(Debug, Serialize)]
pub struct Asked {
    pub name: String,
    pub sql: String,
    pub calls: f64,
    pub before: f64,
    pub after: f64,
    /// Names of indexes of the choice that it reads.
    pub uses: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Dearer {
    pub table: TableName,
    /// As a share of what its writes cost today.
    pub share: f64,
}

/// What the workload costs with these indexes if each query that would become dearer than today is put right otherwise: what an index is
/// worth is not what would go wrong if the rest were left as it is without it.
fn no_worse_than_today(problem: &IndexProblem, there: &[usize]) -> f64 {
    problem.queries.iter().map(|query| query.calls * after(query, there).min(query.before)).sum()
}

/// What a choice does.
pub fn advise(problem: &IndexProblem, choice: &Choice, budget: &Budget, verified: bool) -> Advice {
    let before: f64 = problem.queries.iter().map(|query| query.calls * query.before).sum();
    let mut kept = choice.indexes.clone();
    // What was left in within what is near enough, and nothing needs.
    loop {
        let full = workload(problem, &kept);
        let useless = kept.iter().position(|at| {
            let without: Vec<usize> = kept.iter().copied().filter(|other| other != at).collect();
            !problem.indexes[*at].exists
                && workload(problem, &without) - full
                    <= (budget.worth * before).max(problem.indexes[*at].upkeep)
                && !slower(problem, &without, budget)
        });
        match useless {
            Some(place) => drop(kept.remove(place)),
            None => break,
        }
    }
    let full = workload(problem, &kept);
    let mut indexes: Vec<Advised> = Vec::new();
    for (at, index) in problem.indexes.iter().enumerate() {
        let is_kept = kept.contains(&at);
        if index.exists == is_kept {
            continue;
        }
        let otherwise: Vec<usize> = match is_kept {
            true => kept.iter().copied().filter(|other| *other != at).collect(),
            false => kept.iter().copied().chain([at]).collect(),
        };
        let table = problem.writes.iter().position(|writes| writes.table == index.table);
        let writes_dearer = table.map_or(0.0, |table| {
            (dearer(problem, table, &kept) - dearer(problem, table, &otherwise))
                / problem.writes[table].cost.max(1e-9)
        });
        let mut helps: Vec<Helped> = problem
            .queries
            .iter()
            .filter(|query| is_kept && taken(query, &kept).is_some_and(|config| config.uses.contains(&at)))
            .map(|query| Helped {
                query: query.name.clone(),
                calls: query.calls,
                before: query.before,
                after: after(query, &kept),
            })
            .filter(|helped| helped.after < helped.before)
            .collect();
        helps.sort_by(|a, b| (b.calls * (b.before - b.after)).total_cmp(&(a.calls * (a.before - a.after))));
        indexes.push(Advised {
            index: index.clone(),
            worth: (no_worse_than_today(problem, &otherwise) - full) / before.max(1e-9),
            helps,
            writes_dearer,
            ends_updates_in_place: is_kept && !index.ends.is_empty(),
            accepted: None,
        });
    }
    // New ones by their worth, then what could go.
    indexes.sort_by(|a, b| {
        a.index
            .exists
            .cmp(&b.index.exists)
            .then(b.worth.total_cmp(&a.worth))
            .then(a.index.name.cmp(&b.index.name))
    });
    let mut queries: Vec<Asked> = problem
        .queries
        .iter()
        .map(|query| Asked {
            name: query.name.clone(),
            sql: query.sql.clone(),
            calls: query.calls,
            before: query.before,
            after: after(query, &kept),
            uses: taken(query, &kept)
                .into_iter()
                .flat_map(|config| &config.uses)
                .map(|at| problem.indexes[*at].name.clone())
                .collect(),
        })
        .collect();
    queries.sort_by(|a, b| (b.calls * b.before).total_cmp(&(a.calls * a.before)));
    let writes = (0..problem.writes.len())
        .filter(|table| problem.writes[*table].cost > 0.0)
        .map(|table| Dearer {
            table: problem.writes[table].table.clone(),
            share: dearer(problem, table, &kept) / problem.writes[table].cost,
        })
        .filter(|dearer| dearer.share.abs() > 0.0005)
        .collect();
    Advice {
        server: problem.server.clone(),
        unit: problem.unit,
        before,
        after: full,
        bytes: kept.iter().map(|at| &problem.indexes[*at]).filter(|i| !i.exists).map(|i| i.bytes).sum(),
        gap: choice.gap,
        indexes,
        queries,
        writes,
        left_out: problem.left_out.clone(),
        notes: Vec::new(),
        verified,
        asked_ms: 0.0,
    }
}
