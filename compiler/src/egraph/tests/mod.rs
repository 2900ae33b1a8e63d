//! How the tests of optimisation compare graphs: by the interpreter, at random points.
//!
//! Expects: graphs whose inputs are tensors.
//! Guarantees: the same points every time; a comparison says how many numbers it could use.
//! Leaves out: what is compared (the modules).

mod gradient_rules;
mod layers;
mod random;
mod rules;
mod scans;

use crate::ir::graph::{Graph, NodeId, Output};
use crate::ir::interpret::{Tensor, run};
use crate::ir::op::Op;
use crate::ir::text::parse;
use crate::ir::types::{Dtype, TensorType};
use crate::ir::verify::verify;
use std::collections::BTreeMap;

/// Numbers between -2 and 2 in steps that a double holds exactly; small whole numbers; both bools.
struct Points(u64);

impl Points {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn tensor(&mut self, ty: &TensorType) -> Tensor {
        let mut element = || match ty.dtype {
            Dtype::F32 | Dtype::F64 => (self.next() % 4096) as f64 / 1024.0 - 2.0,
            Dtype::Bool => (self.next() % 2) as f64,
            _ => (self.next() % 5) as f64,
        };
        let data = (0..ty.elements()).map(|_| element()).collect();
        Tensor::new(ty.clone(), data).unwrap()
    }

    fn inputs(&mut self, graph: &Graph) -> BTreeMap<String, Tensor> {
        let main = graph.main();
        let named = |id: &NodeId| match &main.nodes[*id].op {
            Op::Input { name, ty, .. } => (name.clone(), ty.clone()),
            op => panic!("{} is no input", op.name()),
        };
        main.inputs.iter().map(named).map(|(name, ty)| (name, self.tensor(&ty))).collect()
    }
}

fn graph_of(body: &str) -> Graph {
    let graph = parse(&format!("region r0 \"main\" {{\n{body}\n}}")).unwrap_or_else(|error| panic!("{error}\n{body}"));
    verify(&graph).unwrap();
    graph
}

/// Compares two lists of results; says how many numbers were compared, leaving out those that are not finite on the left.
fn compare(left: &[(Output, Tensor)], right: &[(Output, Tensor)], what: &str) -> (usize, usize) {
    assert_eq!(left.len(), right.len());
    let (mut usable, mut all) = (0, 0);
    for ((output, one), (_, two)) in left.iter().zip(right) {
        assert_eq!(one.ty, two.ty);
        for (x, y) in one.data.iter().zip(&two.data) {
            all += 1;
            if x.is_finite() {
                usable += 1;
                assert!((x - y).abs() <= 1e-12 * (1.0 + x.abs()), "{what}: {} is {x} and {y}", output.name);
            }
        }
    }
    (usable, all)
}

/// Runs both graphs at random points.
fn assert_agree(left: &Graph, right: &Graph, what: &str) {
    let mut points = Points(7);
    let (mut usable, mut all) = (0, 0);
    for _ in 0..20 {
        let inputs = points.inputs(left);
        let counts = compare(&run(left, &inputs).unwrap(), &run(right, &inputs).unwrap(), what);
        (usable, all) = (usable + counts.0, all + counts.1);
    }
    assert!(2 * usable >= all && usable >= 20, "{what}: only {usable} of {all} numbers are usable");
}
