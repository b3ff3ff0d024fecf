//! Client of Pexip's management API, as far as rooms need it. The wire format stays inside.
//!
//! Sources for paths, codes and bodies: Pexip Infinity documentation, "Management configuration API", "Management
//! status API" and "Using the management API".

mod account;
mod admission;
mod budget;
mod call_slots;
mod conferences;
mod contact;
mod created;
mod error;
mod event;
mod list;
mod look_up;
mod misses;
mod oauth2;
mod platform;
mod policy;
mod presence;
mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::DATE;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::{PexipAccount, PexipConfig};
use crate::domain::{Clock, RoomNamePrefix, ServiceHours};
use crate::outbound::calls::{System, observed};
use crate::outbound::{CallFailure, body, parse_json, retry_after, send};
use crate::tasks::{BackgroundTask, supervise};
use crate::telemetry::traces::{TRACEPARENT, traceparent};
use account::{Account, Credentials};
use admission::{Admission, CallPermit, KeptCall};
use budget::Urgency;
use contact::Contact;
use created::CreatedRooms;
use look_up::SeveralNames;

pub(crate) use admission::TagPermit;
pub(crate) use contact::LONGEST_WAIT;

pub use account::Authentication;
pub use conferences::{Alias, Conference, ConferenceId, Listing, NewConference};
pub use contact::Closed;
pub use error::{PexipError, TokenError};
pub use event::{Event, EventKind, events};
pub(crate) use look_up::SeveralNamesSupport;
pub(crate) use platform::{Alarm, ConferencingNode, EventSinkRecord, PolicyServerRecord, SystemLocation};
pub use policy::{InvalidServiceConfiguration, LookUp, PolicyAnswer, ServiceConfiguration};
pub(crate) use presence::Presence;
pub use trust::trusting;
pub(crate) use trust::verifier;

/// Limit of a response body. A page of the largest list has about 1 MB.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// A client for one management node. Cheap to clone; all clones share the limits.
#[derive(Clone)]
pub struct PexipClient {
    shared: Arc<Shared>,
    urgency: Urgency,
}

struct Shared {
    http: reqwest::Client,
    base: Url,
    account: Account,
    request_timeout: Duration,
    prefix: RoomNamePrefix,
    contact: Arc<Contact>,
    admission: Arc<Admission>,
    several_names: SeveralNames,
    created: Arc<CreatedRooms>,
    /// Number of node failures so far.
    failure_epoch: AtomicU64,
}

impl PexipClient {
    /// A client for the node in `config`, which is meant to be up in `hours`. Makes no call. `http` must follow no
    /// redirects.
    pub fn new(
        config: &PexipConfig,
        account: &PexipAccount,
        hours: Option<ServiceHours>,
        prefix: RoomNamePrefix,
        http: reqwest::Client,
        clock: Clock,
    ) -> Self {
        let (base, timeout) = (config.management_url.clone(), config.request_timeout);
        let contact = Arc::new(Contact::new(hours, clock.clone()));
        let admission = Arc::new(Admission::new(config, Arc::clone(&contact)));
        let shared = Shared {
            account: Account::new(account, &base, &http, timeout, clock, &admission),
            http,
            base,
            request_timeout: timeout,
            prefix,
            admission,
            contact,
            several_names: SeveralNames::default(),
            created: Arc::default(),
            failure_epoch: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), urgency: Urgency::Foreground }
    }

    /// Renews tokens in the background until `stop`, if it authenticates by OAuth2.
    pub(crate) fn start_renewing_tokens(&self, stop: &CancellationToken) {
        if let Account::OAuth2(oauth2) = &self.shared.account {
            let oauth2 = Arc::clone(oauth2);
            supervise(BackgroundTask::PexipTokens, stop.clone(), move |stop| Arc::clone(&oauth2).renew(stop));
        }
    }

    /// How it authenticates at the node.
    pub fn authentication(&self) -> Authentication {
        self.shared.account.authentication()
    }

    /// The same client for background work: at most half of the concurrent calls. Of the budget it gets a sixth in any
    /// case, and more only while less than two thirds are used.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), urgency: Urgency::Background }
    }

    /// The same client for reads by agents: at most half of the concurrent calls and about half of the budget.
    #[must_use]
    pub fn for_reads(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), urgency: Urgency::AgentRead }
    }

    /// The same client for deletes that look for their rooms: at most half of the concurrent calls.
    #[must_use]
    fn for_delete_look_ups(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), urgency: Urgency::DeleteLookUp }
    }

    /// Concurrent calls that the settings allow.
    pub fn max_in_flight(&self) -> usize {
        self.shared.admission.max_in_flight()
    }

    /// Whether the circuit breakers allow to tag a room now. Makes no call.
    pub fn check_can_tag(&self) -> Result<(), PexipError> {
        self.shared.admission.check_can_tag()
    }

    /// Waits for the permit to make one call.
    async fn reserve(&self) -> Result<CallPermit, PexipError> {
        self.shared.admission.permit(self.urgency, None).await
    }

    /// Takes a call from the budget, for a call that must not fail for want of it.
    pub fn keep_call(&self) -> Result<KeptCall, PexipError> {
        self.shared.admission.keep_call(self.urgency)
    }

    /// Waits for the permit to tag one room. Must be taken before the room is claimed. Gets a token if there is none: a
    /// room must not be claimed for a call that cannot be made.
    pub async fn reserve_tagging(&self) -> Result<TagPermit, PexipError> {
        let tagging = self.shared.admission.admit_tagging()?;
        let (first_call, _) = self.credentials(self.reserve().await?).await?;
        Ok(TagPermit::new(first_call, tagging))
    }

    /// The credentials for the call that `permit` is for. Without them the permit is spent.
    async fn credentials(&self, permit: CallPermit) -> Result<(CallPermit, Credentials<'_>), PexipError> {
        match self.shared.account.credentials().await {
            Ok(credentials) => Ok((permit, credentials)),
            Err(no_token) if no_token.was_asked => self.settle(permit, Err(no_token.error)),
            Err(no_token) => Err(no_token.error),
        }
    }

    /// Calls left in the request budget.
    pub fn budget_left(&self) -> usize {
        self.shared.admission.budget_left()
    }

    /// Whether the circuit breaker of the node or that of tagging is open.
    pub fn is_circuit_open(&self) -> bool {
        self.shared.admission.is_open()
    }

    /// `Some` if Pexip is not meant to be up now. It may be up all the same.
    pub(crate) fn out_of_hours(&self) -> Option<Closed> {
        self.shared.contact.out_of_hours()
    }

    /// `Some` if `error` means that Pexip is closed: the node cannot be reached, out of hours.
    pub(crate) fn closed(&self, error: &PexipError) -> Option<Closed> {
        self.shared.contact.closed(error)
    }

    /// `Some` if Pexip is closed by the latest call.
    pub(crate) fn closed_by_latest_call(&self) -> Option<Closed> {
        self.shared.contact.closed_by_latest_call()
    }

    /// `Some` if Pexip is not meant to be up at that time, and the latest call did not reach the node.
    pub(crate) fn closed_at(&self, time: OffsetDateTime) -> Option<Closed> {
        self.shared.contact.closed_at(time)
    }

    /// Waits until Pexip is found closed.
    pub async fn wait_until_closed(&self) {
        self.shared.contact.wait_until(true).await;
    }

    /// Waits until the node has been reached after it was found closed.
    pub async fn wait_until_back(&self) {
        self.shared.contact.wait_until(false).await;
    }

    /// Number of node failures: lost connections, refused logins, 5xx. An observation from an older epoch is stale,
    /// because the node may have been restored from a backup since, with ids that are used again.
    pub fn failure_epoch(&self) -> u64 {
        self.shared.failure_epoch.load(Ordering::Acquire)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.shared.base.clone();
        // Without the slash at the end the node redirects, which counts as a refused login.
        url.set_path(&format!("{}api/admin/{path}/", self.shared.base.path()));
        self.shared.http.request(method, url).timeout(self.shared.request_timeout)
    }

    /// Sends a request that succeeds with one of the statuses in `done` only: a proxy's error page may have 200.
    async fn send(
        &self,
        call: &'static str,
        permit: CallPermit,
        request: RequestBuilder,
        done: &[u16],
    ) -> Result<Response, PexipError> {
        let is_done = async |response: Response| {
            if done.contains(&response.status().as_u16()) { Ok(response) } else { Err(CallFailure::Unreadable.into()) }
        };
        // Boxed, because each caller's future would contain it several times.
        Box::pin(self.call(call, permit, request, is_done)).await
    }

    /// Reads JSON, and the node's clock from the `Date` header.
    async fn fetch<T: DeserializeOwned>(
        &self,
        call: &'static str,
        permit: CallPermit,
        request: RequestBuilder,
    ) -> Result<(T, Option<OffsetDateTime>), PexipError> {
        let (answer, node_time, _) = self.fetch_sized(call, permit, request).await?;
        Ok((answer, node_time))
    }

    /// The same, and the number of bytes read.
    async fn fetch_sized<T: DeserializeOwned>(
        &self,
        call: &'static str,
        permit: CallPermit,
        request: RequestBuilder,
    ) -> Result<(T, Option<OffsetDateTime>, usize), PexipError> {
        let read = async |response: Response| {
            let date =
                response.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
            let text = body(response, LARGEST_ANSWER).await?;
            let answer = parse_json(&text).ok_or(CallFailure::Unreadable)?;
            Ok((answer, date.map(OffsetDateTime::from), text.len()))
        };
        Box::pin(self.call(call, permit, request, read)).await
    }

    /// Makes one call and reports its result to the circuit breaker. Holds the permit until the response has been read.
    async fn call<T>(
        &self,
        call: &'static str,
        permit: CallPermit,
        request: RequestBuilder,
        read: impl AsyncFnOnce(Response) -> Result<T, PexipError>,
    ) -> Result<T, PexipError> {
        let (mut permit, credentials) = self.credentials(permit).await?;
        permit.mark_sent();
        let result = self.send_authorized(call, credentials, request, read).await;
        self.settle(permit, result)
    }

    /// Sends a request. A 401 to a token says that nothing was done and perhaps only that the token has ended, so the
    /// request is repeated once with another token.
    async fn send_authorized<T>(
        &self,
        call: &'static str,
        credentials: Credentials<'_>,
        request: RequestBuilder,
        read: impl AsyncFnOnce(Response) -> Result<T, PexipError>,
    ) -> Result<T, PexipError> {
        // `None` for a body that is a stream; there is none here.
        let repetition = request.try_clone().filter(|_| credentials.may_be_replaced());
        let mut read = Some(read);
        let answer = self.attempt(call, credentials.authorize(request), &mut read, repetition.is_some()).await?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
        let refused = PexipError::AccountRefused { status: 401, authentication: self.authentication() };
        let (Some(repetition), Credentials::Token { token, oauth2 }) = (repetition, credentials) else {
            return Err(refused);
        };
        let token = oauth2.token_in_place_of(&token).await.map_err(|no_token| no_token.error)?;
        self.shared.admission.count_call()?;
        let answer = self.attempt(call, token.authorize(repetition), &mut read, false).await;
        if answer.as_ref().is_err_and(|error| *error == refused) {
            oauth2.note_refused(&token);
        }
        answer?.ok_or(refused)
    }

    /// Sends a request once. `None` for a 401, if that `may_be_repeated`.
    async fn attempt<T>(
        &self,
        call: &'static str,
        request: RequestBuilder,
        read: &mut Option<impl AsyncFnOnce(Response) -> Result<T, PexipError>>,
        may_be_repeated: bool,
    ) -> Result<Option<T>, PexipError> {
        let work = async {
            let response = send(with_traceparent(request)).await?;
            if may_be_repeated && response.status() == StatusCode::UNAUTHORIZED {
                return Ok(None);
            }
            let response = self.classify(response).await?;
            match read.take() {
                Some(read) => read(response).await.map(Some),
                None => Ok(None),
            }
        };
        observed(System::Pexip, call, work).await
    }

    /// Reports the result of a call to the circuit breaker, and counts a failure of the node.
    fn settle<T>(&self, permit: CallPermit, result: Result<T, PexipError>) -> Result<T, PexipError> {
        if result.as_ref().is_err_and(PexipError::is_node_failure) {
            self.shared.failure_epoch.fetch_add(1, Ordering::AcqRel);
        }
        self.shared.contact.note(&result);
        permit.settle(&result);
        result
    }

    /// Maps a response that is no success to its error.
    async fn classify(&self, response: Response) -> Result<Response, PexipError> {
        let status = response.status().as_u16();
        match status {
            200..=299 => Ok(response),
            // The node answers a refused login with a redirect to its login page.
            300..=399 | 401 | 403 => Err(PexipError::AccountRefused { status, authentication: self.authentication() }),
            404 => Err(PexipError::NotFound),
            429 | 500..=599 => {
                let retry_after = retry_after(response.headers(), self.shared.contact.now());
                Err(PexipError::Busy { status, retry_after })
            }
            _ => Err(PexipError::rejected(response).await),
        }
    }
}

/// Adds the trace to a request. For Pexip only: Genesys and Entra belong to others and get no trace ids.
fn with_traceparent(request: RequestBuilder) -> RequestBuilder {
    match traceparent() {
        Some(parent) => request.header(TRACEPARENT, parent),
        None => request,
    }
}

impl std::fmt::Debug for PexipClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PexipClient").field("urgency", &self.urgency).finish_non_exhaustive()
    }
}
