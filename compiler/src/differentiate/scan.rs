//! The adjoint of a loop: one reverse scan over the states that the forward scan saved.
//!
//! Expects: scans that came through [`Pass::scan_with_states`], which stacks the carries of every step.
//! Guarantees: only the states are kept between the two loops; the body is computed again inside the reverse one.
//! Leaves out: other exact forms (forward sensitivities) and truncation.

use super::activity::{self, Activity};
use super::sweep::Cotangents;
use super::{Pass, backward, constant, copy_inputs, fresh_name, push, zeros};
use crate::ir::graph::{InputRole, NodeId, OutputRole, Provenance, Region};
use crate::ir::op::Op;
use crate::ir::types::{TensorType, Type};
use bpc_lang::diagnostics::Diagnostic;

/// The parts of a scan node.
struct Parts {
    carries: usize,
    sequences: usize,
    length: u64,
    reverse: bool,
    stacks: Vec<TensorType>,
    body: crate::ir::graph::RegionId,
}

fn parts(op: &Op) -> Parts {
    let Op::Scan { carries, sequences, length, reverse, stacks, body } = op else {
        unreachable!("bug in bpc: a scan is wanted")
    };
    Parts {
        carries: *carries as usize,
        sequences: *sequences as usize,
        length: *length,
        reverse: *reverse,
        stacks: stacks.clone(),
        body: *body,
    }
}

fn stacked(ty: &TensorType, length: u64) -> TensorType {
    let mut shape = vec![length];
    shape.extend(&ty.shape);
    TensorType::new(ty.dtype, shape)
}

impl Pass<'_> {
    /// Copies a scan such that its last stacks are the carries before each step.
    pub(super) fn scan_with_states(
        &mut self,
        region: &mut Region,
        op: &Op,
        operands: &[NodeId],
        provenance: Provenance,
    ) -> NodeId {
        let scan = parts(op);
        let mut body = self.graph.regions[scan.body].clone();
        let carries = &body.inputs[..scan.carries];
        if body.results.iter().rev().map(|result| result.node).take(scan.carries).eq(carries.iter().rev().copied()) {
            // A copy of one that saves them already.
            return push(region, op.clone(), operands, provenance);
        }
        let mut stacks = scan.stacks;
        for (place, carry) in body.inputs.clone().into_iter().take(scan.carries).enumerate() {
            stacks.push(stacked(body.tensor(carry), scan.length));
            body.result(OutputRole::Value, format!("state{place}"), carry);
        }
        let body = self.graph.add(body);
        let op = Op::Scan {
            carries: scan.carries as u32,
            sequences: scan.sequences as u32,
            length: scan.length,
            reverse: scan.reverse,
            stacks,
            body,
        };
        push(region, op, operands, provenance)
    }

    /// Sends the cotangents of a scan's parts to its operands.
    pub(super) fn scan_vjp(
        &mut self,
        region: &mut Region,
        id: NodeId,
        activity: &Activity,
        cotangents: &mut Cotangents,
    ) -> Result<(), Vec<Diagnostic>> {
        let node = region.nodes[id].clone();
        let scan = parts(&node.op);
        let provenance = backward(&node.provenance);
        let Type::Tuple(types) = &node.ty else { unreachable!("bug in bpc: a scan that is no tuple") };
        if !(0..types.len() as u32).any(|part| cotangents.parts.contains_key(&(id, part))) {
            return Ok(());
        }
        let body = self.graph.regions[scan.body].clone();
        // Parts are the carries, then the stacks, of which the saved states are the last.
        let first_state = scan.stacks.len();
        let float_carries: Vec<usize> = (0..scan.carries).filter(|carry| types[*carry].dtype.is_float()).collect();
        let wanted_operand = |operand: &NodeId| activity.active.contains(operand);
        let sequences: Vec<usize> =
            (0..scan.sequences).filter(|place| wanted_operand(&node.operands[scan.carries + place])).collect();
        let first_constant = scan.carries + scan.sequences;
        let constants: Vec<usize> =
            (first_constant..node.operands.len()).filter(|place| wanted_operand(&node.operands[*place])).collect();
        // The saved states are stacks like the others: a second derivative sends them cotangents.
        let yields: Vec<usize> = (0..scan.stacks.len())
            .filter(|place| cotangents.parts.contains_key(&(id, (scan.carries + place) as u32)))
            .collect();

        // The body of the reverse loop: cotangents of the carries and sums for the constants are its carries.
        let mut reverse = Region::new(format!("{}.adjoint", body.name));
        let argument = |reverse: &mut Region, name: String, ty: &TensorType| {
            reverse.input(InputRole::Argument, fresh_name(&body, &name), ty.clone(), Provenance::default())
        };
        let lambdas: Vec<NodeId> = float_carries
            .iter()
            .map(|carry| argument(&mut reverse, format!("cotangent{carry}"), &types[*carry]))
            .collect();
        let sums: Vec<NodeId> = constants
            .iter()
            .map(|place| argument(&mut reverse, format!("sum{place}"), region.tensor(node.operands[*place])))
            .collect();
        let yield_cotangents: Vec<NodeId> = yields
            .iter()
            .map(|place| {
                let result = body.results[scan.carries + place].node;
                argument(&mut reverse, format!("yield{place}"), body.tensor(result))
            })
            .collect();
        // Here the inputs of the body stand in their own order: carries (the saved states), sequences, constants.
        let inputs = copy_inputs(&mut reverse, &body, node.provenance);
        let results = self.inline(&mut reverse, &body, &inputs);
        let mut seeds = Vec::new();
        for (lambda, carry) in lambdas.iter().zip(&float_carries) {
            seeds.push((results[*carry], *lambda));
        }
        for (cotangent, place) in yield_cotangents.iter().zip(&yields) {
            seeds.push((results[scan.carries + place], *cotangent));
        }
        let mut targets: Vec<NodeId> = float_carries.iter().map(|carry| inputs[*carry]).collect();
        targets.extend(sequences.iter().map(|place| inputs[scan.carries + place]));
        targets.extend(constants.iter().map(|place| inputs[*place]));
        let discrete = discrete_inputs(&reverse, &node.operands, activity, &inputs, &results[..scan.carries], &targets);
        let found = self.sweep(&mut reverse, &seeds, &targets, &discrete)?;
        for (place, carry) in float_carries.iter().enumerate() {
            let value = found.get(&inputs[*carry]).copied();
            let value = value.unwrap_or_else(|| constant(&mut reverse, 0.0, lambdas[place], provenance));
            reverse.result(OutputRole::Value, format!("next{place}"), value);
        }
        for (sum, place) in sums.iter().zip(&constants) {
            let value = match found.get(&inputs[*place]) {
                Some(cotangent) => push(&mut reverse, Op::Add {}, &[*sum, *cotangent], provenance),
                None => *sum,
            };
            reverse.result(OutputRole::Value, format!("next_sum{place}"), value);
        }
        let mut stacks = Vec::new();
        for place in &sequences {
            let input = inputs[scan.carries + place];
            let value = found.get(&input).copied();
            let value = value.unwrap_or_else(|| constant(&mut reverse, 0.0, input, provenance));
            stacks.push(stacked(reverse.tensor(input), scan.length));
            reverse.result(OutputRole::Value, format!("sequence{place}"), value);
        }
        // Inputs in the order a scan wants: carries, sequences (cotangents of yields, states, the scan's own), constants.
        reverse.inputs = lambdas.iter().chain(&sums).chain(&yield_cotangents).chain(&inputs).copied().collect();

        let mut operands = Vec::new();
        for carry in &float_carries {
            let known = cotangents.parts.get(&(id, *carry as u32)).copied();
            operands.push(known.unwrap_or_else(|| zeros(region, &types[*carry], provenance)));
        }
        for place in &constants {
            let ty = region.tensor(node.operands[*place]).clone();
            operands.push(zeros(region, &ty, provenance));
        }
        operands.extend(yields.iter().map(|place| cotangents.parts[&(id, (scan.carries + place) as u32)]));
        for carry in 0..scan.carries {
            let index = (first_state + carry) as u32;
            operands.push(push(region, Op::Project { index }, &[id], provenance));
        }
        operands.extend(&node.operands[scan.carries..]);
        let adjoint = Op::Scan {
            carries: (lambdas.len() + sums.len()) as u32,
            sequences: (yields.len() + scan.carries + scan.sequences) as u32,
            length: scan.length,
            reverse: !scan.reverse,
            stacks,
            body: self.graph.add(reverse),
        };
        // It may be differentiated again; where it is not, nothing reads its states and they are dropped.
        let adjoint = self.scan_with_states(region, &adjoint, &operands, provenance);

        let receivers = float_carries
            .iter()
            .copied()
            .chain(constants.iter().copied())
            .chain(sequences.iter().map(|place| scan.carries + place));
        for (index, place) in receivers.enumerate() {
            let operand = node.operands[place];
            if activity.active.contains(&operand) {
                let cotangent = push(region, Op::Project { index: index as u32 }, &[adjoint], provenance);
                cotangents.add(region, operand, cotangent, provenance);
            }
        }
        Ok(())
    }
}

/// The inputs of a body that are discrete and depend on a target: their operands do, or an earlier turn made them so.
fn discrete_inputs(
    body: &Region,
    operands: &[NodeId],
    activity: &Activity,
    inputs: &[NodeId],
    next: &[NodeId],
    targets: &[NodeId],
) -> Vec<NodeId> {
    let from_outside = operands.iter().zip(inputs).filter(|(operand, _)| activity.discrete.contains(operand));
    let mut discrete: Vec<NodeId> = from_outside.map(|(_, input)| *input).collect();
    let Some(last) = body.nodes.keys().next_back() else { return discrete };
    loop {
        let inside = activity::analyze(body, targets, &discrete, last);
        let carried = next.iter().zip(inputs).find(|(next, input)| {
            inside.discrete.contains(next) && !discrete.contains(input) && !targets.contains(input)
        });
        match carried {
            Some((_, input)) => discrete.push(*input),
            None => return discrete,
        }
    }
}
