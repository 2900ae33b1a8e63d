//! Elementwise operations on single numbers, to the bit as generated code computes them.
//!
//! Expects: operands of the dtypes that the operation allows.
//! Guarantees: every result is rounded once to its dtype, whole numbers wrap, and functions such as exp are the runtime's, so that
//! a number found while a program is compiled is the one that its kernel would find, on every machine.
//! Leaves out: the payload and sign of a NaN, of which there is one; operations on whole tensors.
//!
//! The interpreter takes other ways to the same numbers (doubles throughout, the system's functions): it is what this is compared with.

use super::op::{Op, OpClass};
use super::types::{Dtype, Literal};
use bpc_runtime::math::{erf, exp, log, pow, tanh, trigonometric};

/// An operation of one operand.
///
/// # Panics
/// Where the operation is none of one number.
pub fn unary(op: &Op, x: Literal) -> Literal {
    if !x.dtype.is_float() {
        let value = x.as_i64();
        return match op {
            Op::Neg {} => whole(x.dtype, value.wrapping_neg()),
            Op::Abs {} => whole(x.dtype, value.wrapping_abs()),
            Op::Sign {} => whole(x.dtype, value.signum()),
            Op::Not {} => whole(x.dtype, i64::from(value == 0)),
            _ => panic!("bug in bpc: {} of a whole number", op.name()),
        };
    }
    let OpClass::Unary(meaning) = op.class() else { panic!("bug in bpc: {} as a unary operation", op.name()) };
    let value = heavy(op, x.dtype, x.as_f64()).unwrap_or_else(|| meaning(x.as_f64()));
    Literal::new(x.dtype, value)
}

/// An operation of two operands of one dtype.
///
/// # Panics
/// Where the operation is none of two such numbers.
pub fn binary(op: &Op, x: Literal, y: Literal) -> Literal {
    let OpClass::Binary(meaning) = op.class() else { panic!("bug in bpc: {} as a binary operation", op.name()) };
    let compares = matches!(op, Op::Equal {} | Op::Less {} | Op::LessEqual {});
    let dtype = if compares { Dtype::Bool } else { x.dtype };
    if x.dtype.is_float() {
        let value = match (op, x.dtype) {
            (Op::Pow {}, Dtype::F64) => pow::pow_f64(x.as_f64(), y.as_f64()),
            (Op::Pow {}, _) => f64::from(pow::pow_f32(x.as_f64() as f32, y.as_f64() as f32)),
            // A sum, product or quotient of f32 that is rounded to f64 first rounds to the same f32.
            _ => meaning(x.as_f64(), y.as_f64()),
        };
        return Literal::new(dtype, value);
    }
    let (x, y) = (x.as_i64(), y.as_i64());
    let value = match op {
        Op::Add {} => x.wrapping_add(y),
        Op::Sub {} => x.wrapping_sub(y),
        Op::Mul {} => x.wrapping_mul(y),
        Op::Div {} if y == 0 => 0,
        Op::Div {} => x.wrapping_div(y),
        Op::Maximum {} => x.max(y),
        Op::Minimum {} => x.min(y),
        Op::Equal {} => i64::from(x == y),
        Op::Less {} => i64::from(x < y),
        Op::LessEqual {} => i64::from(x <= y),
        Op::And {} => x & y,
        Op::Or {} => x | y,
        Op::Xor {} => x ^ y,
        _ => panic!("bug in bpc: {} of whole numbers", op.name()),
    };
    whole(dtype, value)
}

/// A number in another dtype, as the operation `cast` defines it.
pub fn cast(x: Literal, dtype: Dtype) -> Literal {
    if x.dtype.is_float() { Literal::new(dtype, x.as_f64()) } else { whole(dtype, x.as_i64()) }
}

/// A whole number in a dtype: wrapped where whole numbers of that dtype are smaller, rounded once to a float.
pub fn whole(dtype: Dtype, value: i64) -> Literal {
    let value = match dtype {
        Dtype::I32 => i64::from(value as i32),
        Dtype::U32 => i64::from(value as u32),
        Dtype::Bool => i64::from(value != 0),
        Dtype::I64 | Dtype::F32 | Dtype::F64 => value,
    };
    Literal::integer(dtype, value)
}

/// A function that generated code leaves to the runtime.
fn heavy(op: &Op, dtype: Dtype, x: f64) -> Option<f64> {
    let of = |single: fn(f32) -> f32, double: fn(f64) -> f64| {
        Some(if dtype == Dtype::F64 { double(x) } else { f64::from(single(x as f32)) })
    };
    match op {
        Op::Exp {} => of(exp::exp_f32, exp::exp_f64),
        Op::Expm1 {} => of(exp::expm1_f32, exp::expm1_f64),
        Op::Log {} => of(log::log_f32, log::log_f64),
        Op::Log1p {} => of(log::log1p_f32, log::log1p_f64),
        Op::Sin {} => of(trigonometric::far_sin_f32, trigonometric::far_sin_f64),
        Op::Cos {} => of(trigonometric::far_cos_f32, trigonometric::far_cos_f64),
        Op::Tanh {} => of(tanh::tanh_f32, tanh::tanh_f64),
        Op::Erf {} => of(erf::erf_f32, erf::erf_f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact_beyond_the_doubles() {
        let large = Literal::integer(Dtype::I64, (1 << 53) + 1);
        let one = Literal::integer(Dtype::I64, 1);
        assert_eq!(unary(&Op::Neg {}, large).as_i64(), -(1 << 53) - 1);
        assert_eq!(binary(&Op::Div {}, large, one), large);
        assert_eq!(binary(&Op::Equal {}, large, Literal::integer(Dtype::I64, 1 << 53)).as_i64(), 0);
        let least = Literal::integer(Dtype::I64, i64::MIN);
        assert_eq!(binary(&Op::Div {}, least, unary(&Op::Neg {}, one)), least);
        assert_eq!(binary(&Op::Div {}, least, Literal::integer(Dtype::I64, 0)).as_i64(), 0);
    }

    #[test]
    fn narrow_numbers_wrap() {
        let one = Literal::integer(Dtype::U32, 1);
        assert_eq!(unary(&Op::Neg {}, one).as_i64(), i64::from(u32::MAX));
        let most = Literal::integer(Dtype::I32, i64::from(i32::MAX));
        assert_eq!(binary(&Op::Add {}, most, Literal::integer(Dtype::I32, 1)).as_i64(), i64::from(i32::MIN));
        assert_eq!(cast(Literal::integer(Dtype::I64, (1 << 32) + 7), Dtype::I32).as_i64(), 7);
        assert_eq!(cast(Literal::new(Dtype::F64, 1e20), Dtype::I32).as_i64(), i64::from(i32::MAX));
    }

    /// Between two f32, above the middle by less than a double can say: rounding twice would go to the even one below.
    #[test]
    fn whole_numbers_become_f32_in_one_step() {
        let value = (1i64 << 60) + (1 << 36) + 1;
        assert_eq!(cast(Literal::integer(Dtype::I64, value), Dtype::F32).as_i64(), (1 << 60) + (1 << 37));
    }
}
