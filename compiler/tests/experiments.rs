//! The physical examples reach the results that their page states, trained by the program on the data of the repository.

use std::process::Command;

/// What `bpc` prints, run in the root of the repository.
fn prints(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bpc"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("bpc runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// The number after a name, as in `validation 0.3328`.
fn metric(text: &str, name: &str) -> f64 {
    let rest = text.split(&format!("{name} ")).nth(1).unwrap_or_else(|| panic!("no `{name}` in {text}"));
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no number in {rest}"))
}

#[test]
fn inertia_of_debris() {
    let text = prints(&["train", "examples/debris.bp", "--model", "debris"]);
    assert!(metric(&text, "error") <= 0.002, "{text}");
    let text = prints(&["train", "examples/debris.bp", "--model", "satellite"]);
    assert!(metric(&text, "error") <= 0.003, "{text}");
    // Without torque the scale cannot be seen, and the shape can.
    let text = prints(&["train", "examples/debris.bp", "--model", "drifting"]);
    assert!(metric(&text, "rmse") <= 0.0013 && metric(&text, "shape_error") <= 0.025, "{text}");
    assert!(metric(&text, "trace_error").abs() > 0.01, "{text}");
}

#[test]
fn silverbox_simulated_from_rest() {
    let saved = concat!(env!("CARGO_TARGET_TMPDIR"), "/silverbox.safetensors");
    let _ = prints(&["train", "examples/silverbox.bp", "--save", saved]);
    let text = prints(&["eval", "examples/silverbox.bp", "--params", saved]);
    assert!(metric(&text, "test_rmse_mV") <= 2.2, "{text}");
}

#[test]
fn cascaded_tanks_with_overflow() {
    let text = prints(&["train", "examples/cascaded_tanks.bp"]);
    assert!(metric(&text, "estimation") <= 0.26 && metric(&text, "validation") <= 0.35, "{text}");
}
