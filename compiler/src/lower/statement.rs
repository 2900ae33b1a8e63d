//! Statements and blocks.
//!
//! Expects: statements where they may stand, and no value that goes nowhere (`bpc_lang` checks both).
//! Guarantees: after an error the next statement is still elaborated; names that failed are poisoned.
//! Leaves out: what only models hold (`model`, `minimize`), optimisers (`optimizer`) and rules (`rule`).

use super::context::{Binding, Lowering, Outcome, Reported, Turn};
use super::value::Value;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::{Block, Expr, Name, Span, Statement};

/// The most turns of a `repeat`: a graph of that size still compiles.
const MOST_TURNS: i64 = 10_000;

impl Lowering<'_> {
    /// A block in a scope of its own; its value is that of its last line.
    pub fn block(&mut self, block: &Block) -> Outcome<Option<Value>> {
        self.frame().scopes.push(Vec::new());
        let value = self.statements(&block.statements);
        self.frame().scopes.pop();
        value
    }

    /// Statements in the scope at work.
    pub fn statements(&mut self, statements: &[Statement]) -> Outcome<Option<Value>> {
        let mut value = None;
        let mut failed = false;
        for (position, statement) in statements.iter().enumerate() {
            match self.statement(statement) {
                Ok(Some(given)) if position + 1 == statements.len() => value = Some(given),
                Ok(_) => {}
                // What follows relies on what is asserted.
                Err(Reported) if matches!(statement, Statement::Result { value, .. } if value.is_check()) => {
                    return Err(Reported);
                }
                Err(Reported) => {
                    failed |= position + 1 == statements.len()
                        && matches!(statement, Statement::Result { .. } | Statement::If { .. });
                }
            }
        }
        if failed { Err(Reported) } else { Ok(value) }
    }

    fn statement(&mut self, statement: &Statement) -> Outcome<Option<Value>> {
        match statement {
            Statement::Let { names, value, .. } => self.let_line(names, value).map(|()| None),
            Statement::Param { name, ty, constraint, init, span } => {
                let result = self.param(name, ty, constraint.as_ref(), init.as_ref(), *span);
                self.define_or_poison(name, result).map(|()| None)
            }
            Statement::Input { name, ty, span } => {
                let result = self.input(name, ty, *span);
                self.define_or_poison(name, result).map(|()| None)
            }
            Statement::State { name, ty, init, span } => {
                let result = self.state(name, ty.as_ref(), init, *span);
                self.define_or_poison(name, result).map(|()| None)
            }
            Statement::Next { name, value, span } => self.next(name, value, *span).map(|()| None),
            Statement::Yield { value, .. } => self.yield_line(value).map(|()| None),
            Statement::Output { name, value, span } => self.output(name, value, *span).map(|()| None),
            Statement::Minimize { value, over, using, span } => self.minimize(value, over, using, *span).map(|()| None),
            Statement::GradScope { choices, .. } => self.grad_scope(choices).map(|()| None),
            Statement::Repeat { name, count, turn, body, span } => {
                self.repeat(name.as_ref(), count, turn.as_ref(), body, *span).map(|()| None)
            }
            Statement::If { condition, then, otherwise, .. } => {
                if self.flag(condition)? {
                    self.block(then)
                } else {
                    otherwise.as_ref().map_or(Ok(None), |block| self.block(block))
                }
            }
            Statement::Result { value, .. } => self.expression(value).map(Some),
            Statement::Keep { span, .. } | Statement::Grad { span, .. } | Statement::Form { span, .. } => {
                self.error("BP0301", "`keep`, `grad` and `form` lines stand in rules", *span, "not in a rule")
            }
        }
    }

    fn define_or_poison(&mut self, name: &Name, result: Outcome<Value>) -> Outcome<()> {
        match result {
            Ok(value) => {
                self.frame().define(&name.text, value);
                Ok(())
            }
            Err(Reported) => {
                self.frame().define(&name.text, Value::Poison);
                Err(Reported)
            }
        }
    }

    /// Evaluates under a name that layers and random places in the expression take.
    pub fn bound(&mut self, binding: Binding, value: &Expr) -> Outcome<Value> {
        let before = std::mem::replace(&mut self.frame().binding, binding);
        let result = self.expression(value);
        self.frame().binding = before;
        result
    }

    /// `let y = e`, `let (a, b) = e`.
    pub fn let_line(&mut self, names: &[Name], value: &Expr) -> Outcome<()> {
        let binding = match names {
            [name] => Binding::Named(name.text.clone()),
            _ => Binding::None,
        };
        let result = self.bound(binding, value);
        match (names, result) {
            ([name], result) => self.define_or_poison(name, result),
            (names, Ok(Value::Tuple(values))) if values.len() == names.len() => {
                for (name, value) in names.iter().zip(values) {
                    self.frame().define(&name.text, value);
                }
                Ok(())
            }
            (names, result) => {
                for name in names {
                    self.frame().define(&name.text, Value::Poison);
                }
                let title = format!("{} names for {}", names.len(), result?.kind(&self.sizes));
                self.error("BP0207", title, value.span, format!("expected a tuple of {}", names.len()))
            }
        }
    }

    fn next(&mut self, name: &Name, value: &Expr, span: Span) -> Outcome<()> {
        let binding = match self.frame().turns.last() {
            Some(Turn::Repeat(_)) => Binding::Prefix,
            _ => Binding::Named(name.text.clone()),
        };
        let value_span = value.span;
        let value = self.bound(binding, value);
        match self.frame().turns.last() {
            Some(Turn::Repeat(_)) => {
                if self.frame().find(&name.text).is_none() {
                    let title = format!("`next {}` names nothing from outside the `repeat`", name.text);
                    return self.error("BP0307", title, name.span, "bind it by a `let` before the `repeat`");
                }
                let value = value.unwrap_or(Value::Poison);
                if let Some(Turn::Repeat(pending)) = self.frame().turns.last_mut() {
                    if pending.iter().any(|(known, _)| *known == name.text) {
                        let title = format!("`{}` has two `next` lines", name.text);
                        return self.error("BP0307", title, span, "the second one");
                    }
                    pending.push((name.text.clone(), value));
                }
                Ok(())
            }
            Some(Turn::Scan { .. }) => self.next_in_scan(name, value, value_span, span),
            Some(Turn::Optimizer(_)) => {
                let value = value?;
                if let Some(Turn::Optimizer(pending)) = self.frame().turns.last_mut() {
                    pending.push((name.text.clone(), value, value_span));
                }
                Ok(())
            }
            None => {
                self.error("BP0307", "`next` stands in `repeat`, `scan` and optimizers", span, "not in one of them")
            }
        }
    }

    fn repeat(
        &mut self,
        name: Option<&Name>,
        count: &Expr,
        turn: Option<&Name>,
        body: &Block,
        span: Span,
    ) -> Outcome<()> {
        let turns = match self.expression(count)? {
            Value::Integer(turns) if turns > MOST_TURNS => {
                let title = format!("`repeat` runs {turns} times, and each turn is compiled on its own");
                return self.error("BP0204", title, count.span, "use `scan` for a long loop");
            }
            Value::Integer(turns) if turns >= 0 => turns,
            Value::Integer(turns) => {
                let title = format!("`repeat` cannot run {turns} times");
                return self.error("BP0212", title, count.span, "negative");
            }
            Value::Poison => return Err(Reported),
            other => {
                let title = format!("`repeat` runs a whole number of times, and this is {}", other.kind(&self.sizes));
                return self.error("BP0204", title, count.span, "expected a whole number");
            }
        };
        if let Some(name) = name {
            let mut path = self.frame().path.clone();
            path.push(name.text.clone());
            if let Some(earlier) = self.model.layers.insert(path.join("."), span) {
                return Err(self.report(
                    Diagnostic::error(
                        "BP0304",
                        format!("two things are called `{}`", path.join(".")),
                        name.span,
                        "the second one",
                    )
                    .with_label(earlier, "the first one")
                    .with_help("rename one of them"),
                ));
            }
        }
        let depth = self.frame().path.len();
        for number in 0..turns {
            if let Some(name) = name {
                self.frame().path.push(name.text.clone());
            }
            self.frame().path.push(number.to_string());
            self.frame().turns.push(Turn::Repeat(Vec::new()));
            self.frame().scopes.push(Vec::new());
            if let Some(turn) = turn {
                self.frame().define(&turn.text, Value::Integer(number));
            }
            let result = self.statements(&body.statements);
            let frame = self.frame();
            frame.scopes.pop();
            if let Some(Turn::Repeat(pending)) = frame.turns.pop() {
                for (name, value) in pending {
                    frame.replace(&name, value);
                }
            }
            frame.path.truncate(depth);
            // What is wrong in one turn is wrong in the next.
            result?;
        }
        Ok(())
    }
}
