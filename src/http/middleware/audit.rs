//! Records refused requests about rooms in the audit trail.

use std::sync::Arc;

use axum::response::Response;

use crate::http::problem::ApiError;
use crate::telemetry::audit::AuditContext;

/// Records the problem that a request is answered with.
pub(super) fn record_refusal(context: &AuditContext, response: &Response) {
    if let Some(error) = response.extensions().get::<Arc<ApiError>>() {
        context.request_refused(error.code().as_str());
    }
}
