//! What Genesys answered about a token, and why a token does not permit a request.

use std::time::Duration;

use super::api::GenesysFailure;
use crate::auth::rate::OverRate;
use crate::auth::reason::{Reason, reasons};
use crate::outbound::breaker::Open;
use crate::telemetry::audit;

/// The result of a verification.
pub(super) type Verdict = Result<GenesysCaller, GenesysRefusal>;

/// An active user of an accepted division of our Genesys organisation who uses our widget.
#[derive(Clone, Debug)]
pub struct GenesysCaller {
    pub(super) user_id: String,
}

impl GenesysCaller {
    /// The user's id.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }
}

impl From<GenesysCaller> for audit::Caller {
    fn from(GenesysCaller { user_id }: GenesysCaller) -> Self {
        Self::Genesys { user_id }
    }
}

reasons! {
    /// Why a token that Genesys knows does not permit the request.
    UserFault {
        OtherOrganization = "other_organization", "the token belongs to another organisation";
        ClientNotAllowed = "client_not_allowed", "the client is not in GENESYS_OAUTH_CLIENT_IDS";
        PartnerUser = "partner_user", "the user belongs to a partner organisation";
        CallForbidden = "call_forbidden", "Genesys forbids the call with this token (403)";
        NoUser = "no_user", "the token is no user's (400)";
    }
}

/// Why a token does not permit a request. The reason goes into the log and the metric, not to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesysRefusal {
    /// Not a valid token: 401.
    #[error("Genesys does not know the token")]
    Invalid,
    /// A valid token, but not authorised: 403.
    #[error("{0}")]
    NotPermitted(UserFault),
    /// A user of our organisation, with this id, who is not active: 403.
    #[error("the user is not active")]
    Inactive(String),
    /// An active user of our organisation, with this id, whose division is not accepted: 403.
    #[error("the user's division is not in GENESYS_DIVISION_IDS")]
    OtherDivision(String),
    /// Genesys gave no answer: 503, with the time after which to try again.
    #[error("Genesys is unavailable ({0})")]
    Unavailable(String, Duration),
    /// Genesys limits this token and asks for a pause: 503.
    #[error("Genesys is unavailable (429)")]
    Busy(Duration),
    /// Genesys gave an answer outside its contract: 502.
    #[error("unexpected answer from Genesys ({0})")]
    Unreadable(String),
    /// The caller's address sent too many unknown tokens: 429, with the time after which to try again.
    #[error("too many unknown tokens from one address")]
    TooManyLookups(Duration),
}

impl GenesysRefusal {
    /// The user who is refused, if Genesys named one.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::Inactive(user_id) | Self::OtherDivision(user_id) => Some(user_id),
            _ => None,
        }
    }
}

impl Reason for GenesysRefusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid => "unknown_token",
            Self::NotPermitted(fault) => fault.as_str(),
            Self::Inactive(_) => "user_inactive",
            Self::OtherDivision(_) => "other_division",
            Self::Unavailable(..) | Self::Busy(_) => "unavailable",
            Self::Unreadable(_) => "unreadable_answer",
            Self::TooManyLookups(_) => "too_many_lookups",
        }
    }
}

impl From<Open> for GenesysRefusal {
    fn from(open: Open) -> Self {
        Self::Unavailable("circuit breaker open".to_owned(), open.retry_in)
    }
}

impl From<OverRate> for GenesysRefusal {
    fn from(over: OverRate) -> Self {
        Self::TooManyLookups(over.retry_in)
    }
}

impl From<GenesysFailure> for GenesysRefusal {
    fn from(failure: GenesysFailure) -> Self {
        match failure {
            GenesysFailure::Unauthorized => Self::Invalid,
            GenesysFailure::Forbidden => Self::NotPermitted(UserFault::CallForbidden),
            GenesysFailure::NoUser => Self::NotPermitted(UserFault::NoUser),
            GenesysFailure::Busy(wait) => Self::Busy(wait),
            GenesysFailure::Unavailable(cause, wait) => Self::Unavailable(cause, wait),
            GenesysFailure::Invalid(cause) => Self::Unreadable(cause),
        }
    }
}
