//! `minimize residual`: all parameters as one vector, and the Jacobian of the residual by them.
//!
//! Expects: a residual as a vector, and float parameters that it depends on.
//! Guarantees: the columns of the Jacobian are derivatives along one parameter entry each, taken forward: with a free u, the gradient of
//! sum(r * u) by the parameters is J' u, which is linear in u, so that the derivative of its entry j by u is column j; the residual is never walked
//! through entry by entry.
//! Leaves out: the step that is made of them (an optimizer of the language).

use super::context::{Lowering, Outcome};
use super::model::Goal;
use super::value::Tensor;
use crate::ir::graph::OutputRole;
use crate::ir::op::Op;
use crate::ir::types::Literal;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::Span;

/// The most entries of the parameters: each is one more column through the model.
const MOST_ENTRIES: u64 = 256;

impl Lowering<'_> {
    /// The next values of the parameters of a goal, which one optimizer trains together.
    pub fn train_jointly(&mut self, goal: &Goal, residual: &Tensor, indices: &[usize]) -> Outcome<()> {
        let parameters: Vec<_> = indices.iter().map(|index| self.model.parameters[*index].clone()).collect();
        let entries: u64 = parameters.iter().map(|(_, tensor)| tensor.ty.elements()).sum();
        if entries > MOST_ENTRIES {
            let title = format!("{entries} parameter entries are too many for the Jacobian of a residual");
            return Err(self.report(
                Diagnostic::error("BP0417", title, goal.optimizer.span, format!("takes up to {MOST_ENTRIES}")).with_help(
                    "train fewer of them (`minimize .. over ..`), or `minimize` a scalar by an optimizer of gradients",
                ),
            ));
        }
        if let Some((other, _)) = parameters.iter().find(|(_, tensor)| tensor.ty.dtype != residual.ty.dtype) {
            let title = format!("`{}` is {}, and the residual is {}", other.name, other.ty.dtype, residual.ty.dtype);
            return Err(self.report(
                Diagnostic::error("BP0417", title, other.span, "one dtype for all")
                    .with_label(goal.span, "trained together here")
                    .with_help("give both the same dtype; f64 is the usual one for residuals"),
            ));
        }
        if entries == 0 {
            return Ok(());
        }
        let tensors: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| tensor).collect();
        let jacobian = self.jacobian_of(residual, &tensors, goal.span)?;
        let parts = tensors.iter().map(|tensor| self.flat(tensor, goal.span)).collect::<Outcome<Vec<_>>>()?;
        let weight = self.joined(parts, goal.span)?;
        let next = self.update(&goal.optimizer, (&goal.name, &weight), &[residual.clone(), jacobian])?;
        let mut start = 0;
        for (parameter, tensor) in &parameters {
            let stop = start + tensor.ty.elements();
            let part = self.emit(Op::Slice { starts: vec![start], stops: vec![stop] }, &[&next], goal.span)?;
            let value = self.emit(Op::Reshape { shape: tensor.ty.shape.clone() }, &[&part], goal.span)?;
            let node = self.node_here(&value);
            self.region().result(OutputRole::Next, parameter.name.clone(), node);
            start = stop;
        }
        Ok(())
    }

    /// The derivative of a vector by all entries of some tensors: [entries of the vector, entries of the tensors].
    fn jacobian_of(&mut self, vector: &Tensor, tensors: &[&Tensor], span: Span) -> Outcome<Tensor> {
        let direction = self.constant(Literal::new(vector.ty.dtype, 0.0), &vector.ty.shape, span)?;
        let product = self.emit(Op::Mul {}, &[vector, &direction], span)?;
        let along = self.total(&product, span)?;
        let mut rows = Vec::new();
        for tensor in tensors {
            let gradient = self.emit(Op::Grad {}, &[&along, tensor], span)?;
            let gradient = self.flat(&gradient, span)?;
            for entry in 0..tensor.ty.elements() {
                let one = self.emit(Op::Slice { starts: vec![entry], stops: vec![entry + 1] }, &[&gradient], span)?;
                let one = self.emit(Op::Reshape { shape: Vec::new() }, &[&one], span)?;
                let column = self.emit(Op::Grad {}, &[&one, &direction], span)?;
                rows.push(self.emit(Op::Reshape { shape: vec![1, vector.ty.elements()] }, &[&column], span)?);
            }
        }
        let transposed = self.joined(rows, span)?;
        self.emit(Op::Permute { axes: vec![1, 0] }, &[&transposed], span)
    }

    /// Tensors one after the other along their first axis.
    fn joined(&mut self, parts: Vec<Tensor>, span: Span) -> Outcome<Tensor> {
        let mut parts = parts.into_iter();
        let mut all = parts.next().expect("bug in bpc: nothing to join");
        for part in parts {
            all = self.emit(Op::Concat { axis: 0 }, &[&all, &part], span)?;
        }
        Ok(all)
    }

    /// All entries of a tensor as a vector.
    pub fn flat(&mut self, tensor: &Tensor, span: Span) -> Outcome<Tensor> {
        self.emit(Op::Reshape { shape: vec![tensor.ty.elements()] }, &[tensor], span)
    }

    /// r' r of a vector.
    pub fn sum_of_squares(&mut self, residual: &Tensor, span: Span) -> Outcome<Tensor> {
        let squares = self.emit(Op::Mul {}, &[residual, residual], span)?;
        self.total(&squares, span)
    }

    fn total(&mut self, vector: &Tensor, span: Span) -> Outcome<Tensor> {
        let sum = self.emit(Op::ReduceSum { axes: vec![0] }, &[vector], span)?;
        self.emit(Op::Reshape { shape: Vec::new() }, &[&sum], span)
    }
}
