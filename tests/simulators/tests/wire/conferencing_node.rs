use std::time::Duration;

use maxconf_simulators::pexip::{ConferencingNode, Refused, Role};
use maxconf_simulators::{PexipSimulator, StoredRoom};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::{LIMIT, client};

const HOST: &str = "193604";
const GUEST: &str = "852117";

/// A platform with one Conferencing Node and the room `vbv-1`.
struct Call {
    pexip: PexipSimulator,
    node: ConferencingNode,
    client: Client,
}

impl Call {
    async fn start() -> Self {
        let pexip = PexipSimulator::start().await;
        let node = pexip.conferencing_node("10.47.2.21").await;
        pexip.insert(room("vbv-1", HOST, GUEST));
        Self { pexip, node, client: client() }
    }

    fn request(&self, node: &ConferencingNode, method: Method, path: &str) -> RequestBuilder {
        let url = node.server().url().join(&format!("api/client/v2/conferences/{path}")).expect("a path");
        self.client.request(method, url)
    }

    async fn request_token(&self, alias: &str, pin: Option<&str>) -> Response {
        let request = self.request(&self.node, Method::POST, &format!("{alias}/request_token"));
        let request = request.json(&json!({"display_name": "Bob"}));
        let request = pin.into_iter().fold(request, |request, pin| request.header("pin", pin));
        request.send().await.expect("an answer")
    }

    async fn with_token(&self, method: Method, path: &str, token: &str) -> (u16, Value) {
        let request = self.request(&self.node, method, &format!("vbv-1/{path}")).header("token", token);
        status_and_body(request.send().await.expect("an answer")).await
    }

    async fn management(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let url = self.pexip.management_url().join("api/admin/").and_then(|api| api.join(path)).expect("a path");
        let request = self.client.request(method, url).json(body);
        let request = request.basic_auth(self.pexip.username(), Some(self.pexip.password()));
        status_and_body(request.send().await.expect("an answer")).await
    }

    async fn participants(&self) -> Vec<Value> {
        let (_, list) = self.management(Method::GET, "status/v1/participant/?conference=vbv-1", &json!({})).await;
        list["objects"].as_array().expect("objects").clone()
    }

    async fn conferences(&self) -> Vec<Value> {
        let (_, list) = self.management(Method::GET, "status/v1/conference/?name=vbv-1", &json!({})).await;
        list["objects"].as_array().expect("objects").clone()
    }
}

fn room(name: &str, pin: &str, guest_pin: &str) -> StoredRoom {
    let mut room = StoredRoom::named(name).with_alias(name).with_pins(pin, guest_pin);
    room.allow_guests = !pin.is_empty();
    room
}

async fn status_and_body(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn the_pin_decides_the_role_or_the_refusal() {
    let call = Call::start().await;
    call.pexip.insert(room("guests-without", HOST, ""));
    call.pexip.insert(room("open", "", ""));
    let mut hosts_only = room("hosts-only", HOST, "");
    hosts_only.allow_guests = false;
    call.pexip.insert(hosts_only);

    let required = |guest_pin| json!({"pin": "required", "guest_pin": guest_pin});
    let refused = [
        ("vbv-1", None, 403, required("required")),
        ("vbv-1", Some("none"), 403, json!("Invalid PIN")),
        ("vbv-1", Some("852118"), 403, json!("Invalid PIN")),
        ("vbv-1", Some(""), 403, json!("Invalid PIN")),
        ("guests-without", None, 403, required("none")),
        ("guests-without", Some("852117"), 403, json!("Invalid PIN")),
        ("hosts-only", None, 403, required("none")),
        ("hosts-only", Some("none"), 403, json!("Invalid PIN")),
        ("absent", Some(HOST), 404, json!("Neither conference nor gateway found")),
    ];
    for (alias, pin, status, result) in refused {
        let (code, mut body) = status_and_body(call.request_token(alias, pin).await).await;
        if let Some(result) = body["result"].as_object_mut() {
            assert!(result.remove("version").is_some_and(|version| version.is_object()));
        }
        assert_eq!((code, body), (status, json!({"status": "failed", "result": result})), "{alias} {pin:?}");
    }
    assert_eq!(call.conferences().await, Vec::<Value>::new());

    let admitted = [
        ("vbv-1", Some(HOST), "HOST"),
        ("vbv-1", Some(GUEST), "GUEST"),
        ("guests-without", Some("none"), "GUEST"),
        ("guests-without", Some(HOST), "HOST"),
        ("hosts-only", Some(HOST), "HOST"),
        ("open", None, "HOST"),
    ];
    for (alias, pin, role) in admitted {
        let (code, body) = status_and_body(call.request_token(alias, pin).await).await;
        assert_eq!((code, &body["result"]["role"]), (200, &json!(role)), "{alias} {pin:?}");
        assert_eq!(body["result"]["expires"], "120");
    }
}

#[tokio::test]
async fn a_token_request_must_be_json_and_a_node_in_service_answers_200() {
    let call = Call::start().await;
    let request = call.request(&call.node, Method::POST, "vbv-1/request_token").header("pin", GUEST);

    let answer = request.body(r#"{"display_name": "Bob"}"#).send().await.expect("an answer");

    assert_eq!(answer.status(), 415);
    let status = call.node.server().url().join("api/client/v2/status").expect("a path");
    assert_eq!(call.client.get(status).send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn writes_and_deletions_reach_the_node_after_the_replication_delay() {
    let call = Call::start().await;
    let minute = Duration::from_secs(60);
    call.pexip.set_replication_delay(minute);
    call.pexip.insert(room("late", HOST, GUEST));

    assert_eq!(call.node.join("late", GUEST).await, Err(Refused::NotFound));
    call.pexip.advance(Duration::from_secs(59));
    assert_eq!(call.node.join("late", GUEST).await, Err(Refused::NotFound));
    call.pexip.advance(Duration::from_secs(1));
    assert_eq!(call.node.join("late", GUEST).await.map(|joined| joined.role), Ok(Role::Guest));

    // Changed twice before replication: the node uses the PINs that it has.
    let id = call.pexip.room("late").expect("the room").id;
    call.pexip.insert(room("late", "111111", "222222").with_id(id));
    call.pexip.insert(room("late", "333333", "444444").with_id(id));
    assert_eq!(call.node.join("late", "444444").await, Err(Refused::InvalidPin));
    assert!(call.node.join("late", GUEST).await.is_ok());
    call.pexip.advance(minute);
    assert_eq!(call.node.join("late", GUEST).await, Err(Refused::InvalidPin));
    assert!(call.node.join("late", "444444").await.is_ok());

    call.pexip.remove("late");
    assert!(call.node.join("late", "444444").await.is_ok());
    call.pexip.advance(minute);
    assert_eq!(call.node.join("late", "444444").await, Err(Refused::NotFound));
}

#[tokio::test]
async fn a_participant_is_in_the_status_until_the_token_is_released_or_expires() {
    let call = Call::start().await;
    let token = |body: Value| body["result"]["token"].as_str().expect("a token").to_owned();
    let (_, citizen) = status_and_body(call.request_token("vbv-1", Some(GUEST)).await).await;
    let (_, agent) = status_and_body(call.request_token("vbv-1", Some(HOST)).await).await;
    let (citizen, agent) = (token(citizen), token(agent));

    let present = call.participants().await;
    let seen: Vec<_> = present.iter().map(|it| (&it["role"], &it["call_direction"], &it["media_node"])).collect();
    let (incoming, address) = (json!("in"), json!("10.47.2.21"));
    assert_eq!(seen, [(&json!("guest"), &incoming, &address), (&json!("chair"), &incoming, &address)]);
    assert_eq!(call.conferences().await[0]["is_started"], false, "no host has media");
    let (_, shown) = call.with_token(Method::GET, "participants", &agent).await;
    assert_eq!(shown["result"].as_array().map(Vec::len), Some(2));

    // The agent refreshes its token; the citizen's app does not.
    call.pexip.advance(Duration::from_secs(100));
    let (code, refreshed) = call.with_token(Method::POST, "refresh_token", &agent).await;
    assert_eq!((code, &refreshed["result"]["role"]), (200, &json!("HOST")));
    let refused = (403, json!({"status": "failed", "result": "Invalid token"}));
    assert_eq!(call.with_token(Method::POST, "refresh_token", &agent).await, refused);
    call.pexip.advance(Duration::from_secs(20));
    assert_eq!(call.participants().await.len(), 1);
    assert_eq!(call.with_token(Method::GET, "conference_status", &citizen).await, refused);

    let agent = token(refreshed);
    let released = call.with_token(Method::POST, "release_token", &agent).await;
    assert_eq!(released, (200, json!({"status": "success", "result": true})));
    assert_eq!(call.with_token(Method::POST, "release_token", &agent).await, refused);
    assert_eq!(call.conferences().await, Vec::<Value>::new());
}

#[tokio::test]
async fn people_are_those_who_are_in_and_those_before_their_pin() {
    let call = Call::start().await;
    let joined = call.node.join("vbv-1", GUEST).await.expect("the room");
    let waiting = call.pexip.wait_for_pin("vbv-1");
    let leg = call.pexip.dial_out_leg("vbv-1");

    let people = call.pexip.people("vbv-1");

    let seen: Vec<_> = people.iter().map(|one| (one.id.as_str(), one.role, one.is_dialled, one.has_media)).collect();
    let guest = Some(Role::Guest);
    assert_eq!(
        seen,
        [(&*joined.participant, guest, false, true), (&*waiting, None, false, false), (&*leg, guest, true, true)]
    );
    assert_eq!(call.pexip.people("vbv-2"), []);
}

#[tokio::test]
async fn a_token_is_valid_for_one_alias_on_one_node() {
    let call = Call::start().await;
    let other = call.pexip.conferencing_node("10.47.2.22").await;
    call.pexip.insert(room("vbv-2", HOST, GUEST));
    let joined = call.node.join("vbv-1", HOST).await.expect("the room");

    for (node, alias) in [(&call.node, "vbv-2"), (&other, "vbv-1"), (&other, "vbv-2")] {
        let request = call.request(node, Method::POST, &format!("{alias}/refresh_token"));
        let answer = request.header("token", &joined.token).send().await.expect("an answer");
        assert_eq!(answer.status(), 403, "{alias} on {}", node.address());
    }
    assert_eq!(call.with_token(Method::POST, "refresh_token", &joined.token).await.0, 200);
}

const QUEUE: &str = "sip:queue@sbc.example.org";
const SECOND: Duration = Duration::from_secs(1);

impl Call {
    /// The room `vbv-1` dials an automatic participant with this role.
    async fn with_dial_out(role: Role) -> Self {
        let call = Self::start().await;
        call.pexip.add_automatic_participant_as(7, QUEUE, role);
        let mut room = room("vbv-1", HOST, GUEST).with_id(call.pexip.room("vbv-1").expect("the room").id);
        room.automatic_participants.push(7);
        call.pexip.insert(room);
        call
    }

    async fn legs(&self) -> Vec<Value> {
        self.participants().await.into_iter().filter(|it| it["call_direction"] == "out").collect()
    }
}

#[tokio::test]
async fn the_first_participant_past_the_pin_makes_the_room_dial_out_after_ten_seconds() {
    for pin in [GUEST, HOST] {
        let call = Call::with_dial_out(Role::Guest).await;
        call.pexip.wait_for_pin("vbv-1");
        call.pexip.advance(10 * SECOND);
        assert_eq!(call.legs().await, Vec::<Value>::new(), "no participant has entered the PIN");
        call.node.join("vbv-1", pin).await.expect("the room");
        call.pexip.advance(5 * SECOND);
        call.node.join("vbv-1", GUEST).await.expect("the room");
        assert_eq!(call.legs().await, Vec::<Value>::new());

        call.pexip.advance(5 * SECOND);

        let legs = call.legs().await;
        let leg = |field: &str| legs[0][field].clone();
        assert_eq!(legs.len(), 1, "{legs:?}");
        assert_eq!(
            (leg("protocol"), leg("destination_alias"), leg("role"), leg("source_alias")),
            (json!("SIP"), json!(QUEUE), json!("guest"), json!("vbv-1"))
        );
        call.pexip.advance(20 * SECOND);
        assert_eq!(call.legs().await.len(), 1, "later participants cause no further dial-out");
    }
}

#[tokio::test]
async fn a_room_dials_out_once_even_if_the_attempt_fails() {
    let call = Call::with_dial_out(Role::Guest).await;
    call.pexip.fail_dial_outs(true);
    call.node.join("vbv-1", HOST).await.expect("the room");
    call.pexip.advance(10 * SECOND);
    assert_eq!(call.legs().await, Vec::<Value>::new());

    call.pexip.fail_dial_outs(false);
    call.pexip.advance(60 * SECOND);
    assert_eq!(call.legs().await, Vec::<Value>::new(), "there is no second attempt");

    call.pexip.leave_all("vbv-1");
    call.node.join("vbv-1", HOST).await.expect("the room");
    call.pexip.advance(10 * SECOND);
    assert_eq!(call.legs().await.len(), 1, "another run of the conference dials again");
}

#[tokio::test]
async fn a_room_does_not_dial_an_alias_that_is_there_or_after_its_end() {
    let call = Call::with_dial_out(Role::Guest).await;
    call.node.join("vbv-1", HOST).await.expect("the room");
    call.pexip.dial_out_leg("vbv-1");
    call.pexip.advance(10 * SECOND);
    assert_eq!(call.legs().await.len(), 1, "the alias is in the conference");

    call.pexip.leave_all("vbv-1");
    let citizen = call.node.join("vbv-1", GUEST).await.expect("the room");
    call.node.leave(&citizen);
    call.pexip.advance(5 * SECOND);
    call.node.join("vbv-1", GUEST).await.expect("the room");
    call.pexip.advance(5 * SECOND);
    assert_eq!(call.legs().await, Vec::<Value>::new(), "the first run has ended");
    call.pexip.advance(5 * SECOND);
    assert_eq!(call.legs().await.len(), 1, "the second run dials by itself");
}

#[tokio::test]
async fn the_delay_of_the_dial_out_is_a_setting() {
    let call = Call::with_dial_out(Role::Guest).await;
    call.pexip.set_dial_out_delay(Duration::ZERO);

    call.node.join("vbv-1", GUEST).await.expect("the room");

    assert_eq!(call.legs().await.len(), 1);
}

#[tokio::test]
async fn a_single_leg_does_not_keep_a_room_alive_even_as_a_host() {
    for role in [Role::Guest, Role::Chair] {
        let call = Call::with_dial_out(role).await;
        let citizen = call.node.join("vbv-1", GUEST).await.expect("the room");
        let agent = call.node.join("vbv-1", HOST).await.expect("the room");
        call.pexip.advance(10 * SECOND);
        call.node.leave(&citizen);
        assert_eq!(call.participants().await.len(), 2);
        call.pexip.wait_for_pin("vbv-1");
        call.node.leave(&agent);
        let left: Vec<_> = call.participants().await.into_iter().map(|it| it["service_type"].clone()).collect();
        assert_eq!(
            (call.conferences().await, left),
            (vec![], vec![json!("ivr")]),
            "participants who have not entered the PIN stay"
        );
    }
}

#[tokio::test]
async fn several_legs_keep_a_room_alive_only_with_a_host_among_them() {
    for (role, remaining) in [(Role::Chair, (2, 1)), (Role::Guest, (0, 0))] {
        let call = Call::start().await;
        let citizen = call.node.join("vbv-1", GUEST).await.expect("the room");
        call.pexip.dial_out_leg("vbv-1");
        call.pexip.dial_out_leg_as("vbv-1", role);

        call.node.leave(&citizen);

        assert_eq!((call.participants().await.len(), call.conferences().await.len()), remaining, "{role:?}");
    }
}

#[tokio::test]
async fn guests_are_disconnected_sixty_seconds_after_the_last_host_has_left() {
    let call = Call::start().await;
    call.node.join("vbv-1", GUEST).await.expect("the room");
    let agent = call.node.join("vbv-1", HOST).await.expect("the room");
    call.node.leave(&agent);
    call.pexip.advance(59 * SECOND);
    assert_eq!(call.conferences().await.len(), 1);
    let agent = call.node.join("vbv-1", HOST).await.expect("the room");
    call.pexip.advance(50 * SECOND);
    assert_eq!(call.conferences().await.len(), 1, "a host is back");

    call.node.leave(&agent);
    call.pexip.advance(5 * SECOND);
    call.node.join("vbv-1", GUEST).await.expect("the room");
    call.pexip.advance(55 * SECOND);
    assert!(!call.pexip.is_running("vbv-1"), "another guest does not extend the time");
}

#[tokio::test]
async fn guests_wait_fifteen_minutes_for_the_first_host() {
    let call = Call::start().await;
    call.pexip.join("vbv-1", Role::Guest);

    call.pexip.advance(899 * SECOND);
    assert!(call.pexip.is_running("vbv-1"));
    call.pexip.advance(SECOND);
    assert!(!call.pexip.is_running("vbv-1"));
}

#[tokio::test]
async fn hosts_and_commands_end_a_conference_and_guests_cannot() {
    let call = Call::start().await;
    let citizen = call.node.join("vbv-1", GUEST).await.expect("the room");
    let agent = call.node.join("vbv-1", HOST).await.expect("the room");

    let refused = call.with_token(Method::POST, "disconnect", &citizen.token).await;
    assert_eq!(refused, (403, json!({"status": "failed", "result": "Invalid role"})));
    assert_eq!(call.with_token(Method::POST, "disconnect", &agent.token).await.0, 200);
    assert!(!call.pexip.is_running("vbv-1"));

    let agent = call.node.join("vbv-1", HOST).await.expect("the room");
    let citizen = call.node.join("vbv-1", GUEST).await.expect("the room");
    let throw_out = |id: String| {
        let call = &call;
        async move {
            call.management(Method::POST, "command/v1/participant/disconnect/", &json!({"participant_id": id})).await
        }
    };
    assert_eq!(throw_out(citizen.participant.clone()).await.0, 202);
    assert_eq!(call.participants().await.len(), 1);
    let gone = json!({"participant": {"participant_id": ["Failed to find participant."]}});
    assert_eq!(throw_out(citizen.participant).await, (400, gone));
    call.node.leave(&agent);
    assert!(!call.pexip.is_running("vbv-1"));
}

#[tokio::test]
async fn the_event_stream_reports_participants_and_ends_with_the_call() {
    let call = Call::start().await;
    let citizen = call.node.join("vbv-1", GUEST).await.expect("the room");
    let stream = call.request(&call.node, Method::GET, &format!("vbv-1/events?token={}", citizen.token));
    let stream = stream.send().await.expect("a stream");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");

    call.pexip.join("another-room", Role::Guest);
    let agent = call.node.join("vbv-1", HOST).await.expect("the room");
    call.node.leave(&agent);
    let id = call.conferences().await[0]["id"].clone();
    call.management(Method::POST, "command/v1/conference/disconnect/", &json!({"conference_id": id})).await;

    let text = tokio::time::timeout(LIMIT, stream.text()).await.expect("its end").expect("text");
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let expected = [
        "participant_sync_begin",
        "participant_create",
        "participant_sync_end",
        "conference_update",
        "participant_create",
        "participant_update",
        "conference_update",
        "participant_delete",
        "disconnect",
    ];
    assert_eq!(names, expected);
    assert!(text.contains(r#"data: {"reason":"Conference terminated by an administrator"}"#), "{text}");
}
