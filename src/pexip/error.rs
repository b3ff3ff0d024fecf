//! Failures of the management API.

use std::time::{Duration, SystemTime};

use reqwest::Response;
use serde_json::{Map, Value};

use super::{Authentication, LARGEST_ANSWER};
use crate::domain::RoomProperties;
use crate::outbound::breaker::Open;
use crate::outbound::calls::Outcome;
use crate::outbound::{CallFailure, ConnectStep, DEFAULT_RETRY_AFTER, json, refusal_code, retry_after};

/// Fields that a rejection may name beside [`RoomProperties`]: those that are sent, and Django's `__all__`.
const FIELDS: [&str; 12] = [
    "__all__",
    "alias",
    "aliases",
    "allow_guests",
    "automatic_participants",
    "conference_id",
    "description",
    "guest_pin",
    "name",
    "pin",
    "service_type",
    "tag",
];

/// Why a call to the management node failed. Holds no address, body or value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PexipError {
    /// 401, 403 or a redirect to the login page. With OAuth2: in spite of a new token.
    #[error("Pexip refuses our {} ({status})", match authentication {
        Authentication::Basic => "account",
        Authentication::OAuth2 => "token",
    })]
    AccountRefused { status: u16, authentication: Authentication },
    /// There is no token for the call, so it was not made.
    #[error("Pexip's token endpoint {0}")]
    NoToken(#[from] TokenError),
    /// 400 or another 4xx, because of these fields.
    #[error("Pexip rejects the request ({status}; fields: {fields})")]
    Rejected { status: u16, fields: String, already_exists: bool },
    /// 404: there is no such object.
    #[error("Pexip has no such object (404)")]
    NotFound,
    /// 429 or 5xx.
    #[error("Pexip is busy or broken ({status})")]
    Busy { status: u16, retry_after: Option<Duration> },
    /// The limit of concurrent calls left no slot in time.
    #[error("all concurrent calls to Pexip are in use")]
    Saturated,
    /// The circuit breaker is open.
    #[error("the circuit breaker of Pexip is open")]
    Suspended { retry_in: Duration },
    /// The request budget is used up.
    #[error("the request budget of Pexip is used up")]
    OverBudget { retry_in: Duration },
    /// No response, or an unreadable one.
    #[error("Pexip {0}")]
    Failed(#[from] CallFailure),
}

/// Why the token endpoint gave no token. Holds no address and nothing of the body but a known code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// 4xx or a redirect. `code` is the error of RFC 6749 §5.2, if the answer names one.
    #[error("refuses our client ({status}{}{})", if code.is_some() { ", " } else { "" }, code.unwrap_or_default())]
    Refused { status: u16, code: Option<&'static str> },
    /// 429 or 5xx.
    #[error("is busy or broken ({status})")]
    Busy { status: u16, retry_after: Option<Duration> },
    /// No response, or an unreadable one.
    #[error(transparent)]
    Failed(#[from] CallFailure),
}

impl PexipError {
    /// Whether the request may have taken effect in spite of the error.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Busy { status, .. } => *status >= 500,
            Self::Failed(failure) => match failure {
                CallFailure::Timeout | CallFailure::ConnectionLost | CallFailure::Unreadable => true,
                CallFailure::Unreachable(_) => false,
            },
            Self::AccountRefused { .. }
            | Self::NoToken(_)
            | Self::Rejected { .. }
            | Self::NotFound
            | Self::Saturated
            | Self::Suspended { .. }
            | Self::OverBudget { .. } => false,
        }
    }

    /// Whether the node or our account on it failed, and not only this request.
    pub(super) fn is_node_failure(&self) -> bool {
        match self {
            Self::AccountRefused { .. } | Self::NoToken(_) | Self::Busy { .. } | Self::Failed(_) => true,
            Self::Rejected { .. }
            | Self::NotFound
            | Self::Saturated
            | Self::Suspended { .. }
            | Self::OverBudget { .. } => false,
        }
    }

    /// Whether the call did not reach a node that works: one that is switched off, starting or stopping.
    pub(super) fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Busy { status, .. } | Self::NoToken(TokenError::Busy { status, .. }) => *status >= 500,
            Self::Failed(failure) | Self::NoToken(TokenError::Failed(failure)) => match failure {
                // The node is up: waiting for its opening would not help.
                CallFailure::Unreachable(ConnectStep::Certificate(_)) | CallFailure::Unreadable => false,
                CallFailure::Unreachable(_) | CallFailure::Timeout | CallFailure::ConnectionLost => true,
            },
            Self::AccountRefused { .. }
            | Self::NoToken(_)
            | Self::Rejected { .. }
            | Self::NotFound
            | Self::Saturated
            | Self::Suspended { .. }
            | Self::OverBudget { .. } => false,
        }
    }

    /// The wait that the node asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::NoToken(error) => error.retry_after(),
            _ => None,
        }
    }

    /// How long to wait before a retry may succeed; `None` if waiting alone does not help.
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Suspended { retry_in } | Self::OverBudget { retry_in } => Some(*retry_in),
            Self::Busy { retry_after: Some(wait), .. }
            | Self::NoToken(TokenError::Busy { retry_after: Some(wait), .. }) => Some(*wait),
            Self::Busy { status: 429 | 503, retry_after: None }
            | Self::NoToken(TokenError::Busy { status: 429 | 503, retry_after: None })
            | Self::Saturated => Some(DEFAULT_RETRY_AFTER),
            Self::Busy { .. }
            | Self::NoToken(_)
            | Self::AccountRefused { .. }
            | Self::Rejected { .. }
            | Self::NotFound
            | Self::Failed(_) => None,
        }
    }

    /// Advice for an operator.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::AccountRefused { authentication: Authentication::Basic, .. } => {
                "check PEXIP_USERNAME, PEXIP_PASSWORD and what the account may do; see whether the node has Basic \
                 authentication switched off, or demands a client certificate"
            }
            Self::AccountRefused { authentication: Authentication::OAuth2, .. } => {
                "check what the role of the OAuth2 client may do, and whether the node demands a client certificate"
            }
            Self::NoToken(error) => error.remedy(),
            Self::Rejected { .. } => "check the settings ROOM_* against what the node allows",
            Self::NotFound => "check PEXIP_MANAGEMENT_URL",
            Self::Failed(_) => "check PEXIP_MANAGEMENT_URL, PEXIP_CA_FILE and the network on the way",
            Self::Busy { .. } | Self::Suspended { .. } => "look at the management node, and try again when it works",
            Self::Saturated | Self::OverBudget { .. } => {
                "try again in a minute, or raise PEXIP_MAX_IN_FLIGHT and PEXIP_REQUESTS_PER_MINUTE"
            }
        }
    }

    /// Whether a create that failed with this error may have made the conference: after a lost answer, or if the name
    /// is taken, because only this service uses its names.
    pub fn may_have_created(&self) -> bool {
        self.is_ambiguous() || matches!(self, Self::Rejected { already_exists: true, .. })
    }

    /// Reads a 4xx: `{"<resource>": {"<field>": ["…"]}}` or `{"error": "…"}`. Keeps only known field names: the texts
    /// quote what was sent, and a name could as well.
    pub(super) async fn rejected(response: Response) -> Self {
        let status = response.status().as_u16();
        let body: Value = json(response, LARGEST_ANSWER).await.unwrap_or(Value::Null);
        let fields: Vec<_> = body
            .as_object()
            .into_iter()
            .flat_map(Map::values)
            .filter_map(Value::as_object)
            .flat_map(Map::keys)
            .map(String::as_str)
            .filter(|name| FIELDS.contains(name) || RoomProperties::has_field(name))
            .collect();
        Self::Rejected {
            status,
            fields: fields.join(", "),
            already_exists: body.to_string().contains("already exists"),
        }
    }
}

impl TokenError {
    pub(super) fn busy(response: &Response, now: SystemTime) -> Self {
        Self::Busy { status: response.status().as_u16(), retry_after: retry_after(response.headers(), now) }
    }

    pub(super) async fn refused(response: Response) -> Self {
        Self::Refused { status: response.status().as_u16(), code: refusal_code(response).await }
    }

    /// The wait that the token endpoint asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::Refused { .. } | Self::Failed(_) => None,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Refused { status: 404, .. } => "check PEXIP_MANAGEMENT_URL, and that the node has OAuth2 switched on",
            Self::Refused { .. } => {
                "check PEXIP_OAUTH_CLIENT_ID on the node, that PEXIP_OAUTH_PRIVATE_KEY is the key of that client, and \
                 that both clocks agree"
            }
            Self::Busy { .. } => "look at the management node, and try again when it works",
            Self::Failed(_) => "check PEXIP_MANAGEMENT_URL, PEXIP_CA_FILE and the network on the way",
        }
    }
}

impl Outcome for TokenError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Busy { .. } => "busy",
            Self::Failed(failure) => failure.outcome(),
        }
    }
}

impl Outcome for PexipError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound => "ok",
            Self::AccountRefused { .. } => "refused",
            Self::NoToken(error) => error.outcome(),
            Self::Rejected { .. } => "rejected",
            // The last three are never the result of a call.
            Self::Busy { .. } | Self::Saturated | Self::Suspended { .. } | Self::OverBudget { .. } => "busy",
            Self::Failed(failure) => failure.outcome(),
        }
    }
}

impl From<Open> for PexipError {
    fn from(open: Open) -> Self {
        Self::Suspended { retry_in: open.retry_in }
    }
}
