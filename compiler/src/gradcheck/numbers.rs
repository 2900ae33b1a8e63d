//! Random test values, and sums over tensors.
//!
//! Expects: a seed.
//! Guarantees: the same seed gives the same values.
//! Leaves out: the random places of programs, which draw by the graph's own operation.

use crate::ir::interpret::Tensor;
use crate::ir::types::TensorType;
use bpc_runtime::philox::{normal_f64, uniform_f64};

/// A stream of test values.
pub struct Numbers {
    key: [u32; 2],
    next: u64,
}

impl Numbers {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers { key: [seed as u32, (seed >> 32) as u32], next: 0 }
    }

    /// The next standard normal number.
    pub fn normal(&mut self) -> f64 {
        self.next += 1;
        normal_f64(self.key, 0, 0, self.next)
    }

    /// The next number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.next += 1;
        uniform_f64(self.key, 1, 0, self.next)
    }

    /// A tensor: floats are normal, or lie between 0.25 and 1.75 if they have to be `positive`; whole numbers and flags
    /// are 0 or 1.
    pub fn tensor(&mut self, ty: &TensorType, positive: bool) -> Tensor {
        let data = (0..ty.elements())
            .map(|_| match (ty.dtype.is_float(), positive) {
                (true, false) => self.normal(),
                (true, true) => 0.25 + 1.5 * self.uniform(),
                (false, _) => f64::from(u8::from(self.uniform() < 0.5)),
            })
            .collect();
        Tensor { ty: ty.clone(), data }
    }
}

/// The sum of the products of their elements.
pub fn dot(one: &Tensor, two: &Tensor) -> f64 {
    one.data.iter().zip(&two.data).map(|(one, two)| one * two).sum()
}

/// `start + step * direction`
pub fn moved(start: &Tensor, direction: &Tensor, step: f64) -> Tensor {
    let data = start.data.iter().zip(&direction.data).map(|(start, direction)| start + step * direction).collect();
    Tensor { ty: start.ty.clone(), data }
}
