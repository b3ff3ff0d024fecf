//! A collector that takes nothing, and thousands of requests: none of them fails for it, and what cannot be sent is
//! counted and dropped.

use futures_util::{StreamExt, stream};
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use super::Told;
use crate::support::{Program, TestApp, eventually};

/// Three times as many spans as may wait.
const REQUESTS: usize = 6_000;
const AT_A_TIME: usize = 32;

/// Spans that may wait for a destination, as `infra/docs/telemetry.md` says, and those that are sent at a time.
const MOST_WAITING: usize = 2_048;
const LARGEST_BATCH: usize = 512;

/// What this may cost in memory, in MiB: the spans that wait have a kilobyte or two.
const MOST_MEMORY: u64 = 16;

async fn ask_often(app: &TestApp, times: usize) {
    let ask = async |_| {
        let answer = app.http.execute(app.request(Method::GET, "health/live").build().expect("a request")).await;
        assert_eq!(answer.expect("an answer").status(), 200);
    };
    stream::iter(0..times).map(ask).buffer_unordered(AT_A_TIME).collect::<()>().await;
}

/// Spans that the program said were lost, by its last line about that.
fn lost(stdout: &[String]) -> usize {
    let accounts = stdout.iter().filter(|line| line.contains("traces were lost"));
    let accounts: Vec<serde_json::Value> = accounts.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(accounts.len(), 1, "{accounts:#?}");
    usize::try_from(accounts[0]["lost"].as_u64().expect("a number")).expect("a few")
}

fn complaints(stdout: &[String]) -> usize {
    stdout.iter().filter(|line| line.contains("could not be sent and may be lost")).count()
}

/// As many spans as may wait are kept for a collector that comes back, the others are counted.
#[tokio::test]
async fn of_thousands_of_spans_as_many_wait_as_may_and_the_others_are_counted() {
    let told = Told::start(|builder| builder).await;
    told.app.warm_up().await;
    let traffic = told.collector.traffic().clone();
    traffic.inject(Matching::any(), Times::Always, Fault::Stall);
    ask_often(&told.app, REQUESTS).await;
    assert_eq!(told.create().await.status, 200);
    let stalled = traffic.count(&Matching::any().path_contains("traces"));
    assert!(stalled > 0, "the collector has met some");
    // What is worked on late is counted as lost, and arrives.
    traffic.heal();
    let (program, collector) = (told.program, told.collector);
    eventually("what was kept arrives", async || collector.spans().len() >= MOST_WAITING).await;
    program.signal("TERM");
    let ended = program.ended().await;

    assert_eq!(ended.code, Some(143), "{ended:?}");
    let (lost, arrived) = (lost(&ended.stdout), collector.spans().len());
    assert!(arrived <= MOST_WAITING + stalled * LARGEST_BATCH, "{arrived} spans were kept");
    assert!(lost + arrived >= REQUESTS, "{lost} were lost and {arrived} arrived, of {REQUESTS} at least");
    assert!(lost > REQUESTS - MOST_WAITING - stalled * LARGEST_BATCH - LARGEST_BATCH, "{lost} were lost");
    let complaints = complaints(&ended.stdout);
    assert!(complaints <= 2 + stalled, "{complaints} for {stalled} calls that failed: not one for each span");
}

/// Beside a program that tells nobody anything.
#[tokio::test]
async fn a_dead_collector_costs_some_memory_and_no_more() {
    let told = Told::start(|builder| builder).await;
    told.collector.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let (quiet, alone) = TestApp::with().start_program().await;
    for app in [&told.app, &quiet] {
        ask_often(app, REQUESTS).await;
    }

    let used = |program: &Program| program.resident_mib();
    let (Some(with), Some(without)) = (used(&told.program), used(&alone)) else {
        return maxconf_simulators::machine::lacks(
            "no /proc",
            "what a dead collector costs in memory is not looked at",
        );
    };
    assert!(with <= without + MOST_MEMORY, "{with} MiB with a dead collector, {without} MiB without any");
    told.program.signal("TERM");
    let ended = told.program.ended().await;
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert!(lost(&ended.stdout) >= REQUESTS, "nothing was taken, so all of it is in the account");
}
