//! `PUBLIC_READ_PREFIXES`: agents read the rooms of kiosks and testers, and nothing else is done with these.

use std::ffi::OsString;

use maxconf::config::ConfigParts;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, POOL_QUEUE, TAG, TestApp, TestAppBuilder, on_every_host, time_between_readings_passes};

const KIOSK: &str = "vkiosk_Ottawa-7.a~b";

fn service() -> TestAppBuilder {
    TestApp::with().set("POOL_TARGET_SIZE", 0).set("PUBLIC_READ_PREFIXES", "test_, vkiosk_")
}

fn kiosk(name: &str) -> StoredRoom {
    StoredRoom::named(name).with_pins("4711", "0815").with_alias(name).described("a kiosk's, not handed-out")
}

fn of_type(service_type: &str, room: StoredRoom) -> StoredRoom {
    let mut room = room;
    room.settings.insert("service_type".to_owned(), json!(service_type));
    room
}

/// The problem without what differs in every answer.
fn problem(answer: &Answer) -> Value {
    let mut problem = answer.assert_problem(404, "room_not_found");
    problem["request_id"].take();
    problem
}

fn calls(app: &TestApp) -> usize {
    app.pexip.traffic().log().len()
}

#[tokio::test]
async fn agents_read_foreign_rooms_with_and_without_a_tag() {
    on_every_host(service, async |app| {
        app.pexip.insert(kiosk(KIOSK).tagged("https://example.org/kiosk").with_alias("7@example.org"));
        app.pexip.insert(of_type("conference", kiosk("test_")));
        for name in [KIOSK, "test_"] {
            let answer = app.public_room(name).await;

            assert_eq!(answer.status, 200, "{answer:?}");
            let room = app.pexip.room(name).expect("the room");
            let aliases: Vec<_> = answer.json()["aliases"].as_array().expect("aliases").clone();
            assert_eq!(aliases.len(), room.aliases.len());
            let expected = json!({
                "id": room.id, "name": name, "service_type": "conference", "allow_guests": true, "pin": "4711",
                "guest_pin": "0815", "tag": room.tag, "aliases": aliases,
            });
            assert_eq!(answer.json(), expected);
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    })
    .await;
}

#[tokio::test]
async fn every_other_name_is_the_same_404_and_pexip_is_not_asked() {
    let app = service().start().await;
    let too_long = format!("test_{}", "x".repeat(246));
    let mut problems = Vec::new();
    for name in [
        "boardroom",
        "test",
        "Test_1",
        "TEST_1",
        "xtest_1",
        "%20test_1",
        "test-1",
        "vkiosk1",
        "test_a%2Fb",
        "test_a%20b",
        "test_%25",
        "test_%C3%A9",
        "test_%00",
        "test_%ff",
        "test_*",
        "test_a,test_b",
        "vbv-1",
        &too_long,
    ] {
        app.pexip.insert(kiosk(&percent_encoding::percent_decode_str(name).decode_utf8_lossy()));
        problems.push(problem(&app.public_room(name).await));
        assert_eq!(calls(&app), 0, "{name}");
    }
    problems.push(problem(&app.public_room("test_unknown").await));
    assert_eq!(calls(&app), 1);
    assert!(problems.windows(2).all(|pair| pair[0] == pair[1]), "{problems:?}");
}

#[tokio::test]
async fn rooms_of_this_service_and_other_services_are_the_same_404_under_a_readable_prefix() {
    let app = service().start().await;
    let unknown = problem(&app.public_room("test_unknown").await);
    for (name, room) in [
        ("test_ready", kiosk("test_ready").described("ready-until=2026-03-04T22:32:11Z")),
        ("test_out", kiosk("test_out").tagged(TAG).described("of citizen 7 handed-out=2026-03-04T22:32:11Z")),
        ("test_broken", kiosk("test_broken").tagged(TAG).described("handed-out=yesterday")),
        ("test_lecture", of_type("lecture", kiosk("test_lecture"))),
        ("test_call", of_type("test_call", kiosk("test_call"))),
        ("test_gateway", of_type("two_stage_dialing", kiosk("test_gateway"))),
    ] {
        app.pexip.insert(room);
        assert_eq!(problem(&app.public_room(name).await), unknown, "{name}");
    }
}

#[tokio::test]
async fn a_node_that_answers_with_another_room_is_not_believed() {
    let app = service().start().await;
    for (other, matching, code) in [
        ("TEST_A1", 1, "room_not_found"),
        ("test_A1", 1, "room_not_found"),
        ("test_a1", 2, "pexip_invalid"),
        ("test_a", 1, "pexip_invalid"),
        ("boardroom", 1, "pexip_invalid"),
        ("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", 1, "pexip_invalid"),
    ] {
        let object = json!({ "id": 7, "name": other, "service_type": "conference", "tag": TAG, "aliases": [] });
        let page = json!({ "meta": { "next": null, "total_count": matching }, "objects": [object] });
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let fault = Fault::StatusWith { status: 200, headers, body: page.to_string() };
        app.pexip.traffic().inject(Matching::any(), Times::Once, fault);
        let status = if code == "room_not_found" { 404 } else { 502 };
        app.public_room("test_a1").await.assert_problem(status, code);
    }
}

#[tokio::test]
async fn foreign_rooms_are_never_deleted_tagged_swept_or_read_by_idim() {
    let app = service()
        .set("POOL_TARGET_SIZE", 2)
        .set("PEXIP_EVENT_USERNAME", "nodes")
        .set("PEXIP_EVENT_PASSWORD", "password")
        .set("ROOM_END_GRACE_SECONDS", 0)
        .start()
        .await;
    app.pexip.insert(kiosk("test_old").tagged(TAG).described("handed-out=2020-01-01T00:00:00Z"));
    app.pexip.insert(kiosk("test_unused").described("ready-until=2020-01-01T00:00:00Z"));
    app.pexip.insert(kiosk(KIOSK));
    let before = app.pexip.rooms();

    for name in [KIOSK, "test_old", "test_unused"] {
        app.pexip.traffic().clear();
        app.delete_room(name).await.assert_problem(404, "room_not_found");
        for query in ["", "?constrained_attributes=false"] {
            let request = app.request(Method::GET, &format!("room/{name}{query}"));
            let answer = app.send(request.bearer_auth(app.entra.token().build())).await;
            answer.assert_problem(404, "room_not_found");
        }
        let asked = app.pexip.traffic().log().into_iter().filter(|call| call.query.contains(name)).count();
        assert_eq!(asked, 0, "{name}: Pexip is not asked");

        let event = json!({ "event": "conference_ended", "data": { "name": name } });
        let request = app.request(Method::POST, "public/event_sink").basic_auth("nodes", Some("password"));
        assert_eq!(app.send(request.json(&event)).await.status, 204);
        app.queue.put(POOL_QUEUE, name);
    }
    assert!(app.queue.messages("room-creation-queue-ended").is_empty());
    for _ in 0..3 {
        app.run_maintenance().await;
        time_between_readings_passes().await;
    }
    let created = app.create_room().await;
    assert_eq!(created.status, 200, "{created:?}");

    let foreign = |room: &StoredRoom| !room.name.starts_with("vbv-");
    assert_eq!(app.pexip.rooms().into_iter().filter(foreign).collect::<Vec<_>>(), before);
}

#[tokio::test]
async fn without_the_setting_no_foreign_room_is_read() {
    let app = TestApp::without_pool().await;
    app.pexip.insert(kiosk(KIOSK));
    app.public_room(KIOSK).await.assert_problem(404, "room_not_found");
    assert_eq!(calls(&app), 0);
}

#[test]
fn a_readable_prefix_must_not_share_a_start_with_ours() {
    let form = "must be prefixes of 4 or more of A-Z, a-z, 0-9, _ and -";
    let shared = "must not share its start with ROOM_NAME_PREFIX";
    for (readable, ours, expected) in [
        ("", "vbv-", None),
        ("test_,vkiosk_", "vbv-", None),
        (" test_ , vkiosk_ ", "vbv-", None),
        ("VBV-", "vbv-", None),
        ("xvbv-", "vbv-", None),
        ("tes", "vbv-", Some(form)),
        ("test_,", "vbv-", Some(form)),
        ("test.", "vbv-", Some(form)),
        ("test_*", "vbv-", Some(form)),
        ("*", "vbv-", Some(form)),
        ("vbv-", "vbv-", Some(shared)),
        ("vbv-kiosk", "vbv-", Some(shared)),
        ("test_,vbv-t", "vbv-", Some(shared)),
        ("vbv-", "vbv-t-", Some(shared)),
        ("test", "test-", Some(shared)),
    ] {
        let source = |name: &str| match name {
            "PUBLIC_READ_PREFIXES" => Some(OsString::from(readable)),
            "ROOM_NAME_PREFIX" => Some(OsString::from(ours)),
            _ => None,
        };
        let faults = ConfigParts::read(source).faults;
        let fault = faults.iter().find(|fault| fault.setting == "PUBLIC_READ_PREFIXES");
        assert_eq!(fault.map(|fault| fault.reason.as_str()), expected, "{readable} {ours}");
    }
}
