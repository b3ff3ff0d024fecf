//! The query parameter `constrained_attributes`: the short form of a room, or the object that the management node has.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::json;

use crate::http::openapi::Parameter;
use crate::http::problem::{ApiError, Code};
use crate::http::state::AppState;

const NAME: &str = "constrained_attributes";

/// Its value; `true` if it is missing.
pub(super) struct ConstrainedAttributes(pub(super) bool);

/// The same on a route that answers `true` only.
///
/// Like [`ConstrainedAttributes`] it comes after the permit, so that a request without credentials is 401 whatever its
/// query.
pub(super) struct OnlyConstrained;

impl ConstrainedAttributes {
    pub(super) fn parameter() -> Parameter {
        let description = "`true`, as if it were missing: the fields below. `false`: the conference object as the \
            management node has it.";
        Parameter::query(NAME, description, &json!({ "enum": ["true", "false"] }), "true").optional()
    }
}

impl OnlyConstrained {
    pub(super) fn parameter() -> Parameter {
        Parameter::query(NAME, "Changes nothing.", &json!({ "enum": ["true"] }), "true").optional()
    }
}

impl FromRequestParts<AppState> for ConstrainedAttributes {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == NAME);
        let value = values.next().map(|(_, value)| value);
        match (value.as_deref(), values.next()) {
            (None | Some("true"), None) => Ok(Self(true)),
            (Some("false"), None) => Ok(Self(false)),
            _ => Err(invalid("constrained_attributes is true or false, given once")),
        }
    }
}

impl FromRequestParts<AppState> for OnlyConstrained {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match ConstrainedAttributes::from_request_parts(parts, state).await? {
            ConstrainedAttributes(true) => Ok(Self),
            ConstrainedAttributes(false) => Err(invalid("constrained_attributes=false is for GET /room/{name} only")),
        }
    }
}

fn invalid(detail: &'static str) -> ApiError {
    ApiError::new(Code::RequestInvalid).detail(detail)
}
