//! The two calls to Genesys Cloud's platform API.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use url::Url;

use crate::domain::Clock;
use crate::outbound::calls::{Outcome, System, observed};
use crate::outbound::{CallFailure, ConnectStep, DEFAULT_RETRY_AFTER, json, retry_after, send};

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_ANSWER_BYTES: usize = 256 * 1024;

const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// Preserves the token's idle timer. Otherwise our calls would keep an agent's inactive session alive.
const TOKEN_INFO: &str = "api/v2/tokens/me?preserveIdleTTL=true";

const USER: &str = "api/v2/users/me?expand=authorization";

/// The longest pause that callers are asked for, whatever Genesys asks for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The client for the two calls that identify a token's user.
///
/// Source: Genesys Cloud platform API, `tokens/me` and `users/me`.
pub(super) struct GenesysApi {
    http: reqwest::Client,
    base: Url,
    clock: Clock,
}

/// Why a call identifies no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesysFailure {
    /// 401: the token is unknown or has expired.
    #[error("Genesys does not know the token (401)")]
    Unauthorized,
    /// 403: the token does not permit the call.
    #[error("Genesys forbids the call with this token (403)")]
    Forbidden,
    /// 400 to the call for the user: the token is a client's own (client credentials).
    #[error("the token is no user's (400)")]
    NoUser,
    /// 429: Genesys limits the token and asks for this pause.
    #[error("Genesys is unavailable (429)")]
    Busy(Duration),
    /// 5xx or no answer, with the pause to keep.
    #[error("Genesys is unavailable ({0})")]
    Unavailable(String, Duration),
    /// An answer outside the contract.
    #[error("unexpected answer from Genesys ({0})")]
    Invalid(String),
}

impl GenesysFailure {
    /// What an operator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Busy(_) | Self::Unavailable(..) => "check the status of Genesys Cloud, and try again",
            Self::Unauthorized | Self::Forbidden | Self::NoUser | Self::Invalid(_) => {
                "check GENESYS_API_URL: the API address of the region"
            }
        }
    }
}

/// Checks that Genesys Cloud's platform API answers at `base`: it refuses a call without a token with an `ErrorBody`.
pub async fn find_genesys(base: &Url, http: &reqwest::Client) -> Result<(), GenesysFailure> {
    observed(System::Genesys, "probe", probe(base, http)).await
}

async fn probe(base: &Url, http: &reqwest::Client) -> Result<(), GenesysFailure> {
    let url = base.join(TOKEN_INFO).map_err(|_| CallFailure::Unreachable(ConnectStep::Http))?;
    let response = send(http.get(url).timeout(CALL_TIMEOUT)).await?;
    match response.status().as_u16() {
        401 => {
            let refusal: Refusal = json(response, MAX_ANSWER_BYTES).await?;
            if refusal.status == 401 { Ok(()) } else { Err(CallFailure::Unreadable.into()) }
        }
        429 => Err(GenesysFailure::Busy(DEFAULT_RETRY_AFTER)),
        500..=599 => Err(GenesysFailure::Unavailable(described(&response), DEFAULT_RETRY_AFTER)),
        _ => Err(GenesysFailure::Invalid(described(&response))),
    }
}

/// `ErrorBody`: the members that identify the API.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "code")]
    _code: String,
    status: u16,
}

/// `TokenInfo`. Every member is optional here; a check fails if its member is missing.
#[derive(Deserialize)]
pub(super) struct TokenInfo {
    pub(super) organization: Option<Reference>,
    #[serde(rename = "homeOrganization")]
    pub(super) home_organization: Option<Reference>,
    #[serde(rename = "OAuthClient")]
    pub(super) oauth_client: Option<Reference>,
    #[serde(rename = "clonedUser")]
    pub(super) cloned_user: Option<IgnoredAny>,
    #[serde(rename = "dateTokenIdles")]
    pub(super) date_token_idles: Option<String>,
}

/// A reference to another object.
#[derive(Deserialize)]
pub(super) struct Reference {
    pub(super) id: Option<String>,
}

/// `UserMe`: the members that are checked.
#[derive(Deserialize)]
pub(super) struct UserMe {
    pub(super) id: Option<String>,
    pub(super) state: Option<String>,
    pub(super) division: Option<Reference>,
}

impl GenesysApi {
    pub(super) fn new(base: Url, http: reqwest::Client, clock: Clock) -> Self {
        Self { http, base, clock }
    }

    /// The token's organisation and OAuth client.
    pub(super) async fn token_info(&self, token: &SecretString) -> Result<TokenInfo, GenesysFailure> {
        self.get("token", TOKEN_INFO, token).await
    }

    /// The token's user.
    pub(super) async fn user(&self, token: &SecretString) -> Result<UserMe, GenesysFailure> {
        self.get("user", USER, token).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
        token: &SecretString,
    ) -> Result<T, GenesysFailure> {
        observed(System::Genesys, call, self.ask(path, token)).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, token: &SecretString) -> Result<T, GenesysFailure> {
        let response = match self.call(path, token).await {
            // Nothing was sent, so Genesys does not see a second call.
            Err(CallFailure::Unreachable(_)) => self.call(path, token).await,
            result => result,
        };
        let response = response.map_err(GenesysFailure::from)?;
        let wait = retry_after(response.headers(), self.clock.now()).unwrap_or(DEFAULT_RETRY_AFTER);
        let wait = wait.clamp(Duration::from_secs(1), MAX_WAIT);
        match response.status().as_u16() {
            200 => json(response, MAX_ANSWER_BYTES).await.map_err(GenesysFailure::from),
            400 if path == USER => Err(GenesysFailure::NoUser),
            401 => Err(GenesysFailure::Unauthorized),
            403 => Err(GenesysFailure::Forbidden),
            429 => Err(GenesysFailure::Busy(wait)),
            500..=599 => Err(GenesysFailure::Unavailable(described(&response), wait)),
            _ => Err(GenesysFailure::Invalid(described(&response))),
        }
    }

    async fn call(&self, path: &str, token: &SecretString) -> Result<Response, CallFailure> {
        let url = self.base.join(path).map_err(|_| CallFailure::Unreachable(ConnectStep::Http))?;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| CallFailure::Unreadable)?;
        bearer.set_sensitive(true);
        send(self.http.get(url).header(AUTHORIZATION, bearer).timeout(CALL_TIMEOUT)).await
    }
}

/// The status and, if there is one, the id that Genesys's support finds the call by.
fn described(response: &Response) -> String {
    let id = response.headers().get(CORRELATION_ID).and_then(|value| value.to_str().ok());
    let is_guid = |id: &&str| id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match id.filter(is_guid) {
        Some(id) => format!("{}, correlation id {id}", response.status().as_u16()),
        None => response.status().as_u16().to_string(),
    }
}

impl Outcome for GenesysFailure {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Unauthorized | Self::Forbidden | Self::NoUser => "ok",
            Self::Busy(_) => "busy",
            Self::Unavailable(..) => "unreachable",
            Self::Invalid(_) => "unreadable",
        }
    }
}

impl From<CallFailure> for GenesysFailure {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Unreachable(_) | CallFailure::Timeout | CallFailure::ConnectionLost => {
                Self::Unavailable(failure.to_string(), DEFAULT_RETRY_AFTER)
            }
            CallFailure::Unreadable => Self::Invalid(failure.to_string()),
        }
    }
}
