//! Access patterns, each one statement, so that what is found and the position are of one moment.

use std::collections::HashMap;

use headwater_model::{
    Answer, AnswerMoment, Error, Found, Held, Key, RangeRead, Read, Result, Stored, StoredBody, View,
    ViewKind,
};

use super::cypher::{Cell, Param, Row, Statement};
use super::element::{
    DOCUMENT, HELD, KEY, VIEW, found_by, hex, key_text, part, part_property, sort_property, unhex,
};
use super::store::{Shared, read_held};
use super::write::label;
use super::{Database, element, walk};
use crate::span::Span;

pub(super) async fn answer<D: Database>(shared: &Shared<D>, read: &Read) -> Result<Answer> {
    let (held, found) = match read {
        Read::Get { view, keys } => documents(shared, view, keys).await?,
        Read::Range(read) => range(shared, read).await?,
        Read::Walk(read) => {
            let (held, reached) = walk::walk(shared, read).await?;
            (held, Found::Reached(reached))
        }
    };
    Ok(Answer { at: AnswerMoment::Applied(held), found })
}

/// Every row begins with what is held; without any the graph is empty.
pub(super) fn held_of<D: Database>(shared: &Shared<D>, rows: &[Row]) -> Result<Held> {
    let first = rows
        .first()
        .ok_or_else(|| Error::out_of_step(format!("store \"{}\": the graph is empty", shared.name)))?;
    read_held(first.first())
}

async fn now<D: Database>(shared: &Shared<D>) -> Result<Held> {
    let held = shared.held().await?;
    held.ok_or_else(|| Error::out_of_step(format!("store \"{}\": the graph is empty", shared.name)))
}

/// The pattern of a view's documents: `x` is the node or the edge, with `inner` as its properties.
pub(super) fn pattern(view: &View, inner: &str) -> Result<String> {
    let label = label(view)?;
    Ok(match &view.kind {
        ViewKind::Edge(_) => format!("()-[x:{label}{inner}]->()"),
        _ => format!("(x:{label}{inner})"),
    })
}

/// What keeps the views apart that have one label, after a WHERE.
pub(super) fn of_view(view: &View) -> Option<(String, Param)> {
    match &view.kind {
        ViewKind::Edge(_) => Some((format!("x.{VIEW} = $view"), Param::text(&*view.name))),
        _ => None,
    }
}

async fn documents<D: Database>(shared: &Shared<D>, view: &View, keys: &[Key]) -> Result<(Held, Found)> {
    if keys.is_empty() {
        return Ok((now(shared).await?, Found::Documents(Vec::new())));
    }
    let texts: Vec<String> = keys.iter().map(|key| found_by(&key.to_text())).collect();
    let only = of_view(view);
    let text = format!(
        "MATCH {HELD} UNWIND $keys AS k OPTIONAL MATCH {}{} RETURN m.held AS held, k AS k, x.{DOCUMENT} AS document",
        pattern(view, &format!(" {{{KEY}: k}}"))?,
        only.as_ref().map_or(String::new(), |(only, _)| format!(" WHERE {only}")),
    );
    let mut statement = Statement::read(text, &["held", "k", "document"])
        .with("keys", Param::List(texts.iter().map(Param::text).collect()));
    if let Some((_, name)) = only {
        statement = statement.with("view", name);
    }
    let rows = shared.run(statement).await?;
    let held = held_of(shared, &rows)?;
    let mut by_key = HashMap::with_capacity(rows.len());
    for row in rows {
        if let [_, Cell::Text(key), Cell::Text(document)] = &row[..] {
            by_key.insert(key.clone(), StoredBody::Json(document.as_str().into()));
        }
    }
    Ok((held, Found::Documents(texts.iter().map(|key| by_key.get(key).cloned()).collect())))
}

/// A document with its places, for what is put over it in part.
pub(super) async fn stored<D: Database>(
    shared: &Shared<D>,
    view: &View,
    key: &Key,
) -> Result<Option<element::Stored>> {
    let only = of_view(view);
    let filter = only.as_ref().map_or(String::new(), |(only, _)| format!(" WHERE {only}"));
    let found = pattern(view, &format!(" {{{KEY}: $key}}"))?;
    let with = |statement: Statement| {
        let statement = statement.with("key", Param::Text(found_by(&key.to_text())));
        match &only {
            Some((_, name)) => statement.with("view", name.clone()),
            None => statement,
        }
    };
    let whole =
        Statement::read(format!("MATCH {found}{filter} RETURN x.{DOCUMENT} AS document"), &["document"]);
    let Some(Cell::Text(document)) = shared.run(with(whole)).await?.into_iter().flatten().next() else {
        return Ok(None);
    };
    let mut places = Vec::with_capacity(view.indexes.len());
    for index in 0..view.indexes.len() {
        let (part_name, sort) = (part_property(index), sort_property(index));
        let text = format!("MATCH {found}{filter} RETURN x.{part_name} AS part, x.{sort} AS sort");
        let rows = shared.run(with(Statement::read(text, &["part", "sort"]))).await?;
        places.push(match rows.first().map(|row| &row[..]) {
            Some([Cell::Text(part), Cell::Text(sort)]) => {
                Some((unhex(part.trim_start_matches('-'))?, unhex(sort)?))
            }
            _ => None,
        });
    }
    Ok(Some(element::Stored { document, places }))
}

async fn range<D: Database>(shared: &Shared<D>, read: &RangeRead) -> Result<(Held, Found)> {
    let view = &read.view;
    let Some(span) = Span::of(read)? else {
        return Ok((now(shared).await?, Found::Page { documents: Vec::new(), next: None }));
    };
    let (part_name, sort) = (part_property(read.index), sort_property(read.index));
    let mut only = vec![format!("x.{part_name} = $part")];
    let mut params = vec![("part", Param::Text(part(&span.part)))];
    if !span.lower.is_empty() {
        only.push(format!("x.{sort} >= $lower"));
        params.push(("lower", Param::Text(hex(&span.lower))));
    }
    if let Some(upper) = &span.upper {
        only.push(format!("x.{sort} < $upper"));
        params.push(("upper", Param::Text(hex(upper))));
    }
    if let Some((of_view, name)) = of_view(view) {
        only.push(of_view);
        params.push(("view", name));
    }
    let limit = read.limit.max(1);
    let text = format!(
        "MATCH {HELD} OPTIONAL MATCH {} WHERE {} \
         RETURN m.held AS held, x.{KEY} AS k, x.{DOCUMENT} AS document, x.{sort} AS sort ORDER BY sort{} LIMIT {}",
        pattern(view, "")?,
        only.join(" AND "),
        if read.reverse { " DESC" } else { "" },
        limit.saturating_add(1),
    );
    let mut statement = Statement::read(text, &["held", "k", "document", "sort"]);
    for (name, value) in params {
        statement = statement.with(name, value);
    }
    let rows = shared.run(statement).await?;
    let held = held_of(shared, &rows)?;
    let (more, mut documents, mut last) = (rows.len() > limit, Vec::new(), None);
    for row in rows.into_iter().take(limit) {
        let Ok([_, Cell::Text(key), Cell::Text(document), Cell::Text(sort)]) = <[Cell; 4]>::try_from(row)
        else {
            continue;
        };
        documents.push(Stored { key: key_text(&key), body: StoredBody::Json(document.into()) });
        last = Some(sort);
    }
    let next = last.filter(|_| more).map(|sort| unhex(&sort)).transpose()?;
    Ok((held, Found::Page { documents, next }))
}
