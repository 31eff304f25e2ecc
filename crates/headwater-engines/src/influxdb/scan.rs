//! All of a view, page by page, in the order of time: of the directory, which is that of a hash, or of the series.

use headwater_model::{IndexEntry, IndexPlace, Listed, Result, Stored, StoredBody, View};
use serde_json::Value as Json;

use super::client::{Client, Rows};
use super::directory::{self, END, FIRST};
use super::place::{self, FIELD, series_of};
use super::record::Record;
use super::{line, state};

/// Rows of a query in the order of time, so many at a time; rows of one time are never parted.
pub(super) struct Pages {
    /// Up to the condition on the time.
    select: String,
    /// Nanoseconds: from the first, up to but without the second.
    pub(super) from: i64,
    pub(super) to: i64,
    reverse: bool,
    /// More rows than a page have the next time.
    crowded: bool,
    done: bool,
}

impl Pages {
    /// `condition` is empty, or ends with `AND `.
    pub(super) fn new(
        columns: String,
        measurement: &str,
        condition: String,
        (from, to): (i64, i64),
        reverse: bool,
    ) -> Pages {
        let select = format!("SELECT {columns} FROM {} WHERE {condition}", line::identifier(measurement));
        Pages { select, from, to, reverse, crowded: false, done: from >= to }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// What asks for the next page.
    pub(super) fn question(&self, limit: usize) -> String {
        let Pages { select, from, to, .. } = self;
        if self.crowded {
            return format!("{select}time = {}", if self.reverse { to - 1 } else { *from });
        }
        let order = if self.reverse { "DESC" } else { "ASC" };
        format!("{select}time >= {from} AND time < {to} ORDER BY time {order} LIMIT {}", limit + 1)
    }

    /// The page out of what the question was answered with. It may be empty without being the last.
    pub(super) fn take(&mut self, mut rows: Rows, limit: usize) -> Rows {
        if self.crowded {
            self.crowded = false;
            match self.reverse {
                true => self.to -= 1,
                false => self.from += 1,
            }
            self.done = self.from >= self.to;
            return rows;
        }
        if rows.len() <= limit {
            self.done = true;
            return rows;
        }
        let time = |row: &[Json]| row.first().and_then(Json::as_i64);
        let Some(last) = rows.last().and_then(|row| time(row)) else {
            self.done = true;
            return rows;
        };
        while rows.last().is_some_and(|row| time(row) == Some(last)) {
            rows.pop();
        }
        self.crowded = rows.is_empty();
        match self.reverse {
            true => self.to = last + 1,
            false => self.from = last,
        }
        rows
    }

    /// The next page that has rows; `None` at the end.
    pub(super) async fn next(&mut self, client: &Client, limit: usize) -> Result<Option<Rows>> {
        while !self.done {
            let rows = client.ask_one(self.question(limit)).await?;
            let rows = self.take(rows, limit);
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }
}

/// Gives each document's record to `take`, until there were `limit` of them. A cursor is the time to go on at.
async fn records(
    client: &Client,
    view: &View,
    cursor: Option<String>,
    limit: usize,
    mut take: impl FnMut(Record),
) -> Result<Option<String>> {
    let from = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(FIRST);
    let measurement = directory::measurement(&view.name);
    let mut pages = Pages::new("\"d\"".to_owned(), &measurement, String::new(), (from, END), false);
    let mut left = limit.max(1);
    while left > 0 {
        let Some(rows) = pages.next(client, left).await? else { return Ok(None) };
        for row in rows {
            let (_, record) = Record::of_row(&row)?;
            if record.document.is_some() {
                take(record);
                left -= 1;
            }
        }
    }
    Ok((!pages.is_done()).then(|| pages.from.to_string()))
}

pub(super) async fn documents(
    client: &Client,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<Stored>, Option<String>)> {
    let mut documents = Vec::new();
    let next = records(client, view, cursor, limit, |record| documents.extend(stored(record))).await?;
    Ok((documents, next))
}

pub(super) async fn keys(
    client: &Client,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let mut keys = Vec::new();
    let next = records(client, view, cursor, limit, |record| keys.push(record.key)).await?;
    Ok((keys, next))
}

pub(super) fn stored(record: Record) -> Option<Stored> {
    Some(Stored { key: record.key, body: StoredBody::Json(record.document?) })
}

pub(super) async fn rows(client: &Client, view: &View) -> Result<u64> {
    let name = line::identifier(&directory::measurement(&view.name));
    let found = client.ask_one(format!("SELECT sum(\"n\") FROM {name}")).await?;
    Ok(found.first().and_then(|row| row.get(1)?.as_u64()).unwrap_or(0))
}

/// The points of a series: each says which document's it is, and should be where that lies.
pub(super) async fn entries(
    client: &Client,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<Listed>, Option<String>)> {
    let Some(series) = series_of(view) else { return Ok((Vec::new(), None)) };
    let from = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(i64::MIN + 2);
    let reach = state::Reach { from, to: i64::MAX - 1, tags: series.tags.clone() };
    let mut pages = points(&view.name, &reach);
    let Some(rows) = pages.next(client, limit.max(1)).await? else { return Ok((Vec::new(), None)) };
    let listed = rows.iter().map(|row| {
        let own = Record::of_row(row).ok().and_then(|(time, record)| {
            let place = record.place.filter(|place| place.time == time && record.document.is_some())?;
            let tags = place::tags(&series.tags, place.entry.part()).ok()?;
            let is_there = tags == tags_of(&series.tags, row);
            let (part, sort) = (place.entry.part().to_vec(), place.entry.sort().to_vec());
            is_there.then(|| IndexEntry {
                index: 0,
                place: IndexPlace { part, sort },
                key: record.key.into(),
            })
        });
        match own {
            Some(entry) => Listed::Entry(entry),
            None => Listed::Foreign(exactly(&series.tags, row).into_bytes().into()),
        }
    });
    let listed = listed.collect();
    Ok((listed, (!pages.is_done()).then(|| pages.from.to_string())))
}

/// Points with their records and tags.
pub(super) fn points(view: &str, reach: &state::Reach) -> Pages {
    let mut columns = line::identifier(FIELD);
    for tag in &reach.tags {
        columns.push_str(&format!(", {}::tag", line::identifier(&line::name(tag))));
    }
    let time = (reach.from, reach.to.saturating_add(1));
    Pages::new(columns, &place::measurement(view), String::new(), time, false)
}

/// Names and values of the tags that a row of [`points`] has, in the order of the names.
fn tags_of(names: &[Box<str>], row: &[Json]) -> Vec<(String, String)> {
    let values = row.iter().skip(2).map(|value| value.as_str().unwrap_or_default().to_owned());
    let mut tags: Vec<(String, String)> = names.iter().map(|name| line::name(name)).zip(values).collect();
    tags.sort();
    tags
}

/// The condition that only the point of a row of [`points`] passes.
pub(super) fn exactly(names: &[Box<str>], row: &[Json]) -> String {
    let time = row.first().and_then(Json::as_i64).unwrap_or_default();
    format!("{}time = {time}", place::tagged(&tags_of(names, row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time: i64) -> Vec<Json> {
        vec![time.into()]
    }

    #[test]
    fn rows_of_one_time_are_never_parted() {
        for (reverse, times) in [(false, [1, 2, 2, 2, 3]), (true, [3, 2, 2, 2, 1])] {
            let mut pages = Pages::new("x".into(), "m", String::new(), (0, 10), reverse);
            assert_eq!(pages.take(times[..3].iter().map(|time| row(*time)).collect(), 2), [row(times[0])]);
            assert!(pages.question(2).contains(if reverse { "time < 3" } else { "time >= 2" }));
            assert!(pages.take(vec![row(2); 3], 2).is_empty());
            assert!(pages.question(2).ends_with("time = 2"), "{}", pages.question(2));
            assert_eq!(pages.take(vec![row(2); 3], 2).len(), 3);
            assert_eq!(pages.take(vec![row(times[4])], 2).len(), 1);
            assert!(pages.is_done());
        }
    }
}
