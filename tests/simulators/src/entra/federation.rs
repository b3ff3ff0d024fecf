//! Federated credentials: an assertion of GitHub in place of a client's secret.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use time::OffsetDateTime;

use super::SigningKey;
use crate::github::ISSUER;

/// RFC 7523 §2.2.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Default audience of a federated credential.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Checks an assertion against a client's federated credential. Entra downloads GitHub's keys; here they are built in.
pub(super) fn is_trusted(assertion: &str, subject: &str) -> bool {
    claims(assertion).is_some_and(|claims| {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let is_valid_now = claims["exp"].as_i64().is_some_and(|end| now < end)
            && claims["nbf"].as_i64().is_some_and(|start| start <= now);
        claims["iss"] == ISSUER && claims["aud"] == AUDIENCE && claims["sub"] == subject && is_valid_now
    })
}

/// Claims of a token that GitHub has signed.
fn claims(assertion: &str) -> Option<Value> {
    let (message, signature) = assertion.rsplit_once('.')?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !SigningKey::of_github().has_signed(message.as_bytes(), &signature) {
        return None;
    }
    let (_, claims) = message.split_once('.')?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}
