use std::time::Duration;

use reqwest::Response;
use serde_json::{Map, Value};

use super::LARGEST_ANSWER;
use crate::outbound::breaker::Open;
use crate::outbound::calls::Outcome;
use crate::outbound::{CallFailure, json};

/// What a refusal may name: the fields that are sent, and Django's word for all of them together.
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

/// The wait where nobody has named one.
const USUAL_WAIT: Duration = Duration::from_secs(5);

/// Why the management node did not do what it was asked. Holds no address, body or value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PexipError {
    /// 401, 403 or a redirect to the login page: our account does not work.
    #[error("Pexip refuses our account ({status})")]
    AccountRefused { status: u16 },
    /// 400 or another 4xx: what we sent is refused, for these fields.
    #[error("Pexip rejects the request ({status}; fields: {fields})")]
    Rejected { status: u16, fields: String, already_exists: bool },
    /// 404: there is no such object.
    #[error("Pexip does not have it (404)")]
    NotFound,
    /// 429 or 5xx.
    #[error("Pexip is busy or broken ({status})")]
    Busy { status: u16, retry_after: Option<Duration> },
    /// Our own limit on calls in flight left no place in time.
    #[error("no place among our calls to Pexip in time")]
    Saturated,
    /// It has failed or asked for time, and is left alone for now.
    #[error("Pexip is left alone for now, after it failed")]
    Suspended { retry_in: Duration },
    /// This instance's calls of the last minute are all that it may make.
    #[error("this minute's calls to Pexip are used up")]
    OverBudget { retry_in: Duration },
    /// No answer, or none that can be read.
    #[error("Pexip {0}")]
    Failed(#[from] CallFailure),
}

impl PexipError {
    /// Whether the work may have been done in spite of the error.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Busy { status, .. } => *status >= 500,
            Self::Failed(failure) => match failure {
                CallFailure::Timeout | CallFailure::ConnectionLost | CallFailure::Unreadable => true,
                CallFailure::Unreachable => false,
            },
            Self::AccountRefused { .. }
            | Self::Rejected { .. }
            | Self::NotFound
            | Self::Saturated
            | Self::Suspended { .. }
            | Self::OverBudget { .. } => false,
        }
    }

    /// Whether it says that the node, or our account on it, does not work, and not just this request.
    pub(super) fn is_the_nodes_trouble(&self) -> bool {
        match self {
            Self::AccountRefused { .. } | Self::Busy { .. } | Self::Failed(_) => true,
            Self::Rejected { .. }
            | Self::NotFound
            | Self::Saturated
            | Self::Suspended { .. }
            | Self::OverBudget { .. } => false,
        }
    }

    /// The wait that the node itself has named.
    pub(super) fn asks_to_wait(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// How long to wait before the same may work; `None` where waiting alone is no help.
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Suspended { retry_in } | Self::OverBudget { retry_in } => Some(*retry_in),
            Self::Busy { retry_after: Some(asked_for), .. } => Some(*asked_for),
            Self::Busy { status: 429 | 503, retry_after: None } | Self::Saturated => Some(USUAL_WAIT),
            Self::Busy { .. }
            | Self::AccountRefused { .. }
            | Self::Rejected { .. }
            | Self::NotFound
            | Self::Failed(_) => None,
        }
    }

    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::AccountRefused { .. } => "check PEXIP_USERNAME, PEXIP_PASSWORD and what the account may do",
            Self::Rejected { .. } => "check the settings ROOM_* against what the node allows",
            Self::NotFound => "check PEXIP_MANAGEMENT_URL",
            Self::Failed(_) => "check PEXIP_MANAGEMENT_URL, PEXIP_CA_FILE and the network on the way",
            Self::Busy { .. } | Self::Suspended { .. } => "look at the management node, and try again when it is well",
            Self::Saturated | Self::OverBudget { .. } => {
                "try again in a minute, or raise PEXIP_MAX_IN_FLIGHT and PEXIP_REQUESTS_PER_MINUTE"
            }
        }
    }

    /// Whether a create that failed like this may have left the conference: after a lost answer, and where the name,
    /// which is ours alone, is said to be taken.
    pub fn may_have_created(&self) -> bool {
        self.is_ambiguous() || matches!(self, Self::Rejected { already_exists: true, .. })
    }

    /// Sorts a 4xx by its body: `{"<resource>": {"<field>": ["…"]}}` or `{"error": "…"}`. Only names of fields that are
    /// known are kept: the texts quote what was sent, and a name may be anything too.
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
            .filter(|name| FIELDS.contains(name))
            .collect();
        Self::Rejected {
            status,
            fields: fields.join(", "),
            already_exists: body.to_string().contains("already exists"),
        }
    }
}

impl Outcome for PexipError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound => "ok",
            Self::AccountRefused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
            // The last three are ours and never a call's.
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
