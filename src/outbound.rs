//! What all calls to other systems have in common: client, failures, bounded bodies, waits.

pub(crate) mod breaker;
pub(crate) mod calls;
mod failure;
mod resolver;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{ClientBuilder, RequestBuilder, Response, redirect};
use serde::de::DeserializeOwned;

pub use failure::{CallFailure, CertificateFault, ConnectStep};
pub use tls::{Intercepting, tls_with};

/// The wait before a retry if the system asks for none.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The longest `Retry-After` that is kept.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A client for one system. The caller sets a timeout on each request.
pub fn client_builder(connect_timeout: Duration) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    // If the platform's certificates cannot be loaded, the client loads them itself and reports the error.
    let builder = match tls::platform() {
        Ok(tls) => builder.tls_backend_preconfigured(tls.clone()),
        Err(_) => builder,
    };
    builder
        .user_agent(concat!("maxconf/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .dns_resolver(Arc::new(resolver::SystemResolver))
        // Following a redirect could send a credential to another host; on Pexip it means that the account is refused.
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
}

/// Sends a request and returns the response's head. The one place that sends: a failure always names its step.
#[expect(clippy::disallowed_methods, reason = "the one place that sends requests")]
pub async fn send(request: RequestBuilder) -> Result<Response, CallFailure> {
    Ok(request.send().await?)
}

/// A body that may have at most `limit` bytes.
pub(crate) struct BoundedBody {
    bytes: Vec<u8>,
    limit: usize,
}

/// The body has more bytes than allowed.
pub(crate) struct TooLarge;

impl BoundedBody {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), TooLarge> {
        if self.bytes.len() + chunk.len() > self.limit {
            return Err(TooLarge);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The body of a response, of at most `limit` bytes.
pub async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, CallFailure> {
    let mut body = BoundedBody::new(limit);
    while let Some(chunk) = response.chunk().await? {
        body.push(&chunk).map_err(|TooLarge| CallFailure::Unreadable)?;
    }
    Ok(body.into_bytes())
}

/// The JSON body of a response, of at most `limit` bytes.
pub async fn json<T: DeserializeOwned>(response: Response, limit: usize) -> Result<T, CallFailure> {
    parse_json(&body(response, limit).await?).ok_or(CallFailure::Unreadable)
}

/// Parses JSON that is UTF-8 throughout: `serde_json::from_slice` accepts other bytes in members that it skips. Found by
/// the fuzzer.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

/// The wait in a `Retry-After` header, if it is a number of seconds.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct User {
        id: String,
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_no_json_even_in_skipped_members() {
        assert_eq!(parse_json(br#"{"id":"u","other":"x"}"#), Some(User { id: "u".to_owned() }));
        for body in [&b"{\"id\":\"\xff\"}"[..], b"{\"id\":\"u\",\"other\":\"\xff\"}", b"{\"id\":\"u\",\"\xff\":1}"] {
            assert_eq!(parse_json::<User>(body), None, "{}", body.escape_ascii());
        }
    }
}
