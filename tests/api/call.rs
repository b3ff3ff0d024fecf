//! One call from end to end: IDIM's create, citizen and agent on Conferencing Nodes, the events at the end of the
//! conference, and a full pool again.
//!
//! At a host half a minute of it is a real one. Tests start by their names; under a late one these would be waited for
//! when all others are done.

mod as_the_operator_has_it;
mod instant;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use maxconf_simulators::InfinityApp;
use maxconf_simulators::operator::{DIAL_OUT_ID, EVENT_ACCOUNT, POLICY_ACCOUNT};
use maxconf_simulators::pexip::{ConferencingNode, Refused, Role};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    Answer, Azurite, TestApp, TestAppBuilder, TestQueue, eventually, on_every_host, time_passes, time_passes_until,
};

const POOL: usize = 2;

/// A room of another system.
const KIOSK: &str = "vkiosk_1";

/// Time until the Conferencing Nodes have a write on the management node.
const REPLICATION: Duration = Duration::from_secs(60);

/// From the first participant to the automatic dial-out.
const DIAL_OUT_DELAY: Duration = Duration::from_secs(10);

fn service() -> TestAppBuilder {
    TestApp::with()
        .set("POOL_TARGET_SIZE", POOL)
        .set("ROOM_AUTOMATIC_PARTICIPANTS", DIAL_OUT_ID)
        .set("ROOM_END_GRACE_SECONDS", 1)
        .set("PEXIP_EVENT_USERNAME", EVENT_ACCOUNT.0)
        .set("PEXIP_EVENT_PASSWORD", EVENT_ACCOUNT.1)
}

/// A platform of two Conferencing Nodes that ask the service about each call, and report to it.
struct Call<'a> {
    app: &'a TestApp,
    citizens_node: ConferencingNode,
    agents_node: ConferencingNode,
}

impl<'a> Call<'a> {
    async fn prepare(app: &'a TestApp) -> Self {
        let call = Self::between_nodes(app).await;
        app.fill_pool().await;
        app.pexip.advance(REPLICATION);
        call
    }

    /// Without rooms in the pool.
    async fn between_nodes(app: &'a TestApp) -> Self {
        app.pexip.add_automatic_participant(DIAL_OUT_ID, "sip:queue@sbc.example.org");
        app.pexip.set_replication_delay(REPLICATION);
        app.pexip.add_policy_server(app.url.clone(), POLICY_ACCOUNT.0, POLICY_ACCOUNT.1);
        let sink = app.url.join("public/event_sink").expect("a path");
        app.pexip.add_event_sink(sink, EVENT_ACCOUNT.0, EVENT_ACCOUNT.1);
        let citizens_node = app.pexip.conferencing_node("10.47.2.21").await;
        let agents_node = app.pexip.conferencing_node("10.47.2.22").await;
        Self { app, citizens_node, agents_node }
    }

    async fn room(&self) -> Room {
        let answer = self.app.create_room().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Room::of(&answer)
    }

    /// Citizen and agent join, meet and leave. At the end the room is gone.
    async fn hold_in(&self, room: &Room) {
        let citizen = self.citizens_node.join(&room.alias, &room.guest_pin).await.expect("the citizen is let in");
        assert_eq!(citizen.role, Role::Guest);
        self.app.pexip.advance(DIAL_OUT_DELAY);
        eventually("the queue of the agents is dialled", async || self.directions(room).await == ["in", "out"]).await;

        let seen = self.app.public_room(&room.name).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        let seen = Room::of(&seen);
        let agent = self.agents_node.join(&seen.alias, &seen.host_pin).await.expect("the agent is let in");
        assert_eq!(agent.role, Role::Chair);

        self.agents_node.leave(&agent);
        self.citizens_node.leave(&citizen);
        let ended = self.app.room_queue().of_ended_rooms();
        eventually("both nodes have reported the end", async || ended.approximate_count().await == Ok(2)).await;
        assert!(self.app.pexip.room(&room.name).is_some(), "the room is kept for the grace period");

        self.room_is_gone(room).await;
        self.read_when_pexip_is_called_again(&room.name).await.assert_problem(404, "room_not_found");
        assert_eq!(
            self.citizens_node.join(&room.alias, &room.guest_pin).await.map(drop),
            Ok(()),
            "not replicated to the nodes yet"
        );
        self.app.pexip.advance(REPLICATION);
        assert_eq!(self.citizens_node.join(&room.alias, &room.guest_pin).await, Err(Refused::NotFound));
    }

    /// Direction of each participant of the room, in alphabetical order.
    async fn directions(&self, room: &Room) -> Vec<String> {
        let participants = self.app.status_of_pexip(&format!("participant/?conference={}", room.name)).await;
        let mut directions: Vec<_> =
            participants.iter().map(|it| it["call_direction"].as_str().expect("text").to_owned()).collect();
        directions.sort();
        directions
    }

    /// After both nodes have reported the end and two presence snapshots have shown the room empty.
    async fn room_is_gone(&self, room: &Room) {
        let gone = async || self.app.pexip.room(&room.name).is_none();
        time_passes_until("the room is gone", self.app, gone).await;
    }

    /// Reads a room as an agent. The steps in which time passed may have made calls to Pexip time out, so that the service
    /// asks to be called later.
    async fn read_when_pexip_is_called_again(&self, name: &str) -> Answer {
        for _ in 0..8 {
            let answer = self.app.public_room(name).await;
            if answer.status != 503 {
                return answer;
            }
            let seconds = answer.header("retry-after").parse().expect("seconds");
            let pause = Duration::from_secs(seconds);
            if self.app.is_in_this_process() { time_passes(pause).await } else { sleep(pause).await }
        }
        panic!("Pexip stays unavailable");
    }

    async fn pool_is_full_again(&self) {
        eventually("the pool is full again, and no other room is left", async || {
            self.app.maintain().await;
            let mut rooms = self.app.pexip.rooms();
            rooms.retain(|room| room.name != KIOSK);
            rooms.len() == POOL && rooms.iter().all(|room| room.tag.is_empty())
        })
        .await;
    }
}

/// What the answer of a create says about joining.
struct Room {
    name: String,
    alias: String,
    /// Empty if the answer leaves it out.
    host_pin: String,
    guest_pin: String,
}

impl Room {
    fn of(answer: &Answer) -> Self {
        let room = answer.json();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Self {
            name: text(&room["name"]),
            alias: text(&room["aliases"][0]["alias"]),
            host_pin: room["pin"].as_str().unwrap_or_default().to_owned(),
            guest_pin: text(&room["guest_pin"]),
        }
    }
}

#[tokio::test]
async fn a_call_from_the_first_token_to_a_full_pool() {
    on_every_host(service, a_whole_call).await;
}

#[tokio::test]
async fn a_call_from_the_first_token_to_a_full_pool_with_the_emulator_as_the_queue() {
    // Without the emulator there is nothing to run; `Azurite::get` has reported that.
    if Azurite::get().is_none() {
        return;
    }
    on_every_host(|| service().emulated_queue(TestQueue::on_azurite().expect("the emulator")), a_whole_call).await;
}

async fn a_whole_call(app: &TestApp) {
    let call = Call::prepare(app).await;
    let room = call.room().await;
    call.hold_in(&room).await;
    call.pool_is_full_again().await;
}

#[tokio::test]
async fn idims_delete_ends_a_running_call() {
    on_every_host(service, async |app| {
        let call = Call::prepare(app).await;
        let room = call.room().await;
        call.citizens_node.join(&room.alias, &room.guest_pin).await.expect("the citizen is let in");
        call.agents_node.join(&room.alias, &room.host_pin).await.expect("the agent is let in");

        assert_eq!(app.delete_room(&room.name).await.status, 204);

        assert!(!app.pexip.is_running(&room.name), "the conference has ended");
        assert_eq!(app.delete_room(&room.name).await.status, 404);
        // The events of its end find the room gone.
        let hints = app.room_queue().of_ended_rooms();
        eventually("the nodes have reported the end", async || {
            hints.approximate_count().await.is_ok_and(|count| count > 1)
        })
        .await;
        // The message of the delete stays longer.
        time_passes_until("the events are processed", app, async || hints.approximate_count().await == Ok(1)).await;
        call.pool_is_full_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_citizen_whose_phone_lost_its_network_finds_the_room_again_within_the_grace() {
    on_every_host(
        || service().set("ROOM_END_GRACE_SECONDS", 300),
        async |app| {
            let call = Call::prepare(app).await;
            let room = call.room().await;
            let citizen = call.citizens_node.join(&room.alias, &room.guest_pin).await.expect("the citizen is let in");

            call.citizens_node.lose(&citizen);
            let hints = app.room_queue().of_ended_rooms();
            eventually("the node has reported the end", async || hints.approximate_count().await == Ok(1)).await;
            call.citizens_node.join(&room.alias, &room.guest_pin).await.expect("the citizen is let in again");
            app.queue.advance(Duration::from_secs(301));

            time_passes_until("the room is checked", app, async || hints.approximate_count().await == Ok(0)).await;
            assert!(app.pexip.is_running(&room.name) && app.pexip.room(&room.name).is_some());
            assert_eq!(app.public_room(&room.name).await.status, 200);
        },
    )
    .await;
}

#[tokio::test]
async fn a_room_that_is_never_joined_is_swept_after_its_lifetime() {
    let ahead = Arc::new(AtomicU64::new(0));
    let offset = Arc::clone(&ahead);
    let now = move || SystemTime::now() + Duration::from_secs(offset.load(Ordering::Relaxed));
    let app = service().clock(now).start().await;
    let call = Call::prepare(&app).await;
    let room = call.room().await;

    // Lifetime and margin: four hours and one.
    ahead.store(5 * 3600 + 60, Ordering::Relaxed);
    app.pexip.traffic().set_clock_offset(5 * 3600 + 60);
    let swept = async || {
        app.run_maintenance().await;
        app.pexip.room(&room.name).is_none()
    };
    time_passes_until("the room is swept", &app, swept).await;
    call.pool_is_full_again().await;
}

#[tokio::test]
async fn a_direct_room_can_be_joined_after_replication() {
    on_every_host(
        || service().set("POOL_TARGET_SIZE", 0).set("POOL_READY_DELAY_SECONDS", 60),
        async |app| {
            let call = Call::prepare(app).await;
            let answer = app.create_room().await;
            assert_eq!(answer.header("room-source"), "direct");
            let room = Room::of(&answer);

            assert_eq!(call.citizens_node.join(&room.alias, &room.guest_pin).await, Err(Refused::NotFound));
            let wait = answer.header("retry-after").parse().expect("seconds");
            app.pexip.advance(Duration::from_secs(wait));
            assert!(call.citizens_node.join(&room.alias, &room.guest_pin).await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn pexips_own_client_joins_with_alias_and_pins_of_the_answers() {
    let (Some(mut citizen), Some(mut agent)) = (InfinityApp::start(), InfinityApp::start()) else { return };
    let app = service().start().await;
    let call = Call::prepare(&app).await;
    let room = call.room().await;
    let seen = Room::of(&app.public_room(&room.name).await);

    let joined = citizen.join(&call.citizens_node.server().url(), &room.alias, Some(&room.guest_pin)).await;
    assert_eq!((&joined["status"], &joined["result"]["role"]), (&json!(200), &json!("GUEST")), "{joined}");
    let joined = agent.join(&call.agents_node.server().url(), &seen.alias, Some(&seen.host_pin)).await;
    assert_eq!((&joined["status"], &joined["result"]["role"]), (&json!(200), &json!("HOST")), "{joined}");
    assert_eq!(agent.leave().await["status"], 200);
    assert_eq!(citizen.leave().await["status"], 200);

    call.room_is_gone(&room).await;
    call.pool_is_full_again().await;
}
