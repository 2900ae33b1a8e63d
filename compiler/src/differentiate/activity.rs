//! Which nodes a derivative flows through.
//!
//! Expects: a region without `grad` markers.
//! Guarantees: an `active` node depends on a target in a way that a cotangent must follow, and is a float or a bool (whose
//! cotangent is a float); a `discrete` one holds whole numbers that depend on it (an arg max, a cast to whole numbers).
//! Leaves out: whether an operation has a rule; the sweep asks when a cotangent arrives.

use crate::ir::graph::{Node, NodeId, Region};
use crate::ir::op::Op;
use crate::ir::types::Type;
use std::collections::BTreeSet;

/// How the nodes of a region depend on the targets of a derivative.
pub struct Activity {
    /// Cotangents flow through these.
    pub active: BTreeSet<NodeId>,
    /// Discrete values that depend on a target.
    pub discrete: BTreeSet<NodeId>,
}

/// Follows all uses of the targets, and of nodes that are known to be discrete, up to node `last`.
pub fn analyze(region: &Region, targets: &[NodeId], discrete: &[NodeId], last: NodeId) -> Activity {
    let mut activity =
        Activity { active: targets.iter().copied().collect(), discrete: discrete.iter().copied().collect() };
    for (id, node) in region.nodes.iter() {
        if id > last {
            break;
        }
        if activity.active.contains(&id) || activity.discrete.contains(&id) || matches!(node.op, Op::Stop {}) {
            continue;
        }
        if rule_answers(region, node) {
            continue;
        }
        if activity.depends(node) {
            if has_cotangent(node) {
                activity.active.insert(id);
            } else {
                activity.discrete.insert(id);
            }
        }
    }
    activity
}

impl Activity {
    /// Whether what a node computes depends on a target.
    pub fn depends(&self, node: &Node) -> bool {
        followed(node).iter().any(|operand| self.active.contains(operand) || self.discrete.contains(operand))
    }
}

/// The operands that matter: a rule answers for the arguments of its call alone, and a condition chooses without being
/// part of the value.
fn followed(node: &Node) -> &[NodeId] {
    match &node.op {
        Op::Ruled { arguments, .. } => &node.operands[1..=*arguments as usize],
        Op::Select {} => &node.operands[1..],
        _ => &node.operands,
    }
}

/// Whether a node is a part without cotangent of a call under a rule: the rule says how the gradient gets around it.
fn rule_answers(region: &Region, node: &Node) -> bool {
    let under_rule = |tuple: &NodeId| matches!(region.nodes[*tuple].op, Op::Ruled { .. });
    matches!(node.op, Op::Project { .. }) && under_rule(&node.operands[0]) && !has_cotangent(node)
}

/// A bool that is a part of a tuple has none.
fn has_cotangent(node: &Node) -> bool {
    match &node.ty {
        Type::Tensor(tensor) if matches!(node.op, Op::Project { .. }) => tensor.dtype.is_float(),
        Type::Tensor(tensor) => tensor.dtype.has_cotangent(),
        Type::Tuple(parts) => parts.iter().any(|part| part.dtype.is_float()),
    }
}
