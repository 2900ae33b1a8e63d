//! Text to graph: one function for each rule of the form that the parent module shows.

use super::cursor::Cursor;
use super::lexer::Token;
use super::{INPUT_ROLES, OUTPUT_ROLES, TextError, find_in};
use crate::ir::attribute::Attribute;
use crate::ir::graph::{Graph, NodeId, Provenance, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Type};
use bpc_runtime::bits::Gate;

/// Reads a graph.
///
/// # Errors
/// The first thing that is wrong. An operation whose operands do not fit is an error too.
pub fn parse(text: &str) -> Result<Graph, TextError> {
    let mut parser = Cursor::new(text)?;
    let mut graph = Graph::default();
    loop {
        if parser.next().token == Token::End && !graph.regions.is_empty() {
            return Ok(graph);
        }
        let region = parser.region(&graph)?;
        graph.add(region);
    }
}

impl Cursor {
    fn region(&mut self, graph: &Graph) -> Result<Region, TextError> {
        self.expect_word("region", ": a graph has at least one")?;
        let id = RegionId::from_u32(graph.regions.len() as u32);
        self.expect_word(&id.to_string(), ": regions are numbered in order")?;
        let mut region = Region::new(self.text()?);
        self.expect('{')?;
        while !self.take('}') {
            if self.next().token == Token::Word("result".to_string()) {
                self.result(&mut region)?;
            } else {
                self.node(&mut region)?;
            }
        }
        Ok(region)
    }

    fn result(&mut self, region: &mut Region) -> Result<(), TextError> {
        self.advance();
        let start = self.position;
        let word = self.word("value or next")?;
        let Some(role) = find_in(&OUTPUT_ROLES, &word) else {
            return self.error(start, "expected value or next");
        };
        let name = self.text()?;
        self.expect('=')?;
        let node = self.node_id(region)?;
        region.result(role, name, node);
        Ok(())
    }

    fn node(&mut self, region: &mut Region) -> Result<(), TextError> {
        let id = NodeId::from_u32(region.nodes.len() as u32);
        self.expect_word(&id.to_string(), ": nodes are numbered in order")?;
        self.expect('=')?;
        let start = self.position;
        let name = self.word("the name of an operation")?;
        if !Op::NAMES.contains(&name.as_str()) {
            return self.error(start, format!("there is no operation {name}"));
        }
        let operands = if self.take('(') { self.list(')', |parser| parser.node_id(region))? } else { Vec::new() };
        let attributes = self.attributes()?;
        self.expect(':')?;
        let declared_at = self.position;
        let declared = self.node_type()?;
        let node = match Op::from_parts(&name, &attributes) {
            Ok(Op::Input { role, name, ty }) if operands.is_empty() => {
                region.input(role, name, ty, Provenance::default())
            }
            Ok(op) => match region.push(op, &operands, Provenance::default()) {
                Ok(node) => node,
                Err(message) => return self.error(start, message),
            },
            Err(message) => return self.error(start, message),
        };
        let inferred = &region.nodes[node].ty;
        if *inferred != declared {
            return self.error(declared_at, format!("declared {declared}, and the operation gives {inferred}"));
        }
        Ok(())
    }

    /// The id of a node that is defined already.
    fn node_id(&mut self, region: &Region) -> Result<NodeId, TextError> {
        let start = self.position;
        let word = self.word("a node")?;
        match word.strip_prefix('n').and_then(|number| number.parse::<u32>().ok()) {
            Some(number) if (number as usize) < region.nodes.len() => Ok(NodeId::from_u32(number)),
            Some(_) => self.error(start, format!("{word} is not defined before this line")),
            None => self.error(start, "expected a node"),
        }
    }

    /// ` {rows = 5}`, or nothing.
    pub(crate) fn attributes(&mut self) -> Result<Vec<(String, Attribute)>, TextError> {
        if self.take('{') { self.list('}', Cursor::attribute) } else { Ok(Vec::new()) }
    }

    fn attribute(&mut self) -> Result<(String, Attribute), TextError> {
        let name = self.word("the name of an attribute")?;
        self.expect('=')?;
        Ok((name, self.value()?))
    }

    fn value(&mut self) -> Result<Attribute, TextError> {
        if self.take('[') {
            return Ok(Attribute::Integers(self.list(']', |parser| parser.number("a whole number"))?));
        }
        if self.take('(') {
            return Ok(Attribute::Types(self.list(')', Cursor::tensor_type)?));
        }
        if matches!(self.next().token, Token::Text(_)) {
            return Ok(Attribute::Text(self.text()?));
        }
        let start = self.position;
        let word = self.word("an attribute")?;
        if let Some(dtype) = Dtype::from_name(&word) {
            if self.is('[') {
                return Ok(Attribute::Type(self.shape_of(dtype)?));
            }
            if self.take('(') {
                let literal = self.literal(dtype)?;
                self.expect(')')?;
                return Ok(Attribute::Literal(literal));
            }
            return Ok(Attribute::Dtype(dtype));
        }
        if let Some(role) = find_in(&INPUT_ROLES, &word) {
            return Ok(Attribute::Role(role));
        }
        if let Some(gate) = Gate::from_name(&word) {
            return Ok(Attribute::Gate(gate));
        }
        if let Ok(flag) = word.parse() {
            return Ok(Attribute::Flag(flag));
        }
        if let Some(number) = word.strip_prefix('r').and_then(|number| number.parse::<u32>().ok()) {
            // u32::MAX is the reserved value of the id.
            if number < u32::MAX {
                return Ok(Attribute::Region(RegionId::from_u32(number)));
            }
        }
        match word.parse() {
            Ok(number) => Ok(Attribute::Integer(number)),
            Err(_) => self.error(start, format!("{word} is no attribute")),
        }
    }

    fn node_type(&mut self) -> Result<Type, TextError> {
        if self.take('(') {
            return Ok(Type::Tuple(self.list(')', Cursor::tensor_type)?));
        }
        self.tensor_type().map(Type::Tensor)
    }
}
