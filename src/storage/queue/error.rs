//! Failures of the queue.

use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;

use crate::outbound::ConnectStep;
use crate::outbound::breaker::Open;
use crate::outbound::calls::Outcome;

/// Why a call to the queue failed. Holds status and error code, never the service's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No connection: the request was never sent.
    #[error("the queue service cannot be reached ({0})")]
    Unreachable(ConnectStep),
    /// No answer in time; whether the request took effect is unknown.
    #[error("the queue service did not answer in time")]
    Timeout,
    /// The connection broke; whether the request took effect is unknown.
    #[error("the connection to the queue service broke")]
    ConnectionLost,
    /// The credentials are wrong, or there is no token for them.
    #[error("the queue service refuses our credentials{}", in_brackets(.0))]
    Credentials(String),
    /// The queue does not exist.
    #[error("the queue does not exist")]
    NoSuchQueue,
    /// Any other answer, as status and error code.
    #[error("the queue service answered {status}{}", in_brackets(code))]
    Answered { status: u16, code: String },
    /// The circuit breaker is open.
    #[error("the circuit breaker of the queue service is open")]
    Suspended,
    /// The answer, or our configuration, cannot be read.
    #[error("the queue service's answer cannot be read")]
    Unreadable,
}

/// The error code in brackets; empty if something else answered in place of the service.
fn in_brackets(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}

impl QueueError {
    /// Whether the request may have taken effect in spite of the error.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Timeout | Self::ConnectionLost | Self::Unreadable => true,
            Self::Answered { status, .. } => *status >= 500,
            Self::Unreachable(_) | Self::Credentials(_) | Self::NoSuchQueue | Self::Suspended => false,
        }
    }

    /// Advice for an operator.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Timeout | Self::ConnectionLost => {
                "check PoolStorage and the network on the way"
            }
            Self::Credentials(_) => "check the key, the signature or the identity behind PoolStorage, and its role",
            Self::NoSuchQueue => "check POOL_QUEUE_NAME",
            Self::Answered { .. } | Self::Unreadable => "check that PoolStorage names a queue service",
            Self::Suspended => "try again in a minute",
        }
    }

    /// Whether the service or our access to it failed, and not only this request.
    pub(super) fn is_service_failure(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout | Self::ConnectionLost | Self::Credentials(_) => true,
            Self::Answered { status, .. } => *status >= 500,
            Self::NoSuchQueue | Self::Suspended | Self::Unreadable => false,
        }
    }

    /// Whether a delete failed because another receiver has received or deleted the message. By the error code: a
    /// missing queue answers 404 too.
    pub(super) fn is_lost_claim(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "MessageNotFound" || code == "PopReceiptMismatch")
    }
}

impl Outcome for QueueError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::NoSuchQueue => "ok",
            _ if self.is_lost_claim() => "ok",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Credentials(_) => "refused",
            Self::Answered { status, .. } if *status < 500 => "rejected",
            // `Suspended` is never the result of a call.
            Self::Answered { .. } | Self::Suspended => "busy",
            Self::Unreadable => "unreadable",
        }
    }
}

impl From<Open> for QueueError {
    fn from(_: Open) -> Self {
        Self::Suspended
    }
}

impl From<azure_core::Error> for QueueError {
    fn from(error: azure_core::Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse { status, error_code, .. } => {
                // Azure's codes are words; a proxy that answers in its place may send anything.
                let is_word = |code: &String| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
                let code = error_code.clone().filter(is_word).unwrap_or_default();
                match (*status, code.as_str()) {
                    (StatusCode::NotFound, "QueueNotFound") => Self::NoSuchQueue,
                    (StatusCode::Unauthorized | StatusCode::Forbidden, _) => Self::Credentials(code),
                    (status, _) => Self::Answered { status: status.into(), code },
                }
            }
            ErrorKind::Connection => Self::Unreachable(ConnectStep::of(&error)),
            ErrorKind::Io => Self::ConnectionLost,
            ErrorKind::Credential => Self::Credentials("no token for the managed identity".to_owned()),
            ErrorKind::DataConversion | ErrorKind::Other => Self::Unreadable,
        }
    }
}
