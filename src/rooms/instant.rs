//! Instant rooms. Such a room is a record and nothing else: Conferencing Nodes ask for it by external policy when
//! somebody dials it. So it can be joined as soon as its record is made, and at no node once its record says ended.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::backend::Backend;
use super::claim::random_id;
use super::delete::disconnect_if_empty;
use super::room::{InstantRoom, WantedRoom};
use super::sweep::MAX_FAILURES;
use super::{PoolError, TakeRoomError};
use crate::config::LONGEST_VALIDITY;
use crate::domain::{FURTHEST_START, Pins, RoomName, Tag, named_enum};
use crate::pexip::{InvalidServiceConfiguration, LookUp, PexipError, PolicyAnswer, ServiceConfiguration};
use crate::storage::StorageError;
use crate::storage::records::{Changed, Found, Made, RecordName, RecordStore};
use crate::telemetry::audit;
use crate::telemetry::metrics::{INSTANT_CONFERENCES_DISCONNECTED, INSTANT_ROOMS_ENDED, INSTANT_ROOMS_MADE};

/// A node waits 5 s for its answer, and then looks into its own database.
const LOOK_UP_TIME: Duration = Duration::from_millis(1900);

/// Time limit of a look-up's first read. A slow answer is often a single one, so a second read may still be in time.
const FIRST_READ_TIME: Duration = Duration::from_millis(800);

/// Pause before another read.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a room ends whose validity is over. Its record does not say it: the time in it is enough.
const VALIDITY_OVER: &str = "validity_over";

/// How long after the end of its validity a running conference may still dial out.
const DIAL_OUT_MARGIN: Duration = Duration::from_secs(30);

/// A node waits 5 s for an answer: one sent just before the room ended may let somebody in for this long.
const SECOND_DISCONNECT: Duration = Duration::from_secs(6);

/// Lifetime of an instant room's record, by the lifecycle rule in `infra/`.
const LIFETIME_OF_RECORDS: Duration = Duration::from_secs(8 * 86_400);

/// Longest time from the name of a room to the last call that it lets in, whatever the settings were.
const LONGEST_LIFE: Duration =
    Duration::from_secs(FURTHEST_START.as_secs() + LONGEST_VALIDITY + DIAL_OUT_MARGIN.as_secs());

/// How far the clock of the instance that named a room may be from ours. Generous: a room that is there must be found.
const CLOCK_MARGIN: Duration = Duration::from_secs(86_400);

/// Records that a sweep reads at the same time.
const CONCURRENT_READS: usize = 8;

/// Bounds the tasks that disconnect conferences. Conferences beyond it are left to the sweep.
const MAX_DISCONNECTING: usize = 256;

/// As Pexip writes times: in UTC and without an offset.
const WITHOUT_OFFSET: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");

named_enum! {
    /// Why an instant room ends before its validity does.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub(super) enum InstantEnd {
        /// IDIM asked for it.
        Deleted = "deleted",
        /// Its conference ended, and nobody came back in the grace period.
        ConferenceEnded = "conference_ended",
        /// No caller has the room.
        Destroyed = "destroyed",
    }
}

/// Content of an instant room's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct InstantRecord {
    /// Random: after a lost answer it tells whose write this is.
    write_id: String,
    /// Id of the Entra client that the room was made for.
    client: String,
    #[serde(with = "time::serde::rfc3339")]
    made_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    valid_from: OffsetDateTime,
    /// The validity begins with the record. Then no clock is asked: that of another instance may be behind.
    begins_at_once: bool,
    #[serde(with = "time::serde::rfc3339")]
    valid_until: OffsetDateTime,
    /// The caller gave the validity: the end of a conference does not end the room.
    has_own_validity: bool,
    #[serde(flatten)]
    state: State,
}

/// An ended room's record has neither PINs nor tag nor dial-out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum State {
    Open {
        configuration: ServiceConfiguration,
    },
    Ended {
        #[serde(with = "time::serde::rfc3339")]
        ended_at: OffsetDateTime,
        reason: InstantEnd,
    },
}

impl InstantRecord {
    /// The configuration, unless the room is ended or its validity is over for `margin` or longer.
    fn configuration(&self, now: OffsetDateTime, margin: Duration) -> Option<&ServiceConfiguration> {
        match &self.state {
            State::Open { configuration } if now < self.valid_until + margin => Some(configuration),
            State::Open { .. } | State::Ended { .. } => None,
        }
    }

    fn has_begun(&self, now: OffsetDateTime) -> bool {
        self.begins_at_once || self.valid_from <= now
    }

    fn room(&self, name: RoomName, configuration: &ServiceConfiguration) -> InstantRoom {
        InstantRoom {
            name,
            host_pin: configuration.text("pin").into(),
            guest_pin: configuration.text("guest_pin").into(),
            tag: Tag::read(configuration.text("service_tag").to_owned()),
            made_at: self.made_at.format(WITHOUT_OFFSET).expect("a time has every component of the format"),
            valid_from: self.valid_from,
            valid_until: self.valid_until,
        }
    }
}

/// Why a running conference must not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeftOver {
    /// Its room was ended, which was recorded then.
    Ended,
    PastValidity,
}

/// Why no instant room was made.
#[derive(Debug)]
pub(super) enum NotMade {
    Records(StorageError),
    /// A room from elsewhere would fail as well.
    Final(TakeRoomError),
}

impl From<InvalidServiceConfiguration> for NotMade {
    fn from(error: InvalidServiceConfiguration) -> Self {
        Self::Final(error.into())
    }
}

impl From<StorageError> for NotMade {
    fn from(error: StorageError) -> Self {
        Self::Records(error)
    }
}

/// Makes, reads and ends instant rooms.
pub(super) struct InstantRooms {
    backend: Arc<Backend>,
    /// The records for look-ups by nodes.
    looked_up: RecordStore,
    disconnecting: Arc<Semaphore>,
}

impl InstantRooms {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        let looked_up = backend.records.for_look_ups();
        Self { backend, looked_up, disconnecting: Arc::new(Semaphore::new(MAX_DISCONNECTING)) }
    }

    /// Makes a room. It can be joined when this returns, or when its validity begins.
    pub(super) async fn make(&self, wanted: &WantedRoom, deadline: Instant) -> Result<InstantRoom, NotMade> {
        let Backend { clock, rooms, instant, records, pexip, .. } = &*self.backend;
        if let Some(closed) = pexip.closed_at(wanted.validity.from) {
            return Err(NotMade::Final(TakeRoomError::Closed(closed)));
        }
        // Panics on a machine without a random source: its PINs could be guessed.
        let mut rng = UnwrapErr(SysRng);
        let name = instant.prefix.mint(clock.now(), &mut rng);
        let pins = Pins::draw(&rooms.host_pin(), &mut rng);
        let configuration = ServiceConfiguration::new(&name, &pins, &wanted.tag, &instant.dial_out, &rooms.properties)?;
        let record = InstantRecord {
            write_id: random_id(),
            client: wanted.client.clone(),
            made_at: clock.now_utc(),
            valid_from: wanted.validity.from,
            begins_at_once: wanted.validity.begins_at_once,
            valid_until: wanted.validity.until,
            has_own_validity: wanted.validity.is_given,
            state: State::Open { configuration: configuration.clone() },
        };
        // After a lost answer the record may be there. Nobody knows its name, and it ends by its validity.
        let made = timeout_at(deadline, async {
            records.ensure_usable().await?;
            records.make(&RecordName::instant(&name), &record).await
        });
        match made.await.unwrap_or(Err(StorageError::Timeout))? {
            Made::Ours(_) => {
                INSTANT_ROOMS_MADE.count([if record.begins_at_once { "now" } else { "later" }.into()]);
                Ok(record.room(name, &configuration))
            }
            // Names are random: no other request makes this one.
            Made::TakenBefore => Err(StorageError::Unreadable.into()),
        }
    }

    /// The answer to a Conferencing Node, within 2 s. Changes nothing: a look-up is not a join.
    pub(super) async fn answer(&self, look_up: &LookUp) -> Result<PolicyAnswer, StorageError> {
        if !may_let_in(&look_up.room, self.backend.clock.now_utc()) {
            return Ok(PolicyAnswer::Reject);
        }
        let found = self.read_in_time(&look_up.room).await?;
        let (now, margin) =
            (self.backend.clock.now_utc(), if look_up.is_own_dial_out { DIAL_OUT_MARGIN } else { Duration::ZERO });
        let record = found.filter(|record| record.has_begun(now));
        let configuration = record.as_ref().and_then(|record| record.configuration(now, margin));
        Ok(configuration.map_or(PolicyAnswer::Reject, |configuration| PolicyAnswer::Success(configuration.clone())))
    }

    async fn read_in_time(&self, name: &RoomName) -> Result<Option<InstantRecord>, StorageError> {
        let (until, mut try_until) = (Instant::now() + LOOK_UP_TIME, Instant::now() + FIRST_READ_TIME);
        loop {
            let read = timeout_at(try_until, read(&self.looked_up, name)).await;
            let read = read.unwrap_or(Err(StorageError::Timeout));
            if read.is_ok() || Instant::now() + PAUSE >= until {
                return Ok(read?.map(|found| found.record));
            }
            sleep(PAUSE).await;
            try_until = until;
        }
    }

    /// The room while it can be joined.
    pub(super) async fn find_open(&self, name: &RoomName) -> Result<Option<InstantRoom>, StorageError> {
        let now = self.backend.clock.now_utc();
        let found = self.read(name).await?.filter(|found| found.record.has_begun(now));
        Ok(found.and_then(|found| {
            let configuration = found.record.configuration(now, Duration::ZERO)?;
            Some(found.record.room(name.clone(), configuration))
        }))
    }

    /// The room while it can be joined, now or later.
    pub(super) async fn find_not_over(&self, name: &RoomName) -> Result<Option<InstantRoom>, StorageError> {
        let now = self.backend.clock.now_utc();
        Ok(self.read(name).await?.and_then(|found| {
            let configuration = found.record.configuration(now, Duration::ZERO)?;
            Some(found.record.room(name.clone(), configuration))
        }))
    }

    /// Ends the room, so that no node lets anybody in any more, and disconnects its conference in the background.
    /// Returns whether it ended now: a room that is ended or over, or was never there, stays as it is.
    pub(super) async fn end(&self, name: &RoomName, reason: InstantEnd) -> Result<bool, StorageError> {
        let has_ended = end_record(&self.backend, name, reason).await?;
        if has_ended {
            self.disconnect_in_background(name.clone(), None);
        }
        Ok(has_ended)
    }

    /// Ends a room in which no leg was left but those with an alias of `dialled`. If another has come meanwhile, the
    /// next maintenance run disconnects the conference.
    pub(super) async fn end_empty(&self, name: &RoomName, dialled: Vec<String>) -> Result<(), StorageError> {
        let reason = InstantEnd::ConferenceEnded;
        if end_record(&self.backend, name, reason).await? {
            audit::room_ended(name, reason.as_str());
            self.disconnect_in_background(name.clone(), Some(dialled));
        }
        Ok(())
    }

    /// Disconnects the conference, and once more when every node has used the answers that it got before the end. With
    /// `dialled`, only while all of its legs have one of these aliases.
    fn disconnect_in_background(&self, name: RoomName, dialled: Option<Vec<String>>) {
        let Ok(permit) = Arc::clone(&self.disconnecting).try_acquire_owned() else { return };
        let backend = Arc::clone(&self.backend);
        tokio::spawn(async move {
            let _permit = permit;
            for pause in [Duration::ZERO, SECOND_DISCONNECT] {
                sleep(pause).await;
                if let Err(error) = disconnect(&backend, &name, dialled.as_deref()).await {
                    warn!(room = %name, %error, "instant room ended, but its conference could not be disconnected");
                }
            }
        });
    }

    /// The aliases of the room's automatic participants, if the end of its conference may end the room: the room is
    /// open, and its validity is not the caller's own.
    pub(super) async fn dialled_if_endable(&self, name: &RoomName) -> Result<Option<Vec<String>>, StorageError> {
        let now = self.backend.clock.now_utc();
        let found = self.read(name).await?.filter(|found| !found.record.has_own_validity);
        Ok(found.and_then(|found| {
            found.record.configuration(now, Duration::ZERO).map(ServiceConfiguration::dialled_aliases)
        }))
    }

    /// Disconnects running conferences of rooms that are ended or over: a disconnect may have failed, and somebody may
    /// have waited at the PIN prompt until after the end. Starts no call after `until`. Returns how many there were.
    pub(super) async fn sweep(&self, until: Instant) -> Result<usize, PoolError> {
        let running = self.backend.background.running_names().await?;
        let names = running.iter().filter_map(|name| self.backend.instant.prefix.parse_name(name));
        let reads: Vec<_> = names.map(|name| async move { (self.left_over(&name).await, name) }).collect();
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_READS);
        let (mut disconnected, mut failed) = (0, 0);
        while let Some((left_over, name)) = reads.next().await {
            if Instant::now() >= until {
                break;
            }
            match left_over {
                Ok(None) => {}
                Ok(Some(left_over)) => {
                    match self.backend.background.disconnect(&name).await {
                        Ok(()) => {}
                        // One conference that cannot be ended must not block those behind it.
                        Err(error) if failed == MAX_FAILURES => return Err(error.into()),
                        Err(error) => {
                            warn!(room = %name, %error, "conference of an instant room that is over stays");
                            failed += 1;
                            continue;
                        }
                    }
                    info!(room = %name, "conference of an instant room that is over was disconnected");
                    INSTANT_CONFERENCES_DISCONNECTED.count([]);
                    if left_over == LeftOver::PastValidity {
                        audit::room_ended(&name, VALIDITY_OVER);
                    }
                    disconnected += 1;
                }
                Err(error) => warn!(room = %name, %error, "record of a running instant room could not be read"),
            }
        }
        Ok(disconnected)
    }

    /// Whether the room of a running conference is certainly ended or over. One without a record may be another
    /// deployment's, until its name is older than every record.
    async fn left_over(&self, name: &RoomName) -> Result<Option<LeftOver>, StorageError> {
        let now = self.backend.clock.now_utc();
        let is_past_validity = match self.read(name).await?.map(|found| found.record) {
            Some(InstantRecord { state: State::Ended { .. }, .. }) => return Ok(Some(LeftOver::Ended)),
            Some(record) => record.configuration(now, Duration::ZERO).is_none(),
            // Names hold times of any year: added to one, the lifetime might lead to a time that does not exist.
            None => name.minted_at().is_some_and(|minted_at| minted_at < now - LIFETIME_OF_RECORDS),
        };
        Ok(is_past_validity.then_some(LeftOver::PastValidity))
    }

    async fn read(&self, name: &RoomName) -> Result<Option<Found<InstantRecord>>, StorageError> {
        read(&self.backend.records, name).await
    }
}

/// Disconnects the conference; with `dialled`, only while all of its legs have one of these aliases.
async fn disconnect(backend: &Backend, name: &RoomName, dialled: Option<&[String]>) -> Result<(), PexipError> {
    match dialled {
        None => backend.pexip.disconnect(name).await,
        Some(dialled) => disconnect_if_empty(&backend.background, name, dialled).await,
    }
}

/// Whether a room with this name can be open now, by the time in its name. If not, its record is not read, so that
/// made-up names cost nothing.
fn may_let_in(name: &RoomName, now: OffsetDateTime) -> bool {
    let (earliest, latest) = (now - LONGEST_LIFE - CLOCK_MARGIN, now + CLOCK_MARGIN);
    name.minted_at().is_some_and(|minted_at| earliest <= minted_at && minted_at <= latest)
}

async fn read(records: &RecordStore, name: &RoomName) -> Result<Option<Found<InstantRecord>>, StorageError> {
    records.ensure_usable().await?;
    let found = records.read::<InstantRecord>(&RecordName::instant(name)).await?;
    let is_of_room = |found: &Found<InstantRecord>| match &found.record.state {
        State::Open { configuration } => configuration.is_of(name),
        State::Ended { .. } => true,
    };
    // Nobody may get into a room by another one's record.
    if found.as_ref().is_none_or(is_of_room) { Ok(found) } else { Err(StorageError::Unreadable) }
}

/// Ends the room's record. Returns whether this call did it. What is audited depends on who asks for it.
pub(super) async fn end_record(backend: &Backend, name: &RoomName, reason: InstantEnd) -> Result<bool, StorageError> {
    let now = backend.clock.now_utc();
    let Some(Found { record, version, .. }) = read(&backend.records, name).await? else { return Ok(false) };
    if record.configuration(now, Duration::ZERO).is_none() {
        return Ok(false);
    }
    let ended = InstantRecord { write_id: random_id(), state: State::Ended { ended_at: now, reason }, ..record };
    match backend.records.change(&RecordName::instant(name), &version, &ended).await? {
        Changed::Ours(_) => {
            info!(room = %name, reason = reason.as_str(), "instant room ended");
            INSTANT_ROOMS_ENDED.count([reason.as_str().into()]);
            Ok(true)
        }
        // Another has ended it meanwhile: nothing else changes such a record.
        Changed::Lost => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;

    #[tokio::test]
    async fn ends_of_many_rooms_have_a_bounded_number_of_tasks() {
        let rooms = InstantRooms::new(Arc::new(Backend::for_test(&[])));
        let name = rooms.backend.instant.prefix.mint(rooms.backend.clock.now(), &mut UnwrapErr(SysRng));
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();

        for _ in 0..1_000 {
            rooms.disconnect_in_background(name.clone(), None);
        }

        assert_eq!(tasks() - before, 256, "none has ended yet: nothing was awaited");
    }
}
