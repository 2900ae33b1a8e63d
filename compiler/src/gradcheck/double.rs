//! A graph in double precision: every `f32` becomes `f64`.
//!
//! Expects: a verified graph.
//! Guarantees: node ids, names and everything that is no float stay; literals keep the value that they have in `f32`.
//! Leaves out: the random numbers of `f32`: a random tensor in double precision draws its own.

use crate::ir::graph::{Graph, InputRole, Region};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType};

/// The same graph in `f64`; inputs of main that were arguments become data.
pub fn in_double(graph: &Graph) -> Graph {
    let mut doubled = Graph::default();
    for (id, region) in graph.regions.iter() {
        let mut target = Region::new(region.name.clone());
        for node in region.nodes.values() {
            let mut op = node.op.clone();
            widen(&mut op);
            if let Op::Input { role, name, ty } = op {
                let is_main = id == graph.main_id();
                let role = if is_main && role.is_argument() { InputRole::Data } else { role };
                target.input(role, name, ty, node.provenance);
            } else if let Err(error) = target.push(op, &node.operands, node.provenance) {
                panic!("bug in bpc: {} in double precision: {error}", node.op.name());
            }
        }
        target.inputs.clone_from(&region.inputs);
        target.results.clone_from(&region.results);
        doubled.add(target);
    }
    doubled
}

fn widen(op: &mut Op) {
    match op {
        Op::Input { ty, .. } | Op::Iota { ty, .. } | Op::Random { ty, .. } | Op::Vjp { ty, .. } => widen_type(ty),
        Op::Constant { value, .. } | Op::Pad { value, .. } if value.dtype == Dtype::F32 => {
            *value = Literal::new(Dtype::F64, value.as_f64());
        }
        Op::Cast { dtype } if *dtype == Dtype::F32 => *dtype = Dtype::F64,
        Op::Scan { stacks, .. } => stacks.iter_mut().for_each(widen_type),
        _ => {}
    }
}

fn widen_type(ty: &mut TensorType) {
    if ty.dtype == Dtype::F32 {
        ty.dtype = Dtype::F64;
    }
}
