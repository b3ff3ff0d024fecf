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
        let headers: Vec<(String, &str)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str()))
            .collect();
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| *value);
        // The transport adds the header later, so the length is that of the body. An empty body is signed as no length.
        let length = match request.body().len() {
            None | Some(0) => String::new(),
            Some(length) => length.to_string(),
        };
        let mut text = format!(
            "{method}\n{encoding}\n{language}\n{length}\n{md5}\n{kind}\n\n{modified}\n{matches}\n{differs}\n{unmodified}\n{range}\n",
            method = request.method(),
            encoding = header("content-encoding"),
            language = header("content-language"),
            md5 = header("content-md5"),
            kind = header("content-type"),
            modified = header("if-modified-since"),
            matches = header("if-match"),
            differs = header("if-none-match"),
            unmodified = header("if-unmodified-since"),
            range = header("range"),
        );

        let mut azure_headers: Vec<_> = headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
        azure_headers.sort();
        for (name, value) in azure_headers {
            text += &format!("{name}:{}\n", value.trim());
        }

        let url = request.url();
        text += &format!("/{}{}", self.account, url.path());
        let mut parameters: Vec<_> =
            url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        parameters.sort();
        for (name, value) in parameters {
            text += &format!("\n{name}:{value}");
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
