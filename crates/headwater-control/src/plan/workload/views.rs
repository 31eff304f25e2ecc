//! How many documents a view has, how large they are, how often they change.

use headwater_model::{Embed, EmbedKind, Pattern, TableFacts, TableName, View, ViewKind};

use super::{EmbedLoad, PartLoad, Reading, Tables, ViewLoad, ViewShape};

/// A view, and what its documents cost the source when it makes them itself.
pub(super) struct Sized {
    pub load: ViewLoad,
    /// Rows of one document, its own included.
    pub rows_per_document: f64,
}

/// Of JSON over what a row takes: names of fields, quotes, digits.
const JSON_OVER_ROW: f64 = 1.5;
const GROUP_BYTES: f64 = 64.0;
const EDGE_BYTES: f64 = 48.0;

/// What embedded rows add to one document.
#[derive(Clone, Copy, Default)]
struct Inside {
    rows: f64,
    bytes: f64,
    /// Documents per second that change because embedded rows do.
    changes: f64,
}

impl Reading<'_> {
    pub(super) fn views(&mut self, tables: &Tables<'_>) -> Vec<Sized> {
        self.file.views.iter().map(|view| self.view(view, tables)).collect()
    }

    fn view(&mut self, view: &View, tables: &Tables<'_>) -> Sized {
        let declared = self.plan.views.iter().find(|declared| declared.view == view.name);
        // What is not known of the table has been said.
        let table = tables.get(&view.from);
        let (rows, row_bytes, writes) =
            table.map_or((1.0, 1.0, 0.0), |table| (table.rows, table.row_bytes, table.writes));
        let documents = declared.and_then(|d| d.documents).map(|documents| documents as f64);
        let documents = documents.unwrap_or_else(|| match &view.kind {
            ViewKind::Ranking(ranking) => {
                let group = ranking.within.iter().chain(&ranking.by);
                self.groups(view, tables, rows, group.map(|column| &**column))
            }
            _ => rows,
        });
        let share = |columns: usize| {
            let all = tables.facts(&view.from).map_or(0, |facts| facts.columns.len());
            if all == 0 { 1.0 } else { (columns as f64 / all as f64).min(1.0) }
        };
        let mut inside = Inside::default();
        let mut lists = Vec::new();
        let own = match &view.kind {
            ViewKind::Document => {
                inside = embedded(&view.embeds, &view.from, rows, 1.0, tables);
                lists =
                    view.embeds.iter().filter_map(|embed| list(embed, &view.from, rows, tables)).collect();
                row_bytes * view.columns.as_ref().map_or(1.0, |columns| share(columns.len()))
            }
            ViewKind::Ranking(_) => GROUP_BYTES,
            ViewKind::Series(series) => row_bytes * share(1 + series.tags.len() + series.fields.len()),
            ViewKind::Edge(_) => EDGE_BYTES,
        };
        let bytes = declared.and_then(|d| d.document_bytes).map(|bytes| bytes as f64);
        let share_of_rows = if view.kind.is_document() { (documents / rows).min(1.0) } else { 1.0 };
        Sized {
            load: ViewLoad {
                name: view.name.clone(),
                documents,
                document_bytes: bytes.unwrap_or((own + inside.bytes) * JSON_OVER_ROW),
                changes: writes * share_of_rows + inside.changes * share_of_rows,
                is_ordered: !view.kind.is_document()
                    || self.file.access.iter().any(|access| {
                        matches!(&access.pattern, Pattern::Range { view: read, .. } if *read == view.name)
                    }),
                shape: match &view.kind {
                    ViewKind::Document => ViewShape::Document,
                    ViewKind::Ranking(_) => ViewShape::Ranking,
                    ViewKind::Series(_) => ViewShape::Series,
                    ViewKind::Edge(_) => ViewShape::Edge,
                },
                table: table.map_or(String::new(), |table| table.name.clone()),
                embeds: if bytes.is_some() { Vec::new() } else { lists },
                part: view.parts.first().map(|part| PartLoad {
                    documents: part.hold.documents(documents as u64) as f64,
                    ttl_s: part.ttl.map(|ttl| ttl.as_secs_f64()),
                }),
                held: None,
            },
            rows_per_document: 1.0 + inside.rows,
        }
    }

    /// How many groups a ranking has: as many as the rows that its columns point at.
    fn groups<'c>(
        &mut self,
        view: &View,
        tables: &Tables<'_>,
        rows: f64,
        columns: impl Iterator<Item = &'c str>,
    ) -> f64 {
        let facts = tables.facts(&view.from);
        let mut groups = 1.0;
        for column in columns {
            match facts.and_then(|facts| pointed_at(facts, column, tables)) {
                Some(rows) => groups *= rows,
                None => {
                    self.unknown(
                        &format!("views.{}.rank", view.name),
                        format!("ranking `{}`: it is not known how many groups it has", view.name),
                        format!(
                            "declare it: [plan.views.{}] with documents = 10_000, the number of different `{column}`",
                            view.name
                        ),
                    );
                    return rows;
                }
            }
        }
        groups.min(rows)
    }
}

/// The rows of the table that a column refers to.
pub(super) fn pointed_at(facts: &TableFacts, column: &str, tables: &Tables<'_>) -> Option<f64> {
    let key = facts.foreign_keys.iter().find(|key| matches!(&key.columns[..], [one] if **one == *column))?;
    tables.get(&key.to).map(|table| table.rows)
}

/// A list inside each document, as it would be by itself.
fn list(embed: &Embed, around: &TableName, around_rows: f64, tables: &Tables<'_>) -> Option<EmbedLoad> {
    let EmbedKind::Many { .. } = &embed.kind else { return None };
    let table = tables.get(&embed.from)?;
    let inside = embedded(std::slice::from_ref(embed), around, around_rows, 1.0, tables);
    Some(EmbedLoad {
        field: embed.field.clone(),
        rows: inside.rows,
        bytes: inside.bytes * JSON_OVER_ROW,
        changes: inside.changes,
        documents: table.rows,
        writes: table.writes,
    })
}

/// `documents`: of the view that change when one row of the table around these embeds does.
fn embedded(
    embeds: &[Embed],
    around: &TableName,
    around_rows: f64,
    documents: f64,
    tables: &Tables<'_>,
) -> Inside {
    let mut all = Inside::default();
    for embed in embeds {
        let Some(table) = tables.get(&embed.from) else { continue };
        let rows = table.rows.max(1.0);
        let (count, touched) = match &embed.kind {
            EmbedKind::One { .. } => (1.0, documents * (around_rows / rows).max(1.0)),
            EmbedKind::Many { .. } => {
                let limit = embed.limit.map_or(f64::INFINITY, |limit| limit as f64);
                ((rows / around_rows.max(1.0)).min(limit), documents)
            }
        };
        let inner = embedded(&embed.embeds, &embed.from, rows, touched, tables);
        let share = match (&embed.columns, tables.facts(&embed.from)) {
            (Some(columns), Some(facts)) => columns.len() as f64 / facts.columns.len().max(1) as f64,
            _ => 1.0,
        };
        all.rows += count * (1.0 + inner.rows);
        all.bytes += count * (table.row_bytes * share.min(1.0) + inner.bytes);
        // A table that the view reads twice changes the same document once, as a rule: an upper bound.
        let again = if embed.from == *around { 0.0 } else { table.writes * touched };
        all.changes += again + inner.changes;
    }
    all
}
