//! Keeps other pages in the developer's browser out: they must neither read the console nor press its buttons.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// A name of another site that resolves to this machine would make that site's pages same-origin, so only the address
/// itself is accepted as host.
pub(super) async fn refuse_other_hosts(request: Request, next: Next) -> Response {
    if host(request.headers()).is_some() {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "This server answers at its loopback address only.").into_response()
    }
}

/// For the console's own routes.
pub(super) async fn refuse_other_pages(request: Request, next: Next) -> Response {
    if is_from_console(&request) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "Only the console's own page may do this, with JSON.").into_response()
    }
}

/// For the sites beside the console, which hand out tokens and PINs. A link from elsewhere may open their pages.
pub(super) async fn refuse_other_origins(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_opened = request.method() == Method::GET && is_navigation(headers);
    let is_own_origin = headers.get(header::ORIGIN).is_none() || has_own_origin(headers);
    if is_own_origin && (is_from_own_site(headers) || is_opened) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "Only the site's own pages may do this.").into_response()
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    let host = text(headers, "host")?;
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let is_loopback = ["127.0.0.1", "localhost"].contains(&name);
    (is_loopback && port.parse::<u16>().is_ok()).then_some(host)
}

fn is_from_console(request: &Request) -> bool {
    let (method, headers) = (request.method(), request.headers());
    if [Method::GET, Method::HEAD].contains(method) {
        // A link from elsewhere may open the page.
        return is_from_own_site(headers) || (is_navigation(headers) && request.uri().path() == "/");
    }
    text(headers, "content-type") == Some("application/json") && has_own_origin(headers) && is_from_own_site(headers)
}

/// Whatever a page loads names its site; programs name none.
fn is_from_own_site(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-site").is_none_or(|site| ["same-origin", "none"].contains(&site))
}

fn is_navigation(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-mode") == Some("navigate")
}

fn has_own_origin(headers: &HeaderMap) -> bool {
    host(headers).is_some_and(|host| text(headers, "origin") == Some(&format!("http://{host}")))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
