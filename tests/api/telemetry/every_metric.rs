//! The value of each metric after the event that it counts. The module above tests the metrics of everyday creates.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Monitored, assert_all_as_described};
use crate::support::{ALWAYS_OPEN, Call, POOL_QUEUE, TAG, TestAppBuilder, UUI_DATA, eventually, opening_in};

/// Concurrent programs; most of them wait for a time limit.
const CONCURRENT_PROGRAMS: usize = 4;

/// Longer than the interval between a sweep's two presence snapshots.
const TWO_SNAPSHOTS: Duration = Duration::from_secs(31);

fn name(number: usize) -> String {
    format!("vbv-01jd5p3xk8qqqqqqqqqqq{number:05}")
}

/// A mark whose time is this far from now.
fn mark(mark: &str, seconds_from_now: i64) -> String {
    let time = OffsetDateTime::now_utc() + time::Duration::seconds(seconds_from_now);
    format!("{mark}={}", time.format(&Rfc3339).expect("a time"))
}

#[tokio::test]
async fn rooms_are_counted_by_state_and_messages_by_queue() {
    const DAY: i64 = 86_400;
    let settings = |builder: TestAppBuilder| {
        let builder = builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0).set("POOL_MAX_ROOMS", 77);
        builder.set("POOL_READY_DELAY_SECONDS", 90).set("POOL_ROOM_MAX_AGE_SECONDS", DAY)
    };
    let service = Monitored::start(settings).await;
    let states = [
        ("ready", "", mark("ready-until", DAY / 2)),
        ("warming", "", mark("ready-until", DAY)),
        ("past_age", "", mark("ready-until", -60)),
        ("handed_out", TAG, mark("handed-out", -60)),
        ("unmarked", TAG, "a description by another client".to_owned()),
    ];
    for (more, (_, tag, marks)) in states.iter().enumerate() {
        for number in 0..=more {
            service.app.pexip.insert(StoredRoom::named(name(10 * more + number)).tagged(*tag).described(marks));
        }
    }
    for queue in [POOL_QUEUE, POOL_QUEUE, &format!("{POOL_QUEUE}-poison")] {
        service.app.queue.put(queue, &name(90));
    }
    service.app.fill_pool().await;
    let received = service.stop().await;

    for ((state, ..), rooms) in states.iter().zip([1.0, 2.0, 3.0, 4.0, 5.0]) {
        received.assert_numbers(&[("maxconf.pool.rooms", &[("state", state)], Some(rooms))]);
    }
    received.assert_numbers(&[
        ("maxconf.pool.queue_messages", &[], Some(2.0)),
        ("maxconf.pool.poison", &[], Some(1.0)),
        ("maxconf.pool.max_rooms", &[], Some(77.0)),
        ("maxconf.pool.prefetched", &[], Some(0.0)),
    ]);
    assert_all_as_described(&received.points);
}

#[tokio::test]
async fn rooms_in_which_people_wait_without_a_dialled_leg_are_counted() {
    const DIAL_OUT: u64 = 7;
    for is_set in [true, false] {
        let setting = if is_set { "7" } else { "none" };
        let service = Monitored::start(|builder| {
            builder.set("ROOM_AUTOMATIC_PARTICIPANTS", setting).set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0)
        })
        .await;
        let pexip = &service.app.pexip;
        pexip.add_automatic_participant(DIAL_OUT, "sip:queue@sbc.example.org");
        for number in 1..=6 {
            let room = StoredRoom::named(name(number)).tagged(TAG).described(mark("handed-out", -60));
            pexip.insert(StoredRoom { automatic_participants: vec![DIAL_OUT], ..room });
        }
        // Dialled after 10 s; a dial-out that failed; one that is late; nobody past the PIN; a leg alone;
        // another service's room.
        pexip.join(&name(1), Role::Guest);
        pexip.advance(Duration::from_secs(11));
        pexip.fail_dial_outs(true);
        pexip.join(&name(2), Role::Guest);
        pexip.join("boardroom", Role::Guest);
        pexip.advance(Duration::from_secs(11));
        pexip.fail_dial_outs(false);
        pexip.set_dial_out_delay(Duration::from_secs(600));
        pexip.join(&name(3), Role::Guest);
        pexip.wait_for_pin(&name(4));
        pexip.dial_out_leg(&name(5));
        // The agent dials a citizen.
        pexip.insert(StoredRoom::named(name(8)).tagged(TAG).described(mark("handed-out", -60)));
        pexip.dial_out_leg(&name(8));
        // In two minutes all of them have waited for more than 60 s, and who joins then for less.
        pexip.advance(Duration::from_secs(100));
        pexip.join(&name(6), Role::Guest);
        pexip.traffic().set_clock_offset(125);
        service.app.fill_pool().await;
        let received = service.stop().await;

        let rooms = is_set.then_some(2.0);
        received.assert_numbers(&[
            ("maxconf.pool.rooms_without_dialled_leg", &[], rooms),
            ("maxconf.pool.unrecognised_legs", &[], Some(1.0)),
        ]);
        assert_all_as_described(&received.points);
    }
}

#[tokio::test]
async fn whoever_waits_in_an_instant_room_without_a_dialled_leg_is_counted_where_it_dials_out() {
    for (dial_out, rooms) in [("sip:queue@sbc.example.org", Some(1.0)), ("none", None)] {
        let service = Monitored::start(|builder| {
            let builder = builder.set("ROOM_SOURCE", "instant").set("INSTANT_ROOM_DIAL_OUT", dial_out);
            builder.set("PEXIP_POLICY_USERNAME", "nodes").set("PEXIP_POLICY_PASSWORD", "a-pass:word")
        })
        .await;
        let room = service.create().await.room();
        service.app.pexip.join(&room, Role::Guest);
        // A room of the pool, from before: it dials out nobody here.
        service.app.pexip.insert(StoredRoom::named(name(1)).tagged(TAG).described(mark("handed-out", -60)));
        service.app.pexip.join(&name(1), Role::Guest);
        service.app.pexip.traffic().set_clock_offset(125);
        service.app.fill_pool().await;
        service.stop().await.assert_numbers(&[("maxconf.pool.rooms_without_dialled_leg", &[], rooms)]);
    }
}

#[tokio::test]
async fn a_direct_room_is_counted_as_direct() {
    let service = Monitored::start(|builder| builder.set("POOL_TARGET_SIZE", 0)).await;
    assert_eq!(service.create().await.header("room-source"), "direct");
    service.stop().await.assert_numbers(&[
        ("maxconf.pool.handed_out", &[("source", "direct")], Some(1.0)),
        ("maxconf.pool.handed_out", &[("source", "pool")], None),
        ("maxconf.pool.direct_creates", &[], Some(1.0)),
        ("maxconf.create.duration", &[("part", "pexip")], Some(1.0)),
    ]);
}

#[tokio::test]
async fn instant_rooms_and_look_ups_are_counted() {
    let service = Monitored::start(|builder| {
        let builder = builder.set("ROOM_SOURCE", "instant");
        builder.set("PEXIP_POLICY_USERNAME", "nodes").set("PEXIP_POLICY_PASSWORD", "a-pass:word")
    })
    .await;
    let room = service.create().await.room();
    let later = OffsetDateTime::now_utc() + time::Duration::hours(1);
    let later = later.format(&Rfc3339).expect("a time");
    let create = service.app.request(Method::POST, &format!("room/create?uuiData={UUI_DATA}&validFrom={later}"));
    let not_yet = service.app.send(create.bearer_auth(service.app.entra.token().build())).await.room();
    let look_up = async |alias: &str| {
        let path = format!("policy/v1/service/configuration?local_alias={alias}");
        service.app.send(service.app.request(Method::GET, &path).basic_auth("nodes", Some("a-pass:word"))).await
    };
    for alias in [room.as_str(), &not_yet, "boardroom", "reception"] {
        assert_eq!(look_up(alias).await.status, 200);
    }
    service.app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
    assert_eq!(look_up(&room).await.status, 503);
    service.app.blobs.traffic().heal();
    eventually("the room is deleted", async || service.app.delete_room(&room).await.status == 204).await;
    service.app.run_maintenance().await;
    let received = service.stop().await;

    for (answer, times) in [("success", 1.0), ("reject", 1.0), ("continue", 2.0), ("unavailable", 1.0)] {
        for metric in ["maxconf.policy.lookups", "maxconf.policy.duration"] {
            received.assert_numbers(&[(metric, &[("answer", answer)], Some(times))]);
        }
    }
    received.assert_numbers(&[
        ("maxconf.pool.handed_out", &[("source", "instant")], Some(2.0)),
        ("maxconf.instant.made", &[("valid", "now")], Some(1.0)),
        ("maxconf.instant.made", &[("valid", "later")], Some(1.0)),
        ("maxconf.instant.ended", &[("reason", "deleted")], Some(1.0)),
        ("maxconf.instant.on", &[], Some(1.0)),
        ("maxconf.pool.target", &[], Some(0.0)),
    ]);
    assert_all_as_described(&received.points);
}

/// Alerts on an empty pool are quiet where there is none.
#[tokio::test]
async fn the_pools_target_and_instant_rooms_are_reported_whether_pexip_answers_or_not() {
    for (when_empty, instant) in [("instant", 1.0), ("direct", 0.0)] {
        let service = Monitored::start(|builder| {
            let builder = builder.set("POOL_EMPTY", when_empty).set("POOL_TARGET_SIZE", 7);
            builder.set("PEXIP_POLICY_USERNAME", "nodes").set("PEXIP_POLICY_PASSWORD", "a-pass:word")
        })
        .await;
        service.app.pexip.stop().await;
        service.app.run_maintenance().await;
        service
            .stop()
            .await
            .assert_numbers(&[("maxconf.pool.target", &[], Some(7.0)), ("maxconf.instant.on", &[], Some(instant))]);
    }
}

#[tokio::test]
async fn lost_claims_and_owed_rooms_are_counted() {
    let service = Monitored::start(|builder| builder).await;
    service.app.warm_up().await;
    let headers = vec![("x-ms-error-code".to_owned(), "MessageNotFound".to_owned())];
    let lost = Fault::StatusWith { status: 404, headers, body: "<Error><Code>MessageNotFound</Code></Error>".into() };
    service.app.queue.traffic().inject(Call::QueueClaim.matching(), Times::Once, lost);
    // Without the count of messages the refill makes no room.
    service.app.queue.traffic().inject(Call::QueueCount.matching(), Times::Always, Fault::Status(500));
    assert_eq!(service.create().await.header("room-source"), "pool");
    let says = |event: &serde_json::Value| event["message"] == "the pool could not be refilled, trying again";
    eventually("the refill has failed", async || service.program.events().iter().any(says)).await;
    let received = service.stop().await;

    received.assert_numbers(&[
        ("maxconf.pool.claim_conflicts", &[], Some(1.0)),
        ("maxconf.pool.handed_out", &[("source", "pool")], Some(1.0)),
        ("maxconf.pool.direct_creates", &[], None),
        ("maxconf.pool.owed", &[], Some(1.0)),
    ]);
}

#[tokio::test]
async fn events_are_counted_by_kind_and_swept_rooms_by_reason() {
    let settings = |builder: TestAppBuilder| {
        let builder = builder.set("PEXIP_EVENT_USERNAME", "nodes").set("PEXIP_EVENT_PASSWORD", "a-pass:word");
        builder.set("ROOM_END_GRACE_SECONDS", 0).set("POOL_TARGET_SIZE", 0)
    };
    let service = Monitored::start(settings).await;
    let year = 365 * 86_400;
    let rooms = [
        StoredRoom::named(name(1)).tagged(TAG).described(mark("handed-out", -60)),
        StoredRoom::named(name(2)).described(mark("ready-until", -year)),
        // Past the lifetime of a handed-out room, but not past the absolute lifetime.
        StoredRoom::named(name(3)).tagged(TAG).described(mark("handed-out", -6 * 3_600)),
    ];
    for room in rooms {
        service.app.pexip.insert(room);
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
        let request = service.app.request(Method::POST, "public/event_sink").basic_auth("nodes", Some("a-pass:word"));
        assert_eq!(service.app.send(request.json(&report)).await.status, 204, "{event}");
    }
    let stranger = service.app.request(Method::POST, "public/event_sink").basic_auth("nodes", Some("another"));
    assert_eq!(service.app.send(stranger.json(&json!({}))).await.status, 401);
    service.app.fill_pool().await;
    tokio::time::sleep(TWO_SNAPSHOTS).await;
    eventually("all three rooms are swept", async || {
        service.app.run_maintenance().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        service.app.pexip.rooms().is_empty()
    })
    .await;
    let received = service.stop().await;

    for (_, kind) in kinds {
        let times = kinds.iter().filter(|(_, other)| *other == kind).map(|_| 1.0).sum();
        received.assert_numbers(&[("maxconf.event_sink.events", &[("kind", kind)], Some(times))]);
    }
    received.assert_numbers(&[
        ("maxconf.auth.results", &[("guard", "event_sink"), ("reason", "ok")], Some(7.0)),
        ("maxconf.pool.swept", &[("reason", "ended")], Some(1.0)),
        ("maxconf.pool.swept", &[("reason", "unused")], Some(1.0)),
        ("maxconf.pool.swept", &[("reason", "past_lifetime")], Some(1.0)),
    ]);
    assert_all_as_described(&received.points);
}

/// A duration of three seconds is exported as 3, not as 3000.
#[tokio::test]
async fn durations_are_in_seconds() {
    let service = Monitored::start(|builder| builder).await;
    service.app.warm_up().await;
    let slow = Fault::Slow(Duration::from_secs(3));
    service.app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Always, slow);
    assert_eq!(service.create().await.status, 200);
    let received = service.stop().await;

    let seconds = |metric: &str, label: &str, value: &str| -> f64 {
        let of_it = received.points.iter().filter(|point| point.metric == metric && point.labels[label] == value);
        of_it.map(|point| point.value).sum()
    };
    let request = seconds("maxconf.http.duration", "route", "/room/create");
    let at_pexip = seconds("maxconf.create.duration", "part", "pexip");
    for seconds in [request, at_pexip, seconds("maxconf.upstream.duration", "system", "pexip")] {
        assert!((3.0..3000.0).contains(&seconds), "{seconds} s");
    }
    let service = seconds("maxconf.create.duration", "part", "service");
    assert!(
        service > 0.0 && service < request - at_pexip + 0.001,
        "Pexip took {at_pexip} s of {request} s, and the service itself {service} s"
    );
}

/// An outcome is counted for the call's system and for no other.
#[tokio::test]
async fn upstream_calls_are_counted_by_outcome() {
    let outcomes = [
        (Some(Fault::Status(401)), "refused"),
        (Some(Fault::Status(400)), "rejected"),
        (Some(Fault::Status(503)), "busy"),
        (None, "unreachable"),
        (Some(Fault::Stall), "timeout"),
        (Some(Fault::HangUpBefore), "connection_lost"),
        (Some(Fault::Rubbish), "unreadable"),
    ];
    stream::iter(outcomes).map(assert_counted).buffer_unordered(CONCURRENT_PROGRAMS).collect::<()>().await;
}

/// `None` = connections are refused.
async fn assert_counted((fault, outcome): (Option<Fault>, &str)) {
    let settings = |builder: TestAppBuilder| {
        builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
    };
    let service = Monitored::start(settings).await;
    match fault {
        Some(fault) => service.app.pexip.traffic().inject(Call::PexipLookUp.matching(), Times::Always, fault),
        None => service.app.pexip.stop().await,
    }
    let answer = service.app.public_room(&name(1)).await;
    assert!(answer.status.is_server_error(), "{outcome}: {answer:?}");
    let received = service.stop().await;

    let read = received.span("GET /public/room/{name}");
    let calls = [("genesys token", "ok"), ("genesys user", "ok"), ("pexip find", outcome)];
    assert_eq!(received.calls_of(read), calls);
    received.assert_numbers(&[
        ("maxconf.upstream.calls", &[("system", "pexip"), ("outcome", outcome)], Some(1.0)),
        ("maxconf.upstream.calls", &[("system", "pexip")], Some(1.0)),
        ("maxconf.upstream.duration", &[("system", "pexip")], Some(1.0)),
        ("maxconf.upstream.calls", &[("system", "genesys"), ("outcome", "ok")], Some(2.0)),
    ]);
}

/// A fetch has a span of its own, and the 401 before it counts as an answer: the end of a token is no failure.
#[tokio::test]
async fn token_fetches_are_counted_by_outcome_and_a_repeated_call_is_no_failure() {
    let settings = |builder: TestAppBuilder| builder.oauth2().set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0);
    let service = Monitored::start(settings).await;
    assert_eq!(service.app.public_room(&name(1)).await.status, 404);
    service.app.pexip.revoke_oauth2_tokens();
    assert_eq!(service.app.public_room(&name(1)).await.status, 404);
    service.app.pexip.revoke_oauth2_tokens();
    service.app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Status(400));
    assert_eq!(service.app.public_room(&name(1)).await.status, 502);
    let received = service.stop().await;

    let outcomes = |call: &str| {
        let spans = received.spans.iter().filter(|span| span.name == call);
        let mut outcomes: Vec<_> = spans.map(|span| span.attributes["outcome"].as_str()).collect();
        outcomes.sort_unstable();
        outcomes
    };
    assert_eq!(outcomes("pexip token"), ["ok", "ok", "refused"]);
    assert_eq!(outcomes("pexip find"), ["ok"; 4]);
    received.assert_numbers(&[
        ("maxconf.pexip.token_fetches", &[("outcome", "ok")], Some(2.0)),
        ("maxconf.pexip.token_fetches", &[("outcome", "refused")], Some(1.0)),
        ("maxconf.upstream.calls", &[("system", "pexip"), ("outcome", "ok")], Some(6.0)),
        ("maxconf.upstream.calls", &[("system", "pexip"), ("outcome", "refused")], Some(1.0)),
        ("maxconf.breaker.open", &[("system", "pexip")], Some(0.0)),
    ]);
    assert_all_as_described(&received.points);
}

#[tokio::test]
async fn a_caller_who_hangs_up_and_the_abandoned_call_are_counted() {
    let service = Monitored::start(|builder| {
        let builder = builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0);
        builder.set("PEXIP_REQUEST_TIMEOUT_SECONDS", 3).set("REQUEST_DEADLINE_SECONDS", 4)
    })
    .await;
    let traffic = service.app.pexip.traffic().clone();
    traffic.inject(Call::look_ups_by_name(), Times::Always, Fault::Stall);
    traffic.inject(Call::PexipCreate.matching(), Times::Always, Fault::Stall);
    let read = service.app.request(Method::GET, &format!("public/room/{}", name(1)));
    let read = read.header("x-auth-token", service.app.genesys.issue_token()).send();
    tokio::select! {
        answer = read => panic!("Pexip does not answer: {answer:?}"),
        () = eventually("Pexip receives the call", async || traffic.count(&Call::look_ups_by_name()) > 0) => {}
    }
    eventually("the request is logged", async || {
        service.program.events().iter().any(|event| event["code"] == "caller_gone")
    })
    .await;
    // The create's time is over while it looks for the room that it may have made. By then the look has ended too.
    service.app.create_room().await.assert_problem(503, "no_room");
    let received = service.stop().await;

    assert_eq!(received.span("GET /public/room/{name}").attributes["code"], "caller_gone");
    received.assert_numbers(&[(
        "maxconf.http.requests",
        &[("route", "/public/room/{name}"), ("status", "499")],
        Some(1.0),
    )]);
    let given_up = received.number("maxconf.upstream.calls", &[("system", "pexip"), ("outcome", "given_up")]);
    assert!(given_up >= Some(1.0), "{given_up:?}");
}

/// Alerts read it, so it says what the hours say, not whether Pexip answers.
#[tokio::test]
async fn service_hours_are_exported_whether_pexip_answers_or_not() {
    for (hours, open) in [(String::new(), 1.0), (ALWAYS_OPEN.to_owned(), 1.0), (opening_in(90).0, 0.0)] {
        for is_up in [true, false] {
            let service = Monitored::start(|builder| builder.set("SERVICE_HOURS", &hours)).await;
            if !is_up {
                service.app.pexip.stop().await;
            }
            service.create().await;
            service.stop().await.assert_numbers(&[("maxconf.service.open", &[], Some(open))]);
        }
    }
}

/// Only the failing system's circuit breaker opens.
#[tokio::test]
async fn an_open_circuit_breaker_is_exported_for_its_system_only() {
    for failing in ["pexip", "queue", "genesys", "entra"] {
        let closed_port = "http://127.0.0.1:1";
        let service = Monitored::start(|builder| match failing {
            "entra" => builder.set("ENTRA_AUTHORITY_URL", closed_port),
            "queue" => builder,
            _ => builder.set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0),
        });
        let service = service.await;
        let fault = || Fault::Status(503);
        match failing {
            "pexip" => service.app.pexip.traffic().inject(Matching::any(), Times::Always, fault()),
            "queue" => service.app.queue.traffic().inject(Matching::any(), Times::Always, fault()),
            "genesys" => service.app.genesys.traffic().inject(Matching::any(), Times::Always, fault()),
            _ => {}
        }
        for _ in 0..6 {
            match failing {
                "queue" => service.create().await,
                _ => service.app.public_room(&name(1)).await,
            };
        }
        let received = service.stop().await;

        for system in ["pexip", "queue", "genesys", "entra"] {
            let open = if system == failing { 1.0 } else { 0.0 };
            assert_eq!(
                received.number("maxconf.breaker.open", &[("system", system)]),
                Some(open),
                "{system}, with {failing} failing"
            );
        }
    }
}

#[tokio::test]
async fn a_stale_genesys_verdict_is_counted() {
    let service = Monitored::start(|builder| builder.set("GENESYS_CACHE_SECONDS", 2).set("POOL_TARGET_SIZE", 0)).await;
    let agent = service.app.genesys.issue_token();
    let read_room = async || {
        let read = service.app.request(Method::GET, &format!("public/room/{}", name(1))).header("x-auth-token", &agent);
        service.app.send(read).await.status
    };
    assert_eq!(read_room().await, 404, "the agent is accepted, the room does not exist");
    service.app.genesys.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
    let is_stale = |event: &serde_json::Value| event["message"] == "Genesys unavailable, serving stale verdict";
    eventually("the stale verdict is served", async || {
        read_room().await == 404 && service.program.events().iter().any(is_stale)
    })
    .await;
    let times = service.program.events().iter().filter(|event| is_stale(event)).map(|_| 1.0).sum();
    let received = service.stop().await;

    received.assert_numbers(&[("maxconf.genesys.lookups", &[("answered_by", "stale")], Some(times))]);
    assert!(received.number("maxconf.genesys.lookups", &[("answered_by", "cache")]).is_some_and(|count| count >= 1.0));
    assert!(
        received.number("maxconf.genesys.lookups", &[("answered_by", "genesys")]).is_some_and(|count| count >= 2.0)
    );
}
