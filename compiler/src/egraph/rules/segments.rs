//! Sorted keys: a counting sort is a permutation, and sorting a permutation inverts it.

use super::{Match, Rule, apply};
use crate::ir::op::Op;
use egg::Id;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "scatter-sorted",
        doc: "scatter_add(counting_sort(k), u) = take(u, counting_sort(counting_sort(k))): each row gets one",
        example: r#"
                n0 = input {role = data, name = "k", ty = i32[3]} : i32[3]
                n1 = input {role = data, name = "u", ty = f64[3, 2]} : f64[3, 2]
                n2 = counting_sort(n0) {bins = 2} : i32[3]
                n3 = scatter_add(n2, n1) {rows = 3} : f64[3, 2]
                result value "a" = n3
            "#,
        at: &["scatter_add"],
        rewrite: |m| {
            let (places, updates) = m.pair();
            let rows = m.result().shape[0];
            if is_permutation(m, places) && m.ty(places).shape == [rows] {
                let inverse = apply(Op::CountingSort { bins: rows }, [places.into()]);
                m.becomes(apply(Op::Take {}, [updates.into(), inverse]));
            }
        },
    },
    Rule {
        name: "invert-inverse",
        doc: "counting_sort(counting_sort(p)) = p for a permutation p",
        example: r#"
                n0 = input {role = data, name = "k", ty = i32[4]} : i32[4]
                n1 = counting_sort(n0) {bins = 2} : i32[4]
                n2 = counting_sort(n1) {bins = 4} : i32[4]
                n3 = counting_sort(n2) {bins = 4} : i32[4]
                result value "a" = n3
            "#,
        at: &["counting_sort"],
        rewrite: |m| {
            let whole = Op::CountingSort { bins: m.result().shape[0] };
            for (op, operands) in m.terms(m.operand(0)) {
                if *m.op() == whole && *op == whole && is_permutation(m, operands[0]) {
                    m.becomes(operands[0]);
                }
            }
        },
    },
];

/// Whether a class holds a counting sort.
fn is_permutation(m: &Match, class: Id) -> bool {
    m.terms(class).any(|(op, _)| matches!(op, Op::CountingSort { .. }))
}
