//! The audit trail: each decision about a room is one event, with exactly the agreed fields.

use aws_lc_rs::hmac;
use maxconf::telemetry::audit::{Decision, FIELDS, TARGET};
use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, GenesysToken, Matching, StoredRoom, Times, entra};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Answer, Program, TAG, TestApp, TestAppBuilder, UUI_DATA, eventually};

const KEY: &str = "key-of-the-audit-hash";
const ROOM: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

/// The audit events so far, without the fields that every log line has.
fn trail(program: &Program) -> Vec<Value> {
    let mut events = program.events();
    events.retain(|event| event["target"] == TARGET);
    for event in &mut events {
        let event = event.as_object_mut().expect("an object");
        assert_eq!(event["level"], "INFO");
        let of_every_line = ["timestamp", "level", "target", "span", "environment", "slot", "version"];
        event.retain(|field, _| !of_every_line.contains(&field.as_str()));
    }
    events
}

/// Waits until the program has logged this request. A request's line follows its audit events.
async fn trail_up_to(program: &Program, request_id: &str) -> Vec<Value> {
    let line = |event: &Value| event["message"] == "request" && event["request_id"] == request_id;
    eventually("the request is logged", async || program.events().iter().any(line)).await;
    trail(program)
}

fn hash(key: &str, uui_data: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hex::encode(hmac::sign(&key, &hex::decode(uui_data).expect("hexadecimal")))
}

/// IDIM with a token whose ids are known.
fn idim(app: &TestApp, request: RequestBuilder) -> RequestBuilder {
    request.bearer_auth(app.entra.token().claim("oid", "oid-1").claim("uti", "uti-1").build())
}

fn create(app: &TestApp, uui_data: &str, id: &str) -> RequestBuilder {
    let request = app.request(Method::POST, &format!("room/create?uuiData={uui_data}"));
    idim(app, request).header("x-request-id", id)
}

/// These fields, and those of IDIM's token.
fn by_idim(mut event: Value) -> Value {
    let caller = [("tid", entra::TENANT_ID), ("azp", entra::CLIENT_ID), ("oid", "oid-1"), ("uti", "uti-1")];
    for (field, value) in caller {
        event[field] = value.into();
    }
    event
}

/// Asserts that an event of each of these kinds has the fields that `infra/docs/audit.md` lists.
fn assert_fields_are_as_described(events: &[Value]) {
    for event in events {
        let kind = |decision: &Decision| event["event"] == decision.as_str();
        let decision = Decision::ALL.into_iter().find(kind).unwrap_or_else(|| panic!("an unknown kind: {event}"));
        let mut fields: Vec<_> = event.as_object().expect("an object").keys().map(String::as_str).collect();
        fields.retain(|field| *field != "event");
        assert!(fields.iter().all(|field| decision.fields().contains(field)), "{event}");
        // A room is read by an agent or by a client, and only an instant room has a validity.
        let of_others = match decision {
            Decision::Read if fields.contains(&"genesys_user") => 4,
            Decision::Read => 1,
            Decision::HandedOut | Decision::Replayed if event["source"] != "instant" => 2,
            _ => 0,
        };
        let expected = decision.fields().len() - of_others;
        assert!(decision == Decision::Refused || fields.len() == expected, "{event}");
    }
}

#[tokio::test]
async fn each_decision_about_a_room_is_one_event() {
    for (pool, source) in [(4, "pool"), (0, "direct")] {
        let settings = TestApp::with().set("POOL_TARGET_SIZE", pool).set("AUDIT_HASH_KEY", KEY);
        let (app, program) = settings.start_program().await;
        if pool > 0 {
            app.warm_up().await;
        }
        let agent = GenesysToken::default();

        let room = app.send(create(&app, UUI_DATA, "create-1")).await.room();
        let read = app.request(Method::GET, &format!("public/room/{room}")).header("x-request-id", "read-2");
        app.send(read.header("x-auth-token", app.genesys.issue(agent.clone()))).await.room();
        for (id, query) in [("read-3", ""), ("read-4", "?constrained_attributes=false")] {
            let read = app.request(Method::GET, &format!("room/{room}{query}")).header("x-request-id", id);
            assert_eq!(app.send(idim(&app, read)).await.status, 200);
        }
        let delete = app.request(Method::DELETE, &format!("room/{room}")).header("x-request-id", "delete-3");
        assert_eq!(app.send(idim(&app, delete)).await.status, 204);

        let expected = [
            by_idim(
                json!({ "event": "room_handed_out", "request_id": "create-1", "room": room, "source": source, "uui_data_hash": hash(KEY, UUI_DATA) }),
            ),
            json!({ "event": "room_read", "request_id": "read-2", "room": room, "genesys_user": agent.user_id }),
            by_idim(json!({ "event": "room_read", "request_id": "read-3", "room": room })),
            by_idim(json!({ "event": "room_read", "request_id": "read-4", "room": room })),
            by_idim(json!({ "event": "room_deleted", "request_id": "delete-3", "room": room })),
        ];
        let events = trail_up_to(&program, "delete-3").await;
        assert_eq!(events, expected, "{source}");
        assert_fields_are_as_described(&events);
    }
}

fn instant_rooms() -> TestAppBuilder {
    let account = [("PEXIP_POLICY_USERNAME", "nodes"), ("PEXIP_POLICY_PASSWORD", "of the nodes")];
    let with = TestApp::with().set("ROOM_SOURCE", "instant").set("AUDIT_HASH_KEY", KEY);
    account.into_iter().fold(with, |with, (setting, value)| with.set(setting, value))
}

#[tokio::test]
async fn each_decision_about_an_instant_room_is_one_event() {
    let (app, program) = instant_rooms().start_program().await;
    let created = app.send(create(&app, UUI_DATA, "create-1").header("idempotency-key", "k")).await;
    let again = app.send(create(&app, UUI_DATA, "create-2").header("idempotency-key", "k")).await;
    let room = created.room();
    let agent = GenesysToken::default();
    let read = app.request(Method::GET, &format!("public/room/{room}")).header("x-request-id", "read-3");
    app.send(read.header("x-auth-token", app.genesys.issue(agent.clone()))).await.room();
    let look_up = app.request(Method::GET, &format!("policy/v1/service/configuration?local_alias={room}"));
    assert_eq!(app.send(look_up.basic_auth("nodes", Some("of the nodes"))).await.status, 200);
    let delete = app.request(Method::DELETE, &format!("room/{room}")).header("x-request-id", "delete-4");
    assert_eq!(app.send(idim(&app, delete)).await.status, 204);

    let handed_out = |event: &str, id: &str, answer: &Answer| {
        let [from, until] = ["room-valid-from", "room-valid-until"].map(|header| answer.header(header));
        by_idim(
            json!({ "event": event, "request_id": id, "room": room, "source": "instant", "valid_from": from, "valid_until": until, "uui_data_hash": hash(KEY, UUI_DATA) }),
        )
    };
    let expected = [
        handed_out("room_handed_out", "create-1", &created),
        handed_out("room_replayed", "create-2", &again),
        json!({ "event": "room_read", "request_id": "read-3", "room": room, "genesys_user": agent.user_id }),
        by_idim(json!({ "event": "room_deleted", "request_id": "delete-4", "room": room })),
    ];
    let events = trail_up_to(&program, "delete-4").await;
    assert_eq!(events, expected, "a look-up is no decision");
    assert_fields_are_as_described(&events);
}

#[tokio::test]
async fn an_instant_room_whose_caller_disconnected_is_one_event() {
    let (app, program) = instant_rooms().start_program().await;
    let making = Matching::method(Method::PUT).path_contains("/instant%2F");
    app.blobs.traffic().inject(making.clone(), Times::Once, Fault::Stall);
    let ask = tokio::spawn(create(&app, UUI_DATA, "create-1").send());
    eventually("the record is made", async || app.blobs.traffic().count(&making) > 0).await;
    ask.abort();
    trail_up_to(&program, "create-1").await;

    app.blobs.traffic().heal();

    let is_end = |event: &Value| event["message"] == "instant room ended" && event["reason"] == "destroyed";
    eventually("the room is ended", async || program.events().iter().any(is_end)).await;
    let events = trail(&program);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&events[0]["event"], &events[0]["reason"]), (&json!("room_destroyed"), &json!("caller_gone")));
}

/// Not by a caller: its conference ended, or people were in it after its validity.
#[tokio::test]
async fn an_instant_room_that_ends_by_itself_is_one_event_if_people_had_been_in_it() {
    let events = [("PEXIP_EVENT_USERNAME", "events"), ("PEXIP_EVENT_PASSWORD", "of the events")];
    // Each look is a maintenance run, with several calls to the node.
    let with = instant_rooms().set("ROOM_END_GRACE_SECONDS", 0).set("PEXIP_REQUESTS_PER_MINUTE", 100_000);
    let with = events.into_iter().fold(with, |with, (setting, value)| with.set(setting, value));
    let (app, program) = with.start_program().await;
    let left = app.create_room().await.room();
    let event =
        json!({ "node": "10.47.2.21", "seq": 1, "version": 2, "event": "conference_ended", "data": { "name": left } });
    let event = app.request(Method::POST, "public/event_sink").basic_auth("events", Some("of the events")).json(&event);
    assert_eq!(app.send(event).await.status, 204);
    // On a busy machine rooms take seconds to make. The other end, after its two looks, takes longer.
    let until = OffsetDateTime::now_utc() + time::Duration::seconds(20);
    let valid_until = until.format(&Rfc3339).expect("a time");
    let short = async || {
        let create = create(&app, UUI_DATA, "-").query(&[("validUntil", &valid_until)]);
        app.send(create).await.room()
    };
    let (occupied, empty) = (short().await, short().await);
    app.pexip.join(&occupied, Role::Guest);
    eventually("the validity is over", async || OffsetDateTime::now_utc() >= until).await;

    let ended = |room: &str, reason: &str| json!({ "event": "room_ended", "room": room, "reason": reason });
    for end in [ended(&occupied, "validity_over"), ended(&left, "conference_ended")] {
        eventually("the end is recorded", async || {
            app.run_maintenance().await;
            trail(&program).contains(&end)
        })
        .await;
    }
    // Who is let in on a success from before the end is disconnected, and the end was recorded.
    app.pexip.join(&left, Role::Guest);
    eventually("the conference is disconnected", async || {
        app.run_maintenance().await;
        !app.pexip.is_running(&left)
    })
    .await;
    let events: Vec<_> = trail(&program).into_iter().filter(|event| event["event"] == "room_ended").collect();
    assert_fields_are_as_described(&events);
    assert_eq!(events.len(), 2, "nobody was in {empty}: {events:?}");
}

#[tokio::test]
async fn a_refused_request_is_one_event_with_the_facts_known_so_far() {
    let settings = TestApp::with().set("POOL_TARGET_SIZE", 0).set("POOL_EMPTY", "refuse").set("AUDIT_HASH_KEY", KEY);
    let (app, program) = settings.start_program().await;
    let agent = GenesysToken::default();
    let stranger = GenesysToken::default().organization_id("another-organization");
    let ask = |method: Method, path: &str| app.request(method, path);
    let read = |token: GenesysToken, name: &str| {
        ask(Method::GET, &format!("public/room/{name}")).header("x-auth-token", app.genesys.issue(token))
    };
    let inactive = agent.clone().state("inactive");
    let guest = app.entra.token().claim("oid", "oid-1").claim("uti", "uti-1").roles(["Room.See"]);
    let delete = |name: &str| idim(&app, ask(Method::DELETE, &format!("room/{name}")));
    let create = |uui_data: &str| create(&app, uui_data, "-");
    let large = "a".repeat(20_000);
    let user = json!(agent.user_id);
    for (number, (request, status, event)) in [
        (ask(Method::POST, "room/create"), 401, json!({ "reason": "token_missing" })),
        (ask(Method::POST, "room/create").bearer_auth("a.b.c"), 401, json!({ "reason": "token_invalid" })),
        (ask(Method::GET, "public/room/x"), 401, json!({ "reason": "token_missing" })),
        (read(stranger, ROOM), 403, json!({ "reason": "not_permitted" })),
        (read(inactive, ROOM), 403, json!({ "reason": "not_permitted", "genesys_user": user })),
        (
            ask(Method::POST, "room/create").bearer_auth(guest.build()),
            403,
            by_idim(json!({ "reason": "not_permitted" })),
        ),
        (ask(Method::PUT, "room/create"), 405, json!({ "reason": "method_not_allowed" })),
        (create(UUI_DATA).body(large), 413, json!({ "reason": "body_too_large" })),
        (create("7e1"), 400, by_idim(json!({ "reason": "uui_data_invalid" }))),
        (create(UUI_DATA), 503, by_idim(json!({ "reason": "no_room", "uui_data_hash": hash(KEY, UUI_DATA) }))),
        (delete(ROOM), 404, by_idim(json!({ "reason": "room_not_found", "room": ROOM }))),
        (delete("boardroom"), 404, by_idim(json!({ "reason": "room_not_found" }))),
        (read(agent.clone(), ROOM), 404, json!({ "reason": "room_not_found", "room": ROOM, "genesys_user": user })),
        (read(agent.clone(), "x"), 404, json!({ "reason": "room_not_found", "genesys_user": user })),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("refused-{number}");
        let (client, request) = request.build_split();
        let mut request = request.expect("a request");
        request.headers_mut().insert("x-request-id", id.parse().expect("a header"));
        let answer = app.send(RequestBuilder::from_parts(client, request)).await;
        assert_eq!(answer.status, status, "{event}: {answer:?}");
        let mut expected = event;
        expected["event"] = "request_refused".into();
        expected["request_id"] = id.as_str().into();
        let mut events = trail_up_to(&program, &id).await;
        events.retain(|event| event["request_id"] == id);
        assert_eq!(events, [expected]);
        assert_fields_are_as_described(&events);
    }
    // Requests without a room, and requests that are not refused, cause no event.
    let before = trail(&program).len();
    for (method, path) in
        [("GET", "nothing"), ("GET", "health/live"), ("POST", "function_pool_maintenance"), ("GET", "")]
    {
        app.send(ask(method.parse().expect("a method"), path)).await;
    }
    let preflight = ask(Method::OPTIONS, "public/room/x").header("origin", "https://agent.example.org");
    app.send(preflight.header("access-control-request-method", "GET").header("x-request-id", "last")).await;
    assert_eq!(trail_up_to(&program, "last").await.len(), before);
}

#[tokio::test]
async fn decisions_of_the_pool_have_no_caller() {
    let (app, program) = TestApp::with().set("SWEEP_MARGIN_SECONDS", 0).start_program().await;
    let old = StoredRoom::named(ROOM).tagged(TAG).described("handed-out=2020-01-01T00:00:00Z");
    app.pexip.insert(old);
    app.warm_up().await;
    let swept = json!({ "event": "room_swept", "room": ROOM, "reason": "past_absolute_lifetime" });
    eventually("the sweep is recorded", async || trail(&program).contains(&swept)).await;
    assert_eq!(trail(&program), [swept]);

    app.pexip.traffic().inject(Matching::method(Method::PATCH), Times::Once, Fault::Status(400));
    app.send(create(&app, UUI_DATA, "create-1")).await.assert_problem(502, "pexip_refused");

    let events = trail_up_to(&program, "create-1").await;
    assert_fields_are_as_described(&events);
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["room_swept", "room_destroyed", "request_refused"]);
    let destroyed = events[1]["room"].as_str().expect("a room");
    assert!(destroyed.starts_with("vbv-") && events[1]["reason"] == "tag_failed", "{events:?}");
}

#[tokio::test]
async fn a_room_is_recorded_as_deleted_even_if_its_caller_hangs_up() {
    let (app, program) = TestApp::with().set("POOL_TARGET_SIZE", 0).start_program().await;
    let room = app.create_room().await.room();
    let delete = Matching::method(Method::DELETE);
    app.pexip.traffic().inject(delete.clone(), Times::Once, Fault::Stall);
    let ask = tokio::spawn(idim(&app, app.request(Method::DELETE, &format!("room/{room}"))).send());
    eventually("Pexip is called", async || app.pexip.traffic().count(&delete) > 0).await;
    ask.abort();
    eventually("the request is abandoned", async || {
        program.events().iter().any(|event| event["code"] == "caller_gone")
    })
    .await;
    assert!(!trail(&program).iter().any(|event| event["event"] == "room_deleted"));

    app.pexip.traffic().heal();

    let deleted = |event: &Value| event["event"] == "room_deleted" && event["room"] == room.as_str();
    eventually("the deletion is recorded", async || trail(&program).iter().any(deleted)).await;
    assert_fields_are_as_described(&trail(&program));
}

#[tokio::test]
async fn a_room_whose_caller_disconnected_is_destroyed_and_not_recorded_as_handed_out() {
    let (app, program) = TestApp::with().set("POOL_TARGET_SIZE", 0).start_program().await;
    let making = Matching::method(Method::POST);
    app.pexip.traffic().inject(making.clone(), Times::Once, Fault::Stall);
    let ask = tokio::spawn(create(&app, UUI_DATA, "create-1").send());
    eventually("Pexip is called", async || app.pexip.traffic().count(&making) > 0).await;
    ask.abort();
    trail_up_to(&program, "create-1").await;

    app.pexip.traffic().heal();

    eventually("a room is destroyed", async || !trail(&program).is_empty()).await;
    let events = trail(&program);
    assert_eq!((events.len(), &events[0]["event"]), (1, &json!("room_destroyed")), "{events:?}");
}

#[tokio::test]
async fn the_hash_links_a_case_under_one_key_and_under_no_other() {
    let of = async |key: &str, uui_data: &str| {
        let (app, program) =
            TestApp::with().set("POOL_TARGET_SIZE", 0).set("AUDIT_HASH_KEY", key).start_program().await;
        app.send(create(&app, uui_data, "create-1")).await.room();
        let events = trail_up_to(&program, "create-1").await;
        events[0]["uui_data_hash"].as_str().expect("a hash").to_owned()
    };
    let lower = of(KEY, "7e1afbff").await;
    assert_eq!(lower, of(KEY, "7E1AFBFF").await, "upper and lower case are the same case");
    assert_eq!(lower, hash(KEY, "7e1afbff"));
    assert_ne!(lower, of(KEY, "7e1afbfe").await);
    assert_ne!(lower, of("another-key-of-the-audit", "7e1afbff").await);
    // Without the setting each process makes a random key.
    assert_ne!(of("", "7e1afbff").await, of("", "7e1afbff").await);
}

#[test]
fn every_field_is_explained_and_used() {
    let explained = FIELDS.map(|(field, _)| field);
    let used = |field: &str| Decision::ALL.iter().any(|decision| decision.fields().contains(&field));
    assert!(explained.iter().all(|field| *field == "event" || used(field)));
    assert!(Decision::ALL.iter().flat_map(|decision| decision.fields()).all(|field| explained.contains(field)));
}
