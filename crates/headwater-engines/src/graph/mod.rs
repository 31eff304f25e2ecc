//! Views as a property graph, in openCypher: the same statements for every engine that speaks it.
//!
//! Owns what lies in the graph, every statement, and the promise that follows from them. An engine gives a [`Database`]:
//! how a statement gets there and what comes back. This deliberately knows no protocol.
//!
//! | in the graph | is |
//! |---|---|
//! | `(:Headwater)` | one node: epoch, offset, and the position as text |
//! | `(:book {…})` | a document of the view `book` that is no edge |
//! | `(:Vertex {value})-[:BOUGHT {…}]->(:Vertex {value})` | a document of an edge view, between the values it joins |
//!
//! Invariant: a step is one statement, and the first thing it does is to look for the epoch and the offset it follows. So
//! data and position are visible at once or not at all, an old owner's step finds nothing to do, and so does a step that was
//! already done, however late it arrives.
//!
//! Names come from the declared file and go through [`cypher::quoted`]; whatever comes from data is a parameter.
//!
//! | file | idea |
//! |---|---|
//! | `cypher` | statements: quoting names, parameters as literals or JSON |
//! | `element` | a document as properties of a node or an edge |
//! | `step`, `write` | what a step gathers; the statement it becomes |
//! | `read`, `walk` | access patterns |
//! | `places` | whether documents stand where access patterns look |
//! | `scan` | all of a view, a window of hashes at a time |
//! | `store` | ownership |

mod cypher;
mod element;
mod places;
mod read;
mod scan;
mod step;
mod store;
mod walk;
mod write;

use async_trait::async_trait;
use headwater_model::{Result, StoreFacts};

#[cfg(all(test, feature = "neptune"))]
pub(crate) use cypher::Param;
pub(crate) use cypher::{Cell, Row, Statement};
pub(crate) use store::{Bounds, Store, fits};

/// A database that runs statements, each of them atomic.
#[async_trait]
pub(crate) trait Database: Send + Sync + 'static {
    fn bounds(&self) -> Bounds;

    /// Server and risks; what the store can do is filled in by [`Store`].
    async fn look(&self) -> Result<(String, Vec<headwater_model::Risk>)>;

    /// Runs one statement. A graph that does not exist has no rows.
    async fn run(&self, statement: Statement) -> Result<Vec<Row>>;

    /// Makes an index unless it is there; engines that index everything do nothing.
    async fn index(&self, on: Indexed<'_>) -> Result<()>;
}

/// What an index is about: a property of the nodes with a label, or of the edges of a type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Indexed<'a> {
    /// As declared, not quoted.
    pub(crate) label: &'a str,
    pub(crate) edge: bool,
    pub(crate) property: &'a str,
}

impl Indexed<'_> {
    pub(crate) fn pattern(self) -> Result<String> {
        let label = cypher::quoted(self.label)?;
        Ok(if self.edge { format!("()-[x:{label}]-()") } else { format!("(x:{label})") })
    }
}

/// Whether elements are looked up by one of their properties.
pub(crate) fn is_looked_up(property: &str) -> bool {
    [element::KEY, element::HASH, element::VERTEX].contains(&property) || property.starts_with(element::PART)
}

/// What the store says of itself beside what the database says.
fn facts(server: String, bounds: Bounds, risks: Vec<headwater_model::Risk>) -> StoreFacts {
    StoreFacts {
        server,
        promise: headwater_model::Promise::Transaction,
        partial_hash: true,
        partial_json: false,
        key_bytes_max: element::KEY_BYTES_MAX,
        document_bytes_max: bounds.document_bytes_max,
        risks,
    }
}
