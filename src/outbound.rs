//! What the calls to Pexip, Entra and Genesys have in common: no redirects, no proxy, deadlines, bounded answers.

use std::time::Duration;

use reqwest::{ClientBuilder, Response, redirect};
use serde::de::DeserializeOwned;

/// A client for one outside system. The caller adds what is special, and a deadline to each call.
pub fn client_builder(connect_timeout: Duration) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("maxconf/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        // A followed redirect could carry a credential elsewhere, and at Pexip it means that the account is refused.
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
}

/// Why there is no usable answer. Holds no address, header or body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// No connection: the request was never sent.
    #[error("cannot be reached")]
    Unreachable,
    /// No answer in time; whether it was done is unknown.
    #[error("did not answer in time")]
    Timeout,
    /// The connection broke; whether it was done is unknown.
    #[error("broke the connection")]
    ConnectionLost,
    /// An answer that is not what was agreed.
    #[error("gave an answer that cannot be read")]
    Unreadable,
}

impl From<reqwest::Error> for CallFailure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            Self::Unreachable
        } else if error.is_timeout() {
            Self::Timeout
        } else {
            Self::ConnectionLost
        }
    }
}

/// The JSON in an answer of at most `limit` bytes.
pub async fn json<T: DeserializeOwned>(mut response: Response, limit: usize) -> Result<T, CallFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(CallFailure::Unreadable);
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| CallFailure::Unreadable)
}

/// More than anybody waits; beyond it the number is no time any more.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Seconds that a `Retry-After` header asks to wait, if it gives them as a number.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}
