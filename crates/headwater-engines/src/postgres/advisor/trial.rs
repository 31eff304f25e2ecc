//! Candidates on a copy of the database with its rows: really built, and queries really run. Which plan a query takes without an
//! index is seen by dropping it inside a transaction that is undone, which needs no more than owning the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use headwater_model::advice::{Config as Served, IndexProblem, IndexTrial, RestoredCopy};
use headwater_model::file::SourceSection;
use headwater_model::{Error, Result};

use super::origin::Origin;
use super::plan;
use crate::advice::asked::parameters;
use crate::advice::configs::{self, Ask, Asked, Planned, Planner};
use crate::postgres::config::Config;
use crate::postgres::connection::{Connection, Purpose};
use crate::postgres::error::ServerError;
use crate::postgres::sandbox::Cluster;
use crate::postgres::sql::{identifier, literal};
use crate::sandbox::{Folder, failed, output};

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

pub(super) struct Trial {
    copy: Copy,
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

/// The connection to it.
struct Copy {
    connection: Connection,
    schema_of: BTreeMap<String, String>,
    /// If it is a server of our own; the folder goes last.
    _own: Option<(Cluster, Folder)>,
}

impl Copy {
    async fn hidden(&mut self, hidden: &BTreeSet<String>) -> Result<()> {
        let names: Vec<String> = hidden
            .iter()
            .filter_map(|name| {
                Some(format!("{}.{}", identifier(self.schema_of.get(name)?), identifier(name)))
            })
            .collect();
        self.connection.query("BEGIN").await?;
        if !names.is_empty() {
            self.connection.query(&format!("DROP INDEX {}", names.join(", "))).await?;
        }
        Ok(())
    }

    /// Runs it and tells its plan, with what it took; `None` if it took longer than `within`.
    async fn run(
        &mut self,
        ask: &Ask,
        hidden: &BTreeSet<String>,
        within: Duration,
    ) -> Result<Option<Planned>> {
        self.hidden(hidden).await?;
        let limit = within.as_millis().max(1);
        self.connection.query(&format!("SET LOCAL statement_timeout = {limit}")).await?;
        let outcome = plan::ask(&mut self.connection, ask, "ANALYZE, TIMING OFF, FORMAT JSON").await?;
        self.connection.query("ROLLBACK; DEALLOCATE ALL").await?;
        match outcome {
            Ok(planned) => Ok(Some(planned)),
            Err(refused) if refused.code == "57014" => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }
}

#[async_trait]
impl Planner for Copy {
    type Refused = ServerError;

    async fn plan(&mut self, ask: &Ask, hidden: &BTreeSet<String>) -> Result<Result<Planned, ServerError>> {
        self.hidden(hidden).await?;
        let outcome = plan::ask(&mut self.connection, ask, "FORMAT JSON").await;
        self.connection.query("ROLLBACK; DEALLOCATE ALL").await?;
        outcome
    }
}

impl Trial {
    pub async fn begin(
        config: &Config,
        problem: &IndexProblem,
        pool: &[usize],
        copy: &RestoredCopy,
    ) -> Result<Trial> {
        let mut origin = Origin::open(config).await?;
        let schema = origin.schema().await?;
        let (url, own) = match copy {
            RestoredCopy::Server(url) => (url.reveal().to_owned(), None),
            RestoredCopy::Dump(path) => {
                let path = path.clone();
                let restored = tokio::task::spawn_blocking(move || restore(&path)).await;
                let (url, cluster, folder) =
                    restored.map_err(|error| Error::bug("restoring failed").with_cause(error))??;
                (url, Some((cluster, folder)))
            }
        };
        let mut connection = open(&url).await?;
        if own.is_none() {
            is_not_the_original(&mut connection, &mut origin).await?;
        }
        for (name, value) in &schema.settings {
            let set = format!("SELECT set_config({}, {}, false)", literal(name), literal(value));
            let _ = connection.attempt(&set).await?;
        }
        let path: Vec<String> = schema.search_path.iter().map(|name| identifier(name)).collect();
        let path = if path.is_empty() { "public".to_owned() } else { path.join(", ") };
        connection
            .query(&format!(
                "SET search_path = {path}; SET plan_cache_mode = force_generic_plan; SET lock_timeout = '10s'"
            ))
            .await?;
        let mut problem = problem.clone();
        problem.unit = "milliseconds";
        let schema_of = problem
            .indexes
            .iter()
            .map(|index| (index.name.clone(), index.table.schema.as_deref().unwrap_or("public").to_owned()))
            .collect();
        let mut trial = Trial {
            copy: Copy { connection, schema_of, _own: own },
            problem,
            built: Vec::new(),
            queries: Vec::new(),
        };
        trial.build(pool).await?;
        trial.prepare(pool).await?;
        Ok(trial)
    }

    async fn build(&mut self, pool: &[usize]) -> Result<()> {
        let mut tables = BTreeSet::new();
        for at in pool {
            let index = &mut self.problem.indexes[*at];
            let table = format!("{}.{}", index.table.schema.as_deref().unwrap_or("public"), index.table.name);
            // On a copy nobody waits.
            let statement =
                index.statement.replace("CREATE INDEX CONCURRENTLY", "CREATE INDEX IF NOT EXISTS");
            let begun = Instant::now();
            if let Err(refused) = self.copy.connection.attempt(&statement).await? {
                return Err(Error::from(refused).while_doing(format!("build {} on the copy", index.name)));
            }
            index.build_ms = Some(begun.elapsed().as_secs_f64() * 1000.0);
            let name = format!(
                "{}.{}",
                identifier(index.table.schema.as_deref().unwrap_or("public")),
                identifier(&index.name)
            );
            let rows = self
                .copy
                .connection
                .query(&format!("SELECT pg_relation_size({}::regclass)", literal(&name)))
                .await?;
            if let Some(bytes) = rows.into_iter().flatten().flatten().next() {
                index.bytes = bytes.parse().unwrap_or(index.bytes);
            }
            self.built.push(*at);
            tables.insert(table);
        }
        // What expressions are like is known only after that, and a restored dump knows nothing at all; pages are marked for
        // scans of indexes alone.
        if self.copy.connection.attempt("VACUUM ANALYZE").await?.is_err() {
            self.copy.connection.query("ANALYZE").await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, pool: &[usize]) -> Result<()> {
        let names: BTreeSet<String> = pool.iter().map(|at| self.problem.indexes[*at].name.clone()).collect();
        let today: BTreeSet<String> = self
            .problem
            .indexes
            .iter()
            .filter(|index| index.exists)
            .map(|index| index.name.clone())
            .collect();
        let there = self.there().await?;
        for query in self.problem.queries.clone() {
            let used: BTreeSet<String> = query
                .configs
                .iter()
                .flat_map(|config| &config.uses)
                .map(|at| self.problem.indexes[*at].name.clone())
                .collect();
            // Others' indexes may be taken too where the planner sees rows as they are.
            let open: BTreeSet<String> = names
                .iter()
                .chain(used.intersection(&today))
                .filter(|name| there.contains(*name))
                .cloned()
                .collect();
            let asked = Asked {
                ask: Ask { sql: query.sql.clone(), parameters: parameters(&query.sql) },
                today: open.intersection(&today).cloned().collect(),
                open,
                shut: BTreeSet::new(),
            };
            self.queries.push(Tried { asked, skipped: false, measured: BTreeMap::new(), before: 0.0 });
        }
        let places: BTreeMap<String, usize> =
            self.problem.indexes.iter().enumerate().map(|(at, index)| (index.name.clone(), at)).collect();
        let estimated: Vec<f64> = self.problem.queries.iter().map(|query| query.before).collect();
        let mut units = Vec::new();
        for (place, estimated) in estimated.into_iter().enumerate() {
            self.measure_all(place, &places).await?;
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

    async fn there(&mut self) -> Result<BTreeSet<String>> {
        let rows = self.copy.connection.query("SELECT relname FROM pg_class WHERE relkind = 'i'").await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// Today's plan, and then each other plan that the pool can lead to.
    async fn measure_all(&mut self, place: usize, places: &BTreeMap<String, usize>) -> Result<()> {
        let asked = &self.queries[place].asked;
        let found = match configs::find(&mut self.copy, asked).await? {
            Ok(found) => found,
            Err(refused) => {
                self.skip(place, refused.message);
                return Ok(());
            }
        };
        let hidden: BTreeSet<String> = asked.open.difference(&asked.today).cloned().collect();
        let ask = asked.ask.clone();
        if ask.parameters > 0 {
            self.skip(
                place,
                "it has parameters, so it cannot be run on the copy: give it values in --queries".into(),
            );
            return Ok(());
        }
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
        self.problem.left_out.push(headwater_model::advice::LeftOut { name, why });
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
impl IndexTrial for Trial {
    fn problem(&self) -> &IndexProblem {
        &self.problem
    }

    async fn settle(&mut self, chosen: &[usize]) -> Result<bool> {
        let kept: BTreeSet<String> = chosen.iter().map(|at| self.problem.indexes[*at].name.clone()).collect();
        let places: BTreeMap<String, usize> =
            self.problem.indexes.iter().enumerate().map(|(at, index)| (index.name.clone(), at)).collect();
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
        let kept: BTreeSet<String> = chosen.iter().map(|at| self.problem.indexes[*at].name.clone()).collect();
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
        for at in std::mem::take(&mut self.built) {
            let index = &self.problem.indexes[at];
            let drop = index.undo.replace("DROP INDEX CONCURRENTLY", "DROP INDEX IF EXISTS");
            self.copy.connection.query(&drop).await?;
        }
        Ok(())
    }
}

async fn open(url: &str) -> Result<Connection> {
    Connection::open(&Config::new(&SourceSection::of_url(url))?, Purpose::Store).await
}

/// Asked before anything else is done: who names the wrong server learns it at once.
pub(super) async fn may_build_on(config: &Config, copy: &RestoredCopy) -> Result<()> {
    match copy {
        RestoredCopy::Server(url) => {
            let mut origin = Origin::open(config).await?;
            is_not_the_original(&mut open(url.reveal()).await?, &mut origin).await
        }
        RestoredCopy::Dump(path) => match std::fs::metadata(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(format_args!("read the dump {}", path.display()), error)),
        },
    }
}

/// A physical copy has the identity of its original; what it does not have is the original's server process.
async fn is_not_the_original(copy: &mut Connection, origin: &mut Origin) -> Result<()> {
    let rows = copy.query("SELECT pg_is_in_recovery()").await?;
    if rows.into_iter().flatten().flatten().next().as_deref() == Some("t") {
        return Err(Error::misconfigured("the copy of --verify is a standby: no index can be built there")
            .with_remedy("restore a backup into a server of its own and name that"));
    }
    let identity = "SELECT (SELECT system_identifier FROM pg_control_system())::text || ' ' || pg_postmaster_start_time()";
    let here = copy.attempt(identity).await?;
    let there = origin.identity(identity).await?;
    let same = match (here, there) {
        (Ok(rows), Some(there)) => rows.into_iter().flatten().flatten().next() == Some(there),
        // Who cannot tell has to be taken for the original.
        _ => true,
    };
    if same {
        return Err(Error::misconfigured(
            "--verify names the server that is advised: indexes would be built on it",
        )
        .with_remedy("restore a backup into a server of its own and name that"));
    }
    Ok(())
}

/// A dump in a server of our own. Blocks for as long as that takes.
fn restore(dump: &Path) -> Result<(String, Cluster, Folder)> {
    let mut head = [0u8; 5];
    {
        use std::io::Read as _;
        let mut file = std::fs::File::open(dump)
            .map_err(|error| failed(format_args!("read the dump {}", dump.display()), error))?;
        let _ = file.read(&mut head);
    }
    let folder = Folder::new()?;
    let cluster = Cluster::scratch(&folder, "shared_buffers = 512MB\n")?;
    let url = cluster.socket_url("postgres");
    let mut command = match &head == b"PGDMP" || dump.is_dir() {
        true => {
            let mut restore = cluster.client("pg_restore");
            restore.args(["--no-owner", "--no-privileges", "-d", &url]).arg(dump);
            restore
        }
        false => {
            let mut psql = cluster.client("psql");
            psql.args(["-X", "-q", "-d", &url, "-f"]).arg(dump).stdout(Stdio::null());
            psql
        }
    };
    let outcome = output(&mut command);
    if let Err(error) = outcome {
        // Roles and extensions that are not here: what matters is whether the tables are.
        let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relpages >= 0 AND relnamespace = 'public'::regnamespace";
        let mut psql = cluster.client("psql");
        let found = output(psql.args(["-X", "-A", "-t", "-d", &url, "-c", tables]))?;
        if found.trim() == "0" {
            return Err(error.while_doing(format!("restore the dump {}", dump.display())));
        }
    }
    Ok((url, cluster, folder))
}
