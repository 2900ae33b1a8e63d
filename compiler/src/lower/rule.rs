//! Calls under gradient rules: the `ruled` node around a call, and what survives of it.
//!
//! Expects: a call whose plain value has been elaborated.
//! Guarantees: what a `keep` line names is elaborated beside the call and is an operand of the `ruled` node. A rule with a
//! value is elaborated in the place of the function's body.
//! Leaves out: which rule a call takes (`choose`), and what its `grad` lines say (`rule_region`).

use super::bind::Given;
use super::choose::{Chosen, Own};
use super::context::{Frame, FrameKind, Lowering, Outcome, Reported};
use super::mentions::mentions;
use super::model::Site;
use super::rule_region::Actual;
use super::types::is_static;
use super::value::{Tensor, Value};
use crate::ir::graph::NodeId;
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::{Expr, ExprKind, Function, Name, ParamKind, Rule, RuleKind, Span, Statement};
use std::collections::BTreeSet;

impl<'p> Lowering<'p> {
    /// A call under a rule: a `ruled` node around its value.
    pub fn ruled(
        &mut self,
        chosen: Chosen<'p>,
        name: &str,
        arguments: &[(&str, Option<Value>)],
        value: Value,
        span: Span,
    ) -> Outcome<Value> {
        // What goes wrong in a page of the library is shown at the call that took the rule.
        let of_library = self.in_library(chosen.rule.target.span);
        if of_library {
            self.calls.push((span, name.to_string(), chosen.id));
        }
        let result = self.ruled_call(chosen, name, arguments, value, span);
        if of_library {
            self.calls.pop();
        }
        result
    }

    fn ruled_call(
        &mut self,
        chosen: Chosen<'p>,
        name: &str,
        arguments: &[(&str, Option<Value>)],
        value: Value,
        span: Span,
    ) -> Outcome<Value> {
        let rule = chosen.rule;
        let several = matches!(value, Value::Tuple(_));
        let parts = match value {
            Value::Poison => return Err(Reported),
            Value::Tuple(parts) => parts,
            value if value.is_scalar() => return Ok(value),
            single => vec![single],
        };
        let mut values = Vec::new();
        for part in parts {
            let Value::Tensor(tensor) = part else {
                let title = format!("`{name}` gives {}, and a rule is for tensors", part.kind(&self.sizes));
                return self.error("BP0407", title, span, "no rule can be chosen here");
            };
            values.push(tensor);
        }
        let given: Vec<&Value> = arguments.iter().filter_map(|(_, value)| value.as_ref()).collect();
        if rule.target_params.len() < given.len()
            || rule.target_params.len() > arguments.len()
            || rule.results.len() != values.len()
        {
            let title = format!(
                "the rule is for {} and {}, and `{name}` has {} and {}",
                super::bind::count(rule.target_params.len(), "argument"),
                super::bind::count(rule.results.len(), "result"),
                super::bind::count(arguments.len(), "argument"),
                super::bind::count(values.len(), "result"),
            );
            return Err(self.report(
                Diagnostic::error("BP0407", title, rule.target.span, "does not fit its target")
                    .with_label(span, "used here"),
            ));
        }
        let own = self.rule_parameters(&chosen, span)?;
        let kept = self.kept_values(&chosen, &own, arguments, &values, span)?;
        let gone = gone_arguments(rule);
        let mut actuals = Vec::new();
        let mut tensors: Vec<Tensor> = Vec::new();
        for (param, (_, argument)) in rule.target_params.iter().zip(arguments) {
            actuals.push(match argument {
                None => Actual::Missing,
                Some(Value::Tensor(tensor)) => {
                    tensors.push(tensor.clone());
                    if gone.contains(&param.name.text) {
                        let why = format!(
                            "`{}` does not survive the forward pass: a `keep` line replaces it",
                            param.name.text
                        );
                        Actual::Gone(tensor.ty.clone(), why)
                    } else {
                        Actual::Tensor(tensor.ty.clone())
                    }
                }
                Some(Value::Poison) => return Err(Reported),
                Some(other) => match other.fixed() {
                    Some(fixed) => Actual::Static(fixed),
                    None => {
                        let argument = &param.name.text;
                        let title = format!(
                            "`{argument}` of `{name}` is {}, and a rule is for tensors and static values",
                            other.kind(&self.sizes)
                        );
                        return Err(self.report(
                            Diagnostic::error("BP0407", title, span, "called here under a rule")
                                .with_label(rule.target.span, "the rule"),
                        ));
                    }
                },
            });
        }
        let n_arguments = tensors.len() as u32;
        let mut kept_actuals = Vec::new();
        for (kept_name, kept_value) in kept {
            let actual = match kept_value {
                Value::Tensor(tensor) => {
                    let ty = tensor.ty.clone();
                    tensors.push(tensor);
                    Actual::Tensor(ty)
                }
                other => match other.fixed() {
                    Some(fixed) => Actual::Static(fixed),
                    None => {
                        let title = format!("`keep {kept_name}` keeps {}", other.kind(&self.sizes));
                        return Err(self.report(
                            Diagnostic::error(
                                "BP0407",
                                title,
                                rule.target.span,
                                "one tensor a `keep` line, or a static value",
                            )
                            .with_label(span, "used here"),
                        ));
                    }
                },
            };
            kept_actuals.push((kept_name, actual));
        }
        let types: Vec<TensorType> = values.iter().map(|value| value.ty.clone()).collect();
        let mut cotangents = types.clone();
        if let [cotangent] = cotangents.as_mut_slice()
            && cotangent.dtype == Dtype::Bool
        {
            let mut dtypes = tensors[..n_arguments as usize].iter().map(|tensor| tensor.ty.dtype);
            cotangent.dtype = dtypes.find(|dtype| dtype.is_float()).unwrap_or(Dtype::F32);
        }
        let (body, gives) = self.rule_region(&chosen, &own, &actuals, &kept_actuals, (&types, &cotangents), span)?;
        let text = self.rule_text(rule, &own);
        let path = self.frame().site().join(".");
        let site = if path.is_empty() { name.to_string() } else { path };
        if self.model.recording {
            let site = Site {
                path: site.clone(),
                function: name.to_string(),
                rule: Some(text.clone()),
                exact_for: self.claim(&chosen, &own)?,
                replaced: false,
                random: None,
                forced: false,
                span,
            };
            self.model.sites.push(site);
        }
        let op = Op::Ruled {
            of: name.to_string(),
            rule: text,
            site,
            arguments: n_arguments,
            gives,
            estimator: rule.kind == RuleKind::Estimator,
            body,
        };
        let nodes: Vec<NodeId> = values.iter().map(|value| self.node_here(value)).collect();
        let value = if several { self.emit_tuple(Op::Tuple {}, &nodes, span)? } else { nodes[0] };
        let mut operands = vec![value];
        operands.extend(tensors.iter().map(|tensor| self.node_here(tensor)));
        let result = self.emit_tuple(op, &operands, span)?;
        let level = self.building.len() - 1;
        let mut parts = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let part =
                if several { self.emit_tuple(Op::Project { index: index as u32 }, &[result], span)? } else { result };
            parts.push(Value::Tensor(Lowering::with_origins(self.tensor_at(level, part), value.origins)));
        }
        Ok(if several { Value::Tuple(parts) } else { parts.remove(0) })
    }

    /// The value that a rule gives in the place of a function's body. The function's frame is on top of the stack.
    pub fn replacement(
        &mut self,
        chosen: &Chosen<'p>,
        function: &Function,
        arguments: &[Value],
        span: Span,
    ) -> Outcome<Value> {
        let rule = chosen.rule;
        let own = self.rule_parameters(chosen, span)?;
        if self.model.recording {
            let rule_text = self.rule_text(rule, &own);
            let path = self.frame().site().join(".");
            self.model.sites.push(Site {
                path: if path.is_empty() { function.name.text.clone() } else { path },
                function: function.name.text.clone(),
                rule: Some(rule_text),
                exact_for: None,
                replaced: true,
                random: None,
                forced: false,
                span,
            });
        }
        let path = self.frame().path.clone();
        let mut frame = Frame::new(chosen.id.module, FrameKind::Function, path);
        frame.define_all(&own);
        self.frames.push(frame);
        let value =
            self.bind_target(rule, arguments.iter().cloned().map(Some), span).and_then(|()| self.block(&rule.body));
        self.frames.pop();
        match value? {
            Some(value) => self.as_result(function, value, rule.body.span),
            None => Err(Reported),
        }
    }

    /// The class of functions that the rule says it is exact for, where the condition of that holds.
    fn claim(&mut self, chosen: &Chosen<'p>, own: &Own) -> Outcome<Option<String>> {
        let Some(claim) = &chosen.rule.exact_for else { return Ok(None) };
        if let Some(condition) = &claim.condition {
            let mut frame = Frame::new(chosen.id.module, FrameKind::Rule, Vec::new());
            frame.define_all(own);
            self.frames.push(frame);
            let holds = self.flag(condition);
            self.frames.pop();
            if !holds? {
                return Ok(None);
            }
        }
        Ok(Some(claim.class.text.clone()))
    }

    /// The rule's own parameters by name.
    pub fn rule_parameters(&mut self, chosen: &Chosen<'p>, span: Span) -> Outcome<Own> {
        for param in &chosen.rule.params {
            if let ParamKind::Typed(ty) = &param.kind
                && !is_static(ty)
            {
                let name = &param.name.text;
                let title = format!("the parameter `{name}` of a rule is a tensor, and parameters of rules are static");
                return Err(self
                    .report(Diagnostic::error("BP0404", title, ty.span, "a type of tensors").with_help(format!(
                        "write `{name}: real` for a number; a tensor is an argument of the target"
                    ))));
            }
        }
        let name = rule_name(chosen.rule);
        let path = self.frames.last().map_or_else(Vec::new, Frame::site);
        self.frames.push(Frame::new(chosen.id.module, FrameKind::Rule, path));
        let result = self.bind(&name, &chosen.rule.params, chosen.given.clone(), span);
        let frame = self.frames.pop().expect("bug in bpc: the frame of a rule is gone");
        result?;
        let fixed = |(name, value): (String, Value)| value.fixed().map(|value| (name, value)).ok_or(Reported);
        frame.scopes.into_iter().flatten().map(fixed).collect()
    }

    /// What the `keep` lines say, elaborated beside the call.
    fn kept_values(
        &mut self,
        chosen: &Chosen<'p>,
        own: &Own,
        arguments: &[(&str, Option<Value>)],
        values: &[Tensor],
        span: Span,
    ) -> Outcome<Vec<(String, Value)>> {
        let rule = chosen.rule;
        if !rule.body.statements.iter().any(|statement| matches!(statement, Statement::Keep { .. })) {
            return Ok(Vec::new());
        }
        let needed = needed_lets(rule, |statement| matches!(statement, Statement::Keep { .. }));
        let path = self.frames.last().map_or_else(Vec::new, Frame::site);
        let mut frame = Frame::new(chosen.id.module, FrameKind::Rule, path);
        frame.define_all(own);
        self.frames.push(frame);
        self.active_rules.push(chosen.id);
        let result = self.kept_in_frame(rule, &needed, arguments, values, span);
        self.active_rules.pop();
        self.frames.pop();
        result
    }

    fn kept_in_frame(
        &mut self,
        rule: &'p Rule,
        needed: &BTreeSet<String>,
        arguments: &[(&str, Option<Value>)],
        values: &[Tensor],
        span: Span,
    ) -> Outcome<Vec<(String, Value)>> {
        self.bind_target(rule, arguments.iter().map(|(_, value)| value.clone()), span)?;
        for (result, value) in rule.results.iter().zip(values) {
            self.frame().define(&result.text, Value::Tensor(value.clone()));
        }
        let mut kept = Vec::new();
        for statement in &rule.body.statements {
            match statement {
                Statement::Let { names, value, .. } if names.iter().any(|name| needed.contains(&name.text)) => {
                    self.let_line(names, value)?;
                }
                Statement::Keep { name, value, .. } => {
                    let value = match value {
                        Some(expr) => self.bound(super::context::Binding::Named(name.text.clone()), expr)?,
                        None => {
                            let place = Expr { kind: ExprKind::Name(name.text.clone()), span: name.span };
                            self.expression(&place)?
                        }
                    };
                    kept.push((name.text.clone(), value));
                }
                _ => {}
            }
        }
        Ok(kept)
    }

    /// Binds the parameters of the target as the rule writes them.
    pub(super) fn bind_target(
        &mut self,
        rule: &'p Rule,
        values: impl Iterator<Item = Option<Value>>,
        span: Span,
    ) -> Outcome<()> {
        let name = rule_name(rule);
        let mut given = Vec::new();
        for (param, value) in rule.target_params.iter().zip(values) {
            if let Some(value) = value {
                given.push(Given { name: Some(Name { text: param.name.text.clone(), span }), value, span });
            }
        }
        let params: Vec<bpc_lang::tree::Param> = rule
            .target_params
            .iter()
            .filter(|param| {
                param.default.is_some()
                    || given.iter().any(|given| given.name.as_ref().is_some_and(|name| name.text == param.name.text))
            })
            .cloned()
            .collect();
        self.bind(&name, &params, given, span)
    }

    /// A rule with its arguments.
    pub(super) fn rule_text(&self, rule: &Rule, own: &Own) -> String {
        let name = rule_name(rule);
        let of = |param: &bpc_lang::tree::Param| {
            let value = own.iter().find(|(known, _)| *known == param.name.text);
            value.map(|(known, value)| format!("{known} = {}", value.text(self.program)))
        };
        let arguments: Vec<String> = rule.params.iter().filter_map(of).collect();
        if arguments.is_empty() { name } else { format!("{name}({})", arguments.join(", ")) }
    }
}

/// The name by which a rule is spoken of.
pub(super) fn rule_name(rule: &Rule) -> String {
    rule.name.as_ref().map_or_else(|| "exact".to_string(), |name| name.text.clone())
}

/// The names of `let` lines that the statements of one kind need, directly or by way of others.
pub(super) fn needed_lets(rule: &Rule, wanted: impl Fn(&Statement) -> bool) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for statement in rule.body.statements.iter().filter(|statement| wanted(statement)) {
        mentions(statement, &mut needed);
    }
    for statement in rule.body.statements.iter().rev() {
        if let Statement::Let { names, .. } = statement
            && names.iter().any(|name| needed.contains(&name.text))
        {
            mentions(statement, &mut needed);
        }
    }
    needed
}

/// The arguments that stand in `keep` lines, apart from those that are kept whole.
fn gone_arguments(rule: &Rule) -> BTreeSet<String> {
    let mut gone = needed_lets(rule, |statement| matches!(statement, Statement::Keep { value: Some(_), .. }));
    for statement in &rule.body.statements {
        if let Statement::Keep { name, value, .. } = statement {
            let whole =
                value.as_ref().is_none_or(|value| matches!(&value.kind, ExprKind::Name(own) if *own == name.text));
            if whole {
                gone.remove(&name.text);
            }
        }
    }
    gone
}
