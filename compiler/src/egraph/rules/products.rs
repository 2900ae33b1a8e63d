//! Matrix products: sums that are products, one large product for many small ones, factors outside, order by work.

use super::reductions::axes;
use super::{Expression, Match, Rule, apply, number, reshape, splat};
use crate::ir::op::Op;
use crate::ir::types::TensorType;
use egg::Id;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "matmul-zero",
        doc: "0 @ y = x @ 0 = 0, also for NaN and infinity",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = constant {value = f64(0), shape = [3, 4]} : f64[3, 4]
                n2 = matmul(n0, n1) : f64[2, 4]
                result value "a" = n2
            "#,
        at: &["matmul"],
        rewrite: |m| {
            let (x, y) = m.pair();
            m.becomes_if(m.is(x, 0.0) || m.is(y, 0.0), number(0.0, m.result()));
        },
    },
    Rule {
        name: "matmul-factor",
        doc: "(c * x) @ y = c * (x @ y) and x @ (c * y) = c * (x @ y) for a number c, where the product is not larger",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 8]} : f64[2, 8]
                n1 = input {role = data, name = "y", ty = f64[8, 3]} : f64[8, 3]
                n2 = constant {value = f64(0.5), shape = [2, 8]} : f64[2, 8]
                n3 = constant {value = f64(3), shape = [8, 3]} : f64[8, 3]
                n4 = mul(n2, n0) : f64[2, 8]
                n5 = matmul(n4, n1) : f64[2, 3]
                n6 = mul(n1, n3) : f64[8, 3]
                n7 = matmul(n0, n6) : f64[2, 3]
                result value "b" = n5
                result value "f" = n7
            "#,
        at: &["matmul"],
        rewrite: |m| {
            for side in 0..2 {
                let scaled = m.operand(side);
                if m.result().elements() > m.ty(scaled).elements() {
                    continue;
                }
                for (op, operands) in m.terms(scaled) {
                    let Op::Mul {} = op else { continue };
                    for (factor, x) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                        let Some(number) = m.literal(factor) else { continue };
                        let product = with_operand(m, side, x);
                        m.becomes(apply(Op::Mul {}, [product, splat(number, m.result())]));
                    }
                }
            }
        },
    },
    Rule {
        name: "matmul-neg",
        doc: "(-x) @ y = -(x @ y) and x @ (-y) = -(x @ y)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = input {role = data, name = "y", ty = f64[3, 4]} : f64[3, 4]
                n2 = neg(n0) : f64[2, 3]
                n3 = matmul(n2, n1) : f64[2, 4]
                n4 = neg(n1) : f64[3, 4]
                n5 = matmul(n0, n4) : f64[2, 4]
                result value "b" = n3
                result value "d" = n5
            "#,
        at: &["matmul"],
        rewrite: |m| {
            for side in 0..2 {
                if let Some(x) = m.negated(m.operand(side)) {
                    m.becomes(apply(Op::Neg {}, [with_operand(m, side, x)]));
                }
            }
        },
    },
    Rule {
        name: "matmul-shared",
        doc: "x[.., M, K] @ broadcast(y[1, K, N]) = one product of [.. * M, K] by [K, N]",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[5, 2, 3]} : f64[5, 2, 3]
                n1 = input {role = data, name = "y", ty = f64[1, 3, 4]} : f64[1, 3, 4]
                n2 = broadcast(n1) {shape = [5, 3, 4]} : f64[5, 3, 4]
                n3 = matmul(n0, n2) : f64[5, 2, 4]
                result value "b" = n3
            "#,
        at: &["matmul"],
        rewrite: |m| {
            let (x, y) = m.pair();
            let lead = m.result().rank() - 2;
            for shared in m.broadcasts(y) {
                let shape = &m.ty(shared).shape;
                let (rows, columns) = (shape[lead], shape[lead + 1]);
                // A row or column that is itself repeated is work for other rules.
                if shape[..lead].iter().any(|size| *size != 1) || shape[lead..] != m.ty(y).shape[lead..] {
                    continue;
                }
                let x_shape = &m.ty(x).shape;
                let n_rows = x_shape[..=lead].iter().product();
                let product =
                    apply(Op::Matmul {}, [reshape(m, x, &[n_rows, rows]), reshape(m, shared, &[rows, columns])]);
                m.becomes(apply(Op::Reshape { shape: m.result().shape.clone() }, [product]));
            }
        },
    },
    Rule {
        name: "sum-matmul",
        doc: "the sum of transpose(x) @ y over all leading axes = one product of [K, .. * M] by [.. * M, N]",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[5, 2, 3]} : f64[5, 2, 3]
                n1 = input {role = data, name = "y", ty = f64[5, 2, 4]} : f64[5, 2, 4]
                n2 = permute(n0) {axes = [0, 2, 1]} : f64[5, 3, 2]
                n3 = matmul(n2, n1) : f64[5, 3, 4]
                n4 = reduce_sum(n3) {axes = [0]} : f64[1, 3, 4]
                result value "c" = n4
            "#,
        at: &["reduce_sum"],
        rewrite: |m| {
            let lead = m.result().rank().saturating_sub(2);
            let mut summed = axes(m.op()).to_vec();
            summed.sort_unstable();
            if lead == 0 || summed != (0..lead as u32).collect::<Vec<u32>>() {
                return;
            }
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Matmul {} = op else { continue };
                let y = operands[1];
                let [columns, rows] = m.result().shape[lead..] else { continue };
                let n_rows = m.ty(y).shape[..=lead].iter().product();
                for x in transposed(m, operands[0]) {
                    let x = apply(Op::Permute { axes: vec![1, 0] }, [reshape(m, x, &[n_rows, columns])]);
                    let product = apply(Op::Matmul {}, [x, reshape(m, y, &[n_rows, rows])]);
                    m.becomes(apply(Op::Reshape { shape: m.result().shape.clone() }, [product]));
                }
            }
        },
    },
    Rule {
        name: "transpose-matmul",
        doc: "transpose(x @ y) = transpose(y) @ transpose(x) where one of them is a transpose already",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = input {role = data, name = "y", ty = f64[2, 4]} : f64[2, 4]
                n2 = permute(n0) {axes = [1, 0]} : f64[3, 2]
                n3 = matmul(n2, n1) : f64[3, 4]
                n4 = permute(n3) {axes = [1, 0]} : f64[4, 3]
                result value "c" = n4
            "#,
        at: &["permute"],
        rewrite: |m| {
            if !is_transpose(m.op()) {
                return;
            }
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Matmul {} = op else { continue };
                if transposed(m, operands[0]).is_empty() && transposed(m, operands[1]).is_empty() {
                    continue;
                }
                let [x, y] = [0, 1].map(|side| apply(m.op().clone(), [operands[side].into()]));
                m.becomes(apply(Op::Matmul {}, [y, x]));
            }
        },
    },
    Rule {
        name: "matmul-order",
        doc: "(x @ y) @ z = x @ (y @ z), in the direction that takes less work",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[6, 5]} : f64[6, 5]
                n1 = input {role = data, name = "y", ty = f64[5, 4]} : f64[5, 4]
                n2 = input {role = data, name = "z", ty = f64[4, 1]} : f64[4, 1]
                n3 = input {role = data, name = "u", ty = f64[1, 6]} : f64[1, 6]
                n4 = matmul(n0, n1) : f64[6, 4]
                n5 = matmul(n4, n2) : f64[6, 1]
                n6 = matmul(n3, n4) : f64[1, 4]
                result value "b" = n5
                result value "c" = n6
            "#,
        at: &["matmul"],
        rewrite: |m| {
            let (left, right) = m.pair();
            for (op, operands) in m.terms(left) {
                let Op::Matmul {} = op else { continue };
                let (x, y, z) = (operands[0], operands[1], right);
                let (k, l) = (rows(m.ty(y)), rows(m.ty(z)));
                let (together, apart) = work(m, k, l);
                m.becomes_if(apart < together, product(x.into(), product(y.into(), z.into())));
            }
            for (op, operands) in m.terms(right) {
                let Op::Matmul {} = op else { continue };
                let (x, y, z) = (left, operands[0], operands[1]);
                let (k, l) = (rows(m.ty(y)), rows(m.ty(z)));
                let (together, apart) = work(m, k, l);
                m.becomes_if(together < apart, product(product(x.into(), y.into()), z.into()));
            }
        },
    },
    Rule {
        name: "sum-product",
        doc: "reduce_sum(broadcast(x) * broadcast(y)) = x @ y where each of them is repeated along an axis of the other",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3, 1, 5]} : f64[2, 3, 1, 5]
                n1 = input {role = data, name = "y", ty = f64[2, 1, 4, 5]} : f64[2, 1, 4, 5]
                n2 = broadcast(n0) {shape = [2, 3, 4, 5]} : f64[2, 3, 4, 5]
                n3 = broadcast(n1) {shape = [2, 3, 4, 5]} : f64[2, 3, 4, 5]
                n4 = mul(n2, n3) : f64[2, 3, 4, 5]
                n5 = reduce_sum(n4) {axes = [3]} : f64[2, 3, 4, 1]
                result value "d" = n5
            "#,
        at: &["reduce_sum"],
        rewrite: |m| {
            if !m.result().dtype.is_float() {
                return;
            }
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Mul {} = op else { continue };
                for x in m.broadcasts(operands[0]) {
                    for y in m.broadcasts(operands[1]) {
                        if let Some(product) = contraction(m, x, y) {
                            m.becomes(product);
                        }
                    }
                }
            }
        },
    },
];

fn product(x: Expression, y: Expression) -> Expression {
    apply(Op::Matmul {}, [x, y])
}

/// The product with another operand on one side.
fn with_operand(m: &Match, side: usize, operand: Id) -> Expression {
    let mut operands = [m.operand(0).into(), m.operand(1).into()];
    operands[side] = operand.into();
    apply(Op::Matmul {}, operands)
}

/// Multiplications of (x @ y) @ z and of x @ (y @ z) for x [M, k], y [k, l], z [l, N], without the leading axes.
fn work(m: &Match, k: u64, l: u64) -> (u128, u128) {
    let rank = m.result().rank();
    let [rows, columns, k, l] = [m.result().shape[rank - 2], m.result().shape[rank - 1], k, l].map(u128::from);
    (rows * l * (k + columns), columns * k * (l + rows))
}

fn rows(ty: &TensorType) -> u64 {
    ty.shape[ty.rank() - 2]
}

/// Whether the operation exchanges the last two axes.
fn is_transpose(op: &Op) -> bool {
    let Op::Permute { axes } = op else { return false };
    let lead = axes.len().saturating_sub(2);
    let [second, first] = axes[lead..] else { return false };
    let lead = lead as u32;
    (second, first) == (lead + 1, lead)
        && axes.iter().take(lead as usize).enumerate().all(|(place, axis)| place == *axis as usize)
}

/// The classes whose transpose a class is.
pub(super) fn transposed(m: &Match, class: Id) -> Vec<Id> {
    m.terms(class).filter(|(op, _)| is_transpose(op)).map(|(_, operands)| operands[0]).collect()
}

/// The sum of a product as a matrix product: axes are batch (neither repeated nor summed), rows (repeated in y), columns
/// (repeated in x) or summed.
fn contraction(m: &Match, x: Id, y: Id) -> Option<Expression> {
    let full = &m.ty(m.operand(0)).shape;
    let (x_shape, y_shape) = (&m.ty(x).shape, &m.ty(y).shape);
    let summed = axes(m.op());
    let (mut batch, mut row, mut column) = (Vec::new(), Vec::new(), Vec::new());
    for axis in 0..full.len() {
        let group = match (x_shape[axis] == full[axis], y_shape[axis] == full[axis]) {
            _ if summed.contains(&(axis as u32)) => continue,
            (true, true) => &mut batch,
            (true, false) => &mut row,
            (false, true) => &mut column,
            (false, false) => return None,
        };
        group.push(axis as u32);
    }
    let whole = |shape: &[u64]| summed.iter().all(|axis| shape[*axis as usize] == full[*axis as usize]);
    if row.is_empty() || column.is_empty() || !whole(x_shape) || !whole(y_shape) {
        return None;
    }
    let size = |group: &[u32]| -> u64 { group.iter().map(|axis| full[*axis as usize]).product() };
    let matrix = |operand: Id, lead: &[u32], first: &[u32], second: &[u32], dropped: &[u32]| {
        let axes = [lead, first, second, dropped].concat();
        let shape = vec![size(lead), size(first), size(second)];
        apply(Op::Reshape { shape }, [apply(Op::Permute { axes }, [operand.into()])])
    };
    let product = product(matrix(x, &batch, &row, summed, &column), matrix(y, &batch, summed, &column, &row));
    // Back: [batch.., rows.., columns.., 1..] with its axes where they were.
    let order = [batch.as_slice(), &row, &column, summed].concat();
    let shape = order.iter().map(|axis| m.result().shape[*axis as usize]).collect();
    let mut back = vec![0; order.len()];
    for (place, axis) in order.iter().enumerate() {
        back[*axis as usize] = place as u32;
    }
    Some(apply(Op::Permute { axes: back }, [apply(Op::Reshape { shape }, [product])]))
}
