//! Rows that one stage of a nest hands to another lie in the scratch of the worker that runs it.
//!
//! Expects: fused nests; `needed`, the buffers that are needed beyond the nests that write them.
//! Guarantees: what only one nest uses has a place in its scratch.
//! Leaves out: sharing of scratch between rows of one nest.

use super::fuse::{only_store, row};
use super::ir::{AffineMap, BufferId, Place, Program, Step};
use cranelift_entity::SecondaryMap;
use std::collections::BTreeSet;

/// Moves what only one nest uses into its scratch.
pub fn scratch(program: &mut Program, steps: &mut [Step], needed: &BTreeSet<BufferId>) {
    let mut users = SecondaryMap::<BufferId, u32>::new();
    count_users(steps, &mut users);
    place_rows(program, steps, &|buffer| users[buffer] == 1 && !needed.contains(&buffer));
}

/// How many steps name each buffer.
fn count_users(steps: &[Step], users: &mut SecondaryMap<BufferId, u32>) {
    for step in steps {
        if let Step::Repeat(repeat) = step {
            count_users(&repeat.steps, users);
            continue;
        }
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        step.collect(&mut reads, &mut writes);
        let all: BTreeSet<BufferId> = reads.into_iter().chain(writes).collect();
        all.into_iter().for_each(|buffer| users[buffer] += 1);
    }
}

fn place_rows(program: &mut Program, steps: &mut [Step], is_private: &dyn Fn(BufferId) -> bool) {
    for step in steps {
        let nest = match step {
            Step::Nest(nest) => nest,
            Step::Repeat(repeat) => {
                place_rows(program, &mut repeat.steps, is_private);
                continue;
            }
            Step::Product(_) | Step::Call(_) | Step::March(_) => continue,
        };
        let outer = nest.outer.len();
        let stored: Vec<BufferId> = nest.stages.iter().flat_map(|s| s.stores.iter().map(|s| s.buffer)).collect();
        for buffer in stored.into_iter().filter(|buffer| is_private(*buffer)) {
            let Some(Some((at, map))) = only_store(nest, buffer) else { continue };
            let (first, last) = row(map, &nest.stages[at].sizes(&nest.outer), outer);
            let entry = &mut program.buffers[buffer];
            entry.place = Place::Scratch(nest.scratch_bytes);
            entry.ty.shape = vec![(last - first + 1) as u64];
            nest.scratch_bytes += entry.ty.bytes().next_multiple_of(64);
            let shift = |map: &mut AffineMap| {
                map.offset -= first;
                map.strides[..outer].fill(0);
            };
            nest.stages.iter_mut().for_each(|stage| stage.change_maps_of(buffer, shift));
        }
    }
}
