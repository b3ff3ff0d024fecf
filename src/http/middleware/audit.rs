//! Records refused requests about rooms in the audit trail.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::context::RequestContext;
use crate::http::problem::ApiError;

/// Records the problem that a request is answered with. A request for an unknown path is not about a room.
pub(super) async fn record_refusal(
    context: RequestContext,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if route.is_some()
        && let Some(error) = response.extensions().get::<Arc<ApiError>>()
    {
        context.audit.request_refused(error.code().as_str());
    }
    response
}
