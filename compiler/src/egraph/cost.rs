//! What a term costs: an estimate in picoseconds on one core, from the shapes.
//!
//! Expects: types of the operands and of the result.
//! Guarantees: views and sources cost next to nothing, markers more than everything; sums saturate.
//! Leaves out: which loops will be fused; a result is counted as if half of it went through memory.

use crate::ir::graph::RegionId;
use crate::ir::op::{Op, OpClass};
use crate::ir::types::{TensorType, Type};
use std::collections::BTreeMap;

/// A term that must not be chosen.
pub const INFINITE: u64 = u64::MAX;

/// Beginning a loop nest or calling a routine, in picoseconds.
const LAUNCH: u64 = 20_000;
/// One arithmetic operation on one element, vectorised.
const CHEAP: u64 = 60;
/// The same for division, square root and everything transcendental.
const HEAVY: u64 = 500;
/// A byte through the cache.
const BYTE: u64 = 12;
/// One multiplication with its addition in a product.
const MULTIPLY_ADD: u64 = 20;
/// One random element.
const RANDOM: u64 = 2_000;
/// So that fewer views are better than more.
const VIEW: u64 = 100;

/// The cost of a term; `bodies` holds the cost of one turn of each scan body.
pub fn cost(op: &Op, operands: &[&Type], ty: &Type, bodies: &BTreeMap<RegionId, u64>) -> u64 {
    let Some(result) = ty.tensor() else {
        let Op::Scan { body, length, .. } = op else { return INFINITE };
        return bodies[body].saturating_mul(*length).saturating_add(LAUNCH);
    };
    let elements = |ty: &TensorType| ty.elements();
    let written = BYTE.saturating_mul(result.bytes());
    let each = |count: u64, price: u64| count.saturating_mul(price).saturating_add(written).saturating_add(LAUNCH);
    match op.class() {
        OpClass::Marker => INFINITE,
        OpClass::Source => 1,
        OpClass::View => VIEW,
        OpClass::Unary(_) => each(elements(result), if is_cheap(op) { CHEAP } else { HEAVY }),
        OpClass::Binary(_) => each(elements(result), if is_cheap(op) { CHEAP } else { HEAVY }),
        OpClass::Elementwise => each(elements(result), CHEAP),
        OpClass::Reduction => each(operand_elements(operands), CHEAP),
        OpClass::Library if let Some(work) = segment_work(op, operands) => {
            let read = operands.iter().filter_map(|ty| ty.tensor()).map(TensorType::bytes).fold(0, u64::saturating_add);
            let moved = BYTE.saturating_mul(read).saturating_add(written);
            work.saturating_mul(MULTIPLY_ADD).saturating_add(moved).saturating_add(5 * LAUNCH)
        }
        // Zeros first, then one row after the other is read, added to and written.
        OpClass::Library if matches!(op, Op::ScatterAdd { .. }) => {
            each(operand_elements(operands).max(elements(result)), 4 * CHEAP)
        }
        OpClass::Library => each(operand_elements(operands).max(elements(result)), CHEAP),
        OpClass::Other => match op {
            Op::Project { .. } => VIEW,
            Op::Random { .. } => each(elements(result), RANDOM),
            Op::Matmul {} => {
                let inner = operands[0].tensor().and_then(|x| x.shape.last()).copied().unwrap_or(1);
                let read =
                    operands.iter().filter_map(|ty| ty.tensor()).map(TensorType::bytes).fold(0, u64::saturating_add);
                let work = elements(result).saturating_mul(inner).saturating_mul(MULTIPLY_ADD);
                work.saturating_add(BYTE.saturating_mul(read)).saturating_add(written).saturating_add(5 * LAUNCH)
            }
            _ => each(operand_elements(operands).max(elements(result)), CHEAP),
        },
    }
}

/// Multiplications of a product over runs of rows.
fn segment_work(op: &Op, operands: &[&Type]) -> Option<u64> {
    let (rows, other) = (operands.first()?.tensor()?, operands.get(1)?.tensor()?);
    let width = match op {
        Op::SegmentMatmul { transposed } => other.shape[if *transposed { 2 } else { 1 }],
        Op::SegmentOuter {} => other.shape[1],
        _ => return None,
    };
    Some(rows.elements().saturating_mul(width))
}

fn operand_elements(operands: &[&Type]) -> u64 {
    operands.iter().filter_map(|ty| ty.tensor()).map(TensorType::elements).fold(0, u64::saturating_add)
}

fn is_cheap(op: &Op) -> bool {
    matches!(
        op,
        Op::Neg {}
            | Op::Abs {}
            | Op::Sign {}
            | Op::Floor {}
            | Op::Round {}
            | Op::Not {}
            | Op::Add {}
            | Op::Sub {}
            | Op::Mul {}
            | Op::Maximum {}
            | Op::Minimum {}
            | Op::Equal {}
            | Op::Less {}
            | Op::LessEqual {}
            | Op::And {}
            | Op::Or {}
            | Op::Xor {}
    )
}
