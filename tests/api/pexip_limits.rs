//! What one instance asks of the management node: a request budget, calls in flight, and the circuit breaker.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;

use crate::genesys_load::others_have_their_turn;
use crate::support::{Answer, Call, HANDED_OUT, POOL_QUEUE, TAG, TestApp, eventually, stop_time, time_passes};

const OURS: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

/// Rooms that do not exist: reads at one room at the same time share a call.
fn names() -> impl Iterator<Item = String> {
    (0..12).map(|number| format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}"))
}

fn any_call() -> Matching {
    Matching::any()
}

#[tokio::test]
async fn no_more_calls_are_made_in_a_minute_than_the_budget_allows() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUESTS_PER_MINUTE", 6).start().await;
    let _time = stop_time();

    for _ in 0..6 {
        app.public_room(OURS).await.assert_problem(404, "room_not_found");
    }
    let refused = app.public_room(OURS).await;

    refused.assert_problem(503, "pexip_unavailable");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((50..=60).contains(&wait), "the oldest of the six leaves the minute then: {wait}");
    assert_eq!(app.pexip.traffic().count(&any_call()), 6);
}

#[tokio::test]
async fn a_third_of_the_budget_is_kept_for_callers() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 50).set("PEXIP_REQUESTS_PER_MINUTE", 30).start().await;

    let run = app.run_maintenance().await;
    let made = app.pexip.traffic().count(&Matching::method(Method::POST));
    // Of twenty calls, one is the count at the start and one the list; reads at rooms that are already in the queue are others.
    assert!((10..=18).contains(&made), "as many as two thirds allow: {made}");
    assert!(run.text.contains(&format!("made {made},")), "{run:?}");
    let by_refill = app.pexip.traffic().count(&any_call());
    assert!(by_refill <= 21, "{by_refill}");

    app.public_room(OURS).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn agents_reads_leave_request_budget_for_creates() {
    let app = TestApp::with().set("PEXIP_REQUESTS_PER_MINUTE", 60).start().await;

    for _ in 0..30 {
        app.public_room(OURS).await.assert_problem(404, "room_not_found");
    }
    app.public_room(OURS).await.assert_problem(503, "pexip_unavailable");

    let run = app.run_maintenance().await;
    assert!(run.text.contains("made 4,"), "{run:?}");
    assert_eq!(app.create_room().await.header("room-source"), "pool");
}

#[tokio::test]
async fn agents_reads_at_a_stalled_node_leave_concurrent_calls_to_creates() {
    for (max_in_flight, share) in [(5, 3), (4, 2), (3, 2), (2, 1)] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_MAX_IN_FLIGHT", max_in_flight).start().await;
        let _time = stop_time();
        let reads = || Matching::method(Method::GET).query_contains("vbv-01jd5p3xk8qqqqqqqqqqqqqq");
        app.pexip.traffic().inject(reads(), Times::Always, Fault::Stall);

        let watch = async {
            eventually("the agents use their share", async || app.pexip.traffic().count(&reads()) >= share).await;
            others_have_their_turn(&app).await;
            let created = app.create_room().await;
            let in_flight = app.pexip.traffic().count(&reads());
            app.pexip.traffic().heal();
            assert_eq!((created.status.as_u16(), in_flight), (200, share), "of {max_in_flight}: {created:?}");
        };
        let (answers, ()) = tokio::join!(join_all(names().map(async |name| app.public_room(&name).await)), watch);
        assert!(answers.iter().all(|read| read.status == 404), "{answers:?}");
    }
}

#[tokio::test]
async fn claims_at_a_queue_that_does_not_answer_leave_concurrent_calls_to_others() {
    const CREATES: usize = 6;
    for (max_in_flight, claims) in [(5, 3), (4, 2), (3, 1), (2, 1)] {
        let builder = TestApp::with().set("POOL_TARGET_SIZE", CREATES).set("POOL_PREFETCH", CREATES);
        let app = builder.set("PEXIP_MAX_IN_FLIGHT", max_in_flight).start().await;
        app.fill_pool().await;
        eventually("all rooms are leased", async || {
            let messages = app.queue.messages(POOL_QUEUE);
            messages.len() == CREATES && messages.iter().all(|message| !message.visible)
        })
        .await;
        let _time = stop_time();
        let claim = || Call::QueueClaim.matching();
        app.queue.traffic().inject(claim(), Times::Always, Fault::Stall);

        let watch = async {
            eventually("claims wait", async || app.queue.traffic().count(&claim()) >= claims).await;
            others_have_their_turn(&app).await;
            assert_eq!(app.queue.traffic().count(&claim()), claims, "of {max_in_flight}");
            app.delete_room(OURS).await.assert_problem(404, "room_not_found");
            // A call is logged just before it stalls, so a single heal could miss it.
            let all_are_claimed = async || {
                app.queue.traffic().heal();
                let log = app.queue.traffic().log();
                log.iter().filter(|call| call.method == Method::DELETE && call.status.is_some()).count() == CREATES
            };
            eventually("all rooms are claimed", all_are_claimed).await;
        };
        let (created, ()) = tokio::join!(join_all((0..CREATES).map(|_| app.create_room())), watch);
        assert!(created.iter().all(|create| create.header("room-source") == "pool"), "{created:?}");
    }
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_MAX_IN_FLIGHT", 4).start().await;
    let _time = stop_time();
    let (reads, creates) = (Matching::method(Method::GET).query_contains(OURS), Matching::method(Method::POST));
    for stalled in [&reads, &creates] {
        app.pexip.traffic().inject(stalled.clone(), Times::Always, Fault::Stall);
    }
    let in_flight = || [&reads, &creates].map(|calls| app.pexip.traffic().count(calls));

    let watch = async {
        eventually("a read and a delete are in flight", async || in_flight()[0] == 2).await;
        let creates = join_all((0..6).map(|_| app.create_room()));
        let heal = async {
            eventually("two creates are in flight", async || in_flight()[1] == 2).await;
            others_have_their_turn(&app).await;
            assert_eq!(in_flight(), [2, 2], "all others wait");
            app.pexip.traffic().heal();
        };
        let (answers, ()) = tokio::join!(creates, heal);
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    };
    let reads = (0..3).map(|_| async { (app.public_room(OURS).await, app.delete_room(OURS).await) });
    let deletes = (0..3).map(|_| app.delete_room(OURS));
    let (reads, deletes, ()) = tokio::join!(join_all(reads), join_all(deletes), watch);

    let answers: Vec<_> = reads.into_iter().flat_map(|(read, delete)| [read, delete]).chain(deletes).collect();
    assert!(answers.iter().all(|answer| answer.status == 404), "{answers:?}");
}

#[tokio::test]
async fn creates_come_first_in_line() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_MAX_IN_FLIGHT", 1).start().await;
    app.create_room().await.room();
    let (read, deleted) = (OURS, "vbv-01jd5p3xk8zzzzzzzzzzzzzzzz");
    let reads = |name: &str| Matching::method(Method::GET).query_contains(name);
    let _time = stop_time();
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(reads(read), Times::Once, Fault::Stall);

    let watch = async {
        eventually("a read is in flight", async || app.pexip.traffic().count(&reads(read)) == 1).await;
        let create = async {
            others_have_their_turn(&app).await;
            app.create_room().await.room()
        };
        let heal = async {
            others_have_their_turn(&app).await;
            others_have_their_turn(&app).await;
            app.pexip.traffic().heal();
        };
        tokio::join!(app.delete_room(deleted), create, heal)
    };
    tokio::join!(app.public_room(read), watch);

    let log = app.pexip.traffic().log();
    let created = log.iter().position(|call| call.method == Method::POST).expect("the create");
    let deleted = log.iter().position(|call| call.query.contains(deleted)).expect("the delete's look-up");
    assert!(created < deleted, "{log:?}");
}

#[tokio::test]
async fn deletes_of_missing_rooms_leave_request_budget_to_others() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUESTS_PER_MINUTE", 60).start().await;
    let _time = stop_time();

    for number in 0..60 {
        let deleted = app.delete_room(&format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}")).await;
        if number < 10 {
            deleted.assert_problem(404, "room_not_found");
        } else {
            deleted.assert_problem(503, "pexip_unavailable");
        }
    }

    let room = app.create_room().await.room();
    assert_eq!(app.public_room(&room).await.status, 200);
    let other = app.entra.token().claim("azp", "00000000-0000-0000-0000-00000000aaaa").build();
    let delete = app.request(Method::DELETE, &format!("room/{room}")).bearer_auth(other);
    assert_eq!(app.send(delete).await.status, 204, "another client's");
}

#[tokio::test]
async fn a_client_may_delete_as_many_rooms_as_the_budget_has_calls_for() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUESTS_PER_MINUTE", 300).start().await;
    let _time = stop_time();

    for number in 0..60 {
        let name = format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}");
        app.pexip.insert(StoredRoom::named(&name).tagged(TAG));
        let deleted = app.delete_room(&name).await;
        assert_eq!(deleted.status, 204, "{number}: {deleted:?}");
    }
}

#[tokio::test]
async fn reads_deletes_and_creates_leave_request_budget_to_refill() {
    let app = TestApp::with().set("PEXIP_REQUESTS_PER_MINUTE", 120).start().await;
    let missing = |number| format!("vbv-01jd5p3xk8qqqqqqqqqqqqq{number:03}");
    let is_answered = |answer: &Answer| {
        if answer.status != 404 {
            answer.assert_problem(503, "pexip_unavailable");
        }
        answer.status == 404
    };
    let time = stop_time();
    let (mut read_refused, mut delete_refused) = (false, false);
    for number in 0..120 {
        read_refused = !is_answered(&app.public_room(&missing(number)).await);
        if read_refused {
            break;
        }
    }
    for number in 120..240 {
        delete_refused = !is_answered(&app.delete_room(&missing(number)).await);
        if delete_refused {
            break;
        }
    }
    drop(time);
    assert!(read_refused && delete_refused, "reads and deletes have used their shares");
    for _ in 0..3 {
        app.create_room().await.room();
    }
    app.pexip.traffic().clear();

    assert!(app.run_maintenance().await.status.is_success());

    let made = app.pexip.traffic().count(&Matching::method(Method::POST));
    assert!(made > 0, "no room of the pool was made");
}

#[tokio::test]
async fn looks_at_one_room_share_a_call_that_begins_after_them() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    app.insert_handed_out_room();
    let reads = || Matching::method(Method::GET).query_contains(HANDED_OUT);
    let _time = stop_time();
    app.pexip.traffic().inject(reads(), Times::Once, Fault::Stall);

    let watch = async {
        eventually("a read is in flight", async || app.pexip.traffic().count(&reads()) == 1).await;
        others_have_their_turn(&app).await;
        // By another instance.
        app.pexip.remove(HANDED_OUT);
        let heal = async {
            others_have_their_turn(&app).await;
            assert_eq!(app.pexip.traffic().count(&reads()), 1, "all later ones wait");
            app.pexip.traffic().heal();
        };
        tokio::join!(join_all((0..3).map(|_| app.public_room(HANDED_OUT))), heal).0
    };
    let (_, later) = tokio::join!(join_all((0..6).map(|_| app.public_room(HANDED_OUT))), watch);

    assert_eq!(app.pexip.traffic().count(&reads()), 2);
    assert!(later.iter().all(|read| read.status == 404), "{later:?}");
}

#[tokio::test]
async fn a_node_that_asks_for_time_is_not_asked_again_before() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let _time = stop_time();
    let busy =
        Fault::StatusWith { status: 503, headers: vec![("Retry-After".into(), "31".into())], body: String::new() };
    app.pexip.traffic().inject(any_call(), Times::Once, busy);

    app.public_room(OURS).await.assert_problem(503, "pexip_unavailable");
    for _ in 0..5 {
        let left_alone = app.public_room(OURS).await;
        left_alone.assert_problem(503, "pexip_unavailable");
        assert!(left_alone.header("retry-after").parse::<u64>().is_ok_and(|wait| (25..=31).contains(&wait)));
    }

    assert_eq!(app.pexip.traffic().count(&any_call()), 1);
}

#[tokio::test]
async fn a_failing_node_is_left_alone_and_then_tried_with_one_call() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let _time = stop_time();
    app.pexip.traffic().inject(any_call(), Times::Always, Fault::Status(500));
    for _ in 0..20 {
        app.public_room(OURS).await.assert_problem(503, "pexip_unavailable");
    }
    assert_eq!(app.pexip.traffic().count(&any_call()), 5, "five failures in a row, then nothing");

    app.pexip.traffic().heal();
    app.pexip.traffic().clear();
    app.public_room(OURS).await.assert_problem(503, "pexip_unavailable");
    assert_eq!(app.pexip.traffic().count(&any_call()), 0, "the pause is not over");
    time_passes(Duration::from_secs(5)).await;
    app.pexip.traffic().inject(any_call(), Times::Once, Fault::Stall);
    let watch = async {
        eventually("the node is probed", async || app.pexip.traffic().count(&any_call()) > 0).await;
        for _ in 0..20 {
            app.send(app.request(Method::GET, "health/live")).await;
        }
        assert_eq!(app.pexip.traffic().count(&any_call()), 1, "one call probes whether the node is back");
        let is_answered = async || {
            app.pexip.traffic().heal();
            app.pexip.traffic().log().iter().all(|call| call.status.is_some())
        };
        eventually("the probe is answered", is_answered).await;
    };
    let (reads, ()) = tokio::join!(join_all(names().take(8).map(async |name| app.public_room(&name).await)), watch);
    assert_eq!(reads.iter().filter(|read| read.status == 404).count(), 1, "{reads:?}");
    app.public_room(OURS).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn a_node_that_refuses_every_tag_destroys_a_handful_of_rooms_and_no_more() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 30).start().await;
    app.warm_up().await;
    app.pexip.traffic().inject(Matching::method(Method::PATCH), Times::Always, Fault::Status(400));

    let started = Instant::now();
    for _ in 0..40 {
        let answer = app.create_room().await;
        assert!([502, 503].contains(&answer.status.as_u16()), "{answer:?}");
    }

    let claims = app.queue.traffic().count(&Matching::method(Method::DELETE));
    // After five seconds a breaker lets one call probe the node, which may cost a room as well.
    let probes = usize::try_from(started.elapsed().as_secs() / 5).expect("a small number");
    assert!(claims <= 8 + probes, "{claims} rooms were claimed, beside {probes} probes");
}
