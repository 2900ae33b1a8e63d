//! Gradients against PyTorch: the programs in `tests/golden` with the numbers that its `make.py` wrote in double precision.
//!
//! Each runs by the reference interpreter and as machine code, in f64 and (the same text with `f32` for `f64`) in f32.

use bpc::{Model, State, Tensors, compile_text};
use bpc_runtime::json_tensor;
use bpc_runtime::tensor::Dtype;
use std::fs;
use std::path::PathBuf;

struct Golden {
    text: String,
    inputs: Tensors,
    params: Tensors,
    outputs: Tensors,
}

fn golden(name: &str) -> Golden {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let text = fs::read_to_string(folder.join(format!("{name}.bp"))).unwrap();
    let record = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let part = |part: &str| json_tensor::parse(&record[part].to_string()).unwrap().into_iter().collect();
    Golden { text, inputs: part("inputs"), params: part("params"), outputs: part("outputs") }
}

/// The same program and numbers in single precision.
fn single(golden: &Golden) -> Golden {
    let narrow = |tensors: &Tensors| {
        let narrow = tensors.iter().map(|(name, tensor)| match tensor.dtype() {
            Dtype::F64 => (name.to_string(), tensor.convert(Dtype::F32).unwrap()),
            _ => (name.to_string(), tensor.clone()),
        });
        narrow.collect()
    };
    Golden {
        text: golden.text.replace("f64", "f32"),
        inputs: narrow(&golden.inputs),
        params: narrow(&golden.params),
        outputs: golden.outputs.clone(),
    }
}

fn model(name: &str, golden: &Golden) -> Model {
    compile_text(&format!("{name}.bp"), &golden.text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"))
}

fn assert_close(what: &str, found: &Tensors, wanted: &Tensors, tolerance: f64) {
    for (name, wanted) in wanted.iter() {
        let found = found.get(name).unwrap_or_else(|| panic!("{what}: there is no {name}"));
        assert_eq!(found.shape(), wanted.shape(), "{what}: {name}");
        let (found, wanted) = (found.to_f64(), wanted.to_f64());
        let scale = wanted.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        assert!(scale > 0.0, "{what}: {name} says nothing");
        for (place, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            let error = (found - wanted).abs() / scale;
            assert!(error <= tolerance, "{what}: {name}[{place}] is {found}, PyTorch says {wanted}: off by {error:e}");
        }
    }
    assert_eq!(found.len(), wanted.len(), "{what}: an output without golden numbers");
}

fn check(name: &str) {
    let double = golden(name);
    for (golden, dtype, tolerance) in [(&double, "f64", 1e-10), (&single(&double), "f32", 1e-5)] {
        let mut state = State::new(0);
        state.load(&golden.params).unwrap();
        let found = model(name, golden).interpret(&mut state, &golden.inputs).unwrap();
        assert_close(&format!("{name}, interpreter, {dtype}"), &found, &golden.outputs, tolerance);
        let mut state = State::new(0);
        state.load(&golden.params).unwrap();
        let mut step = model(name, golden).jit_with_threads(2).unwrap();
        let found = step.evaluate(&mut state, &golden.inputs).unwrap();
        assert_close(&format!("{name}, machine code, {dtype}"), &found, &golden.outputs, tolerance);
    }
}

#[test]
fn mlp() {
    check("mlp");
}

#[test]
fn convnet() {
    check("convnet");
}

#[test]
fn attention() {
    check("attention");
}

#[test]
fn pendulum() {
    check("pendulum");
}
