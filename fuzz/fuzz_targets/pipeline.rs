//! Bytes make a program of the language; all engines give the same numbers for it.
#![no_main]

mod counters;
#[path = "../../compiler/tests/engines/mod.rs"]
mod engines;
#[path = "../../compiler/tests/programs/mod.rs"]
mod programs;

use counters::Counters;
use libfuzzer_sys::fuzz_target;
use programs::compare::{Outcome, compare};
use programs::generator::program;

const VALID: usize = 0;
const COMPARED: usize = 1;
const ELEMENTS: usize = 2;

thread_local! {
    static COUNTERS: Counters<3> = const { Counters::new("pipeline", ["valid", "compared", "elements"]) };
}

fuzz_target!(|bytes: &[u8]| {
    COUNTERS.with(|counters| {
        counters.input();
        let text = program(bytes);
        match compare(&text) {
            Outcome::Rejected(words) => eprintln!("refused: {words}"),
            Outcome::NotFinite => counters.add(VALID, 1),
            Outcome::Agreed(elements) => {
                counters.add(VALID, 1);
                counters.add(COMPARED, 1);
                counters.add(ELEMENTS, elements as u64);
            }
            Outcome::Differs(words) => panic!("{words}\n{text}"),
        }
    });
});
