//! What an operator's command reads of the container.

use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, ListBlobsIncludeItem};
use futures_util::TryStreamExt;
use time::OffsetDateTime;

use super::{CALL_TIMEOUT, RecordName, RecordStore, unreadable, whole_seconds};
use crate::outbound::calls::System;
use crate::storage::StorageError;
use crate::storage::access;

/// A claim has about 700 bytes in a list, and an answer at most 64 KiB.
const MOST_LISTED: i32 = 50;

/// A record in a list, which may be a copy that the service keeps.
#[derive(Clone, Debug)]
pub struct ListedRecord {
    pub written_at: Option<OffsetDateTime>,
    /// Kept by soft delete.
    pub is_deleted: bool,
    /// Versioning is on: each write makes a version.
    pub is_version: bool,
}

impl RecordStore {
    /// Whether the container exists. Reads a blob that is never there; creates nothing.
    pub async fn container_exists(&self) -> Result<bool, StorageError> {
        match self.get(&RecordName::probe()).await {
            Ok(_) => Ok(true),
            Err(StorageError::NoSuchContainer) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first claims by name, so about the oldest; with those that are deleted, or are versions, but still kept.
    pub async fn oldest_claims(&self) -> Result<Vec<ListedRecord>, StorageError> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some("claims/".to_owned()),
            maxresults: Some(MOST_LISTED),
            include: Some(vec![ListBlobsIncludeItem::Deleted, ListBlobsIncludeItem::Versions]),
            timeout: Some(whole_seconds(CALL_TIMEOUT)),
            ..BlobContainerClientListBlobsOptions::default()
        };
        access::call(System::Records, "list_records", CALL_TIMEOUT, async {
            let mut pages = self.container.list_blobs(Some(options))?.into_pages();
            let page = pages.try_next().await?.ok_or_else(|| unreadable("no page"))?.into_model()?;
            // The SDK takes any well-formed text for a list, a log-in page too.
            if page.container_name.is_none() {
                return Err(unreadable("not a list"));
            }
            let listed = page.blob_items.into_iter().map(|blob| ListedRecord {
                written_at: blob.properties.and_then(|properties| properties.last_modified),
                is_deleted: blob.deleted == Some(true),
                is_version: blob.version_id.is_some(),
            });
            Ok(listed.collect())
        })
        .await
    }
}
