//! What reads should find, by going through all documents of the views they read: written from the promises of
//! `docs/access.md`, over documents that the source made.
//!
//! Values are JSON, and numbers are compared by their digits. NULL comes last ascending, and texts are ordered by bytes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use headwater_model::{Figure, FigureFunction, Order, Series, View};
use serde_json::{Map, Value as Json};

use super::{Document, Expected, compare, number};

type Fields = Map<String, Json>;

/// What a reader asks of an order of a view. Values are texts, as readers write them.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    /// Fields, and the value that each must have.
    pub by: Vec<(&'a str, &'a str)>,
    /// Bounds on the first field of the order: inclusive, exclusive.
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
    pub order: &'a [Order],
    pub reverse: bool,
}

/// All documents of a range, in order.
pub fn range<'d>(expected: &'d Expected, view: &View, range: &Range<'_>) -> Vec<&'d Fields> {
    let fits = |document: &Document| {
        let field = |name: &str| &document.fields[name];
        let first = range.order.first().map_or(&Json::Null, |order| field(&order.column));
        range.by.iter().all(|(name, text)| against_text(field(name), text) == Some(Ordering::Equal))
            && range.from.is_none_or(|from| against_text(first, from).is_some_and(Ordering::is_ge))
            && range.to.is_none_or(|to| against_text(first, to).is_some_and(Ordering::is_lt))
    };
    let mut found: Vec<&Document> = documents(expected, view).filter(|document| fits(document)).collect();
    found.sort_by(|a, b| {
        let by_order = range.order.iter().map(|order| {
            let ordering = ascending(&a.fields[&*order.column], &b.fields[&*order.column]);
            if order.descending { ordering.reverse() } else { ordering }
        });
        let by_key = a.key.iter().zip(&b.key).map(|(a, b)| ascending(a, b));
        let place = by_order.chain(by_key).fold(Ordering::Equal, Ordering::then);
        if range.reverse { place.reverse() } else { place }
    });
    found.into_iter().map(|document| &document.fields).collect()
}

/// The document of a key, given as texts.
pub fn get<'d>(expected: &'d Expected, view: &View, key: &[&str]) -> Option<&'d Fields> {
    let is_it = |document: &Document| {
        document.key.len() == key.len()
            && document
                .key
                .iter()
                .zip(key)
                .all(|(part, text)| against_text(part, text) == Some(Ordering::Equal))
    };
    documents(expected, view).find(|document| is_it(document)).map(|document| &document.fields)
}

fn documents<'d>(expected: &'d Expected, view: &View) -> impl Iterator<Item = &'d Document> {
    expected.get(&*view.name).into_iter().flat_map(BTreeMap::values)
}

/// A step of a walk: edges as pairs of fields, `(leaves, arrives)`, of each view that it goes along.
pub type Step<'a> = Vec<(&'a View, &'a str, &'a str)>;

/// The vertices that a walk from `start` comes to, and in how many ways; most first.
pub fn walk(expected: &Expected, start: &str, steps: &[Step<'_>]) -> Vec<Fields> {
    // The value that the text means is of the kind of the ends that it begins at.
    let begins = steps
        .first()
        .into_iter()
        .flatten()
        .flat_map(|(view, leave, _)| documents(expected, view).map(|document| &document.fields[*leave]));
    let Some(start) = begins.into_iter().find(|value| against_text(value, start) == Some(Ordering::Equal))
    else {
        return Vec::new();
    };
    let mut stands: Vec<(&Json, u64)> = vec![(start, 1)];
    for step in steps {
        let mut arrives: Vec<(&Json, u64)> = Vec::new();
        for (view, leave, arrive) in step {
            for Document { fields, .. } in documents(expected, view) {
                let (from, to) = (&fields[*leave], &fields[*arrive]);
                let ways: u64 = stands.iter().filter(|(at, _)| same(at, from)).map(|(_, ways)| ways).sum();
                if ways == 0 {
                    continue;
                }
                match arrives.iter_mut().find(|(at, _)| same(at, to)) {
                    Some((_, known)) => *known += ways,
                    None => arrives.push((to, ways)),
                }
            }
        }
        stands = arrives;
    }
    let mut reached: Vec<(&Json, u64)> = stands.into_iter().filter(|(at, _)| !same(at, start)).collect();
    reached.sort_by(|(a, ways), (b, other_ways)| other_ways.cmp(ways).then_with(|| ascending(a, b)));
    let item = |(vertex, ways): (&Json, u64)| {
        [("vertex".to_owned(), vertex.clone()), ("ways".to_owned(), ways.into())].into_iter().collect()
    };
    reached.into_iter().map(item).collect()
}

/// What is wrong with the buckets of a window, whose points are given in order; nothing if all is right.
pub fn buckets(
    points: &[&Fields],
    series: &Series,
    every: Duration,
    figures: &[Figure],
    found: &[Json],
) -> Vec<String> {
    let mut expected: Vec<(i64, Vec<&Fields>)> = Vec::new();
    for point in points {
        let Json::String(time) = &point[&*series.time] else { continue };
        let seconds = seconds(time);
        let start = seconds - seconds.rem_euclid(every.as_secs() as i64);
        match expected.last_mut().filter(|(last, _)| *last == start) {
            Some((_, points)) => points.push(point),
            None => expected.push((start, vec![point])),
        }
    }
    if expected.len() != found.len() {
        return vec![format!("{} buckets instead of {}", found.len(), expected.len())];
    }
    let mut wrong = Vec::new();
    for ((start, points), found) in expected.iter().zip(found) {
        if found[&*series.time].as_str().map(seconds) != Some(*start) {
            wrong.push(format!("a bucket begins at {} and not at {start}", found[&*series.time]));
        }
        if found.as_object().map_or(0, Map::len) != 1 + figures.len() {
            wrong.push(format!("{found} has other fields"));
        }
        for figure in figures {
            let difference = figure_differs(figure, points, &found[&*figure.name]);
            wrong.extend(difference.map(|difference| format!("{}: {difference} in {found}", figure.name)));
        }
    }
    wrong
}

fn figure_differs(figure: &Figure, points: &[&Fields], found: &Json) -> Option<String> {
    let Some(column) = &figure.column else {
        return differs(&points.len().into(), found);
    };
    let values = || points.iter().map(|point| &point[&**column]);
    let some = || values().filter(|value| !value.is_null());
    let sum = || some().map(|value| number::trillionths(&value.to_string())).sum::<i128>();
    let count = some().count();
    let best = |wanted: Ordering| {
        some().fold(&Json::Null, |best, value| match best.is_null() || ascending(value, best) == wanted {
            true => value,
            false => best,
        })
    };
    match figure.function {
        FigureFunction::Count => differs(&count.into(), found),
        FigureFunction::Min => differs(best(Ordering::Less), found),
        FigureFunction::Max => differs(best(Ordering::Greater), found),
        FigureFunction::First => differs(values().next().unwrap_or(&Json::Null), found),
        FigureFunction::Last => differs(values().next_back().unwrap_or(&Json::Null), found),
        FigureFunction::Percentile(percent) => {
            // By definition: of those that enough others do not exceed, the least.
            let covers = |value: &&Json| {
                let below = some().filter(|other| ascending(other, value) != Ordering::Greater).count();
                below * 100 >= count * usize::from(percent)
            };
            let covering = some().filter(covers);
            let least = covering.fold(&Json::Null, |least, value| {
                if least.is_null() || ascending(value, least) == Ordering::Less { value } else { least }
            });
            differs(least, found)
        }
        FigureFunction::Sum | FigureFunction::Avg if count == 0 => differs(&Json::Null, found),
        FigureFunction::Sum => {
            let expected = serde_json::from_str(&number::from_trillionths(sum())).expect("a number");
            differs(&expected, found)
        }
        FigureFunction::Avg => {
            // Rounded at its last digit, of which it has at least six behind the point.
            let text = found.to_string();
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len() as u32);
            let away = (number::trillionths(&text) * count as i128 - sum()).abs();
            let half = 10_i128.pow(12_u32.saturating_sub(digits)) * count as i128;
            (digits < 6 || away * 2 > half).then(|| format!("{text} is not the average"))
        }
    }
}

/// A list of items compared with what was found, both in full.
pub fn list_differs<'a>(
    expected: impl ExactSizeIterator<Item = &'a Fields>,
    found: &[Json],
) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!("{} items instead of {}", found.len(), expected.len()));
    }
    let mut pairs = expected.zip(found).enumerate();
    pairs.find_map(|(at, (expected, found))| {
        differs(&Json::Object(expected.clone()), found).map(|difference| format!("item {at}: {difference}"))
    })
}

/// How a value that was found is another than the expected one.
pub fn differs(expected: &Json, found: &Json) -> Option<String> {
    let differences = compare::differences(expected, found);
    (!differences.is_empty()).then(|| differences.join("; "))
}

fn ascending(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => number::compare(&a.to_string(), &b.to_string()),
        (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Null, Json::Null) => Ordering::Equal,
        (Json::Null, _) => Ordering::Greater,
        (_, Json::Null) => Ordering::Less,
        _ => panic!("{a} and {b} are of different kinds"),
    }
}

fn same(a: &Json, b: &Json) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b) && ascending(a, b).is_eq()
}

/// A value against a text that is to be read as the value's kind; nothing compares with NULL.
fn against_text(value: &Json, text: &str) -> Option<Ordering> {
    match value {
        Json::Null => None,
        Json::Number(value) => Some(number::compare(&value.to_string(), text)),
        Json::String(value) => Some(value.as_bytes().cmp(text.as_bytes())),
        other => Some(other.to_string().as_bytes().cmp(text.as_bytes())),
    }
}

/// Whole seconds since 1970 of `YYYY-MM-DDThh:mm:ss`, whatever follows.
fn seconds(time: &str) -> i64 {
    let part = |from: usize, to: usize| time[from..to].parse::<i64>().expect("digits");
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let years = |to: i64| (1..to).map(|year| 365 + i64::from(is_leap(year))).sum::<i64>();
    let months = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = years(year) - years(1970) + months[..month as usize - 1].iter().sum::<i64>() + day - 1;
    days * 86_400 + part(11, 13) * 3600 + part(14, 16) * 60 + part(17, 19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_counted_by_the_calendar() {
        assert_eq!(seconds("1970-01-01T00:00:00"), 0);
        assert_eq!(seconds("1969-12-31T23:59:59"), -1);
        assert_eq!(seconds("2024-03-01T00:00:00.5"), 1_709_251_200);
    }
}
