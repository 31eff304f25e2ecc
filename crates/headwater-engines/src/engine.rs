//! What an engine says of itself: how it is named in the file, what it may be used for, and what it then promises.
//!
//! Each engine declares this in `engine.rs` of its own folder, which is compiled whether the engine is built in or not;
//! [`crate::registry::engines`] lists them. What a store says when it is looked at ([`headwater_model::StoreFacts`]) may be
//! less, and never more: see the test `what_engines_declare_is_what_they_say`.

use headwater_model::{Layout, Promise};

#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// Products, for people.
    pub name: &'static str,
    /// What of AWS it stands for.
    pub stands_for: &'static str,
    /// Of the URLs that name it, the usual one first.
    pub schemes: &'static [&'static str],
    /// The cargo feature that builds it in.
    pub feature: &'static str,
    pub built_in: bool,
    /// Its page in `docs/engines`.
    pub page: &'static str,
    pub source: Option<AsSource>,
    pub store: Option<AsStore>,
}

#[derive(Clone, Copy, Debug)]
pub struct AsSource {
    /// How its changes are learnt of.
    pub follows: &'static str,
    /// The access patterns that it answers when no store can.
    pub answers: &'static [Pattern],
}

#[derive(Clone, Copy, Debug)]
pub struct AsStore {
    pub promise: Promise,
    /// Where the promise is a weaker one.
    pub except: Option<&'static str>,
    /// How documents may be laid out there.
    pub layouts: &'static [Layout],
    pub answers: &'static [Pattern],
}

/// An access pattern, by the word that the file has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    Get,
    Range,
    Top,
    Walk,
    Window,
}

impl Pattern {
    pub const ALL: &'static [Pattern] =
        &[Pattern::Get, Pattern::Range, Pattern::Top, Pattern::Walk, Pattern::Window];

    pub fn word(self) -> &'static str {
        match self {
            Pattern::Get => "get",
            Pattern::Range => "range",
            Pattern::Top => "top",
            Pattern::Walk => "walk",
            Pattern::Window => "window",
        }
    }
}

impl AsStore {
    /// `transaction` or `key`.
    pub fn promise_word(&self) -> &'static str {
        match self.promise {
            Promise::Transaction => "transaction",
            Promise::Key => "key",
        }
    }

    pub fn layout_words(&self) -> Vec<&'static str> {
        let word = |layout: &Layout| match layout {
            Layout::Hash => "hash",
            Layout::Json => "json",
        };
        self.layouts.iter().map(word).collect()
    }
}

/// The table of the documentation: engines × access patterns × guarantees.
pub fn markdown(engines: &[Engine]) -> String {
    let mut out = String::from(
        "| engine | stands for | URL | source: how it is followed | store: promise | layouts | get | range | top | walk | window | cargo feature |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for engine in engines {
        let answers = engine.store.map(|store| store.answers).or(engine.source.map(|source| source.answers));
        let patterns: String =
            (Pattern::ALL.iter())
                .map(|pattern| {
                    if answers.is_some_and(|answers| answers.contains(pattern)) { "yes | " } else { "– | " }
                })
                .collect();
        let promise = engine.store.map_or_else(
            || "–".to_owned(),
            |store| match store.except {
                Some(except) => format!("`{}`; {except}", store.promise_word()),
                None => format!("`{}`", store.promise_word()),
            },
        );
        let layouts = engine.store.map_or_else(|| "–".to_owned(), |store| store.layout_words().join(", "));
        let urls: Vec<String> = engine.schemes.iter().map(|scheme| format!("`{scheme}:`")).collect();
        out.push_str(&format!(
            "| [{}]({}) | {} | {} | {} | {promise} | {layouts} | {patterns}`{}` |\n",
            engine.name,
            engine.page,
            engine.stands_for,
            urls.join(" "),
            engine.source.map_or("–", |source| source.follows),
            engine.feature,
        ));
    }
    out
}
