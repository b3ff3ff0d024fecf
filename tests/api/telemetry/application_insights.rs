//! What an Application Insights resource receives from the real program, and how the program behaves when the resource
//! fails. The exporter accepts https only, so the simulated resource has a certificate.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use maxconf::telemetry::VERSION;
use maxconf::telemetry::metrics::{ALL, SLOT};
use maxconf_simulators::application_insights::TrackedItem;
use maxconf_simulators::{ApplicationInsightsSimulator, Fault, Matching, SelfSigned, Times};
use serde_json::Value;

use super::{OF_A_CREATE, PARENT, TRACE, create, labels_of};
use crate::support::{Call, Ended, PemFile, Program, Secrets, TAG, TestApp, UUI_DATA, eventually};

/// Concurrent programs; most of them wait for a time limit.
const CONCURRENT_PROGRAMS: usize = 12;

/// A running program and the resource that it exports to.
struct Monitored {
    app: TestApp,
    /// `None` after `stop`.
    program: Option<Program>,
    insights: ApplicationInsightsSimulator,
    _trusted: PemFile,
}

impl Monitored {
    async fn start() -> Self {
        let certificate = SelfSigned::new();
        let insights = ApplicationInsightsSimulator::start_tls(&certificate).await;
        let trusted = PemFile::of(certificate.pem());
        let builder = TestApp::with()
            .set("APPLICATIONINSIGHTS_CONNECTION_STRING", insights.connection_string())
            .set("SSL_CERT_FILE", trusted.path())
            .set("MAXCONF_SLOT", "blue-2");
        let (app, program) = builder.start_program().await;
        Self { app, program: Some(program), insights, _trusted: trusted }
    }

    /// Stops the program, which exports what is pending. Returns its output.
    async fn stop(&mut self) -> Ended {
        let program = self.program.take().expect("a program that was not stopped before");
        program.signal("TERM");
        let ended = program.ended().await;
        assert_eq!(ended.code, Some(143), "{ended:?}");
        assert!(ended.stderr.is_empty(), "{ended:?}");
        let key = self.insights.instrumentation_key();
        assert!(!ended.stdout.iter().any(|line| line.contains(key)), "{:#?}", ended.stdout);
        ended
    }
}

/// The one request of this name.
#[track_caller]
fn request<'a>(items: &'a [TrackedItem], name: &str) -> &'a TrackedItem {
    let found: Vec<_> = items.iter().filter(|item| item.kind == "RequestData" && item.data["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name} in {items:#?}");
    found[0]
}

/// Name, outcome and success of a request's calls. Asserts that they belong to the request's operation.
fn dependencies<'a>(items: &'a [TrackedItem], request: &TrackedItem) -> Vec<(&'a str, &'a str, bool)> {
    let of_it = |item: &&TrackedItem| {
        item.kind == "RemoteDependencyData"
            && item.tags.get("ai.operation.parentId").map(String::as_str) == request.data["id"].as_str()
    };
    let calls = items.iter().filter(of_it).map(|call| {
        assert_eq!(call.tags["ai.operation.id"], request.tags["ai.operation.id"], "{call:?}");
        // A missing `success` counts as true in the resource's table.
        let success = call.data["success"].as_bool().unwrap_or(true);
        (call.data["name"].as_str().expect("a name"), call.properties["outcome"].as_str(), success)
    });
    let mut calls: Vec<_> = calls.collect();
    calls.sort_unstable();
    calls
}

#[tokio::test]
async fn a_create_is_one_request_with_its_dependencies_and_metrics() {
    let mut service = Monitored::start().await;
    service.app.warm_up().await;
    let (token, agent) = (service.app.entra.token().build(), service.app.genesys.issue_token());
    let room = create(&service.app, &token).await.room();
    let read = service.app.request(reqwest::Method::GET, &format!("public/room/{room}")).header("x-auth-token", &agent);
    assert_eq!(service.app.send(read).await.room(), room);
    let mut secrets = Secrets::default();
    for (what, secret) in
        [("Entra's token", &*token), ("Genesys' token", &agent), ("the case", UUI_DATA), ("its tag", TAG)]
    {
        secrets.plant(what, secret);
    }
    for room in service.app.pexip.rooms() {
        secrets.plant("a room", &room.name);
    }
    service.stop().await;
    let (items, sent) = (service.insights.items(), service.insights.traffic().log());

    assert!(sent.iter().all(|call| call.path == "/v2/track" && call.headers["content-encoding"] == "gzip"));
    let create = request(&items, "POST /room/create");
    let expected = [
        ("ai.application.ver", VERSION),
        ("ai.cloud.role", "maxconf"),
        ("ai.operation.id", TRACE),
        ("ai.operation.name", "POST /room/create"),
        ("ai.operation.parentId", PARENT),
    ];
    assert_eq!(create.tags, owned(&expected));
    assert_eq!((&create.data["responseCode"], &create.data["success"]), (&Value::from("200"), &Value::from(true)));
    assert_eq!(create.properties, with_resource(&OF_A_CREATE), "and nothing else");
    assert_eq!(
        dependencies(&items, create),
        [("pexip tag", "ok", true), ("queue delete", "ok", true), ("records make_record", "ok", true)]
    );
    let read = request(&items, "GET /public/room/{name}");
    assert_ne!(read.tags["ai.operation.id"], TRACE, "an operation of its own");
    assert_eq!(dependencies(&items, read).len(), 3, "{items:#?}");

    assert_metrics_as_described(&items);
    for (metric, labels, value, count) in [
        ("maxconf.pool.handed_out", &[("source", "pool")][..], Some(1.0), None),
        ("maxconf.http.requests", &[("route", "/room/create"), ("status", "200")], Some(1.0), None),
        ("maxconf.pool.max_rooms", &[], Some(1000.0), None),
        ("maxconf.http.duration", &[("route", "/room/create")], None, Some(1)),
        ("maxconf.create.duration", &[("part", "pexip")], None, Some(1)),
    ] {
        let found = metric_data(&items, metric, labels);
        assert!(value.is_none_or(|value| found["value"] == value), "{metric}: {found}");
        assert!(count.is_none_or(|count| found["count"] == count), "{metric}: {found}");
    }
    secrets.assert_not_in("what is sent to Application Insights", &service.insights.text());
}

/// The data point of a metric with these labels.
#[track_caller]
fn metric_data<'a>(items: &'a [TrackedItem], metric: &str, labels: &[(&str, &str)]) -> &'a Value {
    let found = items.iter().find(|item| {
        item.kind == "MetricData"
            && item.data["metrics"][0]["name"] == metric
            && labels.iter().all(|(label, value)| item.properties.get(*label).is_some_and(|is| is == value))
    });
    &found.unwrap_or_else(|| panic!("no {metric} {labels:?} in {items:#?}")).data["metrics"][0]
}

/// Each metric is in the table of metrics, with exactly its labels and in the form that the resource's columns require.
#[track_caller]
fn assert_metrics_as_described(items: &[TrackedItem]) {
    let metrics: Vec<_> = items.iter().filter(|item| item.kind == "MetricData").collect();
    assert!(!metrics.is_empty(), "{items:#?}");
    for item in metrics {
        let number = &item.data["metrics"][0];
        let about = ALL.iter().find(|about| number["name"] == about.name);
        let about = about.unwrap_or_else(|| panic!("{number} is not in the table"));
        let expected: BTreeSet<_> = with_resource(&[]).into_keys().collect();
        let expected: BTreeSet<_> = labels_of(about).into_iter().map(str::to_owned).chain(expected).collect();
        assert_eq!(item.properties.keys().cloned().collect::<BTreeSet<_>>(), expected, "{item:?}");
        assert_eq!(item.properties[SLOT], "blue-2");
        let (kind, counts) = match about.kind.as_str() {
            "gauge" => ("Measurement", false),
            "counter" => ("Aggregation", false),
            _ => ("Aggregation", true),
        };
        assert_eq!(number["kind"], kind, "{item:?}");
        assert_eq!(number["count"].is_u64() && number["min"].is_f64() && number["max"].is_f64(), counts, "{item:?}");
    }
}

fn owned(words: &[(&str, &str)]) -> BTreeMap<String, String> {
    words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// These properties and those of the process.
fn with_resource(words: &[(&str, &str)]) -> BTreeMap<String, String> {
    let resource = [
        ("service.name", "maxconf"),
        ("service.version", VERSION),
        ("deployment.environment.name", "local"),
        ("maxconf.slot", "blue-2"),
    ];
    owned(&[words, &resource].concat())
}

#[tokio::test]
async fn a_failed_create_is_a_failed_request_with_the_failed_call() {
    let mut service = Monitored::start().await;
    service.app.warm_up().await;
    service.app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Always, Fault::Status(503));
    let answer = create(&service.app, &service.app.entra.token().build()).await;
    assert!(answer.status.is_server_error(), "{answer:?}");
    service.stop().await;
    let items = service.insights.items();

    let create = request(&items, "POST /room/create");
    assert_eq!(create.data["success"], false, "{create:?}");
    assert_eq!(create.data["responseCode"], answer.status.as_str());
    let calls = dependencies(&items, create);
    assert!(
        calls.contains(&("queue delete", "ok", true)) && calls.contains(&("pexip tag", "busy", false)),
        "{calls:?}"
    );
}

/// How the resource fails.
#[derive(Clone, Debug)]
enum Failure {
    Answering(Fault),
    /// Connections are refused.
    Down,
}

fn partial(items: &str) -> Fault {
    Fault::StatusWith { status: 206, headers: vec![], body: items.to_owned() }
}

/// Whatever the failure, creates succeed, the process keeps running and stops in time, and its log has at most one
/// failure and one total of lost traces.
#[tokio::test]
async fn a_failing_resource_does_not_affect_the_service() {
    let statuses = [302, 308, 400, 402, 403, 404, 408, 413, 429, 439, 500, 502, 503].map(Fault::Status);
    let others = [
        Fault::Stall,
        Fault::HangUpBefore,
        Fault::HangUpAfter,
        Fault::Rubbish,
        Fault::HugeBody(1024 * 1024),
        partial("neither JSON nor anything else"),
        partial(r#"{"itemsReceived":9,"itemsAccepted":0,"errors":[{"index":99999999,"statusCode":500}]}"#),
        partial(r#"{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":0,"statusCode":503}]}"#),
        partial(r#"{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":0,"statusCode":400}]}"#),
    ];
    let failures = statuses.into_iter().chain(others).map(Failure::Answering).chain([Failure::Down]);
    stream::iter(failures).map(creates_succeed_with).buffer_unordered(CONCURRENT_PROGRAMS).collect::<()>().await;
}

async fn creates_succeed_with(failure: Failure) {
    let mut service = Monitored::start().await;
    let traffic = service.insights.traffic().clone();
    match failure.clone() {
        Failure::Answering(fault) => traffic.inject(Matching::any(), Times::Always, fault),
        Failure::Down => service.insights.stop().await,
    }
    service.app.warm_up().await;
    let events = || service.program.as_ref().map(Program::events).unwrap_or_default();
    let complaints = || events().iter().filter(|event| event["destination"].is_string()).count();
    eventually(&format!("{failure:?} occurs"), async || traffic.count(&Matching::any()) + complaints() > 0).await;

    for _ in 0..3 {
        let answer = create(&service.app, &service.app.entra.token().build()).await;
        assert_eq!(answer.status, 200, "{failure:?}: {answer:?}");
    }

    let ended = service.stop().await;
    let said = |message: &str| ended.stdout.iter().filter(|line| line.contains(message)).count();
    assert!(said("traces or metrics could not be sent") <= 1, "{failure:?}: {:#?}", ended.stdout);
    assert!(said("traces were lost") <= 1, "{failure:?}: {:#?}", ended.stdout);
    assert_eq!(said(r#""message":"panic""#), 0, "{failure:?}: {:#?}", ended.stdout);
}
