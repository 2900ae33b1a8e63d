//! Optimisers: the update of one parameter, or of the vector of all of them.
//!
//! Expects: an optimizer with evaluated arguments, the tensor it trains, and what it is given: the gradient, or the residual and its
//! Jacobian.
//! Guarantees: one `next` result for each state, and the next value of the tensor, of their types.
//! Leaves out: which parameters a `minimize` line trains (`minimize`), and how Jacobians are made (`residual`).

use super::bind::Given;
use super::context::{Frame, FrameKind, Lowering, Outcome, Turn};
use super::model::State;
use super::value::{Callee, Tensor, Value};
use crate::ir::graph::{InputRole, OutputRole};
use crate::ir::types::TensorType;
use bpc_lang::program::{ItemId, Program};
use bpc_lang::tree::{Expr, ExprKind, Item, Name, Optimizer, Span, Type};

/// An optimizer as a `minimize` line chose it.
#[derive(Clone)]
pub(super) struct Chosen {
    pub id: ItemId,
    pub given: Vec<Given>,
    pub span: Span,
}

/// The declaration of an optimizer.
pub(super) fn declaration(program: &Program, id: ItemId) -> &Optimizer {
    match program.item(id) {
        Item::Optimizer(optimizer) => optimizer,
        _ => unreachable!("bug in bpc: an optimizer that is none"),
    }
}

impl Lowering<'_> {
    /// `adam(lr = 1e-3)`, `adam`.
    pub fn choose_optimizer(&mut self, using: &Expr) -> Outcome<Chosen> {
        let (callee, args) = match &using.kind {
            ExprKind::Call(callee, args) => (&**callee, args.as_slice()),
            _ => (using, [].as_slice()),
        };
        let function = self.expression(callee)?;
        let given = self.arguments(args)?;
        if let Value::Function(Callee::Item(id)) = function
            && matches!(self.program.item(id), Item::Optimizer(_))
        {
            return Ok(Chosen { id, given, span: using.span });
        }
        let title = format!("an optimizer stands after `using`, and this is {}", function.kind(&self.sizes));
        self.error("BP0204", title, callee.span, "expected an optimizer")
    }

    /// The next value of a tensor that an optimizer trains under a name, by its gradient, or by the residual and its Jacobian.
    pub fn update(&mut self, chosen: &Chosen, trained: (&str, &Tensor), given: &[Tensor]) -> Outcome<Tensor> {
        let program = self.program;
        let optimizer = declaration(program, chosen.id);
        let name = optimizer.name.text.as_str();
        let mut path: Vec<String> = trained.0.split('.').map(str::to_string).collect();
        path.push(name.to_string());
        self.frames.push(Frame::new(chosen.id.module, FrameKind::Optimizer, path));
        self.calls.push((chosen.span, name.to_string(), chosen.id));
        let result = self.update_in_frame(chosen, optimizer, trained, given);
        self.calls.pop();
        self.frames.pop();
        result
    }

    fn update_in_frame(
        &mut self,
        chosen: &Chosen,
        optimizer: &Optimizer,
        (trained, weight): (&str, &Tensor),
        given: &[Tensor],
    ) -> Outcome<Tensor> {
        let name = &optimizer.name.text;
        let weight_name = &optimizer.weight.name.text;
        if let bpc_lang::tree::ParamKind::Typed(ty) = &optimizer.weight.kind {
            let label = format!("`{trained}`, trained by `{name}`,");
            self.check_type(ty, &weight.ty, chosen.span, &label)?;
        }
        // Where the weight is no float, `f` is the dtype of its cotangent: that of most states.
        if self.frame().find("f").is_none() {
            self.frame().define("f", Value::Dtype(given[0].ty.dtype));
        }
        self.bind(name, &optimizer.params, chosen.given.clone(), chosen.span)?;
        self.frame().define(weight_name, Value::Tensor(weight.clone()));
        for (own, tensor) in std::iter::once(&optimizer.gradient).chain(&optimizer.jacobian).zip(given) {
            self.frame().define(&own.text, Value::Tensor(tensor.clone()));
        }
        self.frame().turns.push(Turn::Optimizer(Vec::new()));
        let states_before = self.model.states.len();
        let errors_before = self.diagnostics.len();
        let result = self.statements(&optimizer.body.statements);
        let Some(Turn::Optimizer(pending)) = self.frame().turns.pop() else {
            unreachable!("bug in bpc: the turn of an optimizer is gone")
        };
        result?;
        let prefix = self.frame().path.join(".");
        let states: Vec<(String, TensorType)> =
            self.model.states[states_before..].iter().map(|state| (state.name.clone(), state.ty.clone())).collect();
        let next = self.next_of(optimizer, &pending, weight_name, &weight.ty, errors_before)?;
        for (full, ty) in states {
            let value = self.next_of(optimizer, &pending, &full[prefix.len() + 1..], &ty, errors_before)?;
            let node = self.node_here(&value);
            self.region().result(OutputRole::Next, full, node);
        }
        Ok(next)
    }

    /// What a `next` line gives for the tensor that the optimizer itself calls `own`.
    fn next_of(
        &mut self,
        optimizer: &Optimizer,
        pending: &[(String, Value, Span)],
        own: &str,
        ty: &TensorType,
        errors_before: usize,
    ) -> Outcome<Tensor> {
        let Some((_, value, span)) = pending.iter().find(|(next, ..)| next == own) else {
            if self.diagnostics.len() > errors_before {
                return Err(super::context::Reported);
            }
            let title = format!("`{}` gives no next value of `{own}`", optimizer.name.text);
            let label = format!("no `next {own} = ..` here");
            return self.error("BP0307", title, optimizer.name.span, label);
        };
        let tensor = if value.is_scalar() {
            let literal = self.literal(value, ty.dtype, *span)?;
            self.constant(literal, &ty.shape, *span)?
        } else {
            self.as_tensor("next", (value.clone(), *span), ty.dtype)?
        };
        if tensor.ty != *ty {
            let (wanted, got) = (self.type_text(ty), self.type_text(&tensor.ty));
            let title = format!("`{own}` is {wanted}, and its next value is {got}");
            return self.error("BP0201", title, *span, "another type");
        }
        Ok(tensor)
    }

    /// `state m = 0`.
    pub fn state(&mut self, name: &Name, ty: Option<&Type>, init: &Expr, span: Span) -> Outcome<Value> {
        let ty = match ty {
            Some(ty) => self.tensor_type(ty)?.0,
            None => {
                let active = self.calls.last().map(|(_, _, id)| *id);
                let program = self.program;
                let weight = active.map(|id| declaration(program, id).weight.name.text.as_str());
                match weight.and_then(|weight| self.frame().find(weight)) {
                    Some(Value::Tensor(weight)) => weight.ty.clone(),
                    _ => return self.error("BP0301", "a `state` lives in an optimizer", span, "not in one"),
                }
            }
        };
        let graph = self.initial_value(init, &ty, &name.text, None)?;
        let full = format!("{}.{}", self.frame().path.join("."), name.text);
        self.refuse_taken(&full, name.span)?;
        let provenance = self.provenance(span);
        let node = self.building[0].region.input(InputRole::State, &full, ty.clone(), provenance);
        self.model.states.push(State { name: full, ty, init: graph, span });
        Ok(Value::Tensor(self.tensor_at(0, node)))
    }
}
