//! The HTTP layer: listener, middleware, permits, routes with their documents, problems.

pub(crate) mod context;
pub(crate) mod middleware;
pub(crate) mod openapi;
pub mod permit;
pub mod problem;
pub(crate) mod readiness;
pub mod room_actions;
mod route;
pub mod routes;
pub mod server;
pub(crate) mod state;
