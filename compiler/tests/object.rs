//! Object files: a C program that links one does what `bpc::Step` does, bit for bit.
//!
//! Expects: a C compiler as `cc`.
//! Guarantees: the header says everything that the C program needs; the static library of the runtime has every routine that
//! generated code may call.
//! Leaves out: systems other than Unix, where linking takes other words.
#![cfg(unix)]

use bpc::{State, Tensors, compile_text};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that lives in the state and is written by the C program below, and what the header calls it.
const STATE: [(&str, &str); 16] = [
    ("hidden_bias", "hidden_bias"),
    ("hidden.weight", "hidden_weight"),
    ("hidden.bias", "hidden_bias_2"),
    ("logits.weight", "logits_weight"),
    ("logits.bias", "logits_bias"),
    ("hidden_bias.adam.m", "hidden_bias_adam_m"),
    ("hidden_bias.adam.v", "hidden_bias_adam_v"),
    ("hidden.weight.adam.m", "hidden_weight_adam_m"),
    ("hidden.weight.adam.v", "hidden_weight_adam_v"),
    ("hidden.bias.adam.m", "hidden_bias_adam_m_2"),
    ("hidden.bias.adam.v", "hidden_bias_adam_v_2"),
    ("logits.weight.adam.m", "logits_weight_adam_m"),
    ("logits.weight.adam.v", "logits_weight_adam_v"),
    ("logits.bias.adam.m", "logits_bias_adam_m"),
    ("logits.bias.adam.v", "logits_bias_adam_v"),
    ("step", "step"),
];
const PARAMETERS: usize = 5;

/// Random numbers, products, a gather, heavy functions, optimiser state, two names that differ in a dot, and a warning.
const PROGRAM: &str = "
use std.nn { dense, dropout, cross_entropy }
use std.optim { adam }
model small {
    in x: f32[6, 5]
    in label: i32[6]
    param hidden_bias: f32[7] ~ zeros
    let hidden = dropout(tanh(dense(x, 7) + hidden_bias), p = 0.25)
    let logits = dense(hidden, 3)
    warn(max(logits) > -1e9, \"any logit\")
    out scores = logits
    minimize cross_entropy(logits, label) using adam(lr = 0.05)
}";

const MAIN: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "small.h"

static float number(int place) { return (float)((place * 37 + 11) % 64) / 64.0f - 0.5f; }

static void fill(char *state, size_t offset, size_t elements) {
    for (size_t i = 0; i < elements; i++) ((float *)(state + offset))[i] = number((int)i);
}

int main(int count, char **words) {
    if (count != 2) return 2;
    char *state = aligned_alloc(64, BPC_small_STATE_BYTES);
    char *workspace = aligned_alloc(64, BPC_small_WORKSPACE_BYTES);
    struct bpc_context *context = bpc_context_new(2, BPC_small_SCRATCH_BYTES);
    if (!state || !workspace || !context) return 3;
    memset(state, 0, BPC_small_STATE_BYTES);
    memset(workspace, 0xff, BPC_small_WORKSPACE_BYTES);
    PARAMETERS
    ((uint32_t *)(state + BPC_small_OFFSET_seed))[0] = 5;

    float x[BPC_small_ELEMENTS_x], logits[BPC_small_ELEMENTS_scores], loss;
    int32_t label[BPC_small_ELEMENTS_label];
    for (int i = 0; i < BPC_small_ELEMENTS_x; i++) x[i] = number(3 * i);
    for (int i = 0; i < BPC_small_ELEMENTS_label; i++) label[i] = i % 3;
    void *arguments[BPC_small_ARGUMENTS];
    arguments[BPC_small_ARGUMENT_x] = x;
    arguments[BPC_small_ARGUMENT_label] = label;
    arguments[BPC_small_ARGUMENT_scores] = logits;
    arguments[BPC_small_ARGUMENT_loss] = &loss;
    for (int step = 0; step < 3; step++) bpc_step_small(context, state, workspace, arguments);
    bpc_context_free(context);
    bpc_context_free(NULL);

    FILE *file = fopen(words[1], "wb");
    if (!file) return 4;
    fwrite(logits, sizeof logits, 1, file);
    fwrite(&loss, sizeof loss, 1, file);
    fwrite(workspace + BPC_small_WARNING_0, 1, 1, file);
    WRITES
    return fclose(file);
}
"#;

/// As in C.
fn number(place: usize) -> f32 {
    ((place * 37 + 11) % 64) as f32 / 64.0 - 0.5
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The static library of the runtime. Cargo builds it together with the library that this test is linked with, and puts it
/// where the test is; what was compiled last is what was compiled of the text as it stands.
fn static_library() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let files = test.parent().expect("its folder").read_dir().expect("its folder is read");
    let libraries = files.map(|file| file.expect("a file").path()).filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("libbpc_runtime") && name.ends_with(".a")
    });
    let written = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).expect("when it was written");
    libraries.max_by_key(written).expect("libbpc_runtime.a beside the test")
}

/// Runs three steps in C, in this folder; gives what the C program writes.
fn in_c(folder: &Path) -> Vec<u8> {
    let file = |name: &str| folder.join(name);
    std::fs::write(file("small.bp"), PROGRAM).expect("a file of the test");
    for (stage, output) in [("obj", "small.o"), ("header", "small.h")] {
        let mut bpc = Command::new(env!("CARGO_BIN_EXE_bpc"));
        succeeds(bpc.arg("compile").arg(file("small.bp")).args(["--emit", stage, "--output"]).arg(file(output)));
    }
    let fills = STATE[..PARAMETERS]
        .iter()
        .map(|(_, name)| format!("fill(state, BPC_small_OFFSET_{name}, BPC_small_ELEMENTS_{name});\n    "));
    let writes = STATE
        .iter()
        .map(|(_, name)| format!("fwrite(state + BPC_small_OFFSET_{name}, 4, BPC_small_ELEMENTS_{name}, file);\n    "));
    let main = MAIN.replace("PARAMETERS", &fills.collect::<String>()).replace("WRITES", &writes.collect::<String>());
    std::fs::write(file("main.c"), main).expect("a file of the test");
    // Nothing but the linker looks at these types.
    let symbols = bpc_runtime::abi::symbols();
    let declared: String = symbols.iter().map(|(name, _)| format!("extern void {name}(void);\n")).collect();
    let listed: String = symbols.iter().map(|(name, _)| format!("    {name},\n")).collect();
    let all = format!("{declared}void (*const every_routine[])(void) = {{\n{listed}}};\n");
    std::fs::write(file("routines.c"), all).expect("a file of the test");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Werror"]).args(["main.c", "routines.c", "small.o"].map(file));
    succeeds(cc.arg(static_library()).args(["-lpthread", "-ldl", "-lm", "-o"]).arg(file("small")));
    succeeds(Command::new(file("small")).arg(file("results")));
    std::fs::read(file("results")).expect("what the C program writes")
}

/// The same by `bpc::Step`.
fn in_rust() -> Vec<u8> {
    let mut step = compile_text("small.bp", PROGRAM, &mut |_| None).unwrap().jit().unwrap();
    let x: Vec<f32> = (0..30).map(|place| number(3 * place)).collect();
    let label: Vec<i32> = (0..6).map(|place| place % 3).collect();
    let batch = Tensors::new().with_slice("x", &[6, 5], &x).unwrap().with_slice("label", &[6], &label).unwrap();
    let mut parameters = Tensors::new();
    let shapes: [&[u64]; PARAMETERS] = [&[7], &[7, 5], &[7], &[3, 7], &[3]];
    for ((name, _), shape) in STATE.iter().zip(shapes) {
        let numbers: Vec<f32> = (0..shape.iter().product::<u64>() as usize).map(number).collect();
        parameters = parameters.with_slice(*name, shape, &numbers).unwrap();
    }
    let mut state = State::new(5);
    state.load(&parameters).unwrap();
    step.step(&mut state, &batch).unwrap();
    step.step(&mut state, &batch).unwrap();
    let outputs = step.step(&mut state, &batch).unwrap();
    let mut bytes = [outputs.get("scores").unwrap().bytes(), outputs.get("loss").unwrap().bytes()].concat();
    bytes.push(u8::from(!step.warnings().is_empty()));
    let kept = state.all();
    for (name, _) in STATE {
        let (_, tensor) = kept.iter().find(|(kept, _)| *kept == name).unwrap_or_else(|| panic!("no {name}"));
        bytes.extend_from_slice(tensor.bytes());
    }
    bytes
}

#[test]
fn a_c_program_with_the_object_and_its_header_does_what_a_step_does() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("object");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder of the test");
    assert_eq!(in_c(&folder), in_rust());
}
