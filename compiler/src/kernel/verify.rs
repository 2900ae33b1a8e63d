//! What every program must satisfy.
//!
//! Expects: a planned program.
//! Guarantees: after `Ok`, every load and store stays inside its buffer, dtypes agree, scalars are defined before they
//! are used, every temporary is written before it is read, every place lies inside its block, and no two buffers share
//! bytes while both are alive.
//! Leaves out: whether the program computes what the graph means.

use super::in_place::same_element_only;
use super::ir::{
    AffineMap, BufferId, BufferRole, Call, Carried, Guard, March, Nest, Place, Product, Program, Scalar, Stage, Step,
    WORD_BITS,
};
use super::library;
use super::plan::{self, Life};
use crate::ir::types::{Dtype, TensorType, Type};
use std::collections::BTreeSet;

/// Places of loops that are tried one by one where intervals cannot decide about a guarded access.
const MOST_PLACES: u64 = 1 << 20;

/// Checks a program.
///
/// # Errors
/// A sentence about the first thing that is wrong.
pub fn verify(program: &Program) -> Result<(), String> {
    places(program)?;
    let mut written: BTreeSet<BufferId> = program
        .buffers
        .iter()
        .filter(|(_, buffer)| !matches!(buffer.role, BufferRole::Temporary | BufferRole::Output | BufferRole::Warning))
        .map(|(id, _)| id)
        .collect();
    steps(program, &program.steps, &mut written)?;
    lives(program)
}

fn places(program: &Program) -> Result<(), String> {
    for (number, id) in program.arguments().into_iter().enumerate() {
        let buffer = &program.buffers[id];
        if buffer.place != Place::Argument(number as u32) {
            return Err(format!("{id} is another argument than {number}, which it should be"));
        }
        if !matches!(buffer.role, BufferRole::Data | BufferRole::Output) {
            return Err(format!("{id} is an argument and neither data nor output"));
        }
        let writes = |step: &Step| step.accesses(program).1.contains(&id);
        if buffer.role == BufferRole::Data && program.steps.iter().any(writes) {
            return Err(format!("{id} is data of the caller and is written"));
        }
    }
    for (id, buffer) in &program.buffers {
        if let Some(row) = buffer.packed
            && (buffer.ty.dtype != Dtype::Bool
                || row == 0
                || !buffer.ty.elements().is_multiple_of(row)
                || !matches!(buffer.place, Place::State(_) | Place::Workspace(_))
                || buffer.role == BufferRole::Warning)
        {
            return Err(format!("{id} of type {} is packed in rows of {row} bits, and cannot be", buffer.ty));
        }
        let (at, end) = match buffer.place {
            Place::Unplanned => return Err(format!("{id} has no place")),
            Place::State(at) => (at, program.state_bytes),
            Place::Workspace(at) => (at, program.workspace_bytes),
            Place::Scratch(_) | Place::Slice(_) | Place::Argument(_) => continue,
        };
        if at % 64 != 0 || at.checked_add(buffer.bytes()).is_none_or(|reached| reached > end) {
            return Err(format!("{id} of {} bytes lies at {at} of {end}", buffer.bytes()));
        }
    }
    Ok(())
}

fn steps(program: &Program, list: &[Step], written: &mut BTreeSet<BufferId>) -> Result<(), String> {
    for step in list {
        bytes_alone(program, step)?;
        match step {
            Step::Nest(nest) => {
                self::nest(program, nest, written).map_err(|error| format!("nest {}: {error}", nest.name))?;
            }
            Step::Product(product) => {
                self::product(program, product)?;
                is_written(program, product.a.buffer, written)?;
                is_written(program, product.b.buffer, written)?;
                written.insert(product.c.buffer);
            }
            Step::Call(call) => {
                self::call(program, call, written).map_err(|error| format!("call {}: {error}", call.op.name()))?;
                written.insert(call.result);
            }
            Step::Repeat(repeat) => {
                for (first, carry) in &repeat.initial {
                    is_written(program, *first, written)?;
                    same_bytes(program, *first, *carry)?;
                    written.insert(*carry);
                }
                for (whole, slice) in &repeat.sequences {
                    is_written(program, *whole, written)?;
                    is_slice(program, *slice, *whole, repeat.length)?;
                    written.insert(*slice);
                }
                steps(program, &repeat.steps, written)?;
                for (slice, whole) in &repeat.stacks {
                    is_slice(program, *slice, *whole, repeat.length)?;
                    is_written(program, *slice, written)?;
                    written.insert(*whole);
                }
                for (next, carry) in &repeat.advance {
                    is_written(program, *next, written)?;
                    same_bytes(program, *next, *carry)?;
                    if repeat.initial.iter().any(|(_, carry)| carry == next) {
                        return Err(format!("the carry {next} is the next value of {carry}"));
                    }
                }
            }
            Step::March(march) => {
                self::march(program, march, written).map_err(|error| format!("march {}: {error}", march.name))?;
                let (mut reads, mut writes) = (Vec::new(), Vec::new());
                step.collect(&mut reads, &mut writes);
                if let Some(buffer) = writes.iter().find(|buffer| reads.contains(buffer)) {
                    return Err(format!("march {}: it reads and writes {buffer}", march.name));
                }
                written.extend(writes);
            }
        }
    }
    Ok(())
}

/// Only nests and some routines know packed bits.
fn bytes_alone(program: &Program, step: &Step) -> Result<(), String> {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    match step {
        Step::Nest(_) => return Ok(()),
        // Its operands are looked at with their types, its body with its steps.
        Step::Call(call) => writes.extend([call.result].into_iter().chain(call.memory)),
        Step::Repeat(repeat) => {
            let lists = [&repeat.sequences, &repeat.initial, &repeat.stacks, &repeat.advance];
            reads.extend(lists.into_iter().flatten().flat_map(|(from, to)| [*from, *to]));
        }
        Step::Product(_) | Step::March(_) => step.collect(&mut reads, &mut writes),
    }
    match reads.into_iter().chain(writes).find(|buffer| program.buffers[*buffer].packed.is_some()) {
        Some(buffer) => Err(format!("the packed bits {buffer} in a step that takes none")),
        None => Ok(()),
    }
}

fn call(program: &Program, call: &Call, written: &BTreeSet<BufferId>) -> Result<(), String> {
    for (buffer, ty) in &call.operands {
        is_written(program, *buffer, written)?;
        holds(program, *buffer, ty)?;
        if let Some(row) = program.buffers[*buffer].packed
            && (!library::reads_packed_bits(&call.op) || ty.shape.last() != Some(&row))
        {
            return Err(format!("{buffer} has packed rows of {row} bits, which the routine does not read"));
        }
        if *buffer == call.result {
            return Err(format!("it reads and writes {buffer}"));
        }
    }
    let types: Vec<Type> = call.operands.iter().map(|(_, ty)| Type::Tensor(ty.clone())).collect();
    match call.op.infer(&types.iter().collect::<Vec<_>>())? {
        Type::Tensor(ty) => holds(program, call.result, &ty)?,
        Type::Tuple(_) => return Err("its result is a tuple".to_string()),
    }
    let (needed, given) =
        (call.routine(program).room.call, call.memory.map_or(0, |memory| program.buffers[memory].bytes()));
    if given < needed {
        return Err(format!("its routine works in {needed} bytes and gets {given}"));
    }
    match call.memory {
        Some(memory) if memory == call.result || call.operands.iter().any(|(operand, _)| *operand == memory) => {
            Err(format!("{memory} is an operand or the result, and the memory that its routine works in"))
        }
        _ => Ok(()),
    }
}

fn holds(program: &Program, buffer: BufferId, ty: &TensorType) -> Result<(), String> {
    let known = &program.buffers[buffer].ty;
    let fits = known.dtype == ty.dtype && known.elements() == ty.elements();
    if fits { Ok(()) } else { Err(format!("{buffer} is {known}, not {ty}")) }
}

fn same_bytes(program: &Program, a: BufferId, b: BufferId) -> Result<(), String> {
    let (x, y) = (&program.buffers[a].ty, &program.buffers[b].ty);
    if x.dtype == y.dtype && x.elements() == y.elements() { Ok(()) } else { Err(format!("{a} is {x} and {b} is {y}")) }
}

fn is_slice(program: &Program, slice: BufferId, whole: BufferId, length: u64) -> Result<(), String> {
    let (part, all) = (&program.buffers[slice].ty, &program.buffers[whole].ty);
    let fits = part.dtype == all.dtype && part.elements().checked_mul(length) == Some(all.elements());
    if fits && program.buffers[slice].place == Place::Slice(whole) {
        Ok(())
    } else {
        Err(format!("{slice} of type {part} is no slice of {whole} of type {all}"))
    }
}

fn is_written(program: &Program, buffer: BufferId, written: &BTreeSet<BufferId>) -> Result<(), String> {
    if written.contains(&buffer) || program.buffers[buffer].ty.elements() == 0 {
        Ok(())
    } else {
        Err(format!("{buffer} is read before it is written"))
    }
}

fn nest(program: &Program, nest: &Nest, written: &mut BTreeSet<BufferId>) -> Result<(), String> {
    for stage in &nest.stages {
        let sizes = stage.sizes(&nest.outer);
        if stage.reductions.is_empty() != stage.reduced.is_empty() && stage.reductions.is_empty() {
            return Err("reduced axes without a reduction".to_owned());
        }
        if stage.vector_axis.is_some_and(|axis| {
            (axis as usize) < nest.outer.len()
                || axis as usize >= sizes.len()
                || axis as usize >= nest.outer.len() + stage.inner.len() && axis as usize != sizes.len() - 1
        }) {
            return Err("the vector axis is neither inner nor the last reduced one".to_owned());
        }
        if stage.maps().any(|map| map.strides.len() != sizes.len()) {
            return Err("a map over another number of axes".to_owned());
        }
        scalars(program, stage, &sizes, &[], written)?;
        for store in &stage.stores {
            let entry = &program.buffers[store.buffer];
            let ty = &entry.ty;
            if stage.dtype(store.value) != ty.dtype {
                return Err(format!("{} of type {ty} gets a {}", store.buffer, stage.dtype(store.value)));
            }
            if sizes[..nest.outer.len() + stage.inner.len()].contains(&0) {
                continue;
            }
            let (low, high) = range(&store.map, &sizes)?;
            if low < 0 || high >= entry.extent() as i64 {
                return Err(format!("a store to {} of type {ty} reaches from {low} to {high}", store.buffer));
            }
            if !stage.reductions.is_empty()
                && (store.value.as_u32() < stage.n_inside
                    || store.map.strides[sizes.len() - stage.reduced.len()..].iter().any(|stride| *stride != 0))
            {
                return Err(format!("a store to {} inside a reduction", store.buffer));
            }
            if entry.packed.is_some() && !bits_apart(nest, stage, &store.map) {
                return Err(format!("workers share the bytes of the packed bits {}", store.buffer));
            }
            if let Place::Scratch(at) = entry.place
                && (at.checked_add(entry.bytes()).is_none_or(|end| end > nest.scratch_bytes)
                    || store.map.strides[..nest.outer.len()].iter().any(|stride| *stride != 0))
            {
                return Err(format!("{} leaves the scratch", store.buffer));
            }
            written.insert(store.buffer);
        }
    }
    Ok(())
}

/// Whether all bits of a byte are written by one worker: those that workers share are whole words, or places of the vector axis,
/// of which they take many at a time.
fn bits_apart(nest: &Nest, stage: &Stage, map: &AffineMap) -> bool {
    let inner = nest.outer.len()..nest.outer.len() + stage.inner.len();
    map.offset % WORD_BITS as i64 == 0
        && match map.within_words()[..] {
            [] => true,
            [axis] => inner.contains(&axis) && map.strides[axis] == 1 && stage.vector_axis == Some(axis as u32),
            _ => false,
        }
}

fn march(program: &Program, march: &March, written: &BTreeSet<BufferId>) -> Result<(), String> {
    let stage = &march.stage;
    let sizes = &stage.inner;
    if sizes.len() != 2 || !stage.reduced.is_empty() || !stage.reductions.is_empty() || stage.vector_axis.is_some() {
        return Err("its axes are not the turn and the place".to_owned());
    }
    let ends = march.carries.iter().flat_map(|carry| [Some(&carry.first), carry.last.as_ref()]).flatten();
    if stage.maps().chain(ends.map(|(_, map)| map)).any(|map| map.strides.len() != 2) {
        return Err("a map over another number of axes".to_owned());
    }
    scalars(program, stage, sizes, &march.carries, written)?;
    let access = |buffer: BufferId, map: &AffineMap, dtype: Dtype| {
        let ty = &program.buffers[buffer].ty;
        let (low, high) = if sizes.contains(&0) { (0, -1) } else { map.range(sizes) };
        let fits = ty.dtype == dtype && low >= 0 && high < ty.elements() as i64;
        if fits { Ok(()) } else { Err(format!("{buffer} of type {ty} as {dtype} from {low} to {high}")) }
    };
    for store in &stage.stores {
        access(store.buffer, &store.map, stage.dtype(store.value))?;
    }
    for (index, carry) in march.carries.iter().enumerate() {
        if stage.values.get(carry.next).is_none() || stage.dtype(carry.next) != carry.dtype {
            return Err(format!("the next value of carry {index} is no {}", carry.dtype));
        }
        is_written(program, carry.first.0, written)?;
        for (buffer, map) in [Some(&carry.first), carry.last.as_ref()].into_iter().flatten() {
            if map.strides[0] != 0 {
                return Err(format!("carry {index} depends on the turn"));
            }
            // Even without turns, first values become last ones.
            let all = [1, sizes[1]];
            let (low, high) = if sizes[1] == 0 { (0, -1) } else { map.range(&all) };
            if low < 0 || high >= program.buffers[*buffer].ty.elements() as i64 {
                return Err(format!("carry {index} reaches from {low} to {high} in {buffer}"));
            }
            access(*buffer, map, carry.dtype)?;
        }
    }
    Ok(())
}

fn scalars(
    program: &Program,
    stage: &Stage,
    sizes: &[u64],
    carries: &[Carried],
    written: &BTreeSet<BufferId>,
) -> Result<(), String> {
    let reduces = !stage.reductions.is_empty();
    if !reduces && stage.n_inside as usize != stage.values.len() {
        return Err("values after loops that reduce nothing".to_owned());
    }
    for (id, scalar) in &stage.values {
        let is_after = id.as_u32() >= stage.n_inside;
        for operand in scalar.operands() {
            if operand >= id || is_after && operand.as_u32() < stage.n_inside {
                return Err(format!("{id} uses {operand}, which is not there"));
            }
        }
        for buffer in scalar.buffers() {
            is_written(program, buffer, written)?;
            if program.buffers[buffer].packed.is_some() && !matches!(scalar, Scalar::Load { .. }) {
                return Err(format!("{id} takes the packed bits {buffer} for bytes"));
            }
        }
        let dtype = stage.dtype(id);
        let expected = match scalar {
            Scalar::Literal(literal) => literal.dtype,
            Scalar::Index { dtype, .. } | Scalar::Random { dtype, .. } | Scalar::Cast(_, dtype) => *dtype,
            Scalar::Load { buffer, .. } | Scalar::Gather { buffer, .. } => program.buffers[*buffer].ty.dtype,
            Scalar::Unary(_, x) => stage.dtype(*x),
            Scalar::Binary(op, x, y) => {
                if stage.dtype(*x) != stage.dtype(*y) {
                    return Err(format!("{id}: {} of {} and {}", op.name(), stage.dtype(*x), stage.dtype(*y)));
                }
                let compares = matches!(op.name(), "equal" | "less" | "less_equal");
                if compares { Dtype::Bool } else { stage.dtype(*x) }
            }
            Scalar::Select(condition, x, y) => {
                if stage.dtype(*condition) != Dtype::Bool || stage.dtype(*x) != stage.dtype(*y) {
                    return Err(format!("{id}: the dtypes of a select differ"));
                }
                stage.dtype(*x)
            }
            Scalar::Reduced(index) => {
                if !is_after || *index as usize >= stage.reductions.len() {
                    return Err(format!("{id} uses reduction {index}, which is not there"));
                }
                let reduction = stage.reductions[*index as usize];
                if reduction.kind == super::ir::ReductionKind::Argmax {
                    Dtype::I32
                } else {
                    stage.dtype(reduction.value)
                }
            }
            Scalar::Carried(index) => match carries.get(*index as usize) {
                Some(carry) => carry.dtype,
                None => return Err(format!("{id} uses carry {index}, which is not there")),
            },
        };
        if dtype != expected {
            return Err(format!("{id} is called {dtype} and is {expected}"));
        }
        let mut reached = sizes.to_vec();
        if is_after {
            let first = reached.len() - stage.reduced.len();
            reached[first..].fill(1);
        }
        if reached.contains(&0) {
            continue;
        }
        let (buffer, inside) = match scalar {
            Scalar::Load { buffer, map, guards, .. } => {
                let elements = program.buffers[*buffer].extent() as i64;
                (*buffer, stays_inside(map, guards, &reached, elements)?)
            }
            Scalar::Gather { buffer, rows, row_stride, map, .. } => {
                let elements = program.buffers[*buffer].ty.elements() as i64;
                let mut with_rows = map.clone();
                with_rows.strides.push(*row_stride);
                reached.push(*rows);
                let inside = reached.contains(&0) || {
                    let (low, high) = range(&with_rows, &reached)?;
                    low >= 0 && high < elements
                };
                (*buffer, inside)
            }
            _ => continue,
        };
        if !inside {
            return Err(format!("{id} reads beyond {buffer} of type {}", program.buffers[buffer].ty));
        }
    }
    if stage.reductions.iter().any(|reduction| reduction.value.as_u32() >= stage.n_inside) {
        return Err("a reduction of a value after its loops".to_owned());
    }
    Ok(())
}

/// The smallest and the largest value of a map over loop axes of these sizes, of which only those that it does not
/// depend on may be 0; no sum on the way there leaves 64 bits.
fn range(map: &AffineMap, sizes: &[u64]) -> Result<(i64, i64), String> {
    let last = |(stride, size): (&i64, &u64)| u128::from(stride.unsigned_abs()) * u128::from(size.saturating_sub(1));
    let mut lasts = map.strides.iter().zip(sizes).map(last);
    let reach = lasts.try_fold(u128::from(map.offset.unsigned_abs()), |sum, last| sum.checked_add(last));
    if reach.is_none_or(|reach| reach > i64::MAX as u128) || sizes.iter().any(|size| *size > i64::MAX as u64) {
        return Err("an index leaves 64 bits".to_owned());
    }
    Ok(map.range(sizes))
}

/// Whether a map stays in 0 .. elements where all guards hold.
fn stays_inside(map: &AffineMap, guards: &[Guard], sizes: &[u64], elements: i64) -> Result<bool, String> {
    let (low, high) = range(map, sizes)?;
    for guard in guards {
        range(&guard.map, sizes)?;
    }
    if low >= 0 && high < elements || fits_by_parts(map, guards, sizes, elements) == Some(true) {
        return Ok(true);
    }
    let places = sizes.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let Some(places) = places.filter(|places| *places <= MOST_PLACES) else { return Ok(false) };
    Ok((0..places).all(|index| {
        let mut index = index;
        let mut at = vec![0; sizes.len()];
        for axis in (0..sizes.len()).rev() {
            at[axis] = index % sizes[axis];
            index /= sizes[axis];
        }
        let holds = guards.iter().all(|guard| (guard.low..guard.high).contains(&guard.map.at(&at)));
        !holds || (0..elements).contains(&map.at(&at))
    }))
}

/// The same by intervals: the map as multiples of the guarded coordinates and a rest, each with its own range. `None` where
/// these numbers leave 64 bits.
fn fits_by_parts(map: &AffineMap, guards: &[Guard], sizes: &[u64], elements: i64) -> Option<bool> {
    let mut rest = map.clone();
    let (mut lowest, mut highest) = (0i64, 0i64);
    for guard in guards {
        let Some(axis) = guard.map.strides.iter().position(|stride| *stride != 0) else { continue };
        let factor = rest.strides[axis].checked_div(guard.map.strides[axis])?;
        let (low, high) = range(&guard.map, sizes).ok()?;
        let (low, high) = (low.max(guard.low), high.min(guard.high.saturating_sub(1)));
        if low > high {
            return Some(true);
        }
        let less = |number: &mut i64, part: i64| {
            *number = number.checked_sub(factor.checked_mul(part)?)?;
            Some(())
        };
        less(&mut rest.offset, guard.map.offset)?;
        for (stride, part) in rest.strides.iter_mut().zip(&guard.map.strides) {
            less(stride, *part)?;
        }
        let (one, other) = (factor.checked_mul(low)?, factor.checked_mul(high)?);
        (lowest, highest) = (lowest.checked_add(one.min(other))?, highest.checked_add(one.max(other))?);
    }
    let (low, high) = range(&rest, sizes).ok()?;
    Some(lowest.checked_add(low)? >= 0 && highest.checked_add(high)? < elements)
}

fn product(program: &Program, product: &Product) -> Result<(), String> {
    let mut sizes = product.batch.clone();
    let parts = [
        (&product.a, [product.m, product.k]),
        (&product.b, [product.k, product.n]),
        (&product.c, [product.m, product.n]),
    ];
    for (operand, matrix) in parts {
        let ty = &program.buffers[operand.buffer].ty;
        if !ty.dtype.is_float() || ty.dtype != program.buffers[product.c.buffer].ty.dtype {
            return Err(format!("a product with {} of type {ty}", operand.buffer));
        }
        sizes.truncate(product.batch.len());
        sizes.extend(matrix);
        let mut strides = operand.batch_strides.clone();
        strides.extend([operand.row_stride, operand.column_stride]);
        if strides.len() != sizes.len() {
            return Err(format!("a product with {}: the batch axes differ", operand.buffer));
        }
        if sizes.contains(&0) {
            continue;
        }
        let (low, high) = range(&AffineMap { offset: operand.offset, strides }, &sizes)?;
        if low < 0 || high >= ty.elements() as i64 {
            return Err(format!("a product reaches from {low} to {high} in {} of type {ty}", operand.buffer));
        }
    }
    Ok(())
}

/// No two buffers share bytes while both are alive, except where a value takes the place of a dying operand.
fn lives(program: &Program) -> Result<(), String> {
    let lives = plan::lives(program);
    let bytes = |life: &Life| match program.buffers[life.buffer].place {
        Place::Workspace(at) => Some((at, at + program.buffers[life.buffer].bytes())),
        _ => None,
    };
    for (index, a) in lives.iter().enumerate() {
        for b in &lives[index + 1..] {
            let (Some(x), Some(y)) = (bytes(a), bytes(b)) else { continue };
            let shares = x.0 < y.1 && y.0 < x.1;
            if !shares || a.last < b.first || b.last < a.first {
                continue;
            }
            let (old, new) = if a.last == b.first { (a, b) } else { (b, a) };
            let same = plan::same_layout(&program.buffers[old.buffer], &program.buffers[new.buffer]);
            let takes_over = old.last == new.first && x == y && same && is_heir(program, new.buffer, old.buffer);
            if !takes_over {
                return Err(format!("{} and {} share bytes while both are alive", a.buffer, b.buffer));
            }
        }
    }
    Ok(())
}

fn is_heir(program: &Program, new: BufferId, old: BufferId) -> bool {
    fn search(steps: &[Step], new: BufferId, old: BufferId) -> bool {
        steps.iter().any(|step| match step {
            Step::Nest(nest) => {
                let writes = nest.stages.iter().flat_map(|stage| &stage.stores).any(|store| store.buffer == new);
                writes && same_element_only(nest, new, old)
            }
            Step::Repeat(repeat) => search(&repeat.steps, new, old),
            Step::Product(_) | Step::Call(_) | Step::March(_) => false,
        })
    }
    search(&program.steps, new, old)
}
