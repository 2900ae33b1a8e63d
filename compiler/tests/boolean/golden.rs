//! Golden files: records of named tensors and numbers.

use bpc::{Model, State, Tensors, compile_text};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The record of that name.
pub fn record(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/boolean/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A tensor of a record: its shape and its numbers.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub shape: Vec<u64>,
    pub data: Vec<f64>,
}

fn flatten(value: &Value, data: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, data)),
        number => data.push(number.as_f64().unwrap()),
    }
}

pub fn numbers(value: &Value) -> Numbers {
    let shape = value["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect();
    let mut data = Vec::new();
    flatten(&value["data"], &mut data);
    Numbers { shape, data }
}

impl Numbers {
    /// Positive numbers are true: bits are written as 0 and 1, or as -1 and 1.
    pub fn bits(&self) -> Vec<bool> {
        self.data.iter().map(|value| *value > 0.0).collect()
    }
}

/// Tensors by name under construction.
pub trait Given: Sized {
    fn bits(self, name: &str, numbers: &Numbers) -> Self;
    fn doubles(self, name: &str, numbers: &Numbers) -> Self;
    fn singles(self, name: &str, numbers: &Numbers) -> Self;
}

impl Given for Tensors {
    fn bits(self, name: &str, numbers: &Numbers) -> Tensors {
        self.with_slice(name, &numbers.shape, &numbers.bits()).unwrap()
    }
    fn doubles(self, name: &str, numbers: &Numbers) -> Tensors {
        self.with_slice(name, &numbers.shape, &numbers.data).unwrap()
    }
    fn singles(self, name: &str, numbers: &Numbers) -> Tensors {
        let singles: Vec<f32> = numbers.data.iter().map(|value| *value as f32).collect();
        self.with_slice(name, &numbers.shape, &singles).unwrap()
    }
}

pub fn model(text: &str) -> Model {
    compile_text("boolean.bp", text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The outputs by the interpreter and as machine code with one and two threads.
pub fn outputs(text: &str, params: &Tensors, inputs: &Tensors) -> [Tensors; 3] {
    let state = || {
        let mut state = State::new(0);
        state.load(params).unwrap();
        state
    };
    let machine = |threads| model(text).jit_with_threads(threads).unwrap().evaluate(&mut state(), inputs).unwrap();
    [model(text).interpret(&mut state(), inputs).unwrap(), machine(1), machine(2)]
}

/// Holds every engine to the wanted numbers, relative to the largest; a tolerance of 0 means exactly.
pub fn assert_close(what: &str, found: &[Tensors], name: &str, wanted: &Numbers, tolerance: f64) {
    let scale = wanted.data.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (engine, found) in ["interpreter", "machine code", "two threads"].iter().zip(found) {
        let found = found.get(name).unwrap_or_else(|| panic!("{what}: there is no {name}"));
        assert_eq!(found.shape(), wanted.shape, "{what}: {name}");
        for (place, (found, wanted)) in found.to_f64().iter().zip(&wanted.data).enumerate() {
            let error = (found - wanted).abs();
            assert!(error <= tolerance * scale, "{what}, {engine}: {name}[{place}] is {found}, not {wanted}");
        }
    }
}
