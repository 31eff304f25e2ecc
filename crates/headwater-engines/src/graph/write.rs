//! A step as one statement.
//!
//! Its parts follow each other with `WITH m, count(*)`: each is done, whatever number of rows it had, before the next
//! begins. The position is the last of them.

use headwater_model::{Epoch, Error, Held, Offset, Result, View, ViewKind};

use super::cypher::{Param, Statement, quoted};
use super::element::{HELD, KEY, LOOSE, VERTEX, VERTEX_LABEL, VIEW};
use super::step::{Changes, ViewChanges};

/// What lies between two parts.
const NEXT: &str = " WITH m, count(*) AS done ";

pub(super) fn statement(changes: Changes, epoch: Epoch, after: Offset, held: &Held) -> Result<Statement> {
    let mut writing = Writing {
        statement: Statement::write(
            format!("MATCH {HELD} WHERE m.epoch = $epoch AND m.offset = $after"),
            &["done"],
        )
        .with("epoch", Param::Int(epoch.0 as i64))
        .with("after", Param::Int(after.0 as i64)),
        joined: false,
    };
    // Edges behind documents, and their vertices last: only edges leave vertices behind.
    let (edges, documents): (Vec<_>, Vec<_>) =
        changes.views.into_values().partition(|changes| matches!(changes.view.kind, ViewKind::Edge(_)));
    for (number, changes) in documents.into_iter().chain(edges).enumerate() {
        writing.view(changes, number)?;
    }
    if writing.joined {
        writing.part(&format!(
            "OPTIONAL MATCH (x:{VERTEX_LABEL} {{{LOOSE}: true}}) WHERE NOT (x)--() DETACH DELETE x"
        ));
        writing.part(&format!("OPTIONAL MATCH (x:{VERTEX_LABEL} {{{LOOSE}: true}}) REMOVE x.{LOOSE}"));
    }
    let Writing { mut statement, .. } = writing;
    statement
        .text
        .push_str(" SET m.epoch = $held_epoch, m.offset = $offset, m.held = $held RETURN 1 AS done");
    set_held(statement, held)
}

/// The parameters of what is held.
pub(super) fn set_held(statement: Statement, held: &Held) -> Result<Statement> {
    let text = serde_json::to_string(held)
        .map_err(|e| Error::bug("a position cannot be written as text").with_cause(e))?;
    Ok(statement
        // 64 bits without a sign, as the same bits with one.
        .with("held_epoch", Param::Int(held.epoch.0 as i64))
        .with("offset", Param::Int(held.offset.0 as i64))
        .with("held", Param::Text(text)))
}

/// The label of a view's nodes, or the type of its edges.
pub(super) fn label(view: &View) -> Result<String> {
    quoted(plain_label(view))
}

pub(super) fn plain_label(view: &View) -> &str {
    match &view.kind {
        ViewKind::Edge(edge) => &edge.label,
        _ => &view.name,
    }
}

struct Writing {
    statement: Statement,
    /// Whether vertices may have lost an edge.
    joined: bool,
}

impl Writing {
    fn part(&mut self, text: &str) {
        self.statement.text.push(' ');
        self.statement.text.push_str(text);
        self.statement.text.push_str(NEXT);
    }

    fn set(&mut self, name: String, value: Param) {
        self.statement.params.push((name, value));
    }

    fn view(&mut self, changes: ViewChanges, number: usize) -> Result<()> {
        let ViewChanges { view, cleared, keys } = changes;
        let label = label(&view)?;
        let is_edge = matches!(view.kind, ViewKind::Edge(_));
        let (mut gone, mut put) = (Vec::new(), Vec::new());
        for (key, change) in keys {
            match change {
                // Nothing is there any more.
                None if cleared => {}
                None => gone.push(Param::Text(key)),
                Some(element) => put.push((key, element)),
            }
        }
        if is_edge {
            self.set(format!("v{number}"), Param::text(&*view.name));
        }
        // `a` and `b` are where edges that go may leave a vertex without any.
        let loosened = format!("SET a.{LOOSE} = true, b.{LOOSE} = true DELETE e");
        if cleared {
            self.joined |= is_edge;
            self.part(&match is_edge {
                false => format!("OPTIONAL MATCH (n:{label}) DETACH DELETE n"),
                true => format!("OPTIONAL MATCH (a)-[e:{label} {{{VIEW}: $v{number}}}]->(b) {loosened}"),
            });
        }
        if !gone.is_empty() {
            self.joined |= is_edge;
            self.set(format!("d{number}"), Param::List(gone));
            self.part(&match is_edge {
                false => format!("UNWIND $d{number} AS k OPTIONAL MATCH (n:{label} {{{KEY}: k}}) DETACH DELETE n"),
                true => format!(
                    "UNWIND $d{number} AS k OPTIONAL MATCH (a)-[e:{label} {{{KEY}: k}}]->(b) WHERE e.{VIEW} = $v{number} \
                     {loosened}"
                ),
            });
        }
        if put.is_empty() {
            return Ok(());
        }
        if !is_edge {
            let rows = put.into_iter().map(|(_, element)| element.properties).collect();
            self.set(format!("p{number}"), Param::List(rows));
            self.part(&format!("UNWIND $p{number} AS r MERGE (n:{label} {{{KEY}: r.{KEY}}}) SET n = r"));
            return Ok(());
        }
        self.joined = true;
        let mut rows = Vec::with_capacity(put.len());
        for (key, element) in put {
            let [from, to] = element.ends.ok_or_else(|| Error::bug("an edge has no ends"))?;
            rows.push(Param::Map(vec![
                ("k".into(), Param::Text(key)),
                ("a".into(), Param::Text(from.vertex)),
                ("av".into(), from.value),
                ("b".into(), Param::Text(to.vertex)),
                ("bv".into(), to.value),
                ("p".into(), element.properties),
            ]));
        }
        self.set(format!("p{number}"), Param::List(rows));
        if !cleared {
            // An edge that now joins others.
            self.part(&format!(
                "UNWIND $p{number} AS r OPTIONAL MATCH (a)-[e:{label} {{{KEY}: r.k}}]->(b) \
                 WHERE e.{VIEW} = $v{number} AND (a.{VERTEX} <> r.a OR b.{VERTEX} <> r.b) {loosened}"
            ));
        }
        self.part(&format!(
            "UNWIND $p{number} AS r \
             MERGE (a:{VERTEX_LABEL} {{{VERTEX}: r.a}}) ON CREATE SET a.value = r.av \
             MERGE (b:{VERTEX_LABEL} {{{VERTEX}: r.b}}) ON CREATE SET b.value = r.bv \
             MERGE (a)-[e:{label} {{{KEY}: r.k, {VIEW}: $v{number}}}]->(b) SET e = r.p"
        ));
        Ok(())
    }
}
