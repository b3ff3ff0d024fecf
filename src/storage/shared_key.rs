//! Shared Key authorization. Source: Azure Storage REST API, "Authorize with Shared Key".

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use azure_core::error::{ErrorKind, ResultExt};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

/// Longer than most strings to sign.
const USUAL_LENGTH: usize = 512;

/// Signs each request with the account key; the SDK does not support this. A per-try policy, because every attempt
/// needs its own date.
pub(super) struct SharedKey {
    account: String,
    key: hmac::Key,
}

impl SharedKey {
    /// `key` is in base64, as in connection strings.
    pub(super) fn new(account: &str, key: &SecretString) -> azure_core::Result<Self> {
        let key = STANDARD.decode(key.expose_secret()).with_context(ErrorKind::DataConversion, "key is not base64")?;
        Ok(Self { account: account.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }

    fn authorization(&self, request: &Request) -> String {
        let signature = hmac::sign(&self.key, self.string_to_sign(request).as_bytes());
        format!("SharedKey {}:{}", self.account, STANDARD.encode(signature))
    }

    fn string_to_sign(&self, request: &Request) -> String {
        let header = |wanted: &str| {
            let found = request.headers().iter().find(|(name, _)| name.as_str().eq_ignore_ascii_case(wanted));
            found.map_or("", |(_, value)| value.as_str())
        };
        let mut text = String::with_capacity(USUAL_LENGTH);
        let mut line = |parts: &[&str]| {
            text.extend(parts.iter().copied());
            text.push('\n');
        };
        line(&[request.method().as_str()]);
        line(&[header("content-encoding")]);
        line(&[header("content-language")]);
        // The transport adds the header later, so the length is that of the body. An empty body is signed as no length.
        match request.body().len() {
            None | Some(0) => line(&[]),
            Some(length) => line(&[&length.to_string()]),
        }
        line(&[header("content-md5")]);
        line(&[header("content-type")]);
        // The date is in `x-ms-date`.
        line(&[]);
        for name in ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"] {
            line(&[header(name)]);
        }

        let azure_headers = request.headers().iter().filter_map(|(name, value)| {
            let name = name.as_str().to_ascii_lowercase();
            name.starts_with("x-ms-").then(|| (name, value.as_str().trim()))
        });
        let mut azure_headers: Vec<_> = azure_headers.collect();
        azure_headers.sort_unstable();
        for (name, value) in azure_headers {
            line(&[&name, ":", value]);
        }

        let url = request.url();
        text.extend(["/", &self.account, url.path()]);
        let mut parameters: Vec<_> =
            url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        parameters.sort();
        for (name, value) in parameters {
            text.extend(["\n", &name, ":", &value]);
        }
        text
    }
}

#[async_trait]
impl Policy for SharedKey {
    #[expect(clippy::disallowed_methods, reason = "Azure compares the date with its own clock, whatever ours is")]
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        request.insert_header("x-ms-date", httpdate::fmt_http_date(SystemTime::now()));
        let authorization = self.authorization(request);
        request.insert_header("authorization", authorization);
        // Never empty: the transport is the last policy.
        next[0].send(context, request, &next[1..]).await
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}
