//! The effective file shows what is in force, hides what is secret, and reads back as the same file.

use std::time::Duration;

use headwater_model::file::{
    BackfillSection, DoctorSection, File, HealSection, JournalSection, ObjectivesSection, Places,
    PlanSection, PlannedAccess, PlannedTable, PlannedView, RunSection, ServeSection, Setting, SourceSection,
    StoreSection, TelemetrySection, TlsFiles, VerifySection,
};
use headwater_model::heal::Level;
use headwater_model::{
    Access, Aggregate, Buckets, Edge, Embed, EmbedKind, Figure, FigureFunction, Gaps, Hold, HopLabel, Layout,
    Order, Part, Pattern, Ranking, Secret, Series, TableName, View, ViewKind,
};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use crate::support::load;

#[test]
fn the_effective_file_has_every_default_and_no_secret() {
    let file = load(
        r#"
[source]
url = "postgres://headwater:${PGPASSWORD}@db.internal/shop"
slot = "shop"
token = "${PGPASSWORD}"
[stores]
near  = { url = "${REDIS_URL}", prefix = "shop" }
local = { url = "sqlite:derived.db" }
[views.book]
from = "shop.books"
where = "price > 10 AND title <> 'a \"b\"'"
columns = ["id", "title"]
embed.author  = { from = "authors", key = "author_id", columns = { name = "full_name" } }
embed.reviews = { from = '"Odd.Schema".reviews', many = ["book_id"], order = "-created_at", limit = 20, embed.by = { from = "customers", key = ["a", "b"], references = ["x", "y"] } }
store = ["near", "local"]
[views.author]
from = "authors"
store = "near"
[telemetry]
otlp = "https://collector.internal:4318/"
sample = "12.5%"
headers = { authorization = "${API_TOKEN}", x-scope-orgid = "shop" }
resource = { "deployment.environment.name" = "test" }
"#,
    )
    .unwrap();
    let config = file.to_config();
    assert!(!config.contains("hush") && !config.contains("cr@et") && !config.contains("cr%40et"), "{config}");
    assert!(!config.contains("0123456789abcdef"), "{config}");
    insta::assert_snapshot!(config);
}

fn name() -> impl Strategy<Value = Box<str>> {
    prop_oneof!["[a-z][a-z0-9_]{0,8}", "[-\"'\\\\. a-zA-Zé名\t]{0,6}[a-z]",].prop_map(String::into_boxed_str)
}

fn table_name() -> impl Strategy<Value = TableName> {
    (proptest::option::of(name()), name()).prop_map(|(schema, name)| TableName { schema, name })
}

/// Column names, or renames to fields. They begin with `c` and `r`, embedded fields with `e`: none is another.
fn columns() -> impl Strategy<Value = Option<Vec<(Box<str>, Box<str>)>>> {
    let named = proptest::collection::btree_set(name(), 1..4).prop_map(|names| {
        names.into_iter().map(|n| (format!("c{n}").into(), format!("c{n}").into())).collect()
    });
    let renamed = proptest::collection::btree_map(name(), name(), 1..4).prop_map(|pairs| {
        pairs.into_iter().map(|(field, column)| (column, format!("r{field}").into())).collect()
    });
    proptest::option::of(prop_oneof![named, renamed])
}

fn embed() -> impl Strategy<Value = Embed> {
    let leaf = Just(Vec::new()).boxed();
    with_children(leaf).prop_recursive(3, 8, 2, |inner| {
        with_children(proptest::collection::vec(inner, 0..3).prop_map(distinct).boxed())
    })
}

fn with_children(embeds: BoxedStrategy<Vec<Embed>>) -> impl Strategy<Value = Embed> {
    let keys =
        proptest::collection::btree_set(name(), 1..3).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    let order = proptest::collection::btree_map(name(), any::<bool>(), 0..3).prop_map(|order| {
        order.into_iter().map(|(column, descending)| Order { column, descending }).collect::<Vec<_>>()
    });
    (
        (name(), table_name(), any::<bool>(), keys, any::<bool>()),
        (columns(), order, proptest::option::of(1..1_000_000usize), embeds),
    )
        .prop_map(|((field, from, many, keys, references), (columns, order, limit, embeds))| {
            let references = references.then(|| keys.iter().rev().cloned().collect());
            let kind = match many {
                true => EmbedKind::Many { columns: keys, references },
                false => EmbedKind::One { columns: keys, references },
            };
            let (order, limit) = if many { (order, limit) } else { (Vec::new(), None) };
            let field = format!("e{field}").into();
            Embed { field, from, kind, columns, filter: None, order, limit, embeds }
        })
}

/// One embed per field, in an order that reading keeps.
fn distinct(mut embeds: Vec<Embed>) -> Vec<Embed> {
    let mut seen = std::collections::BTreeSet::new();
    embeds.retain(|embed| seen.insert(embed.field.clone()));
    embeds
}

fn view() -> impl Strategy<Value = View> {
    let embeds = proptest::collection::vec(embed(), 0..3).prop_map(distinct);
    let filter = proptest::option::of(prop_oneof![
        Just("price > 10".into()),
        Just("\"odd \"\"name\" IS NOT NULL AND x IN ('a''b', 'é\\')".into()),
    ]);
    let part = (1..=1_000_000u32, any::<bool>(), proptest::option::of(1..100_000u64), filter.clone());
    let part = proptest::option::of(part.prop_map(|(amount, share, ttl, filter)| Part {
        store: "cache".into(),
        hold: if share { Hold::Share(amount) } else { Hold::Documents(amount.into()) },
        ttl: ttl.map(Duration::from_secs),
        filter,
    }));
    ("[a-z][a-z0-9_-]{0,10}", table_name(), columns(), filter, embeds, any::<bool>(), 0..3usize, part)
        .prop_map(|(name, from, columns, filter, embeds, json, stores, part)| View {
            name: name.into(),
            from,
            columns,
            filter,
            embeds,
            stores: [&["near"][..], &["local"], &["local", "near"]][stores]
                .iter()
                .map(|s| (*s).into())
                .collect(),
            parts: part.into_iter().collect(),
            kind: ViewKind::Document,
            indexes: Vec::new(),
            layout: Some(if json { Layout::Json } else { Layout::Hash }),
        })
}

/// Five different names, none of them one that views give a meaning to.
fn five() -> impl Strategy<Value = Vec<Box<str>>> {
    proptest::collection::btree_set(name(), 5)
        .prop_map(|names| names.into_iter().map(|name| format!("{name}_").into()).collect())
}

fn same(names: &[Box<str>]) -> Option<Vec<(Box<str>, Box<str>)>> {
    Some(names.iter().map(|name| (name.clone(), name.clone())).collect())
}

/// A view of every other kind, in the one store that holds all of them.
fn others() -> impl Strategy<Value = Vec<View>> {
    let score = prop_oneof![
        Just((Aggregate::Count, false)),
        Just((Aggregate::Count, true)),
        Just((Aggregate::Sum, true)),
        Just((Aggregate::Min, true)),
        Just((Aggregate::Max, true)),
    ];
    (five(), table_name(), score, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(names, from, (function, of), within, every, filtered)| {
            let view = |name: &str, kind: ViewKind, columns| View {
                name: name.into(),
                from: from.clone(),
                columns,
                filter: filtered.then(|| "price > 10".into()),
                embeds: Vec::new(),
                stores: vec!["local".into()],
                parts: Vec::new(),
                kind,
                indexes: Vec::new(),
                layout: Some(Layout::Json),
            };
            let ranking = Ranking {
                by: names[..2].to_vec(),
                within: if within { names[2..4].to_vec() } else { Vec::new() },
                function,
                column: of.then(|| names[4].clone()),
            };
            let shown = same(&[&ranking.within[..], &ranking.by[..]].concat());
            let tags = if within { names[1..3].to_vec() } else { Vec::new() };
            let series = Series { time: names[0].clone(), tags, fields: names[3..].to_vec() };
            let points = same(&[&[series.time.clone()][..], &series.tags, &series.fields].concat());
            let edge = Edge { source: names[0].clone(), label: "BOUGHT".into(), target: names[1].clone() };
            let properties = (!every).then(|| same(&names[..3])).flatten();
            vec![
                view("z_ranking", ViewKind::Ranking(ranking), shown),
                view("z_series", ViewKind::Series(series), points),
                view("z_edge", ViewKind::Edge(edge), properties),
            ]
        },
    )
}

/// A pattern of every kind over the views of [`others`].
fn access(views: &[View]) -> impl Strategy<Value = Vec<Access>> + use<> {
    let fields = match &views[1].kind {
        ViewKind::Series(series) => series.fields.clone(),
        _ => Vec::new(),
    };
    let orders = proptest::collection::btree_map(name(), any::<bool>(), 0..3).prop_map(|order| {
        order.into_iter().map(|(column, descending)| Order { column, descending }).collect::<Vec<_>>()
    });
    let by =
        proptest::collection::btree_set(name(), 0..3).prop_map(|names| names.into_iter().collect::<Vec<_>>());
    let hops = proptest::collection::vec(
        any::<bool>().prop_map(|against| HopLabel { label: "BOUGHT".into(), against }),
        1..8,
    );
    let functions = proptest::sample::select(vec![
        FigureFunction::Sum,
        FigureFunction::Min,
        FigureFunction::Max,
        FigureFunction::Avg,
        FigureFunction::First,
        FigureFunction::Percentile(1),
        FigureFunction::Percentile(99),
        FigureFunction::Last,
    ]);
    let common = (
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(1..86_400_000u64),
        proptest::option::of(1..u64::MAX),
        proptest::option::of(1..60_000_000u64),
    );
    (orders, by, hops, functions, 1..10_000usize, any::<bool>(), common).prop_map(
        move |(mut order, by, hops, function, limit, every, (stored, source, stale, rate, p99))| {
            order.retain(|order| !by.contains(&order.column));
            let buckets = every.then(|| Buckets {
                every: Duration::from_secs(3_600),
                zone: source.then(|| TimeZone::get("Europe/Vienna").unwrap()),
                gaps: if stored { Gaps::Previous } else { Gaps::Skip },
            });
            let figures = [
                Figure { name: "n".into(), function: FigureFunction::Count, column: None },
                Figure { name: "odd name".into(), function, column: Some(fields[0].clone()) },
            ];
            let patterns = [
                Pattern::Get { view: "z_edge".into() },
                Pattern::Range { view: "z_edge".into(), by, order, limit },
                Pattern::Top { view: "z_ranking".into(), limit },
                Pattern::Walk { hops, limit },
                Pattern::Window {
                    view: "z_series".into(),
                    figures: buckets.as_ref().map(|_| figures.to_vec()).unwrap_or_default(),
                    buckets,
                    limit,
                },
            ];
            let access = |(i, pattern): (usize, Pattern)| Access {
                name: format!("a{i}").into(),
                pattern,
                stores: if stored { vec!["local".into()] } else { Vec::new() },
                source,
                stale: stale.map(Duration::from_millis),
                rate_per_second: rate,
                p99: p99.map(Duration::from_micros),
            };
            patterns.into_iter().enumerate().map(access).collect()
        },
    )
}

fn serve() -> impl Strategy<Value = ServeSection> {
    (any::<Option<u16>>(), any::<bool>(), any::<bool>(), 1..u64::MAX, 1..65usize, 10..60_000u64).prop_map(
        |(port, six, tls, rate, parallel, timeout)| ServeSection {
            listen: port.map(|port| {
                let ip = if six { "[::1]" } else { "127.0.0.1" };
                format!("{ip}:{port}").parse().unwrap()
            }),
            resp: port.filter(|port| *port > 1).map(|port| ([127, 0, 0, 1], port - 1).into()),
            tls: tls.then(|| TlsFiles { cert: "a b.pem".into(), key: "k.pem".into() }),
            tokens: Vec::new(),
            source_rate_per_second: rate,
            source_parallel: parallel,
            source_timeout: Duration::from_millis(timeout),
        },
    )
}

fn telemetry() -> impl Strategy<Value = TelemetrySection> {
    let otlp = proptest::option::of("https?://[a-z]{1,8}(:4318)?(/otlp)?");
    let resource = proptest::collection::btree_map("[a-z.]{1,8}", "[ -#%-~é]{0,6}", 0..3);
    (otlp, 1..=1_000_000u32, resource).prop_map(|(otlp, sample, resource)| TelemetrySection {
        otlp: otlp.map(String::into_boxed_str),
        headers: Vec::new(),
        sample,
        resource: resource.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    })
}

fn views() -> impl Strategy<Value = (Vec<View>, Vec<Access>)> {
    let documents = proptest::collection::btree_map("[a-y]{1,8}", view(), 0..4);
    let others = others().prop_flat_map(|others| (access(&others), Just(others)));
    (documents, others).prop_map(|(documents, (access, others))| {
        let documents = documents.into_iter().map(|(name, view)| View { name: name.into(), ..view });
        (documents.chain(others).collect(), access)
    })
}

fn file() -> impl Strategy<Value = File> {
    let store = |name: &str, url: &str| StoreSection {
        name: name.into(),
        url: Secret::new(url),
        settings: [("number".into(), Setting::Int(-3)), ("flag".into(), Setting::Bool(true))].into(),
        source: None,
    };
    let amounts = (0..86_400_000u64, (64u64 << 20)..(1 << 45), (64u64 << 20)..(1 << 45), 100..3_600_000u64);
    let backfill = (1..17usize, 1..1_000_000usize, proptest::option::of(1..u64::MAX));
    ("[ -~é]{1,20}", amounts, backfill, views(), serve(), proptest::option::of(telemetry())).prop_map(
        move |(data, amounts, backfill, (views, access), serve, telemetry)| {
            let (hold, retained, journal, shutdown) = amounts;
            let plan = (hold % 2 == 0).then(|| plan(shutdown, &views, &access));
            let source = |name: Option<&str>| SourceSection {
                name: name.map(Into::into),
                url: Secret::new("postgres://me@host/db"),
                settings: Default::default(),
                hold_for: Duration::from_millis(hold),
                retained_log_bytes_max: retained,
            };
            let (sources, owners) = match hold % 3 {
                0 => {
                    let of_ledger = views.iter().map(|view: &View| (view.name.clone(), "ledger".into()));
                    (vec![source(Some("shop")), source(Some("ledger"))], of_ledger.collect())
                }
                _ => (vec![source(None)], Default::default()),
            };
            File {
                data: format!("d{data}").replace('$', "").into(),
                sources,
                owners,
                stores: vec![
                    store("near", "redis://cache:6379"),
                    store("local", "sqlite:derived.db"),
                    store("cache", "memory:"),
                ],
                pii: views
                    .iter()
                    .filter(|view| view.name.len() % 2 == 0)
                    .map(|view| view.name.clone())
                    .collect(),
                views,
                access,
                serve,
                journal: JournalSection { bytes_max: journal },
                backfill: BackfillSection {
                    parallel: backfill.0,
                    chunk_rows: backfill.1,
                    rows_per_second_max: backfill.2,
                },
                verify: VerifySection {
                    rows_per_second: backfill.2,
                    every: Duration::from_millis(shutdown + 1_000),
                    repair: backfill.0 % 2 == 0,
                    detect_within: backfill.2.map(|rate| Duration::from_secs(1 + rate % 1_000_000)),
                },
                run: RunSection { shutdown_within: Duration::from_millis(shutdown) },
                telemetry,
                heal: HealSection {
                    safe: shutdown % 2 == 0,
                    refill: Level::ALL[(shutdown % 3) as usize],
                    rebuild: Level::ALL[(shutdown / 3 % 3) as usize],
                    repair: Level::ALL[(shutdown / 9 % 3) as usize],
                },
                doctor: DoctorSection {
                    every: (shutdown % 4 > 0).then(|| Duration::from_secs(1 + shutdown % 100_000)),
                    pii_regions: ["eu-north-1".into(), "eu-west-1".into()][..(shutdown % 3) as usize]
                        .to_vec(),
                    check_within: Duration::from_millis(10 + shutdown % 1000),
                    limits: [("HW1002.days".to_owned(), shutdown as f64 / 8.0)].into(),
                    accepted: [(format!("HW1003 public.\"{data}\""), data.replace('$', "") + "x")].into(),
                },
                objectives: ObjectivesSection {
                    rto: Duration::from_millis(shutdown),
                    rpo_transactions: shutdown,
                },
                plan,
                text: "".into(),
                places: Places::default(),
            }
        },
    )
}

/// Everything that `[plan]` may say, different for every number.
fn plan(n: u64, views: &[View], access: &[Access]) -> PlanSection {
    let share = (n % 1_000_000) as u32 + 1;
    PlanSection {
        region: "eu-west-1".into(),
        budget_usd: (!n.is_multiple_of(3)).then_some(n),
        growth: (n % 1_000) as f64 / 100.0,
        availability: (!n.is_multiple_of(5)).then_some(share),
        rto: (!n.is_multiple_of(7)).then_some(Duration::from_millis(1_000 + n)),
        rpo: (!n.is_multiple_of(4)).then_some(Duration::from_millis(n)),
        average: share,
        hot: 1_000_001 - share,
        cross_zone: share - 1,
        regions: if n.is_multiple_of(2) { vec!["us-west-2".into()] } else { Vec::new() },
        residency: if n.is_multiple_of(5) { vec!["us".into(), "eu-west-1".into()] } else { Vec::new() },
        upkeep_usd: n,
        connections: (!n.is_multiple_of(2)).then_some(n % 1_000 + 1),
        without: if n.is_multiple_of(3) { vec!["dynamodb".into(), "aurora".into()] } else { Vec::new() },
        tables: vec![PlannedTable {
            table: TableName::new(Some("sales"), "order lines"),
            path: "sales.\"order lines\"".into(),
            rows: (!n.is_multiple_of(2)).then_some(n + 1),
            row_bytes: (!n.is_multiple_of(3)).then_some(n % 1_000_000 + 1),
            writes_per_second: (!n.is_multiple_of(5)).then_some((n % 10_000) as f64),
        }],
        views: views
            .iter()
            .take(1)
            .map(|view| PlannedView {
                view: view.name.clone(),
                documents: Some(n + 1),
                document_bytes: (!n.is_multiple_of(2)).then_some(n % 1_000_000 + 1),
            })
            .collect(),
        access: access
            .iter()
            .take(2)
            .map(|access| PlannedAccess {
                access: access.name.clone(),
                rows: (!n.is_multiple_of(2)).then_some(n + 1),
                hottest: (!n.is_multiple_of(3)).then_some(share),
                strong: n.is_multiple_of(2),
            })
            .collect(),
    }
}

proptest! {
    #[test]
    fn the_effective_file_reads_back_as_the_same_file(file in file()) {
        let config = file.to_config();
        let again = match load(&config) {
            Ok(again) => again,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}\n{config}"))),
        };
        prop_assert_eq!(&again.views, &file.views, "{}", config);
        prop_assert_eq!(&again.access, &file.access, "{}", config);
        prop_assert_eq!(again.serve.listen, file.serve.listen);
        prop_assert_eq!(again.serve.resp, file.serve.resp);
        prop_assert_eq!(&again.serve.tls, &file.serve.tls);
        prop_assert_eq!(again.serve.source_rate_per_second, file.serve.source_rate_per_second);
        prop_assert_eq!(again.serve.source_parallel, file.serve.source_parallel);
        prop_assert_eq!(again.serve.source_timeout, file.serve.source_timeout);
        prop_assert_eq!(&again.telemetry, &file.telemetry, "{}", config);
        prop_assert_eq!(&again.plan, &file.plan, "{}", config);
        prop_assert_eq!(again.to_config(), config);
        prop_assert_eq!(&again.data, &file.data);
        prop_assert_eq!(&again.owners, &file.owners);
        for (again, source) in again.sources.iter().zip(&file.sources) {
            prop_assert_eq!(&again.name, &source.name);
            prop_assert_eq!(again.hold_for, source.hold_for);
        }
        prop_assert_eq!(again.sources.len(), file.sources.len());
        prop_assert_eq!(again.journal.bytes_max, file.journal.bytes_max);
        prop_assert_eq!(again.backfill.rows_per_second_max, file.backfill.rows_per_second_max);
        prop_assert_eq!(again.verify.rows_per_second, file.verify.rows_per_second);
        prop_assert_eq!(again.verify.repair, file.verify.repair);
        prop_assert_eq!(again.verify.every, file.verify.every);
        prop_assert_eq!(again.verify.detect_within, file.verify.detect_within);
        prop_assert_eq!(again.run.shutdown_within, file.run.shutdown_within);
        prop_assert_eq!(again.heal, file.heal);
        prop_assert_eq!(again.objectives, file.objectives);
        prop_assert_eq!(again.doctor, file.doctor);
        prop_assert_eq!(again.pii, file.pii);
    }
}
