//! Lanes of a loop: whether a turn computes each place of the leading axis of its carries alone (a batch of trajectories).
//!
//! Expects: the body of a loop, in a differentiated graph.
//! Guarantees: where lanes are found, place i of every result that was asked about depends on place i of the carries alone.
//! Leaves out: operations whose inside is not looked at (calls under rules, library routines, loops): they mix lanes.

use crate::ir::graph::{Graph, Node, NodeId, Region, RegionId};
use crate::ir::op::{Op, OpClass};
use cranelift_entity::SecondaryMap;

/// How a node depends on the carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dependence {
    /// Not at all.
    #[default]
    None,
    /// Place by place of the leading axis.
    Lanes,
    /// In another way.
    Mixed,
}

/// The size of the leading axis of the float carries, if the results of the body are computed place by place along it.
pub(super) fn lanes(graph: &Graph, body: RegionId, carries: &[u32], results: &[u32]) -> Option<u64> {
    let region = &graph.regions[body];
    let inputs: Vec<NodeId> = carries.iter().map(|carry| region.inputs[*carry as usize]).collect();
    let size = *region.tensor(*inputs.first()?).shape.first()?;
    if inputs.iter().any(|input| region.tensor(*input).shape.first() != Some(&size)) {
        return None;
    }
    let mut dependence: SecondaryMap<NodeId, Dependence> = SecondaryMap::new();
    for (id, node) in region.nodes.iter() {
        dependence[id] = if inputs.contains(&id) { Dependence::Lanes } else { of(region, node, size, &dependence) };
    }
    let alone = |result: &u32| dependence[region.results[*result as usize].node] == Dependence::Lanes;
    results.iter().all(alone).then_some(size)
}

fn of(region: &Region, node: &Node, size: u64, known: &SecondaryMap<NodeId, Dependence>) -> Dependence {
    let operands: Vec<Dependence> = node.operands.iter().map(|operand| known[*operand]).collect();
    if operands.iter().all(|operand| *operand == Dependence::None) {
        return Dependence::None;
    }
    if operands.contains(&Dependence::Mixed) {
        return Dependence::Mixed;
    }
    let shape = |operand: usize| region.nodes[node.operands[operand]].ty.tensor().map_or(&[][..], |ty| &ty.shape);
    let keeps = match (&node.op, node.op.class()) {
        (_, OpClass::Unary(_) | OpClass::Binary(_) | OpClass::Elementwise) | (Op::Stop {}, _) => true,
        (Op::Reshape { shape: new }, _) => new.first() == Some(&size),
        (Op::Broadcast { .. }, _) => shape(0).first() == Some(&size),
        (Op::Permute { axes }, _) => axes.first() == Some(&0),
        (Op::Slice { starts, stops }, _) => starts[0] == 0 && stops[0] == size,
        (Op::Pad { low, high, .. }, _) => low[0] == 0 && high[0] == 0,
        (Op::Concat { axis } | Op::Reverse { axis } | Op::Windows { axis, .. }, _) => *axis != 0,
        (Op::ReduceSum { axes } | Op::ReduceMax { axes } | Op::ReduceMin { axes }, _) => !axes.contains(&0),
        // Rows of the first operand, or both with the lanes as their leading axis.
        (Op::Matmul {}, _) => shape(0).len() > 2 || operands[1] == Dependence::None,
        _ => false,
    };
    if keeps { Dependence::Lanes } else { Dependence::Mixed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;

    fn found(lines: &str, ty: &str) -> Option<u64> {
        let text = format!(
            "region r0 \"body\" {{\n  n0 = input {{role = argument, name = \"x\", ty = f64[4, 3]}} : f64[4, 3]\n  \
             n1 = input {{role = argument, name = \"w\", ty = f64[3, 3]}} : f64[3, 3]\n  {lines} : {ty}\n  \
             result value \"x\" = n2\n}}\nregion r1 \"main\" {{\n}}\n"
        );
        let graph = parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        lanes(&graph, RegionId::from_u32(0), &[0], &[0])
    }

    #[test]
    fn places_that_are_computed_alone_are_lanes() {
        assert_eq!(found("n2 = exp(n0)", "f64[4, 3]"), Some(4));
        assert_eq!(found("n2 = matmul(n0, n1)", "f64[4, 3]"), Some(4));
        assert_eq!(found("n2 = reduce_sum(n0) {axes = [1]}", "f64[4, 1]"), Some(4));
        assert_eq!(found("n2 = reshape(n0) {shape = [4, 3, 1]}", "f64[4, 3, 1]"), Some(4));
        assert_eq!(found("n2 = concat(n0, n0) {axis = 1}", "f64[4, 6]"), Some(4));
    }

    #[test]
    fn what_mixes_places_has_none() {
        assert_eq!(found("n2 = reduce_sum(n0) {axes = [0]}", "f64[1, 3]"), None);
        assert_eq!(found("n2 = reverse(n0) {axis = 0}", "f64[4, 3]"), None);
        assert_eq!(found("n2 = permute(n0) {axes = [1, 0]}", "f64[3, 4]"), None);
        assert_eq!(found("n2 = reshape(n0) {shape = [2, 6]}", "f64[2, 6]"), None);
        assert_eq!(found("n2 = concat(n0, n0) {axis = 0}", "f64[8, 3]"), None);
        assert_eq!(found("n2 = slice(n0) {starts = [1, 0], stops = [4, 3]}", "f64[3, 3]"), None);
    }
}
