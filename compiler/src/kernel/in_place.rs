//! Next values that overwrite the old ones: of parameters at the end of a step, of carries at the end of a turn.
//!
//! Expects: pairs (next value, the buffer it goes to); the steps write the former and never the latter.
//! Guarantees: where the old value is not read after (or away from) the place that makes the new one, the new one is
//! written straight to its place; the other pairs are given back, to be copied.
//! Leaves out: reordering steps so that more pairs qualify.

use super::ir::{BufferId, BufferRole, Nest, Place, Program, Scalar, Step};
use super::repeat::replace;
use std::collections::{BTreeMap, BTreeSet};

/// Rewrites the steps; gives back the pairs that need a copy.
pub fn overwrite(program: &Program, steps: &mut [Step], pairs: Vec<(BufferId, BufferId)>) -> Vec<(BufferId, BufferId)> {
    let mut uses = Uses::of(program, steps);
    let mut left = Vec::new();
    for (index, (next, target)) in pairs.iter().copied().enumerate() {
        let shared = pairs.iter().enumerate().any(|(other, pair)| other != index && pair.0 == next);
        if !shared && uses.is_safe(program, steps, next, target) {
            uses.replace(steps, next, target);
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

/// Which steps of a list read and write each buffer, in their order. A loop is one step.
struct Uses {
    reads: BTreeMap<BufferId, Vec<usize>>,
    writes: BTreeMap<BufferId, Vec<usize>>,
    sliced: BTreeSet<BufferId>,
}

impl Uses {
    fn of(program: &Program, steps: &[Step]) -> Uses {
        let mut uses = Uses { reads: BTreeMap::new(), writes: BTreeMap::new(), sliced: sliced(program) };
        for (index, step) in steps.iter().enumerate() {
            let (reads, writes) = step.accesses(program);
            reads.into_iter().for_each(|buffer| uses.reads.entry(buffer).or_default().push(index));
            writes.into_iter().for_each(|buffer| uses.writes.entry(buffer).or_default().push(index));
        }
        uses
    }

    fn is_safe(&self, program: &Program, steps: &[Step], next: BufferId, target: BufferId) -> bool {
        let buffer = &program.buffers[next];
        if buffer.role != BufferRole::Temporary || buffer.place != Place::Unplanned || self.sliced.contains(&next) {
            return false;
        }
        let Some([writer]) = self.writes.get(&next).map(Vec::as_slice) else { return false };
        let readers = self.reads.get(&target).map_or(&[][..], Vec::as_slice);
        if readers.iter().any(|reader| reader > writer) {
            return false;
        }
        if !readers.contains(writer) {
            return true;
        }
        match &steps[*writer] {
            Step::Nest(nest) => same_element_only(nest, next, target),
            Step::Product(_) | Step::Call(_) | Step::Repeat(_) | Step::March(_) => false,
        }
    }

    /// Lets the steps use another buffer.
    fn replace(&mut self, steps: &mut [Step], next: BufferId, target: BufferId) {
        for uses in [&mut self.reads, &mut self.writes] {
            let moved = uses.remove(&next).unwrap_or_default();
            moved.iter().for_each(|index| replace(&mut steps[*index..=*index], next, target));
            let known = uses.entry(target).or_default();
            known.extend(moved);
            known.sort_unstable();
            known.dedup();
        }
    }
}

/// The buffers that loops walk through. Their slices are part of them, whatever takes their place in the steps.
pub fn sliced(program: &Program) -> BTreeSet<BufferId> {
    let wholes = program.buffers.values().filter_map(|buffer| match buffer.place {
        Place::Slice(whole) => Some(whole),
        _ => None,
    });
    wholes.collect()
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
