//! Instant rooms: a room that can be joined the moment it is answered, and at no node after its end.

mod ended;
mod nodes;
mod policy;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use futures_util::future::join_all;
use maxconf::config::ConfigParts;
use maxconf::domain::RoomNamePrefix;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{
    Answer, TAG, TestApp, TestAppBuilder, UUI_DATA, eventually, on_every_host, opening_in, ready_room,
};

const USERNAME: &str = "conferencing-nodes";
const PASSWORD: &str = "policy:pass word";
const POLICY: &str = "policy/v1/service/configuration";
pub(crate) const RECORDS: &str = "room-records";
/// A name that is older than every record.
const OLD: &str = "vbi-01jd5p3xk8qqqqqqqqqqqqqqqq";
const QUEUE: &str = "sip:queue@sbc.example.org";

pub(crate) fn with_policy() -> TestAppBuilder {
    TestApp::with().set("PEXIP_POLICY_USERNAME", USERNAME).set("PEXIP_POLICY_PASSWORD", PASSWORD)
}

pub(crate) fn instant() -> TestAppBuilder {
    with_policy().set("ROOM_SOURCE", "instant").set("INSTANT_ROOM_DIAL_OUT", QUEUE)
}

/// As a node sends it: values that are missing are empty.
pub(crate) fn look_up_request(app: &TestApp, parameters: &[(&str, &str)]) -> RequestBuilder {
    let others =
        [("protocol", "sip"), ("remote_alias", "sip:dana@clinic.example"), ("call_tag", ""), ("x_new", "True")];
    let request = app.request(Method::GET, POLICY).basic_auth(USERNAME, Some(PASSWORD));
    request.query(&others).query(parameters)
}

async fn look_up(app: &TestApp, parameters: &[(&str, &str)]) -> Answer {
    app.send(look_up_request(app, parameters)).await
}

/// The answer to a node when somebody dials this alias.
pub(crate) async fn dial(app: &TestApp, alias: &str) -> Value {
    let answer = look_up(app, &[("call_direction", "dial_in"), ("local_alias", alias)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The same when the running conference of this room dials out.
async fn dial_out(app: &TestApp, service: &str) -> Value {
    let parameters = [("call_direction", "dial_out"), ("local_alias", "sip:us@here"), ("service_name", service)];
    look_up(app, &parameters).await.json()
}

/// A name of this time, which no room has.
pub(crate) fn named_at(time: SystemTime) -> String {
    let prefix = RoomNamePrefix::parse("vbi-").expect("the usual prefix");
    prefix.mint(time, &mut rand::rng()).to_string()
}

/// A name of now, which no room has.
pub(crate) fn unknown() -> String {
    named_at(SystemTime::now())
}

/// A name of the same time as this room's, which no room has.
pub(crate) fn made_up(room: &str, number: usize) -> String {
    format!("{}{number:06}", &room[..room.len() - 6])
}

pub(crate) fn rejected() -> Value {
    json!({ "status": "success", "action": "reject" })
}

pub(crate) fn continued() -> Value {
    json!({ "status": "success", "action": "continue" })
}

pub(crate) fn is_success(answer: &Value) -> bool {
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
async fn an_instant_room_needs_no_capacity_at_pexip() {
    let app = instant().start().await;
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
    let is_open = async || {
        app.pexip.traffic().clear();
        app.maintain().await;
        app.pexip.traffic().log().is_empty()
    };
    eventually("the circuit breaker of the node is open", is_open).await;
    for key in ["", "a-key"] {
        let created = create_with(&app, &[], key).await;
        assert_eq!((created.status.as_u16(), created.header("room-source")), (200, "instant"), "{created:?}");
        assert!(is_success(&dial(&app, &created.room()).await));
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
