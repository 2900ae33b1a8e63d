//! Checks declarations where they are written, with representative sizes.
//!
//! Expects: a program whose names are checked.
//! Guarantees: free dims are distinct primes, so that two sizes agree only if they are the same expression; after an `assert`
//! that does not hold for them nothing is said about sizes any more; a static parameter that nothing can stand for ends the
//! check of that declaration.
//! Leaves out: the standard library, which tests of its own check.

use super::Options;
use super::bind::{Given, names_in};
use super::choose::Chosen;
use super::context::{Frame, FrameKind, Lowering, Outcome};
use super::sizes::SizeNames;
use super::train::train_block;
use super::types::is_static;
use super::value::Value;
use crate::ir::graph::{InputRole, Provenance};
use crate::ir::types::{Dtype, Literal, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::{ItemId, ModuleId, Program, Target};
use bpc_lang::tree::{Dim, Function, Item, Optimizer, Param, ParamKind, Rule, Type};

/// What is wrong with the declarations of the user's modules.
pub fn check(program: &Program) -> Vec<Diagnostic> {
    let mut all: Vec<Diagnostic> = Vec::new();
    for (module, path) in program.paths.iter().enumerate() {
        if path.starts_with("std.") {
            continue;
        }
        for index in 0..program.modules[module].items.len() {
            let id = ItemId { module: ModuleId(module as u32), index: index as u32 };
            for diagnostic in check_item(program, id) {
                let known =
                    |other: &Diagnostic| other.title == diagnostic.title && other.primary.0 == diagnostic.primary.0;
                if !all.iter().any(known) {
                    all.push(diagnostic);
                }
            }
        }
    }
    all
}

/// What is wrong with one declaration.
pub(super) fn check_item(program: &Program, id: ItemId) -> Vec<Diagnostic> {
    let options = Options { training: true, ..Options::default() };
    let mut lowering = Lowering::new(program, &options);
    lowering.sizes = SizeNames::checking();
    lowering.model.recording = true;
    // The outcome is in the diagnostics.
    let _ = match program.item(id) {
        Item::Function(function) => lowering.check_function(id, function, FrameKind::Function),
        Item::Layer(layer) => lowering.check_function(id, layer, FrameKind::Layer),
        Item::Optimizer(optimizer) => lowering.check_optimizer(id, optimizer),
        Item::Model(model) => lowering.model_body(id, model),
        Item::Rule(rule) => match program.resolve_target(id.module, &rule.target.text) {
            Some(Target::Item(target)) => lowering.check_rule(id, target),
            _ => Ok(()),
        },
        Item::Train(train) => {
            lowering.diagnostics.extend(train_block(program, &train.model.text).err().unwrap_or_default());
            Ok(())
        }
    };
    lowering.diagnostics
}

impl<'p> Lowering<'p> {
    fn check_function(&mut self, id: ItemId, function: &Function, kind: FrameKind) -> Outcome<()> {
        self.frames.push(Frame::new(id.module, kind, Vec::new()));
        let result = self.function_in_frame(function);
        self.frames.pop();
        result
    }

    fn function_in_frame(&mut self, function: &Function) -> Outcome<()> {
        let Some(given) = self.representatives(&function.params)? else { return Ok(()) };
        // Dims have been bound while the representatives were made; binding again starts afresh.
        self.frame().scopes = vec![Vec::new()];
        self.bind(&function.name.text, &function.params, given, function.name.span)?;
        self.body(function).map(|_| ())
    }

    /// An argument for each parameter without a default; `None` where nothing can stand for one.
    fn representatives(&mut self, params: &[Param]) -> Outcome<Option<Vec<Given>>> {
        let mut given = Vec::new();
        for (index, param) in params.iter().enumerate() {
            if param.default.is_some() {
                continue;
            }
            let small = [3, 5, 7, 11, 13][index % 5];
            let value = match &param.kind {
                ParamKind::Untyped => return Ok(None),
                ParamKind::Dim(dim) => Value::Integer(self.representative(&dim.text)),
                ParamKind::Typed(ty) if is_static(ty) => match ty.element.text.as_str() {
                    "int" => Value::Integer(small),
                    "real" => Value::Real(0.5),
                    "flag" => Value::Flag(true),
                    "dtype" => Value::Dtype(Dtype::F32),
                    _ => return Ok(None),
                },
                ParamKind::Typed(ty) => self.representative_tensor(&param.name.text, ty)?,
            };
            if matches!(value, Value::Integer(_)) {
                self.frame().define(&param.name.text, value.clone());
            }
            given.push(Given { name: Some(param.name.clone()), value, span: param.name.span });
        }
        Ok(Some(given))
    }

    fn representative(&mut self, name: &str) -> i64 {
        let size = self.sizes.representative(name) as i64;
        if self.frame().find(name).is_none() {
            self.frame().define(name, Value::Integer(size));
        }
        size
    }

    fn representative_tensor(&mut self, name: &str, ty: &Type) -> Outcome<Value> {
        let dtype = Dtype::from_name(&ty.element.text).unwrap_or(Dtype::F32);
        let mut shape = Vec::new();
        let mut origins = Vec::new();
        for dim in ty.shape.iter().flatten() {
            match dim {
                Dim::Rest(rest, _) => {
                    let rest = rest.as_ref().map_or("..", |rest| rest.text.as_str());
                    for number in ["0", "1"] {
                        shape.push(self.sizes.representative(&format!("{rest}[{number}]")));
                    }
                }
                Dim::Size(expr) => {
                    let mut names = Vec::new();
                    names_in(expr, &mut names);
                    for name in names {
                        if self.frame().find(name).is_none() {
                            self.representative(name);
                        }
                    }
                    shape.push(self.size(expr)?);
                }
            }
        }
        for dim in ty.shape.iter().flatten() {
            if let Dim::Size(expr) = dim {
                let text = self.program.sources.text(expr.span.file);
                let text = text.get(expr.span.start as usize..expr.span.end as usize).unwrap_or("").to_string();
                origins.push(Some(std::rc::Rc::new(super::value::Origin { span: expr.span, text })));
            } else {
                origins.extend([None, None]);
            }
        }
        let tensor_type = TensorType { dtype, shape };
        let node = self.building[0].region.input(InputRole::Data, name, tensor_type, Provenance::default());
        Ok(Value::Tensor(Lowering::with_origins(self.tensor_at(0, node), origins)))
    }

    fn check_optimizer(&mut self, id: ItemId, optimizer: &Optimizer) -> Outcome<()> {
        let ParamKind::Typed(ty) = &optimizer.weight.kind else { return Ok(()) };
        self.frames.push(Frame::new(id.module, FrameKind::Model, Vec::new()));
        let given = self.representatives(&optimizer.params);
        let weight = self.representative_tensor("w", ty);
        let result = match (given, weight) {
            (Ok(Some(given)), Ok(Value::Tensor(weight))) => {
                let chosen = super::optimizer::Chosen { id, given, span: optimizer.name.span };
                // The parameter and its gradient may be one tensor here: only types are looked at.
                let given = match optimizer.jacobian {
                    None if weight.ty.dtype == Dtype::Bool => {
                        let one = Literal::new(Dtype::F32, 1.0);
                        vec![self.constant(one, &weight.ty.shape, optimizer.name.span)?]
                    }
                    None => vec![weight.clone()],
                    Some(_) => {
                        let (count, dtype) = (self.sizes.representative("residuals"), weight.ty.dtype);
                        let mut shape = vec![count];
                        let residual = self.constant(Literal::new(dtype, 1.0), &shape, optimizer.name.span)?;
                        shape.extend(&weight.ty.shape);
                        vec![residual, self.constant(Literal::new(dtype, 1.0), &shape, optimizer.name.span)?]
                    }
                };
                self.update(&chosen, ("parameter", &weight), &given).map(|_| ())
            }
            _ => Ok(()),
        };
        self.frames.pop();
        result
    }

    /// A rule is used on its target with representatives.
    fn check_rule(&mut self, id: ItemId, target: ItemId) -> Outcome<()> {
        let program = self.program;
        let (Item::Rule(rule), Item::Function(function)) = (program.item(id), program.item(target)) else {
            return Ok(());
        };
        self.frames.push(Frame::new(id.module, FrameKind::Model, Vec::new()));
        let result = self.rule_in_frame(id, rule, target, function);
        self.frames.pop();
        result
    }

    fn rule_in_frame(&mut self, id: ItemId, rule: &'p Rule, target: ItemId, function: &Function) -> Outcome<()> {
        let Some(own) = self.representatives(&rule.params)? else { return Ok(()) };
        let Some(given) = self.representatives(&function.params)? else { return Ok(()) };
        let span = rule.target.span;
        let chosen = Chosen { id, rule, given: own };
        let (replacement, chosen) = if rule.replaces() { (Some(chosen), None) } else { (None, Some(chosen)) };
        let (value, bound) =
            self.inline((target, function), FrameKind::Function, Vec::new(), given, replacement, span)?;
        let Some(chosen) = chosen else { return Ok(()) };
        let names = function.params.iter().map(|param| param.name.text.as_str());
        let arguments: Vec<(&str, Option<Value>)> = names.zip(bound.into_iter().map(Some)).collect();
        self.ruled(chosen, &function.name.text, &arguments, value, span).map(|_| ())
    }
}
