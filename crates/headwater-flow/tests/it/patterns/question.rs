//! An access pattern with values, as a reader would ask it, and what is right to answer.

use std::fmt;
use std::sync::Arc;

use headwater_flow::serve::{Content, Reply};
use headwater_model::{AccessPlan, ColumnType, Hop, Param, ParamRole, PlannedRead, View, ViewKind};
use headwater_testkit::Chance;
use headwater_testkit::checker::answer::{self, Range};
use headwater_testkit::checker::{self, Document, Expected};
use serde_json::{Map, Value as Json};

use super::world::World;
use crate::support::block_on;

pub struct Question {
    plan: Arc<AccessPlan>,
    /// Parameters and their values, in the plan's order.
    values: Vec<(Param, String)>,
    pub reverse: bool,
    pub limit: usize,
    pub limit_max: usize,
}

impl Question {
    /// Of a pattern without parameters that have to be there.
    pub fn of(plan: &Arc<AccessPlan>) -> Question {
        let limit = match &plan.read {
            PlannedRead::Get { .. } => 1,
            PlannedRead::Range { limit, .. }
            | PlannedRead::Walk { limit, .. }
            | PlannedRead::Window { limit, .. } => *limit,
        };
        Question { plan: Arc::clone(plan), values: Vec::new(), reverse: false, limit, limit_max: limit }
    }

    pub fn random(plans: &[Arc<AccessPlan>], expected: &Expected, chance: &mut Chance) -> Question {
        let mut question = Question::with_values(chance.pick(plans), expected, chance);
        if question.takes_limit() && chance.one_in(2) {
            question.limit = 1 + chance.below(question.limit_max as u64) as usize;
        }
        question
    }

    /// Mostly with values that find something.
    pub fn with_values(plan: &Arc<AccessPlan>, expected: &Expected, chance: &mut Chance) -> Question {
        let mut question = Question::of(plan);
        let some = question.some_document(expected, chance);
        for param in &plan.params {
            let value = match param.role {
                ParamRole::From | ParamRole::To if chance.one_in(2) => continue,
                // Bounds are of any document, so they may lie in any order.
                ParamRole::From | ParamRole::To => {
                    question.some_document(expected, chance).and_then(|other| question.field(param, other))
                }
                _ => some.and_then(|document| question.field(param, document)),
            };
            let value = value.filter(|_| !chance.one_in(12)).unwrap_or_else(|| any(param, chance));
            question.values.push((param.clone(), value));
        }
        question.reverse = question.turns() && chance.one_in(3);
        question
    }

    pub fn name(&self) -> &str {
        &self.plan.access.name
    }

    pub fn params(&self, cursor: Option<&str>) -> Vec<(String, String)> {
        let mut params: Vec<(String, String)> =
            self.values.iter().map(|(param, value)| (param.name.to_string(), value.clone())).collect();
        let mut add = |name: &str, value: String| params.push((name.to_owned(), value));
        if self.limit != self.limit_max {
            add("limit", self.limit.to_string());
        }
        if self.reverse {
            add("reverse", "true".into());
        }
        if let Some(cursor) = cursor {
            add("cursor", cursor.to_owned());
        }
        params
    }

    /// The view whose documents are read; of a walk, one that it begins with.
    pub fn view(&self) -> &View {
        match &self.plan.read {
            PlannedRead::Get { view }
            | PlannedRead::Range { view, .. }
            | PlannedRead::Window { view, .. } => view,
            PlannedRead::Walk { hops, .. } => &hops[0].views[0],
        }
    }

    /// Whether its documents are of one row each.
    pub fn has_rows(&self) -> bool {
        !matches!(self.view().kind, ViewKind::Ranking(_))
    }

    pub fn range(&self) -> Range<'_> {
        let (PlannedRead::Range { view, index, .. } | PlannedRead::Window { view, index, .. }) =
            &self.plan.read
        else {
            panic!("{self} has no order")
        };
        let index = &view.indexes[*index];
        let value = |role| self.values_of(role).next();
        Range {
            by: index.by.iter().map(|name| &**name).zip(self.values_of(ParamRole::By)).collect(),
            from: value(ParamRole::From),
            to: value(ParamRole::To),
            order: &index.order,
            reverse: self.reverse,
        }
    }

    /// All documents of a range, in order.
    pub fn documents<'d>(&self, expected: &'d Expected) -> Vec<&'d Map<String, Json>> {
        answer::range(expected, self.view(), &self.range())
    }

    /// Panics unless this is what the documents give, and what plain SQL gives.
    pub fn judge(&self, world: &World, expected: &Expected, reply: &Reply) {
        let difference = match (&self.plan.read, &reply.content) {
            (PlannedRead::Get { view }, Content::Document(found)) => {
                let key: Vec<&str> = self.values_of(ParamRole::Key).collect();
                let wanted = answer::get(expected, view, &key);
                match (wanted, found) {
                    (None, None) => None,
                    (Some(wanted), Some(found)) => {
                        answer::differs(&Json::Object(wanted.clone()), &json(found))
                    }
                    (wanted, found) => Some(format!("{found:?} instead of {wanted:?}")),
                }
            }
            (PlannedRead::Walk { hops, .. }, Content::List { items, .. }) => {
                let start = self.values_of(ParamRole::Start).next().unwrap();
                let steps: Vec<answer::Step<'_>> = hops.iter().map(step).collect();
                let mut wanted = answer::walk(expected, start, &steps);
                wanted.truncate(self.limit);
                answer::list_differs(wanted.iter(), &jsons(items))
            }
            (
                PlannedRead::Window { view, buckets: Some(buckets), figures, .. },
                Content::List { items, .. },
            ) => {
                let ViewKind::Series(series) = &view.kind else { panic!("{self} is of no series") };
                let points = self.documents(expected);
                let wrong = answer::buckets(&points, series, buckets.every, figures, &jsons(items));
                (!wrong.is_empty()).then(|| wrong.join("; "))
            }
            (_, Content::List { items, next }) => {
                self.page_differs(world, expected, &jsons(items), next.is_some())
            }
            (_, content) => Some(format!("{content:?}")),
        };
        assert_eq!(difference, None, "{self}: {:?}", reply.shown);
    }

    /// The first page of a range.
    fn page_differs(&self, world: &World, expected: &Expected, found: &[Json], more: bool) -> Option<String> {
        let wanted = self.documents(expected);
        if more != (wanted.len() > self.limit) {
            return Some(format!("more to come: {more}, with {} documents and {self}", wanted.len()));
        }
        let first = answer::list_differs(wanted.into_iter().take(self.limit), found);
        if first.is_some() || !self.has_rows() {
            return first;
        }
        let mut rows = block_on(checker::page(&world.truth, self.view(), &self.range()));
        rows.truncate(self.limit);
        answer::list_differs(rows.iter(), found).map(|difference| format!("in plain SQL, {difference}"))
    }

    /// Panics unless this has the form that every answer has.
    pub fn judge_form(&self, content: &Content) {
        match (&self.plan.read, content) {
            (PlannedRead::Get { .. }, Content::Document(document)) => {
                assert!(
                    document.as_ref().is_none_or(|document| json(document).is_object()),
                    "{self}: {document:?}"
                );
            }
            (PlannedRead::Window { buckets: Some(_), .. }, Content::List { .. }) => {}
            (PlannedRead::Get { .. }, _) | (_, Content::Document(_) | Content::Documents(_)) => {
                panic!("{self}: {content:?}")
            }
            (_, Content::List { items, .. }) => assert!(items.len() <= self.limit, "{self}: {content:?}"),
        }
    }

    fn values_of(&self, role: ParamRole) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(param, _)| param.role == role).map(|(_, value)| &**value)
    }

    fn some_document<'d>(&self, expected: &'d Expected, chance: &mut Chance) -> Option<&'d Document> {
        let documents = &expected[&*self.view().name];
        documents.values().nth(chance.below(documents.len() as u64) as usize)
    }

    /// The value of a parameter for which this document is found; none if NULL would have to be asked for.
    fn field(&self, param: &Param, document: &Document) -> Option<String> {
        let view = self.view();
        let value = match (param.role, &self.plan.read) {
            (ParamRole::Key, _) => {
                let keys = self.plan.params.iter().filter(|param| param.role == ParamRole::Key);
                document.key.get(keys.map(|param| &param.name).position(|name| *name == param.name)?)?
            }
            (ParamRole::By, _) => document.fields.get(&*param.name)?,
            (ParamRole::Start, PlannedRead::Walk { hops, .. }) => {
                let (_, leave, _) = step(&hops[0])[0];
                document.fields.get(leave)?
            }
            (_, PlannedRead::Range { index, .. } | PlannedRead::Window { index, .. }) => {
                document.fields.get(&*view.indexes[*index].order.first()?.column)?
            }
            _ => return None,
        };
        match value {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// Whether it takes `reverse`, and a cursor.
    fn turns(&self) -> bool {
        matches!(self.plan.read, PlannedRead::Range { .. } | PlannedRead::Window { buckets: None, .. })
    }

    fn takes_limit(&self) -> bool {
        self.turns() || matches!(self.plan.read, PlannedRead::Walk { .. })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = &self.plan.access.pattern;
        write!(f, "{pattern:?} with {:?}", self.params(None))
    }
}

fn step(hop: &Hop) -> answer::Step<'_> {
    let along = hop.views.iter().filter_map(|view| match &view.kind {
        ViewKind::Edge(edge) if hop.against => Some((&**view, &*edge.target, &*edge.source)),
        ViewKind::Edge(edge) => Some((&**view, &*edge.source, &*edge.target)),
        _ => None,
    });
    along.collect()
}

fn json(text: &Arc<str>) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn jsons(texts: &[Arc<str>]) -> Vec<Json> {
    texts.iter().map(json).collect()
}

/// A value of the parameter's kind, whether something has it or not.
fn any(param: &Param, chance: &mut Chance) -> String {
    let of_texts =
        |chance: &mut Chance| (*chance.pick(&["", "a", "ä", "zz", "1", "a:b", "%N", "it's"])).to_owned();
    match &param.kind {
        ColumnType::Decimal | ColumnType::Float => {
            (*chance.pick(&["0", "1.5", "-2.50", "1e20", "0.1"])).to_owned()
        }
        ColumnType::Timestamp => (*chance.pick(&["2026-01-31T12:30:00", "1970-01-01T00:00:00"])).to_owned(),
        ColumnType::Text => of_texts(chance),
        ColumnType::Dynamic if &*param.type_name == "text" => of_texts(chance),
        _ => (chance.below(12) as i64 - 2).to_string(),
    }
}
