//! Routing and the mixture layer: golden numbers, the expectation by enumeration, edge cases, the work, wrong rules.
//!
//! Expects: the numbers in `tests/golden/sparsemixer`, double precision, made by NumPy from the formulas.

mod edges;
mod enumeration;
mod golden;
mod layer;
mod wrong;

use bpc::ir::graph::{Graph, OutputRole};
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, TensorType};
use bpc::{Mode, Model, State, Tensors, compile_text};
use bpc_runtime::tensor::HostTensor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file of golden numbers.
fn read(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/sparsemixer/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Shape and numbers of a golden tensor.
fn tensor(value: &Value) -> (Vec<u64>, Vec<f64>) {
    fn flat(value: &Value, into: &mut Vec<f64>) {
        match value {
            Value::Array(parts) => parts.iter().for_each(|part| flat(part, into)),
            Value::Bool(flag) => into.push(f64::from(u8::from(*flag))),
            number => into.push(number.as_f64().unwrap()),
        }
    }
    let mut numbers = Vec::new();
    flat(&value["data"], &mut numbers);
    (value["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect(), numbers)
}

fn numbers(value: &Value) -> Vec<f64> {
    tensor(value).1
}

/// A float tensor of either precision, by name.
fn float(inputs: Tensors, single: bool, name: &str, (shape, data): &(Vec<u64>, Vec<f64>)) -> Tensors {
    let tensor = if single {
        HostTensor::from_slice(shape.clone(), &data.iter().map(|x| *x as f32).collect::<Vec<f32>>())
    } else {
        HostTensor::from_slice(shape.clone(), data)
    };
    inputs.with_tensor(name, tensor.unwrap())
}

fn whole(inputs: Tensors, name: &str, (shape, data): &(Vec<u64>, Vec<f64>)) -> Tensors {
    let data: Vec<i32> = data.iter().map(|x| *x as i32).collect();
    inputs.with_tensor(name, HostTensor::from_slice(shape.clone(), &data).unwrap())
}

/// A checked program; in single precision with `f32` for `f64`.
fn model(text: &str, single: bool) -> Model {
    let text = if single { text.replace("f64", "f32") } else { text.to_string() };
    compile_text("moe.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// What a training step gives by machine code and, in double precision, by the interpreter.
fn trained(model: Model, parameters: &Tensors, inputs: &Tensors, threads: usize) -> Vec<(&'static str, Tensors)> {
    let mut step = model.jit_with_threads(threads).unwrap();
    let mut state = State::new(3);
    state.load(parameters).unwrap();
    let compiled = step.step(&mut state, inputs).unwrap_or_else(|error| panic!("{error}"));
    let graph = step.prepare(Mode::Train, inputs).unwrap().gradient.clone();
    vec![("machine code", compiled), ("interpreter", interpreted(&graph, parameters, inputs))]
}

/// The values of a graph by the interpreter; what is not given (seed, step) is 0, apart from the seed's first number.
fn interpreted(graph: &Graph, parameters: &Tensors, inputs: &Tensors) -> Tensors {
    let given: BTreeMap<&str, &HostTensor> = inputs.iter().chain(parameters.iter()).collect();
    let main = graph.main();
    let values: BTreeMap<String, Tensor> = main
        .inputs
        .iter()
        .map(|input| match &main.nodes[*input].op {
            Op::Input { name, ty, .. } => match given.get(name.as_str()) {
                Some(tensor) => (name.clone(), Tensor::new(ty.clone(), tensor.to_f64()).unwrap()),
                None if name == "seed" => {
                    (name.clone(), Tensor::new(TensorType::new(Dtype::U32, [2]), vec![3.0, 0.0]).unwrap())
                }
                None => (name.clone(), Tensor::splat(ty.clone(), 0.0)),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    let results = interpret::run(graph, &values).unwrap();
    let values = results.into_iter().filter(|(output, _)| output.role == OutputRole::Value);
    values
        .map(|(output, value)| (output.name, HostTensor::from_slice(value.ty.shape.clone(), &value.data).unwrap()))
        .collect()
}

/// The largest difference between an output and what it should be, in units of the largest number.
fn assert_close(what: &str, found: &Tensors, name: &str, wanted: &[f64], tolerance: f64) {
    let found = found.get(name).unwrap_or_else(|| panic!("{what}: there is no {name}")).to_f64();
    assert_eq!(found.len(), wanted.len(), "{what}: {name}");
    let scale = wanted.iter().fold(1e-3f64, |largest, value| largest.max(value.abs()));
    for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (found - wanted).abs() / scale;
        assert!(error <= tolerance, "{what}: {name}[{place}] is {found}, not {wanted}: off by {error:e}");
    }
}
