//! Instant rooms at simulated Conferencing Nodes, which ask the service about each call.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use maxconf_simulators::pexip::{
    Caller, ConferencingNode, Endpoint, EventSink, Joined, PolicyLookUp, PolicyOutcome, PolicyVariant, Refused, Role,
};
use maxconf_simulators::{Fault, Matching, Server, Times};
use serde_json::{Value, json};
use url::Url;

use super::ended::looks_after_the_end;
use super::{PASSWORD, QUEUE, USERNAME, create_with, in_seconds, instant, movable_clock, record_of, with_policy};
use crate::support::{Answer, TAG, TestApp, eventually, on_every_host, ready_room};

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9/";

const DIAL_OUT_DELAY: Duration = Duration::from_secs(10);

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// Three Conferencing Nodes that ask the service.
async fn nodes(app: &TestApp) -> [ConferencingNode; 3] {
    app.pexip.add_policy_server(app.url.clone(), USERNAME, PASSWORD);
    [
        app.pexip.conferencing_node("10.47.2.21").await,
        app.pexip.conferencing_node("10.47.2.22").await,
        app.pexip.conferencing_node("10.47.2.23").await,
    ]
}

/// What an answer says about joining.
struct Room {
    name: String,
    host_pin: String,
    guest_pin: String,
}

impl Room {
    fn of(answer: &Answer) -> Self {
        let text = |field: &str| answer.json()[field].as_str().expect("text").to_owned();
        Self { name: text("name"), host_pin: text("pin"), guest_pin: text("guest_pin") }
    }

    async fn create(app: &TestApp) -> Self {
        Self::of(&app.create_room().await)
    }
}

fn role(joined: Result<Joined, Refused>) -> Result<Role, Refused> {
    joined.map(|joined| joined.role)
}

fn outcomes(look_ups: &[PolicyLookUp]) -> Vec<&PolicyOutcome> {
    look_ups.iter().map(|look_up| &look_up.outcome).collect()
}

async fn assert_nobody_gets_in(app: &TestApp, nodes: &[ConferencingNode; 3], room: &Room) {
    let before = app.pexip.policy_look_ups().len();
    for node in nodes {
        assert_eq!(role(node.join(&room.name, &room.guest_pin).await), Err(Refused::NotFound));
        let alias = format!("sip:{}@meet.example.org", room.name);
        assert_eq!(node.dial(&alias, Endpoint::Sip).await.map(drop), Err(Refused::NotFound));
    }
    let look_ups = &app.pexip.policy_look_ups()[before..];
    assert_eq!(outcomes(look_ups), [&PolicyOutcome::Reject; 6]);
}

/// The legs that the conference has dialled.
async fn dialled(app: &TestApp, room: &Room) -> Vec<Value> {
    let participants = app.status_of_pexip(&format!("participant/?conference={}", room.name)).await;
    participants.into_iter().filter(|participant| participant["call_direction"] == "out").collect()
}

/// A receiver of the nodes' events, beside the service.
struct Events {
    sink: EventSink,
    received: Arc<Mutex<Vec<Value>>>,
    _server: Server,
}

impl Events {
    async fn of(app: &TestApp) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().route(
            "/",
            post({
                let received = Arc::clone(&received);
                async move |Json(event): Json<Value>| received.lock().expect("no test panicked").push(event)
            }),
        );
        let server = Server::start(router).await;
        Self { sink: app.pexip.add_event_sink(server.url(), "", ""), received, _server: server }
    }

    /// Data of the events of this kind so far.
    async fn of_kind(&self, name: &str) -> Vec<Value> {
        eventually("the events have arrived", async || self.sink.undelivered() == 0).await;
        let received = self.received.lock().expect("no test panicked");
        received.iter().filter(|event| event["event"] == name).map(|event| event["data"].clone()).collect()
    }
}

#[tokio::test]
async fn a_room_is_joined_at_three_nodes_at_once_as_soon_as_it_is_answered() {
    on_every_host(instant, async |app| {
        let nodes = nodes(app).await;
        let events = Events::of(app).await;
        let room = Room::create(app).await;

        let (agent, citizen, companion) = tokio::join!(
            nodes[0].join(&room.name, &room.host_pin),
            nodes[1].join(&room.name, &room.guest_pin),
            nodes[2].join(&room.name, &room.guest_pin),
        );

        assert_eq!([agent, citizen, companion].map(role), [Ok(Role::Chair), Ok(Role::Guest), Ok(Role::Guest)]);
        for node in &nodes {
            assert_eq!(role(node.join(&room.name, "1").await), Err(Refused::InvalidPin));
        }
        let conferences = app.status_of_pexip("conference/").await;
        assert_eq!(conferences.len(), 1, "the nodes share one conference");
        assert_eq!((&conferences[0]["name"], &conferences[0]["tag"]), (&json!(room.name), &json!(TAG)));
        app.pexip.advance(DIAL_OUT_DELAY);
        eventually("the agents' queue is dialled", async || dialled(app, &room).await.len() == 1).await;
        assert_eq!(dialled(app, &room).await[0]["destination_alias"], QUEUE);

        for event in events.of_kind("conference_started").await {
            assert_eq!((&event["name"], &event["tag"]), (&json!(room.name), &json!(TAG)));
        }
        let connected = events.of_kind("participant_connected").await;
        assert_eq!(connected.len(), 4);
        for participant in connected.iter().chain(&app.status_of_pexip("participant/").await) {
            let seen = (&participant["conference"], &participant["service_tag"]);
            assert_eq!(seen, (&json!(room.name), &json!(TAG)), "{participant}");
        }
        let look_ups = app.pexip.policy_look_ups();
        // Two for each join with a PIN, right or wrong, and one for the dial-out.
        assert_eq!(outcomes(&look_ups), [&PolicyOutcome::Success; 13]);
        assert_eq!(app.pexip.changed_services(), [""; 0]);
        assert_eq!(app.pexip.rooms(), []);
    })
    .await;
}

#[tokio::test]
async fn a_dialled_room_asks_for_its_pin_whatever_form_the_alias_has() {
    let app = instant().start().await;
    let [node, ..] = nodes(&app).await;
    let room = Room::create(&app).await;
    for (alias, endpoint) in [
        (format!("sip:{}@meet.example.org", room.name), Endpoint::Sip),
        (format!("sips:{}@meet.example.org:5061;transport=tls", room.name.to_uppercase()), Endpoint::Sip),
        (room.name.clone(), Endpoint::Sip),
        (format!("h323:{}@10.0.0.1", room.name), Endpoint::H323),
    ] {
        for (pin, role) in [(&room.host_pin, Role::Chair), (&room.guest_pin, Role::Guest)] {
            let mut caller = node.dial(&alias, endpoint).await.expect("the room");
            assert_eq!(caller.enter_pin("1"), Err(Refused::InvalidPin));
            assert_eq!(caller.enter_pin(pin), Ok(role), "{alias}");
        }
    }
    assert_eq!(app.status_of_pexip("conference/").await.len(), 1);
}

#[tokio::test]
async fn a_room_is_joined_whatever_nodes_do_that_no_source_proves() {
    for on in [false, true] {
        let app = instant().start().await;
        let nodes = nodes(&app).await;
        for variant in [
            PolicyVariant::BasicAfterChallenge,
            PolicyVariant::BodiesOfErrors,
            PolicyVariant::EmptyPins,
            PolicyVariant::Media,
            PolicyVariant::Reconnects,
            PolicyVariant::StatusViews,
        ] {
            app.pexip.set_policy_variant(variant, on);
        }
        app.pexip.set_negative_cache(on.then_some(HOUR));
        let room = Room::create(&app).await;
        let record = record_of(&app, &room.name);

        let citizen = nodes[0].join(&room.name, &room.guest_pin).await.expect("the room");
        assert_eq!(role(nodes[1].join(&room.name, &room.host_pin).await), Ok(Role::Chair));
        let path = format!("api/client/v2/conferences/{}/refresh_token", room.name);
        let refresh = app.http.post(nodes[0].server().url().join(&path).expect("a path"));
        assert_eq!(refresh.header("token", citizen.token).send().await.expect("an answer").status(), 200);
        app.pexip.advance(DIAL_OUT_DELAY);
        eventually("the agents' queue is dialled", async || dialled(&app, &room).await.len() == 1).await;
        assert_eq!(app.status_of_pexip("conference/").await.len(), 1);

        let look_ups = app.pexip.policy_look_ups();
        assert!(look_ups.iter().all(|look_up| look_up.outcome == PolicyOutcome::Success), "{look_ups:?}");
        assert_eq!(record_of(&app, &room.name), record, "no look-up changes the room");
    }
}

#[tokio::test]
async fn no_node_lets_anybody_in_before_and_after_the_validity_and_after_a_delete() {
    let (ahead, clock) = movable_clock();
    let app = instant().clock(clock).start().await;
    let nodes = nodes(&app).await;
    let (from, until) = (in_seconds(300), in_seconds(600));
    let given = [("validFrom", from.as_str()), ("validUntil", until.as_str())];
    let room = Room::of(&create_with(&app, &given, "").await);
    let deleted = Room::create(&app).await;

    assert_nobody_gets_in(&app, &nodes, &room).await;
    ahead.store(305, Ordering::SeqCst);
    for node in &nodes {
        assert_eq!(role(node.join(&room.name, &room.guest_pin).await), Ok(Role::Guest));
        assert_eq!(role(node.join(&deleted.name, &deleted.host_pin).await), Ok(Role::Chair));
    }
    assert_eq!(app.delete_room(&deleted.name).await.status, 204);
    assert_nobody_gets_in(&app, &nodes, &deleted).await;
    ahead.store(600, Ordering::SeqCst);
    assert_nobody_gets_in(&app, &nodes, &room).await;

    assert!(app.pexip.is_running(&room.name), "nobody leaves by the end of the validity alone");
    app.maintain().await;
    assert!(!app.pexip.is_running(&room.name) && !app.pexip.is_running(&deleted.name));
}

#[tokio::test]
async fn whoever_sat_at_the_pin_prompt_when_the_room_ended_is_out_within_a_maintenance_run() {
    for is_deleted in [false, true] {
        let (ahead, clock) = movable_clock();
        let app = instant().clock(clock).start().await;
        let nodes = nodes(&app).await;
        let room = Room::of(&create_with(&app, &[("validUntil", &in_seconds(60))], "").await);
        let mut callers = [
            nodes[0].dial(&room.name, Endpoint::Sip).await.expect("the room"),
            nodes[1].dial(&room.name, Endpoint::H323).await.expect("the room"),
        ];
        if is_deleted {
            assert_eq!(app.delete_room(&room.name).await.status, 204);
            looks_after_the_end(&app, &room.name).await;
        } else {
            ahead.store(60, Ordering::SeqCst);
        }
        assert_nobody_gets_in(&app, &nodes, &room).await;

        let entered = callers.each_mut().map(|caller| caller.enter_pin(&room.guest_pin));
        assert_eq!(entered, [Ok(Role::Guest); 2], "by the answer of before");
        assert!(app.pexip.is_running(&room.name));
        app.maintain().await;
        assert!(!callers.iter().any(Caller::is_connected), "deleted: {is_deleted}");
        assert!(!app.pexip.is_running(&room.name), "deleted: {is_deleted}");
    }
}

#[tokio::test]
async fn a_running_conference_dials_out_until_half_a_minute_after_the_validity() {
    for (seconds, is_deleted, is_placed) in [(625, false, true), (635, false, false), (0, true, false)] {
        let (ahead, clock) = movable_clock();
        let app = instant().clock(clock).start().await;
        let nodes = nodes(&app).await;
        let room = Room::of(&create_with(&app, &[("validUntil", &in_seconds(600))], "").await);
        let mut caller = nodes[0].dial(&room.name, Endpoint::Sip).await.expect("the room");
        if is_deleted {
            assert_eq!(app.delete_room(&room.name).await.status, 204);
            looks_after_the_end(&app, &room.name).await;
        }
        assert_eq!(caller.enter_pin(&room.guest_pin), Ok(Role::Guest));
        ahead.store(seconds, Ordering::SeqCst);

        app.pexip.advance(DIAL_OUT_DELAY);

        let looked_up = || app.pexip.policy_look_ups().into_iter().find(|one| one.call_direction == "dial_out");
        eventually("the dial-out is looked up", async || looked_up().is_some()).await;
        let outcome = if is_placed { PolicyOutcome::Success } else { PolicyOutcome::Reject };
        assert_eq!(looked_up().map(|one| one.outcome), Some(outcome), "after {seconds} s");
        if is_placed {
            eventually("the leg is there", async || dialled(&app, &room).await.len() == 1).await;
        } else {
            assert_eq!(dialled(&app, &room).await.len(), 0, "after {seconds} s");
        }
    }
}

#[tokio::test]
async fn an_outage_of_ours_leaves_the_nodes_their_database() {
    let app = instant().start().await;
    let [node, ..] = nodes(&app).await;
    let room = Room::create(&app).await;
    let stored = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
    app.pexip.insert(ready_room(stored));
    let last = || app.pexip.policy_look_ups().pop().map(|look_up| look_up.outcome);
    let assert_only_the_database_is_joined = async |reason: &str| {
        assert!(node.join(stored, "654321").await.is_ok(), "{reason}");
        assert_eq!(role(node.join(&room.name, &room.guest_pin).await), Err(Refused::NotFound));
        let Some(PolicyOutcome::Default(found)) = last() else { panic!("{reason}: {:?}", last()) };
        assert!(found.starts_with(reason), "{reason}: {found}");
    };

    app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    assert_only_the_database_is_joined("status 503").await;
    app.pexip.set_policy_timeout(Duration::from_millis(100));
    assert_only_the_database_is_joined("no answer in time").await;
    app.blobs.traffic().heal();
    app.pexip.set_policy_timeout(HOUR);
    eventually("the room is joined again", async || node.join(&room.name, &room.guest_pin).await.is_ok()).await;

    app.pexip.add_policy_server(app.url.clone(), USERNAME, "another password");
    assert_only_the_database_is_joined("status 401").await;
    app.pexip.add_policy_server(Url::parse(NOWHERE).expect("a URL"), USERNAME, PASSWORD);
    assert_only_the_database_is_joined("no answer").await;
}

#[tokio::test]
async fn a_node_that_remembers_a_refusal_lets_people_in_when_it_asks_again() {
    let (ahead, clock) = movable_clock();
    let app = instant().clock(clock).start().await;
    let nodes = nodes(&app).await;
    app.pexip.set_negative_cache(Some(HOUR));
    let room = Room::of(&create_with(&app, &[("validFrom", &in_seconds(60))], "").await);
    assert_eq!(role(nodes[0].join(&room.name, &room.guest_pin).await), Err(Refused::NotFound));

    ahead.store(60, Ordering::SeqCst);
    assert_eq!(role(nodes[0].join(&room.name, &room.guest_pin).await), Err(Refused::NotFound));
    assert_eq!(role(nodes[1].join(&room.name, &room.guest_pin).await), Ok(Role::Guest));
    app.pexip.advance(HOUR);
    assert_eq!(role(nodes[0].join(&room.name, &room.guest_pin).await), Ok(Role::Guest));
}

#[tokio::test]
async fn rooms_of_both_sources_are_joined_and_end_side_by_side() {
    let app = with_policy().set("POOL_EMPTY", "instant").set("INSTANT_ROOM_DIAL_OUT", QUEUE).start().await;
    let nodes = nodes(&app).await;
    let instant = app.create_room().await;
    app.pool_holds(ready_room("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq"));
    let pooled = app.create_room().await;
    assert_eq!((instant.header("room-source"), pooled.header("room-source")), ("instant", "pool"));
    let rooms = [Room::of(&instant), Room::of(&pooled)];

    for room in &rooms {
        let (agent, citizen) =
            tokio::join!(nodes[0].join(&room.name, &room.host_pin), nodes[1].join(&room.name, &room.guest_pin));
        assert_eq!([agent, citizen].map(role), [Ok(Role::Chair), Ok(Role::Guest)], "{}", room.name);
        let path = format!("conference/?name={}", room.name);
        assert_eq!(app.status_of_pexip(&path).await[0]["tag"], TAG);
    }
    for room in &rooms {
        assert_eq!(app.delete_room(&room.name).await.status, 204);
        eventually("the conference is disconnected", async || !app.pexip.is_running(&room.name)).await;
        assert_eq!(role(nodes[2].join(&room.name, &room.guest_pin).await), Err(Refused::NotFound));
    }
}
