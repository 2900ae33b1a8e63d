//! Primitives on static values: lists of whole numbers, `assert`, and `warn`.

use super::Arguments;
use crate::ir::graph::OutputRole;
use crate::ir::op::{Op, OpClass};
use crate::ir::types::Dtype;
use crate::lower::context::{Frame, Lowering, Outcome};
use crate::lower::model::Warning;
use crate::lower::value::Value;
use bpc_lang::diagnostics::Diagnostic;

impl Lowering<'_> {
    pub(super) fn of_list(&mut self, arguments: &Arguments) -> Outcome<Value> {
        if arguments.name == "len" {
            let (value, span) = arguments.placed("x");
            return match value {
                Value::List(values) | Value::Tuple(values) => Ok(Value::Integer(values.len() as i64)),
                Value::Text(text) => Ok(Value::Integer(text.chars().count() as i64)),
                other => {
                    let title = format!("`len` counts the entries of a list, and this is {}", other.kind(&self.sizes));
                    self.error("BP0204", title, span, "expected a list")
                }
            };
        }
        let mut product: i64 = 1;
        for number in self.integers(arguments, "dims")? {
            product = match product.checked_mul(number) {
                Some(product) => product,
                None => {
                    return self.error("BP0212", "the product does not fit in 64 bits", arguments.span, "too large");
                }
            };
        }
        Ok(Value::Integer(product))
    }

    pub(super) fn entrywise(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (x, y) = (self.integers(arguments, "x")?, self.integers(arguments, "y")?);
        if x.len() != y.len() {
            let title =
                format!("`{}` takes lists of one length, and these have {} and {}", arguments.name, x.len(), y.len());
            return self.error("BP0202", title, arguments.span, "lengths differ");
        }
        let sign = if arguments.name == "plus" { 1 } else { -1 };
        let mut numbers = Vec::new();
        for (x, y) in x.into_iter().zip(y) {
            match y.checked_mul(sign).and_then(|y| x.checked_add(y)) {
                Some(number) => numbers.push(Value::Integer(number)),
                None => return self.error("BP0212", "the result does not fit in 64 bits", arguments.span, "too large"),
            }
        }
        Ok(Value::List(numbers))
    }

    pub(super) fn invert(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let axes = self.integers(arguments, "axes")?;
        let mut inverse = Vec::new();
        for place in 0..axes.len() as i64 {
            match axes.iter().position(|axis| *axis == place) {
                Some(index) => inverse.push(Value::Integer(index as i64)),
                None => {
                    let title = format!("`invert` takes a permutation, and {place} is missing");
                    return self.error("BP0204", title, arguments.placed("axes").1, "no permutation");
                }
            }
        }
        Ok(Value::List(inverse))
    }

    /// `warn(condition, message, at)`: a static condition warns at the caller's line; another one is a result of the step
    /// that training reads, and the whole numbers `at` with it.
    pub(super) fn warning(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (message, message_place) = arguments.placed("message");
        let Value::Text(message) = message else {
            return self.error("BP0204", "the message of `warn` is a string", message_place, "expected a string");
        };
        if let (Value::Flag(wrong), place) = arguments.placed("condition") {
            if wrong {
                let blamed = self.calls.last().map_or(place, |(span, ..)| *span);
                self.report(Diagnostic::warning("BP0217", message, blamed, "here"));
            }
            return Ok(Value::Flag(true));
        }
        let condition = self.tensor(arguments, "condition")?;
        if condition.ty.rank() != 0 || condition.ty.dtype != Dtype::Bool {
            let title = format!("`warn` takes a bool scalar, and this is {}", self.type_text(&condition.ty));
            return self.error("BP0203", title, arguments.placed("condition").1, "expected bool[]");
        }
        if self.building.len() > 1 {
            let title = "`warn` stands outside loops and rules";
            return self.error("BP0301", title, arguments.span, "the step as a whole warns");
        }
        let site = self.frames.last().map_or_else(Vec::new, Frame::site).join(".");
        // Several lines may stand at one site.
        let name = format!("{site}#{}", self.model.warnings.len());
        let result = match arguments.find("at") {
            Some(given) => {
                let at = self.tensor(arguments, "at")?;
                if at.ty.rank() != 1 || at.ty.dtype != Dtype::I32 {
                    let title = format!("`at` of `warn` is an i32 vector, and this is {}", self.type_text(&at.ty));
                    return self.error("BP0203", title, given.span, "expected i32[..]");
                }
                let holds = self.emit(Op::Cast { dtype: Dtype::I32 }, &[&condition], arguments.span)?;
                let holds = self.emit(Op::Reshape { shape: vec![1] }, &[&holds], arguments.span)?;
                self.emit(Op::Concat { axis: 0 }, &[&holds, &at], arguments.span)?
            }
            None => condition,
        };
        let node = self.node_here(&result);
        self.region().result(OutputRole::Warning, &name, node);
        self.model.warnings.push(Warning { name, site, message });
        Ok(Value::Flag(true))
    }

    /// While a declaration is checked with representative sizes, a condition that does not hold for them says nothing about
    /// the program: only what does not depend on sizes is still looked at.
    pub(super) fn assertion(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (condition, place) = arguments.placed("condition");
        let (message, message_place) = arguments.placed("message");
        let Value::Text(message) = message else {
            return self.error("BP0204", "the message of `assert` is a string", message_place, "expected a string");
        };
        match condition {
            Value::Flag(true) => Ok(Value::Flag(true)),
            Value::Flag(false) if self.sizes.in_use() => {
                self.sizes_doubted = true;
                Ok(Value::Flag(false))
            }
            Value::Flag(false) => {
                // The caller is to blame, so the caller's line comes first.
                let blamed = self.calls.last().map_or(place, |(span, ..)| *span);
                let mut diagnostic = Diagnostic::error("BP0210", message, blamed, "here");
                if blamed != place {
                    diagnostic = diagnostic.with_label(place, "this must hold");
                }
                Err(self.report(diagnostic))
            }
            other => {
                let title = format!("`assert` takes a static condition, and this is {}", other.kind(&self.sizes));
                self.error("BP0214", title, place, "expected true or false")
            }
        }
    }

    /// `made_by(x, "softmax")`: known for functions with a rule, whose calls stay whole; views of the value count as it.
    pub(super) fn made_by(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (name, place) = arguments.placed("function");
        let Value::Text(name) = name else {
            return self.error("BP0204", "`made_by` takes the name of a function", place, "expected a string");
        };
        let Value::Tensor(x) = arguments.placed("x").0 else { return Ok(Value::Flag(false)) };
        let region = &self.building[x.level].region;
        let mut node = &region.nodes[x.node];
        while matches!(node.op.class(), OpClass::View) {
            node = &region.nodes[node.operands[0]];
        }
        Ok(Value::Flag(matches!(&node.op, Op::Ruled { of, .. } if *of == name)))
    }
}
