//! The region of a gradient rule, elaborated from its `grad` lines.
//!
//! Expects: the types of the arguments, of what is kept, and of the results with their cotangents.
//! Guarantees: a rule gives the cotangent of every float argument, each of its argument's type, and may give that of a bool
//! argument, of the same shape and a float dtype; it is elaborated once for equal types and static arguments.
//! Leaves out: the call (`rule`), and which rule it takes (`choose`).

use super::choose::{Chosen, Own};
use super::context::{Building, Frame, FrameKind, Lowering, Outcome, Reported};
use super::expression::cotangent_key;
use super::rule::{needed_lets, rule_name};
use super::value::{Static, Tensor, Value};
use crate::ir::graph::{InputRole, NodeId, OutputRole, Provenance, Region, RegionId};
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::ItemId;
use bpc_lang::tree::{Expr, Name, Rule, Span, Statement};
use std::collections::{BTreeMap, BTreeSet};

/// An argument or kept value as the region of a rule sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actual {
    /// An input of this type.
    Tensor(TensorType),
    /// An input whose value did not survive; the sentence says why.
    Gone(TensorType, String),
    /// A static value.
    Static(Static),
    /// Not given by the caller.
    Missing,
}

/// All that the region of a rule depends on.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleKey {
    rule: ItemId,
    own: Own,
    actuals: Vec<Actual>,
    kept: Vec<(String, Actual)>,
    results: Vec<TensorType>,
    cotangents: Vec<TensorType>,
}

/// The regions of rules that are elaborated, each with the arguments whose cotangents are its results.
pub(super) type RuleRegions = BTreeMap<RuleKey, (RegionId, Vec<u32>)>;

impl<'p> Lowering<'p> {
    /// The region of a rule for arguments of these types: inputs are the tensor arguments, what is kept, the parts of
    /// the value, and their cotangents (of the two lists of `types`); results are the cotangents of the arguments `gives`.
    pub fn rule_region(
        &mut self,
        chosen: &Chosen<'p>,
        own: &Own,
        actuals: &[Actual],
        kept: &[(String, Actual)],
        types: (&[TensorType], &[TensorType]),
        span: Span,
    ) -> Outcome<(RegionId, Vec<u32>)> {
        let rule = chosen.rule;
        let key = RuleKey {
            rule: chosen.id,
            own: own.clone(),
            actuals: actuals.to_vec(),
            kept: kept.to_vec(),
            results: types.0.to_vec(),
            cotangents: types.1.to_vec(),
        };
        if let Some(known) = self.rules.get(&key) {
            return Ok(known.clone());
        }
        let region = Region::new(format!("{}.{}", rule.target.text, rule_name(rule)));
        self.building.push(Building { region, scan: None, random: false });
        let mut frame = Frame::new(chosen.id.module, FrameKind::Rule, Vec::new());
        frame.define_all(own);
        self.frames.push(frame);
        // The call is only interesting where its types decide; a rule's own mistakes are shown in the rule, unless the user did
        // not write it.
        let calls = self.calls.len();
        if self.in_library(rule.target.span) {
            self.calls.push((span, rule_name(rule), chosen.id));
        }
        self.active_rules.push(chosen.id);
        let result = self.rule_body(chosen, actuals, kept, types, span);
        self.active_rules.pop();
        self.calls.truncate(calls);
        self.frames.pop();
        let building = self.building.pop().expect("bug in bpc: the region of a rule is gone");
        let gives = result?;
        let id = self.graph.add(building.region);
        self.rules.insert(key, (id, gives.clone()));
        Ok((id, gives))
    }

    fn rule_body(
        &mut self,
        chosen: &Chosen<'p>,
        actuals: &[Actual],
        kept: &[(String, Actual)],
        (types, cotangents): (&[TensorType], &[TensorType]),
        span: Span,
    ) -> Outcome<Vec<u32>> {
        let rule = chosen.rule;
        let mut values = Vec::new();
        let mut places = BTreeMap::new();
        for (param, actual) in rule.target_params.iter().zip(actuals) {
            let name = &param.name.text;
            values.push(match actual {
                Actual::Missing => None,
                Actual::Static(value) => Some(value.value()),
                Actual::Tensor(ty) => {
                    places.insert(name.clone(), (places.len() as u32, ty.clone()));
                    Some(Value::Tensor(self.argument(InputRole::Argument, name, ty)))
                }
                Actual::Gone(ty, why) => {
                    places.insert(name.clone(), (places.len() as u32, ty.clone()));
                    self.argument(InputRole::Argument, name, ty);
                    Some(Value::Gone(ty.clone(), why.as_str().into()))
                }
            });
        }
        self.bind_target(rule, values.into_iter(), span)?;
        for (name, actual) in kept {
            let value = match actual {
                Actual::Tensor(ty) => Value::Tensor(self.argument(InputRole::Argument, &format!("keep.{name}"), ty)),
                Actual::Static(value) => value.value(),
                Actual::Gone(..) | Actual::Missing => Value::Poison,
            };
            self.frame().define(name, value);
        }
        for (result, ty) in rule.results.iter().zip(types) {
            let tensor = self.argument(InputRole::Argument, &format!("value.{}", result.text), ty);
            self.frame().define(&result.text, Value::Tensor(tensor));
        }
        for (result, ty) in rule.results.iter().zip(cotangents) {
            let cotangent = self.argument(InputRole::Cotangent, &format!("grad.{}", result.text), ty);
            self.frame().define(cotangent_key(&result.text), Value::Tensor(cotangent));
        }

        let keeps = !kept.is_empty();
        let needed =
            needed_lets(rule, |statement| !matches!(statement, Statement::Keep { .. } | Statement::Let { .. }));
        let mut lines = BTreeMap::new();
        let before = self.diagnostics.len();
        self.rule_statements((chosen, span), &rule.body.statements, keeps.then_some(&needed), &places, &mut lines)?;
        for param in &rule.target_params {
            let name = &param.name.text;
            if let Some((_, ty)) = places.get(name)
                && ty.dtype.is_float()
                && !lines.contains_key(name)
                && self.diagnostics.len() == before
            {
                let title = format!("the rule `{}` gives no cotangent of `{name}`", rule_name(rule));
                self.report(
                    Diagnostic::error("BP0401", title, param.name.span, "a float argument without a `grad` line")
                        .with_label(rule.target.span, "the target")
                        .with_help(format!("add `grad {name} = ..`; `grad {name} = 0` says that none flows")),
                );
            }
        }
        if self.diagnostics.len() > before {
            return Err(Reported);
        }
        let mut gives: Vec<(u32, String, NodeId)> =
            lines.into_iter().map(|(name, node)| (places[&name].0, name, node)).collect();
        gives.sort_unstable();
        for (_, name, node) in &gives {
            self.region().result(OutputRole::Value, name, *node);
        }
        Ok(gives.into_iter().map(|(place, ..)| place).collect())
    }

    fn argument(&mut self, role: InputRole, name: &str, ty: &TensorType) -> Tensor {
        let node = self.region().input(role, name, ty.clone(), Provenance::default());
        self.tensor_at(self.building.len() - 1, node)
    }

    fn rule_statements(
        &mut self,
        (chosen, span): (&Chosen<'p>, Span),
        statements: &[Statement],
        needed: Option<&BTreeSet<String>>,
        places: &BTreeMap<String, (u32, TensorType)>,
        lines: &mut BTreeMap<String, NodeId>,
    ) -> Outcome<()> {
        let rule = chosen.rule;
        for statement in statements {
            match statement {
                Statement::Let { names, value, .. }
                    if needed.is_none_or(|needed| names.iter().any(|name| needed.contains(&name.text))) =>
                {
                    // Reported, and poisoned: the lines that use it stay silent.
                    let _ = self.let_line(names, value);
                }
                Statement::Grad { name, value, span } => {
                    if let Ok(node) = self.grad_line(rule, name, value, places)
                        && lines.insert(name.text.clone(), node).is_some()
                    {
                        let title = format!("`{}` has two `grad` lines", name.text);
                        self.report(Diagnostic::error("BP0402", title, *span, "the second one"));
                    }
                }
                Statement::If { condition, then, otherwise, .. } => {
                    let taken = if self.flag(condition)? { Some(then) } else { otherwise.as_ref() };
                    if let Some(block) = taken {
                        self.frame().scopes.push(Vec::new());
                        let result = self.rule_statements((chosen, span), &block.statements, None, places, lines);
                        self.frame().scopes.pop();
                        result?;
                    }
                }
                Statement::Form { span, .. } => {
                    self.report(
                        Diagnostic::error("BP0301", "forms are for rules of `scan`", *span, "out of place")
                            .with_help("write its `grad` lines without `form`"),
                    );
                }
                Statement::Result { value, .. } if value.is_check() => {
                    // What a rule asserts is about the call.
                    self.calls.push((span, rule_name(rule), chosen.id));
                    let result = self.expression(value);
                    self.calls.pop();
                    result?;
                }
                Statement::Result { span, .. } => {
                    self.report(Diagnostic::error(
                        "BP0301",
                        "a rule has no value",
                        *span,
                        "only `let`, `keep` and `grad` lines",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn grad_line(
        &mut self,
        rule: &'p Rule,
        name: &Name,
        value: &Expr,
        places: &BTreeMap<String, (u32, TensorType)>,
    ) -> Outcome<NodeId> {
        let Some((_, ty)) = places.get(&name.text).filter(|(_, ty)| ty.dtype.has_cotangent()) else {
            let declared = rule.target_params.iter().find(|param| param.name.text == name.text);
            let label = if declared.is_some() {
                "not a float or bool tensor, so no cotangent"
            } else {
                "no argument of the target"
            };
            let title = format!("the rule has a `grad` line for `{}`", name.text);
            let mut diagnostic = Diagnostic::error("BP0402", title, name.span, label);
            diagnostic = match declared {
                Some(param) => diagnostic.with_label(param.name.span, "declared here").with_help("take the line out"),
                None => diagnostic.with_label(rule.target.span, "the target"),
            };
            return Err(self.report(diagnostic));
        };
        let given = self.expression(value)?;
        // A number takes the dtype of the cotangent of the result where a bool leaves it open.
        let mut ty = ty.clone();
        if ty.dtype == Dtype::Bool {
            let cotangents = rule.results.iter().map(|result| cotangent_key(&result.text));
            let cotangents: Vec<Value> = cotangents.filter_map(|key| self.frame().find(&key).cloned()).collect();
            let floats = [given.clone()].into_iter().chain(cotangents).find_map(|value| match value {
                Value::Tensor(tensor) if tensor.ty.dtype.is_float() => Some(tensor.ty.dtype),
                _ => None,
            });
            ty.dtype = floats.unwrap_or(Dtype::F32);
        }
        let ty = &ty;
        if given.is_scalar() {
            let literal = self.literal(&given, ty.dtype, value.span)?;
            return Ok(self.constant(literal, &ty.shape, value.span)?.node);
        }
        let tensor = self.as_tensor("grad", (given, value.span), ty.dtype)?;
        if tensor.ty != *ty {
            let (wanted, got) = (self.type_text(ty), self.type_text(&tensor.ty));
            let title = format!("`{}` is {wanted}, and its cotangent is {got}", name.text);
            let mut diagnostic = Diagnostic::error("BP0403", title, value.span, format!("this is {got}"));
            if let Some(param) = rule.target_params.iter().find(|param| param.name.text == name.text) {
                diagnostic = diagnostic.with_label(param.name.span, format!("this is {wanted}"));
            }
            if tensor.ty.dtype == ty.dtype && tensor.ty.elements() > ty.elements() {
                diagnostic = diagnostic.with_help(format!("sum it to the shape: `sum_to(.., {}.shape)`", name.text));
            }
            if tensor.ty.dtype != ty.dtype && tensor.ty.shape == ty.shape {
                diagnostic = diagnostic.with_help(format!("cast it: `cast(.., {}.dtype)`", name.text));
            }
            return Err(self.report(diagnostic));
        }
        Ok(self.node_here(&tensor))
    }
}
