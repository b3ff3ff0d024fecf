//! The call with everything as the operator has it, and what is refused then.

use maxconf::storage::StorageError;
use maxconf_simulators::entra::{CLIENT_ID, TokenBuilder};
use maxconf_simulators::operator::{
    EVENT_ACCOUNT, HOST_PIN, SECOND_CLIENT_ID, SECOND_DIVISION_ID, SETTINGS, TAG, UUI_DATA,
};
use maxconf_simulators::{GenesysToken, StoredRoom};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Call, KIOSK, POOL, Room};
use crate::support::{Answer, Azurite, TestApp, TestAppBuilder, TestQueue, on_every_host, opening_in};

/// Neither a registration, nor a division, nor a user of the operator's.
const STRANGER: &str = "bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee";

fn service() -> TestAppBuilder {
    TestApp::with().the_operators().set("POOL_TARGET_SIZE", POOL).set("ROOM_END_GRACE_SECONDS", 1)
}

#[tokio::test]
async fn a_call_and_what_is_refused() {
    on_every_host(service, a_call_with_its_refusals).await;
}

#[tokio::test]
async fn a_call_and_what_is_refused_with_the_emulator_as_the_queue() {
    // Without the emulator there is nothing to run; `Azurite::get` has reported that.
    if Azurite::get().is_none() {
        return;
    }
    let service = || service().emulated_queue(TestQueue::on_azurite().expect("the emulator"));
    on_every_host(service, a_call_with_its_refusals).await;
}

#[tokio::test]
async fn a_call_and_what_is_refused_out_of_hours_while_the_node_is_up() {
    let (closed_now, _) = opening_in(60);
    a_call_with_its_refusals(&service().set("SERVICE_HOURS", closed_now).start().await).await;
}

async fn a_call_with_its_refusals(app: &TestApp) {
    app.pexip.insert(StoredRoom::named(KIOSK).with_pins("4711", "0815").with_alias(KIOSK));
    let kiosk = app.pexip.room(KIOSK);
    let call = Call::prepare(app).await;
    for room in app.pexip.rooms().into_iter().filter(|room| room.name != KIOSK) {
        assert_eq!((&room.pin, &room_properties(&room)), (&HOST_PIN.to_owned(), &set_properties()), "{room:?}");
        assert!(room.guest_pin.len() == 4 && room.guest_pin != HOST_PIN, "{room:?}");
    }
    assert_refused_creates_touch_no_room(app).await;

    let created = app.create_room_for(UUI_DATA).await;
    let room = Room::of(&created);
    assert_eq!(created.header("room-source"), "pool", "{created:?}");
    let answer = created.json();
    assert_eq!((&answer["tag"], answer.get("pin")), (&json!(TAG), None), "{answer}");
    let path = format!("/api/admin/configuration/v1/conference/{}/", answer["id"]);
    assert_eq!(answer["aliases"][0]["conference"], path, "{answer}");

    assert_strangers_get_nothing_of(app, &room).await;
    assert_eq!(read_as(app, &room.name, SECOND_DIVISION_ID).await.json()["pin"], HOST_PIN);
    assert_foreign_room_is_read_and_no_more(app).await;
    assert_second_registration_creates_and_deletes(app).await;

    call.hold_in(&room).await;
    call.pool_is_full_again().await;
    assert_eq!(app.pexip.room(KIOSK), kiosk, "the foreign room is as it was");
}

/// Creates that a token, a host or an id rules out.
async fn assert_refused_creates_touch_no_room(app: &TestApp) {
    let before = app.pexip.rooms();
    for token in tokens_of_others(app) {
        let path = format!("room/create?uuiData={UUI_DATA}");
        let answer = app.send(app.request(Method::POST, &path).bearer_auth(token.build())).await;
        answer.assert_problem(403, "not_permitted");
    }
    for case in ["iddev&MTIzNDU2LDc2NTQzMg", "id.example.org&MTIz", "ID&MTIz", "MTIz", "id&MTIz/x"] {
        let answer = app.create_room_for(&(hex::encode(case) + ";encoding=hex")).await;
        answer.assert_problem(400, "uui_data_invalid");
    }
    assert_eq!(app.pexip.rooms(), before);
    assert_eq!(app.room_queue().approximate_count().await, Ok(POOL));
}

/// Who may neither read nor end a citizen's room: users, other registrations, and agents of another division.
async fn assert_strangers_get_nothing_of(app: &TestApp, room: &Room) {
    let path = format!("room/{}", room.name);
    for token in tokens_of_others(app) {
        let token = token.build();
        for method in [Method::GET, Method::DELETE] {
            let answer = app.send(app.request(method, &path).bearer_auth(&token)).await;
            answer.assert_problem(403, "not_permitted");
        }
    }
    read_as(app, &room.name, STRANGER).await.assert_problem(403, "not_permitted");
    assert_eq!(app.pexip.room(&room.name).expect("the room").tag, TAG);
}

/// Signed by Entra for this audience, in both versions: a user's tokens, and those of a registration that is not listed.
fn tokens_of_others(app: &TestApp) -> Vec<TokenBuilder> {
    let token = app.entra.token();
    let users = token.clone().without("idtyp").claim("oid", STRANGER).claim("sub", "pairwise-subject");
    let unlisted = token.claim("azp", STRANGER).audience(STRANGER);
    let v1 = |token: &TokenBuilder, client| token.clone().v1().audience(&format!("api://{client}"));
    vec![v1(&users, CLIENT_ID), v1(&unlisted, STRANGER), users, unlisted]
}

/// The read of an agent of this division.
async fn read_as(app: &TestApp, name: &str, division: &str) -> Answer {
    let token = app.genesys.issue(GenesysToken::default().division_id(division));
    app.send(app.request(Method::GET, &format!("public/room/{name}")).header("x-auth-token", token)).await
}

async fn assert_foreign_room_is_read_and_no_more(app: &TestApp) {
    assert_eq!(app.public_room(KIOSK).await.json()["pin"], "4711");
    read_as(app, KIOSK, STRANGER).await.assert_problem(403, "not_permitted");
    app.delete_room(KIOSK).await.assert_problem(404, "room_not_found");

    let event = json!({ "event": "conference_ended", "data": { "name": KIOSK } });
    for (password, status) in [(EVENT_ACCOUNT.1, 204), ("another-password", 401)] {
        let request = app.request(Method::POST, "public/event_sink").basic_auth(EVENT_ACCOUNT.0, Some(password));
        assert_eq!(app.send(request.json(&event)).await.status, status);
    }
    // The first message would have made the queue.
    assert_eq!(app.room_queue().of_ended_rooms().approximate_count().await, Err(StorageError::NoSuchQueue));
}

/// With a v1.0 token, for a case of the other host.
async fn assert_second_registration_creates_and_deletes(app: &TestApp) {
    let token = app.entra.token().claim("azp", SECOND_CLIENT_ID).v1().audience(&format!("api://{SECOND_CLIENT_ID}"));
    let token = token.build();
    let path = format!("room/create?uuiData={}%3Bencoding%3Dhex", hex::encode("idtest&MTIz"));
    let created = app.send(app.request(Method::POST, &path).bearer_auth(&token)).await;
    let name = created.room();
    assert_eq!(created.json()["tag"], "https://idtest.gov.bc.ca/idcheck/protected/video/MTIz");
    let request = app.request(Method::DELETE, &format!("room/{name}")).bearer_auth(&token);
    assert_eq!(app.send(request).await.status, 204);
}

fn set_properties() -> Value {
    let (_, text) = SETTINGS.into_iter().find(|(name, _)| *name == "ROOM_PROPERTIES").expect("a setting");
    serde_json::from_str(text).expect("JSON")
}

/// The room's fields beside those that every room of the service has.
fn room_properties(room: &StoredRoom) -> Value {
    let fields = room.settings.iter().filter(|(name, _)| *name != "service_type");
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}
