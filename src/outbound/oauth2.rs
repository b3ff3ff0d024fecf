//! What token endpoints have in common.

use reqwest::Response;
use serde_json::Value;

use super::json;

/// Limit of a refusal's body.
const LARGEST_REFUSAL: usize = 64 * 1024;

/// Error codes of RFC 6749 §5.2.
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// The error code in a token endpoint's refusal, `{"error": "…"}`. Any other text could repeat what was sent: `None`.
pub(crate) async fn refusal_code(response: Response) -> Option<&'static str> {
    let body: Value = json(response, LARGEST_REFUSAL).await.ok()?;
    CODES.into_iter().find(|code| body["error"] == **code)
}
