//! What a term costs: an estimate in picoseconds on one core, from the shapes.
//!
//! Expects: types of the operands and of the result.
//! Guarantees: views and sources cost next to nothing, markers more than everything; sums saturate.
//! Leaves out: how many operations a term has (`ir::work` knows), and which loops will be fused: a result is counted as if half of it went
//! through memory.

use crate::ir::graph::RegionId;
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
