//! Networks of residual layers with their backward sweep: limits, determinism, growth with depth.
//!
//! Expects: nothing beyond the networks built here.
//! Guarantees: deep networks settle within the limits, and a limit that is hit is safe.
//! Leaves out: the time it takes, which only the ignored test prints.

use super::assert_agree;
use crate::egraph::{Limits, optimize};
use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::text::print;
use crate::ir::types::{Dtype, Literal, TensorType};
use crate::ir::verify::verify_expanded;

#[test]
fn limits_are_reported_and_safe() {
    let graph = layers(4);
    for limits in
        [Limits { rounds: 1, nodes: 1_000_000 }, Limits { rounds: 16, nodes: 100 }, Limits { rounds: 0, nodes: 0 }]
    {
        let (optimized, report) = optimize(&graph, &limits);
        verify_expanded(&optimized).unwrap();
        assert_eq!(report.limits_hit.len(), 1, "{limits:?}");
        assert_agree(&graph, &optimized, "limits");
    }
}

#[test]
fn the_same_graph_gives_the_same_text() {
    let texts: Vec<String> = (0..2).map(|_| print(&optimize(&layers(6), &Limits::default()).0)).collect();
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn deep_networks_settle() {
    let graph = layers(12);
    let (optimized, report) = optimize(&graph, &Limits::default());
    verify_expanded(&optimized).unwrap();
    assert!(report.limits_hit.is_empty(), "{report:?}");
    assert_agree(&graph, &optimized, "layers");
    // Every product over the batch is one product of two matrices: forward, and both backward.
    for node in optimized.main().nodes.values().filter(|node| node.op == Op::Matmul {}) {
        assert_eq!(node.ty.tensor().unwrap().rank(), 2);
    }
    assert!(report.e_nodes < 12 * graph.main().nodes.len(), "{report:?}");
}

/// Residual layers `x + tanh(x @ w + b)` of [batch, tokens, width] with their backward sweep and a gradient step, as
/// lowering and differentiation would write them.
fn layers(n_layers: usize) -> Graph {
    let (batch, tokens, width) = (2, 3, 4);
    let ty = |shape: &[u64]| TensorType::new(Dtype::F64, shape);
    let mut graph = Graph::default();
    let none = Provenance::default();
    let full = [batch, tokens, width];
    let rule =
        |graph: &mut Graph, name: &str, inputs: &[&[u64]], build: &dyn Fn(&mut Region, &[NodeId]) -> Vec<NodeId>| {
            let mut region = Region::new(name);
            let named = inputs.iter().enumerate();
            let inputs: Vec<NodeId> = named
                .map(|(index, shape)| region.input(InputRole::Argument, format!("i{index}"), ty(shape), none))
                .collect();
            for (index, node) in build(&mut region, &inputs).into_iter().enumerate() {
                region.result(OutputRole::Value, format!("r{index}"), node);
            }
            graph.add(region)
        };
    let transpose = Op::Permute { axes: vec![0, 2, 1] };
    let shared = [batch, width, width];
    let matmul = rule(&mut graph, "matmul.exact", &[&full, &shared, &full, &full], &|region, i| {
        let right = region.push(transpose.clone(), &[i[1]], none).unwrap();
        let left = region.push(transpose.clone(), &[i[0]], none).unwrap();
        [[i[3], right], [left, i[3]]].map(|operands| region.push(Op::Matmul {}, &operands, none).unwrap()).into()
    });
    let tanh = rule(&mut graph, "tanh.exact", &[&full, &full, &full], &|region, i| {
        let one =
            region.push(Op::Constant { value: Literal::new(Dtype::F64, 1.0), shape: full.into() }, &[], none).unwrap();
        let square = region.push(Op::Mul {}, &[i[1], i[1]], none).unwrap();
        let slope = region.push(Op::Sub {}, &[one, square], none).unwrap();
        vec![region.push(Op::Mul {}, &[i[2], slope], none).unwrap()]
    });
    let mut main = Region::new("main");
    let mut x = main.input(InputRole::Data, "x", ty(&full), none);
    let mut saved = Vec::new();
    for layer in 0..n_layers {
        let w = main.input(InputRole::Parameter, format!("w{layer}"), ty(&[width, width]), none);
        let b = main.input(InputRole::Parameter, format!("b{layer}"), ty(&[width]), none);
        let mut push = |op: Op, operands: &[NodeId]| main.push(op, operands, none).unwrap();
        let turned = push(Op::Permute { axes: vec![1, 0] }, &[w]);
        let lead = push(Op::Reshape { shape: vec![1, width, width] }, &[turned]);
        let spread = push(Op::Broadcast { shape: shared.into() }, &[lead]);
        let product = push(Op::Matmul {}, &[x, spread]);
        let lead = push(Op::Reshape { shape: vec![1, 1, width] }, &[b]);
        let bias = push(Op::Broadcast { shape: full.into() }, &[lead]);
        let sum = push(Op::Add {}, &[product, bias]);
        let y = push(Op::Tanh {}, &[sum]);
        let next = push(Op::Add {}, &[x, y]);
        saved.push((w, b, x, spread, product, sum, y));
        x = next;
    }
    let total = main.push(Op::ReduceSum { axes: vec![0, 1, 2] }, &[x], none).unwrap();
    main.result(OutputRole::Value, "loss", total);
    let one =
        main.push(Op::Constant { value: Literal::new(Dtype::F64, 1.0), shape: vec![1, 1, 1] }, &[], none).unwrap();
    let mut cotangent = main.push(Op::Broadcast { shape: full.into() }, &[one], none).unwrap();
    for (layer, (w, b, x, spread, product, sum, y)) in saved.into_iter().enumerate().rev() {
        let mut push = |op: Op, operands: &[NodeId]| main.push(op, operands, none).unwrap();
        let vjp = |of: &str, index: u32, shape: &[u64], body: RegionId| Op::Vjp {
            of: of.to_string(),
            rule: "exact".to_string(),
            index,
            estimator: false,
            ty: ty(shape),
            body,
        };
        let slope = push(vjp("tanh", 0, &full, tanh), &[sum, y, cotangent]);
        let grad_x = push(vjp("matmul", 0, &full, matmul), &[x, spread, product, slope]);
        let grad_spread = push(vjp("matmul", 1, &shared, matmul), &[x, spread, product, slope]);
        let grad_lead = push(Op::ReduceSum { axes: vec![0] }, &[grad_spread]);
        let grad_turned = push(Op::Reshape { shape: vec![width, width] }, &[grad_lead]);
        let grad_w = push(Op::Permute { axes: vec![1, 0] }, &[grad_turned]);
        let grad_lead = push(Op::ReduceSum { axes: vec![0, 1] }, &[slope]);
        let grad_b = push(Op::Reshape { shape: vec![width] }, &[grad_lead]);
        cotangent = push(Op::Add {}, &[cotangent, grad_x]);
        for (name, old, grad, shape) in [("w", w, grad_w, vec![width, width]), ("b", b, grad_b, vec![width])] {
            let mut push = |op: Op, operands: &[NodeId]| main.push(op, operands, none).unwrap();
            let rate = push(Op::Constant { value: Literal::new(Dtype::F64, 0.125), shape }, &[]);
            let step = push(Op::Mul {}, &[rate, grad]);
            let new = push(Op::Sub {}, &[old, step]);
            main.result(OutputRole::Next, format!("{name}{layer}"), new);
        }
    }
    graph.add(main);
    graph
}
