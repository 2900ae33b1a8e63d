//! Calls: what is called, with what, under which rule; functions and layers are inlined.
//!
//! Expects: a frame on top of the stack of frames.
//! Guarantees: recursion is reported, never followed; a call under a rule becomes one `ruled` node around the plain value, or
//! the value of the rule if it has one.
//! Leaves out: binding of arguments (`bind`), primitives (`builtin`), elaboration of rules (`rule`).

use super::bind::Given;
use super::choose::Chosen;
use super::context::{Binding, Frame, FrameKind, Lowering, Outcome, Reported};
use super::types::is_static;
use super::value::{Callee, Value};
use bpc_lang::builtins::{self, Builtin};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{ItemId, Target};
use bpc_lang::tree::{Arg, Expr, Function, Item, ParamKind, RuleUse, Span, Statement};

/// Higher-order functions may stand inside themselves; nothing sensible is deeper.
const DEEPEST: usize = 64;

impl<'p> Lowering<'p> {
    /// `callee(args)`, `callee(args) via rule`.
    pub fn call(&mut self, callee: &Expr, args: &[Arg], via: Option<&RuleUse>, span: Span) -> Outcome<Value> {
        let function = self.expression(callee);
        let given = self.arguments(args);
        self.apply(function?, callee.span, given?, via, span)
    }

    /// Evaluates arguments in order; several may be wrong in one run.
    pub fn arguments(&mut self, args: &[Arg]) -> Outcome<Vec<Given>> {
        let values: Vec<Outcome<Given>> = args
            .iter()
            .map(|arg| {
                let value = self.expression(&arg.value)?;
                Ok(Given { name: arg.name.clone(), value, span: arg.value.span })
            })
            .collect();
        values.into_iter().collect()
    }

    /// Calls a value.
    pub fn apply(
        &mut self,
        function: Value,
        place: Span,
        given: Vec<Given>,
        via: Option<&RuleUse>,
        span: Span,
    ) -> Outcome<Value> {
        match function {
            Value::Dtype(dtype) => {
                let builtin = builtins::find(dtype.name()).expect("bug in bpc: a dtype without a cast");
                self.call_builtin(builtin, given, via, span)
            }
            Value::Function(Callee::Builtin(builtin)) => self.call_builtin(builtin, given, via, span),
            Value::Function(Callee::Step(index)) => self.call_step(index, given, span),
            Value::Function(Callee::Item(id)) => {
                let program = self.program;
                match program.item(id) {
                    Item::Function(function) => self.call_function(id, function, given, via, span),
                    Item::Layer(layer) => self.call_layer(id, layer, given, via, span),
                    other => {
                        let what = match other {
                            Item::Optimizer(_) => "an optimizer; it stands after `using`",
                            Item::Rule(_) => "a gradient rule; it stands after `via`",
                            _ => "a model",
                        };
                        self.error("BP0204", format!("this is {what}"), place, "cannot be called here")
                    }
                }
            }
            Value::Poison => Err(Reported),
            other => {
                let title = format!("{} cannot be called", other.kind(&self.sizes));
                self.error("BP0204", title, place, "expected a function")
            }
        }
    }

    fn call_builtin(
        &mut self,
        builtin: &'static Builtin,
        given: Vec<Given>,
        via: Option<&RuleUse>,
        span: Span,
    ) -> Outcome<Value> {
        let places = self.assign(builtin.name, builtin.parameters, given)?;
        if let Some(missing) = (0..builtin.required).find(|index| places[*index].is_none()) {
            let title = format!("`{}` is missing its argument `{}`", builtin.name, builtin.parameters[missing]);
            return self.error("BP0207", title, span, "not given");
        }
        for place in places.iter().flatten() {
            match &place.value {
                Value::Poison => return Err(Reported),
                Value::Gone(_, why) => {
                    let why = why.to_string();
                    return self.error("BP0406", why, place.span, "not saved");
                }
                _ => {}
            }
        }
        let chosen = self.choose_rule(Target::Primitive(builtin.name), builtin.name, via)?;
        let arguments: Vec<(&str, Option<Value>)> = builtin
            .parameters
            .iter()
            .zip(&places)
            .map(|(name, place)| (*name, place.as_ref().map(|given| given.value.clone())))
            .collect();
        let value = self.builtin(builtin, &places, span)?;
        match chosen {
            Some(chosen) => self.ruled(chosen, builtin.name, &arguments, value, span),
            None => Ok(value),
        }
    }

    /// Calls a function by its declaration.
    pub fn call_function(
        &mut self,
        id: ItemId,
        function: &Function,
        given: Vec<Given>,
        via: Option<&RuleUse>,
        span: Span,
    ) -> Outcome<Value> {
        let name = function.name.text.as_str();
        let chosen = self.choose_rule(Target::Item(id), name, via)?;
        let path = self.frames.last().map_or_else(Vec::new, Frame::site);
        let (replacement, chosen) = match chosen {
            Some(chosen) if chosen.rule.replaces() => (Some(chosen), None),
            chosen => (None, chosen),
        };
        let (value, bound) = self.inline((id, function), FrameKind::Function, path, given, replacement, span)?;
        match chosen {
            Some(chosen) => {
                let arguments: Vec<(&str, Option<Value>)> = function
                    .params
                    .iter()
                    .map(|param| param.name.text.as_str())
                    .zip(bound.into_iter().map(Some))
                    .collect();
                self.ruled(chosen, name, &arguments, value, span)
            }
            None => Ok(value),
        }
    }

    fn call_layer(
        &mut self,
        id: ItemId,
        layer: &Function,
        given: Vec<Given>,
        via: Option<&RuleUse>,
        span: Span,
    ) -> Outcome<Value> {
        let name = layer.name.text.as_str();
        if let Some(rule) = via {
            let title = format!("`{name}` is a layer, and rules are for functions");
            return self.error("BP0404", title, rule.span, "no rule can be chosen here");
        }
        let frame = self.frame();
        if !matches!(frame.kind, FrameKind::Layer | FrameKind::Model) {
            return Err(self.report(
                Diagnostic::error(
                    "BP0303",
                    format!("the layer `{name}` is called where no parameters can live"),
                    span,
                    "here",
                )
                .with_help("make the declaration around it a `layer`"),
            ));
        }
        let mut path = frame.path.clone();
        match &frame.binding {
            Binding::Named(binding) => path.push(binding.clone()),
            Binding::Prefix => {}
            Binding::None => path.push(name.to_string()),
        }
        let key = path.join(".");
        if let Some(earlier) = self.model.layers.insert(key.clone(), span) {
            return Err(self.report(
                Diagnostic::error("BP0304", format!("two layers are called `{key}`"), span, "the second one")
                    .with_label(earlier, "the first one")
                    .with_help(format!("bind one of them by a `let` of its own: `let other = {name}(..)`")),
            ));
        }
        self.inline((id, layer), FrameKind::Layer, path, given, None, span).map(|(value, _)| value)
    }

    /// Elaborates a body at the place of its call, or that of a rule which replaces it; gives its value and the values of the
    /// parameters.
    pub(super) fn inline(
        &mut self,
        (id, function): (ItemId, &Function),
        kind: FrameKind,
        path: Vec<String>,
        given: Vec<Given>,
        replacement: Option<Chosen<'p>>,
        span: Span,
    ) -> Outcome<(Value, Vec<Value>)> {
        let name = function.name.text.as_str();
        self.no_recursion(id, function, span)?;
        self.frames.push(Frame::new(id.module, kind, path));
        let bound = self.bind(name, &function.params, given, span);
        self.calls.push((span, name.to_string(), id));
        let result = bound.and_then(|()| {
            let values: Vec<Value> = function
                .params
                .iter()
                .map(|param| self.frame().find(&param.name.text).cloned().unwrap_or(Value::Poison))
                .collect();
            let value = match &replacement {
                Some(chosen) => self.replacement(chosen, function, &values, span)?,
                None => self.body(function)?,
            };
            Ok((value, values))
        });
        self.calls.pop();
        self.frames.pop();
        result
    }

    fn no_recursion(&mut self, id: ItemId, function: &Function, span: Span) -> Outcome<()> {
        let takes_functions =
            function.params.iter().any(|param| matches!(&param.kind, ParamKind::Typed(ty) if ty.element.text == "fn"));
        let Some(first) = self.calls.iter().position(|(_, _, active)| *active == id) else { return Ok(()) };
        if takes_functions && self.calls.len() < DEEPEST {
            return Ok(());
        }
        let chain: Vec<String> = self.calls[first..].iter().map(|(_, name, _)| format!("`{name}`")).collect();
        let name = &function.name.text;
        Err(self.report(
            Diagnostic::error("BP0302", format!("`{name}` calls itself"), span, "recursion")
                .with_label(function.name.span, "declared here")
                .with_note(format!("the calls are {} -> `{name}`", chain.join(" -> ")))
                .with_help("repeat by `repeat` or `scan`"),
        ))
    }

    /// The value of a function's body, as its declared result type wants it. Where doubtful sizes have spoilt it, a tensor of
    /// that type stands for it, so that the caller is still checked.
    pub fn body(&mut self, function: &Function) -> Outcome<Value> {
        match (self.value_of_body(function), &function.result[..]) {
            (Err(_), [ty]) if self.sizes_doubted && !is_static(ty) => {
                Ok(Value::Tensor(self.constant_of(ty, &Value::Integer(0), function.body.span)?))
            }
            (result, _) => result,
        }
    }

    fn value_of_body(&mut self, function: &Function) -> Outcome<Value> {
        let name = &function.name.text;
        let Some(value) = self.statements(&function.body.statements)? else {
            let title = format!("`{name}` has no value");
            return self.error("BP0306", title, function.body.span, "its last line should be an expression");
        };
        let place = match function.body.statements.last() {
            Some(Statement::Result { value, .. }) => value.span,
            Some(Statement::If { span, .. }) => *span,
            _ => function.body.span,
        };
        self.as_result(function, value, place)
    }

    /// A value as the declared result type of a function wants it.
    pub fn as_result(&mut self, function: &Function, value: Value, place: Span) -> Outcome<Value> {
        let name = &function.name.text;
        let label = format!("the result of `{name}`");
        match (&function.result[..], value) {
            ([], value) => Ok(value),
            ([ty], value) => self.converted(ty, value, place, &label),
            (types, Value::Tuple(values)) if types.len() == values.len() => {
                let mut parts = Vec::new();
                for (ty, value) in types.iter().zip(values) {
                    parts.push(self.converted(ty, value, place, &label)?);
                }
                Ok(Value::Tuple(parts))
            }
            (types, value) => {
                let title = format!("`{name}` gives {} results, and this is {}", types.len(), value.kind(&self.sizes));
                self.error("BP0202", title, place, format!("expected a tuple of {}", types.len()))
            }
        }
    }
}
