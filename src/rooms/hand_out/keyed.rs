//! Creates with an `Idempotency-Key`: the same key of one caller gets at most one room.
//!
//! The key's record is made first, in the state running, with a time at which the create has certainly ended. Before
//! the answer goes out it becomes done, with the room's name. A create that was killed leaves a running record; after
//! its time another request takes it over. A run writes the record by its version only, so it notices a take-over.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{HandedOut, Source};
use crate::domain::{GivenValidity, IdempotencyKey, RoomName, Tag, UuiData};
use crate::pexip::Conference;
use crate::rooms::TakeRoomError;
use crate::rooms::backend::Backend;
use crate::rooms::claim::random_id;
use crate::rooms::instant::InstantRooms;
use crate::rooms::room::{ReadResult, Room};
use crate::storage::StorageError;
use crate::storage::records::{Changed, Found, Made, RecordName, RecordStore, Version};
use crate::tasks::SingleFlight;

/// Time after the request's deadline at which a run has certainly ended.
const RUN_MARGIN: Duration = Duration::from_secs(10);

/// How often a record that others change is read.
const MAX_TRIES: usize = 4;

/// Bounds of the wait that a caller is asked for while the first request runs.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Pause before a room is noted again, while the records are being probed.
const PAUSE: Duration = Duration::from_millis(200);

/// A create's key, with what it was sent with, hashed.
#[derive(Clone, Debug)]
pub struct CreateKey {
    record: RecordName,
    fingerprint: String,
}

impl CreateKey {
    /// `caller` are the ids that the key is valid for: tenant and client.
    pub(in crate::rooms) fn new(
        records: &RecordStore,
        caller: [&str; 2],
        key: &IdempotencyKey,
        uui_data: &UuiData,
        validity: &GivenValidity,
    ) -> Self {
        let [tenant, client] = caller.map(str::as_bytes);
        Self {
            record: records.request_name(&[tenant, client, key.expose().as_bytes()]),
            fingerprint: fingerprint(records, uui_data, validity),
        }
    }
}

/// Of the case, and of a validity as it is given: a default that begins now differs from one request to the next.
fn fingerprint(records: &RecordStore, uui_data: &UuiData, validity: &GivenValidity) -> String {
    // As earlier builds make it.
    if validity.is_empty() {
        return records.fingerprint(&[uui_data.expose()]);
    }
    let [from, until] = [&validity.from, &validity.until].map(|time| time.as_deref().unwrap_or_default().as_bytes());
    records.fingerprint(&[uui_data.expose(), from, until])
}

/// Content of a key's record. Holds nothing of the citizen but the hash of the case.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RequestRecord {
    run_id: String,
    fingerprint: String,
    /// From then on the key is a new one.
    #[serde(with = "time::serde::rfc3339")]
    window_ends: OffsetDateTime,
    #[serde(flatten)]
    state: State,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum State {
    Running {
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    Done {
        room: String,
        source: Source,
        #[serde(with = "time::serde::rfc3339::option")]
        joinable_at: Option<OffsetDateTime>,
    },
}

/// What a request with a key is to do.
pub(super) enum Begun {
    Run(Run),
    Replay(Earlier),
}

/// The room of an earlier request with the same key.
pub(super) struct Earlier {
    room: RoomName,
    source: Source,
    joinable_at: Option<OffsetDateTime>,
}

/// A run that holds the record of its key.
pub(super) struct Run {
    backend: Arc<Backend>,
    name: RecordName,
    record: RequestRecord,
    version: Version,
}

/// Makes the key's record, or takes it over, or says what the earlier request with this key has become.
pub(super) async fn begin(backend: &Arc<Backend>, key: &CreateKey) -> Result<Begun, TakeRoomError> {
    backend.records.ensure_answering().await?;
    let now = backend.clock.now_utc();
    let until = now + backend.request_deadline + RUN_MARGIN;
    let record = RequestRecord {
        run_id: random_id(),
        fingerprint: key.fingerprint.clone(),
        // A run in progress is never taken over.
        window_ends: until.max(now + backend.records.idempotency_window),
        state: State::Running { until },
    };
    let run = |version| Run { backend: backend.clone(), name: key.record.clone(), record: record.clone(), version };
    for _ in 0..MAX_TRIES {
        if let Made::Ours(version) = backend.records.make(&key.record, &record).await? {
            return Ok(Begun::Run(run(version)));
        }
        // Removed meanwhile: the earlier request failed.
        let Some(found) = backend.records.read::<RequestRecord>(&key.record).await? else { continue };
        // By both clocks: ours alone may be wrong.
        let is_over = |end: OffsetDateTime| end <= now && end <= found.read_at;
        let Found { record: earlier, version, .. } = &found;
        let can_take_over = is_over(earlier.window_ends)
            || matches!(earlier.state, State::Running { until } if is_over(until))
                && earlier.fingerprint == key.fingerprint;
        if can_take_over {
            match backend.records.change(&key.record, version, &record).await? {
                Changed::Ours(version) => {
                    info!("create takes over a key whose earlier request did not end");
                    return Ok(Begun::Run(run(version)));
                }
                Changed::Lost => continue,
            }
        }
        if earlier.fingerprint != key.fingerprint {
            return Err(TakeRoomError::KeyReused);
        }
        return match &earlier.state {
            State::Running { until } => {
                let left = Duration::try_from(*until - now).unwrap_or_default();
                Err(TakeRoomError::InProgress { retry_in: left.clamp(SHORTEST_WAIT, LONGEST_WAIT) })
            }
            State::Done { room, source, joinable_at } => {
                let prefix = match source {
                    Source::Pool | Source::Direct => &backend.rooms.prefix,
                    Source::Instant => &backend.instant.prefix,
                };
                let room = prefix.parse_name(room).ok_or(StorageError::Unreadable)?;
                Ok(Begun::Replay(Earlier { room, source: *source, joinable_at: *joinable_at }))
            }
        };
    }
    Err(TakeRoomError::InProgress { retry_in: SHORTEST_WAIT })
}

impl Run {
    /// Notes the room as the key's, before `deadline`. [`Changed::Lost`] if another run has taken the key over.
    ///
    /// After an error nobody knows whether the room is noted, so it must not be destroyed: a repetition may be answered
    /// with it.
    pub(super) async fn finish(self, room: &HandedOut, deadline: Instant) -> Result<Changed, StorageError> {
        let record = RequestRecord {
            state: State::Done {
                room: room.room.name().to_string(),
                source: room.source,
                joinable_at: room.joinable_after.map(|wait| self.backend.clock.now_utc() + wait),
            },
            ..self.record
        };
        let records = &self.backend.records;
        loop {
            match records.change(&self.name, &self.version, &record).await {
                // Nothing was sent: another call has failed just now.
                Err(StorageError::Suspended) if Instant::now() + PAUSE < deadline => {
                    sleep(PAUSE).await;
                    // If it fails, so does the next write.
                    let _ = records.ensure_answering().await;
                }
                finished => return finished,
            }
        }
    }

    /// Frees the key after a failure that certainly left no room.
    pub(super) async fn give_up(self) {
        if let Err(error) = self.backend.records.remove(&self.name, &self.version).await {
            warn!(%error, "record of a failed create could not be removed, its key is free when it runs out");
        }
    }
}

/// Reads the room of an earlier request again. Uses the share of agents' reads, so that a caller who repeats a key
/// without limit blocks no creates. Never returns a room that carries another tag.
pub(super) async fn replay(
    backend: &Backend,
    instant: &InstantRooms,
    reads: &SingleFlight<RoomName, ReadResult<Conference>>,
    tag: &Tag,
    earlier: Earlier,
) -> Result<HandedOut, TakeRoomError> {
    let found = match earlier.source {
        Source::Pool | Source::Direct => {
            let (pexip, asked) = (backend.pexip.for_reads(), earlier.room.clone());
            let read = async move { pexip.find_by_name(&asked).await };
            reads.run(earlier.room.clone(), read).await?.map(Room::OnPexip)
        }
        Source::Instant => instant.find_not_over(&earlier.room).await?.map(Room::Instant),
    };
    let has_tag = |room: &Room| room.tag().is_some_and(|there| there.expose() == tag.expose());
    let room = found.filter(has_tag).ok_or(TakeRoomError::RoomEnded)?;
    let left =
        |at: OffsetDateTime| Duration::try_from(at - backend.clock.now_utc()).ok().filter(|left| !left.is_zero());
    Ok(HandedOut { room, source: earlier.source, joinable_after: earlier.joinable_at.and_then(left), is_replay: true })
}
