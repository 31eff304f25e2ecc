//! What `doctor` finds in tables of DynamoDB Local: nothing, and then a problem that is really there.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use headwater_engines::registry;
use headwater_model::exam::{ExamBudget, Examination};
use headwater_model::{Epoch, Layout, Offset, Store as _, Value, ViewChange};
use headwater_testkit::contract::store::{held, key, record, view};

use super::contract::client;
use super::{prefix, section, server, store};

async fn look(prefix: &str, check: &str, limits: &[(&str, f64)]) -> Examination {
    let budget = ExamBudget {
        only: vec![check.into()],
        limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
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
