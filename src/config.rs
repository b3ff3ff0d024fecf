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
mod telemetry;
mod unknown;

use std::ffi::OsString;
use std::fmt;

use tracing::warn;

pub use allowed_clients::AllowedClients;
pub use entra::EntraConfig;
pub use genesys::GenesysConfig;
pub use pexip::{PexipConfig, PexipEventConfig};
pub use pool::{PoolConfig, WhenEmpty};
pub use queue::{QueueConfig, StorageAccess};
pub use reader::{Default, FaultySetting, Setting};
pub(crate) use reader::{base_url, secure_url};
pub use room::RoomConfig;
pub use server::{Environment, LONGEST_REQUEST, ServerConfig};
pub use telemetry::TelemetryConfig;
pub use unknown::UnknownVariable;

use reader::Reader;

/// What the process exits with: `EX_CONFIG` of sysexits.h. The settings are at fault, another start will not help.
pub const FAULTY: u8 = 78;

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
            telemetry::SETTINGS,
        ]
        .into_iter()
        .flatten()
        .copied()
    }

    /// Reads the settings from `source`, which gives the value of a variable. All faults are reported at once.
    pub fn read(source: impl Fn(&str) -> Option<OsString>) -> Result<Self, InvalidConfig> {
        ConfigParts::read(source).complete()
    }
}

/// The variables in the process's environment that are no settings and look like some.
pub fn unknown_variables() -> Vec<UnknownVariable> {
    #[expect(clippy::disallowed_methods, reason = "the names alone are looked at")]
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter_map(|name| UnknownVariable::of(name, Config::settings())).collect()
}

/// Says them in the log, of a service that runs all the same.
pub fn log_unknown_variables() {
    for unknown in unknown_variables() {
        warn!(variable = unknown.name, setting = unknown.meant, "no setting has the name of this variable");
    }
}

/// As much of the settings as can be used, whatever is wrong with the rest: for who looks for faults.
#[derive(Debug)]
pub struct ConfigParts {
    pub server: Option<ServerConfig>,
    pub telemetry: Option<TelemetryConfig>,
    pub queue: Option<QueueConfig>,
    pub pool: Option<PoolConfig>,
    pub room: Option<RoomConfig>,
    pub pexip: Option<PexipConfig>,
    /// `Some(None)` = the receiver is off.
    pub pexip_events: Option<Option<PexipEventConfig>>,
    pub entra: Option<EntraConfig>,
    pub genesys: Option<GenesysConfig>,
    /// Those that contradict each other are here as well, and in their part all the same.
    pub faults: Vec<FaultySetting>,
}

impl ConfigParts {
    /// Reads the settings from the process's environment.
    pub fn from_env() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads every part, so that no fault hides another.
    pub fn read(source: impl Fn(&str) -> Option<OsString>) -> Self {
        let reader = &mut Reader::new(&source);
        // Both bear on other parts, so they must not be hidden by a fault in their own.
        let environment = Environment::read(reader);
        let request_deadline = server::read_request_deadline(reader);
        let server = ServerConfig::read(reader, environment, request_deadline);
        let environment = environment.unwrap_or(Environment::Local);
        let slot = server.as_ref().map(|server| server.slot.clone());
        Self {
            server,
            telemetry: TelemetryConfig::read(reader, environment, slot),
            queue: QueueConfig::read(reader),
            pool: PoolConfig::read(reader),
            room: RoomConfig::read(reader, environment),
            pexip: PexipConfig::read(reader, request_deadline),
            pexip_events: PexipEventConfig::read(reader),
            entra: EntraConfig::read(reader, environment),
            genesys: GenesysConfig::read(reader, environment),
            faults: reader.take_faults(),
        }
    }

    /// The settings, if nothing is wrong with them.
    pub fn complete(mut self) -> Result<Config, InvalidConfig> {
        let faults = std::mem::take(&mut self.faults);
        match self.whole() {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(InvalidConfig { faults }),
        }
    }

    fn whole(self) -> Option<Config> {
        Some(Config {
            server: self.server?,
            telemetry: self.telemetry?,
            queue: self.queue?,
            pool: self.pool?,
            room: self.room?,
            pexip: self.pexip?,
            pexip_events: self.pexip_events?,
            entra: self.entra?,
            genesys: self.genesys?,
        })
    }
}
