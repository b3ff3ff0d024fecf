//! Pexip's management API, as far as rooms need it. In words of the domain; the JSON stays inside.
//!
//! Sources for paths, codes and bodies: Pexip Infinity documentation, "Management configuration API", "Management
//! status API" and "Using the management API".

mod conferences;
mod error;

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::config::PexipConfig;
use crate::outbound::{CallFailure, retry_after};
use crate::room::RoomNamePrefix;

pub use conferences::{Alias, Conference, ConferenceId, Deletion, NewConference};
pub use error::PexipError;

/// The longest answer that is read: a page of the largest lists has about 1 MB.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// A connection to one management node. Cheap to clone; all clones share the limits.
#[derive(Clone)]
pub struct PexipClient(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    base: Url,
    username: String,
    password: SecretString,
    request_timeout: std::time::Duration,
    prefix: RoomNamePrefix,
    in_flight: Arc<Semaphore>,
}

/// The right to make one call, so that a room is claimed only when the call that tags it can be made.
#[derive(Debug)]
pub struct Permit(
    #[expect(dead_code, reason = "held, not read: dropping it gives the place back")] OwnedSemaphorePermit,
);

impl PexipClient {
    /// A client for the node in `config`; no call is made yet. `http` follows no redirects.
    pub fn new(config: &PexipConfig, prefix: RoomNamePrefix, http: reqwest::Client) -> Self {
        Self(Arc::new(Inner {
            http,
            base: config.management_url.clone(),
            username: config.username.clone(),
            password: config.password.clone(),
            request_timeout: config.request_timeout,
            prefix,
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
        }))
    }

    /// Waits for a place among the calls in flight, at most as long as a call may take.
    pub async fn reserve(&self) -> Result<Permit, PexipError> {
        let waiting = Arc::clone(&self.0.in_flight).acquire_owned();
        match tokio::time::timeout(self.0.request_timeout, waiting).await {
            Ok(Ok(permit)) => Ok(Permit(permit)),
            // The semaphore is never closed, so this is the time-out.
            Ok(Err(_)) | Err(_) => Err(PexipError::Saturated),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.0.base.clone();
        // Every path of the API ends in a slash; without it the node redirects, which we take for a refusal.
        url.set_path(&format!("{}api/admin/{path}/", self.0.base.path()));
        self.0
            .http
            .request(method, url)
            .basic_auth(&self.0.username, Some(self.0.password.expose_secret()))
            .timeout(self.0.request_timeout)
    }

    /// Sends a request and sorts the answer: `Ok` for 2xx only.
    async fn send(&self, _permit: Permit, request: RequestBuilder) -> Result<Response, PexipError> {
        let response = request.send().await.map_err(CallFailure::from)?;
        let status = response.status();
        match status.as_u16() {
            200..=299 => Ok(response),
            // The node answers a refused session with a redirect to its login page.
            300..=399 | 401 | 403 => Err(PexipError::AccountRefused { status: status.as_u16() }),
            404 => Err(PexipError::NotFound),
            429 | 500..=599 => Err(PexipError::Busy { status: status.as_u16(), retry_after: retry_after(&response) }),
            _ => Err(PexipError::rejected(response).await),
        }
    }
}

impl std::fmt::Debug for PexipClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PexipClient").finish_non_exhaustive()
    }
}
