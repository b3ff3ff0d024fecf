//! What the pages for browsers have in common: their files, and the headers that keep them to what they need.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use url::Url;

/// A file of a page: path, content type, content.
pub(crate) type File = (&'static str, &'static str, &'static str);

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css";
pub(crate) const JAVASCRIPT: &str = "text/javascript";
pub(crate) const SVG: &str = "image/svg+xml";

/// The call inside a page, which both pages have, and the client package that it joins with.
pub(crate) const CALL: [File; 3] = [
    ("/call/call.js", JAVASCRIPT, include_str!("video_call/call.js")),
    ("/call/call.css", CSS, include_str!("video_call/call.css")),
    ("/call/infinity.js", JAVASCRIPT, include_str!("infinity/infinity.js")),
];

/// Serves files.
pub(crate) fn files<'a>(files: impl IntoIterator<Item = &'a File>) -> Router {
    files.into_iter().fold(Router::new(), |router, &(path, kind, content)| {
        router.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], content) }))
    })
}

/// Adds the headers of a page. Its scripts may connect to its own server and to these addresses only.
pub(crate) fn with_headers(router: Router, connects_to: &[&Url]) -> Router {
    let origins: Vec<_> = connects_to.iter().map(|url| url.origin().ascii_serialization()).collect();
    let origins = origins.join(" ");
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {origins}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("origins are ASCII");
    router.layer(middleware::map_response(move |response| {
        let policy = policy.clone();
        async move { add_headers(response, policy) }
    }))
}

fn add_headers(mut response: Response, policy: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(self), microphone=(self), geolocation=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
