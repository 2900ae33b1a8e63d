//! Reductions: `sum`, `max`, `min`, `argmax`, and `sum_to`, the adjoint of `expand`.

use super::Arguments;
use crate::ir::op::Op;
use crate::ir::types::Dtype;
use crate::lower::context::{Lowering, Outcome};
use crate::lower::value::{Tensor, Value};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::Span;

impl Lowering<'_> {
    pub(super) fn reduction(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        if x.ty.dtype == Dtype::Bool {
            let title = format!("`{}` works on numbers, and this is {}", arguments.name, self.type_text(&x.ty));
            return Err(self.report(
                Diagnostic::error("BP0203", title, arguments.placed("x").1, "bool")
                    .with_help("count with `sum(i32(x))`"),
            ));
        }
        let rank = x.ty.rank();
        let mut axes = Vec::new();
        if arguments.find("axis").is_some() {
            for axis in self.integers(arguments, "axis")? {
                axes.push(self.axis(arguments, axis, rank)?);
            }
            axes.sort_unstable();
            if axes.windows(2).any(|pair| pair[0] == pair[1]) {
                let span = arguments.placed("axis").1;
                return self.error("BP0209", "an axis is named twice", span, "each axis may stand once");
            }
        } else {
            axes.extend(0..rank as u32);
        }
        let keep = self.flag_argument(arguments, "keep")?;
        let op = match arguments.name {
            "sum" => Op::ReduceSum { axes: axes.clone() },
            "max" => Op::ReduceMax { axes: axes.clone() },
            _ => Op::ReduceMin { axes: axes.clone() },
        };
        self.reduced(op, &x, &axes, keep, arguments.span).map(Value::Tensor)
    }

    fn reduced(&mut self, op: Op, x: &Tensor, axes: &[u32], keep: bool, span: Span) -> Outcome<Tensor> {
        let result = if axes.is_empty() { x.clone() } else { self.emit(op, &[x], span)? };
        let mut origins = x.origins.clone();
        axes.iter().for_each(|axis| origins[*axis as usize] = None);
        if keep || axes.is_empty() {
            return Ok(Lowering::with_origins(result, origins));
        }
        let remains = |axis: &usize| !axes.contains(&(*axis as u32));
        let shape = (0..x.ty.rank()).filter(remains).map(|axis| x.ty.shape[axis]).collect();
        let result = self.emit(Op::Reshape { shape }, &[&result], span)?;
        let origins = (0..x.ty.rank()).filter(remains).map(|axis| origins[axis].clone()).collect();
        Ok(Lowering::with_origins(result, origins))
    }

    pub(super) fn argmax(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let axis = self.integer(arguments, "axis", -1)?;
        let axis = self.axis(arguments, axis, x.ty.rank())?;
        self.reduced(Op::Argmax { axis }, &x, &[axis], false, arguments.span).map(Value::Tensor)
    }

    pub(super) fn sum_to(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let shape = self.naturals(arguments, "shape")?;
        let Some(missing) = x.ty.rank().checked_sub(shape.len()) else {
            let title = format!("`sum_to` cannot add axes to {}", self.type_text(&x.ty));
            return self.error("BP0202", title, arguments.span, "the shape has more axes");
        };
        let axes: Vec<u32> = (0..x.ty.rank())
            .filter(|axis| *axis < missing || (shape[*axis - missing] == 1 && x.ty.shape[*axis] != 1))
            .map(|axis| axis as u32)
            .collect();
        let mut result = x;
        if !axes.is_empty() {
            result = self.emit(Op::ReduceSum { axes }, &[&result], arguments.span)?;
        }
        if missing > 0 {
            let kept = result.ty.shape[missing..].to_vec();
            result = self.emit(Op::Reshape { shape: kept }, &[&result], arguments.span)?;
        }
        if result.ty.shape != shape {
            let title = format!("`sum_to` sums axes of size 1, and {} is left", self.type_text(&result.ty));
            return self.error("BP0202", title, arguments.span, "the other sizes must be equal");
        }
        Ok(Value::Tensor(result))
    }
}
