//! `ROOM_PROPERTIES`: further fields of the conference resource, the same for rooms of the pool and direct rooms.

use maxconf_simulators::StoredRoom;
use serde_json::{Value, json};

use crate::support::{Program, TestApp, World};

/// A value of each kind, none of them the node's default.
fn properties() -> Value {
    json!({
        "call_type": "video-only",
        "crypto_mode": "on",
        "denoise_enabled": true,
        "enable_chat": "no",
        "enable_overlay_text": true,
        "guest_view": "four_mains_zero_pips",
        "guests_can_present": false,
        "host_view": "two_mains_eight_around",
        "ivr_theme": "/api/admin/configuration/v1/ivr_theme/1/",
        "max_callrate_in": 1024,
        "max_callrate_out": 8192,
        "max_pixels_per_second": "hd",
        "mute_all_guests": true,
        "participant_limit": 6,
        "pinning_config": "one host",
    })
}

fn found_in(room: &StoredRoom) -> Value {
    properties()
        .as_object()
        .expect("an object")
        .keys()
        .map(|field| (field.clone(), room.settings.get(field).cloned().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn rooms_of_the_pool_and_direct_rooms_have_the_same_properties() {
    let app = TestApp::with().set("ROOM_PROPERTIES", properties()).start().await;
    let direct = app.create_room().await;
    app.warm_up().await;
    let pool = app.create_room().await;

    assert_eq!((direct.header("room-source"), pool.header("room-source")), ("direct", "pool"));
    let rooms = app.pexip.rooms();
    assert!(rooms.len() >= 5, "{rooms:?}");
    for room in rooms {
        assert_eq!(found_in(&room), properties(), "{}", room.name);
        assert!(room.allow_guests && room.aliases[0].alias == room.name, "{room:?}");
    }
}

#[tokio::test]
async fn without_the_setting_rooms_have_the_nodes_defaults() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();

    let room = app.pexip.room(&name).expect("the room");

    assert_eq!(json!(room.settings), json!({ "service_type": "conference" }));
}

#[tokio::test]
async fn a_theme_that_the_node_does_not_have_makes_no_room_rather_than_one_without_it() {
    let theme = json!({ "ivr_theme": "/api/admin/configuration/v1/ivr_theme/2/" });
    let app = TestApp::with().set("ROOM_PROPERTIES", theme).start().await;

    app.create_room().await.assert_problem(503, "no_room");

    assert!(app.pexip.rooms().is_empty());
}

#[tokio::test]
async fn faulty_properties_are_named_by_field_at_start_and_never_shown() {
    let mut settings = World::start().await.settings();
    let faulty = r#"{"call_type": "hunter2", "max_callrate_in": 64000, "pin": "193604", "enable_chat": "no"}"#;
    settings.insert("ROOM_PROPERTIES", faulty.to_owned());

    let ended = Program::run(&["check-config"], settings).await;

    assert_eq!(ended.code, Some(78), "{ended:?}");
    let text = [ended.stdout, ended.stderr].concat().join("\n");
    for part in ["ROOM_PROPERTIES", "call_type must be one of audio, video, video-only", "max_callrate_in must"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(text.contains("a field that may not be set") && !text.contains("enable_chat must"), "{text}");
    for value in ["hunter2", "64000", "193604"] {
        assert!(!text.contains(value), "{value}: {text}");
    }
}
