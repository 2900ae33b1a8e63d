//! Random programs through the whole compiler: every engine gives what the interpreter gives on the plain gradient graph.
//!
//! `BPC_PROGRAMS=20000 cargo test -p bpc --test random_programs -- --nocapture` looks longer.

mod engines;
mod programs;

use programs::compare::{Outcome, compare};
use programs::generator::program;

/// Bytes that look random and depend on the seed alone.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 33) as u8
    };
    std::iter::repeat_with(next).take(160).collect()
}

#[test]
fn engines_agree_on_random_programs() {
    let wanted: u64 = std::env::var("BPC_PROGRAMS").map_or(320, |text| text.parse().expect("BPC_PROGRAMS is a number"));
    let first: u64 = std::env::var("BPC_FIRST").map_or(0, |text| text.parse().expect("BPC_FIRST is a number"));
    let (mut agreed, mut rejected, mut not_finite, mut elements) = (0, 0, 0, 0);
    let mut refusals = Vec::new();
    let mut failures = Vec::new();
    for seed in first..first + wanted {
        let text = program(&bytes(seed));
        match std::panic::catch_unwind(|| compare(&text)) {
            Ok(Outcome::Agreed(compared)) => {
                agreed += 1;
                elements += compared;
            }
            Ok(Outcome::Rejected(words)) => {
                rejected += 1;
                refusals.push(format!("seed {seed}\n{words}"));
            }
            Ok(Outcome::NotFinite) => not_finite += 1,
            Ok(Outcome::Differs(words)) => failures.push(format!("seed {seed}: {words}\n{text}")),
            Err(_) => failures.push(format!("seed {seed}: a panic, see above\n{text}")),
        }
    }
    println!(
        "{wanted} programs: {agreed} valid and compared in {elements} elements, {rejected} rejected, {not_finite} not finite, {} failed",
        failures.len()
    );
    for refusal in refusals.iter().take(5) {
        println!("rejected: {refusal}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(10 * rejected < wanted, "too many are rejected:\n{}", refusals.join("\n"));
    assert!(10 * not_finite < wanted, "{not_finite} of {wanted} are not finite");
}
