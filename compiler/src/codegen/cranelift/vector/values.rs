//! The values of a piece at one vector or one element, and the places in memory that they come from.
//!
//! Expects: the values of earlier pieces in their tiles.
//! Guarantees: what a load or a gather gives outside of its guards or its table is what the element-by-element path
//! gives.
//! Leaves out: how vectors are read and written (`access`), arithmetic (`arithmetic`).

use super::Run;
use super::access::{Access, Bits, collect, outside, progression};
use crate::codegen::cranelift::arithmetic::lane_type;
use crate::codegen::cranelift::emitter::Emitter;
use crate::codegen::cranelift::plan::reads;
use crate::codegen::cranelift::scalar::{self, dtype};
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{AffineMap, BufferId, Guard, Scalar, ValueId};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_entity::SecondaryMap;

impl Run<'_> {
    /// How a scalar that reads memory does it.
    pub(super) fn access(&self, emitter: &mut Emitter<'_, '_>, id: ValueId) -> Option<Access> {
        let scalar = &self.stage.values[id];
        let reads = reads(scalar)?;
        let mut access = self.open(emitter, reads.buffer, reads.map, &[]);
        let outside = match scalar {
            Scalar::Load { guards, otherwise, .. } => {
                access = self.open(emitter, reads.buffer, reads.map, guards);
                *otherwise
            }
            Scalar::Gather { index, rows, row_stride, .. } => {
                let Some(row) = self.same[*index] else { return Some(access) };
                let (row, inside) = known_row(emitter, row, *rows);
                let offset = emitter.times(row, row_stride * access.dtype.bytes() as i64);
                access.row = emitter.builder.ins().iadd(access.row, offset);
                access.condition = Some(inside);
                Literal::new(access.dtype, f64::NAN)
            }
            _ => return None,
        };
        if access.condition.is_some() || !access.guards.is_empty() {
            access.outside = Some(self::outside(emitter, outside));
        }
        Some(access)
    }

    pub(super) fn open(
        &self,
        emitter: &mut Emitter<'_, '_>,
        buffer: BufferId,
        map: &AffineMap,
        guards: &[Guard],
    ) -> Access {
        let axis = self.plan.axis;
        let entry = &emitter.program.buffers[buffer];
        let (dtype, is_packed) = (entry.ty.dtype, entry.packed.is_some());
        let (row, bits) = if is_packed {
            let lanes = i64::from(self.plan.lanes);
            let others = map.strides.iter().enumerate().filter(|(other, _)| *other != axis).map(|(_, stride)| stride);
            let aligned = others.chain([&map.offset]).all(|step| step % lanes == 0);
            let first = emitter.affine(map, &self.axes, None);
            (emitter.base(buffer), Some(Bits { first, aligned }))
        } else {
            (emitter.address(buffer, map, &self.axes, None), None)
        };
        let (along, across): (Vec<_>, Vec<_>) = guards.iter().cloned().partition(|guard| guard.map.strides[axis] != 0);
        let condition = scalar::inside(emitter, &across, &self.axes);
        let mut along_axis = Vec::new();
        for guard in along {
            let first = emitter.affine(&guard.map, &self.axes, None);
            let first = emitter.plus(first, -guard.low);
            let size = emitter.integer(guard.high - guard.low);
            along_axis.push((first, guard.map.strides[axis], size));
        }
        Access { row, stride: map.strides[axis], dtype, condition, guards: along_axis, outside: None, bits }
    }

    /// The values of a piece at one vector or element.
    #[expect(clippy::too_many_arguments, reason = "the place in the loops takes three")]
    pub(super) fn values(
        &self,
        emitter: &mut Emitter<'_, '_>,
        needed: &[ValueId],
        accesses: &SecondaryMap<ValueId, Option<Access>>,
        piece: u32,
        at: Value,
        extra: i64,
        lanes: u32,
    ) -> SecondaryMap<ValueId, Option<Value>> {
        let mut values: SecondaryMap<ValueId, Option<Value>> = SecondaryMap::new();
        for id in needed.iter().copied() {
            let ty = dtype(self.stage, id);
            let value = if let Some(element) = self.same[id] {
                emitter.splat(element, ty, lanes)
            } else if self.section.in_tile(self.stage, id, piece) {
                let tile = self.tile(emitter, id);
                let address = self.tile_address(emitter, tile, at);
                emitter.load(lane_type(ty, lanes), address, (extra * self.width()) as i32)
            } else {
                self.value(emitter, id, accesses[id].as_ref(), &values, at, extra, lanes)
            };
            values[id] = Some(value);
            if self.section.filled_by[id] == Some(piece) {
                let tile = self.tile(emitter, id);
                let address = self.tile_address(emitter, tile, at);
                emitter.store(value, address, (extra * self.width()) as i32);
            }
        }
        values
    }

    #[expect(clippy::too_many_arguments, reason = "the place in the loops takes three")]
    fn value(
        &self,
        emitter: &mut Emitter<'_, '_>,
        id: ValueId,
        access: Option<&Access>,
        values: &SecondaryMap<ValueId, Option<Value>>,
        at: Value,
        extra: i64,
        lanes: u32,
    ) -> Value {
        let operand = |id: ValueId| values[id].expect("bug in bpc: a scalar that uses a later one");
        let access = || access.expect("bug in bpc: a load without address");
        match &self.stage.values[id] {
            Scalar::Index { map, dtype } => {
                let mut axes = self.axes.clone();
                axes[self.plan.axis] = emitter.builder.ins().iadd(self.low, at);
                let first = emitter.affine(map, &axes, None);
                let stride = map.strides[self.plan.axis];
                if lanes > 1 && dtype.is_integer() {
                    return progression(emitter, first, *dtype, extra * stride, stride, lanes);
                }
                let elements: Vec<Value> = (0..i64::from(lanes))
                    .map(|lane| {
                        let index = emitter.plus(first, (extra + lane) * stride);
                        emitter.cast(index, Dtype::I64, *dtype, 1)
                    })
                    .collect();
                collect(emitter, *dtype, &elements)
            }
            Scalar::Load { .. } => access().read(emitter, at, extra, lanes),
            Scalar::Gather { index, .. } if self.same[*index].is_some() => access().read(emitter, at, extra, lanes),
            Scalar::Gather { index, rows, row_stride, .. } => {
                let access = access();
                let elements: Vec<Value> = (0..lanes)
                    .map(|lane| {
                        let mut row = operand(*index);
                        if lanes > 1 {
                            row = emitter.builder.ins().extractlane(row, lane as u8);
                        }
                        let (row, inside) = known_row(emitter, row, *rows);
                        let bytes = access.dtype.bytes() as i64;
                        let begin = access.element_address(emitter, at, extra + i64::from(lane));
                        let offset = emitter.times(row, row_stride * bytes);
                        let address = emitter.builder.ins().iadd(begin, offset);
                        let otherwise = Literal::new(access.dtype, f64::NAN);
                        scalar::load(emitter, access.dtype, address, Some(inside), otherwise)
                    })
                    .collect();
                collect(emitter, access.dtype, &elements)
            }
            Scalar::Unary(op, x) => emitter.unary(op, dtype(self.stage, *x), operand(*x), lanes),
            Scalar::Binary(op, x, y) => emitter.binary(op, dtype(self.stage, *x), operand(*x), operand(*y), lanes),
            Scalar::Select(condition, x, y) => emitter.choose(operand(*condition), operand(*x), operand(*y), lanes),
            Scalar::Cast(x, to) => emitter.cast(operand(*x), dtype(self.stage, *x), *to, lanes),
            Scalar::Literal(_) | Scalar::Random { .. } | Scalar::Reduced(_) | Scalar::Carried(_) => {
                panic!("bug in bpc: {id} is not computed in a piece")
            }
        }
    }
}

/// The row of a gather as 64 bits, and whether it is one of the table.
fn known_row(emitter: &mut Emitter<'_, '_>, index: Value, rows: u64) -> (Value, Value) {
    let row = emitter.builder.ins().sextend(types::I64, index);
    let rows = emitter.integer(rows as i64);
    let inside = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, row, rows);
    (row, inside)
}
