use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use futures_util::TryStreamExt;

/// The largest answer has 32 messages of 64 KiB, of which each byte may be escaped by six.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The way of the Azure libraries to what they call: they keep all of an answer in memory, so here it gets an end.
pub(super) fn transport(http: reqwest::Client) -> Transport {
    Transport::new(Arc::new(Bounded(http)))
}

#[derive(Debug)]
struct Bounded(reqwest::Client);

#[async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (status, headers, mut answer) = self.0.execute_request(request).await?.deconstruct();
        let mut body = Vec::new();
        while let Some(chunk) = answer.try_next().await? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(azure_core::Error::with_message(ErrorKind::DataConversion, "too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}
