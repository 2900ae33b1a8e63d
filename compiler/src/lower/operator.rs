//! Operators: arithmetic, comparisons and logic on static values and on tensors, with broadcasting.
//!
//! Expects: evaluated operands with their places.
//! Guarantees: static operands give static values; a static number beside a tensor takes its dtype; shapes agree as
//! NumPy's do, and a conflict names both operands and where the two sizes come from.
//! Leaves out: the products (`builtin::product`).

use super::context::{Lowering, Outcome, Reported};
use super::value::{Origins, Tensor, Value, equal};
use crate::ir::op::Op;
use crate::ir::rounded;
use crate::ir::types::{Dtype, Literal};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::{BinaryOperator, Span, UnaryOperator};

/// A value and where it stands.
pub(super) type Placed = (Value, Span);

impl Lowering<'_> {
    /// `left operator right`.
    pub fn binary(&mut self, operator: BinaryOperator, left: Placed, right: Placed, span: Span) -> Outcome<Value> {
        use BinaryOperator as B;
        if operator == B::MatrixMultiply {
            return self.matmul(left, right, span).map(Value::Tensor);
        }
        if !matches!(left.0, Value::Tensor(_)) && !matches!(right.0, Value::Tensor(_)) {
            return self.static_binary(operator, left, right, span);
        }
        let text = symbol(operator);
        if operator == B::Power
            && let (Value::Tensor(base), Value::Integer(exponent)) = (&left.0, &right.0)
            && (*exponent == 2 || (base.ty.dtype.is_integer() && *exponent >= 0))
        {
            return self.whole_power(base.clone(), *exponent, span).map(Value::Tensor);
        }
        let (x, y) = self.pair(text, left, right, span)?;
        let dtype = x.ty.dtype;
        if matches!(operator, B::And | B::Or | B::Xor) && dtype != Dtype::Bool {
            let title = format!("`{text}` combines bool values, and these have dtype {dtype}");
            return Err(self.report(
                Diagnostic::error("BP0203", title, span, "here")
                    .with_help("compare first, as in `x > 0`, or cast: `bool(x)`"),
            ));
        }
        if dtype == Dtype::Bool && matches!(operator, B::Add | B::Subtract | B::Multiply | B::Divide | B::Power) {
            let title = format!("`{text}` works on numbers, and these are bool");
            return Err(self.report(
                Diagnostic::error("BP0203", title, span, "here")
                    .with_help("cast first, as in `f32(x)`, or use `and`, `or`, `xor`"),
            ));
        }
        let whole = dtype.is_integer();
        if matches!(operator, B::Divide) && whole {
            return Err(self.report(
                Diagnostic::error("BP0203", format!("`/` divides floats, and these have dtype {dtype}"), span, "here")
                    .with_help("use `//` for whole numbers, or cast: `f32(x) / f32(y)`"),
            ));
        }
        if matches!(operator, B::FloorDivide | B::Remainder) && !whole {
            return Err(self.report(
                Diagnostic::error(
                    "BP0203",
                    format!("`{text}` is for whole numbers, and these have dtype {dtype}"),
                    span,
                    "here",
                )
                .with_help("for floats write `floor(x / y)`"),
            ));
        }
        let result = match operator {
            B::Or => self.emit(Op::Or {}, &[&x, &y], span)?,
            B::Xor => self.emit(Op::Xor {}, &[&x, &y], span)?,
            B::And => self.emit(Op::And {}, &[&x, &y], span)?,
            B::Equal => self.emit(Op::Equal {}, &[&x, &y], span)?,
            B::NotEqual => {
                let same = self.emit(Op::Equal {}, &[&x, &y], span)?;
                self.emit(Op::Not {}, &[&same], span)?
            }
            B::Less => self.emit(Op::Less {}, &[&x, &y], span)?,
            B::LessEqual => self.emit(Op::LessEqual {}, &[&x, &y], span)?,
            B::Greater => self.emit(Op::Less {}, &[&y, &x], span)?,
            B::GreaterEqual => self.emit(Op::LessEqual {}, &[&y, &x], span)?,
            B::Add => self.emit(Op::Add {}, &[&x, &y], span)?,
            B::Subtract => self.emit(Op::Sub {}, &[&x, &y], span)?,
            B::Multiply => self.emit(Op::Mul {}, &[&x, &y], span)?,
            B::Divide => self.emit(Op::Div {}, &[&x, &y], span)?,
            B::Power => self.emit(Op::Pow {}, &[&x, &y], span)?,
            B::FloorDivide => self.floor_divide(&x, &y, span)?,
            B::Remainder => {
                let quotient = self.floor_divide(&x, &y, span)?;
                let product = self.emit(Op::Mul {}, &[&quotient, &y], span)?;
                self.emit(Op::Sub {}, &[&x, &product], span)?
            }
            B::MatrixMultiply => unreachable!("bug in bpc: products are handled above"),
        };
        let result = Lowering::with_origins(result, x.origins);
        Ok(Value::Tensor(result))
    }

    /// Rounds toward minus infinity, as the static `//` does, and gives 0 for a divisor of 0; the operation truncates.
    fn floor_divide(&mut self, x: &Tensor, y: &Tensor, span: Span) -> Outcome<Tensor> {
        let quotient = self.emit(Op::Div {}, &[x, y], span)?;
        if x.ty.dtype == Dtype::U32 {
            return Ok(quotient);
        }
        let product = self.emit(Op::Mul {}, &[&quotient, y], span)?;
        let rest = self.emit(Op::Sub {}, &[x, &product], span)?;
        let zero = self.constant(Literal::integer(x.ty.dtype, 0), &x.ty.shape, span)?;
        let exact = self.emit(Op::Equal {}, &[&rest, &zero], span)?;
        let inexact = self.emit(Op::Not {}, &[&exact], span)?;
        let rest_negative = self.emit(Op::Less {}, &[&rest, &zero], span)?;
        let divisor_negative = self.emit(Op::Less {}, &[y, &zero], span)?;
        let signs_differ = self.emit(Op::Xor {}, &[&rest_negative, &divisor_negative], span)?;
        let lower = self.emit(Op::And {}, &[&inexact, &signs_differ], span)?;
        // What is left over by a divisor of 0 says nothing.
        let by_zero = self.emit(Op::Equal {}, &[y, &zero], span)?;
        let divides = self.emit(Op::Not {}, &[&by_zero], span)?;
        let lower = self.emit(Op::And {}, &[&lower, &divides], span)?;
        let lower = self.emit(Op::Cast { dtype: x.ty.dtype }, &[&lower], span)?;
        self.emit(Op::Sub {}, &[&quotient, &lower], span)
    }

    fn whole_power(&mut self, base: Tensor, exponent: i64, span: Span) -> Outcome<Tensor> {
        if exponent == 0 {
            return self.constant(Literal::integer(base.ty.dtype, 1), &base.ty.shape.clone(), span);
        }
        let mut square = base;
        let mut exponent = exponent;
        let mut result: Option<Tensor> = None;
        loop {
            if exponent % 2 == 1 {
                result = Some(match result {
                    None => square.clone(),
                    Some(partial) => self.emit(Op::Mul {}, &[&partial, &square], span)?,
                });
            }
            exponent /= 2;
            if exponent == 0 {
                return Ok(result.expect("bug in bpc: a power without factors"));
            }
            let origins = square.origins.clone();
            square = Lowering::with_origins(self.emit(Op::Mul {}, &[&square, &square], span)?, origins);
        }
    }

    /// `-x`, `not x`.
    pub fn unary(&mut self, operator: UnaryOperator, (value, place): Placed, span: Span) -> Outcome<Value> {
        match (operator, value) {
            (_, Value::Poison) => Err(Reported),
            (_, Value::Gone(_, why)) => self.error("BP0406", why.to_string(), place, "not saved"),
            (UnaryOperator::Negate, Value::Integer(value)) => match value.checked_neg() {
                Some(value) => Ok(Value::Integer(value)),
                None => self.error("BP0212", "the number is too large", span, "does not fit in 64 bits"),
            },
            (UnaryOperator::Negate, Value::Real(value)) => Ok(Value::Real(-value)),
            (UnaryOperator::Not, Value::Flag(value)) => Ok(Value::Flag(!value)),
            (operator, Value::Tensor(x)) => {
                let op = if operator == UnaryOperator::Negate { Op::Neg {} } else { Op::Not {} };
                let result = self.emit(op, &[&x], span)?;
                Ok(Value::Tensor(Lowering::with_origins(result, x.origins)))
            }
            (operator, other) => {
                let text = if operator == UnaryOperator::Negate { "-" } else { "not" };
                let title = format!("`{text}` does not apply to {}", other.kind(&self.sizes));
                self.error("BP0204", title, place, "here")
            }
        }
    }

    fn static_binary(
        &mut self,
        operator: BinaryOperator,
        (left, left_span): Placed,
        (right, right_span): Placed,
        span: Span,
    ) -> Outcome<Value> {
        use BinaryOperator as B;
        for (value, place) in [(&left, left_span), (&right, right_span)] {
            match value {
                Value::Poison => return Err(Reported),
                Value::Gone(_, why) => {
                    let why = why.to_string();
                    return self.error("BP0406", why, place, "not saved");
                }
                _ => {}
            }
        }
        match (operator, &left, &right) {
            (B::Equal | B::NotEqual, _, _) => {
                if let Some(same) = equal(&left, &right) {
                    return Ok(Value::Flag(same == (operator == B::Equal)));
                }
            }
            (B::And, Value::Flag(a), Value::Flag(b)) => return Ok(Value::Flag(*a && *b)),
            (B::Or, Value::Flag(a), Value::Flag(b)) => return Ok(Value::Flag(*a || *b)),
            (B::Xor, Value::Flag(a), Value::Flag(b)) => return Ok(Value::Flag(a != b)),
            (B::Add, Value::List(a), Value::List(b)) => return Ok(Value::List([a.as_slice(), b].concat())),
            (_, Value::Integer(a), Value::Integer(b)) => {
                if let Some(value) = whole_arithmetic(operator, *a, *b) {
                    let rounded = operator == B::FloorDivide && *b > 1 && a % b != 0;
                    if rounded && self.sizes.is_named(a.unsigned_abs()) {
                        self.rounded.push((left_span, right_span));
                    }
                    return Ok(value);
                }
                if *b == 0 && matches!(operator, B::FloorDivide | B::Remainder) {
                    return self.error("BP0212", "division by zero", right_span, "this is 0");
                }
                if !matches!(operator, B::And | B::Or | B::Xor) {
                    return self.error("BP0212", "the result does not fit in 64 bits", span, "too large");
                }
            }
            _ => {
                if let (Some(a), Some(b)) = (left.number(), right.number())
                    && let Some(value) = real_arithmetic(operator, a, b)
                {
                    return Ok(value);
                }
            }
        }
        let title = format!(
            "`{}` does not apply to {} and {}",
            symbol(operator),
            left.kind(&self.sizes),
            right.kind(&self.sizes)
        );
        Err(self.report(
            Diagnostic::error("BP0204", title, span, "here")
                .with_label(left_span, left.kind(&self.sizes))
                .with_label(right_span, right.kind(&self.sizes)),
        ))
    }

    /// Two values, one of them a tensor, as tensors of one type.
    pub fn pair(&mut self, what: &str, left: Placed, right: Placed, span: Span) -> Outcome<(Tensor, Tensor)> {
        let places = [left.1, right.1];
        let [x, y] = self.same_dtype(what, left, right, span)?;
        let (shape, origins) = self.common_shape(what, &[(&x, places[0]), (&y, places[1])], span)?;
        let mut x = self.broadcast(&x, &shape, span)?;
        let mut y = self.broadcast(&y, &shape, span)?;
        x.origins.clone_from(&origins);
        y.origins = origins;
        Ok((x, y))
    }

    /// Two values as tensors of one dtype; a static number becomes a scalar of the other's dtype.
    pub fn same_dtype(&mut self, what: &str, left: Placed, right: Placed, span: Span) -> Outcome<[Tensor; 2]> {
        let dtype = match (&left.0, &right.0) {
            (Value::Tensor(x), Value::Tensor(y)) if x.ty.dtype != y.ty.dtype => {
                let title = format!("`{what}` meets {} and {}", x.ty.dtype, y.ty.dtype);
                let (x_text, y_text) = (self.type_text(&x.ty), self.type_text(&y.ty));
                let (wanted, written) = cast_hint(x.ty.dtype, y.ty.dtype, left.1, right.1);
                let text = self.program.sources.text(written.file);
                let source = text.get(written.start as usize..written.end as usize).unwrap_or("x");
                let help = format!("there are no silent conversions: cast one, as in `{wanted}({source})`");
                return Err(self.report(
                    Diagnostic::error("BP0203", title, span, "dtypes must agree")
                        .with_label(left.1, x_text)
                        .with_label(right.1, y_text)
                        .with_help(help),
                ));
            }
            (Value::Tensor(tensor), _) | (_, Value::Tensor(tensor)) => tensor.ty.dtype,
            (Value::Real(_), _) | (_, Value::Real(_)) => Dtype::F32,
            (Value::Flag(_), Value::Flag(_)) => Dtype::Bool,
            _ => Dtype::I32,
        };
        let x = self.as_tensor(what, left, dtype)?;
        let y = self.as_tensor(what, right, dtype)?;
        Ok([x, y])
    }

    /// A value as a tensor; a static number becomes a scalar of that dtype.
    pub fn as_tensor(&mut self, what: &str, (value, span): Placed, dtype: Dtype) -> Outcome<Tensor> {
        match value {
            Value::Tensor(tensor) => Ok(tensor),
            Value::Poison => Err(Reported),
            Value::Gone(_, why) => self.error("BP0406", why.to_string(), span, "not saved"),
            value if value.is_scalar() => {
                let literal = self.literal(&value, dtype, span)?;
                self.constant(literal, &[], span)
            }
            other => {
                let title = format!("`{what}` works on tensors and numbers, and this is {}", other.kind(&self.sizes));
                self.error("BP0204", title, span, "expected a tensor")
            }
        }
    }

    /// The shape that all broadcast to, and where its sizes come from.
    pub fn common_shape(
        &mut self,
        what: &str,
        tensors: &[(&Tensor, Span)],
        span: Span,
    ) -> Outcome<(Vec<u64>, Origins)> {
        let rank = tensors.iter().map(|(tensor, _)| tensor.ty.rank()).max().unwrap_or(0);
        let mut shape = vec![1; rank];
        let mut origins: Origins = vec![None; rank];
        let mut givers: Vec<usize> = vec![0; rank];
        for (index, (tensor, _)) in tensors.iter().enumerate() {
            let missing = rank - tensor.ty.rank();
            for (axis, size) in tensor.ty.shape.iter().enumerate() {
                let place = axis + missing;
                if shape[place] == 1 {
                    shape[place] = *size;
                    origins[place].clone_from(&tensor.origins[axis]);
                    givers[place] = index;
                } else if *size != 1 && *size != shape[place] {
                    let from = tensors[givers[place]];
                    let ends = [(from.0, from.1, place), (*tensor, tensors[index].1, place)];
                    return Err(self.shape_conflict(what, ends, rank, span));
                } else if origins[place].is_none() && *size != 1 {
                    origins[place].clone_from(&tensor.origins[axis]);
                }
            }
        }
        Ok((shape, origins))
    }

    fn shape_conflict(&mut self, what: &str, ends: [(&Tensor, Span, usize); 2], rank: usize, span: Span) -> Reported {
        let mut sizes = Vec::new();
        let mut labels = Vec::new();
        let mut notes = Vec::new();
        for (tensor, place, axis) in ends {
            let axis = axis + tensor.ty.rank() - rank;
            let size = self.sizes.text(tensor.ty.shape[axis]);
            labels.push((place, self.type_text(&tensor.ty)));
            if let Some(origin) = &tensor.origins[axis] {
                notes.push((origin.span, format!("{size} comes from `{}` here", origin.text)));
            }
            sizes.push(size);
        }
        let title =
            format!("the shapes of `{what}` do not agree: {} and {} in axis -{}", sizes[0], sizes[1], rank - ends[0].2);
        let mut diagnostic = Diagnostic::error("BP0201", title, span, "sizes must be equal, or one of them 1");
        for (place, text) in labels.into_iter().chain(notes) {
            if place != span {
                diagnostic = diagnostic.with_label(place, text);
            }
        }
        self.report(diagnostic)
    }

    /// A tensor repeated to a shape that it broadcasts to.
    pub fn broadcast(&mut self, tensor: &Tensor, shape: &[u64], span: Span) -> Outcome<Tensor> {
        if tensor.ty.shape == shape {
            return Ok(tensor.clone());
        }
        let here = self.building.len() - 1;
        if tensor.level == here
            && let Op::Constant { value, .. } = self.building[here].region.nodes[tensor.node].op
        {
            return self.constant(value, shape, span);
        }
        let mut tensor = tensor.clone();
        if tensor.ty.rank() < shape.len() {
            let missing = shape.len() - tensor.ty.rank();
            let mut padded = vec![1; missing];
            padded.extend(&tensor.ty.shape);
            tensor = self.emit(Op::Reshape { shape: padded }, &[&tensor], span)?;
        }
        if tensor.ty.shape == shape {
            return Ok(tensor);
        }
        self.emit(Op::Broadcast { shape: shape.to_vec() }, &[&tensor], span)
    }
}

/// Which dtype to cast to, and which operand: whole numbers and bool to float, f32 to f64.
fn cast_hint(x: Dtype, y: Dtype, left: Span, right: Span) -> (Dtype, Span) {
    let width = |dtype: Dtype| (dtype.is_float(), dtype != Dtype::Bool, dtype.bytes());
    if width(x) >= width(y) { (x, right) } else { (y, left) }
}

fn whole_arithmetic(operator: BinaryOperator, a: i64, b: i64) -> Option<Value> {
    use BinaryOperator as B;
    Some(match operator {
        B::Add => Value::Integer(a.checked_add(b)?),
        B::Subtract => Value::Integer(a.checked_sub(b)?),
        B::Multiply => Value::Integer(a.checked_mul(b)?),
        B::FloorDivide => {
            let quotient = a.checked_div(b)?;
            Value::Integer(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
        }
        B::Remainder => {
            let rest = a.checked_rem(b)?;
            Value::Integer(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        B::Power if b >= 0 => Value::Integer(a.checked_pow(u32::try_from(b).ok()?)?),
        _ => return real_arithmetic(operator, a as f64, b as f64),
    })
}

fn real_arithmetic(operator: BinaryOperator, a: f64, b: f64) -> Option<Value> {
    use BinaryOperator as B;
    Some(match operator {
        B::Add => Value::Real(a + b),
        B::Subtract => Value::Real(a - b),
        B::Multiply => Value::Real(a * b),
        B::Divide => Value::Real(a / b),
        B::Power => {
            let [a, b] = [a, b].map(|number| Literal::new(Dtype::F64, number));
            Value::Real(rounded::binary(&Op::Pow {}, a, b).as_f64())
        }
        B::Less => Value::Flag(a < b),
        B::LessEqual => Value::Flag(a <= b),
        B::Greater => Value::Flag(a > b),
        B::GreaterEqual => Value::Flag(a >= b),
        _ => return None,
    })
}

/// An operator as it is written.
pub(super) fn symbol(operator: BinaryOperator) -> &'static str {
    use BinaryOperator as B;
    match operator {
        B::Or => "or",
        B::Xor => "xor",
        B::And => "and",
        B::Equal => "==",
        B::NotEqual => "!=",
        B::Less => "<",
        B::LessEqual => "<=",
        B::Greater => ">",
        B::GreaterEqual => ">=",
        B::Add => "+",
        B::Subtract => "-",
        B::Multiply => "*",
        B::Divide => "/",
        B::FloorDivide => "//",
        B::Remainder => "%",
        B::MatrixMultiply => "@",
        B::Power => "^",
    }
}
