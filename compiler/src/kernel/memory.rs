//! Which nodes lie in memory and which are computed again by each of their users.
//!
//! Expects: a region without markers.
//! Guarantees: results, reductions, products, loops and scatters lie in memory, and so does every value that would cost
//! more to compute again than to load; a chain inside one stage stays short enough for a backend.
//! Leaves out: nodes that turn out to need memory because no affine map reads them (`region` adds those), and buffers
//! that fusion makes superfluous again (`fuse`).

use crate::ir::copy::live;
use crate::ir::graph::{NodeId, Region};
use crate::ir::op::{Op, OpClass};
use crate::ir::work;
use cranelift_entity::{EntityRef, EntitySet, SecondaryMap};

/// A value is stored when computing it again costs more than this many simple operations.
const CHEAP: u64 = 4;
/// The longest chain of operations that one stage computes for one value.
const LONGEST_CHAIN: u64 = 48;

/// What the region needs.
pub struct Memory {
    /// Nodes that a result depends on.
    pub live: EntitySet<NodeId>,
    /// Nodes that lie in memory.
    pub stored: SecondaryMap<NodeId, bool>,
}

/// Decides for a region.
pub fn decide(region: &Region) -> Memory {
    let live = live(region, region.results.iter().map(|output| output.node));
    let mut result = SecondaryMap::<NodeId, bool>::new();
    region.results.iter().for_each(|output| result[output.node] = true);
    let mut stored = SecondaryMap::<NodeId, bool>::new();
    // Cost of computing one element from what lies in memory, and the number of operations; both as far as is known
    // from the operands' side.
    let mut cost = SecondaryMap::<NodeId, u64>::new();
    let mut chain = SecondaryMap::<NodeId, u64>::new();
    for (id, node) in &region.nodes {
        if !live.contains(id) {
            continue;
        }
        stored[id] = always(region, id) || result[id] && !matches!(node.op, Op::Input { .. });
        cost[id] = own_cost(&node.op);
        chain[id] = cost[id].min(1);
        for operand in node.operands.iter().filter(|operand| !stored[**operand]) {
            cost[id] = cost[id].saturating_add(cost[*operand]);
            chain[id] = chain[id].saturating_add(chain[*operand]);
        }
        if chain[id] > LONGEST_CHAIN && !stored[id] {
            stored[id] = true;
        }
    }
    // How often each element is computed if it is not stored.
    let mut uses = SecondaryMap::<NodeId, u64>::new();
    for index in (0..region.nodes.len()).rev() {
        let id = NodeId::new(index);
        if !live.contains(id) {
            continue;
        }
        let view = matches!(region.nodes[id].op.class(), OpClass::View);
        if !view && cost[id] > 0 && uses[id].saturating_sub(1).saturating_mul(cost[id]) > CHEAP {
            stored[id] = true;
        }
        let node = &region.nodes[id];
        let times = if stored[id] { 1 } else { uses[id].max(1) };
        for operand in &node.operands {
            uses[*operand] = uses[*operand].saturating_add(times.saturating_mul(repeats(region, id, *operand)));
        }
    }
    Memory { live, stored }
}

/// Whether a node lies in memory whatever its users are.
fn always(region: &Region, id: NodeId) -> bool {
    match &region.nodes[id].op {
        Op::Input { .. } | Op::Random { .. } | Op::Take { .. } => false,
        // A chain of parts is written part by part.
        Op::Concat { .. } => {
            region.nodes[id].operands.iter().any(|operand| matches!(region.nodes[*operand].op, Op::Concat { .. }))
        }
        op => matches!(op.class(), OpClass::Reduction | OpClass::Library | OpClass::Other),
    }
}

/// How often an element of the operand is read for one pass over the node.
fn repeats(region: &Region, node: NodeId, operand: NodeId) -> u64 {
    match &region.nodes[node].op {
        Op::Broadcast { .. } | Op::Windows { .. } => {
            let whole = region.tensor(node).elements();
            whole.div_ceil(region.tensor(operand).elements().max(1)).max(1)
        }
        _ => 1,
    }
}

/// In simple operations on one element.
pub fn own_cost(op: &Op) -> u64 {
    match (op, op.class()) {
        // A choice between parts, and a row that is looked up.
        (Op::Concat { .. } | Op::Take { .. }, _) => 2,
        (_, OpClass::Source | OpClass::View) => 0,
        _ => work::weight(op),
    }
}
