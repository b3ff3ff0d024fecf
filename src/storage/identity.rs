//! Tokens of the app's managed identity.

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RetryOptions};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use tokio::time::timeout;

use super::transport::transport;

/// Scope of tokens for storage.
const SCOPE: &str = "https://storage.azure.com/.default";

/// A token of the identity endpoint has some 2 KiB.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Variable in which App Service names its identity endpoint. The SDK reads it; without it, the SDK tries the address
/// of Azure's virtual machines for more than a minute.
const ENDPOINT: &str = "IDENTITY_ENDPOINT";

/// Why there is no token of the app's managed identity. Holds nothing of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not in App Service.
    #[error("there is no managed identity here: IDENTITY_ENDPOINT is not set")]
    NoEndpoint,
    #[error("the managed identity's endpoint (IDENTITY_ENDPOINT) cannot be reached")]
    Unreachable,
    #[error("the managed identity's endpoint (IDENTITY_ENDPOINT) did not answer in time")]
    Timeout,
    #[error("the managed identity's endpoint gives no token ({0})")]
    Refused(u16),
    #[error("the managed identity's endpoint gave an answer that cannot be read")]
    Unreadable,
}

impl IdentityError {
    /// Advice for an operator.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoEndpoint => "run this in the app itself, and see that the app has a managed identity",
            Self::Unreachable | Self::Timeout => "try again; if it stays so, restart the app",
            Self::Refused(_) => {
                "see that the app has this identity, and that PoolStorage__clientId is right where it is set"
            }
            Self::Unreadable => "see that IDENTITY_ENDPOINT is what App Service has set",
        }
    }
}

/// The app's system-assigned identity, or the user-assigned one with this client id.
pub(super) fn managed_identity(
    client_id: Option<String>,
    http: reqwest::Client,
) -> azure_core::Result<Arc<ManagedIdentityCredential>> {
    ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.map(UserAssignedId::ClientId),
        client_options: ClientOptions {
            transport: Some(transport(http, LARGEST_ANSWER)),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        },
    }))
}

/// Requests a token for storage and discards it, to check the app's managed identity.
pub async fn find_identity(
    client_id: Option<&str>,
    http: &reqwest::Client,
    limit: Duration,
) -> Result<(), IdentityError> {
    #[expect(clippy::disallowed_methods, reason = "not a setting of this service; the SDK reads it")]
    if std::env::var_os(ENDPOINT).is_none() {
        return Err(IdentityError::NoEndpoint);
    }
    let work =
        async { managed_identity(client_id.map(ToOwned::to_owned), http.clone())?.get_token(&[SCOPE], None).await };
    match timeout(limit, work).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => Err(IdentityError::Timeout),
    }
}

/// The SDK wraps the reason in a credential error.
fn reason(error: &azure_core::Error) -> IdentityError {
    let inner = error.downcast_ref::<azure_core::Error>().unwrap_or(error);
    match inner.kind() {
        ErrorKind::HttpResponse { status, .. } => IdentityError::Refused((*status).into()),
        ErrorKind::Connection | ErrorKind::Io => IdentityError::Unreachable,
        ErrorKind::Credential | ErrorKind::DataConversion | ErrorKind::Other => IdentityError::Unreadable,
    }
}
