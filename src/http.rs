//! The HTTP layer.

pub mod problem;
pub mod protection;
pub mod readiness;
pub mod request_log;
pub mod routes;
pub mod server;
