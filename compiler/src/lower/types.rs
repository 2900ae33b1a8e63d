//! Written types in a frame whose names are known: sizes, tensor types, static kinds.
//!
//! Expects: the frame of the declaration on top of the stack of frames.
//! Guarantees: a value that does not fit is reported with what was wanted.
//! Leaves out: types that bind names (`bind`).

use super::context::{Lowering, Outcome};
use super::value::{Origin, Origins, Tensor, Value};
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::suggest::closest;
use bpc_lang::tree::{Dim, Expr, ExprKind, Name, Span, Type};
use std::rc::Rc;

/// What a written type asks for.
pub(super) enum Element {
    /// A tensor of one dtype.
    Dtype(Dtype),
    /// A tensor of a class of dtypes: `f` or `t`.
    Class(&'static str),
    /// A static value.
    Static(&'static str),
}

const STATIC_TYPES: [&str; 8] = ["int", "real", "flag", "string", "dims", "dtype", "fn", "list"];

/// Whether a parameter takes a static value by its declaration.
pub(super) fn is_static(ty: &Type) -> bool {
    ty.shape.is_none() && STATIC_TYPES.contains(&ty.element.text.as_str())
}

impl Lowering<'_> {
    /// A static number as a tensor of a written type; dims that nothing has bound are left out.
    pub fn constant_of(&mut self, ty: &Type, value: &Value, span: Span) -> Outcome<Tensor> {
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

    pub fn element(&mut self, name: &Name, bare: bool) -> Outcome<Element> {
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

    pub fn static_of(&mut self, kind: &str, value: Value, span: Span, label: &str) -> Outcome<Value> {
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
            other => other.kind(&self.sizes),
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

    /// A size: a whole number that is not negative.
    pub fn size(&mut self, expr: &Expr) -> Outcome<u64> {
        match self.expression(expr)? {
            Value::Integer(size) if size >= 0 => Ok(size as u64),
            Value::Integer(size) => self.error("BP0212", format!("a size cannot be {size}"), expr.span, "negative"),
            Value::Poison => Err(super::context::Reported),
            other => {
                let title = format!("a size is a whole number from 0 on, and this is {}", other.kind(&self.sizes));
                self.error("BP0204", title, expr.span, "expected a size")
            }
        }
    }

    /// Where a size comes from: for a dim in the text of the library, the short argument of the user that gives it.
    fn origin(&mut self, expr: &Expr) -> Origin {
        let written = |span: Span| {
            let text = self.program.sources.text(span.file);
            text.get(span.start as usize..span.end as usize).unwrap_or("").to_string()
        };
        let own = Origin { span: expr.span, text: written(expr.span) };
        let ExprKind::Name(name) = &expr.kind else { return own };
        let argument = self.frames.last().and_then(|frame| frame.dims.get(name)).copied();
        match argument.map(|span| Origin { span, text: written(span) }) {
            Some(given)
                if self.in_library(own.span)
                    && !self.in_library(given.span)
                    && given.text.len() <= 40
                    && !given.text.contains('\n') =>
            {
                given
            }
            _ => own,
        }
    }

    /// The sizes of a written shape whose names are all known, and where each comes from.
    pub fn shape_of(&mut self, dims: &[Dim]) -> Outcome<(Vec<u64>, Origins)> {
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
                            let title = format!("`{name}` holds {}, which is no size", value.kind(&self.sizes));
                            return self.error("BP0204", title, *span, "expected sizes");
                        };
                        shape.push(size.max(0) as u64);
                        origins.push(Some(Rc::new(Origin { span: *span, text: name.to_string() })));
                    }
                }
                Dim::Size(expr) => {
                    shape.push(self.size(expr)?);
                    origins.push(Some(Rc::new(self.origin(expr))));
                }
            }
        }
        Ok((shape, origins))
    }

    /// The tensor type that a written type stands for in this frame.
    pub fn tensor_type(&mut self, ty: &Type) -> Outcome<(TensorType, Origins)> {
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
        let tensor_type = TensorType { dtype, shape };
        if !tensor_type.is_addressable() {
            let title = format!("{} is too large: it has more than 2^48 bytes", self.type_text(&tensor_type));
            return self.error("BP0208", title, ty.span, "here");
        }
        Ok((tensor_type, origins))
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
                    let title = format!("{label} is a tensor, and this is {}", other.kind(&self.sizes));
                    self.error("BP0204", title, span, "expected a tensor")
                }
            },
        }
    }
}
