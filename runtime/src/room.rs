//! The memory that a routine works in beside its operands and its result.
//!
//! Expects: nothing.
//! Guarantees: it follows from sizes alone, so that whoever compiles a call can provide it: routines allocate nothing
//! themselves.
//! Leaves out: who provides it (the plan of a program, the worker pool).

/// Bytes, each part 64-byte aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// One block for the length of a call, whatever the number of workers.
    pub call: u64,
    /// Of the scratch of each worker ([`crate::pool::Context`]).
    pub worker: u64,
}

impl Room {
    /// Enough for either, one after the other.
    #[must_use]
    pub fn max(self, other: Room) -> Room {
        Room { call: self.call.max(other.call), worker: self.worker.max(other.worker) }
    }
}
