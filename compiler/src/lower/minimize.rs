//! `minimize`: which parameters each loss trains, and their updates.
//!
//! Expects: a model whose body has been elaborated.
//! Guarantees: a parameter is trained by at most one loss; a selector that matches nothing, a parameter named twice, and a
//! trained parameter that its loss does not depend on are reported.
//! Leaves out: whether a gradient really flows along the way (`differentiate` finds discrete operations).

use super::context::{Binding, Clock, Lowering, Outcome};
use super::model::{Goal, OutputKind};
use super::optimizer::declaration;
use super::value::Value;
use crate::ir::graph::{NodeId, OutputRole, Region};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::suggest::closest;
use bpc_lang::tree::{Expr, ParamKind, Selector, Span};
use std::collections::BTreeSet;

/// Whether the whole pattern matches the path: `*` is one segment, `**` any number.
pub(super) fn matches_path(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), _) if first == "**" => {
            (0..=path.len()).any(|skipped| matches_path(rest, &path[skipped..]))
        }
        (Some(_), None) => false,
        (Some((first, rest)), Some((segment, below))) => {
            (first == "*" || first == segment) && matches_path(rest, below)
        }
    }
}

/// Whether the pattern matches the path or something that it lies below.
pub(super) fn matches_below(pattern: &[String], path: &[&str]) -> bool {
    (0..=path.len()).any(|length| matches_path(pattern, &path[..length]))
}

impl Lowering<'_> {
    /// `minimize loss over a.*, b using adam(lr = 1e-3)`.
    pub fn minimize(&mut self, value: &Expr, over: &[Selector], using: &Expr, span: Span) -> Outcome<()> {
        let loss = self.bound(Binding::None, value);
        let optimizer = self.choose_optimizer(using);
        let optimizer = optimizer?;
        let of_residual = declaration(self.program, optimizer.id).jacobian.is_some();
        let (loss, residual) = match loss? {
            Value::Tensor(tensor) if of_residual && tensor.ty.dtype.is_float() => {
                let residual = self.flat(&tensor, span)?;
                (self.sum_of_squares(&residual, span)?, Some(residual))
            }
            Value::Tensor(tensor) if tensor.ty.rank() == 0 && tensor.ty.dtype.is_float() => (tensor, None),
            Value::Tensor(tensor) => {
                let title = format!("a loss is a float scalar, and this is {}", self.type_text(&tensor.ty));
                return Err(self.report(
                    Diagnostic::error("BP0413", title, value.span, "expected a scalar such as f32[]")
                        .with_help("reduce it, as in `mean(..)`"),
                ));
            }
            other => {
                let title = format!(
                    "a loss is a float scalar that depends on parameters, and this is {}",
                    other.kind(&self.sizes)
                );
                return self.error("BP0413", title, value.span, "nothing to minimize");
            }
        };
        let number = self.model.goals.len() + 1;
        let name = if number == 1 { "loss".to_string() } else { format!("loss{number}") };
        self.add_output(&name, &loss, OutputKind::Loss, span)?;
        self.model.goals.push(Goal { name, loss, residual, over: over.to_vec(), optimizer, span });
        Ok(())
    }

    /// Trains: to be called once, after the body of the model.
    pub fn train(&mut self) -> Outcome<()> {
        let goals = std::mem::take(&mut self.model.goals);
        let chosen = self.share_parameters(&goals)?;
        for (goal, indices) in goals.iter().zip(&chosen) {
            // An evaluation may leave out what training has.
            if indices.is_empty() && self.options.training {
                return Err(self.trains_nothing(goal));
            }
            for index in indices {
                self.model.parameters[*index].0.trained = true;
            }
        }
        if !self.options.training {
            return Ok(());
        }
        let mut failed = None;
        for (goal, indices) in goals.iter().zip(&chosen) {
            let wrong = self.all_trainable(goal, indices);
            if let Err(reported) = match &goal.residual {
                _ if wrong.is_err() => wrong,
                Some(residual) => self.train_jointly(goal, residual, indices),
                None => self.train_apart(goal, indices),
            } {
                failed = Some(reported);
            }
        }
        if let Some(reported) = failed {
            return Err(reported);
        }
        let step = self.clock(Clock::Step);
        let span = goals.first().map_or(Span { file: bpc_lang::tree::FileId(0), start: 0, end: 0 }, |goal| goal.span);
        let one = self.constant(Literal::integer(Dtype::I32, 1), &[], span)?;
        let next = self.emit(Op::Add {}, &[&step, &one], span)?;
        self.region().result(OutputRole::Next, Clock::Step.name(), next.node);
        Ok(())
    }

    /// Why the optimizer of a goal cannot train a parameter of this dtype.
    fn untrainable(&self, parameter: &super::model::Parameter, dtype: Dtype, goal: &Goal) -> Option<Diagnostic> {
        let optimizer = declaration(self.program, goal.optimizer.id);
        let name = &optimizer.name.text;
        let for_bools = matches!(&optimizer.weight.kind, ParamKind::Typed(ty) if ty.element.text == "bool");
        let over = parameter.name.rsplit_once('.').map_or(parameter.name.as_str(), |(layer, _)| layer);
        let (title, help) = match dtype {
            Dtype::Bool if for_bools => return None,
            dtype if dtype.is_float() && !for_bools => return None,
            Dtype::Bool => (
                format!("`{}` has dtype bool, and `{name}` trains floats", parameter.name),
                format!("flip bits by vote: `minimize .. over {over}, .. using boolean(eta = 10)`, from `std.boolean`"),
            ),
            dtype if dtype.is_float() => (
                format!("`{}` has dtype {dtype}, and `{name}` trains bools", parameter.name),
                format!("give the float parameters their own line: `minimize .. over {over}, .. using adam`"),
            ),
            dtype => (
                format!("`{}` has dtype {dtype} and no gradient", parameter.name),
                "make it a float, or name the trained parameters: `minimize .. over ..`".to_string(),
            ),
        };
        Some(
            Diagnostic::error("BP0416", title, parameter.span, "cannot be trained by this optimizer")
                .with_label(goal.optimizer.span, "trained here")
                .with_help(help),
        )
    }

    /// Reports the parameters that the optimizer of a goal cannot train.
    fn all_trainable(&mut self, goal: &Goal, indices: &[usize]) -> Outcome<()> {
        let mut outcome = Ok(());
        for index in indices {
            let (parameter, tensor) = self.model.parameters[*index].clone();
            if let Some(diagnostic) = self.untrainable(&parameter, tensor.ty.dtype, goal) {
                outcome = Err(self.report(diagnostic));
            }
        }
        outcome
    }

    /// Each parameter by its own gradient.
    fn train_apart(&mut self, goal: &Goal, indices: &[usize]) -> Outcome<()> {
        let mut outcome = Ok(());
        for index in indices {
            let (parameter, tensor) = self.model.parameters[*index].clone();
            let before = self.diagnostics.len();
            let gradient = self.emit(Op::Grad {}, &[&goal.loss, &tensor], goal.span)?;
            match self.update(&goal.optimizer, (&parameter.name, &tensor), &[gradient]) {
                Ok(next) => {
                    let node = self.node_here(&next);
                    self.region().result(OutputRole::Next, parameter.name, node);
                }
                Err(reported) => {
                    outcome = Err(reported);
                    if self.diagnostics.len() > before {
                        // The text of the optimizer is wrong, or the choice: once is enough.
                        break;
                    }
                }
            }
        }
        outcome
    }

    /// For each goal, the indices of the parameters it trains.
    fn share_parameters(&mut self, goals: &[Goal]) -> Outcome<Vec<Vec<usize>>> {
        let names = self.model.parameter_names();
        let mut owner: Vec<Option<usize>> = vec![None; names.len()];
        let mut failed = None;
        for (number, goal) in goals.iter().enumerate() {
            for selector in &goal.over {
                let mut found = false;
                for (index, name) in names.iter().enumerate() {
                    let path: Vec<&str> = name.split('.').collect();
                    if !matches_below(&selector.segments, &path) {
                        continue;
                    }
                    found = true;
                    match owner[index] {
                        Some(other) if other != number => {
                            let title = format!("`{name}` is trained by two `minimize` lines");
                            failed = Some(
                                self.report(
                                    Diagnostic::error("BP0415", title, selector.span, "named here too")
                                        .with_label(goals[other].span, "trained here"),
                                ),
                            );
                        }
                        _ => owner[index] = Some(number),
                    }
                }
                if !found {
                    failed = Some(self.unmatched(selector, &names));
                }
            }
        }
        let region = &self.building[0].region;
        let reached: Vec<BTreeSet<NodeId>> =
            goals.iter().map(|goal| below(region, goal.loss.node, Stops::Cut)).collect();
        let connected: Vec<BTreeSet<NodeId>> =
            goals.iter().map(|goal| below(region, goal.loss.node, Stops::Pass)).collect();
        let open: Vec<usize> = (0..goals.len()).filter(|goal| goals[*goal].over.is_empty()).collect();
        for index in 0..names.len() {
            let (parameter, tensor) = &self.model.parameters[index];
            let (node, span) = (tensor.node, parameter.span);
            if let Some(goal) = owner[index] {
                if !reached[goal].contains(&node) && self.options.training {
                    failed = Some(self.unreached(&names[index], span, &goals[goal]));
                }
                continue;
            }
            let takers: Vec<usize> = open.iter().copied().filter(|goal| reached[*goal].contains(&node)).collect();
            match takers[..] {
                [] => {
                    // What is cut off by a `stop` is frozen on purpose.
                    let frozen = open.iter().any(|goal| connected[*goal].contains(&node));
                    if let Some(goal) = open.first()
                        && !frozen
                        && self.options.training
                    {
                        failed = Some(self.unreached(&names[index], span, &goals[*goal]));
                    }
                }
                [goal] => owner[index] = Some(goal),
                [first, second, ..] => {
                    let title = format!("two losses without `over` reach `{}`", names[index]);
                    failed = Some(
                        self.report(
                            Diagnostic::error("BP0415", title, goals[second].span, "reaches it")
                                .with_label(goals[first].span, "reaches it too")
                                .with_help("say which trains what: `minimize .. over name.* using ..`"),
                        ),
                    );
                }
            }
        }
        if let Some(reported) = failed {
            return Err(reported);
        }
        Ok((0..goals.len())
            .map(|goal| (0..names.len()).filter(|index| owner[*index] == Some(goal)).collect())
            .collect())
    }

    fn unreached(&mut self, name: &str, span: Span, goal: &Goal) -> super::context::Reported {
        let (title, label) = (format!("no gradient reaches `{name}`"), "the loss does not depend on it");
        // A parameter of a layer of the library is spoken of where the user calls that layer.
        let node = self.model.parameter(name).map(|parameter| parameter.node);
        let diagnostic = match node.and_then(|node| self.building[0].region.nodes[node].provenance.call) {
            Some(call) => Diagnostic::error("BP0410", title, call, "made in this call").with_label(span, label),
            None => Diagnostic::error("BP0410", title, span, label),
        };
        self.report(
            diagnostic
                .with_label(goal.span, "this loss")
                .with_help("use it on the way to the loss, remove it, or name the trained ones: `minimize .. over ..`"),
        )
    }

    fn trains_nothing(&mut self, goal: &Goal) -> super::context::Reported {
        let (label, help) = if self.model.parameters.is_empty() {
            ("the model has no parameters", "call a layer such as `dense`, or declare a `param`; `out` reports a value")
        } else {
            (
                "every parameter that it reaches is trained by another loss, or cut off by `stop`",
                "`out` reports a value",
            )
        };
        self.report(Diagnostic::error("BP0410", "this loss trains no parameter", goal.span, label).with_help(help))
    }

    fn unmatched(&mut self, selector: &Selector, names: &[String]) -> super::context::Reported {
        let written = selector.segments.join(".");
        let title = format!("`{written}` matches no parameter");
        let mut diagnostic = Diagnostic::error("BP0405", title, selector.span, "matches nothing");
        // A layer is named by the segments before the last.
        let mut known: Vec<&str> = names.iter().map(String::as_str).collect();
        known.extend(names.iter().filter_map(|name| name.rsplit_once('.')).map(|(layer, _)| layer));
        known.extend(names.iter().filter_map(|name| name.split_once('.')).map(|(layer, _)| layer));
        let bare = written.trim_end_matches("**").trim_end_matches('*').trim_end_matches('.');
        diagnostic = match closest(bare, known.iter().copied()) {
            Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
            None => diagnostic.with_note(format!("the parameters are: {}", names.join(", "))),
        };
        self.report(diagnostic)
    }
}

/// Whether a walk goes through `stop`.
#[derive(Clone, Copy, PartialEq)]
enum Stops {
    Pass,
    Cut,
}

/// Everything that a node depends on along ways that carry gradients.
fn below(region: &Region, node: NodeId, stops: Stops) -> BTreeSet<NodeId> {
    let mut seen = BTreeSet::new();
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        if !seen.insert(node) {
            continue;
        }
        let operands = &region.nodes[node].operands;
        match &region.nodes[node].op {
            Op::Stop {} if stops == Stops::Cut => {}
            Op::Ruled { arguments, .. } if stops == Stops::Cut => {
                pending.extend(&operands[1..=*arguments as usize]);
            }
            _ => pending.extend(operands),
        }
    }
    seen
}
