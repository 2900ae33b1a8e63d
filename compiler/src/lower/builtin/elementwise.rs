//! Elementwise primitives, casts, and `where`.

use super::Arguments;
use crate::ir::op::Op;
use crate::ir::rounded;
use crate::ir::types::{Dtype, Literal};
use crate::lower::context::{Lowering, Outcome, Reported};
use crate::lower::operator::Placed;
use crate::lower::value::Value;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::{BinaryOperator, Span};

impl Lowering<'_> {
    pub(super) fn elementwise_unary(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let op =
            Op::from_parts(arguments.name, &[]).expect("bug in bpc: an elementwise primitive without an operation");
        let (value, place) = arguments.placed("x");
        match value {
            Value::Tensor(x) => {
                let result = self.emit(op, &[&x], arguments.span)?;
                Ok(Value::Tensor(Lowering::with_origins(result, x.origins)))
            }
            Value::Integer(number) if matches!(arguments.name, "floor" | "round") => Ok(Value::Integer(number)),
            Value::Integer(number) if arguments.name == "sign" => Ok(Value::Integer(number.signum())),
            Value::Integer(number) if arguments.name == "abs" => match number.checked_abs() {
                Some(number) => Ok(Value::Integer(number)),
                None => self.error("BP0212", "the number is too large", place, "does not fit in 64 bits"),
            },
            value => {
                let Some(number) = value.number() else {
                    self.as_tensor(arguments.name, (value, place), Dtype::F32)?;
                    return self.error("BP0204", format!("`{}` takes a number", arguments.name), place, "not a number");
                };
                let result = rounded::unary(&op, Literal::new(Dtype::F64, number)).as_f64();
                // A rounded static number may stand where whole numbers are wanted.
                let whole = matches!(arguments.name, "floor" | "round") && result.abs() < i64::MAX as f64;
                Ok(if whole { Value::Integer(result as i64) } else { Value::Real(result) })
            }
        }
    }

    pub(super) fn elementwise_binary(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (left, right) = (arguments.placed("x"), arguments.placed("y"));
        let name = arguments.name;
        if name == "pow" {
            return self.binary(BinaryOperator::Power, left, right, arguments.span);
        }
        if let (Value::Integer(x), Value::Integer(y)) = (&left.0, &right.0) {
            return Ok(Value::Integer(if name == "maximum" { *x.max(y) } else { *x.min(y) }));
        }
        if let (Some(x), Some(y)) = (left.0.number(), right.0.number()) {
            return Ok(Value::Real(if name == "maximum" { x.max(y) } else { x.min(y) }));
        }
        let (x, y) = self.pair(name, left, right, arguments.span)?;
        let op = if name == "maximum" { Op::Maximum {} } else { Op::Minimum {} };
        let result = self.emit(op, &[&x, &y], arguments.span)?;
        Ok(Value::Tensor(Lowering::with_origins(result, x.origins)))
    }

    pub(super) fn cast(&mut self, (value, place): Placed, dtype: Dtype, span: Span) -> Outcome<Value> {
        match value {
            Value::Tensor(x) if x.ty.dtype == dtype => Ok(Value::Tensor(x)),
            Value::Tensor(x) => {
                let result = self.emit(Op::Cast { dtype }, &[&x], span)?;
                Ok(Value::Tensor(Lowering::with_origins(result, x.origins)))
            }
            Value::Integer(number) if dtype != Dtype::Bool => {
                let literal = self.literal(&Value::Integer(number), dtype, place)?;
                self.constant(literal, &[], span).map(Value::Tensor)
            }
            Value::Flag(flag) => {
                let literal = Literal::new(dtype, f64::from(u8::from(flag)));
                self.constant(literal, &[], span).map(Value::Tensor)
            }
            Value::Poison => Err(Reported),
            other => match other.number() {
                Some(number) => self.constant(Literal::new(dtype, number), &[], span).map(Value::Tensor),
                None => {
                    let title = format!("{} cannot be cast to {dtype}", other.kind(&self.sizes));
                    self.error("BP0204", title, place, "expected a tensor or a number")
                }
            },
        }
    }

    pub(super) fn choose(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (condition, place) = arguments.placed("condition");
        let (left, right) = (arguments.placed("x"), arguments.placed("y"));
        let condition = match condition {
            Value::Flag(true) => return Ok(left.0),
            Value::Flag(false) => return Ok(right.0),
            Value::Tensor(tensor) if tensor.ty.dtype == Dtype::Bool => tensor,
            Value::Tensor(tensor) => {
                let title = format!("the condition of `where` is bool, and this is {}", self.type_text(&tensor.ty));
                return Err(self.report(
                    Diagnostic::error("BP0203", title, place, format!("dtype {}", tensor.ty.dtype))
                        .with_help("compare it, as in `x > 0`, or cast: `bool(x)`"),
                ));
            }
            other => {
                let title =
                    format!("the condition of `where` is a bool tensor, and this is {}", other.kind(&self.sizes));
                return self.error("BP0204", title, place, "expected a bool tensor");
            }
        };
        let places = [place, left.1, right.1];
        let [x, y] = self.same_dtype("where", left, right, arguments.span)?;
        let all = [(&condition, places[0]), (&x, places[1]), (&y, places[2])];
        let (shape, origins) = self.common_shape("where", &all, arguments.span)?;
        let condition = self.broadcast(&condition, &shape, arguments.span)?;
        let x = self.broadcast(&x, &shape, arguments.span)?;
        let y = self.broadcast(&y, &shape, arguments.span)?;
        let result = self.emit(Op::Select {}, &[&condition, &x, &y], arguments.span)?;
        Ok(Value::Tensor(Lowering::with_origins(result, origins)))
    }
}
