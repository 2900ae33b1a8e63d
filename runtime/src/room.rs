//! The memory that a routine works in beside its operands and its result.
//!
//! Expects: nothing.
//! Guarantees: it follows from sizes alone, so that whoever compiles a call can provide it: routines allocate nothing
//! themselves.
//! Leaves out: what the `gemm` library allocates is only known here, not avoided: see [`Room::packing`].

/// Bytes, each part 64-byte aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// One block for the length of a call, whatever the number of workers.
    pub call: u64,
    /// Of the scratch of each worker ([`crate::pool::Context`]).
    pub worker: u64,
    /// What `gemm` takes from the system on each worker while a product runs, at most, and gives back after it: packed
    /// parts of the factors. Its list of what is packed (some kilobytes), and what it keeps for good, a block as large as
    /// the second cache for each thread, come on top.
    pub packing: u64,
}

impl Room {
    /// Enough for either, one after the other.
    #[must_use]
    pub fn max(self, other: Room) -> Room {
        Room {
            call: self.call.max(other.call),
            worker: self.worker.max(other.worker),
            packing: self.packing.max(other.packing),
        }
    }
}
