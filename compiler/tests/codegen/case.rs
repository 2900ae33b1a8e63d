//! Kernel programs in the making, with their memory, and how their results are compared.
//!
//! Expects: buffers that fit in one mebibyte together.
//! Guarantees: the same numbers every time; comparison is of bits, all NaNs being one.
//! Leaves out: what is tested.

use bpc::codegen::Host;
use bpc::codegen::backend::{Backend, CompiledStep};
use bpc::codegen::memory::{AlignedBytes, Element};
use bpc::ir::types::{Dtype, Literal, TensorType};
use bpc::kernel::ir::*;

/// A program in the making, with its memory.
pub struct Case {
    pub program: Program,
    pub workspace: AlignedBytes,
}

/// Bit-exact comparison.
pub trait Bits: Element + std::fmt::Debug {
    fn bits(self) -> u64;
}
impl Bits for f32 {
    fn bits(self) -> u64 {
        // All NaNs are one NaN here.
        if self.is_nan() { u64::MAX } else { u64::from(self.to_bits()) }
    }
}
impl Bits for f64 {
    fn bits(self) -> u64 {
        if self.is_nan() { u64::MAX } else { self.to_bits() }
    }
}
macro_rules! bits {
    ($($ty:ty)*) => { $(impl Bits for $ty { fn bits(self) -> u64 { self as u64 } })* };
}
bits!(i32 i64 u32 u8);

impl Case {
    pub fn new() -> Case {
        Case { program: Program { name: "case".into(), ..Program::default() }, workspace: AlignedBytes::zeros(1 << 20) }
    }

    pub fn buffer(&mut self, dtype: Dtype, shape: &[u64]) -> BufferId {
        let ty = TensorType::new(dtype, shape);
        let place = Place::Workspace(self.program.workspace_bytes);
        self.program.workspace_bytes += ty.bytes().next_multiple_of(64);
        assert!(self.program.workspace_bytes <= 1 << 20);
        self.program.buffers.push(Buffer { role: BufferRole::Output, place, ..Buffer::temporary(ty) })
    }

    pub fn offset(&self, buffer: BufferId) -> (usize, usize) {
        let Place::Workspace(offset) = self.program.buffers[buffer].place else { panic!("not in the workspace") };
        (offset as usize, self.program.buffers[buffer].ty.elements() as usize)
    }

    pub fn given<E: Element>(&mut self, dtype: Dtype, shape: &[u64], values: &[E]) -> BufferId {
        let buffer = self.buffer(dtype, shape);
        self.program.buffers[buffer].role = BufferRole::Data;
        self.set(buffer, values);
        buffer
    }

    pub fn set<E: Element>(&mut self, buffer: BufferId, values: &[E]) {
        let (offset, count) = self.offset(buffer);
        self.workspace.elements_mut(offset, count).copy_from_slice(values);
    }

    pub fn get<E: Element>(&self, buffer: BufferId) -> Vec<E> {
        let (offset, count) = self.offset(buffer);
        self.workspace.elements(offset, count).to_vec()
    }

    pub fn nest(&mut self, outer: &[u64], stages: Vec<Stage>) {
        let nest = Nest { name: "nest".into(), outer: outer.to_vec(), stages, scratch_bytes: 0 };
        self.program.steps.push(Step::Nest(nest));
    }

    pub fn run(&mut self, threads: usize) {
        let step = Host.compile(&self.program).expect("compiles");
        let context = step.context(threads);
        step.run(&context, &mut AlignedBytes::zeros(self.program.state_bytes as usize), &mut self.workspace, &mut []);
    }
}

pub fn value(stage: &mut Stage, dtype: Dtype, scalar: Scalar) -> ValueId {
    let id = stage.values.push(scalar);
    stage.dtypes[id] = Some(dtype);
    id
}

pub fn map(strides: &[i64]) -> AffineMap {
    AffineMap { offset: 0, strides: strides.to_vec() }
}

pub fn load(stage: &mut Stage, case: &Case, buffer: BufferId, strides: &[i64]) -> ValueId {
    let dtype = case.program.buffers[buffer].ty.dtype;
    let otherwise = Literal::new(dtype, 0.0);
    value(stage, dtype, Scalar::Load { buffer, map: map(strides), guards: Vec::new(), otherwise })
}

pub fn store(stage: &mut Stage, buffer: BufferId, strides: &[i64], value: ValueId) {
    stage.stores.push(Store { buffer, map: map(strides), value });
}

pub fn assert_bits<E: Bits>(what: &str, found: &[E], expected: &[E]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.bits(), expected.bits(), "{what} at {place}: {found:?} is not {expected:?}");
    }
}

/// A small generator of numbers, so that cases are the same every time.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn floats(&mut self, n: u64) -> Vec<f64> {
        (0..n).map(|_| (self.below(4001) as f64 - 2000.0) / 300.0).collect()
    }
}
