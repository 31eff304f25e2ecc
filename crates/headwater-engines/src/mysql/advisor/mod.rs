//! Which indexes a workload asks for.
//!
//! - `origin`, `schema`: what is read of the database itself, and nothing is ever written there
//! - `candidates`: which indexes what statements ask of tables (`crate::advice`) could be
//! - `writes`: what an index costs those who write
//! - `clone`, `sample`, `plan`: the tables with samples of their rows in a server of our own, what its planner says, and what that costs
//! - `refusal`: what the server has against a statement, and where in it
//! - `trial`: candidates that are really built, on a copy with all rows
//!
//! The choice itself, under budgets, is not made here: what comes out is a [`headwater_model::advice::IndexProblem`].

mod candidates;
mod clone;
mod origin;
mod plan;
mod refusal;
mod sample;
mod schema;
mod trial;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use headwater_model::advice::{
    AdviseIndexes, Asking, Config as Served, Index, IndexProblem, IndexTrial, LeftOut, Query, Refusal,
    RestoredCopy, Statement, Weighed, Workload,
};
use headwater_model::file::SourceSection;
use headwater_model::{Error, Result};
use mysql_async::ServerError;

use self::candidates::{Candidate, listed, plainly};
use self::clone::Clone;
use self::origin::{Origin, quoted};
use self::plan::id;
use self::refusal::{is_missing, place_of, told};
use self::schema::Schema;
use self::writes::Written;
use super::config::Config;
use crate::advice::asked::{self, Parsed, Write};
use crate::advice::configs::{self, ASKED_MAX, Ask, Asked, Planner};

/// A statement is asked with the candidates of others too if they begin with a column that it compares; with so many at most.
const OPEN_MAX: usize = 60;

/// A query that costs no more than fetching so many pages has nothing to gain from another index.
const CHEAP: f64 = 5.0;

const UNIT: &str = "planner units";

pub(crate) struct Advisor {
    config: Arc<Config>,
}

impl Advisor {
    pub(crate) fn of_source(section: &SourceSection) -> Result<Advisor> {
        Ok(Advisor { config: Arc::new(Config::new(section)?) })
    }
}

#[async_trait]
impl AdviseIndexes for Advisor {
    async fn workload(&self) -> Result<Workload> {
        Origin::open(&self.config).await?.workload(&self.config.database).await
    }

    async fn weigh(&self, workload: &Workload, asking: Asking) -> Result<Weighed> {
        if asking != Asking::Copy {
            return Err(Error::unsupported(
                "MariaDB and MySQL cannot be asked in place: they plan with indexes that are there",
            )
            .with_remedy("ask without --in-place: a server with a sample of the rows is asked"));
        }
        let server = tokio::task::spawn_blocking(clone::server);
        let mut origin = Origin::open(&self.config).await?;
        let schema = origin.schema(&self.config.database).await?;
        let asked: Vec<Understood<'_>> =
            workload.statements.iter().map(|s| Understood::of(s, &schema)).collect();
        let tables = tables(&asked);
        let server =
            server.await.map_err(|error| Error::bug("starting a server failed").with_cause(error))??;
        let mut clone = Clone::of(&mut origin, &schema, &tables, server).await?;
        clone::plan_as(&mut clone.connection, &origin.settings().await?).await;
        let mut weighing = Weighing { schema, asked, weighed: Weighed::default(), written: Vec::new() };
        weighing.weighed.problem.server = origin.server.clone();
        weighing.weighed.problem.unit = UNIT;
        weighing.try_statements(&mut clone).await?;
        if weighing.weighed.refused.is_empty() && !weighing.asked.is_empty() {
            weighing.weigh(&mut origin, &mut clone, &tables).await?;
        }
        Ok(weighing.weighed)
    }

    async fn may_build_on(&self, copy: &RestoredCopy) -> Result<()> {
        trial::may_build_on(&self.config, copy).await
    }

    async fn trial(
        &self,
        problem: &IndexProblem,
        pool: &[usize],
        copy: &RestoredCopy,
    ) -> Result<Box<dyn IndexTrial>> {
        Ok(Box::new(trial::begin(&self.config, problem, pool, copy).await?))
    }
}

/// A statement of the workload, and what was understood of it.
struct Understood<'w> {
    statement: &'w Statement,
    parsed: Result<Parsed, String>,
}

impl<'w> Understood<'w> {
    fn of(statement: &'w Statement, schema: &Schema) -> Understood<'w> {
        Understood { statement, parsed: asked::parse(&statement.sql, schema) }
    }

    fn ask(&self) -> Ask {
        Ask { sql: self.statement.sql.clone(), parameters: 0 }
    }
}

fn tables(asked: &[Understood<'_>]) -> BTreeSet<usize> {
    let mut tables = BTreeSet::new();
    for parsed in asked.iter().filter_map(|asked| asked.parsed.as_ref().ok()) {
        tables.extend(parsed.uses.iter().map(|used| used.table));
        if let Some(Write::Insert { table } | Write::Update { table, .. } | Write::Delete { table }) =
            &parsed.write
        {
            tables.insert(*table);
        }
    }
    tables
}

struct Weighing<'w> {
    schema: Schema,
    asked: Vec<Understood<'w>>,
    weighed: Weighed,
    written: Vec<Written>,
}

impl Weighing<'_> {
    fn leave_out(&mut self, name: &str, why: impl Into<String>) {
        self.weighed.problem.left_out.push(LeftOut { name: name.to_owned(), why: why.into() });
    }

    /// Which of them can be asked. What is wrong in a file is all told at once; of what the server counted, what cannot be
    /// planned is left out.
    async fn try_statements(&mut self, clone: &mut Clone) -> Result<()> {
        let mut kept = Vec::new();
        for asked in std::mem::take(&mut self.asked) {
            let statement = asked.statement;
            if let Err(refused) = clone.takes(&statement.sql).await? {
                if let Some(view) = self.schema.views.iter().find(|view| is_missing(&refused, view)) {
                    let why = format!("it reads the view {view}: what a view reads is not looked into");
                    self.leave_out(&statement.name, why);
                } else if let Some(at) = statement.at {
                    let at = at + place_of(&refused, &statement.sql);
                    self.weighed.refused.push(Refusal { at, why: told(&refused, &statement.sql) });
                } else if statement.sql.contains('?') {
                    let why = "the server keeps no example of it with values: UPDATE performance_schema.setup_consumers \
                               SET enabled = 'YES' WHERE name LIKE 'events_statements_%'; or give it values in --queries";
                    self.leave_out(&statement.name, why);
                } else {
                    let why = format!("it cannot be planned apart from its program: {}", refused.message);
                    self.leave_out(&statement.name, why);
                }
                continue;
            }
            match &asked.parsed {
                Err(why) => self.leave_out(&statement.name, format!("its text is not understood: {why}")),
                Ok(parsed) if parsed.uses.is_empty() && parsed.write.is_none() => {
                    if statement.at.is_some() {
                        self.leave_out(&statement.name, "it reads no table");
                    }
                }
                Ok(_) => kept.push(asked),
            }
        }
        self.asked = kept;
        Ok(())
    }

    async fn weigh(
        &mut self,
        origin: &mut Origin,
        clone: &mut Clone,
        tables: &BTreeSet<usize>,
    ) -> Result<()> {
        for table in tables.iter().map(|table| &self.schema.tables[*table]) {
            let why = match (table.transactional, table.partitioned) {
                (false, _) => "is not kept by InnoDB",
                (_, true) => "is partitioned",
                _ => continue,
            };
            self.weighed.notes.push(format!("{} {why}: no index on it was weighed", table.table_name()));
        }
        let parsed: Vec<&Parsed> = self.asked.iter().filter_map(|asked| asked.parsed.as_ref().ok()).collect();
        let notes = clone.furnish(origin, &mut self.schema, &parsed).await?;
        self.weighed.notes.extend(notes);
        let schema = Arc::new(std::mem::take(&mut self.schema));
        let brought: Vec<Vec<Candidate>> = self
            .asked
            .iter()
            .map(|asked| {
                asked.parsed.as_ref().map(|parsed| candidates::of(parsed, &schema)).unwrap_or_default()
            })
            .collect();
        let pool = named(candidates::pool(&brought, &schema), &schema);
        let made = clone.make(&schema, &pool).await?;
        let pool: Vec<(String, Candidate)> = pool
            .into_iter()
            .enumerate()
            .filter(|(place, _)| made.contains(place))
            .map(|(_, one)| one)
            .collect();
        let begun = Instant::now();
        self.writes(clone, &pool).await?;
        let problem = self.ask(clone, &schema, &pool, &brought).await?;
        self.weighed.asked_ms = begun.elapsed().as_secs_f64() * 1000.0;
        let known = &mut self.weighed.problem;
        known.left_out.extend(problem.left_out);
        known.queries = problem.queries;
        known.indexes = problem.indexes;
        known.writes = problem.writes;
        Ok(())
    }

    /// How many rows the statements write, by the server's counts or else by the planner's.
    async fn writes(&mut self, clone: &mut Clone, pool: &[(String, Candidate)]) -> Result<()> {
        let all: BTreeSet<String> = pool.iter().map(|(name, candidate)| id(candidate.table, name)).collect();
        for asked in &self.asked {
            let Ok(Parsed { write: Some(write), .. }) = &asked.parsed else { continue };
            let rows = match asked.statement.rows {
                Some(rows) => rows,
                None => {
                    if let Ok(parsed) = &asked.parsed {
                        clone.look_at(parsed);
                    }
                    let each = match write {
                        Write::Insert { .. } => 1.0,
                        _ => {
                            clone.plan(&asked.ask(), &all).await?.map_or(1.0, |planned| planned.rows.max(1.0))
                        }
                    };
                    asked.statement.calls * each
                }
            };
            self.written.push(Written { write: write.clone(), rows });
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        clone: &mut Clone,
        schema: &Schema,
        pool: &[(String, Candidate)],
        brought: &[Vec<Candidate>],
    ) -> Result<IndexProblem> {
        let mut problem = IndexProblem::default();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let used: BTreeSet<usize> = tables(&self.asked);
        problem.writes = used.iter().map(|table| writes::today(&self.written, *table, schema)).collect();
        for (name, candidate) in pool {
            places.insert(id(candidate.table, name), problem.indexes.len());
            problem.indexes.push(self.candidate(name, candidate, schema));
        }
        let mut today: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for table in used.iter().filter(|table| schema.tables[**table].is_advised()) {
            for place in schema.droppable(*table) {
                let index = self.existing(*table, place, schema);
                let id = id(*table, &index.name);
                today.entry(*table).or_default().insert(id.clone());
                places.insert(id, problem.indexes.len());
                problem.indexes.push(index);
            }
        }
        for (asked, own) in self.asked.iter().zip(brought) {
            let Ok(parsed) = &asked.parsed else { continue };
            if matches!(parsed.write, Some(Write::Insert { .. })) && parsed.uses.is_empty() {
                continue;
            }
            clone.look_at(parsed);
            match query(clone, asked, parsed, own, pool, &today, &places).await? {
                Ok(query) => problem.queries.push(query),
                Err(refused) => problem
                    .left_out
                    .push(LeftOut { name: asked.statement.name.clone(), why: refused.message }),
            }
        }
        Ok(problem)
    }

    fn candidate(&self, name: &str, candidate: &Candidate, schema: &Schema) -> Index {
        let table = &schema.tables[candidate.table];
        Index {
            name: name.to_owned(),
            table: table.table_name(),
            definition: candidate.definition(schema),
            bytes: candidate.bytes(schema),
            exists: false,
            statement: format!(
                "ALTER TABLE {} ADD INDEX {} {}, ALGORITHM=INPLACE, LOCK=NONE;",
                table.ident(),
                quoted(name),
                candidate.keys(schema)
            ),
            undo: drops(&table.ident(), name),
            build_ms: None,
            upkeep: writes::upkeep(&self.written, candidate.table, &candidate.columns),
            ends: Vec::new(),
        }
    }

    fn existing(&self, table: usize, place: usize, schema: &Schema) -> Index {
        let known = &schema.tables[table];
        let index = &known.indexes[place];
        Index {
            name: index.name.clone(),
            table: known.table_name(),
            definition: listed(known, &index.keys, &index.prefixes, plainly),
            bytes: known.index_bytes(&index.keys, &index.prefixes),
            exists: true,
            statement: drops(&known.ident(), &index.name),
            undo: format!(
                "ALTER TABLE {} ADD INDEX {} {}, ALGORITHM=INPLACE, LOCK=NONE;",
                known.ident(),
                quoted(&index.name),
                listed(known, &index.keys, &index.prefixes, quoted)
            ),
            build_ms: None,
            upkeep: writes::upkeep(&self.written, table, &index.keys),
            ends: Vec::new(),
        }
    }
}

fn drops(table: &str, name: &str) -> String {
    format!("ALTER TABLE {table} DROP INDEX {}, ALGORITHM=INPLACE, LOCK=NONE;", quoted(name))
}

/// Each with a name that no index of its table has.
fn named(pool: Vec<Candidate>, schema: &Schema) -> Vec<(String, Candidate)> {
    let mut taken: BTreeSet<(usize, String)> = BTreeSet::new();
    for (place, table) in schema.tables.iter().enumerate() {
        taken.extend(table.indexes.iter().map(|index| (place, index.name.to_lowercase())));
    }
    let mut all = Vec::new();
    for candidate in pool {
        let plain = candidate.name(schema);
        let (mut name, mut nth) = (plain.clone(), 1);
        while !taken.insert((candidate.table, name.clone())) {
            nth += 1;
            name = format!("{plain}{nth}");
        }
        all.push((name, candidate));
    }
    all
}

/// What a statement costs with which indexes.
async fn query(
    clone: &mut Clone,
    asked: &Understood<'_>,
    parsed: &Parsed,
    own: &[Candidate],
    pool: &[(String, Candidate)],
    today: &BTreeMap<usize, BTreeSet<String>>,
    places: &BTreeMap<String, usize>,
) -> Result<Result<Query, ServerError>> {
    let tables: BTreeSet<usize> = parsed.uses.iter().map(|used| used.table).collect();
    let today: BTreeSet<String> =
        tables.iter().filter_map(|table| today.get(table)).flatten().cloned().collect();
    let (ask, open, shut) = (asked.ask(), today.clone(), BTreeSet::new());
    let mut asking = Asked { ask, open, today, shut, most: ASKED_MAX };
    for (name, candidate) in pool.iter().filter(|(_, candidate)| tables.contains(&candidate.table)) {
        let begins = candidate.columns.first().is_some_and(|first| {
            parsed.uses.iter().filter(|used| used.table == candidate.table).any(|used| {
                [&used.equal, &used.joined, &used.range].iter().any(|columns| columns.contains(first))
            })
        });
        let is_open = own.contains(candidate) || begins && asking.open.len() < OPEN_MAX;
        let to = if is_open { &mut asking.open } else { &mut asking.shut };
        to.insert(id(candidate.table, name));
    }
    let found = match configs::find(clone, &asking).await? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    let configs = found
        .plans
        .iter()
        .map(|(uses, planned)| {
            let mut uses: Vec<usize> = uses.iter().filter_map(|id| places.get(id).copied()).collect();
            uses.sort_unstable();
            // A query that is cheap is left as it is, unless something makes it dearer.
            let nothing_to_gain = found.before.cost <= CHEAP;
            let cost = if nothing_to_gain { planned.cost.max(found.before.cost) } else { planned.cost };
            Served { uses, believed: planned.cost, cost, acceptable: true }
        })
        .collect();
    let statement = asked.statement;
    Ok(Ok(Query {
        name: statement.name.clone(),
        sql: statement.sql.clone(),
        calls: statement.calls,
        before: found.before.cost,
        configs,
    }))
}
