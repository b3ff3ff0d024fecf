//! What Conferencing Nodes are answered about instant rooms and all others.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use super::{
    OLD, PASSWORD, POLICY, RECORDS, USERNAME, continued, create_with, dial, dial_out, in_seconds, instant, is_success,
    look_up, movable_clock, named_at, record_of, rejected, unknown,
};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn every_form_of_an_alias_finds_the_room() {
    let app = instant().start().await;
    let name = app.create_room().await.room();
    for alias in [
        name.to_uppercase(),
        format!("sip:{name}"),
        format!("sips:{name}@meet.example.org:5061;transport=tls"),
        format!("h323:{name}@10.0.0.1"),
        format!("{name}:5060"),
        format!(" {name} "),
    ] {
        assert!(is_success(&dial(&app, &alias).await), "{alias}");
    }
    // As a client of the node wrote it: `+` is a blank, and nothing is decoded twice.
    let raw = async |query: String| {
        let request = app.request(Method::GET, &format!("{POLICY}?{query}")).basic_auth(USERNAME, Some(PASSWORD));
        app.send(request).await.json()
    };
    assert!(is_success(&raw(format!("local_alias=+sip%3A{name}%40x&remote_alias=a%26b")).await));
    assert_eq!(raw(format!("local_alias=%2576{}", &name[1..])).await, continued());
    assert_eq!(raw(format!("alias={name}")).await, continued());
    assert_eq!(raw(String::new()).await, continued());
    for side_effects in
        [[("call_direction", "non_dial"), ("trigger", "options")], [("trigger", "web_avatar_fetch"), ("role", "guest")]]
    {
        let answer = look_up(&app, &[[("local_alias", name.as_str())].as_slice(), &side_effects].concat()).await;
        assert!(is_success(&answer.json()), "{answer:?}");
    }
}

#[tokio::test]
async fn unknown_names_of_ours_are_refused_and_all_others_pass_without_storage() {
    let app = instant().start().await;
    assert_eq!(dial(&app, &unknown()).await, rejected());
    app.blobs.traffic().clear();
    app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    for foreign in ["", "boardroom", "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "sip:65432@meet", "vbi-", &format!("{OLD}q")] {
        assert_eq!(dial(&app, foreign).await, continued(), "{foreign}");
    }
    assert_eq!(app.blobs.traffic().log().len(), 0);
}

/// Of our names, only those of a time at which a room can have been made that lets anybody in now.
#[tokio::test]
async fn names_of_times_that_no_room_can_have_are_refused_without_storage() {
    let app = instant().start().await;
    app.create_room().await.room();
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    let minute = Duration::from_secs(60);
    // Up to a day ahead, at most six days long, and a day for clocks that differ.
    let (oldest, newest) = (now - 8 * day - Duration::from_secs(30), now + day);
    app.blobs.traffic().clear();
    for name in [
        OLD,
        "vbi-00000000000000000000000000",
        "vbi-7zzzzzzzzzzzzzzzzzzzzzzzzz",
        "vbi-zzzzzzzzzzzzzzzzzzzzzzzzzz",
        &named_at(oldest - minute),
        &named_at(newest + minute),
    ] {
        assert_eq!(dial(&app, name).await, rejected(), "{name}");
        assert_eq!(dial_out(&app, name).await, rejected(), "{name}");
    }
    assert_eq!(app.blobs.traffic().log().len(), 0);
    for (reads, time) in [oldest + minute, now, newest - minute].into_iter().enumerate() {
        assert_eq!(dial(&app, &named_at(time)).await, rejected(), "{time:?}");
        assert_eq!(app.blobs.traffic().log().len(), reads + 1, "{time:?}");
    }
}

#[tokio::test]
async fn the_longest_validity_lasts_to_its_end_at_an_instance_whose_clock_is_ahead() {
    let (ahead, clock) = movable_clock();
    let day = 86_400;
    let app = instant().clock(clock).set("INSTANT_ROOM_MAX_LIFETIME_SECONDS", 6 * day).start().await;
    let [from, until] = [day - 60, 7 * day - 60].map(in_seconds);
    let name = create_with(&app, &[("validFrom", &from), ("validUntil", &until)], "").await.room();

    for (seconds, dialled, out) in [(7 * day - 120, true, true), (7 * day - 45, false, true), (7 * day, false, false)] {
        ahead.store(seconds, Ordering::SeqCst);
        assert_eq!(is_success(&dial(&app, &name).await), dialled, "after {seconds} s");
        assert_eq!(is_success(&dial_out(&app, &name).await), out, "after {seconds} s");
    }
}

#[tokio::test]
async fn only_the_account_of_the_policy_profile_is_let_in() {
    let app =
        instant().set("PEXIP_EVENT_USERNAME", "events").set("PEXIP_EVENT_PASSWORD", "of the events").start().await;
    let basic = |text: &str| format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text));
    let right = basic(&format!("{USERNAME}:{PASSWORD}"));
    for (authorization, status, code) in [
        (vec![], 401, "token_missing"),
        (vec![format!("Bearer {}", app.entra.token().build())], 401, "token_missing"),
        (vec![basic("events:of the events")], 401, "token_invalid"),
        (vec![basic(&format!("{USERNAME}:{PASSWORD}x"))], 401, "token_invalid"),
        (vec!["Basic %%%".to_owned()], 401, "token_invalid"),
        (vec![right.clone(), right.clone()], 400, "request_invalid"),
    ] {
        let mut request = app.request(Method::GET, POLICY).query(&[("local_alias", unknown())]);
        for value in &authorization {
            request = request.header("authorization", value);
        }
        let answer = app.send(request).await;
        answer.assert_problem(status, code);
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"pexip-policy\"", "{authorization:?}");
        }
    }
    for path in ["policy/v1/participant/properties", "policy/v1/participant/location", "policy/v1/registrations"] {
        let request = app.request(Method::GET, path).basic_auth(USERNAME, Some(PASSWORD));
        app.send(request).await.assert_problem(404, "not_found");
    }
    let post = app.request(Method::POST, POLICY).basic_auth(USERNAME, Some(PASSWORD));
    app.send(post).await.assert_problem(405, "method_not_allowed");
    let off = TestApp::start().await;
    look_up(&off, &[("local_alias", &unknown())]).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_slow_storage_is_asked_again_and_a_silent_one_ends_in_503() {
    let app = instant().start().await;
    let name = app.create_room().await.room();
    app.blobs.traffic().inject(Matching::any(), Times::Once, Fault::Stall);
    assert!(is_success(&dial(&app, &name).await));

    app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    for room in [&name, &unknown()] {
        look_up(&app, &[("local_alias", room)]).await.assert_problem(503, "records_unavailable");
    }
    app.blobs.traffic().heal();
    for fault in [Fault::Status(503), Fault::Rubbish, Fault::HangUpBefore] {
        app.blobs.traffic().inject(Matching::any(), Times::Always, fault);
        look_up(&app, &[("local_alias", &name)]).await.assert_problem(503, "records_unavailable");
        assert_eq!(dial(&app, "boardroom").await, continued());
        app.create_room().await.assert_problem(503, "records_unavailable");
        app.public_room(&name).await.assert_problem(503, "records_unavailable");
        app.delete_room(&name).await.assert_problem(503, "records_unavailable");
        app.blobs.traffic().heal();
        eventually("the records are used again", async || is_success(&dial(&app, &name).await)).await;
    }
}

#[tokio::test]
async fn a_record_of_another_room_lets_nobody_in() {
    let app = instant().start().await;
    let name = app.create_room().await.room();
    let another = unknown();
    app.blobs.put(RECORDS, &format!("instant/{another}"), &record_of(&app, &name));
    look_up(&app, &[("local_alias", &another)]).await.assert_problem(503, "records_unavailable");
}
