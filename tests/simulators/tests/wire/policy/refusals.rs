//! Answers that are no room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use maxconf_simulators::pexip::{Endpoint, PolicyOutcome, PolicyVariant, Refused};
use maxconf_simulators::{Fault, Matching, Times};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{GUEST, Policy, ROOM, action, in_the_database, nowhere, room, room_with, success};
use crate::LIMIT;

/// A policy server that leaves it to the database, which has the room.
async fn with_a_room_of_the_database() -> Policy {
    let policy = Policy::start().await;
    policy.pexip.insert(in_the_database(ROOM));
    policy
}

fn json_with(status: u16, body: &Value) -> Fault {
    let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
    Fault::StatusWith { status, headers, body: body.to_string() }
}

#[tokio::test]
async fn one_fault_voids_the_whole_result() {
    let policy = Policy::start().await;
    let participant = |field: &str, value: Value| {
        let mut one = room()["automatic_participants"][0].clone();
        one[field] = value;
        json!({ "automatic_participants": [one] })
    };
    let long = "x".repeat(251);
    for fields in [
        json!({ "service_type": null }),
        json!({ "service_type": "gateway" }),
        json!({ "name": null }),
        json!({ "name": "" }),
        json!({ "name": long }),
        json!({ "service_tag": null }),
        json!({ "service_tag": 7 }),
        json!({ "service_tag": long }),
        json!({ "description": "" }),
        json!({ "local_display_name": long }),
        json!({ "allow_guests": "true" }),
        json!({ "allow_guests": false }),
        json!({ "pin": null }),
        json!({ "pin": "" }),
        json!({ "pin": 193_604 }),
        json!({ "pin": "193" }),
        json!({ "pin": "19360x" }),
        json!({ "pin": "1".repeat(21) }),
        json!({ "pin": "1936" }),
        json!({ "pin": GUEST }),
        json!({ "pin": "193604#" }),
        json!({ "guest_pin": "" }),
        json!({ "guests_can_present": "yes" }),
        json!({ "participant_limit": "6" }),
        json!({ "participant_limit": 6.5 }),
        json!({ "call_type": "auto" }),
        json!({ "crypto_mode": "" }),
        json!({ "max_callrate_in": 2048 }),
        json!({ "max_callrate_out": 8_192_001 }),
        json!({ "max_pixels_per_second": "4k" }),
        json!({ "view": "one_main_nine_around" }),
        json!({ "host_view": "four_mains_zero_pips" }),
        json!({ "guests_can_see_guests": "always" }),
        json!({ "ivr_theme_name": "another theme" }),
        json!({ "ivr_theme": "/api/admin/configuration/v1/ivr_theme/1/" }),
        json!({ "host_identity_provider_group": "staff" }),
        json!({ "non_idp_participants": "allow" }),
        json!({ "aliases": [] }),
        json!({ "tag": "x" }),
        json!({ "automatic_participants": {} }),
        json!({ "automatic_participants": ["sip:queue@sbc.example.org"] }),
        participant("remote_alias", json!("")),
        participant("remote_alias", Value::Null),
        participant("protocol", json!("tel")),
        participant("role", json!("host")),
        participant("routing", json!("automatic")),
        participant("keep_conference_alive", json!(false)),
        participant("system_location_name", json!("Elsewhere")),
        participant("presentation_url", json!("rtmp://stream.example.org")),
        participant("alias", json!("x")),
    ] {
        policy.answers(success(&room_with(&fields)));
        assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound), "{fields}");
        let Some(PolicyOutcome::Default(reason)) = policy.outcomes().pop() else { panic!("{fields}") };
        assert!(reason.starts_with("Invalid"), "{fields}: {reason}");
    }
    for field in ["description", "guest_pin", "participant_limit", "view"] {
        let mut room = room();
        room[field] = Value::Null;
        policy.answers(success(&room));
        assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound), "{field}");
    }
    for fields in [
        json!({ "service_tag": "" }),
        json!({ "service_type": "lecture", "host_view": "four_mains_zero_pips", "guests_can_see_guests": "never" }),
        json!({ "view": "four_mains_zero_pips", "max_callrate_in": 128_000, "crypto_mode": "on", "locked": false }),
        json!({ "pin": "19360#" }),
        json!({ "ivr_theme_name": "Simulated theme", "participant_limit": 6, "name": "x".repeat(250) }),
        json!({ "automatic_participants": [] }),
    ] {
        let mut room = room_with(&fields);
        if fields["pin"].is_string() {
            room["guest_pin"] = json!(format!("{GUEST}#"));
        }
        policy.answers(success(&room));
        let pin = room["guest_pin"].as_str().expect("a PIN").to_owned();
        assert!(policy.nodes[0].join(ROOM, &pin).await.is_ok(), "{fields}");
        policy.pexip.leave_all(room["name"].as_str().expect("a name"));
    }
}

#[tokio::test]
async fn without_a_valid_result_the_action_decides_and_else_the_database() {
    let refused = json!({ "status": "success", "action": "reject", "result": {} });
    let invalid = room_with(&json!({ "pin": "" }));
    let mut failed = success(&room());
    failed["status"] = json!("fail");
    let policy = with_a_room_of_the_database().await;
    for (answer, joins) in [
        (action("continue"), true),
        (action("reject"), false),
        (refused, false),
        (json!({ "status": "fail", "action": "reject" }), false),
        (json!({ "status": "success", "action": "reject", "result": invalid }), false),
        (success(&invalid), true),
        (json!({ "status": "success", "action": "done" }), true),
        (json!({ "status": "success" }), true),
        (json!([]), true),
        (failed, true),
        // With a valid result the action is ignored.
        (json!({ "status": "success", "action": "reject", "result": room() }), true),
    ] {
        policy.answers(answer.clone());
        let joined = policy.nodes[0].join(ROOM, GUEST).await;
        assert_eq!(joined.map(drop), if joins { Ok(()) } else { Err(Refused::NotFound) }, "{answer}");
    }
    assert_eq!(policy.outcomes().pop(), Some(PolicyOutcome::Success));
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_sends_the_node_to_its_database() {
    let policy = with_a_room_of_the_database().await;
    for fault in [
        Fault::Status(503),
        Fault::Status(401),
        Fault::Rubbish,
        Fault::HangUpBefore,
        Fault::Redirect(policy.pexip.management_url().to_string()),
        json_with(404, &action("reject")),
        json_with(500, &action("reject")),
        json_with(201, &success(&room_with(&json!({ "guest_pin": "111111" })))),
        Fault::StatusWith { status: 200, headers: vec![], body: action("reject").to_string() },
        json_with(200, &json!("Did not match")),
    ] {
        policy.traffic.inject(Matching::any(), Times::N(2), fault.clone());
        assert!(policy.nodes[0].join(ROOM, GUEST).await.is_ok(), "{fault:?}");
        let outcomes = policy.outcomes();
        let are_default = outcomes[outcomes.len() - 2..].iter().all(|it| matches!(it, PolicyOutcome::Default(_)));
        assert!(are_default, "{fault:?}: {outcomes:?}");
    }

    policy.pexip.set_policy_variant(PolicyVariant::BodiesOfErrors, true);
    policy.traffic.inject(Matching::any(), Times::Once, json_with(404, &action("reject")));
    assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound));
    policy.pexip.add_policy_server(nowhere(), "", "");
    assert!(policy.nodes[0].join(ROOM, GUEST).await.is_ok(), "nobody listens there");
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_five_seconds_counts_as_none() {
    let policy = with_a_room_of_the_database().await;
    policy.answers(action("reject"));
    policy.traffic.inject(Matching::any(), Times::Once, Fault::Stall);
    // A paused clock jumps to the next timer when nothing is left to do, but not while a blocking task runs.
    let (end, ended) = mpsc::channel::<()>();
    spawn_blocking(move || ended.recv_timeout(LIMIT));
    tokio::time::pause();
    let has_ended = AtomicBool::new(false);
    let dial = async {
        let dialled = policy.nodes[0].dial(ROOM, Endpoint::Sip).await;
        has_ended.store(true, Ordering::Relaxed);
        dialled
    };
    let time = async {
        let start = Instant::now();
        while policy.traffic.log().is_empty() && start.elapsed() < LIMIT {
            a_moment().await;
        }
        tokio::time::advance(Duration::from_millis(4_999)).await;
        a_moment().await;
        let still_waits = !has_ended.load(Ordering::Relaxed);
        tokio::time::advance(Duration::from_millis(2)).await;
        // Well before the time goes on by itself.
        while !has_ended.load(Ordering::Relaxed) && start.elapsed() < LIMIT / 2 {
            a_moment().await;
        }
        (still_waits, has_ended.load(Ordering::Relaxed))
    };

    let (dialled, seen) = tokio::join!(dial, time);

    assert_eq!(seen, (true, true), "it waits until the limit, and no longer");
    assert!(dialled.is_ok(), "the room of the database");
    assert_eq!(policy.outcomes(), [PolicyOutcome::Default("no answer in time".to_owned())]);
    drop(end);
}

/// Some milliseconds of real time.
async fn a_moment() {
    spawn_blocking(|| thread::sleep(Duration::from_millis(10))).await.expect("a sleep does not panic");
}

#[tokio::test]
async fn a_node_that_remembers_refusals_does_not_ask_again_until_they_are_over() {
    for kept in [None, Some(Duration::from_secs(120))] {
        let policy = Policy::start().await;
        policy.pexip.set_negative_cache(kept);
        policy.answers(action("reject"));
        assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound));
        policy.answers(success(&room()));

        let again = policy.nodes[0].join(ROOM, GUEST).await;
        assert_eq!(again.is_ok(), kept.is_none(), "{kept:?}");
        assert!(policy.nodes[1].join(ROOM, GUEST).await.is_ok(), "each node remembers for itself");
        policy.pexip.advance(Duration::from_secs(119));
        assert_eq!(policy.nodes[0].join(ROOM, GUEST).await.is_ok(), kept.is_none(), "{kept:?}");
        policy.pexip.advance(Duration::from_secs(1));
        assert!(policy.nodes[0].join(ROOM, GUEST).await.is_ok(), "{kept:?}");
    }
}
