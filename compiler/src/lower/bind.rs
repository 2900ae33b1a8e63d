//! Arguments against parameters: keywords, defaults, dtype classes and dims.
//!
//! Expects: the callee's frame on top of the stack of frames, empty but for what a rule puts there.
//! Guarantees: afterwards every parameter and every dim of the signature is a name of that frame, and all of them
//! agree; a conflict names both places.
//! Leaves out: what the body does.

use super::context::{Lowering, Outcome};
use super::types::{Element, is_static};
use super::value::Value;
use crate::ir::types::TensorType;
use bpc_lang::builtins;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::suggest::closest;
use bpc_lang::tree::{Dim, Expr, ExprKind, Name, Param, ParamKind, Span, Type};

/// An argument as the caller gives it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Its keyword.
    pub name: Option<Name>,
    /// Its value.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

/// A size that is checked once all names are known.
struct Later<'e> {
    expr: &'e Expr,
    size: u64,
    span: Span,
    what: String,
}

/// The names that stand in an expression over sizes.
pub(super) fn names_in<'e>(expr: &'e Expr, names: &mut Vec<&'e str>) {
    match &expr.kind {
        ExprKind::Name(name) => names.push(name),
        ExprKind::Unary(_, inner) | ExprKind::Field(inner, _) => names_in(inner, names),
        ExprKind::Binary(_, left, right) => {
            names_in(left, names);
            names_in(right, names);
        }
        ExprKind::Call(_, args) => args.iter().for_each(|arg| names_in(&arg.value, names)),
        _ => {}
    }
}

impl Lowering<'_> {
    /// Sorts arguments into the places of parameters.
    pub fn assign(&mut self, what: &str, names: &[&str], given: Vec<Given>) -> Outcome<Vec<Option<Given>>> {
        let mut places: Vec<Option<Given>> = names.iter().map(|_| None).collect();
        for (position, argument) in given.into_iter().enumerate() {
            let place = match &argument.name {
                None => position,
                Some(name) => match names.iter().position(|known| *known == name.text) {
                    Some(place) => place,
                    None => {
                        let mut diagnostic = Diagnostic::error(
                            "BP0207",
                            format!("`{what}` has no parameter `{}`", name.text),
                            name.span,
                            "unknown keyword",
                        );
                        diagnostic = match closest(&name.text, names.iter().copied()) {
                            Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                            None => diagnostic.with_note(format!("its parameters are: {}", names.join(", "))),
                        };
                        return Err(self.report(with_cast(diagnostic, what, &argument.value)));
                    }
                },
            };
            let Some(slot) = places.get_mut(place) else {
                let title = format!("`{what}` takes {}, and more are given", count(names.len(), "argument"));
                let mut diagnostic = Diagnostic::error("BP0207", title, argument.span, "one too many");
                if !names.is_empty() {
                    diagnostic = diagnostic.with_note(format!("its parameters are: {}", names.join(", ")));
                }
                return Err(self.report(with_cast(diagnostic, what, &argument.value)));
            };
            if slot.is_some() {
                let title = format!("`{what}` is given `{}` twice", names[place]);
                return self.error("BP0207", title, argument.span, "the second time");
            }
            *slot = Some(argument);
        }
        Ok(places)
    }

    /// Binds arguments to the parameters of a declaration in the frame on top.
    pub fn bind(&mut self, what: &str, params: &[Param], given: Vec<Given>, span: Span) -> Outcome<()> {
        let names: Vec<&str> = params.iter().map(|param| param.name.text.as_str()).collect();
        let mut places = self.assign(what, &names, given)?;
        let mut later = Vec::new();
        let mut constants = Vec::new();
        let mut failed = None;
        for (param, place) in params.iter().zip(&places) {
            if place.is_none() && param.default.is_none() {
                let title = format!("`{what}` is missing its argument `{}`", param.name.text);
                failed = Some(
                    self.report(
                        Diagnostic::error("BP0207", title, span, format!("`{}` is not given", param.name.text))
                            .with_label(param.name.span, "declared here"),
                    ),
                );
            }
        }
        if let Some(reported) = failed {
            return Err(reported);
        }
        // Static values first, since types may use them; then tensors, which bind dims; then defaults, which may use both.
        for tensors in [false, true] {
            for (param, place) in params.iter().zip(&mut places) {
                let wants_tensor = matches!(&param.kind, ParamKind::Typed(ty) if !is_static(ty));
                if wants_tensor == tensors
                    && let Some(argument) = place.take()
                {
                    self.bind_one(what, param, argument.value, argument.span, &mut later, &mut constants)?;
                }
            }
        }
        for param in params {
            if self.frame().find(&param.name.text).is_some() || constants.iter().any(|(known, ..)| *known == param) {
                continue;
            }
            let default = param.default.as_ref().expect("bug in bpc: a missing argument went unseen");
            let value = self.expression(default)?;
            self.bind_one(what, param, value, default.span, &mut later, &mut constants)?;
        }
        self.settle(later)?;
        for (param, value, span) in constants {
            let ParamKind::Typed(ty) = &param.kind else { continue };
            let tensor = self.constant_of(ty, &value, span)?;
            self.frame().define(&param.name.text, Value::Tensor(tensor));
        }
        Ok(())
    }

    fn bind_one<'e>(
        &mut self,
        what: &str,
        param: &'e Param,
        value: Value,
        span: Span,
        later: &mut Vec<Later<'e>>,
        constants: &mut Vec<(&'e Param, Value, Span)>,
    ) -> Outcome<()> {
        let name = &param.name.text;
        let label = format!("`{name}` of `{what}`");
        if let Value::Gone(_, why) = &value
            && !matches!(self.frame().kind, super::context::FrameKind::Rule)
        {
            let why = why.to_string();
            return self.error("BP0406", why, span, "not saved");
        }
        match &param.kind {
            ParamKind::Untyped => self.frame().define(name, value),
            ParamKind::Dim(dim) => {
                let Value::Integer(size) = value else {
                    let title = format!("{label} is a size, and this is {}", value.kind(&self.sizes));
                    return self.error("BP0204", title, span, "expected a whole number");
                };
                if size < 0 {
                    let title = format!("{label} is a size and cannot be {size}");
                    return self.error("BP0212", title, span, "negative");
                }
                match self.frame().find(&dim.text).cloned() {
                    Some(Value::Integer(known)) if known != size => {
                        let earlier = self.frame().dims.get(&dim.text).copied();
                        let (known, size) = (self.sizes.text(known as u64), self.sizes.text(size as u64));
                        return Err(self.conflict(&dim.text, &known, earlier, &size, span));
                    }
                    Some(_) => {}
                    None => {
                        self.frame().define(&dim.text, Value::Integer(size));
                        self.frame().dims.insert(dim.text.clone(), span);
                    }
                }
                if name != &dim.text {
                    self.frame().define(name, Value::Integer(size));
                }
            }
            ParamKind::Typed(ty) => match self.element(&ty.element, ty.shape.is_none())? {
                Element::Static(kind) => {
                    let value = self.static_of(kind, value, span, &label)?;
                    self.frame().define(name, value);
                }
                _ => match value {
                    Value::Tensor(tensor) => {
                        self.unify(ty, &tensor.ty, span, &label, later)?;
                        self.frame().define(name, Value::Tensor(tensor));
                    }
                    Value::Gone(actual, why) => {
                        self.unify(ty, &actual, span, &label, later)?;
                        self.frame().define(name, Value::Gone(actual, why));
                    }
                    value if value.is_scalar() => constants.push((param, value, span)),
                    Value::Poison => return Err(super::context::Reported),
                    other => {
                        let title = format!("{label} is a tensor, and this is {}", other.kind(&self.sizes));
                        return self.error("BP0204", title, span, "expected a tensor");
                    }
                },
            },
        }
        Ok(())
    }

    /// Checks a tensor type against a written type and binds what is free in it.
    pub fn check_type(&mut self, ty: &Type, actual: &TensorType, span: Span, label: &str) -> Outcome<()> {
        let mut later = Vec::new();
        self.unify(ty, actual, span, label, &mut later)?;
        self.settle(later)
    }

    fn unify<'e>(
        &mut self,
        ty: &'e Type,
        actual: &TensorType,
        span: Span,
        label: &str,
        later: &mut Vec<Later<'e>>,
    ) -> Outcome<()> {
        self.unify_dtype(ty, actual, span, label)?;
        let dims = ty.shape.as_deref().unwrap_or(&[]);
        let rest = dims.iter().position(|dim| matches!(dim, Dim::Rest(..)));
        let fixed = dims.iter().filter(|dim| matches!(dim, Dim::Size(_))).count();
        let spare = actual.rank().checked_sub(fixed);
        if spare.is_none() || (rest.is_none() && spare != Some(0)) {
            let least = if rest.is_some() { " or more" } else { "" };
            let title = format!("{label} has {}{least}, and this is {}", count(fixed, "axis"), self.type_text(actual));
            let got = format!("this has {}", count(actual.rank(), "axis"));
            return Err(self.report(Diagnostic::error("BP0202", title, span, got).with_label(ty.span, "declared here")));
        }
        let mut axis = 0;
        for dim in dims {
            match dim {
                Dim::Rest(name, dim_span) => {
                    let width = spare.unwrap_or(0);
                    let sizes = &actual.shape[axis..axis + width];
                    axis += width;
                    self.unify_rest(name.as_ref().map_or("..", |name| &name.text), sizes, *dim_span, span, label)?;
                }
                Dim::Size(expr) => {
                    let size = actual.shape[axis];
                    axis += 1;
                    self.unify_size(expr, size, span, label, later)?;
                }
            }
        }
        Ok(())
    }

    fn unify_dtype(&mut self, ty: &Type, actual: &TensorType, span: Span, label: &str) -> Outcome<()> {
        let wanted = match self.element(&ty.element, false)? {
            Element::Dtype(dtype) => Some(dtype),
            Element::Class(class) => match self.frame().find(class) {
                Some(Value::Dtype(dtype)) => Some(*dtype),
                _ if class == "f" && !actual.dtype.is_float() => {
                    let title = format!("{label} is a float tensor, and this is {}", self.type_text(actual));
                    return Err(self.report(
                        Diagnostic::error("BP0203", title, span, format!("dtype {}", actual.dtype))
                            .with_label(ty.span, "declared here")
                            .with_help("cast it, as in `f32(x)`"),
                    ));
                }
                _ => {
                    self.frame().define(class, Value::Dtype(actual.dtype));
                    None
                }
            },
            Element::Static(_) => None,
        };
        match wanted {
            Some(wanted) if wanted != actual.dtype => {
                let title = format!("{label} has dtype {wanted}, and this is {}", self.type_text(actual));
                Err(self.report(
                    Diagnostic::error("BP0203", title, span, format!("dtype {}", actual.dtype))
                        .with_label(ty.span, "declared here")
                        .with_help(format!("cast it, as in `{wanted}(x)`")),
                ))
            }
            _ => Ok(()),
        }
    }

    fn unify_rest(&mut self, name: &str, sizes: &[u64], dim: Span, span: Span, label: &str) -> Outcome<()> {
        match self.frame().find(name).cloned() {
            None => {
                self.frame().define(name, Value::dims(sizes));
                self.frame().dims.insert(name.to_string(), span);
                Ok(())
            }
            Some(known) => {
                if super::value::equal(&known, &Value::dims(sizes)) == Some(true) {
                    return Ok(());
                }
                let text = |lowering: &Self, sizes: &[u64]| {
                    let parts: Vec<String> = sizes.iter().map(|size| lowering.sizes.text(*size)).collect();
                    format!("[{}]", parts.join(", "))
                };
                let known: Vec<u64> = match &known {
                    Value::List(values) => values
                        .iter()
                        .filter_map(|v| if let Value::Integer(n) = v { Some(*n as u64) } else { None })
                        .collect(),
                    _ => Vec::new(),
                };
                let (here, there) = (text(self, sizes), text(self, &known));
                let title = format!("the leading axes of {label} are {here}, and elsewhere they are {there}");
                let mut diagnostic = Diagnostic::error("BP0201", title, span, format!("leading axes {here}"))
                    .with_label(dim, "must be the same wherever it stands");
                if let Some(earlier) = self.frame().dims.get(name).copied()
                    && earlier != span
                {
                    diagnostic = diagnostic.with_label(earlier, format!("leading axes {there}"));
                }
                Err(self.report(diagnostic))
            }
        }
    }

    fn unify_size<'e>(
        &mut self,
        expr: &'e Expr,
        size: u64,
        span: Span,
        label: &str,
        later: &mut Vec<Later<'e>>,
    ) -> Outcome<()> {
        let ExprKind::Name(name) = &expr.kind else {
            later.push(Later { expr, size, span, what: label.to_string() });
            return Ok(());
        };
        match self.frame().find(name).cloned() {
            None => {
                self.frame().define(name, Value::Integer(size as i64));
                self.frame().dims.insert(name.clone(), span);
                Ok(())
            }
            Some(Value::Integer(known)) if known == size as i64 => Ok(()),
            Some(Value::Integer(known)) => {
                let (known, size) = (self.sizes.text(known as u64), self.sizes.text(size));
                let earlier = self.frame().dims.get(name).copied();
                Err(self.conflict(name, &known, earlier, &size, span))
            }
            Some(Value::Poison) => Err(super::context::Reported),
            Some(other) => {
                let title = format!("`{name}` is {}, and stands for a size here", other.kind(&self.sizes));
                self.error("BP0204", title, expr.span, "expected a size")
            }
        }
    }

    fn conflict(
        &mut self,
        dim: &str,
        known: &str,
        earlier: Option<Span>,
        size: &str,
        span: Span,
    ) -> super::context::Reported {
        let title = format!("`{dim}` is {known} and {size} at once");
        let mut diagnostic = Diagnostic::error("BP0201", title, span, format!("`{dim}` is {size} here"));
        match earlier {
            Some(earlier) if earlier != span => {
                diagnostic = diagnostic.with_label(earlier, format!("`{dim}` is {known} here"));
            }
            _ => diagnostic = diagnostic.with_note(format!("`{dim}` was {known} before")),
        }
        self.report(diagnostic)
    }

    /// Checks the sums and products.
    fn settle(&mut self, later: Vec<Later<'_>>) -> Outcome<()> {
        for item in later {
            let wanted = self.size(item.expr)?;
            if wanted != item.size {
                let (wanted, size) = (self.sizes.text(wanted), self.sizes.text(item.size));
                let title = format!("an axis of {} has size {size} and should have {wanted}", item.what);
                return Err(self.report(
                    Diagnostic::error("BP0201", title, item.span, format!("size {size} here"))
                        .with_label(item.expr.span, format!("this is {wanted}")),
                ));
            }
        }
        Ok(())
    }
}

/// `3 arguments`, `1 axis`.
pub(super) fn count(number: usize, noun: &str) -> String {
    match (number, noun) {
        (1, noun) => format!("1 {noun}"),
        (number, "axis") => format!("{number} axes"),
        (number, noun) => format!("{number} {noun}s"),
    }
}

/// How the value of a primitive that was given a dtype too much comes to have it.
fn with_cast(diagnostic: Diagnostic, what: &str, value: &Value) -> Diagnostic {
    match value {
        Value::Dtype(dtype) if builtins::find(what).is_some() => {
            diagnostic.with_help(format!("to have it in {dtype}, cast the value: `{dtype}({what}(..))`"))
        }
        _ => diagnostic,
    }
}
