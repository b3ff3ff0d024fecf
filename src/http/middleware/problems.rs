//! Renders a failure, once, where the request's id is known.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;

use crate::http::problem::ApiError;

/// Writes the problem that the answer carries into its body and headers; headers that CORS and the router have set
/// stay.
pub(super) fn render(response: &mut Response, request_id: &str) -> Option<Arc<ApiError>> {
    let error = response.extensions_mut().remove::<Arc<ApiError>>()?;
    *response.body_mut() = Body::from(error.body(request_id));
    let headers = response.headers_mut();
    // The router has set the length of the empty body.
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.extend(error.headers());
    Some(error)
}

#[cfg(test)]
mod tests {
    use axum::http::header::ALLOW;
    use axum::response::IntoResponse;

    use super::*;
    use crate::http::problem::Code;

    #[test]
    fn a_problem_keeps_the_headers_that_were_set_around_it_and_is_rendered_once() {
        let mut response = ([(ALLOW, "GET")], ApiError::new(Code::Overloaded)).into_response();

        let error = render(&mut response, "request-1");

        assert_eq!(error.map(|error| error.code()), Some(Code::Overloaded));
        let headers = ["allow", "content-type", "retry-after"].map(|name| response.headers()[name].as_bytes());
        assert_eq!(headers, [&b"GET"[..], b"application/problem+json", b"5"]);
        assert!(render(&mut response, "request-1").is_none());
    }
}
