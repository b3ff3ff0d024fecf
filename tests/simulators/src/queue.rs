//! Azure Queue Storage: one account with path-style addresses; the operations that the service uses, with their errors.

mod authentication;
pub(crate) mod error;
mod operations;
pub(crate) mod shared_access;
pub(crate) mod shared_key;
mod store;
pub(crate) mod xml;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use time::OffsetDateTime;
use url::Url;

use crate::simulator::{Simulator, System};

use shared_key::AccountKey;
use store::Store;

/// Name of the simulator's only account, as in the official emulator.
pub const ACCOUNT: &str = "devstoreaccount1";

/// Key of the account: the one that Microsoft publishes for its emulator; not a secret.
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Default lifetime of a message.
const DEFAULT_TIME_TO_LIVE: Duration = Duration::from_hours(7 * 24);

/// Query of an account SAS for queues and blobs with all permissions for a day.
pub fn account_sas() -> String {
    account_sas_with("raupdlcw")
}

/// The same with these permissions. The account's key is the published one, so the official emulator accepts it too.
pub fn account_sas_with(permissions: &str) -> String {
    let tomorrow = OffsetDateTime::now_utc() + Duration::from_hours(24);
    shared_access::for_account(&AccountKey::published(), permissions, tomorrow)
}

/// A Queue Storage account on loopback. It starts empty.
pub type QueueSimulator = Simulator<Account>;

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Text of the message.
    pub text: String,
    /// How often it has been received.
    pub dequeue_count: u32,
    /// Whether a receive would return it now.
    pub visible: bool,
    /// Expiry, by the queue's clock; the end of the year 9999 for never.
    pub expires_at: OffsetDateTime,
    /// When it becomes visible, by the queue's clock.
    pub visible_at: OffsetDateTime,
}

/// State of an account.
#[derive(Debug)]
pub struct Account {
    store: Mutex<Store>,
    key: AccountKey,
    accepts_bearer_tokens: AtomicBool,
}

impl QueueSimulator {
    /// Address of the account; a queue's address is this, a slash and its name.
    pub fn url(&self) -> Url {
        self.server.url().join(ACCOUNT).expect("an account name is a path")
    }

    /// Connection string of the account with its key, for clients that use queues only: no blob service listens.
    pub fn connection_string(&self) -> String {
        format!(
            "AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};QueueEndpoint={};BlobEndpoint=http://127.0.0.1:9/{ACCOUNT};",
            self.url()
        )
    }

    /// Query of a service SAS for one queue with the given permissions (some of `raup`), valid for a day.
    pub fn queue_sas(&self, queue: &str, permissions: &str) -> String {
        shared_access::for_queue(
            &self.system.key,
            queue,
            permissions,
            OffsetDateTime::now_utc() + Duration::from_hours(24),
        )
    }

    /// Whether bearer tokens are accepted, whatever they contain, as a managed identity sends them.
    pub fn accept_bearer_tokens(&self, accept: bool) {
        self.system.accepts_bearer_tokens.store(accept, Ordering::Relaxed);
    }

    /// Moves the queue's own clock forward: leases end, hidden messages become visible, messages expire.
    pub fn advance(&self, by: Duration) {
        self.system.store().advance(by);
    }

    /// Puts a message that is visible at once and lives for 7 days; creates the queue.
    pub fn put(&self, queue: &str, text: &str) {
        self.put_hidden(queue, text, Duration::ZERO);
    }

    /// Puts a message that becomes visible later and lives for 7 days; creates the queue.
    pub fn put_hidden(&self, queue: &str, text: &str, hidden: Duration) {
        self.system.store().ensure(queue).put(text.to_owned(), hidden, Some(DEFAULT_TIME_TO_LIVE));
    }

    /// Puts a message that is visible at once and lives for this long; creates the queue.
    pub fn put_expiring(&self, queue: &str, text: &str, lifetime: Duration) {
        self.system.store().ensure(queue).put(text.to_owned(), Duration::ZERO, Some(lifetime));
    }

    /// All messages of a queue that have not expired, in the order in which they are or become visible.
    pub fn messages(&self, queue: &str) -> Vec<StoredMessage> {
        self.system.store().open(queue).map(|open| open.stored()).unwrap_or_default()
    }
}

impl Default for Account {
    fn default() -> Self {
        Self { store: Mutex::default(), key: AccountKey::published(), accepts_bearer_tokens: AtomicBool::new(false) }
    }
}

impl System for Account {
    fn router(self: &Arc<Self>) -> Router {
        operations::router(Arc::clone(self))
    }
}

impl Account {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
