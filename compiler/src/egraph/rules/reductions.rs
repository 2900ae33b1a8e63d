//! Reductions: over nothing, over repeated elements, of factors that do not vary.

use super::{Match, Rule, apply, broadcast, number, reduce_sum, reduced_shape, reshape, splat};
use crate::ir::op::Op;
use egg::Id;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "reduce-size-one",
        doc: "a reduction over axes of size 1 leaves them out",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 3]} : f64[1, 3]
                n1 = reduce_sum(n0) {axes = [0]} : f64[1, 3]
                n2 = reduce_max(n0) {axes = [0, 1]} : f64[1, 1]
                result value "a" = n1
                result value "b" = n2
            "#,
        at: &["reduce_sum", "reduce_max", "reduce_min"],
        rewrite: |m| {
            let x = m.operand(0);
            let axes = axes(m.op());
            let kept: Vec<u32> = axes.iter().copied().filter(|axis| m.ty(x).shape[*axis as usize] != 1).collect();
            if kept.is_empty() {
                m.becomes(x);
            } else if kept.len() < axes.len() {
                m.becomes(apply(with_axes(m.op(), kept), [x.into()]));
            }
        },
    },
    Rule {
        name: "reduce-reduce",
        doc: "a reduction of the same reduction = one over the axes of both",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3, 4]} : f64[2, 3, 4]
                n1 = reduce_sum(n0) {axes = [2]} : f64[2, 3, 1]
                n2 = reduce_sum(n1) {axes = [0]} : f64[1, 3, 1]
                n3 = reduce_min(n0) {axes = [1]} : f64[2, 1, 4]
                n4 = reduce_min(n3) {axes = [0]} : f64[1, 1, 4]
                result value "b" = n2
                result value "d" = n4
            "#,
        at: &["reduce_sum", "reduce_max", "reduce_min"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                if op.name() != m.op().name() {
                    continue;
                }
                let mut both = [axes(m.op()), axes(op)].concat();
                both.sort_unstable();
                both.dedup();
                m.becomes(apply(with_axes(op, both), [operands[0].into()]));
            }
        },
    },
    Rule {
        name: "sum-broadcast",
        doc: "reduce_sum(broadcast(x)) = n * broadcast(reduce_sum(x)), n the number of repetitions",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 3, 1]} : f64[1, 3, 1]
                n1 = broadcast(n0) {shape = [4, 3, 5]} : f64[4, 3, 5]
                n2 = reduce_sum(n1) {axes = [0, 1]} : f64[1, 1, 5]
                n3 = reduce_sum(n1) {axes = [2]} : f64[4, 3, 1]
                result value "b" = n2
                result value "c" = n3
            "#,
        at: &["reduce_sum"],
        rewrite: |m| {
            let large = &m.ty(m.operand(0)).shape;
            for x in m.broadcasts(m.operand(0)) {
                let small = &m.ty(x).shape;
                let repeats = |axis: &u32| small[*axis as usize] != large[*axis as usize];
                let (repeated, varying): (Vec<u32>, Vec<u32>) = axes(m.op()).iter().partition(|axis| repeats(axis));
                if repeated.is_empty() {
                    continue;
                }
                let count: u64 = repeated.iter().map(|axis| large[*axis as usize]).product();
                if count > i32::MAX as u64 {
                    continue;
                }
                let mut sum = reduce_sum(x, varying.clone());
                if reduced_shape(small, &varying) != m.result().shape {
                    sum = apply(Op::Broadcast { shape: m.result().shape.clone() }, [sum]);
                }
                m.becomes(apply(Op::Mul {}, [sum, number(count as f64, m.result())]));
            }
        },
    },
    Rule {
        name: "extremum-broadcast",
        doc: "reduce_max(broadcast(x)) and reduce_min(broadcast(x)) over repetitions alone = broadcast(x)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 3, 1]} : f64[1, 3, 1]
                n1 = broadcast(n0) {shape = [4, 3, 5]} : f64[4, 3, 5]
                n2 = reduce_max(n1) {axes = [0]} : f64[1, 3, 5]
                n3 = reduce_min(n1) {axes = [0, 2]} : f64[1, 3, 1]
                result value "b" = n2
                result value "c" = n3
            "#,
        at: &["reduce_max", "reduce_min"],
        rewrite: |m| {
            for x in m.broadcasts(m.operand(0)) {
                let single = axes(m.op()).iter().all(|axis| m.ty(x).shape[*axis as usize] == 1);
                m.becomes_if(single, broadcast(m, x, &m.result().shape));
            }
        },
    },
    Rule {
        name: "sum-neg",
        doc: "reduce_sum(-x) = -reduce_sum(x)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
                n1 = neg(n0) : f64[3]
                n2 = reduce_sum(n1) {axes = [0]} : f64[1]
                result value "b" = n2
            "#,
        at: &["reduce_sum"],
        rewrite: |m| {
            if let Some(x) = m.negated(m.operand(0)) {
                m.becomes(apply(Op::Neg {}, [apply(m.op().clone(), [x.into()])]));
            }
        },
    },
    Rule {
        name: "sum-factor",
        doc: "reduce_sum(c * x) = c * reduce_sum(x) where c does not vary along the reduced axes",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = input {role = data, name = "y", ty = f64[2, 1]} : f64[2, 1]
                n2 = constant {value = f64(0.5), shape = [2, 3]} : f64[2, 3]
                n3 = mul(n0, n2) : f64[2, 3]
                n4 = reduce_sum(n3) {axes = [0]} : f64[1, 3]
                n5 = broadcast(n1) {shape = [2, 3]} : f64[2, 3]
                n6 = mul(n5, n0) : f64[2, 3]
                n7 = reduce_sum(n6) {axes = [1]} : f64[2, 1]
                result value "b" = n4
                result value "f" = n7
            "#,
        at: &["reduce_sum"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Mul {} = op else { continue };
                for (factor, x) in [(operands[0], operands[1]), (operands[1], operands[0])] {
                    for constant in invariant(m, factor) {
                        m.becomes(apply(Op::Mul {}, [apply(m.op().clone(), [x.into()]), constant]));
                    }
                }
            }
        },
    },
    Rule {
        name: "sum-divisor",
        doc: "reduce_sum(x / c) = reduce_sum(x) / c where c does not vary along the reduced axes",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = input {role = data, name = "y", ty = f64[2, 1]} : f64[2, 1]
                n2 = broadcast(n1) {shape = [2, 3]} : f64[2, 3]
                n3 = div(n0, n2) : f64[2, 3]
                n4 = reduce_sum(n3) {axes = [1]} : f64[2, 1]
                result value "c" = n4
            "#,
        at: &["reduce_sum"],
        rewrite: |m| {
            if !m.result().dtype.is_float() {
                return;
            }
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Div {} = op else { continue };
                for constant in invariant(m, operands[1]) {
                    m.becomes(apply(Op::Div {}, [apply(m.op().clone(), [operands[0].into()]), constant]));
                }
            }
        },
    },
    Rule {
        name: "reduce-permute",
        doc: "a reduction of permute(x) = permute of the reduction of x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3, 4]} : f64[2, 3, 4]
                n1 = permute(n0) {axes = [2, 0, 1]} : f64[4, 2, 3]
                n2 = reduce_sum(n1) {axes = [0, 1]} : f64[1, 1, 3]
                result value "b" = n2
            "#,
        at: &["reduce_sum", "reduce_max", "reduce_min"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Permute { axes: order } = op else { continue };
                let mut inner: Vec<u32> = axes(m.op()).iter().map(|axis| order[*axis as usize]).collect();
                inner.sort_unstable();
                m.becomes(apply(op.clone(), [apply(with_axes(m.op(), inner), [operands[0].into()])]));
            }
        },
    },
    Rule {
        name: "reduce-reshape",
        doc: "a reduction of reshape(x) over whole axes of x = reshape of the reduction of x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[6, 4]} : f64[6, 4]
                n1 = reshape(n0) {shape = [2, 3, 1, 4]} : f64[2, 3, 1, 4]
                n2 = reduce_sum(n1) {axes = [0, 1]} : f64[1, 1, 1, 4]
                n3 = reduce_max(n1) {axes = [2, 3]} : f64[2, 3, 1, 1]
                result value "b" = n2
                result value "c" = n3
            "#,
        at: &["reduce_sum", "reduce_max", "reduce_min"],
        rewrite: |m| {
            let shape = &m.ty(m.operand(0)).shape;
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Reshape { .. } = op else { continue };
                let x = operands[0];
                let Some(inner) = same_axes(shape, &m.ty(x).shape, axes(m.op())) else { continue };
                if inner.is_empty() {
                    m.becomes(reshape(m, x, &m.result().shape));
                } else {
                    let sum = apply(with_axes(m.op(), inner), [x.into()]);
                    m.becomes(apply(Op::Reshape { shape: m.result().shape.clone() }, [sum]));
                }
            }
        },
    },
];

/// The axes of a reduction.
pub(super) fn axes(op: &Op) -> &[u32] {
    match op {
        Op::ReduceSum { axes } | Op::ReduceMax { axes } | Op::ReduceMin { axes } => axes,
        _ => panic!("bug in bpc: a rule for reductions looks at {}", op.name()),
    }
}

fn with_axes(op: &Op, axes: Vec<u32>) -> Op {
    match op {
        Op::ReduceMax { .. } => Op::ReduceMax { axes },
        Op::ReduceMin { .. } => Op::ReduceMin { axes },
        _ => Op::ReduceSum { axes },
    }
}

/// What a factor of the summed product is in the shape of the sum, where it does not vary along the reduced axes.
fn invariant(m: &Match, factor: Id) -> Vec<super::Expression> {
    if let Some(number) = m.literal(factor) {
        return vec![splat(number, m.result())];
    }
    let single = |x: &Id| axes(m.op()).iter().all(|axis| m.ty(*x).shape[*axis as usize] == 1);
    m.broadcasts(factor).filter(single).map(|x| broadcast(m, x, &m.result().shape)).collect()
}

/// The axes of `inner` that hold the elements of the reduced `axes` of `outer`, two shapes of the same elements; `None`
/// where a reduced axis and one that is not lie in one axis of `inner`, or where there are no elements.
fn same_axes(outer: &[u64], inner: &[u64], axes: &[u32]) -> Option<Vec<u32>> {
    if outer.contains(&0) {
        return None;
    }
    let mut found = Vec::new();
    let (mut next_outer, mut next_inner) = (0, 0);
    while next_outer < outer.len() && next_inner < inner.len() {
        let (first_outer, first_inner) = (next_outer, next_inner);
        let (mut outer_size, mut inner_size) = (outer[next_outer], inner[next_inner]);
        (next_outer, next_inner) = (next_outer + 1, next_inner + 1);
        while outer_size != inner_size {
            if outer_size < inner_size {
                outer_size *= outer[next_outer];
                next_outer += 1;
            } else {
                inner_size *= inner[next_inner];
                next_inner += 1;
            }
        }
        let mut reduced =
            (first_outer..next_outer).filter(|axis| outer[*axis] != 1).map(|axis| axes.contains(&(axis as u32)));
        match (reduced.clone().any(|is| is), reduced.all(|is| is)) {
            (true, true) => found.extend((first_inner..next_inner).map(|axis| axis as u32)),
            (true, false) => return None,
            (false, _) => {}
        }
    }
    Some(found)
}
