//! The event sink: what Conferencing Nodes report, and how it is answered.

mod ended;

use std::time::Duration;

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::{Answer, TAG, TestApp, TestAppBuilder, eventually, stop_time, time_passes};

const USERNAME: &str = "conferencing-nodes";
const PASSWORD: &str = "a-pass:word";

const ENDED_QUEUE: &str = "room-creation-queue-ended";

/// Rooms that are being noted at a time.
const MAX_BEING_NOTED: usize = 1024;

fn receiver() -> TestAppBuilder {
    TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("PEXIP_EVENT_USERNAME", USERNAME)
        .set("PEXIP_EVENT_PASSWORD", PASSWORD)
        .set("ROOM_END_GRACE_SECONDS", 0)
}

fn name(number: usize) -> String {
    format!("vbv-01jd5p3xk8qqqqqqqqqqq{number:05}")
}

/// As a node sends it, in the shape of the newer envelope.
fn conference_ended(room: &str, seq: usize) -> Value {
    json!({
        "node": "10.47.2.21", "seq": seq, "version": 2, "time": 1_795_219_000.25, "event": "conference_ended",
        "data": {
            "guests_muted": false, "is_locked": false, "is_started": false, "name": room, "tag": TAG,
            "service_type": "conference", "start_time": 1_795_218_000.5, "end_time": 1_795_219_000.25
        }
    })
}

async fn report(app: &TestApp, event: &Value) -> Answer {
    let request = app.request(Method::POST, "public/event_sink").basic_auth(USERNAME, Some(PASSWORD));
    app.send(request.json(event)).await
}

fn hints(app: &TestApp) -> Vec<String> {
    app.queue.messages(ENDED_QUEUE).into_iter().map(|message| message.text).collect()
}

#[tokio::test]
async fn without_its_account_the_receiver_is_unknown() {
    let app = TestApp::start().await;
    for method in [Method::POST, Method::GET] {
        let request = app.request(method, "public/event_sink").basic_auth(USERNAME, Some(PASSWORD));
        app.send(request.json(&conference_ended(&name(1), 1))).await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn only_the_account_of_the_nodes_is_let_in() {
    let app = receiver().start().await;
    let basic = |text: &str| format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text));
    let right = basic(&format!("{USERNAME}:{PASSWORD}"));
    for (authorization, status, code) in [
        (vec![], 401, "token_missing"),
        (vec![format!("Bearer {}", app.entra.token().build())], 401, "token_missing"),
        (vec!["Basic".to_owned()], 401, "token_missing"),
        (vec!["Basic %%%".to_owned()], 401, "token_invalid"),
        (vec![basic(USERNAME)], 401, "token_invalid"),
        (vec![basic(&format!("{USERNAME}:"))], 401, "token_invalid"),
        (vec![basic(&format!("{USERNAME}:{PASSWORD}x"))], 401, "token_invalid"),
        (vec![basic(&format!("{USERNAME}x:{PASSWORD}"))], 401, "token_invalid"),
        (vec![right.clone(), right.clone()], 400, "request_invalid"),
    ] {
        let mut request = app.request(Method::POST, "public/event_sink").json(&conference_ended(&name(1), 1));
        for value in &authorization {
            request = request.header("authorization", value);
        }
        let answer = app.send(request).await;
        answer.assert_problem(status, code);
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"pexip-events\"", "{authorization:?}");
        }
    }
    assert_eq!(hints(&app), [""; 0]);

    let lower_case = right.replacen("Basic", "basic", 1);
    let request = app.request(Method::POST, "public/event_sink").header("authorization", lower_case);
    assert_eq!(app.send(request.json(&conference_ended(&name(1), 1))).await.status, 204);
    assert_eq!(hints(&app), [name(1)]);
}

#[tokio::test]
async fn every_delivery_is_taken_and_ended_rooms_of_ours_are_kept_until_the_grace_is_over() {
    let before = OffsetDateTime::now_utc();
    let app = receiver().set("ROOM_END_GRACE_SECONDS", 300).start().await;
    let old = json!({"node": "10.47.2.22", "seq": 1, "version": 1, "time": 1.5, "event": "conference_ended",
        "data": {"name": name(2)}, "unheard_of": {"deep": [1]}});
    let bulk = json!({"node": "127.0.0.1", "seq": 0, "version": 2, "time": 2.5, "event": "eventsink_bulk",
        "data": [conference_ended(&name(3), 3), {"event": "eventsink_started", "data": {}}, conference_ended(&name(4), 4), conference_ended(&name(3), 5)]});
    for (event, kept) in [
        (conference_ended(&name(1), 1), vec![name(1)]),
        (old, vec![name(2)]),
        (bulk, vec![name(3), name(4)]),
        (json!({"event": "conference_ended", "data": {"conference": name(6)}}), vec![name(6)]),
        (json!({"event": "conference_ended", "data": {"name": "boardroom", "conference": name(5)}}), vec![]),
        (conference_ended("boardroom", 6), vec![]),
        (conference_ended("edge-01jd5p3xk8qqqqqqqqqqq00001", 6), vec![]),
        (json!({"event": "conference_started", "data": {"name": name(5)}}), vec![]),
        (json!({"event": "conference_updated", "data": {"name": name(5)}}), vec![]),
        (json!({"event": "participant_disconnected", "data": {"conference": name(5), "call_direction": "in"}}), vec![]),
        (json!({"event": "something_new", "data": {"name": name(5)}}), vec![]),
        (json!("neither"), vec![]),
    ] {
        let before = hints(&app).len();
        let answer = report(&app, &event).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{event}");
        assert_eq!(hints(&app)[before..], kept, "{event}");
    }
    for message in app.queue.messages(ENDED_QUEUE) {
        let made = message.visible_at - time::Duration::seconds(300);
        assert!(before - time::Duration::seconds(2) < made, "{made} and {before}");
        assert!(made < OffsetDateTime::now_utc() + time::Duration::seconds(2), "{made}");
    }
    let unreadable =
        app.request(Method::POST, "public/event_sink").basic_auth(USERNAME, Some(PASSWORD)).body("{\"event\":");
    assert_eq!(app.send(unreadable).await.status, 204, "a repetition would not change it");
}

#[tokio::test]
async fn an_unreadable_event_of_a_bulk_costs_no_other() {
    let app = receiver().start().await;
    let ended = |number| conference_ended(&name(number), number).to_string();
    for (number, string) in [(1, &br"\ud83d"[..]), (3, b"caf\xe9")] {
        let (before, after) = (ended(number), ended(number + 1));
        let bulk: [&[u8]; 7] = [
            br#"{"event":"eventsink_bulk","data":["#,
            before.as_bytes(),
            br#",{"event":"participant_connected","data":{"display_name":""#,
            string,
            br#""}},"#,
            after.as_bytes(),
            b"]}",
        ];
        let request = app.request(Method::POST, "public/event_sink").basic_auth(USERNAME, Some(PASSWORD));
        assert_eq!(app.send(request.body(bulk.concat())).await.status, 204);
    }
    assert_eq!(hints(&app), [name(1), name(2), name(3), name(4)]);
}

#[tokio::test]
async fn a_bulk_may_be_larger_than_other_bodies_but_not_endless() {
    let app = receiver().start().await;
    let events: Vec<_> = (0..500).map(|number| conference_ended(&name(number), number)).collect();
    let bulk = json!({"event": "eventsink_bulk", "data": events});
    assert!(bulk.to_string().len() > 100 * 1024);
    assert_eq!(report(&app, &bulk).await.status, 204);

    let padded = |length: usize| json!({"event": "something_new", "data": "x".repeat(length)});
    assert_eq!(report(&app, &padded(4 * 1024 * 1024 - 100)).await.status, 204);
    report(&app, &padded(4 * 1024 * 1024)).await.assert_problem(413, "body_too_large");
}

#[tokio::test]
async fn of_a_bulk_that_names_too_many_rooms_the_first_are_noted() {
    let app = receiver().set("ROOM_END_GRACE_SECONDS", 300).start().await;
    let events: Vec<_> = (0..1_100).map(|number| conference_ended(&name(number), number)).collect();
    assert_eq!(report(&app, &json!({"event": "eventsink_bulk", "data": events})).await.status, 204);

    eventually("the first are noted", async || hints(&app).len() >= MAX_BEING_NOTED).await;

    let first: Vec<_> = (0..MAX_BEING_NOTED).map(name).collect();
    assert_eq!(hints(&app), first);
}

#[tokio::test]
async fn a_failing_queue_neither_fails_nor_delays_an_event() {
    for fault in [Fault::Status(500), Fault::Status(403), Fault::HangUpBefore, Fault::Stall, Fault::Rubbish] {
        let app = receiver().start().await;
        let _time = stop_time();
        app.queue.traffic().inject(Matching::any(), Times::Always, fault.clone());
        let later = async {
            eventually("the queue is called", async || !app.queue.traffic().log().is_empty()).await;
            // A node waits 7 s for the answer, and a call to the queue may take 5.
            time_passes(Duration::from_millis(1100)).await;
        };
        let event = conference_ended(&name(1), 1);
        let (answer, ()) = tokio::join!(report(&app, &event), later);
        assert_eq!(answer.status, 204, "{fault:?}");
        app.queue.traffic().heal();
    }
}
