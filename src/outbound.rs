//! What all calls to the outside have in common: no redirects, no proxy, deadlines, bounded answers.

pub mod breaker;
pub mod calls;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reqwest::{ClientBuilder, Response, redirect};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls_platform_verifier::Verifier;
use serde::de::DeserializeOwned;

use self::calls::Outcome;

/// A client for one outside system. The caller adds what is special, and a deadline to each call.
pub fn client_builder(connect_timeout: Duration) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    // Where there is none the client reads the certificates itself, and says what is wrong with them.
    let builder = match MACHINES_TLS.as_ref() {
        Ok(tls) => builder.tls_backend_preconfigured(tls.clone()),
        Err(_) => builder,
    };
    builder
        .user_agent(concat!("maxconf/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        // A followed redirect could carry a credential elsewhere, and at Pexip it means that the account is refused.
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
}

/// TLS by the machine's own certificates. To read them is most of what a cold start takes, so all clients share them.
static MACHINES_TLS: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    tls_with(Arc::new(Verifier::new(provider)?))
});

/// TLS in which `verifier` decides who is trusted.
pub fn tls_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
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

impl Outcome for CallFailure {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The body of an answer, of at most `limit` bytes.
pub async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, CallFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(CallFailure::Unreadable);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The JSON in an answer of at most `limit` bytes.
pub async fn json<T: DeserializeOwned>(response: Response, limit: usize) -> Result<T, CallFailure> {
    let body = body(response, limit).await?;
    // By way of text: of a member that it skips, the parser would not see that it is not UTF-8.
    let text = std::str::from_utf8(&body).map_err(|_| CallFailure::Unreadable)?;
    serde_json::from_str(text).map_err(|_| CallFailure::Unreadable)
}

/// More than anybody waits; beyond it the number is no time any more.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Seconds that a `Retry-After` header asks to wait, if it gives them as a number.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct User {
        id: String,
    }

    async fn read(body: &'static [u8]) -> Result<User, CallFailure> {
        json(axum::http::Response::new(body).into(), 64).await
    }

    /// Found by the fuzzer.
    #[tokio::test]
    async fn what_is_not_utf_8_is_no_json_wherever_it_stands() {
        assert_eq!(read(br#"{"id":"u","other":"x"}"#).await, Ok(User { id: "u".to_owned() }));
        for body in [&b"{\"id\":\"\xff\"}"[..], b"{\"id\":\"u\",\"other\":\"\xff\"}", b"{\"id\":\"u\",\"\xff\":1}"] {
            assert_eq!(read(body).await, Err(CallFailure::Unreadable), "{}", body.escape_ascii());
        }
    }
}
