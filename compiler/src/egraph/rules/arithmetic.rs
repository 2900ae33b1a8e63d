//! Elementwise identities.

use super::{Match, Rule, apply, number};
use crate::ir::op::Op;
use crate::ir::types::Dtype;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "add-zero",
        doc: "x + 0 = x and 0 + x = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0), shape = [3]} : f64[3]
                n2 = add(n0, n1) : f64[3]
                n3 = add(n1, n0) : f64[3]
                result value "a" = n2
                result value "b" = n3
            "#,
        at: &["add"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(y, 0.0), x);
            m.becomes_if(m.is(x, 0.0), y);
        },
    },
    Rule {
        name: "sub-zero",
        doc: "x - 0 = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0), shape = [3]} : f64[3]
                n2 = sub(n0, n1) : f64[3]
                result value "a" = n2
            "#,
        at: &["sub"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(y, 0.0), x);
        },
    },
    Rule {
        name: "zero-sub",
        doc: "0 - x = -x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0), shape = [3]} : f64[3]
                n2 = sub(n1, n0) : f64[3]
                result value "a" = n2
            "#,
        at: &["sub"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(x, 0.0), apply(Op::Neg {}, [y.into()]));
        },
    },
    Rule {
        name: "mul-one",
        doc: "x * 1 = x and 1 * x = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(1), shape = [3]} : f64[3]
                n2 = mul(n0, n1) : f64[3]
                n3 = mul(n1, n0) : f64[3]
                result value "a" = n2
                result value "b" = n3
            "#,
        at: &["mul"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(y, 1.0), x);
            m.becomes_if(m.is(x, 1.0), y);
        },
    },
    Rule {
        name: "mul-zero",
        doc: "x * 0 = 0 and 0 * x = 0, also for NaN and infinity",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0), shape = [3]} : f64[3]
                n2 = mul(n0, n1) : f64[3]
                n3 = mul(n1, n0) : f64[3]
                result value "a" = n2
                result value "b" = n3
            "#,
        at: &["mul"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(y, 0.0) || m.is(x, 0.0), number(0.0, m.result()));
        },
    },
    Rule {
        name: "mul-minus-one",
        doc: "x * -1 = -x and -1 * x = -x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(-1), shape = [3]} : f64[3]
                n2 = mul(n0, n1) : f64[3]
                n3 = mul(n1, n0) : f64[3]
                result value "a" = n2
                result value "b" = n3
            "#,
        at: &["mul"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(y, -1.0), apply(Op::Neg {}, [x.into()]));
            m.becomes_if(m.is(x, -1.0), apply(Op::Neg {}, [y.into()]));
        },
    },
    Rule {
        name: "div-one",
        doc: "x / 1 = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(1), shape = [3]} : f64[3]
                n2 = div(n0, n1) : f64[3]
                result value "a" = n2
            "#,
        at: &["div"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(y, 1.0), x);
        },
    },
    Rule {
        name: "zero-div",
        doc: "0 / x = 0, also for 0, NaN and infinity",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0), shape = [3]} : f64[3]
                n2 = div(n1, n0) : f64[3]
                result value "a" = n2
            "#,
        at: &["div"],
        rewrite: |m| {
            let (x, _) = m.pair();
            m.becomes_if(m.is(x, 0.0), number(0.0, m.result()));
        },
    },
    Rule {
        name: "div-power-of-two",
        doc: "x / c = x * (1 / c) where 1 / c is exact",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(-16), shape = [3]} : f64[3]
                n2 = div(n0, n1) : f64[3]
                result value "a" = n2
            "#,
        at: &["div"],
        rewrite: |m| {
            let (x, y) = m.pair();
            let Some(divisor) = m.literal(y).filter(|literal| literal.dtype.is_float()) else { return };
            let inverse = 1.0 / divisor.as_f64();
            // Only a power of two has no fraction bits.
            let exact = divisor.as_f64().to_bits() << 12 == 0 && ordinary(inverse);
            m.becomes_if(exact, apply(Op::Mul {}, [x.into(), number(inverse, m.result())]));
        },
    },
    Rule {
        name: "neg-neg",
        doc: "-(-x) = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = neg(n0) : f64[3]
                n2 = neg(n1) : f64[3]
                result value "b" = n2
            "#,
        at: &["neg"],
        rewrite: |m| {
            if let Some(x) = m.negated(m.operand(0)) {
                m.becomes(x);
            }
        },
    },
    Rule {
        name: "neg-sub",
        doc: "-(x - y) = y - x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n2 = sub(n0, n1) : f64[3]
                n3 = neg(n2) : f64[3]
                result value "b" = n3
            "#,
        at: &["neg"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                if let Op::Sub {} = op {
                    m.becomes(apply(Op::Sub {}, [operands[1].into(), operands[0].into()]));
                }
            }
        },
    },
    Rule {
        name: "add-neg",
        doc: "x + (-y) = x - y and (-x) + y = y - x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n2 = neg(n1) : f64[3]
                n3 = add(n0, n2) : f64[3]
                n4 = add(n2, n0) : f64[3]
                result value "b" = n3
                result value "c" = n4
            "#,
        at: &["add"],
        rewrite: |m| {
            let (x, y) = m.pair();
            if let Some(y) = m.negated(y) {
                m.becomes(apply(Op::Sub {}, [x.into(), y.into()]));
            }
            if let Some(x) = m.negated(x) {
                m.becomes(apply(Op::Sub {}, [y.into(), x.into()]));
            }
        },
    },
    Rule {
        name: "sub-neg",
        doc: "x - (-y) = x + y",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n2 = neg(n1) : f64[3]
                n3 = sub(n0, n2) : f64[3]
                result value "b" = n3
            "#,
        at: &["sub"],
        rewrite: |m| {
            let (x, y) = m.pair();
            if let Some(y) = m.negated(y) {
                m.becomes(apply(Op::Add {}, [x.into(), y.into()]));
            }
        },
    },
    Rule {
        name: "mul-neg",
        doc: "(-x) * y = -(x * y) and x * (-y) = -(x * y)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n2 = neg(n0) : f64[3]
                n3 = mul(n2, n1) : f64[3]
                n4 = mul(n1, n2) : f64[3]
                result value "b" = n3
                result value "c" = n4
            "#,
        at: &["mul"],
        rewrite: |m| negation_outside(m, Op::Mul {}),
    },
    Rule {
        name: "div-neg",
        doc: "(-x) / y = -(x / y) and x / (-y) = -(x / y) for float numbers: whole ones wrap",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n2 = neg(n0) : f64[3]
                n3 = div(n2, n1) : f64[3]
                n4 = div(n1, n2) : f64[3]
                result value "b" = n3
                result value "c" = n4
            "#,
        at: &["div"],
        rewrite: |m| {
            if m.result().dtype.is_float() {
                negation_outside(m, Op::Div {});
            }
        },
    },
    Rule {
        name: "mul-constants",
        doc: "(x * a) * b = x * (a * b) for float numbers a and b",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0.5), shape = [3]} : f64[3]
                n2 = constant {value = f64(3), shape = [3]} : f64[3]
                n3 = mul(n0, n1) : f64[3]
                n4 = mul(n2, n3) : f64[3]
                result value "b" = n4
            "#,
        at: &["mul"],
        rewrite: |m| {
            for (product, factor) in [(m.operand(0), m.operand(1)), (m.operand(1), m.operand(0))] {
                let Some(b) = m.literal(factor).filter(|literal| literal.dtype.is_float()) else { continue };
                for (op, operands) in m.terms(product) {
                    let Op::Mul {} = op else { continue };
                    for (x, other) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                        let Some(a) = m.literal(other) else { continue };
                        let both = a.as_f64() * b.as_f64();
                        m.becomes_if(ordinary(both), apply(Op::Mul {}, [x.into(), number(both, m.result())]));
                    }
                }
            }
        },
    },
    Rule {
        name: "neg-constant",
        doc: "-(x * a) = x * -a for a number a",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0.5), shape = [3]} : f64[3]
                n2 = mul(n0, n1) : f64[3]
                n3 = neg(n2) : f64[3]
                n4 = mul(n1, n0) : f64[3]
                n5 = neg(n4) : f64[3]
                result value "b" = n3
                result value "e" = n5
            "#,
        at: &["neg"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Mul {} = op else { continue };
                for (x, factor) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                    if let Some(a) = m.literal(factor).filter(|literal| literal.dtype.is_float()) {
                        m.becomes(apply(Op::Mul {}, [x.into(), number(-a.as_f64(), m.result())]));
                    }
                }
            }
        },
    },
    Rule {
        name: "pow-small",
        doc: "x^0 = 1, x^1 = x, x^2 = x * x, x^3 = x * x * x, x^-1 = 1 / x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = constant {value = f64(0), shape = [3]} : f64[3]
                n2 = constant {value = f64(1), shape = [3]} : f64[3]
                n3 = constant {value = f64(2), shape = [3]} : f64[3]
                n4 = constant {value = f64(3), shape = [3]} : f64[3]
                n5 = constant {value = f64(-1), shape = [3]} : f64[3]
                n6 = pow(n0, n1) : f64[3]
                n7 = pow(n0, n2) : f64[3]
                n8 = pow(n0, n3) : f64[3]
                n9 = pow(n0, n4) : f64[3]
                n10 = pow(n0, n5) : f64[3]
                result value "p" = n6
                result value "q" = n7
                result value "r" = n8
                result value "s" = n9
                result value "t" = n10
            "#,
        at: &["pow"],
        rewrite: |m| {
            let (x, y) = m.pair();
            let Some(exponent) = m.literal(y) else { return };
            let square = || apply(Op::Mul {}, [x.into(), x.into()]);
            match exponent.as_f64() {
                0.0 => m.becomes(number(1.0, m.result())),
                1.0 => m.becomes(x),
                2.0 => m.becomes(square()),
                3.0 => m.becomes(apply(Op::Mul {}, [square(), x.into()])),
                -1.0 => m.becomes(apply(Op::Div {}, [number(1.0, m.result()), x.into()])),
                _ => {}
            }
        },
    },
    Rule {
        name: "same-operands",
        doc: "maximum(x, x) = minimum(x, x) = (x and x) = (x or x) = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = input {role = data, name = "y", ty = bool[3]} : bool[3]
                n2 = maximum(n0, n0) : f64[3]
                n3 = minimum(n0, n0) : f64[3]
                n4 = and(n1, n1) : bool[3]
                n5 = or(n1, n1) : bool[3]
                result value "a" = n2
                result value "b" = n3
                result value "c" = n4
                result value "d" = n5
            "#,
        at: &["maximum", "minimum", "and", "or"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(x == y, x);
        },
    },
    Rule {
        name: "bool-constants",
        doc: "x and true = x, x and false = false, x or false = x, x or true = true, x xor false = x, x xor true = not x",
        example: r#"
                n0 = input {role = data, name = "x", ty = bool[3]} : bool[3]
                n1 = constant {value = bool(true), shape = [3]} : bool[3]
                n2 = constant {value = bool(false), shape = [3]} : bool[3]
                n3 = and(n0, n1) : bool[3]
                n4 = and(n2, n0) : bool[3]
                n5 = or(n0, n2) : bool[3]
                n6 = or(n1, n0) : bool[3]
                n7 = xor(n0, n2) : bool[3]
                n8 = xor(n1, n0) : bool[3]
                result value "a" = n3
                result value "b" = n4
                result value "c" = n5
                result value "d" = n6
                result value "e" = n7
                result value "g" = n8
            "#,
        at: &["and", "or", "xor"],
        rewrite: |m| {
            for (x, constant) in [(m.operand(0), m.operand(1)), (m.operand(1), m.operand(0))] {
                let Some(literal) = m.literal(constant) else { continue };
                match (m.op(), literal.as_f64() != 0.0) {
                    (Op::And {}, true) | (Op::Or {} | Op::Xor {}, false) => m.becomes(x),
                    (Op::And {}, false) | (Op::Or {}, true) => m.becomes(constant),
                    _ => m.becomes(apply(Op::Not {}, [x.into()])),
                }
            }
        },
    },
    Rule {
        name: "not-not",
        doc: "not not x = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = bool[3]} : bool[3]
                n1 = not(n0) : bool[3]
                n2 = not(n1) : bool[3]
                result value "b" = n2
            "#,
        at: &["not"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                if let Op::Not {} = op {
                    m.becomes(operands[0]);
                }
            }
        },
    },
    Rule {
        name: "select-decided",
        doc: "select(true, x, y) = x, select(false, x, y) = y, select(c, x, x) = x",
        example: r#"
                n0 = input {role = data, name = "c", ty = bool[3]} : bool[3]
                n1 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n2 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n3 = constant {value = bool(true), shape = [3]} : bool[3]
                n4 = constant {value = bool(false), shape = [3]} : bool[3]
                n5 = select(n3, n1, n2) : f64[3]
                n6 = select(n4, n1, n2) : f64[3]
                n7 = select(n0, n1, n1) : f64[3]
                result value "a" = n5
                result value "b" = n6
                result value "d" = n7
            "#,
        at: &["select"],
        rewrite: |m| {
            let (condition, x, y) = (m.operand(0), m.operand(1), m.operand(2));
            m.becomes_if(x == y, x);
            if let Some(decided) = m.literal(condition) {
                m.becomes(if decided.as_f64() != 0.0 { x } else { y });
            }
        },
    },
    Rule {
        name: "select-not",
        doc: "select(not c, x, y) = select(c, y, x)",
        example: r#"
                n0 = input {role = data, name = "c", ty = bool[3]} : bool[3]
                n1 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n2 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n3 = not(n0) : bool[3]
                n4 = select(n3, n1, n2) : f64[3]
                result value "a" = n4
            "#,
        at: &["select"],
        rewrite: |m| {
            let (x, y) = (m.operand(1), m.operand(2));
            for (op, operands) in m.terms(m.operand(0)) {
                if let Op::Not {} = op {
                    m.becomes(apply(Op::Select {}, [operands[0].into(), y.into(), x.into()]));
                }
            }
        },
    },
    Rule {
        name: "cast-same",
        doc: "cast to the dtype that x has = x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = cast(n0) {dtype = f64} : f64[3]
                result value "a" = n1
            "#,
        at: &["cast"],
        rewrite: |m| {
            let x = m.operand(0);
            m.becomes_if(m.ty(x).dtype == m.result().dtype, x);
        },
    },
    Rule {
        name: "cast-cast",
        doc: "cast(cast(x, wide), dtype) = cast(x, dtype) where `wide` holds every value of x and changes no meaning",
        example: r#"
                n0 = input {role = data, name = "x", ty = i32[3]} : i32[3]
                n1 = input {role = data, name = "y", ty = bool[3]} : bool[3]
                n2 = cast(n0) {dtype = f64} : f64[3]
                n3 = cast(n2) {dtype = i32} : i32[3]
                n4 = cast(n1) {dtype = f32} : f32[3]
                n5 = cast(n4) {dtype = i32} : i32[3]
                result value "b" = n3
                result value "d" = n5
            "#,
        at: &["cast"],
        rewrite: |m| {
            let to = m.result().dtype;
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Cast { dtype: middle } = op else { continue };
                let from = m.ty(operands[0]).dtype;
                // From float to a narrower whole number saturates, from a whole number it wraps.
                let same_meaning = !(middle.is_float() && to.is_integer()) || from.is_float() || holds(to, from);
                let direct = apply(Op::Cast { dtype: to }, [operands[0].into()]);
                m.becomes_if(holds(*middle, from) && same_meaning, direct);
            }
        },
    },
];

fn negation_outside(m: &Match, op: Op) {
    let (x, y) = m.pair();
    for (left, right) in [(m.negated(x), Some(y)), (Some(x), m.negated(y))] {
        if let (Some(left), Some(right)) = (left, right) {
            m.becomes(apply(Op::Neg {}, [apply(op.clone(), [left.into(), right.into()])]));
        }
    }
}

/// Whether a factor is far from the ends of f32, so that it neither overflows nor becomes subnormal.
fn ordinary(factor: f64) -> bool {
    (1e-30..1e30).contains(&factor.abs())
}

/// Whether `wide` holds every value of `narrow` exactly.
fn holds(wide: Dtype, narrow: Dtype) -> bool {
    use Dtype::{Bool, F32, F64, I32, I64, U32};
    wide == narrow || matches!((wide, narrow), (_, Bool) | (F64, F32 | I32 | U32) | (I64, I32 | U32))
}
