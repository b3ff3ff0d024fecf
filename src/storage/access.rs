//! How a client reaches a storage service and authenticates to it.

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions, Url};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::StorageError;
use super::identity::managed_identity;
use super::shared_key::SharedKey;
use super::transport::transport;
use crate::config::StorageAccess;
use crate::outbound::calls::{System, observed};

/// What a client of the SDK is built from. Not `Debug`: the URL may hold a signature.
pub(super) struct Access {
    pub(super) service: Url,
    pub(super) credential: Option<Arc<dyn TokenCredential>>,
    pub(super) options: ClientOptions,
}

impl Access {
    /// Responses have at most `largest` bytes.
    pub(super) fn new(config: &StorageAccess, http: reqwest::Client, largest: usize) -> azure_core::Result<Self> {
        let transport = transport(http.clone(), largest);
        let mut options = ClientOptions {
            // A repeated Put Message makes two messages with one name; a repeated delete, or a repeated write of a
            // record, hides whose it was.
            retry: RetryOptions::none(),
            transport: Some(transport),
            ..ClientOptions::default()
        };
        let mut service = config.service().clone();
        let mut credential = None;
        match config {
            StorageAccess::AccountKey { account, key, .. } => {
                options.per_try_policies.push(Arc::new(SharedKey::new(account, key)?));
            }
            StorageAccess::SharedAccessSignature { signature, .. } => {
                service.set_query(Some(signature.expose_secret()));
            }
            StorageAccess::ManagedIdentity { client_id, .. } => {
                credential = Some(managed_identity(client_id.clone(), http)? as _);
            }
        }
        Ok(Self { service, credential, options })
    }

    /// Address of this queue or container.
    pub(super) fn url(&self, name: &str) -> Url {
        let mut url = self.service.clone();
        url.set_path(&format!("{}{name}", url.path()));
        url
    }
}

/// One call with its time limit, observed as a call to `system`.
pub(super) fn call<T>(
    system: System,
    name: &'static str,
    limit: Duration,
    call: impl Future<Output = azure_core::Result<T>>,
) -> impl Future<Output = Result<T, StorageError>> {
    // Boxed here, not when it is polled: the SDK's futures are large, and each caller's future would contain them.
    let call = Box::pin(call);
    let work = async move {
        match timeout(limit, call).await {
            Ok(answer) => answer.map_err(StorageError::from),
            Err(_) => Err(StorageError::Timeout),
        }
    };
    observed(system, name, work)
}
