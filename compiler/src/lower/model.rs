//! What models and layers declare: inputs, parameters, states, outputs, scopes of rules.
//!
//! Expects: the frame of a model, layer or optimizer on top.
//! Guarantees: names are unique; every parameter and state has a graph that makes its first value.
//! Leaves out: training (`minimize`, `optimizer`).

use super::bind::names_in;
use super::context::{Binding, Clock, FrameKind, Lowering, Outcome};
use super::setting::Setting;
use super::value::{Callee, Tensor, Value};
use crate::ir::graph::{Graph, InputRole, OutputRole};
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{Definition, ModuleId};
use bpc_lang::tree::{Dim, Expr, ExprKind, GradChoice, Name, Selector, Span, Type};
use std::collections::{BTreeMap, BTreeSet};

/// A parameter of a model.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name: the path of layers, then its own (`hidden.weight`).
    pub name: String,
    /// Its type, as it is stored.
    pub ty: TensorType,
    /// Makes its first value: inputs `seed` and `step`, result `value`.
    pub init: Graph,
    /// What stands after `in`: the constraint that makes the value from what is stored.
    pub constraint: Option<String>,
    /// Whether a `minimize` changes it.
    pub trained: bool,
    /// Its `param` line.
    pub span: Span,
}

/// State that an optimizer keeps for a parameter.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name: parameter, optimizer, state (`hidden.weight.adam.m`).
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// Makes its first value: inputs `seed` and `step`, result `value`.
    pub init: Graph,
    /// Its `state` line.
    pub span: Span,
}

/// An input of a model.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// Its dims as they are written.
    pub dims: Vec<String>,
    /// Its `in` line.
    pub span: Span,
}

/// What an output is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A `minimize` line asked for it.
    Loss,
    /// An `out` line.
    Value,
}

/// What a step reports.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name: of the `out` line, or `loss`.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// What it is for.
    pub kind: OutputKind,
    /// Its line.
    pub span: Span,
}

/// A `warn` line whose condition is known when a step runs.
#[derive(Clone, Debug)]
pub struct Warning {
    /// The name of its condition among the results of the graph.
    pub name: String,
    /// Where it stands: the path of layers and bindings.
    pub site: String,
    /// What to say where the condition holds.
    pub message: String,
}

/// A random place, or a call under a rule.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name: the path of layers and bindings.
    pub path: String,
    /// The function or primitive that is called.
    pub function: String,
    /// The rule with its arguments, for a call under a rule.
    pub rule: Option<String>,
    /// The class of functions that this rule says it is exact for, with these arguments.
    pub exact_for: Option<String>,
    /// Whether that rule gives the value of the call.
    pub replaced: bool,
    /// What is drawn, for a random place.
    pub random: Option<TensorType>,
    /// Whether its numbers come from outside.
    pub forced: bool,
    /// The call.
    pub span: Span,
}

/// A rule chosen for a part of the model.
pub(super) struct Scope {
    pub choice: GradChoice,
    pub module: ModuleId,
    pub used: bool,
}

/// A `minimize` line, until the end of the model.
pub(super) struct Goal {
    pub name: String,
    pub loss: Tensor,
    /// What an optimizer of all parameters at once makes small, as a vector.
    pub residual: Option<Tensor>,
    pub over: Vec<Selector>,
    pub optimizer: super::optimizer::Chosen,
    pub span: Span,
}

/// What a model has declared so far.
#[derive(Default)]
pub(super) struct ModelState {
    pub inputs: Vec<Input>,
    pub parameters: Vec<(Parameter, Tensor)>,
    pub states: Vec<State>,
    pub outputs: Vec<Output>,
    pub warnings: Vec<Warning>,
    pub sites: Vec<Site>,
    /// Paths of layers and repeats, and where they stand.
    pub layers: BTreeMap<String, Span>,
    pub scopes: Vec<Scope>,
    pub goals: Vec<Goal>,
    /// Names of random places.
    pub random: BTreeSet<String>,
    /// Whether sites are those of the model, not of an initialiser.
    pub recording: bool,
    /// Names of `--set` that something read.
    pub used_settings: BTreeSet<String>,
    /// Which overrides matched a call.
    pub used_overrides: BTreeSet<usize>,
}

impl ModelState {
    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<Tensor> {
        self.parameters.iter().find(|(parameter, _)| parameter.name == name).map(|(_, tensor)| tensor.clone())
    }

    /// All names of parameters.
    pub fn parameter_names(&self) -> Vec<String> {
        self.parameters.iter().map(|(parameter, _)| parameter.name.clone()).collect()
    }

    /// A name for a random place that no other has.
    pub fn random_name(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        let mut number = 2;
        while !self.random.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }
}

impl Lowering<'_> {
    /// `in image: f32[B, 64]`.
    pub fn input(&mut self, name: &Name, ty: &Type, span: Span) -> Outcome<Value> {
        self.free_dims(ty)?;
        let (tensor_type, origins) = self.tensor_type(ty)?;
        self.refuse_taken(&name.text, name.span)?;
        let dims = ty.shape.iter().flatten().map(|dim| self.dim_text(dim)).collect();
        self.model.inputs.push(Input { name: name.text.clone(), ty: tensor_type.clone(), dims, span });
        let provenance = self.provenance(span);
        let node = self.building[0].region.input(InputRole::Data, &name.text, tensor_type, provenance);
        Ok(Value::Tensor(Lowering::with_origins(self.tensor_at(0, node), origins)))
    }

    /// Refuses a name that an input, parameter or state has already: they are told apart by their names.
    pub fn refuse_taken(&mut self, name: &str, span: Span) -> Outcome<()> {
        // A layer that is checked where it is written has no path yet.
        let of_model = self.frames.first().is_some_and(|frame| matches!(frame.kind, FrameKind::Model));
        if of_model && Clock::ALL.iter().any(|clock| clock.name() == name) {
            let title = format!("`{name}` is the name of a number that every program keeps");
            let help = format!(
                "choose another name, such as `{name}_value`; the number of the step is `step()`, and the seed is given by `--seed`"
            );
            return Err(self.report(Diagnostic::error("BP0304", title, span, "already taken").with_help(help)));
        }
        let model = &self.model;
        let inputs = model.inputs.iter().map(|input| (&input.name, input.span, "an input"));
        let parameters = model.parameters.iter().map(|(parameter, _)| (&parameter.name, parameter.span, "a parameter"));
        let states = model.states.iter().map(|state| (&state.name, state.span, "a state"));
        let Some((_, earlier, what)) = inputs.chain(parameters).chain(states).find(|(known, ..)| *known == name) else {
            return Ok(());
        };
        Err(self.report(
            Diagnostic::error("BP0304", format!("`{name}` is the name of {what} already"), span, "the second one")
                .with_label(earlier, "the first one")
                .with_help("rename one of them"),
        ))
    }

    fn dim_text(&self, dim: &Dim) -> String {
        self.text_of(match dim {
            Dim::Rest(_, span) => *span,
            Dim::Size(expr) => expr.span,
        })
    }

    /// What stands at a place.
    pub fn text_of(&self, span: Span) -> String {
        let text = self.program.sources.text(span.file);
        text.get(span.start as usize..span.end as usize).unwrap_or("").to_string()
    }

    /// Gives the unknown names of an input's dims their sizes: from outside, or representatives.
    fn free_dims(&mut self, ty: &Type) -> Outcome<()> {
        let mut outcome = Ok(());
        for dim in ty.shape.iter().flatten() {
            let expr = match dim {
                Dim::Size(expr) => expr,
                Dim::Rest(_, span) => {
                    return self.error("BP0305", "the dims of an input have names", *span, "`..` cannot be solved");
                }
            };
            let mut names = Vec::new();
            names_in(expr, &mut names);
            for name in names {
                if self.frame().find(name).is_some() {
                    continue;
                }
                let size = match self.options.settings.get(name) {
                    Some(Setting::Integer(size)) if *size >= 0 => *size,
                    Some(value) => {
                        let title = format!("the dim `{name}` cannot be {value}");
                        return self.error("BP0305", title, expr.span, "set to what is no whole number from 0 on");
                    }
                    None if self.sizes.in_use() => self.sizes.representative(name) as i64,
                    None => {
                        outcome = Err(self.report(
                            Diagnostic::error(
                                "BP0305",
                                format!("the dim `{name}` has no size"),
                                expr.span,
                                "nothing says how large",
                            )
                            .with_help(format!("give it by the data, or by `--set {name}=128`")),
                        ));
                        // Said once; what uses it has no value either.
                        self.frame().define(name, Value::Poison);
                        continue;
                    }
                };
                self.model.used_settings.insert(name.to_string());
                self.frame().define(name, Value::Integer(size));
            }
        }
        outcome
    }

    /// `param weight: f[O, I] ~ kaiming_uniform(fan_in = I)`, `param mass: f64[] in positive ~ ones`. Under a constraint, what
    /// is stored and trained has the type that the constraint's inverse gives.
    pub fn param(
        &mut self,
        name: &Name,
        ty: &Type,
        constraint: Option<&Expr>,
        init: Option<&Expr>,
        span: Span,
    ) -> Outcome<Value> {
        if self.building.len() > 1 {
            return Err(self.report(
                Diagnostic::error(
                    "BP0303",
                    "a `scan` cannot hold a `param`",
                    span,
                    "would be a new parameter at every step",
                )
                .with_help("declare it before the scan; the body sees every name around it"),
            ));
        }
        if !matches!(self.frame().kind, FrameKind::Layer | FrameKind::Model) {
            return self.error("BP0303", "a `param` lives in a layer or a model", span, "not in one of them");
        }
        let mut path = self.frame().path.clone();
        path.push(name.text.clone());
        let full = path.join(".");
        self.refuse_taken(&full, name.span)?;
        let (tensor_type, origins) = self.tensor_type(ty)?;
        let Some(init) = init else {
            return Err(self.report(
                Diagnostic::error("BP0309", format!("`{}` has no first value", name.text), span, "no initialiser")
                    .with_help(format!("write one, as in `param {}: .. ~ zeros`", name.text)),
            ));
        };
        let init = self.initial_value(init, &tensor_type, &name.text, Some(constraint))?;
        let stored_type = init.main().tensor(init.main().results[0].node).clone();
        let provenance = self.provenance(span);
        let node = self.building[0].region.input(InputRole::Parameter, &full, stored_type.clone(), provenance);
        let stored = self.tensor_at(0, node);
        let constraint_text = constraint.map(|constraint| self.text_of(constraint.span));
        let parameter =
            Parameter { name: full, ty: stored_type, init, constraint: constraint_text, trained: false, span };
        self.model.parameters.push((parameter, stored.clone()));
        let Some(constraint) = constraint else {
            return Ok(Value::Tensor(Lowering::with_origins(stored, origins)));
        };
        let value = self.constrained(constraint, stored, false)?;
        if value.ty != tensor_type {
            let (wanted, got) = (self.type_text(&tensor_type), self.type_text(&value.ty));
            let title = format!("`{}` is {wanted}, and its constraint gives {got}", name.text);
            return self.error("BP0201", title, constraint.span, "another type");
        }
        Ok(Value::Tensor(Lowering::with_origins(value, origins)))
    }

    /// The value that a constraint makes of a stored tensor, or the inverse.
    fn constrained(&mut self, constraint: &Expr, tensor: Tensor, inverse: bool) -> Outcome<Tensor> {
        let (callee, args) = match &constraint.kind {
            ExprKind::Call(callee, args) => (&**callee, args.as_slice()),
            _ => (constraint, [].as_slice()),
        };
        let function = self.expression(callee)?;
        let span = constraint.span;
        let dtype = tensor.ty.dtype;
        let mut given = vec![super::bind::Given { name: None, value: Value::Tensor(tensor), span }];
        given.extend(self.arguments(args)?);
        if inverse {
            let name = Name { text: "inverse".to_string(), span };
            given.push(super::bind::Given { name: Some(name), value: Value::Flag(true), span });
        }
        let value = self.apply(function, callee.span, given, None, span)?;
        self.as_tensor("in", (value, span), dtype)
    }

    /// A graph that makes a first value. That of a parameter has an initialiser, which is called with shape and dtype before its
    /// own arguments, and perhaps a constraint, whose inverse comes last.
    pub fn initial_value(
        &mut self,
        init: &Expr,
        ty: &TensorType,
        name: &str,
        parameter: Option<Option<&Expr>>,
    ) -> Outcome<Graph> {
        let scopes = self.frame().scopes.clone();
        for (local, value) in self.frame().scopes.iter_mut().flatten() {
            if let Value::Tensor(tensor) = value {
                let why = format!(
                    "a first value is made before any step runs; it can see the shape of `{local}` and no more"
                );
                *value = Value::Gone(tensor.ty.clone(), why.into());
            }
        }
        let recording = std::mem::replace(&mut self.model.recording, false);
        let random = std::mem::take(&mut self.model.random);
        let binding = std::mem::replace(&mut self.frame().binding, Binding::Named(name.to_string()));
        let result = self.apart("init", |lowering| {
            lowering.clock(Clock::Seed);
            lowering.clock(Clock::Step);
            let value =
                if parameter.is_some() { lowering.initializer(init, ty)? } else { lowering.expression(init)? };
            let tensor = match value {
                value if value.is_scalar() => {
                    let literal = lowering.literal(&value, ty.dtype, init.span)?;
                    lowering.constant(literal, &ty.shape, init.span)?
                }
                value => lowering.as_tensor(name, (value, init.span), ty.dtype)?,
            };
            if tensor.ty != *ty {
                let (wanted, got) = (lowering.type_text(ty), lowering.type_text(&tensor.ty));
                let title = format!("`{name}` is {wanted}, and its first value is {got}");
                return lowering.error("BP0201", title, init.span, "another type");
            }
            let stored = match parameter.flatten() {
                Some(constraint) => lowering.constrained(constraint, tensor, true)?,
                None => tensor,
            };
            let node = lowering.node_here(&stored);
            lowering.region().result(OutputRole::Value, "value", node);
            Ok(())
        });
        self.frame().binding = binding;
        self.model.random = random;
        self.model.recording = recording;
        self.frame().scopes = scopes;
        result.map(|((), graph)| graph)
    }

    fn initializer(&mut self, init: &Expr, ty: &TensorType) -> Outcome<Value> {
        let (callee, args) = match &init.kind {
            ExprKind::Call(callee, args) => (&**callee, args.as_slice()),
            ExprKind::Name(_) | ExprKind::Field(..) => (init, [].as_slice()),
            _ => return self.expression(init),
        };
        let module = self.frame().module;
        let function = match &callee.kind {
            ExprKind::Name(name) if self.frame().find(name).is_none() => {
                match self.program.resolve_initializer(module, name) {
                    Some(Definition::Item(item)) => Value::Function(Callee::Item(item)),
                    Some(Definition::Builtin(builtin)) => Value::Function(Callee::Builtin(builtin)),
                    None => self.expression(callee)?,
                }
            }
            _ => self.expression(callee)?,
        };
        if !matches!(function, Value::Function(_)) {
            return self.expression(init);
        }
        let given = |value: Value| super::bind::Given { name: None, value, span: init.span };
        let mut all = vec![given(Value::dims(&ty.shape))];
        let takes_value = matches!(function, Value::Function(Callee::Builtin(builtin)) if builtin.name == "full");
        let mut own = self.arguments(args)?;
        if takes_value {
            // The dtype of `full` stands last.
            all.append(&mut own);
            let name = Name { text: "dtype".to_string(), span: init.span };
            all.push(super::bind::Given { name: Some(name), value: Value::Dtype(ty.dtype), span: init.span });
        } else {
            all.push(given(Value::Dtype(ty.dtype)));
            all.append(&mut own);
        }
        self.apply(function, callee.span, all, None, init.span)
    }

    /// `out accuracy = e`.
    pub fn output(&mut self, name: &Name, value: &Expr, span: Span) -> Outcome<()> {
        let given = self.bound(Binding::Named(name.text.clone()), value)?;
        let tensor = self.as_tensor("out", (given, value.span), Dtype::F32)?;
        self.add_output(&name.text, &tensor, OutputKind::Value, span)
    }

    /// Adds a result that the step reports.
    pub fn add_output(&mut self, name: &str, tensor: &Tensor, kind: OutputKind, span: Span) -> Outcome<()> {
        if let Some(earlier) = self.model.outputs.iter().find(|output| output.name == name) {
            let earlier = earlier.span;
            return Err(self.report(
                Diagnostic::error("BP0309", format!("two results are called `{name}`"), span, "the second one")
                    .with_label(earlier, "the first one")
                    .with_help("rename one of them"),
            ));
        }
        self.model.outputs.push(Output { name: name.to_string(), ty: tensor.ty.clone(), kind, span });
        let node = self.node_here(tensor);
        self.region().result(OutputRole::Value, name, node);
        Ok(())
    }

    /// `grad { linear in encoder.* => wht(k = 2) }`.
    pub fn grad_scope(&mut self, choices: &[GradChoice]) -> Outcome<()> {
        let module = self.frame().module;
        for choice in choices {
            self.model.scopes.push(Scope { choice: choice.clone(), module, used: false });
        }
        Ok(())
    }
}
