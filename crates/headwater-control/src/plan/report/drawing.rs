//! Charts as SVG. Colours are classes, so that light and dark are the page's; no meaning is in a colour alone, and each figure is
//! in a table beside the drawing as well.

use maud::{Markup, html};

use super::super::charts::{Cell, Charts, FACTORS};
use super::Plan;
use super::words::money;

const WIDTH: f64 = 720.0;
/// Kinds of choices that have a colour of their own; further ones share the last.
pub(super) const COLOURS: usize = 8;

/// A bar per access pattern and what is nobody's alone, the most first.
pub(super) fn costs(plan: &Plan) -> Markup {
    let mut bars: Vec<(String, &str, f64)> =
        plan.patterns.iter().map(|p| (p.name.clone(), p.engine.as_str(), p.monthly)).collect();
    let rest = plan.monthly - bars.iter().map(|bar| bar.2).sum::<f64>();
    if rest > 0.005 {
        bars.push(("nobody's alone".to_owned(), "writes, room, Headwater itself", rest));
    }
    bars.sort_by(|a, b| b.2.total_cmp(&a.2));
    let most = bars.first().map_or(1.0, |bar| bar.2).max(0.01);
    let (row, left, right) = (44.0, 8.0, 96.0);
    let height = row * bars.len() as f64 + 8.0;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-labelledby="costs-title" {
            title id="costs-title" { "US dollars per month by access pattern; the table of access patterns has the figures" }
            @for (place, (name, engine, usd)) in bars.iter().enumerate() {
                @let y = row * place as f64;
                @let wide = (WIDTH - left - right) * usd / most;
                text x=(left) y=(y + 16.0) { (name) tspan.soft dx="8" { (engine) } }
                rect.c0 x=(left) y=(y + 22.0) width=(point(wide.max(1.0))) height="14" rx="2" {}
                text.figure x=(point(left + wide.max(1.0) + 8.0)) y=(y + 34.0) { (money(*usd)) }
            }
        }
    }
}

/// The cheapest plan month by month.
pub(super) fn growth(charts: &Charts) -> Markup {
    let (height, left, right, top, bottom) = (300.0, 72.0, 48.0, 16.0, 36.0);
    let last = charts.growth.last().map_or(1.0, |grown| f64::from(grown.months)).max(1.0);
    let most = charts.growth.iter().filter_map(|grown| grown.monthly).fold(1.0, f64::max);
    let step = nice(most / 4.0);
    let ceiling = (most / step).ceil() * step;
    let x = |month: f64| left + (WIDTH - left - right) * month / last;
    let y = |usd: f64| height - bottom - (height - top - bottom) * usd / ceiling;
    let points: Vec<(f64, f64, &super::Grown)> = charts
        .growth
        .iter()
        .filter_map(|grown| Some((x(f64::from(grown.months)), y(grown.monthly?), grown)))
        .collect();
    let line: Vec<String> = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
    let ticks = (0..=(ceiling / step).round() as usize).map(|n| n as f64 * step);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-labelledby="growth-title" {
            title id="growth-title" { "US dollars per month of the cheapest plan over 24 months of growth; the table below has the figures" }
            @for usd in ticks {
                line.rule x1=(left) x2=(WIDTH - right) y1=(point(y(usd))) y2=(point(y(usd))) {}
                text.soft.end x=(left - 8.0) y=(point(y(usd) + 5.0)) { (money(usd)) }
            }
            @for month in (0..=last as u32).step_by(6) {
                text.soft.middle x=(point(x(f64::from(month)))) y=(height - 12.0) {
                    @if month == 0 { "now" } @else { "month " (month) }
                }
            }
            polyline.curve points=(line.join(" ")) {}
            @for (place, (x, y, grown)) in points.iter().enumerate() {
                @let same = place == 0 || points[place - 1].2.engines == grown.engines;
                circle.dot.other[!same] cx=(point(*x)) cy=(point(*y)) r=(if same { 3 } else { 6 }) {
                    title { "month " (grown.months) ": " (grown.engines.join("; ")) }
                }
            }
        }
    }
}

/// Which engines are the cheapest at other rates and sizes: letters and colours by [`kinds`].
pub(super) fn map(charts: &Charts, kinds: &[Vec<String>]) -> Markup {
    let (left, top, cell, bottom) = (96.0, 8.0, 66.0, 60.0);
    let high = 46.0;
    let height = top + high * FACTORS.len() as f64 + bottom;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-labelledby="map-title" {
            title id="map-title" { "The cheapest engines by rates of reads and rows, in multiples of what is declared; the legend names them, the table below has all figures" }
            @for (row, cells) in charts.map.iter().rev().enumerate() {
                @let y = top + high * row as f64;
                text.soft.end x=(left - 10.0) y=(y + high / 2.0 + 5.0) { (times(FACTORS[FACTORS.len() - 1 - row])) }
                @for (column, one) in cells.iter().enumerate() {
                    @let x = left + cell * column as f64;
                    @let here = FACTORS[column] == 1.0 && FACTORS[FACTORS.len() - 1 - row] == 1.0;
                    @let kind = kind(one, kinds);
                    g {
                        title { (said(one)) }
                        rect class=(kind.map_or("none".to_owned(), |kind| format!("c{}", kind.min(COLOURS - 1))))
                            x=(x + 1.5) y=(y + 1.5) width=(cell - 3.0) height=(high - 3.0) rx="3" {}
                        @if here { rect.here x=(x + 1.5) y=(y + 1.5) width=(cell - 3.0) height=(high - 3.0) rx="3" {} }
                        text.middle.on x=(x + cell / 2.0) y=(y + 20.0) { (kind.map_or("–".to_owned(), letter)) }
                        text.middle.on.small x=(x + cell / 2.0) y=(y + 36.0) {
                            (one.monthly.map_or("nothing".to_owned(), short))
                        }
                    }
                }
            }
            @for (column, factor) in FACTORS.iter().enumerate() {
                text.soft.middle x=(left + cell * (column as f64 + 0.5)) y=(height - bottom + 20.0) { (times(*factor)) }
            }
            text.middle x=(left + cell * FACTORS.len() as f64 / 2.0) y=(height - 12.0) { "rates of reads" }
            text.middle transform=(format!("translate(16 {}) rotate(-90)", (height - bottom) / 2.0)) { "rows" }
        }
    }
}

/// Every set of engines that is on the map, the most frequent first.
pub(super) fn kinds(charts: &Charts) -> Vec<Vec<String>> {
    let mut counted: Vec<(usize, Vec<String>)> = Vec::new();
    for cell in charts.map.iter().flatten().filter(|cell| cell.monthly.is_some()) {
        match counted.iter_mut().find(|(_, engines)| *engines == cell.engines) {
            Some((count, _)) => *count += 1,
            None => counted.push((1, cell.engines.clone())),
        }
    }
    counted.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    counted.into_iter().map(|(_, engines)| engines).collect()
}

pub(super) fn kind(cell: &Cell, kinds: &[Vec<String>]) -> Option<usize> {
    cell.monthly?;
    kinds.iter().position(|engines| *engines == cell.engines)
}

/// `A`, `B` … `Z`, `A1` …
pub(super) fn letter(kind: usize) -> String {
    let letter = char::from(b'A' + (kind % 26) as u8);
    if kind < 26 { letter.to_string() } else { format!("{letter}{}", kind / 26) }
}

pub(super) fn times(factor: f64) -> String {
    format!("{factor} ×")
}

pub(super) fn said(cell: &Cell) -> String {
    match cell.monthly {
        Some(usd) => format!("{}: {}", money(usd), cell.engines.join(" + ")),
        None => "nothing carries it".to_owned(),
    }
}

fn short(usd: f64) -> String {
    match usd {
        usd if usd >= 999_500.0 => format!("${:.1}M", usd / 1e6),
        usd if usd >= 9_950.0 => format!("${:.0}k", usd / 1e3),
        usd if usd >= 995.0 => format!("${:.1}k", usd / 1e3),
        usd => format!("${usd:.0}"),
    }
}

/// A step of an axis: 1, 2 or 5 with zeros.
fn nice(step: f64) -> f64 {
    let scale = 10f64.powf(step.max(1e-3).log10().floor());
    let of = [1.0, 2.0, 5.0, 10.0].into_iter().find(|of| of * scale >= step).unwrap_or(10.0);
    of * scale
}

fn point(at: f64) -> String {
    format!("{at:.1}")
}
