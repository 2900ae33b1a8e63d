//! Numbers that are bits: products with them, counts of gates, and the largest of comparisons.

use super::products::transposed;
use super::{Expression, Match, Rule, apply, number, splat};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use bpc_runtime::bits::Gate;
use egg::Id;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "matmul-bits",
        doc: "x @ (a * b + c) = bit_matmul(x, b) for bits b and whole numbers a and c, also where the bits are transposed after",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = input {role = data, name = "w", ty = bool[4, 3]} : bool[4, 3]
                n2 = cast(n1) {dtype = f64} : f64[4, 3]
                n3 = constant {value = f64(2), shape = [4, 3]} : f64[4, 3]
                n4 = mul(n3, n2) : f64[4, 3]
                n5 = constant {value = f64(1), shape = [4, 3]} : f64[4, 3]
                n6 = sub(n4, n5) : f64[4, 3]
                n7 = permute(n6) {axes = [1, 0]} : f64[3, 4]
                n8 = matmul(n0, n7) : f64[2, 4]
                n9 = permute(n1) {axes = [1, 0]} : bool[3, 4]
                n10 = cast(n9) {dtype = f64} : f64[3, 4]
                n11 = matmul(n0, n10) : f64[2, 4]
                result value "embedded" = n8
                result value "cast" = n11
            "#,
        at: &["matmul"],
        rewrite: |m| {
            let (x, y) = m.pair();
            if m.result().rank() != 2 {
                return;
            }
            let product = |bits: Expression, [on, off]: [i64; 2]| apply(Op::BitMatmul { on, off }, [x.into(), bits]);
            if let Some((bits, numbers)) = numbers_of_bits(m, y, DEEPEST) {
                m.becomes(product(bits.into(), numbers));
            }
            for y in transposed(m, y) {
                if let Some((bits, numbers)) = numbers_of_bits(m, y, DEEPEST) {
                    m.becomes(product(transpose(bits), numbers));
                }
            }
        },
    },
    Rule {
        name: "bits-by-bits",
        doc: "bit_matmul(x, w) = 2 * count(x xnor transpose(w)) - I where bits of both stand for +1 and -1, and the dtype holds I",
        example: r#"
                n0 = input {role = data, name = "x", ty = bool[2, 3]} : bool[2, 3]
                n1 = input {role = data, name = "w", ty = bool[3, 4]} : bool[3, 4]
                n2 = cast(n0) {dtype = f64} : f64[2, 3]
                n3 = constant {value = f64(2), shape = [2, 3]} : f64[2, 3]
                n4 = mul(n2, n3) : f64[2, 3]
                n5 = constant {value = f64(1), shape = [2, 3]} : f64[2, 3]
                n6 = sub(n4, n5) : f64[2, 3]
                n7 = bit_matmul(n6, n1) {on = 1, off = -1} : f64[2, 4]
                result value "y" = n7
            "#,
        at: &["bit_matmul"],
        rewrite: |m| {
            let (z, bits) = m.pair();
            let inner = m.ty(bits).shape[0];
            let largest = if m.result().dtype == Dtype::F64 { i32::MAX as u64 } else { 1 << 24 };
            if *m.op() != (Op::BitMatmul { on: 1, off: -1 }) || inner > largest {
                return;
            }
            if let Some((x, [1, -1])) = numbers_of_bits(m, z, DEEPEST) {
                let count = apply(Op::Cast { dtype: m.result().dtype }, [count(Gate::Xnor, x, transpose(bits))]);
                let twice = apply(Op::Mul {}, [count, number(2.0, m.result())]);
                m.becomes(apply(Op::Sub {}, [twice, number(inner as f64, m.result())]));
            }
        },
    },
    Rule {
        name: "bits-factor",
        doc: "bit_matmul(c * x, w) = c * bit_matmul(x, w) for a number c, where the product is not larger",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 8]} : f64[2, 8]
                n1 = input {role = data, name = "w", ty = bool[8, 3]} : bool[8, 3]
                n2 = constant {value = f64(0.5), shape = [2, 8]} : f64[2, 8]
                n3 = mul(n2, n0) : f64[2, 8]
                n4 = bit_matmul(n3, n1) {on = 1, off = -1} : f64[2, 3]
                result value "y" = n4
            "#,
        at: &["bit_matmul"],
        rewrite: |m| {
            let (scaled, bits) = m.pair();
            if m.result().elements() > m.ty(scaled).elements() {
                return;
            }
            for (op, operands) in m.terms(scaled) {
                let Op::Mul {} = op else { continue };
                for (factor, x) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                    let Some(number) = m.literal(factor) else { continue };
                    let product = apply(m.op().clone(), [x.into(), bits.into()]);
                    m.becomes(apply(Op::Mul {}, [product, splat(number, m.result())]));
                }
            }
        },
    },
    Rule {
        name: "count-complement",
        doc: "count(x xor w) = I - count(x xnor w), count(x or w) = I - count(not x and not w)",
        example: r#"
                n0 = input {role = data, name = "x", ty = bool[2, 3]} : bool[2, 3]
                n1 = input {role = data, name = "w", ty = bool[4, 3]} : bool[4, 3]
                n2 = bit_count(n0, n1) {gate = xor} : i32[2, 4]
                n3 = bit_count(n0, n1) {gate = or} : i32[2, 4]
                result value "xor" = n2
                result value "or" = n3
            "#,
        at: &["bit_count"],
        rewrite: |m| {
            let Op::BitCount { gate } = m.op() else { return };
            let (x, w) = m.pair();
            let rest = match gate {
                Gate::Xor => count(Gate::Xnor, x, w),
                Gate::Or => count(Gate::And, not(x), not(w)),
                _ => return,
            };
            let all = m.ty(w).shape[1] as f64;
            m.becomes(apply(Op::Sub {}, [number(all, m.result()), rest]));
        },
    },
    Rule {
        name: "count-not",
        doc: "count(not x xnor w) = count(x xnor not w) = count(x xor w), and the same with xor and xnor exchanged",
        example: r#"
                n0 = input {role = data, name = "x", ty = bool[2, 3]} : bool[2, 3]
                n1 = input {role = data, name = "w", ty = bool[4, 3]} : bool[4, 3]
                n2 = not(n0) : bool[2, 3]
                n3 = not(n1) : bool[4, 3]
                n4 = bit_count(n2, n1) {gate = xnor} : i32[2, 4]
                n5 = bit_count(n0, n3) {gate = xnor} : i32[2, 4]
                n6 = bit_count(n0, n3) {gate = xor} : i32[2, 4]
                result value "x" = n4
                result value "w" = n5
                result value "xor" = n6
            "#,
        at: &["bit_count"],
        rewrite: |m| {
            let Op::BitCount { gate } = m.op() else { return };
            let other = match gate {
                Gate::Xnor => Gate::Xor,
                Gate::Xor => Gate::Xnor,
                _ => return,
            };
            let (x, w) = m.pair();
            if let Some(x) = complement(m, x) {
                m.becomes(count(other, x, w));
            }
            if let Some(w) = complement(m, w) {
                m.becomes(count(other, x, w));
            }
        },
    },
    Rule {
        name: "or-of-thresholds",
        doc: "the largest of the numbers (c <= x), which is their `or` = (c <= the largest x) for a number c, also under a reshape",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 6]} : f64[2, 6]
                n1 = constant {value = f64(0.5), shape = [2, 6]} : f64[2, 6]
                n2 = less_equal(n1, n0) : bool[2, 6]
                n3 = cast(n2) {dtype = f64} : f64[2, 6]
                n4 = reshape(n3) {shape = [2, 3, 2]} : f64[2, 3, 2]
                n5 = reduce_max(n4) {axes = [2]} : f64[2, 3, 1]
                n6 = less(n1, n0) : bool[2, 6]
                n7 = cast(n6) {dtype = f64} : f64[2, 6]
                n8 = reduce_max(n7) {axes = [1]} : f64[2, 1]
                result value "pool" = n5
                result value "row" = n8
            "#,
        at: &["reduce_max"],
        rewrite: |m| {
            let hits = m.operand(0);
            let reshaped = m.terms(hits).filter(|(op, _)| matches!(op, Op::Reshape { .. }));
            for class in reshaped.map(|(_, operands)| operands[0]).chain([hits]) {
                for bits in casts(m, class) {
                    for (compare, operands) in m.terms(bits) {
                        let (Op::LessEqual {} | Op::Less {}) = compare else { continue };
                        let Some(threshold) = m.literal(operands[0]) else { continue };
                        let x = super::reshape(m, operands[1], &m.ty(hits).shape);
                        let largest = apply(m.op().clone(), [x]);
                        let ty = TensorType::new(threshold.dtype, m.result().shape.clone());
                        let hit = apply(compare.clone(), [splat(threshold, &ty), largest]);
                        m.becomes(apply(Op::Cast { dtype: m.result().dtype }, [hit]));
                    }
                }
            }
        },
    },
];

/// How many operations may stand between bits and their numbers.
const DEEPEST: u32 = 4;
/// The largest number that a bit stands for.
const LARGEST: f64 = 1e6;

/// The bits that a class of floats consists of, and the whole numbers that stand for true and false.
fn numbers_of_bits(m: &Match, class: Id, deepest: u32) -> Option<(Id, [i64; 2])> {
    if deepest == 0 || !m.ty(class).dtype.is_float() {
        return None;
    }
    let whole = |class: Id| {
        let value = m.literal(class)?.as_f64();
        (value.fract() == 0.0 && value.abs() <= LARGEST).then_some(value as i64)
    };
    let of_operand = |class: Id| numbers_of_bits(m, class, deepest - 1);
    m.terms(class).find_map(|(op, operands)| {
        let (bits, numbers) = match (op, operands) {
            (Op::Cast { .. }, [bits]) => return (m.ty(*bits).dtype == Dtype::Bool).then_some((*bits, [1, 0])),
            (Op::Select {}, [bits, on, off]) => (*bits, [whole(*on)?, whole(*off)?]),
            (Op::Neg {}, [x]) => {
                let (bits, numbers) = of_operand(*x)?;
                (bits, numbers.map(|number| -number))
            }
            (Op::Add {} | Op::Mul {} | Op::Sub {}, [x, y]) => {
                let ((bits, numbers), other, first) = match (whole(*x), whole(*y)) {
                    (None, Some(y)) => (of_operand(*x)?, y, true),
                    (Some(x), None) => (of_operand(*y)?, x, false),
                    _ => return None,
                };
                let computed = numbers.map(|number| match op {
                    Op::Add {} => number + other,
                    Op::Mul {} => number * other,
                    _ if first => number - other,
                    _ => other - number,
                });
                (bits, computed)
            }
            _ => return None,
        };
        numbers.iter().all(|number| number.abs() <= LARGEST as i64).then_some((bits, numbers))
    })
}

/// The bits whose numbers 1 and 0 a class is.
fn casts(m: &Match, class: Id) -> Vec<Id> {
    let casts = m.terms(class).filter(|(op, _)| matches!(op, Op::Cast { .. })).map(|(_, operands)| operands[0]);
    casts.filter(|bits| m.ty(*bits).dtype == Dtype::Bool).collect()
}

/// The operand of the first `not` in a class.
fn complement(m: &Match, class: Id) -> Option<Id> {
    m.terms(class).find(|(op, _)| matches!(op, Op::Not {})).map(|(_, operands)| operands[0])
}

fn not(x: Id) -> Expression {
    apply(Op::Not {}, [x.into()])
}

fn transpose(x: Id) -> Expression {
    apply(Op::Permute { axes: vec![1, 0] }, [x.into()])
}

fn count(gate: Gate, x: impl Into<Expression>, w: impl Into<Expression>) -> Expression {
    apply(Op::BitCount { gate }, [x.into(), w.into()])
}
