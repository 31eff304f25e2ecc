//! Answers, scans and counts, each in one read transaction, so that documents and position are of one moment.
//!
//! Which columns a view's table has is remembered, and asked again in the same transaction: an answer that was made for
//! another shape is thrown away and made anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use headwater_model::{
    Answer, AnswerMoment, Astray, Error, Found, Held, Key, RangeRead, Read, Result, Standing, Stored, View,
    ViewId, WalkRead,
};

use super::cells::{Array, bytea};
use super::schema::{self, Schema, is_missing};
use super::shape::{Shape, place_start};
use super::step::unhex;
use crate::postgres::connection::{Bound, Connection, Row};
use crate::postgres::pool::{Lease, Pool};
use crate::postgres::sql::identifier;
use crate::span::{Span, behind};
use crate::sql::store::held;
use crate::sql::store::kind::Kind;
use crate::sql::store::known::{Known, Shapes, Written};
use crate::sql::store::read::{self, PartOf, Parts, walked};
use crate::sql::store::shape::{KEY, place_column};

/// What one answer may take in memory.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How every connection that reads is set up: each transaction has one snapshot, and writes nothing. There is an index for
/// everything that is asked, in its order, and it is used also while the server has no statistics yet.
pub(super) const SETUP: &str = "SET default_transaction_isolation = 'repeatable read'; \
    SET default_transaction_read_only = on; SET default_transaction_deferrable = off; \
    SET statement_timeout = 60000; SET max_parallel_workers_per_gather = 0; \
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";

pub(super) struct Readers {
    pool: Pool,
    schema: Arc<Schema>,
    shapes: Shapes<Kind>,
}

/// A statement about one view, and its parameters.
type Asked = (String, Vec<Option<String>>);

impl Readers {
    pub fn new(pool: Pool, schema: Arc<Schema>) -> Readers {
        Readers { pool, schema, shapes: Shapes::default() }
    }

    pub async fn get(&self) -> Result<Lease> {
        self.pool.get().await
    }

    pub async fn held(&self) -> Result<Option<Held>> {
        let mut connection = self.pool.get().await?;
        let held = schema::look(&mut connection, &self.schema).await;
        give_back(connection);
        held
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
        let ask = |shape: &Shape| {
            let sql = format!(
                "SELECT {} FROM {} v WHERE v.{KEY} = ANY($1::text[])",
                shape.columns_sql(identifier),
                self.schema.table(&view.name)
            );
            (sql, vec![Some(Array::of(texts.iter().map(String::as_str)))])
        };
        let (held, rows) = self.ask(view, ask).await?;
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

    async fn range(&self, read: &RangeRead) -> Result<(Held, Found)> {
        let nothing = || Found::Page { documents: Vec::new(), next: None };
        let view = &*read.view;
        let Some(span) = Span::of(read)? else {
            return Ok((self.held().await?.ok_or_else(held::empty)?, nothing()));
        };
        let (lower, upper) = span.with_part();
        let limit = read.limit.max(1);
        let column = format!("v.{}", place_column(read.index));
        let start = place_start(&column);
        let ask = |shape: &Shape| {
            let mut params = vec![Some(bytea(&lower))];
            if let Some(upper) = &upper {
                params.push(Some(bytea(upper)));
            }
            let order = if read.reverse { "DESC" } else { "ASC" };
            // One more than asked for tells whether there is more.
            let sql = format!(
                "SELECT {}, {column} FROM {} v WHERE {} ORDER BY {start} {order}, {column} {order} LIMIT {}",
                shape.columns_sql(identifier),
                self.schema.table(&view.name),
                within(&column, "$1::text::bytea", upper.is_some().then_some("$2::text::bytea")),
                limit.saturating_add(1).min(1 << 31),
            );
            (sql, params)
        };
        let (held, rows) = self.ask(view, ask).await?;
        let held = held.ok_or_else(held::empty)?;
        let Some((known, rows)) = rows else { return Ok((held, nothing())) };
        let more = rows.len() > limit;
        let (mut documents, mut last) = (Vec::with_capacity(rows.len()), None);
        for mut row in rows.into_iter().take(limit) {
            last = row.pop().flatten();
            documents.push(known.shape.stored(view, row)?);
        }
        let next = match last.filter(|_| more) {
            Some(place) => Some(unhex(&place)?.split_off(span.part.len())),
            None => None,
        };
        Ok((held, Found::Page { documents, next }))
    }

    /// A hop at a time, all in one transaction: which parts the next one needs is known when this one's edges are.
    async fn reached(&self, read: &WalkRead) -> Result<(Held, Found)> {
        let mut connection = self.pool.get().await?;
        connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let held = schema::look(&mut connection, &self.schema).await?.ok_or_else(held::empty)?;
        let mut parts = Parts::new();
        loop {
            match walked(read, &parts)? {
                Ok(reached) => {
                    connection.query("COMMIT").await?;
                    connection.keep();
                    return Ok((held, Found::Reached(reached)));
                }
                Err(missing) => self.edges(&mut connection, missing, read.edges_max, &mut parts).await?,
            }
        }
    }

    /// The edges of parts; of all together one more than a walk may read, which it then says.
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
        for ((view, index), parts) in indexes {
            let upper = |part: &[u8]| behind(part).ok_or_else(|| Error::bug("a part of an index has no end"));
            let lowers: Vec<String> = parts.iter().map(|part| bytea(part)).collect();
            let uppers: Vec<String> =
                parts.iter().map(|part| upper(part).map(|upper| bytea(&upper))).collect::<Result<_>>()?;
            let column = format!("t.{}", place_column(index));
            let limit = edges_max.saturating_add(1).min(1 << 31);
            let sql = format!(
                "SELECT p.n, e.place FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS p(lower, upper, n) \
                 CROSS JOIN LATERAL (SELECT {column} AS place FROM {} t WHERE {} LIMIT {limit}) e LIMIT {limit}",
                self.schema.table(&view),
                within(&column, "p.lower", Some("p.upper")),
            );
            let params = [
                Some(Array::of(lowers.iter().map(String::as_str))),
                Some(Array::of(uppers.iter().map(String::as_str))),
            ];
            let rows = connection
                .run_bound(&[Bound { sql: &sql, params: &params }], ANSWER_BYTES_MAX)
                .await
                .map_err(|e| e.while_doing(format!("walk along the view \"{view}\"")))?;
            let mut sorts: Vec<Vec<Vec<u8>>> = vec![Vec::new(); parts.len()];
            for row in rows.into_iter().flatten() {
                let [Some(number), Some(place)] = row.as_slice() else { continue };
                let number = number.parse::<usize>().unwrap_or(0).wrapping_sub(1);
                let (Some(part), Some(sorts)) = (parts.get(number), sorts.get_mut(number)) else { continue };
                sorts.push(unhex(place)?.split_off(part.len()));
            }
            for (part, sorts) in parts.into_iter().zip(sorts) {
                found.insert((view.clone(), index, part), sorts);
            }
        }
        Ok(())
    }

    /// Whether the rows' places are what they should be. A place is a column of its row, and the server keeps its own index of it: there
    /// are no others.
    pub async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        let places: String = (0..view.indexes.len()).map(|n| format!(", v.{}", place_column(n))).collect();
        let ask = |_: &Shape| {
            let table = self.schema.table(&view.name);
            let sql = format!("SELECT v.{KEY}{places} FROM {table} v WHERE v.{KEY} = ANY($1::text[])");
            (sql, vec![Some(Array::of(asked.iter().map(|standing| &*standing.key)))])
        };
        let (held, rows) = self.ask(view, ask).await?;
        let held = held.ok_or_else(held::empty)?;
        let mut stored = Vec::new();
        for row in rows.map(|(_, rows)| rows).unwrap_or_default() {
            let mut cells = row.into_iter();
            let Some(Some(key)) = cells.next() else { continue };
            let places = cells.map(|cell| cell.map(|hex| unhex(&hex)).transpose()).collect::<Result<_>>()?;
            stored.push((key, places));
        }
        Ok((AnswerMoment::Applied(held), read::astray(view, asked, stored)))
    }

    /// A page in key order, and the key to go on after.
    pub async fn scan(
        &self,
        view: &View,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        let (_, rows) =
            self.ask(view, |shape| self.page(view, &shape.columns_sql(identifier), &after, limit)).await?;
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
        let (_, rows) = self.ask(view, |_| self.page(view, &format!("v.{KEY}"), &after, limit)).await?;
        let rows = rows.map(|(_, rows)| rows).unwrap_or_default();
        let keys: Vec<String> = rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect();
        let next = keys.last().filter(|_| keys.len() >= limit).cloned();
        Ok((keys, next))
    }

    fn page(&self, view: &View, columns: &str, after: &Option<String>, limit: usize) -> Asked {
        let behind = if after.is_some() { format!(" WHERE v.{KEY} > $1") } else { String::new() };
        let sql = format!(
            "SELECT {columns} FROM {} v{behind} ORDER BY v.{KEY} LIMIT {}",
            self.schema.table(&view.name),
            limit.min(1 << 31)
        );
        (sql, after.iter().cloned().map(Some).collect())
    }

    pub async fn rows(&self, view: &View) -> Result<u64> {
        let mut connection = self.pool.get().await?;
        let rows = self.view_row(&mut connection, view).await;
        give_back(connection);
        let row = rows?;
        Ok(row.and_then(|row| row.get(2)?.as_ref()?.parse().ok()).unwrap_or(0))
    }

    async fn view_row(&self, connection: &mut Connection, view: &View) -> Result<Option<Row>> {
        let (sql, name) = (self.schema.view_sql(), [Some(view.name.to_string())]);
        match connection.run_bound(&[Bound { sql: &sql, params: &name }], ANSWER_BYTES_MAX).await {
            Ok(results) => Ok(results.into_iter().flatten().next()),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for what the store holds and for rows of a view, of one moment. No rows where the view was never prepared;
    /// neither where the store is empty.
    async fn ask(
        &self,
        view: &View,
        ask: impl Fn(&Shape) -> Asked,
    ) -> Result<(Option<Held>, Option<(Arc<Known<Kind>>, Vec<Row>)>)> {
        let mut connection = self.pool.get().await?;
        let asked = self.ask_on(&mut connection, view, ask).await;
        give_back(connection);
        asked.map_err(|error| error.while_doing(format!("read from the view \"{}\"", view.name)))
    }

    async fn ask_on(
        &self,
        connection: &mut Connection,
        view: &View,
        ask: impl Fn(&Shape) -> Asked,
    ) -> Result<(Option<Held>, Option<(Arc<Known<Kind>>, Vec<Row>)>)> {
        let (held_sql, view_sql) = (self.schema.held_sql(), self.schema.view_sql());
        let name = [Some(view.name.to_string())];
        // The table may get columns meanwhile, but not for ever.
        for _ in 0..5 {
            let known = match self.shapes.get(view) {
                Some(known) => known,
                None => match self.learn(connection, view).await? {
                    Some(known) => known,
                    None => return Ok((schema::look(connection, &self.schema).await?, None)),
                },
            };
            let (sql, params) = ask(&known.shape);
            let all = [
                Bound { sql: &held_sql, params: &[] },
                Bound { sql: &view_sql, params: &name },
                Bound { sql: &sql, params: &params },
            ];
            let mut results = match connection.run_bound(&all, ANSWER_BYTES_MAX).await {
                Ok(results) => results,
                Err(error) if is_missing(&error) => {
                    self.shapes.forget(view);
                    if schema::look(connection, &self.schema).await?.is_none() {
                        return Ok((None, None));
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (Some(rows), Some(row), Some(held)) = (results.pop(), results.pop(), results.pop()) else {
                return Err(Error::bug("the server left out a result"));
            };
            let is_current = row.first().is_some_and(|row| written(row) == known.written);
            if is_current {
                return Ok((schema::held(&held)?, Some((known, rows))));
            }
            self.shapes.forget(view);
        }
        Err(Error::transient("the view's table is not as headwater_view says"))
    }

    /// Reads the shape of a view's table, and remembers it.
    async fn learn(&self, connection: &mut Connection, view: &View) -> Result<Option<Arc<Known<Kind>>>> {
        let Some(row) = self.view_row(connection, view).await? else { return Ok(None) };
        Ok(Some(self.shapes.learn(view, written(&row))?))
    }
}

/// That a place is from `lower` on and before `upper`, in words that its index understands.
fn within(place: &str, lower: &str, upper: Option<&str>) -> String {
    let start = place_start(place);
    let mut sql = format!("{start} >= {} AND {place} >= {lower}", place_start(lower));
    if let Some(upper) = upper {
        sql.push_str(&format!(" AND {start} <= {} AND {place} < {upper}", place_start(upper)));
    }
    sql
}

/// `layout` and `fields` in a row of [`Schema::view_sql`].
fn written(row: &Row) -> Written {
    let cell = |place: usize| row.get(place).cloned().flatten().unwrap_or_default();
    (cell(0), cell(1))
}

/// Keeps a connection that waits for its next command.
fn give_back(connection: Lease) {
    if connection.is_ready() {
        connection.keep();
    }
}
