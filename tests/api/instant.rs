//! Instant rooms: a room that can be joined the moment it is answered, and at no node after its end.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use maxconf::config::ConfigParts;
use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{
    Answer, TAG, TestApp, TestAppBuilder, UUI_DATA, eventually, on_every_host, opening_in, ready_room, time_passes,
    time_passes_until,
};

const USERNAME: &str = "conferencing-nodes";
const PASSWORD: &str = "policy:pass word";
const POLICY: &str = "policy/v1/service/configuration";
const RECORDS: &str = "room-records";
const UNKNOWN: &str = "vbi-01jd5p3xk8qqqqqqqqqqqqqqqq";
const QUEUE: &str = "sip:queue@sbc.example.org";

fn with_policy() -> TestAppBuilder {
    TestApp::with().set("PEXIP_POLICY_USERNAME", USERNAME).set("PEXIP_POLICY_PASSWORD", PASSWORD)
}

fn instant() -> TestAppBuilder {
    with_policy().set("ROOM_SOURCE", "instant").set("INSTANT_ROOM_DIAL_OUT", QUEUE)
}

/// As a node sends it: values that are missing are empty.
fn look_up_request(app: &TestApp, parameters: &[(&str, &str)]) -> RequestBuilder {
    let others =
        [("protocol", "sip"), ("remote_alias", "sip:dana@clinic.example"), ("call_tag", ""), ("x_new", "True")];
    let request = app.request(Method::GET, POLICY).basic_auth(USERNAME, Some(PASSWORD));
    request.query(&others).query(parameters)
}

async fn look_up(app: &TestApp, parameters: &[(&str, &str)]) -> Answer {
    app.send(look_up_request(app, parameters)).await
}

/// What a node is told when somebody dials this alias.
async fn dial(app: &TestApp, alias: &str) -> Value {
    let answer = look_up(app, &[("call_direction", "dial_in"), ("local_alias", alias)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The same when the running conference of this room dials out.
async fn dial_out(app: &TestApp, service: &str) -> Value {
    let parameters = [("call_direction", "dial_out"), ("local_alias", "sip:us@here"), ("service_name", service)];
    look_up(app, &parameters).await.json()
}

fn rejected() -> Value {
    json!({ "status": "success", "action": "reject" })
}

fn continued() -> Value {
    json!({ "status": "success", "action": "continue" })
}

fn is_success(answer: &Value) -> bool {
    answer["status"] == "success" && answer["result"].is_object()
}

async fn create_with(app: &TestApp, query: &[(&str, &str)], key: &str) -> Answer {
    let request = app.request(Method::POST, &format!("room/create?uuiData={UUI_DATA}")).query(query);
    let request = request.bearer_auth(app.entra.token().build());
    app.send(if key.is_empty() { request } else { request.header("idempotency-key", key) }).await
}

fn in_seconds(seconds: i64) -> String {
    let time = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    time.replace_nanosecond(0).expect("a whole second").format(&Rfc3339).expect("a time")
}

fn time_in(answer: &Answer, header: &str) -> OffsetDateTime {
    OffsetDateTime::parse(answer.header(header), &Rfc3339).unwrap_or_else(|_| panic!("no {header}: {answer:?}"))
}

/// A clock that the test moves, in seconds from the machine's.
fn movable_clock() -> (Arc<AtomicI64>, impl Fn() -> SystemTime + Send + Sync + 'static) {
    let ahead = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&ahead);
    let clock =
        move || SystemTime::from(OffsetDateTime::now_utc() + time::Duration::seconds(read.load(Ordering::SeqCst)));
    (ahead, clock)
}

fn record_of(app: &TestApp, room: &str) -> String {
    let name = format!("instant/{room}");
    let record = app.blobs.blobs(RECORDS).into_iter().find(|blob| blob.name == name);
    record.expect("the record of the room").text
}

#[tokio::test]
async fn a_room_can_be_looked_up_at_every_node_as_soon_as_it_is_answered() {
    on_every_host(instant, async |app| {
        let before = OffsetDateTime::now_utc();
        let created = app.create_room().await;
        let name = created.room();

        let answers = join_all((0..3).map(|_| dial(app, &name))).await;

        let room = created.json();
        let id = room["id"].as_u64().expect("a number");
        assert!(id > 1 << 40 && id < 1 << 53, "{id}");
        let expected = json!({
            "id": id, "name": name, "service_type": "conference", "allow_guests": true, "pin": room["pin"],
            "guest_pin": room["guest_pin"], "tag": TAG,
            "aliases": [{
                "alias": name, "creation_time": room["aliases"][0]["creation_time"], "description": "", "id": id
            }],
        });
        assert_eq!(room, expected);
        assert!(name.starts_with("vbi-") && created.header("retry-after").is_empty(), "{created:?}");
        assert_eq!(created.header("room-source"), "instant");
        let (from, until) = (time_in(&created, "room-valid-from"), time_in(&created, "room-valid-until"));
        assert!(from >= before && from <= OffsetDateTime::now_utc(), "{created:?}");
        assert_eq!(until - from, time::Duration::hours(4));

        let result = json!({
            "service_type": "conference", "name": name, "service_tag": TAG, "allow_guests": true, "pin": room["pin"],
            "guest_pin": room["guest_pin"],
            "automatic_participants": [{
                "local_alias": name, "remote_alias": QUEUE, "protocol": "sip", "role": "guest", "routing": "manual",
                "keep_conference_alive": "keep_conference_alive_never",
            }],
        });
        for answer in answers {
            assert_eq!(answer, json!({ "status": "success", "action": "continue", "result": result }));
        }
        assert_eq!(app.public_room(&name).await.json(), room);
        let server = app.request(Method::GET, &format!("room/{name}")).bearer_auth(app.entra.token().build());
        assert_eq!(app.send(server).await.json(), room);
        let object = format!("room/{name}?constrained_attributes=false");
        let object = app.request(Method::GET, &object).bearer_auth(app.entra.token().build());
        app.send(object).await.assert_problem(404, "room_not_found");
        assert!(app.pexip.rooms().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_create_makes_one_storage_call_and_none_to_pexip() {
    let app = instant().start().await;
    app.create_room().await.room();
    app.blobs.traffic().clear();

    let name = app.create_room().await.room();

    let calls: Vec<_> = app.blobs.traffic().log().into_iter().map(|exchange| exchange.method).collect();
    assert_eq!(calls, [Method::PUT]);
    assert!(is_success(&dial(&app, &name).await));
    assert_eq!((app.pexip.traffic().log().len(), app.queue.traffic().log().len()), (0, 0));
}

#[tokio::test]
async fn fields_of_the_deployment_are_in_the_answer_as_policy_has_them() {
    let properties = r#"{"call_type": "video", "host_view": "four_mains_zero_pips", "max_callrate_in": 2048}"#;
    let app = instant().set("INSTANT_ROOM_DIAL_OUT", "none").set("ROOM_PROPERTIES", properties).start().await;
    let name = app.create_room().await.room();

    let result = dial(&app, &name).await["result"].take();

    let fields =
        ["call_type", "view", "max_callrate_in", "host_view", "automatic_participants"].map(|field| &result[field]);
    assert_eq!(json!(fields), json!(["video", "four_mains_zero_pips", 2_048_000, null, null]));
}

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
async fn a_room_that_is_valid_at_once_is_so_on_an_instance_whose_clock_is_behind() {
    let (ahead, clock) = movable_clock();
    let app = instant().clock(clock).start().await;
    let name = app.create_room().await.room();
    ahead.store(-60, Ordering::SeqCst);
    assert!(is_success(&dial(&app, &name).await));
}

#[tokio::test]
async fn times_that_are_no_validity_are_refused() {
    let app = instant().set("INSTANT_ROOM_MAX_LIFETIME_SECONDS", 14_400).start().await;
    let later = |seconds| in_seconds(seconds);
    for query in [
        vec![("validFrom", "tomorrow".to_owned())],
        vec![("validFrom", String::new())],
        vec![("validUntil", "2999-01-01T00:00:00+00:00".to_owned())],
        vec![("validUntil", later(-1))],
        vec![("validFrom", later(100)), ("validUntil", later(100))],
        vec![("validFrom", later(86_500))],
        vec![("validUntil", later(14_500))],
        vec![("validUntil", later(60)), ("validUntil", later(60))],
    ] {
        let given: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        create_with(&app, &given, "").await.assert_problem(400, "validity_invalid");
    }
    let pool = with_policy().set("POOL_EMPTY", "instant").set("POOL_TARGET_SIZE", 0).start().await;
    for given in [vec![("validFrom", "x")], vec![("validUntil", "x"), ("validUntil", "x")]] {
        create_with(&pool, &given, "").await.assert_problem(400, "validity_unsupported");
    }
    assert_eq!(app.blobs.blobs(RECORDS).len() + pool.blobs.blobs(RECORDS).len(), 0);
}

#[tokio::test]
async fn a_key_gets_the_same_room_with_its_validity_until_the_room_is_ended() {
    let app = instant().start().await;
    let until = in_seconds(600);
    let given = [("validUntil", until.as_str())];
    let first = create_with(&app, &given, "k").await;
    let again = create_with(&app, &given, "k").await;

    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(first.json(), again.json());
    for header in ["room-source", "room-valid-from", "room-valid-until"] {
        assert!(!first.header(header).is_empty() && first.header(header) == again.header(header), "{again:?}");
    }
    create_with(&app, &[], "k").await.assert_problem(422, "idempotency_key_reused");
    assert_ne!(create_with(&app, &given, "another").await.room(), first.room());
    assert_eq!(app.delete_room(&first.room()).await.status, 204);
    create_with(&app, &given, "k").await.assert_problem(410, "room_ended");
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
    app.delete_room(UNKNOWN).await.assert_problem(404, "room_not_found");
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

#[tokio::test]
async fn an_empty_pool_is_replaced_by_instant_rooms_and_these_by_direct_ones() {
    let app = with_policy().set("POOL_EMPTY", "instant").start().await;
    let replaced = app.create_room().await;
    app.pool_holds(ready_room("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq"));
    let ready = app.create_room().await;
    for (answer, source) in [(replaced, "instant"), (ready, "pool")] {
        assert_eq!(answer.header("room-source"), source);
        assert_eq!(answer.header("room-valid-until").is_empty(), source == "pool", "{answer:?}");
        assert_eq!(is_success(&dial(&app, &answer.room()).await), source == "instant");
        assert_eq!(app.public_room(&answer.room()).await.status, 200);
        assert_eq!(app.delete_room(&answer.room()).await.status, 204);
    }

    let app = with_policy().set("POOL_EMPTY", "instant").set("POOL_TARGET_SIZE", 0).start().await;
    app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
    assert_eq!(app.create_room().await.header("room-source"), "direct");
}

/// As long as the service does not know of the failure, rooms of the pool are tried.
#[tokio::test]
async fn an_instant_room_is_handed_out_while_pexip_is_down_or_refuses() {
    for fault in [Fault::HangUpBefore, Fault::Status(401), Fault::Status(503)] {
        let app = with_policy().set("POOL_EMPTY", "instant").start().await;
        app.warm_up().await;
        app.pexip.traffic().inject(Matching::any(), Times::Always, fault.clone());
        let is_instant = async || app.create_room().await.header("room-source") == "instant";
        eventually("instant rooms are handed out", is_instant).await;

        for _ in 0..10 {
            let answer = app.create_room().await;
            assert_eq!((answer.status.as_u16(), answer.header("room-source")), (200, "instant"), "{fault:?}");
            assert!(is_success(&dial(&app, &answer.room()).await), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn rooms_live_on_where_instant_rooms_are_turned_off() {
    let on = instant().start().await;
    let name = on.create_room().await.room();
    let off = with_policy().start().await;
    off.blobs.put(RECORDS, &format!("instant/{name}"), &record_of(&on, &name));

    assert!(is_success(&dial(&off, &name).await));
    assert_eq!(off.public_room(&name).await.status, 200);
    assert_eq!(off.delete_room(&name).await.status, 204);
    assert_eq!(dial(&off, &name).await, rejected());
}

#[tokio::test]
async fn no_pool_is_kept_where_every_room_is_an_instant_room() {
    let app = instant().start().await;
    app.maintain().await;
    assert!(app.pexip.rooms().is_empty());
}

#[test]
fn instant_rooms_need_their_settings() {
    let faults = |own: &[(&'static str, &str)]| {
        let own: Vec<_> = own.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
        let parts = ConfigParts::read(|name| own.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone()));
        let of_instant =
            |name: &str| name.starts_with("INSTANT") || name.starts_with("PEXIP_POLICY") || name == "ROOM_PROPERTIES";
        parts.faults.into_iter().map(|fault| fault.setting).filter(|name| of_instant(name)).collect::<Vec<_>>()
    };
    let account = [("PEXIP_POLICY_USERNAME", "nodes"), ("PEXIP_POLICY_PASSWORD", "of the nodes")];
    let on = |switch: &'static str| [[(switch, "instant")].as_slice(), &account].concat();
    assert_eq!(faults(&[]), [""; 0]);
    assert_eq!(faults(&on("ROOM_SOURCE")), [""; 0]);
    assert_eq!(faults(&on("POOL_EMPTY")), [""; 0]);
    for switch in ["ROOM_SOURCE", "POOL_EMPTY"] {
        assert_eq!(faults(&[(switch, "instant")]), ["PEXIP_POLICY_USERNAME", "PEXIP_POLICY_PASSWORD"]);
        let outside_local = [on(switch).as_slice(), &[("MAXCONF_ENVIRONMENT", "test")]].concat();
        assert_eq!(faults(&outside_local), ["INSTANT_ROOM_DIAL_OUT"]);
        assert_eq!(faults(&[outside_local.as_slice(), &[("INSTANT_ROOM_DIAL_OUT", "none")]].concat()), [""; 0]);
        for properties in
            [r#"{"ivr_theme": "/api/admin/configuration/v1/ivr_theme/2/"}"#, r#"{"host_view": "one_main_nine_around"}"#]
        {
            assert_eq!(
                faults(&[on(switch).as_slice(), &[("ROOM_PROPERTIES", properties)]].concat()),
                ["ROOM_PROPERTIES"]
            );
        }
    }
    for (name, value) in [
        ("INSTANT_ROOM_NAME_PREFIX", "vbv-"),
        ("INSTANT_ROOM_NAME_PREFIX", "vbv-i-"),
        ("INSTANT_ROOM_NAME_PREFIX", "v"),
        ("INSTANT_ROOM_NAME_PREFIX", "VBI-"),
        ("INSTANT_ROOM_LIFETIME_SECONDS", "86401"),
        ("INSTANT_ROOM_MAX_LIFETIME_SECONDS", "518401"),
        ("INSTANT_ROOM_DIAL_OUT", "queue@sbc.example.org"),
        ("INSTANT_ROOM_DIAL_OUT", "sip:queue@sbc.example.org,,sip:x@y"),
        ("INSTANT_ROOM_DIAL_OUT", "sip:queue"),
    ] {
        assert_eq!(faults(&[(name, value)]), [name], "{value}");
    }
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
    eventually("the hints are done", async || app.queue.messages("room-creation-queue-ended").is_empty()).await;
    assert!(is_success(&dial(&app, &own).await) && is_success(&dial(&app, &occupied).await));
    assert!(app.pexip.is_running(&occupied));
}

#[tokio::test]
async fn a_maintenance_run_disconnects_whoever_is_in_a_room_that_is_over() {
    let (ahead, clock) = movable_clock();
    let app = instant().clock(clock).start().await;
    let short = create_with(&app, &[("validUntil", &in_seconds(60))], "").await.room();
    let (open, ended) = (app.create_room().await.room(), app.create_room().await.room());
    // A name of now without a record.
    let unknown = format!("{}0000", &short[..short.len() - 4]);
    assert_eq!(app.delete_room(&ended).await.status, 204);
    eventually("the looks after the delete are over", async || {
        time_passes(Duration::from_secs(6)).await;
        let looks = Matching::any().path_contains("/status/v1/conference/").query_contains(&ended);
        app.pexip.traffic().count(&looks) >= 2
    })
    .await;
    for room in [short.as_str(), &open, &ended, &unknown, UNKNOWN, "boardroom"] {
        app.pexip.join(room, Role::Guest);
    }
    ahead.store(61, Ordering::SeqCst);

    app.maintain().await;

    let running = |room: &str| app.pexip.is_running(room);
    assert!(!running(&short) && !running(&ended) && !running(UNKNOWN), "over, ended, older than every record");
    assert!(running(&open) && running(&unknown) && running("boardroom"));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_keeps_its_conference() {
    let app = instant().start().await;
    let name = app.create_room().await.room();
    app.blobs.put(RECORDS, &format!("instant/{name}"), "rubbish");
    app.pexip.join(&name, Role::Guest);
    app.maintain().await;
    assert!(app.pexip.is_running(&name));
}

#[tokio::test]
async fn a_room_for_closed_hours_is_refused_while_the_node_does_not_answer() {
    let app = instant().set("SERVICE_HOURS", opening_in(90).0).start().await;
    app.create_room().await.room();
    app.pexip.stop().await;
    app.maintain().await;

    app.create_room().await.assert_problem(503, "service_closed");

    let opened = in_seconds(95 * 60);
    create_with(&app, &[("validFrom", &opened)], "").await.room();
}
