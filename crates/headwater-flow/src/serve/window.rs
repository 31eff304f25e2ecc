//! Figures of a series per bucket of time: from points in order to one item per bucket that has any.
//!
//! Buckets are aligned to 1970-01-01T00:00:00Z, so the same bucket has the same bounds whatever was asked for.

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
        let start = Time::of(&point[&*series.time])?.bucket(every);
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

/// A point's time: an instant, or a number of seconds since 1970, each shown as it came.
#[derive(Clone, Copy, PartialEq)]
enum Time {
    Micros { at: i64, zone: bool },
    Seconds(i64),
}

impl Time {
    fn of(json: &Json) -> Result<Time, Refused> {
        match json {
            Json::Number(number) => {
                let seconds = number.as_f64().ok_or_else(|| unreadable("a time is out of range"))?;
                Ok(Time::Seconds(seconds.floor() as i64))
            }
            Json::String(text) => {
                let read = |kind| {
                    let param = Param {
                        name: "time".into(),
                        role: ParamRole::From,
                        kind,
                        type_name: "time".into(),
                        required: true,
                    };
                    param.parse(text).ok()
                };
                match (read(ColumnType::Timestamp), read(ColumnType::TimestampTz)) {
                    (Some(Value::Timestamp(at)), _) => Ok(Time::Micros { at, zone: false }),
                    (_, Some(Value::TimestampTz(at))) => Ok(Time::Micros { at, zone: true }),
                    _ => Err(unreadable("a point's time is no time")),
                }
            }
            _ => Err(unreadable("a point has no time")),
        }
    }

    fn bucket(self, every: Duration) -> Time {
        let round = |at: i64, unit: u128| {
            let unit = i64::try_from(unit).unwrap_or(i64::MAX).max(1);
            at - at.rem_euclid(unit)
        };
        match self {
            Time::Micros { at, zone } => Time::Micros { at: round(at, every.as_micros()), zone },
            Time::Seconds(at) => Time::Seconds(round(at, u128::from(every.as_secs()))),
        }
    }

    fn value(self) -> Value {
        match self {
            Time::Micros { at, zone: false } => Value::Timestamp(at),
            Time::Micros { at, zone: true } => Value::TimestampTz(at),
            Time::Seconds(at) => Value::Int(at),
        }
    }
}

/// A figure as far as its points were seen.
enum State {
    Count(i64),
    Sum(Sum),
    Average(Sum),
    One(Value),
}

impl State {
    fn new(figure: &Figure) -> State {
        match figure.function {
            FigureFunction::Count => State::Count(0),
            FigureFunction::Sum => State::Sum(Sum::default()),
            FigureFunction::Avg => State::Average(Sum::default()),
            FigureFunction::Min | FigureFunction::Max | FigureFunction::First | FigureFunction::Last => {
                State::One(Value::Null)
            }
        }
    }

    /// NULLs do not take part.
    fn take(&mut self, figure: &Figure, point: &Json) -> Result<(), Refused> {
        let value = match &figure.column {
            Some(column) => value(&point[&**column]),
            None => Value::Bool(true),
        };
        if value.is_null() {
            return Ok(());
        }
        match self {
            State::Count(n) => *n += 1,
            State::Sum(sum) | State::Average(sum) => {
                sum.add(&value).map_err(|error| Refused::TooMuch(error.while_doing("sum a column")))?;
            }
            State::One(kept) => {
                let better = match figure.function {
                    _ if kept.is_null() => true,
                    FigureFunction::Min => value.compare(kept).is_lt(),
                    FigureFunction::Max => value.compare(kept).is_gt(),
                    FigureFunction::Last => true,
                    _ => false,
                };
                if better {
                    *kept = value;
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
            State::One(value) => value.clone(),
        }
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(number) => {
            let text = number.to_string();
            text.parse().map_or_else(|_| Value::Decimal(text.as_str().into()), Value::Int)
        }
        // NaN and the infinities are texts in JSON and numbers to SQL.
        Json::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            Value::Decimal(text.as_str().into())
        }
        Json::String(text) => Value::text(text.as_str()),
        other => Value::Json(other.to_string().into()),
    }
}

fn unreadable(what: &str) -> Refused {
    Refused::TooMuch(Error::corrupt(what.to_owned()))
}
