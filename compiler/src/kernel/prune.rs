//! What nobody needs goes: stores, scalars, reductions, stages and buffers.
//!
//! Expects: `kept`, the buffers that someone beyond the steps reads.
//! Guarantees: what is left computes the same; every temporary buffer is named by a step.
//! Leaves out: steps that are no nests.

use super::ir::{BufferId, BufferRole, Place, Program, Scalar, Stage, Step, ValueId};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use std::collections::BTreeSet;

/// Drops what nobody needs; gives the buffers that are needed beyond the nests that write them.
pub fn prune(program: &Program, steps: &mut Vec<Step>, kept: &BTreeSet<BufferId>) -> BTreeSet<BufferId> {
    let mut needed = kept.clone();
    needed.extend(program.buffers.iter().filter_map(|(id, buffer)| {
        let is_plain = buffer.role == BufferRole::Temporary && buffer.place == Place::Unplanned;
        (!is_plain).then_some(id)
    }));
    loop_buffers(steps, &mut needed);
    loop {
        let mut read = needed.clone();
        collect_reads(steps, &mut read);
        if !drop_stores(steps, &read) {
            return needed;
        }
    }
}

/// Drops the temporary buffers that no step names, and numbers the others anew.
pub fn drop_buffers(program: &mut Program) {
    let mut named = BTreeSet::new();
    program.steps.iter_mut().flat_map(Step::buffers_mut).for_each(|buffer| {
        named.insert(*buffer);
    });
    let wholes: Vec<BufferId> = named
        .iter()
        .filter_map(|buffer| match program.buffers[*buffer].place {
            Place::Slice(whole) => Some(whole),
            _ => None,
        })
        .collect();
    named.extend(wholes);
    let mut names = SecondaryMap::<BufferId, Option<BufferId>>::new();
    let mut buffers = PrimaryMap::new();
    for (id, buffer) in &program.buffers {
        if buffer.role != BufferRole::Temporary || named.contains(&id) {
            names[id] = Some(buffers.push(buffer.clone()));
        }
    }
    let rename = |buffer: &mut BufferId| *buffer = names[*buffer].expect("bug in bpc: a buffer in use was dropped");
    program.steps.iter_mut().flat_map(Step::buffers_mut).for_each(rename);
    for buffer in buffers.values_mut() {
        if let Place::Slice(whole) = &mut buffer.place {
            rename(whole);
        }
    }
    program.buffers = buffers;
}

/// Adds the buffers that loops in time copy or slice.
fn loop_buffers(steps: &[Step], needed: &mut BTreeSet<BufferId>) {
    for step in steps {
        if let Step::Repeat(repeat) = step {
            let pairs = [&repeat.sequences, &repeat.initial, &repeat.stacks, &repeat.advance];
            needed.extend(pairs.into_iter().flatten().flat_map(|(from, to)| [*from, *to]));
            loop_buffers(&repeat.steps, needed);
        }
    }
}

fn collect_reads(steps: &[Step], read: &mut BTreeSet<BufferId>) {
    for step in steps {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        step.collect(&mut reads, &mut writes);
        read.extend(reads);
    }
}

fn drop_stores(steps: &mut Vec<Step>, read: &BTreeSet<BufferId>) -> bool {
    let mut changed = false;
    for step in steps.iter_mut() {
        match step {
            Step::Nest(nest) => {
                for stage in &mut nest.stages {
                    let before = stage.stores.len();
                    stage.stores.retain(|store| read.contains(&store.buffer));
                    changed |= before != stage.stores.len();
                    drop_values(stage);
                }
                nest.stages.retain(|stage| !stage.stores.is_empty());
            }
            Step::Repeat(repeat) => changed |= drop_stores(&mut repeat.steps, read),
            Step::March(march) => {
                let before = march.stage.stores.len();
                march.stage.stores.retain(|store| read.contains(&store.buffer));
                changed |= before != march.stage.stores.len();
                for carry in &mut march.carries {
                    changed |= carry.last.take_if(|(buffer, _)| !read.contains(buffer)).is_some();
                }
            }
            Step::Product(_) | Step::Call(_) => {}
        }
    }
    steps.retain(|step| match step {
        Step::Nest(nest) => !nest.stages.is_empty(),
        Step::March(march) => !march.stage.stores.is_empty() || march.carries.iter().any(|carry| carry.last.is_some()),
        _ => true,
    });
    changed
}

/// Drops the scalars and reductions that no store needs.
fn drop_values(stage: &mut Stage) {
    let mut live = SecondaryMap::<ValueId, bool>::new();
    let mut live_reductions = vec![false; stage.reductions.len()];
    stage.stores.iter().for_each(|store| live[store.value] = true);
    for (id, scalar) in stage.values.iter().rev() {
        if id.as_u32() + 1 == stage.n_inside {
            mark_reduced(stage, &live_reductions, &mut live);
        }
        if live[id] {
            scalar.operands().into_iter().for_each(|operand| live[operand] = true);
            if let Scalar::Reduced(index) = scalar {
                live_reductions[*index as usize] = true;
            }
        }
    }
    let mut numbers = Vec::new();
    let mut reductions = Vec::new();
    for (reduction, live) in stage.reductions.iter().zip(&live_reductions) {
        numbers.push(reductions.len() as u32);
        if *live {
            reductions.push(*reduction);
        }
    }
    let old = std::mem::take(stage);
    stage.inner.clone_from(&old.inner);
    stage.reduced.clone_from(&old.reduced);
    let mut names = SecondaryMap::<ValueId, Option<ValueId>>::new();
    let name = |names: &SecondaryMap<ValueId, Option<ValueId>>, id: ValueId| {
        names[id].expect("bug in bpc: a scalar that is needed was dropped")
    };
    for (id, scalar) in &old.values {
        if !live[id] {
            continue;
        }
        let mut scalar = scalar.clone();
        scalar.rename(|operand| name(&names, operand));
        if let Scalar::Reduced(index) = &mut scalar {
            *index = numbers[*index as usize];
        }
        let new = stage.values.push(scalar);
        stage.dtypes[new] = Some(old.dtype(id));
        names[id] = Some(new);
        if id.as_u32() < old.n_inside {
            stage.n_inside += 1;
        }
    }
    for reduction in &mut reductions {
        reduction.value = name(&names, reduction.value);
    }
    stage.reductions = reductions;
    stage.stores = old.stores;
    for store in &mut stage.stores {
        store.value = name(&names, store.value);
    }
}

fn mark_reduced(stage: &Stage, live_reductions: &[bool], live: &mut SecondaryMap<ValueId, bool>) {
    for (reduction, is_live) in stage.reductions.iter().zip(live_reductions) {
        if *is_live {
            live[reduction.value] = true;
        }
    }
}
