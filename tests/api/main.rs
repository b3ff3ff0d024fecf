//! The service from outside, through its front door. One file for each behaviour; the outside world is simulated over
//! the wire, except the queue, which is the real emulator where a test says so.

mod answers;
mod binary;
mod cors;
mod dependencies;
mod end_to_end;
mod entra_attacks;
mod entra_keys;
mod entra_properties;
mod entra_tokens;
mod fault_table;
mod function_files;
mod genesys_tokens;
mod health;
mod leaks;
mod managed_identity;
mod pexip_event;
mod pexip_limits;
mod pexip_tls;
mod pool_command;
mod pool_maintenance;
mod pool_on_azurite;
mod pool_sweep;
mod program_log;
mod public_room;
mod queue;
mod queue_faults;
mod readme_settings;
mod room_create;
mod room_delete;
mod room_pool;
mod sizing;
mod support;
mod threat_model;
mod whole_call;
mod wycheproof;
