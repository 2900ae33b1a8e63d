//! One call with its rule, cut out of a model: a graph from the arguments and a cotangent to the value and the
//! cotangents of the arguments.
//!
//! Expects: a differentiated graph, and a `vjp` node of it with its forward node, or a `ruled` node.
//! Guarantees: the value is computed from the arguments alone (and seed and step), the rule sees what it keeps.
//! Leaves out: running it.

use super::double::in_double;
use super::numbers::Numbers;
use crate::ir::copy::{NodeMap, copy, prune};
use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region, RegionId};
use crate::ir::interpret::{Tensor, run};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType, Type};
use std::collections::BTreeMap;

/// The name of the input that is the cotangent of the value.
pub const COTANGENT: &str = "cotangent of the value";

/// A call in double precision.
pub struct Piece {
    /// Inputs: arguments, the cotangent, what else the value needs; results: `value`, and a cotangent for each entry of
    /// `given`.
    pub graph: Graph,
    /// Names of the arguments whose cotangents are given, in the order of those; one may come twice.
    pub given: Vec<String>,
    /// Whether the value draws random numbers.
    pub random: bool,
}

/// The value of a piece, and the cotangents of `given`.
pub struct Outcome {
    /// Of the call.
    pub value: Tensor,
    /// In the order of `given`.
    pub cotangents: Vec<Tensor>,
}

impl Piece {
    /// Cuts out the call `forward` of a region under the rule `body`; gives `None` where nothing is to be checked.
    pub fn new(graph: &Graph, region: RegionId, forward: NodeId, rule: &Op) -> Option<Piece> {
        let Op::Vjp { of, rule, estimator, body, .. } = rule else { return None };
        let source = &graph.regions[region];
        let node = &source.nodes[forward];
        let mut main = Region::new("piece");
        let mut map = NodeMap::new();
        let mut names: BTreeMap<NodeId, String> = BTreeMap::new();
        let arguments: &[NodeId] = match &node.op {
            Op::Ruled { arguments, .. } => &node.operands[1..=*arguments as usize],
            _ => &node.operands,
        };
        let mut operands = Vec::new();
        for (place, argument) in arguments.iter().enumerate() {
            let ty = source.nodes[*argument].ty.tensor()?.clone();
            // The same node at two places of a ruled call is one argument, since its body does not tell them apart.
            if matches!(node.op, Op::Ruled { .. })
                && let Some(known) = map[*argument]
            {
                operands.push(known);
                continue;
            }
            let name = format!("argument {place}");
            let input = main.input(InputRole::Data, name.clone(), ty, Provenance::default());
            names.insert(input, name);
            map[*argument] = Some(input);
            operands.push(input);
        }
        let value = if let Op::Ruled { arguments, .. } = &node.op {
            let mut wanted = vec![node.operands[0]];
            wanted.extend_from_slice(&node.operands[1 + *arguments as usize..]);
            let copies = copy(&mut main, source, &wanted, &mut map);
            operands.extend_from_slice(&copies[1..]);
            copies[0]
        } else {
            main.push(node.op.clone(), &operands, Provenance::default()).ok()?
        };
        let rule_region = &graph.regions[*body];
        let ty = rule_region.tensor(*rule_region.inputs.last()?).clone();
        add_value(&mut main, value, ty, &mut operands)?;
        let mut given = Vec::new();
        for (index, output) in rule_region.results.iter().enumerate() {
            let place = rule_region.inputs.iter().position(
                |input| matches!(&rule_region.nodes[*input].op, Op::Input { name, .. } if *name == output.name),
            );
            let place = place.or_else(|| output.name.strip_prefix("cotangent")?.parse().ok())?;
            let argument = *operands.get(place)?;
            let op = Op::Vjp {
                of: of.clone(),
                rule: rule.clone(),
                index: index as u32,
                estimator: *estimator,
                ty: rule_region.tensor(output.node).clone(),
                body: *body,
            };
            let cotangent = main.push(op, &operands, Provenance::default()).ok()?;
            main.result(OutputRole::Value, format!("cotangent {index}"), cotangent);
            given.push(names.get(&argument)?.clone());
        }
        let mut whole = Graph::default();
        for region in graph.regions.values().take(region.as_u32() as usize) {
            whole.add(region.clone());
        }
        let random = main.nodes.values().any(|node| matches!(node.op, Op::Random { .. }));
        whole.add(main);
        Some(Piece { graph: in_double(&prune(&whole)), given, random })
    }

    /// The inputs by name.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        let main = self.graph.main();
        main.inputs.iter().filter_map(|input| match &main.nodes[*input].op {
            Op::Input { name, ty, .. } => Some((name.as_str(), ty)),
            _ => None,
        })
    }

    /// Random values for all inputs.
    pub fn values(&self, numbers: &mut Numbers, positive: bool) -> BTreeMap<String, Tensor> {
        self.inputs().map(|(name, ty)| (name.to_string(), numbers.tensor(ty, positive))).collect()
    }

    /// The type of the value, in double precision.
    pub fn value_type(&self) -> &TensorType {
        let main = self.graph.main();
        main.tensor(main.results[0].node)
    }

    /// The arguments of a dtype that have a cotangent, each once.
    pub fn differentiable(&self, dtype: Dtype) -> Vec<(String, TensorType)> {
        let of_dtype = |(_, ty): &(&str, &TensorType)| ty.dtype == dtype;
        let given = |(name, _): &(&str, &TensorType)| self.given.iter().any(|given| given == name);
        self.inputs().filter(of_dtype).filter(given).map(|(name, ty)| (name.to_string(), ty.clone())).collect()
    }

    /// Runs it.
    ///
    /// # Errors
    /// A sentence of the interpreter.
    pub fn run(&self, inputs: &BTreeMap<String, Tensor>) -> Result<Outcome, String> {
        let mut tensors = run(&self.graph, inputs)?.into_iter().map(|(_, tensor)| tensor);
        let value = tensors.next().ok_or("bug in bpc: a piece without value")?;
        Ok(Outcome { value, cotangents: tensors.collect() })
    }
}

/// Names the value as a result and gives its parts and their cotangents to the rule. Several parts are one vector of
/// doubles, and so are their cotangents; whole numbers have none. `last` is the type of the last cotangent.
fn add_value(main: &mut Region, value: NodeId, last: TensorType, operands: &mut Vec<NodeId>) -> Option<()> {
    let push = |main: &mut Region, op: Op, operands: &[NodeId]| main.push(op, operands, Provenance::default()).ok();
    let parts = match main.nodes[value].ty.clone() {
        Type::Tensor(_) => {
            let cotangent = main.input(InputRole::Data, COTANGENT, last, Provenance::default());
            main.result(OutputRole::Value, "value", value);
            operands.extend([value, cotangent]);
            return Some(());
        }
        Type::Tuple(parts) => parts,
    };
    let floats = parts.iter().filter(|ty| ty.dtype.is_float()).map(TensorType::elements).sum();
    let whole = TensorType::new(Dtype::F64, [floats]);
    let cotangent = main.input(InputRole::Data, COTANGENT, whole, Provenance::default());
    let (mut flat, mut cotangents, mut start) = (None, Vec::new(), 0);
    for (index, ty) in parts.iter().enumerate() {
        let part = push(main, Op::Project { index: index as u32 }, &[value])?;
        operands.push(part);
        if !ty.dtype.is_float() {
            let zero = Op::Constant { value: Literal::new(ty.dtype, 0.0), shape: ty.shape.clone() };
            cotangents.push(push(main, zero, &[])?);
            continue;
        }
        let stop = start + ty.elements();
        let wide = push(main, Op::Cast { dtype: Dtype::F64 }, &[part])?;
        let own = push(main, Op::Reshape { shape: vec![ty.elements()] }, &[wide])?;
        flat = Some(match flat {
            Some(before) => push(main, Op::Concat { axis: 0 }, &[before, own])?,
            None => own,
        });
        let own = push(main, Op::Slice { starts: vec![start], stops: vec![stop] }, &[cotangent])?;
        let own = push(main, Op::Reshape { shape: ty.shape.clone() }, &[own])?;
        cotangents.push(push(main, Op::Cast { dtype: ty.dtype }, &[own])?);
        start = stop;
    }
    main.result(OutputRole::Value, "value", flat?);
    operands.extend(cotangents);
    Some(())
}
