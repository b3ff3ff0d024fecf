//! Rooms that are not as this service made them: others changed them on the node, or a setting has changed since.

use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;

use crate::support::{Call, POOL_QUEUE, TestApp, eventually, ready_room};

const NAME: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

type Change = fn(&mut StoredRoom);

/// What others may do to a room, each by its name in the log.
fn changes() -> Vec<(&'static str, Change)> {
    vec![
        ("service_type", |room| drop(room.settings.insert("service_type".to_owned(), json!("test_call")))),
        ("service_type", |room| drop(room.settings.insert("service_type".to_owned(), json!("lecture")))),
        ("no_guests", |room| room.allow_guests = false),
        ("pins", |room| room.pin.clear()),
        ("pins", |room| room.guest_pin.clear()),
        ("pins", |room| "65432".clone_into(&mut room.guest_pin)),
        ("pins", |room| room.guest_pin.clone_from(&room.pin)),
        ("alias", |room| room.aliases.clear()),
        ("alias", |room| "boardroom".clone_into(&mut room.aliases[0].alias)),
        ("alias", |room| *room = room.clone().with_alias("boardroom")),
        ("unmarked", |room| room.description.clear()),
    ]
}

#[tokio::test]
async fn a_room_that_others_changed_is_not_handed_out_and_its_message_is_deleted() {
    for (number, (reason, change)) in changes().into_iter().enumerate() {
        let (app, program) = TestApp::with().start_program().await;
        let mut room = ready_room(NAME);
        change(&mut room);
        app.pool_holds(room);

        let answer = app.create_room().await;

        assert_eq!(answer.status, 200, "{number} {reason}: {answer:?}");
        assert_ne!(answer.room(), NAME, "{number} {reason}");
        eventually("the message is deleted", async || {
            app.queue.messages(POOL_QUEUE).iter().all(|message| message.text != NAME)
        })
        .await;
        assert_eq!(app.pexip.room(NAME).expect("the room").tag, "", "{number} {reason}");
        let reasons: Vec<_> = program.events().into_iter().filter(|event| event["room"] == NAME).collect();
        assert!(reasons.iter().any(|event| event["reason"] == reason), "{number} {reason}: {reasons:?}");
    }
}

#[tokio::test]
async fn a_room_whose_pins_have_another_form_than_the_settings_is_not_handed_out() {
    for (setting, value, is_fit) in [
        ("ROOM_PIN_LENGTH", "6", true),
        ("ROOM_PIN_LENGTH", "7", false),
        ("ROOM_HOST_PIN", "123456", true),
        ("ROOM_HOST_PIN", "123457", false),
        ("ROOM_HOST_PIN", "12345#", false),
    ] {
        let app = TestApp::with().set(setting, value).start().await;
        app.pool_holds(ready_room(NAME));

        assert_eq!(app.create_room().await.room() == NAME, is_fit, "{setting}={value}");
    }
}

#[tokio::test]
async fn a_direct_room_that_is_not_as_asked_for_is_destroyed() {
    let mut changes = changes();
    changes.push(("tag", |room| room.tag.clear()));
    for (_, change) in changes {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
        app.pexip.traffic().inject(Call::look_ups_by_name(), Times::Always, Fault::Stall);

        let others = async {
            eventually("the room is made and read", async || {
                let reads = Matching::method(Method::GET).path_contains("conference");
                !app.pexip.rooms().is_empty() && app.pexip.traffic().count(&reads) > 0
            })
            .await;
            let name = app.pexip.rooms()[0].name.clone();
            let mut room = app.pexip.remove(&name).expect("the room");
            change(&mut room);
            app.pexip.insert(room);
            app.pexip.traffic().heal();
        };
        let (answer, ()) = tokio::join!(app.create_room(), others);

        answer.assert_problem(502, "pexip_invalid");
        eventually("the room is deleted", async || app.pexip.rooms().is_empty()).await;
    }
}
