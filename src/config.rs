//! Settings: read once from the environment, checked together, handed on in parts.

mod entra;
mod genesys;
mod pexip;
mod pool;
mod queue;
mod reader;
mod room;
mod server;

use std::ffi::OsString;
use std::fmt;

pub use entra::EntraConfig;
pub use genesys::GenesysConfig;
pub use pexip::{PexipConfig, PexipEventConfig};
pub use pool::{PoolConfig, WhenEmpty};
pub use queue::{QueueConfig, StorageAccess};
pub use reader::{AllowedClients, Default, FaultySetting, Setting};
pub use room::RoomConfig;
pub use server::{Environment, ServerConfig, TelemetryConfig};

use reader::Reader;

/// All settings of the service. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub queue: QueueConfig,
    pub pool: PoolConfig,
    pub room: RoomConfig,
    pub pexip: PexipConfig,
    /// Account of the Conferencing Nodes for `/pexip/events`; `None` = the receiver is off.
    pub pexip_events: Option<PexipEventConfig>,
    pub entra: EntraConfig,
    pub genesys: GenesysConfig,
}

/// Everything that is wrong with the settings, by name and never by value.
#[derive(Debug)]
pub struct InvalidConfig {
    pub faults: Vec<FaultySetting>,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} faulty setting(s):", self.faults.len())?;
        for fault in &self.faults {
            writeln!(formatter, "  {} {}", fault.setting, fault.reason)?;
        }
        formatter.write_str("`maxconf --help` explains every setting.")
    }
}

impl std::error::Error for InvalidConfig {}

impl Config {
    /// Every setting that the service knows, in the order in which the help shows them.
    pub fn settings() -> impl Iterator<Item = &'static Setting> {
        [
            server::SETTINGS,
            queue::SETTINGS,
            pool::SETTINGS,
            room::SETTINGS,
            pexip::SETTINGS,
            entra::SETTINGS,
            genesys::SETTINGS,
            server::PROTECTION_SETTINGS,
        ]
        .into_iter()
        .flatten()
        .copied()
    }

    /// Reads the settings from the process's environment.
    pub fn from_env() -> Result<Self, InvalidConfig> {
        #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads the settings from `source`, which gives the value of a variable. All faults are reported at once.
    pub fn read(source: impl Fn(&str) -> Option<OsString>) -> Result<Self, InvalidConfig> {
        let mut reader = Reader::new(&source);
        let config = Self::read_parts(&mut reader);
        if let Some(config) = &config {
            config.check_parts_against_each_other(&mut reader);
        }
        match (config, reader.into_faults()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(InvalidConfig { faults }),
        }
    }

    /// Reads every part before it gives up, so that no fault hides another.
    fn read_parts(reader: &mut Reader<'_>) -> Option<Self> {
        let server = ServerConfig::read(reader);
        let environment = server.as_ref().map_or(Environment::Local, |server| server.environment);
        let telemetry = TelemetryConfig::read(reader);
        let queue = QueueConfig::read(reader);
        let pool = PoolConfig::read(reader);
        let room = RoomConfig::read(reader, environment);
        let pexip = PexipConfig::read(reader);
        let pexip_events = PexipEventConfig::read(reader);
        let entra = EntraConfig::read(reader, environment);
        let genesys = GenesysConfig::read(reader, environment);
        Some(Self {
            server: server?,
            telemetry: telemetry?,
            queue: queue?,
            pool: pool?,
            room: room?,
            pexip: pexip?,
            pexip_events: pexip_events?,
            entra: entra?,
            genesys: genesys?,
        })
    }

    fn check_parts_against_each_other(&self, reader: &mut Reader<'_>) {
        let pool = &self.pool;
        if pool.ready_delay + pool.lease >= pool.room_max_age {
            reader.fault(&pool::ROOM_MAX_AGE, "must be greater than POOL_READY_DELAY_SECONDS + POOL_LEASE_SECONDS");
        }
        if pool.target > pool.max_rooms {
            reader.fault(&pool::TARGET_SIZE, "must not be greater than POOL_MAX_ROOMS");
        }
        if self.pexip.request_timeout >= self.server.request_deadline {
            reader.fault(&pexip::REQUEST_TIMEOUT, "must be less than REQUEST_DEADLINE_SECONDS");
        }
        if self.room.max_lifetime > self.room.absolute_lifetime {
            reader.fault(&room::MAX_LIFETIME, "must not be greater than ROOM_ABSOLUTE_LIFETIME_SECONDS");
        }
    }
}
