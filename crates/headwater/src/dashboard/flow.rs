//! The flow as a picture: source, journal, mirror, stores, access patterns, with what goes on upon every arrow. Drawn twice,
//! from left to right and from top to bottom for narrow screens; the style shows one of them.

use headwater_flow::status::{PartState, StoreStatus, ViewStatus};
use maud::{Markup, html};

use super::parts::{class, lag, symbol};
use super::{PatternScene, Scene};
use crate::figures::{bytes, count, counted, counted_64, cut, rate};

/// A box of the picture.
struct Part {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    class: &'static str,
    /// The first is the name.
    lines: Vec<String>,
}

impl Part {
    fn middle(&self) -> f64 {
        self.y + self.height / 2.0
    }

    fn right(&self) -> f64 {
        self.x + self.width
    }

    fn bottom(&self) -> f64 {
        self.y + self.height
    }

    fn draw(&self) -> Markup {
        html! {
            g class={ "part " (self.class) } {
                rect x=(self.x) y=(self.y) width=(self.width) height=(self.height) rx="8" {}
                @for (i, line) in self.lines.iter().enumerate() {
                    text class=[(i == 0).then_some("name")] x=(self.x + 12.0) y=(self.y + LINE * (i as f64 + 1.0) + 4.0) { (line) }
                }
            }
        }
    }
}

/// Between two lines of text.
const LINE: f64 = 17.0;

fn height(lines: usize) -> f64 {
    LINE * lines as f64 + 14.0
}

fn state_line(state: PartState) -> String {
    format!("{} {}", symbol(state), state.as_str())
}

fn source(scene: &Scene, x: f64, width: f64) -> Part {
    let source = &scene.status.source;
    let mut lines = vec!["Source".to_owned(), cut(&source.server, 22), state_line(source.state)];
    if let Some(retained) = source.retained_log_bytes {
        lines.push(format!("keeps {} of log", bytes(retained)));
    }
    Part { x, y: 0.0, width, height: height(lines.len()), class: class(source.state), lines }
}

fn journal(scene: &Scene, x: f64, width: f64) -> Part {
    let journal = &scene.status.journal;
    let lines =
        vec!["Journal".to_owned(), format!("offset {}", count(journal.durable_offset)), bytes(journal.bytes)];
    Part { x, y: 0.0, width, height: height(3), class: "plain", lines }
}

fn mirror(scene: &Scene, x: f64, width: f64) -> Option<Part> {
    scene.status.mirror.as_ref()?;
    let lines = vec!["Mirror".to_owned(), "embeds, ranks".to_owned()];
    Some(Part { x, y: 0.0, width, height: height(2), class: "plain", lines })
}

fn store(store: &StoreStatus, x: f64, width: f64) -> Part {
    let held_of = |view: &ViewStatus| view.part.map(|part| part.documents).or(view.rows);
    let rows: Option<u64> = store.views.iter().map(held_of).sum();
    let held = match rows {
        Some(rows) => format!("{}, {} rows", counted(store.views.len(), "view"), count(rows)),
        None => counted(store.views.len(), "view"),
    };
    let mut lines = vec![cut(&store.name, 20), state_line(store.state), held];
    if store.quarantined_rows > 0 {
        lines.push(format!("{} in quarantine", count(store.quarantined_rows)));
    }
    let drifted: u64 = store.views.iter().filter_map(|view| view.verified).map(|v| v.drifted).sum();
    if drifted > 0 {
        lines.push(format!("{} drifted", counted_64(drifted, "row")));
    }
    Part { x, y: 0.0, width, height: height(lines.len()), class: class(store.state), lines }
}

/// The lines of who answers begin below these.
const PATTERN_HEAD: usize = 2;

fn pattern(pattern: &PatternScene, x: f64, width: f64) -> Part {
    let lately = &pattern.lately;
    let mut lines = vec![
        cut(&pattern.name, 30),
        match lately.latency.quantile(0.99) {
            Some(p99) => {
                format!("{} reads/s, p99 {}", rate(lately.reads_per_second), super::parts::short(p99))
            }
            None => "no reads".to_owned(),
        },
    ];
    lines.extend(
        answering(pattern).map(|(who, per_second)| {
            format!("{} {}/s", who.map_or("source", |store| store), rate(per_second))
        }),
    );
    Part { x, y: 0.0, width, height: height(lines.len()), class: "plain", lines }
}

/// Who may answer a pattern; the source only when it does.
fn answering(pattern: &PatternScene) -> impl Iterator<Item = (Option<&str>, f64)> {
    let by = pattern.lately.by.iter().filter(|(who, per_second)| who.is_some() || *per_second > 0.0);
    by.map(|(who, per_second)| (who.as_deref(), *per_second))
}

fn into_store(store: &StoreStatus) -> [String; 2] {
    [format!("{} changes/s", rate(store.changes_per_second)), format!("lag {}", lag(store))]
}

fn into_journal(scene: &Scene) -> String {
    format!("{} tx/s", rate(scene.status.source.transactions_per_second))
}

fn into_mirror(scene: &Scene) -> String {
    let behind = scene.status.mirror.as_ref().map_or(0, |mirror| mirror.lag_transactions);
    format!("lag {} tx", count(behind))
}

/// Moves parts below each other, from `y` on; where the last ends.
fn stack(parts: &mut [Part], mut y: f64, gap: f64) -> f64 {
    for part in &mut *parts {
        part.y = y;
        y += part.height + gap;
    }
    y - gap
}

fn arrow(d: String, on: bool) -> Markup {
    html! { path class=(if on { "arrow on" } else { "arrow" }) d=(d) {} }
}

/// A line that ends in no part.
fn line(d: String, on: bool) -> Markup {
    html! { path class=(if on { "line on" } else { "line" }) d=(d) {} }
}

fn label(x: f64, y: f64, text: &str) -> Markup {
    html! { text class="label" x=(x) y=(y) { (text) } }
}

/// Both pictures, with their words for those who do not see them.
pub fn pictures(scene: &Scene) -> Markup {
    html! {
        div.picture.wide { (wide(scene)) }
        div.picture.narrow { (narrow(scene)) }
    }
}

fn svg(scene: &Scene, id: &str, width: f64, height: f64, drawn: &Markup) -> Markup {
    html! {
        svg role="img" aria-labelledby={ (id) "-title " (id) "-words" } viewBox={ "0 0 " (width) " " (height) } {
            title id={ (id) "-title" } { "The flow from the source to access patterns" }
            desc id={ (id) "-words" } { (words(scene)) }
            defs {
                marker id={ (id) "-head" } viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" {
                    path class="head" d="M0 0L8 4L0 8z" {}
                }
            }
            (drawn)
        }
    }
}

fn wide(scene: &Scene) -> Markup {
    let has_mirror = scene.status.mirror.is_some();
    let status = &scene.status;
    let mut source = source(scene, 1.0, 164.0);
    let mut journal = journal(scene, 250.0, 124.0);
    let mut mirror = mirror(scene, 452.0, 132.0);
    let bus = if has_mirror { 608.0 } else { 414.0 };
    let store_x = bus + 112.0;
    let mut stores: Vec<Part> = status.stores.iter().map(|s| store(s, store_x, 166.0)).collect();
    let pattern_x = store_x + 166.0 + 84.0;
    let mut patterns: Vec<Part> = scene.patterns.iter().map(|p| pattern(p, pattern_x, 228.0)).collect();
    let width = if patterns.is_empty() { store_x + 168.0 } else { pattern_x + 230.0 };

    let least = source.height.max(journal.height) + if has_mirror { 120.0 } else { 40.0 };
    let of = |parts: &mut [Part], gap| stack(parts, 0.0, gap);
    let height = of(&mut stores, 30.0).max(of(&mut patterns, 16.0)).max(least) + 22.0;
    let middle = height / 2.0;
    for (parts, gap) in [(&mut stores, 30.0), (&mut patterns, 16.0)] {
        let used = stack(parts, 0.0, gap);
        stack(parts, (height - used) / 2.0, gap);
    }
    source.y = middle - source.height / 2.0;
    journal.y = middle - journal.height / 2.0;
    if let Some(mirror) = &mut mirror {
        mirror.y = middle - 70.0 - mirror.height / 2.0;
    }

    let writes = status.source.transactions_per_second > 0.0;
    let mut drawn = vec![
        arrow(format!("M{} {middle}H{}", source.right(), journal.x - 2.0), writes),
        label(source.right() + 8.0, middle - 8.0, &into_journal(scene)),
        line(format!("M{} {middle}H{bus}", journal.right()), writes),
    ];
    let ends: Vec<f64> = stores.iter().map(Part::middle).chain([middle]).collect();
    let (mut top, bottom) =
        (ends.iter().copied().fold(f64::MAX, f64::min), ends.iter().copied().fold(0.0, f64::max));
    if let Some(mirror) = &mirror {
        let (from, y) = (journal.right(), mirror.middle());
        drawn.push(arrow(
            format!(
                "M{from} {middle}C{} {middle} {} {y} {} {y}",
                from + 40.0,
                mirror.x - 40.0,
                mirror.x - 2.0
            ),
            writes,
        ));
        drawn.push(label(from + 4.0, y - 8.0, &into_mirror(scene)));
        drawn.push(line(format!("M{} {y}H{bus}", mirror.right()), writes));
        top = top.min(y);
    }
    drawn.push(line(format!("M{bus} {top}V{bottom}"), writes));
    for (part, store) in stores.iter().zip(&status.stores) {
        let y = part.middle();
        let [changes, lag] = into_store(store);
        drawn.push(arrow(format!("M{bus} {y}H{}", part.x - 2.0), store.changes_per_second > 0.0));
        drawn.push(label(bus + 6.0, y - 8.0, &changes));
        drawn.push(label(bus + 6.0, y + 18.0, &lag));
    }
    for (part, pattern) in patterns.iter().zip(&scene.patterns) {
        for (i, (who, per_second)) in answering(pattern).enumerate() {
            let y = part.y + LINE * ((PATTERN_HEAD + i) as f64 + 1.0);
            let to = part.x - 2.0;
            let path = match who.map(|who| status.stores.iter().position(|store| store.name == who)) {
                Some(Some(place)) => {
                    let from = &stores[place];
                    let (x, from) = (from.right(), from.middle());
                    format!("M{x} {from}C{} {from} {} {y} {to} {y}", x + 46.0, to - 46.0)
                }
                Some(None) => continue,
                // Past everything, along the lower edge.
                None => {
                    let (x, low) = (source.x + source.width / 2.0, height - 4.0);
                    let turn = to - 40.0;
                    format!(
                        "M{x} {}V{low}H{turn}C{} {low} {} {y} {to} {y}",
                        source.bottom(),
                        turn + 20.0,
                        to - 20.0
                    )
                }
            };
            drawn.push(arrow(path, per_second > 0.0));
        }
    }
    drawn.push(source.draw());
    drawn.push(journal.draw());
    drawn.extend(mirror.iter().chain(&stores).chain(&patterns).map(Part::draw));
    svg(scene, "wide", width, height, &html! { @for part in &drawn { (part) } })
}

fn narrow(scene: &Scene) -> Markup {
    const WIDTH: f64 = 330.0;
    const GAP: f64 = 44.0;
    /// Arrows go down here; their labels stand beside.
    const DOWN: f64 = 34.0;
    let status = &scene.status;
    let mut trunk = vec![source(scene, 1.0, WIDTH - 2.0), journal(scene, 1.0, WIDTH - 2.0)];
    trunk.extend(mirror(scene, 1.0, WIDTH - 2.0));
    let mut y = stack(&mut trunk, 1.0, GAP);
    let writes = status.source.transactions_per_second > 0.0;
    let mut drawn = Vec::new();
    let labels = [into_journal(scene), into_mirror(scene)];
    for (pair, text) in trunk.windows(2).zip(&labels) {
        drawn.push(arrow(format!("M{DOWN} {}V{}", pair[0].bottom(), pair[1].y - 2.0), writes));
        drawn.push(label(DOWN + 12.0, pair[0].bottom() + 27.0, text));
    }
    let bus = y;
    for status in &status.stores {
        let mut part = store(status, 64.0, WIDTH - 65.0);
        part.y = y + 40.0;
        let (middle, text) = (part.middle(), into_store(status).join(", "));
        drawn.push(line(format!("M{DOWN} {y}V{middle}"), writes));
        drawn.push(arrow(format!("M{DOWN} {middle}H{}", part.x - 2.0), status.changes_per_second > 0.0));
        drawn.push(label(part.x + 2.0, part.y - 8.0, &text));
        y = part.bottom();
        drawn.push(part.draw());
    }
    drawn.push(line(format!("M{DOWN} {bus}V{y}"), writes));
    let reads: f64 = scene.patterns.iter().map(|pattern| pattern.lately.reads_per_second).sum();
    for (i, scene) in scene.patterns.iter().enumerate() {
        let mut part = pattern(scene, 1.0, WIDTH - 2.0);
        part.y = y + if i == 0 { GAP } else { 14.0 };
        if i == 0 {
            drawn.push(arrow(format!("M{DOWN} {y}V{}", part.y - 2.0), reads > 0.0));
            drawn.push(label(DOWN + 12.0, y + 27.0, &format!("{} reads/s", rate(reads))));
        }
        y = part.bottom();
        drawn.push(part.draw());
    }
    drawn.extend(trunk.iter().map(Part::draw));
    svg(scene, "narrow", WIDTH, y + 2.0, &html! { @for part in &drawn { (part) } })
}

/// The picture in words.
fn words(scene: &Scene) -> String {
    let status = &scene.status;
    let mut said = vec![format!(
        "Source {}: {}, {} transactions per second into the journal.",
        status.source.server,
        status.source.state.as_str(),
        rate(status.source.transactions_per_second)
    )];
    if let Some(mirror) = &status.mirror {
        said.push(format!("Mirror: {} transactions behind the journal.", count(mirror.lag_transactions)));
    }
    for store in &status.stores {
        said.push(format!(
            "Store {}: {}, {} changes per second, {} behind.",
            store.name,
            store.state.as_str(),
            rate(store.changes_per_second),
            lag(store)
        ));
    }
    for pattern in &scene.patterns {
        let by: Vec<String> = answering(pattern)
            .map(|(who, per_second)| format!("{} by {}", rate(per_second), who.unwrap_or("the source")))
            .collect();
        said.push(format!("Access pattern {}: reads per second {}.", pattern.name, by.join(", ")));
    }
    said.join(" ")
}
