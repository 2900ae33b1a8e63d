//! Any text is a program or gets diagnostics that can be shown; nothing panics.
#![no_main]

mod counters;

use bpc_lang::diagnostics::{Severity, render};
use bpc_lang::loader::load;
use counters::Counters;
use libfuzzer_sys::fuzz_target;

const VALID: usize = 0;
const DIAGNOSTICS: usize = 1;

thread_local! {
    static COUNTERS: Counters<2> = const { Counters::new("parse", ["valid", "diagnostics shown"]) };
}

fuzz_target!(|bytes: &[u8]| {
    COUNTERS.with(|counters| {
        counters.input();
        let text = String::from_utf8_lossy(bytes);
        // A module beside the program is the same text, which also leads to cycles of `use` lines.
        let (program, diagnostics) = load("program.bp", &text, &mut |path| (path == "a.bp").then(|| text.to_string()));
        for diagnostic in &diagnostics {
            assert!(!render(diagnostic, &program.sources, false).is_empty());
            counters.add(DIAGNOSTICS, 1);
        }
        if diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error) {
            counters.add(VALID, 1);
        }
    });
});
