//! Settings of the queue and of the room records.

use std::time::Duration;

use secrecy::SecretString;

use super::parser::{hash_key, seconds};
use super::setting::WhenUnset::{LocalOnly, Value};
use super::setting::{Faulty, Reader, Setting, settings};
use super::storage_account::{Account, StorageAccess};

settings! {
    QUEUE_NAME = "POOL_QUEUE_NAME", Value("room-creation-queue"),
        "Queue of the ready rooms; poison messages go to <name>-poison, ended rooms to <name>-ended.";
    RECORDS_CONTAINER = "RECORDS_CONTAINER", Value("room-records"),
        "Blob container of the room records, in the storage account of the queue.";
    RECORDS_HASH_KEY = secret "RECORDS_HASH_KEY", LocalOnly("random per process"),
        "Key of the hashes in the room records, at least 16 characters; the same wherever the container is shared.";
    IDEMPOTENCY_WINDOW = "IDEMPOTENCY_WINDOW_SECONDS", Value("86400"),
        "Seconds that an Idempotency-Key is remembered; 172800 at most.";
}

/// The longest time that an `Idempotency-Key` can be remembered, in seconds: shorter than the lifetime of its record,
/// by the lifecycle rule in `infra/`.
const LONGEST_WINDOW: u64 = 172_800;

/// The queue of ready rooms.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// From `PoolStorage…`, else from `AzureWebJobsStorage…`.
    pub access: StorageAccess,
    /// From `POOL_QUEUE_NAME`.
    pub name: String,
}

/// The room records.
#[derive(Clone, Debug)]
pub struct RecordsConfig {
    /// To the account of the queue.
    pub access: StorageAccess,
    /// From `RECORDS_CONTAINER`.
    pub container: String,
    /// From `RECORDS_HASH_KEY`. `None`: a random one per process.
    pub hash_key: Option<SecretString>,
    /// From `IDEMPOTENCY_WINDOW_SECONDS`.
    pub idempotency_window: Duration,
}

/// Reads the settings of the queue and of the room records.
pub(super) fn read(reader: &mut Reader<'_>) -> (Result<QueueConfig, Faulty>, Result<RecordsConfig, Faulty>) {
    let (queues, blobs) = match Account::read(reader) {
        Ok(Account { queues, blobs }) => (Ok(queues), Ok(blobs)),
        Err(faulty) => (Err(faulty), Err(faulty)),
    };
    let name = reader.read(&QUEUE_NAME, queue_name);
    let container = reader.read(&RECORDS_CONTAINER, container_name);
    // A random key has no text that a parser could read.
    let hash_key =
        if reader.is_set(&RECORDS_HASH_KEY) { reader.read(&RECORDS_HASH_KEY, hash_key).map(Some) } else { Ok(None) };
    let idempotency_window = reader.read(&IDEMPOTENCY_WINDOW, seconds(1, LONGEST_WINDOW));
    let queue = || Ok(QueueConfig { access: queues?, name: name? });
    let records = || {
        Ok(RecordsConfig {
            access: blobs?,
            container: container?,
            hash_key: hash_key?,
            idempotency_window: idempotency_window?,
        })
    };
    (queue(), records())
}

/// Azure's rule for queue names, minus the length of the longest suffix, `-poison`.
fn queue_name(text: &str) -> Result<String, String> {
    resource_name(text, 56)
}

fn container_name(text: &str) -> Result<String, String> {
    resource_name(text, 63)
}

/// Azure's rule for the names of queues and containers.
fn resource_name(text: &str, longest: usize) -> Result<String, String> {
    let text = text.trim();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (3..=longest).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
    {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 3 to {longest} characters of a-z, 0-9 and single - between them"))
    }
}
