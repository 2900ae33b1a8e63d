//! The elementwise operations of the op table, on one element or on the lanes of a vector.
//!
//! Expects: operands of the dtypes that the op table allows; heavy operations go to the runtime (`runtime::routine`).
//! Guarantees: a lane of a vector has the bits that the operation gives for one element; nothing is contracted.
//! Leaves out: where operands come from.
//!
//! A bool is 0 or 1 in an I8 as one element, and all ones or all zeros of the width of the other lanes in a vector.

use super::emitter::{BITS, Emitter, element_type};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::ReductionKind;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

/// The type of a value with this many lanes.
pub(super) fn lane_type(dtype: Dtype, lanes: u32) -> Type {
    match (dtype, lanes) {
        (_, 1) => element_type(dtype),
        (Dtype::Bool, 2) => types::I64X2,
        (Dtype::Bool, _) => types::I32X4,
        _ => element_type(dtype).by(lanes).expect("bug in bpc: a vector of unknown width"),
    }
}

/// The integer vector of the same width.
fn mask_type(lanes: u32) -> Type {
    lane_type(Dtype::Bool, lanes)
}

impl Emitter<'_, '_> {
    /// A literal in every lane.
    pub(super) fn splat_literal(&mut self, literal: Literal, lanes: u32) -> Value {
        let element = self.literal(literal);
        self.splat(element, literal.dtype, lanes)
    }

    /// One element in every lane.
    pub(super) fn splat(&mut self, element: Value, dtype: Dtype, lanes: u32) -> Value {
        if lanes == 1 {
            return element;
        }
        if dtype == Dtype::Bool {
            let wide = self.builder.ins().uextend(if lanes == 2 { types::I64 } else { types::I32 }, element);
            let ones = self.builder.ins().ineg(wide);
            return self.builder.ins().splat(mask_type(lanes), ones);
        }
        self.builder.ins().splat(lane_type(dtype, lanes), element)
    }

    /// A small number in every lane.
    fn number(&mut self, dtype: Dtype, value: i64, lanes: u32) -> Value {
        self.splat_literal(Literal::integer(dtype, value), lanes)
    }

    /// x where the condition holds, else y.
    pub(super) fn choose(&mut self, condition: Value, x: Value, y: Value, lanes: u32) -> Value {
        if lanes == 1 {
            return self.builder.ins().select(condition, x, y);
        }
        let ty = self.builder.func.dfg.value_type(x);
        let mask = self.reinterpret(condition, ty);
        self.builder.ins().bitselect(mask, x, y)
    }

    /// The same bits as another vector type.
    fn reinterpret(&mut self, value: Value, ty: Type) -> Value {
        if self.builder.func.dfg.value_type(value) == ty { value } else { self.builder.ins().bitcast(ty, BITS, value) }
    }

    fn compare(&mut self, dtype: Dtype, signed: IntCC, float: FloatCC, x: Value, y: Value) -> Value {
        if dtype.is_float() {
            self.builder.ins().fcmp(float, x, y)
        } else if matches!(dtype, Dtype::U32 | Dtype::Bool) {
            self.builder.ins().icmp(signed.unsigned(), x, y)
        } else {
            self.builder.ins().icmp(signed, x, y)
        }
    }

    /// A function of single elements, lane by lane.
    fn by_lane(
        &mut self,
        result: Type,
        operands: &[Value],
        lanes: u32,
        f: impl Fn(&mut Self, &[Value]) -> Value,
    ) -> Value {
        if lanes == 1 {
            return f(self, operands);
        }
        let mut vector = None;
        for lane in 0..lanes as u8 {
            let elements: Vec<Value> =
                operands.iter().map(|operand| self.builder.ins().extractlane(*operand, lane)).collect();
            let element = f(self, &elements);
            vector = Some(match vector {
                None => self.builder.ins().scalar_to_vector(result, element),
                Some(vector) => self.builder.ins().insertlane(vector, element, lane),
            });
        }
        vector.expect("bug in bpc: a vector without lanes")
    }

    /// A unary operation that is not heavy.
    pub(super) fn unary(&mut self, op: &Op, dtype: Dtype, x: Value, lanes: u32) -> Value {
        match op {
            Op::Neg {} if dtype.is_float() => self.builder.ins().fneg(x),
            Op::Neg {} => self.builder.ins().ineg(x),
            Op::Abs {} if dtype.is_float() => self.builder.ins().fabs(x),
            Op::Abs {} if dtype == Dtype::U32 => x,
            Op::Abs {} => {
                let zero = self.number(dtype, 0, lanes);
                let negative = self.builder.ins().icmp(IntCC::SignedLessThan, x, zero);
                let negated = self.builder.ins().ineg(x);
                self.choose(negative, negated, x, lanes)
            }
            Op::Sign {} => {
                let (zero, one) = (self.number(dtype, 0, lanes), self.number(dtype, 1, lanes));
                let positive = self.compare(dtype, IntCC::SignedGreaterThan, FloatCC::GreaterThan, x, zero);
                let mut rest = x;
                if dtype != Dtype::U32 {
                    let minus_one = self.number(dtype, -1, lanes);
                    let negative = self.compare(dtype, IntCC::SignedLessThan, FloatCC::LessThan, x, zero);
                    rest = self.choose(negative, minus_one, x, lanes);
                }
                self.choose(positive, one, rest, lanes)
            }
            Op::Floor {} => self.builder.ins().floor(x),
            Op::Round {} => self.builder.ins().nearest(x),
            Op::Sqrt {} => self.builder.ins().sqrt(x),
            Op::Not {} if lanes == 1 => self.builder.ins().bxor_imm_u(x, 1),
            Op::Not {} => self.builder.ins().bnot(x),
            _ => panic!("bug in bpc: {} is not a unary operation of a kernel", op.name()),
        }
    }

    /// A binary operation that is not heavy; `dtype` is that of the operands.
    pub(super) fn binary(&mut self, op: &Op, dtype: Dtype, x: Value, y: Value, lanes: u32) -> Value {
        let float = dtype.is_float();
        match op {
            Op::Add {} if float => self.builder.ins().fadd(x, y),
            Op::Add {} => self.builder.ins().iadd(x, y),
            Op::Sub {} if float => self.builder.ins().fsub(x, y),
            Op::Sub {} => self.builder.ins().isub(x, y),
            Op::Mul {} if float => self.builder.ins().fmul(x, y),
            Op::Mul {} => self.builder.ins().imul(x, y),
            Op::Div {} if float => self.builder.ins().fdiv(x, y),
            Op::Div {} => {
                let ty = lane_type(dtype, lanes);
                self.by_lane(ty, &[x, y], lanes, |this, operands| this.divide(dtype, operands[0], operands[1]))
            }
            Op::Maximum {} => {
                self.larger(dtype, IntCC::SignedGreaterThanOrEqual, FloatCC::GreaterThanOrEqual, x, y, lanes)
            }
            Op::Minimum {} => self.larger(dtype, IntCC::SignedLessThanOrEqual, FloatCC::LessThanOrEqual, x, y, lanes),
            Op::Equal {} => self.compare(dtype, IntCC::Equal, FloatCC::Equal, x, y),
            Op::Less {} => self.compare(dtype, IntCC::SignedLessThan, FloatCC::LessThan, x, y),
            Op::LessEqual {} => self.compare(dtype, IntCC::SignedLessThanOrEqual, FloatCC::LessThanOrEqual, x, y),
            Op::And {} => self.builder.ins().band(x, y),
            Op::Or {} => self.builder.ins().bor(x, y),
            Op::Xor {} => self.builder.ins().bxor(x, y),
            _ => panic!("bug in bpc: {} is not a binary operation of a kernel", op.name()),
        }
    }

    /// x where it is NaN or `wins` over y, else y.
    fn larger(&mut self, dtype: Dtype, signed: IntCC, float: FloatCC, x: Value, y: Value, lanes: u32) -> Value {
        let wins = self.compare(dtype, signed, float, x, y);
        let chosen = self.choose(wins, x, y, lanes);
        if !dtype.is_float() {
            return chosen;
        }
        let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, x, x);
        self.choose(is_nan, x, chosen, lanes)
    }

    /// x / y of one whole number: 0 for y = 0; the smallest number over -1 wraps.
    fn divide(&mut self, dtype: Dtype, x: Value, y: Value) -> Value {
        let (zero, one) = (self.number(dtype, 0, 1), self.number(dtype, 1, 1));
        let by_zero = self.builder.ins().icmp(IntCC::Equal, y, zero);
        if dtype == Dtype::U32 {
            let divisor = self.builder.ins().select(by_zero, one, y);
            let quotient = self.builder.ins().udiv(x, divisor);
            return self.builder.ins().select(by_zero, zero, quotient);
        }
        let by_minus_one = self.builder.ins().icmp_imm_s(IntCC::Equal, y, -1);
        let special = self.builder.ins().bor(by_zero, by_minus_one);
        let divisor = self.builder.ins().select(special, one, y);
        let quotient = self.builder.ins().sdiv(x, divisor);
        let negated = self.builder.ins().ineg(x);
        let quotient = self.builder.ins().select(by_minus_one, negated, quotient);
        self.builder.ins().select(by_zero, zero, quotient)
    }

    /// x as another dtype; in a vector both have the same width.
    pub(super) fn cast(&mut self, x: Value, from: Dtype, to: Dtype, lanes: u32) -> Value {
        if from == to {
            return x;
        }
        let ty = lane_type(to, lanes);
        if from == Dtype::Bool {
            if lanes > 1 {
                let one = self.number(to, 1, lanes);
                let bits = self.reinterpret(one, mask_type(lanes));
                let masked = self.builder.ins().band(bits, x);
                return self.reinterpret(masked, ty);
            }
            if to.is_float() {
                let (zero, one) = (self.number(to, 0, 1), self.number(to, 1, 1));
                return self.builder.ins().select(x, one, zero);
            }
            return self.builder.ins().uextend(ty, x);
        }
        if to == Dtype::Bool {
            let zero = self.number(from, 0, lanes);
            return self.compare(from, IntCC::NotEqual, FloatCC::NotEqual, x, zero);
        }
        match (from.is_float(), to.is_float()) {
            (true, true) if to == Dtype::F64 => self.builder.ins().fpromote(ty, x),
            (true, true) => self.builder.ins().fdemote(ty, x),
            (true, false) => {
                let lanes = if from == Dtype::F64 || to == Dtype::U32 { lanes } else { 1 };
                self.by_lane(ty, &[x], lanes, |this, operands| {
                    let ty = if lanes == 1 { ty } else { element_type(to) };
                    if to == Dtype::U32 {
                        this.builder.ins().fcvt_to_uint_sat(ty, operands[0])
                    } else {
                        this.builder.ins().fcvt_to_sint_sat(ty, operands[0])
                    }
                })
            }
            (false, true) => {
                let lanes = if to == Dtype::F64 || from == Dtype::U32 { lanes } else { 1 };
                self.by_lane(ty, &[x], lanes, |this, operands| {
                    let ty = if lanes == 1 { ty } else { element_type(to) };
                    if from == Dtype::U32 {
                        this.builder.ins().fcvt_from_uint(ty, operands[0])
                    } else {
                        this.builder.ins().fcvt_from_sint(ty, operands[0])
                    }
                })
            }
            (false, false) => match (from.bytes(), to.bytes()) {
                (4, 8) if from == Dtype::U32 => self.builder.ins().uextend(ty, x),
                (4, 8) => self.builder.ins().sextend(ty, x),
                (8, 4) => self.builder.ins().ireduce(ty, x),
                _ => x,
            },
        }
    }

    /// Puts another value into an accumulator.
    pub(super) fn accumulate(&mut self, kind: ReductionKind, dtype: Dtype, sum: Value, x: Value, lanes: u32) -> Value {
        let op = match kind {
            ReductionKind::Sum => Op::Add {},
            ReductionKind::Max => Op::Maximum {},
            ReductionKind::Min => Op::Minimum {},
            ReductionKind::Argmax => panic!("bug in bpc: argmax has an accumulator of two parts"),
        };
        self.binary(&op, dtype, sum, x, lanes)
    }

    /// Whether x is the first largest value so far.
    fn is_new_largest(&mut self, dtype: Dtype, x: Value, largest: Value) -> Value {
        let larger = self.compare(dtype, IntCC::SignedGreaterThan, FloatCC::GreaterThan, x, largest);
        if !dtype.is_float() {
            return larger;
        }
        let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, x, x);
        let was_number = self.builder.ins().fcmp(FloatCC::Ordered, largest, largest);
        let first_nan = self.builder.ins().band(is_nan, was_number);
        self.builder.ins().bor(larger, first_nan)
    }

    /// The larger of what there is so far and a later value, each with its index; of equal ones, the former.
    pub(super) fn largest_so_far(
        &mut self,
        dtype: Dtype,
        before: (Value, Value),
        x: (Value, Value),
        lanes: u32,
    ) -> (Value, Value) {
        let is_new = self.is_new_largest(dtype, x.0, before.0);
        (self.choose(is_new, x.0, before.0, lanes), self.choose(is_new, x.1, before.1, lanes))
    }

    /// The larger of two values and its index; of equal ones, that with the lower index. NaN is largest.
    pub(super) fn first_largest(
        &mut self,
        dtype: Dtype,
        a: (Value, Value),
        b: (Value, Value),
        lanes: u32,
    ) -> (Value, Value) {
        let larger = self.is_new_largest(dtype, b.0, a.0);
        let smaller = self.is_new_largest(dtype, a.0, b.0);
        let before = self.builder.ins().icmp(IntCC::SignedLessThan, b.1, a.1);
        let not_smaller = self.builder.ins().bnot(smaller);
        let before = self.builder.ins().band(before, not_smaller);
        let is_b = self.builder.ins().bor(larger, before);
        (self.choose(is_b, b.0, a.0, lanes), self.choose(is_b, b.1, a.1, lanes))
    }
}

/// What an accumulator holds before the first value.
pub(super) fn initial(kind: ReductionKind, dtype: Dtype) -> Literal {
    match (kind, dtype) {
        (ReductionKind::Sum, _) => Literal::integer(dtype, 0),
        (ReductionKind::Min, Dtype::I64) => Literal::integer(dtype, i64::MAX),
        (ReductionKind::Min, _) => Literal::new(dtype, f64::INFINITY),
        (_, Dtype::I64) => Literal::integer(dtype, i64::MIN),
        (_, _) => Literal::new(dtype, f64::NEG_INFINITY),
    }
}
