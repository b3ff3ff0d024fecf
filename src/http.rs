//! The HTTP layer: listener, middleware, permits, routes with their documents, problems.

pub(crate) mod context;
pub(crate) mod middleware;
pub mod openapi;
mod permit;
pub(crate) mod problem;
pub(crate) mod readiness;
pub(crate) mod room_actions;
mod route;
pub mod routes;
pub mod server;
pub(crate) mod state;
