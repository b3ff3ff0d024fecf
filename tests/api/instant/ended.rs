//! How instant rooms end, and what becomes of the people in them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use serde_json::json;

use super::{
    OLD, QUEUE, RECORDS, create_with, dial, dial_out, in_seconds, instant, is_success, made_up, movable_clock,
    record_of, rejected, unknown,
};
use crate::support::{TAG, TestApp, TestAppBuilder, eventually, time_passes, time_passes_until};

#[tokio::test]
async fn nobody_gets_in_before_and_after_the_validity() {
    let (ahead, clock) = movable_clock();
    let app = instant().clock(clock).start().await;
    let (from, until) = (in_seconds(300), in_seconds(600));
    let created = create_with(&app, &[("validFrom", &from), ("validUntil", &until)], "").await;
    let name = created.room();
    assert_eq!(
        (created.header("room-valid-from"), created.header("room-valid-until")),
        (from.as_str(), until.as_str())
    );

    for (seconds, dialled, out) in [
        (0, false, false),
        (290, false, false),
        (305, true, true),
        (590, true, true),
        (615, false, true),
        (635, false, false),
    ] {
        ahead.store(seconds, Ordering::SeqCst);
        assert_eq!(is_success(&dial(&app, &name).await), dialled, "after {seconds} s");
        assert_eq!(is_success(&dial_out(&app, &name).await), out, "dial-out after {seconds} s");
        assert_eq!(app.public_room(&name).await.status == 200, dialled, "read after {seconds} s");
    }
    assert_eq!(dial(&app, &name).await, rejected());
    app.delete_room(&name).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn a_deleted_room_lets_nobody_in_and_its_record_forgets_the_citizen() {
    let app = instant().start().await;
    let created = app.create_room().await;
    let (name, room) = (created.room(), created.json());
    app.pexip.join(&name, Role::Guest);
    let pins = [&room["pin"], &room["guest_pin"]].map(|pin| pin.as_str().expect("a PIN").to_owned());
    assert!(pins.iter().all(|pin| record_of(&app, &name).contains(pin)));

    assert_eq!(app.delete_room(&name).await.status, 204);

    assert_eq!(dial(&app, &name).await, rejected());
    assert_eq!(dial_out(&app, &name).await, rejected());
    app.public_room(&name).await.assert_problem(404, "room_not_found");
    app.delete_room(&name).await.assert_problem(404, "room_not_found");
    app.delete_room(&unknown()).await.assert_problem(404, "room_not_found");
    let record = record_of(&app, &name);
    assert!(
        !pins.iter().any(|pin| record.contains(pin)) && !record.contains(TAG) && !record.contains(QUEUE),
        "{record}"
    );
    eventually("the conference is disconnected", async || !app.pexip.is_running(&name)).await;

    // A node that had its answer just before lets somebody in.
    app.pexip.join(&name, Role::Guest);
    eventually("the second look disconnects", async || {
        time_passes(Duration::from_secs(6)).await;
        !app.pexip.is_running(&name)
    })
    .await;
}

/// As a node reports the end of a conference.
async fn conference_ended(app: &TestApp, room: &str) {
    let event =
        json!({ "node": "10.47.2.21", "seq": 1, "version": 2, "event": "conference_ended", "data": { "name": room } });
    let request = app.request(Method::POST, "public/event_sink").basic_auth("events", Some("of the events"));
    assert_eq!(app.send(request.json(&event)).await.status, 204);
}

fn with_events() -> TestAppBuilder {
    instant()
        .set("PEXIP_EVENT_USERNAME", "events")
        .set("PEXIP_EVENT_PASSWORD", "of the events")
        .set("ROOM_END_GRACE_SECONDS", 0)
}

#[tokio::test]
async fn the_end_of_its_conference_ends_an_empty_room() {
    let app = with_events().start().await;
    let (left, dialled) = (app.create_room().await.room(), app.create_room().await.room());
    app.pexip.dial_out_leg(&dialled);
    for room in [&left, &dialled] {
        conference_ended(&app, room).await;
    }
    time_passes_until("both rooms are ended", &app, async || {
        dial(&app, &left).await == rejected() && dial(&app, &dialled).await == rejected()
    })
    .await;
    eventually("the dialled leg is disconnected", async || !app.pexip.is_running(&dialled)).await;
}

#[tokio::test]
async fn whoever_joins_while_an_empty_room_is_ended_is_left_to_the_maintenance_run() {
    let app = with_events().start().await;
    let name = app.create_room().await.room();
    let write = Matching::method(Method::PUT).path_contains(&name);
    app.blobs.traffic().clear();
    app.blobs.traffic().inject(write.clone(), Times::Once, Fault::Stall);
    conference_ended(&app, &name).await;
    time_passes_until("the record is written", &app, async || app.blobs.traffic().count(&write) > 0).await;

    app.pexip.join(&name, Role::Guest);
    let looks =
        || app.pexip.traffic().count(&Matching::any().path_contains("/status/v1/conference/").query_contains(&name));
    let before = looks();
    app.blobs.traffic().heal();
    eventually("the room is ended", async || dial(&app, &name).await == rejected()).await;
    eventually("the looks after the end are over", async || {
        time_passes(Duration::from_secs(6)).await;
        looks() >= before + 2
    })
    .await;
    let disconnects = Matching::any().path_contains("/conference/disconnect");
    assert!(app.pexip.is_running(&name) && app.pexip.traffic().count(&disconnects) == 0);

    app.maintain().await;
    assert!(!app.pexip.is_running(&name));
}

#[tokio::test]
async fn people_and_a_validity_of_its_own_keep_a_room_whose_conference_has_ended() {
    let app = with_events().start().await;
    let until = in_seconds(3_600);
    let own = create_with(&app, &[("validUntil", &until)], "").await.room();
    let (occupied, left) = (app.create_room().await.room(), app.create_room().await.room());
    app.pexip.join(&occupied, Role::Guest);
    for room in [&own, &occupied, &left] {
        conference_ended(&app, room).await;
    }
    time_passes_until("the empty room is ended", &app, async || dial(&app, &left).await == rejected()).await;
    eventually("the hints are done", async || hints(&app) == 0).await;
    assert!(is_success(&dial(&app, &own).await) && is_success(&dial(&app, &occupied).await));
    assert!(app.pexip.is_running(&occupied));
}

#[tokio::test]
async fn a_maintenance_run_disconnects_whoever_is_in_a_room_that_is_over() {
    let (ahead, clock) = movable_clock();
    let app = instant().clock(clock).start().await;
    let unreadable = create_with(&app, &[("validUntil", &in_seconds(60))], "").await.room();
    let short = create_with(&app, &[("validUntil", &in_seconds(60))], "").await.room();
    let (open, ended) = (app.create_room().await.room(), app.create_room().await.room());
    let unknown = made_up(&short, 1);
    // A name of the last second that a time can hold.
    let last = "vbi-76ez91zp0rqqqqqqqqqqqqqqqq";
    assert_eq!(app.delete_room(&ended).await.status, 204);
    looks_after_the_end(&app, &ended).await;
    // Read before all others.
    app.blobs.put(RECORDS, &format!("instant/{unreadable}"), "rubbish");
    for room in [unreadable.as_str(), &short, &open, &ended, &unknown, last, OLD, "boardroom"] {
        app.pexip.join(room, Role::Guest);
    }
    ahead.store(61, Ordering::SeqCst);

    app.maintain().await;

    let running = |room: &str| app.pexip.is_running(room);
    assert!(!running(&short) && !running(&ended) && !running(OLD), "over, ended, older than every record");
    assert!(running(&open) && running(&unknown) && running(last) && running("boardroom"));
    assert!(running(&unreadable), "it may be open");
}

/// Waits for the two looks for a running conference that follow a delete.
pub(super) async fn looks_after_the_end(app: &TestApp, room: &str) {
    let looks = Matching::any().path_contains("/status/v1/conference/").query_contains(room);
    eventually("the looks after the delete are over", async || {
        time_passes(Duration::from_secs(6)).await;
        app.pexip.traffic().count(&looks) >= 2
    })
    .await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_holds_up_no_other_room_whose_conference_ended() {
    let app = with_events().set("ROOM_END_GRACE_SECONDS", 60).start().await;
    let unreadable = app.create_room().await.room();
    let others = [app.create_room().await.room(), app.create_room().await.room()];
    let record = record_of(&app, &unreadable);
    app.blobs.put(RECORDS, &format!("instant/{unreadable}"), "rubbish");
    for room in [&unreadable].into_iter().chain(&others) {
        conference_ended(&app, room).await;
    }
    eventually("the hints are noted", async || hints(&app) == 3).await;

    // All are due at once, the unreadable one first.
    app.queue.advance(Duration::from_secs(61));

    time_passes_until("the others are ended", &app, async || {
        dial(&app, &others[0]).await == rejected() && dial(&app, &others[1]).await == rejected()
    })
    .await;
    assert_eq!(hints(&app), 1);
    app.blobs.put(RECORDS, &format!("instant/{unreadable}"), &record);
    time_passes_until("it is ended as well", &app, async || dial(&app, &unreadable).await == rejected()).await;
}

/// Noted ends of conferences.
fn hints(app: &TestApp) -> usize {
    app.queue.messages("room-creation-queue-ended").len()
}
