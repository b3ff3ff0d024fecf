//! Pexip's management API, as far as rooms need it. In words of the domain; the JSON stays inside.
//!
//! Sources for paths, codes and bodies: Pexip Infinity documentation, "Management configuration API", "Management
//! status API" and "Using the management API".

mod admission;
mod conferences;
mod error;
mod event;
mod live;
mod platform;
mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::DATE;
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use url::Url;

use crate::config::PexipConfig;
use crate::domain::RoomNamePrefix;
use crate::outbound::calls::{System, TRACEPARENT, traceparent, upstream};
use crate::outbound::{CallFailure, json, retry_after};
use admission::{Admission, Permit, Urgency};

pub use admission::TagSlot;

pub use conferences::{Alias, Conference, ConferenceId, Listing, NewConference};
pub use error::PexipError;
pub use event::{Event, EventKind, events};
pub use live::Presence;
pub use platform::{Alarm, ConferencingNode, EventName, EventSinkRecord};
pub use trust::{trusting, verifier};

/// The longest answer that is read: a page of the largest lists has about 1 MB.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// A connection to one management node. Cheap to clone; all clones share the limits.
#[derive(Clone)]
pub struct PexipClient {
    shared: Arc<Shared>,
    urgency: Urgency,
}

struct Shared {
    http: reqwest::Client,
    base: Url,
    username: String,
    password: SecretString,
    request_timeout: Duration,
    prefix: RoomNamePrefix,
    admission: Arc<Admission>,
    /// Counts failures that say something about the node and not about one request.
    failure_epoch: AtomicU64,
}

impl PexipClient {
    /// A client for the node in `config`; no call is made yet. `http` follows no redirects.
    pub fn new(config: &PexipConfig, prefix: RoomNamePrefix, http: reqwest::Client) -> Self {
        let shared = Shared {
            http,
            base: config.management_url.clone(),
            username: config.username.clone(),
            password: config.password.clone(),
            request_timeout: config.request_timeout,
            prefix,
            admission: Arc::new(Admission::new(config)),
            failure_epoch: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), urgency: Urgency::Foreground }
    }

    /// The same connection for work that nobody waits for: it gets at most half of the places and leaves a third of
    /// the budget.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), urgency: Urgency::Background }
    }

    /// The same connection for a look at a room: it leaves about half of the budget to everybody else.
    #[must_use]
    pub fn for_a_look(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), urgency: Urgency::Look }
    }

    /// Whether a room could be tagged now, as far as the breakers know. Costs no call.
    pub fn check_can_tag(&self) -> Result<(), PexipError> {
        self.shared.admission.check_can_tag()
    }

    /// The right to make one call, within this instance's limits.
    async fn reserve(&self) -> Result<Permit, PexipError> {
        self.shared.admission.permit(self.urgency).await
    }

    /// The right to tag one room: to be had before the room is claimed.
    pub async fn reserve_tagging(&self) -> Result<TagSlot, PexipError> {
        self.shared.admission.tag_slot(self.urgency).await
    }

    /// Calls that the budget allows in this minute still.
    pub fn budget_left(&self) -> usize {
        self.shared.admission.budget_left()
    }

    /// Whether the node, or what is tagged on it, is left alone after failures.
    pub fn is_circuit_open(&self) -> bool {
        self.shared.admission.is_open()
    }

    /// Grows with each lost connection, refused account or failing node. What was read before is then not to be
    /// relied on: the node may have come back from a backup, with its ids counted again.
    pub fn failure_epoch(&self) -> u64 {
        self.shared.failure_epoch.load(Ordering::Acquire)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.shared.base.clone();
        // Every path of the API ends in a slash; without it the node redirects, which we take for a refusal.
        url.set_path(&format!("{}api/admin/{path}/", self.shared.base.path()));
        self.shared
            .http
            .request(method, url)
            .basic_auth(&self.shared.username, Some(self.shared.password.expose_secret()))
            .timeout(self.shared.request_timeout)
    }

    /// Sends a request whose work is done when the answer has one of these statuses, and no other: a page that a proxy
    /// puts before the node has a 200 too.
    async fn send(
        &self,
        call: &'static str,
        permit: Permit,
        request: RequestBuilder,
        done: &[u16],
    ) -> Result<Response, PexipError> {
        let is_done = async |response: Response| {
            if done.contains(&response.status().as_u16()) { Ok(response) } else { Err(CallFailure::Unreadable.into()) }
        };
        self.call(call, permit, request, is_done).await
    }

    /// Asks for JSON; also tells what time the node says it is.
    async fn fetch<T: DeserializeOwned>(
        &self,
        call: &'static str,
        permit: Permit,
        request: RequestBuilder,
    ) -> Result<(T, Option<OffsetDateTime>), PexipError> {
        let read = async |response: Response| {
            let date =
                response.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
            Ok((json(response, LARGEST_ANSWER).await?, date.map(OffsetDateTime::from)))
        };
        self.call(call, permit, request, read).await
    }

    /// One call, to the last byte of its answer: the permit is held, and the breaker told, by what became of it all.
    async fn call<T>(
        &self,
        call: &'static str,
        mut permit: Permit,
        request: RequestBuilder,
        read: impl AsyncFnOnce(Response) -> Result<T, PexipError>,
    ) -> Result<T, PexipError> {
        permit.mark_sent();
        let work = async {
            // For whatever stands before the node; Genesys and Entra are others' and are told nothing of the kind.
            let request = match traceparent() {
                Some(parent) => request.header(TRACEPARENT, parent),
                None => request,
            };
            read(sort(request.send().await).await?).await
        };
        let result = upstream(System::Pexip, call, work).await;
        if result.as_ref().is_err_and(PexipError::is_the_nodes_trouble) {
            self.shared.failure_epoch.fetch_add(1, Ordering::AcqRel);
        }
        permit.settle(&result);
        result
    }
}

async fn sort(answer: reqwest::Result<Response>) -> Result<Response, PexipError> {
    let response = answer.map_err(CallFailure::from)?;
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

impl std::fmt::Debug for PexipClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PexipClient").field("urgency", &self.urgency).finish_non_exhaustive()
    }
}
