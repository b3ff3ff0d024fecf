//! The storage account.

pub mod queue;
