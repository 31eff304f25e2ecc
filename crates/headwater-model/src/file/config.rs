//! The effective file: everything that is in force, defaults filled in, secrets hidden. It reads back as the same
//! file wherever nothing was hidden.

mod access;
mod plan;

use std::fmt::Write as _;

use super::holders::show as show_hold;
use super::read::join;
use super::serve::OFF;
use super::unit::{show_duration, show_rate, show_share, show_size};
use super::{File, Setting, Settings, hide_password, show_table_name};
use crate::{Embed, EmbedKind, Layout, Order, View, ViewKind};
pub use access::access;

impl File {
    /// As TOML, for people to read.
    pub fn to_config(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "data = {}", string(&self.data.to_string_lossy()));
        for source in &self.sources {
            let path = source.path();
            let url = self.shown_url(&format!("{path}.url"), source.url.reveal());
            let _ = writeln!(out, "\n[{path}]\nurl = {}", string(&url));
            let _ = writeln!(out, "hold_for = {}", string(&show_duration(source.hold_for)));
            let _ = writeln!(out, "retained_log_max = {}", string(&show_size(source.retained_log_bytes_max)));
            self.settings(&path, &source.settings, &mut out);
        }
        for store in &self.stores {
            let path = format!("stores.{}", store.name);
            let url = self.shown_url(&format!("{path}.url"), store.url.reveal());
            let _ = writeln!(out, "\n[{path}]\nurl = {}", string(&url));
            self.settings(&path, &store.settings, &mut out);
        }
        let _ = writeln!(out, "\n[journal]\nmax = {}", string(&show_size(self.journal.bytes_max)));
        let _ = writeln!(
            out,
            "\n[backfill]\nparallel = {}\nchunk_rows = {}",
            self.backfill.parallel, self.backfill.chunk_rows
        );
        match self.backfill.rows_per_second_max {
            Some(rate) => {
                let _ = writeln!(out, "rate = {}", string(&show_rate(rate)));
            }
            None => out.push_str("# rate: as fast as the stores take it\n"),
        }
        out.push_str("\n[verify]\n");
        match self.verify.rows_per_second {
            Some(rate) => {
                let _ = writeln!(out, "rate = {}", string(&show_rate(rate)));
            }
            None => out.push_str("# rate: nothing is compared by itself\n"),
        }
        let every = string(&show_duration(self.verify.every));
        let _ = writeln!(out, "every = {every}\nrepair = {}", self.verify.repair);
        match self.verify.detect_within {
            Some(within) => {
                let _ = writeln!(out, "detect_within = {}", string(&show_duration(within)));
            }
            None => out.push_str("# detect_within: how long it takes is measured, and no incident\n"),
        }
        let _ =
            writeln!(out, "\n[run]\nshutdown_within = {}", string(&show_duration(self.run.shutdown_within)));
        let heal = &self.heal;
        let _ = writeln!(
            out,
            "\n[heal]\nsafe = {}\nrefill = \"{}\"\nrebuild = \"{}\"\nrepair = \"{}\"",
            heal.safe,
            heal.refill.name(),
            heal.rebuild.name(),
            heal.repair.name()
        );
        let rto = string(&show_duration(self.objectives.rto));
        let _ = writeln!(out, "\n[objectives]\nrto = {rto}\nrpo = {}", self.objectives.rpo_transactions);
        let doctor = &self.doctor;
        let every = doctor.every.map_or(OFF.to_owned(), show_duration);
        let _ = writeln!(out, "\n[doctor]\nevery = {}", string(&every));
        let _ = writeln!(out, "check_within = {}", string(&show_duration(doctor.check_within)));
        if !doctor.pii_regions.is_empty() {
            let regions: Vec<String> = doctor.pii_regions.iter().map(|region| string(region)).collect();
            let _ = writeln!(out, "pii_regions = [{}]", regions.join(", "));
        }
        if !doctor.limits.is_empty() {
            out.push_str("\n[doctor.limits]\n");
            for (name, limit) in &doctor.limits {
                let _ = writeln!(out, "{} = {limit}", key(name));
            }
        }
        if !doctor.accepted.is_empty() {
            out.push_str("\n[doctor.accepted]\n");
            for (finding, reason) in &doctor.accepted {
                let _ = writeln!(out, "{} = {}", key(finding), string(reason));
            }
        }
        self.serve_config(&mut out);
        self.telemetry_config(&mut out);
        for view in &self.views {
            self::view(view, self.source_of(&view.name), self.pii.contains(&view.name), &mut out);
        }
        out.push_str(&access(&self.access));
        if let Some(plan) = &self.plan {
            plan::plan(plan, &mut out);
        }
        out
    }

    fn telemetry_config(&self, out: &mut String) {
        let Some(telemetry) = &self.telemetry else {
            out.push_str("\n# [telemetry]: nothing is traced\n");
            return;
        };
        out.push_str("\n[telemetry]\n");
        match &telemetry.otlp {
            Some(otlp) => _ = writeln!(out, "otlp = {}", string(otlp)),
            None => out.push_str("# otlp: OTEL_EXPORTER_OTLP_ENDPOINT, or http://localhost:4318\n"),
        }
        let _ = writeln!(out, "sample = {}", string(&show_share(telemetry.sample)));
        if !telemetry.headers.is_empty() {
            out.push_str("[telemetry.headers]\n");
        }
        for (name, _) in &telemetry.headers {
            let place = self.places.get(&format!("telemetry.headers.{name}"));
            let shown = place.and_then(|place| place.shown.as_deref()).unwrap_or("***");
            let _ = writeln!(out, "{} = {}", key(name), string(shown));
        }
        if !telemetry.resource.is_empty() {
            out.push_str("[telemetry.resource]\n");
        }
        for (name, value) in &telemetry.resource {
            let _ = writeln!(out, "{} = {}", key(name), string(value));
        }
    }

    /// A URL as it may be shown.
    pub fn shown_url(&self, path: &str, url: &str) -> String {
        match self.places.get(path).and_then(|place| place.shown.as_deref()) {
            Some(shown) => shown.to_owned(),
            None => hide_password(url),
        }
    }

    fn settings(&self, path: &str, settings: &Settings, out: &mut String) {
        for (name, setting) in settings {
            let _ = writeln!(out, "{} = {}", key(name), self.setting(&join(path, name), setting));
        }
    }

    fn setting(&self, path: &str, setting: &Setting) -> String {
        match setting {
            Setting::Int(n) => n.to_string(),
            Setting::Bool(b) => b.to_string(),
            // What did not come from a text is not known to be harmless.
            Setting::Text(_) => {
                string(self.places.get(path).and_then(|place| place.shown.as_deref()).unwrap_or("***"))
            }
            Setting::Table(inner) => {
                let inner = inner.iter().map(|(name, setting)| {
                    format!("{} = {}", key(name), self.setting(&join(path, name), setting))
                });
                format!("{{ {} }}", inner.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// `[views.…]` as TOML: reads back as the same views.
pub fn views(views: &[View]) -> String {
    let mut out = String::new();
    for view in views {
        self::view(view, None, false, &mut out);
    }
    out
}

fn view(view: &View, source: Option<&str>, pii: bool, out: &mut String) {
    let path = format!("views.{}", view.name);
    let _ = writeln!(out, "\n[{path}]");
    if let Some(source) = source {
        let _ = writeln!(out, "source = {}", string(source));
    }
    let _ = writeln!(out, "from = {}", string(&show_table_name(&view.from)));
    access::kind(&view.kind, out);
    // What a ranking or a series shows is said there.
    let said = matches!(view.kind, ViewKind::Document | ViewKind::Edge(_));
    shape(said.then_some(&view.columns), &view.filter, out);
    let layout = match view.layout() {
        Layout::Hash => "hash",
        Layout::Json => "json",
    };
    let _ = writeln!(out, "store = {}\nlayout = \"{layout}\"", holders(view));
    if pii {
        out.push_str("pii = true\n");
    }
    for inner in &view.embeds {
        embed(&path, inner, out);
    }
}

fn holders(view: &View) -> String {
    if view.parts.is_empty() {
        return list(&view.stores);
    }
    let parts = view.parts.iter().map(|part| {
        let mut out = format!("{{ name = {}, hold = {}", string(&part.store), string(&show_hold(part.hold)));
        if let Some(ttl) = part.ttl {
            let _ = write!(out, ", ttl = {}", string(&show_duration(ttl)));
        }
        if let Some(filter) = &part.filter {
            let _ = write!(out, ", where = {}", string(filter));
        }
        out + " }"
    });
    let all: Vec<String> = view.stores.iter().map(|store| string(store)).chain(parts).collect();
    format!("[{}]", all.join(", "))
}

fn embed(path: &str, embed: &Embed, out: &mut String) {
    let path = format!("{path}.embed.{}", key(&embed.field));
    let _ = writeln!(out, "\n[{path}]\nfrom = {}", string(&show_table_name(&embed.from)));
    let (kind, columns, references) = match &embed.kind {
        EmbedKind::One { columns, references } => ("key", columns, references),
        EmbedKind::Many { columns, references } => ("many", columns, references),
    };
    let _ = writeln!(out, "{kind} = {}", list(columns));
    match references {
        Some(references) => {
            let _ = writeln!(out, "references = {}", list(references));
        }
        None => out.push_str("# references: the primary key\n"),
    }
    shape(Some(&embed.columns), &embed.filter, out);
    if kind == "many" {
        let order: Vec<Box<str>> = embed.order.iter().map(show_order).collect();
        if order.is_empty() {
            out.push_str("# order: the primary key\n");
        } else {
            let _ = writeln!(out, "order = {}", list(&order));
        }
        match embed.limit {
            Some(limit) => {
                let _ = writeln!(out, "limit = {limit}");
            }
            None => out.push_str("# limit: none\n"),
        }
    }
    for inner in &embed.embeds {
        self::embed(&path, inner, out);
    }
}

type Columns = Option<Vec<(Box<str>, Box<str>)>>;

fn shape(columns: Option<&Columns>, filter: &Option<Box<str>>, out: &mut String) {
    let _ = match columns.map(Option::as_ref) {
        None => Ok(()),
        Some(None) => writeln!(out, "columns = \"*\""),
        Some(Some(columns)) if columns.iter().all(|(column, field)| column == field) => {
            let names: Vec<Box<str>> = columns.iter().map(|(column, _)| column.clone()).collect();
            writeln!(out, "columns = [{}]", names.iter().map(|n| string(n)).collect::<Vec<_>>().join(", "))
        }
        Some(Some(columns)) => {
            let pairs: Vec<String> = columns
                .iter()
                .map(|(column, field)| format!("{} = {}", key(field), string(column)))
                .collect();
            writeln!(out, "columns = {{ {} }}", pairs.join(", "))
        }
    };
    if let Some(filter) = filter {
        let _ = writeln!(out, "where = {}", string(filter));
    }
}

fn show_order(order: &Order) -> Box<str> {
    let sign = if order.descending { "-" } else { "" };
    let odd = order.column.starts_with(['-', '"']);
    let name =
        if odd { format!("\"{}\"", order.column.replace('"', "\"\"")) } else { order.column.to_string() };
    format!("{sign}{name}").into()
}

/// One name as a string, several as a list.
fn list(names: &[Box<str>]) -> String {
    match names {
        [one] => string(one),
        names => format!("[{}]", names.iter().map(|name| string(name)).collect::<Vec<_>>().join(", ")),
    }
}

/// A TOML string.
pub fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A TOML key, bare if it can be.
pub fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { basic(name) }
}

/// A string in double quotes, which a key may always be.
fn basic(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
