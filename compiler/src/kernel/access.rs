//! Which buffers a step of the kernel IR reads and writes.
//!
//! Expects: nothing.
//! Guarantees: all that a step names is listed, also inside a repeat.
//! Leaves out: which elements (the maps of loads and stores say).

use super::ir::{BufferId, March, Place, Program, Scalar, Step};

impl Step {
    /// The buffers that the step reads and those it writes, also inside a repeat; slices count as what they are part of.
    pub fn accesses(&self, program: &Program) -> (Vec<BufferId>, Vec<BufferId>) {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        self.collect(&mut reads, &mut writes);
        for list in [&mut reads, &mut writes] {
            for buffer in list.iter_mut() {
                while let Place::Slice(whole) = program.buffers[*buffer].place {
                    *buffer = whole;
                }
            }
            list.sort_unstable();
            list.dedup();
        }
        (reads, writes)
    }

    /// Every buffer that the step names, also inside a repeat.
    pub fn buffers_mut(&mut self) -> Vec<&mut BufferId> {
        match self {
            Step::Nest(nest) => {
                let mut all = Vec::new();
                for stage in &mut nest.stages {
                    all.extend(stage.values.values_mut().flat_map(Scalar::buffers_mut));
                    all.extend(stage.stores.iter_mut().map(|store| &mut store.buffer));
                }
                all
            }
            Step::Product(product) => {
                vec![&mut product.a.buffer, &mut product.b.buffer, &mut product.c.buffer]
            }
            Step::Call(call) => {
                let operands = call.operands.iter_mut().map(|(buffer, _)| buffer);
                operands.chain([&mut call.result]).chain(&mut call.memory).collect()
            }
            Step::Repeat(repeat) => {
                let pairs = [&mut repeat.sequences, &mut repeat.initial, &mut repeat.stacks, &mut repeat.advance];
                let mut all: Vec<&mut BufferId> =
                    pairs.into_iter().flatten().flat_map(|(from, to)| [from, to]).collect();
                all.extend(repeat.steps.iter_mut().flat_map(Step::buffers_mut));
                all
            }
            Step::March(March { stage, carries, .. }) => {
                let ends = carries.iter_mut().flat_map(|carry| [Some(&mut carry.first), carry.last.as_mut()]);
                let mut all: Vec<&mut BufferId> = ends.flatten().map(|(buffer, _)| buffer).collect();
                all.extend(stage.values.values_mut().flat_map(Scalar::buffers_mut));
                all.extend(stage.stores.iter_mut().map(|store| &mut store.buffer));
                all
            }
        }
    }

    pub(super) fn collect(&self, reads: &mut Vec<BufferId>, writes: &mut Vec<BufferId>) {
        match self {
            Step::Nest(nest) => {
                for stage in &nest.stages {
                    reads.extend(stage.values.values().flat_map(Scalar::buffers));
                    writes.extend(stage.stores.iter().map(|store| store.buffer));
                }
            }
            Step::Product(product) => {
                reads.extend([product.a.buffer, product.b.buffer]);
                writes.push(product.c.buffer);
            }
            Step::Call(call) => {
                reads.extend(call.operands.iter().map(|(buffer, _)| *buffer));
                writes.push(call.result);
                writes.extend(call.memory);
            }
            Step::Repeat(repeat) => {
                for (first, carry) in repeat.initial.iter().chain(&repeat.advance) {
                    reads.push(*first);
                    writes.push(*carry);
                }
                repeat.steps.iter().for_each(|step| step.collect(reads, writes));
            }
            Step::March(March { stage, carries, .. }) => {
                reads.extend(carries.iter().map(|carry| carry.first.0));
                reads.extend(stage.values.values().flat_map(Scalar::buffers));
                writes.extend(stage.stores.iter().map(|store| store.buffer));
                writes.extend(carries.iter().filter_map(|carry| carry.last.as_ref()).map(|(buffer, _)| *buffer));
            }
        }
    }
}
