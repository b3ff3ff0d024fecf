//! Settings: read once from the environment, checked together, handed on in parts.

mod allowed_clients;
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

pub use allowed_clients::AllowedClients;
pub use entra::EntraConfig;
pub use genesys::GenesysConfig;
pub use pexip::{PexipConfig, PexipEventConfig};
pub use pool::{PoolConfig, WhenEmpty};
pub use queue::{QueueConfig, StorageAccess};
pub use reader::{Default, FaultySetting, Setting};
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
        match (config, reader.into_faults()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(InvalidConfig { faults }),
        }
    }

    /// Reads every part before it gives up, so that no fault hides another.
    fn read_parts(reader: &mut Reader<'_>) -> Option<Self> {
        // Both bear on other parts, so they must not be hidden by a fault in their own.
        let environment = Environment::read(reader);
        let request_deadline = server::read_request_deadline(reader);
        let server = ServerConfig::read(reader, environment, request_deadline);
        let environment = environment.unwrap_or(Environment::Local);
        let telemetry = TelemetryConfig::read(reader);
        let queue = QueueConfig::read(reader);
        let pool = PoolConfig::read(reader);
        let room = RoomConfig::read(reader, environment);
        let pexip = PexipConfig::read(reader, request_deadline);
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
}
