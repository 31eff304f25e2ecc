//! Answers, each in one read transaction, so that documents and position are of one moment.

use headwater_model::{Answer, AnswerMoment, Error, Found, Key, Read, Result, StoredBody, View};
use rusqlite::{Connection, OptionalExtension};

use super::schema;
use crate::sqlite::connection::{failed, is_missing_table, quoted};

pub(super) fn answer(connection: &Connection, read: &Read) -> Result<Answer> {
    let moment = connection.unchecked_transaction().map_err(|e| failed(e, "begin to read from the store"))?;
    let held = schema::held(&moment)?.ok_or_else(empty)?;
    let found = match read {
        Read::Get { view, keys } => Found::Documents(documents(&moment, view, keys)?),
        Read::Range(_) | Read::Walk(_) => {
            return Err(Error::unsupported("ranges and walks are not answered here yet"));
        }
    };
    let at = AnswerMoment::Applied {
        offset: held.offset,
        position: held.position,
        committed_at: held.committed_at,
    };
    Ok(Answer { at, found })
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
