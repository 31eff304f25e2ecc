//! Which indexes a workload asks for.
//!
//! - `origin`: what is read of the database itself, and nothing is ever written there
//! - `candidates`: which indexes what statements ask of tables (`crate::advice`) could be
//! - `size`, `writes`: what an index takes and what it costs those who write
//! - `what_if`: a planner that is asked about other indexes than there are, and what it says (`plan`)
//! - `clone`: a copy of the planner's view in a server of our own
//! - `in_place`: the database's own planner, and how statements are put to it (`reading`)
//! - `trial`: candidates that are really built, on a copy with rows
//!
//! The choice itself, under budgets, is not made here: what comes out is a [`headwater_model::advice::IndexProblem`].

mod candidates;
mod clone;
mod in_place;
mod origin;
mod plan;
mod reading;
mod size;
mod trial;
mod what_if;
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

use self::candidates::{Candidate, Method, Pool};
use self::clone::Clone;
use self::in_place::InPlace;
use self::origin::{Origin, Schema};
use self::what_if::{Question, WhatIf};
use self::writes::{Upkeep, Written};
use super::config::Config;
use super::error::ServerError;
use crate::advice::asked::{self, Parsed, Write};
use crate::advice::configs::{self, ASKED_MAX, Asked};
use crate::advice::heads::Key;

/// Candidates in all. Each is an empty index in the clone, or a hypothetical one.
const CANDIDATES_MAX: usize = 600;

/// A statement is asked with the candidates of others too if they begin with a column that it compares; with so many at most.
const OPEN_MAX: usize = 60;

/// A query that costs no more than fetching so many pages has nothing to gain from another index, whatever share of its cost that
/// would be: what follows advice would otherwise be advised again.
const CHEAP_PAGES: f64 = 5.0;

/// To be worth asking, a query is asked with the indexes of today, and with some more.
const ASKED_MIN: usize = 2;

const SPENT: &str = "the planner may not be asked more often: raise --planner-calls";

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
        Origin::open(&self.config).await?.workload().await
    }

    async fn weigh(&self, workload: &Workload, asking: Asking) -> Result<Weighed> {
        match asking {
            Asking::Copy => {
                let server = tokio::task::spawn_blocking(clone::server);
                let mut origin = Origin::open(&self.config).await?;
                let schema = origin.schema().await?;
                let (folder, cluster) = server
                    .await
                    .map_err(|error| Error::bug("starting a server failed").with_cause(error))??;
                let mut clone = Clone::of(&self.config, &schema, folder, cluster).await?;
                weigh(&mut origin, schema, workload, &mut clone).await
            }
            Asking::InPlace { calls_max } => {
                let mut origin = Origin::open(&self.config).await?;
                let schema = origin.schema().await?;
                let mut planner = InPlace::open(&self.config, &mut origin, &schema, calls_max).await?;
                let mut weighed = weigh(&mut origin, schema, workload, &mut planner).await?;
                weighed.notes.extend(planner.told());
                Ok(weighed)
            }
        }
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

async fn weigh(
    origin: &mut Origin,
    mut schema: Schema,
    workload: &Workload,
    planner: &mut impl WhatIf,
) -> Result<Weighed> {
    let statements = workload.statements.iter();
    let asked: Vec<Understood<'_>> =
        statements.map(|statement| Understood::of(statement, &schema, planner)).collect();
    let tables = tables(&asked);
    let statistics = origin.statistics(&mut schema, &tables).await?;
    let mut weighing = Weighing { schema, asked, weighed: Weighed::default(), written: Vec::new() };
    weighing.weighed.problem.server = origin.server.clone();
    weighing.weighed.problem.unit = "planner units";
    weighing.try_statements(planner).await?;
    if weighing.weighed.refused.is_empty() {
        weighing.weigh(planner, &tables, &statistics).await?;
    }
    Ok(weighing.weighed)
}

/// A statement of the workload, and what was understood of it.
struct Understood<'w> {
    statement: &'w Statement,
    parsed: Result<Parsed, String>,
    /// How the planner is asked about it, or why it is not.
    question: Result<Question, String>,
}

impl<'w> Understood<'w> {
    fn of(statement: &'w Statement, schema: &Schema, planner: &impl WhatIf) -> Understood<'w> {
        let parsed = asked::parse(&statement.sql, schema);
        let parameters = match &parsed {
            Ok(parsed) => parsed.parameters,
            Err(_) => asked::parameters(&statement.sql),
        };
        let question = planner.question(&statement.sql, parameters, schema);
        Understood { statement, parsed, question }
    }
}

fn tables(asked: &[Understood<'_>]) -> Vec<usize> {
    let mut tables = BTreeSet::new();
    for parsed in asked.iter().filter_map(|asked| asked.parsed.as_ref().ok()) {
        tables.extend(parsed.uses.iter().map(|used| used.table));
        if let Some(Write::Insert { table } | Write::Update { table, .. } | Write::Delete { table }) =
            &parsed.write
        {
            tables.insert(*table);
        }
    }
    tables.into_iter().collect()
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
    async fn try_statements(&mut self, planner: &mut impl WhatIf) -> Result<()> {
        let mut kept = Vec::new();
        for asked in std::mem::take(&mut self.asked) {
            let statement = asked.statement;
            let question = match &asked.question {
                Ok(question) if planner.left() > 0 => question,
                Ok(_) => {
                    self.leave_out(&statement.name, SPENT);
                    continue;
                }
                Err(why) => {
                    self.leave_out(&statement.name, why);
                    continue;
                }
            };
            match planner.plan(&question.ask, &BTreeSet::new()).await? {
                Ok(planned) => {
                    let parsed = match &asked.parsed {
                        Ok(parsed) => parsed,
                        Err(why) => {
                            self.leave_out(&statement.name, format!("its text is not understood: {why}"));
                            continue;
                        }
                    };
                    if parsed.uses.is_empty() && parsed.write.is_none() {
                        if statement.at.is_some() {
                            self.leave_out(&statement.name, "it reads no table");
                        }
                        continue;
                    }
                    if let Some(write) = &parsed.write {
                        let each = question.rows.unwrap_or(planned.rows).max(1.0);
                        let rows = statement.rows.unwrap_or(statement.calls * each);
                        self.written.push(Written { write: write.clone(), rows });
                    }
                    kept.push(asked);
                }
                Err(refused) => self.refuse(statement, question, refused)?,
            }
        }
        self.asked = kept;
        Ok(())
    }

    /// A statement that the server does not plan: a mistake in the file, or nobody's.
    fn refuse(&mut self, statement: &Statement, question: &Question, refused: ServerError) -> Result<()> {
        match (&*refused.code, statement.at) {
            ("42501", Some(_)) => {
                return Err(Error::from(refused).with_remedy(
                    "GRANT pg_read_all_data TO the role that doctor uses; a table with row level security needs BYPASSRLS, too",
                ));
            }
            // What takes too long, or waits for somebody.
            ("57014" | "55P03", _) => {
                self.leave_out(
                    &statement.name,
                    format!("it could not be planned in time: {}", refused.message),
                );
            }
            (_, Some(at)) => {
                // A place in another text is none in the file.
                let place = refused.position.filter(|_| question.ask.sql == statement.sql);
                let chars = place.unwrap_or(1).saturating_sub(1);
                let within = statement.sql.char_indices().nth(chars).map_or(0, |(byte, _)| byte);
                self.weighed.refused.push(Refusal { at: at + within, why: refused.message });
            }
            (_, None) => self.leave_out(
                &statement.name,
                format!("it cannot be planned apart from its program: {}", refused.message),
            ),
        }
        Ok(())
    }

    async fn weigh(
        &mut self,
        planner: &mut impl WhatIf,
        tables: &[usize],
        statistics: &[origin::ColumnStatistics],
    ) -> Result<()> {
        let partitioned = tables.iter().filter(|table| self.schema.tables[**table].kind == "p");
        for table in partitioned {
            let name = &self.schema.tables[*table].ident;
            self.weighed.notes.push(format!("{name} is partitioned: no index on it was weighed"));
        }
        let no_statistics = tables.iter().map(|table| &self.schema.tables[*table]).filter(|table| {
            table.kind != "p" && table.pages > 8.0 && table.columns.iter().all(|c| c.n_distinct.is_none())
        });
        for table in no_statistics.collect::<Vec<_>>() {
            self.weighed.notes.push(format!(
                "{} has no statistics that this role may see, so advice about it is a guess: ANALYZE {}; or GRANT pg_read_all_data",
                table.ident, table.ident
            ));
        }
        let (pool, brought) = self.candidates(planner).await?;
        let named: Vec<(String, &Candidate)> =
            pool.iter().map(|(name, candidate)| (name.clone(), candidate)).collect();
        planner.furnish(&self.schema, tables, statistics, &named).await?;
        let begun = Instant::now();
        let problem = self.ask(planner, &pool, &brought).await?;
        self.weighed.asked_ms = begun.elapsed().as_secs_f64() * 1000.0;
        let mut left_out = std::mem::take(&mut self.weighed.problem.left_out);
        left_out.extend(problem.left_out);
        let server = std::mem::take(&mut self.weighed.problem.server);
        self.weighed.problem = IndexProblem { left_out, server, unit: "planner units", ..problem };
        Ok(())
    }

    /// Every candidate that the server can make, with its name, and which statement brought up which.
    async fn candidates(
        &mut self,
        planner: &mut impl WhatIf,
    ) -> Result<(Vec<(String, Candidate)>, Vec<BTreeSet<usize>>)> {
        let mut pool = Pool::default();
        let mut of_statement = Vec::new();
        for asked in &self.asked {
            let Ok(parsed) = &asked.parsed else { continue };
            let mut own = Vec::new();
            for candidate in candidates::of(parsed, &self.schema) {
                if pool.all.len() < CANDIDATES_MAX && !self.exists(&candidate) {
                    own.push(pool.add(candidate, &self.schema));
                }
            }
            of_statement.push(own);
        }
        let mut taken: BTreeSet<String> =
            self.schema.indexes.iter().map(|index| index.name.clone()).collect();
        taken.extend(self.schema.tables.iter().map(|table| table.name.clone()));
        let mut made = Vec::new();
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        for (place, candidate) in pool.all.into_iter().enumerate() {
            let plain = candidate.name(&self.schema);
            let mut name = plain.clone();
            let mut nth = 1;
            while !taken.insert(name.clone()) {
                nth += 1;
                name = format!("{plain}{nth}");
            }
            match planner.make(&name, &candidate, &self.schema).await? {
                Ok(()) => {
                    places.insert(place, made.len());
                    made.push((name, candidate));
                }
                Err(why) => {
                    let (table, definition) =
                        (&self.schema.tables[candidate.table].ident, candidate.definition(&self.schema));
                    self.leave_out(&format!("{table} {definition}"), why);
                }
            }
        }
        let brought = of_statement
            .into_iter()
            .map(|own| own.iter().filter_map(|place| places.get(place).copied()).collect())
            .collect();
        Ok((made, brought))
    }

    /// Whether an index does all that a candidate would do.
    fn exists(&self, candidate: &Candidate) -> bool {
        let table = &self.schema.tables[candidate.table];
        let keys: Option<Vec<i32>> = candidate
            .keys
            .iter()
            .map(|key| match key {
                Key::Column { column, descending: false, class: None } => Some(table.columns[*column].number),
                _ => None,
            })
            .collect();
        let Some(keys) = keys.filter(|_| candidate.include.is_empty() && candidate.predicate.is_none())
        else {
            return false;
        };
        let method = match candidate.method {
            Method::Btree => "btree",
            Method::Gin => "gin",
            Method::Brin => "brin",
        };
        !candidate.trigram
            && self.schema.indexes.iter().any(|index| {
                index.table == table.oid && index.method == method && !index.partial && index.keys == keys
            })
    }

    async fn ask(
        &mut self,
        planner: &mut impl WhatIf,
        pool: &[(String, Candidate)],
        brought: &[BTreeSet<usize>],
    ) -> Result<IndexProblem> {
        let mut problem = IndexProblem::default();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let setting = |name: &str, usual: f64| {
            let found = self.schema.settings.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(usual)
        };
        let page = setting("random_page_cost", 4.0);
        let (entry, cheap) = (0.5 + 0.5 * page, CHEAP_PAGES * page);
        let upkeep = Upkeep { schema: &self.schema, written: &self.written, entry };
        let written: BTreeSet<usize> = pool.iter().map(|(_, candidate)| candidate.table).collect();
        problem.writes = written.iter().map(|table| upkeep.table(*table)).collect();
        for (name, candidate) in pool {
            let table = &self.schema.tables[candidate.table];
            let definition = candidate.definition(&self.schema);
            let ident = super::sql::identifier(name);
            let ident = if *name == name.to_lowercase() { name.as_str() } else { ident.as_str() };
            let extension = if candidate.trigram && self.schema.trigrams.is_none() {
                "CREATE EXTENSION IF NOT EXISTS pg_trgm;\n"
            } else {
                ""
            };
            places.insert(name, problem.indexes.len());
            problem.indexes.push(Index {
                name: name.clone(),
                table: table.table_name(),
                bytes: size::of(candidate, &self.schema).bytes(),
                exists: false,
                statement: format!(
                    "{extension}CREATE INDEX CONCURRENTLY {ident} ON {} {definition};",
                    table.ident
                ),
                undo: format!("DROP INDEX CONCURRENTLY {}.{ident};", schema_of(&table.ident)),
                definition,
                build_ms: None,
                upkeep: upkeep.candidate(candidate),
                ends: upkeep.ends(candidate),
            });
        }
        let mut today: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for index in self.schema.indexes.iter().filter(|index| index.droppable && planner.hides()) {
            let Some(table) = self.schema.tables.iter().position(|table| table.oid == index.table) else {
                continue;
            };
            let namesakes = self.schema.indexes.iter().filter(|other| other.name == index.name).count();
            if namesakes > 1 || !written.contains(&table) {
                continue;
            }
            let name =
                format!("{}.{}", super::sql::identifier(&index.schema), super::sql::identifier(&index.name));
            today.entry(table).or_default().insert(index.name.clone());
            places.insert(&index.name, problem.indexes.len());
            problem.indexes.push(Index {
                name: index.name.clone(),
                table: self.schema.tables[table].table_name(),
                definition: index.definition.clone(),
                bytes: index.pages * 8192.0,
                exists: true,
                statement: format!("DROP INDEX CONCURRENTLY {name};"),
                undo: format!("{};", index.definition),
                build_ms: None,
                upkeep: upkeep.existing(table),
                ends: Vec::new(),
            });
        }
        for (place, (asked, own)) in self.asked.iter().zip(brought).enumerate() {
            let (Ok(parsed), Ok(question)) = (&asked.parsed, &asked.question) else { continue };
            if matches!(parsed.write, Some(Write::Insert { .. })) && parsed.uses.is_empty() {
                continue;
            }
            let statement = asked.statement;
            let tables: BTreeSet<usize> = parsed.uses.iter().map(|used| used.table).collect();
            // What those before did not need is for those that come.
            let most = (planner.left() / (self.asked.len() - place)).saturating_sub(1).min(ASKED_MAX);
            if most < ASKED_MIN {
                problem.left_out.push(LeftOut { name: statement.name.clone(), why: SPENT.into() });
                continue;
            }
            let mut asking = Asked {
                ask: question.ask.clone(),
                open: own.iter().map(|place| pool[*place].0.clone()).collect(),
                today: tables.iter().filter_map(|table| today.get(table)).flatten().cloned().collect(),
                shut: BTreeSet::new(),
                most,
            };
            for (place, (name, candidate)) in pool.iter().enumerate() {
                if own.contains(&place) || !tables.contains(&candidate.table) {
                    continue;
                }
                let begins = candidate.first().is_some_and(|first| {
                    parsed.uses.iter().filter(|used| used.table == candidate.table).any(|used| {
                        [&used.equal, &used.joined, &used.range]
                            .iter()
                            .any(|columns| columns.contains(&first))
                    })
                });
                let room = asking.open.len() < OPEN_MAX;
                let to = if begins && room { &mut asking.open } else { &mut asking.shut };
                to.insert(name.clone());
            }
            asking.open.extend(asking.today.iter().cloned());
            planner.about(&asking.open);
            let found = match configs::find(planner, &asking).await? {
                Ok(found) => found,
                Err(refused) => {
                    problem.left_out.push(LeftOut { name: statement.name.clone(), why: refused.message });
                    continue;
                }
            };
            let configs = found
                .plans
                .iter()
                .map(|(uses, planned)| {
                    let mut uses: Vec<usize> =
                        uses.iter().filter_map(|name| places.get(name.as_str()).copied()).collect();
                    uses.sort_unstable();
                    // A query that is cheap is left as it is, unless something makes it dearer.
                    let nothing_to_gain = found.before.cost <= cheap;
                    let cost =
                        if nothing_to_gain { planned.cost.max(found.before.cost) } else { planned.cost };
                    Served { uses, believed: planned.cost, cost, acceptable: true }
                })
                .collect();
            problem.queries.push(Query {
                name: statement.name.clone(),
                sql: statement.sql.clone(),
                calls: statement.calls,
                before: found.before.cost,
                configs,
            });
        }
        Ok(problem)
    }
}

/// The schema of a quoted name.
fn schema_of(ident: &str) -> &str {
    match ident.strip_prefix('"') {
        Some(rest) => rest.find("\".").map_or(ident, |end| &ident[..end + 2]),
        None => ident.split('.').next().unwrap_or(ident),
    }
}
