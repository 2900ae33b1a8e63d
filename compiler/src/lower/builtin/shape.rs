//! Views: new shapes, orders, boxes, frames, windows; and tensors of one number or of counts.

use super::Arguments;
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType};
use crate::lower::context::{Lowering, Outcome};
use crate::lower::value::{Tensor, Value};

impl Lowering<'_> {
    pub(super) fn reshape(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let shape = self.naturals(arguments, "shape")?;
        if shape == x.ty.shape {
            return Ok(Value::Tensor(x));
        }
        self.emit(Op::Reshape { shape }, &[&x], arguments.span).map(Value::Tensor)
    }

    pub(super) fn transpose(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let rank = x.ty.rank();
        if rank < 2 {
            let title = format!("`transpose` swaps the last two axes, and this is {}", self.type_text(&x.ty));
            return self.error("BP0202", title, arguments.placed("x").1, "fewer than two axes");
        }
        let mut axes: Vec<u32> = (0..rank as u32).collect();
        axes.swap(rank - 2, rank - 1);
        self.permuted(&x, axes, arguments)
    }

    pub(super) fn permute(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let mut axes = Vec::new();
        for axis in self.integers(arguments, "axes")? {
            axes.push(self.axis(arguments, axis, x.ty.rank())?);
        }
        self.permuted(&x, axes, arguments)
    }

    fn permuted(&mut self, x: &Tensor, axes: Vec<u32>, arguments: &Arguments) -> Outcome<Value> {
        let origins = axes.iter().map(|axis| x.origins[*axis as usize].clone()).collect();
        let result = self.emit(Op::Permute { axes }, &[x], arguments.span)?;
        Ok(Value::Tensor(Lowering::with_origins(result, origins)))
    }

    pub(super) fn expand(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let shape = self.naturals(arguments, "shape")?;
        self.broadcast(&x, &shape, arguments.span).map(Value::Tensor)
    }

    pub(super) fn slice(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let (starts, stops) = (self.naturals(arguments, "starts")?, self.naturals(arguments, "stops")?);
        self.emit(Op::Slice { starts, stops }, &[&x], arguments.span).map(Value::Tensor)
    }

    pub(super) fn narrow(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let axis = self.integer(arguments, "axis", 0)?;
        let axis = self.axis(arguments, axis, x.ty.rank())? as usize;
        let (start, stop) = (self.natural(arguments, "start", 0)?, self.natural(arguments, "stop", 0)?);
        let mut starts = vec![0; x.ty.rank()];
        let mut stops = x.ty.shape.clone();
        (starts[axis], stops[axis]) = (start, stop);
        let mut origins = x.origins.clone();
        origins[axis] = None;
        let result = self.emit(Op::Slice { starts, stops }, &[&x], arguments.span)?;
        Ok(Value::Tensor(Lowering::with_origins(result, origins)))
    }

    pub(super) fn pad(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let (low, high) = (self.naturals(arguments, "low")?, self.naturals(arguments, "high")?);
        let value = match arguments.find("value") {
            None => Literal::new(x.ty.dtype, 0.0),
            Some(given) => self.literal(&given.value, x.ty.dtype, given.span)?,
        };
        self.emit(Op::Pad { low, high, value }, &[&x], arguments.span).map(Value::Tensor)
    }

    pub(super) fn concat(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (parts, span) = arguments.placed("parts");
        let (Value::List(parts) | Value::Tuple(parts)) = parts else {
            let title = format!("`concat` joins a list of tensors, and this is {}", parts.kind(&self.sizes));
            return Err(self.report(
                bpc_lang::diagnostics::Diagnostic::error("BP0204", title, span, "expected a list")
                    .with_help("put the parts in brackets, as in `concat([x, y])`"),
            ));
        };
        let mut tensors = Vec::new();
        for part in parts {
            match part {
                Value::Tensor(tensor) => tensors.push(tensor),
                other => {
                    let title = format!("`concat` joins tensors, and one part is {}", other.kind(&self.sizes));
                    return self.error("BP0204", title, span, "expected tensors");
                }
            }
        }
        let mut tensors = tensors.into_iter();
        let Some(mut joined) = tensors.next() else {
            return self.error("BP0204", "`concat` joins at least one tensor", span, "empty");
        };
        let axis = self.integer(arguments, "axis", -1)?;
        let axis = self.axis(arguments, axis, joined.ty.rank())?;
        for part in tensors {
            joined = self.emit(Op::Concat { axis }, &[&joined, &part], arguments.span)?;
        }
        Ok(Value::Tensor(joined))
    }

    pub(super) fn reverse(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let axis = self.integer(arguments, "axis", 0)?;
        let axis = self.axis(arguments, axis, x.ty.rank())?;
        self.reversed(&x, axis, arguments.span).map(Value::Tensor)
    }

    pub(super) fn windows(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let axis = self.integer(arguments, "axis", 0)?;
        let axis = self.axis(arguments, axis, x.ty.rank())?;
        let (size, stride) = (self.natural(arguments, "size", 1)?, self.natural(arguments, "stride", 1)?);
        self.emit(Op::Windows { axis, size, stride }, &[&x], arguments.span).map(Value::Tensor)
    }

    pub(super) fn unwindows(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let axis = self.integer(arguments, "axis", 0)?;
        let axis = self.axis(arguments, axis, x.ty.rank())?;
        let (length, stride) = (self.natural(arguments, "length", 1)?, self.natural(arguments, "stride", 1)?);
        self.emit(Op::Unwindows { axis, length, stride }, &[&x], arguments.span).map(Value::Tensor)
    }

    pub(super) fn range_of(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let count = self.natural(arguments, "count", 0)?;
        let ty = TensorType::new(Dtype::I32, [count]);
        self.emit(Op::Iota { axis: 0, ty }, &[], arguments.span).map(Value::Tensor)
    }

    pub(super) fn filled(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let shape = self.naturals(arguments, "shape")?;
        let dtype = self.dtype_argument(arguments, Dtype::F32)?;
        let value = match arguments.name {
            "zeros" => Literal::new(dtype, 0.0),
            "ones" => Literal::new(dtype, 1.0),
            _ => match arguments.placed("value") {
                (Value::Tensor(value), _) => return self.broadcast(&value, &shape, arguments.span).map(Value::Tensor),
                (value, span) => self.literal(&value, dtype, span)?,
            },
        };
        self.constant(value, &shape, arguments.span).map(Value::Tensor)
    }
}
