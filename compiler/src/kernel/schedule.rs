//! The shape of loops: neighbouring axes become one, each stage gets its vector axis, and what is left goes outside.
//!
//! Expects: nests whose stages agree on the outer axes.
//! Guarantees: the same stores of the same values; sums over reduced axes keep their row-major order.
//! Leaves out: threads; a backend decides them by [`work`].
//!
//! The vector axis is the one along which most accesses are of neighbours, but no short reduced one: a sum of a few elements
//! for each of many places takes the places several at once. Nests over short rows go that way as a whole (`rows`).

use super::ir::{AffineMap, Nest, Program, ReductionKind, Scalar, Stage, Step};
use super::rows;
use crate::ir::work;

/// A reduced axis of fewer elements is not taken by vectors where there is another one.
const SHORT: u64 = 16;

/// Schedules every nest of a list of steps.
pub fn schedule(program: &mut Program, steps: &mut [Step]) {
    for step in steps {
        match step {
            Step::Nest(nest) => schedule_nest(program, nest),
            Step::Repeat(repeat) => schedule(program, &mut repeat.steps),
            Step::Product(_) | Step::Call(_) | Step::March(_) => {}
        }
    }
}

/// An estimate of the simple operations in a nest after fusion, each load and store as one more (`ir::work` counts a graph before it).
pub fn work(nest: &Nest) -> u64 {
    let outer: u64 = nest.outer.iter().product();
    outer.saturating_mul(nest.stages.iter().map(stage_work).fold(0, u64::saturating_add))
}

/// The same for a stage alone.
pub fn stage_work(stage: &Stage) -> u64 {
    let cost = |scalar: &Scalar| match scalar {
        Scalar::Literal(_) | Scalar::Reduced(_) | Scalar::Carried(_) => 0,
        Scalar::Random { .. } => work::RANDOM,
        Scalar::Unary(op, _) | Scalar::Binary(op, _, _) => super::memory::own_cost(op),
        _ => 1,
    };
    let inside: u64 = stage.values.values().take(stage.n_inside as usize).map(cost).sum();
    let after: u64 = stage.values.values().skip(stage.n_inside as usize).map(cost).sum();
    let inner: u64 = stage.inner.iter().product();
    let reduced: u64 = stage.reduced.iter().product();
    inner.saturating_mul(
        (inside + stage.reductions.len() as u64)
            .saturating_mul(reduced)
            .saturating_add(after)
            .saturating_add(stage.stores.len() as u64),
    )
}

fn schedule_nest(program: &mut Program, nest: &mut Nest) {
    let outer = nest.outer.len();
    for axis in (1..outer).rev() {
        let size = nest.outer[axis] as i64;
        if nest.stages.iter().all(|stage| stage.maps().all(|map| joins(map, axis, size))) {
            nest.outer[axis - 1] *= nest.outer[axis];
            nest.outer.remove(axis);
            nest.stages.iter_mut().for_each(|stage| stage.change_maps(|map| join(map, axis)));
        }
    }
    let outer = nest.outer.len();
    nest.stages.iter_mut().for_each(|stage| collapse(stage, outer));
    let gathered = rows::gather(program, nest);
    let outer = nest.outer.len();
    for stage in &mut nest.stages {
        collapse(stage, outer);
        stage.vector_axis = match bit_axis(program, stage) {
            _ if gathered => Some(outer as u32),
            None => vector_axis(stage, outer),
            along_bits => along_bits,
        };
        if let Some(axis) = stage.vector_axis
            && (axis as usize) < outer + stage.inner.len()
        {
            // The vector axis is the innermost of the inner ones.
            let (from, to) = (axis as usize, outer + stage.inner.len() - 1);
            let size = stage.inner.remove(from - outer);
            stage.inner.push(size);
            stage.change_maps(|map| {
                let stride = map.strides.remove(from);
                map.strides.insert(to, stride);
            });
            stage.vector_axis = Some(to as u32);
        }
    }
    if let [stage] = nest.stages.as_mut_slice() {
        // Axis numbers stay: the outer ones come first.
        let is_inner = stage.vector_axis.is_some_and(|axis| (axis as usize) < outer + stage.inner.len());
        let keep = usize::from(is_inner);
        let moved = stage.inner.len() - keep;
        nest.outer.extend(stage.inner.drain(..moved));
    }
}

/// Whether axes `axis - 1` and `axis`, the latter of this size, are one to the map.
fn joins(map: &AffineMap, axis: usize, size: i64) -> bool {
    map.strides[axis - 1] == map.strides[axis] * size
}

fn join(map: &mut AffineMap, axis: usize) {
    map.strides.remove(axis - 1);
}

fn collapse(stage: &mut Stage, outer: usize) {
    for (first, count) in [(outer + stage.inner.len(), stage.reduced.len()), (outer, stage.inner.len())] {
        let counted = stage.reductions.iter().any(|reduction| reduction.kind == ReductionKind::Argmax);
        if first > outer && counted {
            continue;
        }
        for axis in (first + 1..first + count).rev() {
            let sizes = stage.sizes(&vec![1; outer]);
            if stage.maps().all(|map| joins(map, axis, sizes[axis] as i64)) {
                let group = if axis < outer + stage.inner.len() { &mut stage.inner } else { &mut stage.reduced };
                let at = axis - first;
                group[at - 1] *= group[at];
                group.remove(at);
                stage.change_maps(|map| join(map, axis));
            }
        }
    }
}

/// The axis along which a stage writes packed bits: workers do not share it bit by bit.
fn bit_axis(program: &Program, stage: &Stage) -> Option<u32> {
    let packed = stage.stores.iter().filter(|store| program.buffers[store.buffer].packed.is_some());
    packed.flat_map(|store| store.map.within_words()).next().map(|axis| axis as u32)
}

/// The axis with unit stride in most accesses; none where there is no axis worth it.
fn vector_axis(stage: &Stage, outer: usize) -> Option<u32> {
    let sizes = stage.sizes(&vec![1; outer]);
    let first_reduced = outer + stage.inner.len();
    let is_short =
        stage.reduced.last().is_some_and(|size| *size < SHORT) && stage.inner.iter().any(|size| *size >= SHORT);
    let last_reduced = (!stage.reduced.is_empty() && !is_short).then(|| sizes.len() - 1);
    let mut best: Option<(i64, u64, usize)> = None;
    for axis in (outer..first_reduced).chain(last_reduced) {
        let mut score = 0;
        for scalar in stage.values.values() {
            if let Scalar::Load { map, .. } | Scalar::Gather { map, .. } = scalar {
                score += merit(map, axis);
            }
        }
        if axis < first_reduced {
            score += stage.stores.iter().map(|store| 2 * merit(&store.map, axis)).sum::<i64>();
        }
        let candidate = (score, sizes[axis].min(16), axis);
        if sizes[axis] > 1 && best.is_none_or(|best| candidate > best) {
            best = Some(candidate);
        }
    }
    best.map(|(_, _, axis)| axis as u32)
}

fn merit(map: &AffineMap, axis: usize) -> i64 {
    match map.strides[axis] {
        1 => 2,
        0 => 0,
        _ => -2,
    }
}
