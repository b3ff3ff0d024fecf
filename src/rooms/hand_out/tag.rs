//! Writes the tag into a claimed room.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::domain::Tag;
use crate::outbound::CallFailure;
use crate::pexip::{Conference, PexipClient, PexipError, TagPermit};
use crate::rooms::prefetch::Observation;

/// How often a tag is written if answers may have been lost.
const MAX_ATTEMPTS: u32 = 3;

/// Writes the tag and the marks of `room` before `deadline`. [`PexipError::NotFound`] if the room is deleted.
pub(super) async fn write_tag(
    pexip: &PexipClient,
    mut tag_permit: TagPermit,
    room: &Conference,
    observed: Observation,
    tag: &Tag,
    deadline: Instant,
) -> Result<(), PexipError> {
    let written = timeout_at(deadline, write_with_retries(pexip, &mut tag_permit, room, observed, tag, deadline)).await;
    let written = written.unwrap_or(Err(CallFailure::Timeout.into()));
    tag_permit.settle(&written);
    written
}

/// Repeats the PATCH if its answer may have been lost: it is idempotent, and the room is ours alone.
async fn write_with_retries(
    pexip: &PexipClient,
    tag_permit: &mut TagPermit,
    room: &Conference,
    mut observed: Observation,
    tag: &Tag,
    deadline: Instant,
) -> Result<(), PexipError> {
    let mut attempt = 1;
    loop {
        let Err(error) = write_once(pexip, tag_permit, room, &mut observed, tag).await else { return Ok(()) };
        // A claimed room is worth waiting for, if the wait is known and ends in time.
        let pause = error.retry_in().unwrap_or(Duration::from_millis(100) * attempt);
        let may_pass = error.is_ambiguous() || error.retry_in().is_some();
        if !may_pass || attempt == MAX_ATTEMPTS || Instant::now() + pause >= deadline {
            return Err(error);
        }
        attempt += 1;
        sleep(pause).await;
    }
}

/// Reads the room again if the observation is stale: the node may have come back from a backup, and the id may be
/// another room's.
async fn write_once(
    pexip: &PexipClient,
    tag_permit: &mut TagPermit,
    room: &Conference,
    observed: &mut Observation,
    tag: &Tag,
) -> Result<(), PexipError> {
    let failure_epoch = pexip.failure_epoch();
    if !observed.is_fresh(failure_epoch) {
        tag_permit.release_first_call();
        let now_observed = Observation::begin(failure_epoch);
        let now = pexip.read(room.id).await?.filter(|now| now.name == room.name);
        let has_other_tag = |now: &Conference| now.tag.as_ref().is_some_and(|there| there.expose() != tag.expose());
        if now.is_none_or(|now| has_other_tag(&now)) {
            return Err(PexipError::NotFound);
        }
        *observed = now_observed;
    }
    pexip.tag(tag_permit, room.id, tag, &room.marks).await
}
