//! Floods of look-ups by Conferencing Nodes, which anybody causes who dials made-up names: they keep out neither creates
//! nor the look-ups of rooms that exist.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Times};

use crate::instant::{continued, dial, instant, is_success, look_up_request, made_up, rejected};
use crate::support::{Answer, Call, TestApp, eventually, stop_time, time_passes, within};

/// Concurrent look-ups of made-up names, fewer than those that the service admits by default.
const FLOOD: usize = 64;

/// Creates while the flood lasts, and look-ups of each of their rooms. Few: all are behind the flood in one thread.
const CREATES: usize = 4;
const LOOK_UPS: usize = 3;

async fn look_up(app: &TestApp, room: &str) -> Answer {
    app.send(look_up_request(app, &[("local_alias", room)])).await
}

#[tokio::test]
async fn made_up_names_leave_creates_and_look_ups_of_rooms_served() {
    let app = instant().start().await;
    let room = app.create_room().await.room();
    // No time limit runs out, however busy the machine is.
    let _time = stop_time();
    let (is_over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = join_all((0..FLOOD).map(|caller| {
        let (app, room, is_over, refused) = (&app, &room, &is_over, &refused);
        async move {
            let mut number = caller;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(dial(app, &made_up(room, number)).await, rejected());
                refused.fetch_add(1, Ordering::Relaxed);
                number += FLOOD;
            }
        }
    }));
    let served = async {
        eventually("the flood is there", async || refused.load(Ordering::Relaxed) >= FLOOD).await;
        let before = refused.load(Ordering::Relaxed);
        for _ in 0..CREATES {
            let created = app.create_room().await.room();
            for answer in join_all((0..LOOK_UPS).map(|_| dial(&app, &created))).await {
                assert!(is_success(&answer), "{answer}");
            }
        }
        assert!(refused.load(Ordering::Relaxed) > before, "the flood has lasted");
        is_over.store(true, Ordering::Relaxed);
    };
    within("all creates", async { tokio::join!(flood, served) }).await;
}

/// A claim that cannot be recorded costs a room, so one failure stops all writes for a while: of many reads one may fail
/// at any time.
#[tokio::test]
async fn a_look_up_that_fails_stops_neither_creates_nor_look_ups_of_rooms() {
    let app = instant().start().await;
    let room = app.create_room().await.room();
    for (number, fault) in [Fault::Status(503), Fault::Status(500), Fault::Rubbish].into_iter().enumerate() {
        let unlucky = made_up(&room, number);
        let its_reads = Call::InstantRead.matching().path_contains(&unlucky);
        app.blobs.traffic().inject(its_reads.clone(), Times::Once, fault.clone());
        let others = async {
            eventually("the read fails", async || app.blobs.traffic().count(&its_reads) > 0).await;
            for _ in 0..5 {
                let created = app.create_room().await;
                assert_eq!(created.status, 200, "{fault:?}: {created:?}");
                assert!(is_success(&dial(&app, &created.room()).await), "{fault:?}");
            }
        };
        let (answer, ()) = tokio::join!(dial(&app, &unlucky), others);
        assert_eq!(answer, rejected(), "{fault:?}");
    }
}

#[tokio::test]
async fn nodes_are_answered_within_two_seconds_while_storage_is_silent_or_gone() {
    let app = instant().start().await;
    let room = app.create_room().await.room();
    app.blobs.traffic().inject(Call::InstantRead.matching(), Times::Always, Fault::Stall);
    {
        let _time = stop_time();
        let request = look_up_request(&app, &[("local_alias", &room)]);
        let asked = tokio::spawn(async move { Answer::read(request.send().await.expect("an answer")).await });
        let reads = || app.blobs.traffic().count(&Call::InstantRead.matching());
        eventually("the record is read", async || reads() == 1).await;
        // Without any time.
        assert_eq!(dial(&app, "boardroom").await, continued());
        time_passes(Duration::from_millis(802)).await;
        assert_eq!(dial(&app, "boardroom").await, continued());
        time_passes(Duration::from_millis(102)).await;
        eventually("the record is read again", async || reads() == 2).await;
        time_passes(Duration::from_millis(1_090)).await;
        within("an answer", asked).await.expect("no panic").assert_problem(503, "records_unavailable");
        assert_eq!(reads(), 2);
    }
    app.blobs.traffic().heal();
    app.blobs.stop().await;
    look_up(&app, &room).await.assert_problem(503, "records_unavailable");
    assert_eq!(dial(&app, "boardroom").await, continued());
}
