//! What a request costs, counted instead of timed: calls to other systems, allocations, instructions of the processor. A
//! busy machine does not change these counts, so their bounds can be close enough to show one layer of middleware more.

#![expect(clippy::disallowed_methods, reason = "tests send requests")]

mod allocations;
mod calls;
mod instructions;
mod support;
