//! The store: who owns the graph, and the reads.

use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Consumed, Epoch, Error, ErrorKind, Held, Listed, Offset, Read,
    Result, Standing, StoreFacts, Stored, View, ViewKind,
};

use super::cypher::{Cell, Param, Row, Statement, quoted};
use super::element::{self, HELD, HELD_LABEL, HELD_NAME, LOOSE, VERTEX, VERTEX_LABEL};
use super::step::{Changes, Step};
use super::write::{plain_label, set_held};
use super::{Database, Indexed, facts, places, read, scan};

/// Claims that others make at the same time, before we give up.
const CLAIMS_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// About the bytes of one statement.
    pub(crate) step_bytes_max: usize,
    pub(crate) document_bytes_max: usize,
}

pub(crate) struct Store<D>(Arc<Shared<D>>);

/// What the store and its open step both use.
pub(super) struct Shared<D> {
    pub(super) name: Box<str>,
    /// What the node is called that says how far the store is.
    held_name: String,
    pub(super) database: D,
}

impl<D: Database> Store<D> {
    pub(crate) fn new(section: &StoreSection, database: D) -> Store<D> {
        let held_name = section.of_source(HELD_NAME);
        Store(Arc::new(Shared { name: section.name.clone(), held_name, database }))
    }
}

impl<D: Database> Shared<D> {
    pub(super) fn named(&self, error: Error) -> Error {
        error.while_doing(format!("store \"{}\"", self.name))
    }

    pub(super) async fn run(&self, mut statement: Statement) -> Result<Vec<Row>> {
        if statement.text.contains(HELD) {
            statement = statement.with("me", Param::text(&*self.held_name));
        }
        self.database.run(statement).await.map_err(|e| self.named(e))
    }

    pub(super) async fn held(&self) -> Result<Option<Held>> {
        let found =
            self.run(Statement::read(format!("MATCH {HELD} RETURN m.held AS held"), &["held"])).await?;
        found.first().map(|row| read_held(row.first())).transpose()
    }

    /// Why a step found nothing to do.
    pub(super) fn outrun(&self, found: Option<&Held>, epoch: Epoch, after: Offset) -> Error {
        let name = &self.name;
        match found {
            None => Error::out_of_step(format!("store \"{name}\": the graph is empty")),
            Some(held) if held.epoch > epoch => Error::new(
                ErrorKind::Fenced,
                format!("store \"{name}\" belongs to epoch {}, not to epoch {epoch}", held.epoch),
            ),
            Some(held) if held.epoch < epoch => Error::out_of_step(format!(
                "store \"{name}\" belongs to epoch {}, epoch {epoch} has not claimed it",
                held.epoch
            )),
            Some(held) => {
                Error::out_of_step(format!("store \"{name}\" is at offset {}, not at {after}", held.offset))
            }
        }
    }
}

/// What is held, as text.
pub(super) fn read_held(cell: Option<&Cell>) -> Result<Held> {
    let unreadable = || {
        Error::corrupt(format!("the position in the graph (:{HELD_LABEL}) cannot be read"))
            .with_remedy("give the store a graph of its own, or delete this one: it is filled anew")
    };
    match cell {
        Some(Cell::Text(text)) => serde_json::from_str(text).map_err(|e| unreadable().with_cause(e)),
        _ => Err(unreadable()),
    }
}

/// Whether a graph can hold the view.
pub(crate) fn fits(store: &str, view: &View) -> Result<()> {
    let label = plain_label(view);
    if !matches!(view.kind, ViewKind::Edge(_)) && (label == HELD_LABEL || label == VERTEX_LABEL) {
        return Err(Error::misconfigured(format!(
            "store \"{store}\": the view \"{label}\" would have a label that Headwater needs itself"
        ))
        .with_remedy("rename the view"));
    }
    quoted(label).map(drop).map_err(|e| e.while_doing(format!("store \"{store}\"")))
}

#[async_trait]
impl<D: Database> headwater_model::Store for Store<D> {
    async fn inspect(&self) -> Result<StoreFacts> {
        let (server, risks) = self.0.database.look().await.map_err(|e| self.0.named(e))?;
        Ok(facts(server, self.0.database.bounds(), risks))
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let shared = &self.0;
        for _ in 0..CLAIMS_MAX {
            let Some(before) = shared.held().await? else {
                let first = Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 };
                let create = format!(
                    "MERGE {HELD} \
                     ON CREATE SET m.epoch = $held_epoch, m.offset = $offset, m.held = $held \
                     RETURN m.held AS held"
                );
                let made = shared.run(set_held(Statement::write(create, &["held"]), &first)?).await?;
                // Somebody else may have been faster: then it is not empty.
                if read_held(made.first().and_then(|row| row.first()))? == first {
                    return Ok(None);
                }
                continue;
            };
            if before.epoch > epoch {
                return Err(shared.outrun(Some(&before), epoch, before.offset));
            }
            let take = format!(
                "MATCH {HELD} WHERE m.held = $before \
                 SET m.epoch = $held_epoch, m.offset = $offset, m.held = $held RETURN 1 AS done"
            );
            let text =
                serde_json::to_string(&before).map_err(|e| Error::bug("write a position").with_cause(e))?;
            let take = Statement::write(take, &["done"]).with("before", Param::Text(text));
            let now = Held { epoch, ..before.clone() };
            if !shared.run(set_held(take, &now)?).await?.is_empty() {
                return Ok(Some(before));
            }
        }
        Err(Error::transient(format!("store \"{}\": others claim it again and again", shared.name)))
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let shared = &self.0;
        fits(&shared.name, view)?;
        let label = plain_label(view);
        let edge = matches!(view.kind, ViewKind::Edge(_));
        let mut indexed = vec![
            Indexed { label, edge, property: element::KEY },
            Indexed { label, edge, property: element::HASH },
        ];
        if edge {
            for property in [VERTEX, LOOSE] {
                indexed.push(Indexed { label: VERTEX_LABEL, edge: false, property });
            }
        }
        let parts: Vec<String> = (0..view.indexes.len()).map(element::part_property).collect();
        indexed.extend(parts.iter().map(|property| Indexed { label, edge, property }));
        for on in indexed {
            shared.database.index(on).await.map_err(|e| shared.named(e))?;
        }
        Ok(())
    }

    async fn held(&self) -> Result<Option<Held>> {
        self.0.held().await
    }

    /// Asks nobody: the step itself looks for what it follows.
    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        Ok(Box::new(Step { shared: Arc::clone(&self.0), epoch, after, changes: Changes::default() }))
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        read::answer(&self.0, read).await
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        scan::documents(&self.0, view, cursor, limit.max(1)).await
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        scan::keys(&self.0, view, cursor, limit.max(1)).await
    }

    /// Nothing: a place is a part of its document, so there are no others.
    async fn entries(&self, _: &View, _: Option<String>, _: usize) -> Result<(Vec<Listed>, Option<String>)> {
        Ok((Vec::new(), None))
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        places::astray(&self.0, view, asked).await
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        scan::rows(&self.0, view).await
    }

    fn consumed(&self) -> Vec<Consumed> {
        Vec::new()
    }
}
