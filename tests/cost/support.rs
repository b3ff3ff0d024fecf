//! Shared by the tests of costs: the service on a thread of its own, its pool, its callers, and bounds.

mod bounds;
mod callers;
mod pool;
mod service;
mod waiting;

pub(crate) use bounds::Bound;
pub(crate) use callers::{Callers, NODES};
pub(crate) use pool::{Pool, fill, instant, unlimited};
pub(crate) use service::Service;
pub(crate) use waiting::{LIMIT, eventually};
