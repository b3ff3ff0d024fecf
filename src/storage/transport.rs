//! HTTP transport of the Azure SDK.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use futures_util::TryStreamExt;

/// Enough for 32 messages of 64 KiB in which each byte is escaped by six.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// A transport that bounds responses: the SDK keeps a whole response in memory.
pub(super) fn transport(http: reqwest::Client) -> Transport {
    Transport::new(Arc::new(Bounded(http)))
}

#[derive(Debug)]
struct Bounded(reqwest::Client);

#[async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (status, headers, mut chunks) = self.0.execute_request(request).await?.deconstruct();
        let mut body = Vec::new();
        while let Some(chunk) = chunks.try_next().await? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(azure_core::Error::with_message(ErrorKind::DataConversion, "too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}
