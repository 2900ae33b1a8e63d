//! Graphs as DOT text, for Graphviz: each region is a cluster.
//!
//! Expects: a verified graph.
//! Guarantees: inputs are boxes, results have a double border, nodes that differentiation made are dashed; an edge
//! carries the number of its operand where the node has several.
//! Leaves out: layout.

use super::graph::{Graph, Node, NodeId, Region};
use super::op::Op;
use super::text::attribute_text;
use super::view::View;
use petgraph::dot::{Config, Dot};
use petgraph::visit::EdgeRef;
use std::fmt::{self, Formatter, Write};

/// The DOT text of a graph.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph {\n");
    for (id, region) in graph.regions.iter() {
        let _ = write!(text, "  subgraph cluster_{id} {{\n    label = {:?}\n", format!("{id} {}", region.name));
        // Nodes of different regions need different names in one file: petgraph prints indices, we prefix the region.
        let content = Content(region).to_string();
        for line in content.lines() {
            let _ = writeln!(text, "    {}", prefixed(line.trim(), &format!("{id}_n")));
        }
        text.push_str("  }\n");
    }
    text.push_str("}\n");
    text
}

/// `3 [ .. ]` becomes `r0_n3 [ .. ]`, and `3 -> 4 [ .. ]` becomes `r0_n3 -> r0_n4 [ .. ]`.
fn prefixed(line: &str, prefix: &str) -> String {
    match line.split_once(" -> ") {
        Some((source, rest)) if source.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{prefix}{source} -> {prefix}{rest}")
        }
        _ => format!("{prefix}{line}"),
    }
}

struct Content<'a>(&'a Region);

impl fmt::Display for Content<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let region = self.0;
        let view = View::new(region);
        let edge_attributes = |_: &View, edge: super::view::Use| match region.nodes[edge.target()].operands.len() {
            1 => String::new(),
            _ => format!("label = \"{}\"", edge.weight()),
        };
        let node_attributes = |_: &View, (id, node): (NodeId, &Node)| {
            let mut attributes = Vec::new();
            if matches!(node.op, Op::Input { .. }) {
                attributes.push("shape = box");
            }
            if node.provenance.backward {
                attributes.push("style = dashed");
            }
            if region.results.iter().any(|output| output.node == id) {
                attributes.push("peripheries = 2");
            }
            attributes.join(" ")
        };
        let config = [Config::GraphContentOnly, Config::EdgeNoLabel];
        let dot = Dot::with_attr_getters(&view, &config, &edge_attributes, &node_attributes);
        dot.graph_fmt(formatter, label, |_, _| Ok(()))
    }
}

/// Name, attributes and type of a node.
fn label(node: &Node, formatter: &mut Formatter<'_>) -> fmt::Result {
    write!(formatter, "{}", node.op.name())?;
    for (name, value) in node.op.attributes().iter().filter(|(name, _)| *name != "ty") {
        write!(formatter, " {name}={}", attribute_text(value))?;
    }
    write!(formatter, " : {}", node.ty)
}
