//! Whether documents stand where they should in the orders that they are read in.
//!
//! A place is properties of the document's own node or edge, so there is none without its document; and an edge lies between the
//! vertices that its places say, which walks rely on.

use std::collections::HashMap;

use headwater_model::{AnswerMoment, Astray, IndexEntry, IndexPlace, Result, Standing, View, ViewKind};

use super::Database;
use super::cypher::{Cell, Param, Statement};
use super::element::{HELD, KEY, VERTEX, found_by, hex, part_property, sort_property, unhex};
use super::read::{held_of, of_view};
use super::store::Shared;
use super::write::label;
use crate::entries::{self, Entry};

/// What lies in the graph under one key.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    /// Of an edge: the vertices that it joins.
    ends: [Option<String>; 2],
    /// Nodes or edges with this key.
    count: usize,
}

pub(super) async fn astray<D: Database>(
    shared: &Shared<D>,
    view: &View,
    asked: &[Standing],
) -> Result<(AnswerMoment, Vec<Astray>)> {
    let (held, found) = read(shared, view, asked).await?;
    let is_edge = matches!(view.kind, ViewKind::Edge(_));
    let nothing = Found::default();
    let told = asked.iter().map(|standing| {
        let found = found.get(&found_by(&standing.key)).unwrap_or(&nothing);
        let mut astray = entries::astray(standing, &found.entries, |entry| {
            // The first two orders of an edge are along it and against it: apart by the value of its one end.
            let end = found.ends.get(usize::from(entry.index)).filter(|_| is_edge);
            found.entries.contains(&Entry::from(entry))
                && end.is_none_or(|end| end.as_deref() == Some(&*hex(&entry.place.part)))
        });
        // Twice the same key: found twice.
        astray.misremembers |= found.count > 1;
        astray
    });
    Ok((AnswerMoment::Applied(held), told.collect()))
}

async fn read<D: Database>(
    shared: &Shared<D>,
    view: &View,
    asked: &[Standing],
) -> Result<(headwater_model::Held, HashMap<String, Found>)> {
    let (label, only) = (label(view)?, of_view(view));
    let is_edge = matches!(view.kind, ViewKind::Edge(_));
    let pattern = match is_edge {
        true => format!("(a)-[x:{label} {{{KEY}: k}}]->(b)"),
        false => format!("(x:{label} {{{KEY}: k}})"),
    };
    let ends =
        if is_edge { format!("a.{VERTEX} AS a, b.{VERTEX} AS b") } else { "null AS a, null AS b".to_owned() };
    // The last of them stands for the node or edge itself.
    let mut places: Vec<String> = Vec::with_capacity(view.indexes.len() + 1);
    for number in 0..view.indexes.len() {
        let (part, sort) = (part_property(number), sort_property(number));
        places.push(format!("{{i: {number}, p: x.{part}, s: x.{sort}}}"));
    }
    places.push("{i: -1, p: null, s: null}".to_owned());
    let text = format!(
        "MATCH {HELD} UNWIND $keys AS k OPTIONAL MATCH {pattern}{} UNWIND [{}] AS e \
         RETURN m.held AS held, k AS k, x.{KEY} AS own, {ends}, e.i AS i, e.p AS p, e.s AS s",
        only.as_ref().map_or(String::new(), |(only, _)| format!(" WHERE {only}")),
        places.join(", ")
    );
    // A key that none has, so that there is a row which says where the graph is.
    let keys = asked.iter().map(|standing| Param::Text(found_by(&standing.key))).chain([Param::text(" ")]);
    let mut statement = Statement::read(text, &["held", "k", "own", "a", "b", "i", "p", "s"])
        .with("keys", Param::List(keys.collect()));
    if let Some((_, name)) = only {
        statement = statement.with("view", name);
    }
    let rows = shared.run(statement).await?;
    let held = held_of(shared, &rows)?;
    let mut found: HashMap<String, Found> = HashMap::new();
    for row in rows {
        let Ok([_, Cell::Text(key), Cell::Text(_), a, b, Cell::Int(index), part, sort]) =
            <[Cell; 8]>::try_from(row)
        else {
            continue;
        };
        let of = found.entry(key.clone()).or_default();
        let Ok(index) = u16::try_from(index) else {
            of.count += 1;
            of.ends = [a, b].map(|end| match end {
                Cell::Text(end) => Some(end),
                _ => None,
            });
            continue;
        };
        let (Cell::Text(part), Cell::Text(sort)) = (part, sort) else { continue };
        // What nobody can read is no place.
        let (Ok(part), Ok(sort)) = (unhex(part.strip_prefix('-').unwrap_or("x")), unhex(&sort)) else {
            continue;
        };
        let place = IndexPlace { part, sort };
        of.entries.push(Entry::from(&IndexEntry { index, place, key: key.as_str().into() }));
    }
    Ok((held, found))
}
