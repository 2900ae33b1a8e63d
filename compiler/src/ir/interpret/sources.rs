//! Constants, indices and random numbers.

use super::Tensor;
use super::places::inner;
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use bpc_runtime::{abi, philox};

/// Constants and indices.
pub fn source(op: &Op, ty: &TensorType) -> Result<Vec<f64>, String> {
    let elements = ty.elements() as usize;
    match op {
        Op::Constant { value, .. } => Ok(vec![value.as_f64(); elements]),
        Op::Iota { axis, .. } => {
            let (inner, size) = (inner(ty, *axis), ty.shape[*axis as usize] as usize);
            Ok((0..elements).map(|place| (place / inner % size) as f64).collect())
        }
        _ => Err(format!("bug in bpc: {} is no constant", op.name())),
    }
}

/// Random numbers by the reference functions of the runtime.
pub fn random(normal: bool, site: &str, seed: &Tensor, step: &Tensor, ty: &TensorType) -> Vec<f64> {
    let seed = [seed.data[0] as u32, seed.data[1] as u32];
    let step = step.data[0] as i32;
    let site = abi::site_hash(site);
    let element = |index| match (ty.dtype, normal) {
        (Dtype::F64, false) => philox::uniform_f64(seed, step, site, index),
        (Dtype::F64, true) => philox::normal_f64(seed, step, site, index),
        (_, false) => f64::from(philox::uniform_f32(seed, step, site, index)),
        (_, true) => f64::from(philox::normal_f32(seed, step, site, index)),
    };
    (0..ty.elements()).map(element).collect()
}
