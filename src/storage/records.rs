//! Room records: small JSON blobs that decide what must never happen twice. The only module that uses the Blob Storage
//! SDK. Source of what its answers mean: `azure_storage_blob` 1.1 against Azurite 3.37, and Microsoft's documentation.

mod inspection;

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use azure_core::http::{Etag, RequestContent};
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientUploadOptions, BlobType,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::StorageError;
use super::access::{self, Access};
use crate::config::RecordsConfig;
use crate::domain::{HashKey, RoomName};
use crate::outbound::breaker::{Admitted, Breaker};
use crate::outbound::calls::System;
use crate::outbound::parse_json;

pub use inspection::ListedRecord;

/// A record has less than 1 KiB, a page of a list less than 1 KiB for each blob.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Limit of one call, for the service too: it would allow a small write minutes. A create waits for up to four calls.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the breaker stays open after a failure.
const OPEN_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How old the latest answer may be before a claim relies on the service. A claim without a record costs a room.
const ANSWER_MAX_AGE: Duration = Duration::from_secs(10);

/// Tries of one write. A second one only if it is certain that the first did not take effect.
const MAX_WRITES: usize = 2;

/// Only answers of the service have it; a proxy's do not.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

const DATE: HeaderName = HeaderName::from_static("date");

/// The container of the room records. Cheap to clone; clones share the breaker.
#[derive(Clone)]
pub struct RecordStore {
    container: Arc<BlobContainerClient>,
    breaker: Arc<Breaker>,
    /// One failure opens the breaker: a claim whose record fails costs a room.
    opens_at_once: bool,
    /// When the service last answered.
    answered: Arc<Mutex<Option<Instant>>>,
    has_write_failed: Arc<AtomicBool>,
    hash_key: HashKey,
    /// How long an `Idempotency-Key` is remembered.
    pub idempotency_window: Duration,
    name: Arc<str>,
}

/// Name of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordName(String);

/// One state of a record. Opaque; each write makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Etag);

/// A record as the service stores it.
#[derive(Clone, Debug)]
pub struct Found<T> {
    pub record: T,
    pub version: Version,
    /// The service's clock when it answered.
    pub read_at: OffsetDateTime,
}

/// Result of making a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// By this call.
    Ours(Version),
    /// Another has made it.
    TakenBefore,
}

/// Result of changing a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// By this call.
    Ours(Version),
    /// Another has changed or removed it.
    Lost,
}

impl RecordName {
    /// The record of the claim of this room.
    pub fn claim(room: &RoomName) -> Self {
        Self(format!("claims/{room}"))
    }

    /// The record of this instant room.
    pub fn instant(room: &RoomName) -> Self {
        Self(format!("instant/{room}"))
    }

    /// A blob that is never there.
    fn probe() -> Self {
        Self("probe".to_owned())
    }
}

/// Condition of a write: no record yet, or this version.
enum WriteCondition<'a> {
    New,
    Over(&'a Version),
}

/// A blob's content before it is parsed.
struct Blob {
    body: Vec<u8>,
    version: Version,
    read_at: OffsetDateTime,
}

impl RecordStore {
    /// A client for the container. Makes no call.
    pub fn new(config: &RecordsConfig, http: reqwest::Client) -> Result<Self, StorageError> {
        let access = Access::new(&config.access, http, LARGEST_ANSWER)?;
        let url = access.url(&config.container);
        let options =
            BlobContainerClientOptions { client_options: access.options, ..BlobContainerClientOptions::default() };
        let container = Arc::new(BlobContainerClient::new(url, access.credential, Some(options))?);
        Ok(Self {
            container,
            breaker: Breaker::pausing(|| OPEN_AFTER_FAILURE),
            opens_at_once: true,
            answered: Arc::default(),
            has_write_failed: Arc::default(),
            hash_key: config.hash_key.as_ref().map_or_else(HashKey::random, HashKey::new),
            idempotency_window: config.idempotency_window,
            name: config.container.as_str().into(),
        })
    }

    /// The same container for look-ups, with a circuit breaker of its own that opens after several failures in a row:
    /// of a flood of look-ups one fails at any time, and that must stop neither the creates nor the other look-ups. A
    /// read that its caller cuts off is no failure: a look-up has less time than a call.
    pub(crate) fn for_look_ups(&self) -> Self {
        Self { breaker: Breaker::pausing(|| OPEN_AFTER_FAILURE), opens_at_once: false, ..self.clone() }
    }

    /// The container's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The record of the request that has these values: of a caller and its key.
    pub fn request_name(&self, values: &[&[u8]]) -> RecordName {
        RecordName(format!("requests/{}", hex::encode(self.hash_key.hash_for("name of a request", values))))
    }

    /// HMAC of these values: equal values have equal fingerprints.
    pub fn fingerprint(&self, values: &[&[u8]]) -> String {
        hex::encode(self.hash_key.hash_for("content of a request", values))
    }

    /// Whether the circuit breaker of the records is open.
    pub fn is_circuit_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Whether the latest write failed. The answer to a probe does not change it: a probe reads.
    pub fn has_write_failed(&self) -> bool {
        self.has_write_failed.load(Ordering::Relaxed)
    }

    /// Refused while the circuit breaker is open: then nothing is claimed.
    pub fn check(&self) -> Result<(), StorageError> {
        if self.is_circuit_open() { Err(StorageError::Suspended) } else { Ok(()) }
    }

    /// Probes if the circuit breaker is open, or if the service has not answered for 10 s.
    pub async fn ensure_answering(&self) -> Result<(), StorageError> {
        let is_recent = self.answered.lock().is_some_and(|at| at.elapsed() < ANSWER_MAX_AGE);
        if is_recent && !self.is_circuit_open() { Ok(()) } else { self.probe().await }
    }

    /// Probes if the circuit breaker is open, or if the service has never answered: before a call that costs nothing if
    /// it fails.
    pub async fn ensure_usable(&self) -> Result<(), StorageError> {
        let has_answered = self.answered.lock().is_some();
        if has_answered && !self.is_circuit_open() { Ok(()) } else { self.probe().await }
    }

    /// Reads a blob that is never there. Closes an open circuit breaker if the service answers; no other call does.
    /// Creates the container if it does not exist.
    pub async fn probe(&self) -> Result<(), StorageError> {
        let admission = self.breaker.admit()?;
        let probed = match self.get(&RecordName::probe()).await {
            Err(StorageError::NoSuchContainer) => self.create_container().await,
            probed => probed.map(drop),
        };
        self.settle(admission, probed)
    }

    /// Makes the record unless there is one. `record` must hold an id that no other record has: after a lost answer the
    /// content tells whose record is there.
    pub async fn make<T: Serialize>(&self, name: &RecordName, record: &T) -> Result<Made, StorageError> {
        Ok(match self.write(name, &WriteCondition::New, record).await? {
            Some(version) => Made::Ours(version),
            None => Made::TakenBefore,
        })
    }

    /// Replaces this version of the record. `record` must hold an id as for [`make`](Self::make).
    pub async fn change<T: Serialize>(
        &self,
        name: &RecordName,
        version: &Version,
        record: &T,
    ) -> Result<Changed, StorageError> {
        Ok(match self.write(name, &WriteCondition::Over(version), record).await? {
            Some(version) => Changed::Ours(version),
            None => Changed::Lost,
        })
    }

    /// Reads a record. `None` only if it is certain that there is none.
    pub async fn read<T: DeserializeOwned>(&self, name: &RecordName) -> Result<Option<Found<T>>, StorageError> {
        let admission = self.breaker.admit_if_closed()?;
        let Some(Blob { body, version, read_at }) = self.settle(admission, self.get(name).await)? else {
            return Ok(None);
        };
        let record = parse_json(&body).ok_or(StorageError::Unreadable)?;
        Ok(Some(Found { record, version, read_at }))
    }

    /// Removes this version of the record. Does nothing if another has changed or removed it.
    pub async fn remove(&self, name: &RecordName, version: &Version) -> Result<(), StorageError> {
        let admission = self.breaker.admit_if_closed()?;
        let mut removed = self.delete(name, version).await;
        if removed.as_ref().is_err_and(StorageError::leaves_record_unknown) {
            removed = self.delete(name, version).await;
        }
        self.settle(admission, removed)
    }

    /// The new version, or `None` if another has written the record. Settles lost answers by reading.
    async fn write<T: Serialize>(
        &self,
        name: &RecordName,
        write: &WriteCondition<'_>,
        record: &T,
    ) -> Result<Option<Version>, StorageError> {
        let body = serde_json::to_vec(record).map_err(|_| StorageError::Unreadable)?;
        let admission = self.breaker.admit_if_closed()?;
        let written = self.write_certainly(name, write, &body).await;
        self.has_write_failed.store(written.is_err(), Ordering::Relaxed);
        self.settle(admission, written)
    }

    async fn write_certainly(
        &self,
        name: &RecordName,
        write: &WriteCondition<'_>,
        body: &[u8],
    ) -> Result<Option<Version>, StorageError> {
        // A record that is gone has another state than the one to be changed.
        let is_lost = |error: &StorageError| {
            error.is_condition_not_met() || matches!(write, WriteCondition::Over(_)) && error.is_no_blob()
        };
        let mut unknown = None;
        for _ in 0..MAX_WRITES {
            match self.put(name, write, body).await {
                Ok(version) => return Ok(Some(version)),
                // An earlier try may be what is there now.
                Err(error) if is_lost(&error) && unknown.is_none() => return Ok(None),
                Err(error) if error.leaves_record_unknown() || is_lost(&error) => unknown = Some(error),
                Err(error) => return Err(error),
            }
            match (self.get(name).await?, write) {
                (Some(there), _) if there.body == body => return Ok(Some(there.version)),
                // Unchanged: the lost write has not taken effect, and can do so only once.
                (Some(there), WriteCondition::Over(version)) if there.version == **version => {}
                (None, WriteCondition::New) => {}
                (Some(_), _) | (None, WriteCondition::Over(_)) => return Ok(None),
            }
        }
        Err(unknown.unwrap_or(StorageError::Unreadable))
    }

    /// Reports the result of an operation to the circuit breaker. Answers that say no are results, not errors.
    fn settle<T>(&self, admission: Admitted, result: Result<T, StorageError>) -> Result<T, StorageError> {
        match &result {
            Ok(_) => {
                *self.answered.lock() = Some(Instant::now());
                admission.succeeded();
            }
            Err(error) if self.opens_at_once => admission.failed(error.retry_after().max(Some(OPEN_AFTER_FAILURE))),
            Err(error) => admission.failed(error.retry_after()),
        }
        result
    }

    async fn put(&self, name: &RecordName, write: &WriteCondition<'_>, body: &[u8]) -> Result<Version, StorageError> {
        let options = BlobClientUploadOptions {
            blob_content_type: Some("application/json".to_owned()),
            per_request_timeout: Some(whole_seconds(CALL_TIMEOUT)),
            // Otherwise the SDK asks the system for the number of processors each time.
            parallel: Some(NonZero::<usize>::MIN),
            ..BlobClientUploadOptions::default()
        };
        let (call, options) = match write {
            WriteCondition::New => ("make_record", options.if_not_exists()),
            WriteCondition::Over(version) => {
                ("change_record", BlobClientUploadOptions { if_match: Some(version.0.clone()), ..options })
            }
        };
        let blob = self.container.blob_client(&name.0);
        access::call(System::Records, call, CALL_TIMEOUT, async {
            let answer = blob.upload(RequestContent::from(body.to_vec()), Some(options)).await?;
            // The SDK takes a bare 201 for a success.
            answer.raw_response.headers().get_str(&REQUEST_ID)?;
            version(answer.etag)
        })
        .await
    }

    /// `None` if the service says that there is no such blob.
    async fn get(&self, name: &RecordName) -> Result<Option<Blob>, StorageError> {
        let options = BlobClientDownloadOptions {
            parallel: Some(NonZero::<usize>::MIN),
            timeout: Some(whole_seconds(CALL_TIMEOUT)),
            ..BlobClientDownloadOptions::default()
        };
        let blob = self.container.blob_client(&name.0);
        let read = access::call(System::Records, "read_record", CALL_TIMEOUT, async {
            let answer = blob.download(Some(options)).await?;
            // The SDK takes any 200 for a blob, a log-in page too.
            if answer.properties.blob_type != Some(BlobType::BlockBlob) {
                return Err(unreadable("not a blob"));
            }
            let date = answer.headers.get_str(&DATE)?;
            let read_at = httpdate::parse_http_date(date).map_err(|_| unreadable("no date"))?.into();
            let version = version(answer.properties.etag)?;
            Ok(Blob { body: answer.body.collect().await?.to_vec(), version, read_at })
        });
        match read.await {
            Err(error) if error.is_no_blob() => Ok(None),
            read => read.map(Some),
        }
    }

    async fn delete(&self, name: &RecordName, version: &Version) -> Result<(), StorageError> {
        let options = BlobClientDeleteOptions {
            if_match: Some(version.0.clone()),
            timeout: Some(whole_seconds(CALL_TIMEOUT)),
            ..BlobClientDeleteOptions::default()
        };
        let blob = self.container.blob_client(&name.0);
        let deleted = access::call(System::Records, "remove_record", CALL_TIMEOUT, async {
            let answer = blob.delete(Some(options)).await?;
            answer.headers().get_str(&REQUEST_ID).map(drop)
        });
        match deleted.await {
            Err(error) if error.is_no_blob() || error.is_condition_not_met() => Ok(()),
            deleted => deleted,
        }
    }

    async fn create_container(&self) -> Result<(), StorageError> {
        let created = access::call(System::Records, "create_container", CALL_TIMEOUT, self.container.create(None));
        match created.await {
            Err(error) if error.has_code(&["ContainerAlreadyExists"]) => Ok(()),
            created => created.map(drop),
        }
    }
}

impl fmt::Debug for RecordStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The SDK client's output has the URL, which may hold a signature.
        formatter.debug_struct("RecordStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn version(etag: Option<Etag>) -> azure_core::Result<Version> {
    etag.map(Version).ok_or_else(|| unreadable("no ETag"))
}

fn unreadable(reason: &'static str) -> azure_core::Error {
    azure_core::Error::with_message(ErrorKind::DataConversion, reason)
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
