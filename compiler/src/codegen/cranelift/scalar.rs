//! Stages element by element: the general path, for every dtype, guard and reduction.
//!
//! Expects: the outer indices of the iteration.
//! Guarantees: sums in the order of [`crate::kernel::ir::Reduction`]; heavy operations are the runtime's vector routines with
//! one element, so that their bits are those of every other path.
//! Leaves out: vectors (`vector`).

use super::arithmetic::initial;
use super::emitter::{Emitter, element_type};
use super::runtime;
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{Guard, Reduction, ReductionKind, Scalar, Stage, ValueId};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_entity::{EntityRef, SecondaryMap};
use cranelift_frontend::Variable;

/// Lanes of a sum along the vector axis.
pub(super) const SUM_LANES: i64 = 16;

/// The dtype of a scalar.
pub(super) fn dtype(stage: &Stage, value: ValueId) -> Dtype {
    stage.dtypes[value].expect("bug in bpc: a scalar without dtype")
}

/// The part of the first inner axis that this call does, where workers share it.
pub(super) type Share = Option<(Value, Value)>;

/// Where a reduction keeps what it has.
enum Accumulator {
    /// In a register.
    One(Variable),
    /// In lanes on the stack, at this address.
    Lanes(Value),
    /// Largest value and its index.
    Largest(Variable, Variable),
}

/// Emits all loops of a stage.
pub(super) fn emit(emitter: &mut Emitter<'_, '_>, stage: &Stage, outer: &[Value], share: Share) {
    let mut sizes = stage.inner.clone();
    match share {
        Some((low, high)) => {
            let rest = sizes.split_off(1);
            emitter.loop_range(low, high, 1, |emitter, first| {
                emitter.loop_nest(&rest, &mut |emitter, inner| {
                    let axes: Vec<Value> = outer.iter().chain([&first]).chain(inner).copied().collect();
                    place(emitter, stage, axes);
                });
            });
        }
        None => emitter.loop_nest(&sizes, &mut |emitter, inner| {
            let axes: Vec<Value> = outer.iter().chain(inner).copied().collect();
            place(emitter, stage, axes);
        }),
    }
}

/// One place of the outer and inner axes.
fn place(emitter: &mut Emitter<'_, '_>, stage: &Stage, mut axes: Vec<Value>) {
    let mut values = SecondaryMap::new();
    let mut reduced = Vec::new();
    if !stage.reductions.is_empty() {
        reduced = reduce(emitter, stage, &axes);
        let zero = emitter.integer(0);
        axes.extend(stage.reduced.iter().map(|_| zero));
    }
    let first = if stage.reductions.is_empty() { 0 } else { stage.n_inside as usize };
    for index in first..stage.values.len() {
        let id = ValueId::new(index);
        values[id] = Some(scalar(emitter, stage, id, &axes, &values, &reduced));
    }
    store(emitter, stage, &axes, &values);
}

/// Writes what a stage writes at one place.
pub(super) fn store(
    emitter: &mut Emitter<'_, '_>,
    stage: &Stage,
    axes: &[Value],
    values: &SecondaryMap<ValueId, Option<Value>>,
) {
    for store in &stage.stores {
        let value = values[store.value].expect("bug in bpc: a store of a scalar from elsewhere");
        if emitter.program.buffers[store.buffer].packed.is_some() {
            let (base, index) = (emitter.base(store.buffer), emitter.affine(&store.map, axes, None));
            emitter.store_bit(value, base, index);
            continue;
        }
        let address = emitter.address(store.buffer, &store.map, axes, None);
        emitter.store(value, address, 0);
    }
}

/// The reduced loops; what every reduction gives.
fn reduce(emitter: &mut Emitter<'_, '_>, stage: &Stage, axes: &[Value]) -> Vec<Value> {
    let n_axes = axes.len() + stage.reduced.len();
    let interleaved = !stage.reduced.is_empty() && stage.vector_axis == Some(n_axes as u32 - 1);
    let accumulators: Vec<Accumulator> =
        stage.reductions.iter().map(|reduction| accumulator(emitter, stage, reduction, interleaved)).collect();
    emitter.loop_nest(&stage.reduced, &mut |emitter, reduced| {
        let axes: Vec<Value> = axes.iter().chain(reduced).copied().collect();
        let mut values = SecondaryMap::new();
        for id in stage.values.keys().take(stage.n_inside as usize) {
            values[id] = Some(scalar(emitter, stage, id, &axes, &values, &[]));
        }
        for (reduction, accumulator) in stage.reductions.iter().zip(&accumulators) {
            let x = values[reduction.value].expect("bug in bpc: a reduced scalar after its loops");
            // Without reduced axes there is one element, whose index is 0.
            let last = reduced.last().copied().unwrap_or_else(|| emitter.builder.ins().iconst(types::I64, 0));
            put(emitter, stage, reduction, accumulator, x, last);
        }
    });
    let reductions = stage.reductions.iter().zip(&accumulators);
    reductions.map(|(reduction, accumulator)| result(emitter, stage, reduction, accumulator)).collect()
}

fn accumulator(emitter: &mut Emitter<'_, '_>, stage: &Stage, reduction: &Reduction, interleaved: bool) -> Accumulator {
    let dtype = dtype(stage, reduction.value);
    let first = emitter.literal(initial(reduction.kind, dtype));
    if reduction.kind == ReductionKind::Argmax {
        let (largest, index) =
            (emitter.builder.declare_var(element_type(dtype)), emitter.builder.declare_var(types::I32));
        emitter.builder.def_var(largest, first);
        let zero = emitter.builder.ins().iconst(types::I32, 0);
        emitter.builder.def_var(index, zero);
        return Accumulator::Largest(largest, index);
    }
    if !interleaved {
        let sum = emitter.builder.declare_var(element_type(dtype));
        emitter.builder.def_var(sum, first);
        return Accumulator::One(sum);
    }
    let slot = emitter.new_slot((SUM_LANES as u32) * dtype.bytes() as u32);
    let address = emitter.builder.ins().stack_addr(types::I64, slot, 0);
    for lane in 0..SUM_LANES as i32 {
        emitter.store(first, address, lane * dtype.bytes() as i32);
    }
    Accumulator::Lanes(address)
}

fn put(
    emitter: &mut Emitter<'_, '_>,
    stage: &Stage,
    reduction: &Reduction,
    accumulator: &Accumulator,
    x: Value,
    last: Value,
) {
    let dtype = dtype(stage, reduction.value);
    match accumulator {
        Accumulator::One(sum) => {
            let before = emitter.builder.use_var(*sum);
            let after = emitter.accumulate(reduction.kind, dtype, before, x, 1);
            emitter.builder.def_var(*sum, after);
        }
        Accumulator::Lanes(lanes) => {
            let lane = emitter.builder.ins().band_imm_u(last, SUM_LANES - 1);
            let offset = emitter.times(lane, dtype.bytes() as i64);
            let address = emitter.builder.ins().iadd(*lanes, offset);
            let before = emitter.load(element_type(dtype), address, 0);
            let after = emitter.accumulate(reduction.kind, dtype, before, x, 1);
            emitter.store(after, address, 0);
        }
        Accumulator::Largest(largest, index) => {
            let before = (emitter.builder.use_var(*largest), emitter.builder.use_var(*index));
            let here = emitter.builder.ins().ireduce(types::I32, last);
            let after = emitter.largest_so_far(dtype, before, (x, here), 1);
            emitter.builder.def_var(*largest, after.0);
            emitter.builder.def_var(*index, after.1);
        }
    }
}

fn result(emitter: &mut Emitter<'_, '_>, stage: &Stage, reduction: &Reduction, accumulator: &Accumulator) -> Value {
    let dtype = dtype(stage, reduction.value);
    match accumulator {
        Accumulator::One(sum) => emitter.builder.use_var(*sum),
        Accumulator::Largest(_, index) => emitter.builder.use_var(*index),
        Accumulator::Lanes(lanes) => {
            let mut sums: Vec<Value> = (0..SUM_LANES as i32)
                .map(|lane| emitter.load(element_type(dtype), *lanes, lane * dtype.bytes() as i32))
                .collect();
            while sums.len() > 1 {
                let upper = sums.split_off(sums.len() / 2);
                for (sum, x) in sums.iter_mut().zip(upper) {
                    *sum = emitter.accumulate(reduction.kind, dtype, *sum, x, 1);
                }
            }
            sums[0]
        }
    }
}

/// One scalar of a stage where `axes` are the loop axes, and `given` is what reductions or carries hold.
pub(super) fn scalar(
    emitter: &mut Emitter<'_, '_>,
    stage: &Stage,
    id: ValueId,
    axes: &[Value],
    values: &SecondaryMap<ValueId, Option<Value>>,
    given: &[Value],
) -> Value {
    let operand = |id: ValueId| values[id].expect("bug in bpc: a scalar that uses a later one");
    match &stage.values[id] {
        Scalar::Literal(literal) => emitter.literal(*literal),
        Scalar::Index { map, dtype } => {
            let index = emitter.affine(map, axes, None);
            emitter.cast(index, Dtype::I64, *dtype, 1)
        }
        Scalar::Load { buffer, map, guards, otherwise } => {
            let inside = inside(emitter, guards, axes);
            if emitter.program.buffers[*buffer].packed.is_some() {
                let (base, index) = (emitter.base(*buffer), emitter.affine(map, axes, None));
                let otherwise = inside.map(|inside| (inside, emitter.literal(*otherwise)));
                return emitter.load_bit(base, index, otherwise);
            }
            let address = emitter.address(*buffer, map, axes, None);
            load(emitter, otherwise.dtype, address, inside, *otherwise)
        }
        Scalar::Gather { buffer, index, rows, row_stride, map } => {
            let row = emitter.builder.ins().sextend(types::I64, operand(*index));
            let rows = emitter.integer(*rows as i64);
            let known = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, row, rows);
            let ty = emitter.program.buffers[*buffer].ty.dtype;
            let begin = emitter.address(*buffer, map, axes, None);
            let offset = emitter.times(row, row_stride * ty.bytes() as i64);
            let address = emitter.builder.ins().iadd(begin, offset);
            load(emitter, ty, address, Some(known), Literal::new(ty, f64::NAN))
        }
        Scalar::Random { normal, site, seed, step, map, dtype } => {
            let first = emitter.affine(map, axes, None);
            let site = emitter.builder.ins().iconst(types::I32, i64::from(*site));
            let (seed, step) = (emitter.base(*seed), emitter.base(*step));
            let step = emitter.load(types::I32, step, 0);
            let (out, one) = (emitter.slot("result", 8), emitter.integer(1));
            emitter.call_runtime(runtime::random(*normal, *dtype), &[out, seed, step, site, first, one]);
            emitter.load(element_type(*dtype), out, 0)
        }
        Scalar::Unary(op, x) => match runtime::routine(op, dtype(stage, *x)) {
            Some(routine) => call(emitter, routine, &[operand(*x)]),
            None => emitter.unary(op, dtype(stage, *x), operand(*x), 1),
        },
        Scalar::Binary(op, x, y) => match runtime::routine(op, dtype(stage, *x)) {
            Some(routine) => call(emitter, routine, &[operand(*x), operand(*y)]),
            None => emitter.binary(op, dtype(stage, *x), operand(*x), operand(*y), 1),
        },
        Scalar::Select(condition, x, y) => emitter.choose(operand(*condition), operand(*x), operand(*y), 1),
        Scalar::Cast(x, to) => emitter.cast(operand(*x), dtype(stage, *x), *to, 1),
        Scalar::Reduced(index) | Scalar::Carried(index) => given[*index as usize],
    }
}

/// A heavy function of one element, or of each lane of a vector.
pub(super) fn call(emitter: &mut Emitter<'_, '_>, routine: &'static str, operands: &[Value]) -> Value {
    let ty = emitter.builder.func.dfg.value_type(operands[0]);
    let out = emitter.slot("result", ty.bytes().max(8));
    let mut arguments = vec![out];
    for (purpose, operand) in ["first operand", "second operand"].into_iter().zip(operands) {
        let slot = emitter.slot(purpose, ty.bytes().max(8));
        emitter.store(*operand, slot, 0);
        arguments.push(slot);
    }
    arguments.push(emitter.integer(i64::from(ty.lane_count())));
    emitter.call_runtime(routine, &arguments);
    emitter.load(ty, out, 0)
}

/// Whether all guards hold; none where there are none.
pub(super) fn inside(emitter: &mut Emitter<'_, '_>, guards: &[Guard], axes: &[Value]) -> Option<Value> {
    let mut all = None;
    for guard in guards {
        let place = emitter.affine(&guard.map, axes, None);
        let place = emitter.plus(place, -guard.low);
        let size = emitter.integer(guard.high - guard.low);
        let holds = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, place, size);
        all = Some(all.map_or(holds, |all| emitter.builder.ins().band(all, holds)));
    }
    all
}

/// One element at an address, which is touched only where the condition holds.
pub(super) fn load(
    emitter: &mut Emitter<'_, '_>,
    dtype: Dtype,
    address: Value,
    condition: Option<Value>,
    otherwise: Literal,
) -> Value {
    let ty = element_type(dtype);
    let Some(condition) = condition else {
        return emitter.load(ty, address, 0);
    };
    let safe = emitter.slot("outside", 8);
    let address = emitter.builder.ins().select(condition, address, safe);
    let element = emitter.load(ty, address, 0);
    let otherwise = emitter.literal(otherwise);
    emitter.builder.ins().select(condition, element, otherwise)
}
