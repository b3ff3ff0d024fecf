//! Rooms made for one request: their line, and the hard cap on all rooms.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use url::Url;

use crate::genesys_load::others_have_their_turn;
use crate::support::{Answer, TAG, TestApp, UUI_DATA, eventually, stop_time, time_passes};

fn creates() -> Matching {
    Matching::method(Method::POST)
}

async fn create_at(app: &TestApp, instance: &Url) -> Answer {
    let url = instance.join(&format!("room/create?uuiData={UUI_DATA}")).expect("a path");
    app.send(app.http.post(url).bearer_auth(app.entra.token().build())).await
}

/// Rooms that other instances have handed out.
fn others_make_rooms(app: &TestApp, number: usize) {
    for number in 0..number {
        let room = StoredRoom::named(format!("vbv-01jd5p3xk8qqqqqqqqqqqqqqq{number}"));
        app.pexip.insert(room.tagged("https://id.gov.bc.ca/idcheck/another"));
    }
}

#[tokio::test]
async fn a_burst_larger_than_the_pool_gets_a_room_for_each_create() {
    // As in infra/docs/sizing.md.
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 50)
        .set("PEXIP_REQUESTS_PER_MINUTE", 900)
        .set("REQUEST_DEADLINE_SECONDS", 25)
        .start()
        .await;
    app.warm_up().await;
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Slow(Duration::from_millis(50)));

    let answers = join_all((0..200).map(|_| app.create_room())).await;

    let rooms: BTreeSet<_> = answers.iter().map(Answer::room).collect();
    assert_eq!(rooms.len(), 200);
}

/// A service without a pool whose first look-up of a created room waits, and as many creates as calls may be in flight.
/// Their answers, after `meanwhile` has run while all of them wait for their look-ups.
async fn created_together(app: &TestApp, meanwhile: impl FnOnce()) -> Vec<Answer> {
    // It counts the rooms, so that the first look-up is that of a room.
    app.create_room().await.room();
    let _time = stop_time();
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(look_ups(), Times::Once, Fault::Stall);
    let watch = async {
        eventually("all rooms are made", async || app.pexip.traffic().count(&creates()) == 5).await;
        others_have_their_turn(app).await;
        app.pexip.traffic().heal();
        // Before the look-up that waited goes on.
        meanwhile();
    };
    join(join_all((0..5).map(|_| app.create_room())), watch).await.0
}

fn look_ups() -> Matching {
    Matching::method(Method::GET)
}

#[tokio::test]
async fn rooms_that_are_created_meanwhile_are_looked_up_by_one_call() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;

    let answers = created_together(&app, || ()).await;

    let rooms: BTreeSet<_> = answers.iter().map(Answer::room).collect();
    assert_eq!(rooms.len(), 5);
    for answer in answers {
        let room = app.pexip.room(&answer.room()).expect("a room");
        assert_eq!((answer.json()["pin"].as_str(), room.tag.as_str()), (Some(room.pin.as_str()), TAG));
    }
    let calls = app.pexip.traffic().count(&look_ups());
    assert_eq!(calls, 2, "of the first room, and of the others");
}

#[tokio::test]
async fn a_failed_look_up_of_several_created_rooms_fails_no_create() {
    let several = || look_ups().query_contains("name__in");
    for fault in [Fault::Status(500), Fault::Status(400), Fault::HangUpBefore, Fault::Rubbish] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;

        let answers = created_together(&app, || app.pexip.traffic().inject(several(), Times::Always, fault)).await;

        assert!(app.pexip.traffic().count(&several()) > 0);
        let rooms: BTreeSet<_> = answers.iter().map(Answer::room).collect();
        assert_eq!(rooms.len(), 5);
    }
}

#[tokio::test]
async fn a_failed_look_up_of_several_created_rooms_takes_no_rooms_call_of_the_budget() {
    // The first room takes three calls with the count, and each of the others two. The shared look-up is one more, if the
    // budget has it.
    for (budget, most) in [(13, 0), (14, 1)] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUESTS_PER_MINUTE", budget).start().await;
        app.create_room().await.room();
        let _time = stop_time();
        app.pexip.traffic().clear();
        app.pexip.traffic().inject(creates(), Times::Always, Fault::Stall);
        let several = look_ups().query_contains("name__in");
        let watch = async {
            eventually("all rooms are made", async || app.pexip.traffic().count(&creates()) == 5).await;
            app.pexip.traffic().heal();
            app.pexip.traffic().inject(several.clone(), Times::Always, Fault::Status(500));
        };

        let (answers, ()) = join(join_all((0..5).map(|_| app.create_room())), watch).await;

        let rooms: BTreeSet<_> = answers.iter().map(Answer::room).collect();
        assert_eq!(rooms.len(), 5, "of {budget}");
        assert!(app.pexip.traffic().count(&several) <= most, "of {budget}");
    }
}

#[tokio::test]
async fn a_look_up_that_hangs_holds_up_later_ones_for_a_second_only() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    app.create_room().await.room();
    let _time = stop_time();
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(look_ups(), Times::Once, Fault::Stall);
    let later = async {
        eventually("the first room is looked up", async || app.pexip.traffic().count(&look_ups()) == 1).await;
        let watch = async {
            eventually("all rooms are made", async || app.pexip.traffic().count(&creates()) == 3).await;
            others_have_their_turn(&app).await;
            assert_eq!(app.pexip.traffic().count(&look_ups()), 1, "the others share the next one");
            time_passes(Duration::from_millis(1_100)).await;
            eventually("the others are looked up", async || app.pexip.traffic().count(&look_ups()) > 1).await;
            app.pexip.traffic().heal();
        };
        join(join_all((0..2).map(|_| app.create_room())), watch).await.0
    };

    let (first, mut answers) = join(app.create_room(), later).await;
    answers.push(first);

    let rooms: BTreeSet<_> = answers.iter().map(Answer::room).collect();
    assert_eq!(rooms.len(), 3);
}

#[tokio::test]
async fn a_created_room_that_several_look_ups_do_not_show_is_not_handed_out() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let lost = || {
        let newest = app.pexip.rooms().into_iter().max_by_key(|room| room.id).expect("a room");
        app.pexip.remove(&newest.name);
    };

    let answers = created_together(&app, lost).await;

    let (handed_out, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((handed_out.len(), refused.len()), (4, 1));
    refused[0].assert_problem(503, "no_room");
}

#[tokio::test]
async fn no_room_is_made_whose_read_the_budget_does_not_allow() {
    // One call counts the rooms.
    for (budget, made) in [(2, 0), (3, 1), (4, 1)] {
        let app = TestApp::with()
            .set("POOL_TARGET_SIZE", 0)
            .set("PEXIP_REQUESTS_PER_MINUTE", budget)
            .set("PEXIP_MAX_IN_FLIGHT", 1)
            .start()
            .await;
        let _time = stop_time();

        let answers = join_all((0..3).map(|_| app.create_room())).await;

        let (handed_out, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((handed_out.len(), app.pexip.traffic().count(&creates())), (made, made), "of {budget}: {answers:?}");
        for refused in refused {
            refused.assert_problem(503, "no_room");
            let wait: u64 = refused.header("retry-after").parse().expect("seconds");
            assert!((50..=60).contains(&wait), "the first call leaves the minute then: {wait}");
        }
    }
}

#[tokio::test]
async fn direct_creates_beyond_those_allowed_wait_in_line_until_their_deadline() {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("POOL_DIRECT_MAX", 1)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 24)
        .start()
        .await;
    for waits_too_long in [false, true] {
        let _time = stop_time();
        app.pexip.traffic().clear();
        app.pexip.traffic().inject(creates(), Times::Once, Fault::Stall);
        let watch = async {
            eventually("the first room is being made", async || app.pexip.traffic().count(&creates()) == 1).await;
            others_have_their_turn(&app).await;
            if waits_too_long {
                // A second and a half before the request's deadline, the least time for a direct room is not left.
                time_passes(Duration::from_millis(23_600)).await;
                others_have_their_turn(&app).await;
            }
            assert_eq!(app.pexip.traffic().count(&creates()), 1, "one at a time");
            app.pexip.traffic().heal();
        };
        let (answers, ()) = join(join_all((0..3).map(|_| app.create_room())), watch).await;

        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((made.len(), refused.len()), if waits_too_long { (1, 2) } else { (3, 0) }, "{answers:?}");
        for refused in refused {
            refused.assert_problem(503, "no_room");
        }
    }
}

#[tokio::test]
async fn an_instance_knows_the_rooms_that_were_there_before_its_start() {
    for target in [0, 4] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", target).set("POOL_MAX_ROOMS", 4).start().await;
        others_make_rooms(&app, 8);
        let fresh = app.another_instance();

        create_at(&app, &fresh.url).await.assert_problem(503, "no_room");

        assert_eq!(app.pexip.rooms().len(), 8);
    }
}

#[tokio::test]
async fn rooms_that_others_make_are_counted_after_a_minute() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("POOL_MAX_ROOMS", 4).start().await;
    assert_eq!(app.create_room().await.status, 200);
    others_make_rooms(&app, 7);
    time_passes(Duration::from_secs(61)).await;

    app.create_room().await.assert_problem(503, "no_room");

    assert_eq!(app.pexip.rooms().len(), 8);
}

#[tokio::test]
async fn no_room_is_made_or_handed_out_while_their_number_is_unknown() {
    let app = TestApp::start().await;
    app.fill_pool().await;
    let counts = Matching::method(Method::GET).query_contains("name__startswith");
    app.pexip.traffic().inject(counts, Times::Always, Fault::Status(400));
    let fresh = app.another_instance();

    let answer = create_at(&app, &fresh.url).await;
    answer.assert_problem(502, "pexip_refused");
    assert!(app.pexip.rooms().iter().all(|room| room.tag.is_empty()));

    app.pexip.traffic().heal();
    assert_eq!(create_at(&app, &fresh.url).await.status, 200);
}
