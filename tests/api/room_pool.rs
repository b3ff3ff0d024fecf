//! Hand-outs whose steps fail, are repeated, or are the last one before a stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::genesys_load::others_have_their_turn;
use crate::support::{Call, POOL_QUEUE, TAG, TestApp, a_name, eventually, ready_room, stop_time, time_passes};

fn claim() -> Matching {
    Matching::method(Method::DELETE).path_contains("/messages/")
}

fn tagging() -> Matching {
    Matching::method(Method::PATCH)
}

fn tagged_rooms(app: &TestApp) -> usize {
    app.pexip.rooms().iter().filter(|room| !room.tag.is_empty()).count()
}

#[tokio::test]
async fn a_lost_claim_is_followed_by_another_try() {
    for (status, code) in [(404, "MessageNotFound"), (400, "PopReceiptMismatch")] {
        let app = TestApp::start().await;
        app.warm_up().await;
        let lost = Fault::StatusWith {
            status,
            headers: vec![("x-ms-error-code".into(), code.into())],
            body: format!("<Error><Code>{code}</Code></Error>"),
        };
        app.queue.traffic().inject(claim(), Times::Once, lost);

        let answer = app.create_room().await;

        assert_eq!(answer.header("room-source"), "pool", "{answer:?}");
        assert_eq!(app.queue.traffic().count(&claim()), 2);
        assert_eq!(tagged_rooms(&app), 1, "the room of the lost claim has no tag");
    }
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_repeated_and_its_room_is_abandoned() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.queue.traffic().inject(claim(), Times::Once, Fault::HangUpAfter);

    let answer = app.create_room().await;

    // The first delete succeeded, so the second one found no message: the winner is unknown.
    assert_eq!(answer.status, 200, "{answer:?}");
    let claims: Vec<_> =
        app.queue.traffic().log().into_iter().filter(|exchange| exchange.method == Method::DELETE).collect();
    assert_eq!(claims.len(), 3);
    assert_eq!((&claims[0].path, &claims[0].query), (&claims[1].path, &claims[1].query), "the same receipt");
    assert_ne!(claims[1].path, claims[2].path);
    assert_eq!(tagged_rooms(&app), 1);
}

#[tokio::test]
async fn a_claim_that_did_not_arrive_is_repeated_and_won() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.queue.traffic().inject(claim(), Times::Once, Fault::HangUpBefore);

    assert_eq!(app.create_room().await.header("room-source"), "pool");
    assert_eq!(app.queue.messages(POOL_QUEUE).iter().filter(|message| message.dequeue_count > 1).count(), 0);
}

#[tokio::test]
async fn a_tag_whose_answer_is_lost_is_written_to_the_same_room_again() {
    for fault in [Fault::HangUpAfter, Fault::HangUpBefore, Fault::StatusAfter(500), Fault::Status(503)] {
        let app = TestApp::start().await;
        app.warm_up().await;
        app.pexip.traffic().inject(tagging(), Times::Once, fault);

        let answer = app.create_room().await;

        assert_eq!(answer.header("room-source"), "pool", "{answer:?}");
        assert_eq!(app.pexip.traffic().count(&tagging()), 2);
        assert_eq!(app.pexip.room(&answer.room()).expect("the room").tag, TAG);
        assert_eq!(tagged_rooms(&app), 1);
        assert_eq!(app.queue.traffic().count(&claim()), 1);
    }
}

#[tokio::test]
async fn a_claimed_room_that_cannot_be_tagged_is_destroyed_and_no_other_is_tried() {
    for (fault, status, code) in [
        (Fault::Status(400), 502, "pexip_refused"),
        (Fault::Status(401), 502, "pexip_refused"),
        (Fault::Status(403), 502, "pexip_refused"),
        (Fault::Redirect("/accounts/login/?next=/".into()), 502, "pexip_refused"),
        (Fault::Status(429), 503, "pexip_unavailable"),
        (Fault::Status(500), 503, "pexip_unavailable"),
        (Fault::HangUpBefore, 503, "pexip_unavailable"),
        (Fault::Stall, 504, "pexip_timeout"),
    ] {
        let app =
            TestApp::with().set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1).set("REQUEST_DEADLINE_SECONDS", 4).start().await;
        app.warm_up().await;
        app.pexip.traffic().inject(tagging(), Times::Always, fault.clone());

        app.create_room().await.assert_problem(status, code);

        assert_eq!(app.queue.traffic().count(&claim()), 1, "{fault:?}");
        eventually("the room is deleted", async || app.pexip.traffic().count(&Matching::method(Method::DELETE)) == 1)
            .await;
        let patched = app.pexip.traffic().log().into_iter().find(|exchange| exchange.method == Method::PATCH);
        let deleted = app.pexip.traffic().log().into_iter().find(|exchange| exchange.method == Method::DELETE);
        assert_eq!(patched.map(|exchange| exchange.path), deleted.map(|exchange| exchange.path));
    }
}

#[tokio::test]
async fn a_room_deleted_before_its_tag_is_followed_by_another_try() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.pexip.traffic().inject(tagging(), Times::Once, Fault::Status(404));

    let answer = app.create_room().await;

    assert_eq!(answer.header("room-source"), "pool", "{answer:?}");
    assert_eq!(app.queue.traffic().count(&claim()), 2);
}

#[tokio::test]
async fn while_the_node_is_down_only_rooms_checked_before_are_claimed() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 8).start().await;
    app.warm_up().await;
    app.pexip.stop().await;

    for _ in 0..10 {
        app.create_room().await.assert_problem(503, "pexip_unavailable");
    }

    assert!(app.queue.traffic().count(&claim()) <= 1, "one room was leased and checked");
    app.pexip.restart().await;
    eventually("rooms are handed out again", async || app.create_room().await.header("room-source") == "pool").await;
}

#[tokio::test]
async fn while_the_account_is_refused_only_rooms_checked_before_are_claimed() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 8).start().await;
    app.warm_up().await;
    app.pexip.set_password("changed-by-an-operator");

    app.create_room().await.assert_problem(502, "pexip_refused");
    for _ in 0..9 {
        // At some point the circuit breaker opens, and the node is not called.
        let answer = app.create_room().await;
        assert!([502, 503].contains(&answer.status.as_u16()), "{answer:?}");
    }

    assert!(app.queue.traffic().count(&claim()) <= 1);
}

#[tokio::test]
async fn the_room_of_a_caller_who_hangs_up_is_destroyed() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.pexip.traffic().inject(tagging(), Times::Once, Fault::Stall);

    let path = "room/create?uuiData=31";
    let caller = tokio::spawn(app.request(Method::POST, path).bearer_auth(app.entra.token().build()).send());
    eventually("the tag is on its way", async || app.pexip.traffic().count(&tagging()) == 1).await;
    caller.abort();

    assert!(caller.await.is_err_and(|error| error.is_cancelled()));
    eventually("the tagged room is deleted", async || {
        app.pexip.traffic().heal();
        app.pexip.traffic().count(&Matching::method(Method::DELETE)) == 1 && tagged_rooms(&app) == 0
    })
    .await;
    eventually("the pool is full again", async || app.queue.messages(POOL_QUEUE).len() == 4).await;
}

#[tokio::test]
async fn a_created_room_that_is_not_found_is_destroyed_once() {
    let nothing =
        r#"{"meta": {"limit": 100, "next": null, "offset": 0, "previous": null, "total_count": 0}, "objects": []}"#;
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let nowhere = Fault::StatusWith { status: 200, headers, body: nothing.to_owned() };
    for fault in [nowhere, Fault::Rubbish] {
        let (app, program) = TestApp::with().set("POOL_TARGET_SIZE", 0).start_program().await;
        app.pexip.traffic().inject(Call::look_ups_by_name(), Times::Once, fault);

        app.create_room().await.assert_problem(503, "no_room");

        eventually("the room is deleted", async || app.pexip.rooms().is_empty()).await;
        let destroyed = || program.events().iter().filter(|event| event["event"] == "room_destroyed").count();
        eventually("it is recorded", async || destroyed() > 0).await;
        assert_eq!(destroyed(), 1);
    }
}

/// A room that may be handed out for the next `seconds`, and its name.
fn room_ready_for(seconds: i64) -> (&'static str, StoredRoom) {
    let name = "vbv-01jd5p3xk8zzzzzzzzzzzzzzzz";
    let until = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let mark = format!("ready-until={}", until.format(&Rfc3339).expect("a time"));
    (name, ready_room(name).described(&mark))
}

#[tokio::test]
async fn a_room_that_could_expire_before_its_tag_is_not_handed_out() {
    for (seconds, is_used) in [(27, false), (60, true)] {
        let app = TestApp::with().set("REQUEST_DEADLINE_SECONDS", 25).start().await;
        let (name, room) = room_ready_for(seconds);
        app.pool_holds(room);

        assert_eq!(app.create_room().await.room() == name, is_used, "{seconds} s before it expires");
    }
}

#[tokio::test]
async fn a_prefetched_room_that_is_about_to_expire_is_not_claimed() {
    let ahead = Arc::new(AtomicU64::new(0));
    let offset = Arc::clone(&ahead);
    let clock = move || SystemTime::now() + Duration::from_secs(offset.load(Ordering::Relaxed));
    let app = TestApp::with().set("POOL_TARGET_SIZE", 1).clock(clock).start().await;
    let (name, room) = room_ready_for(60);
    app.pool_holds(room);
    app.warm_up().await;

    ahead.store(35, Ordering::Relaxed);
    let answer = app.create_room().await;

    assert_ne!(answer.room(), name);
    assert_eq!(app.queue.traffic().count(&claim()), 0, "its message expires by itself");
}

#[tokio::test]
async fn a_room_whose_lease_has_ended_is_not_claimed() {
    let app = TestApp::with().set("POOL_LEASE_SECONDS", 2).start().await;
    app.warm_up().await;
    let receives = Matching::method(Method::GET).path_contains("/messages");
    app.queue.traffic().inject(receives, Times::Always, Fault::Status(500));

    eventually("other receivers can get the message", async || {
        app.queue.messages(POOL_QUEUE).iter().all(|message| message.visible)
    })
    .await;

    assert_eq!(app.create_room().await.header("room-source"), "direct");
    assert_eq!(app.queue.traffic().count(&claim()), 0, "another instance may have claimed it");
}

#[tokio::test]
async fn each_room_taken_is_replaced_by_one() {
    let app = TestApp::start().await;
    app.warm_up().await;

    for _ in 0..3 {
        assert_eq!(app.create_room().await.header("room-source"), "pool");
    }

    eventually("the pool is full again", async || app.queue.messages(POOL_QUEUE).len() == 4).await;
    assert_eq!(app.pexip.rooms().len(), 7, "three handed out, four ready");
}

#[tokio::test]
async fn a_third_of_the_concurrent_calls_refill_the_pool() {
    let app =
        TestApp::with().set("POOL_TARGET_SIZE", 8).set("POOL_PREFETCH", 8).set("PEXIP_MAX_IN_FLIGHT", 12).start().await;
    app.fill_pool().await;
    let prefetched = async || app.queue.messages(POOL_QUEUE).iter().all(|message| !message.visible);
    eventually("all rooms are prefetched", prefetched).await;
    let provisions = Matching::method(Method::POST);
    let provisioned = || app.pexip.traffic().count(&provisions);
    let _time = stop_time();
    app.pexip.traffic().clear();
    // While the first refill runs, which provisions one room, the others become due.
    app.pexip.traffic().inject(provisions.clone(), Times::Once, Fault::Slow(Duration::from_millis(100)));
    app.pexip.traffic().inject(provisions.clone(), Times::Always, Fault::Stall);
    let taken = async || assert_eq!(app.create_room().await.header("room-source"), "pool");
    taken().await;
    eventually("the first refill runs", async || provisioned() == 1).await;
    for _ in 1..8 {
        taken().await;
    }

    time_passes(Duration::from_millis(200)).await;

    eventually("a third of the calls provision rooms", async || provisioned() == 1 + 4).await;
    others_have_their_turn(&app).await;
    assert_eq!(provisioned(), 1 + 4);
}

#[tokio::test]
async fn refills_count_the_rooms_on_pexip_once_in_ten_seconds() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 12).set("POOL_MAX_ROOMS", 100).start().await;
    let started = Instant::now();
    app.fill_pool().await;
    for taken in 1..=12 {
        app.create_room().await;
        eventually("the room taken is replaced", async || app.pexip.rooms().len() == 12 + taken).await;
    }

    let tens_of_seconds = usize::try_from(started.elapsed().as_secs() / 10).expect("a short time");
    let counts = counts_on_pexip(&app);
    assert!(counts <= tens_of_seconds, "{counts} counts beside the one of the maintenance run");
}

fn counts_on_pexip(app: &TestApp) -> usize {
    let is_count = |query: &str| query.starts_with("name__startswith=") && query.ends_with("&limit=1");
    app.pexip.traffic().log().iter().filter(|exchange| is_count(&exchange.query)).count()
}

#[tokio::test]
async fn a_refill_of_a_full_pool_counts_no_rooms_on_pexip() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 1).set("POOL_PREFETCH", 3).start().await;
    for _ in 0..3 {
        app.pool_holds(ready_room(a_name().as_str()));
    }
    let taken = async || assert_eq!(app.create_room().await.header("room-source"), "pool");
    // The first create of all may count.
    taken().await;
    let before = counts_on_pexip(&app);

    for _ in 0..2 {
        // The latest count is older than a refill may use.
        time_passes(Duration::from_secs(11)).await;
        app.queue.traffic().clear();
        taken().await;
        let refills = || app.queue.traffic().count(&Call::QueueCount.matching());
        eventually("the messages are counted", async || refills() > 0).await;
    }
    eventually("a room is made for the last one", async || app.pexip.rooms().len() == 4).await;
    assert_eq!(counts_on_pexip(&app), before + 1, "one, before that room is made");
}

#[tokio::test]
async fn messages_are_hidden_until_replication_and_expire_with_the_mark() {
    let app = TestApp::with().set("POOL_READY_DELAY_SECONDS", 90).set("POOL_ROOM_MAX_AGE_SECONDS", 3600).start().await;
    let before = OffsetDateTime::now_utc();
    app.fill_pool().await;
    let after = OffsetDateTime::now_utc();

    // Times of the queue are whole seconds.
    let is_made_and = |time: OffsetDateTime, seconds: i64| {
        let made = time - time::Duration::seconds(seconds);
        before - time::Duration::seconds(2) < made && made < after + time::Duration::seconds(2)
    };
    for message in app.queue.messages(POOL_QUEUE) {
        assert!(!message.visible);
        assert!(is_made_and(message.visible_at, 90), "{before} to {after}: {}", message.visible_at);
        assert!(is_made_and(message.expires_at, 3600), "{before} to {after}: {}", message.expires_at);
    }
    assert_eq!(app.create_room().await.header("room-source"), "direct");
}

#[tokio::test]
async fn refill_stops_at_max_rooms_and_hand_outs_at_twice_that() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 2).set("POOL_MAX_ROOMS", 2).start().await;
    app.fill_pool().await;

    for _ in 0..4 {
        assert_eq!(app.create_room().await.status, 200);
    }
    app.fill_pool().await;

    let rooms = app.pexip.rooms();
    assert_eq!(rooms.len(), 4);
    app.create_room().await.assert_problem(503, "no_room");

    app.pexip.remove(&rooms[0].name);
    assert_eq!(app.create_room().await.status, 200, "another instance ended a room");
}

/// The clock is what a test can make panic inside the fill loop, which reads it at each pass.
#[tokio::test]
async fn creates_survive_a_panic_in_the_fill_loop() {
    let panics = Arc::new(AtomicBool::new(false));
    let fuse = Arc::clone(&panics);
    let clock = move || {
        assert!(!fuse.swap(false, Ordering::SeqCst), "a panic that the test asks for");
        SystemTime::now()
    };
    let app = TestApp::with().set("POOL_LEASE_SECONDS", 2).clock(clock).start().await;
    app.warm_up().await;

    panics.store(true, Ordering::SeqCst);
    eventually("the fill loop panics", async || !panics.load(Ordering::SeqCst)).await;

    // One room was prefetched before the panic.
    let from_pool = AtomicU64::new(0);
    eventually("rooms are prefetched again", async || {
        let answer = app.create_room().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let is_from_pool = u64::from(answer.header("room-source") == "pool");
        from_pool.fetch_add(is_from_pool, Ordering::Relaxed) + is_from_pool >= 3
    })
    .await;
}
