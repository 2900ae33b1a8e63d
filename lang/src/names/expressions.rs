//! Names in expressions.

use super::scope::Binding;
use super::{Body, Checker, Loop, twice};
use crate::builtins;
use crate::diagnostics::Diagnostic;
use crate::program::{Definition, Target};
use crate::stdlib;
use crate::suggest::closest;
use crate::tree::*;

/// What can be asked of any tensor.
const FIELDS: &[&str] = &["shape", "dtype", "rank"];

/// Values with a meaning of their own.
const SPECIAL: &[&str] = &["training"];

impl Checker<'_> {
    /// Checks one expression.
    pub fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Integer(_) | ExprKind::Real(_) | ExprKind::String(_) | ExprKind::Bool(_) => {}
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::Field(base, field) => self.field(base, field),
            ExprKind::Call(callee, args) => self.call(callee, args),
            ExprKind::Via(call, rule) => {
                self.expr(call);
                self.args(&rule.args);
                match &call.kind {
                    ExprKind::Call(callee, _) => {
                        if let ExprKind::Name(target) = &callee.kind {
                            self.chosen_rule(target, rule);
                        }
                    }
                    _ => self.chosen_rule("scan", rule),
                }
            }
            ExprKind::Unary(_, operand) | ExprKind::Spread(operand) => self.expr(operand),
            ExprKind::Binary(_, left, right) => {
                self.expr(left);
                self.expr(right);
            }
            ExprKind::Index(base, items) => {
                self.expr(base);
                for item in items {
                    match item {
                        IndexItem::At(place) => self.expr(place),
                        IndexItem::Range { start, stop, step, .. } => {
                            for bound in [start, stop, step].into_iter().flatten() {
                                self.expr(bound);
                            }
                        }
                        IndexItem::Rest(_) => {}
                    }
                }
            }
            ExprKind::List(entries) | ExprKind::Tuple(entries) => {
                for entry in entries {
                    self.expr(entry);
                }
            }
            ExprKind::If(condition, then, otherwise) => {
                self.expr(condition);
                self.value_block(then, "this branch");
                self.value_block(otherwise, "this branch");
            }
            ExprKind::Cotangent(result) => self.cotangent(result, expr.span),
            ExprKind::Scan(scan) => self.scan(scan),
        }
    }

    /// A name that stands for a value.
    pub fn name(&mut self, name: &str, span: Span) {
        match self.scopes.find(name) {
            Some(Binding::Gone(keep)) => {
                let title = format!("`{name}` is gone after the forward pass");
                let diagnostic = Diagnostic::error("BP0110", title, span, "not saved")
                    .with_label(keep, "this line says what survives of it")
                    .with_help(format!("use the kept value, or keep all of it by `keep {name}`"));
                self.report(diagnostic);
            }
            Some(_) => {}
            None if SPECIAL.contains(&name) => {}
            None => match self.program.resolve(self.module, name) {
                Some(Definition::Item(id)) => {
                    self.used.insert(id);
                    let (kind, help) = match self.program.item(id) {
                        Item::Optimizer(_) => ("an optimizer", "an optimizer stands after `using`"),
                        Item::Model(_) => ("a model", "what two models share is written as a `layer`"),
                        _ => return,
                    };
                    let title = format!("`{name}` is {kind} and no value");
                    self.report(Diagnostic::error("BP0116", title, span, "cannot be used here").with_help(help));
                }
                Some(Definition::Builtin(_)) => {}
                None => {
                    let close = closest(name, self.scopes.names().chain(self.program.visible_names(self.module)));
                    let close = close.map(str::to_string);
                    self.unknown(name, span, close);
                }
            },
        }
    }

    fn field(&mut self, base: &Expr, field: &Name) {
        // What is known of a tensor before it is computed outlives the tensor.
        let static_field = FIELDS.contains(&field.text.as_str());
        if static_field && matches!(&base.kind, ExprKind::Name(name) if self.scopes.knows(name)) {
            return;
        }
        let before = self.diagnostics.len();
        self.expr(base);
        if static_field || self.diagnostics.len() > before {
            return;
        }
        let help = match closest(&field.text, FIELDS.iter().copied()) {
            _ if self.program.resolve(self.module, &field.text).is_some() => {
                format!("a function stands before what it is called on: `{}(..)`", field.text)
            }
            Some(close) => format!("did you mean `.{close}`?"),
            None => "there are `.shape`, `.dtype` and `.rank`".to_string(),
        };
        let title = format!("unknown field `{}`", field.text);
        self.report(Diagnostic::error("BP0117", title, field.span, "no such field").with_help(help));
    }

    fn call(&mut self, callee: &Expr, args: &[Arg]) {
        self.expr(callee);
        let is_grad = matches!(&callee.kind, ExprKind::Name(name) if name == "grad");
        for (index, arg) in args.iter().enumerate() {
            // `grad(loss, hidden.weight)` names a parameter by its path.
            match path_root(&arg.value) {
                Some(_) if is_grad && index == 1 && names_turn(&arg.value) => {}
                Some((root, span)) if is_grad && index == 1 => self.name(root, span),
                _ => self.expr(&arg.value),
            }
        }
    }

    pub fn args(&mut self, args: &[Arg]) {
        for arg in args {
            self.expr(&arg.value);
        }
    }

    /// A rule that is chosen for the calls of `target`.
    pub fn chosen_rule(&mut self, target: &str, rule: &RuleUse) {
        let found = match self.program.resolve_target(self.module, target) {
            _ if self.scopes.knows(target) => return,
            Some(found) => found,
            None => Target::Primitive("scan"),
        };
        let names: Vec<&str> =
            self.program.rules_for(found).filter_map(|(_, rule)| Some(rule.name.as_ref()?.text.as_str())).collect();
        if names.contains(&rule.name.text.as_str()) {
            return;
        }
        let title = format!("`{target}` has no rule `{}`", rule.name.text);
        let is_layer = matches!(found, Target::Item(id) if matches!(self.program.item(id), Item::Layer(_)));
        let name = &rule.name.text;
        let help = match (closest(name, names.iter().copied()), stdlib::module_of_rule(target, name)) {
            _ if is_layer => format!(
                "`{target}` is a layer, and rules are for functions; choose one for what it calls: \
                 `grad {{ function in layer => {name} }}`"
            ),
            (Some(close), _) => format!("did you mean `{close}`?"),
            (None, Some(module)) => format!("`use {module}` brings it in"),
            (None, None) if names.is_empty() => {
                format!("no loaded module has a named rule for it; one begins `estimator {name} for {target}(..)`")
            }
            (None, None) => {
                let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                format!("there are {}", all.join(", "))
            }
        };
        self.report(Diagnostic::error("BP0102", title, rule.name.span, "unknown rule").with_help(help));
    }

    fn cotangent(&mut self, result: &Name, span: Span) {
        if self.body != Body::Rule {
            let diagnostic = Diagnostic::error("BP0112", "a cotangent is known in rules only", span, "not in a rule")
                .with_help(format!("the derivative of a loss is written `grad(loss, {})`", result.text));
            self.report(diagnostic);
        } else if !self.results.contains(&result.text) {
            let title = format!("`{}` is not a result of the rule's target", result.text);
            let help = match closest(&result.text, self.results.iter().map(String::as_str)) {
                Some(close) => format!("did you mean `grad {close}`?"),
                None => {
                    let all: Vec<String> = self.results.iter().map(|name| format!("`grad {name}`")).collect();
                    format!("known are {}", all.join(", "))
                }
            };
            let diagnostic = Diagnostic::error("BP0109", title, result.span, "has no cotangent").with_help(help);
            self.report(diagnostic);
        }
    }

    fn scan(&mut self, scan: &Scan) {
        for (_, value) in scan.carries.iter().chain(&scan.sequences) {
            self.expr(value);
        }
        let outer = (self.innermost, self.carriers);
        (self.innermost, self.carriers) = (Loop::Scan, self.scopes.depth());
        self.scopes.open();
        let mut seen: Vec<&Name> = Vec::new();
        for (index, (name, _)) in scan.carries.iter().chain(&scan.sequences).enumerate() {
            if let Some(first) = seen.iter().find(|first| first.text == name.text) {
                self.report(twice(name, first));
            }
            seen.push(name);
            self.scopes.bind(name, if index < scan.carries.len() { Binding::Carried } else { Binding::Value });
        }
        self.block(&scan.body);
        self.close_scope();
        (self.innermost, self.carriers) = outer;
    }

    /// The value after `~`: a function of the program or of `std.init`, with or without arguments.
    pub fn initializer(&mut self, value: &Expr) {
        let (callee, args): (&Expr, &[Arg]) = match &value.kind {
            ExprKind::Call(callee, args) => (callee, args),
            _ => (value, &[]),
        };
        self.args(args);
        let ExprKind::Name(name) = &callee.kind else { return self.expr(callee) };
        match self.program.resolve_initializer(self.module, name) {
            Some(Definition::Item(id)) => {
                self.used.insert(id);
            }
            Some(Definition::Builtin(_)) => {}
            None => {
                let candidates = self.program.visible_names(self.module).into_iter().chain(self.program.initializers());
                let close = closest(name, candidates).map(str::to_string);
                self.unknown(name, callee.span, close);
            }
        }
    }

    /// The optimizer after `using`.
    pub fn optimizer(&mut self, value: &Expr) {
        let (callee, args): (&Expr, &[Arg]) = match &value.kind {
            ExprKind::Call(callee, args) => (callee, args),
            _ => (value, &[]),
        };
        self.args(args);
        let ExprKind::Name(name) = &callee.kind else {
            let diagnostic = Diagnostic::error("BP0116", "no optimizer", callee.span, "this is an expression")
                .with_help("write its name and what it takes: `using adam(lr = 1e-3)`");
            return self.report(diagnostic);
        };
        match self.program.resolve(self.module, name) {
            Some(Definition::Item(id)) if matches!(self.program.item(id), Item::Optimizer(_)) => {}
            Some(_) => self.report(
                Diagnostic::error("BP0116", format!("`{name}` is no optimizer"), callee.span, "cannot train anything")
                    .with_help("write one as `optimizer name(..) for w: f[..], g { .. }`, or `use std.optim { adam }`"),
            ),
            None => {
                let close = closest(name, self.program.visible_names(self.module)).map(str::to_string);
                self.unknown(name, callee.span, close);
            }
        }
    }

    /// A line of a `grad { .. }` block.
    pub fn choice(&mut self, choice: &GradChoice) {
        self.args(&choice.rule.args);
        let target = &choice.target;
        if self.program.resolve_target(self.module, &target.text).is_some() {
            self.chosen_rule(&target.text, &choice.rule);
        } else {
            let mut candidates = self.program.visible_names(self.module);
            candidates.extend(builtins::OPERATIONS);
            let close = closest(&target.text, candidates).map(str::to_string);
            self.unknown(&target.text, target.span, close);
        }
    }
}

/// Whether a path goes through a turn of a `repeat`: `blocks.0.weight`.
fn names_turn(path: &Expr) -> bool {
    match &path.kind {
        ExprKind::Field(base, field) => {
            field.text.starts_with(|first: char| first.is_ascii_digit()) || names_turn(base)
        }
        _ => false,
    }
}

/// The first name of a dotted path.
fn path_root(expr: &Expr) -> Option<(&str, Span)> {
    match &expr.kind {
        ExprKind::Field(base, _) => path_root(base),
        ExprKind::Name(name) => Some((name, expr.span)),
        _ => None,
    }
}
