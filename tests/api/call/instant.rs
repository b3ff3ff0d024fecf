//! The call in an instant room: the nodes ask the service, and Pexip stores no room.

use maxconf_simulators::operator::POLICY_ACCOUNT;
use maxconf_simulators::pexip::{Refused, Role};
use maxconf_simulators::{InfinityApp, Matching};
use serde_json::json;

use super::{Call, DIAL_OUT_DELAY, Room};
use crate::support::{TestApp, TestAppBuilder, eventually, on_every_host, time_passes_until};

fn service() -> TestAppBuilder {
    super::service()
        .set("ROOM_SOURCE", "instant")
        .set("INSTANT_ROOM_DIAL_OUT", "sip:queue@sbc.example.org")
        .set("PEXIP_POLICY_USERNAME", POLICY_ACCOUNT.0)
        .set("PEXIP_POLICY_PASSWORD", POLICY_ACCOUNT.1)
}

#[tokio::test]
async fn a_call_from_the_first_token_to_the_end_of_its_instant_room() {
    on_every_host(service, a_whole_call).await;
}

async fn a_whole_call(app: &TestApp) {
    let call = Call::between_nodes(app).await;
    let room = call.room().await;

    let citizen = call.citizens_node.join(&room.alias, &room.guest_pin).await.expect("the citizen is let in");
    assert_eq!(citizen.role, Role::Guest);
    app.pexip.advance(DIAL_OUT_DELAY);
    eventually("the queue of the agents is dialled", async || call.directions(&room).await == ["in", "out"]).await;
    let seen = app.public_room(&room.name).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let seen = Room::of(&seen);
    let agent = call.agents_node.join(&seen.alias, &seen.host_pin).await.expect("the agent is let in");
    assert_eq!(agent.role, Role::Chair);
    call.agents_node.leave(&agent);
    call.citizens_node.leave(&citizen);
    assert!(!app.pexip.is_running(&room.name), "the dialled leg does not keep the conference alive");

    let is_gone = async || app.public_room(&room.name).await.status == 404;
    time_passes_until("the room is ended", app, is_gone).await;
    for node in [&call.citizens_node, &call.agents_node] {
        assert_eq!(node.join(&room.alias, &room.guest_pin).await, Err(Refused::NotFound));
    }
    assert_eq!(app.delete_room(&room.name).await.status, 404);
    assert_eq!(app.pexip.rooms(), []);
}

#[tokio::test]
async fn pexips_own_client_joins_an_instant_room_and_hears_of_its_end() {
    let (Some(mut citizen), Some(mut agent)) = (InfinityApp::start(), InfinityApp::start()) else { return };
    let app = service().start().await;
    let call = Call::between_nodes(&app).await;
    let room = call.room().await;
    let seen = Room::of(&app.public_room(&room.name).await);
    let (citizens_node, agents_node) = (call.citizens_node.server().url(), call.agents_node.server().url());

    let without = citizen.join(&citizens_node, &room.alias, None).await;
    assert_eq!((&without["status"], &without["result"]["guest_pin"]), (&json!(403), &json!("required")), "{without}");
    let wrong = citizen.join(&citizens_node, &room.alias, Some("1")).await;
    assert_eq!(wrong, json!({ "status": 403, "result": "Invalid PIN" }));
    let joined = citizen.join(&citizens_node, &room.alias, Some(&room.guest_pin)).await;
    assert_eq!((&joined["status"], &joined["result"]["role"]), (&json!(200), &json!("GUEST")), "{joined}");
    assert!(citizen.call().await["result"]["call_uuid"].is_string());
    assert_eq!(citizen.watch().await["status"], 200);
    // The last of what was there before.
    assert_eq!(citizen.event("conference_update").await["started"], false);
    let joined = agent.join(&agents_node, &seen.alias, Some(&seen.host_pin)).await;
    assert_eq!((&joined["status"], &joined["result"]["role"]), (&json!(200), &json!("HOST")), "{joined}");
    assert!(agent.call().await["result"]["call_uuid"].is_string());
    assert_eq!(citizen.event("participant_create").await["uuid"], joined["result"]["participant_uuid"]);

    assert_eq!(app.delete_room(&room.name).await.status, 204);

    let reason = citizen.event("disconnect").await;
    assert_eq!(reason, json!({ "reason": "Conference terminated by an administrator" }));
    assert_eq!(agent.refresh().await, json!({ "status": 403, "result": "Invalid token" }));
    let refused = citizen.join(&citizens_node, &room.alias, Some(&room.guest_pin)).await;
    assert_eq!(refused, json!({ "status": 404, "result": "Neither conference nor gateway found" }));
    assert_eq!(app.pexip.traffic().count(&Matching::any().path_contains("/configuration/")), 0);
}
