//! MaxConf's room service: hands out Pexip meeting rooms to IDIM's server, each with a citizen's case written on it,
//! and shows them to the agent's widget.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod outbound;
pub mod pexip;
pub mod rooms;
pub mod storage;
mod tasks;
pub mod telemetry;
