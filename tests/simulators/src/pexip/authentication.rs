//! Basic authentication of the management API.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::USERNAME;
use super::platform::Platform;

/// Lets only the service's account through.
pub(super) async fn require(State(platform): State<Arc<Platform>>, request: Request, next: Next) -> Response {
    let expected = format!("{USERNAME}:{}", platform.state().password);
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    if given.is_some_and(|given| given == expected.as_bytes()) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, r#"Basic Realm="django-tastypie""#)];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}
