//! Typed reading of a TOML document that collects mistakes instead of stopping at the first.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{FileError, FileErrors, line_and_column};
use super::place::Places;
use super::reference::{self, BadReference, Expanded, References};
use crate::nearest;

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// What is being read, and everything found wrong so far.
pub(super) struct Reader<'a> {
    pub text: &'a str,
    pub references: &'a dyn References,
    pub places: Places,
    mistakes: Vec<Mistake>,
    /// Passwords that should not be in the text.
    stars: Vec<Range<usize>>,
}

struct Mistake {
    span: Range<usize>,
    message: String,
    remedy: Option<String>,
    /// Whether it says that something is missing: not worth saying if the text around it could not be read.
    absence: bool,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str, references: &'a dyn References) -> Reader<'a> {
        Reader { text, references, places: Places::default(), mistakes: Vec::new(), stars: Vec::new() }
    }

    pub fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.mistakes.push(Mistake {
            span,
            message: message.into(),
            remedy: Some(remedy.into()).filter(|remedy| !remedy.is_empty()),
            absence: false,
        });
    }

    pub fn missing(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.wrong(span, message, remedy);
        if let Some(last) = self.mistakes.last_mut() {
            last.absence = true;
        }
    }

    /// A password stands in the text itself.
    pub fn exposed(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.stars.push(span.clone());
        self.wrong(span, message, remedy);
    }

    pub fn is_fine(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The mistakes, in the order of the text. `syntax`: what the TOML parser could not read.
    pub fn into_errors(mut self, syntax: &[toml::de::Error]) -> FileErrors {
        let broken: Vec<usize> =
            syntax.iter().filter_map(|e| e.span()).map(|s| line_and_column(self.text, s.start).0).collect();
        let text = self.text;
        // A mistake of syntax makes what follows it in its section unreadable and lets names go missing: only the
        // rest is news.
        let lines: Vec<&str> = text.lines().collect();
        let unreadable = |line: usize| {
            broken.iter().any(|at| {
                *at <= line
                    && !lines.iter().skip(*at).take(line - at).any(|text| text.trim_start().starts_with('['))
            })
        };
        self.mistakes.retain(|m| {
            broken.is_empty() || !(m.absence || unreadable(line_and_column(text, m.span.start).0))
        });
        for error in syntax {
            self.mistakes.push(Mistake {
                span: error.span().unwrap_or(0..0),
                message: error.message().replace('\n', ", "),
                remedy: (error.message() == "duplicate key")
                    .then(|| "each key and each section stands once: put the two together".to_owned()),
                absence: false,
            });
        }
        self.mistakes.sort_by_key(|m| m.span.start);
        let errors = self
            .mistakes
            .into_iter()
            .map(|Mistake { span, message, remedy, .. }| {
                let (line, column) = line_and_column(text, span.start);
                FileError { line, column, span, message, remedy }
            })
            .collect();
        let mut shown = text.to_owned();
        self.stars.extend(exposed_passwords(text));
        for range in self.stars {
            let stars = "*".repeat(range.len());
            shown.replace_range(range, &stars);
        }
        FileErrors { text: shown, errors }
    }

    pub fn string<'v>(&mut self, value: &'v Value<'_>, name: &str) -> Option<&'v str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text),
            other => {
                self.wrong(
                    value.span(),
                    format!("`{name}` is {}, not a string", kind(other)),
                    "put it in quotes",
                );
                None
            }
        }
    }

    /// A string outside the sections that take references.
    pub fn plain<'v>(&mut self, value: &'v Value<'_>, name: &str) -> Option<&'v str> {
        let text = self.string(value, name)?;
        if let Some(at) = text.find("${") {
            let span = self.within(value, at, 2);
            self.wrong(
                span,
                format!("`{name}` takes no reference to the environment"),
                "references work in urls and settings of the source, the stores and the engine",
            );
            return None;
        }
        Some(text)
    }

    /// A string or a list of strings, each with its place.
    pub fn strings<'v>(&mut self, value: &'v Value<'_>, name: &str) -> Option<Vec<(&'v str, &'v Value<'v>)>>
    where
        'a: 'v,
    {
        match value.get_ref() {
            DeValue::Array(items) => {
                let (mut texts, mut fine) = (Vec::new(), true);
                for item in items.iter() {
                    match self.plain(item, name) {
                        Some(text) => texts.push((text, item)),
                        None => fine = false,
                    }
                }
                if fine && texts.is_empty() {
                    self.wrong(value.span(), format!("`{name}` is an empty list"), "name at least one");
                    fine = false;
                }
                fine.then_some(texts)
            }
            DeValue::String(_) => self.plain(value, name).map(|text| vec![(text, value)]),
            other => {
                self.wrong(
                    value.span(),
                    format!("`{name}` is {}, not a string or a list of strings", kind(other)),
                    "put names in quotes",
                );
                None
            }
        }
    }

    pub fn integer(
        &mut self,
        value: &Value<'_>,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let DeValue::Integer(digits) = value.get_ref() else {
            self.wrong(
                value.span(),
                format!("`{name}` is {}, not a whole number", kind(value.get_ref())),
                format!("write a number from {} to {}", range.start(), range.end()),
            );
            return None;
        };
        let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok().filter(|n| range.contains(n));
        if number.is_none() {
            self.wrong(
                value.span(),
                format!("`{name}` is out of range"),
                format!("write a number from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A string with its references replaced.
    pub fn expanded(&mut self, value: &Value<'_>, name: &str) -> Option<Expanded> {
        let text = self.string(value, name)?;
        let expanded = reference::expand(text, self.references);
        self.or_wrong(expanded, value)
    }

    pub fn or_wrong(
        &mut self,
        expanded: Result<Expanded, BadReference>,
        value: &Value<'_>,
    ) -> Option<Expanded> {
        match expanded {
            Ok(expanded) => Some(expanded),
            Err(BadReference { message, remedy, at }) => {
                let span = match at {
                    Some(at) => {
                        let rest = &value.get_ref().as_str().unwrap_or_default()[at..];
                        let len = rest.find('}').map_or(rest.len(), |end| end + 1);
                        self.within(value, at, len)
                    }
                    None => value.span(),
                };
                self.wrong(span, message, remedy);
                None
            }
        }
    }

    /// The bytes of the text for a part of a string; the whole string if escapes are in the way.
    pub fn within(&self, value: &Value<'_>, at: usize, len: usize) -> Range<usize> {
        match value.get_ref().as_str() {
            Some(text) => within(self.text, value.span(), text, at, len),
            None => value.span(),
        }
    }
}

/// The bytes of `file` for the part of a string literal at `span`, which reads as `text`.
pub(super) fn within(file: &str, span: Range<usize>, text: &str, at: usize, len: usize) -> Range<usize> {
    for quote in ["\"\"\"", "'''", "\"", "'"] {
        let inner = file.get(span.clone()).and_then(|raw| raw.strip_prefix(quote)?.strip_suffix(quote));
        if let Some(inner) = inner {
            // TOML drops a newline right after the opening of a multi-line string.
            let dropped = inner.len() - inner.trim_start_matches(['\r', '\n']).len();
            for skip in [0, dropped] {
                if inner.get(skip..) == Some(text) {
                    let start = span.start + quote.len() + skip + at.min(text.len());
                    return start..(start + len.max(1)).min(span.end);
                }
            }
            return span;
        }
    }
    span
}

/// Passwords in anything that looks like a URL, also where the text could not be read.
fn exposed_passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let start = text[..at].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |i| i + 1);
        let start = if text.is_char_boundary(start) { start } else { at };
        let end = text[at..].find(['"', '\'', '\n']).map_or(text.len(), |i| at + i);
        if let Some(range) = reference::literal_password(&text[start..end]) {
            found.push(start + range.start..start + range.end);
        }
    }
    found
}

/// A TOML value's kind, for messages.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A table being read: keys are taken by name; whatever is left over in the end is unknown.
pub(super) struct Section<'v> {
    /// Dotted, empty for the whole file.
    pub path: String,
    /// Where its name stands.
    pub at: Range<usize>,
    entries: Vec<Entry<'v>>,
    known: Vec<&'static str>,
}

#[derive(Clone, Copy)]
pub(super) struct Entry<'v> {
    pub name: &'v str,
    pub key: &'v Spanned<Cow<'v, str>>,
    pub value: &'v Value<'v>,
    taken: bool,
}

impl<'v> Section<'v> {
    pub fn new(path: String, at: Range<usize>, table: &'v DeTable<'v>) -> Section<'v> {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| Entry { name: key.get_ref().as_ref(), key, value, taken: false })
            .collect();
        entries.sort_by_key(|entry| entry.key.span().start);
        Section { path, at, entries, known: Vec::new() }
    }

    /// `value` as a table of its own; a mistake if it is none.
    pub fn of(
        reader: &mut Reader<'_>,
        path: String,
        key: Range<usize>,
        value: &'v Value<'v>,
    ) -> Option<Section<'v>> {
        reader.places.put(&path, key.clone(), value.span());
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(path, key, table)),
            other => {
                reader.wrong(
                    value.span(),
                    format!("`{path}` is {}, not a table", kind(other)),
                    format!("write [{path}] with its keys below, or {{ key = value }}"),
                );
                None
            }
        }
    }

    pub fn take(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<&'v Value<'v>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let entry = self.entries.iter_mut().find(|entry| entry.name == name)?;
        entry.taken = true;
        reader.places.put(&join(&self.path, name), entry.key.span(), entry.value.span());
        Some(entry.value)
    }

    /// A table inside this one.
    pub fn take_section(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Section<'v>> {
        let value = self.take(reader, name)?;
        let key = reader.places.get(&join(&self.path, name)).map(|place| place.key.clone())?;
        Section::of(reader, join(&self.path, name), key, value)
    }

    /// What has not been taken, in the order of the text.
    pub fn rest(&mut self) -> Vec<Entry<'v>> {
        let rest = self.entries.iter().filter(|entry| !entry.taken).copied().collect();
        self.entries.iter_mut().for_each(|entry| entry.taken = true);
        rest
    }

    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// Whether some other key was probably meant to be `name`: then `name` is not missing but misspelt.
    pub fn misspells(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| {
            !entry.taken && !self.known.contains(&entry.name) && nearest(entry.name, [name]).is_some()
        })
    }

    /// The key of this section that `name` was probably meant to be.
    pub fn meant(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.known.iter().copied())
    }

    /// Whatever has not been taken is unknown.
    pub fn finish(mut self, reader: &mut Reader<'_>) {
        for entry in self.rest() {
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            let remedy = match self.meant(entry.name) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            reader.wrong(entry.key.span(), format!("unknown key `{}`{place}", entry.name), remedy);
        }
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
