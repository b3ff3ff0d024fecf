//! What a request costs, counted instead of timed: calls to other systems, and allocations. A busy machine does not change
//! these counts, so their bounds can be close enough to show one layer of middleware more.

#![expect(clippy::disallowed_methods, reason = "tests send requests")]

mod allocations;
mod calls;
mod support;
