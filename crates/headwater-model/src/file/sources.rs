//! `[source]`, or `[sources.NAME]` for several; of which source each view is, and the file as each of them sees it.
//!
//! Invariant: a view, and an access pattern, is of one source. Whoever follows a source is given a [`File`] in which there is
//! nothing of the others ([`File::flows`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::read::{Entry, Reader, Section, join};
use super::sections::{self, check_name, duration, size};
use super::{File, Named, Owners, PlanSection, SourceSection, default};
use crate::{Access, TableName, View, nearest};

/// A source by its name, if it has one, and what it is if that can be read.
pub(super) type Source = (Option<Box<str>>, Option<SourceSection>);

/// All sources. Empty if none could be read, which has then been said.
pub(super) fn sources(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<Source> {
    let one = root.take_section(reader, "source");
    let several = root.take_section(reader, "sources");
    if let Some(several) = &several
        && root.has("source")
    {
        reader.wrong(
            several.at.clone(),
            "[source] and [sources] are both there",
            "give the one of [source] a name too: [sources.NAME], and its views source = \"NAME\"",
        );
    }
    match (one, several) {
        (_, Some(several)) => named(reader, several),
        (Some(one), None) => vec![(None, source(reader, one, None))],
        // One of the wrong kind has been reported: not also as missing.
        (None, None) if root.has("source") || root.has("sources") => Vec::new(),
        (None, None) => {
            reader.missing(
                0..0,
                "the file has no [source]",
                "add one: [source] with url = \"postgres://user:${PGPASSWORD}@host/database\"",
            );
            Vec::new()
        }
    }
}

fn named(reader: &mut Reader<'_>, mut section: Section<'_>) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for Entry { name, key, value, .. } in section.rest() {
        check_name(reader, key.span(), "source", name);
        if let Some(other) = folded.insert(name.to_ascii_lowercase().replace('-', "_"), name) {
            reader.wrong(
                key.span(),
                format!("sources `{other}` and `{name}` differ only in case or between - and _"),
                "rename one of them: folders and replication slots are named after them",
            );
        }
        let inner = Section::of(reader, join(&section.path, name), key.span(), value);
        sources.push((Some(name.into()), inner.and_then(|inner| source(reader, inner, Some(name)))));
    }
    if sources.is_empty() {
        reader.missing(
            section.at,
            "[sources] names no source",
            "add one: [sources.NAME] with url = \"postgres://user:${PGPASSWORD}@host/database\"",
        );
    }
    sources
}

fn source(reader: &mut Reader<'_>, mut section: Section<'_>, name: Option<&str>) -> Option<SourceSection> {
    let url = sections::url(reader, &mut section);
    let hold_for = duration(reader, &mut section, "hold_for", Duration::ZERO, Duration::from_secs(86_400));
    let retained = size(reader, &mut section, "retained_log_max", default::SIZE_MIN);
    let mut settings = sections::settings(reader, section);
    let (url, password) = url?;
    settings.extend(password);
    Some(SourceSection {
        name: name.map(Into::into),
        url,
        settings,
        hold_for: hold_for.unwrap_or(default::HOLD_FOR),
        retained_log_bytes_max: retained.unwrap_or(default::RETAINED_LOG_BYTES_MAX),
    })
}

/// Takes `source` of a view: whose it is, where sources have names.
pub(super) fn of_view(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    view: &str,
    sources: &[Source],
) -> Option<Box<str>> {
    let value = section.take(reader, "source");
    let names: Vec<&str> = sources.iter().filter_map(|(name, _)| name.as_deref()).collect();
    let Some(value) = value else {
        return match names[..] {
            [] => None,
            [only] => Some(only.into()),
            _ if section.misspells("source") => None,
            [first, ..] => {
                reader.missing(
                    section.at.clone(),
                    format!("view `{view}` does not say of which source it is"),
                    format!("add source = \"{first}\"; the sources are {}", names.join(", ")),
                );
                None
            }
        };
    };
    let name = reader.plain(value, "source")?;
    if names.contains(&name) {
        return Some(name.into());
    }
    if names.is_empty() {
        // Without any source at all, that is what is wrong.
        if !sources.is_empty() {
            reader.wrong(
                value.span(),
                format!("there is no source `{name}`: the file's one source has no name"),
                format!("drop `source`, or write [sources.{name}] in place of [source]"),
            );
        }
        return None;
    }
    let remedy = match nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("the sources are {}", names.join(", ")),
    };
    reader.missing(value.span(), format!("there is no source `{name}`"), remedy);
    None
}

/// An access pattern reads what one source says: between two there is no order of events.
pub(super) fn one_each(reader: &mut Reader<'_>, views: &[Named<View>], owners: &Owners, access: &[Access]) {
    for access in access {
        let read = access.pattern.reads(views.iter().filter_map(|(_, view)| view.as_ref()));
        let mut of: Vec<&str> =
            read.iter().filter_map(|view| owners.get(&view.name)).map(|name| &**name).collect();
        of.sort_unstable();
        of.dedup();
        if of.len() > 1 {
            let path = format!("access.{}.{}", access.name, access.pattern.name());
            let span = reader.places.nearest(&path).map_or(0..0, |place| place.value.clone());
            reader.wrong(
                span,
                format!("`{}` reads views of {} sources: {}", access.name, of.len(), of.join(", ")),
                "an access pattern reads views of one source: give the labels of each source names of their own",
            );
        }
    }
}

impl File {
    /// The file as whoever follows a source sees it, for each source: [`File::source`] is the one, and there is no view, access
    /// pattern or store of the others. What it keeps on disk is in a folder of its own below `data`, unless it is `[source]`.
    pub fn flows(&self) -> Vec<File> {
        self.sources.iter().map(|source| self.flow(source)).collect()
    }

    fn flow(&self, source: &SourceSection) -> File {
        let Some(name) = &source.name else { return self.clone() };
        let views: Vec<View> =
            self.views.iter().filter(|view| self.owners.get(&view.name) == Some(name)).cloned().collect();
        let holds = |store: &str| views.iter().any(|view| view.is_in(store));
        let mut stores: Vec<_> = self.stores.iter().filter(|store| holds(&store.name)).cloned().collect();
        stores.iter_mut().for_each(|store| store.source = Some(name.clone()));
        let access = self.access.iter().filter(|access| !access.pattern.reads(&views).is_empty());
        let access: Vec<Access> = access.cloned().collect();
        File {
            data: self.data.join(&**name),
            sources: vec![source.clone()],
            plan: self.plan.as_ref().map(|plan| planned(plan, &views, &access, &self.views)),
            access,
            pii: self
                .pii
                .iter()
                .filter(|name| views.iter().any(|view| view.name == **name))
                .cloned()
                .collect(),
            stores,
            views,
            ..self.clone()
        }
    }

    /// The source of a file that has one: of each that [`File::flows`] gives.
    pub fn source(&self) -> &SourceSection {
        // A file without a source is refused when it is read.
        &self.sources[0]
    }

    /// Of which of several sources the view is; `None` if the file's one source has no name.
    pub fn source_of(&self, view: &str) -> Option<&str> {
        self.owners.get(view).map(|name| &**name)
    }
}

/// What is planned for of these views and patterns. A table of [plan] is of every source with a view that reads one of that name,
/// or of all sources if none does.
fn planned(plan: &PlanSection, views: &[View], access: &[Access], all: &[View]) -> PlanSection {
    let mut plan = plan.clone();
    plan.views.retain(|planned| views.iter().any(|view| view.name == planned.view));
    plan.access.retain(|planned| access.iter().any(|access| access.name == planned.access));
    let read = |views: &[View], table: &TableName| views.iter().any(|view| view.tables().contains(table));
    plan.tables.retain(|planned| read(views, &planned.table) || !read(all, &planned.table));
    plan
}
