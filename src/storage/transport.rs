//! HTTP transport of the Azure SDK.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request, Transport};
use futures_util::TryStreamExt;

use crate::outbound::{is_close_without_answer, noting_opened};

/// A transport that bounds responses to `largest` bytes: the SDK keeps a whole response in memory.
pub(super) fn transport(http: reqwest::Client, largest: usize) -> Transport {
    Transport::new(Arc::new(Bounded { http, largest }))
}

#[derive(Debug)]
struct Bounded {
    http: reqwest::Client,
    largest: usize,
}

#[async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = match noting_opened(self.http.execute_request(request)).await {
            // The peer closed an idle connection just when it was used again.
            (Err(error), false) if is_read(request) && is_close_without_answer(&error) => {
                self.http.execute_request(request).await?
            }
            (first, _) => first?,
        };
        let (status, headers, mut chunks) = answer.deconstruct();
        let mut body = Vec::new();
        while let Some(chunk) = chunks.try_next().await? {
            if body.len() + chunk.len() > self.largest {
                return Err(azure_core::Error::with_message(ErrorKind::DataConversion, "too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

/// Whether the request changes nothing. A receive does: it hides messages, though it is a GET.
fn is_read(request: &Request) -> bool {
    request.method() == Method::Get && !request.url().path().ends_with("/messages")
}
