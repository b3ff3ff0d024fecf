//! Simulators of the systems that the room service calls, on loopback, limited to what it uses.
//!
//! - [`queue`]: Azure Queue Storage
//! - [`blobs`]: Azure Blob Storage
//! - [`pexip`]: a Pexip Infinity platform: management node, Conferencing Nodes that ask a policy server, event sinks
//! - [`entra`]: Microsoft Entra ID
//! - [`genesys`]: Genesys Cloud
//! - [`application_insights`]: a resource of Application Insights that accepts traces and metrics
//! - [`github`]: GitHub's ID tokens for jobs
//! - [`collector`]: an OpenTelemetry collector of traces and metrics
//! - [`world`]: all of them together; [`operator`]: as the operator has them
//! - [`infinity_app`]: an app that joins rooms with Pexip's own client package
//! - [`functions_host`]: the Azure Functions host between the service and its callers
//! - [`traffic`]: the log of received requests, and fault injection
//! - [`simulator`]: what the simulators have in common
//! - [`server`]: the loopback HTTP server below them, whose connections can be cut; [`tls`] for one that speaks https
//!
//! Each simulator has its own state, which tests can read. Several can run in one process.

pub mod application_insights;
pub mod blobs;
pub mod collector;
pub mod entra;
pub mod functions_host;
pub mod genesys;
pub mod github;
pub mod infinity_app;
pub mod machine;
pub mod npm;
pub mod operator;
pub mod pexip;
pub mod queue;
pub mod server;
pub mod simulator;
pub mod tls;
pub mod traffic;
pub mod world;

mod identifier;

pub use application_insights::ApplicationInsightsSimulator;
pub use blobs::{BlobSimulator, StoredBlob};
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
pub use traffic::{End, Exchange, Fault, Followed, MakePage, Matching, Times, Traffic};
pub use world::World;
