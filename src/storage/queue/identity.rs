use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use tokio::time::timeout;

use super::transport::transport;

/// What tokens for storage are asked for.
const SCOPE: &str = "https://storage.azure.com/.default";

/// Where App Service says that its identities answer. The library reads it itself, and without it asks, for more than a
/// minute, an address that only Azure's virtual machines know.
const ENDPOINT: &str = "IDENTITY_ENDPOINT";

/// Why there is no token of the app's managed identity. Holds nothing of what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// This is no App Service: nobody has told where to ask.
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
    /// What an operator can do about it.
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

/// The identity that asks for tokens: the app's own, or the user-assigned one of this client id.
pub(super) fn managed_identity(
    client_id: Option<String>,
    transport: Transport,
) -> azure_core::Result<Arc<ManagedIdentityCredential>> {
    ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.map(UserAssignedId::ClientId),
        client_options: ClientOptions {
            transport: Some(transport),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        },
    }))
}

/// Whether the app's managed identity gives a token for storage, asked now and for nobody's use: for an operator.
pub async fn find_identity(
    client_id: Option<&str>,
    http: &reqwest::Client,
    limit: Duration,
) -> Result<(), IdentityError> {
    #[expect(clippy::disallowed_methods, reason = "no setting of ours: the library reads it itself")]
    if std::env::var_os(ENDPOINT).is_none() {
        return Err(IdentityError::NoEndpoint);
    }
    let work = async {
        managed_identity(client_id.map(ToOwned::to_owned), transport(http.clone()))?.get_token(&[SCOPE], None).await
    };
    match timeout(limit, work).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => Err(IdentityError::Timeout),
    }
}

/// The library hides why under "no token".
fn reason(error: &azure_core::Error) -> IdentityError {
    let inner = error.downcast_ref::<azure_core::Error>().unwrap_or(error);
    match inner.kind() {
        ErrorKind::HttpResponse { status, .. } => IdentityError::Refused((*status).into()),
        ErrorKind::Connection | ErrorKind::Io => IdentityError::Unreachable,
        ErrorKind::Credential | ErrorKind::DataConversion | ErrorKind::Other => IdentityError::Unreadable,
    }
}
