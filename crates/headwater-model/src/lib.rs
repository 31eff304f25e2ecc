//! Headwater's words and traits. Everything here is data or a seam: no I/O, no clock, no engine's name.
//!
//! - what a source says: [`Value`], [`Row`], [`Change`], [`Event`], [`Position`]
//! - what a store is told: [`View`], [`ViewChange`], [`Held`]
//! - what an application asks: [`Access`], [`Read`], [`Answer`]
//! - the two seams: [`Source`] and [`Store`]
//! - what an examination of an engine finds: [`exam`]
//! - which indexes a workload asks for: [`advice`]
//! - what can go wrong: [`Error`], by what the caller should do about it

mod access;
pub mod advice;
mod affinity;
mod buckets;
mod change;
mod chunk;
mod document;
mod error;
pub mod exam;
mod facts;
pub mod file;
pub mod filter;
pub mod heal;
pub mod json;
mod key;
mod nearest;
mod param;
mod position;
mod secret;
pub mod sort;
mod source;
mod store;
mod sum;
mod table;
mod traffic;
mod usage;
mod value;
mod view;
pub mod wire;

pub use access::{
    Access, AccessPlan, Answer, AnswerMoment, Bound, Field, FieldShape, Figure, FigureFunction, Found, Hop,
    HopLabel, Param, ParamRole, Pattern, PlannedRead, RangeRead, Reached, Read, WalkRead,
};
pub use affinity::Affinity;
pub use buckets::{Buckets, Gaps};
pub use change::{Change, Event, Refused, Row};
pub use chunk::{Chunk, ChunkId, ChunkRange, Moment};
pub use document::{Names, Record};
pub use error::{Error, ErrorKind, Result};
pub use facts::{
    ColumnFacts, ForeignKey, IndexFacts, Indexable, IndexedColumn, RetainedLog, Risk, Severity, SourceFacts,
    TableFacts,
};
pub use key::Key;
pub use nearest::nearest;
pub use param::{BadParam, read_key};
pub use position::{Epoch, Lineage, Offset, Position};
pub use secret::Secret;
pub use source::{Follow, Source};
pub use store::{
    Apply, Astray, Consumed, Held, IndexEntry, Listed, Promise, Refusal, Standing, Store, StoreFacts, Stored,
    StoredBody, ViewChange,
};
pub use sum::Sum;
pub use table::{
    Catalogued, Column, ColumnRevision, ColumnType, Reshaped, Revision, Table, TableId, TableName,
};
pub use traffic::{HotKey, Throttled, Traffic};
pub use usage::{SourceUsage, StatementUsage, TableUsage};
pub use value::Value;
pub use view::{
    Aggregate, Edge, Embed, EmbedKind, Hold, Index, IndexPlace, Layout, Order, Part, Ranking, Series, View,
    ViewId, ViewKind,
};
