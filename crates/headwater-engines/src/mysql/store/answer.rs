//! Answers, scans and counts, each in one read transaction and, as a rule, one round trip, so that documents and position are of
//! one moment.
//!
//! Which columns a view's table has is remembered, and asked again in the same transaction: an answer that was made for
//! another shape is thrown away and made anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use headwater_model::{
    Answer, AnswerMoment, Astray, Error, Found, Held, Key, RangeRead, Read, Result, Standing, Stored, View,
    ViewId, WalkRead,
};

use super::column::{Column, Shape};
use super::place::{START_BYTES, columns_sql, order, whole, within};
use super::schema::{self, Schema, held_of, is_missing};
use super::sql::{list, text_of};
use crate::mysql::connection::{Cells, Connection, Lease, Pool, text};
use crate::span::{Span, behind};
use crate::sql::quoted;
use crate::sql::store::held;
use crate::sql::store::known::{Known, Shapes, Written};
use crate::sql::store::read::{self, PartOf, Parts, walked};
use crate::sql::store::shape::{KEY, place_column};

/// What one answer may take in memory.
const ANSWER_BYTES_MAX: usize = 256 << 20;

const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// Parts of an index that one statement reads.
const PARTS_MAX: usize = 200;

pub(super) struct Readers {
    pool: Pool,
    schema: Arc<Schema>,
    shapes: Shapes<Column>,
}

/// What the store holds, and rows of a view at that moment; none where the view was never prepared.
type Asked = (Option<Held>, Option<(Arc<Known<Column>>, Vec<Cells>)>);

impl Readers {
    pub fn new(pool: Pool, schema: Arc<Schema>) -> Readers {
        Readers { pool, schema, shapes: Shapes::default() }
    }

    pub async fn get(&self) -> Result<Lease> {
        self.pool.get().await.map_err(|error| self.schema.explained(error))
    }

    pub async fn held(&self) -> Result<Option<Held>> {
        let mut lease = self.get().await?;
        let held = schema::look(&mut lease.connection, &self.schema).await?;
        lease.keep();
        Ok(held)
    }

    pub async fn answer(&self, read: &Read) -> Result<Answer> {
        let (held, found) = match read {
            Read::Get { view, keys } => self.get_documents(view, keys).await?,
            Read::Range(read) => self.range(read).await?,
            Read::Walk(read) => self.reached(read).await?,
        };
        Ok(Answer { at: AnswerMoment::Applied(held), found })
    }

    async fn get_documents(&self, view: &View, keys: &[Key]) -> Result<(Held, Found)> {
        let texts: Vec<String> = keys.iter().map(Key::to_text).collect();
        let wanted = self.of_keys(view, texts.iter().map(String::as_str).collect());
        let (held, rows) = self.ask(view, |shape| wanted(&shape.columns_sql(quoted))).await?;
        let mut bodies = HashMap::new();
        if let Some((known, rows)) = rows {
            for row in rows {
                let stored = known.shape.stored(view, row)?;
                bodies.insert(stored.key, stored.body);
            }
        }
        let documents = texts.iter().map(|text| bodies.get(text).cloned()).collect();
        Ok((held.ok_or_else(held::empty)?, Found::Documents(documents)))
    }

    /// The statement that reads columns of the rows with these keys.
    fn of_keys(&self, view: &View, keys: Vec<&str>) -> impl Fn(&str) -> String + use<> {
        let wanted = match &keys[..] {
            [] => "FALSE".to_owned(),
            keys => format!("v.{KEY} IN {}", list(keys.iter().copied())),
        };
        let table = self.schema.table(&view.name);
        move |columns| format!("SELECT {columns} FROM {table} v FORCE INDEX (PRIMARY) WHERE {wanted}")
    }

    async fn range(&self, read: &RangeRead) -> Result<(Held, Found)> {
        let nothing = || Found::Page { documents: Vec::new(), next: None };
        let view = &*read.view;
        let Some(span) = Span::of(read)? else {
            return Ok((self.held().await?.ok_or_else(held::empty)?, nothing()));
        };
        let (lower, upper) = span.with_part();
        let limit = read.limit.max(1);
        let index = place_column(read.index);
        let page = |shape: &Shape, cut: bool| {
            let direction = if read.reverse { "DESC" } else { "ASC" };
            // One more than asked for tells whether there is more.
            format!(
                "SELECT {}, {} FROM {} v FORCE INDEX ({index}) WHERE {} ORDER BY {} LIMIT {}",
                shape.columns_sql(quoted),
                columns_sql(read.index),
                self.schema.table(&view.name),
                within(read.index, &lower, upper.as_deref()),
                order(read.index, direction, cut),
                limit.saturating_add(1).min(1 << 31),
            )
        };
        let mut asked = self.ask(view, |shape| page(shape, false)).await?;
        // Rows whose places begin alike come in any order of the index, which knows no more of them.
        let is_cut =
            |row: &Cells| row[row.len() - 2].as_ref().is_some_and(|start| start.len() >= START_BYTES);
        if asked.1.as_ref().is_some_and(|(_, rows)| rows.iter().any(is_cut)) {
            asked = self.ask(view, |shape| page(shape, true)).await?;
        }
        let (held, rows) = asked;
        let held = held.ok_or_else(held::empty)?;
        let Some((known, rows)) = rows else { return Ok((held, nothing())) };
        let more = rows.len() > limit;
        let (mut documents, mut last) = (Vec::with_capacity(rows.len()), None);
        for mut row in rows.into_iter().take(limit) {
            let (rest, start) = (row.pop().flatten(), row.pop().flatten());
            last = whole(start, rest);
            documents.push(known.shape.stored(view, row)?);
        }
        let next = last.filter(|_| more).map(|mut place| place.split_off(span.part.len()));
        Ok((held, Found::Page { documents, next }))
    }

    /// A hop at a time, all in one transaction: which parts the next one needs is known when this one's edges are.
    async fn reached(&self, read: &WalkRead) -> Result<(Held, Found)> {
        let mut lease = self.get().await?;
        let connection = &mut lease.connection;
        connection.run(BEGIN).await?;
        let held = schema::look(connection, &self.schema).await?.ok_or_else(held::empty)?;
        let mut parts = Parts::new();
        loop {
            match walked(read, &parts)? {
                Ok(reached) => {
                    connection.run("COMMIT").await?;
                    lease.keep();
                    return Ok((held, Found::Reached(reached)));
                }
                Err(missing) => self.edges(connection, missing, read.edges_max, &mut parts).await?,
            }
        }
    }

    /// The edges of parts; of those of one statement together one more than a walk may read, which it then says.
    async fn edges(
        &self,
        connection: &mut Connection,
        missing: HashSet<PartOf>,
        edges_max: usize,
        found: &mut Parts,
    ) -> Result<()> {
        let mut indexes: HashMap<(ViewId, usize), Vec<Vec<u8>>> = HashMap::new();
        for (view, index, part) in missing {
            indexes.entry((view, index)).or_default().push(part);
        }
        for ((view, index), mut parts) in indexes {
            parts.sort_unstable();
            for parts in parts.chunks(PARTS_MAX) {
                let spans: Vec<String> = parts
                    .iter()
                    .map(|part| format!("({})", within(index, part, behind(part).as_deref())))
                    .collect();
                let sql = format!(
                    "SELECT {} FROM {} v FORCE INDEX ({}) WHERE {} LIMIT {}",
                    columns_sql(index),
                    self.schema.table(&view),
                    place_column(index),
                    spans.join(" OR "),
                    edges_max.saturating_add(1).min(1 << 31)
                );
                let rows = connection
                    .results(sql, ANSWER_BYTES_MAX)
                    .await
                    .map_err(|e| e.while_doing(format!("walk along the view \"{view}\"")))?;
                let mut sorts: HashMap<&[u8], Vec<Vec<u8>>> =
                    parts.iter().map(|part| (&**part, Vec::new())).collect();
                for mut row in rows.into_iter().flatten() {
                    let (rest, start) = (row.pop().flatten(), row.pop().flatten());
                    let Some(mut place) = whole(start, rest) else { continue };
                    // No part's bytes are the beginning of another's, so it is the last one before the place.
                    let after = parts.partition_point(|part| *part <= place);
                    let Some(part) = after.checked_sub(1).map(|before| &*parts[before]) else { continue };
                    if let Some(sorts) = sorts.get_mut(part).filter(|_| place.starts_with(part)) {
                        sorts.push(place.split_off(part.len()));
                    }
                }
                for (part, sorts) in sorts {
                    found.insert((view.clone(), index, part.to_vec()), sorts);
                }
            }
        }
        Ok(())
    }

    /// Whether the rows' places are what they should be. A place is columns of its row, and the server keeps its own index of it:
    /// there are no others.
    pub async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        let places: String = (0..view.indexes.len()).map(|n| format!(", {}", columns_sql(n))).collect();
        let wanted = self.of_keys(view, asked.iter().map(|standing| &*standing.key).collect());
        let (held, rows) = self.ask(view, |_| wanted(&format!("v.{KEY}{places}"))).await?;
        let held = held.ok_or_else(held::empty)?;
        let stored = rows.map(|(_, rows)| rows).unwrap_or_default().into_iter().map(|row| {
            let key = text(&row, 0);
            let mut cells = row.into_iter().skip(1);
            let mut places = Vec::new();
            while let Some(start) = cells.next() {
                places.push(whole(start, cells.next().flatten()));
            }
            (key, places)
        });
        Ok((AnswerMoment::Applied(held), read::astray(view, asked, stored)))
    }

    /// A page in key order, and the key to go on after.
    pub async fn scan(
        &self,
        view: &View,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        let page = self.page(view, &after, limit);
        let (_, rows) = self.ask(view, |shape| page(&shape.columns_sql(quoted))).await?;
        let Some((known, rows)) = rows else { return Ok((Vec::new(), None)) };
        let page: Vec<Stored> =
            rows.into_iter().map(|row| known.shape.stored(view, row)).collect::<Result<_>>()?;
        let next = page.last().filter(|_| page.len() >= limit).map(|stored| stored.key.clone());
        Ok((page, next))
    }

    /// A page of keys, and the key to go on after.
    pub async fn keys(
        &self,
        view: &View,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        let page = self.page(view, &after, limit);
        let (_, rows) = self.ask(view, |_| page(&format!("v.{KEY}"))).await?;
        let rows = rows.map(|(_, rows)| rows).unwrap_or_default();
        let keys: Vec<String> = rows.iter().map(|row| text(row, 0)).collect();
        let next = keys.last().filter(|_| keys.len() >= limit).cloned();
        Ok((keys, next))
    }

    fn page(&self, view: &View, after: &Option<String>, limit: usize) -> impl Fn(&str) -> String + use<> {
        let behind = after.as_ref().map_or(String::new(), |key| format!(" WHERE v.{KEY} > {}", text_of(key)));
        let (table, limit) = (self.schema.table(&view.name), limit.min(1 << 31));
        move |columns| format!("SELECT {columns} FROM {table} v{behind} ORDER BY v.{KEY} LIMIT {limit}")
    }

    pub async fn rows(&self, view: &View) -> Result<u64> {
        let mut lease = self.get().await?;
        let row = self.view_row(&mut lease.connection, view).await?;
        lease.keep();
        Ok(row.and_then(|row| text(&row, 2).parse().ok()).unwrap_or(0))
    }

    async fn view_row(&self, connection: &mut Connection, view: &View) -> Result<Option<Cells>> {
        match connection.results(self.schema.view_sql(&view.name), ANSWER_BYTES_MAX).await {
            Ok(results) => Ok(results.into_iter().flatten().next()),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for what the store holds and for rows of a view, of one moment. No rows where the view was never prepared;
    /// neither where the store is empty.
    async fn ask(&self, view: &View, ask: impl Fn(&Shape) -> String) -> Result<Asked> {
        let asked = self.ask_again(view, ask).await;
        asked.map_err(|error| error.while_doing(format!("read from the view \"{}\"", view.name)))
    }

    async fn ask_again(&self, view: &View, ask: impl Fn(&Shape) -> String) -> Result<Asked> {
        // The table may get columns meanwhile, but not for ever.
        for _ in 0..5 {
            let mut lease = self.get().await?;
            let connection = &mut lease.connection;
            let known = match self.shapes.get(view) {
                Some(known) => known,
                None => match self.learn(connection, view).await? {
                    Some(known) => known,
                    None => return Ok((schema::look(connection, &self.schema).await?, None)),
                },
            };
            let sql = format!(
                "{BEGIN}; {}; {}; {}; COMMIT",
                self.schema.held_sql(),
                self.schema.view_sql(&view.name),
                ask(&known.shape)
            );
            let mut results = match connection.results(sql, ANSWER_BYTES_MAX).await {
                Ok(results) => results.into_iter().skip(1),
                Err(error) if is_missing(&error) => {
                    self.shapes.forget(view);
                    // The connection is in the middle of a transaction: it goes.
                    drop(lease);
                    if self.held().await?.is_none() {
                        return Ok((None, None));
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (Some(held), Some(row), Some(rows)) = (results.next(), results.next(), results.next()) else {
                return Err(schema::left_out());
            };
            lease.keep();
            if row.first().is_some_and(|row| written(row) == known.written) {
                return Ok((held_of(&held)?, Some((known, rows))));
            }
            self.shapes.forget(view);
        }
        Err(Error::transient("the view's table is not as headwater_view says"))
    }

    /// Reads the shape of a view's table, and remembers it.
    async fn learn(&self, connection: &mut Connection, view: &View) -> Result<Option<Arc<Known<Column>>>> {
        let Some(row) = self.view_row(connection, view).await? else { return Ok(None) };
        Ok(Some(self.shapes.learn(view, written(&row))?))
    }
}

/// `layout` and `fields` in a row of [`Schema::view_sql`].
fn written(row: &Cells) -> Written {
    (text(row, 0), text(row, 1))
}
