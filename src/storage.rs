//! Azure Storage: one module per service, and what they share.

mod access;
mod error;
mod identity;
pub mod queue;
pub mod records;
mod shared_key;
mod transport;

pub use error::StorageError;
pub use identity::{IdentityError, find_identity};
