//! MaxConf's room service: hands out Pexip meeting rooms that were made in advance, with a citizen's case written on
//! them, to IDIM's server, and shows them to the agent's widget.
//!
//! The modules, in the order in which a request meets them:
//!
//! - [`app`] builds everything once; [`server`] listens; [`routes`] says who may call what;
//! - [`request_log`] gives each request its id and its line in the log, [`protection`] its bounds;
//! - [`auth`] proves who calls: Entra for IDIM, Genesys for the widget; [`caller_rates`] how often they may;
//! - [`room_pool`] owns the rules of a room's life; below it are [`queue`] and [`pexip`], over
//!   [`outbound`], and [`breaker`] for what fails;
//! - [`pool_command`] is the operator's way to the same pool, beside the routes; [`doctor`] finds out what is wrong;
//! - [`smoke`] is a caller of the service, and knows nothing of its inside; [`output`] is how commands write;
//! - [`room`] has the words that all of them use; [`config`] the settings, [`clock`] the time;
//! - [`upstream`] sees each call to an outside system, and [`metrics`] has the names of all that is counted;
//! - [`api_error`] is the only place that chooses statuses; [`health`], [`telemetry`] and [`audit`] are for operators.
//!
//! Data flows one way: `main → app → routes → auth | room_pool → queue | pexip`; `pool_command` and
//! `doctor` stand where `routes` stands.

#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod api_error;
pub mod app;
pub mod audit;
pub mod auth;
pub mod breaker;
pub mod caller_rates;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod health;
pub mod metrics;
pub mod outbound;
pub mod output;
mod own_task;
pub mod pexip;
pub mod pool_command;
mod progress_bar;
pub mod protection;
pub mod queue;
pub mod request_log;
pub mod room;
pub mod room_pool;
pub mod routes;
pub mod server;
pub mod smoke;
pub mod telemetry;
pub mod upstream;
