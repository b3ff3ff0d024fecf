//! Settings: read once from the environment, checked together, passed on in sections.

mod allowed_ids;
mod audiences;
mod entra;
mod genesys;
mod instant;
mod parser;
mod pexip;
mod pexip_account;
mod pool;
mod room;
mod rules;
mod server;
mod service_hours;
mod setting;
mod storage;
mod storage_account;
mod telemetry;
mod unknown;

use std::ffi::OsString;
use std::fmt;

use tracing::warn;

use entra::EntraDraft;
use genesys::GenesysDraft;
use instant::InstantDraft;
use pexip::PexipDraft;
use pool::PoolDraft;
use room::RoomDraft;
use server::ServerDraft;
use setting::Reader;
use telemetry::TelemetryDraft;

use crate::domain::ServiceHours;

pub use allowed_ids::AllowedIds;
pub use audiences::Audiences;
pub use entra::EntraConfig;
pub use genesys::GenesysConfig;
pub use instant::InstantConfig;
pub(crate) use instant::LONGEST_VALIDITY;
pub(crate) use parser::{base_url, secure_url};
pub use pexip::{BasicAccount, PexipConfig};
pub use pexip_account::{PexipAccount, PrivateKey};
pub use pool::{PoolConfig, RoomSource, WhenEmpty};
pub use room::RoomConfig;
pub use server::{LONGEST_REQUEST, ServerConfig};
pub use setting::{Faulty, FaultySetting, Setting, WhenUnset};
pub use storage::{QueueConfig, RecordsConfig};
pub use storage_account::StorageAccess;
pub use telemetry::{Environment, TelemetryConfig};
pub use unknown::UnknownVariable;

/// All settings of the service. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub queue: QueueConfig,
    pub records: RecordsConfig,
    pub pool: PoolConfig,
    pub room: RoomConfig,
    pub instant: InstantConfig,
    pub pexip: PexipConfig,
    pub pexip_account: PexipAccount,
    /// Account of the Conferencing Nodes for external policy. `None`: policy is off.
    pub pexip_policy: Option<BasicAccount>,
    /// Account of the Conferencing Nodes for `/public/event_sink`. `None`: events are off.
    pub pexip_events: Option<BasicAccount>,
    /// When Pexip is meant to be up. `None`: always.
    pub service_hours: Option<ServiceHours>,
    pub entra: EntraConfig,
    pub genesys: GenesysConfig,
}

/// All faults of the settings, with names and without values.
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
    /// All settings, in the order of `--help` and of the reference page.
    pub fn settings() -> impl Iterator<Item = &'static Setting> {
        [
            ServerDraft::SETTINGS,
            TelemetryDraft::SETTINGS,
            storage_account::SETTINGS,
            storage::SETTINGS,
            PoolDraft::SETTINGS,
            RoomDraft::SETTINGS,
            InstantDraft::SETTINGS,
            PexipDraft::SETTINGS,
            pexip_account::SETTINGS,
            pexip::SETTINGS,
            service_hours::SETTINGS,
            EntraDraft::SETTINGS,
            GenesysDraft::SETTINGS,
        ]
        .into_iter()
        .flatten()
    }

    /// Reads the settings from `source`, which returns the value of a variable. All faults are reported together.
    pub fn read(source: impl Fn(&str) -> Option<OsString>) -> Result<Self, InvalidConfig> {
        ConfigParts::read(source).complete()
    }
}

/// Variables of the process's environment that are not settings and have a name like one.
pub fn unknown_variables() -> Vec<UnknownVariable> {
    #[expect(clippy::disallowed_methods, reason = "only names are read")]
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter_map(|name| UnknownVariable::of(name, Config::settings())).collect()
}

/// Logs the [`unknown_variables`]; they do not keep the service from starting.
pub fn log_unknown_variables() {
    for unknown in unknown_variables() {
        warn!(variable = unknown.name, setting = unknown.meant, "no setting has the name of this variable");
    }
}

/// The sections that can be used, and the faults of the rest: for `doctor`, which examines as much as it can.
#[derive(Debug)]
pub struct ConfigParts {
    pub server: Result<ServerConfig, Faulty>,
    pub telemetry: Result<TelemetryConfig, Faulty>,
    pub queue: Result<QueueConfig, Faulty>,
    pub records: Result<RecordsConfig, Faulty>,
    pub pool: Result<PoolConfig, Faulty>,
    pub room: Result<RoomConfig, Faulty>,
    pub instant: Result<InstantConfig, Faulty>,
    pub pexip: Result<PexipConfig, Faulty>,
    pub pexip_account: Result<PexipAccount, Faulty>,
    pub pexip_policy: Result<Option<BasicAccount>, Faulty>,
    pub pexip_events: Result<Option<BasicAccount>, Faulty>,
    pub service_hours: Result<Option<ServiceHours>, Faulty>,
    pub entra: Result<EntraConfig, Faulty>,
    pub genesys: Result<GenesysConfig, Faulty>,
    /// A section whose settings break a rule between them is usable all the same; the fault is here.
    pub faults: Vec<FaultySetting>,
}

impl ConfigParts {
    /// Reads the settings from the process's environment.
    pub fn from_env() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads every section, so that no fault hides another.
    pub fn read(source: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut reader = Reader::new(&source);
        let server = ServerDraft::read(&mut reader);
        let telemetry = TelemetryDraft::read(&mut reader);
        let (queue, records) = storage::read(&mut reader);
        let pool = PoolDraft::read(&mut reader);
        let room = RoomDraft::read(&mut reader);
        let instant = InstantDraft::read(&mut reader);
        let pexip = PexipDraft::read(&mut reader);
        let pexip_account = PexipAccount::read(&mut reader);
        let pexip_policy = BasicAccount::read_policy(&mut reader);
        let pexip_events = BasicAccount::read_events(&mut reader);
        let service_hours = service_hours::read(&mut reader);
        let entra = EntraDraft::read(&mut reader);
        let genesys = GenesysDraft::read(&mut reader);
        rules::check(&mut reader, &server, &telemetry, &pool, &room, &pexip);
        rules::check_instant_rooms(&mut reader, &telemetry, &pool, &room, &instant, &pexip_policy);
        rules::check_clients(&mut reader, &entra);
        Self {
            server: server.complete(),
            telemetry: telemetry.complete(),
            queue,
            records,
            pool: pool.complete().map(PoolConfig::without_pool_if_unused),
            room: room.complete(),
            instant: instant.complete(),
            pexip: pexip.complete(),
            pexip_account,
            pexip_policy,
            pexip_events,
            service_hours,
            entra: entra.complete(),
            genesys: genesys.complete(),
            faults: reader.faults,
        }
    }

    /// The settings, if none is faulty.
    pub fn complete(mut self) -> Result<Config, InvalidConfig> {
        let faults = std::mem::take(&mut self.faults);
        match self.sections() {
            Ok(config) if faults.is_empty() => Ok(config),
            _ => Err(InvalidConfig { faults }),
        }
    }

    fn sections(self) -> Result<Config, Faulty> {
        Ok(Config {
            server: self.server?,
            telemetry: self.telemetry?,
            queue: self.queue?,
            records: self.records?,
            pool: self.pool?,
            room: self.room?,
            instant: self.instant?,
            pexip: self.pexip?,
            pexip_account: self.pexip_account?,
            pexip_policy: self.pexip_policy?,
            pexip_events: self.pexip_events?,
            service_hours: self.service_hours?,
            entra: self.entra?,
            genesys: self.genesys?,
        })
    }
}
