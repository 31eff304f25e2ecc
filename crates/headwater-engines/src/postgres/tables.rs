//! Whether a table can be followed, and what to do if not. `inspect` reports it, `prepare` refuses by it.

use headwater_model::{Error, ErrorKind, Result, Risk, Severity, TableName};

use super::connection::{Connection, Row};
use super::{catalog, sql};

/// What a table of a store says of itself, so that nobody follows what Headwater writes.
pub(super) const READ_MODEL: &str = "headwater: a read model, written by Headwater only";

/// A table as the catalog has it.
#[derive(Clone, Debug)]
pub(super) struct TableState {
    pub oid: u32,
    pub name: TableName,
    pub kind: char,
    persistence: char,
    identity: char,
    has_primary_key: bool,
    /// The primary key is checked at commit, so the log cannot identify rows by it.
    primary_key_deferrable: bool,
    has_identity_index: bool,
    may_select: bool,
    may_use_schema: bool,
    row_security: bool,
    /// A table of a store: following it would feed a store with what it wrote.
    is_read_model: bool,
    /// The root, if this is a partition.
    root: Option<String>,
    /// A partition whose changes the log would not identify.
    bare_partition: Option<String>,
    /// A unique index that could identify rows.
    candidate_index: Option<String>,
    pub rows: u64,
    pub bytes: u64,
}

/// All tables of user schemas, or those that `names` names. `oids` come in no order.
pub(super) async fn states(
    connection: &mut Connection,
    names: Option<&[TableName]>,
) -> Result<Vec<TableState>> {
    let filter = match names {
        None => "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT c.relispartition
                 AND c.relkind IN ('r', 'p')"
            .to_owned(),
        Some([]) => return Ok(Vec::new()),
        Some(names) => {
            let pair = |name: &TableName| {
                format!("({}, {})", sql::literal(sql::schema(name)), sql::literal(&name.name))
            };
            let pairs: Vec<String> = names.iter().map(pair).collect();
            format!(
                "(n.nspname, c.relname) IN ({}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
                pairs.join(", ")
            )
        }
    };
    let rows = connection
        .query(&format!(
            "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident,
                    coalesce(pk.indimmediate, false), coalesce(NOT pk.indimmediate, false),
                    EXISTS (SELECT FROM pg_index i
                            WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid),
                    has_table_privilege(c.oid, 'SELECT'), has_schema_privilege(n.oid, 'USAGE'),
                    row_security_active(c.oid),
                    CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::regclass::text END,
                    (SELECT l.oid::regclass::text
                     FROM pg_partition_tree(CASE WHEN c.relkind = 'p' THEN c.oid END) t
                     JOIN pg_class l ON l.oid = t.relid
                     WHERE t.isleaf AND l.relreplident = 'n' LIMIT 1),
                    (SELECT quote_ident(x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                     WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                       AND i.indpred IS NULL AND i.indexprs IS NULL
                       AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                                       AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull)
                     ORDER BY x.relname LIMIT 1),
                    (SELECT sum(greatest(l.reltuples, 0))::int8 FROM pg_class l WHERE l.oid = c.oid
                       AND c.relkind <> 'p' OR l.oid IN (SELECT relid FROM pg_partition_tree(
                         CASE WHEN c.relkind = 'p' THEN c.oid END) WHERE isleaf)),
                    (SELECT sum(l.relpages)::int8 * current_setting('block_size')::int8
                     FROM pg_class l WHERE l.oid = c.oid
                       AND c.relkind <> 'p' OR l.oid IN (SELECT relid FROM pg_partition_tree(
                         CASE WHEN c.relkind = 'p' THEN c.oid END) WHERE isleaf)),
                    coalesce(obj_description(c.oid, 'pg_class') = {read_model}, false)
             FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_index pk ON pk.indrelid = c.oid AND pk.indisprimary AND pk.indisvalid
             WHERE {filter}
             ORDER BY n.nspname, c.relname",
            read_model = sql::literal(READ_MODEL)
        ))
        .await?;
    rows.iter().map(state).collect()
}

fn state(row: &Row) -> Result<TableState> {
    let cell = |i: usize| row.get(i).cloned().flatten();
    let text = |i: usize| cell(i).unwrap_or_default();
    let letter = |i: usize| text(i).chars().next().unwrap_or(' ');
    let yes = |i: usize| text(i) == "t";
    Ok(TableState {
        oid: catalog::number(&cell(0))?,
        name: TableName::new(Some(&text(1)), &text(2)),
        kind: letter(3),
        persistence: letter(4),
        identity: letter(5),
        has_primary_key: yes(6),
        primary_key_deferrable: yes(7),
        has_identity_index: yes(8),
        may_select: yes(9),
        may_use_schema: yes(10),
        row_security: yes(11),
        root: cell(12),
        bare_partition: cell(13),
        candidate_index: cell(14),
        rows: text(15).parse().unwrap_or(0),
        bytes: text(16).parse().unwrap_or(0),
        is_read_model: yes(17),
    })
}

impl TableState {
    /// Why the table cannot be followed by `role`.
    pub fn obstacle(&self, role: &str) -> Option<(ErrorKind, Risk)> {
        use ErrorKind::{Denied, Misconfigured};
        let table = sql::table(&self.name);
        let role = sql::identifier(role);
        let (kind, what, remedy) = if let Some(root) = &self.root {
            (Misconfigured, format!("is a partition of {root}"), format!("name {root} instead"))
        } else if !matches!(self.kind, 'r' | 'p') {
            let what = match self.kind {
                'v' => "is a view",
                'm' => "is a materialized view",
                _ => "is a foreign table",
            };
            (
                Misconfigured,
                format!("{what}, which the log does not record"),
                "name the table behind it".into(),
            )
        } else if self.is_read_model {
            (
                Misconfigured,
                "is a read model that Headwater writes: following it would feed a store with what it wrote"
                    .into(),
                "name the table that the read model was made of".into(),
            )
        } else if self.persistence != 'p' {
            let (what, remedy) = match self.persistence {
                'u' => {
                    ("is unlogged: its changes are not in the log", format!("ALTER TABLE {table} SET LOGGED"))
                }
                _ => ("is temporary", "name a permanent table".into()),
            };
            (Misconfigured, what.into(), remedy)
        } else if !self.may_use_schema {
            let schema = sql::identifier(sql::schema(&self.name));
            (
                Denied,
                "cannot be read: the role may not use its schema".into(),
                format!("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON TABLE {table} TO {role}"),
            )
        } else if !self.may_select {
            (Denied, "cannot be read by the role".into(), format!("GRANT SELECT ON TABLE {table} TO {role}"))
        } else if self.row_security {
            (
                Denied,
                "hides rows from the role by row security".into(),
                format!("ALTER ROLE {role} BYPASSRLS"),
            )
        } else if let Some(partition) = &self.bare_partition {
            (
                Misconfigured,
                format!("has a partition, {partition}, with REPLICA IDENTITY NOTHING"),
                format!("ALTER TABLE {partition} REPLICA IDENTITY DEFAULT"),
            )
        } else {
            (Misconfigured, self.without_identity()?, self.identity_remedy(&table))
        };
        let what = format!("table {} {what}", self.name);
        Some((kind, Risk { severity: Severity::Error, what, remedy }))
    }

    fn without_identity(&self) -> Option<String> {
        let usable = match self.identity {
            'i' => self.has_identity_index,
            'f' => self.has_primary_key || self.primary_key_deferrable,
            'n' => false,
            _ => self.has_primary_key,
        };
        if usable {
            return None;
        }
        Some(
            match self.identity {
                'i' => "has REPLICA IDENTITY USING INDEX, but that index is gone",
                'n' => "has REPLICA IDENTITY NOTHING: the log does not say which row changed",
                _ if self.primary_key_deferrable => {
                    "has a deferrable primary key: the log does not say which row changed"
                }
                _ => "has no primary key: the log does not say which row changed",
            }
            .into(),
        )
    }

    fn identity_remedy(&self, table: &str) -> String {
        if self.has_primary_key {
            return format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT");
        }
        if self.primary_key_deferrable {
            return format!("ALTER TABLE {table} REPLICA IDENTITY FULL");
        }
        match &self.candidate_index {
            Some(index) => format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index}"),
            None => format!(
                "ALTER TABLE {table} ADD PRIMARY KEY (…), or name a unique index over columns that are not null: \
                 ALTER TABLE {table} REPLICA IDENTITY USING INDEX …"
            ),
        }
    }
}

/// An error that names the first obstacle among the tables that are wanted.
pub(super) fn refuse(wanted: &[TableName], states: &[TableState], role: &str) -> Result<()> {
    for name in wanted {
        let state = states
            .iter()
            .find(|state| state.name.name == name.name && sql::schema(&state.name) == sql::schema(name));
        let Some(state) = state else {
            return Err(Error::misconfigured(format!("there is no table {name}"))
                .with_remedy("check its name and schema; names are case-sensitive here"));
        };
        if let Some((kind, risk)) = state.obstacle(role) {
            return Err(Error::new(kind, risk.what).with_remedy(risk.remedy));
        }
    }
    Ok(())
}
