//! Look-ups of VMRs by their names.
//!
//! The vendor documents the filter `name=`. Whether a node knows the lookup `in` is unproven, and django-tastypie
//! ignores filters that it does not know: such a node lists other rooms than those asked for. An answer like that says
//! nothing about the rooms asked for, above all not that they do not exist.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use reqwest::Method;
use tokio::time::Instant;
use tracing::info;

use super::admission::CallPermit;
use super::conferences::{COLLECTION, Page};
use super::{Conference, PexipClient, PexipError};
use crate::domain::RoomName;
use crate::outbound::CallFailure;

/// Time after which a node that cannot look up several names is asked again: it may have been upgraded.
const RETRY_SEVERAL_AFTER: Duration = Duration::from_secs(600);

/// Concurrent look-ups of one name each. Fewer than the calls that may be in flight, so that other callers get a slot.
pub(super) const MAX_CONCURRENT: usize = 4;

/// When the node may be asked for several names again. Held by this process only: a process that does not know it makes
/// one call in vain.
#[derive(Debug, Default)]
pub(super) struct SeveralNames {
    not_before: Mutex<Option<Instant>>,
}

/// What a node does with a filter by several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeveralNamesSupport {
    Supported,
    /// 400.
    Refused,
    /// The answer is not about the rooms asked for.
    Ignored,
    /// Too few rooms exist to tell.
    Unknown,
}

impl SeveralNames {
    fn may_be_asked(&self) -> bool {
        self.not_before.lock().is_none_or(|time| Instant::now() >= time)
    }

    /// Notes why a look-up of several names failed whose names could be looked up each. Before that the failure says
    /// nothing about the filter: the node may answer nothing at all.
    pub(super) fn note_failure(&self, error: &PexipError) {
        if matches!(error, PexipError::Rejected { .. } | PexipError::Failed(CallFailure::Unreadable)) {
            info!(%error, "the node cannot look up several names in one call, looking up each");
            *self.not_before.lock() = Some(Instant::now() + RETRY_SEVERAL_AFTER);
        }
    }
}

impl PexipClient {
    /// The VMR of this name, or `None`.
    pub async fn find_by_name(&self, name: &RoomName) -> Result<Option<Conference>, PexipError> {
        self.find_one(self.reserve().await?, name).await
    }

    /// The VMR of this name that `client` wants to delete, or `None`: that counts against this client.
    pub async fn find_to_delete(&self, name: &RoomName, client: &str) -> Result<Option<Conference>, PexipError> {
        let admission = &self.shared.admission;
        // Before the wait as well, so that a refused call does not wait in line.
        admission.check_misses(client)?;
        let permit = self.for_delete_look_ups().reserve().await?;
        admission.check_misses(client)?;
        let found = self.find_one(permit, name).await?;
        if found.is_none() {
            admission.note_miss(client);
        }
        Ok(found)
    }

    /// The VMRs of these names that exist: in one call, or one call for each where the node cannot look up several. At
    /// most as many names as one receive returns.
    pub async fn find_by_names(&self, names: &[RoomName]) -> Result<HashMap<RoomName, Conference>, PexipError> {
        let several = &self.shared.several_names;
        if !several.may_be_asked() {
            return self.find_each(names).await;
        }
        match self.find_several(self.reserve().await?, names).await {
            Err(error @ (PexipError::Rejected { .. } | PexipError::Failed(CallFailure::Unreadable))) => {
                let found = self.find_each(names).await?;
                several.note_failure(&error);
                Ok(found)
            }
            settled => settled,
        }
    }

    /// Whether [`PexipClient::find_by_names`] finds all names in one answer, as far as is known.
    pub fn finds_several_at_once(&self) -> bool {
        self.shared.several_names.may_be_asked()
    }

    /// The name of one of our rooms, or `None`.
    pub async fn find_any(&self) -> Result<Option<RoomName>, PexipError> {
        Ok(self.find_first().await?.0)
    }

    /// The name of our first room, and the number of rooms with our prefix.
    async fn find_first(&self) -> Result<(Option<RoomName>, usize), PexipError> {
        let prefix = &self.shared.prefix;
        let permit = self.reserve().await?;
        let query = [("name__startswith", prefix.as_str()), ("order_by", "name"), ("limit", "1")];
        let (page, _): (Page, _) =
            self.fetch("find_first", permit, self.request(Method::GET, COLLECTION).query(&query)).await?;
        let rooms = page.meta.total_count;
        Ok((page.ours(prefix).next().map(|(name, _)| name), rooms))
    }

    /// Asks for two names: one that exists, if there is one, and one that cannot.
    pub async fn several_names_support(&self) -> Result<SeveralNamesSupport, PexipError> {
        let prefix = &self.shared.prefix;
        let (existing, rooms) = self.find_first().await?;
        // The ULIDs of the first two milliseconds of 1970.
        let absent = ["00000000000000000000000000", "00000000010000000000000000"];
        let absent = absent.map(|ulid| prefix.parse_name(&format!("{}{ulid}", prefix.as_str())));
        let names: Vec<_> = existing.iter().cloned().chain(absent.into_iter().flatten()).take(2).collect();
        match self.find_several(self.reserve().await?, &names).await {
            Ok(found) if existing.is_some_and(|name| !found.contains_key(&name)) => Ok(SeveralNamesSupport::Ignored),
            // A node that ignores the filter lists all rooms: with fewer than two it would answer the same.
            Ok(_) if rooms < 2 => Ok(SeveralNamesSupport::Unknown),
            Ok(_) => Ok(SeveralNamesSupport::Supported),
            Err(PexipError::Rejected { .. }) => Ok(SeveralNamesSupport::Refused),
            Err(PexipError::Failed(CallFailure::Unreadable)) => Ok(SeveralNamesSupport::Ignored),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn find_one(&self, permit: CallPermit, name: &RoomName) -> Result<Option<Conference>, PexipError> {
        let query = [("name", name.as_str()), ("limit", "2")];
        Ok(self.look_up("find", permit, &query, std::slice::from_ref(name)).await?.remove(name))
    }

    pub(super) async fn find_several(
        &self,
        permit: CallPermit,
        names: &[RoomName],
    ) -> Result<HashMap<RoomName, Conference>, PexipError> {
        let all: Vec<_> = names.iter().map(RoomName::as_str).collect();
        let (all, limit) = (all.join(","), names.len().to_string());
        let query = [("name__in", all.as_str()), ("limit", limit.as_str())];
        self.look_up("find_many", permit, &query, names).await
    }

    async fn find_each(&self, names: &[RoomName]) -> Result<HashMap<RoomName, Conference>, PexipError> {
        let look_ups = stream::iter(names.to_vec()).map(|name| async move { self.find_by_name(&name).await });
        let found: Vec<_> = look_ups.buffer_unordered(MAX_CONCURRENT).try_collect().await?;
        Ok(found.into_iter().flatten().map(|room| (room.name.clone(), room)).collect())
    }

    /// The VMRs that the filter in `query` lists, which must be some of `names` and all that match.
    async fn look_up(
        &self,
        call: &'static str,
        permit: CallPermit,
        query: &[(&str, &str)],
        names: &[RoomName],
    ) -> Result<HashMap<RoomName, Conference>, PexipError> {
        let (page, _): (Page, _) = self.fetch(call, permit, self.request(Method::GET, COLLECTION).query(query)).await?;
        let (listed, matching) = (page.objects.len(), page.meta.total_count);
        let found: HashMap<_, _> = page.ours(&self.shared.prefix).collect();
        // Checked after the call, so that the circuit breaker does not count it: the node works.
        if found.len() == listed && listed == matching && found.keys().all(|name| names.contains(name)) {
            Ok(found)
        } else {
            Err(CallFailure::Unreadable.into())
        }
    }
}
