//! What all answers have in common, and the answers to malformed and unknown requests.

use std::collections::HashSet;

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use crate::support::{Answer, TestApp, eventually};

/// Source: OWASP REST Security Cheat Sheet, "Security Headers".
const FIXED_HEADERS: [(&str, &str); 7] = [
    ("maxconf-version", maxconf::telemetry::VERSION),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
];

#[tokio::test]
async fn every_answer_carries_the_agreed_headers() {
    let app = TestApp::without_pool().await;
    let created = app.create_room().await;
    let room = format!("public/room/{}", created.room());
    let preflight = app.request(Method::OPTIONS, &room).header("origin", "https://agent.example.org");
    let token = app.genesys.issue_token();
    for (expected, content_type, answer) in [
        (200, "application/json", created.clone()),
        (200, "application/json", app.send(app.request(Method::GET, &room).header("x-auth-token", token)).await),
        (204, "", app.delete_room(&created.room()).await),
        (200, "application/json", app.run_maintenance().await),
        (200, "application/json", app.send(app.request(Method::GET, "health/live")).await),
        (200, "text/plain; charset=utf-8", app.send(app.request(Method::GET, "")).await),
        (200, "", app.send(preflight).await),
        (400, "application/problem+json", app.create_room_for("3").await),
        (401, "application/problem+json", app.send(app.request(Method::POST, "room/create")).await),
        (404, "application/problem+json", app.send(app.request(Method::GET, "nothing")).await),
        (405, "application/problem+json", app.send(app.request(Method::GET, "room/create")).await),
        (413, "application/problem+json", app.send(app.request(Method::GET, "").body("a".repeat(20_000))).await),
    ] {
        assert_eq!(answer.status, expected, "{answer:?}");
        assert_eq!(answer.header("content-type"), content_type, "{answer:?}");
        assert_agreed_headers(&answer);
    }
}

fn assert_agreed_headers(answer: &Answer) {
    for (name, value) in FIXED_HEADERS {
        let values: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}: {answer:?}");
    }
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1, "{answer:?}");
    assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    assert!(!answer.headers.contains_key("server") && !answer.headers.contains_key("x-powered-by"), "{answer:?}");
}

#[tokio::test]
async fn answers_under_load_carry_the_agreed_headers() {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("MAX_CONCURRENT_REQUESTS", 1)
        .set("RATE_LIMIT_PER_MINUTE", 2)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
        .set("REQUEST_DEADLINE_SECONDS", 3)
        .start()
        .await;
    let chunks =
        "POST /room/create HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nx\r\n";
    let endless = "POST /room/create HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nabc";
    for (request, status, code) in [(chunks, 400, "request_invalid"), (endless, 504, "deadline_exceeded")] {
        let answer = app.send_raw(request).await;
        answer.assert_problem(status, code);
        assert_agreed_headers(&answer);
    }
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let create = || app.create_room();
    let (slow, refused) = tokio::join!(create(), async {
        eventually("Pexip is called", async || !app.pexip.traffic().log().is_empty()).await;
        create().await
    });
    app.pexip.traffic().heal();
    // A request refused as `overloaded` does not count against its caller's rate.
    let second = create().await;
    let third = create().await;
    assert_eq!(second.status, 200, "{second:?}");
    let answers = [(503, "no_room", slow), (503, "overloaded", refused), (429, "rate_limited", third)];
    for (status, code, answer) in answers {
        answer.assert_problem(status, code);
        assert_agreed_headers(&answer);
    }
}

#[tokio::test]
async fn a_valid_request_id_is_echoed_and_an_invalid_one_replaced() {
    let app = TestApp::without_pool().await;
    let ask = async |id: &[u8]| app.send(app.request(Method::GET, "nothing").header("x-request-id", id)).await;
    for id in ["a", "0", "_-_", "019351d1-a2b3-7c4d-8e5f-0123456789ab", &"Z".repeat(64)] {
        let answer = ask(id.as_bytes()).await;
        assert_eq!(answer.header("x-request-id"), id);
        answer.assert_problem(404, "not_found");
    }
    let mut made = HashSet::new();
    for id in ["", "a b", "a.b", "a,b", "a\tb", "a/b", "a=\"b\"", "<b>", "{}", "é", "a%0ab", &"Z".repeat(65)] {
        let answer = ask(id.as_bytes()).await;
        answer.assert_problem(404, "not_found");
        assert!(made.insert(answer.header("x-request-id").to_owned()), "twice the same: {answer:?}");
    }
    assert!(made.insert(ask(b"\xff\xfe").await.header("x-request-id").to_owned()));
    assert!(made.insert(app.send(app.request(Method::GET, "")).await.header("x-request-id").to_owned()));
    for id in made {
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        assert!(plain && (20..=64).contains(&id.len()), "{id}");
    }
}

#[tokio::test]
async fn unknown_paths_are_404_and_unknown_methods_405_without_a_token() {
    let app = TestApp::without_pool().await;
    let own = |name: &str| Method::from_bytes(name.as_bytes()).expect("a method");
    for path in
        ["nothing", "room", "room/", "room/a/b", "Room/Create", "room/create/", "room/create/x", "public/room", "admin"]
    {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS, own("BREW")] {
            // The CORS middleware answers these itself.
            if method == Method::OPTIONS && path.starts_with("public/") {
                continue;
            }
            app.send(app.request(method, path)).await.assert_problem(404, "not_found");
        }
    }
    for (path, allowed) in [
        ("room/create", "DELETE,POST"),
        ("room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "DELETE,GET,HEAD"),
        ("public/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "GET,HEAD"),
        ("health/live", "GET,HEAD"),
        ("function_pool_maintenance", "POST"),
        ("", "GET,HEAD"),
    ] {
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "post", "PROPFIND"];
        for method in methods.into_iter().filter(|method| !allowed.split(',').any(|one| one == *method)) {
            let answer = app.send(app.request(own(method), path)).await;
            answer.assert_problem(405, "method_not_allowed");
            let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
            methods.sort_unstable();
            assert_eq!(methods.join(","), allowed, "{method} {path}: {answer:?}");
        }
    }
    app.assert_no_outside_calls("unknown paths and methods");
}

#[tokio::test]
async fn a_head_is_answered_like_a_get_without_its_body() {
    let app = TestApp::without_pool().await;
    for (path, status) in [("health/live", 200), ("", 200), ("nothing", 404), ("room/create", 405)] {
        let answer = app.send(app.request(Method::HEAD, path)).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, ""), "{path}: {answer:?}");
        assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    }
    let answer = app.send(app.request(Method::HEAD, "public/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (401, "application/problem+json"));
    app.assert_no_outside_calls("HEAD");
}

#[tokio::test]
async fn malformed_targets_are_problems_and_cause_no_upstream_call() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    let long = format!("/room/{}", "a".repeat(25_000));
    let mut targets: Vec<String> = [
        "//",
        "///room/create",
        "//room/create",
        "/room//create",
        "/./room/create",
        "/../room/create",
        "/room/../room/create",
        "/room/.",
        "/room/..",
        "/room/%2e%2e",
        "/%2e%2e/room/create",
        "/room/%2e%2e%2fcreate",
        "/room/%00",
        "/room/%0d%0ax:y",
        "/room/%ff",
        "/room/%",
        "/room/%zz",
        "/room/%c3%28",
        "/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq%00",
        "/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq/",
        "/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq%2f",
        "/room/*",
        "/room/{name}",
        "/room/;a=b",
        "/room/create;a=b",
        "/ROOM/CREATE",
        "/room%2fcreate",
        "/health/%ff",
        "/function_room_create",
        "/FUNCTION_POOL_MAINTENANCE",
        "//function_pool_maintenance",
        "/room/../function_pool_maintenance",
        "/function_pool_maintenance/",
        "/function_pool_maintenance/x",
        "/function_pool_maintenance%2f",
        "/function_pool_maintenance%00",
        "/function_pool_maintenance;a=b",
        "/health/%2e",
        "/public/room/",
        "/public/room/..",
        "*",
        "/*",
        "http://elsewhere.example/nothing",
        "http://elsewhere.example",
        "/room/create%20",
        "/room/%63reat%65%00",
    ]
    .map(ToOwned::to_owned)
    .into();
    targets.push(long);
    for target in targets {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT"] {
            // The host's probe and preflights are not answered with problems.
            let is_probe = target == "http://elsewhere.example" && ["GET", "HEAD"].contains(&method);
            if is_probe || (method == "OPTIONS" && target.starts_with("/public/")) {
                continue;
            }
            for authorization in [String::new(), format!("authorization: Bearer {token}\r\n")] {
                let head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{authorization}connection: close\r\n\r\n");
                let answer = app.send_raw(head).await;
                let context = format!("{method} {} {answer:?}", target.chars().take(60).collect::<String>());
                assert!(!answer.header("x-request-id").is_empty(), "{context}");
                if method == "HEAD" {
                    assert!([401, 404, 405].contains(&answer.status.as_u16()), "{context}");
                    continue;
                }
                let code = answer.json()["code"].as_str().expect("a code").to_owned();
                answer.assert_problem(answer.status.as_u16(), &code);
                let refused = match (method, authorization.is_empty()) {
                    ("GET" | "DELETE", true) => "token_missing",
                    // The public route has a token of its own.
                    ("GET", false) if target.contains("public") => "token_missing",
                    _ => "room_not_found",
                };
                assert!([refused, "not_found", "method_not_allowed"].contains(&code.as_str()), "{context}");
            }
        }
    }
    app.assert_no_outside_calls("odd targets");
}

#[tokio::test]
async fn invalid_http_is_refused_before_it_reaches_the_service() {
    let app = TestApp::without_pool().await;
    for (request, status) in [
        ("GET /a b HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /\u{1} HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nauthorization: Bearer a\u{0}b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nauthorization : Bearer a\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na".to_owned(), 400),
    ] {
        let answer = app.send_raw(request).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    app.assert_no_outside_calls("no requests");
}

#[tokio::test]
async fn delete_of_a_room_named_create_is_guarded_and_always_404() {
    let app = TestApp::without_pool().await;
    for path in ["room/create", "room/%63reate", "room/create?uuiData=31"] {
        let ask = || app.request(Method::DELETE, path);
        app.send(ask()).await.assert_problem(401, "token_missing");
        app.send(ask().bearer_auth("a.b.c")).await.assert_problem(401, "token_invalid");
        let create_only = app.entra.token().roles(["Room.Create"]).build();
        app.send(ask().bearer_auth(create_only)).await.assert_problem(403, "not_permitted");
        let answer = app.send(ask().bearer_auth(app.entra.token().build())).await;
        answer.assert_problem(404, "room_not_found");
    }
    app.assert_no_outside_calls("a room called create");
}
