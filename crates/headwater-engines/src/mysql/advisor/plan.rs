//! A plan as `EXPLAIN FORMAT=JSON` tells it, and what it costs. MariaDB tells no costs before version 11, and none for sorting: so the
//! plan and its numbers of rows are the server's, and what a row, a page and a comparison cost is counted here, with the constants of
//! MySQL 8 (`mysql.server_cost`, `mysql.engine_cost`).
//!
//! The server sees a sample. What it counted there (ranges, and comparisons with a value) is told in rows of the original; what it
//! knows from statistics (how many rows a join finds for each) has been made that of the original before.

use std::collections::{BTreeMap, BTreeSet};

use headwater_model::{Error, Result};
use serde_json::Value;

use super::schema::{PAGE, Schema};
use crate::advice::configs::Planned;

/// A page of the table or of an index.
const PAGE_COST: f64 = 1.0;
/// A row that is looked at.
const ROW: f64 = 0.1;
/// Two values that are compared.
const COMPARISON: f64 = 0.05;
/// A row that is put into a temporary table.
const TEMPORARY: f64 = 0.2;
/// So much of a page is an entry of an index, whatever is in it.
const ENTRY: f64 = 0.005;
/// What is kept of a row while others are joined to it, and the room for that.
const JOINED_BYTES: f64 = 100.0;
const JOIN_BUFFER: f64 = 262_144.0;
/// Fewer rows of a sample than this say little: then the statistics are believed.
const FEW: f64 = 3.0;

/// What a plan is read with.
pub(super) struct Eyes<'a> {
    pub schema: &'a Schema,
    /// Tables by what the statement calls them.
    pub tables: &'a BTreeMap<String, usize>,
    /// Sizes of indexes by their [`id`].
    pub bytes: &'a BTreeMap<String, f64>,
    /// Reading ends after so many rows.
    pub limit: Option<f64>,
}

/// What an index is called where its name alone could be that of another table's.
pub(super) fn id(table: usize, name: &str) -> String {
    format!("{table}.{name}")
}

pub(super) fn read(text: &str, eyes: &Eyes<'_>) -> Result<Planned> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Error::bug("a plan that cannot be read").with_cause(error))?;
    let mut reader =
        Reader { eyes, uses: BTreeSet::new(), shape: String::new(), stores: false, touched: None };
    let mut total = reader.steps(&value, Total { cost: 0.0, rows: 1.0 });
    if let Some(limit) = eyes.limit.filter(|_| !reader.stores)
        && total.rows > limit
    {
        total.cost = (total.cost * limit / total.rows).max(PAGE_COST);
    }
    Ok(Planned {
        cost: total.cost,
        uses: reader.uses,
        shape: reader.shape,
        execution_ms: None,
        rows: reader.touched.unwrap_or(total.rows),
    })
}

#[derive(Clone, Copy)]
struct Total {
    cost: f64,
    /// That come out.
    rows: f64,
}

struct Reader<'a> {
    eyes: &'a Eyes<'a>,
    uses: BTreeSet<String>,
    shape: String,
    /// Nothing comes out before all has been read.
    stores: bool,
    /// Rows that a write finds.
    touched: Option<f64>,
}

impl Reader<'_> {
    /// What follows a number of rows: tables one after the other, for each row of those before.
    fn steps(&mut self, node: &Value, before: Total) -> Total {
        let Some(fields) = node.as_object() else { return before };
        let mut total = before;
        for (name, inner) in fields {
            match name.as_str() {
                "query_block" | "having" | "read_sorted_file" | "window_functions_computation" => {
                    total = self.steps(inner, total);
                }
                "nested_loop" => {
                    for step in inner.as_array().into_iter().flatten() {
                        total = self.steps(step, total);
                    }
                }
                "table" => total = self.table(inner, total),
                "block-nl-join" => total = self.buffered(inner, total),
                "filesort" => {
                    self.shape.push_str("sort(");
                    let sorted = self.steps(inner, total);
                    self.shape.push(')');
                    self.stores = true;
                    let comparisons = sorted.rows * (sorted.rows + 2.0).log2();
                    total = Total { cost: sorted.cost + comparisons * COMPARISON, ..sorted };
                }
                "temporary_table" | "duplicates_removal" => {
                    self.shape.push_str("keep(");
                    let kept = self.steps(inner, total);
                    self.shape.push(')');
                    self.stores = true;
                    total = Total { cost: kept.cost + kept.rows * TEMPORARY, ..kept };
                }
                "union_result" => {
                    self.stores = true;
                    let mut rows = 0.0;
                    for part in inner["query_specifications"].as_array().into_iter().flatten() {
                        let of_part = self.steps(part, Total { cost: 0.0, rows: 1.0 });
                        total.cost += of_part.cost;
                        rows += of_part.rows;
                    }
                    total = Total { cost: total.cost + rows * TEMPORARY, rows };
                }
                _ => {}
            }
        }
        for query in fields.get("subqueries").and_then(Value::as_array).into_iter().flatten() {
            total.cost += self.subquery(query, total.rows);
        }
        total
    }

    /// One that depends on the row is asked for each.
    fn subquery(&mut self, query: &Value, rows: f64) -> f64 {
        let (query, cached) = match query.get("expression_cache") {
            Some(inner) => (inner, true),
            None => (query, false),
        };
        self.shape.push_str("ask(");
        let looks_up = query.to_string().contains("_subquery\"");
        let each = self.steps(query, Total { cost: 0.0, rows: 1.0 }).cost;
        self.shape.push(')');
        each * if cached || looks_up { rows.max(1.0) } else { 1.0 }
    }

    /// Rows are kept until there is no more room, and then the table is read once for all of them.
    fn buffered(&mut self, node: &Value, before: Total) -> Total {
        let once = self.table(&node["table"], Total { cost: 0.0, rows: 1.0 });
        let times = (before.rows * JOINED_BYTES / JOIN_BUFFER).ceil().max(1.0);
        let hashes = node["join_type"].as_str().is_some_and(|kind| kind.ends_with('H'));
        let compared = if hashes { before.rows + once.rows } else { before.rows * once.rows };
        Total {
            cost: before.cost + times * once.cost + compared * COMPARISON,
            // Nobody knows how many fit: as where each row of one side has its own on the other.
            rows: before.rows.max(once.rows).min(before.rows * once.rows),
        }
    }

    fn table(&mut self, node: &Value, before: Total) -> Total {
        let text = |name: &str| node[name].as_str().unwrap_or_default();
        let (name, access, key) = (text("table_name"), text("access_type"), text("key"));
        self.shape.push_str(&format!("{name} {access} {key};"));
        if access.is_empty() {
            // No row fits, or none is needed.
            return Total { cost: before.cost + PAGE_COST, rows: 0.0 };
        }
        let inner = match node.get("materialized") {
            Some(inner) => self.steps(inner, Total { cost: 0.0, rows: 1.0 }).cost,
            None => 0.0,
        };
        let place = self.eyes.tables.get(name).copied();
        if let Some(place) = place {
            self.used(node, place);
        }
        let read = self.read(node, place);
        let left = read.rows * node["filtered"].as_f64().unwrap_or(100.0) / 100.0;
        if node["update"].is_number() || node["delete"].is_number() {
            self.touched = Some(left);
        }
        Total { cost: before.cost + inner + before.rows.max(1.0) * read.cost, rows: before.rows * left }
    }

    fn used(&mut self, node: &Value, place: usize) {
        match node {
            Value::Object(fields) => {
                for (name, inner) in fields.iter().filter(|(name, _)| *name != "materialized") {
                    match inner.as_str().filter(|_| name == "key") {
                        Some(key) => drop(self.uses.insert(id(place, key))),
                        None => self.used(inner, place),
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|inner| self.used(inner, place)),
            _ => {}
        }
    }

    /// One time.
    fn read(&self, node: &Value, place: Option<usize>) -> Total {
        let text = |name: &str| node[name].as_str().unwrap_or_default();
        let found = node["rows"].as_f64().unwrap_or(1.0).max(1.0);
        let Some(place) = place else {
            return Total { cost: PAGE_COST + found * ROW, rows: found };
        };
        let table = &self.eyes.schema.tables[place];
        let (rows, pages) = (table.rows.max(1.0), table.pages());
        let (key, covers) = (text("key"), node["using_index"] == true);
        let of_key = || self.eyes.bytes.get(&id(place, key)).map_or(pages, |bytes| (bytes / PAGE).max(1.0));
        match text("access_type") {
            "ALL" => Total { cost: pages * PAGE_COST + rows * ROW, rows },
            "index" => {
                // In order, until there are enough.
                let read = if found < 0.95 * table.sampled { found } else { rows };
                let each = match covers || key == "PRIMARY" {
                    true => of_key() / rows * PAGE_COST,
                    false => PAGE_COST,
                };
                Total { cost: PAGE_COST + read * (each + ROW), rows: read }
            }
            "const" | "system" | "eq_ref" | "unique_subquery" => Total { cost: PAGE_COST + ROW, rows: 1.0 },
            access => {
                let read = match access {
                    "range" | "index_merge" => (found * table.scale()).min(rows),
                    _ if is_constant(node) => {
                        let counted = (found * table.scale()).min(rows);
                        if found > FEW { counted } else { counted.min(self.expected(node, place)) }
                    }
                    _ => found.min(rows),
                };
                let each = match (key == "PRIMARY", covers) {
                    (true, _) => pages / rows * PAGE_COST,
                    (false, true) => ENTRY * PAGE_COST,
                    (false, false) => (1.0 + ENTRY) * PAGE_COST,
                };
                Total { cost: PAGE_COST + read * (each + ROW), rows: read }
            }
        }
    }

    /// Rows for a value of the columns that are compared, by the statistics.
    fn expected(&self, node: &Value, place: usize) -> f64 {
        let table = &self.eyes.schema.tables[place];
        let parts = node["used_key_parts"].as_array().into_iter().flatten();
        let columns: Vec<usize> =
            parts.filter_map(|part| table.column(part.as_str().unwrap_or_default())).collect();
        let distinct = table.counted(&columns).unwrap_or_else(|| {
            let product: f64 = columns.iter().map(|column| table.distinct(*column)).product();
            product.min(table.rows)
        });
        table.rows / distinct.max(1.0)
    }
}

/// Whether all that it is looked up by stands in the statement.
fn is_constant(node: &Value) -> bool {
    let mut by = node["ref"].as_array().into_iter().flatten().peekable();
    by.peek().is_some() && by.all(|by| by == "const")
}
