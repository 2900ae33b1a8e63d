//! The result `dx` of a program whose data is `x`, by the interpreter and by the evaluator of kernels.

use bpc::ir::graph::{Graph, OutputRole};
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::{BufferRole, Program};
use std::collections::BTreeMap;

/// By the interpreter; every input but `x` is 0.
pub fn interpreted(graph: &Graph, x: &[f64]) -> Vec<f64> {
    let values: BTreeMap<String, Tensor> = graph
        .main()
        .inputs
        .iter()
        .map(|input| match &graph.main().nodes[*input].op {
            Op::Input { name, ty, .. } if name == "x" => (name.clone(), Tensor::new(ty.clone(), x.to_vec()).unwrap()),
            Op::Input { name, ty, .. } => (name.clone(), Tensor::splat(ty.clone(), 0.0)),
            other => panic!("{other:?}"),
        })
        .collect();
    let results = interpret::run(graph, &values).unwrap();
    let found = results.into_iter().find(|(output, _)| output.role == OutputRole::Value && output.name == "dx");
    found.unwrap().1.data
}

/// By the evaluator of kernels.
pub fn evaluated(program: &Program, x: &[f64]) -> Vec<f64> {
    let named = |role: BufferRole, name: &str| {
        program.buffers.iter().find(|(_, buffer)| buffer.role == role && buffer.name == name).unwrap().0
    };
    let mut blocks = Blocks::new(program);
    blocks.set(program, named(BufferRole::Data, "x"), x);
    evaluate(program, &mut blocks);
    blocks.get(program, named(BufferRole::Output, "dx"))
}
