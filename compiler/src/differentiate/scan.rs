//! Loops: a `vjps` node for each form of the rule that a loop is under, and the derivative of one turn inside such a rule.
//!
//! Expects: scans that came through [`Pass::scan_with_states`], which stacks the carries before every turn.
//! Guarantees: no mathematics of loops happens here; what a rule computes with one turn (`pullback`, `pushforward`) is made of
//! the vjps of its body.
//! Leaves out: the rules themselves, which are pages of the library.

use super::activity::{self, Activity};
use super::sweep::Cotangents;
use super::{Loop, LoopRule, Pass, backward, diagnose, push, zeros};
use crate::ir::graph::{NodeId, OutputRole, Provenance, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::types::TensorType;
use bpc_lang::diagnostics::Diagnostic;
use cranelift_entity::EntityRef;
use std::collections::BTreeMap;

/// The parts of a scan node.
struct Parts {
    carries: usize,
    sequences: usize,
    length: u64,
    reverse: bool,
    stacks: Vec<TensorType>,
    body: RegionId,
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

/// The result of a body that is a carry before the turn.
fn state_of(body: &Region, carries: usize, place: usize) -> Option<u32> {
    let is_state = |result: &usize| body.results[*result].node == body.inputs[place];
    (carries..body.results.len()).find(is_state).map(|result| result as u32)
}

fn stacked(ty: &TensorType, length: u64) -> TensorType {
    let mut shape = vec![length];
    shape.extend(&ty.shape);
    TensorType::new(ty.dtype, shape)
}

impl Pass<'_> {
    /// Copies a scan such that the carries before each step are among its stacks.
    pub(super) fn scan_with_states(
        &mut self,
        region: &mut Region,
        op: &Op,
        operands: &[NodeId],
        provenance: Provenance,
    ) -> NodeId {
        let scan = parts(op);
        let mut body = self.graph.regions[scan.body].clone();
        let mut stacks = scan.stacks;
        let before = stacks.len();
        for place in 0..scan.carries {
            if state_of(&body, scan.carries, place).is_none() {
                let carry = body.inputs[place];
                stacks.push(stacked(body.tensor(carry), scan.length));
                body.result(OutputRole::Value, format!("state{place}"), carry);
            }
        }
        if stacks.len() == before {
            return push(region, op.clone(), operands, provenance);
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

    /// Sends the cotangents of the parts of a loop to its operands. `id` is the scan, or the `via` around it.
    pub(super) fn scan_vjp(
        &mut self,
        region: &mut Region,
        id: NodeId,
        activity: &Activity,
        cotangents: &mut Cotangents,
    ) -> Result<(), Vec<Diagnostic>> {
        let (scan, rule) = match &region.nodes[id].op {
            Op::Via { choice, rule, .. } => (region.nodes[id].operands[0], Some((*choice, rule.clone()))),
            _ => (id, None),
        };
        let node = region.nodes[scan].clone();
        let provenance = backward(&node.provenance);
        let types = node.ty.parts().to_vec();
        if !(0..types.len() as u32).any(|part| cotangents.parts.contains_key(&(id, part))) {
            return Ok(());
        }
        let Op::Scan { carries, body, .. } = node.op else { unreachable!("bug in bpc: a scan is wanted") };
        let trained: Vec<u32> = (0..node.operands.len() as u32)
            .filter(|place| activity.active.contains(&node.operands[*place as usize]))
            .filter(|place| is_float_node(region, node.operands[*place as usize]))
            .collect();
        let body = &self.graph.regions[body];
        let is_float = |place: &u32| types[*place as usize].dtype.is_float();
        let float_carries: Vec<u32> = (0..carries).filter(is_float).collect();
        let targets: Vec<NodeId> =
            float_carries.iter().chain(&trained).map(|place| body.inputs[*place as usize]).collect();
        let next: Vec<NodeId> = body.results[..carries as usize].iter().map(|output| output.node).collect();
        // A bool has no cotangent across the border of a loop.
        let is_discrete = |operand: &NodeId| {
            let lost = activity.active.contains(operand) && !is_float_node(region, *operand);
            lost || activity.discrete.contains(operand)
        };
        let from_outside: Vec<bool> = node.operands.iter().map(is_discrete).collect();
        let discrete = discrete_inputs(body, &from_outside, &body.inputs, &next, &targets);
        let place_of = |input: &NodeId| body.inputs.iter().position(|known| known == input).map(|place| place as u32);
        let states: Vec<u32> = (0..carries as usize)
            .map(|place| state_of(body, carries as usize, place).expect("bug in bpc: a loop that saves no states"))
            .collect();
        // The saved states are stacks like the others: a program may yield them, and a second derivative sends them
        // cotangents.
        let others = (carries..types.len() as u32).filter(|part| !states.contains(part));
        let given = others.chain(states.iter().copied());
        let given = given.filter(|part| cotangents.parts.contains_key(&(id, *part)));
        let wanted = Loop {
            scan: node.op.clone(),
            operands: node.operands.iter().map(|operand| region.tensor(*operand).clone()).collect(),
            parts: types.clone(),
            states: states.clone(),
            trained,
            given: given.collect(),
            discrete: discrete.iter().filter_map(place_of).collect(),
            rule,
        };
        let found = self.loop_rule(&wanted, &node.provenance)?;

        let mut operands = node.operands.clone();
        for index in 0..types.len() as u32 {
            operands.push(push(region, Op::Project { index }, &[id], provenance));
        }
        for carry in &float_carries {
            let known = cotangents.parts.get(&(id, *carry)).copied();
            operands.push(known.unwrap_or_else(|| zeros(region, &types[*carry as usize], provenance)));
        }
        operands.extend(wanted.given.iter().map(|part| cotangents.parts[&(id, *part)]));
        let single = found.forms.len() == 1;
        let types: Vec<TensorType> = found.gives.iter().map(|place| wanted.operands[*place as usize].clone()).collect();
        let forms: Vec<NodeId> = found
            .forms
            .iter()
            .map(|(form, body)| {
                let rule = if single { found.name.clone() } else { format!("{}: {form}", found.name) };
                let (of, types) = ("scan".to_string(), types.clone());
                let op = Op::Vjps { of, rule, estimator: found.estimator, types, body: *body };
                push(region, op, &operands, provenance)
            })
            .collect();
        let sent = if single { forms[0] } else { push(region, Op::Forms {}, &forms, provenance) };
        for (index, place) in found.gives.iter().enumerate() {
            let operand = node.operands[*place as usize];
            if activity.active.contains(&operand) {
                let cotangent = push(region, Op::Project { index: index as u32 }, &[sent], provenance);
                cotangents.add(region, operand, cotangent, provenance);
            }
        }
        Ok(())
    }

    /// The rule of a loop, with its markers replaced. Of several forms, a later one in which something has no derivative
    /// (the tangent of an estimate) is left out.
    fn loop_rule(&mut self, wanted: &Loop, place: &Provenance) -> Result<LoopRule, Vec<Diagnostic>> {
        if let Some(known) = self.loops.get(wanted) {
            return Ok(known.clone());
        }
        let known = self.graph.regions.len();
        let mut rule = self.table.loop_rule(&mut self.graph, wanted, place.span)?;
        let mut regions: Vec<Region> =
            std::mem::take(&mut self.graph.regions).into_iter().map(|(_, region)| region).collect();
        let mut added = regions.split_off(known);
        // What goes into the rule comes from the loop.
        for region in &mut added {
            for input in region.inputs.clone() {
                region.nodes[input].provenance = *place;
            }
        }
        self.graph.regions = regions.into_iter().collect();
        let mut map: BTreeMap<RegionId, RegionId> = BTreeMap::new();
        let mut errors: Vec<Diagnostic> = Vec::new();
        for (index, region) in added.iter().enumerate() {
            let id = RegionId::new(known + index);
            let names_failed = |body: RegionId| body.index() >= known && !map.contains_key(&body);
            if region.nodes.values().filter_map(|node| node.op.body()).any(names_failed) {
                continue;
            }
            match self.region(region, &map) {
                Ok(region) => {
                    map.insert(id, self.graph.add(region));
                }
                Err(found) if errors.is_empty() => errors = found,
                Err(_) => {}
            }
        }
        if !rule.forms.iter().take(1).all(|(_, region)| map.contains_key(region)) {
            return Err(errors);
        }
        let forms = rule.forms.into_iter().filter_map(|(name, region)| Some((name, *map.get(&region)?)));
        rule.forms = forms.collect();
        self.loops.insert(wanted.clone(), rule.clone());
        Ok(rule)
    }

    /// What a `pullback` or `pushforward` gives, as a tuple.
    pub(super) fn turn(
        &mut self,
        region: &mut Region,
        op: &Op,
        operands: &[NodeId],
        place: &Provenance,
    ) -> Result<NodeId, Vec<Diagnostic>> {
        let (Op::Pullback { by, discrete, body, .. } | Op::Pushforward { by, discrete, body, .. }) = op else {
            unreachable!("bug in bpc: a turn of a loop is wanted")
        };
        let provenance = backward(place);
        let body = self.graph.regions[*body].clone();
        let (arguments, directions) = operands.split_at(body.inputs.len());
        let mut inputs = arguments.to_vec();
        // A node of its own for each input, so that one value in two places has two cotangents.
        for input in by {
            let node = inputs[*input as usize];
            let shape = region.tensor(node).shape.clone();
            inputs[*input as usize] = push(region, Op::Reshape { shape }, &[node], provenance);
        }
        let targets: Vec<NodeId> = by.iter().map(|input| inputs[*input as usize]).collect();
        let discrete: Vec<NodeId> = discrete.iter().map(|input| inputs[*input as usize]).collect();
        let results = self.inline(region, &body, &inputs);
        let parts: Vec<NodeId> = match op {
            Op::Pullback { from, .. } => {
                let seeds: Vec<(NodeId, NodeId)> =
                    from.iter().zip(directions).map(|(result, seed)| (results[*result as usize], *seed)).collect();
                let found = self.sweep(region, &seeds, &targets, &discrete)?;
                let mut parts = Vec::new();
                for target in &targets {
                    let ty = region.tensor(*target).clone();
                    parts.push(found.get(target).copied().unwrap_or_else(|| zeros(region, &ty, provenance)));
                }
                parts
            }
            Op::Pushforward { of, .. } => {
                // The vjp is linear in its cotangent; the vjp of that is the tangent. It is the same at any cotangent.
                let mut seeds = Vec::new();
                for result in of {
                    let node = results[*result as usize];
                    let ty = region.tensor(node).clone();
                    seeds.push((node, zeros(region, &ty, provenance)));
                }
                let found = self.sweep(region, &seeds, &targets, &discrete)?;
                let tangents: Vec<(NodeId, NodeId)> = targets
                    .iter()
                    .zip(directions)
                    .filter_map(|(target, tangent)| Some((*found.get(target)?, *tangent)))
                    .collect();
                let cotangents: Vec<NodeId> = seeds.iter().map(|(_, seed)| *seed).collect();
                let found = self.sweep(region, &tangents, &cotangents, &[])?;
                cotangents.iter().map(|seed| found.get(seed).copied().unwrap_or(*seed)).collect()
            }
            _ => unreachable!("bug in bpc: a turn of a loop is wanted"),
        };
        Ok(push(region, Op::Tuple {}, &parts, provenance))
    }

    /// What a `vjps` sends to its operands: its derivative is that of its rule.
    pub(super) fn second_vjps(
        &mut self,
        region: &mut Region,
        id: NodeId,
        values: &[NodeId],
        arrived: &[NodeId],
        activity: &Activity,
    ) -> Result<Vec<(NodeId, NodeId)>, Vec<Diagnostic>> {
        let node = region.nodes[id].clone();
        let Op::Vjps { of, rule, estimator, types, body } = &node.op else {
            unreachable!("bug in bpc: a vjps is wanted")
        };
        if *estimator {
            return Err(vec![diagnose::second_derivative(&node.provenance, of, rule)]);
        }
        let indices: Vec<u32> = (0..types.len() as u32).collect();
        let by: Vec<u32> = (0..node.operands.len() as u32)
            .filter(|place| activity.active.contains(&node.operands[*place as usize]))
            .collect();
        let (body, gives) = self.vjp_of_region(*body, &indices, &by)?;
        let mut operands = node.operands.clone();
        operands.extend_from_slice(values);
        operands.extend_from_slice(arrived);
        let operand = |place: &u32| node.operands[*place as usize];
        let given = &self.graph.regions[body];
        let types = given.results.iter().map(|result| given.tensor(result.node).clone()).collect();
        let provenance = backward(&node.provenance);
        let op = Op::Vjps { of: format!("vjp.{of}"), rule: rule.clone(), estimator: false, types, body };
        let sent = push(region, op, &operands, provenance);
        let mut contributions = Vec::new();
        for (index, place) in gives.iter().enumerate() {
            let cotangent = push(region, Op::Project { index: index as u32 }, &[sent], provenance);
            contributions.push((operand(place), cotangent));
        }
        Ok(contributions)
    }
}

fn is_float_node(region: &Region, node: NodeId) -> bool {
    region.nodes[node].ty.tensor().is_some_and(|ty| ty.dtype.is_float())
}

/// The inputs of a body that are no floats and depend on a target: from outside, or an earlier turn made them so.
fn discrete_inputs(
    body: &Region,
    from_outside: &[bool],
    inputs: &[NodeId],
    next: &[NodeId],
    targets: &[NodeId],
) -> Vec<NodeId> {
    let from_outside = from_outside.iter().zip(inputs).filter(|(discrete, _)| **discrete);
    let mut discrete: Vec<NodeId> = from_outside.map(|(_, input)| *input).collect();
    let Some(last) = body.nodes.keys().next_back() else { return discrete };
    loop {
        let inside = activity::analyze(body, targets, &discrete, last);
        let carried = next.iter().zip(inputs).find(|(next, input)| {
            let reached = inside.discrete.contains(next) || inside.active.contains(next);
            let is_float = body.tensor(**input).dtype.is_float();
            reached && !is_float && !discrete.contains(input) && !targets.contains(input)
        });
        match carried {
            Some((_, input)) => discrete.push(*input),
            None => return discrete,
        }
    }
}
