//! What becomes of the rooms whose conference is said to have ended.

use std::time::Duration;

use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{conference_ended, hints, name, receiver, report};
use crate::support::{POOL_QUEUE, TAG, TestApp, eventually, time_passes, time_passes_until, two_looks_pass};

fn handed_out(number: usize) -> StoredRoom {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
    StoredRoom::named(name(number)).tagged(TAG).described(format!("handed-out={now}"))
}

fn deletions(app: &TestApp) -> usize {
    app.pexip.traffic().count(&Matching::method(Method::DELETE))
}

/// Looks at who is in which room.
fn looks(app: &TestApp) -> usize {
    app.pexip.traffic().count(&Matching::method(Method::GET).path_contains("/status/v1/participant/"))
}

/// Waits until the rooms that are due were looked at for the first time.
async fn first_look(app: &TestApp) {
    let before = looks(app);
    app.run_maintenance().await;
    // The run looks too, for its sweep.
    eventually("the rooms are looked at", async || looks(app) >= before + 2 && is_answered(app)).await;
}

fn is_answered(app: &TestApp) -> bool {
    app.pexip.traffic().log().iter().all(|exchange| exchange.status.is_some())
}

async fn settled(app: &TestApp) {
    time_passes_until("nothing is left to look at", app, async || hints(app).is_empty()).await;
}

#[tokio::test]
async fn a_room_that_nobody_is_in_is_deleted_at_the_second_look_whoever_told_how_often() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    for seq in [9, 4, 4] {
        report(&app, &conference_ended(&name(1), seq)).await;
    }

    first_look(&app).await;
    assert_eq!(deletions(&app), 0, "one look is not enough");

    settled(&app).await;
    assert_eq!(deletions(&app), 1);
    assert!(app.pexip.room(&name(1)).is_none());
}

#[tokio::test]
async fn nothing_happens_before_the_grace_is_over() {
    let app = receiver().set("ROOM_END_GRACE_SECONDS", 300).start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    app.run_maintenance().await;
    two_looks_pass().await;
    app.run_maintenance().await;
    assert_eq!((deletions(&app), hints(&app).len()), (0, 1));

    app.queue.advance(Duration::from_secs(301));
    first_look(&app).await;
    settled(&app).await;
    assert_eq!(deletions(&app), 1);
}

#[tokio::test]
async fn a_room_that_somebody_is_in_outlives_every_event() {
    for occupy in [
        (|app: &TestApp| drop(app.pexip.join(&name(1), Role::Guest))) as fn(&TestApp),
        |app| drop(app.pexip.join(&name(1), Role::Chair)),
        |app| drop(app.pexip.wait_for_pin(&name(1))),
    ] {
        let app = receiver().start().await;
        app.pexip.insert(handed_out(1));
        occupy(&app);
        report(&app, &conference_ended(&name(1), 1)).await;

        first_look(&app).await;
        settled(&app).await;
        two_looks_pass().await;

        assert!(app.pexip.is_running(&name(1)) && app.pexip.room(&name(1)).is_some());
    }
}

#[tokio::test]
async fn whoever_comes_back_between_the_looks_keeps_the_room() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    first_look(&app).await;
    app.pexip.join(&name(1), Role::Guest);

    settled(&app).await;
    assert!(app.pexip.is_running(&name(1)) && app.pexip.room(&name(1)).is_some());
}

#[tokio::test]
async fn whoever_comes_back_while_others_are_ended_slowly_keeps_the_room() {
    let slow_node = receiver().set("PEXIP_REQUEST_TIMEOUT_SECONDS", 30).set("REQUEST_DEADLINE_SECONDS", 60);
    let app = slow_node.start().await;
    for number in 1..=2 {
        app.pexip.insert(handed_out(number));
        report(&app, &conference_ended(&name(number), number)).await;
    }
    first_look(&app).await;
    let slow = Fault::Slow(Duration::from_secs(20));
    app.pexip.traffic().inject(Matching::method(Method::DELETE), Times::Once, slow);
    two_looks_pass().await;
    eventually("the first is being ended", async || deletions(&app) == 1).await;
    app.pexip.join(&name(2), Role::Guest);
    time_passes(Duration::from_secs(21)).await;
    eventually("the first is ended", async || app.pexip.room(&name(1)).is_none()).await;

    settled(&app).await;
    assert!(app.pexip.is_running(&name(2)) && app.pexip.room(&name(2)).is_some());
}

#[tokio::test]
async fn a_room_that_cannot_be_ended_keeps_none_behind_it() {
    let app = receiver().start().await;
    for number in 1..=5 {
        app.pexip.insert(handed_out(number));
        report(&app, &conference_ended(&name(number), number)).await;
    }
    let refused = Matching::method(Method::DELETE);
    app.pexip.traffic().inject(refused, Times::Once, Fault::Status(400));

    first_look(&app).await;
    two_looks_pass().await;

    eventually("each is tried once", async || deletions(&app) == 5 && is_answered(&app)).await;
    assert_eq!(app.pexip.rooms().len(), 1);
    settled(&app).await;
    assert_eq!(app.pexip.rooms().len(), 0, "and that one at its next turn");
}

#[tokio::test]
async fn legs_that_pexip_dialled_out_keep_no_room_and_are_disconnected_with_it() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    app.pexip.dial_out_leg(&name(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    first_look(&app).await;

    settled(&app).await;
    assert!(app.pexip.room(&name(1)).is_none());
    assert!(!app.pexip.is_running(&name(1)));
}

#[tokio::test]
async fn an_event_ends_no_room_of_the_pool_and_none_that_is_gone() {
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
async fn an_id_that_a_restored_node_gave_to_another_room_ends_nothing() {
    let app = receiver().start().await;
    let id = app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    first_look(&app).await;
    app.pexip.restore_backup(vec![handed_out(2).with_id(id)], id + 1);

    settled(&app).await;
    assert_eq!(deletions(&app), 0);
    assert!(app.pexip.room(&name(2)).is_some());
}

#[tokio::test]
async fn idims_delete_in_between_is_no_trouble() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;

    first_look(&app).await;
    assert_eq!(app.delete_room(&name(1)).await.status, 204);

    settled(&app).await;
    assert_eq!(deletions(&app), 1);
}

#[tokio::test]
async fn what_an_instance_could_not_bring_to_an_end_is_done_once_its_lease_has_run_out() {
    let app = receiver().start().await;
    app.pexip.insert(handed_out(1));
    report(&app, &conference_ended(&name(1), 1)).await;
    first_look(&app).await;
    let calls = || app.pexip.traffic().log().len();
    let before = calls();
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::HangUpBefore);
    time_passes_until("it has tried", &app, async || calls() > before).await;
    assert_eq!(hints(&app), [name(1)], "the hint is still there");

    app.pexip.traffic().heal();
    app.pexip.traffic().clear();
    settled(&app).await;
    assert!(app.pexip.room(&name(1)).is_none());
}

#[tokio::test]
async fn a_flood_of_events_deletes_nothing_that_is_in_use_and_leaves_the_pool_alone() {
    let app = receiver().set("POOL_TARGET_SIZE", 2).start().await;
    app.fill_pool().await;
    app.pexip.insert(handed_out(1));
    app.pexip.join(&name(1), Role::Guest);
    let flood = |seq: usize| {
        let app = &app;
        async move {
            // Made up, real, and the real one's again.
            let room = if seq.is_multiple_of(2) { name(seq) } else { name(1) };
            assert_eq!(report(app, &conference_ended(&room, seq)).await.status, 204);
        }
    };
    for tens in 0..1_000 {
        futures_util::future::join_all((0..10).map(|ones| flood(tens * 10 + ones))).await;
    }

    assert_eq!(app.create_room().await.header("room-source"), "pool");
    assert_eq!(deletions(&app), 0);
    assert!(app.pexip.is_running(&name(1)));
    eventually("the pool is full", async || app.queue.messages(POOL_QUEUE).len() == 2).await;
}

#[tokio::test]
async fn calls_that_go_on_without_their_room_are_ended_but_not_all_that_a_backup_has_lost() {
    let app = receiver().start().await;
    let lose = |number: usize| {
        app.pexip.insert(handed_out(number));
        app.pexip.join(&name(number), Role::Guest);
        app.pexip.remove(&name(number));
    };
    app.pexip.insert(StoredRoom::named("boardroom"));
    app.pexip.join("boardroom", Role::Guest);
    app.pexip.insert(handed_out(2));
    app.pexip.join(&name(2), Role::Guest);
    lose(1);

    app.run_maintenance().await;
    assert!(!app.pexip.is_running(&name(1)));
    assert!(app.pexip.is_running("boardroom") && app.pexip.is_running(&name(2)));

    (10..21).for_each(lose);
    app.run_maintenance().await;
    assert!((10..21).all(|number| app.pexip.is_running(&name(number))));
}
