//! The invariants of graphs, checked after every pass.
//!
//! Expects: nothing.
//! Guarantees: a graph that passes has these properties; every violation is reported, with its place:
//!
//! 1. There is a region. The last one is `main`; a region only names regions before it.
//! 2. The operands of a node come before it in its region, and so do those of results.
//! 3. The number of operands is that of the op table, and the type of a node is the one that the table infers.
//! 4. `inputs` holds exactly the input nodes of the region, in their order. Names of inputs differ within a region.
//! 5. Inputs of `main` have any role but `argument`, at most one the role `seed` (u32[2]) and one `step` (i32[]);
//!    inputs of other regions are arguments.
//! 6. Results are tensors; those of one role differ in name. A `next` result stands in `main` only, and has the name
//!    and the type of a parameter, state or step input.
//! 7. The body of a `scan` has one input for each operand, of its type (of a sequence: without the leading axis), and
//!    one result for each carry, of its type, and for each stack, of its type without the leading axis.
//! 8. The body of a `ruled` has inputs of the types of the arguments, of what is kept, of the parts of the value, and
//!    again of these parts for the cotangents; its results have the types of the arguments whose cotangents they are.
//! 9. The body of a `vjp` has one input for each operand, of its type, and result `index` has the type of the node; the
//!    results of the body of a `vjps` are its parts.
//! 10. The body of a `pullback` or `pushforward` has the operands before the cotangents or tangents as inputs, and results
//!     of the types of the cotangents or tangents.
//!
//! Leaves out: whether values make sense (an index in range, a division by zero): the op table gives them a meaning.

use super::graph::{Graph, InputRole, Node, NodeId, OutputRole, Region, RegionId};
use super::op::{Op, OpClass};
use super::types::{Dtype, TensorType, Type};
use std::collections::{BTreeMap, BTreeSet};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// In this region.
    pub region: RegionId,
    /// At this node, unless the region as a whole is meant.
    pub node: Option<NodeId>,
    /// One sentence.
    pub message: String,
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.node {
            Some(node) => write!(formatter, "{} {node}: {}", self.region, self.message),
            None => write!(formatter, "{}: {}", self.region, self.message),
        }
    }
}

/// Checks all invariants.
///
/// # Errors
/// All violations, in the order of regions and nodes.
pub fn verify(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut errors = Vec::new();
    if graph.regions.is_empty() {
        let message = "a graph has at least one region".to_string();
        return Err(vec![VerifyError { region: RegionId::from_u32(0), node: None, message }]);
    }
    for id in graph.regions.keys() {
        let mut verifier = Verifier { graph, id, region: &graph.regions[id], errors: &mut errors };
        verifier.nodes();
        verifier.inputs();
        verifier.results();
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Checks all invariants, and that no operation speaks about gradients any more: how a graph leaves expansion.
///
/// # Errors
/// All violations, in the order of regions and nodes.
pub fn verify_expanded(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    verify(graph)?;
    let mut errors = Vec::new();
    for (region, content) in graph.regions.iter() {
        for (node, Node { op, .. }) in content.nodes.iter() {
            if matches!(op.class(), OpClass::Marker) {
                let message = format!("{} is left after expansion", op.name());
                errors.push(VerifyError { region, node: Some(node), message });
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

struct Verifier<'a> {
    graph: &'a Graph,
    id: RegionId,
    region: &'a Region,
    errors: &'a mut Vec<VerifyError>,
}

impl<'a> Verifier<'a> {
    fn report(&mut self, node: impl Into<Option<NodeId>>, message: String) {
        self.errors.push(VerifyError { region: self.id, node: node.into(), message });
    }

    fn nodes(&mut self) {
        for (id, node) in self.region.nodes.iter() {
            if let Some(operand) = node.operands.iter().find(|operand| **operand >= id) {
                self.report(id, format!("the operand {operand} does not come before it"));
                continue;
            }
            let types: Vec<&Type> = node.operands.iter().map(|operand| &self.region.nodes[*operand].ty).collect();
            match node.op.infer(&types) {
                Ok(ty) if ty == node.ty => {}
                Ok(ty) => {
                    self.report(id, format!("has the type {}, and the operation gives {ty}", node.ty));
                    continue;
                }
                Err(message) => {
                    self.report(id, message);
                    continue;
                }
            }
            if let Some(body) = node.op.body() {
                if body >= self.id {
                    self.report(id, format!("the region {body} does not come before {}", self.id));
                } else if let Err(message) = self.body(&node.op, &types, &node.ty, &self.graph.regions[body]) {
                    self.report(id, format!("the region {body}: {message}"));
                }
            }
        }
    }

    /// Whether a region has the signature that the node needs; types of operands are known to fit the operation.
    fn body(&self, op: &Op, types: &[&Type], ty: &Type, body: &Region) -> Result<(), String> {
        let operand = |index: usize| types[index].tensor().cloned().ok_or_else(|| "a tuple goes in".to_string());
        let without_leading = |ty: TensorType| TensorType { dtype: ty.dtype, shape: ty.shape[1..].to_vec() };
        let (inputs, results): (Vec<TensorType>, Vec<TensorType>) = match op {
            Op::Scan { carries, sequences, stacks, .. } => {
                let (carries, sequences) = (*carries as usize, *sequences as usize);
                let mut inputs = Vec::with_capacity(types.len());
                for index in 0..types.len() {
                    let is_sequence = (carries..carries + sequences).contains(&index);
                    inputs.push(if is_sequence { without_leading(operand(index)?) } else { operand(index)? });
                }
                let stacked = stacks.iter().cloned().map(without_leading);
                let results = inputs[..carries].iter().cloned().chain(stacked).collect();
                (inputs, results)
            }
            Op::Ruled { gives, .. } => {
                let mut inputs = (1..types.len()).map(operand).collect::<Result<Vec<_>, _>>()?;
                // The float dtype of the cotangent of a bool is the region's own business.
                let cotangent = |ty: &TensorType, node: Option<&NodeId>| {
                    let given = node.and_then(|node| body.nodes.get(*node)).and_then(|node| node.ty.tensor());
                    given.filter(|given| ty.takes_cotangent(given)).unwrap_or(ty).clone()
                };
                let results = gives.iter().enumerate().map(|(index, argument)| {
                    cotangent(&inputs[*argument as usize], body.results.get(index).map(|output| &output.node))
                });
                let results = results.collect();
                let parts = types[0].parts();
                inputs.extend(parts.iter().cloned());
                match parts {
                    [value] => inputs.push(cotangent(value, body.inputs.last())),
                    parts => inputs.extend(parts.iter().cloned()),
                }
                (inputs, results)
            }
            Op::Vjp { index, .. } => {
                let inputs = (0..types.len()).map(operand).collect::<Result<Vec<_>, _>>()?;
                let mut results: Vec<Type> = Vec::new();
                for output in &body.results {
                    let node = body.nodes.get(output.node).ok_or("a result does not exist")?;
                    results.push(node.ty.clone());
                }
                match results.get(*index as usize) {
                    Some(given) if given == ty => {}
                    Some(given) => return Err(format!("result {index} is {given} and should be {ty}")),
                    None => return Err(format!("has {} results and there is no {index}", results.len())),
                }
                return signature("input", &body.inputs, body, &inputs);
            }
            Op::Vjps { types: results, .. } => {
                ((0..types.len()).map(operand).collect::<Result<Vec<_>, _>>()?, results.clone())
            }
            Op::Pullback { from, .. } => {
                let inputs = (0..types.len() - from.len()).map(operand).collect::<Result<Vec<_>, _>>()?;
                let cotangents = (types.len() - from.len()..types.len()).map(operand).collect::<Result<Vec<_>, _>>()?;
                return signature("input", &body.inputs, body, &inputs)
                    .and_then(|()| signature("result", &chosen(body, from)?, body, &cotangents));
            }
            Op::Pushforward { by, of, types: results, .. } => {
                let inputs = (0..types.len() - by.len()).map(operand).collect::<Result<Vec<_>, _>>()?;
                return signature("input", &body.inputs, body, &inputs)
                    .and_then(|()| signature("result", &chosen(body, of)?, body, results));
            }
            _ => return Err("bug in bpc: an operation that names no region".to_string()),
        };
        let result_nodes: Vec<NodeId> = body.results.iter().map(|output| output.node).collect();
        signature("input", &body.inputs, body, &inputs)?;
        signature("result", &result_nodes, body, &results)
    }

    fn inputs(&mut self) {
        let is_main = self.id == self.graph.main_id();
        let region = self.region;
        let in_order = region.nodes.iter().filter(|(_, node)| matches!(node.op, Op::Input { .. })).map(|(id, _)| id);
        if !region.inputs.iter().copied().eq(in_order) {
            self.report(None, "the list of inputs is not that of the input nodes in their order".to_string());
        }
        let mut names = BTreeSet::new();
        let mut roles = BTreeSet::new();
        for (id, node) in region.nodes.iter() {
            let Op::Input { role, name, ty } = &node.op else { continue };
            if !names.insert(name) {
                self.report(id, format!("there are two inputs of the name {name:?}"));
            }
            if role.is_argument() == is_main {
                let wanted = if is_main { "not be an argument in main" } else { "be an argument outside main" };
                self.report(id, format!("the input {name:?} should {wanted}"));
            }
            let wanted = match role {
                InputRole::Seed => TensorType::new(Dtype::U32, [2]),
                InputRole::Step => TensorType::scalar(Dtype::I32),
                _ => continue,
            };
            if *ty != wanted {
                self.report(id, format!("the input {name:?} is {ty} and should be {wanted}"));
            }
            if !roles.insert(role) {
                self.report(id, format!("the input {name:?} is the second of its role"));
            }
        }
    }

    fn results(&mut self) {
        let is_main = self.id == self.graph.main_id();
        let region = self.region;
        let mut kept: BTreeMap<&str, &TensorType> = BTreeMap::new();
        for node in region.nodes.values() {
            if let Op::Input { role: InputRole::Parameter | InputRole::State | InputRole::Step, name, ty } = &node.op {
                kept.insert(name, ty);
            }
        }
        let mut names = BTreeSet::new();
        for output in &region.results {
            let name = &output.name;
            let Some(node) = region.nodes.get(output.node) else {
                self.report(None, format!("the result {name:?} is {}, which does not exist", output.node));
                continue;
            };
            if !names.insert((output.role, name)) {
                self.report(output.node, format!("there are two results of the name {name:?}"));
            }
            let Type::Tensor(ty) = &node.ty else {
                self.report(output.node, format!("the result {name:?} is a tuple {}", node.ty));
                continue;
            };
            let says = matches!((ty.dtype, &ty.shape[..]), (Dtype::Bool, []) | (Dtype::I32, [_]));
            if output.role == OutputRole::Warning && !(is_main && says) {
                self.report(
                    output.node,
                    format!("the warning {name:?} is {ty} and should be a bool[] or i32[..] of main"),
                );
            }
            if output.role == OutputRole::Next {
                if !is_main {
                    self.report(output.node, format!("the next value of {name:?} stands outside main"));
                    continue;
                }
                match kept.get(name.as_str()) {
                    None => self.report(
                        output.node,
                        format!("{name:?} has a next value and is no parameter, state or step input"),
                    ),
                    Some(wanted) if *wanted != ty => {
                        self.report(output.node, format!("the next value of {name:?} is {ty} and should be {wanted}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// The nodes of these results of a region.
fn chosen(body: &Region, results: &[u32]) -> Result<Vec<NodeId>, String> {
    let node = |index: &u32| body.results.get(*index as usize).map(|output| output.node);
    results.iter().map(|index| node(index).ok_or_else(|| format!("there is no result {index}"))).collect()
}

fn signature(what: &str, nodes: &[NodeId], body: &Region, wanted: &[TensorType]) -> Result<(), String> {
    if nodes.len() != wanted.len() {
        return Err(format!("has {} {what}s and should have {}", nodes.len(), wanted.len()));
    }
    for (index, (node, wanted)) in nodes.iter().zip(wanted).enumerate() {
        let given = &body.nodes.get(*node).ok_or_else(|| format!("{what} {index} does not exist"))?.ty;
        if given.tensor() != Some(wanted) {
            return Err(format!("{what} {index} is {given} and should be {wanted}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;

    /// What the text form cannot say: the file tests hold the rest.
    fn broken(change: impl FnOnce(&mut Region)) -> String {
        let text = "region r0 \"main\" {\n  n0 = input {role = data, name = \"x\", ty = f32[2]} : f32[2]\n  \
                    n1 = neg(n0) : f32[2]\n  result value \"y\" = n1\n}\n";
        let mut graph = parse(text).unwrap();
        assert_eq!(verify(&graph), Ok(()));
        change(&mut graph.regions[RegionId::from_u32(0)]);
        let errors = verify(&graph).unwrap_err();
        errors.iter().map(VerifyError::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn broken_ids_and_types_are_found() {
        let (n0, n1, n9) = (NodeId::from_u32(0), NodeId::from_u32(1), NodeId::from_u32(9));
        assert_eq!(
            broken(|region| region.nodes[n1].operands = vec![n1]),
            "r0 n1: the operand n1 does not come before it"
        );
        assert_eq!(
            broken(|region| region.nodes[n1].operands = vec![n9]),
            "r0 n1: the operand n9 does not come before it"
        );
        assert_eq!(broken(|region| region.nodes[n1].operands = vec![n0, n0]), "r0 n1: neg takes 1 operands and has 2");
        assert_eq!(
            broken(|region| region.nodes[n1].ty = Type::Tensor(TensorType::new(Dtype::F32, [3]))),
            "r0 n1: has the type f32[3], and the operation gives f32[2]"
        );
        assert_eq!(
            broken(|region| region.inputs.clear()),
            "r0: the list of inputs is not that of the input nodes in their order"
        );
        assert_eq!(broken(|region| region.results[0].node = n9), "r0: the result \"y\" is n9, which does not exist");
        assert_eq!(verify(&Graph::default()).unwrap_err()[0].to_string(), "r0: a graph has at least one region");
    }
}
