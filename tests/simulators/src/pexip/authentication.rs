//! Authentication of the management API: Basic, or a token from its own token endpoint.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::USERNAME;
use super::platform::Platform;

/// Accepts the service's account and valid tokens; refuses everything else with 401.
pub(super) async fn require(State(platform): State<Arc<Platform>>, request: Request, next: Next) -> Response {
    if is_authenticated(&platform, request.headers()) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, r#"Basic Realm="django-tastypie""#)];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

fn is_authenticated(platform: &Platform, headers: &HeaderMap) -> bool {
    let state = platform.state();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split_once(' ') {
        // No client of a simulator has a certificate.
        _ if state.demands_client_certificate => false,
        Some(("Basic", encoded)) => {
            let expected = format!("{USERNAME}:{}", state.password);
            state.accepts_basic && BASE64_STANDARD.decode(encoded).is_ok_and(|given| given == expected.as_bytes())
        }
        Some(("Bearer", token)) => state.oauth2.accepts(token, state.clock.now()),
        _ => false,
    }
}
