//! Answers, each in one read transaction, so that documents and position are of one moment.

use headwater_model::{
    Answer, AnswerMoment, Astray, Error, Found, Key, RangeRead, Reached, Read, Result, Standing, Stored,
    StoredBody, View, WalkRead,
};
use rusqlite::{Connection, OptionalExtension};

use super::index;
use super::schema::HeldTable;
use crate::entries::{self, Entry};
use crate::span::{Span, behind};
use crate::sqlite::connection::{failed, is_missing_table, quoted};
use crate::walk::walk;

pub(super) fn answer(connection: &Connection, own: &HeldTable, read: &Read) -> Result<Answer> {
    let moment = connection.unchecked_transaction().map_err(|e| failed(e, "begin to read from the store"))?;
    let held = own.held(&moment)?.ok_or_else(empty)?;
    let found = match read {
        Read::Get { view, keys } => Found::Documents(documents(&moment, view, keys)?),
        Read::Range(read) => range(&moment, read)?,
        Read::Walk(read) => Found::Reached(reached(&moment, read)?),
    };
    let at = AnswerMoment::Applied(held);
    Ok(Answer { at, found })
}

/// What does not stand where it should.
pub(super) fn astray(
    connection: &Connection,
    own: &HeldTable,
    view: &View,
    asked: &[Standing],
) -> Result<(AnswerMoment, Vec<Astray>)> {
    let doing = || format!("look into the indexes of the view \"{}\"", view.name);
    let moment = connection.unchecked_transaction().map_err(|e| failed(e, doing()))?;
    let held = own.held(&moment)?.ok_or_else(empty)?;
    let remembered = format!("SELECT places FROM {} WHERE key = ?1", quoted(&view.name));
    let placed =
        format!("SELECT CAST(key AS TEXT) FROM {} WHERE number = ?1 AND place = ?2", index::table(view));
    let prepare = |sql: &str| moment.prepare_cached(sql).map_err(|e| failed(e, doing()));
    let (mut remembered, mut placed) = (prepare(&remembered)?, prepare(&placed)?);
    let mut told = Vec::with_capacity(asked.len());
    for standing in asked {
        let packed: Option<Option<Vec<u8>>> = remembered
            .query_row([&*standing.key], |row| row.get(0))
            .optional()
            .map_err(|e| failed(e, doing()))?;
        let stored = entries::unpack(&packed.flatten().unwrap_or_default())?;
        let mut failure = None;
        told.push(entries::astray(standing, &stored, |entry| {
            let bytes = Entry::from(entry).bytes;
            let found = placed.query_row((entry.index, &*bytes), |row| {
                Ok(row.get_ref(0)?.as_bytes()? == entry.key.as_bytes())
            });
            found.optional().unwrap_or_else(|e| {
                failure = Some(e);
                None
            }) == Some(true)
        }));
        if let Some(e) = failure {
            return Err(failed(e, doing()));
        }
    }
    Ok((AnswerMoment::Applied(held), told))
}

pub(super) fn empty() -> Error {
    Error::out_of_step("the store's file is empty")
}

fn documents(moment: &Connection, view: &View, keys: &[Key]) -> Result<Vec<Option<StoredBody>>> {
    let read = || -> rusqlite::Result<Vec<Option<StoredBody>>> {
        let sql = format!("SELECT document FROM {} WHERE key = ?1", quoted(&view.name));
        let mut statement = match moment.prepare_cached(&sql) {
            Err(error) if is_missing_table(&error) => return Ok(vec![None; keys.len()]),
            statement => statement?,
        };
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let document = statement.query_row([key.to_text()], |row| row.get(0)).optional()?;
            found.push(document.map(StoredBody::Json));
        }
        Ok(found)
    };
    read().map_err(|e| failed(e, format!("read from the view \"{}\"", view.name)))
}

fn range(moment: &Connection, read: &RangeRead) -> Result<Found> {
    let view = &read.view;
    let Some(span) = Span::of(read)? else { return Ok(Found::Page { documents: Vec::new(), next: None }) };
    let (lower, upper) = span.with_part();
    let limit = read.limit.max(1);
    // The join order is given: from the places to the documents.
    let sql = format!(
        "SELECT i.place, v.key, v.document FROM {} i CROSS JOIN {} v ON v.key = i.key \
         WHERE i.number = ?1 AND i.place >= ?2 AND {} ORDER BY i.place {} LIMIT ?4",
        index::table(view),
        quoted(&view.name),
        before(upper.is_some()),
        if read.reverse { "DESC" } else { "ASC" },
    );
    let query = || -> rusqlite::Result<Vec<(Vec<u8>, Stored)>> {
        let mut statement = match moment.prepare_cached(&sql) {
            Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
            statement => statement?,
        };
        // One more than asked for tells whether there is more.
        let rows_max = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let rows = statement.query_map((read.index as i64, lower, upper, rows_max), |row| {
            Ok((row.get(0)?, Stored { key: row.get(1)?, body: StoredBody::Json(row.get(2)?) }))
        })?;
        rows.collect()
    };
    let mut rows = query().map_err(|e| failed(e, format!("read a range of the view \"{}\"", view.name)))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|(place, _)| place[span.part.len()..].to_vec());
    Ok(Found::Page { documents: rows.into_iter().map(|(_, stored)| stored).collect(), next: last })
}

/// The upper bound of a stretch, as SQL that an index can serve.
fn before(bounded: bool) -> &'static str {
    if bounded { "i.place < ?3" } else { "?3 IS NULL" }
}

fn reached(moment: &Connection, read: &WalkRead) -> Result<Vec<Reached>> {
    walk(read, |view, number, part, edges| {
        let upper = behind(part);
        let reading = || format!("walk along the view \"{}\"", view.name);
        let sql = format!(
            "SELECT i.place FROM {} i WHERE i.number = ?1 AND i.place >= ?2 AND {}",
            index::table(view),
            before(upper.is_some())
        );
        let mut statement = match moment.prepare_cached(&sql) {
            Err(error) if is_missing_table(&error) => return Ok(()),
            statement => statement.map_err(|e| failed(e, reading()))?,
        };
        let mut rows = statement.query((number as i64, part, upper)).map_err(|e| failed(e, reading()))?;
        while let Some(row) = rows.next().map_err(|e| failed(e, reading()))? {
            let place =
                row.get_ref(0).and_then(|place| Ok(place.as_blob()?)).map_err(|e| failed(e, reading()))?;
            edges.take(place.get(part.len()..).unwrap_or_default())?;
        }
        Ok(())
    })
}
