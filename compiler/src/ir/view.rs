//! A region as petgraph sees it: edges lead from an operand to the node that uses it, and weigh the operand's number.
//!
//! Expects: a verified region.
//! Guarantees: neighbours, nodes and edges come in the order of ids and operands; a node that uses another one twice is
//! its neighbour twice. petgraph's orders, searches, dominators and DOT work on `&View`.
//! Leaves out: edges into the regions that nodes name.

use super::graph::{Node, NodeId, Region};
use cranelift_entity::{EntityRef, SecondaryMap};
use petgraph::Direction;
use petgraph::visit::{
    Data, EdgeRef, GraphBase, GraphProp, IntoEdgeReferences, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers,
    IntoNodeReferences, NodeCompactIndexable, NodeCount, NodeIndexable, Visitable,
};
use std::collections::HashSet;

/// A region and, for each node, the nodes that use it.
#[derive(Debug)]
pub struct View<'a> {
    region: &'a Region,
    users: SecondaryMap<NodeId, Vec<NodeId>>,
}

/// One use of a node by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    source: NodeId,
    target: NodeId,
    operand: usize,
}

impl<'a> View<'a> {
    /// Looks at a region.
    pub fn new(region: &'a Region) -> View<'a> {
        let mut users: SecondaryMap<NodeId, Vec<NodeId>> = SecondaryMap::new();
        for (id, node) in region.nodes.iter() {
            node.operands.iter().for_each(|operand| users[*operand].push(id));
        }
        View { region, users }
    }

    /// The region.
    pub fn region(&self) -> &'a Region {
        self.region
    }

    /// The nodes that use this one, once for each use.
    pub fn users(&self, node: NodeId) -> &[NodeId] {
        &self.users[node]
    }
}

impl EdgeRef for Use {
    type NodeId = NodeId;
    type EdgeId = (NodeId, usize);
    type Weight = usize;

    fn source(&self) -> NodeId {
        self.source
    }

    fn target(&self) -> NodeId {
        self.target
    }

    fn weight(&self) -> &usize {
        &self.operand
    }

    fn id(&self) -> (NodeId, usize) {
        (self.target, self.operand)
    }
}

impl GraphBase for View<'_> {
    type EdgeId = (NodeId, usize);
    type NodeId = NodeId;
}

impl GraphProp for View<'_> {
    type EdgeType = petgraph::Directed;
}

impl Data for View<'_> {
    type NodeWeight = Node;
    type EdgeWeight = usize;
}

impl NodeCount for View<'_> {
    fn node_count(&self) -> usize {
        self.region.nodes.len()
    }
}

impl NodeIndexable for View<'_> {
    fn node_bound(&self) -> usize {
        self.region.nodes.len()
    }

    fn to_index(&self, node: NodeId) -> usize {
        node.index()
    }

    fn from_index(&self, index: usize) -> NodeId {
        NodeId::new(index)
    }
}

impl NodeCompactIndexable for View<'_> {}

impl Visitable for View<'_> {
    type Map = HashSet<NodeId>;

    fn visit_map(&self) -> HashSet<NodeId> {
        HashSet::new()
    }

    fn reset_map(&self, map: &mut HashSet<NodeId>) {
        map.clear();
    }
}

impl IntoNodeIdentifiers for &View<'_> {
    type NodeIdentifiers = cranelift_entity::Keys<NodeId>;

    fn node_identifiers(self) -> Self::NodeIdentifiers {
        self.region.nodes.keys()
    }
}

impl<'v> IntoNodeReferences for &'v View<'_> {
    type NodeRef = (NodeId, &'v Node);
    type NodeReferences = cranelift_entity::Iter<'v, NodeId, Node>;

    fn node_references(self) -> Self::NodeReferences {
        self.region.nodes.iter()
    }
}

impl<'v> IntoNeighbors for &'v View<'_> {
    type Neighbors = std::iter::Copied<std::slice::Iter<'v, NodeId>>;

    fn neighbors(self, node: NodeId) -> Self::Neighbors {
        self.users(node).iter().copied()
    }
}

impl IntoNeighborsDirected for &View<'_> {
    type NeighborsDirected = Self::Neighbors;

    fn neighbors_directed(self, node: NodeId, direction: Direction) -> Self::NeighborsDirected {
        match direction {
            Direction::Outgoing => self.neighbors(node),
            Direction::Incoming => self.region.nodes[node].operands.iter().copied(),
        }
    }
}

impl IntoEdgeReferences for &View<'_> {
    type EdgeRef = Use;
    type EdgeReferences = std::vec::IntoIter<Use>;

    fn edge_references(self) -> Self::EdgeReferences {
        let uses = self.region.nodes.iter().flat_map(|(target, node)| {
            node.operands.iter().enumerate().map(move |(operand, source)| Use { source: *source, target, operand })
        });
        uses.collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;
    use petgraph::algo::{dominators, is_cyclic_directed, toposort};

    #[test]
    fn petgraph_works_on_a_diamond() {
        let text = "region r0 \"main\" {\n  n0 = input {role = data, name = \"x\", ty = f32[2]} : f32[2]\n  \
                    n1 = exp(n0) : f32[2]\n  n2 = sin(n1) : f32[2]\n  n3 = cos(n1) : f32[2]\n  \
                    n4 = mul(n2, n3) : f32[2]\n  n5 = add(n4, n4) : f32[2]\n  result value \"y\" = n5\n}\n";
        let graph = parse(text).unwrap();
        let view = View::new(graph.main());
        let node = NodeId::from_u32;

        let order = toposort(&view, None).unwrap();
        let place = |id: NodeId| order.iter().position(|known| *known == id).unwrap();
        assert_eq!(order.len(), 6);
        for edge in view.edge_references() {
            assert!(place(edge.source()) < place(edge.target()));
        }
        assert!(!is_cyclic_directed(&view));

        let dominators = dominators::simple_fast(&view, node(0));
        let immediate: Vec<_> = (1..6).map(|id| dominators.immediate_dominator(node(id)).unwrap()).collect();
        assert_eq!(immediate, [node(0), node(1), node(1), node(1), node(4)]);

        assert_eq!(view.users(node(4)), [node(5), node(5)]);
        assert_eq!(view.neighbors_directed(node(4), Direction::Incoming).collect::<Vec<_>>(), [node(2), node(3)]);
    }
}
