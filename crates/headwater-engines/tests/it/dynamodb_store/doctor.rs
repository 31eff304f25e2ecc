//! What `doctor` finds in tables of DynamoDB Local: nothing, and then a problem that is really there.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate,
    KeySchemaElement, KeyType, Projection, ProjectionType, ProvisionedThroughput, ScalarAttributeType,
};
use headwater_engines::dynamodb::Store;
use headwater_engines::registry;
use headwater_model::exam::{ExamBudget, Examination, Urgency};
use headwater_model::{Epoch, Index, Layout, Offset, Order, Store as _, Value, View, ViewChange};
use headwater_testkit::contract::store::{document, held, key, record, view};

use super::contract::client;
use super::{prefix, section, server, store};

async fn look(prefix: &str, check: &str, limits: &[(&str, f64)]) -> Examination {
    look_knowing(prefix, check, limits, None).await
}

/// As `doctor` looks beside a running instance with this store.
async fn look_knowing(prefix: &str, check: &str, limits: &[(&str, f64)], of: Option<&Store>) -> Examination {
    let budget = ExamBudget {
        only: vec![check.into()],
        limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
        traffic: of.map(|store| store.consumed().into_iter().flat_map(|used| used.tables).collect()),
        ..ExamBudget::default()
    };
    let examiner = registry::store_examiner(&section(&server().endpoint(), prefix)).unwrap().unwrap();
    examiner.examine(&budget).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_what_erodes_tables() {
    let (prefix, view) = (prefix(), view("book", Layout::Json));
    let store = store(&prefix);
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&view).await.unwrap();
    let mut step = store.begin(Epoch(1), Offset(0)).await.unwrap();
    let document = record(&[("id", Value::Int(1)), ("title", Value::text("x".repeat(50_000)))]);
    let put = ViewChange::Put { view: view.clone(), key: key(1), moved_from: None, document };
    assert_eq!(step.write(vec![put]).await.unwrap(), []);
    step.commit(&held(1, 1)).await.unwrap();
    let table = format!("{prefix}book");

    assert_eq!(look(&prefix, "HW5003", &[]).await.found, []);
    let found = look(&prefix, "HW5003", &[("bytes", 40_000.0)]).await.found;
    assert_eq!((found.len(), &*found[0].subject), (1, &*format!("table {table}")), "{found:?}");
    assert!(found[0].what.contains("that of 1 has 50"), "{found:?}");

    assert_eq!(look(&prefix, "HW5004", &[]).await.found, []);
    let create = CreateGlobalSecondaryIndexAction::builder()
        .index_name("by_title")
        .key_schema(KeySchemaElement::builder().attribute_name("t").key_type(KeyType::Hash).build().unwrap())
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap();
    let attribute = AttributeDefinition::builder()
        .attribute_name("t")
        .attribute_type(ScalarAttributeType::S)
        .build()
        .unwrap();
    let request = client().update_table().table_name(&table).attribute_definitions(attribute);
    let update = GlobalSecondaryIndexUpdate::builder().create(create).build();
    request.global_secondary_index_updates(update).send().await.unwrap();
    let found = look(&prefix, "HW5004", &[]).await.found;
    assert_eq!((found.len(), &*found[0].subject), (1, &*format!("index by_title of {table}")), "{found:?}");

    // DynamoDB Local knows neither protection nor, perhaps, backups: what cannot be seen is not called healthy.
    for check in ["HW5001", "HW5002"] {
        let looked = look(&prefix, check, &[]).await;
        let found: Vec<&str> = looked.found.iter().map(|found| &*found.subject).collect();
        let all = [format!("table {prefix}.headwater"), format!("table {table}")];
        assert!(looked.skipped.len() == 1 || found == all, "{looked:?}");
    }
}

/// The number behind a word of a command.
fn number_after(command: &str, word: &str) -> i64 {
    let rest = &command[command.find(word).unwrap() + word.len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().unwrap()
}

async fn provision(table: &str, reads: i64, writes: i64) {
    let throughput =
        ProvisionedThroughput::builder().read_capacity_units(reads).write_capacity_units(writes).build();
    let request = client().update_table().table_name(table).billing_mode(BillingMode::Provisioned);
    request.provisioned_throughput(throughput.unwrap()).send().await.unwrap();
}

fn put(view: &Arc<View>, id: i64, n: i64) -> ViewChange {
    ViewChange::Put { view: view.clone(), key: key(id), moved_from: None, document: document(id, n) }
}

async fn step(store: &Store, after: u64, changes: Vec<ViewChange>) {
    let mut step = store.begin(Epoch(1), Offset(after)).await.unwrap();
    assert_eq!(step.write(changes).await.unwrap(), []);
    step.commit(&held(1, after + 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capacity_that_is_bought_and_not_used_is_found_until_it_is_given_back() {
    let (prefix, view) = (prefix(), view("book", Layout::Hash));
    let (store, table) = (store(&prefix), format!("{prefix}book"));
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&view).await.unwrap();
    step(&store, 0, (1..=120).map(|id| put(&view, id, 1)).collect()).await;
    let at_once = [("hours", 0.0)];
    let look =
        async |limits: &[(&str, f64)]| look_knowing(&prefix, "HW5005", limits, Some(&*store)).await.found;
    assert_eq!(look(&at_once).await, [], "it is paid by the request");
    provision(&table, 5, 100).await;
    assert_eq!(look(&[]).await, [], "nobody has counted for a day");
    let found = look(&at_once).await;
    let [bought] = &found[..] else { panic!("{found:?}") };
    assert_eq!(bought.subject, format!("table {table}"));
    assert!(
        bought.what.contains("5 read and 100 write units") && bought.what.contains("0.0 and 2.0"),
        "{bought:?}"
    );
    assert!(bought.answered["not counted"].contains("other than Headwater"), "{bought:?}");
    assert!(bought.remedy[1].contains("--billing-mode PAY_PER_REQUEST"), "{bought:?}");
    assert_eq!(number_after(&bought.undo[0], "WriteCapacityUnits="), 100, "{bought:?}");
    let units = |word| number_after(&bought.remedy[0], word);
    assert_eq!((units("ReadCapacityUnits="), units("WriteCapacityUnits=")), (5, 3), "{bought:?}");
    provision(&table, 5, 3).await;
    assert_eq!(look(&at_once).await, []);
    // Whoever looks from outside does not know.
    let outside = self::look(&prefix, "HW5005", &at_once).await;
    assert_eq!((outside.made, outside.skipped.len()), (0, 1), "{outside:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ranking_in_one_partition_is_found_until_it_is_apart_by_something() {
    let prefix = prefix();
    let apart_by = |columns: &[&str]| {
        let order = vec![Order { column: "n".into(), descending: true }];
        let by = columns.iter().map(|column| Box::from(*column)).collect();
        let mut ranked = (*view("best", Layout::Hash)).clone();
        ranked.indexes = vec![Index { by, order }];
        Arc::new(ranked)
    };
    let few = [("from_units", 0.1)];
    let look = async |store: &Store| look_knowing(&prefix, "HW5006", &few, Some(store)).await.found;
    let changes = |view: &Arc<View>, n: i64| (1..=20).map(move |id| put(view, id, n)).collect::<Vec<_>>();

    let (store, ranked) = (store(&prefix), apart_by(&[]));
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&ranked).await.unwrap();
    step(&store, 0, changes(&ranked, 1)).await;
    let found = look(&store).await;
    let [hot] = &found[..] else { panic!("{found:?}") };
    assert_eq!((hot.subject.clone(), hot.urgency), (format!("table {prefix}best.index"), Urgency::Medium));
    assert!(hot.what.contains("index 0, which is in one part") && hot.what.contains("100 % of"), "{hot:?}");
    assert!(hot.remedy[0].contains("(within)"), "{hot:?}");
    let nearly = look_knowing(&prefix, "HW5006", &[("units", 0.1)], Some(&*store)).await.found;
    assert_eq!(nearly.iter().map(|found| found.urgency).max(), Some(Urgency::High), "{nearly:?}");
    assert_eq!(
        look_knowing(&prefix, "HW5006", &[], Some(&*store)).await.found,
        [],
        "far from what a partition takes"
    );

    // Another file is read at the next start.
    let (store, ranked) = (self::store(&prefix), apart_by(&["id"]));
    store.claim(Epoch(1)).await.unwrap();
    store.prepare(&ranked).await.unwrap();
    let mut refill = vec![ViewChange::Clear { view: ranked.clone() }];
    refill.extend(changes(&ranked, 2));
    step(&store, 1, refill).await;
    assert_eq!(look(&store).await, []);
}
