//! OpenTelemetry's own variables, which its libraries read by themselves: what the settings name counts, nothing else
//! does, and no value of theirs breaks the service.

use maxconf_simulators::Matching;
use reqwest::Method;

use super::Told;
use crate::support::TestAppBuilder;

/// Each variable that a library in the program reads, and some that others of its kind know, with a value that would
/// change something or cannot be read.
const OF_THE_LIBRARIES: [(&str, [&str; 2]); 29] = [
    ("OTEL_SDK_DISABLED", ["true", "?"]),
    ("OTEL_SERVICE_NAME", ["theirs", "?"]),
    ("OTEL_RESOURCE_ATTRIBUTES", ["service.name=theirs,theirs=theirs", "=,=,%zz"]),
    ("OTEL_PROPAGATORS", ["none", "?"]),
    ("OTEL_TRACES_EXPORTER", ["none", "?"]),
    ("OTEL_METRICS_EXPORTER", ["none", "?"]),
    ("OTEL_TRACES_SAMPLER", ["always_off", "?"]),
    ("OTEL_TRACES_SAMPLER_ARG", ["0", "?"]),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", ["0", "-1"]),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", ["1000", "-1"]),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", ["0", "-1"]),
    ("OTEL_BSP_MAX_QUEUE_SIZE", ["1", "-1"]),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", ["1", "-1"]),
    ("OTEL_BSP_SCHEDULE_DELAY", ["1", "-1"]),
    ("OTEL_BSP_EXPORT_TIMEOUT", ["1", "-1"]),
    ("OTEL_BSP_MAX_CONCURRENT_EXPORTS", ["0", "-1"]),
    ("OTEL_METRIC_EXPORT_INTERVAL", ["1", "-1"]),
    ("OTEL_METRIC_EXPORT_TIMEOUT", ["1", "-1"]),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ["http://127.0.0.1:1/", "?"]),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", ["http://127.0.0.1:1/", "?"]),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ["theirs=theirs,content-type=theirs", "?"]),
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", ["theirs=theirs,content-type=theirs", "?"]),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", ["http/json", "?"]),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", ["grpc", "?"]),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", ["gzip", "?"]),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", ["zstd", "?"]),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", ["0", "-1"]),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", ["0", "-1"]),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", ["cumulative", "?"]),
];

#[tokio::test]
async fn what_only_the_libraries_know_changes_nothing() {
    for value in [0, 1] {
        let all = |builder: TestAppBuilder| {
            OF_THE_LIBRARIES.into_iter().fold(builder, |builder, (name, values)| builder.set(name, values[value]))
        };
        let told = Told::start(all).await;
        told.app.warm_up().await;
        assert_eq!(told.create().await.status, 200);
        let (collector, traffic) = (told.collector.url(), told.collector.traffic().clone());
        let heard = told.heard().await;

        let create = heard.span("POST /room/create");
        assert_eq!(create.attributes["request_id"], "create-1");
        assert_eq!(heard.calls_of(create), [("pexip tag", "ok"), ("queue delete", "ok")]);
        heard.assert_numbers(&[("maxconf.pool.handed_out", &[("source", "pool")], Some(1.0))]);
        assert!(heard.points.iter().all(|point| point.resource["service.name"] == "maxconf"));
        assert!(!heard.points.iter().any(|point| point.resource.contains_key("theirs")));
        for call in traffic.log() {
            assert_eq!((&call.method, call.status), (&Method::POST, Some(200)), "{collector}: {call:?}");
            assert!(!call.headers.contains_key("theirs") && call.headers["content-type"] == "application/x-protobuf");
        }
        assert_eq!(traffic.count(&Matching::any().path_contains("metrics")), 1, "one report, at the end");
    }
}

#[tokio::test]
async fn the_collector_is_shown_the_headers_that_are_set_and_nobody_else_is() {
    let told = Told::start(|builder| {
        builder.set("OTEL_EXPORTER_OTLP_HEADERS", "api-key=key%20of,x-tenant = maxconf ,content-type=theirs")
    });
    let told = told.await;
    told.app.warm_up().await;
    assert_eq!(told.create().await.status, 200);
    let (traffic, pexip) = (told.collector.traffic().clone(), told.app.pexip.traffic().clone());
    let program = told.program;
    program.signal("TERM");
    let ended = program.ended().await;

    let log = traffic.log();
    assert!(log.iter().any(|call| call.path == "/v1/traces") && log.iter().any(|call| call.path == "/v1/metrics"));
    for call in log {
        assert_eq!(
            (&call.headers["api-key"], &call.headers["x-tenant"]),
            (&"key of".parse().expect("a value"), &"maxconf".parse().expect("a value"))
        );
        assert_eq!(call.status, Some(200), "what the body is, is not for a setting to say: {call:?}");
    }
    assert!(pexip.log().iter().all(|call| !call.headers.contains_key("api-key")));
    assert!(!ended.stdout.iter().any(|line| line.contains("key of") || line.contains("key%20of")), "{ended:?}");
}
