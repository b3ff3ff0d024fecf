//! What Conferencing Nodes ask a policy server, and what they make of its answers.

mod refusals;
mod variants;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maxconf_simulators::pexip::{ConferencingNode, Endpoint, PolicyLookUp, PolicyOutcome, Refused, Role};
use maxconf_simulators::{Exchange, PexipSimulator, Server, StoredRoom, Traffic};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::{client, eventually};

const USERNAME: &str = "conferencing-nodes";
const PASSWORD: &str = "policy:secret";
const ROOM: &str = "vbi-1";
const HOST: &str = "193604";
const GUEST: &str = "852117";
const TAG: &str = "https://id.example/1";
const QUEUE: &str = "sip:queue@sbc.example.org";

/// A platform of two nodes, and the policy server that they ask, which gives everybody the same answer.
struct Policy {
    pexip: PexipSimulator,
    nodes: [ConferencingNode; 2],
    answer: Arc<Mutex<Value>>,
    /// Of the policy server.
    traffic: Traffic,
    _server: Server,
}

impl Policy {
    async fn start() -> Self {
        let answer = Arc::new(Mutex::new(success(&room())));
        let traffic = Traffic::default();
        let lookups = Router::new().route(
            "/of/us/policy/v1/service/configuration",
            get(async |State(answer): State<Arc<Mutex<Value>>>| Json(answer.lock().expect("no test panicked").clone())),
        );
        let server = Server::start(traffic.watch(lookups.with_state(Arc::clone(&answer)))).await;
        let pexip = PexipSimulator::start().await;
        pexip.add_policy_server(server.url().join("of/us/").expect("a path"), USERNAME, PASSWORD);
        let nodes = [pexip.conferencing_node("10.47.2.21").await, pexip.conferencing_node("10.47.2.22").await];
        Self { pexip, nodes, answer, traffic, _server: server }
    }

    fn answers(&self, answer: Value) {
        *self.answer.lock().expect("no test panicked") = answer;
    }

    /// The queries so far, decoded.
    fn asked(&self) -> Vec<BTreeMap<String, String>> {
        let decoded =
            |exchange: &Exchange| url::form_urlencoded::parse(exchange.query.as_bytes()).into_owned().collect();
        self.traffic.log().iter().map(decoded).collect()
    }

    fn outcomes(&self) -> Vec<PolicyOutcome> {
        self.pexip.policy_look_ups().into_iter().map(|look_up| look_up.outcome).collect()
    }

    /// A list of the status API.
    async fn status(&self, path: &str) -> Vec<Value> {
        let url = self.pexip.management_url().join(&format!("api/admin/status/v1/{path}")).expect("a path");
        let request = client().get(url).basic_auth(self.pexip.username(), Some(self.pexip.password()));
        let list: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        list["objects"].as_array().expect("objects").clone()
    }
}

/// An open room as the policy server has it.
fn room() -> Value {
    json!({
        "service_type": "conference", "name": ROOM, "service_tag": TAG, "allow_guests": true, "pin": HOST,
        "guest_pin": GUEST,
        "automatic_participants": [{
            "local_alias": ROOM, "remote_alias": QUEUE, "protocol": "sip", "role": "guest", "routing": "manual",
            "keep_conference_alive": "keep_conference_alive_never",
        }],
    })
}

/// The room with these fields; null takes one away.
fn room_with(fields: &Value) -> Value {
    let mut room = room();
    for (field, value) in fields.as_object().expect("fields") {
        room[field] = value.clone();
    }
    room.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    room
}

fn success(result: &Value) -> Value {
    json!({ "status": "success", "action": "continue", "result": result })
}

fn action(action: &str) -> Value {
    json!({ "status": "success", "action": action })
}

fn in_the_database(name: &str) -> StoredRoom {
    StoredRoom::named(name).with_alias(name).with_pins(HOST, GUEST)
}

#[tokio::test]
async fn a_web_join_with_a_pin_is_looked_up_twice_and_both_look_ups_are_the_same() {
    let policy = Policy::start().await;

    let joined = policy.nodes[0].join(ROOM, GUEST).await.expect("the room");

    assert_eq!(joined.role, Role::Guest);
    let log = policy.traffic.log();
    assert_eq!((log.len(), &log[0].query), (2, &log[1].query));
    assert_eq!((&log[0].method, log[0].path.as_str()), (&Method::GET, "/of/us/policy/v1/service/configuration"));
    let account = format!("Basic {}", BASE64_STANDARD.encode(format!("{USERNAME}:{PASSWORD}")));
    assert!(log.iter().all(|exchange| exchange.headers["authorization"] == account));
    let asked = &policy.asked()[0];
    for (parameter, value) in [
        ("local_alias", ROOM),
        ("call_direction", "dial_in"),
        ("protocol", "api"),
        ("trigger", "web"),
        ("node_ip", "10.47.2.21"),
        ("location", "Simulated"),
        ("version_id", "40"),
        ("pseudo_version_id", "79715.0.0"),
        ("registered", "False"),
        ("call_tag", ""),
        ("of_a_release_to_come", "True"),
    ] {
        assert_eq!(asked.get(parameter).map(String::as_str), Some(value), "{parameter}");
    }
    assert!(!asked.contains_key("service_name") && !log[0].query.contains(GUEST), "{asked:?}");

    assert_eq!(policy.nodes[0].join(ROOM, "999999").await, Err(Refused::InvalidPin));
    assert_eq!(policy.traffic.log().len(), 4, "another token request is another look-up");
}

#[tokio::test]
async fn a_dialling_endpoint_is_looked_up_once_and_asked_for_its_pin_three_times() {
    for (endpoint, alias, protocol, trigger) in
        [(Endpoint::Sip, "sip:vbi-1@meet.example", "sip", "invite"), (Endpoint::H323, "vbi-1", "h323", "setup")]
    {
        let policy = Policy::start().await;
        let mut caller = policy.nodes[0].dial(alias, endpoint).await.expect("the room");
        let mut stranger = policy.nodes[0].dial(alias, endpoint).await.expect("the room");
        assert_eq!(policy.status("conference/").await, Vec::<Value>::new(), "nobody has entered a PIN");

        for _ in 0..2 {
            assert_eq!(caller.enter_pin("999999"), Err(Refused::InvalidPin));
            assert_eq!(stranger.enter_pin("999999"), Err(Refused::InvalidPin));
        }
        assert_eq!(caller.enter_pin(HOST), Ok(Role::Chair));
        assert_eq!(stranger.enter_pin("999999"), Err(Refused::InvalidPin));
        assert_eq!(stranger.enter_pin(GUEST), Err(Refused::Disconnected));

        assert!(caller.is_connected() && !stranger.is_connected());
        let asked: Vec<_> = policy.asked();
        assert_eq!(asked.len(), 2);
        let of = |parameter: &str| asked[0][parameter].as_str();
        assert_eq!((of("local_alias"), of("protocol"), of("trigger")), (alias, protocol, trigger));
        assert!(policy.pexip.is_running(ROOM));
        caller.hang_up();
        assert!(!policy.pexip.is_running(ROOM));
    }
}

#[tokio::test]
async fn whoever_is_at_the_pin_prompt_gets_in_by_the_answer_of_before() {
    let policy = Policy::start().await;
    let mut caller = policy.nodes[0].dial(ROOM, Endpoint::Sip).await.expect("the room");
    policy.answers(action("reject"));

    assert_eq!(policy.nodes[0].dial(ROOM, Endpoint::Sip).await.map(drop), Err(Refused::NotFound));
    assert_eq!(caller.enter_pin(GUEST), Ok(Role::Guest));
    assert_eq!(policy.status(&format!("conference/?name={ROOM}")).await[0]["tag"], TAG);
}

#[tokio::test]
async fn each_node_asks_for_itself_and_all_meet_in_the_conference_of_the_answers_name() {
    let policy = Policy::start().await;
    let sink = Arc::new(Mutex::new(Vec::new()));
    let events = Router::new().route(
        "/",
        axum::routing::post({
            let sink = Arc::clone(&sink);
            async move |Json(event): Json<Value>| sink.lock().expect("no test panicked").push(event)
        }),
    );
    let receiver = Server::start(events).await;
    let events = policy.pexip.add_event_sink(receiver.url(), "", "");

    let (first, second) =
        tokio::join!(policy.nodes[0].join("one.alias", GUEST), policy.nodes[1].join("another.alias", HOST));

    assert_eq!((first.map(|it| it.role), second.map(|it| it.role)), (Ok(Role::Guest), Ok(Role::Chair)));
    let conferences = policy.status("conference/").await;
    assert_eq!((conferences.len(), &conferences[0]["name"], &conferences[0]["tag"]), (1, &json!(ROOM), &json!(TAG)));
    let participants = policy.status(&format!("participant/?conference={ROOM}")).await;
    assert_eq!(participants.len(), 2);
    assert!(participants.iter().all(|participant| participant["service_tag"] == TAG), "{participants:?}");
    let nodes = policy.asked().iter().map(|asked| asked["node_ip"].clone()).collect::<Vec<_>>();
    assert_eq!(nodes.iter().filter(|node| *node == "10.47.2.21").count(), 2);
    assert_eq!(nodes.len(), 4);
    assert_eq!(policy.pexip.rooms(), [], "the configuration API does not know the room");
    policy.pexip.leave_all(ROOM);
    eventually("the events have arrived", async || events.undelivered() == 0).await;
    let events = sink.lock().expect("no test panicked").clone();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).cloned().collect::<Vec<_>>();
    assert_eq!((of("conference_started").len(), of("conference_ended").len()), (2, 2), "one for each node");
    for event in events.iter().map(|event| &event["data"]) {
        let tag = if event["name"].is_string() { &event["tag"] } else { &event["service_tag"] };
        let is_tagged = event["uuid"].is_null() || event["media_streams"].is_array() || tag == TAG;
        assert!(is_tagged, "{event}");
    }
}

#[tokio::test]
async fn the_first_answer_counts_for_all_and_the_latest_for_the_pin() {
    let policy = Policy::start().await;
    policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
    policy.answers(success(&room_with(&json!({ "guest_pin": "111111", "max_callrate_in": 128_000 }))));

    assert_eq!(policy.nodes[1].join(ROOM, GUEST).await, Err(Refused::InvalidPin));
    assert!(policy.nodes[1].join(ROOM, "111111").await.is_ok());
    assert_eq!(policy.pexip.changed_services(), [""; 0]);

    policy.answers(success(&room_with(&json!({ "service_tag": "another" }))));
    assert!(policy.nodes[1].join(ROOM, GUEST).await.is_ok());
    assert_eq!(policy.pexip.changed_services(), [ROOM]);
    assert_eq!(policy.status("conference/").await[0]["tag"], TAG);
}

#[tokio::test]
async fn a_conference_dials_out_after_a_look_up_with_its_own_answer() {
    let policy = Policy::start().await;
    policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
    let legs = async || {
        let participants = policy.status(&format!("participant/?conference={ROOM}")).await;
        participants.into_iter().filter(|it| it["call_direction"] == "out").collect::<Vec<_>>()
    };
    policy.pexip.advance(Duration::from_secs(9));
    assert_eq!(policy.asked().len(), 2);

    policy.pexip.advance(Duration::from_secs(1));

    eventually("the leg is there", async || legs().await.len() == 1).await;
    let (asked, leg) = (policy.asked(), &legs().await[0]);
    for (parameter, value) in [
        ("call_direction", "dial_out"),
        ("trigger", "unspecified"),
        ("protocol", "sip"),
        ("local_alias", ROOM),
        ("remote_alias", QUEUE),
        ("service_name", ROOM),
        ("unique_service_name", ROOM),
        ("service_tag", TAG),
        ("node_ip", "10.47.2.21"),
    ] {
        assert_eq!(asked[2][parameter], value, "{parameter}");
    }
    let expected = json!([QUEUE, "SIP", "guest", TAG, "10.47.2.21"]);
    let fields = ["destination_alias", "protocol", "role", "service_tag", "media_node"].map(|field| &leg[field]);
    assert_eq!(json!(fields), expected);
    policy.pexip.advance(Duration::from_secs(60));
    assert_eq!((policy.asked().len(), legs().await.len()), (3, 1), "there is one attempt");
}

#[tokio::test]
async fn a_call_is_not_placed_without_the_answer_that_its_conference_runs() {
    for answer in [
        action("reject"),
        action("continue"),
        success(&room_with(&json!({ "guest_pin": "111111" }))),
        success(&room_with(&json!({ "service_tag": "another" }))),
        success(&room_with(&json!({ "pin": "1" }))),
    ] {
        let policy = Policy::start().await;
        policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
        policy.answers(answer.clone());
        policy.pexip.advance(Duration::from_secs(10));
        eventually("it is looked up", async || policy.outcomes().len() == 3).await;
        assert_eq!(policy.status("participant/").await.len(), 1, "{answer}");
    }
}

#[tokio::test]
async fn an_answer_to_a_dial_out_may_differ_in_what_concerns_the_one_leg() {
    let policy = Policy::start().await;
    policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
    policy.answers(success(&room_with(&json!({ "prefer_ipv6": "yes" }))));
    policy.pexip.advance(Duration::from_secs(10));
    eventually("the leg is there", async || policy.status("participant/").await.len() == 2).await;
}

#[tokio::test]
async fn a_leg_keeps_its_conference_alive_only_as_its_room_says() {
    let keeping = [("keep_conference_alive", true), ("keep_conference_alive_never", false)];
    for (keeps, runs_on) in keeping {
        let policy = Policy::start().await;
        let mut room = room();
        room["automatic_participants"][0]["keep_conference_alive"] = json!(keeps);
        policy.answers(success(&room));
        let citizen = policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
        policy.pexip.advance(Duration::from_secs(10));
        eventually("the leg is there", async || policy.status("participant/").await.len() == 2).await;

        policy.nodes[0].leave(&citizen);

        assert_eq!(policy.pexip.is_running(ROOM), runs_on, "{keeps}");
    }
}

#[tokio::test]
async fn an_automatic_participant_without_a_local_alias_is_not_dialled() {
    let policy = Policy::start().await;
    let mut room = room();
    room["automatic_participants"][0].as_object_mut().expect("an object").remove("local_alias");
    policy.answers(success(&room));
    policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
    policy.pexip.advance(Duration::from_secs(60));
    assert_eq!((policy.asked().len(), policy.status("participant/").await.len()), (2, 1));
}

#[tokio::test]
async fn rooms_of_the_database_are_asked_about_as_well() {
    let policy = Policy::start().await;
    policy.pexip.add_automatic_participant(7, QUEUE);
    let mut stored = in_the_database("vbv-1");
    stored.automatic_participants.push(7);
    policy.pexip.insert(stored);

    policy.answers(action("reject"));
    assert_eq!(policy.nodes[0].join("vbv-1", GUEST).await, Err(Refused::NotFound));
    policy.answers(action("continue"));
    policy.nodes[0].join("vbv-1", GUEST).await.expect("the room of the database");
    let mut caller = policy.nodes[0].dial("sip:vbv-1", Endpoint::Sip).await.expect("the room of the database");
    assert_eq!(caller.enter_pin(HOST), Ok(Role::Chair));
    policy.pexip.advance(Duration::from_secs(10));
    eventually("the leg is there", async || policy.status("participant/").await.len() == 3).await;

    let look_ups = policy.pexip.policy_look_ups();
    let last = PolicyLookUp {
        node: "10.47.2.21".to_owned(),
        alias: "vbv-1".to_owned(),
        call_direction: "dial_out",
        protocol: "SIP",
        outcome: PolicyOutcome::Default("continue".to_owned()),
    };
    assert_eq!((look_ups.len(), look_ups.last()), (5, Some(&last)));
}

#[tokio::test]
async fn a_policy_server_that_is_not_selected_or_switched_off_is_not_asked() {
    let policy = Policy::start().await;
    policy.pexip.insert(in_the_database("vbv-1"));
    let assert_not_asked = async || {
        assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound));
        assert!(policy.nodes[0].join("vbv-1", GUEST).await.is_ok());
        assert_eq!((policy.asked().len(), policy.outcomes().len()), (0, 0));
    };

    policy.pexip.select_services_in_location(false);
    assert_not_asked().await;
    policy.pexip.select_services_in_location(true);
    for switch in ["enable_service_lookup", "allow_http"] {
        policy.pexip.switch_policy_servers(switch, false);
        assert_not_asked().await;
        policy.pexip.switch_policy_servers(switch, true);
    }
    assert!(policy.nodes[0].join(ROOM, GUEST).await.is_ok());
}

/// Where nobody listens.
fn nowhere() -> Url {
    "http://127.0.0.1:9/".parse().expect("a URL")
}
