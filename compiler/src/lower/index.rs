//! `x[..]`: elements, ranges and rows of tensors, lists and dims.
//!
//! Expects: evaluated operands.
//! Guarantees: static places are checked against the sizes; negative ones count from the end.
//! Leaves out: places that are computed tensors, apart from one tensor of row numbers (`take`).

use super::bind::count;
use super::context::{Lowering, Outcome, Reported};
use super::value::{Tensor, Value};
use crate::ir::op::Op;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::{Expr, IndexItem, Span};

/// A range of one axis, after negative places and defaults are worked out.
struct Range {
    start: u64,
    stop: u64,
    step: i64,
}

impl Lowering<'_> {
    /// `value[items]`.
    pub fn index(&mut self, value: Value, place: Span, items: &[IndexItem], span: Span) -> Outcome<Value> {
        match value {
            Value::List(values) => self.index_list(values, items, span),
            Value::Tuple(values) => self.index_list(values, items, span),
            Value::Tensor(tensor) => self.index_tensor(tensor, items, span).map(Value::Tensor),
            Value::Poison => Err(Reported),
            Value::Gone(_, why) => self.error("BP0406", why.to_string(), place, "not saved"),
            other => {
                let title = format!("{} cannot be indexed", other.kind(&self.sizes));
                self.error("BP0204", title, place, "expected a tensor or a list")
            }
        }
    }

    fn index_list(&mut self, values: Vec<Value>, items: &[IndexItem], span: Span) -> Outcome<Value> {
        match items {
            [IndexItem::At(expr)] => {
                let place = self.expression(expr)?;
                let at = self.place(place, expr.span, values.len() as u64)?;
                Ok(values[at as usize].clone())
            }
            [IndexItem::Range { start, stop, step, span }] => {
                let parts = [start.as_ref(), stop.as_ref(), step.as_ref()];
                let range = self.range(parts, values.len() as u64, *span)?;
                let mut taken: Vec<Value> = values[range.start as usize..range.stop as usize].to_vec();
                if range.step < 0 {
                    taken.reverse();
                }
                Ok(Value::List(taken.into_iter().step_by(range.step.unsigned_abs() as usize).collect()))
            }
            _ => self.error("BP0209", "a list has one axis", span, "one place or one range is wanted"),
        }
    }

    fn index_tensor(&mut self, tensor: Tensor, items: &[IndexItem], span: Span) -> Outcome<Tensor> {
        let mut alone = None;
        if let [IndexItem::At(expr)] = items {
            match self.expression(expr)? {
                Value::Tensor(indices) => return self.take(&tensor, &indices, span),
                place => alone = Some(place),
            }
        }
        let named = items.iter().filter(|item| !matches!(item, IndexItem::Rest(_))).count();
        let rank = tensor.ty.rank();
        if named > rank {
            let title = format!("{} places for {} of {}", named, count(rank, "axis"), self.type_text(&tensor.ty));
            return self.error("BP0209", title, span, "too many places");
        }
        let mut starts = vec![0; rank];
        let mut stops = tensor.ty.shape.clone();
        let mut steps = vec![1i64; rank];
        let mut dropped = vec![false; rank];
        let mut axis = 0;
        let mut rest_seen = false;
        for item in items {
            match item {
                IndexItem::Rest(place) => {
                    if rest_seen {
                        return self.error("BP0209", "`..` may stand once", *place, "the second one");
                    }
                    rest_seen = true;
                    axis += rank - named;
                }
                IndexItem::At(expr) => {
                    let place = match alone.take() {
                        Some(place) => place,
                        None => self.expression(expr)?,
                    };
                    let at = self.place(place, expr.span, tensor.ty.shape[axis])?;
                    (starts[axis], stops[axis], dropped[axis]) = (at, at + 1, true);
                    axis += 1;
                }
                IndexItem::Range { start, stop, step, span } => {
                    let parts = [start.as_ref(), stop.as_ref(), step.as_ref()];
                    let range = self.range(parts, tensor.ty.shape[axis], *span)?;
                    (starts[axis], stops[axis], steps[axis]) = (range.start, range.stop, range.step);
                    axis += 1;
                }
            }
        }
        let mut result = tensor.clone();
        if starts.iter().any(|start| *start > 0) || stops != tensor.ty.shape {
            result = self.emit(Op::Slice { starts, stops }, &[&result], span)?;
        }
        for (axis, step) in steps.iter().enumerate() {
            if *step < 0 {
                result = self.emit(Op::Reverse { axis: axis as u32 }, &[&result], span)?;
            }
            let stride = step.unsigned_abs();
            if stride > 1 && result.ty.shape[axis] > 0 {
                result = self.emit(Op::Windows { axis: axis as u32, size: 1, stride }, &[&result], span)?;
                let mut shape = result.ty.shape.clone();
                shape.remove(axis + 1);
                result = self.emit(Op::Reshape { shape }, &[&result], span)?;
            }
        }
        if dropped.contains(&true) {
            let shape = (0..rank).filter(|axis| !dropped[*axis]).map(|axis| result.ty.shape[axis]).collect();
            result = self.emit(Op::Reshape { shape }, &[&result], span)?;
        }
        let origins = (0..rank)
            .filter(|axis| !dropped[*axis])
            .map(|axis| if steps[axis] == 1 { tensor.origins[axis].clone() } else { None })
            .collect::<Vec<_>>();
        let kept: Vec<u64> = (0..rank).filter(|axis| !dropped[*axis]).map(|axis| tensor.ty.shape[axis]).collect();
        let origins = origins
            .into_iter()
            .zip(kept.iter().zip(&result.ty.shape))
            .map(|(origin, (before, after))| if before == after { origin } else { None })
            .collect();
        Ok(Lowering::with_origins(result, origins))
    }

    /// A place of an axis, counted from its start.
    fn place(&mut self, place: Value, written: Span, size: u64) -> Outcome<u64> {
        let at = match place {
            Value::Integer(at) => at,
            Value::Poison => return Err(Reported),
            Value::Tensor(_) => {
                return Err(self.report(
                    Diagnostic::error(
                        "BP0209",
                        "a computed index takes rows, alone: `x[indices]`",
                        written,
                        "this is a tensor",
                    )
                    .with_help("use `take(x, indices)` for rows, or `pick(x, index)` for one entry of each row"),
                ));
            }
            other => {
                let title = format!("a place is a whole number, and this is {}", other.kind(&self.sizes));
                return self.error("BP0209", title, written, "expected a whole number");
            }
        };
        let from_start = if at < 0 { at + size as i64 } else { at };
        if from_start < 0 || from_start >= size as i64 {
            let title = format!("there is no place {at} in an axis of {}", self.sizes.text(size));
            return self.error("BP0209", title, written, "out of range");
        }
        Ok(from_start as u64)
    }

    fn range(&mut self, parts: [Option<&Expr>; 3], size: u64, span: Span) -> Outcome<Range> {
        let mut numbers = [None; 3];
        for (number, part) in numbers.iter_mut().zip(parts) {
            if let Some(expr) = part {
                *number = match self.expression(expr)? {
                    Value::Integer(value) => Some(value),
                    Value::Poison => return Err(Reported),
                    other => {
                        let title =
                            format!("the ends of a range are whole numbers, and this is {}", other.kind(&self.sizes));
                        return self.error("BP0209", title, expr.span, "expected a whole number");
                    }
                };
            }
        }
        let size = size as i64;
        let end = |value: i64| (if value < 0 { value + size } else { value }).clamp(0, size);
        let step = numbers[2].unwrap_or(1);
        if step == 0 || (step < 0 && (numbers[0].is_some() || numbers[1].is_some())) {
            let title = "a step is a whole number other than 0; a negative one takes the whole axis, as in `x[::-1]`";
            return self.error("BP0209", title, span, "this range");
        }
        let start = end(numbers[0].unwrap_or(0));
        let stop = end(numbers[1].unwrap_or(size)).max(start);
        if let Some(written) = numbers[1]
            && written > size
        {
            self.sizes_doubted |= self.sizes.is_named(written as u64) || self.sizes.is_named(size as u64);
            let title = format!("the range ends at {written}, and the axis has {}", self.sizes.text(size as u64));
            return self.error("BP0209", title, span, "out of range");
        }
        Ok(Range { start: start as u64, stop: stop as u64, step })
    }
}
