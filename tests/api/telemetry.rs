//! Traces and metrics as a collector receives them from the real program. `leaks.rs` tests that they contain no secret.

mod application_insights;
mod dead_collector;
mod every_metric;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use maxconf::telemetry::metrics::{ALL, About, SLOT};
use maxconf_simulators::collector::{ReceivedPoint, ReceivedSpan};
use maxconf_simulators::{CollectorSimulator, Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde::Deserialize;

use crate::support::{Answer, Call, Program, TAG, TestApp, TestAppBuilder, UUI_DATA, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const INVOCATION: &str = "3f2b8c1e-5d4a-4b6f-9e7d-0a1b2c3d4e5f";

/// Span attributes of a successful create.
const OF_A_CREATE: [(&str, &str); 6] = [
    ("http.request.method", "POST"),
    ("http.route", "/room/create"),
    ("http.response.status_code", "200"),
    ("code", "ok"),
    ("invocation_id", INVOCATION),
    ("request_id", "create-1"),
];

/// A running program and the collector that it exports to.
struct Monitored {
    app: TestApp,
    program: Program,
    collector: CollectorSimulator,
}

/// A metric, some of its labels and the expected value; `None` = not exported.
type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<f64>);

/// What the collector has received when the program has ended.
struct Received {
    spans: Vec<ReceivedSpan>,
    points: Vec<ReceivedPoint>,
}

impl Monitored {
    async fn start(settings: impl FnOnce(TestAppBuilder) -> TestAppBuilder) -> Self {
        let collector = CollectorSimulator::start().await;
        let builder = TestApp::with().set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).set("MAXCONF_SLOT", "blue-2");
        let (app, program) = settings(builder).start_program().await;
        Self { app, program, collector }
    }

    async fn create(&self) -> Answer {
        create(&self.app, &self.app.entra.token().build()).await
    }

    /// Stops the program, which exports what is pending.
    async fn stop(self) -> Received {
        self.program.signal("TERM");
        let ended = self.program.ended().await;
        assert_eq!(ended.code, Some(143), "{ended:?}");
        Received { spans: self.collector.spans(), points: self.collector.points() }
    }
}

/// A create within the caller's own trace.
async fn create(app: &TestApp, token: &str) -> Answer {
    let create = app.request(Method::POST, &format!("room/create?uuiData={UUI_DATA}"));
    let create = create.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).header("tracestate", "of=theirs");
    let create = create.header("x-azure-functions-invocationid", INVOCATION).header("x-request-id", "create-1");
    app.send(create.bearer_auth(token)).await
}

impl Received {
    /// The one span of this name.
    #[track_caller]
    fn span(&self, name: &str) -> &ReceivedSpan {
        let found: Vec<_> = self.spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} in {:#?}", self.spans);
        found[0]
    }

    /// Names and outcomes of the calls within a request.
    fn calls_of(&self, request: &ReceivedSpan) -> Vec<(&str, &str)> {
        let calls = self.spans.iter().filter(|span| span.parent == request.id);
        let mut calls: Vec<_> = calls.map(|call| (call.name.as_str(), call.attributes["outcome"].as_str())).collect();
        calls.sort_unstable();
        calls
    }

    /// The sum of a metric's points with these labels; a gauge's last value.
    fn number(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let points = self.points.iter().filter(|point| {
            point.metric == metric
                && labels.iter().all(|(label, value)| point.labels.get(*label).is_some_and(|is| is == value))
        });
        points.fold(None, |sum, point| match point.kind {
            "gauge" => Some(point.value),
            "histogram" => Some(sum.unwrap_or_default() + few(usize::try_from(point.count).expect("a few"))),
            _ => Some(sum.unwrap_or_default() + point.value),
        })
    }

    #[track_caller]
    fn assert_numbers(&self, expected: &[Expected<'_>]) {
        for (metric, labels, number) in expected {
            assert_eq!(self.number(metric, labels), *number, "{metric} {labels:?} in {:#?}", self.points);
        }
    }
}

#[tokio::test]
async fn a_create_is_one_trace_of_the_request_and_its_calls() {
    let service = Monitored::start(|builder| builder).await;
    service.app.warm_up().await;
    let name = service.create().await.room();
    assert_eq!(service.app.public_room(&name).await.room(), name);
    let (tagging, asking) = (service.app.pexip.traffic().log(), service.app.genesys.traffic().log());
    let received = service.stop().await;

    let create = received.span("POST /room/create");
    let expected: BTreeMap<_, _> = OF_A_CREATE.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(create.attributes, expected, "and nothing else");
    assert_eq!((create.trace.as_str(), create.parent.as_str()), (TRACE, PARENT), "in the caller's trace");
    assert_eq!((create.kind.as_str(), create.failed, create.events), ("server", false, 0));
    assert_eq!(received.calls_of(create), [("pexip tag", "ok"), ("queue delete", "ok"), ("records make_record", "ok")]);

    let read = received.span("GET /public/room/{name}");
    assert!(read.parent.is_empty() && read.trace != TRACE, "a trace of its own: {read:?}");
    assert_eq!(received.calls_of(read), [("genesys token", "ok"), ("genesys user", "ok"), ("pexip find", "ok")]);

    let tag = received.span("pexip tag");
    assert_eq!((tag.kind.as_str(), tag.trace.as_str()), ("client", TRACE));
    let known: BTreeSet<_> =
        received.spans.iter().filter(|span| span.kind == "client").flat_map(|span| span.attributes.keys()).collect();
    assert_eq!(
        known.into_iter().collect::<Vec<_>>(),
        ["call", "outcome", "system"],
        "neither an address nor a room name"
    );
    let tagging = tagging.iter().find(|call| call.method == Method::PATCH).expect("the tag");
    assert_eq!(tagging.headers["traceparent"], format!("00-{TRACE}-{}-01", tag.id), "propagated to Pexip");
    assert!(!tagging.headers.contains_key("tracestate"), "a caller can put anything into it");
    assert!(asking.iter().all(|call| !call.headers.contains_key("traceparent")), "not propagated to Genesys");
}

#[tokio::test]
async fn the_steps_of_a_create_are_counted() {
    let service = Monitored::start(|builder| builder).await;
    service.app.warm_up().await;
    let name = service.create().await.room();
    for _ in 0..2 {
        let read = service.app.request(Method::GET, &format!("public/room/{name}"));
        service.app.send(read.header("x-auth-token", "a-token-that-genesys-does-not-know")).await;
    }
    service.app.send(service.app.request(Method::POST, "room/create")).await.assert_problem(401, "token_missing");
    service.app.fill_pool().await;
    let received = service.stop().await;

    received.assert_numbers(&[
        ("maxconf.pool.handed_out", &[("source", "pool")], Some(1.0)),
        ("maxconf.pool.direct_creates", &[], None),
        ("maxconf.pool.refusals", &[], None),
        ("maxconf.pool.destroyed", &[], None),
        ("maxconf.create.duration", &[("part", "service")], Some(1.0)),
        ("maxconf.create.duration", &[("part", "queue")], Some(1.0)),
        ("maxconf.create.duration", &[("part", "pexip")], Some(1.0)),
        ("maxconf.http.requests", &[("route", "/room/create"), ("status", "200")], Some(1.0)),
        ("maxconf.http.requests", &[("route", "/room/create"), ("status", "401")], Some(1.0)),
        ("maxconf.http.requests", &[("route", "/public/room/{name}")], Some(2.0)),
        ("maxconf.http.duration", &[("route", "/room/create"), ("status", "200")], Some(1.0)),
        ("maxconf.auth.results", &[("guard", "entra"), ("reason", "ok")], Some(1.0)),
        ("maxconf.auth.results", &[("guard", "entra"), ("reason", "missing")], Some(1.0)),
        ("maxconf.auth.results", &[("guard", "genesys"), ("reason", "unknown_token")], Some(2.0)),
        ("maxconf.genesys.lookups", &[("answered_by", "genesys")], Some(1.0)),
        ("maxconf.genesys.lookups", &[("answered_by", "cache")], Some(1.0)),
        ("maxconf.upstream.calls", &[("system", "genesys"), ("outcome", "ok")], Some(1.0)),
        ("maxconf.pool.rooms", &[("state", "handed_out")], Some(1.0)),
        ("maxconf.pool.max_rooms", &[], Some(1000.0)),
        ("maxconf.pool.poison", &[], Some(0.0)),
        ("maxconf.pool.owed", &[], Some(0.0)),
        ("maxconf.breaker.open", &[("system", "pexip")], Some(0.0)),
        ("maxconf.breaker.open", &[("system", "entra")], Some(0.0)),
    ]);
    // The keys are read at start: seconds ago, or longer on a busy machine.
    for version in ["v1", "v2"] {
        let age = received.number("maxconf.entra.keys_age", &[("token_version", version)]);
        assert!(age.is_some_and(|age| (0.0..600.0).contains(&age)), "{age:?}");
    }
    assert!(
        received.number("maxconf.pool.prefetched", &[]).is_some_and(|rooms| rooms >= 1.0),
        "{:#?}",
        received.points
    );
    assert!(received.number("maxconf.pool.queue_messages", &[]).is_some_and(|messages| messages >= 3.0));
    assert!(received.number("maxconf.pexip.budget_left", &[]).is_some_and(|calls| calls > 1.0));
    assert_all_as_described(&received.points);
}

/// Each point matches its entry in the table of metrics and carries the slot.
#[track_caller]
fn assert_all_as_described(points: &[ReceivedPoint]) {
    for point in points {
        let about = ALL.iter().find(|about| about.name == point.metric);
        let about = about.unwrap_or_else(|| panic!("{} is not in the table", point.metric));
        assert_eq!((point.kind, point.unit.as_str()), (about.kind.as_str(), about.unit), "{}", about.name);
        let labels: BTreeSet<_> = point.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, labels_of(about), "{point:?}");
        assert_eq!(point.labels[SLOT], "blue-2");
        assert_eq!(point.resource["service.name"], "maxconf");
        assert_eq!(point.resource["deployment.environment.name"], "local");
    }
}

fn few(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a few"))
}

fn labels_of(about: &About) -> BTreeSet<&'static str> {
    about.labels.iter().map(|label| label.name).chain([SLOT]).collect()
}

#[tokio::test]
async fn a_failed_create_shows_the_call_that_failed() {
    let service = Monitored::start(|builder| builder).await;
    service.app.warm_up().await;
    service.app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Always, Fault::Status(503));
    let answer = service.create().await;
    assert!(answer.status.is_server_error(), "{answer:?}");
    let (status, code) =
        (answer.status.as_u16().to_string(), answer.json()["code"].as_str().expect("a code").to_owned());
    let received = service.stop().await;

    let create = received.span("POST /room/create");
    assert!(create.failed);
    assert_eq!((&create.attributes["http.response.status_code"], &create.attributes["code"]), (&status, &code));
    let calls = received.calls_of(create);
    assert!(calls.contains(&("queue delete", "ok")) && calls.contains(&("pexip tag", "busy")), "{calls:?}");
    assert!(received.spans.iter().all(|span| span.failed == (span.name == "pexip tag" || span.id == create.id)));
    received.assert_numbers(&[
        ("maxconf.pool.refusals", &[("code", &code)], Some(1.0)),
        ("maxconf.pool.destroyed", &[], Some(1.0)),
        ("maxconf.pool.handed_out", &[], None),
        ("maxconf.create.duration", &[], None),
        ("maxconf.http.requests", &[("route", "/room/create"), ("status", &status)], Some(1.0)),
    ]);
    let tags = calls.iter().filter(|call| call.1 == "busy").count();
    assert_eq!(received.number("maxconf.upstream.calls", &[("system", "pexip"), ("outcome", "busy")]), Some(few(tags)));
    assert_all_as_described(&received.points);
}

#[tokio::test]
async fn swept_rooms_are_counted_by_reason_and_capped_sweeps_are_counted() {
    let settings = |builder: TestAppBuilder| builder.set("POOL_TARGET_SIZE", 0).set("SWEEP_MAX_DELETIONS", 1);
    let service = Monitored::start(settings).await;
    for name in ["vbv-01jd5p3xk8qqqqqqqqqqqqqq01", "vbv-01jd5p3xk8qqqqqqqqqqqqqq02"] {
        let room = StoredRoom::named(name).tagged(TAG).described("handed-out=2020-01-01T00:00:00Z".to_owned());
        service.app.pexip.insert(room);
    }
    service.app.fill_pool().await;
    let received = service.stop().await;

    received.assert_numbers(&[
        ("maxconf.pool.swept", &[("reason", "past_absolute_lifetime")], Some(1.0)),
        ("maxconf.pool.sweep_capped", &[], Some(1.0)),
        ("maxconf.pool.rooms", &[("state", "handed_out")], Some(2.0)),
    ]);
    let run = received.span("POST /function_pool_maintenance");
    let calls = received.calls_of(run);
    assert!(calls.contains(&("pexip list", "ok")) && calls.contains(&("pexip delete", "ok")), "{calls:?}");
}

/// The service never waits for the collector: while the first export stalls, creates are answered, and the program
/// stops.
#[tokio::test]
async fn a_stalled_collector_delays_neither_creates_nor_the_stop() {
    let service = Monitored::start(|builder| builder).await;
    let traffic = service.collector.traffic().clone();
    traffic.inject(Matching::any(), Times::Always, Fault::Stall);
    service.app.warm_up().await;
    eventually("the collector holds an export without an answer", async || traffic.count(&Matching::any()) > 0).await;

    assert_eq!(service.create().await.status, 200);

    assert!(traffic.log().iter().all(|report| report.status.is_none()), "the collector still has not answered");
    let received = service.stop().await;
    assert!(received.spans.is_empty(), "{:?}", received.spans);
}

#[tokio::test]
async fn each_unreachable_destination_causes_exactly_two_log_lines() {
    let key = "5ca1ab1e-feed-4bad-8bee-decafc0ffee0";
    let insights = format!("InstrumentationKey={key};IngestionEndpoint=https://127.0.0.1:1/");
    let service = Monitored::start(|builder| builder.set("APPLICATIONINSIGHTS_CONNECTION_STRING", insights)).await;
    service.collector.stop().await;
    service.app.warm_up().await;
    for _ in 0..3 {
        assert_eq!(service.create().await.status, 200);
    }
    let complaints = || {
        let events = service.program.events().into_iter().filter(|event| event["destination"].is_string());
        events.map(|event| event["destination"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    eventually("both destinations are reported", async || complaints().len() >= 2).await;
    service.program.signal("TERM");
    let ended = service.program.ended().await;

    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
    for destination in ["OTLP", "Application Insights"] {
        let lines = ended.stdout.iter().filter(|line| line.contains(&format!(r#""destination":"{destination}""#)));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 2, "one failure and one total of lost traces: {:#?}", ended.stdout);
        assert!(lines[0].contains("could not be sent") && lines[1].contains("traces were lost"), "{lines:#?}");
    }
    assert!(!ended.stdout.iter().any(|line| line.contains(key)), "{:#?}", ended.stdout);
    assert!(!ended.stdout.iter().any(|line| line.contains("opentelemetry")), "the libraries log nothing");
}

/// A metric as `infra/metrics.json` lists it for the checks of alerts and panels.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Counted {
    kind: String,
    labels: BTreeSet<String>,
    #[serde(default)]
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Counted {
    fn of(about: &About) -> Self {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        let listed = about.labels.iter().filter(|label| !label.values.is_empty());
        Self {
            kind: about.kind.as_str().to_owned(),
            labels: labels_of(about).into_iter().map(str::to_owned).collect(),
            values: listed.map(|label| (label.name.to_owned(), owned(label.values))).collect(),
        }
    }
}

#[test]
fn infra_metrics_json_lists_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/metrics.json");
    let text = std::fs::read_to_string(path).expect("infra/metrics.json");
    let counted: BTreeMap<String, Counted> = serde_json::from_str(&text).expect("metrics by their names");
    for about in ALL {
        assert_eq!(counted.get(about.name), Some(&Counted::of(about)), "{}", about.name);
    }
    assert_eq!(counted.len(), ALL.len(), "{:?}", counted.keys());
}

#[test]
fn metric_names_are_unique() {
    let names: BTreeSet<_> = ALL.iter().map(|about| about.name).collect();
    assert_eq!(names.len(), ALL.len());
    assert!(names.iter().all(|name| name.starts_with("maxconf.")), "{names:?}");
}
