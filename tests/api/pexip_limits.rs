//! This instance's manners at the management node: a budget per minute, places in flight, and leaving it alone.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use crate::support::{TestApp, eventually};

const OURS: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

fn any_call() -> Matching {
    Matching::any()
}

#[tokio::test]
async fn no_more_calls_are_made_in_a_minute_than_the_budget_allows() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUESTS_PER_MINUTE", 6).start().await;

    for _ in 0..6 {
        app.public_room(OURS).await.assert_problem(404, "room_not_found");
    }
    let refused = app.public_room(OURS).await;

    refused.assert_problem(503, "pexip_unavailable");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((50..=60).contains(&wait), "the oldest of the six leaves the minute then: {wait}");
    assert_eq!(app.pexip.traffic().count(&any_call()), 6);
}

#[tokio::test]
async fn a_third_of_the_budget_is_kept_for_callers() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 50).set("PEXIP_REQUESTS_PER_MINUTE", 30).start().await;

    let run = app.run_maintenance().await;
    assert!(run.text.contains("made 1"), "as many as two thirds allow: {run:?}");
    let by_refill = app.pexip.traffic().count(&any_call());
    assert!(by_refill <= 21, "{by_refill}");

    app.public_room(OURS).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn an_agent_who_looks_on_and_on_leaves_citizens_their_rooms() {
    let app = TestApp::with().set("PEXIP_REQUESTS_PER_MINUTE", 60).start().await;

    for _ in 0..30 {
        app.public_room(OURS).await.assert_problem(404, "room_not_found");
    }
    app.public_room(OURS).await.assert_problem(503, "pexip_unavailable");

    let run = app.run_maintenance().await;
    assert!(run.text.contains("made 4"), "{run:?}");
    assert_eq!(app.create_room().await.header("room-source"), "pool");
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed_and_the_background_has_at_most_half() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_MAX_IN_FLIGHT", 4).start().await;
    app.pexip.traffic().inject(any_call(), Times::Always, Fault::Slow(Duration::from_millis(100)));

    let looks = join_all((0..12).map(|_| app.public_room(OURS))).await;

    assert!(looks.iter().all(|look| look.status == 404), "{looks:?}");
    let starts: Vec<_> = app.pexip.traffic().log().iter().map(|exchange| exchange.at).collect();
    let at_once = starts.iter().filter(|start| start.duration_since(starts[0]) < Duration::from_millis(50)).count();
    assert!(at_once <= 4, "{at_once} of 12 calls at the same time");
}

#[tokio::test]
async fn a_node_that_asks_for_time_is_not_asked_again_before() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let busy =
        Fault::StatusWith { status: 503, headers: vec![("Retry-After".into(), "31".into())], body: String::new() };
    app.pexip.traffic().inject(any_call(), Times::Once, busy);

    app.public_room(OURS).await.assert_problem(503, "pexip_unavailable");
    for _ in 0..5 {
        let left_alone = app.public_room(OURS).await;
        left_alone.assert_problem(503, "pexip_unavailable");
        assert!(left_alone.header("retry-after").parse::<u64>().is_ok_and(|wait| (25..=31).contains(&wait)));
    }

    assert_eq!(app.pexip.traffic().count(&any_call()), 1);
}

#[tokio::test]
async fn a_failing_node_is_left_alone_and_then_tried_with_one_call() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    app.pexip.traffic().inject(any_call(), Times::Always, Fault::Status(500));
    for _ in 0..20 {
        app.public_room(OURS).await.assert_problem(503, "pexip_unavailable");
    }
    assert_eq!(app.pexip.traffic().count(&any_call()), 5, "five failures in a row, then nothing");

    app.pexip.traffic().heal();
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(any_call(), Times::Once, Fault::Slow(Duration::from_millis(300)));
    eventually("the pause is over", async || {
        app.pexip.traffic().count(&any_call()) > 0 || {
            join_all((0..8).map(|_| app.public_room(OURS))).await;
            false
        }
    })
    .await;
    assert_eq!(app.pexip.traffic().count(&any_call()), 1, "one call sees whether the node is back");
    app.public_room(OURS).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn a_node_that_refuses_every_tag_destroys_a_handful_of_rooms_and_no_more() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 30).start().await;
    app.warm_up().await;
    app.pexip.traffic().inject(Matching::method(Method::PATCH), Times::Always, Fault::Status(400));

    for _ in 0..40 {
        let answer = app.create_room().await;
        assert!([502, 503].contains(&answer.status.as_u16()), "{answer:?}");
    }

    let claims = app.queue.traffic().count(&Matching::method(Method::DELETE));
    assert!(claims <= 8, "{claims} rooms were claimed");
}
