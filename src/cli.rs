//! The operator's commands, apart from `serve`.

pub mod doctor;
mod look_up;
pub mod output;
pub mod pool;
mod progress_bar;
pub mod reference;
pub mod smoke;
