//! Expressions to values.
//!
//! Expects: a frame on top of the stack of frames.
//! Guarantees: static expressions give static values and no nodes; an expression that fails has been reported.
//! Leaves out: calls (`call`), operators (`operator`), indexing (`index`), scans (`scan`).

use super::context::{Lowering, Outcome, Reported};
use super::value::{Callee, Value};
use crate::ir::types::Dtype;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Definition;
use bpc_lang::suggest::closest;
use bpc_lang::tree::{BinaryOperator, Expr, ExprKind, Name, Span};

impl Lowering<'_> {
    /// The value of an expression.
    pub fn expression(&mut self, expr: &Expr) -> Outcome<Value> {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Integer(text) => match text.replace('_', "").parse() {
                Ok(value) => Ok(Value::Integer(value)),
                Err(_) => self.error("BP0212", "the number is too large", span, "does not fit in 64 bits"),
            },
            ExprKind::Real(text) => match text.replace('_', "").parse() {
                Ok(value) => Ok(Value::Real(value)),
                Err(_) => self.error("BP0212", "this is no number", span, "here"),
            },
            ExprKind::String(text) => Ok(Value::Text(text.clone())),
            ExprKind::Bool(value) => Ok(Value::Flag(*value)),
            ExprKind::Name(name) => self.name(name, span),
            ExprKind::Field(base, field) => self.field(expr, base, field),
            ExprKind::Call(callee, args) => self.call(callee, args, None, span),
            ExprKind::Via(inner, rule) => match &inner.kind {
                ExprKind::Call(callee, args) => self.call(callee, args, Some(rule), span),
                ExprKind::Scan(scan) => self.scan(scan, Some(rule), span),
                _ => unreachable!("bug in bpc: `via` behind something that is neither call nor scan"),
            },
            ExprKind::Unary(operator, inner) => {
                let value = self.expression(inner)?;
                self.unary(*operator, (value, inner.span), span)
            }
            ExprKind::Binary(operator, left, right) => self.binary_expression(*operator, left, right, span),
            ExprKind::Index(base, items) => {
                let value = self.expression(base)?;
                self.index(value, base.span, items, span)
            }
            ExprKind::List(parts) => {
                let mut values = Vec::new();
                for part in parts {
                    match &part.kind {
                        ExprKind::Spread(inner) => match self.expression(inner)? {
                            Value::List(more) => values.extend(more),
                            other => {
                                let title = format!("`..` spreads a list, and this is {}", other.kind(&self.sizes));
                                return self.error("BP0204", title, inner.span, "expected a list");
                            }
                        },
                        _ => values.push(self.expression(part)?),
                    }
                }
                Ok(Value::List(values))
            }
            ExprKind::Spread(inner) => {
                self.error("BP0204", "`..` spreads inside a list", inner.span, "no list around it")
            }
            ExprKind::Tuple(parts) => {
                let values = parts.iter().map(|part| self.expression(part)).collect::<Outcome<_>>()?;
                Ok(Value::Tuple(values))
            }
            ExprKind::If(condition, then, otherwise) => {
                let taken = if self.flag(condition)? { then } else { otherwise };
                match self.block(taken)? {
                    Some(value) => Ok(value),
                    None => self.error(
                        "BP0306",
                        "this branch has no value",
                        taken.span,
                        "its last line should be an expression",
                    ),
                }
            }
            ExprKind::Cotangent(name) => {
                let key = cotangent_key(&name.text);
                match self.frame().find(&key).cloned() {
                    Some(Value::Poison) => Err(Reported),
                    Some(value) => Ok(value),
                    None => {
                        let title = format!("`grad {}` is no cotangent here", name.text);
                        self.error("BP0206", title, span, "cotangents are those of the results of a rule")
                    }
                }
            }
            ExprKind::Scan(scan) => self.scan(scan, None, span),
        }
    }

    fn binary_expression(&mut self, operator: BinaryOperator, left: &Expr, right: &Expr, span: Span) -> Outcome<Value> {
        let left_value = self.expression(left);
        // `a and b` reads b only if a leaves it open, so that `len(s) > 0 and s[0] == 1` works.
        match (operator, &left_value) {
            (BinaryOperator::And, Ok(Value::Flag(false))) => return Ok(Value::Flag(false)),
            (BinaryOperator::Or, Ok(Value::Flag(true))) => return Ok(Value::Flag(true)),
            _ => {}
        }
        let right_value = self.expression(right);
        self.binary(operator, (left_value?, left.span), (right_value?, right.span), span)
    }

    /// A flag that is known when the program is compiled.
    pub fn flag(&mut self, condition: &Expr) -> Outcome<bool> {
        match self.expression(condition)? {
            Value::Flag(value) => Ok(value),
            Value::Poison => Err(Reported),
            Value::Tensor(tensor) => {
                let text = self.type_text(&tensor.ty);
                Err(self.report(
                    Diagnostic::error(
                        "BP0214",
                        "the condition of an `if` must be known when the program is compiled",
                        condition.span,
                        format!("this is a tensor {text}"),
                    )
                    .with_help("choose elementwise with `where(condition, a, b)`"),
                ))
            }
            other => {
                let title = format!("a condition is true or false, and this is {}", other.kind(&self.sizes));
                self.error("BP0214", title, condition.span, "expected a flag")
            }
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Outcome<Value> {
        match self.frame().find(name) {
            Some(Value::Poison) => return Err(Reported),
            Some(value) => return Ok(value.clone()),
            None => {}
        }
        if name == "training" {
            return Ok(Value::Flag(self.options.training));
        }
        let module = self.frame().module;
        match self.program.resolve(module, name) {
            Some(Definition::Item(item)) => Ok(Value::Function(Callee::Item(item))),
            Some(Definition::Builtin(builtin)) => Ok(match Dtype::from_name(builtin.name) {
                Some(dtype) => Value::Dtype(dtype),
                None => Value::Function(Callee::Builtin(builtin)),
            }),
            None => {
                let mut known: Vec<String> = self.program.visible_names(module).into_iter().map(String::from).collect();
                known.extend(self.frame().scopes.iter().flatten().map(|(local, _)| local.clone()));
                let near = closest(name, known.iter().map(String::as_str)).map(str::to_string);
                let mut diagnostic =
                    Diagnostic::error("BP0206", format!("nothing is called `{name}` here"), span, "unknown name");
                if let Some(near) = near {
                    diagnostic = diagnostic.with_help(format!("did you mean `{near}`?"));
                }
                Err(self.report(diagnostic))
            }
        }
    }

    fn field(&mut self, expr: &Expr, base: &Expr, field: &Name) -> Outcome<Value> {
        if let Some(path) = dotted(expr) {
            if let Some(value) = self.qualified(&path) {
                return Ok(value);
            }
            let mut full = self.frame().path.clone();
            full.extend(path.iter().map(|part| part.to_string()));
            if let Some(tensor) = self.model.parameter(&full.join(".")) {
                return Ok(Value::Tensor(tensor));
            }
            if path.iter().any(|part| part.starts_with(|first: char| first.is_ascii_digit())) {
                let title = format!("no parameter is called `{}` here", path.join("."));
                let mut diagnostic = Diagnostic::error("BP0211", title, expr.span, "no such parameter");
                let names = self.model.parameter_names();
                if let Some(near) = closest(&path.join("."), names.iter().map(String::as_str)) {
                    diagnostic = diagnostic.with_help(format!("did you mean `{near}`?"));
                }
                return Err(self.report(diagnostic));
            }
        }
        let value = self.expression(base)?;
        let ty = match &value {
            Value::Tensor(tensor) => Some(&tensor.ty),
            Value::Gone(ty, _) => Some(ty),
            Value::Poison => return Err(Reported),
            _ => None,
        };
        match (ty, field.text.as_str()) {
            (Some(ty), "shape") => Ok(Value::dims(&ty.shape)),
            (Some(ty), "dtype") => Ok(Value::Dtype(ty.dtype)),
            (Some(ty), "rank") => Ok(Value::Integer(ty.rank() as i64)),
            (Some(_), other) => {
                let mut diagnostic = Diagnostic::error(
                    "BP0211",
                    format!("a tensor has no `{other}`"),
                    field.span,
                    "there are `shape`, `dtype` and `rank`",
                );
                let names: Vec<String> = self.model.parameter_names();
                if let Some(path) = dotted(expr)
                    && let Some(near) = closest(&path.join("."), names.iter().map(String::as_str))
                {
                    diagnostic = diagnostic.with_help(format!("the parameter with the nearest name is `{near}`"));
                }
                Err(self.report(diagnostic))
            }
            (None, other) => {
                let title = format!("{} has no `{other}`", value.kind(&self.sizes));
                self.error("BP0211", title, field.span, "only tensors have fields")
            }
        }
    }

    /// What a dotted name means that begins with a module: `std.nn.dense`.
    fn qualified(&mut self, path: &[&str]) -> Option<Value> {
        let (name, module) = path.split_last()?;
        if self.frame().find(path[0]).is_some() {
            return None;
        }
        let module = self.program.module_named(&module.join("."))?;
        match self.program.resolve(module, name)? {
            Definition::Item(item) => Some(Value::Function(Callee::Item(item))),
            Definition::Builtin(builtin) => Some(Value::Function(Callee::Builtin(builtin))),
        }
    }
}

/// The local name under which a rule's frame holds the cotangent of a result.
pub(super) fn cotangent_key(result: &str) -> String {
    format!("grad {result}")
}

/// The segments of a chain of fields that begins with a name.
fn dotted(expr: &Expr) -> Option<Vec<&str>> {
    match &expr.kind {
        ExprKind::Name(name) => Some(vec![name]),
        ExprKind::Field(base, field) => {
            let mut path = dotted(base)?;
            path.push(&field.text);
            Some(path)
        }
        _ => None,
    }
}
