//! Names in statements, and which statement may stand where.

use super::scope::Binding;
use super::{Body, Checker, Loop};
use crate::diagnostics::Diagnostic;
use crate::suggest::closest;
use crate::tree::*;

/// Where `keep` and `grad` lines stand.
const RULE_LINES: &str = "in a rule (`exact` or `estimator`) that gives cotangents and no value";

impl Checker<'_> {
    /// A body without a value.
    pub fn block(&mut self, block: &Block) {
        self.statements(block, false);
    }

    /// A body with a value; `owner` names it in the message when it has none.
    pub fn value_block(&mut self, block: &Block, owner: &str) {
        self.statements(block, true);
        if !block.has_value() {
            let end = Span { start: block.span.end.saturating_sub(1), ..block.span };
            let diagnostic = Diagnostic::error("BP0113", format!("{owner} has no value"), end, "an expression should stand before this")
                .with_help("the value is the last line of the body: an expression, or an `if` with an `else` whose branches have values");
            self.report(diagnostic);
        }
    }

    /// A body that is known to have a value.
    pub fn block_with_value(&mut self, block: &Block) {
        self.statements(block, true);
    }

    fn statements(&mut self, block: &Block, valued: bool) {
        self.scopes.open();
        for (index, statement) in block.statements.iter().enumerate() {
            self.statement(statement, valued && index + 1 == block.statements.len());
        }
        self.close_scope();
    }

    /// `gives_value`: the statement is the last one of a body with a value.
    fn statement(&mut self, statement: &Statement, gives_value: bool) {
        self.placed(statement, gives_value);
        match statement {
            Statement::Input { name, ty, .. } => {
                self.bind_type(ty, false);
                self.used_type(ty);
                self.scopes.bind(name, Binding::Value);
            }
            Statement::Param { name, ty, constraint, init, .. } => {
                self.used_type(ty);
                if let Some(constraint) = constraint {
                    self.expr(constraint);
                }
                if let Some(init) = init {
                    self.initializer(init);
                }
                self.scopes.bind(name, Binding::Parameter);
            }
            Statement::State { name, ty, init, .. } => {
                if let Some(ty) = ty {
                    self.used_type(ty);
                }
                self.expr(init);
                self.scopes.bind(name, Binding::Carried);
            }
            Statement::Let { names, value, .. } => {
                self.expr(value);
                for name in names {
                    self.scopes.bind(name, Binding::Value);
                }
            }
            Statement::Next { name, value, .. } => {
                self.expr(value);
                self.next_name(name);
            }
            Statement::Yield { value, .. } | Statement::Result { value, .. } => self.expr(value),
            Statement::Output { value, .. } => self.expr(value),
            Statement::Minimize { value, using, .. } => {
                self.expr(value);
                self.optimizer(using);
            }
            Statement::Keep { name, value, span } => self.keep(name, value.as_ref(), *span),
            Statement::Grad { name, value, .. } => {
                self.expr(value);
                self.grad_line(name);
            }
            Statement::Form { body, .. } => self.block(body),
            Statement::GradScope { choices, .. } => {
                for choice in choices {
                    self.choice(choice);
                }
            }
            Statement::Repeat { count, turn, body, .. } => {
                self.expr(count);
                self.scopes.open();
                if let Some(turn) = turn {
                    self.scopes.bind(turn, Binding::Value);
                }
                let outer = std::mem::replace(&mut self.innermost, Loop::Repeat);
                self.block(body);
                self.innermost = outer;
                self.close_scope();
            }
            Statement::If { condition, then, otherwise, .. } => {
                self.expr(condition);
                for block in std::iter::once(then).chain(otherwise) {
                    self.no_keep(block);
                }
                self.statements(then, gives_value);
                if let Some(otherwise) = otherwise {
                    self.statements(otherwise, gives_value);
                }
            }
        }
    }

    /// Reports a statement that may not stand in this body.
    fn placed(&mut self, statement: &Statement, gives_value: bool) {
        use Body::*;
        let (allowed, word, place, span) = match statement {
            Statement::Let { .. } | Statement::If { .. } => return,
            Statement::Repeat { span, .. } => (
                self.body != Rule || self.innermost != Loop::None,
                "repeat",
                "in a function that the rule calls; a rule has `let`, `if`, `keep` and `grad` lines",
                span,
            ),
            Statement::Input { span, .. } => (
                self.body == Model && self.innermost == Loop::None,
                "in",
                "in a model, outside of `repeat` and `scan`",
                span,
            ),
            Statement::Param { span, .. } => (
                matches!(self.body, Layer | Model) && self.innermost != Loop::Scan,
                "param",
                "in a layer or model, outside of `scan`",
                span,
            ),
            Statement::State { span, .. } => {
                (self.body == Optimizer && self.innermost == Loop::None, "state", "in an optimizer", span)
            }
            Statement::Next { span, .. } => (
                self.innermost != Loop::None || self.body == Optimizer,
                "next",
                "in the body of `repeat` or `scan`, or in an optimizer",
                span,
            ),
            Statement::Yield { span, .. } => (self.innermost == Loop::Scan, "yield", "in the body of `scan`", span),
            Statement::Output { span, .. } => (
                self.body == Model && self.innermost == Loop::None,
                "out",
                "in a model, outside of `repeat` and `scan`",
                span,
            ),
            Statement::Minimize { span, .. } => {
                (self.body == Model && self.innermost != Loop::Scan, "minimize", "in a model, outside of `scan`", span)
            }
            Statement::Keep { span, .. } => {
                (self.body == Rule && self.innermost == Loop::None, "keep", RULE_LINES, span)
            }
            Statement::Grad { span, .. } => {
                (self.body == Rule && self.innermost == Loop::None, "grad", RULE_LINES, span)
            }
            Statement::Form { span, .. } => {
                (self.body == Rule && self.innermost == Loop::None, "form", RULE_LINES, span)
            }
            Statement::GradScope { span, .. } => {
                (self.body == Model && self.innermost == Loop::None, "grad { }", "in a model", span)
            }
            Statement::Result { value, .. } => {
                if !gives_value && !value.is_check() {
                    self.unused_value(value);
                }
                return;
            }
        };
        if !allowed {
            let title = format!("`{word}` may not stand here");
            let diagnostic =
                Diagnostic::error("BP0112", title, *span, "out of place").with_help(format!("it stands {place}"));
            self.report(diagnostic);
        }
    }

    /// What survives of the forward pass does not depend on a choice, although its value may.
    fn no_keep(&mut self, branch: &Block) {
        for statement in &branch.statements {
            if let (Body::Rule, Statement::Keep { name, span, .. }) = (self.body, statement) {
                let diagnostic = Diagnostic::error("BP0112", "`keep` may not stand in an `if`", *span, "out of place");
                let help = format!("choose the value: `keep {} = if .. {{ .. }} else {{ .. }}`", name.text);
                self.report(diagnostic.with_help(help));
            }
        }
    }

    fn unused_value(&mut self, value: &Expr) {
        let help = match (self.body, self.innermost) {
            (_, Loop::Scan) => "bind it by `let`, carry it by `next`, or collect it by `yield`",
            (Body::Model, _) => "bind it by `let`, or report it by `out name = ..`",
            (Body::Function | Body::Layer, Loop::None) => "bind it by `let`; the value of a body is its last line",
            _ => "bind it by `let`",
        };
        let diagnostic =
            Diagnostic::error("BP0112", "nothing is done with this value", value.span, "goes nowhere").with_help(help);
        self.report(diagnostic);
    }

    fn next_name(&mut self, name: &Name) {
        let rebinds = match self.innermost {
            Loop::Repeat => self.scopes.knows(&name.text),
            Loop::Scan | Loop::None => self.scopes.carried(self.carriers).any(|carried| carried == name.text),
        };
        let placed = self.innermost != Loop::None || self.body == Body::Optimizer;
        if rebinds || !placed {
            return;
        }
        let title = format!("`next {}` carries nothing", name.text);
        let help = match (closest(&name.text, self.scopes.carried(self.carriers)), self.innermost) {
            (Some(close), Loop::Scan | Loop::None) => format!("did you mean `next {close}`?"),
            (_, Loop::Scan) => format!("give it a first value: `scan {} = .. over ..`", name.text),
            (_, Loop::Repeat) => format!("bind it before the loop: `let {} = ..`", name.text),
            (_, Loop::None) => format!("declare it: `state {} = 0`", name.text),
        };
        self.report(Diagnostic::error("BP0114", title, name.span, "not carried").with_help(help));
    }

    fn keep(&mut self, name: &Name, value: Option<&Expr>, span: Span) {
        let Some(value) = value else {
            if self.body == Body::Rule && !self.is_argument(name) {
                let title = format!("`{}` is not an argument of the rule's target", name.text);
                let diagnostic = Diagnostic::error("BP0109", title, name.span, "nothing to keep")
                    .with_help(format!("a value is kept by `keep {} = ..`", name.text));
                self.report(diagnostic);
            }
            return self.scopes.bind(name, Binding::Value);
        };
        // A `keep` line belongs to the forward pass: it sees every argument, whatever other lines keep of it.
        self.scopes.open();
        for (argument, is_tensor) in &self.arguments {
            if *is_tensor {
                self.scopes.bind(argument, Binding::Value);
            }
        }
        self.expr(value);
        for entry in self.scopes.close() {
            if entry.used {
                self.scopes.bind(&entry.name, Binding::Gone(span));
            }
        }
        self.scopes.bind(name, Binding::Value);
    }

    fn is_argument(&self, name: &Name) -> bool {
        self.arguments.iter().any(|(argument, _)| argument.text == name.text)
    }

    fn grad_line(&mut self, name: &Name) {
        if self.body != Body::Rule || self.is_argument(name) {
            return;
        }
        let help = match closest(&name.text, self.arguments.iter().map(|(argument, _)| argument.text.as_str())) {
            Some(close) => format!("did you mean `grad {close}`?"),
            None => {
                let all: Vec<String> =
                    self.arguments.iter().map(|(argument, _)| format!("`{}`", argument.text)).collect();
                format!("its arguments are {}", all.join(", "))
            }
        };
        let title = format!("`{}` is not an argument of the rule's target", name.text);
        self.report(Diagnostic::error("BP0109", title, name.span, "gets no cotangent").with_help(help));
    }
}
