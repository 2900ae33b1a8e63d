//! Graph to text. See the parent module.

use super::{INPUT_ROLES, OUTPUT_ROLES, name_in};
use crate::ir::attribute::Attribute;
use crate::ir::graph::{Graph, NodeId, Region};
use crate::ir::op::Op;
use std::fmt::Write;

/// The text form of a graph.
pub fn print(graph: &Graph) -> String {
    let mut text = String::new();
    for (id, region) in graph.regions.iter() {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "region {id} {} {{", quote(&region.name));
        for node in region.nodes.keys() {
            let _ = writeln!(text, "  {}", node_text(region, node));
        }
        for output in &region.results {
            let role = name_in(&OUTPUT_ROLES, output.role);
            let _ = writeln!(text, "  result {role} {} = {}", quote(&output.name), output.node);
        }
        text.push_str("}\n");
    }
    text
}

/// One node on one line: `n3 = matmul(n1, n2) : f32[32, 10]`.
pub fn node_text(region: &Region, id: NodeId) -> String {
    let node = &region.nodes[id];
    let mut text = format!("{id} = {}", node.op.name());
    if !node.operands.is_empty() {
        let operands: Vec<String> = node.operands.iter().map(NodeId::to_string).collect();
        let _ = write!(text, "({})", operands.join(", "));
    }
    let _ = write!(text, "{} : {}", attributes_text(&node.op), node.ty);
    text
}

/// ` {rows = 5}`, or nothing for an operation without attributes.
pub(crate) fn attributes_text(op: &Op) -> String {
    let attributes: Vec<String> =
        op.attributes().iter().map(|(name, value)| format!("{name} = {}", attribute_text(value))).collect();
    if attributes.is_empty() { String::new() } else { format!(" {{{}}}", attributes.join(", ")) }
}

/// An attribute as the text form writes it.
pub fn attribute_text(attribute: &Attribute) -> String {
    match attribute {
        Attribute::Integer(value) => value.to_string(),
        Attribute::Integers(values) => {
            let values: Vec<String> = values.iter().map(i64::to_string).collect();
            format!("[{}]", values.join(", "))
        }
        Attribute::Flag(value) => value.to_string(),
        Attribute::Dtype(dtype) => dtype.to_string(),
        Attribute::Literal(literal) => format!("{}({literal})", literal.dtype),
        Attribute::Type(ty) => ty.to_string(),
        Attribute::Types(types) => {
            let types: Vec<String> = types.iter().map(ToString::to_string).collect();
            format!("({})", types.join(", "))
        }
        Attribute::Text(text) => quote(text),
        Attribute::Region(region) => region.to_string(),
        Attribute::Role(role) => name_in(&INPUT_ROLES, *role).to_string(),
        Attribute::Gate(gate) => gate.name().to_string(),
    }
}

/// Text in quotes, as `lexer` reads it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
