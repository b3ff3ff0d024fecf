//! OpenTelemetry's environment variables, which its libraries read by themselves: only the documented settings have an
//! effect, and no value of the others breaks the service.

use maxconf_simulators::Matching;
use reqwest::Method;

use super::Monitored;
use crate::support::TestAppBuilder;

/// Every variable that a library in the program reads, and some of other OpenTelemetry SDKs, each with a value that
/// would have an effect and an invalid one.
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
async fn variables_that_are_no_settings_have_no_effect() {
    for value in [0, 1] {
        let all = |builder: TestAppBuilder| {
            OF_THE_LIBRARIES.into_iter().fold(builder, |builder, (name, values)| builder.set(name, values[value]))
        };
        let service = Monitored::start(all).await;
        service.app.warm_up().await;
        assert_eq!(service.create().await.status, 200);
        let (collector, traffic) = (service.collector.url(), service.collector.traffic().clone());
        let received = service.stop().await;

        let create = received.span("POST /room/create");
        assert_eq!(create.attributes["request_id"], "create-1");
        assert_eq!(
            received.calls_of(create),
            [("pexip tag", "ok"), ("queue delete", "ok"), ("records make_record", "ok")]
        );
        received.assert_numbers(&[("maxconf.pool.handed_out", &[("source", "pool")], Some(1.0))]);
        assert!(received.points.iter().all(|point| point.resource["service.name"] == "maxconf"));
        assert!(!received.points.iter().any(|point| point.resource.contains_key("theirs")));
        for call in traffic.log() {
            assert_eq!((&call.method, call.status), (&Method::POST, Some(200)), "{collector}: {call:?}");
            assert!(!call.headers.contains_key("theirs") && call.headers["content-type"] == "application/x-protobuf");
        }
        assert_eq!(traffic.count(&Matching::any().path_contains("metrics")), 1, "one export, at the end");
    }
}

#[tokio::test]
async fn the_configured_headers_are_sent_to_the_collector_and_nowhere_else() {
    let service = Monitored::start(|builder| {
        builder.set("OTEL_EXPORTER_OTLP_HEADERS", "api-key=key%20of,x-tenant = maxconf ,content-type=theirs")
    });
    let service = service.await;
    service.app.warm_up().await;
    assert_eq!(service.create().await.status, 200);
    let (traffic, pexip) = (service.collector.traffic().clone(), service.app.pexip.traffic().clone());
    let program = service.program;
    program.signal("TERM");
    let ended = program.ended().await;

    let log = traffic.log();
    assert!(log.iter().any(|call| call.path == "/v1/traces") && log.iter().any(|call| call.path == "/v1/metrics"));
    for call in log {
        assert_eq!(
            (&call.headers["api-key"], &call.headers["x-tenant"]),
            (&"key of".parse().expect("a value"), &"maxconf".parse().expect("a value"))
        );
        assert_eq!(call.status, Some(200), "the setting must not replace content-type: {call:?}");
    }
    assert!(pexip.log().iter().all(|call| !call.headers.contains_key("api-key")));
    assert!(!ended.stdout.iter().any(|line| line.contains("key of") || line.contains("key%20of")), "{ended:?}");
}
