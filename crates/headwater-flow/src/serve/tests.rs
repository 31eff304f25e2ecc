#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{
    Access, AccessPlan, Bound, Buckets, ColumnType, Field, FieldShape, Figure, FigureFunction, Gaps, Key,
    Param, ParamRole, Pattern as Declared, PlannedRead, RangeRead, Read, Series, StoredBody, TableName,
    Value, View, ViewKind,
};

use super::request::{Asked, read};
use super::{Refused, render, window};

fn series() -> Arc<View> {
    let series = Series { time: "at".into(), tags: vec!["book".into()], fields: vec!["price".into()] };
    let kind = ViewKind::Series(series);
    Arc::new(View {
        name: "price".into(),
        from: TableName::new(None, "prices"),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: Vec::new(),
        parts: Vec::new(),
        layout: None,
        indexes: kind.indexes(),
        kind,
    })
}

fn param(name: &str, role: ParamRole, kind: ColumnType) -> Param {
    let type_name = format!("{kind:?}").to_lowercase();
    let required = matches!(role, ParamRole::Key | ParamRole::By | ParamRole::Start);
    Param { name: name.into(), role, kind, type_name: type_name.into(), required }
}

fn plan(read: PlannedRead, params: Vec<Param>) -> AccessPlan {
    let access = Access {
        name: "pattern".into(),
        pattern: Declared::Get { view: "price".into() },
        stores: Vec::new(),
        source: true,
        stale: None,
        rate_per_second: None,
        p99: None,
    };
    AccessPlan { access, read, params, fields: Vec::new(), stores: Vec::new() }
}

fn prices() -> AccessPlan {
    plan(
        PlannedRead::Range { view: series(), index: 0, limit: 50 },
        vec![
            param("book", ParamRole::By, ColumnType::Int),
            param("from", ParamRole::From, ColumnType::Timestamp),
            param("to", ParamRole::To, ColumnType::Timestamp),
        ],
    )
}

fn ask(plan: &AccessPlan, params: &[(&str, &str)]) -> Result<Asked, Refused> {
    let params: Vec<_> = params.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    read(plan, &params)
}

fn range(asked: Asked) -> RangeRead {
    let Read::Range(range) = asked.read else { panic!("{:?}", asked.read) };
    range
}

#[test]
fn texts_become_a_read_by_the_types_of_the_parameters() {
    let asked = ask(&prices(), &[("to", "2026-01-02"), ("book", "7"), ("limit", "9"), ("reverse", "true")]);
    let range = range(asked.unwrap());
    assert_eq!((range.by, range.limit, range.reverse), (vec![Value::Int(7)], 9, true));
    assert_eq!(range.from, None);
    let to = range.to.unwrap();
    assert!(!to.inclusive);
    assert_eq!(to.value.to_text(), "2026-01-02T00:00:00");
}

#[test]
fn what_is_wrong_with_a_question_is_said_by_name() {
    let wrong = |params: &[(&str, &str)], name: &str, words: &str| match ask(&prices(), params) {
        Err(Refused::BadParameter { name: named, message, remedy }) => {
            assert_eq!(named, name);
            let said = format!("{message} {}", remedy.unwrap_or_default());
            assert!(said.contains(words), "{said}");
        }
        other => panic!("{:?}", other.map(|asked| asked.read)),
    };
    wrong(&[], "book", "missing");
    wrong(&[("book", "seven")], "book", "whole number");
    wrong(&[("book", "7"), ("book", "8")], "book", "twice");
    wrong(&[("book", "7"), ("limits", "1")], "limits", "`limit`");
    wrong(&[("book", "7"), ("limit", "51")], "limit", "1 to 50");
    wrong(&[("book", "7"), ("limit", "0")], "limit", "1 to 50");
    wrong(&[("book", "7"), ("reverse", "yes")], "reverse", "true or false");
    wrong(&[("book", "7"), ("cursor", "AAAA")], "cursor", "same parameters");
}

#[test]
fn a_cursor_goes_on_where_its_parameters_are_the_same() {
    let plan = prices();
    let pages = ask(&plan, &[("book", "7")]).unwrap().pages;
    let cursor = super::cursor::write(&pages, b"place");
    let next = ask(&plan, &[("book", "7"), ("cursor", &cursor), ("limit", "3")]).unwrap();
    assert_eq!(range(next).after.as_deref(), Some(&b"place"[..]));
    for other in [("book", "8"), ("reverse", "true"), ("from", "2026-01-01")] {
        let mut params = vec![("book", "7"), ("cursor", &*cursor), other];
        params.dedup_by_key(|(name, _)| *name);
        if other.0 == "book" {
            params = vec![other, ("cursor", &*cursor)];
        }
        assert!(ask(&plan, &params).is_err(), "{other:?}");
    }
}

/// Of points without bounds.
fn figures_of(
    buckets: &Buckets,
    figures: &[Figure],
    points: impl Iterator<Item = Arc<str>>,
    more: bool,
) -> Result<Vec<Arc<str>>, Refused> {
    window::figures(&series(), buckets, figures, [None; 2], points, more)
}

#[test]
fn figures_are_exact_and_buckets_are_aligned() {
    let figure = |name: &str, function, column: Option<&str>| Figure {
        name: name.into(),
        function,
        column: column.map(Into::into),
    };
    use FigureFunction::*;
    let figures = [
        figure("n", Count, None),
        figure("known", Count, Some("price")),
        figure("sum", Sum, Some("price")),
        figure("mean", Avg, Some("price")),
        figure("low", Min, Some("price")),
        figure("high", Max, Some("price")),
        figure("open", First, Some("price")),
        figure("close", Last, Some("price")),
    ];
    let points = [
        r#"{"at":"2026-01-01T00:59:59.999999","price":0.1}"#,
        r#"{"at":"2026-01-01T00:00:00","price":9007199254740993}"#,
        r#"{"at":"2026-01-01T01:00:00","price":10.00}"#,
        r#"{"at":"2026-01-01T01:20:00","price":null}"#,
        r#"{"at":"2026-01-01T01:30:00","price":9.50}"#,
        r#"{"at":"2026-01-01T01:40:00","price":0.5}"#,
        r#"{"at":"2026-01-01T05:00:00","price":null}"#,
        r#"{"at":"2026-01-01T05:10:00","price":1}"#,
    ];
    let hour = Duration::from_secs(3600);
    let points = points.map(Arc::from);
    let items = figures_of(&Buckets::of(hour), &figures, points.clone().into_iter(), false).unwrap();
    let items: Vec<&str> = items.iter().map(|item| &**item).collect();
    assert_eq!(
        items,
        [
            concat!(
                r#"{"at":"2026-01-01T00:00:00","n":2,"known":2,"sum":9007199254740993.1,"#,
                r#""mean":4503599627370496.5500000,"low":0.1,"high":9007199254740993,"open":0.1,"close":9007199254740993}"#
            ),
            concat!(
                r#"{"at":"2026-01-01T01:00:00","n":4,"known":3,"sum":20.00,"mean":6.66666667,"low":0.5,"high":10.00,"#,
                r#""open":10.00,"close":0.5}"#
            ),
            concat!(
                r#"{"at":"2026-01-01T05:00:00","n":2,"known":1,"sum":1,"mean":1.000000,"low":1,"high":1,"#,
                r#""open":null,"close":1}"#
            ),
        ]
    );
    let days = [r#"{"at":"2026-01-31","price":2}"#, r#"{"at":"2026-02-01","price":3}"#].map(Arc::from);
    let day = figures_of(&Buckets::of(hour * 24), &figures[..1], days.into_iter(), false).unwrap();
    assert_eq!(&*day[1], r#"{"at":"2026-02-01","n":1}"#);
    let refused = figures_of(&Buckets::of(hour), &figures, points.into_iter(), true);
    assert!(matches!(refused, Err(Refused::TooMuch(_))));
}

#[test]
fn a_percentile_is_the_least_value_that_enough_others_do_not_exceed() {
    let shown = |prices: &[&str], percent| {
        let price = Some("price".into());
        let figures =
            [Figure { name: "p".into(), function: FigureFunction::Percentile(percent), column: price }];
        let point = |price: &&str| format!(r#"{{"at":"2026-01-01T00:00:00","price":{price}}}"#);
        let points: Vec<Arc<str>> = prices.iter().map(|price| point(price).into()).collect();
        let hour = Duration::from_secs(3600);
        let items = figures_of(&Buckets::of(hour), &figures, points.into_iter(), false).unwrap();
        let (_, value) = items[0].split_once(r#""p":"#).unwrap();
        value.trim_end_matches('}').to_owned()
    };
    let ten = ["10", "9.50", "1", "2", "8", "7", "3", "4", "6", "5"];
    for (percent, expected) in
        [(1, "1"), (10, "1"), (11, "2"), (50, "5"), (51, "6"), (95, "10"), (90, "9.50")]
    {
        assert_eq!(shown(&ten, percent), expected, "p{percent}");
    }
    assert_eq!(
        shown(&["null", "9007199254740993.10", "9007199254740993.2", "\"NaN\""], 66),
        "9007199254740993.2"
    );
    assert_eq!(shown(&["\"NaN\"", "1"], 99), "\"NaN\"");
    assert_eq!(shown(&["null"], 50), "null");
}

#[test]
fn a_point_without_a_time_is_in_no_bucket() {
    let n = Figure { name: "n".into(), function: FigureFunction::Count, column: None };
    let points = [r#"{"at":"2026-01-01T00:00:00","price":1}"#, r#"{"at":null,"price":2}"#].map(Arc::from);
    let items = figures_of(&Buckets::of(Duration::from_secs(60)), &[n], points.into_iter(), false).unwrap();
    assert_eq!(items, [Arc::from(r#"{"at":"2026-01-01T00:00:00","n":1}"#)]);
}

#[test]
fn gaps_are_closed_within_the_bounds_if_the_pattern_says_so() {
    let figure = |name: &str, function| Figure { name: name.into(), function, column: Some("price".into()) };
    let figures = [figure("n", FigureFunction::Count), figure("close", FigureFunction::Last)];
    let point = |hour: u32, price: u32| format!(r#"{{"at":"2026-01-01T{hour:02}:30:00Z","price":{price}}}"#);
    let shown = |gaps, bounds: [Option<&str>; 2], points: &[(u32, u32)]| {
        let buckets = Buckets { gaps, ..Buckets::of(Duration::from_secs(3600)) };
        let micros = |time: &str| {
            let Value::TimestampTz(micros) =
                param("from", ParamRole::From, ColumnType::TimestampTz).parse(time).unwrap()
            else {
                panic!("{time}")
            };
            micros
        };
        let bounds = bounds
            .map(|time| time.map(|time| Bound { value: Value::TimestampTz(micros(time)), inclusive: true }));
        let points = points.iter().map(|(hour, price)| point(*hour, *price).into());
        let bounds = [bounds[0].as_ref(), bounds[1].as_ref()];
        window::figures(&series(), &buckets, &figures, bounds, points, false).map(|items| {
            let short = |item: &Arc<str>| {
                let item: serde_json::Value = serde_json::from_str(item).unwrap();
                format!("{} {} {}", &item["at"].as_str().unwrap()[11..13], item["n"], item["close"])
            };
            items.iter().map(short).collect::<Vec<_>>()
        })
    };
    let points = [(2, 5), (4, 7)];
    assert_eq!(shown(Gaps::Skip, [None, None], &points).unwrap(), ["02 1 5", "04 1 7"]);
    assert_eq!(shown(Gaps::Null, [None, None], &points).unwrap(), ["02 1 5", "03 0 null", "04 1 7"]);
    assert_eq!(
        shown(Gaps::Previous, [Some("2026-01-01T01:10:00Z"), Some("2026-01-01T06:00:00Z")], &points).unwrap(),
        ["01 0 null", "02 1 5", "03 0 5", "04 1 7", "05 0 7"]
    );
    // The end is no part of the window: six o'clock has a bucket only from the next moment on.
    assert_eq!(
        shown(Gaps::Null, [Some("2026-01-01T05:00:00Z"), Some("2026-01-01T06:00:00.000001Z")], &[]).unwrap(),
        ["05 0 null", "06 0 null"]
    );
    assert_eq!(shown(Gaps::Null, [Some("2026-01-01T05:00:00Z"), None], &[]).unwrap(), [""; 0]);
    let late = shown(Gaps::Null, [Some("2026-01-01T05:00:00Z"), Some("2029-01-01T05:00:00Z")], &[]);
    assert!(matches!(late, Err(Refused::TooMuch(_))));
}

#[test]
fn figures_print_numbers_as_they_came_and_take_texts_for_texts() {
    let figures =
        [("low", FigureFunction::Min), ("high", FigureFunction::Max), ("close", FigureFunction::Last)];
    let figures =
        figures.map(|(name, function)| Figure { name: name.into(), function, column: Some("price".into()) });
    let of = |prices: [&str; 3]| {
        let point = |price| Arc::from(format!(r#"{{"at":"2026-01-01T00:00:00","price":{price}}}"#));
        let items =
            figures_of(&Buckets::of(Duration::from_secs(60)), &figures, prices.iter().map(point), false);
        items.unwrap()[0].to_string()
    };
    let bucket = |rest: &str| format!(r#"{{"at":"2026-01-01T00:00:00",{rest}}}"#);
    let (large, small) = (printed(1e300), printed(1e-7));
    let right = format!(r#""low":{small},"high":{large},"close":{small}"#);
    assert_eq!(of(["0.1", &large, &small]), bucket(&right));
    assert_eq!(of([r#""B""#, r#""NaN""#, r#""z""#]), bucket(r#""low":"B","high":"z","close":"z""#));
    assert_eq!(
        of([r#""NaN""#, "1.5", r#""-Infinity""#]),
        bucket(r#""low":"-Infinity","high":"NaN","close":"-Infinity""#)
    );
}

fn printed(float: f64) -> String {
    let mut text = Vec::new();
    Value::Float(float).write_json(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_document_of_fields_has_the_types_of_its_columns() {
    let field = |name: &str, kind, type_name: &str| Field {
        name: name.into(),
        nullable: true,
        shape: FieldShape::Value { kind, type_name: type_name.into() },
    };
    let fields = [
        field("id", ColumnType::Int, "bigint"),
        field("price", ColumnType::Decimal, "numeric"),
        field("odd", ColumnType::Decimal, "numeric"),
        field("digits", ColumnType::Text, "text"),
        field("gone", ColumnType::Text, "text"),
        field("tags", ColumnType::List(Box::new(ColumnType::Text)), "text[]"),
        field("fine", ColumnType::Bool, "boolean"),
        field("loose", ColumnType::Dynamic, "INTEGER"),
        field("words", ColumnType::Dynamic, "TEXT"),
    ];
    let stored = [
        ("id", "9007199254740993"),
        ("price", "12.50"),
        ("odd", "NaN"),
        ("digits", "007"),
        ("tags", r#"["a","b"]"#),
        ("fine", "true"),
        ("loose", "5"),
        ("words", "5"),
    ];
    let stored = stored.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let json = render::json(&fields, StoredBody::Fields(stored.into()));
    assert_eq!(
        &*json,
        concat!(
            r#"{"id":9007199254740993,"price":12.50,"odd":"NaN","digits":"007","gone":null,"tags":["a","b"],"#,
            r#""fine":true,"loose":5,"words":"5"}"#
        )
    );
}

#[test]
fn a_batch_has_a_key_for_each_time_its_parameters_are_given() {
    let plan = plan(
        PlannedRead::Get { view: series() },
        vec![param("book", ParamRole::Key, ColumnType::Int), param("page", ParamRole::Key, ColumnType::Text)],
    );
    let ask = |params: &[(&str, &str)]| {
        let params: Vec<_> = params.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        super::request::batch(&plan, &params)
    };
    let asked =
        ask(&[("book", "1"), ("page", "b"), ("page", "a"), ("book", "2"), ("book", "1"), ("page", "b")]);
    let Ok(Asked { read: Read::Get { keys, .. }, batch: true, .. }) = asked else { panic!("no batch") };
    let key = |book, page: &str| Key(vec![Value::Int(book), Value::text(page)]);
    assert_eq!(keys, [key(1, "b"), key(2, "a"), key(1, "b")]);
    let many: Vec<_> = (0..=super::BATCH_KEYS_MAX).flat_map(|_| [("book", "1"), ("page", "a")]).collect();
    let wrong = |params: &[(&str, &str)], name: &str, words: &str| match ask(params) {
        Err(Refused::BadParameter { name: named, message, remedy }) => {
            let said = format!("{message}; {}", remedy.unwrap_or_default());
            assert!(named == name && said.contains(words), "{named}: {said}");
        }
        other => panic!("{:?}", other.map(|asked| asked.read)),
    };
    wrong(&[], "book", "missing");
    wrong(&[("book", "1")], "page", "missing");
    wrong(&[("book", "1"), ("book", "2"), ("page", "a")], "page", "is given 1 times, and `book` 2");
    wrong(&[("book", "1"), ("page", "a"), ("pages", "b")], "pages", "did you mean `page`?");
    wrong(&[("book", "one"), ("page", "a")], "book", "whole number");
    wrong(&many, "book", "more than 100 times");
}
