//! What the program writes while it runs: on stdout one JSON object a line, on stderr nothing, for the Functions host
//! logs every line there as an error. That no secret is in it is the subject of `leaks.rs`.

use maxconf_simulators::{Fault, GenesysToken, Matching, Times, entra};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Program, TestApp, UUI_DATA, World, eventually};

/// The lines about requests, once there are so many.
async fn request_lines(program: &Program, count: usize) -> Vec<Value> {
    let lines = || program.events().into_iter().filter(|event| event["message"] == "request").collect::<Vec<_>>();
    eventually("a line for each request", async || lines().len() >= count).await;
    lines()
}

#[tokio::test]
async fn each_request_has_one_line_that_says_who_asked_what_and_how_it_ended() {
    let (app, program) = TestApp::with().start_program().await;
    let agent = GenesysToken::default();
    let invocation = "3f2b8c1e-5d4a-4b6f-9e7d-0a1b2c3d4e5f";

    let create = app.request(Method::POST, &format!("room/create?uuiData={UUI_DATA}"));
    let create = create.header("x-request-id", "create-1").header("x-azure-functions-invocationid", invocation);
    let room = app.send(create.bearer_auth(app.entra.token().build())).await.room();
    let read = app.request(Method::GET, &format!("public/room/{room}"));
    let read = read.header("x-request-id", "read-2").header("x-auth-token", app.genesys.issue(agent.clone()));
    assert_eq!(app.send(read).await.room(), room);
    let unknown = app.request(Method::DELETE, "room/vbv-unknown").header("x-request-id", "delete-3");
    app.send(unknown.bearer_auth(app.entra.token().build())).await.assert_problem(404, "room_not_found");
    let without_token = app.request(Method::POST, "room/create").header("x-request-id", "create-4");
    app.send(without_token).await.assert_problem(401, "token_missing");
    let nowhere = app.request(Method::GET, "nowhere").header("x-request-id", "nowhere-5");
    app.send(nowhere).await.assert_problem(404, "not_found");
    let below_public = app.request(Method::GET, "public/secret").header("x-request-id", "nowhere-6");
    app.send(below_public).await.assert_problem(404, "not_found");
    let wrong_method = app.request(Method::PUT, "room/create").header("x-request-id", "put-7");
    app.send(wrong_method).await.assert_problem(405, "method_not_allowed");
    let guest = app.entra.token().roles(["Room.Read"]).build();
    let not_permitted = app.request(Method::POST, "room/create").header("x-request-id", "create-8");
    app.send(not_permitted.bearer_auth(guest)).await.assert_problem(403, "not_permitted");
    // The host sends this probe every 25 ms, so it is not logged.
    app.send(app.request(Method::GET, "")).await;
    app.send(app.request(Method::GET, "health/live").header("x-request-id", "health-9")).await;

    let lines = request_lines(&program, 9).await;
    let idim = entra::CLIENT_ID;
    let expected = [
        ("POST", "/room/create", 200, "create-1", json!(idim), "ok"),
        ("GET", "/public/room/{name}", 200, "read-2", json!(agent.user_id), "ok"),
        ("DELETE", "/room/{name}", 404, "delete-3", json!(idim), "room_not_found"),
        ("POST", "/room/create", 401, "create-4", Value::Null, "token_missing"),
        ("GET", "-", 404, "nowhere-5", Value::Null, "not_found"),
        ("GET", "/public/{*unknown}", 404, "nowhere-6", Value::Null, "not_found"),
        ("PUT", "/room/create", 405, "put-7", Value::Null, "method_not_allowed"),
        ("POST", "/room/create", 403, "create-8", json!(idim), "not_permitted"),
        ("GET", "/health/{probe}", 200, "health-9", Value::Null, "ok"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (method, route, status, request_id, caller, code)) in lines.iter().zip(expected) {
        let expected = json!({ "method": method, "route": route, "status": status, "request_id": request_id, "caller": caller, "code": code });
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(&line[field], value, "{field} in {line:#}");
        }
        assert!(line["duration_ms"].is_u64(), "{line:#}");
        assert_eq!(line["level"], "INFO", "{line:#}");
        assert!(line["timestamp"].is_string(), "{line:#}");
    }
    assert_eq!(lines[0]["invocation_id"], invocation);
    assert!(program.stderr().is_empty(), "{:?}", program.stderr());
}

#[tokio::test]
async fn every_line_says_once_which_build_wrote_it_and_where() {
    let test = [
        ("MAXCONF_ENVIRONMENT", "test"),
        ("MAXCONF_SLOT", "blue-2"),
        ("UUI_DATA_FORMAT", "bytes"),
        ("ROOM_HOST_PIN", "per-room"),
        ("ROOM_AUTOMATIC_PARTICIPANTS", "none"),
        ("ENTRA_ALLOWED_CLIENT_IDS", "*"),
        ("GENESYS_OAUTH_CLIENT_IDS", "*"),
        ("GENESYS_DIVISION_IDS", "*"),
    ];
    let app = test.into_iter().fold(TestApp::with(), |app, (setting, value)| app.set(setting, value));
    let (app, program) = app.start_program().await;
    app.send(app.request(Method::POST, "room/create")).await.assert_problem(401, "token_missing");
    request_lines(&program, 1).await;

    let audited = program.events().iter().any(|event| event["target"] == maxconf::telemetry::audit::TARGET);
    assert!(audited, "{:#?}", program.events());
    let labels = json!({ "environment": "test", "slot": "blue-2", "version": maxconf::telemetry::VERSION });
    for (line, event) in program.stdout().iter().zip(program.events()) {
        for (label, value) in labels.as_object().expect("an object") {
            assert_eq!(&event[label], value, "{line}");
            assert_eq!(line.matches(&format!("\"{label}\":")).count(), 1, "{label} in {line}");
        }
    }
}

/// A query can compare a number, but not a text that contains one.
#[tokio::test]
async fn the_time_until_the_next_try_is_a_number() {
    let world = World::start().await;
    let unreachable = ("ENTRA_AUTHORITY_URL", "http://127.0.0.1:1/".to_owned());
    let settings = world.settings().into_iter().chain([unreachable, ("FUNCTIONS_CUSTOMHANDLER_PORT", "0".to_owned())]);
    // Later entries replace earlier ones.
    let program = Program::start(&["serve"], settings);
    let tries = || program.events().into_iter().filter(|event| !event["retry_in_ms"].is_null()).collect::<Vec<_>>();

    eventually("Entra's keys cannot be read", async || !tries().is_empty()).await;

    assert!(tries().iter().all(|event| event["retry_in_ms"].is_u64()), "{:#?}", tries());
}

#[tokio::test]
async fn an_outage_of_the_queue_is_logged_each_time_the_queue_is_asked() {
    let (app, program) = TestApp::with().set("POOL_PREFETCH", 1).start_program().await;
    app.queue.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
    // Before the outage the program may have asked for messages of a queue that was not made yet.
    let of_the_outage = || {
        let mut events = program.events();
        events.retain(|event| event["message"] == "no messages could be received");
        let errors = events.into_iter().map(|event| event["error"].to_string());
        errors.skip_while(|error| !error.contains("503")).collect::<Vec<_>>()
    };

    // After five failures the breaker is open for a while; the sixth is the probe's.
    eventually("the breaker has opened and let a probe pass", async || of_the_outage().len() > 5).await;

    assert!(of_the_outage().iter().all(|error| error.contains("503")), "{:#?}", of_the_outage());
}
