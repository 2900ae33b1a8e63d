//! Random graphs under all rules together.
//!
//! Expects: nothing beyond the graphs built here.
//! Guarantees: what optimisation gives agrees with the graph wherever that is finite; most of the rules fire.
//! Leaves out: scans and gradients.

use super::{Points, compare};
use crate::egraph::{Limits, optimize};
use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region};
use crate::ir::interpret::run;
use crate::ir::op::Op;
use crate::ir::text::print;
use crate::ir::types::{Dtype, Literal, TensorType};
use crate::ir::verify::verify_expanded;
use std::collections::BTreeSet;

#[test]
fn random_graphs_keep_their_meaning() {
    let mut points = Points(11);
    let (mut usable, mut all, mut fired) = (0, 0, BTreeSet::new());
    for case in 0..300 {
        let graph = random_graph(&mut points);
        let (optimized, report) = optimize(&graph, &Limits::default());
        verify_expanded(&optimized).unwrap();
        assert!(report.limits_hit.is_empty(), "case {case}: {report:?}\n{}", print(&graph));
        for _ in 0..3 {
            let inputs = points.inputs(&graph);
            let (left, right) = (run(&graph, &inputs).unwrap(), run(&optimized, &inputs).unwrap());
            let what = format!("case {case}\n{}\n{}", print(&graph), print(&optimized));
            let counts = compare(&left, &right, &what);
            (usable, all) = (usable + counts.0, all + counts.1);
        }
        fired.extend(report.fired.into_keys());
    }
    assert!(10 * usable >= 7 * all, "only {usable} of {all} numbers are usable");
    assert!(fired.len() >= 35, "only these rules fired: {fired:?}");
}

/// Thirty nodes of elementwise operations, views, reductions and products; half of the constants are 0, 1 or -1.
fn random_graph(points: &mut Points) -> Graph {
    let none = Provenance::default();
    let mut region = Region::new("main");
    for (index, shape) in [vec![2, 3], vec![3, 2], vec![1, 3], vec![2, 1], vec![2, 2, 3]].into_iter().enumerate() {
        region.input(InputRole::Data, format!("x{index}"), TensorType::new(Dtype::F64, shape), none);
    }
    while region.nodes.len() < 30 {
        let mut pick = |n: usize| points.next() as usize % n;
        let ids: Vec<NodeId> = region.nodes.keys().collect();
        let x = ids[pick(ids.len())];
        let shape = region.tensor(x).shape.clone();
        let alike: Vec<NodeId> = ids.into_iter().filter(|id| region.tensor(*id).shape == shape).collect();
        let y = alike[pick(alike.len())];
        let (rank, axis) = (shape.len(), pick(shape.len()) as u32);
        let axes = (0..rank as u32).filter(|axis| *axis == 0 || pick(2) == 0).collect();
        let value = [0.0, 1.0, -1.0, 2.0, 0.5, 3.0][pick(6)];
        let mut one = |op: Op| region.push(op, &[x], none).ok();
        let _ = match pick(22) {
            0..3 => region.push(Op::Constant { value: Literal::new(Dtype::F64, value), shape }, &[], none).ok(),
            3 => one(Op::Neg {}),
            4 => one(Op::Tanh {}),
            5 => one(Op::Exp {}),
            6 => region.push(Op::Add {}, &[x, y], none).ok(),
            7 => region.push(Op::Sub {}, &[x, y], none).ok(),
            8 | 9 => region.push(Op::Mul {}, &[x, y], none).ok(),
            10 => region.push(Op::Div {}, &[x, y], none).ok(),
            11 => region.push(Op::Maximum {}, &[x, y], none).ok(),
            12 => one(Op::Permute { axes: (0..rank as u32).rev().collect() }),
            13 => one(Op::Reshape { shape: vec![shape.iter().product()] }),
            14 => one(Op::Reshape { shape: [&[1], shape.as_slice()].concat() }),
            15 => one(Op::Broadcast { shape: shape.iter().map(|size| if *size == 1 { 2 } else { *size }).collect() }),
            16 => one(Op::ReduceSum { axes }),
            17 => one(Op::ReduceMax { axes }),
            18 => one(Op::Slice { starts: vec![0; rank], stops: shape.iter().map(|size| (*size).min(2)).collect() }),
            19 => one(Op::Pad { low: vec![1; rank], high: vec![0; rank], value: Literal::new(Dtype::F64, 0.0) }),
            20 => region.push(Op::Concat { axis }, &[x, y], none).ok(),
            _ => {
                let [.., _, inner] = shape[..] else { continue };
                let fits = |id: &NodeId| {
                    let other = &region.tensor(*id).shape;
                    other.len() == rank && other[rank - 2] == inner && other[..rank - 2] == shape[..rank - 2]
                };
                let Some(right) = region.nodes.keys().find(fits) else { continue };
                region.push(Op::Matmul {}, &[x, right], none).ok()
            }
        };
    }
    let last: Vec<NodeId> = region.nodes.keys().rev().take(8).collect();
    for node in last {
        region.result(OutputRole::Value, node.to_string(), node);
    }
    let mut graph = Graph::default();
    graph.add(region);
    graph
}
