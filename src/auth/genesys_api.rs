use std::time::Duration;

use reqwest::Response;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use url::Url;

use crate::outbound::calls::{Outcome, System, upstream};
use crate::outbound::{CallFailure, json, retry_after};

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const LARGEST_ANSWER: usize = 256 * 1024;

const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// Leaves the token's idle timer alone, or every look at a room would keep an inactive desktop session alive.
const TOKEN_INFO: &str = "api/v2/tokens/me?preserveIdleTTL=true";

/// How long callers are asked to wait where Genesys gives no time of its own; and the bounds of one that it gives.
const USUAL_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The two calls to Genesys Cloud's platform API that say whose token it is.
///
/// Source: Genesys Cloud platform API, `tokens/me` and `users/me`.
pub(super) struct GenesysApi {
    http: reqwest::Client,
    base: Url,
}

/// What Genesys says where it does not say who.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesysFailure {
    /// 401: the token is none, or no longer.
    #[error("Genesys does not know the token (401)")]
    Unauthorized,
    /// 403: the token may not ask.
    #[error("Genesys forbids the token to ask (403)")]
    Forbidden,
    /// 429: it wants to be left alone this long.
    #[error("Genesys is unavailable (429)")]
    Busy(Duration),
    /// 5xx, no answer: nothing is known about the token.
    #[error("Genesys is unavailable ({0})")]
    Unavailable(String, Duration),
    /// Anything else: an answer that nobody agreed on.
    #[error("Genesys answered something else ({0})")]
    Invalid(String),
}

impl GenesysFailure {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Busy(_) | Self::Unavailable(..) => "look at the state of Genesys Cloud, and try again",
            Self::Unauthorized | Self::Forbidden | Self::Invalid(_) => {
                "check GENESYS_API_URL: its region's api address"
            }
        }
    }
}

/// Whether it is Genesys Cloud's platform API that answers at `base`: asked without a token, it refuses in its own form.
pub async fn find_genesys(base: &Url, http: &reqwest::Client) -> Result<(), GenesysFailure> {
    let url = base.join(TOKEN_INFO).map_err(|_| GenesysFailure::from(CallFailure::Unreachable))?;
    let asked = http.get(url).timeout(CALL_TIMEOUT).send().await;
    let response = asked.map_err(CallFailure::from)?;
    match response.status().as_u16() {
        401 => {
            let refusal: Refusal = json(response, LARGEST_ANSWER).await?;
            if refusal.status == 401 { Ok(()) } else { Err(CallFailure::Unreadable.into()) }
        }
        429 => Err(GenesysFailure::Busy(USUAL_WAIT)),
        500..=599 => Err(GenesysFailure::Unavailable(described(&response), USUAL_WAIT)),
        _ => Err(GenesysFailure::Invalid(described(&response))),
    }
}

/// `ErrorBody`, as far as it tells who has written it.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "code")]
    _code: String,
    status: u16,
}

/// `TokenInfo`. Every member may be missing; what is checked must be there.
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

/// Another object, by its id.
#[derive(Deserialize)]
pub(super) struct Reference {
    pub(super) id: Option<String>,
}

/// `UserMe`, as far as it decides.
#[derive(Deserialize)]
pub(super) struct UserMe {
    pub(super) id: Option<String>,
    pub(super) state: Option<String>,
}

impl GenesysApi {
    pub(super) fn new(base: Url, http: reqwest::Client) -> Self {
        Self { http, base }
    }

    /// Organisation and OAuth client of the token.
    pub(super) async fn token_info(&self, token: &SecretString) -> Result<TokenInfo, GenesysFailure> {
        self.get("token", TOKEN_INFO, token).await
    }

    /// The user behind the token.
    pub(super) async fn user(&self, token: &SecretString) -> Result<UserMe, GenesysFailure> {
        self.get("user", "api/v2/users/me?expand=authorization", token).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
        token: &SecretString,
    ) -> Result<T, GenesysFailure> {
        upstream(System::Genesys, call, self.ask(path, token)).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, token: &SecretString) -> Result<T, GenesysFailure> {
        let response = match self.call(path, token).await {
            // Nothing was sent, so asking again is no second call.
            Err(CallFailure::Unreachable) => self.call(path, token).await,
            called => called,
        };
        let response = response.map_err(GenesysFailure::from)?;
        let wait = retry_after(&response).unwrap_or(USUAL_WAIT).clamp(Duration::from_secs(1), LONGEST_WAIT);
        match response.status().as_u16() {
            200 => json(response, LARGEST_ANSWER).await.map_err(GenesysFailure::from),
            401 => Err(GenesysFailure::Unauthorized),
            403 => Err(GenesysFailure::Forbidden),
            429 => Err(GenesysFailure::Busy(wait)),
            500..=599 => Err(GenesysFailure::Unavailable(described(&response), wait)),
            _ => Err(GenesysFailure::Invalid(described(&response))),
        }
    }

    async fn call(&self, path: &str, token: &SecretString) -> Result<Response, CallFailure> {
        let url = self.base.join(path).map_err(|_| CallFailure::Unreachable)?;
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| CallFailure::Unreadable)?;
        bearer.set_sensitive(true);
        Ok(self.http.get(url).header(AUTHORIZATION, bearer).timeout(CALL_TIMEOUT).send().await?)
    }
}

/// Status and, where there is one, the id by which Genesys's support finds the call.
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
            Self::Unauthorized | Self::Forbidden => "ok",
            Self::Busy(_) => "busy",
            Self::Unavailable(..) => "unreachable",
            Self::Invalid(_) => "unreadable",
        }
    }
}

impl From<CallFailure> for GenesysFailure {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Unreachable | CallFailure::Timeout | CallFailure::ConnectionLost => {
                Self::Unavailable(failure.to_string(), USUAL_WAIT)
            }
            CallFailure::Unreadable => Self::Invalid(failure.to_string()),
        }
    }
}
