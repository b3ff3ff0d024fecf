//! CORS: a browser lets the agent's widget read every answer, and no other page any.

use maxconf_simulators::{Fault, GenesysToken, Matching, StoredRoom, Times};
use reqwest::{Method, RequestBuilder};

use crate::support::{Answer, IDIM_ROUTES, TAG, TestApp, eventually};

const ROOM: &str = "public/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
const WIDGET: &str = "https://agent.example.org";

/// Origins that only resemble a listed one, and values that are not the origin of one page.
const FOREIGN: [&str; 14] = [
    "null",
    "*",
    "",
    "https://evil.example",
    "http://agent.example.org",
    "https://agent.example.org:8443",
    "https://agent.example.org.evil.example",
    "https://evil.example/https://agent.example.org",
    "https://evilagent.example.org",
    "https://example.org",
    "https://agent.example.org/",
    "https://agent.example.org,https://evil.example",
    "https://AGENT.example.org",
    "agent.example.org",
];

async fn start() -> TestApp {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
        .set("CORS_ALLOWED_ORIGINS", format!("{WIDGET}, https://second.example.org:8443/"))
        .start()
        .await;
    app.pexip.insert(StoredRoom::named(&ROOM[12..]).tagged(TAG));
    app
}

fn preflight(app: &TestApp, path: &str, origin: &str) -> RequestBuilder {
    app.request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "x-auth-token")
}

fn read(app: &TestApp, origin: &str) -> RequestBuilder {
    app.request(Method::GET, ROOM).header("origin", origin)
}

fn cors_headers(answer: &Answer) -> Vec<String> {
    let names = answer.headers.keys().map(|name| name.as_str().to_owned());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("access-control-")).collect();
    names.sort();
    names
}

/// Asserts that a page of this origin can read the answer (not for preflights).
#[track_caller]
fn assert_readable(answer: &Answer, origin: &str) {
    assert_eq!(cors_headers(answer), ["access-control-allow-origin", "access-control-expose-headers"], "{answer:?}");
    assert_eq!(answer.headers.get_all("access-control-allow-origin").iter().count(), 1, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), origin, "{answer:?}");
    assert_eq!(answer.header("access-control-expose-headers"), "x-request-id,retry-after,www-authenticate");
    assert_varies(answer);
}

/// Without `Vary`, a cache could serve one origin's answer to another.
#[track_caller]
fn assert_varies(answer: &Answer) {
    let vary = answer.headers.get_all("vary").iter().map(|value| value.to_str().expect("text")).collect::<Vec<_>>();
    let vary = vary.join(",").to_ascii_lowercase().replace(' ', "");
    assert_eq!(vary, "origin,access-control-request-method,access-control-request-headers", "{answer:?}");
}

#[tokio::test]
async fn a_preflight_of_the_widget_is_answered_without_a_token() {
    let app = start().await;
    for origin in [WIDGET, "https://second.example.org:8443"] {
        for path in [ROOM, "public/room/no-room-of-ours", "public/room/%ff", "public/room/a/b", "public/x", "public/"] {
            let answer = app.send(preflight(&app, path, origin)).await;
            assert!(answer.status.is_success(), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert_eq!(answer.header("access-control-allow-methods"), "GET");
            let allowed = "x-auth-token,x-request-id,traceparent,tracestate,request-id";
            assert_eq!(answer.header("access-control-allow-headers"), allowed);
            assert_eq!(answer.header("access-control-max-age"), "7200");
            assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{answer:?}");
            assert_varies(&answer);
            assert_eq!(answer.text, "");
        }
    }
    app.assert_no_outside_calls("preflight");
}

#[tokio::test]
async fn the_widget_can_read_the_room() {
    let app = start().await;
    for origin in [WIDGET, "https://second.example.org:8443"] {
        let answer = app.send(read(&app, origin).header("x-auth-token", app.genesys.issue_token())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_readable(&answer, origin);
    }
}

#[tokio::test]
async fn the_widget_can_read_every_error() {
    let app = start().await;
    let token = app.genesys.issue_token();
    let stranger = app.genesys.issue(GenesysToken::default().state("inactive"));
    let ask =
        |method: Method, path: &str| app.request(method, path).header("origin", WIDGET).header("x-auth-token", &token);
    let pexip = Matching::any().path_contains("/conference");
    for (request, status, code) in [
        (read(&app, WIDGET), 401, "token_missing"),
        (read(&app, WIDGET).header("x-auth-token", "too-short"), 401, "token_invalid"),
        (ask(Method::GET, ROOM).header("x-auth-token", &token), 400, "request_invalid"),
        (read(&app, WIDGET).header("x-auth-token", stranger), 403, "not_permitted"),
        (ask(Method::GET, "public/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqr"), 404, "room_not_found"),
        (ask(Method::GET, "public/room/foreign"), 404, "room_not_found"),
        (ask(Method::GET, "public/room/%ff"), 404, "room_not_found"),
        (ask(Method::GET, "public/room/a/b"), 404, "not_found"),
        (ask(Method::GET, "public/room/"), 404, "not_found"),
        (ask(Method::GET, "public/nothing?x=1"), 404, "not_found"),
        (ask(Method::GET, "public/"), 404, "not_found"),
        (ask(Method::DELETE, "public/x"), 404, "not_found"),
        (ask(Method::POST, ROOM), 405, "method_not_allowed"),
        (ask(Method::DELETE, ROOM), 405, "method_not_allowed"),
        (ask(Method::GET, ROOM).body("a".repeat(16 * 1024 + 1)), 413, "body_too_large"),
    ] {
        let answer = app.send(request).await;
        answer.assert_problem(status, code);
        assert_readable(&answer, WIDGET);
    }
    for (fault, status, code) in [
        (Fault::Status(401), 502, "pexip_refused"),
        (Fault::Rubbish, 502, "pexip_invalid"),
        (Fault::Status(503), 503, "pexip_unavailable"),
        (Fault::Stall, 504, "pexip_timeout"),
    ] {
        app.pexip.traffic().inject(pexip.clone(), Times::Once, fault);
        let answer = app.send(ask(Method::GET, ROOM)).await;
        answer.assert_problem(status, code);
        assert_readable(&answer, WIDGET);
    }
    app.genesys.traffic().inject(Matching::any(), Times::Always, Fault::Status(429));
    let answer = app.send(read(&app, WIDGET).header("x-auth-token", app.genesys.issue_token())).await;
    answer.assert_problem(503, "genesys_unavailable");
    assert_readable(&answer, WIDGET);
}

#[tokio::test]
async fn the_widget_can_read_overloaded_and_deadline_exceeded() {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("MAX_CONCURRENT_REQUESTS", 1)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
        .set("REQUEST_DEADLINE_SECONDS", 2)
        .start()
        .await;
    let head = format!("GET /{ROOM} HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {WIDGET}\r\n");
    let answer = app.send_raw(format!("{head}content-length: 5\r\n\r\nabc")).await;
    answer.assert_problem(504, "deadline_exceeded");
    assert_readable(&answer, WIDGET);

    app.genesys.traffic().inject(Matching::any(), Times::Once, Fault::Stall);
    let stalled = tokio::spawn(read(&app, WIDGET).header("x-auth-token", app.genesys.issue_token()).send());
    eventually("Genesys is called", async || !app.genesys.traffic().log().is_empty()).await;
    let answer = app.send(read(&app, WIDGET)).await;
    answer.assert_problem(503, "overloaded");
    assert_readable(&answer, WIDGET);
    stalled.abort();
}

#[tokio::test]
async fn a_foreign_page_can_read_nothing() {
    let app = start().await;
    let token = app.genesys.issue_token();
    for origin in FOREIGN {
        let preflight = app.send(preflight(&app, ROOM, origin)).await;
        let with_token = app.send(read(&app, origin).header("x-auth-token", &token)).await;
        let without_token = app.send(read(&app, origin)).await;
        let wrong_method = app.send(app.request(Method::PUT, ROOM).header("origin", origin)).await;
        let wrong_path = app.send(app.request(Method::GET, "public/nothing").header("origin", origin)).await;
        // CORS restricts what pages can read, not who can send requests.
        assert_eq!(with_token.status, 200, "{origin}: {with_token:?}");
        without_token.assert_problem(401, "token_missing");
        wrong_method.assert_problem(405, "method_not_allowed");
        wrong_path.assert_problem(404, "not_found");
        for answer in [preflight, with_token, without_token, wrong_method, wrong_path] {
            assert_eq!(cors_headers(&answer), [""; 0], "{origin}: {answer:?}");
            assert_varies(&answer);
        }
    }
    let no_origin = app.send(app.request(Method::GET, ROOM).header("x-auth-token", &token)).await;
    assert_eq!(cors_headers(&no_origin), [""; 0], "{no_origin:?}");
    assert_varies(&no_origin);
}

#[tokio::test]
async fn without_allowed_origins_no_page_can_read_anything() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("CORS_ALLOWED_ORIGINS", "").start().await;
    for origin in [WIDGET, "null", "*"] {
        for request in [preflight(&app, ROOM, origin), read(&app, origin)] {
            let answer = app.send(request).await;
            assert_eq!(cors_headers(&answer), [""; 0], "{answer:?}");
        }
    }
}

#[tokio::test]
async fn routes_outside_public_have_no_cors() {
    let app = start().await;
    for route in &IDIM_ROUTES {
        let request = app.request(route.method.clone(), route.path).header("origin", WIDGET);
        let answer = app.send(request.try_clone().expect("no stream").bearer_auth(app.entra.token().build())).await;
        assert!([200, 204].contains(&answer.status.as_u16()), "{answer:?}");
        assert_eq!(cors_headers(&answer), [""; 0], "{answer:?}");
        let answer = app.send(request).await;
        answer.assert_problem(401, "token_missing");
        assert_eq!(cors_headers(&answer), [""; 0], "{answer:?}");
        let answer = app.send(preflight(&app, route.path, WIDGET)).await;
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(cors_headers(&answer), [""; 0], "{answer:?}");
    }
    for path in
        ["", "health/live", "health/ready", "nothing", "public", "publicity", "PUBLIC/room/x", "x/public/room/y"]
    {
        for method in [Method::GET, Method::OPTIONS] {
            let answer = app.send(app.request(method, path).header("origin", WIDGET)).await;
            assert_eq!(cors_headers(&answer), [""; 0], "{path}: {answer:?}");
        }
    }
}
