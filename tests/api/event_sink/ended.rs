//! Rooms whose conference is reported to have ended.

use std::time::Duration;

use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{conference_ended, hints, name, receiver, report};
use crate::genesys_load::others_have_their_turn;
use crate::support::{
    POOL_QUEUE, TAG, TestApp, eventually, time_between_readings_passes, time_passes, time_passes_until,
};

fn handed_out(number: usize) -> StoredRoom {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
    StoredRoom::named(name(number)).tagged(TAG).described(format!("handed-out={now}"))
}

/// A room whose conference is reported to have ended, with the leg of its automatic participant still in it.
async fn with_queue_leg(app: &TestApp) {
    app.pexip.add_automatic_participant(7, "sip:queue@sbc.example.org");
    app.pexip.insert(StoredRoom { automatic_participants: vec![7], ..handed_out(1) });
    app.pexip.dial_out_leg(&name(1));
    report(app, &conference_ended(&name(1), 1)).await;
}

fn deletions(app: &TestApp) -> usize {
    app.pexip.traffic().count(&Matching::method(Method::DELETE))
}

/// Readings of who is in which room.
fn readings(app: &TestApp) -> usize {
    app.pexip.traffic().count(&Matching::method(Method::GET).path_contains("/status/v1/participant/"))
}

/// Waits for the next reading about the rooms that are due.
async fn next_reading(app: &TestApp) {
    let before = readings(app);
    app.run_maintenance().await;
    // The run takes one reading for its sweep.
    eventually("presence is read", async || readings(app) >= before + 2 && is_answered(app)).await;
    // The service reads the answer and begins its pause. Time that passes earlier would let the call time out.
    others_have_their_turn(app).await;
}

fn is_answered(app: &TestApp) -> bool {
    app.pexip.traffic().log().iter().all(|exchange| exchange.status.is_some())
}

async fn settled(app: &TestApp) {
    time_passes_until("no hint is left", app, async || hints(app).is_empty()).await;
}

#[tokio::test]
async fn an_empty_room_is_deleted_at_the_second_reading_however_often_it_was_reported() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    for seq in [9, 4, 4] {
        report(&app, &conference_ended(&name(1), seq)).await;
    }

    next_reading(&app).await;
    assert_eq!(deletions(&app), 0, "one reading is not enough");

    settled(&app).await;
    assert_eq!(deletions(&app), 1);
    assert!(app.pexip.room(&name(1)).is_none());
}

#[tokio::test]
async fn a_room_is_kept_during_its_grace_period() {
    let app = receiver().set("ROOM_END_GRACE_SECONDS", 300).start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    app.run_maintenance().await;
    time_between_readings_passes().await;
    app.run_maintenance().await;
    assert_eq!((deletions(&app), hints(&app).len()), (0, 1));

    app.queue.advance(Duration::from_secs(301));
    next_reading(&app).await;
    settled(&app).await;
    assert_eq!(deletions(&app), 1);
}

#[tokio::test]
async fn an_occupied_room_outlives_every_event() {
    for occupy in [
        (|app: &TestApp| drop(app.pexip.join(&name(1), Role::Guest))) as fn(&TestApp),
        |app| drop(app.pexip.join(&name(1), Role::Chair)),
        |app| drop(app.pexip.wait_for_pin(&name(1))),
    ] {
        let app = receiver().start().await;
        app.pexip.insert(handed_out(1));
        occupy(&app);
        report(&app, &conference_ended(&name(1), 1)).await;

        next_reading(&app).await;
        settled(&app).await;
        time_between_readings_passes().await;

        assert!(app.pexip.is_running(&name(1)) && app.pexip.room(&name(1)).is_some());
    }
}

#[tokio::test]
async fn a_participant_who_returns_between_the_readings_keeps_the_room() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    next_reading(&app).await;
    app.pexip.join(&name(1), Role::Guest);

    settled(&app).await;
    assert!(app.pexip.is_running(&name(1)) && app.pexip.room(&name(1)).is_some());
}

#[tokio::test]
async fn a_participant_who_returns_while_other_rooms_are_ended_keeps_the_room() {
    let slow_node = receiver().set("PEXIP_REQUEST_TIMEOUT_SECONDS", 30).set("REQUEST_DEADLINE_SECONDS", 60);
    let app = slow_node.start().await;
    for number in 1..=2 {
        app.pexip.insert(handed_out(number));
        report(&app, &conference_ended(&name(number), number)).await;
    }
    next_reading(&app).await;
    let slow = Fault::Slow(Duration::from_secs(20));
    app.pexip.traffic().inject(Matching::method(Method::DELETE), Times::Once, slow);
    time_between_readings_passes().await;
    eventually("the first room is being ended", async || deletions(&app) == 1).await;
    app.pexip.join(&name(2), Role::Guest);
    time_passes(Duration::from_secs(21)).await;
    eventually("the first room is ended", async || app.pexip.room(&name(1)).is_none()).await;

    settled(&app).await;
    assert!(app.pexip.is_running(&name(2)) && app.pexip.room(&name(2)).is_some());
}

#[tokio::test]
async fn a_room_that_cannot_be_ended_blocks_no_other_room() {
    let app = receiver().start().await;
    for number in 1..=5 {
        app.pexip.insert(handed_out(number));
        report(&app, &conference_ended(&name(number), number)).await;
    }
    let refused = Matching::method(Method::DELETE);
    app.pexip.traffic().inject(refused, Times::Once, Fault::Status(400));

    next_reading(&app).await;
    time_between_readings_passes().await;

    eventually("each room is tried once", async || deletions(&app) == 5 && is_answered(&app)).await;
    assert_eq!(app.pexip.rooms().len(), 1);
    settled(&app).await;
    assert_eq!(app.pexip.rooms().len(), 0, "the remaining room is ended when its message is received again");
}

#[tokio::test]
async fn a_room_with_dialled_legs_only_is_ended_and_they_are_disconnected() {
    let app = receiver().start().await;
    with_queue_leg(&app).await;

    next_reading(&app).await;

    settled(&app).await;
    assert!(app.pexip.room(&name(1)).is_none());
    assert!(!app.pexip.is_running(&name(1)));
}

#[tokio::test]
async fn an_event_ends_no_ready_room_and_no_missing_room() {
    let app = receiver().start().await;
    app.pexip.insert(StoredRoom::named(name(1)).described("ready-until=2100-01-01T00:00:00Z"));
    for number in 1..=2 {
        report(&app, &conference_ended(&name(number), number)).await;
    }

    settled(&app).await;
    assert_eq!(deletions(&app), 0);
    assert!(app.pexip.room(&name(1)).is_some());
}

#[tokio::test]
async fn an_id_that_a_restored_node_assigned_again_ends_no_room() {
    let app = receiver().start().await;
    let id = app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    next_reading(&app).await;
    app.pexip.restore_backup(vec![handed_out(2).with_id(id)], id + 1);

    settled(&app).await;
    assert_eq!(deletions(&app), 0);
    assert!(app.pexip.room(&name(2)).is_some());
}

#[tokio::test]
async fn a_delete_between_the_readings_is_harmless() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    next_reading(&app).await;
    assert_eq!(app.delete_room(&name(1)).await.status, 204);

    settled(&app).await;
    assert_eq!(deletions(&app), 1);
}

#[tokio::test]
async fn an_event_that_could_not_be_processed_is_processed_after_its_lease() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;
    next_reading(&app).await;
    let calls = || app.pexip.traffic().log().len();
    let before = calls();
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::HangUpBefore);
    time_passes_until("processing was tried", &app, async || calls() > before).await;
    assert_eq!(hints(&app), [name(1)], "the hint is kept");

    app.pexip.traffic().heal();
    app.pexip.traffic().clear();
    settled(&app).await;
    assert!(app.pexip.room(&name(1)).is_none());
}

#[tokio::test]
async fn a_flood_of_events_ends_no_room_in_use_and_no_ready_room() {
    let app = receiver().set("POOL_TARGET_SIZE", 2).start().await;
    app.fill_pool().await;
    app.pexip.insert(handed_out(1));
    app.pexip.join(&name(1), Role::Guest);
    let flood = |seq: usize| {
        let app = &app;
        async move {
            // Even: a room that does not exist. Odd: the real one, repeatedly.
            let room = if seq.is_multiple_of(2) { name(seq) } else { name(1) };
            assert_eq!(report(app, &conference_ended(&room, seq)).await.status, 204);
        }
    };
    for tens in 0..1_000 {
        futures_util::future::join_all((0..10).map(|ones| flood(tens * 10 + ones))).await;
    }

    assert_eq!(app.create_room().await.header("room-source"), "pool");
    next_reading(&app).await;
    time_between_readings_passes().await;
    next_reading(&app).await;
    assert_eq!(deletions(&app), 0);
    assert!(app.pexip.is_running(&name(1)));
    eventually("the pool is full", async || app.queue.messages(POOL_QUEUE).len() == 2).await;
}

/// The look at who is in this room, directly before or after its delete.
fn direct_look(room: &str) -> Matching {
    Matching::method(Method::GET).path_contains("/status/v1/participant/").query_contains(format!("conference={room}"))
}

/// Lets the rooms be ended, and does something while the first request that matches waits.
async fn meanwhile(app: &TestApp, request: Matching, act: impl FnOnce()) {
    app.pexip.traffic().inject(request.clone(), Times::Once, Fault::Stall);
    time_between_readings_passes().await;
    eventually("the request waits", async || app.pexip.traffic().count(&request) == 1).await;
    act();
    app.pexip.traffic().heal();
}

#[tokio::test]
async fn citizens_who_come_back_while_sixteen_rooms_are_ended_keep_room_and_call() {
    let app = receiver().start().await;
    for number in 0..16 {
        app.pexip.insert(handed_out(number));
        report(&app, &conference_ended(&name(number), number)).await;
    }
    next_reading(&app).await;

    meanwhile(&app, Matching::method(Method::DELETE), || {
        app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Slow(Duration::from_millis(250)));
        for room in app.pexip.rooms() {
            app.pexip.join(&room.name, Role::Guest);
        }
    })
    .await;
    settled(&app).await;

    assert_eq!(deletions(&app), 1);
    assert_eq!(app.pexip.rooms().len(), 15);
    // The room that was being deleted is lost, but not its call.
    assert!((0..16).all(|number| app.pexip.is_running(&name(number))));
}

#[tokio::test]
async fn who_comes_back_before_the_direct_look_is_answered_keeps_the_room() {
    for joins in [
        (|app: &TestApp| drop(app.pexip.join(&name(1), Role::Guest))) as fn(&TestApp),
        |app| drop(app.pexip.join(&name(1), Role::Chair)),
        |app| drop(app.pexip.wait_for_pin(&name(1))),
        // A participant that the agent has dialled.
        |app| drop(app.pexip.dial_out_leg(&name(1))),
    ] {
        let app = receiver().start().await;
        app.pexip.insert(handed_out(1));
        report(&app, &conference_ended(&name(1), 1)).await;
        next_reading(&app).await;

        meanwhile(&app, direct_look(&name(1)), || joins(&app)).await;
        settled(&app).await;

        assert_eq!(deletions(&app), 0);
        assert!(app.pexip.is_running(&name(1)) && app.pexip.room(&name(1)).is_some());
    }
}

#[tokio::test]
async fn who_comes_back_during_the_delete_keeps_the_call() {
    let app = receiver().start().await;
    with_queue_leg(&app).await;
    next_reading(&app).await;

    meanwhile(&app, Matching::method(Method::DELETE), || drop(app.pexip.join(&name(1), Role::Guest))).await;
    settled(&app).await;

    assert!(app.pexip.room(&name(1)).is_none());
    assert!(app.pexip.is_running(&name(1)));
}

#[tokio::test]
async fn dialled_legs_are_disconnected_even_if_that_fails_at_first() {
    let app = receiver().start().await;
    with_queue_leg(&app).await;
    next_reading(&app).await;
    let disconnect = Matching::method(Method::POST).path_contains("disconnect");
    app.pexip.traffic().inject(disconnect.clone(), Times::Once, Fault::Status(500));

    settled(&app).await;

    assert_eq!(app.pexip.traffic().count(&disconnect), 2);
    assert!(app.pexip.room(&name(1)).is_none() && !app.pexip.is_running(&name(1)));
}
