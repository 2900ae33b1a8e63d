//! Next values that overwrite the old ones: of parameters at the end of a step, of carries at the end of a turn.
//!
//! Expects: pairs (next value, the buffer it goes to); the steps write the former and never the latter.
//! Guarantees: where the old value is not read after (or away from) the place that makes the new one, the new one is
//! written straight to its place; the other pairs are given back, to be copied.
//! Leaves out: reordering steps so that more pairs qualify.

use super::ir::{BufferId, BufferRole, Nest, Place, Program, Scalar, Step};
use super::repeat::replace;

/// Rewrites the steps; gives back the pairs that need a copy.
pub fn overwrite(program: &Program, steps: &mut [Step], pairs: Vec<(BufferId, BufferId)>) -> Vec<(BufferId, BufferId)> {
    let mut left = Vec::new();
    for (index, (next, target)) in pairs.iter().copied().enumerate() {
        let shared = pairs.iter().enumerate().any(|(other, pair)| other != index && pair.0 == next);
        if !shared && is_safe(program, steps, next, target) {
            replace(steps, next, target);
        } else {
            left.push((next, target));
        }
    }
    left
}

/// Lets the bodies of loops in time write the next values of carries to their places.
pub fn overwrite_carries(program: &Program, steps: &mut [Step]) {
    for step in steps {
        if let Step::Repeat(repeat) = step {
            overwrite_carries(program, &mut repeat.steps);
            let advance = std::mem::take(&mut repeat.advance);
            repeat.advance = overwrite(program, &mut repeat.steps, advance);
        }
    }
}

fn is_safe(program: &Program, steps: &[Step], next: BufferId, target: BufferId) -> bool {
    let buffer = &program.buffers[next];
    if buffer.role != BufferRole::Temporary || buffer.place != Place::Unplanned || is_sliced(program, next) {
        return false;
    }
    let accesses: Vec<(Vec<BufferId>, Vec<BufferId>)> = steps.iter().map(|step| step.accesses(program)).collect();
    let writers: Vec<usize> = (0..steps.len()).filter(|step| accesses[*step].1.contains(&next)).collect();
    let [writer] = writers[..] else { return false };
    if accesses[writer..].iter().skip(1).any(|(reads, _)| reads.contains(&target)) {
        return false;
    }
    if !accesses[writer].0.contains(&target) {
        return true;
    }
    match &steps[writer] {
        Step::Nest(nest) => same_element_only(nest, next, target),
        Step::Product(_) | Step::Call(_) | Step::Repeat(_) | Step::March(_) => false,
    }
}

/// Whether a loop walks through a buffer. Its slices are part of this buffer, whatever takes its place in the steps.
pub fn is_sliced(program: &Program, buffer: BufferId) -> bool {
    program.buffers.values().any(|other| other.place == Place::Slice(buffer))
}

/// Whether `old` is read only in the stage that writes `new`, at the element that is written, outside reductions.
pub fn same_element_only(nest: &Nest, new: BufferId, old: BufferId) -> bool {
    nest.stages.iter().all(|stage| {
        let stores: Vec<_> = stage.stores.iter().filter(|store| store.buffer == new).collect();
        stage.values.values().filter(|scalar| scalar.buffers().contains(&old)).all(|scalar| {
            let Scalar::Load { map, guards, .. } = scalar else { return false };
            stage.reductions.is_empty() && guards.is_empty() && stores.len() == 1 && stores[0].map == *map
        })
    })
}
