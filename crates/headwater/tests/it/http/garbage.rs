//! Whatever is asked for, the answer is an answer or a documented problem.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::client::encode;
use super::shop;

#[tokio::test(flavor = "multi_thread")]
async fn any_question_gets_an_answer_or_a_documented_problem() {
    let (service, _db, client) = shop("garbage", "").await;
    let name = prop_oneof![
        6 => prop::sample::select(vec!["id", "book_id", "limit", "cursor", "reverse", "from", "to", "start"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,12}",
    ];
    let value = prop_oneof![
        3 => any::<i64>().prop_map(|n| n.to_string()),
        1 => (0i64..40).prop_map(|n| n.to_string()),
        1 => "[-+0-9eE.]{1,40}",
        1 => prop::sample::select(vec!["", "null", "NaN", "true", "false", "\0", "'; DROP TABLE books; --", "١"])
            .prop_map(str::to_owned),
        2 => "\\PC{0,40}",
    ];
    let path =
        prop::sample::select(vec!["/v1/book_page", "/v1/reviews_of_book", "/v1/%00", "/v1/a/b", "/v1/%ff"]);
    let header = prop_oneof![
        4 => Just(None),
        1 => ("Headwater-(After|Within)", "[!-~]{0,24}").prop_map(Some),
        1 => ("Headwater-After", "[0-9]{1,3}").prop_map(Some),
    ];
    let question = (path, prop::collection::vec((name, value), 0..4), header);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let known = [200, 400, 404, 409, 422, 504];
    runner
        .run(&question, |(path, pairs, header)| {
            let query: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
            let target = format!("{path}?{}", query.join("&"));
            let asked = match &header {
                Some((name, value)) => client.with(name, value).with("Headwater-Within", "50ms"),
                None => client.clone(),
            };
            let found = asked.get(&target);
            prop_assert!(known.contains(&found.status), "{target} {header:?}: {found:?}");
            let kind = found.header("content-type").unwrap_or_default().to_owned();
            let json: serde_json::Value = serde_json::from_slice(&found.body)
                .map_err(|error| TestCaseError::fail(format!("{target}: {error}: {found:?}")))?;
            if found.status == 200 {
                prop_assert_eq!(kind, "application/json");
            } else {
                prop_assert_eq!(kind, "application/problem+json");
                prop_assert_eq!(&json["status"], found.status);
            }
            Ok(())
        })
        .unwrap();
    service.stop();
}
