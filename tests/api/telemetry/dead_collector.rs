//! A collector that does not answer, and thousands of requests: all of them succeed, and spans that cannot be exported
//! are dropped and counted.

use futures_util::{StreamExt, stream};
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use super::Monitored;
use crate::support::{Program, TestApp, eventually};

/// Three times the number of spans that the queue holds.
const REQUESTS: usize = 6_000;
const CONCURRENT_REQUESTS: usize = 32;

/// Spans that the queue of a destination holds, as `infra/docs/telemetry.md` says, and the largest export.
const QUEUE_SIZE: usize = 2_048;
const LARGEST_BATCH: usize = 512;

/// Bound on the additional memory, in MiB. A queued span takes one or two kilobytes.
const MEMORY_LIMIT: u64 = 16;

async fn send_many(app: &TestApp, times: usize) {
    let ask = async |_| {
        let answer = app.http.execute(app.request(Method::GET, "health/live").build().expect("a request")).await;
        assert_eq!(answer.expect("an answer").status(), 200);
    };
    stream::iter(0..times).map(ask).buffer_unordered(CONCURRENT_REQUESTS).collect::<()>().await;
}

/// The number of lost spans in the program's final log line.
fn lost(stdout: &[String]) -> usize {
    let accounts = stdout.iter().filter(|line| line.contains("traces were lost"));
    let accounts: Vec<serde_json::Value> = accounts.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(accounts.len(), 1, "{accounts:#?}");
    usize::try_from(accounts[0]["lost"].as_u64().expect("a number")).expect("a few")
}

fn complaints(stdout: &[String]) -> usize {
    stdout.iter().filter(|line| line.contains("could not be sent and may be lost")).count()
}

/// The spans in the queue are exported when the collector answers again; the others are counted as lost.
#[tokio::test]
async fn spans_beyond_the_queue_are_dropped_and_counted() {
    let service = Monitored::start(|builder| builder).await;
    service.app.warm_up().await;
    let traffic = service.collector.traffic().clone();
    traffic.inject(Matching::any(), Times::Always, Fault::Stall);
    send_many(&service.app, REQUESTS).await;
    assert_eq!(service.create().await.status, 200);
    let stalled = traffic.count(&Matching::any().path_contains("traces"));
    assert!(stalled > 0, "the collector received an export");
    // An export that the collector answers too late is counted as lost, but arrives.
    traffic.heal();
    let (program, collector) = (service.program, service.collector);
    eventually("the queued spans arrive", async || collector.spans().len() >= QUEUE_SIZE).await;
    program.signal("TERM");
    let ended = program.ended().await;

    assert_eq!(ended.code, Some(143), "{ended:?}");
    let (lost, arrived) = (lost(&ended.stdout), collector.spans().len());
    assert!(arrived <= QUEUE_SIZE + stalled * LARGEST_BATCH, "{arrived} spans arrived");
    assert!(lost + arrived >= REQUESTS, "{lost} were lost and {arrived} arrived, of {REQUESTS} at least");
    assert!(lost + QUEUE_SIZE + (stalled + 1) * LARGEST_BATCH > REQUESTS, "{lost} were lost");
    let complaints = complaints(&ended.stdout);
    assert!(complaints <= 2 + stalled, "{complaints} log lines for {stalled} failed exports; not one for each span");
}

/// Compared with a program that exports nothing.
#[tokio::test]
async fn a_dead_collector_costs_a_bounded_amount_of_memory() {
    let service = Monitored::start(|builder| builder).await;
    service.collector.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let (quiet, alone) = TestApp::with().start_program().await;
    for app in [&service.app, &quiet] {
        send_many(app, REQUESTS).await;
    }

    let used = |program: &Program| program.resident_mib();
    let (Some(with), Some(without)) = (used(&service.program), used(&alone)) else {
        return maxconf_simulators::machine::report_missing(
            "no /proc",
            "the memory cost of a dead collector is not checked",
        );
    };
    assert!(with <= without + MEMORY_LIMIT, "{with} MiB with a dead collector, {without} MiB without any");
    service.program.signal("TERM");
    let ended = service.program.ended().await;
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert!(lost(&ended.stdout) >= REQUESTS, "no span was exported, so all are counted as lost");
}
