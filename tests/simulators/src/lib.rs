//! The outside world of the room service, on loopback: what it calls, as far as it calls it.
//!
//! - [`queue`]: Azure Queue Storage
//! - [`pexip`]: a Pexip Infinity platform: management node, Conferencing Nodes, event sinks
//! - [`entra`]: Microsoft Entra ID
//! - [`genesys`]: Genesys Cloud
//! - [`application_insights`]: a resource of Application Insights, as far as it takes traces and metrics
//! - [`github`]: GitHub, as far as it says to Entra who a job is
//! - [`collector`]: a collector of OpenTelemetry's traces and metrics
//! - [`world`]: all of them at once
//! - [`infinity_app`]: an app that joins rooms by Pexip's own client package
//! - [`functions_host`]: Azure Functions' host, which stands between the service and its callers
//! - [`traffic`]: what each of them has received, and how to make them fail
//! - [`simulator`]: what they have in common
//! - [`server`]: the loopback HTTP server below them, whose connections can be cut; [`tls`] for one that speaks https
//!
//! Each simulator keeps state, so a test can ask it afterwards what exists, and several of them can run in one process.

pub mod application_insights;
pub mod collector;
pub mod entra;
pub mod functions_host;
pub mod genesys;
pub mod github;
pub mod infinity_app;
pub mod machine;
pub mod npm;
pub mod pexip;
pub mod queue;
pub mod server;
pub mod simulator;
pub mod tls;
pub mod traffic;
pub mod world;

mod identifier;

pub use application_insights::ApplicationInsightsSimulator;
pub use collector::CollectorSimulator;
pub use entra::EntraSimulator;
pub use functions_host::FunctionsHost;
pub use genesys::{GenesysSimulator, GenesysToken};
pub use github::GitHubSimulator;
pub use infinity_app::InfinityApp;
pub use pexip::{PexipSimulator, StoredRoom};
pub use queue::{QueueSimulator, StoredMessage};
pub use server::Server;
pub use tls::{Authority, Issued, Order, SelfSigned};
pub use traffic::{Exchange, Fault, Matching, Times, Traffic};
pub use world::World;
