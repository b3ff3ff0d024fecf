//! Azure Queue Storage: one account, path-style addresses, all that the service calls and its errors.

mod authentication;
mod error;
mod operations;
mod shared_access;
mod shared_key;
mod store;
mod xml;

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

/// Key of the account: the one that Microsoft publishes for its emulator, so it protects nothing.
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What the service gives a message that names no lifetime of its own.
const DEFAULT_TIME_TO_LIVE: Duration = Duration::from_hours(7 * 24);

/// Query of an account SAS that allows everything for a day. The account's key is the published one, so this opens the
/// official emulator as well.
pub fn account_sas() -> String {
    let tomorrow = OffsetDateTime::now_utc() + Duration::from_hours(24);
    shared_access::for_account(&AccountKey::published(), "raupdlc", tomorrow)
}

/// A Queue Storage account on loopback; empty at first.
pub type QueueSimulator = Simulator<Account>;

/// A message as it lies in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Text of the message.
    pub text: String,
    /// How often it has been received.
    pub dequeue_count: u32,
    /// Whether a receive would return it now.
    pub visible: bool,
    /// When it vanishes, by the queue's clock; the end of the year 9999 for never.
    pub expires_at: OffsetDateTime,
    /// From when a receive returns it, by the queue's clock.
    pub visible_at: OffsetDateTime,
}

/// What an account knows.
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

    /// Connection string with the account key.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};QueueEndpoint={};",
            self.url()
        )
    }

    /// Connection string with an account SAS that allows everything for a day.
    pub fn sas_connection_string(&self) -> String {
        format!("QueueEndpoint={};SharedAccessSignature={};", self.url(), account_sas())
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

    /// Whether any bearer token is let in, as a managed identity would send it.
    pub fn accept_bearer_tokens(&self, accept: bool) {
        self.system.accepts_bearer_tokens.store(accept, Ordering::Relaxed);
    }

    /// Moves the queue's own clock forward: leases run out, hidden messages appear, old ones expire.
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
