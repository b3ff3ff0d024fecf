//! Authentication and permissions.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::error::StorageError;
use super::shared_access::{self, Query};
use super::{ACCOUNT, Account, shared_key};

/// Largest difference of a request's date; larger ones are refused as replays.
const DATE_TOLERANCE: Duration = Duration::from_mins(15);

/// The operation of a request, for permission checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    CreateQueue,
    DeleteQueue,
    ReadQueue,
    Clear,
    Add,
    Peek,
    Process,
    Update,
}

impl Access {
    /// Derives the operation from method, path and query.
    pub(super) fn of(method: &Method, segments: &[&str], query: &Query) -> Result<Self, StorageError> {
        let peeks = query.get("peekonly").is_some_and(|peek| peek == "true");
        match (segments, method.as_str()) {
            ([_], "PUT") => Ok(Self::CreateQueue),
            ([_], "DELETE") => Ok(Self::DeleteQueue),
            ([_], "GET" | "HEAD") => Ok(Self::ReadQueue),
            ([_, "messages"], "POST") => Ok(Self::Add),
            ([_, "messages"], "GET") if peeks => Ok(Self::Peek),
            ([_, "messages"], "GET") | ([_, "messages", _], "DELETE") => Ok(Self::Process),
            ([_, "messages"], "DELETE") => Ok(Self::Clear),
            ([_, "messages", _], "PUT") => Ok(Self::Update),
            ([_] | [_, "messages"] | [_, "messages", _], _) => Err(StorageError::UnsupportedHttpVerb),
            _ => Err(StorageError::InvalidResourceName),
        }
    }

    /// Resource type in an account SAS: container or object.
    pub(super) fn resource_type(self) -> char {
        match self {
            Self::CreateQueue | Self::DeleteQueue | Self::ReadQueue => 'c',
            Self::Clear | Self::Add | Self::Peek | Self::Process | Self::Update => 'o',
        }
    }

    /// Permissions of an account SAS, one of which suffices.
    pub(super) fn account_permissions(self) -> &'static [char] {
        match self {
            Self::CreateQueue => &['c', 'w'],
            Self::DeleteQueue | Self::Clear => &['d'],
            Self::ReadQueue | Self::Peek => &['r'],
            Self::Add => &['a'],
            Self::Process => &['p'],
            Self::Update => &['u'],
        }
    }

    /// A service SAS can never create, delete or clear a queue.
    pub(super) fn queue_permission(self) -> Option<char> {
        match self {
            Self::CreateQueue | Self::DeleteQueue | Self::Clear => None,
            Self::ReadQueue | Self::Peek => Some('r'),
            Self::Add => Some('a'),
            Self::Process => Some('p'),
            Self::Update => Some('u'),
        }
    }
}

/// Accepts the account key, a SAS or, if the account allows it, any bearer token.
pub(super) fn check(
    account: &Account,
    request: &Parts,
    queue: &str,
    query: &Query,
    access: Access,
) -> Result<(), StorageError> {
    let Some(authorization) = request.headers.get(header::AUTHORIZATION) else {
        return if query.contains_key("sig") {
            shared_access::check(&account.key, query, queue, access)
        } else {
            Err(StorageError::AuthorizationFailure)
        };
    };
    let authorization = authorization.to_str().unwrap_or_default();
    if authorization.starts_with("Bearer ") {
        return if account.accepts_bearer_tokens.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(StorageError::AuthenticationFailed)
        };
    }
    let text = shared_key::string_to_sign(&request.method, &request.uri, &request.headers);
    let signature = authorization
        .strip_prefix("SharedKey ")
        .and_then(|credential| credential.strip_prefix(ACCOUNT))
        .and_then(|credential| credential.strip_prefix(':'));
    match signature {
        Some(signature) if is_recent(&request.headers) && account.key.verifies(&text, signature) => Ok(()),
        _ => Err(StorageError::AuthenticationFailed),
    }
}

fn is_recent(headers: &HeaderMap) -> bool {
    let sent = headers
        .get("x-ms-date")
        .or_else(|| headers.get(header::DATE))
        .and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let now = SystemTime::now();
    sent.is_some_and(|sent| {
        let apart = now.duration_since(sent).unwrap_or_else(|ahead| ahead.duration());
        apart <= DATE_TOLERANCE
    })
}
