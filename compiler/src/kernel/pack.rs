//! Bits that lie 64 to a word: parameters of dtype bool, and bits in between that routines read as packed rows.
//!
//! Expects: fused steps whose maps count elements, before their loops are ordered.
//! Guarantees: the same values. A parameter is packed or not by its type alone, so that all programs of a model agree. Of a packed
//! buffer, nests write bits such that no two iterations of the loops that workers share write to one byte. Whatever cannot
//! read or write bits works on a copy with a byte for each.
//! Leaves out: data and outputs, which are the caller's; state that is no parameter; bits that only nests read.
//!
//! Maps of a packed buffer count bits, of which each row begins with a new word: a map that counted elements gets the
//! longer rows. That takes a map whose every axis either goes from row to row or stays within one.

use super::ir::{
    AffineMap, Buffer, BufferId, BufferRole, Call, Nest, Place, Program, Scalar, Stage, Step, Store, WORD_BITS,
    packed_row,
};
use super::{library, region};
use crate::ir::types::{Dtype, TensorType};
use cranelift_entity::SecondaryMap;

/// Packs what gains by it.
pub fn pack(program: &mut Program, steps: &mut Vec<Step>) {
    let mut rows = SecondaryMap::<BufferId, Option<u64>>::new();
    for (id, buffer) in &program.buffers {
        let row = match buffer.role {
            BufferRole::Parameter => parameter_row(&buffer.ty),
            BufferRole::Temporary if buffer.place == Place::Unplanned && buffer.ty.dtype == Dtype::Bool => {
                row_of_calls(steps, id).filter(|row| is_worth_it(&buffer.ty, *row))
            }
            _ => None,
        };
        rows[id] = row.filter(|row| {
            buffer.role == BufferRole::Parameter || steps.iter().all(|step| is_fit(program, step, id, *row))
        });
    }
    for id in program.buffers.keys() {
        program.buffers[id].packed = rows[id];
    }
    let mut packed = Vec::new();
    for mut step in std::mem::take(steps) {
        let (reads, writes) = step.accesses(program);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut all = [reads.as_slice(), &writes].concat();
        all.sort_unstable();
        all.dedup();
        for id in all {
            let Some(row) = rows[id] else { continue };
            if is_fit(program, &step, id, row) {
                lengthen(&mut step, id, row);
                continue;
            }
            let ty = program.buffers[id].ty.clone();
            let copy = program.buffers.push(Buffer::temporary(ty.clone()));
            replace(program, &mut step, id, copy);
            let through = |from: BufferId, to: BufferId| {
                let mut step = Step::Nest(by_rows(from, to, &ty, row));
                lengthen(&mut step, id, row);
                step
            };
            if reads.contains(&id) {
                before.push(through(id, copy));
            }
            if writes.contains(&id) {
                after.push(through(copy, id));
            }
        }
        packed.extend(before);
        packed.push(step);
        packed.extend(after);
    }
    for step in &mut packed {
        without_needless_memory(program, step);
    }
    *steps = packed;
}

/// The bits of a row of a parameter of this type, if it is packed: all of one place of the first axis.
pub fn parameter_row(ty: &TensorType) -> Option<u64> {
    let row = if ty.rank() > 1 { ty.shape[1..].iter().product() } else { ty.elements() };
    (ty.dtype == Dtype::Bool && is_worth_it(ty, row)).then_some(row)
}

/// Whether words take less memory than bytes.
fn is_worth_it(ty: &TensorType, row: u64) -> bool {
    ty.elements() > 0 && packed_row(row) / 8 < row
}

/// The length of the rows in which all routines that read a buffer want its bits; none where none does, or they differ.
fn row_of_calls(steps: &[Step], buffer: BufferId) -> Option<u64> {
    let calls = steps.iter().filter_map(|step| if let Step::Call(call) = step { Some(call) } else { None });
    let mut rows = calls.flat_map(|call| operands_of(call, buffer)).map(|(_, ty)| ty.shape[ty.rank() - 1]);
    let first = rows.next()?;
    rows.all(|row| row == first).then_some(first)
}

fn operands_of(call: &Call, buffer: BufferId) -> impl Iterator<Item = &(BufferId, TensorType)> {
    call.operands.iter().filter(move |(operand, _)| *operand == buffer)
}

/// Whether a step can read and write the buffer in packed rows, or does neither.
fn is_fit(program: &Program, step: &Step, buffer: BufferId, row: u64) -> bool {
    match step {
        Step::Nest(nest) => nest.stages.iter().all(|stage| is_fit_stage(nest, stage, buffer, row)),
        Step::Call(call) => {
            let takes = |(_, ty): &(BufferId, TensorType)| {
                library::reads_packed_bits(&call.op) && ty.shape.last() == Some(&row) && ty.dtype == Dtype::Bool
            };
            call.result != buffer && operands_of(call, buffer).all(takes)
        }
        Step::Product(_) | Step::Repeat(_) | Step::March(_) => {
            let (reads, writes) = step.accesses(program);
            !reads.contains(&buffer) && !writes.contains(&buffer)
        }
    }
}

fn is_fit_stage(nest: &Nest, stage: &Stage, buffer: BufferId, row: u64) -> bool {
    let sizes = stage.sizes(&nest.outer);
    let reads = stage.values.values().all(|scalar| match scalar {
        Scalar::Load { buffer: read, map, .. } => *read != buffer || in_long_rows(map, &sizes, row).is_some(),
        other => !other.buffers().contains(&buffer),
    });
    let inner = nest.outer.len()..nest.outer.len() + stage.inner.len();
    let fits = |store: &Store| {
        in_long_rows(&store.map, &sizes, row).is_some_and(|map| {
            let within = map.within_words();
            map.offset % WORD_BITS as i64 == 0
                && (within.is_empty()
                    || matches!(within[..], [axis] if inner.contains(&axis) && map.strides[axis] == 1))
        })
    };
    reads && stage.stores.iter().filter(|store| store.buffer == buffer).all(fits)
}

/// A map that counts elements of rows of `row` as one that counts the bits of packed rows; none where an axis does neither go from
/// row to row nor stay within one.
fn in_long_rows(map: &AffineMap, sizes: &[u64], row: u64) -> Option<AffineMap> {
    let (row, long) = (i64::try_from(row).ok()?, i64::try_from(packed_row(row)).ok()?);
    if row == long {
        return Some(map.clone());
    }
    let mut column = AffineMap { offset: map.offset.rem_euclid(row), strides: vec![0; map.strides.len()] };
    let mut result = AffineMap { offset: map.offset.div_euclid(row) * long + column.offset, strides: vec![] };
    for (axis, stride) in map.strides.iter().enumerate() {
        if stride % row == 0 {
            result.strides.push(stride / row * long);
        } else {
            column.strides[axis] = *stride;
            result.strides.push(*stride);
        }
    }
    let (low, high) = column.range(sizes);
    (low >= 0 && high < row).then_some(result)
}

/// Lets a nest that fits count the bits of packed rows.
fn lengthen(step: &mut Step, buffer: BufferId, row: u64) {
    let Step::Nest(nest) = step else { return };
    for stage in &mut nest.stages {
        let sizes = stage.sizes(&nest.outer);
        let longer = |map: &mut AffineMap| {
            *map = in_long_rows(map, &sizes, row).expect("bug in bpc: packed rows that do not fit");
        };
        for scalar in stage.values.values_mut() {
            if let Scalar::Load { buffer: read, map, .. } = scalar
                && *read == buffer
            {
                longer(map);
            }
        }
        stage.stores.iter_mut().filter(|store| store.buffer == buffer).for_each(|store| longer(&mut store.map));
    }
}

/// Lets a step use another buffer, and its loops walk through that one.
fn replace(program: &mut Program, step: &mut Step, old: BufferId, new: BufferId) {
    for buffer in step.buffers_mut() {
        if *buffer == old {
            *buffer = new;
        }
        let place = &mut program.buffers[*buffer].place;
        if *place == Place::Slice(old) {
            *place = Place::Slice(new);
        }
    }
}

/// A copy row by row, with maps that count elements.
fn by_rows(from: BufferId, to: BufferId, ty: &TensorType, row: u64) -> Nest {
    region::copy(from, to, &TensorType::new(ty.dtype, [ty.elements() / row, row]))
}

/// Routines that find their rows packed need no memory to pack them in.
fn without_needless_memory(program: &Program, step: &mut Step) {
    match step {
        Step::Call(call) if call.memory.is_some() && call.routine(program).room.call == 0 => call.memory = None,
        Step::Repeat(repeat) => repeat.steps.iter_mut().for_each(|step| without_needless_memory(program, step)),
        _ => {}
    }
}
