//! What a term costs: an estimate in picoseconds on one core, from the shapes.
//!
//! Expects: types of the operands and of the result.
//! Guarantees: views and sources cost next to nothing, markers more than everything; sums saturate.
//! Leaves out: how many operations a term has (`ir::work` knows), and which loops will be fused: a result is counted as if half of it went
//! through memory. Only of small bodies of loops it is known what becomes of them: straight-line code, whose prices are those that
//! `cargo bench -p bpc --bench forms` measures.

use crate::ir::graph::{Node, Region, RegionId};
use crate::ir::op::{Op, OpClass};
use crate::ir::types::{TensorType, Type};
use crate::ir::work;
use std::collections::BTreeMap;

/// A term that must not be chosen.
pub const INFINITE: u64 = u64::MAX;

/// Beginning a loop nest or calling a routine, in picoseconds.
const LAUNCH: u64 = 20_000;
/// The same for a routine that packs its operands first.
const PACKED_LAUNCH: u64 = 100_000;
/// One simple operation on one element, vectorised.
const SIMPLE: u64 = 60;
/// One operation of a product or a transform, whose numbers stay in registers: a multiplication with its addition is two.
const DENSE: u64 = 10;
/// One operation at a place that data names, which is read and written.
const SCATTERED: u64 = 240;
/// A byte through the cache.
const BYTE: u64 = 12;
/// So that fewer views are better than more.
const VIEW: u64 = 100;

/// One simple operation on one scalar of straight-line code, which waits for the one before it.
const SCALAR: u64 = 300;
/// A function of the runtime on one scalar.
const SCALAR_CALL: u64 = 80_000;
/// The operations from which on an elementwise one is a function of the runtime.
const CALLED: u64 = 16;
/// The most scalars of one turn for which there is straight-line code.
const MOST_SCALARS: u64 = 4096;
/// The trajectories from which on vectors hold several of them, and by how much that is faster.
const MANY: u64 = 4;
const MANY_FASTER: u64 = 2;

/// The cost of one turn of a loop.
pub fn turn(body: &Region, bodies: &BTreeMap<RegionId, u64>) -> u64 {
    straight_line(body).unwrap_or_else(|| total(body, bodies))
}

/// The cost of all nodes of a region.
pub fn total(region: &Region, bodies: &BTreeMap<RegionId, u64>) -> u64 {
    let own = |node: &Node| cost(&node.op, &operand_types(region, node), &node.ty, bodies);
    region.nodes.values().map(own).fold(0, u64::saturating_add)
}

/// The cost of one turn as straight-line code for each trajectory; none where the body is too large or holds more than arithmetic.
fn straight_line(body: &Region) -> Option<u64> {
    let shapes = body.inputs.iter().filter_map(|input| body.nodes[*input].ty.tensor()).map(|ty| &ty.shape);
    let places = shapes.filter(|shape| shape.len() > 1).map(|shape| shape[0]).max().unwrap_or(1).max(1);
    let (mut scalars, mut price) = (0u64, 0u64);
    for node in body.nodes.values() {
        match (&node.op, node.op.class()) {
            (Op::Project { .. }, _) | (_, OpClass::View | OpClass::Source) => continue,
            (Op::Scan { .. } | Op::Random { .. }, _) | (_, OpClass::Library | OpClass::Marker) => return None,
            _ => {}
        }
        let count = work::operations(&node.op, &operand_types(body, node), &node.ty).div_ceil(places);
        let weight = work::weight(&node.op);
        scalars = scalars.saturating_add(count);
        price = price.saturating_add(count.saturating_mul(if weight < CALLED { weight * SCALAR } else { SCALAR_CALL }));
    }
    let faster = if places < MANY { 1 } else { MANY_FASTER };
    (scalars <= MOST_SCALARS).then(|| price.saturating_mul(places) / faster)
}

fn operand_types<'r>(region: &'r Region, node: &Node) -> Vec<&'r Type> {
    node.operands.iter().map(|operand| &region.nodes[*operand].ty).collect()
}

/// The cost of a term; `bodies` holds the cost of one turn of each scan body.
pub fn cost(op: &Op, operands: &[&Type], ty: &Type, bodies: &BTreeMap<RegionId, u64>) -> u64 {
    match (op, op.class()) {
        (Op::Scan { body, length, .. }, _) => return bodies[body].saturating_mul(*length).saturating_add(LAUNCH),
        (Op::Project { .. }, _) | (_, OpClass::View) => return VIEW,
        (_, OpClass::Marker) => return INFINITE,
        (_, OpClass::Source) => return 1,
        _ => {}
    }
    let bytes = |ty: &Type| ty.tensor().map_or(0, TensorType::bytes);
    let read = operands.iter().map(|ty| bytes(ty)).fold(0, u64::saturating_add);
    let (price, moved, launch) = match op {
        Op::Matmul {}
        | Op::SegmentMatmul { .. }
        | Op::SegmentOuter {}
        | Op::BitMatmul { .. }
        | Op::BlockWht { .. }
        | Op::BlockWhtT { .. } => (DENSE, bytes(ty).saturating_add(read), PACKED_LAUNCH),
        Op::ScatterAdd { .. } | Op::Histogram { .. } | Op::CountingSort { .. } => (SCATTERED, bytes(ty), LAUNCH),
        _ => (SIMPLE.saturating_mul(work::weight(op)), bytes(ty), LAUNCH),
    };
    let computed = work::operations(op, operands, ty).saturating_mul(price);
    computed.saturating_add(moved.saturating_mul(BYTE)).saturating_add(launch)
}
