use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{POOL_QUEUE, TAG, TestApp, UUI_DATA, citizen};
use maxconf_simulators::{Fault, Matching, Times};

#[tokio::test]
async fn a_room_from_the_pool_carries_the_citizens_tag_on_pexip_and_in_the_answer() {
    let app = TestApp::start().await;
    app.warm_up().await;

    let answer = app.create_room_for(UUI_DATA).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("room-source"), "pool");
    assert_eq!(answer.header("retry-after"), "");
    assert_eq!(answer.header("content-type"), "application/json");
    let room = app.pexip.room(&answer.room()).expect("the room exists on Pexip");
    assert_eq!(room.tag, TAG);
    assert_eq!(app.pexip.tag_history(&room.name), [TAG]);
    let alias = &room.aliases[0];
    let body = answer.json();
    assert_eq!(
        body,
        json!({
            "id": room.id, "name": room.name, "service_type": "conference", "allow_guests": true,
            "pin": room.pin, "guest_pin": room.guest_pin, "tag": TAG,
            "aliases": [{ "alias": room.name,
                          "conference": format!("/api/admin/configuration/v1/conference/{}/", room.id), "creation_time": body["aliases"][0]["creation_time"],
                          "description": "", "id": alias.id }],
        })
    );
    assert_ne!(room.pin, room.guest_pin);
    assert_eq!((room.pin.len(), room.guest_pin.len()), (6, 6));
}

#[tokio::test]
async fn a_warm_create_needs_two_upstream_calls_the_claim_and_the_tag() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.queue.traffic().clear();
    app.pexip.traffic().clear();
    // Whatever else the answer needed would hang here.
    for method in [Method::GET, Method::POST, Method::PUT] {
        app.queue.traffic().inject(Matching::method(method.clone()), Times::Always, Fault::Stall);
        app.pexip.traffic().inject(Matching::method(method), Times::Always, Fault::Stall);
    }

    let answer = app.create_room().await;

    assert_eq!(answer.header("room-source"), "pool", "{answer:?}");
    assert_eq!(app.queue.traffic().count(&Matching::method(Method::DELETE)), 1);
    assert_eq!(app.pexip.traffic().count(&Matching::method(Method::PATCH)), 1);
    assert_eq!(app.entra.traffic().count(&Matching::any()), 4, "discovery and keys of two profiles, at start only");
}

#[tokio::test]
async fn the_room_is_claimed_before_it_is_tagged() {
    let app = TestApp::start().await;
    app.warm_up().await;

    app.create_room().await;

    let at = |exchanges: Vec<maxconf_simulators::Exchange>, method: Method| {
        exchanges.into_iter().find(|exchange| exchange.method == method).map(|exchange| exchange.at).expect("one")
    };
    let claimed = at(app.queue.traffic().log(), Method::DELETE);
    let tagged = at(app.pexip.traffic().log(), Method::PATCH);
    assert!(claimed < tagged);
}

#[tokio::test]
async fn creates_at_the_same_time_get_different_rooms_with_their_own_tags() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 8).start().await;
    app.fill_pool().await;

    let creates = (0..16).map(|number| {
        let (uui_data, tag) = citizen(number);
        let app = &app;
        async move { (app.create_room_for(&uui_data).await.room(), tag) }
    });
    let mut rooms = futures_util::future::join_all(creates).await;

    for (name, tag) in &rooms {
        let history = app.pexip.tag_history(name);
        assert!(!history.is_empty() && history.iter().all(|written| written == tag), "{name}: {history:?}");
    }
    rooms.sort();
    rooms.dedup_by(|one, other| one.0 == other.0);
    assert_eq!(rooms.len(), 16);
}

#[tokio::test]
async fn an_empty_pool_makes_a_room_at_once_and_says_when_it_can_be_joined() {
    let app = TestApp::with().set("POOL_READY_DELAY_SECONDS", 90).start().await;

    let answer = app.create_room().await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("room-source"), "direct");
    assert_eq!(answer.header("retry-after"), "90");
    let room = app.pexip.room(&answer.room()).expect("the room exists on Pexip");
    assert_eq!(room.tag, TAG);
    assert_eq!(answer.json()["aliases"][0]["id"], room.aliases[0].id);
    assert!(app.queue.messages(POOL_QUEUE).is_empty(), "a room that was handed out has no ticket");
}

#[tokio::test]
async fn an_empty_pool_refuses_where_the_deployment_says_so() {
    let app = TestApp::with().set("POOL_EMPTY", "refuse").start().await;

    app.create_room().await.assert_problem(503, "no_room");

    assert!(app.pexip.rooms().is_empty());
}

#[tokio::test]
async fn a_service_without_a_pool_leaves_the_queue_alone() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;

    assert_eq!(app.create_room().await.header("room-source"), "direct");

    assert_eq!(app.queue.traffic().count(&Matching::any()), 0);
}

#[tokio::test]
async fn a_direct_create_whose_answer_was_lost_is_adopted_by_its_name() {
    for fault in [Fault::StatusAfter(500), Fault::HangUpAfter] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
        app.pexip.traffic().inject(Matching::method(Method::POST), Times::Once, fault);

        let answer = app.create_room().await;

        assert_eq!(answer.status, 200, "{answer:?}");
        let rooms = app.pexip.rooms();
        assert_eq!(rooms.len(), 1, "{rooms:?}");
        assert_eq!((rooms[0].name.clone(), rooms[0].tag.as_str()), (answer.room(), TAG));
    }
}

#[tokio::test]
async fn a_direct_create_that_fails_is_no_room_whatever_pexips_reason() {
    for fault in [Fault::Status(401), Fault::Status(400), Fault::Status(503), Fault::HangUpBefore, Fault::Rubbish] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
        app.pexip.traffic().inject(Matching::method(Method::POST), Times::Always, fault);

        app.create_room().await.assert_problem(503, "no_room");
    }
}

#[tokio::test]
async fn without_the_queue_rooms_are_made_directly() {
    let app = TestApp::start().await;
    app.queue.stop().await;

    let answer = app.create_room().await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("room-source"), "direct");
}

#[tokio::test]
async fn rooms_carry_the_marks_by_which_they_are_swept() {
    let app = TestApp::start().await;
    app.warm_up().await;
    let before = OffsetDateTime::now_utc();

    let pooled = app.create_room().await.room();

    let description = app.pexip.room(&pooled).expect("the room").description;
    let mark = |name: &str| {
        let value = description.split(' ').find_map(|word| word.strip_prefix(name)).expect("a mark");
        OffsetDateTime::parse(value, &Rfc3339).expect("a time")
    };
    assert!((mark("handed-out=") - before).abs() < time::Duration::seconds(10), "{description}");
    assert!((mark("ready-until=") - before - time::Duration::days(1)).abs() < time::Duration::seconds(30));
}

#[tokio::test]
async fn rooms_have_the_fixed_host_pin_and_the_dial_out_of_the_deployment() {
    let app = TestApp::with().set("ROOM_HOST_PIN", "47110815").set("ROOM_AUTOMATIC_PARTICIPANTS", "3, 7").start().await;
    app.pexip.add_automatic_participant(3, "sip:queue@sbc.example.org");
    app.pexip.add_automatic_participant(7, "sip:recorder@sbc.example.org");
    app.warm_up().await;

    for _ in 0..2 {
        let answer = app.create_room().await.json();
        assert_eq!(answer["pin"], "47110815");
        let guest_pin = answer["guest_pin"].as_str().expect("a PIN");
        assert!(guest_pin.len() == 8 && guest_pin != "47110815", "{guest_pin}");
    }
    assert!(app.pexip.rooms().iter().all(|room| room.automatic_participants == [3, 7]));
}

#[tokio::test]
async fn the_tag_may_be_text_that_already_is_its_last_segment() {
    let app = TestApp::with().set("UUI_DATA_FORMAT", "segment").set("POOL_TARGET_SIZE", 0).start().await;

    let answer = app.create_room_for(&hex::encode("MTIzNDU2LDc2NTQzMg")).await;

    assert_eq!(answer.json()["tag"], TAG);
}

#[tokio::test]
async fn a_location_header_may_be_absolute() {
    let app = TestApp::start().await;
    app.pexip.use_absolute_location(true);
    app.warm_up().await;

    assert_eq!(app.create_room().await.header("room-source"), "pool");
}
