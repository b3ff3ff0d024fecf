//! The service from outside, through its front door. One file for each behaviour; the outside world is simulated over
//! the wire, except the queue, which is the real emulator where a test says so.

mod pool_maintenance;
mod public_room;
mod room_create;
mod room_delete;
mod room_pool;
mod support;
