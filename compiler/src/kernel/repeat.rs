//! Scans as loops over steps.
//!
//! Expects: a `scan` node whose body has no markers.
//! Guarantees: every part of the scan that is asked for lies in a buffer; sequences and stacks are sliced in place.
//! Leaves out: carries that the body could write in place (`in_place`).

use super::in_place::sliced;
use super::ir::{Buffer, BufferId, Place, Repeat, Step};
use super::region::{self, Builder};
use crate::ir::graph::NodeId;
use crate::ir::op::Op;
use crate::ir::types::{TensorType, Type};
use std::collections::BTreeSet;

/// Builds the loop of a scan and sets the buffers of its parts.
///
/// # Errors
/// A sentence, where the body holds what kernels cannot express.
pub fn build(builder: &mut Builder<'_>, scan: NodeId) -> Result<(), String> {
    let node = &builder.region.nodes[scan];
    let Op::Scan { carries, sequences, length, reverse, body, .. } = &node.op else {
        return Err(format!("bug in bpc: {scan} is no scan"));
    };
    let (carries, sequences) = (*carries as usize, *sequences as usize);
    let Type::Tuple(types) = &node.ty else { return Err(format!("bug in bpc: the scan {scan} is no tuple")) };
    let mut repeat = Repeat {
        name: builder.graph.regions[*body].name.clone(),
        length: *length,
        reverse: *reverse,
        sequences: Vec::new(),
        initial: Vec::new(),
        steps: Vec::new(),
        stacks: Vec::new(),
        advance: Vec::new(),
    };
    let mut inputs = Vec::new();
    for (index, operand) in node.operands.iter().enumerate() {
        let outer = builder.materialise(*operand)?;
        let ty = builder.region.tensor(*operand).clone();
        inputs.push(if index < carries {
            let carry = builder.temporary(ty);
            repeat.initial.push((outer, carry));
            carry
        } else if index < carries + sequences {
            let slice = slice_of(builder, outer, &ty);
            repeat.sequences.push((outer, slice));
            slice
        } else {
            outer
        });
    }
    let carry_buffers: Vec<BufferId> = inputs[..carries].to_vec();
    let stacks: Vec<(BufferId, BufferId)> = types[carries..]
        .iter()
        .map(|ty| {
            let whole = builder.temporary(ty.clone());
            (whole, slice_of(builder, whole, ty))
        })
        .collect();
    let mut inner = Builder::new(builder.graph, builder.program, *body, &inputs);
    inner.run()?;
    let results: Vec<NodeId> = inner.region.results.iter().map(|output| output.node).collect();
    let mut taken = BTreeSet::new();
    let mut next = Vec::new();
    for (index, result) in results.iter().enumerate() {
        let at = inner.materialise(*result)?;
        if index < carries {
            next.push(at);
        }
    }
    let sliced = sliced(inner.program);
    for (result, (_, slice)) in results[carries..].iter().zip(&stacks) {
        let at = inner.buffers[*result].ok_or("bug in bpc: a result of a scan body without a buffer")?;
        let plain = inner.program.buffers[at].place == Place::Unplanned
            && !sliced.contains(&at)
            && !inputs.contains(&at)
            && inner.steps.iter().any(|step| {
                matches!(step, Step::Nest(_) | Step::Product(_) | Step::Call(_))
                    && step.accesses(inner.program).1.contains(&at)
            })
            && taken.insert(at);
        if plain {
            // What makes the value writes the slice itself.
            replace(&mut inner.steps, at, *slice);
            next.iter_mut().filter(|buffer| **buffer == at).for_each(|buffer| *buffer = *slice);
            // Another stack of the same value is a copy of this one.
            inner.buffers.values_mut().filter(|buffer| **buffer == Some(at)).for_each(|buffer| *buffer = Some(*slice));
        } else {
            inner.copy(*result, *slice)?;
        }
    }
    let mut advance: Vec<(BufferId, BufferId)> = Vec::new();
    for (index, carry) in carry_buffers.iter().enumerate() {
        let mut from = next[index];
        if from == *carry {
            continue;
        }
        if carry_buffers.contains(&from) {
            let ty = inner.program.buffers[from].ty.clone();
            from = inner.temporary(ty.clone());
            if ty.elements() > 0 {
                inner.steps.push(Step::Nest(region::copy(next[index], from, &ty)));
            }
        }
        advance.push((from, *carry));
    }
    repeat.steps = std::mem::take(&mut inner.steps);
    repeat.stacks = stacks.iter().map(|(whole, slice)| (*slice, *whole)).collect();
    repeat.advance = advance;
    builder.steps.push(Step::Repeat(repeat));
    for (id, user) in &builder.region.nodes {
        if let Op::Project { index } = user.op
            && user.operands[0] == scan
        {
            let index = index as usize;
            let buffer = if index < carries { carry_buffers[index] } else { stacks[index - carries].0 };
            builder.buffers[id] = Some(buffer);
        }
    }
    Ok(())
}

/// A buffer for one turn's slice of a whole.
fn slice_of(builder: &mut Builder<'_>, whole: BufferId, ty: &TensorType) -> BufferId {
    let slice = Buffer::temporary(TensorType::new(ty.dtype, &ty.shape[1..]));
    builder.program.buffers.push(Buffer { place: Place::Slice(whole), ..slice })
}

/// Lets steps use another buffer.
pub fn replace(steps: &mut [Step], old: BufferId, new: BufferId) {
    let change = |buffer: &mut BufferId| {
        if *buffer == old {
            *buffer = new;
        }
    };
    for step in steps {
        step.buffers_mut().into_iter().for_each(change);
    }
}
