//! The service from outside, through its front door. One file for each behaviour; the outside world is simulated over
//! the wire, except the queue, which is the real emulator where a test says so.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real clocks and send requests")]

mod answers;
mod audit;
mod binary;
mod call;
mod caller_rates;
mod connections;
mod cors;
mod cors_in_a_browser;
mod dependencies;
mod doctor;
mod documents;
mod end_to_end;
mod entra_attacks;
mod entra_keys;
mod entra_own;
mod entra_properties;
mod entra_tokens;
mod event_sink;
mod fault_table;
mod function_files;
mod genesys_load;
mod genesys_tokens;
mod health;
mod leaks;
mod logs;
mod managed_identity;
mod openapi;
mod pexip_limits;
mod pexip_tls;
mod pool_command;
mod pool_maintenance;
mod pool_messages;
mod pool_on_azurite;
mod pool_sweep;
mod program_log;
mod public_room;
mod queue;
mod queue_faults;
mod room_create;
mod room_delete;
mod room_pool;
mod room_read;
mod several_names;
mod sizing;
mod smoke;
mod support;
mod telemetry;
mod test_files;
mod threat_model;
mod unheard;
mod unreachable;
mod uui_data;
mod wycheproof;
