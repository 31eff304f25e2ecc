//! What is read of the database that is advised: its catalog, its counters, and a bounded sample of rows, in a session that can only
//! read and gives up soon. Nothing is ever written there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::advice::{Statement, Workload};
use headwater_model::{Error, Result, TableName};

use super::schema::{Column, Existing, ForeignKey, Schema, Table};
use crate::mysql::config::Config;
use crate::mysql::connection::{Cells, Connection, Servers, ended_after, text};
use crate::mysql::error::TIMED_OUT;

/// For each thing that is asked.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// So many statements of those that the server counted, the most expensive first.
const STATEMENTS_MAX: usize = 300;

const NOT_OURS: &str = "('mysql', 'information_schema', 'performance_schema', 'sys')";

pub(super) struct Origin {
    pub connection: Connection,
    pub server: String,
}

impl Origin {
    pub async fn open(config: &Arc<Config>) -> Result<Origin> {
        let mut connection = Servers::new(Arc::clone(config)).open(&[]).await?;
        connection.run(&ended_after(ASK_WITHIN)).await?;
        // Definitions quote names as this server does, wherever they are run again.
        let modest = "SET SESSION sql_mode = '', lock_wait_timeout = 1, innodb_lock_wait_timeout = 1";
        connection.run(modest).await?;
        connection.run("SET SESSION TRANSACTION READ ONLY").await?;
        let product = if connection.about.mariadb { "MariaDB" } else { "MySQL" };
        let version = connection.about.version.split('-').next().unwrap_or_default().to_owned();
        Ok(Origin { connection, server: format!("{product} {version}") })
    }

    /// What the server itself counted.
    pub async fn workload(&mut self, database: &str) -> Result<Workload> {
        let on = self.connection.rows("SELECT @@global.performance_schema").await?;
        if on.first().is_none_or(|row| text(row, 0) == "0") {
            return Err(Error::misconfigured("performance_schema is off: the server counts no statements")
                .with_remedy(
                    "set performance_schema = ON and restart the server, or name a file of queries: \
                     --queries queries.sql",
                ));
        }
        let literal = crate::mysql::connection::literal(database);
        let columns = self
            .connection
            .rows(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'performance_schema'
                 AND table_name = 'events_statements_summary_by_digest' AND column_name = 'QUERY_SAMPLE_TEXT'",
            )
            .await?;
        // What an example of a statement is: kept with its counters, or else among those that came last.
        let sample = match columns.is_empty() {
            false => "d.query_sample_text".to_owned(),
            true => {
                "COALESCE((SELECT MAX(h.sql_text) FROM performance_schema.events_statements_history_long h
                               WHERE h.digest = d.digest AND h.current_schema = d.schema_name),
                              (SELECT MAX(h.sql_text) FROM performance_schema.events_statements_history h
                               WHERE h.digest = d.digest AND h.current_schema = d.schema_name))"
                    .to_owned()
            }
        };
        let rows = self
            .connection
            .rows(&format!(
                "SELECT d.digest, {sample}, d.digest_text, d.count_star, d.sum_rows_affected
                 FROM performance_schema.events_statements_summary_by_digest d
                 WHERE d.schema_name = {literal} AND d.digest IS NOT NULL
                   AND d.digest_text REGEXP '^[[:space:]]*[(]?[[:space:]]*(SELECT|WITH|INSERT|REPLACE|UPDATE|DELETE)'
                   AND d.digest_text NOT REGEXP 'performance_schema|information_schema|`?mysql`? [.]|@@'
                 ORDER BY d.sum_timer_wait DESC LIMIT {STATEMENTS_MAX}"
            ))
            .await?;
        let statements = rows
            .iter()
            .map(|row| {
                let sql = match text(row, 1) {
                    sample if sample.is_empty() => text(row, 2),
                    sample => sample,
                };
                Statement {
                    name: format!("statement {}", text(row, 0).chars().take(12).collect::<String>()),
                    sql: sql.trim().trim_end_matches(';').to_owned(),
                    calls: number(row, 3),
                    rows: Some(number(row, 4)),
                    at: None,
                }
            })
            .collect();
        Ok(Workload { statements })
    }

    pub async fn schema(&mut self, database: &str) -> Result<Schema> {
        let mut schema = Schema { database: database.to_owned(), ..Schema::default() };
        let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
        for row in self
            .connection
            .rows(&format!(
                "SELECT table_schema, table_name, table_type, COALESCE(engine, ''), COALESCE(table_rows, 0),
                        COALESCE(data_length, 0), COALESCE(create_options, '')
                 FROM information_schema.tables WHERE table_schema NOT IN {NOT_OURS}"
            ))
            .await?
        {
            let name = (text(&row, 0), text(&row, 1));
            if text(&row, 2) != "BASE TABLE" {
                schema.views.insert(name.1);
                continue;
            }
            places.insert(name.clone(), schema.tables.len());
            schema.tables.push(Table {
                schema: name.0,
                name: name.1,
                transactional: text(&row, 3).eq_ignore_ascii_case("innodb"),
                partitioned: text(&row, 6).contains("partitioned"),
                rows: number(&row, 4),
                bytes: number(&row, 5),
                ..Table::default()
            });
        }
        let place = |row: &Cells| places.get(&(text(row, 0), text(row, 1))).copied();
        for row in self
            .connection
            .rows(&format!(
                "SELECT table_schema, table_name, column_name, data_type, column_type,
                        COALESCE(character_octet_length, 0), is_nullable, extra
                 FROM information_schema.columns WHERE table_schema NOT IN {NOT_OURS}
                 ORDER BY table_schema, table_name, ordinal_position"
            ))
            .await?
        {
            let Some(table) = place(&row) else { continue };
            let extra = text(&row, 7).to_uppercase();
            schema.tables[table].columns.push(Column::new(
                text(&row, 2),
                &text(&row, 3).to_lowercase(),
                &text(&row, 4),
                number(&row, 5),
                text(&row, 6) == "YES",
                extra.contains("VIRTUAL") || extra.contains("STORED") || extra.contains("PERSISTENT"),
            ));
        }
        self.indexes(&mut schema, &place).await?;
        self.foreign_keys(&mut schema, &place).await?;
        Ok(schema)
    }

    async fn indexes(
        &mut self,
        schema: &mut Schema,
        place: &(dyn Fn(&Cells) -> Option<usize> + Sync),
    ) -> Result<()> {
        let rows = self
            .connection
            .rows(&format!(
                "SELECT table_schema, table_name, index_name, non_unique, COALESCE(column_name, ''),
                        COALESCE(sub_part, 0), COALESCE(cardinality, 0), index_type
                 FROM information_schema.statistics WHERE table_schema NOT IN {NOT_OURS}
                 ORDER BY table_schema, table_name, index_name, seq_in_index"
            ))
            .await?;
        for row in rows {
            let Some(table) = place(&row) else { continue };
            let name = text(&row, 2);
            let column = schema.tables[table].column(&text(&row, 4));
            let indexes = &mut schema.tables[table].indexes;
            if indexes.last().is_none_or(|last| last.name != name) {
                indexes.push(Existing {
                    name,
                    unique: text(&row, 3) == "0",
                    // An expression has no column; full texts and places answer other questions.
                    plain: text(&row, 7) == "BTREE",
                    keys: Vec::new(),
                    prefixes: Vec::new(),
                    cardinality: Vec::new(),
                });
            }
            if let Some(last) = indexes.last_mut() {
                last.plain &= column.is_some();
                last.keys.extend(column);
                last.prefixes.push(number(&row, 5) as u32);
                last.cardinality.push(number(&row, 6));
            }
        }
        Ok(())
    }

    async fn foreign_keys(
        &mut self,
        schema: &mut Schema,
        place: &(dyn Fn(&Cells) -> Option<usize> + Sync),
    ) -> Result<()> {
        let rows = self
            .connection
            .rows(&format!(
                "SELECT table_schema, table_name, constraint_name, column_name,
                        referenced_table_schema, referenced_table_name, referenced_column_name
                 FROM information_schema.key_column_usage
                 WHERE referenced_table_name IS NOT NULL AND table_schema NOT IN {NOT_OURS}
                 ORDER BY table_schema, table_name, constraint_name, ordinal_position"
            ))
            .await?;
        for row in &rows {
            let other: Cells = row[4..].to_vec();
            let (Some(child), Some(parent)) = (place(row), place(&other)) else { continue };
            let columns =
                (schema.tables[child].column(&text(row, 3)), schema.tables[parent].column(&text(row, 6)));
            let (Some(column), Some(referenced)) = columns else { continue };
            let keys = &mut schema.foreign_keys;
            match keys.iter_mut().find(|key| key.child == child && key.name == text(row, 2)) {
                Some(key) => {
                    key.columns.push(column);
                    key.referenced.push(referenced);
                }
                None => keys.push(ForeignKey {
                    name: text(row, 2),
                    child,
                    columns: vec![column],
                    parent,
                    referenced: vec![referenced],
                }),
            }
        }
        Ok(())
    }

    /// The statement that makes a table.
    pub async fn definition(&mut self, table: &TableName, quoted: &str) -> Result<String> {
        let rows = self.connection.rows(&format!("SHOW CREATE TABLE {quoted}")).await?;
        let row = rows.first().ok_or_else(|| Error::bug(format!("{table} has no definition")))?;
        Ok(text(row, 1))
    }

    /// The settings that its planner's answers depend on.
    pub async fn settings(&mut self) -> Result<Vec<(String, String)>> {
        let rows = self
            .connection
            .rows(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('optimizer_switch', 'optimizer_search_depth',
                 'optimizer_prune_level', 'optimizer_use_condition_selectivity', 'eq_range_index_dive_limit',
                 'join_cache_level', 'join_buffer_size', 'sort_buffer_size', 'max_seeks_for_key', 'sql_mode')",
            )
            .await?;
        Ok(rows.iter().map(|row| (text(row, 0), text(row, 1))).collect())
    }

    /// Rows, or `None` if that took longer than anything may.
    pub async fn sampled(&mut self, sql: &str) -> Result<Option<Vec<Cells>>> {
        match self.connection.rows(sql).await {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if TIMED_OUT.iter().any(|code| error.to_string().ends_with(&format!("({code})"))) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn number(row: &Cells, place: usize) -> f64 {
    text(row, place).parse().unwrap_or(0.0)
}

/// A name between backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
