//! Candidates on a copy of the database with its rows: really built, and queries really run. How an index is built there and how a plan
//! is had that does without one is the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use headwater_model::advice::{Config as Served, Index, IndexProblem, IndexTrial, LeftOut};
use headwater_model::{Error, Result};

use super::configs::{self, ASKED_MAX, Ask, Asked, Planned, Planner};

/// A query that takes longer than this today is not measured.
const QUERY_WITHIN: Duration = Duration::from_secs(600);

/// A plan that takes so much longer than today's is stopped: it is worse, however much.
const WORSE: f64 = 1.3;

/// What two runs of the same plan may differ by. Below that nothing is called slower, nor is it counted on as faster.
const NOISE_SHARE: f64 = 0.05;
const NOISE_MS: f64 = 2.0;

/// A query that is done sooner is run so often that chance does not decide.
const SHORT_MS: f64 = 200.0;

/// A plan that takes less than this share of today's is better, whatever else the machine did at the time.
const CLEARLY_FASTER: f64 = 0.7;

/// So often a plan is run by turns with today's.
const PAIRS: usize = 3;

/// A query that is done at once is run so often.
const RUNS_MAX: usize = 7;

/// A copy of the database.
#[async_trait]
pub(crate) trait Copied: Planner + Send {
    /// What its plans call an index.
    fn id(&self, index: &Index) -> String;

    /// Why a statement cannot be run there, if it cannot; otherwise how it is asked.
    fn ask(&self, sql: &str) -> Result<Ask, String>;

    /// Builds an index, and tells how large it became.
    async fn build(&mut self, index: &Index) -> Result<f64>;

    /// All are built: statistics are made.
    async fn analyze(&mut self) -> Result<()>;

    /// The indexes that are there.
    async fn there(&mut self) -> Result<BTreeSet<String>>;

    /// Runs it, undoes it, and tells its plan with what it took; `None` if it took longer than `within`.
    async fn run(
        &mut self,
        ask: &Ask,
        hidden: &BTreeSet<String>,
        within: Duration,
    ) -> Result<Option<Planned>>;

    /// Makes it as it was, but for the rows: without these.
    async fn restore(&mut self, built: &[Index]) -> Result<()>;
}

pub(crate) struct Trial<C: Copied> {
    copy: C,
    problem: IndexProblem,
    /// Built by us.
    built: Vec<usize>,
    queries: Vec<Tried>,
}

/// A query of the problem on the copy.
struct Tried {
    asked: Asked,
    /// Why it is not measured, if it is not.
    skipped: bool,
    /// By the shape of the plan.
    measured: BTreeMap<String, f64>,
    before: f64,
}

impl<C: Copied> Trial<C>
where
    Error: From<C::Refused>,
{
    pub async fn begin(copy: C, problem: &IndexProblem, pool: &[usize]) -> Result<Trial<C>> {
        let mut problem = problem.clone();
        problem.unit = "milliseconds";
        let mut trial = Trial { copy, problem, built: Vec::new(), queries: Vec::new() };
        let outcome = match trial.build(pool).await {
            Ok(()) => trial.prepare(pool).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(trial),
            Err(error) => {
                // Why it failed is what has to be told.
                let _ = trial.restore().await;
                Err(error)
            }
        }
    }

    async fn restore(&mut self) -> Result<()> {
        let built: Vec<Index> = self.built.iter().map(|at| self.problem.indexes[*at].clone()).collect();
        self.copy.restore(&built).await
    }

    async fn build(&mut self, pool: &[usize]) -> Result<()> {
        for at in pool {
            let index = &mut self.problem.indexes[*at];
            let begun = Instant::now();
            let bytes = self.copy.build(index).await;
            index.bytes = bytes.map_err(|e| e.while_doing(format!("build {} on the copy", index.name)))?;
            index.build_ms = Some(begun.elapsed().as_secs_f64() * 1000.0);
            self.built.push(*at);
        }
        // What expressions are like is known only after that, and a restored dump knows nothing at all.
        self.copy.analyze().await
    }

    /// Indexes by what plans call them.
    fn places(&self) -> BTreeMap<String, usize> {
        let indexes = self.problem.indexes.iter().enumerate();
        indexes.map(|(at, index)| (self.copy.id(index), at)).collect()
    }

    fn ids(&self, of: &[usize]) -> BTreeSet<String> {
        of.iter().map(|at| self.copy.id(&self.problem.indexes[*at])).collect()
    }

    async fn prepare(&mut self, pool: &[usize]) -> Result<()> {
        let names = self.ids(pool);
        let today: BTreeSet<String> = (self.problem.indexes.iter())
            .filter(|index| index.exists)
            .map(|index| self.copy.id(index))
            .collect();
        let there = self.copy.there().await?;
        for query in self.problem.queries.clone() {
            let (ask, skipped) = match self.copy.ask(&query.sql) {
                Ok(ask) => (ask, None),
                Err(why) => (Ask { sql: query.sql.clone(), parameters: 0 }, Some(why)),
            };
            let used: BTreeSet<String> = query
                .configs
                .iter()
                .flat_map(|config| &config.uses)
                .map(|at| self.copy.id(&self.problem.indexes[*at]))
                .collect();
            // Others' indexes may be taken too where the planner sees rows as they are.
            let open: BTreeSet<String> = names
                .iter()
                .chain(used.intersection(&today))
                .filter(|name| there.contains(*name))
                .cloned()
                .collect();
            let asked = Asked {
                ask,
                today: open.intersection(&today).cloned().collect(),
                open,
                shut: BTreeSet::new(),
                most: ASKED_MAX,
            };
            self.queries.push(Tried { asked, skipped: false, measured: BTreeMap::new(), before: 0.0 });
            if let Some(why) = skipped {
                self.skip(self.queries.len() - 1, why);
            }
        }
        let places = self.places();
        let estimated: Vec<f64> = self.problem.queries.iter().map(|query| query.before).collect();
        let mut units = Vec::new();
        for (place, estimated) in estimated.into_iter().enumerate() {
            if !self.queries[place].skipped {
                self.measure_all(place, &places).await?;
            }
            if !self.queries[place].skipped {
                units.push(self.queries[place].before / estimated.max(1e-9));
            }
        }
        // What writes cost is known in the planner's units; the queries tell how long one of them is here.
        units.sort_by(f64::total_cmp);
        let unit = units.get(units.len() / 2).copied().unwrap_or(0.01);
        for index in &mut self.problem.indexes {
            index.upkeep *= unit;
        }
        for writes in &mut self.problem.writes {
            writes.cost *= unit;
            for in_place in &mut writes.in_place {
                in_place.standing *= unit;
                in_place.each *= unit;
            }
        }
        for (place, tried) in self.queries.iter().enumerate() {
            if tried.skipped {
                // Not to be weighed: it counts for nothing, and nothing can make it slower.
                let query = &mut self.problem.queries[place];
                query.configs = vec![Served { uses: Vec::new(), believed: 0.0, cost: 0.0, acceptable: true }];
                query.before = 0.0;
            }
        }
        Ok(())
    }

    /// Today's plan, and then each other plan that the pool can lead to.
    async fn measure_all(&mut self, place: usize, places: &BTreeMap<String, usize>) -> Result<()> {
        let asked = &self.queries[place].asked;
        let found = match configs::find(&mut self.copy, asked).await? {
            Ok(found) => found,
            Err(refused) => {
                self.skip(place, Error::from(refused).to_string());
                return Ok(());
            }
        };
        let hidden: BTreeSet<String> = asked.open.difference(&asked.today).cloned().collect();
        let ask = asked.ask.clone();
        // Once for the pages, then for the time.
        let Some(_) = self.copy.run(&ask, &hidden, QUERY_WITHIN).await? else {
            self.skip(place, format!("it takes longer than {} s on the copy", QUERY_WITHIN.as_secs()));
            return Ok(());
        };
        let before = self.time(&ask, &hidden, QUERY_WITHIN).await?.unwrap_or(f64::INFINITY);
        self.queries[place].before = before;
        self.queries[place].measured.insert(found.before.shape.clone(), before);
        let mut configs = Vec::new();
        for (uses, planned) in &found.plans {
            let open = &self.queries[place].asked.open;
            let hidden: BTreeSet<String> = open.difference(uses).cloned().collect();
            let cost = self.cost(place, &planned.shape, &ask, &hidden).await?;
            let mut uses: Vec<usize> = uses.iter().filter_map(|name| places.get(name).copied()).collect();
            uses.sort_unstable();
            configs.push(served(uses, planned.cost, cost, before));
        }
        let query = &mut self.problem.queries[place];
        query.before = before;
        query.configs = configs;
        Ok(())
    }

    fn skip(&mut self, place: usize, why: String) {
        self.queries[place].skipped = true;
        let name = self.problem.queries[place].name.clone();
        self.problem.left_out.push(LeftOut { name, why });
    }

    /// What a plan takes: known by its shape, or measured; infinite if it was stopped.
    async fn cost(&mut self, place: usize, shape: &str, ask: &Ask, hidden: &BTreeSet<String>) -> Result<f64> {
        if let Some(known) = self.queries[place].measured.get(shape) {
            return Ok(*known);
        }
        let within = Duration::from_secs_f64(self.queries[place].before * WORSE / 1000.0 + 0.1);
        // The first run reads what no other plan has read.
        let first = self.copy.run(ask, hidden, within).await?.and_then(|planned| planned.execution_ms);
        let before = self.queries[place].before;
        let took = match first {
            Some(ms) if ms > SHORT_MS && ms < before * CLEARLY_FASTER => Some(ms),
            _ => self.time(ask, hidden, within).await?,
        };
        // What is nearly as today's plan was timed minutes ago, when the machine had perhaps less to do: both once more, by turns.
        let took = match took {
            Some(ms) if ms > before * CLEARLY_FASTER => {
                self.beside_today_s(place, ask, hidden, within).await?
            }
            took => took,
        };
        let took = took.unwrap_or(f64::INFINITY);
        self.queries[place].measured.insert(shape.to_owned(), took);
        Ok(took)
    }

    /// What a plan takes, by turns with today's, and told in what that took when it was first measured.
    async fn beside_today_s(
        &mut self,
        place: usize,
        ask: &Ask,
        hidden: &BTreeSet<String>,
        within: Duration,
    ) -> Result<Option<f64>> {
        let Tried { asked, before, .. } = &self.queries[place];
        let before = *before;
        let today: BTreeSet<String> = asked.open.difference(&asked.today).cloned().collect();
        let (mut then, mut now) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..PAIRS {
            for (hidden, best) in [(&today, &mut then), (hidden, &mut now)] {
                let planned = self.copy.run(ask, hidden, within.mul_f64(2.0)).await?;
                *best = best.min(planned.and_then(|planned| planned.execution_ms).unwrap_or(f64::INFINITY));
            }
        }
        Ok((then.is_finite() && now.is_finite()).then(|| before * now / then.max(1e-6)))
    }

    /// The shortest of a few runs: whatever else goes on makes it longer, never shorter.
    async fn time(&mut self, ask: &Ask, hidden: &BTreeSet<String>, within: Duration) -> Result<Option<f64>> {
        let mut best: Option<f64> = None;
        for run in 0..RUNS_MAX {
            let Some(planned) = self.copy.run(ask, hidden, within).await? else { break };
            let took = planned.execution_ms.unwrap_or(f64::INFINITY);
            best = Some(best.map_or(took, |best| best.min(took)));
            if took > SHORT_MS * 10.0 || run >= 2 && took > SHORT_MS / 10.0 {
                break;
            }
        }
        Ok(best)
    }
}

fn served(uses: Vec<usize>, believed: f64, measured: f64, before: f64) -> Served {
    let noise = (before * NOISE_SHARE).max(NOISE_MS.min(before * 0.5));
    // What differs by no more than chance is as today.
    let cost = if (measured - before).abs() <= noise { before } else { measured };
    let acceptable = cost <= before;
    Served { uses, believed, cost: cost.min(before * 100.0), acceptable }
}

#[async_trait]
impl<C: Copied> IndexTrial for Trial<C>
where
    Error: From<C::Refused>,
{
    fn problem(&self) -> &IndexProblem {
        &self.problem
    }

    async fn settle(&mut self, chosen: &[usize]) -> Result<bool> {
        let (kept, places) = (self.ids(chosen), self.places());
        let mut settled = true;
        for place in 0..self.queries.len() {
            if self.queries[place].skipped {
                continue;
            }
            let asked = &self.queries[place].asked;
            let hidden: BTreeSet<String> = asked.open.difference(&kept).cloned().collect();
            let ask = asked.ask.clone();
            let open = asked.open.clone();
            let planned = self.copy.plan(&ask, &hidden).await??;
            let mut uses: Vec<usize> =
                planned.uses.intersection(&open).filter_map(|name| places.get(name).copied()).collect();
            uses.sort_unstable();
            let cost = self.cost(place, &planned.shape, &ask, &hidden).await?;
            let before = self.queries[place].before;
            let served = served(uses, planned.cost, cost, before);
            let configs = &mut self.problem.queries[place].configs;
            match configs.iter_mut().find(|config| config.uses == served.uses) {
                Some(known) if (known.believed - served.believed).abs() <= known.believed * 1e-6 => {}
                Some(known) => {
                    *known = served;
                    settled = false;
                }
                None => {
                    configs.push(served);
                    settled = false;
                }
            }
        }
        Ok(settled)
    }

    async fn run(&mut self, chosen: &[usize]) -> Result<Vec<f64>> {
        let kept = self.ids(chosen);
        let mut times = Vec::new();
        for place in 0..self.queries.len() {
            let asked = &self.queries[place].asked;
            let hidden: BTreeSet<String> = asked.open.difference(&kept).cloned().collect();
            let ask = asked.ask.clone();
            let took = match self.queries[place].skipped {
                true => None,
                false => self.time(&ask, &hidden, QUERY_WITHIN).await?,
            };
            times.push(took.unwrap_or(0.0));
        }
        Ok(times)
    }

    async fn end(mut self: Box<Self>) -> Result<()> {
        self.restore().await
    }
}
