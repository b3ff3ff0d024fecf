//! The timer's maintenance run: it tops up the pool, never overlaps another run, and always answers the host.

use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;

use crate::support::{POOL_QUEUE, TestApp, eventually};

#[tokio::test]
async fn a_run_brings_the_pool_to_its_target_and_the_next_one_finds_it_full() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 7).start().await;

    let first = app.run_maintenance().await;
    let second = app.run_maintenance().await;

    assert_eq!(
        first.json(),
        json!({ "Outputs": {}, "Logs": ["in pool 0, made 7, failed 0, swept 0"], "ReturnValue": null })
    );
    assert_eq!(second.json()["Logs"], json!(["in pool 7, made 0, failed 0, swept 0"]));
    assert_eq!((app.pexip.rooms().len(), app.queue.messages(POOL_QUEUE).len()), (7, 7));
}

#[tokio::test]
async fn messages_without_rooms_and_rooms_without_messages_do_not_count_as_ready() {
    let app = TestApp::with().set("POOL_PREFETCH", 0).start().await;
    for number in 0..6 {
        app.queue.put(POOL_QUEUE, &format!("vbv-01jd5p3xk8qqqqqqqqqqqqqqq{number}"));
    }
    assert_eq!(app.run_maintenance().await.json()["Logs"], json!(["in pool 0, made 4, failed 0, swept 0"]));

    let app = TestApp::with().set("POOL_PREFETCH", 0).start().await;
    for number in 0..6 {
        let name = format!("vbv-01jd5p3xk8qqqqqqqqqqqqqqq{number}");
        app.pexip.insert(StoredRoom::named(name).described("ready-until=2999-01-01T00:00:00Z"));
    }
    assert_eq!(app.run_maintenance().await.json()["Logs"], json!(["in pool 0, made 4, failed 0, swept 0"]));
}

#[tokio::test]
async fn rooms_handed_out_and_rooms_past_their_mark_do_not_count_as_ready() {
    let app = TestApp::with().set("POOL_PREFETCH", 0).start().await;
    app.pool_holds(StoredRoom::named("vbv-01jd5p3xk8qqqqqqqqqqqqqqq1").tagged("https://id.gov.bc.ca/idcheck/x"));
    app.pool_holds(StoredRoom::named("vbv-01jd5p3xk8qqqqqqqqqqqqqqq2").described("ready-until=2020-01-01T00:00:00Z"));

    assert_eq!(app.run_maintenance().await.json()["Logs"], json!(["in pool 0, made 4, failed 0, swept 0"]));
}

#[tokio::test]
async fn the_host_always_gets_an_object_and_a_200() {
    for break_something in [
        (|app: &TestApp| app.pexip.set_password("changed")) as fn(&TestApp),
        |app| app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Rubbish),
        |app| app.pexip.traffic().inject(Matching::method(Method::POST), Times::Always, Fault::Status(500)),
        |app| app.queue.traffic().inject(Matching::any(), Times::Always, Fault::Status(500)),
        |app| app.queue.traffic().inject(Matching::any(), Times::Always, Fault::HangUpBefore),
    ] {
        let app = TestApp::start().await;
        break_something(&app);

        let answer = app.run_maintenance().await;

        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{answer:?}");
        let line = answer.json()["Logs"][0].as_str().unwrap_or_default().to_owned();
        assert!(line.contains("failed") && !line.contains("failed 0, swept 0"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_room_whose_create_was_answered_with_an_error_gets_one_message() {
    let app = TestApp::start().await;
    app.pexip.traffic().inject(Matching::method(Method::POST), Times::Once, Fault::StatusAfter(500));

    app.fill_pool().await;

    assert_eq!((app.pexip.rooms().len(), app.queue.messages(POOL_QUEUE).len()), (4, 4));
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_not_put_again() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 2).set("POOL_PREFETCH", 0).start().await;
    let put = Matching::method(Method::POST);
    app.queue.traffic().inject(put.clone(), Times::Once, Fault::HangUpAfter);

    app.run_maintenance().await;
    app.run_maintenance().await;

    let mut names: Vec<_> = app.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
    let messages = names.len();
    assert!(messages >= 2, "the put whose answer was lost succeeded");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), messages, "a name that is put twice is handed out twice");
}

#[tokio::test]
async fn two_concurrent_runs_stop_at_the_target() {
    let app = TestApp::start().await;

    let (one, other) = tokio::join!(app.run_maintenance(), app.run_maintenance());

    assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200));
    assert_eq!(app.pexip.rooms().len(), 4);
}

#[tokio::test]
async fn a_missing_queue_is_created() {
    let app = TestApp::with().set("POOL_PREFETCH", 0).start().await;

    app.fill_pool().await;

    assert_eq!(app.queue.messages(POOL_QUEUE).len(), 4);
}

/// A caller other than the host can start what the timer starts, and nothing else.
#[tokio::test]
async fn the_timers_route_allows_a_stranger_one_run_at_a_time() {
    // Without prefetch: its calls to Pexip could be the ones that stall.
    let app = TestApp::with().set("POOL_PREFETCH", 0).start().await;
    app.fill_pool().await;
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(Matching::any(), Times::Once, Fault::Stall);
    let run = tokio::spawn(app.request(Method::POST, "function_pool_maintenance").send());
    eventually("the run has called Pexip", async || !app.pexip.traffic().log().is_empty()).await;

    for body in ["", "{}", "{", r#"{"Data":{"timer":{"rooms":9999}},"Metadata":{"prefix":""}}"#] {
        let request = app.request(Method::POST, "function_pool_maintenance?target=9999&prefix=").body(body);
        let answer = app.send(request.header("x-azure-functions-invocationid", "a")).await;
        let expected = json!({ "Outputs": {}, "Logs": ["another run is under way"], "ReturnValue": null });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    }
    assert_eq!(app.pexip.traffic().log().len(), 1, "only the first run makes calls");

    app.pexip.traffic().heal();
    run.await.expect("no panic").expect("an answer");
    assert_eq!((app.pexip.rooms().len(), app.queue.messages(POOL_QUEUE).len()), (4, 4));
}
