//! What the program writes while it runs: on stdout one JSON object a line, on stderr nothing, for the Functions host
//! logs every line there as an error.

use maxconf_simulators::queue::ACCOUNT_KEY;
use maxconf_simulators::{Fault, GenesysToken, Matching, Times, entra, pexip};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Program, TAG, TestApp, UUI_DATA, citizen, eventually};

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
    let look = app.request(Method::GET, &format!("public/room/{room}"));
    let look = look.header("x-request-id", "look-2").header("x-auth-token", app.genesys.issue(agent.clone()));
    assert_eq!(app.send(look).await.room(), room);
    let unknown = app.request(Method::DELETE, "room/vbv-unknown").header("x-request-id", "delete-3");
    app.send(unknown.bearer_auth(app.entra.token().build())).await.assert_problem(404, "room_not_found");
    let without_token = app.request(Method::POST, "room/create").header("x-request-id", "create-4");
    app.send(without_token).await.assert_problem(401, "token_missing");
    let nowhere = app.request(Method::GET, "nowhere").header("x-request-id", "nowhere-5");
    app.send(nowhere).await.assert_problem(404, "not_found");
    let wrong_method = app.request(Method::PUT, "room/create").header("x-request-id", "put-6");
    app.send(wrong_method).await.assert_problem(405, "method_not_allowed");
    // The host asks this every 25 ms, so it has no line.
    app.send(app.request(Method::GET, "")).await;
    app.send(app.request(Method::GET, "health/live").header("x-request-id", "health-7")).await;

    let lines = request_lines(&program, 7).await;
    let idim = entra::CLIENT_ID;
    let expected = [
        ("POST", "/room/create", 200, "create-1", json!(idim), "ok"),
        ("GET", "/public/room/{name}", 200, "look-2", json!(agent.user_id), "ok"),
        ("DELETE", "/room/{name}", 404, "delete-3", json!(idim), "room_not_found"),
        ("POST", "/room/create", 401, "create-4", Value::Null, "token_missing"),
        ("GET", "-", 404, "nowhere-5", Value::Null, "not_found"),
        ("PUT", "/room/create", 405, "put-6", Value::Null, "method_not_allowed"),
        ("GET", "/health/{probe}", 200, "health-7", Value::Null, "ok"),
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
async fn nothing_that_is_secret_is_written_at_any_level() {
    let (app, program) = TestApp::with()
        .set("LOG_LEVEL", "trace")
        // So long that no time of day in the log looks like one.
        .set("ROOM_PIN_LENGTH", 14)
        .set("AUDIT_HASH_KEY", "key-of-the-audit-hash")
        .start_program()
        .await;
    let mut secrets = vec![
        app.pexip.password(),
        ACCOUNT_KEY.to_owned(),
        "key-of-the-audit-hash".to_owned(),
        // How the calls to Pexip and to the queue are signed.
        "Basic ".to_owned(),
        "SharedKey ".to_owned(),
        "popreceipt=".to_owned(),
    ];
    app.fill_pool().await;
    let mut names = Vec::new();
    for number in 0..6 {
        let (uui_data, tag) = citizen(number);
        let token = app.entra.token().build();
        let request = app.request(Method::POST, &format!("room/create?uuiData={uui_data}")).bearer_auth(&token);
        let answer = app.send(request).await;
        names.push(answer.room());
        let body = answer.json();
        let pin = |member: &str| body[member].as_str().expect("a PIN").to_owned();
        secrets.extend([uui_data, segment(&tag), tag, token, pin("pin"), pin("guest_pin")]);
    }
    for name in &names {
        let token = app.genesys.issue_token();
        let look = app.request(Method::GET, &format!("public/room/{name}")).header("x-auth-token", &token);
        assert_eq!(app.send(look).await.status, 200);
        secrets.push(token);
    }
    assert_eq!(app.delete_room(&names[0]).await.status, 204);
    secrets.extend(refused_secrets(&app).await);
    secrets.extend(secrets_behind_failures(&app).await);
    program.signal("TERM");

    let ended = program.ended().await;

    assert!(ended.stdout.len() > names.len(), "there is a log to look at: {ended:?}");
    for line in ended.stdout.iter().chain(&ended.stderr) {
        for secret in &secrets {
            assert!(!line.contains(secret.as_str()), "{secret:?} stands in {line}");
        }
    }
    for line in &ended.stdout {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|event| event.is_object()), "not JSON: {line}");
    }
    assert!(ended.stderr.is_empty(), "{:?}", ended.stderr);
}

/// What stands in the tag after its fixed start.
fn segment(tag: &str) -> String {
    tag.rsplit('/').next().expect("a segment").to_owned()
}

/// Requests whose tokens or parameters are refused.
async fn refused_secrets(app: &TestApp) -> Vec<String> {
    let forged = app.entra.token().build() + "forged";
    let uui_data = "not-hexadecimal-123456";
    let stranger = "a-token-that-genesys-does-not-know";

    let create = app.request(Method::POST, &format!("room/create?uuiData={UUI_DATA}")).bearer_auth(&forged);
    app.send(create).await.assert_problem(401, "token_invalid");
    app.create_room_for(uui_data).await.assert_problem(400, "uui_data_invalid");
    let look = app.request(Method::GET, "public/room/vbv-1").header("x-auth-token", stranger);
    app.send(look).await.assert_problem(401, "token_invalid");
    let key = "key-of-the-functions-host";
    app.send(app.request(Method::GET, &format!("health/live?code={key}")).header("x-functions-key", key)).await;
    vec![forged, UUI_DATA.to_owned(), uui_data.to_owned(), stranger.to_owned(), key.to_owned()]
}

/// A Pexip that says in its refusals what it was sent.
async fn secrets_behind_failures(app: &TestApp) -> Vec<String> {
    let body = json!({ "conference": { "tag": [format!("{TAG} cannot be used")], "pin": ["31415926535897"] } });
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    for status in [400, 500, 503] {
        let fault = Fault::StatusWith { status, headers: headers.clone(), body: body.to_string() };
        app.pexip.traffic().inject(Matching::any(), Times::Always, fault);
        assert_ne!(app.create_room().await.status, 200);
        app.pexip.traffic().heal();
    }
    vec![TAG.to_owned(), segment(TAG), "31415926535897".to_owned(), pexip::PASSWORD.to_owned()]
}
