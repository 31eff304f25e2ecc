//! Figures of a series per bucket of time: from points in order to one item per bucket that has any, or per bucket there is.
//!
//! The same bucket has the same bounds whatever was asked for ([`Buckets`]).

use std::cmp::Ordering;
use std::sync::Arc;

use headwater_model::{
    Bound, Buckets, ColumnType, Error, Figure, FigureFunction, Gaps, Param, ParamRole, Sum, Value, View,
    ViewKind,
};
use serde_json::Value as Json;

use super::Refused;

/// Digits after the point of an average, beyond those of its terms.
const AVERAGE_DIGITS: u32 = 6;

/// One JSON object per bucket, in the order of time, which is that of the points. `bounds`: from when on, inclusive, and up to when,
/// exclusive, buckets without points are told too, if they are; where they are not given, from the first point and up to the last.
/// `more`: the points are not all there.
pub(super) fn figures(
    view: &View,
    buckets: &Buckets,
    figures: &[Figure],
    bounds: [Option<&Bound>; 2],
    points: impl Iterator<Item = Arc<str>>,
    more: bool,
) -> Result<Vec<Arc<str>>, Refused> {
    if more {
        let what = format!("the window has more than {} points", super::request::POINTS_MAX);
        return Err(Refused::TooMuch(
            Error::unsupported(what).with_remedy("ask for a shorter stretch of time"),
        ));
    }
    let ViewKind::Series(series) = &view.kind else { return Err(unreadable("the view is no series")) };
    let mut filled: Vec<Bucket> = Vec::new();
    for point in points {
        let point: Json = serde_json::from_str(&point).map_err(|_| unreadable("a point is no JSON"))?;
        let time = &point[&*series.time];
        if time.is_null() {
            // It is at no time, so it is in no bucket.
            continue;
        }
        let start = Time::of(time)?.bucket(buckets);
        if filled.last().is_none_or(|bucket| bucket.start != start) {
            filled.push(Bucket { start, figures: figures.iter().map(State::new).collect() });
        }
        if let Some(bucket) = filled.last_mut() {
            for (state, figure) in bucket.figures.iter_mut().zip(figures) {
                state.take(figure, &point)?;
            }
        }
    }
    let filled =
        filled.iter().map(|bucket| (bucket.start, bucket.figures.iter().map(State::value).collect()));
    let items = match buckets.gaps {
        Gaps::Skip => filled.collect(),
        Gaps::Null | Gaps::Previous => close_gaps(filled.collect(), buckets, figures, bounds)?,
    };
    Ok(items.iter().map(|item| render(item, &series.time, figures)).collect())
}

/// When a bucket begins, and its figures.
type Item = (Time, Vec<Value>);

fn close_gaps(
    filled: Vec<Item>,
    buckets: &Buckets,
    figures: &[Figure],
    bounds: [Option<&Bound>; 2],
) -> Result<Vec<Item>, Refused> {
    let [from, to] = bounds.map(|bound| bound.map(|bound| Time::of_value(&bound.value)).transpose());
    let (from, to) = (from?, to?);
    let (Some(first), Some(last)) = (
        from.map(|from| from.bucket(buckets)).or(filled.first().map(|(start, _)| *start)),
        // The one that has the last moment before the end.
        to.map(|to| to.before().bucket(buckets)).or(filled.last().map(|(start, _)| *start)),
    ) else {
        return Ok(filled);
    };
    let mut known = filled.into_iter().peekable();
    let (mut start, mut items) = (first, Vec::<Item>::new());
    while start.micros <= last.micros {
        if items.len() == super::request::POINTS_MAX {
            let what = format!("the window has more than {} buckets", super::request::POINTS_MAX);
            return Err(Refused::TooMuch(
                Error::unsupported(what).with_remedy("ask for a shorter stretch of time"),
            ));
        }
        let item = known.next_if(|(known, _)| known.micros == start.micros).unwrap_or_else(|| {
            let before = items.last().filter(|_| buckets.gaps == Gaps::Previous).map(|(_, values)| values);
            let empty = |(at, figure): (usize, &Figure)| match (figure.function, before) {
                (FigureFunction::Count, _) | (_, None) => State::new(figure).value(),
                (_, Some(before)) => before[at].clone(),
            };
            (start, figures.iter().enumerate().map(empty).collect())
        });
        items.push(item);
        start = start.next(buckets);
    }
    Ok(items)
}

fn render((start, values): &Item, time: &str, figures: &[Figure]) -> Arc<str> {
    let mut out = b"{".to_vec();
    Value::text(time).write_json(&mut out);
    out.push(b':');
    start.value().write_json(&mut out);
    for (value, figure) in values.iter().zip(figures) {
        out.push(b',');
        Value::text(&*figure.name).write_json(&mut out);
        out.push(b':');
        value.write_json(&mut out);
    }
    out.push(b'}');
    String::from_utf8_lossy(&out).into()
}

struct Bucket {
    start: Time,
    figures: Vec<State>,
}

/// A point's time, shown in the form it came in.
#[derive(Clone, Copy, PartialEq)]
struct Time {
    micros: i64,
    form: Form,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Date,
    Plain,
    Zone,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl Time {
    fn of(json: &Json) -> Result<Time, Refused> {
        let Json::String(text) = json else { return Err(unreadable("a point's time is no text")) };
        Time::read(text)
    }

    /// Of a bound, which is of the same kind as the times of points, or a text where these are texts.
    fn of_value(value: &Value) -> Result<Time, Refused> {
        match value {
            Value::Date(days) => {
                Ok(Time { micros: i64::from(*days).saturating_mul(MICROS_PER_DAY), form: Form::Date })
            }
            Value::Timestamp(micros) => Ok(Time { micros: *micros, form: Form::Plain }),
            Value::TimestampTz(micros) => Ok(Time { micros: *micros, form: Form::Zone }),
            other => Time::read(&other.to_text()),
        }
    }

    fn read(text: &str) -> Result<Time, Refused> {
        let read = |kind| {
            let (name, type_name) = ("time".into(), "time".into());
            Param { name, role: ParamRole::From, kind, type_name, required: true }.parse(text).ok()
        };
        let forms = [
            (ColumnType::Date, Form::Date),
            (ColumnType::Timestamp, Form::Plain),
            (ColumnType::TimestampTz, Form::Zone),
        ];
        for (kind, form) in forms {
            let micros = match read(kind) {
                Some(Value::Date(days)) => i64::from(days).saturating_mul(MICROS_PER_DAY),
                Some(Value::Timestamp(micros) | Value::TimestampTz(micros)) => micros,
                _ => continue,
            };
            return Ok(Time { micros, form });
        }
        Err(unreadable("a point's time is no time"))
    }

    /// When its bucket begins.
    fn bucket(self, buckets: &Buckets) -> Time {
        Time { micros: buckets.start(self.micros), ..self }
    }

    /// When the bucket behind the one that begins then begins.
    fn next(self, buckets: &Buckets) -> Time {
        Time { micros: buckets.next(self.micros), ..self }
    }

    /// The last moment before it.
    fn before(self) -> Time {
        Time { micros: self.micros.saturating_sub(1), ..self }
    }

    fn value(self) -> Value {
        match (self.form, i32::try_from(self.micros / MICROS_PER_DAY)) {
            (Form::Date, Ok(days)) if self.micros % MICROS_PER_DAY == 0 => Value::Date(days),
            (Form::Date | Form::Plain, _) => Value::Timestamp(self.micros),
            (Form::Zone, _) => Value::TimestampTz(self.micros),
        }
    }
}

/// A figure as far as its points were seen.
enum State {
    Count(i64),
    Sum(Sum),
    Average(Sum),
    One(Option<Value>),
    /// All values, and which percentile of them.
    All(Vec<Value>, u8),
}

impl State {
    fn new(figure: &Figure) -> State {
        match figure.function {
            FigureFunction::Count => State::Count(0),
            FigureFunction::Sum => State::Sum(Sum::default()),
            FigureFunction::Avg => State::Average(Sum::default()),
            FigureFunction::Percentile(percent) => State::All(Vec::new(), percent),
            FigureFunction::Min | FigureFunction::Max | FigureFunction::First | FigureFunction::Last => {
                State::One(None)
            }
        }
    }

    /// NULLs do not take part, except as the first or the last value.
    fn take(&mut self, figure: &Figure, point: &Json) -> Result<(), Refused> {
        let value = match &figure.column {
            Some(column) => value(&point[&**column]),
            None => Value::Bool(true),
        };
        let at_an_end = matches!(figure.function, FigureFunction::First | FigureFunction::Last);
        if value.is_null() && !at_an_end {
            return Ok(());
        }
        match self {
            State::Count(n) => *n += 1,
            State::Sum(sum) | State::Average(sum) => {
                sum.add(&as_number(&value))
                    .map_err(|error| Refused::TooMuch(error.while_doing("sum a column")))?;
            }
            State::All(values, _) => values.push(value),
            State::One(kept) => {
                let better = match (figure.function, &*kept) {
                    (_, None) | (FigureFunction::Last, _) => true,
                    (FigureFunction::Min, Some(kept)) => compare(&value, kept).is_lt(),
                    (FigureFunction::Max, Some(kept)) => compare(&value, kept).is_gt(),
                    _ => false,
                };
                if better {
                    *kept = Some(value);
                }
            }
        }
        Ok(())
    }

    fn value(&self) -> Value {
        match self {
            State::Count(n) => Value::Int(*n),
            State::Sum(sum) => sum.value(),
            State::Average(sum) => sum.average(AVERAGE_DIGITS),
            State::One(value) => value.clone().unwrap_or(Value::Null),
            State::All(values, percent) => percentile(values, *percent),
        }
    }
}

/// The least of the values that so many percent of them do not exceed; NULL if there are none.
fn percentile(values: &[Value], percent: u8) -> Value {
    let mut sorted: Vec<&Value> = values.iter().collect();
    sorted.sort_by(|a, b| compare(a, b));
    let rank = (sorted.len() * usize::from(percent)).div_ceil(100);
    rank.checked_sub(1).and_then(|at| sorted.get(at)).map_or(Value::Null, |value| (*value).clone())
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(number) => {
            let text = number.to_string();
            match (text.parse(), text.parse()) {
                (Ok(n), _) => Value::Int(n),
                // Only floats have an exponent, and each prints as it came.
                (_, Ok(float)) if text.contains(['e', 'E']) => Value::Float(float),
                _ => Value::Decimal(text.into()),
            }
        }
        Json::String(text) => Value::text(text.as_str()),
        other => Value::Json(other.to_string().into()),
    }
}

/// NaN and the infinities are texts in JSON and numbers to SQL.
fn as_number(value: &Value) -> Value {
    match value {
        Value::Text(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            Value::Decimal(text.clone())
        }
        other => other.clone(),
    }
}

/// Two texts may be texts, whatever they read; and of those that are numbers, bytes have the order of the numbers.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Text(_), Value::Text(_)) => a.compare(b),
        _ => as_number(a).compare(&as_number(b)),
    }
}

fn unreadable(what: &str) -> Refused {
    Refused::TooMuch(Error::corrupt(what.to_owned()))
}
