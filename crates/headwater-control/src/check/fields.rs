//! What a view's document has: its fields, typed.

use headwater_model::{
    ColumnFacts, ColumnType, Embed, EmbedKind, Field, FieldShape, Ranking, TableFacts, TableName, View,
    ViewKind, nearest,
};

use super::Look;
use super::kinds::score;

/// A field that holds one value of the view's own row.
#[derive(Clone)]
pub(super) struct Own {
    pub name: Box<str>,
    pub kind: ColumnType,
    pub type_name: Box<str>,
    pub nullable: bool,
}

impl<'a> Look<'a> {
    /// The table of a view that has been looked at; `None` if there is none, which has been reported.
    pub(super) fn table_of(&self, name: &TableName) -> Option<&'a TableFacts> {
        self.facts.tables.iter().find(|table| table.name == *name)
    }

    /// The fields of the view's own row. Columns that do not exist have been reported and are left out.
    pub(super) fn own_fields(&self, view: &View) -> Option<Vec<Own>> {
        let table = self.table_of(&view.from)?;
        let mut fields = own(table, &view.columns);
        match &view.kind {
            ViewKind::Document | ViewKind::Series(_) => {}
            ViewKind::Ranking(ranking) => {
                fields.iter_mut().for_each(|field| field.nullable = false);
                let score = score(table, ranking)?;
                fields.push(Own {
                    name: Ranking::SCORE.into(),
                    kind: score.kind,
                    type_name: score.type_name,
                    nullable: score.nullable,
                });
            }
            ViewKind::Edge(edge) => {
                for field in &mut fields {
                    field.nullable &= field.name != edge.source && field.name != edge.target;
                }
            }
        }
        Some(fields)
    }

    /// All fields, embedded rows included.
    pub(super) fn fields(&self, view: &View) -> Option<Vec<Field>> {
        let mut fields: Vec<Field> = self.own_fields(view)?.into_iter().map(Own::into_field).collect();
        self.embedded(&view.embeds, &mut fields)?;
        Some(fields)
    }

    fn embedded(&self, embeds: &[Embed], fields: &mut Vec<Field>) -> Option<()> {
        for embed in embeds {
            let table = self.table_of(&embed.from)?;
            let mut inner: Vec<Field> = own(table, &embed.columns).into_iter().map(Own::into_field).collect();
            self.embedded(&embed.embeds, &mut inner)?;
            let (nullable, shape) = match &embed.kind {
                EmbedKind::One { .. } => (true, FieldShape::One(inner)),
                EmbedKind::Many { .. } => (false, FieldShape::Many(inner)),
            };
            fields.push(Field { name: embed.field.clone(), nullable, shape });
        }
        Some(())
    }

    /// The field of the view's own row that `name`, written at `path`, means; a finding if there is none.
    pub(super) fn field(&mut self, path: &str, view: &View, fields: &[Own], name: &str) -> Option<Own> {
        if let Some(field) = fields.iter().find(|field| *field.name == *name) {
            return Some(field.clone());
        }
        // A field of a column that does not exist has been reported.
        if view.columns.iter().flatten().any(|(_, field)| **field == *name) {
            return None;
        }
        let (what, remedy) = if view.embeds.iter().any(|embed| *embed.field == *name) {
            (
                format!("`{name}` of view `{}` holds embedded rows", view.name),
                "name a field of the view's own table".to_owned(),
            )
        } else {
            (
                format!("documents of view `{}` have no field `{name}`", view.name),
                self.meant(view, fields, name),
            )
        };
        self.wrong(path, what, remedy);
        None
    }

    fn meant(&self, view: &View, fields: &[Own], name: &str) -> String {
        let renamed = view.columns.iter().flatten().find(|(column, _)| **column == *name);
        let column = self.table_of(&view.from).and_then(|table| {
            table.columns.iter().find(|column| *column.name == *name && !column.absent_from_log)
        });
        if let Some((column, field)) = renamed {
            return format!("column `{column}` is the field `{field}` there: name that");
        }
        if let Some(meant) = nearest(name, fields.iter().map(|field| &*field.name)) {
            return format!("did you mean `{meant}`?");
        }
        if column.is_some() {
            return match view.kind {
                ViewKind::Document | ViewKind::Edge(_) => {
                    format!("add it to the `columns` of [views.{}]", view.name)
                }
                ViewKind::Series(_) => {
                    format!("add it to the `fields` of the series in [views.{}]", view.name)
                }
                ViewKind::Ranking(_) => format!("a ranking has the fields {}", names(fields)),
            };
        }
        format!("its fields are {}", names(fields))
    }
}

fn names(fields: &[Own]) -> String {
    fields.iter().map(|field| &*field.name).collect::<Vec<_>>().join(", ")
}

fn own(table: &TableFacts, columns: &Option<Vec<(Box<str>, Box<str>)>>) -> Vec<Own> {
    let in_log = table.columns.iter().filter(|column| !column.absent_from_log);
    match columns {
        None => in_log.map(|column| Own::of(column, &column.name)).collect(),
        Some(columns) => columns
            .iter()
            .filter_map(|(name, field)| {
                Some(Own::of(in_log.clone().find(|column| column.name == *name)?, field))
            })
            .collect(),
    }
}

impl Own {
    pub(super) fn of(column: &ColumnFacts, field: &str) -> Own {
        Own {
            name: field.into(),
            kind: column.kind.clone(),
            type_name: column.type_name.clone(),
            nullable: column.nullable,
        }
    }

    pub(super) fn into_field(self) -> Field {
        let shape = FieldShape::Value { kind: self.kind, type_name: self.type_name };
        Field { name: self.name, nullable: self.nullable, shape }
    }
}
