//! The API's document: as it is served, as its copy for API Management, and compared with the service's real answers.
//! Every answer in every test is compared: see `support/promises.rs`.

mod kept;

use std::collections::BTreeSet;
use std::path::Path;

use maxconf::http::routes;
use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, Program, Promises, TestApp};

#[tokio::test]
async fn the_document_is_served_without_a_token_and_causes_no_upstream_call() {
    let app = TestApp::without_pool().await;
    for request in [app.request(Method::GET, "openapi.json"), app.request(Method::GET, "openapi.json").bearer_auth("x")]
    {
        let answer = app.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.json(), routes::document());
    }
    app.assert_no_outside_calls("the document");
}

#[tokio::test]
async fn the_copy_for_api_management_is_the_documents() {
    let ended = Program::run(&["openapi"], []).await;
    assert_eq!((ended.code, ended.stderr.len()), (Some(0), 0), "{ended:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/openapi.json");
    let copy = std::fs::read_to_string(path).unwrap_or_default();
    let is_current = copy.lines().eq(ended.stdout.iter().map(String::as_str));
    assert!(is_current, "infra/openapi.json is stale; run: cargo run --locked -- openapi > infra/openapi.json");
}

#[tokio::test]
async fn the_gateways_list_of_operations_is_the_documents() {
    let ended = Program::run(&["openapi", "--operations"], []).await;
    assert_eq!((ended.code, ended.stderr.len()), (Some(0), 0), "{ended:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/gateway/operations.json");
    let copy = std::fs::read_to_string(path).unwrap_or_default();
    let is_current = copy.lines().eq(ended.stdout.iter().map(String::as_str));
    let command = "cargo run --locked -- openapi --operations > infra/gateway/operations.json";
    assert!(is_current, "infra/gateway/operations.json is stale; run: {command}");
}

#[test]
fn every_operation_names_itself_and_says_who_may_call_it() {
    let document = routes::document();
    let mut ids = BTreeSet::new();
    for (_, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{ids:?}");
        assert!(operation["security"].is_array(), "{operation}");
    }
    assert!(ids.len() >= 8, "the operations were found: {ids:?}");
}

/// Headers appear here only as examples; other tests check their values.
#[test]
fn answers_that_are_not_promised_are_noticed() {
    let promises = Promises::default();
    let answer = |status: u16, headers: &[(&str, &str)], text: &str| Answer {
        status: status.try_into().expect("a status"),
        headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
        text: text.to_owned(),
    };
    let of_all = [
        ("x-request-id", "1"),
        ("maxconf-version", "1"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ];
    let problem = [&of_all[..], &[("content-type", "application/problem+json")]].concat();
    let not_found = r#"{"code":"room_not_found","status":404}"#;
    let broken = |method: Method, path: &str, answer: Answer| promises.broken_by(&method, path, &answer);
    let room = "/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

    assert_eq!(broken(Method::DELETE, room, answer(204, &of_all, "")), None);
    assert_eq!(broken(Method::DELETE, room, answer(404, &problem, not_found)), None);
    for (method, path, answer) in [
        (Method::DELETE, room, answer(202, &of_all, "")),
        (Method::DELETE, room, answer(204, &of_all[1..], "")),
        (Method::DELETE, room, answer(404, &of_all, not_found)),
        (Method::DELETE, room, answer(404, &problem, r#"{"code":"no_room","status":404}"#)),
        (Method::DELETE, room, answer(404, &problem, "{}")),
        (Method::PUT, room, answer(200, &of_all, "")),
        (Method::GET, "/nothing", answer(200, &of_all, "")),
        (Method::POST, "/room/create", answer(404, &problem, not_found)),
    ] {
        assert_ne!(broken(method.clone(), path, answer.clone()), None, "{method} {path} {answer:?}");
    }
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.values().flat_map(|operations| operations.as_object().expect("operations"))
}
