//! LBP-WHT: the rule page `std.rules.wht` against numbers of its authors' code, against the facts that hold for any such rule, and
//! through every stage of the compiler.

mod errors;
mod facts;
mod published;
mod stages;
mod wrong;

use bpc::ir::graph::{Graph, OutputRole};
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::ir::types::TensorType;
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::{BufferRole, Program, Step};
use bpc::kernel::plan::lives;
use bpc::measure;
use bpc::pipeline::Compilation;
use bpc::{Mode, Model, State, Tensors, compile_text};
use bpc_runtime::json_tensor;
use bpc_runtime::philox::{fill_normal_f64, fill_uniform_f64};
use bpc_runtime::tensor::{Dtype, HostTensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

const USES: &str = "use std.nn\nuse std.optim { sgd }\nuse std.rules.wht { layout, project, back }\n";

fn model(text: &str) -> Model {
    let text = format!("{USES}{text}");
    compile_text("wht.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The outputs by the interpreter and as machine code.
fn both(text: &str, inputs: &Tensors) -> [Tensors; 2] {
    let interpreted =
        model(text).interpret(&mut State::new(0), inputs).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let mut step = model(text).jit_with_threads(2).unwrap();
    [interpreted, step.evaluate(&mut State::new(0), inputs).unwrap()]
}

/// A linear layer under a rule in the middle of a graph: cotangent `gy` arrives with a factor of 2.5 that is taken out again.
fn layer(rule: &str, [length, inputs, outputs]: [u64; 3], dtype: &str) -> String {
    format!(
        "model under_a_rule {{
    in x: {dtype}[B, {length}, {inputs}]
    in weight: {dtype}[{outputs}, {inputs}]
    in bias: {dtype}[{outputs}]
    in gy: {dtype}[B, {length}, {outputs}]
    let before = 2 * x
    let product = linear(before / 2, weight){rule}
    let after = product + bias
    let loss = sum(2.5 * after * gy) / 2.5
    out y = after
    out grad_x = grad(loss, x)
    out grad_weight = grad(loss, weight)
    out grad_bias = grad(loss, bias)
}}"
    )
}

fn normal(seed: u32, shape: &[u64]) -> HostTensor {
    let mut numbers = vec![0.0; shape.iter().product::<u64>() as usize];
    fill_normal_f64([seed, 7], 3, 11, 0, &mut numbers);
    HostTensor::from_slice(shape, &numbers).unwrap()
}

fn layer_inputs(batch: u64, [length, inputs, outputs]: [u64; 3]) -> Tensors {
    Tensors::new()
        .with_tensor("x", normal(1, &[batch, length, inputs]))
        .with_tensor("weight", normal(2, &[outputs, inputs]))
        .with_tensor("bias", normal(3, &[outputs]))
        .with_tensor("gy", normal(4, &[batch, length, outputs]))
}

fn single(tensors: &Tensors) -> Tensors {
    tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.convert(Dtype::F32).unwrap())).collect()
}

fn values(tensors: &Tensors, name: &str) -> Vec<f64> {
    tensors.get(name).unwrap_or_else(|| panic!("there is no {name}")).to_f64()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn distance(one: &[f64], two: &[f64]) -> f64 {
    assert_eq!(one.len(), two.len());
    one.iter().zip(two).map(|(one, two)| (one - two).abs()).fold(0.0, f64::max)
}

fn tensor(value: &serde_json::Value) -> HostTensor {
    json_tensor::parse(&format!("{{\"x\": {value}}}")).unwrap().remove(0).1
}

fn run(rule: &str, inputs: &Tensors, sizes: [u64; 3]) -> Tensors {
    model(&layer(rule, sizes, "f64")).interpret(&mut State::new(0), inputs).unwrap()
}

fn names(graph: &Graph, name: &str) -> usize {
    graph.regions.values().flat_map(|region| region.nodes.values()).filter(|node| node.op.name() == name).count()
}

fn compiled(text: &str, sizes: &[(&str, &[u64])], training: bool) -> Compilation {
    let types: BTreeMap<String, TensorType> = sizes
        .iter()
        .map(|(name, shape)| (name.to_string(), TensorType::new(bpc::ir::types::Dtype::F32, shape.to_vec())))
        .collect();
    model(text).compile(&types, training).unwrap_or_else(|error| panic!("{text}\n{error}"))
}
