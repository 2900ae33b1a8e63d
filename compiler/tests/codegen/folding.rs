//! Numbers that are found while a program is compiled, against the kernels that would find them.
//!
//! Expects: nothing beyond the graphs built here.
//! Guarantees: folding gives the bits of machine code, so that it cannot be seen whether a constant was found.
//! Leaves out: how accurate either is (the runtime's tests).

use crate::engines::run_code;
use bpc::egraph::{Limits, optimize};
use bpc::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region};
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, Literal, TensorType};
use bpc::kernel::build;
use bpc::kernel::evaluate::Blocks;
use bpc::kernel::ir::BufferRole;

/// Telling numbers of every size, then a dense row of unremarkable ones.
fn samples() -> Vec<f64> {
    let sizes =
        [1e-310, 1e-40, 1e-30, 1e-3, 0.1, 0.5, 1.0, 1.7, 2.5, 42.42, 88.5, 104.0, 709.5, 1e4, 1.3e9, 3e12, 1e30];
    let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let dense = (0..400).map(|place| (f64::from(place) - 200.0) * 0.037);
    sizes.into_iter().flat_map(|size| [size, -size]).chain(special).chain(dense).collect()
}

/// What machine code gives for an operation on whole columns of numbers.
fn computed(op: &Op, dtype: Dtype, columns: &[Vec<f64>]) -> Vec<f64> {
    let mut region = Region::new("main");
    let none = Provenance::default();
    let ty = TensorType::new(dtype, [columns[0].len() as u64]);
    let inputs: Vec<NodeId> =
        (0..columns.len()).map(|index| region.input(InputRole::Data, format!("x{index}"), ty.clone(), none)).collect();
    let result = region.push(op.clone(), &inputs, none).unwrap();
    region.result(OutputRole::Value, "y", result);
    let mut graph = Graph::default();
    graph.add(region);
    let program = build(&graph).unwrap();
    let mut blocks = Blocks::new(&program);
    for (id, buffer) in program.buffers.iter().filter(|(_, buffer)| buffer.role == BufferRole::Data) {
        let index: usize = buffer.name[1..].parse().unwrap();
        blocks.set(&program, id, &columns[index]);
    }
    let mut after = run_code(&program, &blocks);
    let output = program.buffers.iter().find(|(_, buffer)| buffer.role == BufferRole::Output).unwrap().0;
    after.get(&program, output)
}

/// What folding gives for the same, number by number.
fn folded(op: &Op, dtype: Dtype, columns: &[Vec<f64>]) -> Vec<f64> {
    let mut region = Region::new("main");
    let none = Provenance::default();
    for place in 0..columns[0].len() {
        let constant = |column: &Vec<f64>| Op::Constant { value: Literal::new(dtype, column[place]), shape: vec![1] };
        let operands: Vec<NodeId> =
            columns.iter().map(|column| region.push(constant(column), &[], none).unwrap()).collect();
        let result = region.push(op.clone(), &operands, none).unwrap();
        region.result(OutputRole::Value, place.to_string(), result);
    }
    let mut graph = Graph::default();
    graph.add(region);
    let (optimized, _) = optimize(&graph, &Limits::default());
    let main = optimized.main();
    let number = |node: NodeId| match &main.nodes[node].op {
        Op::Constant { value, .. } => value.as_f64(),
        other => panic!("{} was not folded", other.name()),
    };
    main.results.iter().map(|output| number(output.node)).collect()
}

fn compare(op: &Op, dtype: Dtype, columns: &[Vec<f64>]) {
    let (found, expected) = (folded(op, dtype, columns), computed(op, dtype, columns));
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let operands: Vec<f64> = columns.iter().map(|column| column[place]).collect();
        let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(same, "{} of {operands:?} in {dtype} is folded to {found:e} and computed as {expected:e}", op.name());
    }
}

#[test]
fn functions_are_folded_to_the_bits_of_their_kernels() {
    let functions = [
        Op::Exp {},
        Op::Expm1 {},
        Op::Log {},
        Op::Log1p {},
        Op::Sin {},
        Op::Cos {},
        Op::Tanh {},
        Op::Erf {},
        Op::Sqrt {},
        Op::Neg {},
        Op::Abs {},
        Op::Sign {},
        Op::Floor {},
        Op::Round {},
    ];
    for dtype in [Dtype::F32, Dtype::F64] {
        for op in &functions {
            compare(op, dtype, &[samples()]);
        }
    }
}

#[test]
fn pairs_of_floats_are_folded_to_the_bits_of_their_kernels() {
    let all = samples();
    let pairs = |step: usize| -> Vec<f64> { (0..all.len()).map(|place| all[place * step % all.len()]).collect() };
    let operations = [
        Op::Add {},
        Op::Sub {},
        Op::Mul {},
        Op::Div {},
        Op::Pow {},
        Op::Maximum {},
        Op::Minimum {},
        Op::Equal {},
        Op::Less {},
        Op::LessEqual {},
    ];
    for dtype in [Dtype::F32, Dtype::F64] {
        for op in &operations {
            for step in [7, 31] {
                compare(op, dtype, &[all.clone(), pairs(step)]);
            }
        }
    }
}

#[test]
fn whole_numbers_are_folded_as_their_kernels_wrap_them() {
    let values = [0, 1, -1, 2, -2, 7, -7, i64::from(i32::MAX), i64::from(i32::MIN), i64::from(u32::MAX)];
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for one in values {
        for two in values {
            x.push(one as f64);
            y.push(two as f64);
        }
    }
    for dtype in [Dtype::I32, Dtype::I64, Dtype::U32] {
        let hold = |column: &[f64]| column.iter().map(|value| Literal::new(dtype, *value).as_f64()).collect();
        let columns: [Vec<f64>; 2] = [hold(&x), hold(&y)];
        for op in [Op::Neg {}, Op::Abs {}, Op::Sign {}] {
            compare(&op, dtype, &columns[..1]);
        }
        for op in [Op::Add {}, Op::Sub {}, Op::Div {}, Op::Maximum {}, Op::Minimum {}, Op::Equal {}, Op::Less {}] {
            compare(&op, dtype, &columns);
        }
        // Products of i64 are beyond what a double holds, by which both are read here.
        if dtype != Dtype::I64 {
            compare(&Op::Mul {}, dtype, &columns);
        }
        for to in Dtype::ALL {
            compare(&Op::Cast { dtype: to }, dtype, &columns[..1]);
        }
    }
}
