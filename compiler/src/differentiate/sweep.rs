//! The reverse sweep over one region.
//!
//! Expects: nodes in topological order; seeds with the types of the nodes they are cotangents of.
//! Guarantees: cotangents of one node are added in descending order of its users; the cotangent of a bool is a float tensor,
//! the wider where two dtypes meet.
//! Leaves out: loops (`scan`) and the search for what is active (`activity`).

use super::activity::{self, Activity};
use super::{Pass, Rule, backward, diagnose, in_dtype, push, zeros};
use crate::ir::graph::{NodeId, Provenance, Region};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType, Type};
use bpc_lang::diagnostics::Diagnostic;
use std::collections::BTreeMap;

/// Cotangents found so far.
pub(super) struct Cotangents {
    /// Of tensors.
    pub tensors: BTreeMap<NodeId, NodeId>,
    /// Of the parts of tuples: of scans and of calls with several results.
    pub parts: BTreeMap<(NodeId, u32), NodeId>,
}

impl Cotangents {
    /// Adds a contribution to the cotangent of a node.
    pub fn add(&mut self, region: &mut Region, node: NodeId, contribution: NodeId, provenance: Provenance) {
        let total = match self.tensors.get(&node) {
            Some(known) => {
                let wider = region.tensor(*known).dtype.max(region.tensor(contribution).dtype);
                let known = in_dtype(region, *known, wider, provenance);
                let contribution = in_dtype(region, contribution, wider, provenance);
                push(region, Op::Add {}, &[known, contribution], provenance)
            }
            None => contribution,
        };
        self.tensors.insert(node, total);
    }
}

impl Pass<'_> {
    /// The cotangents of the `targets`, given those of some nodes; a target that none reaches is absent. `discrete` are
    /// inputs of the region whose dependence on a target lies outside.
    pub(super) fn sweep(
        &mut self,
        region: &mut Region,
        seeds: &[(NodeId, NodeId)],
        targets: &[NodeId],
        discrete: &[NodeId],
    ) -> Result<BTreeMap<NodeId, NodeId>, Vec<Diagnostic>> {
        let Some(last) = seeds.iter().map(|(node, _)| *node).max() else {
            return Ok(BTreeMap::new());
        };
        let activity = activity::analyze(region, targets, discrete, last);
        let mut cotangents = Cotangents { tensors: BTreeMap::new(), parts: BTreeMap::new() };
        for (node, seed) in seeds {
            cotangents.add(region, *node, *seed, backward(&region.nodes[*node].provenance));
        }
        let mut errors = Vec::new();
        let ids: Vec<NodeId> = region.nodes.keys().take_while(|id| *id <= last).collect();
        for id in ids.into_iter().rev() {
            if !activity.active.contains(&id) {
                continue;
            }
            let node = region.nodes[id].clone();
            if let Op::Scan { .. } | Op::Via { .. } = node.op {
                if let Err(mut found) = self.scan_vjp(region, id, &activity, &mut cotangents) {
                    errors.append(&mut found);
                }
                continue;
            }
            if let Type::Tuple(types) = &node.ty {
                let arrived: Vec<Option<NodeId>> =
                    (0..types.len()).map(|part| cotangents.parts.get(&(id, part as u32)).copied()).collect();
                if arrived.iter().all(Option::is_none) {
                    continue;
                }
                if let Op::Forms {} = node.op {
                    // All forms are equal: the derivative of the first one is that of each.
                    for (part, cotangent) in arrived.into_iter().enumerate() {
                        if let Some(cotangent) = cotangent {
                            let part = (node.operands[0], part as u32);
                            add_part(region, &mut cotangents, part, cotangent, &node.provenance);
                        }
                    }
                    continue;
                }
                if let Op::Tuple {} = node.op {
                    for (operand, cotangent) in node.operands.iter().zip(arrived) {
                        if let Some(cotangent) = cotangent {
                            cotangents.add(region, *operand, cotangent, backward(&node.provenance));
                        }
                    }
                    continue;
                }
                let (values, arrived) = parts_of(region, id, types, &arrived);
                let contributions = match &node.op {
                    Op::Vjps { .. } => self.second_vjps(region, id, &values, &arrived, &activity),
                    _ => self.use_rule(region, id, &values, &arrived, &activity),
                };
                match contributions {
                    Ok(contributions) => {
                        for (operand, contribution) in contributions {
                            cotangents.add(region, operand, contribution, backward(&node.provenance));
                        }
                    }
                    Err(mut found) => errors.append(&mut found),
                }
                continue;
            }
            let Some(cotangent) = cotangents.tensors.get(&id).copied() else {
                continue;
            };
            if let Op::Project { index } = node.op {
                add_part(region, &mut cotangents, (node.operands[0], index), cotangent, &node.provenance);
                continue;
            }
            if !activity.depends(&node) {
                continue;
            }
            match self.use_rule(region, id, &[id], &[cotangent], &activity) {
                Ok(contributions) => {
                    for (operand, contribution) in contributions {
                        cotangents.add(region, operand, contribution, backward(&node.provenance));
                    }
                }
                Err(mut found) => errors.append(&mut found),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(targets
            .iter()
            .filter_map(|target| cotangents.tensors.get(target).map(|cotangent| (*target, *cotangent)))
            .collect())
    }

    /// What one node sends to its operands: a `vjp` for each active one. `values` are the parts of its value, and
    /// `arrived` their cotangents.
    fn use_rule(
        &mut self,
        region: &mut Region,
        id: NodeId,
        values: &[NodeId],
        arrived: &[NodeId],
        activity: &Activity,
    ) -> Result<Vec<(NodeId, NodeId)>, Vec<Diagnostic>> {
        let node = region.nodes[id].clone();
        let (of, rule, estimator, (body, gives), known) = match &node.op {
            Op::Ruled { of, rule, arguments, gives, estimator, body, .. } => {
                let known = node.operands[1..].to_vec();
                debug_assert!(known.len() >= *arguments as usize);
                (of.clone(), rule.clone(), *estimator, (*body, gives.clone()), known)
            }
            Op::Vjp { of, rule, index, estimator, body, .. } => {
                if *estimator {
                    return Err(vec![diagnose::second_derivative(&node.provenance, of, rule)]);
                }
                let by = (0..node.operands.len() as u32)
                    .filter(|place| region.tensor(node.operands[*place as usize]).dtype.has_cotangent());
                let nested = self.vjp_of_region(*body, &[*index], &by.collect::<Vec<_>>())?;
                (format!("vjp.{of}"), rule.clone(), false, nested, node.operands.clone())
            }
            op => {
                if let Some(discrete) = node
                    .operands
                    .iter()
                    .find(|operand| activity.discrete.contains(operand) && !matches!(op, Op::Select {}))
                {
                    return Err(vec![diagnose::discrete(region, *discrete, activity, &*self.table)]);
                }
                match self.primitive(region, id, arrived[0])? {
                    Some(rule) => (op.name().to_string(), "exact".to_string(), false, rule, node.operands.clone()),
                    None => return Err(vec![diagnose::discrete(region, id, activity, &*self.table)]),
                }
            }
        };
        let provenance = backward(&node.provenance);
        let given = &self.graph.regions[body];
        let wanted: Vec<Dtype> =
            given.inputs[given.inputs.len() - arrived.len()..].iter().map(|input| given.tensor(*input).dtype).collect();
        let mut operands = known.clone();
        operands.extend_from_slice(values);
        operands.extend(
            arrived.iter().zip(wanted).map(|(cotangent, dtype)| in_dtype(region, *cotangent, dtype, provenance)),
        );
        let mut contributions = Vec::new();
        for (index, place) in gives.iter().enumerate() {
            let operand = known[*place as usize];
            if !activity.active.contains(&operand) {
                continue;
            }
            let given = &self.graph.regions[body];
            let op = Op::Vjp {
                of: of.clone(),
                rule: rule.clone(),
                index: index as u32,
                estimator,
                ty: given.tensor(given.results[index].node).clone(),
                body,
            };
            contributions.push((operand, push(region, op, &operands, provenance)));
        }
        Ok(contributions)
    }

    fn primitive(&mut self, region: &Region, id: NodeId, cotangent: NodeId) -> Result<Option<Rule>, Vec<Diagnostic>> {
        let node = &region.nodes[id];
        let Type::Tensor(result) = &node.ty else {
            return Ok(None);
        };
        let operands: Vec<_> = node.operands.iter().map(|operand| region.tensor(*operand).clone()).collect();
        self.table.rule(&mut self.graph, &node.op, &operands, result, region.tensor(cotangent))
    }
}

/// The parts of a tuple, and a cotangent for each of them.
fn parts_of(
    region: &mut Region,
    tuple: NodeId,
    types: &[TensorType],
    arrived: &[Option<NodeId>],
) -> (Vec<NodeId>, Vec<NodeId>) {
    let provenance = backward(&region.nodes[tuple].provenance);
    let values = (0..types.len() as u32).map(|index| push(region, Op::Project { index }, &[tuple], provenance));
    let values = values.collect();
    let known = arrived.iter().zip(types);
    let arrived = known.map(|(known, ty)| known.unwrap_or_else(|| zeros(region, ty, provenance))).collect();
    (values, arrived)
}

/// Adds to the cotangent of a part of a tuple.
fn add_part(
    region: &mut Region,
    cotangents: &mut Cotangents,
    part: (NodeId, u32),
    contribution: NodeId,
    provenance: &Provenance,
) {
    let total = match cotangents.parts.get(&part) {
        Some(known) => push(region, Op::Add {}, &[*known, contribution], backward(provenance)),
        None => contribution,
    };
    cotangents.parts.insert(part, total);
}
