//! The derivatives of operations: the table in `std.derivatives`, elaborated for the types at hand.
//!
//! Expects: a program with `std.derivatives` loaded (every loaded program has it); one [`Derivatives`] for one graph.
//! Guarantees: each rule is elaborated once for equal attributes and types.
//! Leaves out: where the rules are used (`differentiate`).

use super::Options;
use super::choose::Chosen;
use super::context::{Building, Lowering};
use super::rule_region::Actual;
use super::value::Value;
use crate::differentiate::{DerivativeTable, Loop, LoopRule, Rule};
use crate::ir::attribute::Attribute;
use crate::ir::graph::Graph;
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::builtins;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{Program, Target};
use bpc_lang::tree::{FileId, Item, Span};
use std::collections::BTreeMap;

/// The derivatives that a program's texts give.
pub struct Derivatives<'p> {
    program: &'p Program,
    known: BTreeMap<(Op, Vec<TensorType>), Option<Rule>>,
    rules: BTreeMap<String, Rule>,
}

impl<'p> Derivatives<'p> {
    /// The table of a program.
    pub fn new(program: &'p Program) -> Self {
        Derivatives { program, known: BTreeMap::new(), rules: BTreeMap::new() }
    }

    fn elaborate(
        &mut self,
        graph: &mut Graph,
        op: &Op,
        operands: &[TensorType],
        result: &TensorType,
        cotangent: &TensorType,
    ) -> Result<Option<Rule>, Vec<Diagnostic>> {
        // To bool, a cast is a comparison.
        if matches!(op, Op::Cast { dtype: Dtype::Bool }) {
            return Ok(None);
        }
        let Some(name) = builtins::primitive(op.name()) else { return Ok(None) };
        let mut rules = self.program.rules_for(Target::Primitive(name));
        let Some((id, rule)) = rules.find(|(_, rule)| rule.name.is_none()) else { return Ok(None) };
        let attributes = op.attributes();
        let mut operands = operands.iter();
        let actuals: Vec<Actual> = rule
            .target_params
            .iter()
            .map(|param| match attributes.iter().find(|(name, _)| *name == param.name.text) {
                Some((_, attribute)) => static_value(attribute).map_or(Actual::Missing, Actual::Static),
                None => operands.next().map_or(Actual::Missing, |ty| Actual::Tensor(ty.clone())),
            })
            .collect();
        let span = rule.target.span;
        let options = Options { training: true, ..Options::default() };
        let mut lowering = Lowering::new(self.program, &options);
        lowering.building = Vec::<Building>::new();
        lowering.graph = std::mem::take(graph);
        lowering.rules = std::mem::take(&mut self.rules);
        let chosen = Chosen { id, rule, given: Vec::new() };
        let types = (std::slice::from_ref(result), std::slice::from_ref(cotangent));
        let region = lowering.rule_region(&chosen, &[], &actuals, &[], types, span);
        *graph = std::mem::take(&mut lowering.graph);
        self.rules = std::mem::take(&mut lowering.rules);
        match region {
            Ok(region) => Ok(Some(region)),
            Err(_) => Err(lowering.diagnostics),
        }
    }
}

impl DerivativeTable for Derivatives<'_> {
    fn rule(
        &mut self,
        graph: &mut Graph,
        op: &Op,
        operands: &[TensorType],
        result: &TensorType,
        cotangent: &TensorType,
    ) -> Result<Option<Rule>, Vec<Diagnostic>> {
        let mut key = (op.clone(), operands.to_vec());
        key.1.push(cotangent.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let rule = self.elaborate(graph, op, operands, result, cotangent)?;
        self.known.insert(key, rule.clone());
        Ok(rule)
    }

    fn loop_rule(
        &mut self,
        graph: &mut Graph,
        wanted: &Loop,
        place: Option<Span>,
    ) -> Result<LoopRule, Vec<Diagnostic>> {
        let options = Options { training: true, ..Options::default() };
        let mut lowering = Lowering::new(self.program, &options);
        lowering.building = Vec::<Building>::new();
        lowering.graph = std::mem::take(graph);
        let span = place.unwrap_or(Span { file: FileId(0), start: 0, end: 0 });
        let rule = lowering.loop_rule(wanted, span);
        *graph = std::mem::take(&mut lowering.graph);
        rule.map_err(|_| lowering.diagnostics)
    }

    fn choices(&self, name: &str) -> Vec<String> {
        let items = self.program.modules.iter().flat_map(|module| &module.items);
        let named = items.filter_map(|item| match item {
            Item::Rule(rule) if rule.target.text == name => rule.name.as_ref().map(|name| name.text.clone()),
            _ => None,
        });
        named.collect()
    }
}

/// An attribute of an operation as a rule sees it.
fn static_value(attribute: &Attribute) -> Option<Value> {
    Some(match attribute {
        Attribute::Integer(value) => Value::Integer(*value),
        Attribute::Integers(values) => Value::List(values.iter().map(|value| Value::Integer(*value)).collect()),
        Attribute::Flag(value) => Value::Flag(*value),
        Attribute::Dtype(dtype) => Value::Dtype(*dtype),
        Attribute::Literal(literal) if literal.dtype.is_float() => Value::Real(literal.as_f64()),
        Attribute::Literal(literal) => Value::Integer(literal.as_i64()),
        Attribute::Text(text) => Value::Text(text.clone()),
        _ => return None,
    })
}
