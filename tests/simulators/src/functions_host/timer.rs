//! A timer's invocation: the envelope, and how the host interprets the reply.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use super::forwarding::add_host_headers;
use super::wire;
use crate::identifier::guid;

/// Outcome of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// With the log lines of the reply.
    Succeeded { logs: Vec<String> },
    /// The host would retry if the function had a retry policy.
    Failed { cause: String },
    /// No result: the process was killed at `functionTimeout`.
    TimedOut,
    /// The function is disabled, or the host has stopped.
    NotRun,
}

/// .NET's round-trip format: seven fractional digits, with an offset.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]+00:00");

/// .NET's default time, which stands for "never".
const NEVER: &str = "0001-01-01T00:00:00";

/// The request body for a timer that runs every minute.
pub(super) fn envelope(function: &str, binding: &str, last: Option<OffsetDateTime>, now: OffsetDateTime) -> Value {
    let last = last.map_or_else(|| NEVER.to_owned(), written);
    let next = written(
        now.replace_second(0).and_then(|minute| minute.replace_nanosecond(0)).unwrap_or(now) + Duration::MINUTE,
    );
    let now = written(now);
    json!({
        "Data": { binding: {
            "Schedule": { "AdjustForDST": true },
            "ScheduleStatus": { "Last": &last, "Next": next, "LastUpdated": &last },
            "IsPastDue": false
        } },
        "Metadata": { "sys": { "MethodName": function, "UtcNow": now, "RandGuid": guid() } }
    })
}

/// Invokes the function. A reply that the host cannot interpret never ends the invocation.
pub(super) async fn invoke(address: SocketAddr, function: &str, envelope: &Value) -> Invocation {
    match exchange(address, function, envelope).await {
        Ok((status, headers, body)) => match judge(status, &headers, &body) {
            Some(invocation) => invocation,
            None => std::future::pending().await,
        },
        Err(error) => Invocation::Failed { cause: error.to_string() },
    }
}

type Reply = (u16, HeaderMap, Vec<u8>);

async fn exchange(
    address: SocketAddr,
    function: &str,
    envelope: &Value,
) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
    // No route prefix: the path is between host and handler.
    let mut request = Request::post(format!("/{function}"))
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json; charset=utf-8")
        .body(Body::from(envelope.to_string()))?;
    add_host_headers(request.headers_mut());
    let (head, body) = wire::send(wire::connect(address).await?, request).await?.into_parts();
    Ok((head.status.as_u16(), head.headers, to_bytes(body, usize::MAX).await?.into()))
}

/// `None` if the host keeps waiting for a result.
fn judge(status: u16, headers: &HeaderMap, body: &[u8]) -> Option<Invocation> {
    let failed = |cause: String| Some(Invocation::Failed { cause });
    if !(200..300).contains(&status) {
        return failed(format!("answered with {status}"));
    }
    if status == 204 || body.is_empty() {
        return None;
    }
    let is_json = |value: &axum::http::HeaderValue| value.as_bytes().starts_with(b"application/json");
    if !headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return failed("Invalid HttpResponseMessage: not application/json".to_owned());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Null) => None,
        Ok(Value::Object(reply)) => {
            let logs = reply.get("Logs").and_then(Value::as_array).into_iter().flatten();
            Some(Invocation::Succeeded { logs: logs.filter_map(Value::as_str).map(ToOwned::to_owned).collect() })
        }
        Ok(other) => failed(format!("not an object: {other}")),
        Err(error) => failed(format!("no JSON: {error}")),
    }
}

fn written(time: OffsetDateTime) -> String {
    time.format(TIME).expect("the format has only what a time has")
}
