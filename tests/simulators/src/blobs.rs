//! Azure Blob Storage: one account with path-style addresses; block blobs with conditional writes.

mod operations;
mod store;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use time::Duration;
use url::Url;

use crate::queue::ACCOUNT;
use crate::queue::shared_key::AccountKey;
use crate::simulator::{Simulator, System};
use store::{Condition, Store};

/// A Blob Storage account on loopback. It starts empty.
pub type BlobSimulator = Simulator<BlobAccount>;

/// A blob in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Name of the blob.
    pub name: String,
    /// Content, which is text for every writer here.
    pub text: String,
}

/// State of an account.
#[derive(Debug)]
pub struct BlobAccount {
    store: Mutex<Store>,
    key: AccountKey,
    accepts_bearer_tokens: AtomicBool,
}

impl BlobSimulator {
    /// Address of the account; a container's address is this, a slash and its name.
    pub fn url(&self) -> Url {
        self.server.url().join(ACCOUNT).expect("an account name is a path")
    }

    /// Whether bearer tokens are accepted, whatever they contain, as a managed identity sends them.
    pub fn accept_bearer_tokens(&self, accept: bool) {
        self.system.accepts_bearer_tokens.store(accept, Ordering::Relaxed);
    }

    /// The blobs of a container, in the order of their names.
    pub fn blobs(&self, container: &str) -> Vec<StoredBlob> {
        self.system.store().all(container)
    }

    /// Writes a blob whatever is there; creates the container.
    pub fn put(&self, container: &str, name: &str, text: &str) {
        let mut store = self.system.store();
        // It may exist.
        let _created = store.create(container);
        let content = text.as_bytes().to_vec();
        store.put(container, name, content, &Condition::default()).expect("nothing prevents an unconditional write");
    }

    /// Deletes a blob.
    pub fn remove(&self, container: &str, name: &str) {
        self.system.store().delete(container, name, &Condition::default()).expect("the blob exists");
    }

    /// Lets a blob look as if it was written earlier.
    pub fn age(&self, container: &str, name: &str, by: Duration) {
        self.system.store().age(container, name, by);
    }

    /// Lets anybody read a container.
    pub fn make_public(&self, container: &str) {
        self.system.store().make_public(container);
    }

    /// Switches soft delete on: deleted blobs are kept, and can be listed.
    pub fn keep_deleted(&self) {
        self.system.store().deleted.get_or_insert_default();
    }

    /// Switches versioning on: lists name the version of each blob.
    pub fn keep_versions(&self) {
        self.system.store().has_versions = true;
    }

    /// Deletes a container with all of its blobs.
    pub fn remove_container(&self, container: &str) {
        self.system.store().drop_container(container).expect("the container exists");
    }
}

impl Default for BlobAccount {
    fn default() -> Self {
        Self { store: Mutex::default(), key: AccountKey::published(), accepts_bearer_tokens: AtomicBool::new(false) }
    }
}

impl System for BlobAccount {
    fn router(self: &Arc<Self>) -> Router {
        operations::router(Arc::clone(self))
    }
}

impl BlobAccount {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
