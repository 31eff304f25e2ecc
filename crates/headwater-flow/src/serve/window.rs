//! Figures of a series per bucket of time: from points in order to one item per bucket that has any.
//!
//! Buckets are aligned to 1970-01-01T00:00:00Z, so the same bucket has the same bounds whatever was asked for.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{
    ColumnType, Error, Figure, FigureFunction, Param, ParamRole, Sum, Value, View, ViewKind,
};
use serde_json::Value as Json;

use super::Refused;

/// Digits after the point of an average, beyond those of its terms.
const AVERAGE_DIGITS: u32 = 6;

/// One JSON object per bucket, in the order of the points. `more`: the points are not all there.
pub(super) fn figures(
    view: &View,
    every: Duration,
    figures: &[Figure],
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
    let mut buckets: Vec<Bucket> = Vec::new();
    for point in points {
        let point: Json = serde_json::from_str(&point).map_err(|_| unreadable("a point is no JSON"))?;
        let time = &point[&*series.time];
        if time.is_null() {
            // It is at no time, so it is in no bucket.
            continue;
        }
        let start = Time::of(time)?.bucket(every);
        if buckets.last().is_none_or(|bucket| bucket.start != start) {
            buckets.push(Bucket { start, figures: figures.iter().map(State::new).collect() });
        }
        if let Some(bucket) = buckets.last_mut() {
            for (state, figure) in bucket.figures.iter_mut().zip(figures) {
                state.take(figure, &point)?;
            }
        }
    }
    Ok(buckets.iter().map(|bucket| bucket.render(&series.time, figures)).collect())
}

struct Bucket {
    start: Time,
    figures: Vec<State>,
}

impl Bucket {
    fn render(&self, time: &str, figures: &[Figure]) -> Arc<str> {
        let mut out = b"{".to_vec();
        Value::text(time).write_json(&mut out);
        out.push(b':');
        self.start.value().write_json(&mut out);
        for (state, figure) in self.figures.iter().zip(figures) {
            out.push(b',');
            Value::text(&*figure.name).write_json(&mut out);
            out.push(b':');
            state.value().write_json(&mut out);
        }
        out.push(b'}');
        String::from_utf8_lossy(&out).into()
    }
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

    fn bucket(self, every: Duration) -> Time {
        let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
        Time { micros: self.micros - self.micros.rem_euclid(every), ..self }
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
