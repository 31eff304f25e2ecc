//! What is read of the database that is advised: its catalog, statistics, sizes and counters, in read-only transactions that give
//! up soon. Nothing is ever written there.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_model::advice::{Statement, Workload};
use headwater_model::{Error, Result, TableName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlparser::ast::Ident;
use sqlparser::dialect::{Dialect, PostgreSqlDialect};

use crate::advice::asked::Tables;
use crate::postgres::config::Config;
use crate::postgres::connection::{Connection, Purpose};

/// For each thing that is asked.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// So many statements of those that the server counted, the most expensive first.
const STATEMENTS_MAX: usize = 300;

pub(super) struct Origin {
    connection: Connection,
    pub server: String,
}

/// A database as the planner sees it.
#[derive(Default)]
pub(super) struct Schema {
    /// Tables by their places, which is how everything here refers to them.
    pub tables: Vec<Table>,
    pub indexes: Vec<Existing>,
    /// What the planner's costs depend on.
    pub settings: Vec<(String, String)>,
    pub search_path: Vec<String>,
    pub collate: String,
    pub ctype: String,
    /// The schema of `pg_trgm`, if it is there.
    pub trigrams: Option<String>,
    /// Whether `pg_trgm` could be made.
    pub trigrams_to_be_had: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Schema and name, as they may stand in a statement.
    pub ident: String,
    pub kind: String,
    /// As the catalog has them from the last vacuum or analyze.
    pub relpages: f64,
    pub reltuples: f64,
    pub relallvisible: f64,
    /// As the file is now.
    pub pages: f64,
    pub inserts: f64,
    pub updates: f64,
    pub hot_updates: f64,
    pub deletes: f64,
    pub columns: Vec<Column>,
}

impl Table {
    pub fn table_name(&self) -> TableName {
        TableName::new(Some(&self.schema), &self.name)
    }

    /// As the planner estimates it: what the catalog says of each page, times the pages there are.
    pub fn rows(&self) -> f64 {
        if self.reltuples < 0.0 {
            return self.pages * 50.0;
        }
        if self.relpages > 0.0 { self.reltuples / self.relpages * self.pages } else { self.reltuples }
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Rows come at the end and stay as they are.
    pub fn is_append_only(&self) -> bool {
        (self.updates - self.hot_updates + self.deletes) <= 0.02 * self.inserts.max(1.0)
    }
}

impl Tables for Schema {
    fn dialect(&self) -> &dyn Dialect {
        &PostgreSqlDialect {}
    }

    /// An unquoted name is in lower case.
    fn name(&self, ident: &Ident) -> String {
        if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
    }

    fn table(&self, schema: Option<&str>, name: &str) -> Option<usize> {
        let place = |of: &str| self.tables.iter().position(|table| table.name == name && table.schema == of);
        match schema {
            Some(of) => place(of),
            None => self.search_path.iter().find_map(|of| place(of)),
        }
    }

    fn column(&self, table: usize, name: &str) -> Option<usize> {
        self.tables[table].column(name)
    }

    fn ident(&self, table: usize, column: usize) -> &str {
        &self.tables[table].columns[column].ident
    }

    fn is_truth(&self, table: usize, column: usize) -> bool {
        self.tables[table].columns[column].type_name == "bool"
    }

    fn is_text(&self, table: usize, column: usize) -> bool {
        self.tables[table].columns[column].category == "S"
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Column {
    pub number: i32,
    pub name: String,
    /// The name as it may stand in a statement.
    pub ident: String,
    /// Of the base type, without its schema where that is `pg_catalog`.
    pub type_name: String,
    pub category: String,
    /// `c`, `s`, `i`, `d`: to how many bytes it is aligned.
    pub align: String,
    /// -1 if it varies.
    pub length: i32,
    pub not_null: bool,
    /// Whether equal values are the same bytes, so that an index keeps them once.
    pub deduplicates: bool,
    pub sortable: bool,
    /// The rest is from the statistics; guesses where there are none.
    #[serde(default)]
    pub null_frac: f64,
    #[serde(default)]
    pub width: Option<f64>,
    #[serde(default)]
    pub n_distinct: Option<f64>,
    #[serde(default)]
    pub correlation: Option<f64>,
    #[serde(default)]
    pub common: Option<Vec<String>>,
    #[serde(default)]
    pub common_freqs: Option<Vec<f64>>,
}

impl Column {
    pub fn distinct(&self, rows: f64) -> f64 {
        match self.n_distinct {
            Some(share) if share < 0.0 => -share * rows,
            Some(number) if number > 0.0 => number,
            _ => 200.0,
        }
        .clamp(1.0, rows.max(1.0))
    }

    pub fn bytes(&self) -> f64 {
        if self.length > 0 { f64::from(self.length) } else { self.width.unwrap_or(32.0) }
    }
}

/// An index of the database.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Existing {
    pub schema: String,
    pub name: String,
    pub table: u32,
    pub definition: String,
    pub method: String,
    /// What it sorts by; 0 is an expression.
    pub keys: Vec<i32>,
    /// Every column that it holds or depends on: an update of another one leaves it alone.
    pub touches: Vec<i32>,
    pub partial: bool,
    /// Nothing but queries needs it.
    pub droppable: bool,
    pub relpages: f64,
    pub reltuples: f64,
    pub pages: f64,
}

/// A row of `pg_stats`, as it goes into a clone.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub(super) struct ColumnStatistics {
    pub schema: String,
    pub relation: String,
    pub column: String,
    pub inherited: bool,
    pub null_frac: f64,
    pub width: i32,
    pub n_distinct: f64,
    pub mcv: Option<String>,
    pub mcf: Option<Vec<f64>>,
    pub histogram: Option<String>,
    pub correlation: Option<f64>,
}

impl Origin {
    pub async fn open(config: &Config) -> Result<Origin> {
        let connection = Connection::open(config, Purpose::Sql).await?;
        Ok(Origin { server: format!("PostgreSQL {}", connection.server_version()), connection })
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.connection.version() / 10_000
    }

    /// Rows of a query, each as a value of its own.
    pub async fn ask<T: DeserializeOwned>(&mut self, sql: &str) -> Result<Vec<T>> {
        let begun = self
            .connection
            .query(&format!(
                "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = 100; \
                 SET LOCAL max_parallel_workers_per_gather = 0; \
                 SELECT row_to_json(asked)::text FROM (\n{sql}\n) asked",
                ASK_WITHIN.as_millis()
            ))
            .await;
        if self.connection.is_ready() {
            self.connection.query("ROLLBACK").await?;
        }
        read(begun?)
    }

    /// What tells this server from every other one, if the role may know.
    pub async fn identity(&mut self, sql: &str) -> Result<Option<String>> {
        let rows = self.connection.attempt(sql).await?.unwrap_or_default();
        Ok(rows.into_iter().flatten().flatten().next())
    }

    /// What `pg_stat_statements` counted.
    pub async fn workload(&mut self) -> Result<Workload> {
        #[derive(Deserialize)]
        struct Sight {
            schema: Option<String>,
            all: bool,
            role: String,
        }
        let sight: Vec<Sight> = self
            .ask(
                "SELECT pg_has_role('pg_read_all_stats', 'usage') AS all, quote_ident(current_user) AS role,
                        (SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
                         WHERE extname = 'pg_stat_statements') AS schema",
            )
            .await?;
        let Some(sight) = sight.into_iter().next() else { return Err(Error::bug("nobody asks")) };
        let Some(schema) = sight.schema else {
            return Err(Error::misconfigured("the database has no extension pg_stat_statements").with_remedy(
                "add it to shared_preload_libraries, restart, then CREATE EXTENSION pg_stat_statements; or \
                 name a file of queries: --queries queries.sql",
            ));
        };
        if !sight.all {
            return Err(Error::misconfigured(format!(
                "the role {} sees only its own statements",
                sight.role
            ))
            .with_remedy(format!("GRANT pg_read_all_stats TO {};", sight.role)));
        }
        #[derive(Deserialize)]
        struct Counted {
            id: String,
            query: String,
            calls: f64,
            rows: f64,
        }
        // What an ORM asks the catalog, and what doctor asks, is not the workload. Every write counts: indexes make it dearer.
        let counted: Vec<Counted> = self
            .ask(&format!(
                "SELECT queryid::text AS id, query, sum(calls) AS calls, sum(rows) AS rows
                 FROM {schema}.pg_stat_statements
                 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND toplevel
                   AND queryid IS NOT NULL AND query ~* '^\\s*(/\\*.*\\*/)?\\s*(select|with|insert|update|delete|merge)\\M'
                   AND query !~* '\\m(pg_catalog|information_schema|pg_stat_\\w+|pg_class|pg_attribute|pg_locks|pg_settings|hypopg\\w*)\\M'
                 GROUP BY 1, 2 ORDER BY sum(total_exec_time) DESC LIMIT {STATEMENTS_MAX}"
            ))
            .await?;
        let statements = counted
            .into_iter()
            .map(|counted| Statement {
                name: format!("statement {}", counted.id),
                sql: counted.query,
                calls: counted.calls,
                rows: Some(counted.rows),
                at: None,
            })
            .collect();
        Ok(Workload { statements })
    }

    pub async fn schema(&mut self) -> Result<Schema> {
        let mut schema = Schema { tables: self.ask(TABLES).await?, ..Schema::default() };
        schema.indexes = self.ask(INDEXES).await?;
        #[derive(Deserialize)]
        struct Setting {
            name: String,
            value: String,
        }
        let settings: Vec<Setting> = self.ask(SETTINGS).await?;
        schema.settings = settings.into_iter().map(|setting| (setting.name, setting.value)).collect();
        #[derive(Deserialize)]
        struct Database {
            collate: String,
            ctype: String,
            search_path: Vec<String>,
            trigrams: Option<String>,
            trigrams_to_be_had: bool,
        }
        if let Some(database) = self.ask::<Database>(DATABASE).await?.into_iter().next() {
            schema.collate = database.collate;
            schema.ctype = database.ctype;
            schema.search_path = database.search_path;
            schema.trigrams = database.trigrams;
            schema.trigrams_to_be_had = database.trigrams_to_be_had;
        }
        Ok(schema)
    }

    /// The statistics of these tables and of the indexes on their expressions, as they are; the tables' columns learn from them.
    pub async fn statistics(
        &mut self,
        schema: &mut Schema,
        tables: &[usize],
    ) -> Result<Vec<ColumnStatistics>> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let oids: Vec<String> = tables.iter().map(|table| schema.tables[*table].oid.to_string()).collect();
        let statistics: Vec<ColumnStatistics> = self
            .ask(&format!(
                "SELECT s.schemaname AS schema, s.tablename AS relation, s.attname AS column, s.inherited, s.null_frac,
                        s.avg_width AS width, s.n_distinct, s.most_common_vals::text AS mcv, s.most_common_freqs AS mcf,
                        s.histogram_bounds::text AS histogram, s.correlation
                 FROM pg_stats s
                 JOIN pg_namespace n ON n.nspname = s.schemaname
                 JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
                 LEFT JOIN pg_index i ON i.indexrelid = c.oid
                 WHERE coalesce(i.indrelid, c.oid) IN ({})",
                oids.join(", ")
            ))
            .await?;
        let mut by_name: BTreeMap<(String, String), usize> = BTreeMap::new();
        for table in tables {
            let known = &schema.tables[*table];
            by_name.insert((known.schema.clone(), known.name.clone()), *table);
        }
        for row in &statistics {
            let Some(table) = by_name.get(&(row.schema.clone(), row.relation.clone())) else { continue };
            let Some(column) = schema.tables[*table].column(&row.column) else { continue };
            let column = &mut schema.tables[*table].columns[column];
            column.null_frac = row.null_frac;
            column.width = Some(f64::from(row.width));
            column.n_distinct = Some(row.n_distinct);
            column.correlation = row.correlation;
            column.common_freqs = row.mcf.clone();
            column.common = row.mcv.as_deref().map(array_texts);
        }
        Ok(statistics)
    }
}

pub(super) fn read<T: DeserializeOwned>(rows: Vec<Vec<Option<String>>>) -> Result<Vec<T>> {
    let rows = rows.iter().flatten().flatten();
    rows.map(|row| {
        serde_json::from_str(row).map_err(|error| Error::bug(format!("what came back: {error} in {row}")))
    })
    .collect()
}

/// The elements of an array as PostgreSQL prints it.
fn array_texts(text: &str) -> Vec<String> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    let (mut texts, mut text, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in inner.chars() {
        match c {
            _ if escaped => {
                text.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => texts.push(std::mem::take(&mut text)),
            _ => text.push(c),
        }
    }
    if !inner.is_empty() {
        texts.push(text);
    }
    texts
}

const TABLES: &str = "SELECT c.oid::int8, n.nspname AS schema, c.relname AS name, format('%I.%I', n.nspname, c.relname) AS ident,
       c.relkind AS kind, c.relpages, c.reltuples, c.relallvisible,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_relation_size(c.oid) / current_setting('block_size')::int END AS pages,
       coalesce(s.n_tup_ins, 0) AS inserts, coalesce(s.n_tup_upd, 0) AS updates,
       coalesce(s.n_tup_hot_upd, 0) AS hot_updates, coalesce(s.n_tup_del, 0) AS deletes, k.columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
CROSS JOIN LATERAL (
  SELECT coalesce(json_agg(json_build_object(
           'number', a.attnum, 'name', a.attname, 'ident', quote_ident(a.attname), 'category', b.typcategory, 'align', b.typalign, 'length', b.typlen,
           'type_name', b.typname, 'not_null', a.attnotnull,
           'sortable', EXISTS (SELECT FROM pg_opclass o WHERE o.opcmethod = 403 AND o.opcdefault
                               AND (o.opcintype = b.oid OR b.typname = 'varchar' OR b.typtype IN ('e', 'r') OR b.typcategory = 'A')),
           'deduplicates', b.typtype = 'e' OR b.typname IN ('int2', 'int4', 'int8', 'oid', 'bool', 'text', 'varchar', 'uuid',
                           'date', 'time', 'timestamp', 'timestamptz', 'bytea', 'inet', 'name', 'char', 'money')
                           AND coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true))
         ORDER BY a.attnum), '[]') AS columns
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid
  JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) k
WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

const INDEXES: &str = "SELECT n.nspname AS schema, c.relname AS name, i.indrelid::int8 AS table, pg_get_indexdef(i.indexrelid) AS definition,
       m.amname AS method, (i.indkey::int2[])[0:i.indnkeyatts - 1]::int[] AS keys,
       array(SELECT DISTINCT k::int FROM unnest(i.indkey::int2[]) k WHERE k > 0
             UNION SELECT refobjsubid FROM pg_depend
             WHERE classid = 'pg_class'::regclass AND objid = i.indexrelid
               AND refclassid = 'pg_class'::regclass AND refobjid = i.indrelid AND refobjsubid > 0) AS touches,
       i.indpred IS NOT NULL AS partial,
       NOT i.indisunique AND NOT i.indisexclusion AND NOT i.indisreplident AND NOT i.indisclustered
       AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
       AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
       AND NOT EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = i.indrelid
                       AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey) AS droppable,
       c.relpages, c.reltuples, pg_relation_size(c.oid) / current_setting('block_size')::int AS pages
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_am m ON m.oid = c.relam
WHERE c.relkind = 'i' AND i.indisvalid AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// `jit` is off wherever we ask, and what is not the planner's stays at home. As a session of an application begins with them: ours has
/// some of its own. Numbers are in the setting's own unit, which is what a number without one means.
const SETTINGS: &str = "SELECT name, reset_val AS value
FROM pg_settings
WHERE (category LIKE 'Query Tuning%' OR name IN ('work_mem', 'hash_mem_multiplier', 'max_parallel_workers_per_gather',
       'max_parallel_workers', 'effective_io_concurrency', 'parallel_leader_participation'))
  AND name NOT LIKE 'jit%' AND name NOT IN ('plan_cache_mode') AND unit IS DISTINCT FROM 'B'";

const DATABASE: &str = "SELECT datcollate AS collate, datctype AS ctype,
       (SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'pg_trgm') AS trigrams,
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') AS trigrams_to_be_had,
       array(SELECT trim(both ' \"' FROM part)
             FROM regexp_split_to_table(coalesce(
               (SELECT substr(entry, 13) FROM pg_db_role_setting, unnest(setconfig) entry
                WHERE setdatabase IN (0, d.oid) AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))
                  AND entry LIKE 'search_path=%'
                ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1), '\"$user\", public'), ',') part) AS search_path
FROM pg_database d WHERE datname = current_database()";

#[cfg(test)]
mod tests {
    use super::array_texts;

    #[test]
    fn an_array_is_read_as_it_is_printed() {
        assert_eq!(array_texts("{a,\"b c\",\"d,\\\"e\"}"), ["a", "b c", "d,\"e"]);
        assert_eq!(array_texts("{}"), [""; 0]);
        assert_eq!(array_texts("{\"\"}"), [""]);
    }
}
