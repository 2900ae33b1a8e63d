//! The derivatives of operations: the table in `std.derivatives`, elaborated for the types at hand.
//!
//! Expects: a program with `std.derivatives` loaded (every loaded program has it); one [`Derivatives`] for one graph.
//! Guarantees: each rule is elaborated once for equal attributes and types.
//! Leaves out: where the rules are used (`differentiate`).

use super::Options;
use super::choose::{Chosen, LoopChoices};
use super::context::{Building, Lowering, Outcome};
use super::rule_region::{Actual, RuleRegions};
use super::value::Static;
use crate::differentiate::{DerivativeTable, Loop, LoopRule, Rule};
use crate::ir::attribute::Attribute;
use crate::ir::graph::Graph;
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::builtins;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{Program, Target};
use bpc_lang::tree::{FileId, Item, Param, Span};
use std::collections::BTreeMap;

/// The derivatives that a program's texts give.
pub struct Derivatives<'p> {
    program: &'p Program,
    known: BTreeMap<(Op, Vec<TensorType>), Option<Rule>>,
    rules: RuleRegions,
    loop_choices: LoopChoices,
}

impl<'p> Derivatives<'p> {
    /// The table of a program, for graphs that were lowered from it with these choices.
    pub fn new(program: &'p Program, loop_choices: &LoopChoices) -> Self {
        let loop_choices = loop_choices.clone();
        Derivatives { program, known: BTreeMap::new(), rules: RuleRegions::new(), loop_choices }
    }

    /// Elaborates something into the graph.
    fn lowering<T>(
        &mut self,
        graph: &mut Graph,
        work: impl FnOnce(&mut Lowering<'_>) -> Outcome<T>,
    ) -> Result<T, Vec<Diagnostic>> {
        let options = Options { training: true, ..Options::default() };
        let mut lowering = Lowering::new(self.program, &options);
        lowering.building = Vec::<Building>::new();
        lowering.graph = std::mem::take(graph);
        lowering.loop_choices = std::mem::take(&mut self.loop_choices);
        let result = work(&mut lowering);
        *graph = lowering.graph;
        self.loop_choices = lowering.loop_choices;
        result.map_err(|_| lowering.diagnostics)
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
        let attributes = op.attributes();
        // The regions of these rules stay where they are in the graph and can be used again; those of loops do not.
        let mut regions = std::mem::take(&mut self.rules);
        let found = self.lowering(graph, |lowering| {
            let mut rules = lowering.program.rules_for(Target::Primitive(name));
            let Some((id, rule)) = rules.find(|(_, rule)| rule.name.is_none()) else { return Ok(None) };
            let mut operands = operands.iter();
            let actual = |param: &Param| match attributes.iter().find(|(name, _)| *name == param.name.text) {
                Some((_, attribute)) => static_value(attribute).map_or(Actual::Missing, Actual::Static),
                None => operands.next().map_or(Actual::Missing, |ty| Actual::Tensor(ty.clone())),
            };
            let actuals: Vec<Actual> = rule.target_params.iter().map(actual).collect();
            let chosen = Chosen { id, rule, given: Vec::new() };
            let types = (std::slice::from_ref(result), std::slice::from_ref(cotangent));
            std::mem::swap(&mut lowering.rules, &mut regions);
            let region = lowering.rule_region(&chosen, &Vec::new(), &actuals, &[], types, rule.target.span);
            std::mem::swap(&mut lowering.rules, &mut regions);
            region.map(Some)
        });
        self.rules = regions;
        found
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
        let span = place.unwrap_or(Span { file: FileId(0), start: 0, end: 0 });
        self.lowering(graph, |lowering| lowering.loop_rule(wanted, span))
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
fn static_value(attribute: &Attribute) -> Option<Static> {
    Some(match attribute {
        Attribute::Integer(value) => Static::Integer(*value),
        Attribute::Integers(values) => Static::List(values.iter().map(|value| Static::Integer(*value)).collect()),
        Attribute::Flag(value) => Static::Flag(*value),
        Attribute::Dtype(dtype) => Static::Dtype(*dtype),
        Attribute::Literal(literal) if literal.dtype.is_float() => Static::Real(literal.as_f64().to_bits()),
        Attribute::Literal(literal) => Static::Integer(literal.as_i64()),
        Attribute::Text(text) => Static::Text(text.clone()),
        Attribute::Gate(gate) => Static::Text(gate.name().to_string()),
        _ => return None,
    })
}
