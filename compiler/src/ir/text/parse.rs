//! Text to graph: one function for each rule of the form that the parent module shows.

use super::lexer::{Placed, Token, tokens};
use super::{INPUT_ROLES, OUTPUT_ROLES, TextError, find_in};
use crate::ir::attribute::Attribute;
use crate::ir::graph::{Graph, NodeId, Provenance, Region, RegionId};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType, Type};

/// Reads a graph.
///
/// # Errors
/// The first thing that is wrong. An operation whose operands do not fit is an error too.
pub fn parse(text: &str) -> Result<Graph, TextError> {
    let mut parser = Parser { tokens: tokens(text)?, position: 0 };
    let mut graph = Graph::default();
    loop {
        if parser.next().token == Token::End && !graph.regions.is_empty() {
            return Ok(graph);
        }
        let region = parser.region(&graph)?;
        graph.add(region);
    }
}

struct Parser {
    tokens: Vec<Placed>,
    position: usize,
}

impl Parser {
    /// The token that comes next.
    fn next(&self) -> &Placed {
        &self.tokens[self.position]
    }

    fn advance(&mut self) -> Placed {
        let placed = self.next().clone();
        self.position = (self.position + 1).min(self.tokens.len() - 1);
        placed
    }

    fn error<T>(&self, position: usize, message: impl Into<String>) -> Result<T, TextError> {
        let Placed { line, column, .. } = self.tokens[position];
        Err(TextError { line, column, message: message.into() })
    }

    fn is(&self, mark: char) -> bool {
        self.next().token == Token::Mark(mark)
    }

    /// Takes the mark if it comes next.
    fn take(&mut self, mark: char) -> bool {
        let found = self.is(mark);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), TextError> {
        if self.take(mark) { Ok(()) } else { self.error(self.position, format!("expected {mark}")) }
    }

    fn expect_word(&mut self, word: &str, why: &str) -> Result<(), TextError> {
        match &self.next().token {
            Token::Word(found) if found == word => {
                self.advance();
                Ok(())
            }
            _ => self.error(self.position, format!("expected {word}{why}")),
        }
    }

    fn word(&mut self, what: &str) -> Result<String, TextError> {
        match self.next().token.clone() {
            Token::Word(word) => {
                self.advance();
                Ok(word)
            }
            _ => self.error(self.position, format!("expected {what}")),
        }
    }

    fn text(&mut self) -> Result<String, TextError> {
        match self.next().token.clone() {
            Token::Text(text) => {
                self.advance();
                Ok(text)
            }
            _ => self.error(self.position, "expected a name in quotes"),
        }
    }

    /// `open`, entries with commas between them, `close`; the opening mark has been taken.
    fn list<T>(
        &mut self,
        close: char,
        mut entry: impl FnMut(&mut Parser) -> Result<T, TextError>,
    ) -> Result<Vec<T>, TextError> {
        let mut entries = Vec::new();
        if self.take(close) {
            return Ok(entries);
        }
        loop {
            entries.push(entry(self)?);
            if self.take(close) {
                return Ok(entries);
            }
            if !self.take(',') {
                return self.error(self.position, format!("expected , or {close}"));
            }
        }
    }

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
        let attributes = if self.take('{') { self.list('}', Parser::attribute)? } else { Vec::new() };
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
            return Ok(Attribute::Types(self.list(')', Parser::tensor_type)?));
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
            return if self.take('(') { self.literal(dtype) } else { Ok(Attribute::Dtype(dtype)) };
        }
        if let Some(role) = find_in(&INPUT_ROLES, &word) {
            return Ok(Attribute::Role(role));
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

    /// A number and the closing parenthesis.
    fn literal(&mut self, dtype: Dtype) -> Result<Attribute, TextError> {
        let start = self.position;
        let word = self.word("a number")?;
        let literal = match dtype {
            // Read at the precision of the dtype: the text is the shortest that rounds to it there.
            Dtype::F32 => word.parse::<f32>().ok().map(|value| Literal::new(dtype, f64::from(value))),
            Dtype::F64 => word.parse::<f64>().ok().map(|value| Literal::new(dtype, value)),
            Dtype::I32 => word.parse::<i32>().ok().map(|value| Literal::integer(dtype, i64::from(value))),
            Dtype::I64 => word.parse::<i64>().ok().map(|value| Literal::integer(dtype, value)),
            Dtype::U32 => word.parse::<u32>().ok().map(|value| Literal::integer(dtype, i64::from(value))),
            Dtype::Bool => word.parse::<bool>().ok().map(|value| Literal::integer(dtype, i64::from(value))),
        };
        let Some(literal) = literal else { return self.error(start, format!("{word} is no {dtype}")) };
        self.expect(')')?;
        Ok(Attribute::Literal(literal))
    }

    fn number<N: std::str::FromStr>(&mut self, what: &str) -> Result<N, TextError> {
        let start = self.position;
        let word = self.word(what)?;
        word.parse().or_else(|_| self.error(start, format!("expected {what}")))
    }

    fn node_type(&mut self) -> Result<Type, TextError> {
        if self.take('(') {
            return Ok(Type::Tuple(self.list(')', Parser::tensor_type)?));
        }
        self.tensor_type().map(Type::Tensor)
    }

    fn tensor_type(&mut self) -> Result<TensorType, TextError> {
        let start = self.position;
        let word = self.word("a type")?;
        match Dtype::from_name(&word) {
            Some(dtype) => self.shape_of(dtype),
            None => self.error(start, format!("there is no dtype {word}")),
        }
    }

    fn shape_of(&mut self, dtype: Dtype) -> Result<TensorType, TextError> {
        self.expect('[')?;
        let shape = self.list(']', |parser| parser.number("a size"))?;
        Ok(TensorType { dtype, shape })
    }
}
