//! The only place that turns failures into statuses and problem bodies (RFC 9457).

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::auth::{EntraRefusal, GenesysRefusal, InvalidCredentials, OverRate, TokenFault};
use crate::domain::{InvalidIdempotencyKey, InvalidUuiData, InvalidValidity};
use crate::http::openapi::Header;
use crate::outbound::{CallFailure, DEFAULT_RETRY_AFTER};
use crate::pexip::{Closed, LONGEST_WAIT, PexipError, TokenError};
use crate::rooms::{NoRoom, TakeRoomError};
use crate::storage::StorageError;

/// The bounds of `Retry-After`. Until Pexip opens it may be longer.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The problems of [`PexipError`].
pub(crate) const PEXIP: [Code; 5] =
    [Code::PexipRefused, Code::PexipInvalid, Code::PexipUnavailable, Code::PexipTimeout, Code::ServiceClosed];

/// `Retry-After` of a problem, as the document describes it.
pub(crate) fn retry_after_header() -> Header {
    let schema = json!({ "type": "integer", "minimum": MIN_WAIT.as_secs(), "maximum": LONGEST_WAIT.as_secs() });
    let description = "Seconds to wait before the next try: at most 60, with `service_closed` at most a day.";
    let header = Header::required("Retry-After", description, &schema);
    header.example(DEFAULT_RETRY_AFTER.as_secs())
}

/// `WWW-Authenticate`, as the document describes it.
pub(crate) fn challenge_header() -> Header {
    let description = "The challenge (RFC 6750 §3, RFC 7617): `Bearer` with the realm `maxconf` or `genesys`, or \
        `Basic`. With `error` only if a token was sent; `error_description` says no more than whether it has expired, \
        `scope` names the app role that is needed, if one is.";
    Header::required("WWW-Authenticate", description, &json!({ "type": "string" })).example(invalid_token("maxconf"))
}

/// A failure as callers see it, and its cause for the log.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: Code,
    detail: Option<String>,
    retry_after: Option<Duration>,
    challenge: Option<String>,
    /// For the log only.
    cause: Option<String>,
}

/// The codes: name, status, code on the wire, title.
macro_rules! codes {
    ($($name:ident $status:ident $code:literal $title:literal;)+) => {
        /// The cause of a problem, for programs to branch on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
        #[schemars(rename = "ProblemCode")]
        pub(crate) enum Code {
            $(#[serde(rename = $code)] $name,)+
        }

        impl Code {
            /// Status, code and title.
            fn definition(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$name => (StatusCode::$status, $code, $title),)+
                }
            }
        }
    };
}

codes! {
    UuiDataMissing BAD_REQUEST "uui_data_missing" "uuiData is missing";
    UuiDataInvalid BAD_REQUEST "uui_data_invalid" "uuiData cannot be used";
    UuiDataTooLong BAD_REQUEST "uui_data_too_long" "uuiData is too long";
    ValidityInvalid BAD_REQUEST "validity_invalid" "The validity cannot be used";
    ValidityUnsupported BAD_REQUEST "validity_unsupported" "Rooms have no validity here";
    IdempotencyKeyInvalid BAD_REQUEST "idempotency_key_invalid" "The Idempotency-Key cannot be used";
    IdempotencyKeyReused UNPROCESSABLE_ENTITY "idempotency_key_reused" "The Idempotency-Key was used for another case";
    RequestInProgress CONFLICT "request_in_progress" "The first request with this Idempotency-Key is running";
    RoomEnded GONE "room_ended" "The room of this Idempotency-Key has ended";
    RecordsUnavailable SERVICE_UNAVAILABLE "records_unavailable" "The room records are unavailable for now";
    RequestInvalid BAD_REQUEST "request_invalid" "The request cannot be used";
    TokenMissing UNAUTHORIZED "token_missing" "A token is needed";
    TokenInvalid UNAUTHORIZED "token_invalid" "The token is not valid";
    NotPermitted FORBIDDEN "not_permitted" "The token does not permit this";
    RoomNotFound NOT_FOUND "room_not_found" "There is no such room";
    NotFound NOT_FOUND "not_found" "There is nothing here";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "This method is not served here";
    BodyTooLarge PAYLOAD_TOO_LARGE "body_too_large" "The body is too large";
    RateLimited TOO_MANY_REQUESTS "rate_limited" "Too many requests";
    Internal INTERNAL_SERVER_ERROR "internal" "Something went wrong here";
    PexipRefused BAD_GATEWAY "pexip_refused" "Pexip refuses the request";
    PexipInvalid BAD_GATEWAY "pexip_invalid" "Pexip's answer cannot be read";
    PexipUnavailable SERVICE_UNAVAILABLE "pexip_unavailable" "Pexip is unavailable for now";
    ServiceClosed SERVICE_UNAVAILABLE "service_closed" "Pexip is closed at this hour";
    PexipTimeout GATEWAY_TIMEOUT "pexip_timeout" "Pexip did not answer in time";
    NoRoom SERVICE_UNAVAILABLE "no_room" "No room is free for now";
    EntraUnavailable SERVICE_UNAVAILABLE "entra_unavailable" "Tokens cannot be checked for now";
    GenesysUnavailable SERVICE_UNAVAILABLE "genesys_unavailable" "Genesys is unavailable for now";
    GenesysInvalid BAD_GATEWAY "genesys_invalid" "Genesys's answer cannot be read";
    DeadlineExceeded GATEWAY_TIMEOUT "deadline_exceeded" "The request took too long";
    Overloaded SERVICE_UNAVAILABLE "overloaded" "Too many requests at a time";
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        self.definition().1
    }

    pub(crate) fn status(self) -> StatusCode {
        self.definition().0
    }

    /// Its meaning, for people.
    pub(crate) fn title(self) -> &'static str {
        self.definition().2
    }

    pub(crate) fn problem<'a>(self, detail: Option<&'a str>, request_id: &'a str) -> Problem<'a> {
        let kind = format!("https://docs.maxconf.ca/problems/{}", self.as_str().replace('_', "-"));
        Problem { kind, title: self.title(), status: self.status().as_u16(), detail, code: self, request_id }
    }
}

impl ApiError {
    /// A failure without detail. Every 503 and 409 has `Retry-After`.
    pub(crate) fn new(code: Code) -> Self {
        let asks_to_wait = matches!(code.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT);
        let retry_after = asks_to_wait.then_some(DEFAULT_RETRY_AFTER);
        Self { code, detail: None, retry_after, challenge: None, cause: None }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// For the log only.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn cause_of(mut self, error: &impl std::error::Error) -> Self {
        self.cause = Some(error.to_string());
        self
    }

    fn retry_after(mut self, wait: Option<Duration>) -> Self {
        if let Some(wait) = wait {
            self.retry_after = Some(wait.clamp(MIN_WAIT, MAX_WAIT));
        }
        self
    }

    fn challenge(mut self, challenge: impl Into<String>) -> Self {
        self.challenge = Some(challenge.into());
        self
    }

    /// Unusable credentials at Entra's guard. The challenge is by RFC 6750 §3.
    pub(crate) fn entra_credentials(error: InvalidCredentials) -> Self {
        Self::credentials(error, "maxconf")
    }

    /// Unusable credentials at the Genesys guard.
    pub(crate) fn genesys_credentials(error: InvalidCredentials) -> Self {
        Self::credentials(error, "genesys")
    }

    /// Unusable credentials of a Conferencing Node. The challenge is by RFC 7617: nodes send no Bearer token.
    pub(crate) fn node_credentials(error: InvalidCredentials, realm: &str) -> Self {
        let code = match error {
            InvalidCredentials::Missing => Code::TokenMissing,
            InvalidCredentials::Repeated => Code::RequestInvalid,
            InvalidCredentials::Malformed | InvalidCredentials::Wrong => Code::TokenInvalid,
        };
        let refusal = Self::new(code).cause_of(&error);
        if code == Code::RequestInvalid { refusal } else { refusal.challenge(format!("Basic realm=\"{realm}\"")) }
    }

    /// A failure of Pexip out of hours. Callers need not come back before the next opening.
    pub(crate) fn service_closed(closed: Closed, error: &TakeRoomError) -> Self {
        let mut problem = Self::new(Code::ServiceClosed).cause_of(error);
        problem.retry_after = Some(closed.opens_in.max(MIN_WAIT));
        problem
    }

    fn credentials(error: InvalidCredentials, realm: &str) -> Self {
        match error {
            InvalidCredentials::Missing => Self::new(Code::TokenMissing).challenge(format!("Bearer realm=\"{realm}\"")),
            InvalidCredentials::Repeated => Self::new(Code::RequestInvalid).detail("more than one token was sent"),
            InvalidCredentials::Malformed | InvalidCredentials::Wrong => {
                Self::new(Code::TokenInvalid).challenge(invalid_token(realm))
            }
        }
        .cause_of(&error)
    }

    /// A token that is refused for this role. All causes but expiry have one description, so that the answer to a
    /// forged token does not say which check it failed.
    pub(crate) fn entra(refusal: &EntraRefusal, role: Option<&str>) -> Self {
        match refusal {
            EntraRefusal::Invalid(TokenFault::Expired) => {
                Self::new(Code::TokenInvalid).detail("the token has expired").challenge(
                    "Bearer realm=\"maxconf\", error=\"invalid_token\", error_description=\"the token has expired\"",
                )
            }
            EntraRefusal::Invalid(_) => Self::new(Code::TokenInvalid).challenge(invalid_token("maxconf")),
            EntraRefusal::NotPermitted(..) => {
                let scope = role.map(|role| format!(", scope=\"{role}\"")).unwrap_or_default();
                let challenge = format!("Bearer realm=\"maxconf\", error=\"insufficient_scope\"{scope}");
                Self::new(Code::NotPermitted).challenge(challenge)
            }
            EntraRefusal::NoKeys => Self::new(Code::EntraUnavailable),
            EntraRefusal::KeyToCome(wait) => Self::new(Code::EntraUnavailable).retry_after(Some(*wait)),
        }
        .cause_of(refusal)
    }

    /// The body of the answer.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let problem = self.code.problem(self.detail.as_deref(), request_id);
        serde_json::to_vec(&problem).expect("numbers and text are JSON")
    }

    /// The headers that are particular to this failure.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        // Rounded up: a client that comes back too early is refused again.
        let seconds = |wait: Duration| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
        let retry_after = self.retry_after.map(|wait| (RETRY_AFTER, seconds(wait).into()));
        let challenge = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        retry_after.into_iter().chain(challenge.map(|value| (WWW_AUTHENTICATE, value)))
    }
}

fn invalid_token(realm: &str) -> String {
    format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"token validation failed\"")
}

/// Why a request failed (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Problem<'a> {
    /// The URI of this kind of problem, one per `code`.
    #[serde(rename = "type")]
    #[schemars(url, example = "https://docs.maxconf.ca/problems/room-not-found")]
    kind: String,
    /// The meaning of the `code`, for people. Always the same for a `code`.
    #[schemars(example = "There is no such room")]
    title: &'a str,
    /// The status of this answer.
    #[schemars(range(min = 400, max = 599), example = 404)]
    status: u16,
    /// What is wrong with this request, for some codes. Holds nothing that the caller sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = "character 7 is not a hexadecimal digit")]
    detail: Option<&'a str>,
    code: Code,
    /// The `x-request-id` of this answer: name it when you ask the operators about this request.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"), example = "01jd5p3xk8qqqqqqqqqqqqqqqq")]
    request_id: &'a str,
}

/// Carries the failure to the middleware that renders it, where the request's id is known.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<InvalidUuiData> for ApiError {
    fn from(error: InvalidUuiData) -> Self {
        let code = match error {
            InvalidUuiData::Missing => Code::UuiDataMissing,
            InvalidUuiData::TooLong { .. } | InvalidUuiData::TagTooLong { .. } => Code::UuiDataTooLong,
            InvalidUuiData::Repeated
            | InvalidUuiData::NotHexadecimal { .. }
            | InvalidUuiData::OddLength
            | InvalidUuiData::NotASegment
            | InvalidUuiData::NotHostAndId
            | InvalidUuiData::UnlistedHost => Code::UuiDataInvalid,
        };
        Self::new(code).detail(error.to_string()).cause_of(&error)
    }
}

impl From<InvalidIdempotencyKey> for ApiError {
    fn from(error: InvalidIdempotencyKey) -> Self {
        Self::new(Code::IdempotencyKeyInvalid).detail(error.to_string()).cause_of(&error)
    }
}

impl From<InvalidValidity> for ApiError {
    fn from(error: InvalidValidity) -> Self {
        let code = match error {
            InvalidValidity::Unsupported => Code::ValidityUnsupported,
            InvalidValidity::Repeated
            | InvalidValidity::Malformed
            | InvalidValidity::TooFarAhead
            | InvalidValidity::Reversed
            | InvalidValidity::TooLong => Code::ValidityInvalid,
        };
        Self::new(code).detail(error.to_string()).cause_of(&error)
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        Self::new(Code::RecordsUnavailable).cause_of(&error)
    }
}

impl From<GenesysRefusal> for ApiError {
    fn from(refusal: GenesysRefusal) -> Self {
        match &refusal {
            GenesysRefusal::Invalid => Self::new(Code::TokenInvalid).challenge(invalid_token("genesys")),
            GenesysRefusal::NotPermitted(_) | GenesysRefusal::Inactive(_) | GenesysRefusal::OtherDivision(_) => {
                Self::new(Code::NotPermitted)
            }
            GenesysRefusal::Unavailable(_, wait) | GenesysRefusal::Busy(wait) => {
                Self::new(Code::GenesysUnavailable).retry_after(Some(*wait))
            }
            GenesysRefusal::TooManyLookups(wait) => Self::new(Code::RateLimited).retry_after(Some(*wait)),
            GenesysRefusal::Unreadable(_) => Self::new(Code::GenesysInvalid),
        }
        .cause_of(&refusal)
    }
}

impl From<OverRate> for ApiError {
    fn from(error: OverRate) -> Self {
        Self::new(Code::RateLimited).retry_after(Some(error.retry_in)).cause_of(&error)
    }
}

impl From<PexipError> for ApiError {
    fn from(error: PexipError) -> Self {
        match &error {
            // A 404 that means "no such room" is answered by the handler and does not reach this point.
            PexipError::AccountRefused { .. }
            | PexipError::NoToken(TokenError::Refused { .. })
            | PexipError::Rejected { .. }
            | PexipError::NotFound => Self::new(Code::PexipRefused),
            PexipError::Busy { retry_after, .. } | PexipError::NoToken(TokenError::Busy { retry_after, .. }) => {
                Self::new(Code::PexipUnavailable).retry_after(*retry_after)
            }
            PexipError::Saturated => Self::new(Code::PexipUnavailable),
            PexipError::Suspended { retry_in } | PexipError::OverBudget { retry_in } => {
                Self::new(Code::PexipUnavailable).retry_after(Some(*retry_in))
            }
            PexipError::Failed(failure) | PexipError::NoToken(TokenError::Failed(failure)) => match failure {
                CallFailure::Unreachable(_) | CallFailure::ConnectionLost => Self::new(Code::PexipUnavailable),
                CallFailure::Timeout => Self::new(Code::PexipTimeout),
                CallFailure::Unreadable => Self::new(Code::PexipInvalid),
            },
        }
        .cause_of(&error)
    }
}

impl From<TakeRoomError> for ApiError {
    fn from(error: TakeRoomError) -> Self {
        match error {
            TakeRoomError::Pexip(error) | TakeRoomError::TagUnconfirmed(error) => error.into(),
            TakeRoomError::Records(_) => Self::new(Code::RecordsUnavailable).cause_of(&error),
            TakeRoomError::Closed(closed) => Self::service_closed(closed, &error),
            TakeRoomError::KeyReused => Self::new(Code::IdempotencyKeyReused).cause_of(&error),
            TakeRoomError::InProgress { retry_in } => {
                Self::new(Code::RequestInProgress).retry_after(Some(retry_in)).cause_of(&error)
            }
            TakeRoomError::RoomEnded => Self::new(Code::RoomEnded).cause_of(&error),
            TakeRoomError::NoRoom(NoRoom::DirectUnfit(_)) => Self::new(Code::PexipInvalid).cause_of(&error),
            TakeRoomError::NoRoom(NoRoom::DirectFailed(PexipError::OverBudget { retry_in })) => {
                Self::new(Code::NoRoom).retry_after(Some(retry_in)).cause_of(&error)
            }
            TakeRoomError::NoRoom(_) => Self::new(Code::NoRoom).cause_of(&error),
            TakeRoomError::InvalidInstantRoom(_) | TakeRoomError::Interrupted => {
                Self::new(Code::Internal).cause_of(&error)
            }
        }
    }
}
