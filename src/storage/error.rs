//! Failures of the storage services.

use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;
use azure_core::http::headers::{HeaderName, Headers};

use crate::outbound::breaker::Open;
use crate::outbound::calls::Outcome;
use crate::outbound::{ConnectStep, wait_asked_for};

/// Why a call to a storage service failed. Holds status and error code, never the service's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// No connection: the request was never sent.
    #[error("the storage service cannot be reached ({0})")]
    Unreachable(ConnectStep),
    /// No answer in time; whether the request took effect is unknown.
    #[error("the storage service did not answer in time")]
    Timeout,
    /// The connection broke; whether the request took effect is unknown.
    #[error("the connection to the storage service broke")]
    ConnectionLost,
    /// The credentials are wrong, or there is no token for them.
    #[error("the storage service refuses our credentials{}", in_brackets(.0))]
    Credentials(String),
    #[error("the queue does not exist")]
    NoSuchQueue,
    #[error("the container of the room records does not exist")]
    NoSuchContainer,
    /// Any other answer, as status and error code, and the wait that it asks for.
    #[error("the storage service answered {status}{}", in_brackets(code))]
    Answered { status: u16, code: String, retry_after: Option<Duration> },
    /// The circuit breaker is open.
    #[error("the circuit breaker of the storage service is open")]
    Suspended,
    /// The answer, or our configuration, cannot be read.
    #[error("the storage service's answer cannot be read")]
    Unreadable,
}

/// By the answer's own clock: no other is at hand where the SDK's errors are read.
fn retry_after(headers: &Headers) -> Option<Duration> {
    let text = |name| headers.get_optional_str(&HeaderName::from_static(name));
    wait_asked_for(text("retry-after")?, text("date"), None)
}

/// The error code in brackets; empty if something else answered in place of the service.
fn in_brackets(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}

impl StorageError {
    /// Whether the request may have taken effect in spite of the error.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Timeout | Self::ConnectionLost | Self::Unreadable => true,
            Self::Answered { status, .. } => *status >= 500,
            Self::Unreachable(_)
            | Self::Credentials(_)
            | Self::NoSuchQueue
            | Self::NoSuchContainer
            | Self::Suspended => false,
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
            Self::NoSuchContainer => "check RECORDS_CONTAINER",
            Self::Answered { .. } | Self::Unreadable => "check that PoolStorage names a storage account",
            Self::Suspended => "try again in a minute",
        }
    }

    /// The wait that the service asks for: it answers 503 while it is busy, and a gateway before it 429.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { status: 429 | 500.., retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the service or our access to it failed, and not only this request.
    pub(super) fn is_service_failure(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout | Self::ConnectionLost | Self::Credentials(_) => true,
            Self::Answered { status, .. } => *status >= 500,
            Self::NoSuchQueue | Self::NoSuchContainer | Self::Suspended | Self::Unreadable => false,
        }
    }

    /// Whether a delete failed because another receiver has received or deleted the message. By the error code: a
    /// missing queue answers 404 too.
    pub(super) fn is_message_gone(&self) -> bool {
        self.has_code(&["MessageNotFound", "PopReceiptMismatch"])
    }

    /// Whether there is certainly no such blob. By the error code: a missing container answers 404 too.
    pub(super) fn is_no_blob(&self) -> bool {
        self.has_code(&["BlobNotFound"])
    }

    /// Whether a conditional write found another state of the blob than the one that it was for.
    pub(super) fn is_condition_not_met(&self) -> bool {
        self.has_code(&["BlobAlreadyExists", "ConditionNotMet"])
    }

    /// Whether a write of a record may have taken effect: also after an answer that does not come from the service.
    pub(super) fn leaves_record_unknown(&self) -> bool {
        let is_foreign =
            matches!(self, Self::Answered { status, code, .. } if *status < 400 || *status == 429 || code.is_empty());
        self.is_ambiguous() || is_foreign
    }

    pub(super) fn has_code(&self, codes: &[&str]) -> bool {
        matches!(self, Self::Answered { code, .. } if codes.contains(&code.as_str()))
    }
}

impl Outcome for StorageError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::NoSuchQueue | Self::NoSuchContainer => "ok",
            _ if self.is_message_gone() || self.is_no_blob() || self.is_condition_not_met() => "ok",
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

impl From<Open> for StorageError {
    fn from(_: Open) -> Self {
        Self::Suspended
    }
}

impl From<azure_core::Error> for StorageError {
    fn from(error: azure_core::Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse { status, error_code, raw_response } => {
                // Azure's codes are words; a proxy that answers in its place may send anything.
                let is_word = |code: &String| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
                let code = error_code.clone().filter(is_word).unwrap_or_default();
                match (*status, code.as_str()) {
                    (StatusCode::NotFound, "QueueNotFound") => Self::NoSuchQueue,
                    (StatusCode::NotFound, "ContainerNotFound") => Self::NoSuchContainer,
                    (StatusCode::Unauthorized | StatusCode::Forbidden, _) => Self::Credentials(code),
                    (status, _) => {
                        let retry_after = raw_response.as_ref().and_then(|answer| retry_after(answer.headers()));
                        Self::Answered { status: status.into(), code, retry_after }
                    }
                }
            }
            ErrorKind::Connection => Self::Unreachable(ConnectStep::of(&error)),
            ErrorKind::Io => Self::ConnectionLost,
            ErrorKind::Credential => Self::Credentials("no token for the managed identity".to_owned()),
            ErrorKind::DataConversion | ErrorKind::Other => Self::Unreadable,
        }
    }
}
