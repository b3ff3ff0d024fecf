//! Bodies that are ignored, too large, malformed or without an end.

use futures_util::future::join_all;
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{IDIM_CREATE, IDIM_DELETE, TAG, TestApp, within};

const LARGEST_BODY: usize = 16 * 1024;

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
