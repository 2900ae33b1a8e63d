//! Reverse-mode differentiation: every `grad` marker becomes cotangents made of `vjp` nodes.
//!
//! Expects: a verified graph from lowering, and a [`DerivativeTable`] for the primitives.
//! Guarantees: the result holds no `grad`, `pullback` or `pushforward` marker; for every use on the way from the scalar to what it is derived by
//! there is one `vjp` node that names operation, rule and argument. No mathematics happens here: a rule is a region that
//! expansion puts in the place of its `vjp` later. Nothing is lost in silence: a discrete operation on the way, or a
//! target that no gradient reaches, is a diagnostic.
//! Leaves out: simplification (the e-graph does it), and what a rule computes (the language says it).

mod activity;
mod diagnose;
mod scan;
mod sweep;

use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::Span;
use std::collections::BTreeMap;

/// The rule of one operation: its region, and the operand whose cotangent each result is.
pub type Rule = (RegionId, Vec<u32>);

/// A loop whose cotangents are asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loop {
    /// The loop, whose stacks hold its states: the carries before each turn.
    pub scan: Op,
    /// The types of its operands.
    pub operands: Vec<TensorType>,
    /// The types of its parts.
    pub parts: Vec<TensorType>,
    /// For each carry, the part that is its state.
    pub states: Vec<u32>,
    /// The operands that are trained.
    pub trained: Vec<u32>,
    /// The parts behind the last carries that get a cotangent: stacks, then states.
    pub given: Vec<u32>,
    /// Inputs of the body that are discrete and depend on something trained, by a way outside of the body.
    pub discrete: Vec<u32>,
    /// The chosen rule, by its place among the choices of the program and with its arguments; without one, the derivative of
    /// loops.
    pub rule: Option<(u32, String)>,
}

/// The rule of a loop.
#[derive(Clone, Debug)]
pub struct LoopRule {
    /// The rule with its arguments.
    pub name: String,
    /// Whether it is an estimate.
    pub estimator: bool,
    /// Its forms, which are equal, by name. Inputs of each region: the operands of the loop, its parts, a cotangent for the
    /// last value of each float carry, and one for each part of `given`.
    pub forms: Vec<(String, RegionId)>,
    /// The operands whose cotangents are the results of these regions.
    pub gives: Vec<u32>,
}

/// Where the derivatives of primitives come from.
pub trait DerivativeTable {
    /// The exact rule of `op` at these types; its region is added to the graph and takes the operands, the result and the
    /// cotangent of the result, of type `cotangent`. `None` if the operation has no derivative.
    ///
    /// # Errors
    /// Diagnostics of the rule's own text.
    fn rule(
        &mut self,
        graph: &mut Graph,
        op: &Op,
        operands: &[TensorType],
        result: &TensorType,
        cotangent: &TensorType,
    ) -> Result<Option<Rule>, Vec<Diagnostic>>;

    /// The rule of a loop; its regions are added to the graph and may hold `pullback` and `pushforward` markers. `place`
    /// is where the loop stands.
    ///
    /// # Errors
    /// Diagnostics of the rule's own text, or of how it was chosen.
    fn loop_rule(&mut self, graph: &mut Graph, wanted: &Loop, place: Option<Span>)
    -> Result<LoopRule, Vec<Diagnostic>>;

    /// The named rules that a program may choose for this operation or function.
    fn choices(&self, name: &str) -> Vec<String>;
}

/// Replaces every `grad` marker of the graph.
///
/// # Errors
/// A discrete operation on a trained path, a target that no gradient reaches, a derivative of an estimator.
pub fn differentiate(graph: &Graph, table: &mut dyn DerivativeTable) -> Result<Graph, Vec<Diagnostic>> {
    let mut pass = Pass { graph: Graph::default(), table, vjps: BTreeMap::new(), loops: BTreeMap::new() };
    let mut regions: BTreeMap<RegionId, RegionId> = BTreeMap::new();
    for (id, region) in graph.regions.iter() {
        let differentiated = pass.region(region, &regions)?;
        regions.insert(id, pass.graph.add(differentiated));
    }
    Ok(pass.graph)
}

/// The graph under construction; regions are finished one after the other.
struct Pass<'a> {
    graph: Graph,
    table: &'a mut dyn DerivativeTable,
    /// The vjps of results of rule regions by some of their inputs, for second derivatives.
    vjps: BTreeMap<(RegionId, Vec<u32>, Vec<u32>), Rule>,
    /// The rules of loops.
    loops: BTreeMap<Loop, LoopRule>,
}

impl Pass<'_> {
    /// A region with its markers replaced; `regions` maps the old graph's ids to the new ones.
    fn region(&mut self, old: &Region, regions: &BTreeMap<RegionId, RegionId>) -> Result<Region, Vec<Diagnostic>> {
        let mut new = Region::new(old.name.clone());
        let mut map: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut errors = Vec::new();
        let saved = scans_under_gradients(old);
        // All targets of one scalar are served by one sweep.
        let mut targets: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for node in old.nodes.values().filter(|node| matches!(node.op, Op::Grad {})) {
            targets.entry(node.operands[0]).or_default().push(node.operands[1]);
        }
        let mut cotangents: BTreeMap<NodeId, BTreeMap<NodeId, NodeId>> = BTreeMap::new();
        for (id, node) in old.nodes.iter() {
            let copy = match &node.op {
                Op::Grad {} => {
                    let (loss, wrt) = (node.operands[0], node.operands[1]);
                    if let std::collections::btree_map::Entry::Vacant(entry) = cotangents.entry(loss) {
                        let wanted: Vec<NodeId> = targets[&loss].iter().map(|target| map[target]).collect();
                        let seed = constant(&mut new, 1.0, map[&loss], backward(&node.provenance));
                        match self.sweep(&mut new, &[(map[&loss], seed)], &wanted, &[]) {
                            Ok(found) => entry.insert(found),
                            Err(mut found) => {
                                errors.append(&mut found);
                                // The sweep failed as a whole; its other targets must not be reported again.
                                let seeds = wanted.iter().map(|target| (*target, *target)).collect();
                                entry.insert(seeds)
                            }
                        };
                    }
                    let found = match cotangents[&loss].get(&map[&wrt]) {
                        Some(cotangent) => *cotangent,
                        None => {
                            errors.push(diagnose::unreached(&new, map[&loss], map[&wrt], &node.provenance));
                            map[&wrt]
                        }
                    };
                    let dtype = node.ty.tensor().expect("bug in bpc: a derivative that is a tuple").dtype;
                    in_dtype(&mut new, found, dtype, backward(&node.provenance))
                }
                Op::Pullback { .. } | Op::Pushforward { .. } => {
                    let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand]).collect();
                    let op = with_regions(&node.op, regions);
                    self.turn(&mut new, &op, &operands, &node.provenance)?
                }
                op => {
                    let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand]).collect();
                    let op = with_regions(op, regions);
                    if saved.contains(&id) {
                        self.scan_with_states(&mut new, &op, &operands, node.provenance)
                    } else {
                        push(&mut new, op, &operands, node.provenance)
                    }
                }
            };
            map.insert(id, copy);
        }
        for output in &old.results {
            new.result(output.role, output.name.clone(), map[&output.node]);
        }
        new.inputs = old.inputs.iter().map(|input| map[input]).collect();
        if errors.is_empty() { Ok(new) } else { Err(errors) }
    }

    /// The rule that gives the vjp of some results of a region by some of its inputs: its own inputs are those of the
    /// region, these results, and their cotangents.
    fn vjp_of_region(&mut self, body: RegionId, indices: &[u32], by: &[u32]) -> Result<Rule, Vec<Diagnostic>> {
        let key = (body, indices.to_vec(), by.to_vec());
        if let Some(known) = self.vjps.get(&key) {
            return Ok(known.clone());
        }
        let old = self.graph.regions[body].clone();
        let name = indices.iter().map(u32::to_string).collect::<Vec<_>>().join("_");
        let mut new = Region::new(format!("{}.{name}.vjp", old.name));
        let inputs = copy_inputs(&mut new, &old, Provenance::default());
        let input = |new: &mut Region, role: InputRole, name: &str, index: u32| {
            let ty = old.tensor(old.results[index as usize].node).clone();
            let name = if indices.len() == 1 { name.to_string() } else { format!("{name}{index}") };
            new.input(role, fresh_name(&old, &name), ty, Provenance::default())
        };
        for index in indices {
            input(&mut new, InputRole::Argument, "result", *index);
        }
        let seeds: Vec<NodeId> =
            indices.iter().map(|index| input(&mut new, InputRole::Cotangent, "cotangent", *index)).collect();
        let results = self.inline(&mut new, &old, &inputs);
        let wanted: Vec<NodeId> = by.iter().map(|place| inputs[*place as usize]).collect();
        let seeds: Vec<(NodeId, NodeId)> =
            indices.iter().zip(seeds).map(|(index, seed)| (results[*index as usize], seed)).collect();
        let found = self.sweep(&mut new, &seeds, &wanted, &[])?;
        let mut gives = Vec::new();
        for (place, input) in inputs.iter().enumerate() {
            if let Some(cotangent) = found.get(input) {
                gives.push(place as u32);
                new.result(OutputRole::Value, format!("cotangent{place}"), *cotangent);
            }
        }
        let rule = (self.graph.add(new), gives);
        self.vjps.insert(key, rule.clone());
        Ok(rule)
    }

    /// Copies a region's nodes into another one, scans with their states saved; gives the nodes of its results.
    fn inline(&mut self, target: &mut Region, body: &Region, arguments: &[NodeId]) -> Vec<NodeId> {
        let mut map: BTreeMap<NodeId, NodeId> = body.inputs.iter().copied().zip(arguments.iter().copied()).collect();
        for (id, node) in body.nodes.iter() {
            if map.contains_key(&id) {
                continue;
            }
            let operands: Vec<NodeId> = node.operands.iter().map(|operand| map[operand]).collect();
            let copy = if matches!(node.op, Op::Scan { .. }) {
                self.scan_with_states(target, &node.op, &operands, node.provenance)
            } else {
                push(target, node.op.clone(), &operands, node.provenance)
            };
            map.insert(id, copy);
        }
        body.results.iter().map(|output| map[&output.node]).collect()
    }
}

/// The scans that a `grad` marker of the region looks through; they must save their states.
fn scans_under_gradients(region: &Region) -> Vec<NodeId> {
    let mut below: std::collections::BTreeSet<NodeId> = std::collections::BTreeSet::new();
    for (id, node) in region.nodes.iter().rev() {
        if matches!(node.op, Op::Grad {}) {
            below.insert(node.operands[0]);
        }
        if below.contains(&id) {
            below.extend(node.operands.iter().copied());
        }
    }
    below.into_iter().filter(|id| matches!(region.nodes[*id].op, Op::Scan { .. })).collect()
}

/// The inputs of a region as arguments of another.
fn copy_inputs(target: &mut Region, body: &Region, provenance: Provenance) -> Vec<NodeId> {
    body.inputs
        .iter()
        .map(|input| {
            let Op::Input { name, ty, .. } = &body.nodes[*input].op else {
                unreachable!("bug in bpc: a region input that is no input")
            };
            target.input(InputRole::Argument, name.clone(), ty.clone(), provenance)
        })
        .collect()
}

/// A name that no input of a region has: a region that is a derivative itself has the usual names already.
fn fresh_name(region: &Region, name: &str) -> String {
    let mut name = name.to_string();
    while region.input_named(&name).is_some() {
        name.push('\'');
    }
    name
}

/// An operation with the region it names mapped, if it is in the map.
fn with_regions(op: &Op, regions: &BTreeMap<RegionId, RegionId>) -> Op {
    let mut op = op.clone();
    if let Some(body) = op.body_mut() {
        *body = regions.get(body).copied().unwrap_or(*body);
    }
    op
}

/// Adds a node whose types are right by construction.
fn push(region: &mut Region, op: Op, operands: &[NodeId], provenance: Provenance) -> NodeId {
    let name = op.name();
    region
        .push(op, operands, provenance)
        .unwrap_or_else(|error| panic!("bug in bpc: {name} in differentiation: {error}"))
}

/// The node, cast if its dtype is another one: cotangents of a bool may meet in two floats.
fn in_dtype(region: &mut Region, node: NodeId, dtype: Dtype, provenance: Provenance) -> NodeId {
    if region.tensor(node).dtype == dtype {
        return node;
    }
    push(region, Op::Cast { dtype }, &[node], provenance)
}

/// A splat of the type of another node.
fn constant(region: &mut Region, value: f64, like: NodeId, provenance: Provenance) -> NodeId {
    let ty = region.tensor(like).clone();
    let op = Op::Constant { value: Literal::new(ty.dtype, value), shape: ty.shape };
    push(region, op, &[], provenance)
}

/// Zeros of a type.
fn zeros(region: &mut Region, ty: &TensorType, provenance: Provenance) -> NodeId {
    let op = Op::Constant { value: Literal::new(ty.dtype, 0.0), shape: ty.shape.clone() };
    push(region, op, &[], provenance)
}

/// The provenance of what differentiation makes for a node.
fn backward(forward: &Provenance) -> Provenance {
    Provenance { backward: true, ..*forward }
}
