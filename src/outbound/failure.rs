//! Why a call got no usable response.

use std::error::Error;
use std::{io, iter};

use rustls::CertificateError;

use super::calls::Outcome;
use super::resolver::NameNotResolved;

/// Why there is no usable response. Holds no address, header or body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// No connection: the request was never sent.
    #[error("cannot be reached ({0})")]
    Unreachable(ConnectStep),
    /// No response in time; whether the request took effect is unknown.
    #[error("did not answer in time")]
    Timeout,
    /// The connection broke; whether the request took effect is unknown.
    #[error("broke the connection")]
    ConnectionLost,
    /// The response is not what its API specifies.
    #[error("gave an answer that cannot be read")]
    Unreadable,
}

/// The step at which a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectStep {
    #[error("DNS: the name does not resolve")]
    Dns,
    #[error("TCP: connection refused")]
    TcpRefused,
    /// No route to the host or its network.
    #[error("TCP: no route")]
    TcpNoRoute,
    /// One limit covers DNS, TCP and TLS, and the client does not report which of them it ended.
    #[error("timeout while connecting: DNS, TCP or TLS")]
    Timeout,
    #[error("TLS: {0}")]
    Certificate(CertificateFault),
    /// The handshake failed for another reason: no common version, an alert, or the connection closed.
    #[error("TLS: handshake failed")]
    TlsHandshake,
    /// Connected, but HTTP could not start; or another failure that the client does not specify.
    #[error("HTTP")]
    Http,
}

/// Why a server's certificate is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("certificate expired")]
    Expired,
    #[error("certificate not valid yet")]
    NotYetValid,
    #[error("certificate of an unknown issuer")]
    UnknownIssuer,
    #[error("certificate for another name")]
    WrongName,
    #[error("certificate not trusted")]
    Other,
}

impl From<reqwest::Error> for CallFailure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            Self::Unreachable(ConnectStep::of(&error))
        } else if error.is_timeout() {
            Self::Timeout
        } else {
            Self::ConnectionLost
        }
    }
}

impl Outcome for CallFailure {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Unreadable => "unreadable",
        }
    }
}

impl ConnectStep {
    /// The step of a failure to connect, by `error` and the errors below it.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        iter::successors(Some(error), |error| below(*error)).find_map(Self::of_one).unwrap_or(Self::Http)
    }

    fn of_one(error: &(dyn Error + 'static)) -> Option<Self> {
        if error.is::<NameNotResolved>() {
            return Some(Self::Dns);
        }
        if error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout) {
            return Some(Self::Timeout);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(match error {
                rustls::Error::InvalidCertificate(error) => Self::Certificate(error.into()),
                _ => Self::TlsHandshake,
            });
        }
        match error.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::TcpRefused),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some(Self::TcpNoRoute),
            io::ErrorKind::TimedOut => Some(Self::Timeout),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Some(Self::TlsHandshake),
            _ => None,
        }
    }
}

/// Whether the peer closed the connection before a response.
pub(crate) fn is_close_without_answer(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |error| below(*error)).any(|error| {
        error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
            || error.downcast_ref::<io::Error>().is_some_and(|error| {
                use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
                matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
            })
    })
}

/// The next error of the chain. `source()` of an `io::Error` would skip the error that it wraps.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

impl From<&CertificateError> for CertificateFault {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
            _ => Self::Other,
        }
    }
}
