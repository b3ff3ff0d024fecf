//! A scripted custom handler: `START` controls its start, `REPLY` its reply to timers, and the path its answer to a
//! request. It echoes every other request and logs each on stdout.

use std::env;
use std::net::Ipv4Addr;
use std::process::exit;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::main]
async fn main() {
    println!("arguments {:?}", env::args().skip(1).collect::<Vec<_>>());
    match variable("START").split_once(' ') {
        Some(("exit", code)) => exit(code.parse().expect("a code")),
        Some(("deaf", _)) => std::future::pending().await,
        _ => {}
    }
    eprintln!("Warning: nobody was asked");
    eprintln!("something has failed");
    let port = variable("FUNCTIONS_CUSTOMHANDLER_PORT").parse().expect("a port");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
    axum::serve(listener, Router::new().fallback(answer)).await.expect("the server runs until it is killed");
}

async fn answer(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path != "/" {
        println!("asked {path}");
    }
    match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["do", "exit", code] => exit(code.parse().expect("a code")),
        ["do", "stall"] => std::future::pending().await,
        ["do", "linger"] => linger().await,
        ["do", "refuse"] => (StatusCode::IM_A_TEAPOT, [("x-own", "kept")], "no").into_response(),
        ["tick"] if variable("REPLY").is_empty() => log(request).await,
        ["tick"] => reply(),
        _ => ([(CONTENT_TYPE, "application/json")], echo(request).await.to_string()).into_response(),
    }
}

/// Logs whether the request was processed to its end.
async fn linger() -> Response {
    struct Lingering {
        is_done: bool,
    }
    impl Drop for Lingering {
        fn drop(&mut self) {
            println!("{}", if self.is_done { "finished" } else { "broken off" });
        }
    }
    let mut lingering = Lingering { is_done: false };
    println!("lingering");
    sleep(Duration::from_millis(300)).await;
    lingering.is_done = true;
    "at last".into_response()
}

/// `REPLY` is a status, a content type and a body.
fn reply() -> Response {
    let reply = variable("REPLY");
    let mut parts = reply.splitn(3, ' ').map(ToOwned::to_owned);
    let status: u16 = parts.next().and_then(|status| status.parse().ok()).expect("a status");
    let (content_type, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    (StatusCode::from_u16(status).expect("a status"), [(CONTENT_TYPE, content_type)], body).into_response()
}

/// A timer's reply with a log line.
async fn log(request: Request) -> Response {
    let reply = json!({ "Outputs": {}, "Logs": [echo(request).await.to_string()], "ReturnValue": null });
    ([(CONTENT_TYPE, "application/json")], reply.to_string()).into_response()
}

async fn echo(request: Request) -> Value {
    let (head, body) = request.into_parts();
    let headers: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    json!({
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    })
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
