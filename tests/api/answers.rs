//! What all answers have in common, and the answers to malformed and unknown requests.

use std::collections::HashSet;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, IDIM_CREATE, IDIM_DELETE, TAG, TestApp, eventually, within};

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

const LARGEST_BODY: usize = 16 * 1024;

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

#[tokio::test]
async fn a_body_is_ignored_up_to_its_bound() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    let ask = |path: &str| app.request(Method::POST, path).bearer_auth(&token);
    for (body, content_type) in [
        (br#"{"uuiData":"00"}"#.to_vec(), "application/json"),
        (b"uuiData=00".to_vec(), "application/x-www-form-urlencoded"),
        (b"{".to_vec(), "application/json"),
        (vec![0xff; LARGEST_BODY], "text/plain; charset=utf-8"),
    ] {
        let request = |path: &str| ask(path).body(body.clone()).header("content-type", content_type);
        app.send(request("room/create")).await.assert_problem(400, "uui_data_missing");
        let answer = app.send(request(IDIM_CREATE.path)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["tag"]), (200, &TAG.into()), "{answer:?}");
        let answer = app.send(request(IDIM_DELETE.path).header("x-http-method-override", "DELETE")).await;
        answer.assert_problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused_on_every_route() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    for (method, path) in [
        ("POST", "/room/create?uuiData=31"),
        ("DELETE", "/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq"),
        ("GET", "/public/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq"),
        ("POST", "/function_pool_maintenance"),
        ("GET", "/health/ready"),
        ("POST", "/nothing"),
        ("PUT", "/room/create"),
    ] {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n");
        for length in [LARGEST_BODY + 1, 3 * LARGEST_BODY] {
            let body = "a".repeat(length);
            let with_length = format!("{head}content-length: {length}\r\n\r\n{body}");
            let in_one_chunk = format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
            let chunks = format!("400\r\n{}\r\n", &body[..1024]).repeat(length / 1024 + 1);
            let in_chunks = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
            for request in [with_length, in_one_chunk, in_chunks] {
                app.send_raw(request).await.assert_problem(413, "body_too_large");
            }
        }
    }
    // A body announced with `expect: 100-continue` is refused before its first byte.
    let announced = "POST /room/create HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 999999\r\n\r\n";
    app.send_raw(announced).await.assert_problem(413, "body_too_large");
    app.assert_no_outside_calls("large bodies");
}

/// Sends all of the request before it reads the answer, as the Functions host and most clients do.
async fn written_before_it_is_read(app: &TestApp, head: String, body: usize) -> String {
    let address = app.url.socket_addrs(|| None).expect("an address")[0];
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("the head is taken");
        let part = vec![b'a'; 64 * 1024];
        let mut left = body;
        while left > 0 {
            let length = left.min(part.len());
            stream.write_all(&part[..length]).await.expect("the body is taken");
            left -= length;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer, and not a reset");
        answer
    };
    within("an exchange", exchange).await
}

#[tokio::test]
async fn whoever_writes_a_whole_body_before_reading_gets_the_answer() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_EVENT_USERNAME", "nodes");
    let app = app.set("PEXIP_EVENT_PASSWORD", "a-password").start().await;
    let token = app.entra.token().build();
    for (method, path, status) in [
        ("POST", "/room/create?uuiData=31", 413),
        ("DELETE", "/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", 413),
        ("GET", "/public/room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", 413),
        ("GET", "/health/live", 413),
        ("POST", "/function_pool_maintenance", 413),
        ("POST", "/nothing", 413),
        // Refused before its body is read.
        ("POST", "/public/event_sink", 401),
    ] {
        for body in [20_000, 300_000, 5 * 1024 * 1024] {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
                 content-length: {body}\r\n\r\n"
            );
            let answer = written_before_it_is_read(&app, head, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path} {body}: {answer}");
        }
    }
    assert!(app.pexip.traffic().log().is_empty() && app.genesys.traffic().log().is_empty());
}

#[tokio::test]
async fn whoever_writes_too_large_a_head_before_reading_gets_the_answer() {
    let app = TestApp::without_pool().await;
    for length in [40_000, 5 * 1024 * 1024] {
        let answer = written_before_it_is_read(&app, "GET /health/live HTTP/1.1\r\nx-large: ".to_owned(), length).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{length}: {answer}");
    }
    app.assert_no_outside_calls("large heads");
}

#[tokio::test]
async fn a_body_that_does_not_end_is_dropped_for_a_bounded_time_only() {
    let app = TestApp::without_pool().await;
    let address = app.url.socket_addrs(|| None).expect("an address")[0];
    let endless = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = "POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("the head is taken");
        let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    };
    within("the end of the connection", endless).await;
}

#[tokio::test]
async fn looks_of_agents_leave_places_to_creates() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("MAX_CONCURRENT_REQUESTS", 4).start().await;
    let name = app.create_room().await.room();
    app.pexip.traffic().inject(Matching::method(Method::GET).query_contains(&name), Times::Always, Fault::Stall);
    let looks: Vec<_> = (0..6)
        .map(|_| {
            let look = app.request(Method::GET, &format!("public/room/{name}"));
            tokio::spawn(look.header("x-auth-token", app.genesys.issue_token()).send())
        })
        .collect();
    eventually("looks are refused", async || looks.iter().filter(|look| look.is_finished()).count() >= 4).await;
    let created = app.create_room().await;
    assert_eq!(created.status, 200, "{created:?}");
    app.pexip.traffic().heal();
    let mut statuses = Vec::new();
    for look in looks {
        statuses.push(within("an answer", look).await.expect("no panic").expect("an answer").status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503, 503, 503]);
}

#[tokio::test]
async fn a_body_with_malformed_chunks_is_request_invalid() {
    let app = TestApp::without_pool().await;
    for path in ["/room/create", "/health/live", "/function_pool_maintenance", "/nothing"] {
        for chunks in ["x\r\n", "5\r\nabcdef\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\n"] {
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n");
            let answer = app.send_raw(format!("{head}\r\n{chunks}")).await;
            answer.assert_problem(400, "request_invalid");
        }
    }
    app.assert_no_outside_calls("malformed bodies");
}

#[tokio::test]
async fn an_unfinished_body_ends_in_504_at_the_deadline() {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
        .set("REQUEST_DEADLINE_SECONDS", 2)
        .start()
        .await;
    let head = "POST /room/create?uuiData=31 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let endless = ["content-length: 5\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n5\r\nab"];
    for answer in join_all(endless.map(|body| app.send_raw(format!("{head}{body}")))).await {
        answer.assert_problem(504, "deadline_exceeded");
    }
    app.assert_no_outside_calls("endless bodies");
}

#[tokio::test]
async fn requests_above_the_concurrency_limit_are_overloaded() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("MAX_CONCURRENT_REQUESTS", 1).start().await;
    app.pexip.traffic().inject(Matching::any(), Times::Once, Fault::Stall);
    let token = app.entra.token().build();
    let ask = || app.request(Method::POST, IDIM_CREATE.path).bearer_auth(&token);
    let stalled = tokio::spawn(ask().send());
    eventually("Pexip is called", async || !app.pexip.traffic().log().is_empty()).await;
    let reads = (0..5).map(|_| app.send(app.request(Method::GET, "public/room/x").header("x-auth-token", "x")));
    for answer in join_all((0..5).map(|_| app.send(ask()))).await.into_iter().chain(join_all(reads).await) {
        answer.assert_problem(503, "overloaded");
    }
    app.pexip.traffic().heal();
    let answer = Answer::read(within("an answer", stalled).await.expect("no panic").expect("an answer")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(app.send(ask()).await.status, 200);
}
