//! What became of the inputs, so that a fuzzer that tests nothing is seen.
//!
//! Expects: to live in a thread-local of the thread that libFuzzer runs the target on.
//! Guarantees: one line on standard error when that thread ends without a crash.

use std::cell::Cell;

/// Inputs by what became of them.
pub struct Counters<const KINDS: usize> {
    target: &'static str,
    inputs: Cell<u64>,
    names: [&'static str; KINDS],
    counts: [Cell<u64>; KINDS],
}

impl<const KINDS: usize> Counters<KINDS> {
    /// Zero inputs; an input may be of several kinds or of none.
    pub const fn new(target: &'static str, names: [&'static str; KINDS]) -> Counters<KINDS> {
        Counters { target, inputs: Cell::new(0), names, counts: [const { Cell::new(0) }; KINDS] }
    }

    /// Counts an input.
    pub fn input(&self) {
        self.inputs.set(self.inputs.get() + 1);
    }

    /// Counts `amount` more of a kind.
    pub fn add(&self, kind: usize, amount: u64) {
        let count = &self.counts[kind];
        count.set(count.get() + amount);
    }
}

impl<const KINDS: usize> Drop for Counters<KINDS> {
    fn drop(&mut self) {
        let kinds = self.names.iter().zip(&self.counts);
        let kinds: String = kinds.map(|(name, count)| format!(", {} {name}", count.get())).collect();
        eprintln!("{}: {} inputs{kinds}", self.target, self.inputs.get());
    }
}
