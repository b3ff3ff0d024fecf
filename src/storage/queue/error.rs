use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;

use crate::outbound::breaker::Open;
use crate::outbound::calls::Outcome;

/// Why the queue did not do what it was asked. Holds status and error code, never the service's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The request never arrived, or was refused in the network.
    #[error("the queue service cannot be reached")]
    Unreachable,
    /// No answer in time; whether it was done is unknown.
    #[error("the queue service did not answer in time")]
    Timeout,
    /// The connection broke; whether it was done is unknown.
    #[error("the connection to the queue service broke")]
    ConnectionLost,
    /// Our credentials are wrong, or no token could be had for them.
    #[error("the queue service refuses our credentials{}", told(.0))]
    Credentials(String),
    /// The queue does not exist.
    #[error("the queue does not exist")]
    NoSuchQueue,
    /// Any other answer, as status and error code.
    #[error("the queue service answered {status}{}", told(code))]
    Answered { status: u16, code: String },
    /// It has failed and is left alone for now.
    #[error("the queue service is left alone for now, after it failed")]
    Suspended,
    /// The answer, or our configuration, cannot be read.
    #[error("the queue service's answer cannot be read")]
    Unreadable,
}

/// The error code in brackets. Whatever answers in the service's place has none.
fn told(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}

impl QueueError {
    /// Whether the work may have been done in spite of the error.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Timeout | Self::ConnectionLost | Self::Unreadable => true,
            Self::Answered { status, .. } => *status >= 500,
            Self::Unreachable | Self::Credentials(_) | Self::NoSuchQueue | Self::Suspended => false,
        }
    }

    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable | Self::Timeout | Self::ConnectionLost => "check PoolStorage and the network on the way",
            Self::Credentials(_) => "check the key, the signature or the identity behind PoolStorage, and its role",
            Self::NoSuchQueue => "check POOL_QUEUE_NAME",
            Self::Answered { .. } | Self::Unreadable => "check that PoolStorage names a queue service",
            Self::Suspended => "try again in a minute",
        }
    }

    /// Whether it says that the service, or our right to it, does not work, and not just this request.
    pub(super) fn is_the_services_trouble(&self) -> bool {
        match self {
            Self::Unreachable | Self::Timeout | Self::ConnectionLost | Self::Credentials(_) => true,
            Self::Answered { status, .. } => *status >= 500,
            Self::NoSuchQueue | Self::Suspended | Self::Unreadable => false,
        }
    }

    /// The two answers to a delete that mean that somebody else has received or deleted the message. Told apart by
    /// the error code: 404 is also what a missing queue answers.
    pub(super) fn says_message_is_not_ours(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "MessageNotFound" || code == "PopReceiptMismatch")
    }
}

impl Outcome for QueueError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::NoSuchQueue => "ok",
            _ if self.says_message_is_not_ours() => "ok",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Credentials(_) => "refused",
            Self::Answered { status, .. } if *status < 500 => "rejected",
            // The last is ours and never a call's.
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
                // A word, as Azure's codes are. Whoever answers in its place may put anything there.
                let is_word = |code: &String| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
                let code = error_code.clone().filter(is_word).unwrap_or_default();
                match (*status, code.as_str()) {
                    (StatusCode::NotFound, "QueueNotFound") => Self::NoSuchQueue,
                    (StatusCode::Unauthorized | StatusCode::Forbidden, _) => Self::Credentials(code),
                    (status, _) => Self::Answered { status: status.into(), code },
                }
            }
            ErrorKind::Connection => Self::Unreachable,
            ErrorKind::Io => Self::ConnectionLost,
            ErrorKind::Credential => Self::Credentials("no token for the managed identity".to_owned()),
            ErrorKind::DataConversion | ErrorKind::Other => Self::Unreadable,
        }
    }
}
