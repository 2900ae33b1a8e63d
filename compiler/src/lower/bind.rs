//! Arguments against parameters: keywords, defaults, dtype classes and dims.
//!
//! Expects: the callee's frame on top of the stack of frames, empty but for what a rule puts there.
//! Guarantees: afterwards every parameter and every dim of the signature is a name of that frame, and all of them
//! agree; a conflict names both places.
//! Leaves out: what the body does.

use super::context::{Lowering, Outcome};
use super::value::{Origin, Tensor, Value};
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::suggest::closest;
use bpc_lang::tree::{Dim, Expr, ExprKind, Name, Param, ParamKind, Span, Type};
use std::rc::Rc;

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

/// What a written type asks for.
enum Element {
    /// A tensor of one dtype.
    Dtype(Dtype),
    /// A tensor of a class of dtypes: `f` or `t`.
    Class(&'static str),
    /// A static value.
    Static(&'static str),
}

/// A size that is checked once all names are known.
struct Later<'e> {
    expr: &'e Expr,
    size: u64,
    span: Span,
    what: String,
}

const STATIC_TYPES: [&str; 8] = ["int", "real", "flag", "string", "dims", "dtype", "fn", "list"];

/// Whether a parameter takes a static value by its declaration.
pub(super) fn is_static(ty: &Type) -> bool {
    ty.shape.is_none() && STATIC_TYPES.contains(&ty.element.text.as_str())
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
    pub fn assign(&mut self, what: &str, names: &[&str], given: Vec<Given>, span: Span) -> Outcome<Vec<Option<Given>>> {
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
                        return Err(self.report(diagnostic));
                    }
                },
            };
            let Some(slot) = places.get_mut(place) else {
                let title = format!("`{what}` takes {}, and more are given", count(names.len(), "argument"));
                return self.error("BP0207", title, argument.span, "one too many");
            };
            if slot.is_some() {
                let title = format!("`{what}` is given `{}` twice", names[place]);
                return self.error("BP0207", title, argument.span, "the second time");
            }
            *slot = Some(argument);
        }
        let _ = span;
        Ok(places)
    }

    /// Binds arguments to the parameters of a declaration in the frame on top.
    pub fn bind(&mut self, what: &str, params: &[Param], given: Vec<Given>, span: Span) -> Outcome<()> {
        let names: Vec<&str> = params.iter().map(|param| param.name.text.as_str()).collect();
        let mut places = self.assign(what, &names, given, span)?;
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
                    let title = format!("{label} is a size, and this is {}", value.kind());
                    return self.error("BP0204", title, span, "expected a whole number");
                };
                if size < 0 {
                    let title = format!("{label} is a size and cannot be {size}");
                    return self.error("BP0204", title, span, "negative");
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
                        let title = format!("{label} is a tensor, and this is {}", other.kind());
                        return self.error("BP0204", title, span, "expected a tensor");
                    }
                },
            },
        }
        Ok(())
    }

    /// A static number as a tensor of a written type; dims that nothing has bound are left out.
    fn constant_of(&mut self, ty: &Type, value: &Value, span: Span) -> Outcome<Tensor> {
        let dtype = match self.element(&ty.element, false)? {
            Element::Dtype(dtype) => dtype,
            Element::Class("t") if matches!(value, Value::Integer(_)) && self.frame().find("t").is_none() => Dtype::I32,
            Element::Class("t") if matches!(value, Value::Flag(_)) && self.frame().find("t").is_none() => Dtype::Bool,
            Element::Class(class) => match self.frame().find(class) {
                Some(Value::Dtype(dtype)) => *dtype,
                _ => {
                    self.frame().define(class, Value::Dtype(Dtype::F32));
                    Dtype::F32
                }
            },
            Element::Static(_) => unreachable!("bug in bpc: a static type asked for a tensor"),
        };
        let literal = self.literal(value, dtype, span)?;
        if let Some(dims) = &ty.shape {
            for dim in dims {
                let name = match dim {
                    Dim::Rest(name, _) => name.as_ref().map_or("..", |name| name.text.as_str()),
                    Dim::Size(_) => continue,
                };
                if self.frame().find(name).is_none() {
                    self.frame().define(name, Value::List(Vec::new()));
                }
            }
        }
        let (shape, _) = self.shape_of(ty.shape.as_deref().unwrap_or(&[]))?;
        self.constant(literal, &shape, span)
    }

    fn element(&mut self, name: &Name, bare: bool) -> Outcome<Element> {
        if let Some(dtype) = Dtype::from_name(&name.text) {
            return Ok(Element::Dtype(dtype));
        }
        if bare && let Some(kind) = STATIC_TYPES.into_iter().find(|kind| *kind == name.text) {
            return Ok(Element::Static(kind));
        }
        match name.text.as_str() {
            "f" => Ok(Element::Class("f")),
            "t" => Ok(Element::Class("t")),
            other => {
                let known = Dtype::ALL.into_iter().map(Dtype::name).chain(["f", "t"]).chain(STATIC_TYPES);
                let near = closest(other, known);
                let mut diagnostic =
                    Diagnostic::error("BP0206", format!("there is no type `{other}`"), name.span, "unknown type");
                diagnostic = match near {
                    Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                    None => diagnostic
                        .with_note("dtypes are f32, f64, i32, i64, u32, bool; `f` is any float, `t` any dtype"),
                };
                Err(self.report(diagnostic))
            }
        }
    }

    fn static_of(&mut self, kind: &str, value: Value, span: Span, label: &str) -> Outcome<Value> {
        let fits = match (kind, &value) {
            ("int", Value::Integer(_))
            | ("real", Value::Real(_))
            | ("flag", Value::Flag(_))
            | ("string", Value::Text(_))
            | ("list", Value::List(_))
            | ("dtype", Value::Dtype(_))
            | ("fn", Value::Function(_)) => true,
            ("real", Value::Integer(number)) => return Ok(Value::Real(*number as f64)),
            ("dims", Value::List(values)) => values.iter().all(|value| matches!(value, Value::Integer(_))),
            ("dtype", Value::Function(super::value::Callee::Builtin(builtin))) => {
                match Dtype::from_name(builtin.name) {
                    Some(dtype) => return Ok(Value::Dtype(dtype)),
                    None => false,
                }
            }
            (_, Value::Poison) => return Err(super::context::Reported),
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        let wanted = match kind {
            "int" => "a whole number",
            "real" => "a number",
            "flag" => "true or false",
            "string" => "a string",
            "dims" => "a list of sizes",
            "list" => "a list",
            "dtype" => "a dtype",
            _ => "a function",
        };
        let got = match &value {
            Value::Tensor(tensor) => format!("a tensor {}", self.type_text(&tensor.ty)),
            other => other.kind(),
        };
        let mut diagnostic = Diagnostic::error(
            "BP0204",
            format!("{label} is {wanted}, and this is {got}"),
            span,
            format!("expected {wanted}"),
        );
        if matches!(value, Value::Tensor(_)) {
            diagnostic = diagnostic.with_note("it must be known when the program is compiled");
        }
        Err(self.report(diagnostic))
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
            Some(other) => {
                let title = format!("`{name}` is {}, and stands for a size here", other.kind());
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

    /// Checks the sums and products; one with a single unknown name gives that name its size.
    fn settle(&mut self, later: Vec<Later<'_>>) -> Outcome<()> {
        for item in later {
            let mut names = Vec::new();
            names_in(item.expr, &mut names);
            names.sort_unstable();
            names.dedup();
            names.retain(|name| self.frame().find(name).is_none());
            if let [name] = names[..] {
                let mut probe = |value: i64| -> Outcome<i64> {
                    self.frame().scopes.push(vec![(name.to_string(), Value::Integer(value))]);
                    let result = self.size(item.expr);
                    self.frame().scopes.pop();
                    result.map(|size| size as i64)
                };
                let (at_one, at_two) = (probe(1)?, probe(2)?);
                let slope = at_two - at_one;
                let rest = item.size as i64 - at_one + slope;
                if slope > 0 && rest >= 0 && rest % slope == 0 {
                    self.frame().define(name, Value::Integer(rest / slope));
                    self.frame().dims.insert(name.to_string(), item.span);
                } else {
                    let title = format!("no `{name}` gives {} a size of {}", item.what, self.sizes.text(item.size));
                    return Err(self.report(
                        Diagnostic::error("BP0201", title, item.span, "this size")
                            .with_label(item.expr.span, "must equal this"),
                    ));
                }
            }
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

    /// A size: a whole number that is not negative.
    pub fn size(&mut self, expr: &Expr) -> Outcome<u64> {
        match self.expression(expr)? {
            Value::Integer(size) if size >= 0 => Ok(size as u64),
            Value::Poison => Err(super::context::Reported),
            other => {
                let title = format!("a size is a whole number from 0 on, and this is {}", other.kind());
                self.error("BP0204", title, expr.span, "expected a size")
            }
        }
    }

    /// The sizes of a written shape whose names are all known, and where each comes from.
    pub fn shape_of(&mut self, dims: &[Dim]) -> Outcome<(Vec<u64>, Vec<Option<Rc<Origin>>>)> {
        let mut shape = Vec::new();
        let mut origins = Vec::new();
        for dim in dims {
            match dim {
                Dim::Rest(name, span) => {
                    let name = name.as_ref().map_or("..", |name| name.text.as_str());
                    let Some(Value::List(values)) = self.frame().find(name).cloned() else {
                        let title = format!("`{name}` stands for no dims here");
                        return self.error("BP0204", title, *span, "unknown dims");
                    };
                    for value in values {
                        let Value::Integer(size) = value else {
                            let title = format!("`{name}` holds {}, which is no size", value.kind());
                            return self.error("BP0204", title, *span, "expected sizes");
                        };
                        shape.push(size.max(0) as u64);
                        origins.push(Some(Rc::new(Origin { span: *span, text: name.to_string() })));
                    }
                }
                Dim::Size(expr) => {
                    shape.push(self.size(expr)?);
                    let span = expr.span;
                    let text = self.program.sources.text(span.file);
                    let text = text.get(span.start as usize..span.end as usize).unwrap_or("").to_string();
                    origins.push(Some(Rc::new(Origin { span, text })));
                }
            }
        }
        Ok((shape, origins))
    }

    /// The tensor type that a written type stands for in this frame.
    pub fn tensor_type(&mut self, ty: &Type) -> Outcome<(TensorType, Vec<Option<Rc<Origin>>>)> {
        let dtype = match self.element(&ty.element, ty.shape.is_none())? {
            Element::Dtype(dtype) => dtype,
            Element::Class(class) => match self.frame().find(class) {
                Some(Value::Dtype(dtype)) => *dtype,
                _ if class == "f" => Dtype::F32,
                _ => return self.error("BP0204", "`t` has no dtype here", ty.span, "write the dtype"),
            },
            Element::Static(kind) => {
                let title = format!("a tensor type is wanted, and `{kind}` is none");
                return self.error("BP0204", title, ty.span, "write a dtype and a shape, as in `f32[B, 3]`");
            }
        };
        let (shape, origins) = self.shape_of(ty.shape.as_deref().unwrap_or(&[]))?;
        Ok((TensorType { dtype, shape }, origins))
    }

    /// A value as a declared type wants it: a static number becomes a tensor, a tensor is checked.
    pub fn converted(&mut self, ty: &Type, value: Value, span: Span, label: &str) -> Outcome<Value> {
        match self.element(&ty.element, ty.shape.is_none())? {
            Element::Static(kind) => self.static_of(kind, value, span, label),
            _ => match value {
                Value::Tensor(tensor) => {
                    self.check_type(ty, &tensor.ty, span, label)?;
                    Ok(Value::Tensor(tensor))
                }
                value if value.is_scalar() => Ok(Value::Tensor(self.constant_of(ty, &value, span)?)),
                Value::Poison => Err(super::context::Reported),
                Value::Gone(_, why) => self.error("BP0406", why.to_string(), span, "not saved"),
                other => {
                    let title = format!("{label} is a tensor, and this is {}", other.kind());
                    self.error("BP0204", title, span, "expected a tensor")
                }
            },
        }
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
