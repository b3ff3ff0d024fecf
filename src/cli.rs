//! The operator's commands.

pub mod doctor;
pub mod output;
pub mod pool;
mod progress_bar;
pub mod reference;
pub mod smoke;
