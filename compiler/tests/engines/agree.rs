//! Graphs as programs of kernels, by the evaluator and as machine code, against the reference interpreter.

use crate::engines::run_code;
use bpc::ir::graph::{Graph, InputRole, OutputRole};
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, TensorType};
use bpc::ir::{text, verify};
use bpc::kernel::build;
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::{BufferRole, Program};
use std::collections::BTreeMap;

/// Numbers that look random and depend on nothing.
fn numbers(ty: &TensorType, seed: u64, role: InputRole) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..ty.elements())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = (state >> 33) as u32;
            match (ty.dtype, role) {
                (_, InputRole::Step) => 3.0,
                (Dtype::F32 | Dtype::F64, _) => f64::from((f64::from(word % 4001) / 1000.0 - 2.0) as f32),
                (Dtype::Bool, _) => f64::from(word % 2),
                (Dtype::U32, _) => f64::from(word % 7),
                _ => f64::from(word % 7) - 1.0,
            }
        })
        .collect()
}

/// The program of a graph, after it gave what the interpreter gives, and whether machine code gives the bits of the evaluator.
pub fn check(graph: &Graph) -> (Program, bool) {
    verify::verify_expanded(graph).unwrap_or_else(|errors| panic!("{}", errors[0]));
    let program = build(graph).expect("builds");
    let printed = bpc::kernel::text::print(&program);
    assert_eq!(bpc::kernel::text::parse(&printed).as_ref(), Ok(&program), "{printed}");
    let main = graph.main();
    let mut inputs = BTreeMap::new();
    let mut blocks = Blocks::new(&program);
    for (index, id) in main.inputs.iter().enumerate() {
        let Op::Input { role, name, ty } = &main.nodes[*id].op else { panic!("an input") };
        let data = numbers(ty, index as u64 + 1, *role);
        let (buffer, _) = program
            .buffers
            .iter()
            .find(|(_, buffer)| {
                buffer.name == *name && !matches!(buffer.role, BufferRole::Output | BufferRole::Temporary)
            })
            .expect("an input has a buffer");
        blocks.set(&program, buffer, &data);
        inputs.insert(name.clone(), Tensor::new(ty.clone(), data).expect("numbers fit"));
    }
    let expected = interpret::run(graph, &inputs).expect("the interpreter runs");
    let mut code = run_code(&program, &blocks);
    evaluate(&program, &mut blocks);
    let mut same_bits = true;
    for (output, tensor) in expected {
        let wanted_role = |role: BufferRole| match output.role {
            OutputRole::Value => role == BufferRole::Output,
            OutputRole::Warning => role == BufferRole::Warning,
            OutputRole::Next => matches!(role, BufferRole::Parameter | BufferRole::State),
        };
        let (buffer, _) = program
            .buffers
            .iter()
            .find(|(_, buffer)| buffer.name == output.name && wanted_role(buffer.role))
            .unwrap_or_else(|| panic!("the result {} has a buffer", output.name));
        assert_eq!(program.buffers[buffer].ty, tensor.ty, "{}", output.name);
        let largest = tensor.data.iter().filter(|x| x.is_finite()).fold(1.0f64, |most, x| most.max(x.abs()));
        let bound = if tensor.ty.dtype == Dtype::F32 { 2e-5 * largest } else { 1e-12 * largest };
        let found = [("evaluator", blocks.get(&program, buffer)), ("code", code.get(&program, buffer))];
        let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        same_bits &= bits(&found[0].1) == bits(&found[1].1);
        for (engine, got) in found {
            for (place, (got, wanted)) in got.iter().zip(&tensor.data).enumerate() {
                let same = got == wanted || got.is_nan() && wanted.is_nan() || (got - wanted).abs() <= bound;
                let name = &output.name;
                assert!(same, "{engine}: {name} at {place}: {got} and not {wanted}\n{}", text::print(graph));
            }
        }
    }
    (program, same_bits)
}
