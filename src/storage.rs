//! Azure Storage: one module per service, and the access that they share.

mod access;
mod identity;
pub mod queue;
mod shared_key;
mod transport;

pub use identity::{IdentityError, find_identity};
