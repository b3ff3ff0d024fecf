//! What Conferencing Nodes are answered about instant rooms and all others.

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use super::{
    PASSWORD, POLICY, RECORDS, UNKNOWN, USERNAME, continued, dial, instant, is_success, look_up, record_of, rejected,
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
    assert_eq!(dial(&app, UNKNOWN).await, rejected());
    app.blobs.traffic().clear();
    app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    for foreign in ["", "boardroom", "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "sip:65432@meet", "vbi-", &format!("{UNKNOWN}q")]
    {
        assert_eq!(dial(&app, foreign).await, continued(), "{foreign}");
    }
    assert_eq!(app.blobs.traffic().log().len(), 0);
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
        let mut request = app.request(Method::GET, POLICY).query(&[("local_alias", UNKNOWN)]);
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
    look_up(&off, &[("local_alias", UNKNOWN)]).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_slow_storage_is_asked_again_and_a_silent_one_ends_in_503() {
    let app = instant().start().await;
    let name = app.create_room().await.room();
    app.blobs.traffic().inject(Matching::any(), Times::Once, Fault::Stall);
    assert!(is_success(&dial(&app, &name).await));

    app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    for room in [name.as_str(), UNKNOWN] {
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
    app.blobs.put(RECORDS, &format!("instant/{UNKNOWN}"), &record_of(&app, &name));
    look_up(&app, &[("local_alias", UNKNOWN)]).await.assert_problem(503, "records_unavailable");
}
