//! The one context of a request, in its extensions: ids, and the audit context with the caller.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::telemetry::audit::AuditContext;

/// What is known of one request. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// The Functions host's id of the invocation, for finding the host's log.
    pub invocation_id: Option<String>,
    /// Caller, room and case, each once it is known; also the request's id.
    pub audit: AuditContext,
}

impl RequestContext {
    /// The request's id, chosen by the client or by us.
    pub(crate) fn request_id(&self) -> &str {
        self.audit.request_id()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let context = parts.extensions.get::<Self>().cloned();
        Ok(context.expect("the outermost middleware gives every request its context"))
    }
}
