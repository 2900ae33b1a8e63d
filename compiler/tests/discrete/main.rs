//! Rules for discrete choices, `std.rules.discrete`: golden gradients, expectations over all outcomes, draws, and that a wrong rule
//! is seen behind every pass.
//!
//! The numbers in `tests/golden/reinmax` come from NumPy in double precision: formulas of the papers for given samples,
//! enumeration of outcomes, and quadrature.

mod draws;
mod expectations;
mod given_samples;
mod wrong;

use bpc::gradcheck::{Enumeration, Expectation, Moments};
use bpc::ir::graph::Graph;
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, TensorType};
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::{BufferRole, Program};
use bpc::{Mode, Model, State, Step, Tensors, compile_text};
use bpc_runtime::json_tensor;
use bpc_runtime::tensor::HostTensor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const USES: &str = "use std.rules.discrete\nuse std.random { sample_onehot, mode_onehot }\nuse std.nn { softmax, softmax_pullback, softplus, threshold, spike }\n";

fn golden(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/reinmax").join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn tensor(value: &Value) -> HostTensor {
    json_tensor::parse(&format!("{{\"x\": {value}}}")).unwrap().remove(0).1
}

fn model(text: &str) -> Model {
    compile_text("discrete.bp", text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// A nested list of numbers as a tensor of doubles.
fn nested(value: &Value) -> Tensor {
    let mut shape = Vec::new();
    let mut inner = value;
    while let Value::Array(values) = inner {
        shape.push(values.len() as u64);
        inner = &values[0];
    }
    let mut data = Vec::new();
    collect(value, &mut data);
    Tensor::new(TensorType::new(Dtype::F64, shape), data).unwrap()
}

fn collect(value: &Value, data: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, data)),
        value => data.push(value.as_f64().unwrap()),
    }
}

fn assert_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (found - wanted).abs();
        assert!(error <= tolerance, "{what}[{place}] is {found} and should be {wanted}: off by {error:e}");
    }
}

/// The numbers of the draw `d`: the uniform numbers behind Gumbel noise.
const NOISE: &str = "d.noise.draw";
