//! What a graph costs, in the units in which people compare methods: residual bytes and floating-point operations.
//!
//! Expects: graphs of a training step; operations and residuals of one after the e-graph pass.
//! Guarantees: depends on the graph alone.
//! Leaves out: fusion, which computes some residuals anew, and time (`egraph`'s cost model).

use crate::ir::copy::live;
use crate::ir::graph::{Graph, InputRole, Node, NodeId, OutputRole, Region, RegionId};
use crate::ir::op::{Op, OpClass};
use crate::ir::types::Type;
use crate::ir::work;
use cranelift_entity::EntitySet;

/// Bytes of the values that losses and `out` lines are computed from and that the rest of the step (the backward pass)
/// reads again. Parameters and data are there anyway and do not count.
pub fn residual_bytes(graph: &Graph) -> u64 {
    let main = graph.main();
    let of_role = |role| main.results.iter().filter(move |output| output.role == role).map(|output| output.node);
    let (forward, rest) = (live(main, of_role(OutputRole::Value)), live(main, of_role(OutputRole::Next)));
    let mut kept: EntitySet<NodeId> = EntitySet::with_capacity(main.nodes.len());
    let backward = |id: NodeId| rest.contains(id) && !forward.contains(id);
    for (_, node) in main.nodes.iter().filter(|(id, node)| backward(*id) && !is_view(&node.op)) {
        for operand in &node.operands {
            let base = base(main, *operand);
            if forward.contains(base) && !matches!(main.nodes[base].op.class(), OpClass::Source) {
                kept.insert(base);
            }
        }
    }
    let bytes = |id: NodeId| main.nodes[id].ty.tensor().map_or(0, |ty| ty.bytes());
    main.nodes.keys().filter(|id| kept.contains(*id)).map(bytes).sum()
}

/// Bytes of what the rules of calls of a function read in the backward pass, apart from cotangents: arguments, the value, and
/// what a rule keeps. `gradient` is the graph after differentiation. Parameters and data do not count.
pub fn kept_bytes(gradient: &Graph, function: &str, rule: &str) -> u64 {
    let mut total = 0;
    for region in gradient.regions.values() {
        let mut kept: EntitySet<NodeId> = EntitySet::with_capacity(region.nodes.len());
        for node in region.nodes.values() {
            let Op::Vjp { of, rule: known, index, body, .. } = &node.op else { continue };
            if of != function || known != rule {
                continue;
            }
            let body = &gradient.regions[*body];
            let read = live(body, [body.results[*index as usize].node]);
            for (input, operand) in body.inputs.iter().zip(&node.operands) {
                let is_cotangent = matches!(body.nodes[*input].op, Op::Input { role: InputRole::Cotangent, .. });
                let base = base(region, *operand);
                if read.contains(*input) && !is_cotangent && !matches!(region.nodes[base].op, Op::Input { .. }) {
                    kept.insert(base);
                }
            }
        }
        let bytes = |id: NodeId| region.nodes[id].ty.parts().iter().map(|ty| ty.bytes()).sum::<u64>();
        total += region.nodes.keys().filter(|id| kept.contains(*id)).map(bytes).sum::<u64>();
    }
    total
}

/// The node whose memory a chain of views looks at.
fn base(region: &Region, mut id: NodeId) -> NodeId {
    while is_view(&region.nodes[id].op) {
        id = region.nodes[id].operands[0];
    }
    id
}

fn is_view(op: &Op) -> bool {
    matches!(op.class(), OpClass::View) && !matches!(op, Op::Concat { .. } | Op::Pad { .. })
}

/// Arithmetic operations of the main region (see `ir::work`), loops by their turns.
pub fn operations(graph: &Graph) -> u64 {
    let mut of_regions: Vec<u64> = Vec::new();
    for region in graph.regions.values() {
        let of_node = |node: &Node| match &node.op {
            Op::Scan { body, length, .. } => of_regions[body.as_u32() as usize].saturating_mul(*length),
            _ => of_node(region, node),
        };
        let count = region.nodes.values().map(of_node).fold(0, u64::saturating_add);
        of_regions.push(count);
    }
    of_regions.last().copied().unwrap_or(0)
}

fn of_node(region: &Region, node: &Node) -> u64 {
    let operands: Vec<&Type> = node.operands.iter().map(|operand| &region.nodes[*operand].ty).collect();
    work::operations(&node.op, &operands, &node.ty)
}

/// What the calls of a function under a rule take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCosts {
    /// Bytes of what `keep` lines keep.
    pub kept_bytes: u64,
    /// Bytes of the arguments that the rule does not read, and so need not be there for the backward pass.
    pub spared_bytes: u64,
    /// Operations of the matrix products of the backward pass.
    pub backward_products: u64,
}

/// The costs of all calls of `function` under `rule` in a graph as it was lowered; `None` if there is no such call.
pub fn rule_costs(graph: &Graph, function: &str, rule: &str) -> Option<RuleCosts> {
    let mut costs = None;
    for region in graph.regions.values() {
        for node in region.nodes.values() {
            let Op::Ruled { of, rule: known, arguments, body, .. } = &node.op else { continue };
            if of != function || known != rule {
                continue;
            }
            let costs: &mut RuleCosts = costs.get_or_insert_default();
            let body = &graph.regions[*body];
            let read = live(body, body.results.iter().map(|output| output.node));
            for (index, (operand, input)) in node.operands[1..].iter().zip(&body.inputs).enumerate() {
                let bytes = region.tensor(*operand).bytes();
                if index >= *arguments as usize {
                    costs.kept_bytes += bytes;
                } else if !read.contains(*input) {
                    costs.spared_bytes += bytes;
                }
            }
            let products =
                body.nodes.iter().filter(|(id, node)| read.contains(*id) && matches!(node.op, Op::Matmul {}));
            costs.backward_products += products.map(|(_, node)| of_node(body, node)).sum::<u64>();
        }
    }
    costs
}

/// The graph in which calls of `function` under `rule` are plain calls, differentiated through their bodies; gives
/// `None` if there is no such call.
pub fn without_rule(graph: &Graph, function: &str, rule: &str) -> Option<Graph> {
    let mut plain = graph.clone();
    let mut found = false;
    let regions: Vec<RegionId> = plain.regions.keys().collect();
    for region in regions {
        let nodes: Vec<NodeId> = plain.regions[region].nodes.keys().collect();
        for id in nodes {
            let node = &mut plain.regions[region].nodes[id];
            let value = node.operands.first().copied();
            let Some(value) = value else { continue };
            if let Op::Via { rule: known, .. } = &node.op
                && function == "scan"
                && known == rule
            {
                node.op = Op::Forms {};
                found = true;
                continue;
            }
            let Op::Ruled { of, rule: known, .. } = &node.op else { continue };
            if of != function || known != rule {
                continue;
            }
            found = true;
            // A reshape to the same shape passes its operand on.
            let (op, operands) = match node.ty.tensor() {
                Some(ty) => (Op::Reshape { shape: ty.shape.clone() }, vec![value]),
                None => (Op::Tuple {}, plain.regions[region].nodes[value].operands.clone()),
            };
            let node = &mut plain.regions[region].nodes[id];
            (node.op, node.operands) = (op, operands);
        }
    }
    found.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;

    /// y = sum(exp(x @ w)); the update reads exp(..) through a view, x and w.
    const STEP: &str = r#"
region r0 "main" {
  n0 = input {role = data, name = "x", ty = f32[4, 3]} : f32[4, 3]
  n1 = input {role = parameter, name = "w", ty = f32[3, 2]} : f32[3, 2]
  n2 = matmul(n0, n1) : f32[4, 2]
  n3 = exp(n2) : f32[4, 2]
  n4 = reduce_sum(n3) {axes = [0, 1]} : f32[1, 1]
  n5 = permute(n0) {axes = [1, 0]} : f32[3, 4]
  n6 = reshape(n3) {shape = [4, 2]} : f32[4, 2]
  n7 = matmul(n5, n6) : f32[3, 2]
  n8 = sub(n1, n7) : f32[3, 2]
  result value "loss" = n4
  result next "w" = n8
}
"#;

    #[test]
    fn residuals_are_what_the_rest_of_a_step_reads_of_the_forward_pass() {
        assert_eq!(residual_bytes(&parse(STEP).unwrap()), 4 * 2 * 4);
    }

    #[test]
    fn operations_of_products_count_twice() {
        let products = 2 * (4 * 3 * 2) + 2 * (3 * 4 * 2);
        let (exp, sum, sub) = (8, 8, 6);
        assert_eq!(operations(&parse(STEP).unwrap()), products + exp + sum + sub);
    }
}
