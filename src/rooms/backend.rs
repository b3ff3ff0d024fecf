//! The clients, the clock and the settings that the components share.

use std::time::Duration;

use super::PoolError;
use crate::config::{InstantConfig, PoolConfig, RoomConfig};
use crate::domain::Clock;
use crate::pexip::PexipClient;
use crate::storage::queue::RoomQueue;
use crate::storage::records::RecordStore;

/// The settings of rooms.
#[derive(Clone, Debug)]
pub struct Settings {
    pub pool: PoolConfig,
    pub rooms: RoomConfig,
    pub instant: InstantConfig,
    /// Whether Conferencing Nodes can look up rooms.
    pub has_policy: bool,
    /// Time limit of a request.
    pub request_deadline: Duration,
}

/// Everything outside of this module that rooms depend on. Never changes.
pub(super) struct Backend {
    pub(super) queue: RoomQueue,
    pub(super) ended_queue: RoomQueue,
    pub(super) records: RecordStore,
    /// For calls that a request waits for.
    pub(super) pexip: PexipClient,
    /// The same client with background priority.
    pub(super) background: PexipClient,
    pub(super) clock: Clock,
    pub(super) config: PoolConfig,
    pub(super) rooms: RoomConfig,
    pub(super) instant: InstantConfig,
    /// Whether Conferencing Nodes can look up rooms.
    pub(super) has_policy: bool,
    /// Time limit of a request.
    pub(super) request_deadline: Duration,
}

impl Backend {
    pub(super) fn new(
        settings: Settings,
        queue: RoomQueue,
        records: RecordStore,
        pexip: PexipClient,
        clock: Clock,
    ) -> Self {
        let Settings { pool: config, rooms, instant, has_policy, request_deadline } = settings;
        let (ended_queue, background) = (queue.of_ended_rooms(), pexip.in_background());
        Self {
            queue,
            ended_queue,
            records,
            pexip,
            background,
            clock,
            config,
            rooms,
            instant,
            has_policy,
            request_deadline,
        }
    }

    /// Longer than a room of ours lives, counted from its provision.
    pub(super) fn longest_life(&self) -> Duration {
        self.config.room_max_age + self.rooms.absolute_lifetime + self.config.sweep_margin
    }

    /// Whether `error` means that Pexip is closed. What is expected every night is logged once, by the client.
    pub(super) fn is_closed(&self, error: &PoolError) -> bool {
        matches!(error, PoolError::Pexip(error) if self.pexip.closed(error).is_some())
    }
}

#[cfg(test)]
impl Backend {
    /// Over a queue and a node that do not exist, with these settings.
    pub(super) fn for_test(settings: &[(&str, &str)]) -> Self {
        const REQUIRED: [(&str, &str); 4] = [
            ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
            ("PEXIP_MANAGEMENT_URL", "https://pexip.invalid"),
            ("PEXIP_USERNAME", "maxconf"),
            ("PEXIP_PASSWORD", "of no node"),
        ];
        let find = |name: &str| settings.iter().chain(&REQUIRED).find(|setting| setting.0 == name);
        let parts = crate::config::ConfigParts::read(|name| find(name).map(|(_, value)| value.into()));
        let http = crate::outbound::client_builder(Duration::from_secs(1)).build().expect("options are valid");
        let rooms = parts.room.expect("settings are valid");
        let queue = parts.queue.expect("settings are valid");
        let queue = RoomQueue::new(&queue, rooms.prefix.clone(), http.clone()).expect("settings are valid");
        let records = parts.records.expect("settings are valid");
        let records = RecordStore::new(&records, http.clone()).expect("settings are valid");
        let (node, account) =
            (parts.pexip.expect("settings are valid"), parts.pexip_account.expect("settings are valid"));
        let clock = Clock::system();
        let pexip = PexipClient::new(&node, &account, None, rooms.prefix.clone(), http, clock.clone());
        let settings = Settings {
            pool: parts.pool.expect("settings are valid"),
            rooms,
            instant: parts.instant.expect("settings are valid"),
            has_policy: false,
            request_deadline: Duration::from_secs(25),
        };
        Self::new(settings, queue, records, pexip, clock)
    }
}
