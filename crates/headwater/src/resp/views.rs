//! What keys mean: `view:key`, named as the Redis store names its documents, and rankings under `view` alone or
//! `view:within`.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_flow::serve::{Pattern, Serving};
use headwater_model::{
    ColumnType, FieldShape, Key, Layout, Param, ParamRole, PlannedRead, Value, View, ViewKind,
};

use super::shared::Flow;

/// The views that are served, in the order of the file.
pub struct Views {
    views: Vec<Served>,
    by_name: HashMap<Box<[u8]>, usize>,
}

/// A view as clients of this protocol read it.
pub struct Served {
    /// Of which source it is, where sources have names.
    pub source: Option<Box<str>>,
    pub serving: Serving,
    pub view: Arc<View>,
    /// The name as it stands at the start of keys.
    pub name: Box<[u8]>,
    pub get: Arc<Pattern>,
    /// Of a ranking: its documents by score.
    pub top: Option<Arc<Pattern>>,
    key: Vec<Param>,
    /// Of a ranking: how many columns of the key come before those that are ranked.
    pub within: usize,
    /// Fields whose values are JSON in the source.
    pub json_fields: Vec<Box<str>>,
}

/// What a key names.
#[derive(Clone, Debug, PartialEq)]
pub enum Named {
    /// Nothing that could be there.
    Nothing,
    Document {
        view: usize,
        key: Key,
    },
    /// The ranking of these values of its `within`.
    Ranking {
        view: usize,
        within: Vec<Value>,
    },
}

impl Views {
    pub fn new(flows: &[Flow]) -> Views {
        let mut views: Vec<Served> = Vec::new();
        for (flow, plan) in flows.iter().flat_map(|flow| flow.plans.iter().map(move |plan| (flow, plan))) {
            let serving = &flow.serving;
            match &plan.read {
                PlannedRead::Get { view } => {
                    let view = Arc::clone(view);
                    let declared = serving.patterns().find(|pattern| pattern.gets(&view.name)).cloned();
                    let get = declared.unwrap_or_else(|| serving.unlisted(plan.clone()));
                    views.push(Served::new(flow, view, get));
                }
                PlannedRead::Range { view, .. } => {
                    let name = view.name.clone();
                    let declared = serving.patterns().find(|pattern| is_top(pattern, &name)).cloned();
                    let top = declared.unwrap_or_else(|| serving.unlisted(plan.clone()));
                    if let Some(served) = views.iter_mut().find(|served| served.view.name == name) {
                        served.top = Some(top);
                    }
                }
                PlannedRead::Walk { .. } | PlannedRead::Window { .. } => {}
            }
        }
        let by_name = views.iter().enumerate().map(|(at, served)| (served.name.clone(), at)).collect();
        Views { views, by_name }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Served> {
        self.views.iter()
    }

    pub fn get(&self, view: usize) -> Option<&Served> {
        self.views.get(view)
    }

    /// The view whose name `text` is, as it stands at the start of keys.
    pub fn place(&self, text: &[u8]) -> Option<usize> {
        self.by_name.get(text).copied()
    }

    pub fn named(&self, text: &[u8]) -> Named {
        let (name, key) = match memchr::memchr(b':', text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let Some(view) = self.place(name) else { return Named::Nothing };
        self.views[view].named(view, key)
    }

    /// The document that `text` names, if it names one.
    pub fn document(&self, text: &[u8]) -> Option<(usize, Key)> {
        match self.named(text) {
            Named::Document { view, key } => Some((view, key)),
            Named::Nothing | Named::Ranking { .. } => None,
        }
    }
}

/// A view's name as it stands at the start of keys.
pub fn key_name(view: &str) -> Box<[u8]> {
    let mut name = Vec::new();
    Key(vec![Value::text(view)]).write_text(&mut name);
    name.into()
}

/// Whether this reads a ranking from its top.
fn is_top(pattern: &Pattern, name: &str) -> bool {
    matches!(&pattern.plan.read, PlannedRead::Range { view, index: 0, .. }
        if *view.name == *name && matches!(view.kind, ViewKind::Ranking(_)))
}

impl Served {
    fn new(flow: &Flow, view: Arc<View>, get: Arc<Pattern>) -> Served {
        let name = key_name(&view.name);
        let within = match &view.kind {
            ViewKind::Ranking(ranking) => ranking.within.len(),
            _ => 0,
        };
        let is_json = |shape: &FieldShape| matches!(shape, FieldShape::Value { kind: ColumnType::Json, .. });
        Served {
            source: flow.name.clone(),
            serving: flow.serving.clone(),
            key: get.plan.params.iter().filter(|param| param.role == ParamRole::Key).cloned().collect(),
            json_fields: get
                .plan
                .fields
                .iter()
                .filter(|field| is_json(&field.shape))
                .map(|field| field.name.clone())
                .collect(),
            name,
            top: None,
            view,
            get,
            within,
        }
    }

    pub fn is_ranking(&self) -> bool {
        matches!(self.view.kind, ViewKind::Ranking(_))
    }

    /// What `TYPE` says of a document.
    pub fn document_type(&self) -> &'static str {
        match self.view.layout() {
            Layout::Hash => "hash",
            Layout::Json => "string",
        }
    }

    fn named(&self, view: usize, key: Option<&[u8]>) -> Named {
        let Some(key) = key else {
            return match self.is_ranking() && self.within == 0 {
                true => Named::Ranking { view, within: Vec::new() },
                false => Named::Nothing,
            };
        };
        let parts = 1 + memchr::memchr_iter(b':', key).count();
        if parts == self.key.len() {
            return match read_key(&self.key, key) {
                Some(key) => Named::Document { view, key },
                None => Named::Nothing,
            };
        }
        if self.is_ranking() && parts == self.within {
            return match read_key(&self.key[..self.within], key) {
                Some(Key(within)) => Named::Ranking { view, within },
                None => Named::Nothing,
            };
        }
        Named::Nothing
    }

    /// The document of a member of a ranking.
    pub fn member(&self, within: &[Value], member: &[u8]) -> Option<Key> {
        let Key(by) = read_key(self.key.get(self.within..)?, member)?;
        Some(Key(within.iter().cloned().chain(by).collect()))
    }

    /// The part of a document's key text that tells it from others of its ranking.
    pub fn member_of<'a>(&self, key: &'a str) -> &'a str {
        match self.within {
            0 => key,
            within => key.splitn(within + 1, ':').nth(within).unwrap_or_default(),
        }
    }
}

fn read_key(params: &[Param], text: &[u8]) -> Option<Key> {
    headwater_model::read_key(params, std::str::from_utf8(text).ok()?)
}
