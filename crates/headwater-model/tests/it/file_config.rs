//! The effective file shows what is in force, hides what is secret, and reads back as the same file.

use std::time::Duration;

use headwater_model::file::{
    BackfillSection, File, JournalSection, Places, RunSection, Setting, SourceSection, StoreSection,
};
use headwater_model::{Embed, EmbedKind, Layout, Order, Secret, TableName, View};
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
"#,
    )
    .unwrap();
    let config = file.to_config();
    assert!(!config.contains("hush") && !config.contains("cr@et") && !config.contains("cr%40et"), "{config}");
    insta::assert_snapshot!(config);
}

fn name() -> impl Strategy<Value = Box<str>> {
    prop_oneof!["[a-z][a-z0-9_]{0,8}", "[-\"'\\\\. a-zA-Zé名\t]{0,6}[a-z]",].prop_map(String::into_boxed_str)
}

fn table_name() -> impl Strategy<Value = TableName> {
    (proptest::option::of(name()), name()).prop_map(|(schema, name)| TableName { schema, name })
}

/// Column names, or renames to fields that no embedded field uses.
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
    ("[a-z][a-z0-9_-]{0,10}", table_name(), columns(), filter, embeds, any::<bool>(), 0..3usize).prop_map(
        |(name, from, columns, filter, embeds, json, stores)| View {
            name: name.into(),
            from,
            columns,
            filter,
            embeds,
            stores: [&["near"][..], &["local"], &["local", "near"]][stores]
                .iter()
                .map(|s| (*s).into())
                .collect(),
            kind: headwater_model::ViewKind::Document,
            indexes: Vec::new(),
            layout: Some(if json { Layout::Json } else { Layout::Hash }),
        },
    )
}

fn file() -> impl Strategy<Value = File> {
    let store = |name: &str, url: &str| StoreSection {
        name: name.into(),
        url: Secret::new(url),
        settings: [("number".into(), Setting::Int(-3)), ("flag".into(), Setting::Bool(true))].into(),
    };
    let amounts = (0..86_400_000u64, (64u64 << 20)..(1 << 45), (64u64 << 20)..(1 << 45), 100..3_600_000u64);
    let backfill = (1..17usize, 1..1_000_000usize, proptest::option::of(1..u64::MAX));
    let views = proptest::collection::btree_map("[a-z]{1,8}", view(), 0..4);
    ("[ -~é]{1,20}", amounts, backfill, views).prop_map(move |(data, amounts, backfill, views)| {
        let (hold, retained, journal, shutdown) = amounts;
        File {
            data: format!("d{data}").replace('$', "").into(),
            source: SourceSection {
                url: Secret::new("postgres://me@host/db"),
                settings: Default::default(),
                hold_for: Duration::from_millis(hold),
                retained_log_bytes_max: retained,
            },
            stores: vec![store("near", "redis://cache:6379"), store("local", "sqlite:derived.db")],
            views: views.into_iter().map(|(name, view)| View { name: name.into(), ..view }).collect(),
            journal: JournalSection { bytes_max: journal },
            backfill: BackfillSection {
                parallel: backfill.0,
                chunk_rows: backfill.1,
                rows_per_second_max: backfill.2,
            },
            run: RunSection { shutdown_within: Duration::from_millis(shutdown) },
            text: "".into(),
            places: Places::default(),
        }
    })
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
        prop_assert_eq!(again.to_config(), config);
        prop_assert_eq!(again.data, file.data);
        prop_assert_eq!(again.source.hold_for, file.source.hold_for);
        prop_assert_eq!(again.journal.bytes_max, file.journal.bytes_max);
        prop_assert_eq!(again.backfill.rows_per_second_max, file.backfill.rows_per_second_max);
        prop_assert_eq!(again.run.shutdown_within, file.run.shutdown_within);
    }
}
