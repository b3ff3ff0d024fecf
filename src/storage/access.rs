//! How a client reaches a storage service and authenticates to it.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions, Url};
use secrecy::ExposeSecret;

use super::identity::managed_identity;
use super::shared_key::SharedKey;
use super::transport::transport;
use crate::config::StorageAccess;

/// What a client of the SDK is built from. Not `Debug`: the URL may hold a signature.
pub(super) struct Access {
    pub(super) service: Url,
    pub(super) credential: Option<Arc<dyn TokenCredential>>,
    pub(super) options: ClientOptions,
}

impl Access {
    pub(super) fn new(config: &StorageAccess, http: reqwest::Client) -> azure_core::Result<Self> {
        let transport = transport(http);
        let mut options = ClientOptions {
            // A repeated Put Message makes two messages with one name, a repeated Delete hides whose claim it was.
            retry: RetryOptions::none(),
            transport: Some(transport.clone()),
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
                credential = Some(managed_identity(client_id.clone(), transport)? as _);
            }
        }
        Ok(Self { service, credential, options })
    }
}
