//! The claim of a room: its record made and its message deleted, whatever is in the queue.

use std::collections::BTreeSet;
use std::time::Duration;

use maxconf::domain::RoomNamePrefix;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::support::{
    Answer, Call, POOL_QUEUE, TestApp, TestAppBuilder, TestQueue, World, citizen, eventually, ready_room, time_passes,
    within,
};

const RECORDS: &str = "room-records";

fn name(number: usize) -> String {
    format!("vbv-01jd5p3xk8zzzzzzzzzzzzzz{number:02}")
}

/// A service whose pool is these rooms, without a refill.
async fn with_rooms(names: &[String]) -> TestApp {
    let app = TestApp::with().set("POOL_MAX_ROOMS", 10).set("POOL_TARGET_SIZE", 10).start().await;
    for name in names {
        app.pool_holds(ready_room(name));
    }
    app
}

fn claims(app: &TestApp) -> Vec<String> {
    let blobs = app.blobs.blobs(RECORDS);
    blobs.into_iter().filter_map(|blob| blob.name.strip_prefix("claims/").map(ToOwned::to_owned)).collect()
}

fn messages(app: &TestApp) -> Vec<String> {
    app.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect()
}

fn count(app: &TestApp, call: Call) -> usize {
    call.traffic(app).count(&call.matching())
}

#[tokio::test]
async fn a_warm_create_makes_three_calls_and_two_of_them_at_the_same_time() {
    let app = TestApp::start().await;
    app.warm_up().await;
    for slow in [Call::RecordMake, Call::QueueClaim] {
        for traffic in [app.queue.traffic(), app.blobs.traffic(), app.pexip.traffic()] {
            traffic.clear();
        }
        slow.traffic(&app).inject(slow.matching(), Times::Once, Fault::Stall);
        let create = async {
            let answer = app.create_room().await;
            assert_eq!(answer.header("room-source"), "pool");
        };
        let both_are_asked = async {
            eventually("the other call is made while this one waits", async || {
                count(&app, Call::RecordMake) == 1 && count(&app, Call::QueueClaim) == 1
            })
            .await;
            assert_eq!(count(&app, Call::PexipTag), 0, "{slow:?}: tagged before the claim");
            slow.traffic(&app).heal();
        };

        tokio::join!(create, both_are_asked);

        let calls =
            [Call::RecordMake, Call::RecordRead, Call::QueueClaim, Call::PexipTag].map(|call| count(&app, call));
        assert_eq!(calls, [1, 0, 1, 1], "{slow:?}");
        eventually("another room is leased", async || {
            app.queue.messages(POOL_QUEUE).iter().any(|message| !message.visible) && count(&app, Call::PexipLookUp) > 0
        })
        .await;
    }
}

#[tokio::test]
async fn the_record_of_a_claim_names_the_room_and_nobody() {
    let app = with_rooms(&[name(1)]).await;

    assert_eq!(app.create_room().await.room(), name(1));

    let records: Vec<_> =
        app.blobs.blobs(RECORDS).into_iter().filter(|blob| blob.name == format!("claims/{}", name(1))).collect();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    let content: Value = serde_json::from_str(&record.text).expect("JSON");
    let fields: BTreeSet<_> = content.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, BTreeSet::from(["claim_id", "claimed_at"]));
}

#[tokio::test]
async fn a_room_that_was_claimed_before_is_dropped_with_its_message_and_the_next_one_is_taken() {
    let names: Vec<_> = (1..=9).map(name).collect();
    let app = with_rooms(&names).await;
    // More than a request tries if rooms turn out to be deleted.
    for name in &names[..8] {
        app.blobs.put(
            RECORDS,
            &format!("claims/{name}"),
            r#"{"claim_id":"another's","claimed_at":"2026-01-01T00:00:00Z"}"#,
        );
    }

    let answer = app.create_room().await;

    assert_eq!((answer.room(), answer.header("room-source")), (name(9), "pool"));
    for name in &names[..8] {
        assert!(app.pexip.tag_history(name).is_empty(), "{name} was tagged");
        assert!(app.pexip.room(name).is_some(), "{name} may be another's and must not be deleted");
    }
    assert!(messages(&app).is_empty(), "{:?}", messages(&app));
}

#[tokio::test]
async fn a_room_whose_message_another_has_deleted_is_neither_tagged_nor_deleted() {
    let app = with_rooms(&[name(1)]).await;
    let gone = Fault::StatusWith {
        status: 404,
        headers: vec![("x-ms-error-code".to_owned(), "MessageNotFound".to_owned())],
        body: String::new(),
    };
    app.queue.traffic().inject(Call::QueueClaim.matching(), Times::Once, gone);

    let answer = app.create_room().await;

    assert_eq!(answer.header("room-source"), "direct");
    assert!(app.pexip.tag_history(&name(1)).is_empty());
    assert!(app.pexip.room(&name(1)).is_some(), "an older build may be handing it out");
    assert!(claims(&app).contains(&name(1)), "nobody can claim it again");
}

/// The message may come back after its lease, and the room has no tag: only the record tells.
#[tokio::test]
async fn a_room_whose_claim_was_interrupted_is_never_handed_out() {
    let app = with_rooms(&[name(1)]).await;
    app.queue.traffic().inject(Call::QueueClaim.matching(), Times::Always, Fault::HangUpBefore);
    assert_eq!(app.create_room().await.header("room-source"), "direct");
    app.queue.traffic().heal();

    app.queue.advance(Duration::from_secs(61));
    let answer = app.create_room().await;

    assert_ne!(answer.room(), name(1));
    assert!(app.pexip.tag_history(&name(1)).is_empty());
    eventually("its message is dropped", async || !messages(&app).contains(&name(1))).await;
}

#[tokio::test]
async fn no_room_is_claimed_while_the_records_cannot_be_reached() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 8).set("POOL_PREFETCH", 2).start().await;
    app.warm_up().await;
    app.blobs.stop().await;
    let answer = app.create_room().await;
    assert_eq!((answer.status.as_u16(), answer.header("room-source")), (200, "direct"));
    let left = messages(&app).len();
    assert!(left >= 7, "one room at most was lost to the first failure, {left} messages are left");

    for _ in 0..8 {
        assert_eq!(app.create_room().await.header("room-source"), "direct");
    }

    assert_eq!(messages(&app).len(), left, "nothing is claimed without its record");
    app.blobs.restart().await;
    eventually("the pool is used again", async || app.create_room().await.header("room-source") == "pool").await;
}

/// The records are found failing by a probe, not by a claim, for as long as they fail.
#[tokio::test]
async fn an_hour_without_records_costs_no_room_of_the_pool() {
    const STEP: Duration = Duration::from_mins(3);
    let app = TestApp::with().set("POOL_TARGET_SIZE", 4).set("POOL_PREFETCH", 2).start().await;
    app.warm_up().await;
    let rooms = BTreeSet::from_iter(messages(&app));
    app.blobs.stop().await;
    // An answer of the records becomes too old to rely on.
    time_passes(Duration::from_secs(11)).await;
    let is_ready = async || app.send(app.request(Method::GET, "health/ready")).await.status == 200;
    eventually("a probe finds the records failing", async || !is_ready().await).await;

    for step in 0..20 {
        let answer = app.create_room().await;
        assert_eq!((answer.status.as_u16(), answer.header("room-source")), (200, "direct"), "step {step}");
        time_passes(STEP).await;
        app.queue.advance(STEP);
    }

    assert_eq!(count(&app, Call::QueueClaim), 0, "no message is deleted");
    assert_eq!(BTreeSet::from_iter(messages(&app)), rooms);
    app.blobs.restart().await;
    let from_pool = async || {
        let answer = app.create_room().await;
        answer.header("room-source") == "pool" && rooms.contains(&answer.room())
    };
    eventually("a room of before the hour is handed out", from_pool).await;
}

/// As where the service has lost the right to write: each probe succeeds, because it reads.
#[tokio::test]
async fn records_that_can_be_read_but_not_written_cost_one_room_however_often_a_claim_is_tried() {
    const CLAIMS: usize = 6;
    let app = TestApp::with().set("POOL_MAX_ROOMS", 100).set("POOL_TARGET_SIZE", 8).set("POOL_PREFETCH", 2);
    let app = app.start().await;
    app.warm_up().await;
    let rooms = BTreeSet::from_iter(messages(&app));
    app.blobs.traffic().inject(Matching::method(Method::PUT), Times::Always, Fault::Status(403));

    eventually("the claims fail", async || {
        let answer = app.create_room().await;
        assert_eq!((answer.status.as_u16(), answer.header("room-source")), (200, "direct"));
        time_passes(Duration::from_secs(1)).await;
        count(&app, Call::RecordMake) >= CLAIMS
    })
    .await;

    assert_eq!(count(&app, Call::QueueClaim), 1, "only the first claim deletes its message");
    app.blobs.traffic().heal();
    app.queue.advance(Duration::from_secs(61));
    time_passes(Duration::from_secs(61)).await;
    let mut handed_out = BTreeSet::new();
    within("every other room is handed out", async {
        while handed_out.intersection(&rooms).count() < rooms.len() - 1 {
            handed_out.insert(app.create_room().await.room());
        }
    })
    .await;
}

#[tokio::test]
async fn without_records_and_direct_rooms_no_room_is_the_answer() {
    let app = TestApp::with().set("POOL_EMPTY", "refuse").start().await;
    app.warm_up().await;
    app.blobs.stop().await;

    for _ in 0..3 {
        app.create_room().await.assert_problem(503, "no_room");
    }
}

/// The records failed before any create: the probe finds it, and no room is lost.
#[tokio::test]
async fn an_instance_that_starts_without_records_takes_nothing_from_the_queue() {
    let world = World::start().await;
    world.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
    let app = TestApp::with().start_in(world).await;
    app.pool_holds(ready_room(name(1)));
    eventually("the records are found failing", async || app.create_room().await.header("room-source") == "direct")
        .await;
    let before = app.queue.messages(POOL_QUEUE);

    assert_eq!(app.create_room().await.header("room-source"), "direct");

    assert_eq!(app.queue.messages(POOL_QUEUE), before, "neither received nor claimed");
    assert_eq!(app.blobs.traffic().count(&Matching::method(Method::PUT)), 0, "no claim is the probe");
}

/// Copies of messages as an operator or a second writer adds them. They stand next to each other in the queue, so that one
/// instance receives a room while the other keeps it ready.
#[tokio::test]
async fn rooms_with_many_messages_are_handed_out_once_each() {
    let app = with_copies().start().await;
    let leases_end = async || app.queue.advance(Duration::from_secs(61));
    rooms_are_handed_out_once_each(&app, async |name| app.queue.put(POOL_QUEUE, name), leases_end).await;

    assert!(count(&app, Call::RecordMake) > claims(&app).len(), "no two instances tried one room");
}

#[tokio::test]
async fn rooms_with_many_messages_are_handed_out_once_each_with_the_emulator_as_storage() {
    // Without the emulator there is nothing to run; that has been said.
    let Some(queue) = TestQueue::on_azurite() else { return };
    let app = with_copies().set("POOL_LEASE_SECONDS", 2).emulated_queue(queue).start().await;
    let writer = app.room_queue();
    writer.ensure_exists().await.expect("a queue that can be made");
    let put = async |name: &str| {
        let name = RoomNamePrefix::parse("vbv-").expect("a prefix").parse_name(name).expect("a name");
        writer.put(&name, Duration::ZERO, Duration::from_hours(1)).await.expect("a message");
    };
    let leases_end = async || tokio::time::sleep(Duration::from_secs(2)).await;
    rooms_are_handed_out_once_each(&app, put, leases_end).await;

    assert_eq!(count(&app, Call::RecordMake), 0, "the simulator of the records is unused");
    app.remove_emulated_queue().await;
}

fn with_copies() -> TestAppBuilder {
    TestApp::with().set("POOL_MAX_ROOMS", 100).set("POOL_TARGET_SIZE", 10)
}

async fn rooms_are_handed_out_once_each(app: &TestApp, put: impl AsyncFn(&str), leases_end: impl AsyncFn()) {
    const ROOMS: usize = 12;
    let another = app.another_instance();
    for name in (0..2 * ROOMS).map(name) {
        app.pexip.insert(ready_room(&name));
        for _ in 0..3 {
            put(&name).await;
        }
    }

    let mut handed_out = Vec::new();
    for number in 0..ROOMS {
        let instance = if number % 2 == 0 { &app.url } else { &another.url };
        let room = create_from_pool(app, instance, number, &leases_end).await.room();
        // And again, after it was handed out.
        put(&room).await;
        handed_out.push(room);
    }

    let unique: BTreeSet<_> = handed_out.iter().cloned().collect();
    assert_eq!(unique.len(), ROOMS, "{handed_out:?}");
    for (number, name) in handed_out.iter().enumerate() {
        assert_eq!(app.pexip.tag_history(name), [citizen(number).1], "{name}");
    }
}

/// Direct rooms do not count: a copy of a message may be leased when the pool is asked.
async fn create_from_pool(app: &TestApp, instance: &Url, number: usize, leases_end: impl AsyncFn()) -> Answer {
    let url = instance.join(&format!("room/create?uuiData={}", citizen(number).0)).expect("a path");
    let create = async {
        loop {
            let answer = app.send(app.http.post(url.clone()).bearer_auth(app.entra.token().build())).await;
            if answer.header("room-source") == "pool" {
                return answer;
            }
            leases_end().await;
        }
    };
    within("a room of the pool", create).await
}
