//! Which indexes a query can be served by: the planner is asked with all that might help, then without what it took, and so on,
//! the most promising first. Each answer is one configuration: the indexes that its plan reads, and what it costs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use headwater_model::Result;

/// So often the planner is asked about one query, where it may be asked as often as one likes.
pub(crate) const ASKED_MAX: usize = 40;

#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub cost: f64,
    /// Names of indexes.
    pub uses: BTreeSet<String>,
    /// Kinds of nodes with what they read, in order: the same shape is the same way of working.
    pub shape: String,
    /// What was measured, if it ran.
    pub execution_ms: Option<f64>,
    /// Rows that the planner expects a write to touch.
    pub rows: f64,
}

/// A statement to be planned.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub sql: String,
    pub parameters: usize,
}

/// Somebody who plans.
#[async_trait]
pub(crate) trait Planner: Send {
    /// What a server refuses.
    type Refused: Send;

    /// The plan when these indexes, by name, are not seen. What the server refuses is the inner error.
    async fn plan(&mut self, ask: &Ask, hidden: &BTreeSet<String>) -> Result<Result<Planned, Self::Refused>>;
}

/// A query, and the indexes that there are to choose from on its tables.
pub(crate) struct Asked {
    pub ask: Ask,
    /// Those that might help, and those of today that could go.
    pub open: BTreeSet<String>,
    /// Those of `open` that are there today.
    pub today: BTreeSet<String>,
    /// Candidates that others brought up.
    pub shut: BTreeSet<String>,
    /// So often the planner may be asked, and once more.
    pub most: usize,
}

pub(crate) struct Found {
    pub before: Planned,
    /// By the open indexes that they read.
    pub plans: BTreeMap<BTreeSet<String>, Planned>,
}

pub(crate) async fn find<P: Planner>(planner: &mut P, asked: &Asked) -> Result<Result<Found, P::Refused>> {
    let mut search =
        Search { planner, asked, seen: HashSet::new(), plans: BTreeMap::new(), left: asked.most };
    let before = match search.look(&asked.today).await? {
        Looked::Plan(planned, _) => planned,
        Looked::Refused(error) => return Ok(Err(error)),
        Looked::Enough => unreachable!("it is the first to be asked"),
    };
    if asked.open.is_empty() {
        return Ok(Ok(Found { before, plans: search.plans }));
    }
    // What is looked at next, the cheapest first: fewer and fewer indexes are seen.
    let mut next: Vec<(f64, BTreeSet<String>, BTreeSet<String>)> = Vec::new();
    let mut alone: BTreeSet<String> = BTreeSet::new();
    if let Looked::Plan(planned, uses) = search.look(&asked.open).await? {
        next.push((planned.cost, asked.open.clone(), uses));
    }
    while let Some(at) = (0..next.len()).min_by(|a, b| next[*a].0.total_cmp(&next[*b].0)) {
        let (cost, seen, uses) = next.swap_remove(at);
        if search.left == 0 {
            break;
        }
        for name in &uses {
            // One by itself, for who has little room.
            if !asked.today.contains(name) && alone.insert(name.clone()) {
                let mut only = asked.today.clone();
                only.insert(name.clone());
                search.look(&only).await?;
            }
        }
        if cost >= before.cost && uses.iter().all(|name| !asked.today.contains(name)) {
            continue;
        }
        for name in &uses {
            let mut without = seen.clone();
            without.remove(name);
            if let Looked::Plan(planned, uses) = search.look(&without).await? {
                next.push((planned.cost, without, uses));
            }
        }
    }
    if !asked.today.is_empty() {
        search.left = search.left.max(1);
        search.look(&BTreeSet::new()).await?;
    }
    Ok(Ok(Found { before, plans: search.plans }))
}

enum Looked<R> {
    /// And which of the open indexes it reads.
    Plan(Planned, BTreeSet<String>),
    Refused(R),
    /// Known already, or asked too often.
    Enough,
}

struct Search<'a, P: Planner> {
    planner: &'a mut P,
    asked: &'a Asked,
    seen: HashSet<BTreeSet<String>>,
    plans: BTreeMap<BTreeSet<String>, Planned>,
    left: usize,
}

impl<P: Planner> Search<'_, P> {
    async fn look(&mut self, open: &BTreeSet<String>) -> Result<Looked<P::Refused>> {
        if self.left == 0 || !self.seen.insert(open.clone()) {
            return Ok(Looked::Enough);
        }
        self.left -= 1;
        let mut hidden = self.asked.shut.clone();
        hidden.extend(self.asked.open.difference(open).cloned());
        let planned = match self.planner.plan(&self.asked.ask, &hidden).await? {
            Ok(planned) => planned,
            Err(refused) => return Ok(Looked::Refused(refused)),
        };
        let uses: BTreeSet<String> = planned.uses.intersection(&self.asked.open).cloned().collect();
        let better = self.plans.get(&uses).is_none_or(|known| planned.cost < known.cost);
        if better {
            self.plans.insert(uses.clone(), planned.clone());
        }
        Ok(Looked::Plan(planned, uses))
    }
}
