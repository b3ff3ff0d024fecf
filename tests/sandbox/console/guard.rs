//! Keeps other pages in the developer's browser out: they must neither read the console nor press its buttons.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What the page may load and who may show it. Everything comes from its own origin.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// A name of another site that resolves to this machine would make that site's pages same-origin, so only the address
/// itself is accepted as host.
pub(super) async fn refuse_other_hosts(request: Request, next: Next) -> Response {
    if host(request.headers()).is_some() {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "The console answers at its loopback address only.").into_response()
    }
}

/// For the console's own routes.
pub(super) async fn refuse_other_pages(request: Request, next: Next) -> Response {
    if !is_own(request.method(), request.headers()) {
        return (StatusCode::FORBIDDEN, "Only the console's own page may do this, with JSON.").into_response();
    }
    let mut answer = next.run(request).await;
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    answer
}

fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let is_loopback = ["127.0.0.1", "localhost"].contains(&name);
    (is_loopback && port.parse::<u16>().is_ok()).then_some(host)
}

fn is_own(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site");
    if [Method::GET, Method::HEAD].contains(method) {
        // A link from elsewhere may open the page. Whatever a page loads names its site.
        return site.is_none_or(|site| site == "same-origin" || site == "none")
            || text("sec-fetch-mode") == Some("navigate");
    }
    let Some(host) = host(headers) else { return false };
    let is_json = text("content-type").is_some_and(|kind| kind == "application/json");
    is_json && text("origin") == Some(&format!("http://{host}")) && site.is_none_or(|site| site == "same-origin")
}
