//! Forwarding of HTTP requests to the handler: rebuilt by an older host, or through a reverse proxy.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    ALLOW, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
    CONTENT_TYPE, EXPIRES, HOST, LAST_MODIFIED, USER_AGENT,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio::time::sleep;
use url::{Url, form_urlencoded};

use super::{HOST_VERSION, Mode, wire};
use crate::identifier::guid;

pub(super) const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
const HOST_VERSION_HEADER: HeaderName = HeaderName::from_static("x-azure-functions-hostversion");
const MS_INVOCATION_ID: HeaderName = HeaderName::from_static("x-ms-invocation-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that .NET counts to the body, not to the request.
const CONTENT_HEADERS: [HeaderName; 11] = [
    ALLOW,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    EXPIRES,
    LAST_MODIFIED,
    HeaderName::from_static("content-md5"),
];

/// Number of the proxy's attempts to connect to the handler.
const PROXY_ATTEMPTS: u32 = 10;

/// Why there is no answer of the handler.
#[derive(Debug)]
pub(super) struct NoAnswer(String);

impl NoAnswer {
    fn because(cause: impl Display) -> Self {
        Self(cause.to_string())
    }
}

impl Display for NoAnswer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Forwards the request to the handler at `address`.
pub(super) async fn send_to_handler(
    mode: Mode,
    address: SocketAddr,
    mut request: Request,
) -> Result<Response, NoAnswer> {
    restore_host(request.headers_mut());
    match mode {
        Mode::Forwarding => forward(address, request).await,
        Mode::Proxying => proxy(address, request).await,
    }
}

/// On Linux the platform's front end moves the caller's `Host` into this header.
fn restore_host(headers: &mut HeaderMap) {
    if let Some(original) = headers.get("disguised-host").cloned() {
        headers.insert(HOST, original);
    }
}

/// Rebuilds the request; reads the whole answer before forwarding it.
async fn forward(address: SocketAddr, request: Request) -> Result<Response, NoAnswer> {
    let (head, body) = request.into_parts();
    let length: Option<u64> = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    // A body without a length counts as empty: a chunked body is lost.
    let body = match length {
        Some(1..) => Some(to_bytes(body, usize::MAX).await.map_err(NoAnswer::because)?),
        _ => None,
    };
    let content_type = head.headers.get(CONTENT_TYPE).cloned().filter(|_| body.is_some());

    let mut forwarded = axum::http::Request::new(body.map_or_else(Body::empty, Body::from));
    *forwarded.method_mut() = head.method;
    *forwarded.uri_mut() = rebuilt(&head.uri)?;
    let headers = forwarded.headers_mut();
    *headers = head.headers;
    wire::remove_hop_by_hop(headers);
    for name in CONTENT_HEADERS {
        headers.remove(name);
    }
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, content_type);
    }
    add_host_headers(headers);

    let stream = wire::connect(address).await.map_err(NoAnswer::because)?;
    let (mut head, body) = wire::send(stream, forwarded).await.map_err(NoAnswer::because)?.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(NoAnswer::because)?;
    wire::remove_hop_by_hop(&mut head.headers);
    Ok(Response::from_parts(head, Body::from(body)))
}

/// Headers that the host adds when it rebuilds a request. A caller's request id is kept beside the host's.
pub(super) fn add_host_headers(headers: &mut HeaderMap) {
    headers.append(INVOCATION_ID, printable(&guid()));
    headers.append(HOST_VERSION_HEADER, HeaderValue::from_static(HOST_VERSION));
    let own = format!("Azure-Functions-Host/{HOST_VERSION}");
    let agent = match headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        Some(callers) => format!("{callers} {own}"),
        None => own,
    };
    headers.insert(USER_AGENT, printable(&agent));
}

/// Path and query after unescaping, parsing and reassembly.
fn rebuilt(uri: &Uri) -> Result<Uri, NoAnswer> {
    let path = percent_decode_str(uri.path()).decode_utf8_lossy();
    let mut url = Url::parse(&format!("http://localhost{path}")).map_err(NoAnswer::because)?;
    let mut values: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, joined)) => *joined += &format!(",{value}"),
            None => values.push((name.into_owned(), value.into_owned())),
        }
    }
    if !values.is_empty() {
        url.query_pairs_mut().extend_pairs(values);
    }
    url[url::Position::BeforePath..url::Position::AfterQuery].parse().map_err(NoAnswer::because)
}

/// Streams both directions; if the caller disconnects, the handler's connection is closed.
async fn proxy(address: SocketAddr, mut request: Request) -> Result<Response, NoAnswer> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    let host = headers.remove(HOST).unwrap_or_else(|| HeaderValue::from_static(""));
    wire::remove_hop_by_hop(headers);
    let proto = headers.remove(FORWARDED_PROTO).unwrap_or_else(|| HeaderValue::from_static("http"));
    headers.insert(FORWARDED_PROTO, proto);
    headers.insert(FORWARDED_HOST, host);
    // Taken from the host's connection; replaces the caller's value.
    headers.insert(FORWARDED_FOR, HeaderValue::from_static("127.0.0.1"));
    headers.insert(HOST, printable(&address.to_string()));
    let id = printable(&guid());
    headers.entry(MS_INVOCATION_ID).or_insert(id.clone());
    headers.insert(INVOCATION_ID, id);
    headers.insert(HOST_VERSION_HEADER, HeaderValue::from_static(HOST_VERSION));

    let stream = connect_at_last(address).await?;
    let mut response = wire::send(stream, request).await.map_err(NoAnswer::because)?;
    wire::remove_hop_by_hop(response.headers_mut());
    Ok(response)
}

async fn connect_at_last(address: SocketAddr) -> Result<TcpStream, NoAnswer> {
    let mut attempt = 1;
    loop {
        match wire::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if attempt == PROXY_ATTEMPTS => return Err(NoAnswer::because(error)),
            Err(_) => sleep(Duration::from_millis(50) * attempt.min(5)).await,
        }
        attempt += 1;
    }
}

fn printable(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("made of printable parts")
}
