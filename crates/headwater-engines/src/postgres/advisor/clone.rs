//! A database without its rows, in a server of our own: the schema, what the catalog and the statistics say of each table, and
//! files as long as those of the original with nothing in them. The planner sees what it would see there.
//!
//! The planner takes rows per page from the catalog and multiplies by the length of the file as it is now: so the catalog's own
//! pages and rows are copied, and the file gets the length of today.
//!
//! Nothing is ever run here but EXPLAIN: an empty page read by a scan would be an empty page.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use async_trait::async_trait;
use headwater_model::file::SourceSection;
use headwater_model::{Error, Result};
use serde::Deserialize;

use super::candidates::Candidate;
use super::origin::{ColumnStatistics, Schema, read};
use super::what_if::{Question, WhatIf};
use super::{plan, size};
use crate::advice::configs::{Ask, Planned, Planner};
use crate::advice::heads::Key;
use crate::postgres::config::{Config, Host};
use crate::postgres::connection::{Connection, Purpose};
use crate::postgres::error::ServerError;
use crate::postgres::sandbox::Cluster;
use crate::postgres::sql::{identifier, literal};
use crate::sandbox::{Folder, failed};

const SEGMENT: u64 = 1 << 30;
const PAGE: u64 = 8192;
const DATABASE: &str = "clone";

pub(super) struct Clone {
    connection: Connection,
    cluster: Cluster,
    /// Indexes that the planner does not see at the moment.
    hidden: BTreeSet<String>,
    // Last: removed after the server has ended.
    _folder: Folder,
}

/// Starts the server. Blocks.
pub(super) fn server() -> Result<(Folder, Cluster)> {
    let folder = Folder::new()?;
    let cluster = Cluster::scratch(&folder, "shared_buffers = 16MB\n").map_err(|error| {
        let error = error.while_doing("start a PostgreSQL of our own to ask its planner");
        match error.remedy() {
            Some(_) => error,
            None => error.with_remedy("is PostgreSQL installed on this machine?"),
        }
    })?;
    Ok((folder, cluster))
}

impl Clone {
    /// The original's schema, without rows and without statistics yet.
    pub async fn of(config: &Config, schema: &Schema, folder: Folder, cluster: Cluster) -> Result<Clone> {
        let mut postgres = connect(&cluster, "postgres").await?;
        let (collate, ctype) = (literal(&schema.collate), literal(&schema.ctype));
        let like = format!("LC_COLLATE {collate} LC_CTYPE {ctype} ENCODING 'UTF8' TEMPLATE template0");
        // A locale that this machine does not have sorts otherwise; for costs that is nearly the same.
        if postgres.attempt(&format!("CREATE DATABASE {DATABASE} {like}")).await?.is_err() {
            postgres.query(&format!("CREATE DATABASE {DATABASE}")).await?;
        }
        copy_schema(config, &cluster)?;
        let mut connection = connect(&cluster, DATABASE).await?;
        for (name, value) in &schema.settings {
            // What this version does not know, or spells otherwise, stays as it is.
            let set = format!("SELECT set_config({}, {}, false)", literal(name), literal(value));
            let _ = connection.attempt(&set).await?;
        }
        let path: Vec<String> = schema.search_path.iter().map(|name| identifier(name)).collect();
        connection
            .query(&format!(
                "SET allow_system_table_mods = on; SET plan_cache_mode = force_generic_plan; SET search_path = {}",
                if path.is_empty() { "public".to_owned() } else { path.join(", ") }
            ))
            .await?;
        Ok(Clone { connection, cluster, hidden: BTreeSet::new(), _folder: folder })
    }

    /// Empty pages that take no room on the disk.
    fn lengthen(&self, path: PathBuf, bytes: u64) -> Result<()> {
        for (nth, left) in (0..).map(|nth| (nth, bytes.saturating_sub(nth * SEGMENT))) {
            if left == 0 && nth > 0 {
                break;
            }
            let segment = match nth {
                0 => path.clone(),
                _ => PathBuf::from(format!("{}.{nth}", path.display())),
            };
            let is_new = !segment.exists();
            let doing = |error| failed("lengthen a file of the scratch server", error);
            let file =
                File::options().create(true).truncate(false).write(true).open(&segment).map_err(doing)?;
            let length = fs::metadata(&segment).map_err(doing)?.len();
            if left.min(SEGMENT) > length {
                file.set_len(left.min(SEGMENT)).map_err(doing)?;
            }
            if is_new {
                self.cluster.hand_over(&segment)?;
            }
        }
        Ok(())
    }

    async fn hide(&mut self, hidden: &BTreeSet<String>) -> Result<()> {
        let mut changed = Vec::new();
        for (names, seen) in [
            (hidden.difference(&self.hidden).collect::<Vec<_>>(), false),
            (self.hidden.difference(hidden).collect(), true),
        ] {
            changed.extend(names.into_iter().map(|name| format!("({}, {seen})", literal(name))));
        }
        if !changed.is_empty() {
            // One that is not live is not even opened, which an invalid one is, each time that a plan is made. A table's list of
            // indexes is read again when its own row has changed.
            self.connection
                .query(&format!(
                    "WITH changed AS (
                       UPDATE pg_index SET indisvalid = seen, indislive = seen
                       FROM (VALUES {}) asked(name, seen) JOIN pg_class c ON c.relname = name
                       WHERE indexrelid = c.oid RETURNING indrelid)
                     UPDATE pg_class SET relhasindex = true WHERE oid IN (SELECT indrelid FROM changed)",
                    changed.join(", ")
                ))
                .await?;
        }
        self.hidden.clone_from(hidden);
        Ok(())
    }
}

#[async_trait]
impl Planner for Clone {
    type Refused = ServerError;

    async fn plan(&mut self, ask: &Ask, hidden: &BTreeSet<String>) -> Result<Result<Planned, ServerError>> {
        self.hide(hidden).await?;
        plan::ask(&mut self.connection, ask, "FORMAT JSON").await
    }
}

#[async_trait]
impl WhatIf for Clone {
    fn question(&self, statement: &str, parameters: usize, _: &Schema) -> Result<Question, String> {
        Ok(Question { ask: Ask { sql: statement.to_owned(), parameters }, rows: None })
    }

    async fn make(
        &mut self,
        name: &str,
        candidate: &Candidate,
        schema: &Schema,
    ) -> Result<Result<(), String>> {
        if candidate.trigram && schema.trigrams.is_none() {
            let trigrams = "CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public";
            if let Err(refused) = self.connection.attempt(trigrams).await? {
                return Ok(Err(format!("the copy cannot have it: {}", refused.message)));
            }
        }
        let table = &schema.tables[candidate.table].ident;
        let sql = format!("CREATE INDEX {} ON {table} {}", identifier(name), candidate.definition(schema));
        let made = self.connection.attempt(&sql).await?;
        Ok(made.map(|_| ()).map_err(|refused| format!("the copy cannot have it: {}", refused.message)))
    }

    /// Gives tables and indexes the sizes and statistics of the original, and candidates those that they would have.
    async fn furnish(
        &mut self,
        schema: &Schema,
        tables: &[usize],
        statistics: &[ColumnStatistics],
        candidates: &[(String, &Candidate)],
    ) -> Result<()> {
        let mut relations = Vec::new();
        for table in tables.iter().map(|table| &schema.tables[*table]) {
            relations.push(serde_json::json!({
                "schema": table.schema, "name": table.name, "relpages": table.relpages,
                "reltuples": table.reltuples, "allvisible": table.relallvisible, "pages": table.pages,
            }));
            for index in schema.indexes.iter().filter(|index| index.table == table.oid) {
                relations.push(serde_json::json!({
                    "schema": index.schema, "name": index.name, "relpages": index.relpages,
                    "reltuples": index.reltuples, "allvisible": 0, "pages": index.pages,
                }));
            }
        }
        for (name, candidate) in candidates {
            let size = size::of(candidate, schema);
            relations.push(serde_json::json!({
                "schema": schema.tables[candidate.table].schema, "name": name, "relpages": size.pages,
                "reltuples": size.entries, "allvisible": 0, "pages": size.pages,
            }));
        }
        // What lies in the server's memory has to be in the files before they grow behind its back.
        self.connection.query("CHECKPOINT").await?;
        #[derive(Deserialize)]
        struct Place {
            path: Option<String>,
            pages: f64,
        }
        let rows = self
            .connection
            .query(&format!(
                "WITH given AS (
                   SELECT * FROM json_to_recordset({}) r(schema text, name text, relpages float8, reltuples float8,
                                                        allvisible float8, pages float8)),
                 changed AS (
                   UPDATE pg_class c SET relpages = given.relpages::int, reltuples = given.reltuples::real,
                                         relallvisible = least(given.allvisible, given.relpages)::int
                   FROM given JOIN pg_namespace n ON n.nspname = given.schema
                   WHERE c.relnamespace = n.oid AND c.relname = given.name
                   RETURNING c.oid, given.pages)
                 SELECT row_to_json(x)::text FROM (SELECT pg_relation_filepath(oid) AS path, pages FROM changed) x",
                literal(&serde_json::Value::from(relations).to_string())
            ))
            .await?;
        for place in read::<Place>(rows)? {
            if let Some(path) = place.path {
                self.lengthen(self.cluster.file(&path), place.pages as u64 * PAGE)?;
            }
        }
        let mut statistics = serde_json::to_value(statistics)
            .map_err(|error| Error::bug("statistics cannot be told").with_cause(error))?;
        if let Some(rows) = statistics.as_array_mut() {
            rows.extend(expressions(schema, candidates));
        }
        self.connection.query(&STATISTICS.replace("{given}", &literal(&statistics.to_string()))).await?;
        Ok(())
    }

    /// It shows all that is not hidden.
    fn about(&mut self, _: &BTreeSet<String>) {}

    fn hides(&self) -> bool {
        true
    }

    fn left(&self) -> usize {
        usize::MAX
    }
}

async fn connect(cluster: &Cluster, database: &str) -> Result<Connection> {
    Connection::open(&Config::new(&SourceSection::of_url(&cluster.socket_url(database)))?, Purpose::Store)
        .await
}

/// What an index on one column's expression will have for statistics, as far as the column tells: as many values, no more.
fn expressions(schema: &Schema, candidates: &[(String, &Candidate)]) -> Vec<serde_json::Value> {
    let mut rows = Vec::new();
    for (name, candidate) in candidates {
        let table = &schema.tables[candidate.table];
        for (place, key) in candidate.keys.iter().enumerate() {
            if let Key::Expression(sought) = key
                && let [column] = sought.columns[..]
                && let Some(n_distinct) = table.columns[column].n_distinct
            {
                let known = &table.columns[column];
                rows.push(serde_json::json!({
                    "schema": table.schema, "relation": name, "number": place + 1, "inherited": false,
                    "null_frac": known.null_frac, "width": known.bytes() as i32, "n_distinct": n_distinct,
                }));
            }
        }
    }
    rows
}

/// `pg_dump` of the original into the clone. What cannot be made here (an extension that this machine does not have) is left out,
/// and the statements that need it with it.
fn copy_schema(config: &Config, cluster: &Cluster) -> Result<()> {
    let mut dump = cluster.client("pg_dump");
    dump.args([
        "--schema-only",
        "--no-owner",
        "--no-privileges",
        "--no-publications",
        "--no-subscriptions",
        "--no-comments",
        "--no-security-labels",
        "--no-tablespaces",
        "--lock-wait-timeout=2000",
        "--no-password",
    ]);
    as_client(config, &mut dump);
    let script = dump.stdin(Stdio::null()).output().map_err(|error| failed("start pg_dump", error))?;
    if !script.status.success() {
        let said = String::from_utf8_lossy(&script.stderr);
        let error = Error::misconfigured(format!("read the schema with pg_dump: {}", said.trim()));
        return Err(if said.contains("version mismatch") {
            error.with_remedy("install a PostgreSQL on this machine that is as new as the database")
        } else if said.contains("permission denied") {
            error.with_remedy("GRANT pg_read_all_data TO the role that doctor uses")
        } else {
            error
        });
    }
    let mut psql = cluster.client("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=0", "-d"]).arg(cluster.socket_url(DATABASE));
    let mut child = psql
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed("start psql", error))?;
    if let Some(mut stdin) = child.stdin.take() {
        use std::io::Write as _;
        stdin.write_all(&script.stdout).map_err(|error| failed("restore the schema", error))?;
    }
    child.wait().map_err(|error| failed("restore the schema", error))?;
    Ok(())
}

/// Our URL as libpq's programs take it: nothing of it is on their command line, where everybody could read it.
fn as_client(config: &Config, command: &mut Command) {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for host in &config.hosts {
        let (name, port) = match host {
            Host::Tcp { name, port } => (name.clone(), port.to_string()),
            Host::Unix(socket) => {
                let folder = socket.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
                let port = socket.extension().map(|port| port.to_string_lossy().into_owned());
                (folder, port.unwrap_or_else(|| "5432".into()))
            }
        };
        hosts.push(name);
        ports.push(port);
    }
    command
        .env("PGHOST", hosts.join(","))
        .env("PGPORT", ports.join(","))
        .env("PGUSER", &config.user)
        .env("PGDATABASE", &config.database)
        .env("PGAPPNAME", &config.application_name)
        .env("PGCONNECT_TIMEOUT", config.connect_within.as_secs().max(2).to_string())
        .env(
            "PGOPTIONS",
            "-c default_transaction_read_only=on -c statement_timeout=60000 -c lock_timeout=2000",
        );
    if let Some(password) = &config.password {
        command.env("PGPASSWORD", password.reveal());
    }
    let mode = config.hosts.first().map(|host| config.tls.mode_for(host).name());
    command.envs(mode.map(|mode| ("PGSSLMODE", mode)));
    command.envs(config.tls.root_cert.as_ref().map(|path| ("PGSSLROOTCERT", path)));
    command.envs(config.tls.client_cert.as_ref().map(|path| ("PGSSLCERT", path)));
    command.envs(config.tls.client_key.as_ref().map(|path| ("PGSSLKEY", path)));
}

/// Statistics as the original has them. Values go in by the input of their type; what does not fit one is left out.
const STATISTICS: &str = "DO $do$
DECLARE
  r record; rel oid; att pg_attribute; base oid; for_class oid; lt oid; eq oid; coll oid;
  mcv text; hist text; n int; ks int[]; ops oid[]; nums text[]; vals text[];
BEGIN
  FOR r IN SELECT * FROM json_to_recordset({given}) g(schema text, relation text, \"column\" text, number int, inherited bool,
             null_frac float8, width int, n_distinct float8, mcv text, mcf float4[], histogram text, correlation float8)
  LOOP
    rel := to_regclass(format('%I.%I', r.schema, r.relation));
    CONTINUE WHEN rel IS NULL;
    SELECT a.* INTO att FROM pg_attribute a
    WHERE a.attrelid = rel AND (a.attname = r.\"column\" OR a.attnum = r.number) AND NOT a.attisdropped;
    CONTINUE WHEN NOT FOUND;
    SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END,
           CASE WHEN t.typname = 'varchar' THEN 'text'::regtype WHEN t.typtype = 'e' THEN 'anyenum'::regtype
                WHEN t.typtype = 'r' THEN 'anyrange'::regtype WHEN t.typcategory = 'A' THEN 'anyarray'::regtype
                WHEN t.typtype = 'd' AND t.typbasetype = 'varchar'::regtype THEN 'text'::regtype
                WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    INTO base, for_class FROM pg_type t WHERE t.oid = att.atttypid;
    SELECT max(o.amopopr) FILTER (WHERE o.amopstrategy = 1), max(o.amopopr) FILTER (WHERE o.amopstrategy = 3) INTO lt, eq
    FROM pg_opclass c JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype
                                    AND o.amoprighttype = c.opcintype
    WHERE c.opcmethod = 403 AND c.opcdefault AND c.opcintype = for_class;
    ks := '{}'; ops := '{}'; nums := '{}'; vals := '{}';
    IF r.mcv IS NOT NULL AND eq IS NOT NULL THEN
      ks := ks || 1; ops := ops || eq; nums := nums || r.mcf::text; vals := vals || r.mcv;
    END IF;
    IF r.histogram IS NOT NULL AND lt IS NOT NULL THEN
      ks := ks || 2; ops := ops || lt; nums := nums || NULL::text; vals := vals || r.histogram;
    END IF;
    IF r.correlation IS NOT NULL AND lt IS NOT NULL THEN
      ks := ks || 3; ops := ops || lt; nums := nums || array[r.correlation]::float4[]::text; vals := vals || NULL::text;
    END IF;
    BEGIN
      DELETE FROM pg_statistic WHERE starelid = rel AND staattnum = att.attnum AND stainherit = r.inherited;
      INSERT INTO pg_statistic SELECT rel, att.attnum, r.inherited, r.null_frac, r.width, r.n_distinct,
        coalesce(ks[1], 0), coalesce(ks[2], 0), coalesce(ks[3], 0), 0, 0,
        coalesce(ops[1], 0), coalesce(ops[2], 0), coalesce(ops[3], 0), 0, 0,
        CASE WHEN ks[1] IS NULL THEN 0 ELSE att.attcollation END, CASE WHEN ks[2] IS NULL THEN 0 ELSE att.attcollation END,
        CASE WHEN ks[3] IS NULL THEN 0 ELSE att.attcollation END, 0, 0,
        nums[1]::float4[], nums[2]::float4[], nums[3]::float4[], NULL, NULL,
        array_in(textout(vals[1]), base, -1), array_in(textout(vals[2]), base, -1), array_in(textout(vals[3]), base, -1),
        NULL, NULL;
    EXCEPTION WHEN others THEN NULL;
    END;
  END LOOP;
END $do$";
