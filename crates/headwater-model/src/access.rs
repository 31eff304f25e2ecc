//! Access patterns: the named, typed ways in which an application reads, as the file declares them, and a read with its
//! values filled in, as engines answer it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Buckets, ColumnType, Held, Key, Moment, Order, Position, Stored, StoredBody, Value, View, ViewId,
    ViewKind,
};

/// An access pattern: the `x` of `[access.x]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    pub name: Box<str>,
    pub pattern: Pattern,
    /// Which stores answer, in this order; empty: every store that holds the view, in the view's order.
    pub stores: Vec<Box<str>>,
    /// Whether the source answers when no store can.
    pub source: bool,
    /// How old an answer may be; `None`: as old as it happens to be.
    pub stale: Option<Duration>,
    /// The expected rate and the latency wanted: objectives to be measured against, not limits.
    pub rate_per_second: Option<u64>,
    pub p99: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// The document of a key.
    Get { view: ViewId },
    /// Documents in order, apart by the values of `by`.
    Range { view: ViewId, by: Vec<Box<str>>, order: Vec<Order>, limit: usize },
    /// The first of a ranking.
    Top { view: ViewId, limit: usize },
    /// From a vertex along edges.
    Walk { hops: Vec<HopLabel>, limit: usize },
    /// A part of a series: its points, or figures per bucket of time.
    Window { view: ViewId, buckets: Option<Buckets>, figures: Vec<Figure>, limit: usize },
}

impl Pattern {
    /// The views that the pattern reads, of those given.
    pub fn reads<'v>(&self, views: impl IntoIterator<Item = &'v View>) -> Vec<&'v View> {
        let wanted = |candidate: &View| match self {
            Pattern::Get { view }
            | Pattern::Range { view, .. }
            | Pattern::Top { view, .. }
            | Pattern::Window { view, .. } => candidate.name == *view,
            Pattern::Walk { hops, .. } => match &candidate.kind {
                ViewKind::Edge(edge) => hops.iter().any(|hop| hop.label == edge.label),
                _ => false,
            },
        };
        views.into_iter().filter(|view| wanted(view)).collect()
    }

    /// The word of the file.
    pub fn name(&self) -> &'static str {
        match self {
            Pattern::Get { .. } => "get",
            Pattern::Range { .. } => "range",
            Pattern::Top { .. } => "top",
            Pattern::Walk { .. } => "walk",
            Pattern::Window { .. } => "window",
        }
    }
}

/// One step of a walk, by the label of the edges: `BOUGHT>` from source to target, `<BOUGHT` against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopLabel {
    pub label: Box<str>,
    pub against: bool,
}

/// A figure of the points in a bucket: `field = "max(price)"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    pub name: Box<str>,
    pub function: FigureFunction,
    /// `None` for `count(*)`.
    pub column: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FigureFunction {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    First,
    Last,
    /// The least value that so many percent of the values, 1 to 99, do not exceed: SQL's `percentile_disc`.
    Percentile(u8),
}

impl FigureFunction {
    /// All that have no number.
    pub const PLAIN: [FigureFunction; 7] = {
        use FigureFunction::{Avg, Count, First, Last, Max, Min, Sum};
        [Count, Sum, Min, Max, Avg, First, Last]
    };

    /// The word of the file.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            FigureFunction::Count => "count",
            FigureFunction::Sum => "sum",
            FigureFunction::Min => "min",
            FigureFunction::Max => "max",
            FigureFunction::Avg => "avg",
            FigureFunction::First => "first",
            FigureFunction::Last => "last",
            FigureFunction::Percentile(percent) => return Cow::Owned(format!("p{percent}")),
        })
    }

    /// The function that a word of the file names.
    pub fn read(word: &str) -> Option<FigureFunction> {
        let plain = FigureFunction::PLAIN.into_iter().find(|function| function.name() == word);
        let percent = || (1..=99).map(FigureFunction::Percentile).find(|function| function.name() == word);
        plain.or_else(percent)
    }
}

/// An access pattern compared with the live source: names resolved, parameters and fields typed.
#[derive(Clone, Debug)]
pub struct AccessPlan {
    pub access: Access,
    pub read: PlannedRead,
    /// What a reader may give, in the order of the pattern.
    pub params: Vec<Param>,
    /// What a document of the answer has; of a walk, nothing.
    pub fields: Vec<Field>,
    /// The stores that may answer, in order.
    pub stores: Vec<Box<str>>,
}

/// What becomes a [`Read`] once the parameters have values.
#[derive(Clone, Debug, PartialEq)]
pub enum PlannedRead {
    Get {
        view: Arc<View>,
    },
    /// Also a `top`: of a ranking's own index.
    Range {
        view: Arc<View>,
        index: usize,
        limit: usize,
    },
    Walk {
        hops: Vec<Hop>,
        limit: usize,
        edges_max: usize,
    },
    Window {
        view: Arc<View>,
        index: usize,
        buckets: Option<Buckets>,
        figures: Vec<Figure>,
        limit: usize,
    },
}

impl PlannedRead {
    /// The views that a store must hold, filled, to answer.
    pub fn views(&self) -> Vec<&Arc<View>> {
        match self {
            PlannedRead::Get { view }
            | PlannedRead::Range { view, .. }
            | PlannedRead::Window { view, .. } => {
                vec![view]
            }
            PlannedRead::Walk { hops, .. } => hops.iter().flat_map(|hop| &hop.views).collect(),
        }
    }
}

/// A parameter of an access pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// As readers write it: the name of the field, `from`, `to`, `start`.
    pub name: Box<str>,
    pub role: ParamRole,
    pub kind: ColumnType,
    /// The source's own name of the type, for people, and for what [`ColumnType`] leaves open.
    pub type_name: Box<str>,
    pub required: bool,
}

/// What a parameter's value is for. `limit`, `cursor`, `reverse` and `every` are not here: they are of no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamRole {
    /// A column of the key, in key order.
    Key,
    /// A field of the index's `by`, in its order.
    By,
    /// The bounds on the first field of the index's order: inclusive, and exclusive.
    From,
    To,
    /// The vertex a walk starts at.
    Start,
}

/// A field of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: Box<str>,
    pub nullable: bool,
    pub shape: FieldShape,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FieldShape {
    Value {
        kind: ColumnType,
        /// The source's own name of the type.
        type_name: Box<str>,
    },
    /// An embedded row, or null.
    One(Vec<Field>),
    /// Embedded rows.
    Many(Vec<Field>),
}

/// A read with its values filled in. Every engine answers it for the views it holds, and so does the source, in SQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// The documents of keys, each or nothing, in the order asked for.
    Get {
        view: Arc<View>,
        keys: Vec<Key>,
    },
    Range(RangeRead),
    Walk(WalkRead),
}

/// A stretch of one part of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeRead {
    pub view: Arc<View>,
    /// Which of the view's indexes.
    pub index: usize,
    /// The values of the index's `by`, as many as it has.
    pub by: Vec<Value>,
    /// Bounds on the first column of the index's order, by value, whatever the direction of the order. Documents in which that
    /// column is NULL are within no bound.
    pub from: Option<Bound>,
    pub to: Option<Bound>,
    /// Go on behind the document that stands at these bytes ([`crate::IndexPlace::sort`]).
    pub after: Option<Vec<u8>>,
    /// Against the index's order.
    pub reverse: bool,
    /// At least 1.
    pub limit: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub value: Value,
    pub inclusive: bool,
}

/// From one vertex along edges, hop by hop. Every way counts, as in a SQL join: two orders of one book are two ways.
#[derive(Clone, Debug, PartialEq)]
pub struct WalkRead {
    pub start: Value,
    /// At least one.
    pub hops: Vec<Hop>,
    /// Vertices in the answer: those with the most ways first, ties by value. The start is never among them.
    pub limit: usize,
    /// Edges that one walk may read; beyond it the answer is `Unsupported` rather than incomplete.
    pub edges_max: usize,
}

/// One step of a walk: along the edges of any of these views that have one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    pub views: Vec<Arc<View>>,
    /// Whether from target to source. Edge views have two indexes for this: [`Hop::OUT`] and [`Hop::IN`].
    pub against: bool,
}

impl Hop {
    /// The place of an edge view's index that finds edges by their source, ordered by target.
    pub const OUT: usize = 0;
    /// The place of an edge view's index that finds edges by their target, ordered by source.
    pub const IN: usize = 1;

    pub fn index(&self) -> usize {
        if self.against { Hop::IN } else { Hop::OUT }
    }
}

/// What was found, as one moment shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub at: AnswerMoment,
    pub found: Found,
}

/// The moment an answer shows.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerMoment {
    /// Of a store: what it holds there, and nothing newer.
    Applied(Held),
    /// Of a store that promises keys only: what it holds there, and perhaps something newer.
    AtLeast(Held),
    /// Of the source itself: everything up to `all_to` whose commit was acknowledged to its client before the read, perhaps
    /// some of what lies behind it, and nothing behind `none_past`. A commit that waits for a standby may lie before
    /// `all_to` and not be visible yet, so an answer as of a place is not the state that following shows there: whatever
    /// `sees` shows is in the answer, and that can be told of each transaction.
    Now { all_to: Position, none_past: Position, sees: Moment },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// To [`Read::Get`]: one per key.
    Documents(Vec<Option<StoredBody>>),
    /// To [`Read::Range`]: in order; `next` is the place of the last one when there may be more.
    Page { documents: Vec<Stored>, next: Option<Vec<u8>> },
    /// To [`Read::Walk`].
    Reached(Vec<Reached>),
}

/// A vertex that a walk came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    pub vertex: Value,
    /// In how many ways.
    pub ways: u64,
}
