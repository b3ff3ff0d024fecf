//! Where the room for a request comes from, and in which order the sources are tried.

use serde::{Deserialize, Serialize};

use crate::config::{PoolConfig, RoomSource, WhenEmpty};
use crate::domain::named_enum;
use crate::pexip::PexipError;
use crate::rooms::instant::NotMade;
use crate::rooms::{NoRoom, TakeRoomError};
use crate::storage::StorageError;

named_enum! {
    /// A source of rooms. Another one is a variant here, an arm in [`choose_source`] and one where rooms are handed
    /// out.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Source {
        /// Provisioned in advance: can be joined at once.
        Pool = "pool",
        /// Created for this request: can be joined once it is replicated.
        Direct = "direct",
        /// A record: can be joined while it is valid.
        Instant = "instant",
    }
}

/// Why a source gave no room.
#[derive(Debug)]
pub(super) enum SourceError {
    /// The pool had no ready room in time, or none that could be claimed.
    PoolEmpty,
    /// Queue or records fail: messages cannot be received, or rooms cannot be claimed.
    StorageFailed,
    /// Pexip does not let a room be checked or tagged. None is claimed.
    PexipFailed(PexipError),
    /// Our own limits leave no call to check rooms of the pool.
    NotChecked(PexipError),
    DirectFailed(NoRoom),
    /// The record of an instant room could not be made.
    InstantFailed(StorageError),
    /// Another source would fail as well.
    Final(TakeRoomError),
}

impl From<PexipError> for SourceError {
    fn from(error: PexipError) -> Self {
        Self::PexipFailed(error)
    }
}

impl From<NotMade> for SourceError {
    fn from(error: NotMade) -> Self {
        match error {
            NotMade::Records(error) => Self::InstantFailed(error),
            NotMade::Final(error) => Self::Final(error),
        }
    }
}

/// The source to try next, given why the `previous` one gave no room.
pub(super) fn choose_source(config: &PoolConfig, previous: Option<SourceError>) -> Result<Source, TakeRoomError> {
    match previous {
        None if config.source == RoomSource::Instant => Ok(Source::Instant),
        None if config.target > 0 => Ok(Source::Pool),
        Some(SourceError::NotChecked(error)) if config.when_empty == WhenEmpty::Refuse => Err(error.into()),
        None | Some(SourceError::PoolEmpty | SourceError::StorageFailed | SourceError::NotChecked(_)) => {
            match config.when_empty {
                WhenEmpty::Direct => Ok(Source::Direct),
                WhenEmpty::Instant => Ok(Source::Instant),
                WhenEmpty::Refuse => Err(NoRoom::Refused.into()),
            }
        }
        // An instant room needs no call to Pexip.
        Some(SourceError::PexipFailed(_)) if config.when_empty == WhenEmpty::Instant => Ok(Source::Instant),
        Some(SourceError::PexipFailed(error)) => Err(error.into()),
        Some(SourceError::DirectFailed(reason)) => Err(reason.into()),
        Some(SourceError::InstantFailed(error)) if config.source == RoomSource::Instant => Err(error.into()),
        Some(SourceError::InstantFailed(_)) => Ok(Source::Direct),
        Some(SourceError::Final(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::backend::Backend;

    const POLICY: [(&str, &str); 2] = [("PEXIP_POLICY_USERNAME", "nodes"), ("PEXIP_POLICY_PASSWORD", "of the nodes")];

    fn choose(target: &str, when_empty: &str, previous: Option<SourceError>) -> Result<Source, TakeRoomError> {
        let backend = Backend::for_test(&[("POOL_TARGET_SIZE", target), ("POOL_EMPTY", when_empty)]);
        choose_source(&backend.config, previous)
    }

    #[test]
    fn a_direct_room_replaces_a_ready_one_if_that_is_allowed() {
        assert!(matches!(choose("4", "direct", None), Ok(Source::Pool)));
        assert!(matches!(choose("0", "direct", None), Ok(Source::Direct)));
        for source_error in [|| SourceError::PoolEmpty, || SourceError::StorageFailed] {
            assert!(matches!(choose("4", "direct", Some(source_error())), Ok(Source::Direct)));
            let refused = choose("4", "refuse", Some(source_error()));
            assert!(matches!(refused, Err(TakeRoomError::NoRoom(NoRoom::Refused))));
        }
    }

    #[test]
    fn an_instant_room_replaces_a_ready_one_and_a_direct_one_an_instant_one() {
        assert!(matches!(choose("4", "instant", None), Ok(Source::Pool)));
        for source_error in [SourceError::PoolEmpty, SourceError::StorageFailed] {
            assert!(matches!(choose("4", "instant", Some(source_error)), Ok(Source::Instant)));
        }
        let pexip_failed = || Some(PexipError::Saturated.into());
        assert!(matches!(choose("4", "instant", pexip_failed()), Ok(Source::Instant)));
        let refused = choose("4", "refuse", pexip_failed());
        assert!(matches!(refused, Err(TakeRoomError::Pexip(PexipError::Saturated))));
        let failed = || Some(SourceError::InstantFailed(StorageError::Timeout));
        assert!(matches!(choose("4", "instant", failed()), Ok(Source::Direct)));
        let backend = Backend::for_test(&[("ROOM_SOURCE", "instant"), POLICY[0], POLICY[1]]);
        assert!(matches!(choose_source(&backend.config, None), Ok(Source::Instant)));
        let only_instant = choose_source(&backend.config, failed());
        assert!(matches!(only_instant, Err(TakeRoomError::Records(StorageError::Timeout))));
    }

    #[test]
    fn no_source_is_tried_after_a_failed_direct_create_or_a_final_error() {
        let too_many = choose("4", "direct", Some(SourceError::DirectFailed(NoRoom::TooManyDirect)));
        assert!(matches!(too_many, Err(TakeRoomError::NoRoom(NoRoom::TooManyDirect))));
        let saturated = choose("4", "direct", Some(PexipError::Saturated.into()));
        assert!(matches!(saturated, Err(TakeRoomError::Pexip(PexipError::Saturated))));
    }
}
