//! Containers, blobs and their versions.

use std::collections::{BTreeMap, HashMap, HashSet};

use time::{Duration, OffsetDateTime};

use super::StoredBlob;
use crate::queue::error::StorageError;

/// All containers of the account.
#[derive(Debug, Default)]
pub(super) struct Store {
    containers: HashMap<String, BTreeMap<String, Blob>>,
    /// Grows with each write, so that no `ETag` occurs twice.
    writes: u64,
    /// Containers that anybody may read.
    public: HashSet<String>,
    /// What soft delete keeps; `None` while it is off.
    pub(super) deleted: Option<HashMap<String, BTreeMap<String, Blob>>>,
    /// Whether each write makes a version.
    pub(super) has_versions: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) content: Vec<u8>,
    /// Without quotes, as in lists.
    pub(super) etag: String,
    pub(super) modified_at: OffsetDateTime,
}

/// The condition headers of a request; Versions (`ETag`) without quotes.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
}

impl Store {
    pub(super) fn create(&mut self, container: &str) -> Result<(), StorageError> {
        if self.containers.contains_key(container) {
            return Err(StorageError::ContainerAlreadyExists);
        }
        self.containers.insert(container.to_owned(), BTreeMap::new());
        Ok(())
    }

    pub(super) fn make_public(&mut self, container: &str) {
        self.public.insert(container.to_owned());
    }

    pub(super) fn is_public(&self, container: &str) -> bool {
        self.public.contains(container)
    }

    /// Lets a blob look as if it was written earlier.
    pub(super) fn age(&mut self, container: &str, name: &str, by: Duration) {
        let blob = self.containers.get_mut(container).and_then(|blobs| blobs.get_mut(name));
        blob.expect("the blob exists").modified_at -= by;
    }

    pub(super) fn drop_container(&mut self, container: &str) -> Result<(), StorageError> {
        self.containers.remove(container).map(drop).ok_or(StorageError::ContainerNotFound)
    }

    pub(super) fn exists(&self, container: &str) -> Result<(), StorageError> {
        self.container(container).map(drop)
    }

    pub(super) fn all(&self, container: &str) -> Vec<StoredBlob> {
        let blobs = self.containers.get(container).into_iter().flatten();
        let text = |blob: &Blob| String::from_utf8_lossy(&blob.content).into_owned();
        blobs.map(|(name, blob)| StoredBlob { name: name.clone(), text: text(blob) }).collect()
    }

    /// Blobs whose names begin with `prefix` and come after `marker`.
    pub(super) fn list(
        &self,
        container: &str,
        prefix: &str,
        marker: &str,
    ) -> Result<Vec<(String, Blob)>, StorageError> {
        let blobs = self.container(container)?.iter();
        let listed = blobs.filter(|(name, _)| name.starts_with(prefix) && name.as_str() > marker);
        Ok(listed.map(|(name, blob)| (name.clone(), blob.clone())).collect())
    }

    /// A missing blob is 404 whatever the condition, as in Azure.
    pub(super) fn get(&self, container: &str, name: &str) -> Result<Blob, StorageError> {
        self.container(container)?.get(name).cloned().ok_or(StorageError::BlobNotFound)
    }

    pub(super) fn put(
        &mut self,
        container: &str,
        name: &str,
        content: Vec<u8>,
        condition: &Condition,
    ) -> Result<Blob, StorageError> {
        match (self.container(container)?.get(name), &condition.if_match, condition.if_none_match.as_deref()) {
            (_, Some(_), Some(_)) => return Err(StorageError::MultipleConditionHeadersNotSupported),
            (Some(_), None, Some("*")) => return Err(StorageError::BlobAlreadyExists),
            (Some(there), Some(etag), None) if *etag != there.etag && etag != "*" => {
                return Err(StorageError::ConditionNotMet);
            }
            (None, Some(_), None) => return Err(StorageError::ConditionNotMet),
            _ => {}
        }
        self.writes += 1;
        let etag = format!("0x8DE{:012X}", self.writes);
        let blob = Blob { content, etag, modified_at: OffsetDateTime::now_utc() };
        self.containers.entry(container.to_owned()).or_default().insert(name.to_owned(), blob.clone());
        Ok(blob)
    }

    /// A condition on a blob that is gone is 412, as in the official emulator.
    pub(super) fn delete(&mut self, container: &str, name: &str, condition: &Condition) -> Result<(), StorageError> {
        match (self.container(container)?.get(name), &condition.if_match) {
            (None, None) => return Err(StorageError::BlobNotFound),
            (None, Some(_)) => return Err(StorageError::ConditionNotMet),
            (Some(there), Some(etag)) if *etag != there.etag => return Err(StorageError::ConditionNotMet),
            (Some(_), _) => {}
        }
        let gone = self.containers.entry(container.to_owned()).or_default().remove(name);
        if let (Some(kept), Some(blob)) = (&mut self.deleted, gone) {
            kept.entry(container.to_owned()).or_default().insert(name.to_owned(), blob);
        }
        Ok(())
    }

    fn container(&self, name: &str) -> Result<&BTreeMap<String, Blob>, StorageError> {
        self.containers.get(name).ok_or(StorageError::ContainerNotFound)
    }
}
