//! Memory along the vector axis: reads and writes of vectors and of single elements.
//!
//! Expects: the address of the first element of the run and the guards along the axis.
//! Guarantees: an element outside of its guards is read from a literal instead; no read or write leaves the buffer.
//! Leaves out: which buffer and which guards (`values`).

use crate::codegen::cranelift::arithmetic::lane_type;
use crate::codegen::cranelift::emitter::{BITS, Emitter, element_type};
use crate::ir::types::{Dtype, Literal};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, types};

/// How a place in memory follows the vector axis.
#[derive(Clone)]
pub(in crate::codegen::cranelift) struct Access {
    /// Address of the first element of the run.
    pub(in crate::codegen::cranelift) row: Value,
    pub(in crate::codegen::cranelift) stride: i64,
    pub(in crate::codegen::cranelift) dtype: Dtype,
    /// Holds for the whole run or for nothing of it.
    pub(in crate::codegen::cranelift) condition: Option<Value>,
    /// For each guard along the axis: first coordinate less `low`, stride, size.
    pub(in crate::codegen::cranelift) guards: Vec<(Value, i64, Value)>,
    /// Where to read instead: 16 bytes of what stands outside.
    pub(in crate::codegen::cranelift) outside: Option<Value>,
    /// Of packed bits; then `row` is where the buffer begins.
    pub(in crate::codegen::cranelift) bits: Option<Bits>,
}

/// Where the packed bits of a run lie.
#[derive(Clone, Copy)]
pub(in crate::codegen::cranelift) struct Bits {
    /// The number of the first one in the buffer.
    pub(in crate::codegen::cranelift) first: Value,
    /// Whether it is a multiple of the lanes of a vector.
    pub(in crate::codegen::cranelift) aligned: bool,
}

impl Access {
    /// The address of element `at + extra` of the run.
    pub(in crate::codegen::cranelift) fn element_address(
        &self,
        emitter: &mut Emitter<'_, '_>,
        at: Value,
        extra: i64,
    ) -> Value {
        let step = self.stride * self.dtype.bytes() as i64;
        if step == 0 {
            return self.row;
        }
        let offset = emitter.times(at, step);
        let address = emitter.builder.ins().iadd(self.row, offset);
        emitter.plus(address, extra * step)
    }

    /// Reads a vector or an element.
    pub(in crate::codegen::cranelift) fn read(
        &self,
        emitter: &mut Emitter<'_, '_>,
        at: Value,
        extra: i64,
        lanes: u32,
    ) -> Value {
        if lanes == 1 {
            return self.read_element(emitter, at, extra);
        }
        if let Some(bits) = self.bits {
            if self.stride != 1 || !bits.aligned || self.outside.is_some() {
                return self.read_lanes(emitter, at, extra, lanes);
            }
            let index = self.bit_index(emitter, bits, at, extra);
            return emitter.load_bits(self.row, index, lanes);
        }
        if self.stride != 1 {
            return self.read_lanes(emitter, at, extra, lanes);
        }
        let address = self.element_address(emitter, at, extra);
        let Some(outside) = self.outside else {
            return read_vector(emitter, self.dtype, address, lanes);
        };
        if self.guards.is_empty() {
            let condition = self.condition.expect("bug in bpc: an outside without a condition");
            let address = emitter.builder.ins().select(condition, address, outside);
            return read_vector(emitter, self.dtype, address, lanes);
        }
        // Where the first and the last lane are inside, all are.
        let first = self.holds(emitter, at, extra);
        let last = self.holds(emitter, at, extra + i64::from(lanes) - 1);
        let both = emitter.builder.ins().band(first, last);
        let [all, some, after] = [(); 3].map(|()| emitter.builder.create_block());
        let result = emitter.builder.append_block_param(after, lane_type(self.dtype, lanes));
        emitter.builder.ins().brif(both, all, &[], some, &[]);
        emitter.builder.seal_block(all);
        emitter.builder.seal_block(some);
        emitter.builder.switch_to_block(all);
        let vector = read_vector(emitter, self.dtype, address, lanes);
        emitter.builder.ins().jump(after, &[BlockArg::Value(vector)]);
        emitter.builder.switch_to_block(some);
        let vector = self.read_lanes(emitter, at, extra, lanes);
        emitter.builder.ins().jump(after, &[BlockArg::Value(vector)]);
        emitter.builder.seal_block(after);
        emitter.builder.switch_to_block(after);
        result
    }

    fn read_lanes(&self, emitter: &mut Emitter<'_, '_>, at: Value, extra: i64, lanes: u32) -> Value {
        let elements: Vec<Value> =
            (0..i64::from(lanes)).map(|lane| self.read_element(emitter, at, extra + lane)).collect();
        collect(emitter, self.dtype, &elements)
    }

    fn read_element(&self, emitter: &mut Emitter<'_, '_>, at: Value, extra: i64) -> Value {
        if let Some(bits) = self.bits {
            let index = self.bit_index(emitter, bits, at, extra);
            let otherwise = self.outside.map(|outside| {
                let holds = self.holds(emitter, at, extra);
                (holds, emitter.load(types::I8, outside, 0))
            });
            return emitter.load_bit(self.row, index, otherwise);
        }
        let mut address = self.element_address(emitter, at, extra);
        if let Some(outside) = self.outside {
            let holds = self.holds(emitter, at, extra);
            address = emitter.builder.ins().select(holds, address, outside);
        }
        emitter.load(element_type(self.dtype), address, 0)
    }

    /// The number of bit `at + extra` of the run.
    fn bit_index(&self, emitter: &mut Emitter<'_, '_>, bits: Bits, at: Value, extra: i64) -> Value {
        let offset = emitter.times(at, self.stride);
        let index = emitter.builder.ins().iadd(bits.first, offset);
        emitter.plus(index, extra * self.stride)
    }

    /// Whether element `at + extra` is inside.
    fn holds(&self, emitter: &mut Emitter<'_, '_>, at: Value, extra: i64) -> Value {
        let mut all = self.condition;
        for (first, stride, size) in &self.guards {
            let offset = emitter.times(at, *stride);
            let place = emitter.builder.ins().iadd(*first, offset);
            let place = emitter.plus(place, extra * stride);
            let holds = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, place, *size);
            all = Some(all.map_or(holds, |all| emitter.builder.ins().band(all, holds)));
        }
        all.expect("bug in bpc: an outside without a condition")
    }

    /// Writes a vector or an element.
    pub(in crate::codegen::cranelift) fn write(
        &self,
        emitter: &mut Emitter<'_, '_>,
        value: Value,
        at: Value,
        extra: i64,
        lanes: u32,
    ) {
        if let Some(bits) = self.bits {
            if lanes > 1 && self.stride == 1 && bits.aligned {
                let index = self.bit_index(emitter, bits, at, extra);
                return emitter.store_bits(value, self.row, index, lanes);
            }
            let bytes = if lanes > 1 { narrow(emitter, value, lanes) } else { value };
            for lane in 0..lanes as u8 {
                let bit = if lanes > 1 { emitter.builder.ins().extractlane(bytes, lane) } else { bytes };
                let index = self.bit_index(emitter, bits, at, extra + i64::from(lane));
                emitter.store_bit(bit, self.row, index);
            }
            return;
        }
        let address = self.element_address(emitter, at, extra);
        let value = if self.dtype == Dtype::Bool && lanes > 1 { narrow(emitter, value, lanes) } else { value };
        let ty = emitter.builder.func.dfg.value_type(value);
        if lanes == 1 || (self.stride == 1 && self.dtype != Dtype::Bool) {
            return emitter.store(value, address, 0);
        }
        if self.stride == 1 {
            let whole = if lanes == 2 { types::I16 } else { types::I32 };
            let words = emitter.builder.ins().bitcast(
                whole.by(128 / whole.bits()).expect("bug in bpc: no such vector"),
                BITS,
                value,
            );
            let bytes = emitter.builder.ins().extractlane(words, 0);
            return emitter.store(bytes, address, 0);
        }
        debug_assert!(ty.is_vector());
        for lane in 0..lanes as u8 {
            let element = emitter.builder.ins().extractlane(value, lane);
            let address = self.element_address(emitter, at, extra + i64::from(lane));
            emitter.store(element, address, 0);
        }
    }
}

/// 16 bytes of a literal on the stack.
pub(in crate::codegen::cranelift) fn outside(emitter: &mut Emitter<'_, '_>, literal: Literal) -> Value {
    let slot = emitter.new_slot(16);
    let address = emitter.builder.ins().stack_addr(types::I64, slot, 0);
    let element = emitter.literal(literal);
    for offset in (0..16).step_by(literal.dtype.bytes() as usize) {
        emitter.store(element, address, offset);
    }
    address
}

/// Single elements as one vector, or the one element itself.
pub(in crate::codegen::cranelift) fn collect(emitter: &mut Emitter<'_, '_>, dtype: Dtype, elements: &[Value]) -> Value {
    let lanes = elements.len() as u32;
    if lanes == 1 {
        return elements[0];
    }
    let ty = lane_type(dtype, lanes);
    let mut vector = None;
    for (lane, element) in elements.iter().enumerate() {
        let element =
            if dtype == Dtype::Bool { emitter.builder.ins().uextend(ty.lane_type(), *element) } else { *element };
        vector = Some(match vector {
            // For two lanes, one instruction that reads memory; the others must be cleared first.
            None if lanes == 2 => emitter.builder.ins().splat(ty, element),
            None => emitter.builder.ins().scalar_to_vector(ty, element),
            Some(vector) => emitter.builder.ins().insertlane(vector, element, lane as u8),
        });
    }
    let vector = vector.expect("bug in bpc: a vector without lanes");
    if dtype == Dtype::Bool { mask(emitter, vector, lanes) } else { vector }
}

/// `start + offset + lane * step` in every lane, as whole numbers of this dtype, where sums wrap. What stands in a loop is one
/// addition: vectors with the same start share the rest.
pub(in crate::codegen::cranelift) fn progression(
    emitter: &mut Emitter<'_, '_>,
    start: Value,
    dtype: Dtype,
    offset: i64,
    step: i64,
    lanes: u32,
) -> Value {
    let bytes = dtype.bytes() as usize;
    let constant: Vec<u8> = (0..i64::from(lanes))
        .flat_map(|lane| offset.wrapping_add(lane.wrapping_mul(step)).to_le_bytes()[..bytes].to_vec())
        .collect();
    let constant = emitter.builder.func.dfg.constants.insert(constant.into());
    let constant = emitter.builder.ins().vconst(lane_type(dtype, lanes), constant);
    let start = emitter.cast(start, Dtype::I64, dtype, 1);
    let start = emitter.splat(start, dtype, lanes);
    emitter.builder.ins().iadd(start, constant)
}

/// Whole numbers as a mask: all ones where they are not 0.
fn mask(emitter: &mut Emitter<'_, '_>, numbers: Value, lanes: u32) -> Value {
    let zero = emitter.splat_literal(Literal::integer(if lanes == 2 { Dtype::I64 } else { Dtype::I32 }, 0), lanes);
    emitter.builder.ins().icmp(IntCC::NotEqual, numbers, zero)
}

/// Neighbours in memory as one vector.
fn read_vector(emitter: &mut Emitter<'_, '_>, dtype: Dtype, address: Value, lanes: u32) -> Value {
    if dtype != Dtype::Bool {
        return emitter.load(lane_type(dtype, lanes), address, 0);
    }
    let whole = if lanes == 2 { types::I16 } else { types::I32 };
    let bytes = emitter.load(whole, address, 0);
    let vector_type = whole.by(128 / whole.bits()).expect("bug in bpc: no such vector");
    let vector = emitter.builder.ins().scalar_to_vector(vector_type, bytes);
    let mut wide = emitter.builder.ins().bitcast(types::I8X16, BITS, vector);
    for _ in 0..(if lanes == 2 { 3 } else { 2 }) {
        wide = emitter.builder.ins().uwiden_low(wide);
    }
    mask(emitter, wide, lanes)
}

/// A mask as bytes of 0 and 1 (in the low lanes of a vector of bytes).
fn narrow(emitter: &mut Emitter<'_, '_>, mask: Value, lanes: u32) -> Value {
    let words = emitter.builder.ins().bitcast(types::I32X4, BITS, mask);
    // Two wide lanes are four halves, of which every second one counts.
    let words = if lanes == 2 {
        let pairs = [0u8, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
        let bytes = emitter.builder.ins().bitcast(types::I8X16, BITS, words);
        let order = emitter.builder.func.dfg.immediates.push(pairs.as_slice().into());
        let bytes = emitter.builder.ins().shuffle(bytes, bytes, order);
        emitter.builder.ins().bitcast(types::I32X4, BITS, bytes)
    } else {
        words
    };
    let halves = emitter.builder.ins().snarrow(words, words);
    let bytes = emitter.builder.ins().snarrow(halves, halves);
    let one = emitter.builder.ins().iconst(types::I8, 1);
    let ones = emitter.builder.ins().splat(types::I8X16, one);
    emitter.builder.ins().band(bytes, ones)
}
