//! What each metric comes to where that which it counts has happened. The everyday ones are in the module above.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Told, assert_all_as_described};
use crate::support::{Call, POOL_QUEUE, TAG, TestAppBuilder, eventually};

/// Programs that run at the same time: most of them wait for a time limit.
const AT_A_TIME: usize = 4;

/// Longer than lies between a sweep's two looks at a room.
const TWO_LOOKS: Duration = Duration::from_secs(31);

fn name(number: usize) -> String {
    format!("vbv-01jd5p3xk8qqqqqqqqqqq{number:05}")
}

/// A room's mark with this time from now.
fn mark(mark: &str, seconds_from_now: i64) -> String {
    let time = OffsetDateTime::now_utc() + time::Duration::seconds(seconds_from_now);
    format!("{mark}={}", time.format(&Rfc3339).expect("a time"))
}

#[tokio::test]
async fn rooms_and_messages_are_counted_by_what_they_are() {
    const DAY: i64 = 86_400;
    let settings = |builder: TestAppBuilder| {
        let builder = builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0).set("POOL_MAX_ROOMS", 77);
        builder.set("POOL_READY_DELAY_SECONDS", 90).set("POOL_ROOM_MAX_AGE_SECONDS", DAY)
    };
    let told = Told::start(settings).await;
    let states = [
        ("ready", "", mark("ready-until", DAY / 2)),
        ("warming", "", mark("ready-until", DAY)),
        ("past_age", "", mark("ready-until", -60)),
        ("handed_out", TAG, mark("handed-out", -60)),
        ("unmarked", TAG, "in somebody's own words".to_owned()),
    ];
    for (more, (_, tag, marks)) in states.iter().enumerate() {
        for number in 0..=more {
            told.app.pexip.insert(StoredRoom::named(name(10 * more + number)).tagged(*tag).described(marks));
        }
    }
    for queue in [POOL_QUEUE, POOL_QUEUE, &format!("{POOL_QUEUE}-poison")] {
        told.app.queue.put(queue, &name(90));
    }
    told.app.fill_pool().await;
    let heard = told.heard().await;

    for ((state, ..), rooms) in states.iter().zip([1.0, 2.0, 3.0, 4.0, 5.0]) {
        heard.assert_numbers(&[("maxconf.pool.rooms", &[("state", state)], Some(rooms))]);
    }
    heard.assert_numbers(&[
        ("maxconf.pool.queue_messages", &[], Some(2.0)),
        ("maxconf.pool.poison", &[], Some(1.0)),
        ("maxconf.pool.max_rooms", &[], Some(77.0)),
        ("maxconf.pool.stashed", &[], Some(0.0)),
    ]);
    assert_all_as_described(&heard.points);
}

#[tokio::test]
async fn a_room_that_is_made_while_a_citizen_waits_is_counted_as_such() {
    let told = Told::start(|builder| builder.set("POOL_TARGET_SIZE", 0)).await;
    assert_eq!(told.create().await.header("room-source"), "direct");
    told.heard().await.assert_numbers(&[
        ("maxconf.pool.handed_out", &[("source", "direct")], Some(1.0)),
        ("maxconf.pool.handed_out", &[("source", "pool")], None),
        ("maxconf.pool.direct_creates", &[], Some(1.0)),
        ("maxconf.create.duration", &[("part", "pexip")], Some(1.0)),
    ]);
}

#[tokio::test]
async fn a_claim_that_was_lost_and_a_room_that_is_not_made_anew_yet_are_counted() {
    let told = Told::start(|builder| builder).await;
    told.app.warm_up().await;
    let headers = vec![("x-ms-error-code".to_owned(), "MessageNotFound".to_owned())];
    let lost = Fault::StatusWith { status: 404, headers, body: "<Error><Code>MessageNotFound</Code></Error>".into() };
    told.app.queue.traffic().inject(Call::QueueClaim.matching(), Times::Once, lost);
    // Nothing is made before it is known what is missing.
    told.app.queue.traffic().inject(Call::QueueCount.matching(), Times::Always, Fault::Status(500));
    assert_eq!(told.create().await.header("room-source"), "pool");
    let says = |event: &serde_json::Value| event["message"] == "the pool could not be refilled, trying again";
    eventually("the refill has failed", async || told.program.events().iter().any(says)).await;
    let heard = told.heard().await;

    heard.assert_numbers(&[
        ("maxconf.pool.claim_conflicts", &[], Some(1.0)),
        ("maxconf.pool.handed_out", &[("source", "pool")], Some(1.0)),
        ("maxconf.pool.direct_creates", &[], None),
        ("maxconf.pool.owed", &[], Some(1.0)),
    ]);
}

#[tokio::test]
async fn events_are_counted_by_their_kind_and_rooms_that_end_by_the_reason() {
    let settings = |builder: TestAppBuilder| {
        let builder = builder.set("PEXIP_EVENT_USERNAME", "nodes").set("PEXIP_EVENT_PASSWORD", "a-pass:word");
        builder.set("ROOM_END_GRACE_SECONDS", 0).set("POOL_TARGET_SIZE", 0)
    };
    let told = Told::start(settings).await;
    let year = 365 * 86_400;
    let rooms = [
        StoredRoom::named(name(1)).tagged(TAG).described(mark("handed-out", -60)),
        StoredRoom::named(name(2)).described(mark("ready-until", -year)),
        // Older than a call may last, and younger than any room may be.
        StoredRoom::named(name(3)).tagged(TAG).described(mark("handed-out", -6 * 3_600)),
    ];
    for room in rooms {
        told.app.pexip.insert(room);
    }
    let kinds = [
        ("eventsink_started", "sink"),
        ("conference_started", "conference_started"),
        ("conference_updated", "conference_updated"),
        ("conference_ended", "conference_ended"),
        ("participant_connected", "participant"),
        ("participant_media_stream_window", "participant"),
        ("something_new", "other"),
    ];
    for (event, _) in kinds {
        let report = json!({ "node": "10.47.2.21", "seq": 1, "version": 1, "time": 1.5, "event": event, "data": { "name": name(1) } });
        let request = told.app.request(Method::POST, "pexip/events").basic_auth("nodes", Some("a-pass:word"));
        assert_eq!(told.app.send(request.json(&report)).await.status, 204, "{event}");
    }
    let stranger = told.app.request(Method::POST, "pexip/events").basic_auth("nodes", Some("another"));
    assert_eq!(told.app.send(stranger.json(&json!({}))).await.status, 401);
    told.app.fill_pool().await;
    tokio::time::sleep(TWO_LOOKS).await;
    eventually("all three are ended", async || {
        told.app.run_maintenance().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        told.app.pexip.rooms().is_empty()
    })
    .await;
    let heard = told.heard().await;

    for (_, kind) in kinds {
        let times = kinds.iter().filter(|(_, other)| *other == kind).map(|_| 1.0).sum();
        heard.assert_numbers(&[("maxconf.pexip.events", &[("kind", kind)], Some(times))]);
    }
    heard.assert_numbers(&[
        ("maxconf.auth.results", &[("guard", "event_sink"), ("reason", "ok")], Some(7.0)),
        ("maxconf.pool.swept", &[("reason", "ended")], Some(1.0)),
        ("maxconf.pool.swept", &[("reason", "unused")], Some(1.0)),
        ("maxconf.pool.swept", &[("reason", "past_lifetime")], Some(1.0)),
    ]);
    assert_all_as_described(&heard.points);
}

/// Every duration is in seconds: a call of three is not one of 3000.
#[tokio::test]
async fn durations_are_in_seconds() {
    let told = Told::start(|builder| builder).await;
    told.app.warm_up().await;
    let slow = Fault::Slow(Duration::from_secs(3));
    told.app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Always, slow);
    assert_eq!(told.create().await.status, 200);
    let heard = told.heard().await;

    let seconds = |metric: &str, label: &str, value: &str| -> f64 {
        let of_it = heard.points.iter().filter(|point| point.metric == metric && point.labels[label] == value);
        of_it.map(|point| point.value).sum()
    };
    let request = seconds("maxconf.http.duration", "route", "/room/create");
    let at_pexip = seconds("maxconf.create.duration", "part", "pexip");
    for seconds in [request, at_pexip, seconds("maxconf.upstream.duration", "system", "pexip")] {
        assert!((3.0..3000.0).contains(&seconds), "{seconds} s");
    }
    let own = seconds("maxconf.create.duration", "part", "own");
    assert!(
        own > 0.0 && own < request - at_pexip + 0.001,
        "Pexip took {at_pexip} s of {request} s, and {own} s are ours"
    );
}

/// How a call ends is said of the call's system, and of no other.
#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let outcomes = [
        (Some(Fault::Status(401)), "refused"),
        (Some(Fault::Status(400)), "rejected"),
        (Some(Fault::Status(503)), "busy"),
        (None, "unreachable"),
        (Some(Fault::Stall), "timeout"),
        (Some(Fault::HangUpBefore), "connection_lost"),
        (Some(Fault::Rubbish), "unreadable"),
    ];
    stream::iter(outcomes).map(ends).buffer_unordered(AT_A_TIME).collect::<()>().await;
}

/// `None` = connections are refused.
async fn ends((fault, outcome): (Option<Fault>, &str)) {
    let settings = |builder: TestAppBuilder| {
        builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
    };
    let told = Told::start(settings).await;
    match fault {
        Some(fault) => told.app.pexip.traffic().inject(Call::PexipLookUp.matching(), Times::Always, fault),
        None => told.app.pexip.stop().await,
    }
    let answer = told.app.public_room(&name(1)).await;
    assert!(answer.status.is_server_error(), "{outcome}: {answer:?}");
    let heard = told.heard().await;

    let look = heard.span("GET /public/room/{name}");
    let calls = [("genesys token", "ok"), ("genesys user", "ok"), ("pexip find", outcome)];
    assert_eq!(heard.calls_of(look), calls);
    heard.assert_numbers(&[
        ("maxconf.upstream.calls", &[("system", "pexip"), ("outcome", outcome)], Some(1.0)),
        ("maxconf.upstream.calls", &[("system", "pexip")], Some(1.0)),
        ("maxconf.upstream.duration", &[("system", "pexip")], Some(1.0)),
        ("maxconf.upstream.calls", &[("system", "genesys"), ("outcome", "ok")], Some(2.0)),
    ]);
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_counted_and_so_is_the_call_that_was_made_for_him() {
    let told = Told::start(|builder| builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0)).await;
    let traffic = told.app.pexip.traffic().clone();
    traffic.inject(Call::PexipLookUp.matching(), Times::Always, Fault::Stall);
    let look = told.app.request(Method::GET, &format!("public/room/{}", name(1)));
    let look = look.header("x-auth-token", told.app.genesys.issue_token()).send();
    tokio::select! {
        answer = look => panic!("Pexip does not answer: {answer:?}"),
        () = eventually("Pexip is asked", async || traffic.count(&Call::PexipLookUp.matching()) > 0) => {}
    }
    eventually("the line of the log", async || {
        told.program.events().iter().any(|event| event["code"] == "caller_gone")
    })
    .await;
    let heard = told.heard().await;

    assert_eq!(heard.span("GET /public/room/{name}").attributes["code"], "caller_gone");
    heard.assert_numbers(&[
        ("maxconf.http.requests", &[("route", "/public/room/{name}"), ("status", "499")], Some(1.0)),
        ("maxconf.upstream.calls", &[("system", "pexip"), ("outcome", "given_up")], Some(1.0)),
    ]);
}

/// Each system by itself is left alone after failures; the others are not.
#[tokio::test]
async fn a_system_that_is_left_alone_is_told() {
    for failing in ["pexip", "queue", "genesys", "entra"] {
        let nobody = "http://127.0.0.1:1";
        let told = Told::start(|builder| match failing {
            "entra" => builder.set("ENTRA_AUTHORITY_URL", nobody),
            "queue" => builder,
            _ => builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0),
        });
        let told = told.await;
        let fault = || Fault::Status(503);
        match failing {
            "pexip" => told.app.pexip.traffic().inject(Matching::any(), Times::Always, fault()),
            "queue" => told.app.queue.traffic().inject(Matching::any(), Times::Always, fault()),
            "genesys" => told.app.genesys.traffic().inject(Matching::any(), Times::Always, fault()),
            _ => {}
        }
        for _ in 0..6 {
            match failing {
                "queue" => told.create().await,
                _ => told.app.public_room(&name(1)).await,
            };
        }
        let heard = told.heard().await;

        for system in ["pexip", "queue", "genesys", "entra"] {
            let open = if system == failing { 1.0 } else { 0.0 };
            assert_eq!(
                heard.number("maxconf.breaker.open", &[("system", system)]),
                Some(open),
                "{system}, with {failing} failing"
            );
        }
    }
}

#[tokio::test]
async fn a_stale_genesys_verdict_is_counted() {
    let told = Told::start(|builder| builder.set("GENESYS_CACHE_SECONDS", 2).set("POOL_TARGET_SIZE", 0)).await;
    let agent = told.app.genesys.issue_token();
    let look = async || {
        let look = told.app.request(Method::GET, &format!("public/room/{}", name(1))).header("x-auth-token", &agent);
        told.app.send(look).await.status
    };
    assert_eq!(look().await, 404, "an agent, and no room");
    told.app.genesys.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
    let is_stale = |event: &serde_json::Value| event["message"] == "Genesys unavailable, serving stale verdict";
    eventually("Genesys is asked again", async || look().await == 404 && told.program.events().iter().any(is_stale))
        .await;
    let times = told.program.events().iter().filter(|event| is_stale(event)).map(|_| 1.0).sum();
    let heard = told.heard().await;

    heard.assert_numbers(&[("maxconf.genesys.lookups", &[("answered_by", "stale")], Some(times))]);
    assert!(heard.number("maxconf.genesys.lookups", &[("answered_by", "cache")]).is_some_and(|looks| looks >= 1.0));
    assert!(heard.number("maxconf.genesys.lookups", &[("answered_by", "genesys")]).is_some_and(|looks| looks >= 2.0));
}
